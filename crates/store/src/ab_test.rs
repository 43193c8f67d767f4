//! A/B tests under way: the numbers of their variants, and what was decided. A test is decided once, with the text that the rest is sent, so that
//! any process can go on with it.

use carillon_domain::ab_test::{Chooser, Counts};
use carillon_domain::campaign::State;
use carillon_domain::id::{AccountNo, BatchId, CampaignId, compose};
use carillon_domain::keyword::Action;

use crate::campaign::{Shift, put_shift};
use crate::campaign_run::Run;
use crate::hot::seal_text;
use crate::{Db, StoreError, batch};

/// So long after a launch answers count, milliseconds: as long as recipients are kept.
const REPLIES_MS: i64 = 30 * 86_400_000;

/// Where a test stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// When it is decided, Unix milliseconds; `None`: its messages are being handed in.
    pub decide_at: Option<i64>,
    /// What was decided.
    pub decided: Option<Decided>,
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// The variant that the rest gets, from 0.
    pub winner: usize,
    /// Who chose it.
    pub by: Chooser,
    /// Unix milliseconds.
    pub at: i64,
    /// The numbers of each variant at that time.
    pub found: Vec<Counts>,
}

/// Where the test of a run stands.
pub async fn standing(db: &Db, account: AccountNo, run: BatchId) -> Result<Standing, StoreError> {
    type Row = (Option<i64>, Option<i32>, Option<i16>, Option<i64>, Option<String>);
    let row: Row = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT decide_at, winner, chosen_by, decided_at, found FROM ab_test WHERE account_no = $1 AND run_id = $2",
        )
        .bind(account.as_i64())
        .bind(run.0)
        .fetch_one(c)
        .await
    })?;
    let decided = match row {
        (_, Some(winner), by, at, found) => {
            let broken = || StoreError::Broken(format!("decision of the test of run {run}"));
            Some(Decided {
                winner: winner.max(0) as usize,
                by: by.and_then(Chooser::from_number).ok_or_else(broken)?,
                at: at.ok_or_else(broken)?,
                found: serde_json::from_str(&found.ok_or_else(broken)?).map_err(|_| broken())?,
            })
        }
        _ => None,
    };
    Ok(Standing { decide_at: row.0, decided })
}

/// All of a test is handed in: it is decided at that time, unless one was set or it is decided. Whether it waits now; the runner looks at it then.
pub async fn wait(db: &Db, campaign: CampaignId, run: BatchId, at: i64) -> Result<bool, StoreError> {
    let account = campaign.account().as_i64();
    Ok(write_db!(db, |tx| {
        // The test's row first, as `decide` does: of both at once one is seen by the other.
        let waits = sqlx::query(
            "UPDATE ab_test SET decide_at = COALESCE(decide_at, $3) WHERE account_no = $1 AND run_id = $2 AND winner IS NULL",
        )
        .bind(account)
        .bind(run.0)
        .bind(at)
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        if waits {
            sqlx::query(
                "UPDATE campaign SET look_at = (SELECT t.decide_at FROM ab_test t WHERE t.account_no = $1 AND t.run_id = $3) \
                 WHERE account_no = $1 AND id = $2 AND state = $4",
            )
            .bind(account)
            .bind(campaign.0)
            .bind(run.0)
            .bind(State::Running.number())
            .execute(&mut *tx)
            .await?;
        }
        waits
    }))
}

/// A decision to be written.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// Whose test.
    pub campaign: CampaignId,
    /// The run of the rest.
    pub run: BatchId,
    /// What.
    pub decided: &'a Decided,
    /// The text that the rest shares, or its places unfilled.
    pub body: &'a str,
    /// How the campaign moves with it, if it does.
    pub shift: Option<&'a Shift<'a>>,
}

/// Decides a test, if nobody has. Whether it was this.
pub async fn decide(db: &Db, decision: &Decision<'_>) -> Result<bool, StoreError> {
    let (account, decided) = (decision.campaign.account(), decision.decided);
    let found = serde_json::to_string(&decided.found).expect("numbers are JSON");
    Ok(write_db!(db, |tx| {
        let mine = sqlx::query(
            "UPDATE ab_test SET winner = $3, chosen_by = $4, decided_at = $5, found = $6 \
             WHERE account_no = $1 AND run_id = $2 AND winner IS NULL",
        )
        .bind(account.as_i64())
        .bind(decision.run.0)
        .bind(decided.winner as i32)
        .bind(decided.by.number())
        .bind(decided.at)
        .bind(&found)
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        if mine {
            sqlx::query("UPDATE batch SET body = $3 WHERE account_no = $1 AND id = $2")
                .bind(account.as_i64())
                .bind(decision.run.0)
                .bind(seal_text(decision.body))
                .execute(&mut *tx)
                .await?;
            if let Some(shift) = decision.shift {
                put_shift!(tx, account, decision.campaign, shift);
            }
            // It goes on now, not at the time it waited for.
            sqlx::query("UPDATE campaign SET look_at = $4 WHERE account_no = $1 AND id = $2 AND state = $3")
                .bind(account.as_i64())
                .bind(decision.campaign.0)
                .bind(State::Running.number())
                .bind(decided.at)
                .execute(&mut *tx)
                .await?;
        }
        mine
    }))
}

/// What became of the messages of a variant's run so far.
pub async fn counts(db: &Db, run: &Run) -> Result<Counts, StoreError> {
    let account = run.id.account();
    let totals = batch::by_id(db, account, run.id).await?;
    // Messages from phones are in the order of their time: only those of the days after the launch are looked at.
    let since = |ms| compose(run.started_at + ms, 0, AccountNo(0));
    let (replied,): (i64,) = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT COUNT(DISTINCT i.peer_tag) FROM inbound_message i JOIN campaign_recipient r \
             ON r.account_no = i.account_no AND r.run_id = $2 AND r.phone_tag = i.peer_tag \
             WHERE i.account_no = $1 AND i.id > $3 AND i.id < $6 AND i.action <> $4 AND r.code IS NULL AND r.phone_tag <= $5",
        )
        .bind(account.as_i64())
        .bind(run.id.0)
        .bind(since(0))
        .bind(Action::Stop.number())
        .bind(run.cursor)
        .bind(since(REPLIES_MS))
        .fetch_one(c)
        .await
    })?;
    let (clicked,): (i64,) = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT COUNT(DISTINCT message_id) FROM short_link WHERE account_no = $1 AND batch_id = $2 AND first_at IS NOT NULL",
        )
        .bind(account.as_i64())
        .bind(run.id.0)
        .fetch_one(c)
        .await
    })?;
    Ok(Counts {
        messages: totals.total.max(0) as u64,
        delivered: totals.delivered.max(0) as u64,
        replied: replied.max(0) as u64,
        clicked: clicked.max(0) as u64,
    })
}
