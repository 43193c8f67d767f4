//! Forgets what was delivered long ago, and what was for endpoints that are no more.

use std::time::Duration;

use carillon_domain::id::{AccountNo, EndpointId};
use carillon_store::{StoreError, delivery};
use uuid::Uuid;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(600);
/// Rows one transaction takes away: other writers wait that long.
const BITE: u32 = 500;

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "webhooks of long ago are forgotten later: {error}");
        }
    }
}

async fn once(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now_ms();
    let old = now - i64::from(app.config.webhooks.keep_days) * 86_400_000;
    let (mut account, mut endpoint) = (AccountNo::PLATFORM, EndpointId(Uuid::nil()));
    while let Some(next) = delivery::endpoint_after(&app.db, account, endpoint).await? {
        (account, endpoint) = next;
        let known = endpoint.0.is_nil() || app.notify.endpoint(account, endpoint).is_some();
        let before = if known { old } else { now };
        while delivery::forget(&app.db, account, endpoint, before, BITE).await? > 0 {}
    }
    Ok(())
}
