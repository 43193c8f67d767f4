//! The journey of a message after it was asked for: intake, memory, dispatch, settle (ARCHITECTURE.md follows one).
//!
//! `Pipeline` is the handle the rest of the program has: requests go in by `submit`, links pull by `pull` and report by `answered`
//! and `receipt`. One writer thread owns the hot path of the store (`writer`); it alone makes anything durable, and everything that follows
//! from a commit (queueing, answering, acknowledging) happens after it.

mod after;
mod cancel;
mod carrier;
mod consents;
pub mod dispatch;
mod feed;
mod inbound;
mod memory;
pub mod prepare;
mod pulse;
pub mod queue;
mod replace;
mod reported;
pub mod routing;
#[cfg(test)]
mod sim;
mod suppressed;
pub mod throttle;
mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use carillon_domain::account::Tier;
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::AccountNo;
use carillon_domain::message::{Flags, Lane};
use carillon_domain::price::PriceBook;
use carillon_domain::retry::RetryPolicy;
use carillon_domain::route::{Book, Measured, PrefixMap};
use carillon_store::event::Watched;
#[cfg(not(test))]
use carillon_store::hot::Hot;
use carillon_store::hot::{HotReader, IntakeRequest, QueuedMessage, SettleItem, SpanKey, Step, Verdict};
use carillon_store::throughput::Throughput;
use carillon_store::{Db, StoreError};
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use dispatch::Tried;
use memory::Memory;
use queue::Job;
use routing::Costs;
#[cfg(test)]
use sim::Hot;
use writer::{IntakeEntry, SettleEntry, Takes, Writer};

pub use carrier::{ConnectionState, Late, LineState};
pub use consents::Consents;
pub use inbound::{Ack, Arrived, Inbound, OwnNumbers};
pub use memory::OtpAnswer;
pub use replace::ReplaceOutcome;
pub use suppressed::{Hold, Suppressed};

/// Why a request was not decided.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many requests wait for a commit; try again shortly.
    #[error("too many requests are waiting")]
    Busy,
    /// The database cannot take it now; nothing was stored.
    #[error("the database cannot take it now: {0}")]
    Unavailable(String),
    /// The number is on the suppression list; nothing was stored.
    #[error("the number is on the suppression list")]
    Suppressed,
    /// The number has not agreed to messages of this kind; nothing was stored.
    #[error("the number has not agreed to promotional messages")]
    NoConsent,
    /// This request alone made its commit fail; it was refused and nothing was stored.
    #[error("the request could not be stored")]
    Poisoned,
}

impl From<Hold> for SubmitError {
    fn from(hold: Hold) -> SubmitError {
        match hold {
            Hold::Suppressed => SubmitError::Suppressed,
            Hold::NoConsent => SubmitError::NoConsent,
        }
    }
}

/// A request handed in, whose answer is to come.
#[derive(Debug)]
pub struct Offered(oneshot::Receiver<Result<Verdict, SubmitError>>);

impl Offered {
    /// Waits for the commit. Cancel safe.
    pub async fn answer(&mut self) -> Result<Verdict, SubmitError> {
        (&mut self.0).await.unwrap_or_else(|_| Err(SubmitError::Unavailable("the server is stopping".into())))
    }
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
}

/// What messages are accepted by.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What they cost.
    pub prices: PriceBook,
    /// Whose connections they can take, and what those carry.
    pub book: Arc<Book>,
}

struct Line {
    info: ConnectionInfo,
    /// Something to pull, or room in doubt again: one for each session.
    wakes: Vec<Notify>,
    /// PDUs submitted and unanswered, or answered and not yet durable.
    in_doubt: AtomicI64,
    /// What is claimed and may be handed over, in order.
    claimed: Mutex<VecDeque<Box<Job>>>,
    /// Sessions that are bound.
    bound: AtomicU32,
    /// Why none could be.
    trouble: Mutex<Option<String>>,
    /// Its breaker is open.
    resting: AtomicBool,
}

impl Line {
    fn new(info: ConnectionInfo) -> Line {
        let wakes = (0..info.sessions).map(|_| Notify::new()).collect();
        Line {
            info,
            wakes,
            in_doubt: AtomicI64::new(0),
            claimed: Mutex::default(),
            bound: AtomicU32::new(0),
            trouble: Mutex::default(),
            resting: AtomicBool::new(false),
        }
    }

    /// Bound, and not resting: the end of the one must not hide the other.
    fn is_up(&self) -> bool {
        self.bound.load(Ordering::Relaxed) > 0 && !self.resting.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        self.wakes.iter().for_each(Notify::notify_one);
    }
}

struct Shared {
    config: PipelineConfig,
    clock: Clock,
    memory: Mutex<Memory>,
    inbox: writer::Inbox,
    /// Only ever longer: a connection that changes gets a new line, so that numbers of lines stay what they are.
    lines: RwLock<Vec<Arc<Line>>>,
    hungry: Notify,
    /// The outbox has something to tell.
    told: Notify,
    watched: Watched,
    due: Mutex<feed::DueCursor>,
    weights: RwLock<FxHashMap<AccountNo, u32>>,
    terms: RwLock<Arc<Terms>>,
    /// SMPP credentials for which receipts were written since somebody asked.
    owed: Mutex<FxHashSet<(AccountNo, u16)>>,
    owed_more: Notify,
    suppressed: Suppressed,
    own_numbers: OwnNumbers,
    inbound: inbound::Waiting,
    /// A message from a phone asks for something.
    answers_due: Notify,
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
    /// Opens the pipeline and starts the writers, the feeder and the pulse; `Running::finish` ends them. Messages wait until `set_routing` says
    /// where they may go.
    pub async fn start(
        config: PipelineConfig,
        clock: Clock,
        db: &Db,
        prices: PriceBook,
        tiers: impl IntoIterator<Item = (AccountNo, Tier)>,
    ) -> Result<(Pipeline, Running), StoreError> {
        let (pipeline, hot, reader) = Self::open(config, clock, db, prices, tiers, Vec::new(), rand::random()).await?;
        let writers = match db {
            Db::Sqlite(_) => vec![Writer::new(pipeline.clone(), Takes::Both, hot).spawn()],
            Db::Postgres(_) => {
                let mut writers = vec![Writer::new(pipeline.clone(), Takes::Outcomes, hot).spawn()];
                for takes in [Takes::Requests, Takes::Large, Takes::Large] {
                    let beside = Hot::open(db, rand::random()).await?;
                    writers.push(Writer::new(pipeline.clone(), takes, beside).spawn());
                }
                writers
            }
        };
        let feeder = tokio::spawn(feed::run(pipeline.clone(), reader));
        let pulse = tokio::spawn(pulse::run(pipeline.clone()));
        Ok((pipeline.clone(), Running { pipeline, writers, feeder, pulse }))
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
        let mut memory = Memory::new(config.queue_window, config.memory_max);
        for span in reader.spans().await? {
            memory.add_span(span.key, span.lane, span.count);
        }
        let shared = Shared {
            config,
            inbound: inbound::Waiting::new(clock.now_ms()),
            clock,
            memory: Mutex::new(memory),
            inbox: writer::Inbox::default(),
            lines: RwLock::default(),
            hungry: Notify::new(),
            told: Notify::new(),
            watched: hot.watched(),
            due: Mutex::default(),
            weights: RwLock::new(tiers.into_iter().map(|(no, tier)| (no, tier.weight())).collect()),
            terms: RwLock::new(Arc::new(Terms { prices, book: Arc::default() })),
            owed: Mutex::default(),
            owed_more: Notify::new(),
            suppressed: Suppressed::default(),
            own_numbers: OwnNumbers::default(),
            answers_due: Notify::new(),
            stop: CancellationToken::new(),
            drained: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        };
        let pipeline = Pipeline(Arc::new(shared));
        let in_order: Vec<_> = connections.iter().map(|c| (AccountNo::PLATFORM, c.tried.no)).collect();
        for info in connections {
            pipeline.add_line(info);
        }
        pipeline.set_routing(Book::new(Vec::new(), &in_order, PrefixMap::default()), Costs::default());
        // What was about to be handed over when the program ended, was perhaps: it is not to be read as if it were waiting.
        let now = pipeline.0.clock.now_ms();
        let unheard: Vec<SettleItem> = reader.claims().await?.into_iter().map(|claim| claim.unheard(now)).collect();
        for items in unheard.chunks(1_000) {
            hot.commit_settle(items, &[], now).await?;
        }
        // What was due before this start is in memory before anyone asks whether we are ready.
        feed::feed_once(&pipeline, &mut reader).await?;
        Ok((pipeline, hot, reader))
    }

    /// Stores a request with all others of the moment; answers after the commit.
    pub async fn submit(&self, request: IntakeRequest) -> Result<Verdict, SubmitError> {
        self.offer(request)?.answer().await
    }

    /// Hands a request in without waiting. Those that one task offers are decided and answered in their order.
    pub fn offer(&self, request: IntakeRequest) -> Result<Offered, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.enter(IntakeEntry { request, reply, otp: None })?;
        Ok(Offered(answer))
    }

    /// Waits until receipts for SMPP customers were written; whose: account and number of the credential, each once.
    pub async fn receipts_owed(&self) -> Vec<(AccountNo, u16)> {
        loop {
            let owed = std::mem::take(&mut *self.0.owed.lock());
            if !owed.is_empty() {
                return owed.into_iter().collect();
            }
            self.0.owed_more.notified().await;
        }
    }

    /// One OTP message: waits for the carrier until the deadline; at the deadline it is withdrawn. The answer is there if it was accepted.
    pub async fn submit_otp(&self, request: IntakeRequest) -> Result<(Verdict, Option<OtpAnswer>), SubmitError> {
        let (reply, answer) = oneshot::channel();
        let (done, fate) = oneshot::channel();
        self.enter(IntakeEntry { request, reply, otp: Some(done) })?;
        let verdict =
            answer.await.unwrap_or_else(|_| Err(SubmitError::Unavailable("the server is stopping".into())))?;
        if !matches!(verdict, Verdict::Accepted { .. }) {
            return Ok((verdict, None));
        }
        let fate = fate.await.unwrap_or(OtpAnswer::Failed(ErrorCode::OtpOutcomeUnknown));
        Ok((verdict, Some(fate)))
    }

    fn enter(&self, mut entry: IntakeEntry) -> Result<(), SubmitError> {
        if self.0.stop.is_cancelled() {
            return Err(SubmitError::Unavailable("the server is stopping".into()));
        }
        // Of a batch, whoever made it has left them out (`suppressed`), with their places.
        if let (Step::Message, [message]) = (&entry.request.step, &*entry.request.messages)
            && let Some(hold) = self.suppressed().hold_new(entry.request.account, message)
        {
            return Err(hold.into());
        }
        let IntakeRequest { account, messages, .. } = &mut entry.request;
        for message in messages.iter_mut() {
            let two_way = message.sender.as_deref().is_some_and(|s| self.own_numbers().answers(*account, s));
            message.flags = message.flags.with(Flags::TWO_WAY, two_way);
        }
        // The messages of a request are due by a span, or each by itself: where some wait for the end of quiet hours, the others are due now.
        if messages.iter().any(|m| m.due_at.is_some()) {
            let now = self.0.clock.now_ms();
            messages.iter_mut().for_each(|m| m.due_at = m.due_at.or(Some(now)));
        }
        self.0.inbox.push_intake(entry, self.0.config.intake_waiting_max)
    }

    /// Wakes who does what messages from phones ask for.
    pub fn answers_due(&self) -> &Notify {
        &self.0.answers_due
    }

    /// Who must not be written to.
    pub fn suppressed(&self) -> &Suppressed {
        &self.0.suppressed
    }

    /// Prices and routes in force.
    pub fn terms(&self) -> Arc<Terms> {
        self.0.terms.read().clone()
    }

    /// Replaces the prices; what is accepted keeps its own.
    pub fn set_prices(&self, prices: PriceBook) {
        let mut terms = self.0.terms.write();
        *terms = Arc::new(Terms { prices, book: terms.book.clone() });
    }

    /// A line for a connection, down until its link says otherwise. Nothing is routed to it before `set_routing`.
    pub fn add_line(&self, info: ConnectionInfo) -> usize {
        let mut lines = self.0.lines.write();
        let mut memory = self.0.memory.lock();
        memory.add_line(info.tried.no);
        lines.push(Arc::new(Line::new(info)));
        lines.len() - 1
    }

    /// Other routes, or other lines: of several of one connection the newest counts. What waits is routed anew.
    pub fn set_routing(&self, book: Book, costs: Costs) {
        let lines = self.0.lines.read();
        let newest = lines.iter().enumerate().map(|(i, line)| (line.info.tried.no, i)).collect();
        drop(lines);
        let book = Arc::new(book);
        {
            let mut terms = self.0.terms.write();
            *terms = Arc::new(Terms { prices: terms.prices.clone(), book: book.clone() });
        }
        self.0.memory.lock().set_routing(book, costs, newest);
        self.wake_links();
    }

    /// Looks something up in the routes in force, with what was measured of the connections.
    pub fn with_routes<T>(&self, look: impl FnOnce(&Book, &dyn Measured) -> T) -> T {
        let memory = self.0.memory.lock();
        look(memory.routing.book(), &memory.routing)
    }

    /// Other rates of accounts and senders, and of tiers (regular, premium, VIP) for accounts that have none; parts a second, 0 is no limit.
    pub fn set_throughput(&self, set: Vec<Throughput>, tiers: [u32; 3]) {
        self.0.memory.lock().throttle.set(set, tiers);
    }

    fn line(&self, index: usize) -> Arc<Line> {
        self.0.lines.read()[index].clone()
    }

    /// Changes an account's share from its next message on.
    pub fn set_tier(&self, account: AccountNo, tier: Tier) {
        self.0.weights.write().insert(account, tier.weight());
    }

    /// Whose transitions are recorded besides those of messages that ask for it themselves.
    pub fn watched(&self) -> &Watched {
        &self.0.watched
    }

    /// Woken when a commit left something in the outbox; whoever else puts something there wakes it, too. For its one consumer.
    pub fn told(&self) -> &Notify {
        &self.0.told
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
        let tried = SmallVec::from_slice(&message.refused_by);
        Box::new(Job { message, span, weight, tried, throttled: 0, pulled_at: 0, sender_flow: 0, deadline })
    }
}

/// The tasks of a running pipeline.
pub struct Running {
    pipeline: Pipeline,
    writers: Vec<std::thread::JoinHandle<()>>,
    feeder: tokio::task::JoinHandle<()>,
    pulse: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running(..)")
    }
}

impl Running {
    /// Ends the pipeline once all that was handed to the writer is durable, or the database takes nothing for longer than `patience`: then
    /// it is as after a crash. Links are to be stopped before.
    pub async fn finish(self, patience: Duration) {
        let Running { pipeline, writers, feeder, pulse } = self;
        pipeline.0.stop.cancel();
        let _ = feeder.await;
        let _ = pulse.await;
        pipeline.0.drained.store(true, Ordering::Release);
        let mut ended = tokio::task::spawn_blocking(move || writers.into_iter().for_each(|writer| drop(writer.join())));
        if tokio::time::timeout(patience, &mut ended).await.is_err() {
            pipeline.0.abandoned.store(true, Ordering::Release);
            let _ = ended.await;
        }
    }
}
