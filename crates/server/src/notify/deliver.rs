//! Delivers webhooks: one desk that knows every queue with something in it, and a task for each attempt under way.
//!
//! A queue is an endpoint, or the callbacks of an account to one origin. Each has a bounded number of attempts under way, so that a receiver
//! that hangs fills its own places and no others; one that failed last gets one attempt at a time, until it takes something again. Each account
//! and all together are bounded as well. The database is the truth: what is pending there is sent, and stays pending until what became of it is
//! committed. After a crash it is sent again with the same `webhook-id`.

use std::collections::VecDeque;
use std::time::Duration;

use carillon_domain::id::{AccountNo, EndpointId, EventId};
use carillon_domain::webhook::{Answer, Verdict, judge};
use carillon_store::delivery::{self, Delivery, Queue};
use carillon_store::{DbKind, StoreError};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::attempt::{Line, Parcel, attempt};
use super::record::{self, Tried};
use super::render::{self, Payload};
use super::secrets;
use super::sign::Secret;
use crate::app::App;

/// How often the clock is looked at: retries are due by it, and tests move it by hand.
const TICK: Duration = Duration::from_millis(100);
/// Queues that another process wrote to (somebody asked it for a delivery again) are found this soon; with a file there is none.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN_ALONE: Duration = Duration::from_secs(60);
/// Deliveries of a queue held in memory, ready to be sent.
const PAGE: usize = 64;
/// Attempts of a queue that are answered and not yet recorded: the database is slow, nothing more is sent until it has them.
const UNRECORDED_MAX: usize = 256;
/// The same of all queues together, before more are sent.
const OPEN_MAX: usize = 4_096;

/// What comes back to the desk.
pub(super) enum Report {
    /// An attempt is over.
    Answered(Box<Done>),
    /// What became of deliveries of a queue is committed.
    Recorded(Uuid, EventId, Verdict, i64),
}

/// An attempt that is over.
pub(super) struct Done {
    pub(super) delivery: Delivery,
    pub(super) answer: Answer,
    pub(super) line: Line,
}

struct Lane {
    account: AccountNo,
    endpoint: EndpointId,
    /// Ready to be sent, in order.
    ready: VecDeque<(Delivery, Payload)>,
    /// Sent and not recorded yet; pending in the database all the while.
    open: FxHashSet<EventId>,
    /// Attempts under way.
    flying: usize,
    /// When something more is due, Unix milliseconds.
    next_due: i64,
    /// The receiver asked for a pause until then, Unix milliseconds.
    paused_until: i64,
    /// Its last attempt failed.
    failing: bool,
}

struct Desk {
    app: App,
    lanes: FxHashMap<Uuid, Lane>,
    flying: usize,
    /// Sent and not recorded yet.
    open: usize,
    of_account: FxHashMap<AccountNo, usize>,
    /// Where the next round begins, so that under the common bound all get their turn.
    turn: usize,
    reports: mpsc::Sender<Report>,
    recorder: mpsc::Sender<Tried>,
}

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    // Room for all that can be on its way at once: neither side ever waits for the other.
    let in_flight_max = usize::from(app.config.webhooks.in_flight_max);
    let (reports, mut incoming) = mpsc::channel(OPEN_MAX + in_flight_max);
    let (recorder, tried) = mpsc::channel(OPEN_MAX + in_flight_max);
    tokio::spawn(record::run(app.clone(), tried, reports.clone()));
    let lanes = FxHashMap::default();
    let mut desk =
        Desk { app, lanes, flying: 0, open: 0, of_account: FxHashMap::default(), turn: 0, reports, recorder };
    let look_again = if desk.app.db.kind() == DbKind::Sqlite { LOOK_AGAIN_ALONE } else { LOOK_AGAIN };
    let mut looked = None;
    loop {
        let now = desk.app.clock.monotonic();
        let leads = desk.app.notify.leads();
        if leads && looked.is_none_or(|at| now.saturating_sub(at) >= look_again) {
            match delivery::queues(&desk.app.db).await {
                Ok(queues) => {
                    queues.into_iter().for_each(|queue| desk.expect(queue));
                    looked = Some(now);
                }
                Err(error) => tracing::warn!(%error, "could not read what webhooks wait: {error}"),
            }
        }
        desk.app.notify.news().into_iter().for_each(|queue| desk.expect(queue));
        while let Ok(report) = incoming.try_recv() {
            desk.report(report).await;
        }
        if leads {
            desk.start().await;
        } else {
            // Whoever leads finds all of it in the database.
            looked = None;
            desk.rest();
        }
        let next = async {
            tokio::select! {
                report = incoming.recv() => report,
                () = desk.app.notify.bell.notified() => None,
                () = tokio::time::sleep(TICK) => None,
            }
        };
        match shutdown.run_until_cancelled(next).await {
            Some(Some(report)) => desk.report(report).await,
            Some(None) => {}
            None => return,
        }
    }
}

impl Desk {
    /// Forgets what it was about to send; what is under way is still recorded.
    fn rest(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.ready.clear();
            lane.next_due = i64::MAX;
        }
        self.lanes.retain(|_, lane| !lane.open.is_empty());
    }

    fn expect(&mut self, queue: Queue) {
        let lane = self.lanes.entry(queue.id).or_insert_with(|| Lane {
            account: queue.account,
            endpoint: queue.endpoint,
            ready: VecDeque::new(),
            open: FxHashSet::default(),
            flying: 0,
            next_due: i64::MAX,
            paused_until: 0,
            failing: false,
        });
        lane.next_due = lane.next_due.min(queue.due_at);
    }

    async fn report(&mut self, report: Report) {
        match report {
            Report::Answered(done) => {
                let Some(lane) = self.lanes.get_mut(&done.delivery.queue) else { return };
                lane.flying -= 1;
                self.flying -= 1;
                if let Some(count) = self.of_account.get_mut(&lane.account) {
                    *count -= 1;
                }
                let verdict = judge(done.answer, done.delivery.attempts.saturating_add(1), rand::random());
                lane.failing = verdict != Verdict::Delivered;
                if let Verdict::Retry { pause_ms, .. } = verdict {
                    lane.paused_until = lane.paused_until.max(self.app.clock.now_ms() + pause_ms);
                }
                let outcome = if lane.failing { "failed" } else { "delivered" };
                metrics::counter!("carillon_webhook_attempts_total", "outcome" => outcome).increment(1);
                metrics::histogram!("carillon_webhook_seconds").record(done.line.duration_ms as f64 / 1_000.0);
                metrics::gauge!("carillon_webhook_in_flight").set(self.flying as f64);
                // The recorder lives as long as this.
                let _ = self.recorder.send(Tried { delivery: done.delivery, verdict, line: done.line }).await;
            }
            Report::Recorded(queue, event, verdict, due_at) => {
                let Some(lane) = self.lanes.get_mut(&queue) else { return };
                lane.open.remove(&event);
                self.open -= 1;
                if matches!(verdict, Verdict::Retry { .. }) {
                    lane.next_due = lane.next_due.min(due_at);
                }
            }
        }
    }

    /// Sends what is due, as far as there is room.
    async fn start(&mut self) {
        let now = self.app.clock.now_ms();
        self.lanes.retain(|_, lane| {
            !lane.open.is_empty() || !lane.ready.is_empty() || lane.next_due < i64::MAX || lane.paused_until > now
        });
        let settings = &self.app.config.webhooks;
        let (per_endpoint, all) = (usize::from(settings.per_endpoint), usize::from(settings.in_flight_max));
        let per_account = (all / 4).max(per_endpoint);
        let mut queues: Vec<Uuid> = self.lanes.keys().copied().collect();
        queues.sort_unstable();
        let from = self.turn.checked_rem(queues.len()).unwrap_or(0);
        queues.rotate_left(from);
        self.turn = self.turn.wrapping_add(1);
        for id in queues {
            if self.flying >= all || self.open >= OPEN_MAX {
                return;
            }
            let lane = &self.lanes[&id];
            let bound = if lane.failing { 1 } else { per_endpoint };
            let of_account = self.of_account.get(&lane.account).copied().unwrap_or(0);
            let room =
                bound.min(per_account.saturating_sub(of_account) + lane.flying).min(all - self.flying + lane.flying);
            if lane.flying >= room || lane.paused_until > now || lane.open.len() >= UNRECORDED_MAX {
                continue;
            }
            if lane.ready.is_empty()
                && lane.next_due <= now
                && let Err(error) = self.load(id, now).await
            {
                tracing::warn!(%error, "webhooks wait for the database: {error}");
                return;
            }
            self.send(id, room);
        }
    }

    /// Reads the next deliveries of a queue and renders them.
    async fn load(&mut self, id: Uuid, now: i64) -> Result<(), StoreError> {
        let lane = &self.lanes[&id];
        let (account, endpoint) = (lane.account, lane.endpoint);
        if !self.is_sent_to(account, endpoint) {
            // Fanned out while it was being disabled.
            delivery::shelve(&self.app.db, account, endpoint).await?;
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.next_due = i64::MAX;
            }
            return Ok(());
        }
        let limit = PAGE + lane.open.len();
        let mut rows = delivery::next(&self.app.db, id, limit as u32).await?;
        let full = rows.len() == limit;
        rows.retain(|d| !lane.open.contains(&d.event));
        let later = rows.iter().map(|d| d.due_at).find(|due_at| *due_at > now);
        rows.retain(|d| d.due_at <= now);
        if endpoint.0.is_nil() {
            secrets::of_callbacks(&self.app, account).await?;
        }
        let payloads = render::payloads(&self.app, account, &rows).await?;
        let Some(lane) = self.lanes.get_mut(&id) else { return Ok(()) };
        // Of a full page the end was not seen.
        lane.next_due = later.unwrap_or(if full { now } else { i64::MAX });
        lane.ready = rows.into_iter().zip(payloads).collect();
        Ok(())
    }

    fn is_sent_to(&self, account: AccountNo, endpoint: EndpointId) -> bool {
        endpoint.0.is_nil() || self.app.notify.endpoint(account, endpoint).is_some_and(|e| e.is_enabled())
    }

    /// Sends what is ready until so many are under way.
    fn send(&mut self, id: Uuid, room: usize) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        while lane.flying < room
            && let Some((delivery, payload)) = lane.ready.pop_front()
        {
            let Some((url, secrets)) = signer(&self.app, lane.account, lane.endpoint) else {
                // Disabled or gone since it was read: in the database it is no longer pending.
                lane.ready.clear();
                return;
            };
            let url = if lane.endpoint.0.is_nil() { payload.callback_url.unwrap_or_default() } else { url };
            let parcel = Parcel { id: delivery.event.to_string(), url, secrets, body: payload.body };
            lane.open.insert(delivery.event);
            lane.flying += 1;
            self.open += 1;
            self.flying += 1;
            *self.of_account.entry(lane.account).or_default() += 1;
            let (app, reports) = (self.app.clone(), self.reports.clone());
            tokio::spawn(async move {
                let (answer, line) = attempt(&app.notify.outbound, &app.clock, parcel).await;
                // At the end nobody listens any more; then it is sent again at the next start.
                let _ = reports.send(Report::Answered(Box::new(Done { delivery, answer, line }))).await;
            });
        }
    }
}

/// Where an endpoint's events go and what signs them; none if it is disabled or gone.
fn signer(app: &App, account: AccountNo, id: EndpointId) -> Option<(String, Vec<Secret>)> {
    let endpoint = app.notify.endpoint(account, id).filter(|e| e.is_enabled())?;
    Some((endpoint.url.clone(), secrets::in_force(app, &endpoint)?))
}
