//! Routes: which connections a message may take. What they ask and where they lead is JSON here; the server reads it into `domain::route`.

use carillon_domain::id::{AccountNo, RouteId};
use uuid::Uuid;

use crate::db::{newest, one};
use crate::{Db, StoreError};

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Which.
    pub id: RouteId,
    /// Whose; `AccountNo::PLATFORM` for everybody's.
    pub account: AccountNo,
    /// For people.
    pub name: String,
    /// The lowest that fits counts.
    pub rank: i32,
    /// Whether it counts at all.
    pub enabled: bool,
    /// JSON, as the API shows it.
    pub conditions: String,
    /// JSON, as the API shows it.
    pub groups: String,
    /// Whether a failed receipt sends the message to the next connection.
    pub reroute: bool,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
}

type Row = (Uuid, i64, String, i32, bool, String, String, bool, i64, i64);
const COLUMNS: &str = "id, account_no, name, rank, enabled, conditions, groups, reroute, created_at, updated_at";

fn read((id, account, name, rank, enabled, conditions, groups, reroute, created_at, updated_at): Row) -> Route {
    let (id, account) = (RouteId(id), AccountNo::from_i64(account));
    Route { id, account, name, rank, enabled, conditions, groups, reroute, created_at, updated_at }
}

/// How often connections, routes, rates, ranges or throughput were changed: another figure than before means that they are to be read again.
pub async fn version(db: &Db) -> Result<i64, StoreError> {
    let (version,): (i64,) =
        read_db!(db, |c| sqlx::query_as("SELECT version FROM routing_version").fetch_one(c).await)?;
    Ok(version)
}

/// Stores a new one; `Taken("routes")` if its account has `most` already.
pub async fn create(db: &Db, route: &Route, most: u32) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM route WHERE account_no = $1")
            .bind(route.account.as_i64())
            .fetch_one(&mut *tx)
            .await?;
        if count >= i64::from(most) {
            return Err(StoreError::Taken("routes"));
        }
        sqlx::query(
            "INSERT INTO route (id, account_no, name, rank, enabled, conditions, groups, reroute, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(route.id.0)
        .bind(route.account.as_i64())
        .bind(&route.name)
        .bind(route.rank)
        .bind(route.enabled)
        .bind(&route.conditions)
        .bind(&route.groups)
        .bind(route.reroute)
        .bind(route.created_at)
        .bind(route.updated_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// One of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: RouteId) -> Result<Route, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM route WHERE account_no = $1 AND id = $2");
    let row = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// Up to `limit` of an account older than one (all, if `None`), newest first.
pub async fn list(db: &Db, account: AccountNo, before: Option<RouteId>, limit: u32) -> Result<Vec<Route>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM route WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    Ok(rows.into_iter().map(read).collect())
}

/// Every account's that count.
pub async fn enabled(db: &Db) -> Result<Vec<Route>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM route WHERE enabled = $1 ORDER BY id");
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(true).fetch_all(c).await)?;
    Ok(rows.into_iter().map(read).collect())
}

/// Puts a route in the place of the one with its id and account; `NotFound` if there is none.
pub async fn change(db: &Db, route: &Route) -> Result<(), StoreError> {
    let changed = write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query(
            "UPDATE route SET name = $3, rank = $4, enabled = $5, conditions = $6, groups = $7, reroute = $8, updated_at = $9 \
             WHERE account_no = $1 AND id = $2",
        )
        .bind(route.account.as_i64())
        .bind(route.id.0)
        .bind(&route.name)
        .bind(route.rank)
        .bind(route.enabled)
        .bind(&route.conditions)
        .bind(&route.groups)
        .bind(route.reroute)
        .bind(route.updated_at)
        .execute(&mut *tx)
        .await?
        .rows_affected()
    });
    if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// Deletes one of an account; `NotFound` if there is none.
pub async fn delete(db: &Db, account: AccountNo, id: RouteId) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query("DELETE FROM route WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
