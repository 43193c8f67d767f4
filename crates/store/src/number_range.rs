//! Which operator (MCC and MNC) has the numbers that begin with some digits.

use crate::{Db, StoreError};

/// Rows of one statement: below SQLite's and PostgreSQL's limits of bound values.
const CHUNK: usize = 8_000;

/// Puts these ranges, each prefix once, in the place of all there are; at once or not at all.
pub async fn replace(db: &Db, ranges: &[(String, u32)]) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query("DELETE FROM number_range").execute(&mut *tx).await?;
        for chunk in ranges.chunks(CHUNK) {
            let mut insert = sqlx::QueryBuilder::new("INSERT INTO number_range (prefix, mcc_mnc) ");
            insert.push_values(chunk, |mut row, (prefix, operator)| {
                row.push_bind(prefix).push_bind(i64::from(*operator));
            });
            insert.build().execute(&mut *tx).await?;
        }
    });
    Ok(())
}

/// All of them in order of prefix.
pub async fn all(db: &Db) -> Result<Vec<(String, u32)>, StoreError> {
    let rows: Vec<(String, i64)> = read_db!(db, |c| {
        sqlx::query_as("SELECT prefix, CAST(mcc_mnc AS BIGINT) FROM number_range ORDER BY prefix").fetch_all(c).await
    })?;
    let operator = |no: i64| u32::try_from(no).map_err(|_| StoreError::Broken(format!("the operator {no}")));
    rows.into_iter().map(|(prefix, no)| Ok((prefix, operator(no)?))).collect()
}
