//! Waves of drips: people whose same step is due are taken together, under the id that the batch of their messages is to have; then the messages are
//! handed in as that batch, which can be stored once; then the people go on. Each of the three is a commit, and what comes after a crash is read off
//! the rows: a wave without its batch is handed in, one with it goes on.

use carillon_domain::campaign::Words;
use carillon_domain::drip::{ExitReason, HeldUp, Moves, State};
use carillon_domain::id::{AccountNo, BatchId, DripId};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::db::{built, places};
use crate::drip_enrollment::words_of;
use crate::hot::open_phone;
use crate::{Db, StoreError};

/// A wave under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wave {
    /// Its id, and that of its batch.
    pub id: BatchId,
    /// Whose.
    pub drip: DripId,
    /// Which step, from 0.
    pub step: usize,
    /// When it is to be gone on with, Unix milliseconds.
    pub look_at: i64,
}

/// The wave of a drip that is to be gone on with first, if one is under way.
pub async fn open_of(db: &Db, account: AccountNo, drip: DripId) -> Result<Option<Wave>, StoreError> {
    let row: Option<(Uuid, i32, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, step, look_at FROM drip_wave WHERE account_no = $1 AND drip_id = $2 AND look_at IS NOT NULL \
             ORDER BY look_at, id LIMIT 1",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(id, step, look_at)| Wave { id: BatchId(id), drip, step: step.max(0) as usize, look_at }))
}

/// Takes up to `limit` people whose same step is due, the one that is due longest, as a wave of that id. `None`: nobody's is, or the drip is not
/// active.
pub async fn claim(db: &Db, drip: DripId, id: BatchId, now: i64, limit: u32) -> Result<Option<Wave>, StoreError> {
    let account = drip.account().as_i64();
    Ok(write_db!(db, |tx| {
        let step: Option<(i32,)> = sqlx::query_as(
            "SELECT e.step FROM drip_enrollment e WHERE e.account_no = $1 AND e.drip_id = $2 AND e.reason IS NULL AND e.wave IS NULL \
             AND e.next_at <= $3 AND EXISTS (SELECT 1 FROM drip d WHERE d.account_no = $1 AND d.id = $2 AND d.state = $4) \
             ORDER BY e.next_at LIMIT 1",
        )
        .bind(account)
        .bind(drip.0)
        .bind(now)
        .bind(State::Active.number())
        .fetch_optional(&mut *tx)
        .await?;
        let Some((step,)) = step else { return Ok(None) };
        let taken = sqlx::query(
            "UPDATE drip_enrollment SET wave = $3 WHERE account_no = $1 AND drip_id = $2 AND reason IS NULL AND wave IS NULL \
             AND phone_tag IN (SELECT phone_tag FROM drip_enrollment WHERE account_no = $1 AND drip_id = $2 AND reason IS NULL \
             AND wave IS NULL AND next_at <= $4 AND step = $5 ORDER BY next_at LIMIT $6)",
        )
        .bind(account)
        .bind(drip.0)
        .bind(id.0)
        .bind(now)
        .bind(step)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if taken == 0 {
            return Ok(None);
        }
        sqlx::query("INSERT INTO drip_wave (account_no, drip_id, id, step, look_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(account)
            .bind(drip.0)
            .bind(id.0)
            .bind(step)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        Some(Wave { id, drip, step: step.max(0) as usize, look_at: now })
    }))
}

/// Somebody in a wave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// E.164 digits without +.
    pub phone: u64,
    /// Words of their own.
    pub words: Words,
    /// Whether they entered as a contact.
    pub by_contact: bool,
    /// Whether they have left meanwhile.
    pub left: bool,
}

/// Everybody in a wave, those who left too, in the order of tags: their places are the same as long as it is under way.
pub async fn members(db: &Db, wave: &Wave) -> Result<Vec<Member>, StoreError> {
    type Row = (i64, Vec<u8>, Option<Vec<u8>>, i16, Option<i16>);
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT phone_tag, phone, words, by_contact, reason FROM drip_enrollment WHERE account_no = $1 AND wave = $2 ORDER BY phone_tag",
        )
        .bind(wave.id.account().as_i64())
        .bind(wave.id.0)
        .fetch_all(c)
        .await
    })?;
    let read = |(phone_tag, phone, words, by_contact, reason): Row| {
        let (phone, words) = (open_phone(&phone)?, words_of(words)?);
        Ok(Member { phone_tag, phone, words, by_contact: by_contact != 0, left: reason.is_some() })
    };
    rows.into_iter().map(read).collect()
}

/// Has a wave wait until `at`, and says what holds its drip up.
pub async fn wait(db: &Db, wave: &Wave, at: i64, held_up: Option<HeldUp>) -> Result<(), StoreError> {
    let account = wave.id.account().as_i64();
    write_db!(db, |tx| {
        sqlx::query(
            "UPDATE drip_wave SET look_at = $4 WHERE account_no = $1 AND drip_id = $2 AND id = $3 AND look_at IS NOT NULL",
        )
        .bind(account)
        .bind(wave.drip.0)
        .bind(wave.id.0)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        if let Some(held_up) = held_up {
            sqlx::query("UPDATE drip SET held_up = $3 WHERE account_no = $1 AND id = $2")
                .bind(account)
                .bind(wave.drip.0)
                .bind(held_up.number())
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(())
}

/// Takes some of a wave, which has no batch, into another one of the same step.
pub async fn split(db: &Db, wave: &Wave, tags: &[i64], into: BatchId) -> Result<(), StoreError> {
    let account = wave.id.account().as_i64();
    let text = format!(
        "UPDATE drip_enrollment SET wave = $3 WHERE account_no = $1 AND wave = $2 AND phone_tag IN ({})",
        places(4, tags.len())
    );
    write_db!(db, |tx| {
        let mut query = sqlx::query(built(text)).bind(account).bind(wave.id.0).bind(into.0);
        for tag in tags {
            query = query.bind(*tag);
        }
        query.execute(&mut *tx).await?;
        sqlx::query("INSERT INTO drip_wave (account_no, drip_id, id, step, look_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(account)
            .bind(wave.drip.0)
            .bind(into.0)
            .bind(wave.step as i32)
            .bind(wave.look_at)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// What is done with the people of a wave.
#[derive(Clone, Debug)]
pub struct Advance<'a> {
    /// Where they go.
    pub moves: &'a Moves,
    /// When those for whom the money did not last come to their step again, Unix milliseconds.
    pub again_at: i64,
    /// Whether it has a batch; of one without, nothing is kept.
    pub sent: bool,
    /// Why the drip does not go on as it should.
    pub held_up: Option<HeldUp>,
    /// Unix milliseconds.
    pub now: i64,
}

/// Ends a wave: its people go where they go, and who has left meanwhile stays out. Once: whether it was this time.
pub async fn advance(db: &Db, wave: &Wave, to: &Advance<'_>) -> Result<bool, StoreError> {
    let (account, drip, id) = (wave.id.account().as_i64(), wave.drip.0, wave.id.0);
    Ok(write_db!(db, |tx| {
        let over = if to.sent {
            "UPDATE drip_wave SET look_at = NULL WHERE account_no = $1 AND drip_id = $2 AND id = $3 AND look_at IS NOT NULL"
        } else {
            "DELETE FROM drip_wave WHERE account_no = $1 AND drip_id = $2 AND id = $3 AND look_at IS NOT NULL"
        };
        let mine = sqlx::query(over).bind(account).bind(drip).bind(id).execute(&mut *tx).await?;
        if mine.rows_affected() == 0 {
            return Ok(false);
        }
        for (reason, tags) in &to.moves.exits {
            let text = format!(
                "UPDATE drip_enrollment SET reason = $3, ended_at = $4, words = NULL, wave = NULL WHERE account_no = $1 AND wave = $2 \
                 AND reason IS NULL AND phone_tag IN ({})",
                places(5, tags.len())
            );
            let mut query = sqlx::query(built(text)).bind(account).bind(id).bind(reason.number()).bind(to.now);
            for tag in tags {
                query = query.bind(*tag);
            }
            query.execute(&mut *tx).await?;
        }
        if !to.moves.again.is_empty() {
            let text = format!(
                "UPDATE drip_enrollment SET next_at = $3, wave = NULL WHERE account_no = $1 AND wave = $2 AND phone_tag IN ({})",
                places(4, to.moves.again.len())
            );
            let mut query = sqlx::query(built(text)).bind(account).bind(id).bind(to.again_at);
            for tag in &to.moves.again {
                query = query.bind(*tag);
            }
            query.execute(&mut *tx).await?;
        }
        match to.moves.on {
            Some(on) => {
                sqlx::query(
                    "UPDATE drip_enrollment SET step = $3, next_at = $4, wave = NULL WHERE account_no = $1 AND wave = $2 AND reason IS NULL",
                )
                .bind(account)
                .bind(id)
                .bind(on.step as i32)
                .bind(on.due_at)
                .execute(&mut *tx)
                .await?
            }
            None => {
                sqlx::query(
                    "UPDATE drip_enrollment SET reason = $3, ended_at = $4, words = NULL, wave = NULL WHERE account_no = $1 AND wave = $2 \
                     AND reason IS NULL",
                )
                .bind(account)
                .bind(id)
                .bind(ExitReason::Finished.number())
                .bind(to.now)
                .execute(&mut *tx)
                .await?
            }
        };
        sqlx::query("UPDATE drip_enrollment SET wave = NULL WHERE account_no = $1 AND wave = $2")
            .bind(account)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        for (code, count) in &to.moves.skipped {
            sqlx::query(
                "INSERT INTO drip_skip (account_no, drip_id, step, code, count) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (account_no, drip_id, step, code) DO UPDATE SET count = drip_skip.count + excluded.count",
            )
            .bind(account)
            .bind(drip)
            .bind(wave.step as i32)
            .bind(code)
            .bind(count)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "UPDATE drip SET held_up = $3 WHERE account_no = $1 AND id = $2 AND (held_up IS NOT NULL OR $3 IS NOT NULL)",
        )
        .bind(account)
        .bind(drip)
        .bind(to.held_up.map(HeldUp::number))
        .execute(&mut *tx)
        .await?;
        true
    }))
}

/// What became of the messages of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, sqlx::FromRow)]
#[allow(missing_docs, reason = "as of a batch")]
pub struct StepTotals {
    /// Which step, from 0.
    pub step: i32,
    pub messages: i64,
    pub queued: i64,
    pub sent: i64,
    pub delivered: i64,
    pub failed: i64,
    pub parts: i64,
    held: i64,
    captured: i64,
}

impl StepTotals {
    /// Still reserved.
    pub fn held(&self) -> Money {
        Money(self.held)
    }

    /// Paid.
    pub fn captured(&self) -> Money {
        Money(self.captured)
    }
}

/// What became of the messages of a drip, by step, as settle keeps it with the batches of its waves.
pub async fn totals(db: &Db, account: AccountNo, drip: DripId) -> Result<Vec<StepTotals>, StoreError> {
    let columns = ["queued", "sent", "delivered", "failed", "parts", "held", "captured"];
    let sums = columns.map(|name| format!("CAST(SUM(b.{name}) AS BIGINT) AS {name}")).join(", ");
    let text = format!(
        "SELECT w.step, CAST(SUM(b.total) AS BIGINT) AS messages, {sums} FROM drip_wave w JOIN batch b ON b.account_no = w.account_no \
         AND b.id = w.id WHERE w.account_no = $1 AND w.drip_id = $2 GROUP BY w.step ORDER BY w.step"
    );
    Ok(read_db!(db, |c| sqlx::query_as(built(text)).bind(account.as_i64()).bind(drip.0).fetch_all(c).await)?)
}

/// Who was passed over, in numbers: step and code.
pub async fn skipped(db: &Db, account: AccountNo, drip: DripId) -> Result<Vec<(u32, String, i64)>, StoreError> {
    let rows: Vec<(i32, String, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT step, code, count FROM drip_skip WHERE account_no = $1 AND drip_id = $2 ORDER BY step, code",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(step, code, count)| (step.max(0) as u32, code, count)).collect())
}
