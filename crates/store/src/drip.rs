//! Drips as they are written down: what they send, who enters by themselves, and where they stand. Who is in them: `drip_enrollment`; what was
//! handed in: `drip_wave`.

use carillon_domain::drip::{Entry, HeldUp, Sequence, State};
use carillon_domain::id::{AccountNo, DripId};
use uuid::Uuid;

use crate::campaign::{opened, sealed};
use crate::db::{built, one};
use crate::{Db, StoreError};

/// A drip.
#[derive(Clone, PartialEq, Debug)]
pub struct Drip {
    /// Its id; also names the account.
    pub id: DripId,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// What it sends.
    pub sequence: Sequence,
    /// Who enters by themselves.
    pub entry: Option<Entry>,
    /// Whether who writes leaves it.
    pub on_reply: bool,
    /// Whether whom its entry finds was there before it, and is passed over.
    pub passing: bool,
    /// When its entry is looked at next, Unix milliseconds; of an archived one: people are still in it.
    pub look_at: Option<i64>,
    /// Why it does not go on.
    pub held_up: Option<HeldUp>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub changed_at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    state: i16,
    sequence: Vec<u8>,
    entry: Option<Vec<u8>>,
    on_reply: i16,
    passing: i16,
    look_at: Option<i64>,
    held_up: Option<i16>,
    created_at: i64,
    changed_at: i64,
}

const COLUMNS: &str = "id, name, state, sequence, entry, on_reply, passing, look_at, held_up, created_at, changed_at";

impl TryFrom<Row> for Drip {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Drip, StoreError> {
        let broken = || StoreError::Broken(format!("state of drip {}", r.id));
        Ok(Drip {
            id: DripId(r.id),
            name: r.name,
            state: State::from_number(r.state).ok_or_else(broken)?,
            sequence: opened("sequence of a drip", &r.sequence)?,
            entry: r.entry.map(|sealed| opened("entry of a drip", &sealed)).transpose()?,
            on_reply: r.on_reply != 0,
            passing: r.passing != 0,
            look_at: r.look_at,
            // A reason that this version does not know is none to it.
            held_up: r.held_up.and_then(HeldUp::from_number),
            created_at: r.created_at,
            changed_at: r.changed_at,
        })
    }
}

/// Stores a new one; `Taken("drips")` if the account has `most` that are not archived.
pub async fn create(db: &Db, d: &Drip, most: u32) -> Result<(), StoreError> {
    let account = d.id.account();
    let insert =
        format!("INSERT INTO drip (account_no, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");
    write_db!(db, |tx| {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM drip WHERE account_no = $1 AND state <> $2")
            .bind(account.as_i64())
            .bind(State::Archived.number())
            .fetch_one(&mut *tx)
            .await?;
        if count >= i64::from(most) {
            return Err(StoreError::Taken("drips"));
        }
        sqlx::query(built(insert))
            .bind(account.as_i64())
            .bind(d.id.0)
            .bind(&d.name)
            .bind(d.state.number())
            .bind(sealed(&d.sequence))
            .bind(d.entry.as_ref().map(sealed))
            .bind(i16::from(d.on_reply))
            .bind(i16::from(d.passing))
            .bind(d.look_at)
            .bind(d.held_up.map(HeldUp::number))
            .bind(d.created_at)
            .bind(d.changed_at)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// One drip of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: DripId) -> Result<Drip, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM drip WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` drips before an id, newest first; of a state, if one is asked for.
pub async fn list(
    db: &Db,
    account: AccountNo,
    state: Option<State>,
    before: Option<DripId>,
    limit: u32,
) -> Result<Vec<Drip>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM drip WHERE account_no = $1 AND id < $2 AND ($3 IS NULL OR state = $3) ORDER BY id DESC LIMIT $4"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(state.map(State::number))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(Drip::try_from).collect()
}

/// Writes name, sequence and who enters and leaves, if its state is still that of `d`. Whether it was.
pub async fn change(db: &Db, d: &Drip) -> Result<bool, StoreError> {
    let changed = write_db!(db, |tx| {
        sqlx::query(
            "UPDATE drip SET name = $4, sequence = $5, entry = $6, on_reply = $7, changed_at = $8 \
             WHERE account_no = $1 AND id = $2 AND state = $3",
        )
        .bind(d.id.account().as_i64())
        .bind(d.id.0)
        .bind(d.state.number())
        .bind(&d.name)
        .bind(sealed(&d.sequence))
        .bind(d.entry.as_ref().map(sealed))
        .bind(i16::from(d.on_reply))
        .bind(d.changed_at)
        .execute(&mut *tx)
        .await?
        .rows_affected()
    });
    Ok(changed == 1)
}

/// Another state.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// The state it was decided on.
    pub from: State,
    /// The state it is to have.
    pub to: State,
    /// Whether whom its entry finds next is passed over; `None`: as it was.
    pub passing: Option<bool>,
    /// When the runner is to look at it, Unix milliseconds.
    pub look_at: Option<i64>,
    /// Unix milliseconds.
    pub now: i64,
}

/// Gives it another state, if it has the one that was decided on. Whether it had. What held it up is forgotten, and waves that waited are looked at
/// again.
pub async fn shift(db: &Db, account: AccountNo, id: DripId, shift: Shift) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let changed = sqlx::query(
            "UPDATE drip SET state = $4, passing = COALESCE($5, passing), look_at = $6, changed_at = $7, held_up = NULL \
             WHERE account_no = $1 AND id = $2 AND state = $3",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(shift.from.number())
        .bind(shift.to.number())
        .bind(shift.passing.map(i16::from))
        .bind(shift.look_at)
        .bind(shift.now)
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        if changed {
            sqlx::query(
                "UPDATE drip_wave SET look_at = $3 WHERE account_no = $1 AND drip_id = $2 AND look_at IS NOT NULL",
            )
            .bind(account.as_i64())
            .bind(id.0)
            .bind(shift.now)
            .execute(&mut *tx)
            .await?;
        }
        changed
    }))
}

/// Has the runner look at its entry again, and says what holds that up; unless it was changed meanwhile. `passed`: those who were there before it are
/// all passed over.
pub async fn look_again(
    db: &Db,
    d: &Drip,
    at: Option<i64>,
    passed: bool,
    held_up: Option<HeldUp>,
) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "UPDATE drip SET look_at = $4, passing = CASE WHEN $5 = 1 THEN 0 ELSE passing END, held_up = $6 \
             WHERE account_no = $1 AND id = $2 AND state = $3 AND changed_at = $7",
        )
        .bind(d.id.account().as_i64())
        .bind(d.id.0)
        .bind(d.state.number())
        .bind(at)
        .bind(i16::from(passed))
        .bind(held_up.map(HeldUp::number))
        .bind(d.changed_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a drip away that nobody is in any more, if its state is still that. Its messages stay. Whether it was.
pub async fn delete(db: &Db, account: AccountNo, id: DripId, state: State) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let gone = sqlx::query("DELETE FROM drip WHERE account_no = $1 AND id = $2 AND state = $3")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(state.number())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if gone == 1 {
            for text in [
                "DELETE FROM drip_wave WHERE account_no = $1 AND drip_id = $2",
                "DELETE FROM drip_skip WHERE account_no = $1 AND drip_id = $2",
            ] {
                sqlx::query(text).bind(account.as_i64()).bind(id.0).execute(&mut *tx).await?;
            }
        }
        gone == 1
    }))
}

/// Drips of all accounts that the runner has something to do with by now: their entry, a wave, or people whose step is due.
pub async fn due(db: &Db, now: i64, limit: u32) -> Result<Vec<DripId>, StoreError> {
    let rows: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id FROM drip WHERE look_at <= $1 UNION SELECT drip_id FROM drip_wave WHERE look_at <= $1 \
             UNION SELECT d.id FROM drip d WHERE d.state = $2 AND EXISTS (SELECT 1 FROM drip_enrollment e \
             WHERE e.account_no = d.account_no AND e.drip_id = d.id AND e.reason IS NULL AND e.wave IS NULL AND e.next_at <= $1) \
             AND NOT EXISTS (SELECT 1 FROM drip_wave w WHERE w.account_no = d.account_no AND w.drip_id = d.id AND w.look_at > $1) \
             LIMIT $3",
        )
        .bind(now)
        .bind(State::Active.number())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(id,)| DripId(id)).collect())
}
