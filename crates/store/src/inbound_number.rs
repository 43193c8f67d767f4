//! Numbers that phones can write to, and whose they are.

use carillon_domain::id::{AccountNo, InboundNumberId};
use uuid::Uuid;

use crate::{Db, StoreError};

/// One number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboundNumber {
    /// The id of its row.
    pub id: InboundNumberId,
    /// Digits, no +.
    pub number: String,
    /// Only what comes by this connection; 0 = whichever.
    pub connection: i32,
    /// Whose it is.
    pub account: AccountNo,
    /// Unix milliseconds.
    pub created_at: i64,
}

type Row = (Uuid, String, i32, i64, i64);
const COLUMNS: &str = "id, number, CAST(connection_no AS INTEGER), account_no, created_at";

fn read((id, number, connection, account, created_at): Row) -> InboundNumber {
    InboundNumber { id: InboundNumberId(id), number, connection, account: AccountNo::from_i64(account), created_at }
}

/// Gives a number to an account; `Taken` if somebody has it on that connection.
pub async fn create(db: &Db, n: &InboundNumber) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO inbound_number (id, number, connection_no, account_no, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(n.id.0)
        .bind(&n.number)
        .bind(n.connection)
        .bind(n.account.as_i64())
        .bind(n.created_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a number away.
pub async fn delete(db: &Db, id: InboundNumberId) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query("DELETE FROM inbound_number WHERE id = $1").bind(id.0).execute(&mut *tx).await?.rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// One number.
pub async fn by_id(db: &Db, id: InboundNumberId) -> Result<InboundNumber, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM inbound_number WHERE id = $1");
    Ok(read(read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(id.0).fetch_one(c).await)?))
}

/// Up to `limit` numbers before an id, newest first: of an account, or everybody's.
pub async fn list(
    db: &Db,
    account: Option<AccountNo>,
    before: Option<InboundNumberId>,
    limit: u32,
) -> Result<Vec<InboundNumber>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM inbound_number WHERE ($1 IS NULL OR account_no = $1) AND id < $2 ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.map(AccountNo::as_i64))
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(read).collect())
}
