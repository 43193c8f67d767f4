//! Telling others what happened: the consumer of the outbox fans each event out to its subscribers.
//!
//! What happened is written to the outbox (`store::event`) by the transaction that made it so. `outbox` is its one consumer; in one
//! transaction it writes what each subscriber is to get and takes the row away.

mod outbox;

use std::sync::Arc;
use std::time::Duration;

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EventId, VerificationId};
use carillon_domain::verification;
use carillon_store::event::{self, NewEvent};
use carillon_store::webhook::{self, Endpoint};
use carillon_store::{Db, StoreError};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::app::App;
use crate::pipeline::Pipeline;

/// Endpoints changed by another process count from the next look.
const ENDPOINTS_EVERY: Duration = Duration::from_secs(5);

type Endpoints = FxHashMap<AccountNo, Vec<Arc<Endpoint>>>;

/// Who is to be told of what; and the bell of the outbox's consumer.
#[derive(Debug)]
pub struct Notifier {
    pipeline: Pipeline,
    endpoints: RwLock<Arc<Endpoints>>,
}

impl Notifier {
    /// Reads who subscribes; from here on settle commits record what they want.
    pub async fn open(db: &Db, pipeline: Pipeline) -> Result<Notifier, StoreError> {
        let notifier = Notifier { pipeline, endpoints: RwLock::default() };
        notifier.reload(db).await?;
        Ok(notifier)
    }

    /// Reads the endpoints again. To be called, and awaited, after any change of one: a change counts from then on.
    pub async fn reload(&self, db: &Db) -> Result<(), StoreError> {
        let all = webhook::all(db).await?;
        self.pipeline.watched().set(webhook::watched(&all));
        let mut endpoints = Endpoints::default();
        for endpoint in all {
            endpoints.entry(endpoint.account).or_default().push(Arc::new(endpoint));
        }
        *self.endpoints.write() = Arc::new(endpoints);
        Ok(())
    }

    /// Has the outbox looked at soon. Call it after the commit of whatever put something there.
    pub fn wake(&self) {
        self.pipeline.told().notify_one();
    }

    fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.read().clone()
    }
}

impl App {
    /// Tells an account's subscribers of something that no row of the store records in the same transaction. What does is written by
    /// `put_event!` there, with [`App::event`], and followed by `Notifier::wake`.
    pub async fn tell(
        &self,
        account: AccountNo,
        kind: EventKind,
        subject: Option<Uuid>,
        detail: Option<serde_json::Value>,
    ) -> Result<(), StoreError> {
        event::publish(&self.db, &[self.event(account, kind, subject, detail)]).await?;
        self.notify.wake();
        Ok(())
    }

    /// An event of now, for the outbox. `detail` is an object without phone numbers and texts; those stand with the `subject`.
    pub fn event(
        &self,
        account: AccountNo,
        kind: EventKind,
        subject: Option<Uuid>,
        detail: Option<serde_json::Value>,
    ) -> NewEvent {
        let at = self.clock.now_ms();
        let id = EventId::new(at, self.ids.next(), account);
        NewEvent { id, kind, subject, detail: detail.map(|d| d.to_string()), at }
    }
}

impl App {
    /// The event of a verification's end.
    pub fn ended(&self, account: AccountNo, id: VerificationId, state: verification::State) -> NewEvent {
        let kind = match state {
            verification::State::Approved => EventKind::VerificationApproved,
            _ => EventKind::VerificationFailed,
        };
        let detail = serde_json::json!({ "verification_id": id.to_string(), "status": state.as_str() });
        self.event(account, kind, Some(id.0), Some(detail))
    }
}

/// Starts all of it; it ends with the app's shutdown.
pub fn start(app: &App) {
    tokio::spawn(outbox::run(app.clone()));
    let app = app.clone();
    tokio::spawn(async move {
        let shutdown = app.shutdown.clone();
        while shutdown.run_until_cancelled(tokio::time::sleep(ENDPOINTS_EVERY)).await.is_some() {
            if let Err(error) = app.notify.reload(&app.db).await {
                tracing::warn!(%error, "could not read the webhook endpoints; those known stay: {error}");
            }
        }
    });
}
