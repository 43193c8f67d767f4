//! Reads what is due back from the embedded file.

use std::collections::HashMap;
use std::sync::Arc;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Lane, State};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::{message_id, open};
use crate::hot::settle::parts_of;
use crate::hot::{Attempted, Claim, DueSpan, QueuedMessage, SharedByBatch, SpanKey, open_media, open_phone, open_text};
use crate::{Sqlite, StoreError};

/// Reads what is due.
pub struct Reader {
    connection: Connection,
}

impl Reader {
    pub(crate) fn open(file: &Sqlite) -> Result<Reader, StoreError> {
        Ok(Reader { connection: open(&file.path, false)? })
    }

    pub(crate) fn spans(&mut self) -> Result<Vec<DueSpan>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT first_id, lane, count FROM due_span ORDER BY first_id")?;
        let rows = statement.query_map([], |r| {
            let lane = Lane::from_number(r.get(1)?).unwrap_or(Lane::Bulk);
            Ok(DueSpan { key: SpanKey { first: message_id(r, 0)? }, lane, count: r.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn span_messages(
        &mut self,
        span: SpanKey,
        from: u32,
        to: u32,
    ) -> Result<Vec<QueuedMessage>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let (first, last) = (span.first.nth(from), span.first.nth(to - 1));
        let sql = concat!(
            "SELECT ",
            queued_columns!(),
            ", 0 FROM message m WHERE m.account_no = ?1 AND m.id BETWEEN ?2 AND ?3 AND m.state = 1 AND m.due_at IS NULL ORDER BY m.id"
        );
        let values = vec![
            Value::Integer(first.account().as_i64()),
            Value::Blob(first.0.as_bytes().to_vec()),
            Value::Blob(last.0.as_bytes().to_vec()),
        ];
        Ok(self.messages(sql, values)?.into_iter().map(|(_, m)| m).collect())
    }

    pub(crate) fn due_messages(
        &mut self,
        after: (i64, AccountNo, MessageId),
        until: i64,
        limit: u32,
    ) -> Result<Vec<(i64, QueuedMessage)>, StoreError> {
        let sql = concat!(
            "SELECT ",
            queued_columns!(),
            ", d.due_at FROM due_at d JOIN message m ON m.account_no = d.account_no AND m.id = d.message_id
             WHERE (d.due_at, d.account_no, d.message_id) > (?1, ?2, ?3) AND d.due_at <= ?4 AND m.state IN (0, 1)
             AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.account_no = m.account_no AND b.id = m.batch_id AND b.state = 0)
             ORDER BY d.due_at, d.account_no, d.message_id LIMIT ?5"
        );
        let values = vec![
            Value::Integer(after.0),
            Value::Integer(after.1.as_i64()),
            Value::Blob(after.2.0.as_bytes().to_vec()),
            Value::Integer(until),
            Value::Integer(i64::from(limit)),
        ];
        self.messages(sql, values)
    }

    fn messages(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<(i64, QueuedMessage)>, StoreError> {
        let mut batches: HashMap<[u8; 16], SharedByBatch> = HashMap::new();
        let mut out = Vec::new();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut batch_statement =
            self.connection.prepare_cached("SELECT body, tags FROM batch WHERE account_no = ?1 AND id = ?2")?;
        let mut refused_statement = self.connection.prepare_cached(
            "SELECT DISTINCT connection_no FROM attempt WHERE account_no = ?1 AND message_id = ?2 AND result IN (1, 3)",
        )?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(r) = rows.next()? {
            let account: i64 = r.get(16)?;
            let shared = match r.get::<_, Option<[u8; 16]>>(13)? {
                None => SharedByBatch::default(),
                Some(batch) => match batches.get(&batch) {
                    Some(shared) => shared.clone(),
                    None => {
                        let row = |b: &rusqlite::Row<'_>| {
                            Ok((b.get::<_, Option<Vec<u8>>>(0)?, b.get::<_, Option<String>>(1)?))
                        };
                        let (sealed, tags) = batch_statement.query_row(params![account, batch], row)?;
                        let shared = SharedByBatch::new(sealed.as_deref(), tags)?;
                        batches.insert(batch, shared.clone());
                        shared
                    }
                },
            };
            let own = r.get_ref(9)?.as_blob_or_null().ok().flatten().map(open_text).transpose()?;
            let body = own.or(shared.body);
            let body =
                body.ok_or_else(|| StoreError::Broken("a message has neither a body nor a batch with one".into()))?;
            let attempts = r.get::<_, i16>(11)?.clamp(0, 255) as u8;
            let mut refused_by = Vec::new();
            if attempts > 0 {
                let id: [u8; 16] = r.get(0)?;
                refused_by =
                    refused_statement.query_map(params![account, id], |c| c.get(0))?.collect::<Result<_, _>>()?;
            }
            let state = State::from_number(r.get(14)?).unwrap_or(State::Queued);
            let message = QueuedMessage {
                id: message_id(r, 0)?,
                lane: Lane::from_number(r.get(1)?).unwrap_or(Lane::Bulk),
                flags: Flags(r.get(2)?),
                encoding: r.get(3)?,
                parts: parts_of(r.get(4)?, r.get_ref(5)?.as_blob_or_null().ok().flatten(), state, false, false),
                phone: open_phone(r.get_ref(6)?.as_blob().unwrap_or_default())?,
                phone_tag: r.get(7)?,
                sender: r.get::<_, Option<String>>(8)?.map(Arc::from),
                body,
                reference: r.get::<_, Option<i32>>(10)?.map(|n| n as u16),
                attempts,
                expires_at: r.get(12)?,
                tags: r.get::<_, Option<String>>(17)?.map(Arc::from).or(shared.tags),
                refused_by,
                error: r.get(15)?,
                mms: r.get_ref(18)?.as_str_or_null().ok().flatten().map(open_media).transpose()?,
            };
            out.push((r.get(19)?, message));
        }
        Ok(out)
    }

    /// Parts that were about to be handed over when the program ended.
    pub(crate) fn claims(&mut self) -> Result<Vec<Claim>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT connection_no, phone_tag, message_id, part, attempt, sender, submitted_at, decide_at, mms FROM claim",
        )?;
        let rows = statement.query_map([], |r| {
            let (connection, phone_tag, id) = (r.get(0)?, r.get(1)?, message_id(r, 2)?);
            Ok(Claim {
                attempt: Attempted { connection, phone_tag, id, part: r.get(3)?, attempt: r.get(4)? },
                sender: r.get::<_, Option<String>>(5)?.map(Arc::from),
                mms: r.get(8)?,
                submitted_at: r.get(6)?,
                decide_at: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn undecided(&mut self, until: i64, limit: u32) -> Result<Vec<Attempted>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT connection_no, phone_tag, message_id, part, attempt FROM unknown_attempt
             WHERE decide_at IS NOT NULL AND decide_at <= ?1 ORDER BY decide_at LIMIT ?2",
        )?;
        let rows = statement.query_map(params![until, limit], |r| {
            Ok(Attempted {
                connection: r.get(0)?,
                phone_tag: r.get(1)?,
                id: message_id(r, 2)?,
                part: r.get(3)?,
                attempt: r.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
