//! Runs of campaigns: a launch writes its audience, one row for each number, and then hands it in, number by number in the order of their tags.
//! Where it stands is written by the transaction that did it, so that a crash misses nobody and writes nobody twice.

use std::sync::Arc;

use carillon_domain::campaign::Words;
use carillon_domain::id::{AccountNo, BatchId, CampaignId};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::campaign::{Shift, opened, put_shift, sealed};
use crate::db::built;
use crate::hot::{IdempotencyKey, open_phone, open_text, seal_phone, seal_text};
use crate::idempotency::keyed;
use crate::{Db, StoreError};

/// Before every tag.
pub const BEGIN: i64 = i64::MIN;

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The id of its batch, which has the totals of its messages.
    pub id: BatchId,
    /// Whose.
    pub campaign: CampaignId,
    /// From 1.
    pub number: u32,
    /// Which variant of an A/B test, from 0; `None`: the rest, or there is no test.
    pub variant: Option<usize>,
    /// Up to where the audience is written; `None`: all of it is.
    pub place: Option<String>,
    /// Tag of the last recipient that was handed in.
    pub cursor: i64,
    /// Recipients, those left out too.
    pub total: u32,
    /// Numbers that came again and were passed over.
    pub duplicates: u32,
    /// Recipients left out.
    pub skipped: u32,
    /// Messages with a time of their own.
    pub deferred: u32,
    /// Local time at which each message goes where its recipient is; `None`: all go at once.
    pub local_at: Option<String>,
    /// Unix milliseconds.
    pub started_at: i64,
    /// When the last was handed in, Unix milliseconds.
    pub ended_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    campaign_id: Uuid,
    number: i32,
    variant: Option<i32>,
    place: Option<String>,
    cursor: i64,
    total: i32,
    duplicates: i32,
    skipped: i32,
    deferred: i32,
    local_at: Option<String>,
    started_at: i64,
    ended_at: Option<i64>,
}

const COLUMNS: &str = "id, campaign_id, number, variant, place, cursor, total, duplicates, skipped, deferred, local_at, started_at, ended_at";

impl From<Row> for Run {
    fn from(r: Row) -> Run {
        let count = |n: i32| n.max(0) as u32;
        Run {
            id: BatchId(r.id),
            campaign: CampaignId(r.campaign_id),
            number: count(r.number),
            variant: r.variant.map(|n| n.max(0) as usize),
            place: r.place,
            cursor: r.cursor,
            total: count(r.total),
            duplicates: count(r.duplicates),
            skipped: count(r.skipped),
            deferred: count(r.deferred),
            local_at: r.local_at,
            started_at: r.started_at,
            ended_at: r.ended_at,
        }
    }
}

/// A run to be begun.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id, and that of its batch.
    pub id: BatchId,
    /// Whose.
    pub campaign: CampaignId,
    /// From 1.
    pub number: u32,
    /// Where the writing of the audience begins.
    pub place: String,
    /// The text that its messages share, or its places unfilled.
    pub body: Arc<str>,
    /// JSON array of the labels of its messages.
    pub tags: Option<String>,
    /// Local time at which each message goes where its recipient is.
    pub local_at: Option<String>,
    /// Of an A/B test: a run for each variant, beside this one for the rest, and the text its messages share.
    pub variants: Vec<(BatchId, Arc<str>)>,
}

/// What became of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Launched {
    /// It runs.
    Launched,
    /// The campaign has another state by now; nothing was changed.
    Lost,
    /// The same request began this run before.
    Replayed(BatchId),
    /// Another request had the key before.
    KeyReused,
}

/// `idempotency.kind` of launches.
const KIND: i16 = 4;

/// Begins a run, with its empty batch, and gives the campaign its new state.
pub async fn launch(
    db: &Db,
    account: AccountNo,
    run: &NewRun,
    shift: &Shift<'_>,
    key: Option<IdempotencyKey>,
) -> Result<Launched, StoreError> {
    write_db!(db, |tx| {
        if let Some(used) = keyed!(tx, account, key, run.id.0, KIND, shift.now) {
            return Ok(used.map_or(Launched::KeyReused, |id| Launched::Replayed(BatchId(id))));
        }
        if !put_shift!(tx, account, run.campaign, shift) {
            return Ok(Launched::Lost);
        }
        sqlx::query("UPDATE campaign SET run_id = $3, runs = $4 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(run.campaign.0)
            .bind(run.id.0)
            .bind(run.number as i32)
            .execute(&mut *tx)
            .await?;
        let rest = (run.id, &run.body, None, Some(&run.place));
        let variants = run.variants.iter().enumerate().map(|(n, (id, body))| (*id, body, Some(n as i32), None));
        for (id, body, variant, place) in std::iter::once(rest).chain(variants) {
            sqlx::query(
                "INSERT INTO batch (account_no, id, state, body, total, queued, sent, delivered, failed, parts, held, captured, tags, created_at) \
                 VALUES ($1, $2, 1, $3, 0, 0, 0, 0, 0, 0, 0, 0, $4, $5)",
            )
            .bind(account.as_i64())
            .bind(id.0)
            .bind(seal_text(body))
            .bind(run.tags.as_deref())
            .bind(shift.now)
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO campaign_run (account_no, id, campaign_id, number, variant, place, cursor, total, duplicates, skipped, deferred, \
                 local_at, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, $9, $8)",
            )
            .bind(account.as_i64())
            .bind(id.0)
            .bind(run.campaign.0)
            .bind(run.number as i32)
            .bind(variant)
            .bind(place)
            .bind(BEGIN)
            .bind(shift.now)
            .bind(run.local_at.as_deref())
            .execute(&mut *tx)
            .await?;
        }
        if !run.variants.is_empty() {
            sqlx::query("INSERT INTO ab_test (account_no, run_id) VALUES ($1, $2)")
                .bind(account.as_i64())
                .bind(run.id.0)
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(Launched::Launched)
}

/// Ends the run under way, and those of its variants: nothing more is handed in. The campaign's state changes with it, if it is still the one that
/// was decided on.
pub async fn end(
    db: &Db,
    account: AccountNo,
    campaign: CampaignId,
    shift: Option<&Shift<'_>>,
    now: i64,
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let changed = match shift {
            Some(shift) => put_shift!(tx, account, campaign, shift),
            None => true,
        };
        if changed {
            sqlx::query(
                "UPDATE campaign_run SET ended_at = $3 WHERE account_no = $1 AND campaign_id = $2 AND ended_at IS NULL",
            )
            .bind(account.as_i64())
            .bind(campaign.0)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        changed
    }))
}

/// Ends the run of a variant: all of it is handed in.
pub async fn end_variant(db: &Db, account: AccountNo, run: BatchId, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE campaign_run SET ended_at = $3 WHERE account_no = $1 AND id = $2 AND ended_at IS NULL")
            .bind(account.as_i64())
            .bind(run.0)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// The runs of the variants of a campaign's launch, in their order; none of one without a test.
pub async fn variants(db: &Db, campaign: CampaignId, number: u32) -> Result<Vec<Run>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM campaign_run WHERE account_no = $1 AND campaign_id = $2 AND number = $3 AND variant IS NOT NULL \
         ORDER BY variant"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(campaign.account().as_i64())
            .bind(campaign.0)
            .bind(number as i32)
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// One run.
pub async fn by_id(db: &Db, account: AccountNo, run: BatchId) -> Result<Run, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM campaign_run WHERE account_no = $1 AND id = $2");
    let row: Row = read_db!(db, |c| sqlx::query_as(built(text)).bind(account.as_i64()).bind(run.0).fetch_one(c).await)?;
    Ok(row.into())
}

/// Sums over the runs of a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs, reason = "as of a batch, and of a run")]
pub struct Totals {
    pub recipients: i64,
    pub duplicates: i64,
    pub skipped: i64,
    pub messages: i64,
    pub queued: i64,
    pub sent: i64,
    pub delivered: i64,
    pub failed: i64,
    pub parts: i64,
    pub held: Money,
    pub captured: Money,
}

/// What became of all messages of a campaign, as settle keeps it with its batches.
pub async fn totals(db: &Db, account: AccountNo, campaign: CampaignId) -> Result<Totals, StoreError> {
    type Row = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let columns = [
        "r.total",
        "r.duplicates",
        "r.skipped",
        "b.total",
        "b.queued",
        "b.sent",
        "b.delivered",
        "b.failed",
        "b.parts",
        "b.held",
        "b.captured",
    ];
    let sums = columns.map(|name| format!("COALESCE(CAST(SUM({name}) AS BIGINT), 0)")).join(", ");
    let text = format!(
        "SELECT {sums} FROM campaign_run r JOIN batch b ON b.account_no = r.account_no AND b.id = r.id \
         WHERE r.account_no = $1 AND r.campaign_id = $2"
    );
    let row: Row =
        read_db!(db, |c| sqlx::query_as(built(text)).bind(account.as_i64()).bind(campaign.0).fetch_one(c).await)?;
    let (recipients, duplicates, skipped, messages, queued, sent, delivered, failed, parts, held, captured) = row;
    Ok(Totals {
        recipients,
        duplicates,
        skipped,
        messages,
        queued,
        sent,
        delivered,
        failed,
        parts,
        held: Money(held),
        captured: Money(captured),
    })
}

/// A person of an audience, or what was written instead of a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecipient {
    /// Keyed hash of the number; of what is none, of what was written.
    pub phone_tag: i64,
    /// E.164 digits without +; or what was written, and why it is no number.
    pub to: Result<u64, (String, &'static str)>,
    /// Words for the places of the text.
    pub words: Words,
}

/// Rows of one statement: SQLite takes some 32,000 values in one.
const ROWS: usize = 1_000;

/// Writes some of an audience, to the run of each, and where the next begins (`None`: that was the last), if `run` stands where they were read.
/// Whether it did.
pub async fn write_audience(
    db: &Db,
    account: AccountNo,
    run: BatchId,
    people: &[(BatchId, Vec<NewRecipient>)],
    place: &str,
    next: Option<&str>,
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let mine = sqlx::query("UPDATE campaign_run SET place = $4 WHERE account_no = $1 AND id = $2 AND place = $3")
            .bind(account.as_i64())
            .bind(run.0)
            .bind(place)
            .bind(next)
            .execute(&mut *tx)
            .await?;
        if mine.rows_affected() == 0 {
            return Ok(false);
        }
        for (into, people) in people {
            let (mut new, mut skipped) = (0u64, 0u64);
            // Those that are left out by themselves: how many of them are new must be known.
            for wrong in [false, true] {
                let some: Vec<&NewRecipient> = people.iter().filter(|p| p.to.is_err() == wrong).collect();
                for rows in some.chunks(ROWS) {
                    let mut query = sqlx::QueryBuilder::new(
                        "INSERT INTO campaign_recipient (account_no, run_id, phone_tag, phone, given, words, code) ",
                    );
                    query.push_values(rows, |mut row, p| {
                        let (phone, given, code) = match &p.to {
                            Ok(digits) => (Some(seal_phone(*digits).to_vec()), None, None),
                            Err((given, code)) => (None, Some(seal_text(given)), Some(*code)),
                        };
                        let words = (!p.words.is_empty()).then(|| sealed(&p.words));
                        row.push_bind(account.as_i64()).push_bind(into.0).push_bind(p.phone_tag);
                        row.push_bind(phone).push_bind(given).push_bind(words).push_bind(code);
                    });
                    query.push(" ON CONFLICT (account_no, run_id, phone_tag) DO NOTHING");
                    let written = query.build().execute(&mut *tx).await?.rows_affected();
                    new += written;
                    skipped += if wrong { written } else { 0 };
                }
            }
            sqlx::query(
                "UPDATE campaign_run SET total = total + $3, duplicates = duplicates + $4, skipped = skipped + $5 \
                 WHERE account_no = $1 AND id = $2",
            )
            .bind(account.as_i64())
            .bind(into.0)
            .bind(new as i64)
            .bind(people.len() as i64 - new as i64)
            .bind(skipped as i64)
            .execute(&mut *tx)
            .await?;
        }
        true
    }))
}

/// Somebody who is to be written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// E.164 digits without +.
    pub phone: u64,
    /// Words for the places of the text.
    pub words: Words,
}

/// Up to `limit` recipients behind a tag, in order; those left out are passed over.
pub async fn waiting(
    db: &Db,
    account: AccountNo,
    run: BatchId,
    after: i64,
    limit: u32,
) -> Result<Vec<Waiting>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT phone_tag, phone, words FROM campaign_recipient WHERE account_no = $1 AND run_id = $2 AND phone_tag > $3 \
             AND code IS NULL ORDER BY phone_tag LIMIT $4",
        )
        .bind(account.as_i64())
        .bind(run.0)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let read = |(phone_tag, phone, words): (i64, Vec<u8>, Option<Vec<u8>>)| {
        let words = words.map_or(Ok(Words::new()), |sealed| opened("words of a recipient", &sealed))?;
        Ok(Waiting { phone_tag, phone: open_phone(&phone)?, words })
    };
    rows.into_iter().map(read).collect()
}

/// A recipient as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// E.164 digits without +, or what was written instead of a number.
    pub to: Result<u64, Arc<str>>,
    /// Why it was left out.
    pub code: Option<String>,
}

/// Up to `limit` recipients behind a tag, in order; of those left out only, or of the others.
pub async fn recipients(
    db: &Db,
    account: AccountNo,
    run: BatchId,
    skipped: Option<bool>,
    after: i64,
    limit: u32,
) -> Result<Vec<Recipient>, StoreError> {
    let only = match skipped {
        None => "",
        Some(true) => "AND code IS NOT NULL",
        Some(false) => "AND code IS NULL",
    };
    let text = format!(
        "SELECT phone_tag, phone, given, code FROM campaign_recipient WHERE account_no = $1 AND run_id = $2 AND phone_tag > $3 {only} \
         ORDER BY phone_tag LIMIT $4"
    );
    let rows: Vec<(i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<String>)> = read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(run.0)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter()
        .map(|(phone_tag, phone, given, code)| {
            let to = match (phone, given) {
                (Some(phone), _) => Ok(open_phone(&phone)?),
                (None, given) => Err(given.as_deref().map_or_else(|| Ok(Arc::from("")), open_text)?),
            };
            Ok(Recipient { phone_tag, to, code })
        })
        .collect()
}

/// How many recipients of a run were left out, by reason.
pub async fn skipped(db: &Db, account: AccountNo, run: BatchId) -> Result<Vec<(String, i64)>, StoreError> {
    Ok(read_db!(db, |c| {
        sqlx::query_as(
            "SELECT code, COUNT(*) FROM campaign_recipient WHERE account_no = $1 AND run_id = $2 AND code IS NOT NULL \
             GROUP BY code ORDER BY code",
        )
        .bind(account.as_i64())
        .bind(run.0)
        .fetch_all(c)
        .await
    })?)
}

/// A run that ended before an instant and still has recipients, of whatever account.
pub async fn ended_before(db: &Db, before: i64) -> Result<Option<(AccountNo, BatchId)>, StoreError> {
    let row: Option<(i64, Uuid)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT r.account_no, r.id FROM campaign_run r WHERE r.ended_at < $1 AND EXISTS (SELECT 1 FROM campaign_recipient p \
             WHERE p.account_no = r.account_no AND p.run_id = r.id) LIMIT 1",
        )
        .bind(before)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(account, run)| (AccountNo::from_i64(account), BatchId(run))))
}

/// Takes up to `limit` recipients of a run away; how many there were.
pub async fn forget(db: &Db, account: AccountNo, run: BatchId, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM campaign_recipient WHERE account_no = $1 AND run_id = $2 AND phone_tag IN \
             (SELECT phone_tag FROM campaign_recipient WHERE account_no = $1 AND run_id = $2 LIMIT $3)",
        )
        .bind(account.as_i64())
        .bind(run.0)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
