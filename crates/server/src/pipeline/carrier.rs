//! What links call: they pull messages when they have a slot and a token, and report what the carrier said.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::id::MessageId;
use carillon_domain::message::{PartState, State};
use carillon_domain::route::{ConnectionNo, Measured};
use carillon_smpp::{ReplyTo, Session};
use carillon_store::hot::{Attempted, Claim, Outcome, PartResult, Receipt, SettleItem};
use tokio::sync::oneshot;

use super::dispatch::{self, Answer, Circumstances, Fate, Tried};
use super::queue::Job;
use super::writer::{SettleEntry, Then};
use super::{Hold, Line, Pipeline};

/// Whether messages are handed over to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineState {
    /// A session is bound.
    Up,
    /// None is.
    Down,
    /// The carrier kept failing: its breaker is open for a moment.
    Resting,
}

impl LineState {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            LineState::Up => "up",
            LineState::Down => "down",
            LineState::Resting => "resting",
        }
    }
}

/// How a connection fares.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// Which.
    pub no: ConnectionNo,
    /// Whether it takes messages.
    pub state: LineState,
    /// Sessions that are bound.
    pub sessions_bound: u32,
    /// Sessions there should be.
    pub sessions: u32,
    /// Messages that wait for it in memory.
    pub waiting: usize,
    /// Parts that are unanswered, or whose answer is not durable yet.
    pub in_doubt: i64,
    /// Delivered of a thousand, over the last hour; `None` if too few ended to say.
    pub delivery: Option<u16>,
    /// Why it could not be bound when it was last tried, if it is not.
    pub trouble: Option<String>,
}

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

/// Carriers that call back wait some ten seconds for an answer, and come again.
const DURABLE_WITHIN: Duration = Duration::from_secs(8);

/// When quiet hours end that hold a message back now. Once a part of it is with a carrier, the rest follows.
fn quiet_until(job: &Job, now_ms: i64) -> Option<i64> {
    let begun = || job.message.parts.as_slice().iter().any(|part| *part != PartState::Pending);
    let until = dispatch::considerate(&job.message, now_ms);
    (until > now_ms && !begun()).then_some(until)
}

impl Pipeline {
    /// The connection's number in the store.
    pub fn number(&self, connection: usize) -> i32 {
        self.line(connection).info.tried.no
    }

    /// A carrier took a part after all.
    pub fn late(&self, connection: usize, late: Late, carrier_id: String) {
        let tried = self.line(connection).info.tried;
        let outcome = Outcome {
            id: late.id,
            part: late.part,
            attempt: late.attempt,
            connection: tried.no,
            phone_tag: late.phone_tag,
            sender: late.sender,
            at: self.0.clock.now_ms(),
            // Its claim ended when it was given up as unknown.
            claimed: false,
            // Only sessions of SMPP answer so late.
            mms: false,
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
        self.line(connection).resting.store(true, Ordering::Relaxed);
        self.reckon(connection);
        let pipeline = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            pipeline.line(connection).resting.store(false, Ordering::Relaxed);
            pipeline.reckon(connection);
        });
    }

    /// So many of the connection's sessions are bound.
    pub fn set_bound(&self, connection: usize, sessions: u32) {
        let line = self.line(connection);
        let before = line.bound.swap(sessions, Ordering::Relaxed);
        if sessions > 0 {
            *line.trouble.lock() = None;
        }
        if (before > 0) != (sessions > 0) {
            self.reckon(connection);
        }
    }

    /// Why the connection is not bound.
    pub fn trouble(&self, connection: usize, why: String) {
        *self.line(connection).trouble.lock() = Some(why);
    }

    /// How every connection fares that messages may be routed to.
    pub fn connections(&self) -> Vec<ConnectionState> {
        let lines = self.0.lines.read().clone();
        let memory = self.0.memory.lock();
        let newest = lines.iter().enumerate().filter(|(i, line)| memory.routing.line(line.info.tried.no) == Some(*i));
        let state = |(i, line): (usize, &Arc<Line>)| ConnectionState {
            no: line.info.tried.no,
            state: match (line.bound.load(Ordering::Relaxed), line.resting.load(Ordering::Relaxed)) {
                (0, _) => LineState::Down,
                (_, true) => LineState::Resting,
                (_, false) => LineState::Up,
            },
            sessions_bound: line.bound.load(Ordering::Relaxed),
            sessions: line.info.sessions as u32,
            waiting: memory.lines[i].queue.waiting(),
            in_doubt: line.in_doubt.load(Ordering::Relaxed),
            delivery: memory.routing.delivery(line.info.tried.no),
            trouble: line.trouble.lock().clone(),
        };
        newest.map(state).collect()
    }

    /// Up is what is bound and does not rest: the end of the one must not hide the other.
    pub(super) fn reckon(&self, connection: usize) {
        let line = self.line(connection);
        let mut memory = self.0.memory.lock();
        let up = line.is_up();
        memory.set_up(connection, up);
        drop(memory);
        if !up {
            self.give_back(connection);
        }
        self.wake_links();
    }

    pub(super) fn wake_links(&self) {
        self.0.lines.read().iter().for_each(|line| line.wake());
    }

    /// Waits until there may be something to pull for one of the connection's sessions.
    pub async fn woken(&self, connection: usize, session: usize) {
        self.line(connection).wakes[session].notified().await;
    }

    /// PDUs of a connection whose outcome is not durable yet.
    pub fn in_doubt(&self, connection: usize) -> i64 {
        self.line(connection).in_doubt.load(Ordering::Relaxed)
    }

    /// Parts of a connection that are in doubt only because they are claimed: the next pull hands them out.
    pub fn claimed(&self, connection: usize) -> i64 {
        let line = self.line(connection);
        if line.info.tried.claims { line.claimed.lock().iter().map(|job| job.cost()).sum() } else { 0 }
    }

    /// Takes messages for a link: as long as `room` (in parts) lasts, at least one if there is any room. What has expired meanwhile is ended.
    /// What a connection is to get at most once is claimed first: it is handed out by a later pull, once that is durable.
    pub fn pull(&self, connection: usize, room: i64, otp_only: bool, out: &mut Vec<Box<Job>>) {
        let now_ms = self.0.clock.now_ms();
        let now = self.now();
        let (mut room, mut ended, mut held) = (room, Vec::new(), Vec::new());
        let line = self.line(connection);
        if line.info.tried.claims {
            room = self.pull_claimed(connection, &line, room, out);
        }
        let claimed = out.len();
        let mut memory = self.0.memory.lock();
        while room > 0 {
            let Some(mut job) = memory.pull(connection, otp_only, now) else { break };
            if job.deadline.is_some_and(|at| at <= now) {
                ended.push((job, ErrorCode::OtpDeadline));
            } else if let Some(code) = self.suppresses(&job) {
                ended.push((job, code));
            } else if job.message.expires_at <= now_ms {
                let code = if job.throttled > 0 { ErrorCode::CarrierCongested } else { ErrorCode::Expired };
                ended.push((job, code));
            } else if let Some(until) = quiet_until(&job, now_ms) {
                held.push((job, until));
            } else {
                let cost = job.cost();
                job.message.attempts = job.message.attempts.saturating_add(1);
                job.pulled_at = now_ms;
                room -= cost;
                line.in_doubt.fetch_add(cost, Ordering::Relaxed);
                out.push(job);
            }
        }
        drop(memory);
        self.end(ended);
        self.hold_back(&line.info.tried, held, now_ms);
        if line.info.tried.claims {
            self.claim(connection, &line, out.split_off(claimed));
        }
    }

    /// What came to its turn in quiet hours waits in the store for their end.
    fn hold_back(&self, tried: &Tried, held: Vec<(Box<Job>, i64)>, now_ms: i64) {
        let mut entries = Vec::new();
        for (job, due_at) in held {
            for part in job.pending() {
                let error = ErrorCode::QuietHours.number();
                let result = PartResult::Retry { due_at, error, carrier_error: String::new() };
                let outcome = Outcome {
                    id: job.message.id,
                    part,
                    attempt: job.message.attempts,
                    connection: tried.no,
                    phone_tag: job.message.phone_tag,
                    sender: job.message.sender.clone(),
                    at: now_ms,
                    claimed: false,
                    mms: false,
                    result,
                };
                entries.push(SettleEntry { item: SettleItem::Outcome(outcome), then: Then::Nothing });
            }
            if let Some(last) = entries.last_mut() {
                last.then = Then::Ended { job: Some(job), reply: None };
            }
        }
        self.settle(entries);
    }

    /// What is claimed and may be handed over, as long as there is room.
    fn pull_claimed(&self, connection: usize, line: &Line, mut room: i64, out: &mut Vec<Box<Job>>) -> i64 {
        let mut late = Vec::new();
        {
            let mut claimed = line.claimed.lock();
            while room > 0 {
                let Some(job) = claimed.pop_front() else { break };
                if job.message.expires_at <= self.0.clock.now_ms() || job.deadline.is_some_and(|at| at <= self.now()) {
                    late.push(job);
                } else {
                    room -= job.cost();
                    out.push(job);
                }
            }
        }
        // Its time ended between claim and submit: no carrier has it, and none will.
        self.answered(
            connection,
            late.into_iter().map(|job| {
                let error = SendError {
                    kind: SendErrorKind::Permanent,
                    code: ErrorCode::Expired,
                    carrier: "its time was up before it was handed over".into(),
                };
                let answers = job.pending().into_iter().map(|part| (part, Answer::Refused(error.clone()))).collect();
                (job, answers)
            }),
        );
        room
    }

    /// Writes down that these are about to be handed over.
    fn claim(&self, connection: usize, line: &Line, jobs: Vec<Box<Job>>) {
        let now = self.0.clock.now_ms();
        let mut entries = Vec::new();
        for job in jobs {
            let mms = line.info.tried.takes_as_mms(&job.message);
            for attempt in attempts(&line.info.tried, &job) {
                let decide_at = now + line.info.tried.unknown_wait_ms;
                let claim = Claim { attempt, sender: job.message.sender.clone(), mms, submitted_at: now, decide_at };
                entries.push(SettleEntry { item: SettleItem::Claim(claim), then: Then::Nothing });
            }
            if let Some(last) = entries.last_mut() {
                last.then = Then::Claimed { connection, job };
            }
        }
        self.settle(entries);
    }

    /// What is claimed and was not handed over, of a link that can take nothing: others may.
    pub(super) fn give_back(&self, connection: usize) {
        let line = self.line(connection);
        let jobs = std::mem::take(&mut *line.claimed.lock());
        if jobs.is_empty() {
            return;
        }
        let claims: Vec<Attempted> = jobs.iter().flat_map(|job| attempts(&line.info.tried, job)).collect();
        self.unclaim(claims);
        let mut memory = self.0.memory.lock();
        for mut job in jobs {
            line.in_doubt.fetch_sub(job.cost(), Ordering::Relaxed);
            job.message.attempts = job.message.attempts.saturating_sub(1);
            memory.put_back(connection, job);
        }
        drop(memory);
        self.wake_links();
    }

    fn unclaim(&self, claims: Vec<Attempted>) {
        self.settle(claims.into_iter().map(|c| SettleEntry { item: SettleItem::Unclaim(c), then: Then::Nothing }));
    }

    /// Whether its number has come onto the list, or taken its consent back, since it was accepted. Once a part of it is with a carrier, the
    /// rest follows.
    fn suppresses(&self, job: &Job) -> Option<ErrorCode> {
        let m = &job.message;
        let begun = m.parts.as_slice().iter().any(|part| *part != PartState::Pending);
        if begun {
            return None;
        }
        self.suppressed().hold(m.id.account(), m.phone_tag, m.sender.as_deref(), m.flags).map(|hold| match hold {
            Hold::Suppressed => ErrorCode::Suppressed,
            Hold::NoConsent => ErrorCode::NoConsent,
        })
    }

    /// Ends messages that wait no longer.
    pub(super) fn end(&self, ended: Vec<(Box<Job>, ErrorCode)>) {
        self.settle(ended.into_iter().map(|(job, code)| {
            let expired = matches!(code, ErrorCode::Expired | ErrorCode::CarrierCongested | ErrorCode::NoRoute);
            let state = match code {
                ErrorCode::Suppressed | ErrorCode::NoConsent => State::Rejected,
                _ if expired => State::Expired,
                _ => State::Failed,
            };
            let item = SettleItem::End { id: job.message.id, state, error: code.number(), unknown_too: !expired };
            SettleEntry { item, then: Then::Ended { job: Some(job), reply: None } }
        }));
    }

    /// Why a message that waited too long did so: a one-time code that its deadline came, another that no connection could take it, or that a
    /// carrier kept asking for less.
    pub(super) fn expiry_of(&self, job: &Job) -> ErrorCode {
        if job.deadline.is_some() {
            ErrorCode::OtpDeadline
        } else if job.throttled > 0 {
            ErrorCode::CarrierCongested
        } else if self.0.memory.lock().routing.order(job).is_empty() {
            ErrorCode::NoRoute
        } else {
            ErrorCode::Expired
        }
    }

    /// A pulled message was not submitted after all.
    pub fn put_back(&self, connection: usize, mut job: Box<Job>) {
        let line = self.line(connection);
        if line.info.tried.claims {
            line.claimed.lock().push_front(job);
            if !line.is_up() {
                self.give_back(connection);
            }
            return;
        }
        line.in_doubt.fetch_sub(job.cost(), Ordering::Relaxed);
        job.message.attempts = job.message.attempts.saturating_sub(1);
        self.0.memory.lock().put_back(connection, job);
    }

    /// All submitted parts of messages were answered, or given up.
    pub fn answered(&self, connection: usize, jobs: impl IntoIterator<Item = (Box<Job>, Vec<(u8, Answer)>)>) {
        let line = self.line(connection);
        let (mut entries, mut items, mut moved, mut undone) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut unclaimed = Vec::new();
        let mut c = Circumstances { now_ms: self.0.clock.now_ms(), now: self.now(), another: false, random: 0 };
        for (mut job, answers) in jobs {
            c.random = job.jitter();
            c.another =
                answers.iter().any(|(_, a)| matches!(a, Answer::Refused(e) if e.kind != SendErrorKind::Unknown))
                    && self.0.memory.lock().another(&job, connection);
            let fate = dispatch::decide(&mut job, &answers, &line.info.tried, &self.0.config.retry, c, &mut items);
            // Each settled part stays in doubt until its commit; the others are known to have gone nowhere.
            let settled = items.iter().filter(|i| matches!(i, SettleItem::Outcome(_))).count().min(answers.len());
            undone += (answers.len() - settled) as i64;
            if line.info.tried.claims {
                let settled =
                    |a: &Attempted| items.iter().any(|i| matches!(i, SettleItem::Outcome(o) if o.part == a.part));
                unclaimed.extend(attempts(&line.info.tried, &job).filter(|a| !settled(a)));
            }
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
        self.unclaim(unclaimed);
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

    /// Delivery reports came together. Whether all are durable: not if one was set aside, or the database takes none for too long.
    pub async fn receipts_durable(&self, receipts: Vec<Receipt>) -> bool {
        let (mut entries, mut told) = (Vec::with_capacity(receipts.len()), Vec::with_capacity(receipts.len()));
        for receipt in receipts {
            let (tell, durable) = oneshot::channel();
            entries.push((receipt, Then::Tell(tell)));
            told.push(durable);
        }
        self.settle_receipts(entries);
        let all = async {
            for durable in told {
                if durable.await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(DURABLE_WITHIN, all).await.unwrap_or(false)
    }

    /// A delivery report came; it is acknowledged once durable.
    pub fn receipts(&self, receipts: impl IntoIterator<Item = (Receipt, Option<(Session, ReplyTo)>)>) {
        self.settle_receipts(receipts.into_iter().map(|(receipt, ack)| (receipt, Then::Acknowledge(ack))));
    }

    /// Whether a failure may lead elsewhere is the routes' affair, not the link's.
    fn settle_receipts(&self, receipts: impl IntoIterator<Item = (Receipt, Then)>) {
        let reroute = self.0.memory.lock().routing.any_reroutes();
        self.settle(
            receipts
                .into_iter()
                .map(|(receipt, then)| SettleEntry { item: SettleItem::Receipt(Receipt { reroute, ..receipt }), then }),
        );
    }
}

/// The attempt a job stands at, for each of its parts to be handed over.
fn attempts(tried: &Tried, job: &Job) -> impl Iterator<Item = Attempted> {
    let (connection, m) = (tried.no, &job.message);
    let (id, phone_tag, attempt) = (m.id, m.phone_tag, m.attempts);
    job.pending().into_iter().map(move |part| Attempted { connection, phone_tag, id, part, attempt })
}
