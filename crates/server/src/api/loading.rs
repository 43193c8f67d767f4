//! Large batches: the whole hold first, then the messages in chunks, then the seal (DESIGN §4). Until the seal nobody was told of it.

use std::time::Duration;

use carillon_domain::id::{AccountNo, BatchId};
use carillon_domain::money::Money;
use carillon_store::hot::{IntakeRequest, NewMessage, Step, Verdict};
use tokio::task::JoinSet;

use super::batches::{Prepared, Shown, price, totals};
use super::error::{Code, Problem};
use crate::app::App;
use crate::pipeline::SubmitError;

/// Messages of a chunk: small beside a commit, so that others' messages go between.
const CHUNK: usize = 500;
/// Chunks on their way at a time.
const CHUNKS_IN_FLIGHT: usize = 8;
/// How long a chunk that finds no room is offered again, and how often. The hold is taken: giving up early would waste it all.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRIES_MAX: u32 = 1_200;
/// How often a partial batch is cut to a balance that keeps falling.
const CUTS_MAX: u32 = 5;

/// Stores a batch of any size; the verdict is as if it had been one transaction.
pub(super) async fn submit(app: &App, mut prepared: Prepared) -> Result<(Verdict, Shown), Problem> {
    let verdict = open(app, &mut prepared).await?;
    let shown = Shown::of(&prepared);
    let Verdict::Accepted { first, refusals, .. } = verdict else { return Ok((verdict, shown)) };
    let Prepared { caller, batch, messages, .. } = prepared;
    let count = messages.len() as u32;
    if let Err(problem) = load(app, caller.account, batch.id, messages).await {
        discard(app, caller.account, batch.id).await;
        return Err(problem);
    }
    Ok((Verdict::Accepted { first, count, span: None, refusals }, shown))
}

/// Hands the messages in, chunk by chunk, and seals the batch. When it returns, nothing of it is on its way any more.
async fn load(app: &App, account: AccountNo, batch: BatchId, mut messages: Vec<NewMessage>) -> Result<(), Problem> {
    let mut running = JoinSet::new();
    let mut done = Ok(());
    while !messages.is_empty() && done.is_ok() {
        let rest = messages.split_off(CHUNK.min(messages.len()));
        let chunk = std::mem::replace(&mut messages, rest);
        let request = IntakeRequest { account, key: None, step: Step::Chunk(batch), messages: chunk };
        let app = app.clone();
        running.spawn(async move { step(&app, request).await });
        if running.len() == CHUNKS_IN_FLIGHT {
            done = joined(running.join_next().await);
        }
    }
    // Each of them to its end, also after a failure: one that is stored later would be of a batch that is not there.
    while !running.is_empty() {
        done = done.and(joined(running.join_next().await));
    }
    done?;
    step(app, bare(account, Step::Seal(batch))).await
}

/// A batch that cannot be completed is taken back.
async fn discard(app: &App, account: AccountNo, batch: BatchId) {
    match step(app, bare(account, Step::Discard(batch))).await {
        Ok(()) => tracing::warn!(%batch, "{batch} could not be completed: it and its hold were taken back"),
        Err(_) => {
            tracing::error!(%batch, "{batch} could not be completed: it and its hold are taken back at the next start")
        }
    }
}

fn bare(account: AccountNo, step: Step) -> IntakeRequest {
    IntakeRequest { account, key: None, step, messages: Vec::new() }
}

fn joined(result: Option<Result<Result<(), Problem>, tokio::task::JoinError>>) -> Result<(), Problem> {
    match result {
        None => Ok(()),
        Some(Ok(done)) => done,
        Some(Err(_)) => Err(Code::Internal.into()),
    }
}

/// Takes the whole hold. A partial batch is cut, in order, to what the balance covers.
async fn open(app: &App, prepared: &mut Prepared) -> Result<Verdict, Problem> {
    let mut cuts = 0;
    loop {
        let request = IntakeRequest {
            account: prepared.caller.account,
            key: prepared.key,
            step: Step::Open(prepared.batch.clone(), totals(&prepared.messages)),
            messages: Vec::new(),
        };
        let verdict = app.pipeline.submit(request).await?;
        let Verdict::Short { available, .. } = verdict else { return Ok(verdict) };
        let fitting = fitting(&prepared.messages, available);
        if !prepared.batch.partial || fitting == 0 || cuts == CUTS_MAX {
            return Ok(verdict);
        }
        cuts += 1;
        let left = prepared.messages.split_off(fitting);
        prepared.batch.refusals.extend(left.iter().map(|m| (m.index, Code::InsufficientCredit.as_str())));
        prepared.batch.refusals.sort_unstable();
    }
}

/// How many messages, in order, an amount covers.
fn fitting(messages: &[NewMessage], available: Money) -> usize {
    let mut left = available;
    let covered = messages.iter().take_while(|m| {
        left -= price(m);
        left >= Money::ZERO
    });
    covered.count()
}

/// One chunk, the seal or the taking back, offered again while the server is busy.
async fn step(app: &App, request: IntakeRequest) -> Result<(), Problem> {
    let mut tries = 0;
    loop {
        match app.pipeline.submit(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(SubmitError::Busy | SubmitError::Unavailable(_))
                if tries < RETRIES_MAX && !app.shutdown.is_cancelled() =>
            {
                tries += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(e) => {
                tracing::error!(error = %e, "a step of a large batch failed: {e}");
                return Err(e.into());
            }
        }
    }
}
