//! What people did with messages, counted beside what became of them: a link opened, an answer sent. Whatever does it again, each message counts
//! once, in the transaction that stored the click or the answer.

use uuid::Uuid;

/// A message that somebody did something with: its id, its batch and its country.
pub(crate) type Engaged = (Uuid, Option<Uuid>, i16);

/// Within `write_db!`: counts messages, with repetitions, as `CLICKED` or `REPLIED`; those that were counted before are passed over.
macro_rules! engaged {
    ($tx:expr, $state:expr, $messages:expr) => {{
        let mut messages: Vec<$crate::usage::engagement::Engaged> = $messages;
        // In one order, so that two processes never wait for one another.
        messages.sort_unstable();
        messages.dedup();
        let mut tally = $crate::usage::Tally::default();
        for (id, batch, country) in messages {
            let id = carillon_domain::id::MessageId(id);
            let new = sqlx::query(
                "INSERT INTO engagement (account_no, message_id, state) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(id.account().as_i64())
            .bind(id.0)
            .bind($state)
            .execute(&mut *$tx)
            .await?
            .rows_affected();
            let cell = $crate::usage::Cell { state: $state, ..$crate::usage::Cell::accepted(id, batch, country) };
            tally.add(cell, $crate::usage::Sums { messages: new as i64, ..Default::default() });
        }
        if let Some(counts) = tally.bytes() {
            sqlx::query("INSERT INTO usage_log (counts) VALUES ($1)").bind(counts).execute(&mut *$tx).await?;
        }
    }};
}
pub(crate) use engaged;
