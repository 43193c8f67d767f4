//! Follows what other processes on the same database change of what this one keeps in memory.

use std::time::Duration;

use crate::app::App;
use crate::inbound;

const EVERY: Duration = Duration::from_secs(3);
/// How far back changes are looked for each time: other processes' clocks differ, and their transactions take time. Milliseconds.
const OVERLAP_MS: i64 = 15_000;

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    let mut since = app.clock.now_ms() - OVERLAP_MS;
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let now = app.clock.now_ms();
        match app.pipeline.suppressed().follow(&app.db, since).await {
            Ok(()) => since = now - OVERLAP_MS,
            Err(error) => tracing::warn!(%error, "the suppression list could not be read again: {error}"),
        }
        if let Err(error) = app.pipeline.suppressed().consents().follow(&app.db, now - OVERLAP_MS).await {
            tracing::warn!(%error, "consents could not be read again: {error}");
        }
        if let Err(error) = inbound::reload_numbers(&app).await {
            tracing::warn!(%error, "the numbers that phones write to could not be read again: {error}");
        }
    }
}
