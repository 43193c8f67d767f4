//! Brings what waits in the store into memory: the rest of spans as room appears, and messages whose own time has come.

use std::time::Duration;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Lane, State};
use carillon_store::StoreError;
use carillon_store::hot::{HotReader, SettleItem};
use uuid::Uuid;

use super::Pipeline;
use super::writer::{SettleEntry, Then};

/// How far the due rows have been read. A row that is written behind the cursor pulls it back, so that none is passed over.
#[derive(Debug)]
pub(super) struct DueCursor {
    after: (i64, AccountNo, MessageId),
    /// The earliest row written since the last read began.
    written: Option<i64>,
}

const START: (i64, AccountNo, MessageId) = (i64::MIN, AccountNo(0), MessageId(Uuid::nil()));

impl Default for DueCursor {
    fn default() -> Self {
        DueCursor { after: START, written: None }
    }
}

impl DueCursor {
    /// A row due at that time was committed.
    pub(super) fn new_row(&mut self, due_at: i64) {
        self.written = Some(self.written.map_or(due_at, |w| w.min(due_at)));
        self.pull_back();
    }

    fn pull_back(&mut self) {
        if let Some(written) = self.written.filter(|w| *w <= self.after.0) {
            self.after = (written - 1, AccountNo(u32::MAX), MessageId(Uuid::max()));
        }
    }

    fn begin(&mut self) -> (i64, AccountNo, MessageId) {
        self.written = None;
        self.after
    }

    fn read_to(&mut self, last: (i64, AccountNo, MessageId)) {
        self.after = self.after.max(last);
        self.pull_back();
    }
}

/// One round: every hungry lane once, and what is due. Whether anything came in.
pub(super) async fn feed_once(pipeline: &Pipeline, reader: &mut HotReader) -> Result<bool, StoreError> {
    let mut any = false;
    let wanted = pipeline.0.memory.lock().hungry();
    for (key, unfed) in wanted {
        let messages = reader.span_messages(unfed.span, unfed.from, unfed.to).await?;
        // Reading the embedded file awaits nothing: here others have their turn.
        tokio::task::yield_now().await;
        any = true;
        let jobs = messages.into_iter().map(|m| pipeline.job(m, Some(unfed.span))).collect();
        pipeline.0.memory.lock().feed(key, unfed, jobs);
        pipeline.wake_links();
        if key.1 == Lane::Otp {
            // A one-time code past its deadline is failed, never queued.
            super::pulse::end_overdue(pipeline);
        }
    }
    if feed_due(pipeline, reader).await? {
        pipeline.wake_links();
        any = true;
    }
    Ok(any)
}

async fn feed_due(pipeline: &Pipeline, reader: &mut HotReader) -> Result<bool, StoreError> {
    let now = pipeline.0.clock.now_ms();
    let (reread, room) = {
        let mut memory = pipeline.0.memory.lock();
        (memory.begin_due(), memory.due_room().min(2_000))
    };
    if let Some(at) = reread {
        pipeline.0.due.lock().new_row(at);
    }
    if room == 0 {
        return Ok(false);
    }
    let after = pipeline.0.due.lock().begin();
    let rows = reader.due_messages(after, now, room as u32).await?;
    tokio::task::yield_now().await;
    let Some((last_at, last)) = rows.last().map(|(at, m)| (*at, m.id)) else { return Ok(false) };
    let mut due = Vec::with_capacity(rows.len());
    {
        let mut memory = pipeline.0.memory.lock();
        for (at, message) in rows {
            let id = message.id;
            let job = pipeline.job(message, None);
            if let Some(error) = memory.routing.failed_for_good(&job) {
                let item = SettleItem::End { id, state: State::Undelivered, error, unknown_too: false };
                due.push(SettleEntry { item, then: Then::Nothing });
            } else if memory.feed_due(job, at) {
                due.push(SettleEntry { item: SettleItem::Due { id }, then: Then::Nothing });
            }
        }
    }
    pipeline.0.due.lock().read_to((last_at, last.account(), last));
    pipeline.settle(due);
    Ok(true)
}

/// Attempts whose outcome stayed unknown too long: sent again or given up, as their connection says.
pub(super) async fn decide_unknown(pipeline: &Pipeline, reader: &mut HotReader) -> Result<(), StoreError> {
    let undecided = reader.undecided(pipeline.0.clock.now_ms(), 500).await?;
    pipeline.settle(undecided.into_iter().map(|attempt| {
        let line = pipeline.0.memory.lock().routing.line(attempt.connection);
        // What was handed to a connection that is gone is not sent again: nobody can say any more what it allowed.
        let resend = line.is_some_and(|line| !pipeline.line(line).info.tried.claims);
        let item = SettleItem::Decide { attempt, resend, error: ErrorCode::OutcomeUnknown.number() };
        SettleEntry { item, then: Then::Nothing }
    }));
    Ok(())
}

/// Runs until the pipeline stops.
pub(super) async fn run(pipeline: Pipeline, mut reader: HotReader) {
    let stop = pipeline.0.stop.clone();
    let mut rounds = 0u32;
    loop {
        let more = match feed_once(&pipeline, &mut reader).await {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(%error, "cannot read what is due: {error}");
                false
            }
        };
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(10)
            && let Err(error) = decide_unknown(&pipeline, &mut reader).await
        {
            tracing::error!(%error, "cannot read attempts of unknown outcome: {error}");
        }
        let pause = if more { Duration::from_millis(1) } else { Duration::from_millis(100) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pipeline.0.hungry.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
