//! Records what became of attempts: all that arrived while the last commit ran, in one transaction. After it the desk hears of it, and an
//! endpoint that failed for the whole schedule, or said it is gone, is disabled.

use std::time::Duration;

use carillon_domain::event::EventKind;
use carillon_domain::id::EndpointId;
use carillon_domain::webhook::{ATTEMPTS_MAX, Verdict};
use carillon_store::StoreError;
use carillon_store::delivery::{self, Attempted, Delivery, DeliveryState};
use carillon_store::email::{EmailKind, NewEmail};
use carillon_store::user;
use carillon_store::webhook::{self, Endpoint, EndpointStatus};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use super::attempt::{Line, log_with};
use super::deliver::Report;
use super::email::{USEFUL_MS, for_people};
use crate::app::App;

/// Attempts one transaction records.
const AT_ONCE: usize = 500;
/// When an endpoint last took something is noted this often.
const NOTED_EVERY_MS: i64 = 60_000;

/// An attempt and what follows from it.
pub(super) struct Tried {
    pub(super) delivery: Delivery,
    pub(super) verdict: Verdict,
    pub(super) line: Line,
}

pub(super) async fn run(app: App, mut tried: mpsc::Receiver<Tried>, reports: mpsc::Sender<Report>) {
    let shutdown = app.shutdown.clone();
    let mut some = Vec::with_capacity(AT_ONCE);
    // When it was last noted that an endpoint took something.
    let mut took: FxHashMap<EndpointId, i64> = FxHashMap::default();
    loop {
        let got = shutdown.run_until_cancelled(tried.recv_many(&mut some, AT_ONCE)).await;
        if got.is_none_or(|count| count == 0) {
            return;
        }
        let now = app.clock.now_ms();
        let mut noted = Vec::new();
        for t in some.iter().filter(|t| t.verdict == Verdict::Delivered && !t.delivery.endpoint.0.is_nil()) {
            let last = took.get(&t.delivery.endpoint);
            if last.is_none_or(|last| now - last >= NOTED_EVERY_MS) {
                took.insert(t.delivery.endpoint, now);
                noted.push((t.delivery.endpoint, now));
            }
        }
        let rows: Vec<(Attempted, Option<EndpointStatus>)> = some.iter().map(|t| outcome(t, now)).collect();
        let records: Vec<Attempted> = rows.iter().map(|(row, _)| row.clone()).collect();
        while let Err(error) = delivery::record(&app.db, &records, &noted).await {
            tracing::warn!(%error, "what became of webhooks waits for the database: {error}");
            let pause = tokio::time::sleep(Duration::from_millis(200));
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
        for (t, (row, ends)) in some.drain(..).zip(rows) {
            if let Some(status) = ends
                && let Err(error) = disable(&app, &t.delivery, row.log, status).await
            {
                // The next failure tries again.
                tracing::warn!(%error, "an endpoint could not be disabled: {error}");
            }
            let _ = reports.send(Report::Recorded(t.delivery.queue, t.delivery.event, t.verdict, row.due_at)).await;
        }
    }
}

/// The row of a delivery after an attempt, and what becomes of its endpoint.
fn outcome(t: &Tried, now: i64) -> (Attempted, Option<EndpointStatus>) {
    let (log, _) = log_with(t.delivery.log.as_deref(), t.line.clone());
    let (state, due_at, ends) = match t.verdict {
        Verdict::Delivered => (DeliveryState::Delivered, t.delivery.due_at, None),
        Verdict::Retry { wait_ms, .. } => (DeliveryState::Pending, now + wait_ms, None),
        Verdict::GivenUp => (DeliveryState::Failed, t.delivery.due_at, Some(EndpointStatus::Failing)),
        Verdict::Gone => (DeliveryState::Failed, t.delivery.due_at, Some(EndpointStatus::Gone)),
    };
    let attempts = t.delivery.attempts.saturating_add(1).min(ATTEMPTS_MAX);
    let (endpoint, event) = (t.delivery.endpoint, t.delivery.event);
    (Attempted { endpoint, event, state, attempts, due_at, log }, ends.filter(|_| !endpoint.0.is_nil()))
}

/// Disables an endpoint, unless it took other events while this one failed: then it is the event that it does not take.
async fn disable(app: &App, d: &Delivery, log: String, status: EndpointStatus) -> Result<(), StoreError> {
    let account = d.event.account();
    let endpoint = webhook::by_id(&app.db, account, d.endpoint).await?;
    let first = super::attempt::read_log(Some(&log)).first().and_then(|line| line.at.parse::<jiff::Timestamp>().ok());
    let took = endpoint.accepted_at.zip(first).is_some_and(|(at, first)| at >= first.as_millisecond());
    if took && status == EndpointStatus::Failing {
        return Ok(());
    }
    let reason = if status == EndpointStatus::Gone { "gone" } else { "failing" };
    let event = app.event(account, EventKind::WebhookDisabled, Some(endpoint.id.0), None);
    let mails = mails(app, &endpoint, status, event.at).await?;
    if webhook::disable(&app.db, account, endpoint.id, status, &event, &mails).await? {
        tracing::info!(endpoint = %endpoint.id, reason, "a webhook endpoint was disabled: {reason}");
        metrics::counter!("carillon_webhook_disabled_total", "reason" => reason).increment(1);
        app.notify.reload(&app.db).await?;
        app.notify.wake();
        app.email.wake();
    }
    Ok(())
}

/// What the account's owners are told of an endpoint's end, if mail is on. Of its address only where it is: paths and queries hold secrets.
async fn mails(app: &App, endpoint: &Endpoint, status: EndpointStatus, now: i64) -> Result<Vec<NewEmail>, StoreError> {
    if !app.config.email.is_on() {
        return Ok(Vec::new());
    }
    let account = app.account(endpoint.account).await?;
    let origin =
        reqwest::Url::parse(&endpoint.url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization());
    let reason = match status {
        EndpointStatus::Gone => "it answered 410, which says that it is gone for good",
        _ => "it took nothing for three days",
    };
    let (id, at, days) = (endpoint.id.to_string(), for_people(now), app.config.webhooks.keep_days.to_string());
    let owners = user::owners(&app.db, endpoint.account).await?;
    let mail = |(address, name): &(String, String)| {
        let words = [
            ("name", name.as_str()),
            ("endpoint", &id),
            ("account", &account.name),
            ("origin", &origin),
            ("at", &at),
            ("reason", reason),
            ("days", &days),
        ];
        app.email_to(endpoint.account, EmailKind::WebhookDisabled, address, &words, now + USEFUL_MS)
    };
    Ok(owners.iter().filter_map(mail).collect())
}
