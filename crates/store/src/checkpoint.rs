//! Copies SQLite's write-ahead log into the file, off the hot path: commits never pay for it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Sqlite, StoreError};

/// Has a connection of its own; for a thread of its own.
#[derive(Debug)]
pub struct Checkpointer {
    connection: Connection,
    gate: Arc<tokio::sync::Mutex<()>>,
}

/// What a checkpoint did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Pages in the log.
    pub pages: i64,
    /// Of which are in the file by now.
    pub copied: i64,
    /// Whether all of it was copied with the writers waiting, so that the log begins anew.
    pub restarted: bool,
}

impl Checkpointer {
    /// Opens it beside the handle the rest of the program uses.
    pub fn open(file: &Sqlite) -> Result<Checkpointer, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file.path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
        Ok(Checkpointer { connection, gate: file.gate.clone() })
    }

    /// Copies what no reader holds back; writers go on meanwhile. If the log has more than `pages_max` pages, the rest is copied with the
    /// writers' gate closed, so that the next commit begins the log anew: its blocks are written again and it grows no further.
    /// Blocks: never call it on an async thread.
    pub fn run(&mut self, pages_max: i64) -> Result<Checkpoint, StoreError> {
        let done = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")?;
        if done.pages <= pages_max {
            return Ok(Checkpoint { restarted: false, ..done });
        }
        let gate = self.gate.clone();
        let _gate = gate.blocking_lock();
        let begun = self.checkpoint("PRAGMA wal_checkpoint(RESTART)")?;
        Ok(Checkpoint { restarted: begun.restarted, ..done })
    }

    fn checkpoint(&mut self, pragma: &str) -> Result<Checkpoint, StoreError> {
        let read = |r: &rusqlite::Row<'_>| Ok((r.get::<_, bool>(0)?, r.get(1)?, r.get(2)?));
        let (busy, pages, copied) = self.connection.query_row(pragma, [], read)?;
        Ok(Checkpoint { pages, copied, restarted: !busy && pages == copied })
    }
}
