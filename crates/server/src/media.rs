//! Files that messages carry: rows in the database say whose they are and until when; their octets lie on disk or in a bucket, and are served
//! only through `/m/{token}`.

mod disk;
mod s3;

use std::io;

use bytes::Bytes;
use carillon_domain::id::{AccountNo, MediaId};
use carillon_domain::media::MediaKind;
use carillon_store::media::{self, Digest, Media};
use carillon_store::{Db, StoreError};
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::config::{Config, MediaPlace};

pub use disk::Disk;
pub use s3::Bucket;

/// Characters of a public link's secret: 16 of these are 95 bits.
const TOKEN_ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN_LEN: usize = 16;
/// How long a link says "gone" before it is forgotten, milliseconds.
const GONE_MS: i64 = 366 * 86_400_000;
/// Rows of a sweep's bite.
const PAGE: u32 = 200;

/// Why octets could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The account holds as much as it may.
    #[error("the account holds as many octets of media as it may")]
    Full,
    /// The disk, or the bucket.
    #[error("the store of media: {0}")]
    Octets(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where octets lie.
#[derive(Debug)]
pub enum MediaStore {
    /// In a folder, those that are the same once.
    Disk(Disk),
    /// In a bucket, each file's its own: several servers may use it, and none could tell what another is about to take away.
    S3(Box<Bucket>),
}

/// Octets of a file as they come.
pub type Octets = std::pin::Pin<Box<dyn futures_util::Stream<Item = io::Result<Bytes>> + Send>>;

impl MediaStore {
    /// As the settings say.
    pub fn new(config: &Config) -> io::Result<MediaStore> {
        Ok(match config.media.store {
            MediaPlace::Disk => MediaStore::Disk(Disk::new(&config.data.folder)),
            MediaPlace::S3 => MediaStore::S3(Box::new(Bucket::new(&config.media)?)),
        })
    }

    /// The octets of a file from the first to the last given; `None` if they are not there. `now_ms` are Unix milliseconds.
    pub async fn read(&self, file: &Media, first: u64, last: u64, now_ms: i64) -> io::Result<Option<Octets>> {
        match self {
            MediaStore::Disk(disk) => disk.read(&file.digest, first, last).await,
            MediaStore::S3(bucket) => bucket.read(file.id, first, last, now_ms).await,
        }
    }
}

/// Keeps a file for an account.
pub async fn keep(app: &App, account: AccountNo, kind: MediaKind, octets: Bytes) -> Result<Media, MediaError> {
    let digest: Digest = Sha256::digest(&octets).into();
    let settings = &app.config.media;
    let now = app.clock.now_ms();
    let pick = |_| char::from(TOKEN_ALPHABET[rand::random_range(0..TOKEN_ALPHABET.len())]);
    let token: String = (0..TOKEN_LEN).map(pick).collect();
    let new = Media {
        id: MediaId::new(now, app.ids.next(), account),
        token,
        kind,
        size: octets.len() as i64,
        digest,
        created_at: now,
        expires_at: now + i64::from(settings.retention_days) * 86_400_000,
        deleted_at: None,
    };
    let _gate = match &app.media {
        MediaStore::Disk(disk) => Some(disk.gate.lock().await),
        MediaStore::S3(_) => None,
    };
    // The row first: octets without one would stay for ever, a row without them says that they are gone.
    if !media::create(&app.db, account, &new, settings.account_max as i64).await? {
        return Err(MediaError::Full);
    }
    let written = match &app.media {
        MediaStore::Disk(disk) => disk.write(&digest, octets).await,
        MediaStore::S3(bucket) => bucket.write(new.id, &digest, octets, now).await,
    };
    match written {
        Ok(()) => Ok(new),
        Err(e) => {
            media::delete(&app.db, account, new.id, now).await?;
            Err(e.into())
        }
    }
}

/// Takes a file away.
pub async fn remove(db: &Db, store: &MediaStore, account: AccountNo, id: MediaId, now: i64) -> Result<(), MediaError> {
    match store {
        MediaStore::Disk(disk) => {
            let _gate = disk.gate.lock().await;
            if let Some(digest) = media::delete(db, account, id, now).await? {
                disk.erase(&digest).await?;
            }
        }
        MediaStore::S3(bucket) => {
            if media::by_id(db, account, id).await?.deleted_at.is_some() {
                return Err(StoreError::NotFound.into());
            }
            // Before its row is: what cannot be erased now is tried again.
            bucket.erase(id, now).await?;
            media::delete(db, account, id, now).await?;
        }
    }
    Ok(())
}

/// Takes away what has expired, and forgets what went long ago.
pub async fn sweep(app: &App) -> Result<(), MediaError> {
    let now = app.clock.now_ms();
    loop {
        let expired = media::expired(&app.db, now, PAGE).await?;
        for m in &expired {
            remove(&app.db, &app.media, m.id.account(), m.id, now).await?;
        }
        if expired.len() < PAGE as usize {
            break;
        }
    }
    while media::forget(&app.db, now - GONE_MS, PAGE).await? > 0 {}
    Ok(())
}
