//! Configured connections get a number once, which is what rows carry.

use crate::{Db, StoreError};

/// The number of the connection of that name; given out if it is new.
pub async fn number(db: &Db, name: &str) -> Result<i32, StoreError> {
    let (no,): (i64,) = write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO connection (no, name) SELECT COALESCE(MAX(no), 0) + 1, $1 FROM connection
             HAVING NOT EXISTS (SELECT 1 FROM connection WHERE name = $1)",
        )
        .bind(name)
        .execute(&mut *tx)
        .await?;
        sqlx::query_as("SELECT no FROM connection WHERE name = $1").bind(name).fetch_one(&mut *tx).await?
    });
    i32::try_from(no).map_err(|_| StoreError::Broken("a connection's number is beyond 32 bits".into()))
}
