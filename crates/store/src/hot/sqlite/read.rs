//! Reads what is due back from the embedded file.

use std::collections::HashMap;
use std::sync::Arc;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Lane, State};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::{message_id, open};
use crate::hot::settle::parts_of;
use crate::hot::{Attempted, DueSpan, QueuedMessage, SpanKey, open_phone, open_text};
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
        let mut bodies: HashMap<[u8; 16], Arc<str>> = HashMap::new();
        let mut out = Vec::new();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut body_statement =
            self.connection.prepare_cached("SELECT body FROM batch WHERE account_no = ?1 AND id = ?2")?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(r) = rows.next()? {
            let body = match (r.get_ref(9)?.as_blob_or_null(), r.get::<_, Option<[u8; 16]>>(13)?) {
                (Ok(Some(own)), _) => open_text(own)?,
                (_, Some(batch)) => match bodies.get(&batch) {
                    Some(body) => body.clone(),
                    None => {
                        let sealed: Vec<u8> =
                            body_statement.query_row(params![r.get::<_, i64>(16)?, batch], |b| b.get(0))?;
                        let body = open_text(&sealed)?;
                        bodies.insert(batch, body.clone());
                        body
                    }
                },
                _ => return Err(StoreError::Broken("a message has neither a body nor a batch".into())),
            };
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
                attempts: r.get::<_, i16>(11)?.clamp(0, 255) as u8,
                expires_at: r.get(12)?,
            };
            out.push((r.get(17)?, message));
        }
        Ok(out)
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
