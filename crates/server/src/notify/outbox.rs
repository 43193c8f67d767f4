//! The one consumer of the outbox, in the process that leads: takes rows, decides who is to be told, and has the store write that and take the rows away in one
//! transaction. Killed before the commit it starts over; after it, the rows are gone: nobody is told twice, and nothing is lost.

use std::time::Duration;

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EndpointId, EventId, MessageId};
use carillon_store::StoreError;
use carillon_store::delivery::{NewDelivery, Queue};
use carillon_store::event::{self, Content, FanOut, Outgoing, Transition};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Endpoints;
use crate::app::App;

/// Rows read at once.
const PAGE: u32 = 64;
/// Deliveries one transaction writes, about: other writers wait that long.
const AT_ONCE: usize = 500;
/// A bell may be missed by a process that died, and another process rings none here; nothing waits longer than this.
const BACKSTOP: Duration = Duration::from_secs(1);

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    loop {
        let pause = match drain(&app).await {
            Ok(()) => BACKSTOP,
            Err(error) => {
                tracing::warn!(%error, "the outbox waits for the database: {error}");
                Duration::from_millis(200)
            }
        };
        let rung = tokio::time::timeout(pause, app.pipeline.told().notified());
        if shutdown.run_until_cancelled(rung).await.is_none() {
            return;
        }
    }
}

/// Until the outbox is empty. Accounts take turns: a busy one does not keep the others waiting.
async fn drain(app: &App) -> Result<(), StoreError> {
    let mut from = AccountNo::PLATFORM;
    while app.notify.leads() {
        let rows = event::waiting(&app.db, from, PAGE).await?;
        let steps = plan(app, &rows).await?;
        let Some(last) = steps.last().map(|step| step.event.account()) else {
            if from == AccountNo::PLATFORM {
                return Ok(());
            }
            from = AccountNo::PLATFORM;
            continue;
        };
        event::fan_out(&app.db, &steps).await?;
        let deliveries: Vec<&NewDelivery> = steps.iter().flat_map(|step| &step.deliveries).collect();
        metrics::counter!("carillon_webhook_deliveries_total").increment(deliveries.len() as u64);
        let mut queues: Vec<Queue> = deliveries.iter().filter(|d| !d.missed).map(|d| queue_of(d)).collect();
        queues.sort_unstable_by_key(|queue| (queue.id, queue.due_at));
        queues.dedup_by_key(|queue| queue.id);
        app.notify.ring(queues);
        from = AccountNo(last.0.saturating_add(1));
    }
    Ok(())
}

/// What becomes of the first rows: as many as fit one transaction, of the last perhaps a part.
async fn plan(app: &App, rows: &[Outgoing]) -> Result<Vec<FanOut>, StoreError> {
    let endpoints = app.notify.endpoints();
    let mut steps = Vec::new();
    let mut room = AT_ONCE;
    for row in rows {
        let step = match &row.content {
            Content::Transitions(all) => transitions(app, &endpoints, row, all, room).await?,
            Content::Other { kind, subject, detail } => {
                let told = Told { event: row.id, kind: *kind, subject: *subject, detail: detail.clone(), at: row.at };
                step(row, None, for_endpoints(&endpoints, &told).collect())
            }
            Content::Unknown => {
                tracing::warn!(event = %row.id, "an event of a kind unknown to this version was left out");
                step(row, None, Vec::new())
            }
        };
        room = room.saturating_sub(step.deliveries.len());
        let cut = step.up_to.is_some();
        steps.push(step);
        if cut || room == 0 {
            break;
        }
    }
    Ok(steps)
}

fn step(row: &Outgoing, up_to: Option<u32>, deliveries: Vec<NewDelivery>) -> FanOut {
    FanOut { event: row.id, taken: row.taken, up_to, deliveries }
}

/// The transitions of a row that fit: at least one.
async fn transitions(
    app: &App,
    endpoints: &Endpoints,
    row: &Outgoing,
    all: &[Transition],
    room: usize,
) -> Result<FanOut, StoreError> {
    let from = (row.taken as usize).min(all.len());
    let some = &all[from..all.len().min(from + AT_ONCE)];
    let own: Vec<MessageId> = some.iter().filter(|t| t.own).map(|t| t.message).collect();
    let wishes = event::wishes(&app.db, row.id.account(), &own).await?;
    let mut deliveries = Vec::new();
    for (place, t) in some.iter().enumerate() {
        if place > 0 && deliveries.len() >= room {
            return Ok(step(row, Some((from + place) as u32), deliveries));
        }
        let Some(kind) = EventKind::of_state(t.state) else { continue };
        let event = row.id.nth((from + place) as u32);
        let told = Told { event, kind, subject: Some(t.message.0), detail: None, at: row.at };
        deliveries.extend(for_endpoints(endpoints, &told));
        let wish = wishes.get(&t.message).filter(|_| t.own);
        if let Some(url) = wish.and_then(|wish| wish.callback_url.as_deref()) {
            deliveries.push(told.delivery(EndpointId(Uuid::nil()), callback_queue(row.id.account(), url), false));
        }
    }
    let end = from + some.len();
    Ok(step(row, (end < all.len()).then_some(end as u32), deliveries))
}

fn queue_of(d: &NewDelivery) -> Queue {
    Queue { id: d.queue, account: d.event.account(), endpoint: d.endpoint, due_at: d.event_at }
}

/// One thing that happened.
struct Told {
    event: EventId,
    kind: EventKind,
    subject: Option<Uuid>,
    detail: Option<String>,
    at: i64,
}

impl Told {
    fn delivery(&self, endpoint: EndpointId, queue: Uuid, missed: bool) -> NewDelivery {
        NewDelivery {
            endpoint,
            event: self.event,
            queue,
            kind: self.kind,
            subject: self.subject,
            detail: self.detail.clone(),
            event_at: self.at,
            missed,
        }
    }
}

/// What the account's endpoints get: each that was there when it happened and wants it.
fn for_endpoints(endpoints: &Endpoints, told: &Told) -> impl Iterator<Item = NewDelivery> {
    let all = endpoints.get(&told.event.account()).map_or(&[][..], Vec::as_slice);
    let wanted = all
        .iter()
        .filter(|e| e.kinds.has(told.kind) && e.status.collects() && e.created_at <= told.at && !e.id.0.is_nil());
    wanted.map(|e| told.delivery(e.id, e.id.0, !e.is_enabled()))
}

/// Callbacks to one origin wait together: what is slow there delays nobody else's.
fn callback_queue(account: AccountNo, url: &str) -> Uuid {
    let origin = url.parse::<reqwest::Url>().map_or_else(|_| url.to_owned(), |u| u.origin().ascii_serialization());
    let hash = Sha256::new().chain_update(account.0.to_be_bytes()).chain_update(origin).finalize();
    Uuid::from_slice(&hash[..16]).expect("sixteen octets")
}
