//! What links call: they pull messages when they have a slot and a token, and report what the carrier said.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::error_code::{ErrorCode, SendErrorKind};
use carillon_domain::id::MessageId;
use carillon_domain::message::{PartState, State};
use carillon_smpp::{ReplyTo, Session};
use carillon_store::hot::{Outcome, PartResult, Receipt, SettleItem};
use tokio::sync::oneshot;

use super::dispatch::{self, Answer, Circumstances, Fate};
use super::queue::Job;
use super::writer::{SettleEntry, Then};
use super::{Line, Pipeline};

/// A part whose answer came after it was given up as unknown.
#[derive(Clone, Debug)]
pub struct Late {
    /// Which message.
    pub id: MessageId,
    /// Index of the part.
    pub part: u8,
    /// Which try.
    pub attempt: u8,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// What it was sent as.
    pub sender: Option<Arc<str>>,
}

impl Pipeline {
    /// The connection's number in the store.
    pub fn number(&self, connection: usize) -> i32 {
        self.0.lines[connection].info.tried.no
    }

    /// A carrier took a part after all.
    pub fn late(&self, connection: usize, late: Late, carrier_id: String) {
        let tried = &self.0.lines[connection].info.tried;
        let outcome = Outcome {
            id: late.id,
            part: late.part,
            attempt: late.attempt,
            connection: tried.no,
            phone_tag: late.phone_tag,
            sender: late.sender,
            at: self.0.clock.now_ms(),
            result: PartResult::Accepted { carrier_id, receipts: tried.receipts },
        };
        self.settle([SettleEntry { item: SettleItem::Outcome(outcome), then: Then::Nothing }]);
    }

    /// No receipt came for these messages in all the time it may take. Answers once that is durable.
    pub async fn close(&self, ids: Vec<MessageId>) {
        let (mut entries, mut replies) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for id in ids {
            let (reply, settled) = oneshot::channel();
            entries.push(SettleEntry {
                item: SettleItem::Close { id },
                then: Then::Ended { job: None, reply: Some(reply) },
            });
            replies.push(settled);
        }
        self.settle(entries);
        for settled in replies {
            // Without an answer the server is stopping; the next sweep finds the message again.
            let _ = settled.await;
        }
    }

    /// The connection takes nothing for a while; others take over what waits for it, if any is up.
    pub fn rest(&self, connection: usize, pause: Duration) {
        self.0.lines[connection].resting.store(true, Ordering::Relaxed);
        self.reckon(connection);
        let pipeline = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            pipeline.0.lines[connection].resting.store(false, Ordering::Relaxed);
            pipeline.reckon(connection);
        });
    }

    /// The connection's link can take messages, or no longer can.
    pub fn set_up(&self, connection: usize, up: bool) {
        self.0.lines[connection].bound.store(up, Ordering::Relaxed);
        self.reckon(connection);
    }

    /// Up is what is bound and does not rest: the end of the one must not hide the other.
    pub(super) fn reckon(&self, connection: usize) {
        let line = &self.0.lines[connection];
        let mut memory = self.0.memory.lock();
        let up = line.bound.load(Ordering::Relaxed) && !line.resting.load(Ordering::Relaxed);
        memory.set_up(connection, up);
        drop(memory);
        self.wake_links();
    }

    pub(super) fn wake_links(&self) {
        self.0.lines.iter().for_each(Line::wake);
    }

    /// Waits until there may be something to pull for one of the connection's sessions.
    pub async fn woken(&self, connection: usize, session: usize) {
        self.0.lines[connection].wakes[session].notified().await;
    }

    /// PDUs of a connection whose outcome is not durable yet.
    pub fn in_doubt(&self, connection: usize) -> i64 {
        self.0.lines[connection].in_doubt.load(Ordering::Relaxed)
    }

    /// Takes messages for a link: as long as `room` (in parts) lasts, at least one if there is any room. What has expired meanwhile is ended.
    pub fn pull(&self, connection: usize, room: i64, otp_only: bool, out: &mut Vec<Box<Job>>) {
        let now_ms = self.0.clock.now_ms();
        let now = self.now();
        let (mut room, mut ended) = (room, Vec::new());
        let mut memory = self.0.memory.lock();
        while room > 0 {
            let Some(mut job) = memory.pull(connection, otp_only) else { break };
            if job.message.expires_at <= now_ms {
                let code = expiry_of(&job);
                ended.push((job, code));
            } else if job.deadline.is_some_and(|at| at <= now) {
                ended.push((job, ErrorCode::OtpDeadline));
            } else if self.suppresses(&job) {
                ended.push((job, ErrorCode::Suppressed));
            } else {
                let cost = job.cost();
                job.message.attempts = job.message.attempts.saturating_add(1);
                job.pulled_at = now_ms;
                room -= cost;
                self.0.lines[connection].in_doubt.fetch_add(cost, Ordering::Relaxed);
                out.push(job);
            }
        }
        drop(memory);
        self.end(ended);
    }

    /// Whether its number has come onto the list since it was accepted. Once a part of it is with a carrier, the rest follows.
    fn suppresses(&self, job: &Job) -> bool {
        let m = &job.message;
        let begun = m.parts.as_slice().iter().any(|part| *part != PartState::Pending);
        !begun && self.suppressed().holds(m.id.account(), m.phone_tag, m.sender.as_deref(), m.flags)
    }

    /// Ends messages that wait no longer.
    pub(super) fn end(&self, ended: Vec<(Box<Job>, ErrorCode)>) {
        self.settle(ended.into_iter().map(|(job, code)| {
            let expired = matches!(code, ErrorCode::Expired | ErrorCode::CarrierCongested);
            let state = match code {
                ErrorCode::Suppressed => State::Rejected,
                _ if expired => State::Expired,
                _ => State::Failed,
            };
            let item = SettleItem::End { id: job.message.id, state, error: code.number(), unknown_too: !expired };
            SettleEntry { item, then: Then::Ended { job: Some(job), reply: None } }
        }));
    }

    /// A pulled message was not submitted after all.
    pub fn put_back(&self, connection: usize, mut job: Box<Job>) {
        self.0.lines[connection].in_doubt.fetch_sub(job.cost(), Ordering::Relaxed);
        job.message.attempts = job.message.attempts.saturating_sub(1);
        self.0.memory.lock().put_back(connection, job);
    }

    /// All submitted parts of messages were answered, or given up.
    pub fn answered(&self, connection: usize, jobs: impl IntoIterator<Item = (Box<Job>, Vec<(u8, Answer)>)>) {
        let line = &self.0.lines[connection];
        let (mut entries, mut items, mut moved, mut undone) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut c = Circumstances { now_ms: self.0.clock.now_ms(), now: self.now(), another: false, random: 0 };
        for (mut job, answers) in jobs {
            c.random = job.jitter();
            c.another = self.0.lines.len() > 1
                && answers.iter().any(|(_, a)| matches!(a, Answer::Refused(e) if e.kind != SendErrorKind::Unknown))
                && self.0.memory.lock().another(job.tried | 1 << connection);
            let fate = dispatch::decide(&mut job, &answers, &line.info.tried, &self.0.config.retry, c, &mut items);
            // Each settled part stays in doubt until its commit; the others are known to have gone nowhere.
            let settled = items.iter().filter(|i| matches!(i, SettleItem::Outcome(_))).count().min(answers.len());
            undone += (answers.len() - settled) as i64;
            if fate != Fate::Leaves {
                job.message.attempts = job.message.attempts.saturating_sub(u8::from(fate == Fate::PutBack));
            }
            let mut last = if fate == Fate::Leaves {
                Some(job)
            } else {
                moved.push((fate, job));
                None
            };
            let count = items.len();
            for (i, item) in items.drain(..).enumerate() {
                let parts = i64::from(i < settled);
                let job = if i + 1 == count { last.take() } else { None };
                entries.push(SettleEntry { item, then: Then::Answered { connection, parts, job } });
            }
        }
        if undone > 0 {
            line.in_doubt.fetch_sub(undone, Ordering::Relaxed);
        }
        if !moved.is_empty() {
            let mut memory = self.0.memory.lock();
            for (fate, job) in moved {
                match fate {
                    Fate::Again { after_ms } => memory.delay(connection, job, c.now + after_ms),
                    Fate::PutBack => memory.put_back(connection, job),
                    Fate::FailOver | Fate::Leaves => memory.fail_over(job),
                }
            }
            drop(memory);
            self.wake_links();
        }
        self.settle(entries);
    }

    /// A delivery report came; it is acknowledged once durable.
    pub fn receipts(&self, receipts: impl IntoIterator<Item = (Receipt, Option<(Session, ReplyTo)>)>) {
        self.settle(
            receipts
                .into_iter()
                .map(|(receipt, ack)| SettleEntry { item: SettleItem::Receipt(receipt), then: Then::Acknowledge(ack) }),
        );
    }
}

/// Why a message that waited too long did so: a carrier that kept asking for less is named.
pub(super) fn expiry_of(job: &Job) -> ErrorCode {
    if job.throttled > 0 { ErrorCode::CarrierCongested } else { ErrorCode::Expired }
}
