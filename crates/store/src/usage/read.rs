//! Reads usage, grouped as asked for.

use std::collections::{BTreeMap, HashMap};

use carillon_domain::id::{AccountNo, BatchId, CampaignId};
use carillon_domain::report::Dimension;
use carillon_domain::usage::Totals;
use uuid::Uuid;

use super::{ACCEPTED, CLICKED, REPLIED, batch_of};
use crate::{Db, StoreError};

/// Groups that are answered at most.
pub const GROUPS_MAX: usize = 10_000;
/// Rows read at most: a group has one for each end and class of delivery time.
const ROWS_MAX: usize = 20 * GROUPS_MAX;

/// Which cells; all conditions hold together, and an empty list is no condition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Of these batches.
    pub batches: Vec<BatchId>,
    /// Of these campaigns.
    pub campaigns: Vec<CampaignId>,
    /// To these countries, as `Country::number`; 0 = none.
    pub countries: Vec<i16>,
    /// Over these connections, by number; 0 = none.
    pub connections: Vec<i32>,
    /// That came to these ends, as `State::number`.
    pub states: Vec<i16>,
    /// For these reasons, by number; 0 = none.
    pub errors: Vec<i16>,
}

/// What the messages of a group have in common. `None` is what was not grouped by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Key {
    /// Days since 1970.
    pub day: Option<i32>,
    /// As `Country::number`; 0 = none.
    pub country: Option<i16>,
    /// By number; 0 = none.
    pub connection: Option<i32>,
    /// As `State::number`.
    pub state: Option<i16>,
    /// By number; 0 = none.
    pub error: Option<i16>,
    /// Their batch, if they have one.
    pub batch: Option<Option<BatchId>>,
    /// Their campaign, if they have one.
    pub campaign: Option<Option<CampaignId>>,
}

/// A group and its sums.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// What they have in common.
    pub key: Key,
    /// Their sums.
    pub totals: Totals,
}

type Row = (Option<i32>, Option<i16>, Option<i32>, Option<i16>, Option<Uuid>, Option<Uuid>, i16, i16, i64, i64, i64);

/// Sums of the messages an account had accepted between two days (days since 1970, both included), by group in the order of their keys. What
/// was only accepted has neither connection nor end: it is left out where one of these is asked for. `None` if there are more than
/// `GROUPS_MAX` groups.
pub async fn totals(
    db: &Db,
    account: AccountNo,
    days: (i32, i32),
    filter: &Filter,
    by: &[Dimension],
) -> Result<Option<Vec<Group>>, StoreError> {
    let text = text(filter, by);
    let rows: Vec<Row> = read_db!(db, |c| {
        let mut query = sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(days.0).bind(days.1);
        for batch in &filter.batches {
            query = query.bind(batch.0);
        }
        for campaign in &filter.campaigns {
            query = query.bind(campaign.0);
        }
        for country in &filter.countries {
            query = query.bind(*country);
        }
        for connection in &filter.connections {
            query = query.bind(*connection);
        }
        for small in filter.states.iter().chain(&filter.errors) {
            query = query.bind(*small);
        }
        query.fetch_all(c).await
    })?;
    if rows.len() > ROWS_MAX {
        return Ok(None);
    }
    let mut groups = BTreeMap::<Key, Totals>::new();
    for (day, country, connection, error, batch, campaign, state, speed, messages, parts, captured) in rows {
        let key = Key {
            day,
            country,
            connection,
            state: by.contains(&Dimension::Status).then_some(state),
            error,
            batch: batch.map(batch_of),
            campaign: by.contains(&Dimension::Campaign).then_some(campaign.map(CampaignId)),
        };
        let totals = groups.entry(key).or_default();
        match state {
            ACCEPTED => totals.accepted += messages,
            CLICKED => totals.clicked += messages,
            REPLIED => totals.replied += messages,
            ended => totals.end(ended, speed, messages, parts, captured),
        }
    }
    groups.retain(|_, totals| *totals != Totals::default());
    let groups = groups.into_iter().map(|(key, totals)| Group { key, totals });
    Ok((groups.len() <= GROUPS_MAX).then(|| groups.collect()))
}

/// The campaign of a row, if it has one.
const CAMPAIGN: &str = "(SELECT r.campaign_id FROM campaign_run r WHERE r.account_no = usage_day.account_no AND r.id = usage_day.batch_id)";

fn text(filter: &Filter, by: &[Dimension]) -> String {
    // In the order of a `Row`; what is not grouped by is nothing.
    let column = |dimension, name: &'static str, kind| match by.contains(&dimension) {
        true => (name.to_owned(), format!("{name}, ")),
        false => (format!("CAST(NULL AS {kind})"), String::new()),
    };
    let columns = [
        column(Dimension::Day, "day", "INTEGER"),
        column(Dimension::Country, "country", "SMALLINT"),
        column(Dimension::Connection, "connection_no", "INTEGER"),
        column(Dimension::Error, "error_code", "SMALLINT"),
        column(Dimension::Batch, "batch_id", "UUID"),
        column(Dimension::Campaign, CAMPAIGN, "UUID"),
    ];
    let (shown, grouped): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
    let mut next = 4;
    let mut one_of = |name: &str, count: usize, end: &str| {
        let first = next;
        next += count;
        if count == 0 { String::new() } else { format!(" AND {name} IN ({}){end}", crate::db::places(first, count)) }
    };
    let of_campaigns = "batch_id IN (SELECT id FROM campaign_run WHERE account_no = $1 AND campaign_id";
    let conditions = [
        one_of("batch_id", filter.batches.len(), ""),
        one_of(of_campaigns, filter.campaigns.len(), ")"),
        one_of("country", filter.countries.len(), ""),
        one_of("connection_no", filter.connections.len(), ""),
        one_of("state", filter.states.len(), ""),
        one_of("error_code", filter.errors.len(), ""),
    ];
    let of_ends = filter.asks_for_ends() || by.iter().any(|dimension| dimension.is_of_ends());
    format!(
        "SELECT {}, state, speed, CAST(SUM(messages) AS BIGINT), CAST(SUM(parts) AS BIGINT), CAST(SUM(captured) AS BIGINT)
         FROM usage_day WHERE account_no = $1 AND day BETWEEN $2 AND $3{}{}
         GROUP BY {}state, speed LIMIT {}",
        shown.join(", "),
        conditions.concat(),
        if of_ends { " AND state >= 0" } else { "" },
        grouped.concat(),
        ROWS_MAX + 1
    )
}

impl Filter {
    /// Whether only messages that have ended can meet it.
    pub fn asks_for_ends(&self) -> bool {
        !(self.connections.is_empty() && self.states.is_empty() && self.errors.is_empty())
    }
}

/// Names of the connections there are and were, by number.
pub async fn connections(db: &Db) -> Result<HashMap<i32, String>, StoreError> {
    let rows: Vec<(i32, String)> =
        read_db!(db, |c| sqlx::query_as("SELECT CAST(no AS INTEGER), name FROM connection").fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

/// One hour of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hour {
    /// Hours since 1970.
    pub hour: i32,
    /// Messages accepted in it.
    pub accepted: i64,
    /// Of these, how many have ended.
    pub ended: i64,
    /// And how many were delivered.
    pub delivered: i64,
}

/// What an account had accepted between two hours (hours since 1970, both included), in order; hours without any are left out.
pub async fn hours(db: &Db, account: AccountNo, from: i32, to: i32) -> Result<Vec<Hour>, StoreError> {
    let rows: Vec<(i32, i64, i64, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT hour, accepted, ended, delivered FROM usage_hour WHERE account_no = $1 AND hour BETWEEN $2 AND $3 ORDER BY hour",
        )
        .bind(account.as_i64())
        .bind(from)
        .bind(to)
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(hour, accepted, ended, delivered)| Hour { hour, accepted, ended, delivered }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A year is read by the key, a batch by its index: never the whole table.
    #[tokio::test]
    async fn usage_is_found_by_its_keys() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let db = Db::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.expect("it opens");
        db.migrate().await.expect("it migrates");
        let Db::Sqlite(file) = &db else { panic!("a SQLite file was opened") };
        let id = BatchId(Uuid::from_u128(1));
        let rows = [
            (Filter::default(), &[Dimension::Day][..], "USING PRIMARY KEY (account_no=? AND day>? AND day<?)"),
            (
                Filter { countries: vec![1, 2], ..Filter::default() },
                Dimension::ALL,
                "USING PRIMARY KEY (account_no=? AND day>",
            ),
            (
                Filter { batches: vec![id], ..Filter::default() },
                &[],
                "USING INDEX usage_day_batch (account_no=? AND batch_id=?",
            ),
            (
                Filter { campaigns: vec![CampaignId(id.0)], ..Filter::default() },
                &[Dimension::Campaign],
                "USING INDEX usage_day_batch (account_no=? AND batch_id=?",
            ),
        ];
        for (filter, by, expected) in rows {
            let explain = format!("EXPLAIN QUERY PLAN {}", text(&filter, by));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(crate::db::built(explain)).fetch_all(&file.readers).await.expect("it is explained");
            let plan = plan.into_iter().map(|(_, _, _, step)| step).collect::<Vec<_>>().join("; ");
            assert!(plan.contains(expected), "{plan}");
        }
    }
}
