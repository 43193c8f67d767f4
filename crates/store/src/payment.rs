//! Payments that gateways confirmed: each is credited once, however often it is told.

use carillon_domain::id::{AccountNo, EntryId};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::ledger::{Entry, EntryKind};
use crate::{Db, StoreError};

/// Credits a payment with an entry, in one transaction; if it was credited before, nothing is changed. The entry that it has.
/// `Taken("payment")` if it is another account's.
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
            let before: Option<(Uuid, i64, String, String, i64)> = sqlx::query_as(
                "SELECT e.id, e.amount, e.note, e.actor, e.created_at FROM payment p JOIN ledger_entry e \
                 ON e.account_no = p.account_no AND e.id = p.entry_id WHERE p.account_no = $1 AND p.gateway = $2 AND p.payment_id = $3",
            )
            .bind(account.as_i64())
            .bind(gateway)
            .bind(payment_id)
            .fetch_optional(&mut *tx)
            .await?;
            let (id, amount, note, actor, created_at) = before.ok_or(StoreError::Taken("payment"))?;
            return Ok(Entry {
                id: EntryId(id),
                kind: EntryKind::TopUp,
                amount: Money(amount),
                note,
                actor,
                created_at,
            });
        }
        let changed = sqlx::query("UPDATE balance SET available = available + $2 WHERE account_no = $1")
            .bind(account.as_i64())
            .bind(entry.amount.0)
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        sqlx::query("INSERT INTO ledger_entry (account_no, id, kind, amount, note, actor, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(account.as_i64())
            .bind(entry.id.0)
            .bind(entry.kind as i16)
            .bind(entry.amount.0)
            .bind(&entry.note)
            .bind(&entry.actor)
            .bind(entry.created_at)
            .execute(&mut *tx)
            .await?;
        Ok(entry)
    })
}
