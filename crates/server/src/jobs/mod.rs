//! What goes on beside requests and messages: the SQLite log is checkpointed, what nobody waits for any more is swept away, what happened
//! with contacts is counted, usage is added up, and reports are mailed.

pub mod activity;
mod follow;
pub mod sweep;
pub mod usage;

use std::time::Duration;

use carillon_store::Db;
use carillon_store::checkpoint::Checkpointer;

use crate::app::App;
use crate::imports;

/// A log of more pages (of 4 KiB) is begun anew after its checkpoint.
const LOG_PAGES_MAX: i64 = 4_000;
/// Often enough that the log stays small, seldom enough that pages written often are copied once.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// Starts all of it; it ends with the app's shutdown.
pub fn start(app: &App) {
    tokio::spawn(sweep::run(app.clone()));
    tokio::spawn(follow::run(app.clone()));
    tokio::spawn(activity::run(app.clone()));
    imports::start(app);
    tokio::spawn(usage::run(app.clone()));
    let Db::Sqlite(file) = &app.db else { return };
    let mut checkpointer = match Checkpointer::open(file) {
        Ok(checkpointer) => checkpointer,
        Err(error) => {
            tracing::error!(%error, "the database's log cannot be checkpointed: {error}");
            return;
        }
    };
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(CHECKPOINT_EVERY)).await.is_some() {
            let round = tokio::task::spawn_blocking(move || {
                let done = checkpointer.run(LOG_PAGES_MAX);
                (checkpointer, done)
            });
            let Ok((back, done)) = round.await else { return };
            checkpointer = back;
            match done {
                Ok(done) => metrics::gauge!("carillon_wal_pages").set(done.pages as f64),
                Err(error) => tracing::warn!(%error, "a checkpoint failed: {error}"),
            }
        }
    });
}
