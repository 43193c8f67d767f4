//! One task for each credential in use: reads what is owed from the store, sends it in order to whichever of its sessions receives,
//! within their windows and the credential's rate, and deletes what was answered.

use std::sync::Arc;
use std::time::Duration;

use carillon_smpp::SendError;
use carillon_smpp::tlv::Tlvs;
use carillon_store::StoreError;
use carillon_store::smpp_delivery;
use tokio::time::Instant;
use uuid::Uuid;

use super::lines::{Bound, Line};
use super::mailbox::Mailbox;
use super::render::{self, Piece};
use crate::app::App;

/// Rows read at once: so many windows of the credential, within these bounds.
const READ_WINDOWS: usize = 4;
const READ_MIN: usize = 64;
const READ_MAX: usize = 2_000;
/// Answered rows gather until there are so many, or nothing else is to be done.
const DELETE_AT: usize = 200;
/// Before the database is asked again after it failed.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Works until the credential is deleted, or the server has ended.
pub(super) async fn run(app: App, line: Arc<Line>) {
    let mailbox = &line.mailbox;
    loop {
        let wait = match round(&app, &line).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, credential = %line.id, "what {} is owed must wait: {error}", line.id);
                Some(Instant::now() + AGAIN_AFTER)
            }
        };
        tokio::select! {
            () = mailbox.wake.notified() => {}
            () = sleep_until(wait), if wait.is_some() => {}
            () = line.deleted.cancelled() => return,
            () = app.shutdown.cancelled() => break,
        }
    }
    // Sessions unbind meanwhile; what they still answer is deleted if the database is there, else it is told again.
    while line.receivers().iter().any(|b| b.session.is_open()) {
        if tokio::time::timeout(AGAIN_AFTER, mailbox.wake.notified()).await.is_err() {
            break;
        }
    }
    if let Err(error) = delete(&app, &line).await {
        tracing::warn!(%error, "deliveries that were answered will be told again: {error}");
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// Does what can be done now. When to look again, if nothing wakes us.
async fn round(app: &App, line: &Line) -> Result<Option<Instant>, StoreError> {
    let mailbox = &line.mailbox;
    let receivers = line.receivers();
    if receivers.is_empty() {
        mailbox.forget_waiting();
        delete(app, line).await?;
        return Ok(None);
    }
    let window = usize::from(line.settings().window) * receivers.len();
    let low = (READ_WINDOWS * window).clamp(READ_MIN, READ_MAX);
    let in_parts = receivers.iter().any(|b| !b.tlvs);
    loop {
        if in_parts {
            mailbox.forget_payloads();
        }
        let wait = send(app, line, &receivers);
        if mailbox.wants_more(low / 2) {
            // Rows that are answered must be gone before others are read, or they would be read again.
            delete(app, line).await?;
            read(app, line, low, in_parts).await?;
            continue;
        }
        if mailbox.done_len() >= DELETE_AT || wait != Some(None) {
            delete(app, line).await?;
        }
        return Ok(wait.flatten());
    }
}

/// Sends what windows and rate let through. `Some(None)`: windows are full, their answers will wake us; `None`: nothing is left.
fn send(app: &App, line: &Line, receivers: &[Bound]) -> Option<Option<Instant>> {
    let mailbox = &line.mailbox;
    let mut next_receiver = 0;
    loop {
        let open = |b: &&Bound| b.session.is_open() && b.session.free_slots() > 0;
        let after = receivers.iter().skip(next_receiver).find(open);
        let Some(receiver) = after.or_else(|| receivers.iter().find(open)) else { return Some(None) };
        next_receiver = receivers.iter().position(|b| b.no == receiver.no).map_or(0, |i| i + 1);
        let (at, now) = (Instant::now(), app.pipeline.now());
        {
            let mut rate = line.given.lock();
            if rate.available(now) == 0 {
                return Some(Some(at + Duration::from_millis(rate.free_at(now, 1) - now)));
            }
        }
        let (token, piece) = match mailbox.next(at) {
            Ok(next) => next,
            Err(Some(at)) => return Some(Some(at)),
            Err(None) => return None,
        };
        match hand_over(receiver, &piece, token) {
            Ok(()) => line.given.lock().take(now, 1),
            Err(SendError::Full | SendError::Closed) => mailbox.unsent(token),
            Err(SendError::Invalid(error)) => {
                tracing::error!(%error, credential = %line.id, "a delivery to {} cannot be written and is dropped: {error}", line.id);
                mailbox.unsendable(token);
            }
        }
    }
}

fn hand_over(receiver: &Bound, piece: &Piece, token: u64) -> Result<(), SendError> {
    let mut sm = piece.deliver_sm();
    if !receiver.tlvs {
        sm.tlvs = Tlvs(b"");
    }
    receiver.session.deliver(&sm, token)
}

async fn read(app: &App, line: &Line, limit: usize, in_parts: bool) -> Result<(), StoreError> {
    let mailbox = &line.mailbox;
    let limit = limit + mailbox.held();
    let rows = match smpp_delivery::oldest(&app.db, line.account, line.credential, limit as u32).await {
        Ok(rows) => rows,
        Err(error) => {
            mailbox.still_more();
            return Err(error);
        }
    };
    if rows.len() == limit {
        mailbox.still_more();
    }
    let settings = line.settings();
    for row in rows {
        let pieces = render::pieces(&settings, &row, in_parts);
        if pieces.is_empty() {
            // There is nothing to tell (any more).
            smpp_delivery::delete(&app.db, line.account, line.credential, &[row.seq]).await?;
        } else {
            mailbox.put(row.seq, pieces);
        }
    }
    Ok(())
}

async fn delete(app: &App, line: &Line) -> Result<(), StoreError> {
    let mailbox: &Mailbox = &line.mailbox;
    let done: Vec<Uuid> = mailbox.take_done();
    if done.is_empty() {
        return Ok(());
    }
    if let Err(error) = smpp_delivery::delete(&app.db, line.account, line.credential, &done).await {
        mailbox.not_deleted(done);
        return Err(error);
    }
    metrics::counter!("carillon_smpp_deliveries_total").increment(done.len() as u64);
    mailbox.deleted(&done);
    Ok(())
}
