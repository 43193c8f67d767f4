//! Reads what is due back from PostgreSQL.

use std::collections::HashMap;
use std::sync::Arc;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Lane, State};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use uuid::Uuid;

use super::{PATIENCE, PLANS};
use crate::StoreError;
use crate::hot::settle::parts_of;
use crate::hot::{Attempted, Claim, DueSpan, QueuedMessage, SharedByBatch, SpanKey, open_media, open_phone, open_text};

/// Reads what is due.
pub struct Reader {
    /// A connection of its own, for its plans.
    pool: PgPool,
}

impl Reader {
    pub(crate) fn open(pool: &PgPool) -> Reader {
        let options = pool.connect_options().as_ref().clone().options(PLANS);
        // It asks again in a moment anyway: to find out each time whether the connection still is one would be half of all its questions.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).test_before_acquire(false);
        Reader { pool: pool.connect_lazy_with(options) }
    }

    pub(crate) async fn spans(&mut self) -> Result<Vec<DueSpan>, StoreError> {
        let rows: Vec<(Uuid, i16, i32)> =
            sqlx::query_as("SELECT first_id, lane, count FROM due_span ORDER BY first_id")
                .fetch_all(&self.pool)
                .await?;
        let span = |(first, lane, count): (Uuid, i16, i32)| DueSpan {
            key: SpanKey { first: MessageId(first) },
            lane: Lane::from_number(lane).unwrap_or(Lane::Bulk),
            count: count as u32,
        };
        Ok(rows.into_iter().map(span).collect())
    }

    pub(crate) async fn span_messages(
        &mut self,
        span: SpanKey,
        from: u32,
        to: u32,
    ) -> Result<Vec<QueuedMessage>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let (first, last) = (span.first.nth(from), span.first.nth(to - 1));
        let rows = sqlx::query(concat!(
            "SELECT ",
            queued_columns!(),
            ", 0::bigint FROM message m
             WHERE m.account_no = $1 AND m.id BETWEEN $2 AND $3 AND m.state = 1 AND m.due_at IS NULL ORDER BY m.id"
        ))
        .bind(first.account().as_i64())
        .bind(first.0)
        .bind(last.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(self.messages(rows).await?.into_iter().map(|(_, m)| m).collect())
    }

    pub(crate) async fn due_messages(
        &mut self,
        after: (i64, AccountNo, MessageId),
        until: i64,
        limit: u32,
    ) -> Result<Vec<(i64, QueuedMessage)>, StoreError> {
        // OFFSET 0: each message is looked up by its key. Otherwise the server, which saw the tables small, may as well go through all of them.
        let rows = sqlx::query(concat!(
            "SELECT ",
            queued_columns!(),
            ", d.due_at FROM due_at d
             CROSS JOIN LATERAL (SELECT * FROM message m WHERE m.account_no = d.account_no AND m.id = d.message_id OFFSET 0) m
             WHERE (d.due_at, d.account_no, d.message_id) > ($1, $2, $3) AND d.due_at <= $4 AND m.state IN (0, 1)
             AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.account_no = m.account_no AND b.id = m.batch_id AND b.state = 0)
             ORDER BY d.due_at, d.account_no, d.message_id LIMIT $5"
        ))
        .bind(after.0)
        .bind(after.1.as_i64())
        .bind(after.2.0)
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        self.messages(rows).await
    }

    async fn messages(&self, rows: Vec<PgRow>) -> Result<Vec<(i64, QueuedMessage)>, StoreError> {
        let mut batches: HashMap<Uuid, SharedByBatch> = HashMap::new();
        let mut out = Vec::with_capacity(rows.len());
        let mut tried = Vec::new();
        for r in rows {
            let (own, batch): (Option<Vec<u8>>, Option<Uuid>) = (r.try_get(9)?, r.try_get(13)?);
            let shared = match batch {
                None => SharedByBatch::default(),
                Some(batch) => match batches.get(&batch) {
                    Some(shared) => shared.clone(),
                    None => {
                        let (sealed, tags): (Option<Vec<u8>>, Option<String>) =
                            sqlx::query_as("SELECT body, tags FROM batch WHERE account_no = $1 AND id = $2")
                                .bind(r.try_get::<i64, _>(16)?)
                                .bind(batch)
                                .fetch_one(&self.pool)
                                .await?;
                        let shared = SharedByBatch::new(sealed.as_deref(), tags)?;
                        batches.entry(batch).or_insert(shared).clone()
                    }
                },
            };
            let body = own.as_deref().map(open_text).transpose()?.or(shared.body);
            let body =
                body.ok_or_else(|| StoreError::Broken("a message has neither a body nor a batch with one".into()))?;
            let attempts = r.try_get::<i16, _>(11)?.clamp(0, 255) as u8;
            if attempts > 0 {
                tried.push((r.try_get::<i64, _>(16)?, r.try_get::<Uuid, _>(0)?));
            }
            let state = State::from_number(r.try_get(14)?).unwrap_or(State::Queued);
            let parts: Option<Vec<u8>> = r.try_get(5)?;
            let message = QueuedMessage {
                id: MessageId(r.try_get(0)?),
                lane: Lane::from_number(r.try_get(1)?).unwrap_or(Lane::Bulk),
                flags: Flags(r.try_get(2)?),
                encoding: r.try_get(3)?,
                parts: parts_of(r.try_get(4)?, parts.as_deref(), state, false, false),
                phone: open_phone(&r.try_get::<Vec<u8>, _>(6)?)?,
                phone_tag: r.try_get(7)?,
                sender: r.try_get::<Option<String>, _>(8)?.map(Arc::from),
                body,
                reference: r.try_get::<Option<i32>, _>(10)?.map(|n| n as u16),
                attempts,
                expires_at: r.try_get(12)?,
                tags: r.try_get::<Option<String>, _>(17)?.map(Arc::from).or(shared.tags),
                refused_by: Vec::new(),
                error: r.try_get(15)?,
                mms: r.try_get::<Option<&str>, _>(18)?.map(open_media).transpose()?,
            };
            out.push((r.try_get(19)?, message));
        }
        if !tried.is_empty() {
            let mut refused = self.refused_by(tried).await?;
            for (_, message) in &mut out {
                message.refused_by = refused.remove(&message.id.0).unwrap_or_default();
            }
        }
        Ok(out)
    }

    /// The connections that refused messages, or reported a failure.
    async fn refused_by(&self, tried: Vec<(i64, Uuid)>) -> Result<HashMap<Uuid, Vec<i32>>, StoreError> {
        let (accounts, ids): (Vec<i64>, Vec<Uuid>) = tried.into_iter().unzip();
        let rows: Vec<(Uuid, i32)> = sqlx::query_as(
            "SELECT DISTINCT message_id, connection_no FROM attempt
             WHERE (account_no, message_id) IN (SELECT * FROM UNNEST($1::bigint[], $2::uuid[])) AND result IN (1, 3)",
        )
        .bind(accounts)
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        let mut refused: HashMap<Uuid, Vec<i32>> = HashMap::new();
        for (id, connection) in rows {
            refused.entry(id).or_default().push(connection);
        }
        Ok(refused)
    }

    /// Parts that were about to be handed over when the program ended.
    pub(crate) async fn claims(&mut self) -> Result<Vec<Claim>, StoreError> {
        let rows: Vec<(i32, i64, Uuid, i16, i16, Option<String>, i64, i64, bool)> = sqlx::query_as(
            "SELECT connection_no, phone_tag, message_id, part, attempt, sender, submitted_at, decide_at, mms FROM claim",
        )
        .fetch_all(&self.pool)
        .await?;
        let claim = |(connection, phone_tag, id, part, attempt, sender, submitted_at, decide_at, mms): (
            i32,
            i64,
            Uuid,
            i16,
            i16,
            Option<String>,
            i64,
            i64,
            bool,
        )| Claim {
            attempt: Attempted { connection, phone_tag, id: MessageId(id), part: part as u8, attempt: attempt as u8 },
            sender: sender.map(Arc::from),
            mms,
            submitted_at,
            decide_at,
        };
        Ok(rows.into_iter().map(claim).collect())
    }

    pub(crate) async fn undecided(&mut self, until: i64, limit: u32) -> Result<Vec<Attempted>, StoreError> {
        let rows: Vec<(i32, i64, Uuid, i16, i16)> = sqlx::query_as(
            "SELECT connection_no, phone_tag, message_id, part, attempt FROM unknown_attempt
             WHERE decide_at IS NOT NULL AND decide_at <= $1 ORDER BY decide_at LIMIT $2",
        )
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let attempted = |(connection, phone_tag, id, part, attempt): (i32, i64, Uuid, i16, i16)| Attempted {
            connection,
            phone_tag,
            id: MessageId(id),
            part: part as u8,
            attempt: attempt as u8,
        };
        Ok(rows.into_iter().map(attempted).collect())
    }
}
