//! Campaigns as they are written down: what they send, to whom, when, and where they stand. A change of state says which state it was decided on:
//! of two at once, one happens.

use carillon_domain::campaign::{Content, Entry, Reason, State};
use carillon_domain::id::{AccountNo, BatchId, CampaignId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::built;
use crate::email::NewEmail;
use crate::event::NewEvent;
use crate::hot::{open_text, seal_text};
use crate::{Db, StoreError};

/// When a campaign begins, as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The first time, local, without an offset.
    pub at: String,
    /// Name of the IANA time zone.
    pub time_zone: String,
    /// Whether it is the time of each recipient; then the zone stands for nothing.
    #[serde(default)]
    pub local_time: bool,
    /// Rule of repetition (`domain::schedule::Rule`).
    pub repeat: Option<String>,
}

/// A campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Campaign {
    /// Its id; also names the account.
    pub id: CampaignId,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Why it is paused, or failed.
    pub reason: Option<Reason>,
    /// What it sends.
    pub content: Content,
    /// To whom.
    pub audience: Vec<Entry>,
    /// When.
    pub plan: Option<Plan>,
    /// When the runner has something to do with it, Unix milliseconds; of a scheduled one its next start.
    pub look_at: Option<i64>,
    /// Messages a second at most.
    pub pace: Option<u32>,
    /// Runs begun so far.
    pub runs: u32,
    /// The last of them: the id of its batch.
    pub run: Option<BatchId>,
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
    reason: Option<i16>,
    content: Vec<u8>,
    audience: Option<Vec<u8>>,
    schedule: Option<String>,
    look_at: Option<i64>,
    pace: Option<i32>,
    runs: i32,
    run_id: Option<Uuid>,
    created_at: i64,
    changed_at: i64,
}

const COLUMNS: &str =
    "id, name, state, reason, content, audience, schedule, look_at, pace, runs, run_id, created_at, changed_at";
/// Of lists: audiences may be long.
const LISTED: &str =
    "id, name, state, reason, content, NULL AS audience, schedule, look_at, pace, runs, run_id, created_at, changed_at";

pub(crate) fn sealed<T: Serialize>(value: &T) -> Vec<u8> {
    seal_text(&serde_json::to_string(value).expect("plain data is JSON"))
}

pub(crate) fn opened<T: DeserializeOwned>(what: &str, sealed: &[u8]) -> Result<T, StoreError> {
    let text = open_text(sealed)?;
    serde_json::from_str(&text).map_err(|e| StoreError::Broken(format!("{what}: {e}")))
}

impl TryFrom<Row> for Campaign {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Campaign, StoreError> {
        let broken = |what: &str| StoreError::Broken(format!("{what} of campaign {}", r.id));
        let plan = r.schedule.as_deref().map(serde_json::from_str).transpose().map_err(|_| broken("schedule"))?;
        Ok(Campaign {
            id: CampaignId(r.id),
            name: r.name,
            state: State::from_number(r.state).ok_or_else(|| broken("state"))?,
            // A reason that this version does not know is none to it.
            reason: r.reason.and_then(Reason::from_number),
            content: opened("content of a campaign", &r.content)?,
            audience: r.audience.map_or(Ok(Vec::new()), |sealed| opened("audience of a campaign", &sealed))?,
            plan,
            look_at: r.look_at,
            pace: r.pace.map(|pace| pace.max(0) as u32),
            runs: r.runs.max(0) as u32,
            run: r.run_id.map(BatchId),
            created_at: r.created_at,
            changed_at: r.changed_at,
        })
    }
}

fn plan_json(plan: Option<&Plan>) -> Option<String> {
    plan.map(|plan| serde_json::to_string(plan).expect("texts are JSON"))
}

/// Stores a new one.
pub async fn create(db: &Db, c: &Campaign) -> Result<(), StoreError> {
    let text = format!(
        "INSERT INTO campaign (account_no, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    write_db!(db, |tx| {
        sqlx::query(built(text))
            .bind(c.id.account().as_i64())
            .bind(c.id.0)
            .bind(&c.name)
            .bind(c.state.number())
            .bind(c.reason.map(Reason::number))
            .bind(sealed(&c.content))
            .bind(sealed(&c.audience))
            .bind(plan_json(c.plan.as_ref()))
            .bind(c.look_at)
            .bind(c.pace.map(|pace| pace as i32))
            .bind(c.runs as i32)
            .bind(c.run.map(|run| run.0))
            .bind(c.created_at)
            .bind(c.changed_at)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// One campaign of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: CampaignId) -> Result<Campaign, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM campaign WHERE account_no = $1 AND id = $2");
    let row: Row = read_db!(db, |c| sqlx::query_as(built(text)).bind(account.as_i64()).bind(id.0).fetch_one(c).await)?;
    row.try_into()
}

/// Where a campaign stands, and its pace.
pub async fn standing(db: &Db, account: AccountNo, id: CampaignId) -> Result<(State, Option<u32>), StoreError> {
    let (state, pace): (i16, Option<i32>) = read_db!(db, |c| {
        sqlx::query_as("SELECT state, pace FROM campaign WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .fetch_one(c)
            .await
    })?;
    let state =
        State::from_number(state).ok_or_else(|| StoreError::Broken(format!("state {state} of campaign {id}")))?;
    Ok((state, pace.map(|pace| pace.max(0) as u32)))
}

/// Where a campaign stands.
pub async fn state(db: &Db, account: AccountNo, id: CampaignId) -> Result<State, StoreError> {
    Ok(standing(db, account, id).await?.0)
}

/// Up to `limit` campaigns before an id, newest first; of a state, if one is asked for. Without their audiences.
pub async fn list(
    db: &Db,
    account: AccountNo,
    state: Option<State>,
    before: Option<CampaignId>,
    limit: u32,
) -> Result<Vec<Campaign>, StoreError> {
    let text = format!(
        "SELECT {LISTED} FROM campaign WHERE account_no = $1 AND id < $2 AND ($3 IS NULL OR state = $3) ORDER BY id DESC LIMIT $4"
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
    rows.into_iter().map(Campaign::try_from).collect()
}

/// Writes name, content, audience and pace, if its state is still that of `c`. Whether it was.
pub async fn change(db: &Db, c: &Campaign) -> Result<bool, StoreError> {
    let changed = write_db!(db, |tx| {
        sqlx::query(
            "UPDATE campaign SET name = $4, content = $5, audience = $6, pace = $7, changed_at = $8 \
             WHERE account_no = $1 AND id = $2 AND state = $3",
        )
        .bind(c.id.account().as_i64())
        .bind(c.id.0)
        .bind(c.state.number())
        .bind(&c.name)
        .bind(sealed(&c.content))
        .bind(sealed(&c.audience))
        .bind(c.pace.map(|pace| pace as i32))
        .bind(c.changed_at)
        .execute(&mut *tx)
        .await?
        .rows_affected()
    });
    Ok(changed == 1)
}

/// Another state.
#[derive(Clone, Debug)]
pub struct Shift<'a> {
    /// The state it was decided on.
    pub from: State,
    /// The state it is to have.
    pub to: State,
    /// Why, of one that is paused or failed.
    pub reason: Option<Reason>,
    /// When the runner is to look at it, Unix milliseconds.
    pub look_at: Option<i64>,
    /// What is told of it. Wake the outbox afterwards.
    pub event: Option<&'a NewEvent>,
    /// Who is written to about it. Wake the postbox afterwards.
    pub mails: &'a [NewEmail],
    /// Unix milliseconds.
    pub now: i64,
}

/// Writes a shift within the caller's transaction; whether the state was still the one it was decided on.
macro_rules! put_shift {
    ($tx:expr, $account:expr, $id:expr, $shift:expr) => {{
        let shift: &$crate::campaign::Shift<'_> = $shift;
        let changed = sqlx::query(
            "UPDATE campaign SET state = $4, reason = $5, look_at = $6, changed_at = $7 WHERE account_no = $1 AND id = $2 AND state = $3",
        )
        .bind($account.as_i64())
        .bind($id.0)
        .bind(shift.from.number())
        .bind(shift.to.number())
        .bind(shift.reason.map(|reason| reason.number()))
        .bind(shift.look_at)
        .bind(shift.now)
        .execute(&mut *$tx)
        .await?
        .rows_affected()
            == 1;
        if changed {
            if let Some(event) = shift.event {
                $crate::event::put_event!($tx, event);
            }
            for mail in shift.mails {
                $crate::email::put_email!($tx, mail);
            }
        }
        changed
    }};
}

pub(crate) use put_shift;

/// Gives it another state, if it has the one that was decided on. Whether it had.
pub async fn shift(db: &Db, account: AccountNo, id: CampaignId, shift: &Shift<'_>) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| { put_shift!(tx, account, id, shift) }))
}

/// Gives it a time, or another one, as [`shift`].
pub async fn schedule(
    db: &Db,
    account: AccountNo,
    id: CampaignId,
    plan: &Plan,
    shift: &Shift<'_>,
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let changed = put_shift!(tx, account, id, shift);
        if changed {
            sqlx::query("UPDATE campaign SET schedule = $3 WHERE account_no = $1 AND id = $2")
                .bind(account.as_i64())
                .bind(id.0)
                .bind(plan_json(Some(plan)))
                .execute(&mut *tx)
                .await?;
        }
        changed
    }))
}

/// Has the runner look at it again later, whatever its state.
pub async fn look_again(db: &Db, account: AccountNo, id: CampaignId, at: Option<i64>) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE campaign SET look_at = $3 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(at)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// Takes a campaign away, if its state is still that. Its messages, and the batches of its runs, stay. Whether it was.
pub async fn delete(db: &Db, account: AccountNo, id: CampaignId, state: State) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let gone = sqlx::query("DELETE FROM campaign WHERE account_no = $1 AND id = $2 AND state = $3")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(state.number())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        gone == 1
    }))
}

/// Campaigns of all accounts that the runner has something to do with by now, longest due first.
pub async fn due(db: &Db, now: i64, limit: u32) -> Result<Vec<CampaignId>, StoreError> {
    let rows: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id FROM campaign WHERE look_at <= $1 ORDER BY look_at LIMIT $2")
            .bind(now)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(|(id,)| CampaignId(id)).collect())
}
