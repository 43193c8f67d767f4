//! How fast an account, or one of its senders, may go.

use carillon_domain::id::AccountNo;

use crate::{Db, StoreError};

/// One limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Throughput {
    /// Whose.
    pub account: AccountNo,
    /// Of which sender, in the form messages have it; empty = of the whole account.
    pub sender: String,
    /// At least 1.
    pub parts_per_second: u32,
}

/// Sets one limit, new or changed.
pub async fn set(db: &Db, limit: &Throughput) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query(
            "INSERT INTO throughput (account_no, sender, parts_per_second) VALUES ($1, $2, $3) \
             ON CONFLICT (account_no, sender) DO UPDATE SET parts_per_second = excluded.parts_per_second",
        )
        .bind(limit.account.as_i64())
        .bind(&limit.sender)
        .bind(i64::from(limit.parts_per_second))
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes one limit off; `NotFound` if there is none.
pub async fn delete(db: &Db, account: AccountNo, sender: &str) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query("DELETE FROM throughput WHERE account_no = $1 AND sender = $2")
            .bind(account.as_i64())
            .bind(sender)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// An account's limits, by sender.
pub async fn list(db: &Db, account: AccountNo) -> Result<Vec<Throughput>, StoreError> {
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT account_no, sender, parts_per_second FROM throughput WHERE account_no = $1 ORDER BY sender",
        )
        .bind(account.as_i64())
        .fetch_all(c)
        .await
    })?;
    rows.into_iter().map(read).collect()
}

/// Every account's.
pub async fn all(db: &Db) -> Result<Vec<Throughput>, StoreError> {
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no, sender, parts_per_second FROM throughput").fetch_all(c).await
    })?;
    rows.into_iter().map(read).collect()
}

type Row = (i64, String, i64);

fn read((account, sender, rate): Row) -> Result<Throughput, StoreError> {
    let parts_per_second = u32::try_from(rate).map_err(|_| StoreError::Broken(format!("a throughput of {rate}")))?;
    Ok(Throughput { account: AccountNo::from_i64(account), sender, parts_per_second })
}
