//! Of several processes on one database one alone empties the outbox, sends webhooks and answers phones: two would send each webhook twice.
//! Which one hangs on a lock (`store::lead`); when its process ends or loses the database, another takes over within seconds and finds all
//! that is still to be done in the database.

use std::time::Duration;

use carillon_store::lead::Lead;

use crate::app::App;

/// How often it is looked whether the lead is free, or still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    loop {
        match Lead::take(&app.db).await {
            Ok(Some(lead)) => hold(&app, lead).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "could not ask who sends webhooks: {error}"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

async fn hold(app: &App, mut lead: Lead) {
    tracing::info!("this process sends the webhooks");
    app.notify.set_leads(true);
    let ended = loop {
        if app.shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            break true;
        }
        if !lead.holds().await {
            break false;
        }
    };
    app.notify.set_leads(false);
    if !ended {
        tracing::warn!("the database was lost: whichever process finds it first sends the webhooks");
    }
    lead.leave().await;
}
