//! Prices of a part by destination prefix and lane; account 0 is everybody's list.

use carillon_domain::id::AccountNo;
use carillon_domain::money::Money;

use crate::{Db, StoreError};

/// One line of a price list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Whose list; `AccountNo::PLATFORM` is everybody's.
    pub account: AccountNo,
    /// Digits after the plus; empty = everywhere.
    pub prefix: String,
    /// -1 any, else the number of a lane.
    pub lane: i16,
    /// Of one part.
    pub price: Money,
}

/// Sets one line, new or changed.
pub async fn set(db: &Db, rate: &Rate) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO rate (account_no, prefix, lane, price) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (account_no, prefix, lane) DO UPDATE SET price = excluded.price",
        )
        .bind(rate.account.as_i64())
        .bind(&rate.prefix)
        .bind(rate.lane)
        .bind(rate.price.0)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes one line off; `NotFound` if there is none.
pub async fn delete(db: &Db, account: AccountNo, prefix: &str, lane: i16) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query("DELETE FROM rate WHERE account_no = $1 AND prefix = $2 AND lane = $3")
            .bind(account.as_i64())
            .bind(prefix)
            .bind(lane)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// Every line of every list, in order of account, prefix and lane.
pub async fn all(db: &Db) -> Result<Vec<Rate>, StoreError> {
    let rows: Vec<(i64, String, i16, i64)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no, prefix, lane, price FROM rate ORDER BY account_no, prefix, lane")
            .fetch_all(c)
            .await
    })?;
    let read = |(no, prefix, lane, price)| Rate { account: AccountNo::from_i64(no), prefix, lane, price: Money(price) };
    Ok(rows.into_iter().map(read).collect())
}

/// The price of a part where no prefix is listed: the account's own line for everywhere, else everybody's, the lane's before any lane's.
pub async fn everywhere(db: &Db, account: AccountNo, lane: i16) -> Result<Option<Money>, StoreError> {
    let row: Option<(i64,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT price FROM rate WHERE account_no IN (0, $1) AND prefix = '' AND lane IN (-1, $2) \
             ORDER BY account_no DESC, lane DESC LIMIT 1",
        )
        .bind(account.as_i64())
        .bind(lane)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(price,)| Money(price)))
}
