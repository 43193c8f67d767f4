//! The journey of a message after it was asked for: intake, memory, dispatch, settle (ARCHITECTURE.md follows one).
//!
//! `Pipeline` is the handle the rest of the program has: requests go in by `submit`, links pull by `pull` and report by `answered`
//! and `receipt`. One writer thread owns the hot path of the store (`writer`); it alone makes anything durable, and everything that follows
//! from a commit (queueing, answering, acknowledging) happens after it.

pub mod dispatch;
mod feed;
mod memory;
pub mod prepare;
mod pulse;
pub mod queue;
#[cfg(test)]
mod sim;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use carillon_domain::account::Tier;
use carillon_domain::error_code::{ErrorCode, SendErrorKind};
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Lane, PartState, State};
use carillon_domain::price::PriceBook;
use carillon_domain::retry::RetryPolicy;
use carillon_smpp::{CommandStatus, ReplyTo, Session};
#[cfg(not(test))]
use carillon_store::hot::Hot;
use carillon_store::hot::{
    HotReader, IntakeRequest, Outcome, PartResult, QueuedMessage, Receipt, SettleItem, Settled, SpanKey, Step, Verdict,
};
use carillon_store::{Db, StoreError};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use dispatch::{Answer, Circumstances, Fate, Tried};
use memory::{Memory, Whereabouts};
use queue::Job;
#[cfg(test)]
use sim::Hot;
use writer::{IntakeEntry, SettleEntry, Then, Writer};

pub use memory::OtpAnswer;

/// Why a request was not decided.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many requests wait for a commit; try again shortly.
    #[error("too many requests are waiting")]
    Busy,
    /// The database cannot take it now; nothing was stored.
    #[error("the database cannot take it now: {0}")]
    Unavailable(String),
    /// This request alone made its commit fail; it was refused and nothing was stored.
    #[error("the request could not be stored")]
    Poisoned,
}

/// What a cancel did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelOutcome {
    /// It will not be sent; its hold is released.
    Canceled,
    /// A carrier has it, or it has ended already.
    TooLate,
    /// There is no such message.
    Unknown,
}

/// Bounds and policy, from the configuration.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Requests that may wait for a commit.
    pub intake_waiting_max: usize,
    /// Messages in one commit at most.
    pub commit_max: usize,
    /// Messages in memory per account and lane.
    pub queue_window: usize,
    /// Messages in memory in all.
    pub memory_max: usize,
    /// Retries of refused messages.
    pub retry: RetryPolicy,
    /// A one-time code is decided within this.
    pub otp_deadline: Duration,
}

/// A connection as the pipeline sees it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its configured name.
    pub name: String,
    /// What `decide` needs of it.
    pub tried: Tried,
    /// How many sessions it has.
    pub sessions: usize,
    /// Whether an outcome that stays unknown is sent again (or given up).
    pub resend_unknown: bool,
}

struct Line {
    info: ConnectionInfo,
    /// Something to pull, or room in doubt again: one for each session.
    wakes: Vec<Notify>,
    /// PDUs submitted and unanswered, or answered and not yet durable.
    in_doubt: AtomicI64,
    /// A session is bound.
    bound: AtomicBool,
    /// Its breaker is open.
    resting: AtomicBool,
}

impl Line {
    fn wake(&self) {
        self.wakes.iter().for_each(Notify::notify_one);
    }
}

struct Shared {
    config: PipelineConfig,
    clock: Clock,
    memory: Mutex<Memory>,
    inbox: writer::Inbox,
    lines: Vec<Line>,
    hungry: Notify,
    due: Mutex<feed::DueCursor>,
    weights: RwLock<FxHashMap<AccountNo, u32>>,
    prices: RwLock<Arc<PriceBook>>,
    stop: CancellationToken,
    /// Nobody hands the writer anything any more.
    drained: AtomicBool,
    /// The end waits no longer for a database that takes nothing.
    abandoned: AtomicBool,
}

/// A handle on the running pipeline; cheap to clone.
#[derive(Clone)]
pub struct Pipeline(Arc<Shared>);

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("in_memory", &self.0.memory.lock().total()).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Opens the pipeline and starts the writer, the feeder and the pulse; `Running::finish` ends them.
    pub async fn start(
        config: PipelineConfig,
        clock: Clock,
        db: &Db,
        prices: PriceBook,
        tiers: impl IntoIterator<Item = (AccountNo, Tier)>,
        connections: Vec<ConnectionInfo>,
    ) -> Result<(Pipeline, Running), StoreError> {
        let (pipeline, hot, reader) = Self::open(config, clock, db, prices, tiers, connections, rand::random()).await?;
        let writer = Writer::new(pipeline.clone(), hot).spawn();
        let feeder = tokio::spawn(feed::run(pipeline.clone(), reader));
        let pulse = tokio::spawn(pulse::run(pipeline.clone()));
        Ok((pipeline.clone(), Running { pipeline, writer, feeder, pulse }))
    }

    /// Opens the hot path, erases what was being loaded when the program ended, and reads what is due; nothing runs yet.
    /// `random_start` is where ids are counted from.
    async fn open(
        config: PipelineConfig,
        clock: Clock,
        db: &Db,
        prices: PriceBook,
        tiers: impl IntoIterator<Item = (AccountNo, Tier)>,
        connections: Vec<ConnectionInfo>,
        random_start: u64,
    ) -> Result<(Pipeline, Hot, HotReader), StoreError> {
        let mut hot = Hot::open(db, random_start).await?;
        let discarded = hot.discard_loading().await?;
        if discarded > 0 {
            tracing::info!(batches = discarded, "erased {discarded} batches that were never accepted");
        }
        let mut reader = HotReader::open(db).await?;
        let mut memory = Memory::new(connections.len(), config.queue_window, config.memory_max);
        for span in reader.spans().await? {
            memory.add_span(span.key, span.lane, span.count);
        }
        let line = |info: ConnectionInfo| {
            let wakes = (0..info.sessions).map(|_| Notify::new()).collect();
            Line { info, wakes, in_doubt: AtomicI64::new(0), bound: AtomicBool::new(false), resting: AtomicBool::new(false) }
        };
        let lines = connections.into_iter().map(line).collect();
        let shared = Shared {
            config,
            clock,
            memory: Mutex::new(memory),
            inbox: writer::Inbox::default(),
            lines,
            hungry: Notify::new(),
            due: Mutex::default(),
            weights: RwLock::new(tiers.into_iter().map(|(no, tier)| (no, tier.weight())).collect()),
            prices: RwLock::new(Arc::new(prices)),
            stop: CancellationToken::new(),
            drained: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        };
        let pipeline = Pipeline(Arc::new(shared));
        // What was due before this start is in memory before anyone asks whether we are ready.
        feed::feed_once(&pipeline, &mut reader).await?;
        Ok((pipeline, hot, reader))
    }

    /// Stores a request with all others of the moment; answers after the commit.
    pub async fn submit(&self, request: IntakeRequest) -> Result<Verdict, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.enter(IntakeEntry { request, reply, otp: None })?;
        answer.await.unwrap_or_else(|_| Err(SubmitError::Unavailable("the server is stopping".into())))
    }

    /// One OTP message: waits for the carrier until the deadline; at the deadline it is withdrawn. The answer is there if it was accepted.
    pub async fn submit_otp(&self, request: IntakeRequest) -> Result<(Verdict, Option<OtpAnswer>), SubmitError> {
        let (reply, answer) = oneshot::channel();
        let (done, fate) = oneshot::channel();
        self.enter(IntakeEntry { request, reply, otp: Some(done) })?;
        let verdict = answer.await.unwrap_or_else(|_| Err(SubmitError::Unavailable("the server is stopping".into())))?;
        if !matches!(verdict, Verdict::Accepted { .. }) {
            return Ok((verdict, None));
        }
        let fate = fate.await.unwrap_or(OtpAnswer::Failed(ErrorCode::OtpOutcomeUnknown));
        Ok((verdict, Some(fate)))
    }

    fn enter(&self, entry: IntakeEntry) -> Result<(), SubmitError> {
        if self.0.stop.is_cancelled() {
            return Err(SubmitError::Unavailable("the server is stopping".into()));
        }
        self.0.inbox.push_intake(entry, self.0.config.intake_waiting_max)
    }

    /// Withdraws a message that no carrier has.
    pub async fn cancel(&self, id: MessageId) -> Result<CancelOutcome, SubmitError> {
        let until = self.now() + 60_000;
        let job = match self.0.memory.lock().withdraw(id, until) {
            Whereabouts::InFlight => return Ok(CancelOutcome::TooLate),
            Whereabouts::Taken(job) => Some(job),
            Whereabouts::Elsewhere => None,
        };
        let (reply, settled) = oneshot::channel();
        let item = SettleItem::End { id, state: State::Canceled, error: ErrorCode::Canceled.number(), unknown_too: false };
        self.settle([SettleEntry { item, then: Then::Ended { job, reply: Some(reply) } }]);
        let settled = settled.await.map_err(|_| SubmitError::Unavailable("the server is stopping".into()))?;
        Ok(match settled {
            Settled { id: None, .. } => CancelOutcome::Unknown,
            Settled { changed: true, states: Some((_, State::Canceled)), .. } => CancelOutcome::Canceled,
            _ => CancelOutcome::TooLate,
        })
    }

    /// Prices in force.
    pub fn prices(&self) -> Arc<PriceBook> {
        self.0.prices.read().clone()
    }

    /// Replaces the prices; what is accepted keeps its own.
    pub fn set_prices(&self, prices: PriceBook) {
        *self.0.prices.write() = Arc::new(prices);
    }

    /// Changes an account's share from its next message on.
    pub fn set_tier(&self, account: AccountNo, tier: Tier) {
        self.0.weights.write().insert(account, tier.weight());
    }

    /// Whether any connection can take messages.
    pub fn any_up(&self) -> bool {
        self.0.memory.lock().lines.iter().any(|l| l.up)
    }

    /// Messages in memory, those with links included.
    pub fn in_memory(&self) -> usize {
        self.0.memory.lock().total()
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.clock.monotonic().as_millis() as u64
    }

    fn settle(&self, entries: impl IntoIterator<Item = SettleEntry>) {
        self.0.inbox.push_settle(entries);
    }

    fn job(&self, message: QueuedMessage, span: Option<SpanKey>) -> Box<Job> {
        let weight = self.0.weights.read().get(&message.id.account()).copied().unwrap_or(1);
        // Counted from acceptance, and ended a little early, so that the answer is out by the deadline.
        let deadline = (message.lane == Lane::Otp).then(|| {
            let age = (self.0.clock.now_ms() - message.id.millis()).max(0) as u64;
            let whole = self.0.config.otp_deadline.as_millis() as u64;
            self.now() + (whole - whole / 50).saturating_sub(age)
        });
        Box::new(Job { message, span, weight, tried: 0, throttled: 0, deadline })
    }
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

/// What links call.
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
            entries.push(SettleEntry { item: SettleItem::Close { id }, then: Then::Ended { job: None, reply: Some(reply) } });
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
    fn reckon(&self, connection: usize) {
        let line = &self.0.lines[connection];
        let mut memory = self.0.memory.lock();
        let up = line.bound.load(Ordering::Relaxed) && !line.resting.load(Ordering::Relaxed);
        memory.set_up(connection, up);
        drop(memory);
        self.wake_links();
    }

    fn wake_links(&self) {
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
                ended.push((job, ErrorCode::Expired));
            } else if job.deadline.is_some_and(|at| at <= now) {
                ended.push((job, ErrorCode::OtpDeadline));
            } else {
                let cost = job.cost();
                job.message.attempts = job.message.attempts.saturating_add(1);
                room -= cost;
                self.0.lines[connection].in_doubt.fetch_add(cost, Ordering::Relaxed);
                out.push(job);
            }
        }
        drop(memory);
        self.end(ended);
    }

    /// Ends messages that wait no longer.
    fn end(&self, ended: Vec<(Box<Job>, ErrorCode)>) {
        self.settle(ended.into_iter().map(|(job, code)| {
            let state = if code == ErrorCode::Expired { State::Expired } else { State::Failed };
            let item = SettleItem::End { id: job.message.id, state, error: code.number(), unknown_too: code != ErrorCode::Expired };
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
            let settled = items.iter().filter(|i| in_doubt_item(i)).count().min(answers.len());
            undone += (answers.len() - settled) as i64;
            if fate != Fate::Leaves {
                job.message.attempts = job.message.attempts.saturating_sub(u8::from(fate == Fate::PutBack));
            }
            let mut last = if fate == Fate::Leaves { Some(job) } else { moved.push((fate, job)); None };
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
        self.settle(receipts.into_iter().map(|(receipt, ack)| SettleEntry { item: SettleItem::Receipt(receipt), then: Then::Acknowledge(ack) }));
    }

    /// Marks a part as handed over by hand of a link that answers later, for messages of several parts offered again.
    pub fn parts_to_send(job: &Job) -> Vec<u8> {
        let parts = job.message.parts.as_slice().iter().enumerate();
        parts.filter(|(_, p)| **p == PartState::Pending).map(|(i, _)| i as u8).collect()
    }
}

fn in_doubt_item(item: &SettleItem) -> bool {
    matches!(item, SettleItem::Outcome(_))
}

/// What is done after a commit, by the writer's thread.
impl Pipeline {
    fn after_intake(&self, entries: Vec<IntakeEntry>, verdicts: Vec<Verdict>) {
        let mut memory = self.0.memory.lock();
        let (mut accepted, mut due) = (0u64, None::<i64>);
        let mut replies = Vec::with_capacity(entries.len());
        for (entry, verdict) in entries.into_iter().zip(verdicts) {
            if let Verdict::Accepted { first, count, span, .. } = &verdict
                && *count > 0
                && !entry.request.messages.is_empty()
            {
                let messages = &entry.request.messages;
                accepted += u64::from(*count);
                if let Some(waiter) = entry.otp {
                    memory.wait_for(*first, waiter);
                }
                match (span, &entry.request.step) {
                    // A chunk waits for its batch's seal; until then a crash erases it.
                    (Some(span), Step::Chunk(batch)) => memory.load(*batch, *span, messages[0].lane, *count),
                    (Some(span), _) => {
                        memory.accept(*span, messages[0].lane, *count, |i| self.job(messages[i as usize].queued(first.nth(i)), Some(*span)));
                    }
                    (None, _) => due = messages.iter().filter_map(|m| m.due_at).chain(due).min(),
                }
            }
            if let Step::Seal(batch) = entry.request.step {
                memory.seal(batch);
                self.0.hungry.notify_one();
            }
            replies.push((entry.reply, verdict));
        }
        drop(memory);
        if let Some(at) = due {
            self.0.due.lock().new_row(at);
        }
        self.wake_links();
        for (reply, verdict) in replies {
            // A client that hung up has its message all the same.
            let _ = reply.send(Ok(verdict));
        }
        metrics::counter!("carillon_messages_accepted_total").increment(accepted);
    }

    fn after_settle(&self, items: &[SettleItem], thens: Vec<Then>, results: Vec<Settled>) {
        let mut memory = self.0.memory.lock();
        let mut counts = writer::Counts::default();
        let (mut hungry, mut due) = (false, None::<i64>);
        let mut acknowledge = Vec::new();
        let mut touched = vec![0i64; self.0.lines.len()];
        for ((item, then), result) in items.iter().zip(thens).zip(results) {
            counts.add(item, &result);
            due = writer::due_of(item, self.0.clock.now_ms()).into_iter().chain(due).min();
            if memory.has_waiters() {
                let last = matches!(item, SettleItem::End { unknown_too: true, .. });
                self.tell_waiter(&mut memory, &result, last);
            }
            match then {
                Then::Answered { connection, parts, job } => {
                    touched[connection] += parts;
                    if let Some(job) = job {
                        hungry |= memory.leave(&job);
                    }
                }
                Then::Ended { job, reply } => {
                    if let Some(id) = result.id.filter(|_| !result.closed) {
                        memory.still_open(id);
                    }
                    if let Some(job) = job {
                        hungry |= memory.leave(&job);
                    }
                    if let Some(reply) = reply {
                        let _ = reply.send(result);
                    }
                }
                Then::Acknowledge(ack) => acknowledge.extend(ack),
                Then::Nothing => {}
            }
        }
        drop(memory);
        for (line, parts) in self.0.lines.iter().zip(touched) {
            if parts > 0 {
                line.in_doubt.fetch_sub(parts, Ordering::Relaxed);
                line.wake();
            }
        }
        for (session, to) in acknowledge {
            session.respond_deliver(to, CommandStatus::ROK);
        }
        if let Some(at) = due {
            self.0.due.lock().new_row(at);
        }
        if hungry {
            self.0.hungry.notify_one();
        }
        counts.publish();
    }

    /// `last`: its time is up, there is no waiting for more.
    fn tell_waiter(&self, memory: &mut Memory, result: &Settled, last: bool) {
        let Some(id) = result.id else { return };
        if result.succeeded {
            memory.answer(id, OtpAnswer::Sent);
        } else if result.closed || last {
            let error = result.error.and_then(ErrorCode::from_number).unwrap_or(ErrorCode::Internal);
            memory.answer(id, OtpAnswer::Failed(error));
        }
    }
}

/// The tasks of a running pipeline.
pub struct Running {
    pipeline: Pipeline,
    writer: std::thread::JoinHandle<()>,
    feeder: tokio::task::JoinHandle<()>,
    pulse: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Ends the pipeline once all that was handed to the writer is durable, or the database takes nothing for longer than `patience`: then
    /// it is as after a crash. Links are to be stopped before.
    pub async fn finish(self, patience: Duration) {
        let Running { pipeline, writer, feeder, pulse } = self;
        pipeline.0.stop.cancel();
        let _ = feeder.await;
        let _ = pulse.await;
        pipeline.0.drained.store(true, Ordering::Release);
        let mut ended = tokio::task::spawn_blocking(move || writer.join());
        if tokio::time::timeout(patience, &mut ended).await.is_err() {
            pipeline.0.abandoned.store(true, Ordering::Release);
            let _ = ended.await;
        }
    }
}
