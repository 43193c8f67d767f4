//! Counts what happened between accounts and their contacts, a little behind, for segments that ask for it.

use std::time::Duration;

use carillon_domain::id::AccountNo;
use carillon_store::{StoreError, activity};

use crate::app::App;

const EVERY: Duration = Duration::from_secs(30);

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "activity of contacts could not be counted and is tried again later: {error}");
        }
    }
}

/// One round: all that is to be counted by the app's clock, account by account. Ends early with the app.
pub async fn once(app: &App) -> Result<(), StoreError> {
    let mut from = AccountNo::PLATFORM;
    while let Some(account) = activity::account_from(&app.db, from).await? {
        while !app.shutdown.is_cancelled() && activity::follow(&app.db, account, app.clock.now_ms()).await? {}
        let Some(next) = account.0.checked_add(1) else { break };
        from = AccountNo(next);
    }
    Ok(())
}
