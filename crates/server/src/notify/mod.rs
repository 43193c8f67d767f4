//! Telling others what happened: the consumer of the outbox fans each event out to its subscribers.
//!
//! What happened is written to the outbox (`store::event`) by the transaction that made it so. `outbox` is its one consumer, in the one process
//! that has the `lead`; in one transaction it writes what each subscriber is to get and takes the row away. `deliver` sends what is for webhooks: `render` puts a payload
//! together, `sign` signs it, `guard` sees where it goes, `attempt` sends it once, `record` writes down what became of it.
//! `email` sends mail to people.

pub mod attempt;
mod deliver;
pub mod email;
pub mod guard;
mod lead;
mod outbox;
mod record;
mod render;
pub mod secrets;
pub mod sign;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EndpointId, EventId, VerificationId};
use carillon_domain::verification;
use carillon_domain::webhook::{Verdict, judge};
use carillon_store::delivery::{self, Attempted, DeliveryState, NewDelivery, Queue};
use carillon_store::event::{self, NewEvent};
use carillon_store::webhook::{self, Endpoint};
use carillon_store::{Db, DbKind, StoreError};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::app::App;
use crate::config::Webhooks;
use crate::pipeline::Pipeline;
use attempt::{Line, Parcel};
use guard::{Guard, Outbound};

/// Endpoints changed by another process count from the next look.
const ENDPOINTS_EVERY: Duration = Duration::from_secs(5);

/// How we present ourselves.
const AGENT: &str = concat!("Carillon/", env!("CARGO_PKG_VERSION"), " (webhooks)");

type Endpoints = FxHashMap<AccountNo, Vec<Arc<Endpoint>>>;

/// Who is to be told of what; and the bell of the outbox's consumer.
#[derive(Debug)]
pub struct Notifier {
    pipeline: Pipeline,
    endpoints: RwLock<Arc<Endpoints>>,
    /// Makes requests to addresses that customers named.
    pub outbound: Outbound,
    /// Queues in which something was put.
    news: Mutex<Vec<Queue>>,
    bell: Notify,
    /// Whether this process does what only one is to do (`lead`).
    leads: AtomicBool,
}

impl Notifier {
    /// Reads who subscribes; from here on settle commits record what they want.
    pub async fn open(db: &Db, pipeline: Pipeline, settings: &Webhooks) -> Result<Notifier, StoreError> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let outbound = Outbound::new(Guard::new(settings), timeout, AGENT);
        let (endpoints, news, bell) = (RwLock::default(), Mutex::default(), Notify::new());
        // A file has one process, and nobody to ask.
        let leads = AtomicBool::new(db.kind() == DbKind::Sqlite);
        let notifier = Notifier { pipeline, endpoints, outbound, news, bell, leads };
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

    /// Has queues looked at in which something was put.
    pub fn ring(&self, queues: impl IntoIterator<Item = Queue>) {
        self.news.lock().extend(queues);
        self.bell.notify_one();
    }

    /// How many endpoints an account has.
    pub fn count(&self, account: AccountNo) -> usize {
        self.endpoints().get(&account).map_or(0, |all| all.iter().filter(|e| !e.id.0.is_nil()).count())
    }

    /// Whether this process empties the outbox, sends webhooks and answers phones; of several on one database one does.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Release);
        self.wake();
        self.bell.notify_one();
    }

    fn news(&self) -> Vec<Queue> {
        std::mem::take(&mut self.news.lock())
    }

    fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.read().clone()
    }

    /// Whether an endpoint of an account wants events of a kind.
    pub fn wants(&self, account: AccountNo, kind: EventKind) -> bool {
        self.endpoints().get(&account).is_some_and(|all| all.iter().any(|e| e.kinds.has(kind) && e.status.collects()))
    }

    fn endpoint(&self, account: AccountNo, id: EndpointId) -> Option<Arc<Endpoint>> {
        self.endpoints().get(&account)?.iter().find(|e| e.id == id).cloned()
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

    /// An event of now, for the outbox. `detail` is an object without phone numbers and texts, for what has no `subject` that tells it.
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
        self.event(account, kind, Some(id.0), None)
    }
}

/// Sends an endpoint a test, at once and once: the event's id, whether it was taken, and what was answered. It stands in the log.
pub async fn test(app: &App, endpoint: &Endpoint) -> Result<(EventId, bool, Line), StoreError> {
    let now = app.clock.now_ms();
    let event = EventId::new(now, app.ids.next(), endpoint.account);
    let secrets = secrets::in_force(app, endpoint);
    let secrets = secrets.ok_or_else(|| StoreError::Broken("the secret of an endpoint does not open".into()))?;
    let kind = EventKind::WebhookTest;
    let data = render::resource(app, endpoint.account, kind, endpoint.id.0).await?;
    let body = render::body(Some(kind), now, data);
    let parcel = Parcel { id: event.to_string(), url: endpoint.url.clone(), secrets, body };
    let (answer, line) = attempt::attempt(&app.notify.outbound, &app.clock, parcel).await;
    let delivered = judge(answer, 1, 0.0) == Verdict::Delivered;
    let new = NewDelivery {
        endpoint: endpoint.id,
        event,
        queue: endpoint.id.0,
        kind,
        subject: Some(endpoint.id.0),
        detail: None,
        event_at: now,
        missed: true,
    };
    let state = if delivered { DeliveryState::Delivered } else { DeliveryState::Failed };
    let (log, _) = attempt::log_with(None, line.clone());
    let done = Attempted { endpoint: endpoint.id, event, state, attempts: 1, due_at: now, log };
    delivery::put(&app.db, &new, &done).await?;
    Ok((event, delivered, line))
}

/// Starts all of it; it ends with the app's shutdown.
pub fn start(app: &App) {
    if app.db.kind() == DbKind::Postgres {
        tokio::spawn(lead::run(app.clone()));
    }
    tokio::spawn(outbox::run(app.clone()));
    tokio::spawn(deliver::run(app.clone()));
    tokio::spawn(sweep::run(app.clone()));
    tokio::spawn(email::run(app.clone()));
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
