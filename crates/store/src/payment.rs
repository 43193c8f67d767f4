//! Payments that gateways confirmed: each is credited once, however often it is told.

use carillon_domain::id::AccountNo;

use crate::ledger::{Entry, EntryRow, put_entry};
use crate::{Db, StoreError};

/// Credits a payment, one of more than nothing, with an entry, in one transaction; if it was credited before, nothing is changed. The entry that
/// it has. `Taken("payment")` if it is another account's.
pub async fn credit(
    db: &Db,
    account: AccountNo,
    gateway: i16,
    payment_id: &str,
    entry: Entry,
) -> Result<Entry, StoreError> {
    write_db!(db, |tx| {
        // Of two at once the second waits here for the first.
        let new = sqlx::query(
            "INSERT INTO payment (account_no, gateway, payment_id, entry_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(account.as_i64())
        .bind(gateway)
        .bind(payment_id)
        .bind(entry.id.0)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if new == 0 {
            let before: Option<EntryRow> = sqlx::query_as(
                "SELECT e.id, e.kind, e.amount, e.note, e.actor, e.created_at FROM payment p JOIN ledger_entry e \
                 ON e.account_no = p.account_no AND e.id = p.entry_id WHERE p.account_no = $1 AND p.gateway = $2 AND p.payment_id = $3",
            )
            .bind(account.as_i64())
            .bind(gateway)
            .bind(payment_id)
            .fetch_optional(&mut *tx)
            .await?;
            return before.map(Entry::from).ok_or(StoreError::Taken("payment"));
        }
        put_entry!(tx, account, &entry).ok_or(StoreError::NotFound)?;
        Ok(entry)
    })
}
