//! What merchants say of themselves that accounts do not have: a phone number.

use carillon_domain::id::AccountNo;

use crate::hot::{open_phone, seal_phone};
use crate::{Db, StoreError};

/// Writes a merchant's number (E.164 digits) down, over another if there is one.
pub async fn put_phone(db: &Db, account: AccountNo, digits: u64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO merchant (account_no, phone) VALUES ($1, $2) ON CONFLICT (account_no) DO UPDATE SET phone = excluded.phone",
        )
        .bind(account.as_i64())
        .bind(seal_phone(digits).to_vec())
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// A merchant's number, if it was ever told.
pub async fn phone(db: &Db, account: AccountNo) -> Result<Option<u64>, StoreError> {
    let row: Option<(Vec<u8>,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT phone FROM merchant WHERE account_no = $1")
            .bind(account.as_i64())
            .fetch_optional(c)
            .await
    })?;
    row.map(|(sealed,)| open_phone(&sealed)).transpose()
}
