//! What happens by the clock in memory: deadlines of one-time codes, messages offered again, validity that ends.

use std::time::Duration;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::message::State;
use carillon_store::hot::SettleItem;

use super::Pipeline;
use super::memory::{ORPHANED, Whereabouts};
use super::writer::{SettleEntry, Then};

/// How finely deadlines and delays are kept.
const TICK: Duration = Duration::from_millis(10);

/// Ends one-time codes that are not decided by their deadline: withdrawn if nobody has them, given up if a carrier may.
pub(super) fn end_overdue(pipeline: &Pipeline) {
    let now = pipeline.now();
    let mut memory = pipeline.0.memory.lock();
    let overdue = memory.overdue(now);
    let ends: Vec<SettleEntry> = overdue
        .into_iter()
        .map(|id| {
            let (job, code) = match memory.withdraw(id, now + 60_000) {
                Whereabouts::Taken(job) if job.deadline == Some(ORPHANED) => (Some(job), ErrorCode::OtpOutcomeUnknown),
                Whereabouts::Taken(job) => (Some(job), ErrorCode::OtpDeadline),
                Whereabouts::InFlight => (None, ErrorCode::OtpOutcomeUnknown),
                Whereabouts::Elsewhere => (None, ErrorCode::OtpDeadline),
            };
            let item = SettleItem::End { id, state: State::Failed, error: code.number(), unknown_too: true };
            SettleEntry { item, then: Then::Ended { job, reply: None } }
        })
        .collect();
    drop(memory);
    pipeline.settle(ends);
}

pub(super) fn tick(pipeline: &Pipeline, whole_second: bool) {
    end_overdue(pipeline);
    let now = pipeline.now();
    let mut memory = pipeline.0.memory.lock();
    memory.routing.now_ms = pipeline.0.clock.now_ms();
    let woken = memory.wake(now);
    let expired = if whole_second {
        memory.forget_withdrawn(now);
        memory.expired(pipeline.0.clock.now_ms())
    } else {
        Vec::new()
    };
    drop(memory);
    if woken {
        pipeline.wake_links();
    }
    if whole_second {
        metrics::gauge!("carillon_messages_in_memory").set(pipeline.in_memory() as f64);
        pipeline.end(
            expired
                .into_iter()
                .map(|job| {
                    let code = pipeline.expiry_of(&job);
                    (job, code)
                })
                .collect(),
        );
    }
}

/// Runs until the pipeline stops.
pub(super) async fn run(pipeline: Pipeline) {
    let stop = pipeline.0.stop.clone();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        ticks = ticks.wrapping_add(1);
        tick(&pipeline, ticks.is_multiple_of(100));
    }
}
