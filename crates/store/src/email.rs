//! Mail that is to be sent to people: each is written by the transaction that gives the reason for it, and taken away once a mail server has it.

use carillon_domain::id::{AccountNo, EmailId, compose};
use uuid::Uuid;

use crate::{Db, StoreError};

/// What a mail is about; says which template it is rendered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmailKind {
    /// Asks whether the address is theirs.
    Verification = 0,
    /// Thanks for having said so.
    Welcome = 1,
    /// Lets them choose a new password.
    PasswordReset = 2,
    /// One of their webhook endpoints was given up.
    WebhookDisabled = 3,
    /// One of their campaigns was paused, because the balance is used up.
    CampaignPaused = 10,
    /// A saved report, on its schedule.
    Report = 11,
}

impl EmailKind {
    /// All of them.
    pub const ALL: [EmailKind; 6] = [
        EmailKind::Verification,
        EmailKind::Welcome,
        EmailKind::PasswordReset,
        EmailKind::WebhookDisabled,
        EmailKind::CampaignPaused,
        EmailKind::Report,
    ];

    /// Its name, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            EmailKind::Verification => "verification",
            EmailKind::Welcome => "welcome",
            EmailKind::PasswordReset => "password_reset",
            EmailKind::WebhookDisabled => "webhook_disabled",
            EmailKind::CampaignPaused => "campaign_paused",
            EmailKind::Report => "report",
        }
    }
}

/// A mail to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEmail {
    /// Names the account it is about; the platform, where it is about a person.
    pub id: EmailId,
    /// What it is about.
    pub kind: EmailKind,
    /// Whose address.
    pub recipient: String,
    /// The words for its template, under seal.
    pub data: Vec<u8>,
    /// When it is of no use any more, Unix milliseconds.
    pub expires_at: i64,
}

/// A mail that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Email {
    /// Its id.
    pub id: EmailId,
    /// What it is about; `None` if this version does not know the kind.
    pub kind: Option<EmailKind>,
    /// Whose address.
    pub recipient: String,
    /// The words for its template, under seal.
    pub data: Vec<u8>,
    /// How often it was tried.
    pub attempts: u16,
    /// When it is of no use any more, Unix milliseconds.
    pub expires_at: i64,
}

/// Writes a `NewEmail` within the caller's transaction (`write_db!`). Wake the sender after the commit.
macro_rules! put_email {
    ($tx:expr, $email:expr) => {{
        let email: &$crate::email::NewEmail = $email;
        sqlx::query(
            "INSERT INTO email (account_no, id, kind, recipient, data, attempts, due_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, 0, $6, $7)",
        )
        .bind(email.id.account().as_i64())
        .bind(email.id.0)
        .bind(email.kind as i16)
        .bind(&email.recipient)
        .bind(&email.data)
        .bind(email.id.millis())
        .bind(email.expires_at)
        .execute(&mut *$tx)
        .await?;
    }};
}
pub(crate) use put_email;

/// Writes a mail in a transaction of its own.
pub async fn put(db: &Db, email: &NewEmail) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        put_email!(tx, email);
    });
    Ok(())
}

/// Up to `limit` mails that are due, those due first first, and when the first of the others is (Unix milliseconds). This is for the one
/// process that sends: accounts all together.
pub async fn due(db: &Db, now: i64, limit: u32) -> Result<(Vec<Email>, Option<i64>), StoreError> {
    type Row = (Uuid, i16, String, Vec<u8>, i16, i64, i64);
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, kind, recipient, data, attempts, expires_at, due_at FROM email \
             WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT $1",
        )
        .bind(i64::from(limit) + 1)
        .fetch_all(c)
        .await
    })?;
    let later = rows.iter().enumerate().find(|(n, row)| *n >= limit as usize || row.6 > now).map(|(_, row)| row.6);
    let due = rows.into_iter().take(limit as usize).filter(|row| row.6 <= now);
    let read = |(id, kind, recipient, data, attempts, expires_at, _): Row| Email {
        id: EmailId(id),
        kind: EmailKind::ALL.into_iter().find(|k| *k as i16 == kind),
        recipient,
        data,
        attempts: attempts.max(0) as u16,
        expires_at,
    };
    Ok((due.map(read).collect(), later))
}

/// A mail server has it: it is gone from here.
pub async fn sent(db: &Db, id: EmailId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("DELETE FROM email WHERE account_no = $1 AND id = $2")
            .bind(id.account().as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// It was tried in vain: it is tried again at `due_at` (Unix milliseconds), or given up; then what it said is erased.
pub async fn failed(db: &Db, id: EmailId, due_at: Option<i64>, error: &str) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "UPDATE email SET attempts = attempts + 1, due_at = $3, error = $4, data = CASE WHEN $3 IS NULL THEN NULL ELSE data END \
             WHERE account_no = $1 AND id = $2",
        )
        .bind(id.account().as_i64())
        .bind(id.0)
        .bind(due_at)
        .bind(error)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// A mail that was not sent (yet), for people who look after the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// Its id.
    pub id: EmailId,
    /// How often it was tried.
    pub attempts: u16,
    /// When it is tried again, Unix milliseconds; `None`: given up.
    pub due_at: Option<i64>,
    /// What was wrong the last time.
    pub error: Option<String>,
    /// Whether what it said is still there.
    pub has_data: bool,
}

/// Up to `limit` mails of an account that were not sent, oldest first.
pub async fn unsent(db: &Db, account: AccountNo, limit: u32) -> Result<Vec<Unsent>, StoreError> {
    let rows: Vec<(Uuid, i16, Option<i64>, Option<String>, Option<Vec<u8>>)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id, attempts, due_at, error, data FROM email WHERE account_no = $1 ORDER BY id LIMIT $2")
            .bind(account.as_i64())
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let read = |(id, attempts, due_at, error, data): (Uuid, i16, Option<i64>, Option<String>, Option<Vec<u8>>)| {
        Unsent { id: EmailId(id), attempts: attempts.max(0) as u16, due_at, error, has_data: data.is_some() }
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Takes up to `limit` mails of an account away that were written before an instant (Unix milliseconds), and given up or of no use since then.
pub async fn forget(db: &Db, account: AccountNo, before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM email WHERE account_no = $1 AND id IN \
             (SELECT id FROM email WHERE account_no = $1 AND id < $2 AND (due_at IS NULL OR expires_at < $3) LIMIT $4)",
        )
        .bind(account.as_i64())
        .bind(compose(before, 0, AccountNo::PLATFORM))
        .bind(before)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// The first account from `from` on that has mails, in order: for the sweep.
pub async fn account_from(db: &Db, from: AccountNo) -> Result<Option<AccountNo>, StoreError> {
    let row: Option<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM email WHERE account_no >= $1 ORDER BY account_no LIMIT 1")
            .bind(from.as_i64())
            .fetch_optional(c)
            .await
    })?;
    Ok(row.map(|(no,)| AccountNo::from_i64(no)))
}
