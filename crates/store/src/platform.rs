//! What this installation is: values made once at first start, such as the key that signs access tokens.

use crate::{Db, StoreError};

/// The value of that name; `fresh` is stored and returned if there is none. All who ask at once get the same.
pub async fn get_or_set(db: &Db, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
    let (value,): (Vec<u8>,) = write_db!(db, |tx| {
        sqlx::query("INSERT INTO platform (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(fresh)
            .execute(&mut *tx)
            .await?;
        sqlx::query_as("SELECT value FROM platform WHERE name = $1").bind(name).fetch_one(&mut *tx).await?
    });
    Ok(value)
}
