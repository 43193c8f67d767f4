//! What a part costs on a connection, by leading digits; the operator's cost, not what accounts pay.

use carillon_domain::money::Money;
use carillon_domain::route::ConnectionNo;

use crate::{Db, StoreError};

/// Rows of one statement: below SQLite's and PostgreSQL's limits of bound values.
const CHUNK: usize = 4_000;

/// Sets one line, new or changed.
pub async fn set(db: &Db, connection: ConnectionNo, prefix: &str, price: Money) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query(
            "INSERT INTO carrier_rate (connection_no, prefix, price) VALUES ($1, $2, $3) \
             ON CONFLICT (connection_no, prefix) DO UPDATE SET price = excluded.price",
        )
        .bind(connection)
        .bind(prefix)
        .bind(price.0)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes one line off; `NotFound` if there is none.
pub async fn delete(db: &Db, connection: ConnectionNo, prefix: &str) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query("DELETE FROM carrier_rate WHERE connection_no = $1 AND prefix = $2")
            .bind(connection)
            .bind(prefix)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// Puts these lines, each prefix once, in the place of all a connection has; at once or not at all.
pub async fn replace(db: &Db, connection: ConnectionNo, lines: &[(String, Money)]) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query("DELETE FROM carrier_rate WHERE connection_no = $1").bind(connection).execute(&mut *tx).await?;
        for chunk in lines.chunks(CHUNK) {
            let mut insert = sqlx::QueryBuilder::new("INSERT INTO carrier_rate (connection_no, prefix, price) ");
            insert.push_values(chunk, |mut row, (prefix, price)| {
                row.push_bind(connection).push_bind(prefix).push_bind(price.0);
            });
            insert.build().execute(&mut *tx).await?;
        }
    });
    Ok(())
}

/// A connection's lines in order of prefix, up to `limit` of those after one.
pub async fn list(
    db: &Db,
    connection: ConnectionNo,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<(String, Money)>, StoreError> {
    // The empty prefix is a line too, so "after nothing" is told apart from "after the empty one".
    let rows: Vec<(String, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT prefix, price FROM carrier_rate WHERE connection_no = $1 AND ($4 OR prefix > $2) \
             ORDER BY prefix LIMIT $3",
        )
        .bind(connection)
        .bind(after.unwrap_or(""))
        .bind(i64::from(limit))
        .bind(after.is_none())
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(prefix, price)| (prefix, Money(price))).collect())
}

/// Every line of every connection.
pub async fn all(db: &Db) -> Result<Vec<(ConnectionNo, String, Money)>, StoreError> {
    let rows: Vec<(i32, String, i64)> = read_db!(db, |c| {
        sqlx::query_as("SELECT CAST(connection_no AS INTEGER), prefix, price FROM carrier_rate").fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|(no, prefix, price)| (no, prefix, Money(price))).collect())
}
