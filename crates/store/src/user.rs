//! People who sign in, and the accounts they belong to.

use carillon_domain::id::{AccountNo, UserId};
use carillon_domain::permission::Role;
use uuid::Uuid;

use crate::{Db, StoreError};

/// One person.
#[derive(Clone, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Lower case.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// PHC string.
    pub password_hash: String,
    /// Whether they operate the platform.
    pub operator: bool,
    /// Wrong passwords in a row.
    pub failures: i64,
    /// Until when signing in is refused, Unix milliseconds.
    pub locked_until: Option<i64>,
    /// When their address was proved, Unix milliseconds.
    pub verified_at: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
}

type Row = (Uuid, String, String, String, bool, i64, Option<i64>, Option<i64>, i64);
const COLUMNS: &str =
    "id, email, name, password_hash, operator, CAST(failures AS BIGINT), locked_until, verified_at, created_at";

fn read((id, email, name, password_hash, operator, failures, locked_until, verified_at, created_at): Row) -> User {
    User { id: UserId(id), email, name, password_hash, operator, failures, locked_until, verified_at, created_at }
}

/// The person with that address (lower case), if any.
pub async fn by_email(db: &Db, email: &str) -> Result<Option<User>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM app_user WHERE email = $1");
    let row = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(email).fetch_optional(c).await)?;
    Ok(row.map(read))
}

/// The person of that id.
pub async fn by_id(db: &Db, id: UserId) -> Result<User, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM app_user WHERE id = $1");
    Ok(read(read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(id.0).fetch_one(c).await)?))
}

/// Counts an attempt to sign in before its password is checked, so that many at once cannot outrun the lock. `seen` are the failures
/// the caller read and decided by; false if somebody else's attempt came between.
pub async fn attempt(db: &Db, id: UserId, seen: i64, locked_until: Option<i64>) -> Result<bool, StoreError> {
    let counted = write_db!(db, |tx| {
        sqlx::query("UPDATE app_user SET failures = failures + 1, locked_until = $3 WHERE id = $1 AND failures = $2")
            .bind(id.0)
            .bind(seen)
            .bind(locked_until)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    Ok(counted == 1)
}

/// Forgets the failures: the password was right.
pub async fn signed_in(db: &Db, id: UserId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE app_user SET failures = 0, locked_until = NULL WHERE id = $1")
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// Makes a person a member of an account, or changes their role in it.
pub async fn join(db: &Db, account: AccountNo, user: UserId, role: Role, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO membership (account_no, user_id, role, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (account_no, user_id) DO UPDATE SET role = excluded.role",
        )
        .bind(account.as_i64())
        .bind(user.0)
        .bind(role as i16)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// The accounts a person belongs to and their role in each, oldest membership first.
pub async fn memberships(db: &Db, user: UserId) -> Result<Vec<(AccountNo, Role)>, StoreError> {
    let rows: Vec<(i64, i16)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no, role FROM membership WHERE user_id = $1 ORDER BY created_at, account_no")
            .bind(user.0)
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(|(no, role)| (AccountNo::from_i64(no), Role::from_i16(role))).collect())
}

/// A person's role in an account, if they are a member.
pub async fn role(db: &Db, account: AccountNo, user: UserId) -> Result<Option<Role>, StoreError> {
    let row: Option<(i16,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT role FROM membership WHERE account_no = $1 AND user_id = $2")
            .bind(account.as_i64())
            .bind(user.0)
            .fetch_optional(c)
            .await
    })?;
    Ok(row.map(|(role,)| Role::from_i16(role)))
}

/// Addresses (and names) of an account's owners, in order of membership: who is told when something is wrong.
pub async fn owners(db: &Db, account: AccountNo) -> Result<Vec<(String, String)>, StoreError> {
    Ok(read_db!(db, |c| {
        sqlx::query_as(
            "SELECT u.email, u.name FROM membership m JOIN app_user u ON u.id = m.user_id \
             WHERE m.account_no = $1 AND m.role = $2 ORDER BY m.created_at, u.id LIMIT 100",
        )
        .bind(account.as_i64())
        .bind(Role::Owner as i16)
        .fetch_all(c)
        .await
    })?)
}

/// Of these addresses (in lower case), those of people of an account who have confirmed theirs, with their names.
pub async fn confirmed(db: &Db, account: AccountNo, addresses: &[String]) -> Result<Vec<(String, String)>, StoreError> {
    let mut confirmed = Vec::with_capacity(addresses.len());
    for address in addresses {
        let found: Option<(String, String)> = read_db!(db, |c| {
            sqlx::query_as(
                "SELECT u.email, u.name FROM app_user u JOIN membership m ON m.user_id = u.id \
                 WHERE u.email = $2 AND u.verified_at IS NOT NULL AND m.account_no = $1",
            )
            .bind(account.as_i64())
            .bind(address)
            .fetch_optional(c)
            .await
        })?;
        confirmed.extend(found);
    }
    Ok(confirmed)
}
