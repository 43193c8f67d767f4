//! What happened between an account and its contacts, counted by day behind the messages, off their path: a reader follows messages in the order
//! of their ids and looks again later at those that are still open. What it has counted and how far it is change in one transaction, so
//! everything counts once, whatever process does it and however it ends.
//!
//! A message counts if its number was a contact's when it was accepted. Accounts without contacts are not looked at.

use std::collections::BTreeMap;

use carillon_domain::audience::{Figures, WINDOW_DAYS};
use carillon_domain::id::{AccountNo, ContactId, InboundId, MessageId};
use carillon_domain::message::State;
use carillon_domain::segment::{DAYS_MAX, day_of};
use uuid::Uuid;

use crate::{Db, StoreError};

/// How far behind the reader stays, milliseconds: ids are given in the order of commits, and a commit is done by then.
pub const BEHIND_MS: i64 = 120_000;
/// Rows of one transaction: other writers wait that long.
const PAGE: i64 = 500;
/// An open message is looked at again after a quarter of its age, but not before and not after these, milliseconds.
const AGAIN_MS: [i64; 2] = [60_000, 3_600_000];

/// What one contact had on one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages handed to a carrier.
    pub sent: i64,
    /// Messages that reached the phone.
    pub delivered: i64,
    /// Messages that did not.
    pub failed: i64,
    /// Messages from the phone.
    pub replied: i64,
}

/// What a page adds, by contact and day: the order rows are locked in.
type Tally = BTreeMap<(Uuid, i32), Counts>;

/// The first account with contacts from one on.
pub async fn account_from(db: &Db, from: AccountNo) -> Result<Option<AccountNo>, StoreError> {
    let (no,): (Option<i64>,) = read_db!(db, |c| {
        sqlx::query_as("SELECT MIN(account_no) FROM contact WHERE account_no >= $1")
            .bind(from.as_i64())
            .fetch_one(c)
            .await
    })?;
    Ok(no.map(AccountNo::from_i64))
}

/// What is read of a message.
#[derive(sqlx::FromRow)]
struct Seen {
    id: Uuid,
    state: i16,
    due_at: Option<i64>,
    sent_at: Option<i64>,
    final_at: Option<i64>,
    /// The contact that had its number, if there was one by then.
    contact: Option<Uuid>,
}

impl Seen {
    /// Counts what is new of it; whether nothing more will be.
    fn count(&self, contact: Uuid, sent_before: bool, tally: &mut Tally) -> bool {
        if let Some(at) = self.sent_at.filter(|_| !sent_before) {
            tally.entry((contact, day_of(at))).or_default().sent += 1;
        }
        let Some(at) = self.final_at else { return false };
        let counts = tally.entry((contact, day_of(at))).or_default();
        match State::from_number(self.state) {
            Some(State::Delivered) => counts.delivered += 1,
            Some(State::Undelivered | State::Failed | State::Expired | State::Rejected) => counts.failed += 1,
            // Withdrawn, or never heard of again: neither.
            _ => {}
        }
        true
    }

    fn look_at(&self, now: i64) -> i64 {
        let age = now - MessageId(self.id).millis();
        let again = now + (age / 4).clamp(AGAIN_MS[0], AGAIN_MS[1]);
        again.max(self.due_at.map_or(0, |due| due + AGAIN_MS[0]))
    }
}

/// The contact, if it was one when something with this id came to be.
fn was_one(contact: Option<Uuid>, id: Uuid) -> Option<Uuid> {
    contact.filter(|contact| ContactId(*contact).millis() <= MessageId(id).millis())
}

/// How far the reader is, the last message and the last inbound message. Whoever else follows the account waits here, and goes on where we end.
macro_rules! cursor {
    ($tx:ident, $account:expr) => {{
        let cursor: (Uuid, Uuid) = sqlx::query_as(
            "UPDATE activity_cursor SET message_id = message_id WHERE account_no = $1 RETURNING message_id, inbound_id",
        )
        .bind($account.as_i64())
        .fetch_one(&mut *$tx)
        .await?;
        cursor
    }};
}

/// Messages to be looked at again: when, which, whose, and whether they were counted as sent.
type Again = Vec<(i64, Uuid, Uuid, bool)>;

/// Rows of one statement: one for each row costs several times as much, and others wait.
const ROWS: usize = 50;

macro_rules! look_again {
    ($tx:ident, $account:expr, $again:expr) => {
        for rows in $again.chunks(ROWS) {
            let mut query = sqlx::QueryBuilder::new(
                "INSERT INTO activity_open (account_no, look_at, message_id, contact_id, sent) ",
            );
            query.push_values(rows, |mut row, (look_at, id, contact, sent)| {
                row.push_bind($account.as_i64()).push_bind(look_at).push_bind(id).push_bind(contact);
                row.push_bind(i64::from(*sent));
            });
            query.build().execute(&mut *$tx).await?;
        }
    };
}

/// Adds what was counted; not to a contact that was deleted meanwhile.
macro_rules! add {
    ($tx:ident, $account:expr, $tally:expr) => {
        let counted: Vec<_> = $tally.into_iter().collect();
        for rows in counted.chunks(ROWS) {
            let mut query = sqlx::QueryBuilder::new("WITH added (contact_id, day, sent, delivered, failed, replied) AS (");
            query.push_values(rows, |mut row, ((contact, day), counts)| {
                row.push_bind(contact).push_bind(i64::from(*day)).push_bind(counts.sent).push_bind(counts.delivered);
                row.push_bind(counts.failed).push_bind(counts.replied);
            });
            query.push(
                ") INSERT INTO contact_activity (account_no, contact_id, day, sent, delivered, failed, replied) \
                 SELECT c.account_no, c.id, a.day, a.sent, a.delivered, a.failed, a.replied FROM added a \
                 JOIN contact c ON c.id = a.contact_id WHERE c.account_no = ",
            );
            query.push_bind($account.as_i64());
            query.push(
                " ON CONFLICT (account_no, contact_id, day) DO UPDATE SET sent = contact_activity.sent + excluded.sent, \
                 delivered = contact_activity.delivered + excluded.delivered, failed = contact_activity.failed + excluded.failed, \
                 replied = contact_activity.replied + excluded.replied",
            );
            query.build().execute(&mut *$tx).await?;
        }
    };
}

/// Follows an account's messages a page further; whether there may be more to do. `now` is Unix milliseconds.
pub async fn follow(db: &Db, account: AccountNo, now: i64) -> Result<bool, StoreError> {
    if !begun(db, account).await? {
        return Ok(false);
    }
    let edge = MessageId::new(now - BEHIND_MS, 0, AccountNo::PLATFORM).0;
    let rows = [
        follow_messages(db, account, edge, now).await?,
        follow_open(db, account, now).await?,
        follow_replies(db, account, edge).await?,
    ];
    Ok(rows.contains(&(PAGE as usize)))
}

/// Makes the cursor where there is none: what came before the first contact counts for nobody. False without contacts.
async fn begun(db: &Db, account: AccountNo) -> Result<bool, StoreError> {
    let cursor: Option<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM activity_cursor WHERE account_no = $1")
            .bind(account.as_i64())
            .fetch_optional(c)
            .await
    })?;
    if cursor.is_some() {
        return Ok(true);
    }
    let oldest: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id FROM contact WHERE account_no = $1 ORDER BY id LIMIT 1")
            .bind(account.as_i64())
            .fetch_optional(c)
            .await
    })?;
    let Some((oldest,)) = oldest else { return Ok(false) };
    let start = MessageId::new(ContactId(oldest).millis(), 0, AccountNo::PLATFORM).0;
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO activity_cursor (account_no, message_id, inbound_id) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING",
        )
        .bind(account.as_i64())
        .bind(start)
        .execute(&mut *tx)
        .await?;
    });
    Ok(true)
}

async fn follow_messages(db: &Db, account: AccountNo, edge: Uuid, now: i64) -> Result<usize, StoreError> {
    Ok(write_db!(db, |tx| {
        let (after, _) = cursor!(tx, account);
        let rows: Vec<Seen> = sqlx::query_as(
            "SELECT m.id, m.state, m.due_at, m.sent_at, m.final_at, \
             (SELECT c.id FROM contact c WHERE c.account_no = m.account_no AND c.phone_tag = m.phone_tag) AS contact \
             FROM message m WHERE m.account_no = $1 AND m.id > $2 AND m.id < $3 ORDER BY m.id LIMIT $4",
        )
        .bind(account.as_i64())
        .bind(after)
        .bind(edge)
        .bind(PAGE)
        .fetch_all(&mut *tx)
        .await?;
        let (mut tally, mut again) = (Tally::new(), Again::new());
        for seen in &rows {
            let Some(contact) = was_one(seen.contact, seen.id) else { continue };
            if !seen.count(contact, false, &mut tally) {
                again.push((seen.look_at(now), seen.id, contact, seen.sent_at.is_some()));
            }
        }
        look_again!(tx, account, again);
        add!(tx, account, tally);
        if let Some(last) = rows.last() {
            sqlx::query("UPDATE activity_cursor SET message_id = $2 WHERE account_no = $1")
                .bind(account.as_i64())
                .bind(last.id)
                .execute(&mut *tx)
                .await?;
        }
        rows.len()
    }))
}

async fn follow_open(db: &Db, account: AccountNo, now: i64) -> Result<usize, StoreError> {
    Ok(write_db!(db, |tx| {
        cursor!(tx, account);
        let rows: Vec<(i64, Uuid, Uuid, i64)> = sqlx::query_as(
            "SELECT look_at, message_id, contact_id, sent FROM activity_open WHERE account_no = $1 AND look_at <= $2 \
             ORDER BY look_at, message_id LIMIT $3",
        )
        .bind(account.as_i64())
        .bind(now)
        .bind(PAGE)
        .fetch_all(&mut *tx)
        .await?;
        let (mut tally, mut again) = (Tally::new(), Again::new());
        for (look_at, id, contact, sent) in &rows {
            sqlx::query("DELETE FROM activity_open WHERE account_no = $1 AND look_at = $2 AND message_id = $3")
                .bind(account.as_i64())
                .bind(look_at)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            let seen: Option<Seen> = sqlx::query_as(
                "SELECT id, state, due_at, sent_at, final_at, NULL AS contact FROM message WHERE account_no = $1 AND id = $2",
            )
            .bind(account.as_i64())
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
            // One of a batch that was taken back is gone.
            let Some(seen) = seen else { continue };
            if !seen.count(*contact, *sent == 1, &mut tally) {
                again.push((seen.look_at(now), seen.id, *contact, *sent == 1 || seen.sent_at.is_some()));
            }
        }
        look_again!(tx, account, again);
        add!(tx, account, tally);
        rows.len()
    }))
}

async fn follow_replies(db: &Db, account: AccountNo, edge: Uuid) -> Result<usize, StoreError> {
    Ok(write_db!(db, |tx| {
        let (_, after) = cursor!(tx, account);
        let rows: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(
            "SELECT i.id, (SELECT c.id FROM contact c WHERE c.account_no = i.account_no AND c.phone_tag = i.peer_tag) \
             FROM inbound_message i WHERE i.account_no = $1 AND i.id > $2 AND i.id < $3 ORDER BY i.id LIMIT $4",
        )
        .bind(account.as_i64())
        .bind(after)
        .bind(edge)
        .bind(PAGE)
        .fetch_all(&mut *tx)
        .await?;
        let mut tally = Tally::new();
        for (id, contact) in &rows {
            if let Some(contact) = was_one(*contact, *id) {
                tally.entry((contact, day_of(InboundId(*id).millis()))).or_default().replied += 1;
            }
        }
        add!(tx, account, tally);
        if let Some((last, _)) = rows.last() {
            sqlx::query("UPDATE activity_cursor SET inbound_id = $2 WHERE account_no = $1")
                .bind(account.as_i64())
                .bind(last)
                .execute(&mut *tx)
                .await?;
        }
        rows.len()
    }))
}

/// What happened with one contact, by day (from 1970, UTC), the oldest first.
pub async fn of_contact(db: &Db, account: AccountNo, id: ContactId) -> Result<Vec<(i32, Counts)>, StoreError> {
    let rows: Vec<(i64, i64, i64, i64, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT day, sent, delivered, failed, replied FROM contact_activity WHERE account_no = $1 AND contact_id = $2 ORDER BY day",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .fetch_all(c)
        .await
    })?;
    let read = |(day, sent, delivered, failed, replied)| {
        (i32::try_from(day).unwrap_or(i32::MAX), Counts { sent, delivered, failed, replied })
    };
    Ok(rows.into_iter().map(read).collect())
}

/// How many of an account's contacts had any activity on a day or later.
pub async fn active(db: &Db, account: AccountNo, since_day: i32) -> Result<i64, StoreError> {
    let (count,): (i64,) = read_db!(db, |c| {
        sqlx::query_as("SELECT COUNT(DISTINCT contact_id) FROM contact_activity WHERE account_no = $1 AND day >= $2")
            .bind(account.as_i64())
            .bind(i64::from(since_day))
            .fetch_one(c)
            .await
    })?;
    Ok(count)
}

/// Figures of up to `limit` contacts behind one that had activity in the [`DAYS_MAX`] days until `today`, in the order of their ids.
pub async fn figures(
    db: &Db,
    account: AccountNo,
    today: i32,
    after: Option<ContactId>,
    limit: u32,
) -> Result<Vec<(ContactId, Figures)>, StoreError> {
    let back = |days: u32| i64::from(today) - i64::from(days);
    let rows: Vec<(Uuid, Option<i64>, i64, i64, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT contact_id, MAX(CASE WHEN delivered > 0 THEN day END), \
             CAST(SUM(CASE WHEN day >= $4 THEN delivered ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE WHEN day >= $4 THEN replied ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE WHEN day >= $4 THEN failed ELSE 0 END) AS BIGINT) \
             FROM contact_activity WHERE account_no = $1 AND contact_id > $2 AND day >= $3 \
             GROUP BY contact_id ORDER BY contact_id LIMIT $5",
        )
        .bind(account.as_i64())
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(back(DAYS_MAX))
        .bind(back(WINDOW_DAYS))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let whole = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let read = |(id, last, delivered, replied, failed): (Uuid, Option<i64>, i64, i64, i64)| {
        let quiet_days = last.map(|day| whole((i64::from(today) - day).max(0)));
        let figures =
            Figures { quiet_days, delivered: whole(delivered), replied: whole(replied), failed: whole(failed) };
        (ContactId(id), figures)
    };
    Ok(rows.into_iter().map(read).collect())
}
