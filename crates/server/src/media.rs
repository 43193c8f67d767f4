//! Where the octets of media lie: files in the data folder named by their SHA-256, written once, never executable, served only through
//! `/m/{token}`. Rows in the database say whose they are and until when.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use carillon_domain::id::{AccountNo, MediaId};
use carillon_domain::media::MediaKind;
use carillon_store::media::{self, Digest, Media};
use carillon_store::{Db, StoreError};
use sha2::{Digest as _, Sha256};

use crate::app::App;

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
    /// The disk.
    #[error("the folder of media: {0}")]
    Disk(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The folder of files.
#[derive(Debug)]
pub struct MediaFolder {
    folder: PathBuf,
    /// Held from the look at the rows that share octets to the deed: else an upload could find octets that are being taken away.
    gate: tokio::sync::Mutex<()>,
}

impl MediaFolder {
    /// Inside the data folder; made when the first file comes.
    pub fn new(data: &Path) -> MediaFolder {
        MediaFolder { folder: data.join("media"), gate: tokio::sync::Mutex::default() }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(&name[..2]).join(name)
    }

    /// Reads a file whole; `None` if it is not there.
    pub async fn read(&self, digest: &Digest) -> std::io::Result<Option<Bytes>> {
        match tokio::fs::read(self.path(digest)).await {
            Ok(octets) => Ok(Some(octets.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Written beside its place and moved there whole and durable: a crash leaves no half of a file under a digest's name.
fn write(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().expect("a file's path was joined to its folder");
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let draft = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let done = file.write_all(octets).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if done.is_err() {
        let _ = fs::remove_file(&draft);
        return done;
    }
    fs::File::open(folder)?.sync_all()
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
    let _gate = app.media.gate.lock().await;
    let path = app.media.path(&digest);
    if !media::create(&app.db, account, &new, settings.account_max as i64).await? {
        return Err(MediaError::Full);
    }
    let written = tokio::task::spawn_blocking(move || if path.exists() { Ok(()) } else { write(&path, &octets) });
    match written.await.map_err(std::io::Error::other).flatten() {
        Ok(()) => Ok(new),
        Err(e) => {
            media::delete(&app.db, account, new.id, now).await?;
            Err(e.into())
        }
    }
}

/// Takes a file away.
pub async fn remove(db: &Db, files: &MediaFolder, account: AccountNo, id: MediaId, now: i64) -> Result<(), MediaError> {
    let _gate = files.gate.lock().await;
    let Some(digest) = media::delete(db, account, id, now).await? else { return Ok(()) };
    match tokio::fs::remove_file(files.path(&digest)).await {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
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
