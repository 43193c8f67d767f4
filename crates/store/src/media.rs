//! Files that messages carry: what they are, whose, and until when. The octets lie elsewhere, named by their digest.

use carillon_domain::id::{AccountNo, MediaId};
use carillon_domain::media::MediaKind;
use uuid::Uuid;

use crate::db::one;
use crate::{Db, StoreError};

/// SHA-256 of a file's octets.
pub type Digest = [u8; 32];

/// A file.
#[derive(Clone, Debug)]
pub struct Media {
    /// Its id; also says whose it is.
    pub id: MediaId,
    /// Of its public link.
    pub token: String,
    /// What it is.
    pub kind: MediaKind,
    /// Octets.
    pub size: i64,
    /// Of the octets.
    pub digest: Digest,
    /// Unix milliseconds.
    pub created_at: i64,
    /// When it goes, Unix milliseconds.
    pub expires_at: i64,
    /// When it went, Unix milliseconds.
    pub deleted_at: Option<i64>,
}

impl Media {
    /// Whether it is still there at an instant (Unix milliseconds).
    pub fn lives(&self, now: i64) -> bool {
        self.deleted_at.is_none() && self.expires_at > now
    }
}

type Row = (Uuid, String, String, i64, Vec<u8>, i64, i64, Option<i64>);
const COLUMNS: &str = "id, token, content_type, size, digest, created_at, expires_at, deleted_at";

fn read((id, token, content_type, size, digest, created_at, expires_at, deleted_at): Row) -> Result<Media, StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("media {}: {what}", MediaId(id)));
    Ok(Media {
        id: MediaId(id),
        token,
        kind: MediaKind::from_content_type(&content_type).ok_or_else(|| broken("an unknown type"))?,
        size,
        digest: digest.try_into().map_err(|_| broken("a digest of another length"))?,
        created_at,
        expires_at,
        deleted_at,
    })
}

/// Stores a new file's row. False if the account would then hold more than `most` octets.
pub async fn create(db: &Db, account: AccountNo, m: &Media, most: i64) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let (held,): (i64,) = sqlx::query_as(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM media WHERE account_no = $1 AND deleted_at IS NULL",
        )
        .bind(account.as_i64())
        .fetch_one(&mut *tx)
        .await?;
        let fits = held.saturating_add(m.size) <= most;
        if fits {
            sqlx::query(
                "INSERT INTO media (account_no, id, token, content_type, size, digest, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(account.as_i64())
            .bind(m.id.0)
            .bind(&m.token)
            .bind(m.kind.content_type())
            .bind(m.size)
            .bind(&m.digest[..])
            .bind(m.created_at)
            .bind(m.expires_at)
            .execute(&mut *tx)
            .await?;
        }
        fits
    }))
}

/// One file of an account, gone ones too.
pub async fn by_id(db: &Db, account: AccountNo, id: MediaId) -> Result<Media, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM media WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    read(row)
}

/// The file of a public link. Whoever has the link may have it: this one look-up is not scoped to an account.
pub async fn by_token(db: &Db, token: &str) -> Result<Media, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM media WHERE token = $1");
    let row: Row = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(token).fetch_one(c).await)?;
    read(row)
}

/// Up to `limit` files of an account older than one, newest first; gone ones are left out.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<MediaId>,
    now: i64,
    limit: u32,
) -> Result<Vec<Media>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM media WHERE account_no = $1 AND id < $2 AND deleted_at IS NULL AND expires_at > $3 ORDER BY id DESC LIMIT $4"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(now)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// Marks a file as gone; `NotFound` if it is not the account's, or gone already. The digest, if no other row needs those octets.
pub async fn delete(db: &Db, account: AccountNo, id: MediaId, now: i64) -> Result<Option<Digest>, StoreError> {
    let digest: Vec<u8> = write_db!(db, |tx| {
        let row: (Vec<u8>,) = sqlx::query_as(
            "UPDATE media SET deleted_at = $3 WHERE account_no = $1 AND id = $2 AND deleted_at IS NULL RETURNING digest",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        let (others,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM media WHERE digest = $1 AND deleted_at IS NULL")
            .bind(&row.0)
            .fetch_one(&mut *tx)
            .await?;
        if others == 0 { row.0 } else { Vec::new() }
    });
    Ok(digest.try_into().ok())
}

/// Up to `limit` files of all accounts whose time is over and that are not marked as gone.
pub async fn expired(db: &Db, now: i64, limit: u32) -> Result<Vec<Media>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM media WHERE deleted_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(now).bind(i64::from(limit)).fetch_all(c).await
    })?;
    rows.into_iter().map(read).collect()
}

/// Forgets up to `limit` files that went before an instant (Unix milliseconds); their links are then not found rather than gone.
pub async fn forget(db: &Db, gone_before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM media WHERE (account_no, id) IN (SELECT account_no, id FROM media WHERE deleted_at < $1 LIMIT $2)",
        )
        .bind(gone_before)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
