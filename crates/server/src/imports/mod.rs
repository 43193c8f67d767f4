//! Tables of contacts: uploaded to the data folder, looked at, and then taken in, chunk by chunk, beside everything else that goes on.
//!
//! How far an import has come is committed with the rows themselves (`store::contact_import::take`). After a crash the file is read again
//! from its beginning: rows that were taken are passed over, and their numbers remembered, so that repeated ones are still known.

mod files;
mod rows;
mod run;

use std::io;
use std::path::{Path, PathBuf};

use carillon_domain::id::{AccountNo, ContactImportId};
use carillon_store::StoreError;
use carillon_store::contact_import as store;
use tokio::sync::Notify;

use crate::app::App;

pub use files::{Upload, keep};
pub use rows::{Rows, Unreadable};
pub use run::start;

/// Rows a sweep takes away in one transaction.
const PAGE: u32 = 500;
/// A file without a row is an upload that is going on, or one that ended half way: after this it is the latter. Milliseconds.
const LOST_MS: i64 = 86_400_000;

/// Where files lie, and who is told that one is to be read.
#[derive(Debug)]
pub struct Imports {
    folder: PathBuf,
    due: Notify,
}

impl Imports {
    /// Inside the data folder; made when the first file comes.
    pub fn new(data: &Path) -> Imports {
        Imports { folder: data.join("imports"), due: Notify::new() }
    }

    /// Wakes who reads files.
    pub fn wake(&self) {
        self.due.notify_one();
    }

    /// The file of an import.
    pub fn path(&self, id: ContactImportId) -> PathBuf {
        self.folder.join(format!("{id}.csv"))
    }
}

/// Why a file is not kept, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Larger than files may be.
    #[error("at most {0} bytes")]
    TooLarge(u64),
    /// It stopped coming.
    #[error("the body ended before it was complete")]
    CutOff,
    /// It is no table.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The account has too many that wait.
    #[error("the account has as many imports going on as it may")]
    TooMany,
    /// The disk.
    #[error("the folder of imports: {0}")]
    Disk(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Forgets imports that were uploaded so many days ago, with their files and what was wrong with them; those that run are let go on. Files
/// that belong to none go too.
pub async fn sweep(app: &App) -> Result<(), ImportError> {
    let now = app.clock.now_ms();
    let before = now - i64::from(app.config.imports.keep_days) * 86_400_000;
    let mut after = (AccountNo::PLATFORM, ContactImportId::new(0, 0, AccountNo::PLATFORM));
    while let Some(id) = store::older(&app.db, after, before).await? {
        let account = id.account();
        after = (account, id);
        if store::by_id(&app.db, account, id).await?.status == store::Status::Running {
            continue;
        }
        while store::forget(&app.db, account, id, PAGE).await? > 0 {}
    }
    let mut entries = match tokio::fs::read_dir(&app.imports.folder).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.split('.').next()?.parse::<ContactImportId>().ok());
        // What is not ours is left alone.
        let Some(id) = id.filter(|id| id.millis() < now - LOST_MS) else { continue };
        if matches!(store::by_id(&app.db, id.account(), id).await, Err(StoreError::NotFound)) {
            tokio::fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}
