//! What goes on by itself, such as campaigns and drips: of several processes on one database the one that has the lead looks what is due and goes
//! on with each, side by side and never twice at a time. Where each stands is in rows, so that any process can go on where another was killed.

use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use carillon_store::StoreError;
use rustc_hash::FxHashMap;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::pipeline::SubmitError;

/// After trouble with the database.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);

/// Why something could not be done now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Whether to stop here: another process goes on, or this one after its restart.
pub(crate) fn stops(app: &App) -> bool {
    app.shutdown.is_cancelled() || !app.notify.leads()
}

/// Asks every `tick` what is due and goes on with it, until the app's shutdown. `what` is the word for one of them.
pub(crate) fn start<Id, Due, GoOn>(
    app: &App,
    what: &'static str,
    tick: Duration,
    due: impl Fn(App) -> Due + Send + 'static,
    go_on: impl Fn(App, Id) -> GoOn + Send + 'static,
) where
    Id: Copy + Eq + Hash + Display + Send + Sync + 'static,
    Due: Future<Output = Result<Vec<Id>, StoreError>> + Send,
    GoOn: Future<Output = Result<(), Trouble>> + Send + 'static,
{
    let app = app.clone();
    tokio::spawn(async move {
        let mut busy: FxHashMap<Id, JoinHandle<()>> = FxHashMap::default();
        loop {
            busy.retain(|_, task| !task.is_finished());
            if app.notify.leads() {
                match due(app.clone()).await {
                    Ok(due) => {
                        for id in due {
                            let task = || tokio::spawn(attend(app.clone(), what, id, go_on(app.clone(), id)));
                            busy.entry(id).or_insert_with(task);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "each {what} waits for the database: {error}"),
                }
            }
            if app.shutdown.run_until_cancelled(tokio::time::sleep(tick)).await.is_none() {
                return;
            }
        }
    });
}

async fn attend<Id: Display>(app: App, what: &str, id: Id, go_on: impl Future<Output = Result<(), Trouble>>) {
    if let Err(error) = go_on.await
        && !stops(&app)
    {
        tracing::warn!(%id, %error, "{what} {id} could not go on and is tried again: {error}");
        app.shutdown.run_until_cancelled(tokio::time::sleep(AFTER_TROUBLE)).await;
    }
}
