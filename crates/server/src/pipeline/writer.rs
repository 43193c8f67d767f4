//! The thread that commits: it takes what has arrived while its last commit ran, requests and outcomes, and after each commit carries out
//! what follows. Batches form by themselves, the larger the busier it is. On PostgreSQL there are several, because a round there takes
//! long, whatever it holds: one for requests, two for those of many messages, each of which keeps a session of the server busy, and one for
//! outcomes; a message changes state in that one only. Outcomes that trickle in wait there for a few more.

use std::collections::VecDeque;
use std::time::Duration;

use carillon_domain::message::State;
use carillon_smpp::{ReplyTo, Session};
use carillon_store::StoreError;
use carillon_store::hot::{IntakeRequest, PartResult, SettleItem, Settled, SpanKey, Step, Verdict};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::Job;
use super::{Hot, OtpAnswer, Pipeline, SubmitError};

/// A request waiting for a commit.
pub(super) struct IntakeEntry {
    pub(super) request: IntakeRequest,
    pub(super) reply: oneshot::Sender<Result<Verdict, SubmitError>>,
    pub(super) otp: Option<oneshot::Sender<OtpAnswer>>,
}

/// An outcome waiting for a commit, and what follows it.
pub(super) struct SettleEntry {
    pub(super) item: SettleItem,
    pub(super) then: Then,
}

/// What follows the commit of an item.
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// A submitted part is no longer in doubt; its job leaves memory, if this was the last of it.
    Answered { connection: usize, parts: i64, job: Option<Box<Job>> },
    /// A message ended in memory; someone may wait to hear it.
    Ended { job: Option<Box<Job>>, reply: Option<oneshot::Sender<Settled>> },
    /// A claimed message may be handed over.
    Claimed { connection: usize, job: Box<Job> },
    /// A receipt can be acknowledged.
    Acknowledge(Option<(Session, ReplyTo)>),
    /// Someone waits until it is durable, whatever it changed.
    Tell(oneshot::Sender<()>),
}

impl Then {
    /// Whether someone waits for it who is not to be kept waiting.
    fn hurries(&self) -> bool {
        match self {
            Then::Claimed { .. } => true,
            Then::Answered { job, .. } => job.as_ref().is_some_and(|job| job.deadline.is_some()),
            Then::Ended { reply, .. } => reply.is_some(),
            Then::Nothing | Then::Acknowledge(_) | Then::Tell(_) => false,
        }
    }
}

#[derive(Default)]
struct Waiting {
    intake: VecDeque<IntakeEntry>,
    /// Requests of many messages, if others take them than take `intake`.
    large: VecDeque<IntakeEntry>,
    settle: VecDeque<SettleEntry>,
    /// Several writers share the work.
    divided: bool,
    /// Whoever takes outcomes waits for more of them, and is woken once there are enough.
    gathering: bool,
    stopped: bool,
}

/// What a writer commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    /// Everything there is.
    Both,
    /// Requests; other writers take the large ones and the outcomes.
    Requests,
    /// Large requests, one at a time.
    Large,
    /// Outcomes; another writer takes the requests.
    Outcomes,
}

/// What waits for the writers.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// For whoever takes requests.
    requests: Condvar,
    /// For whoever takes large requests and nothing else.
    large: Condvar,
    /// For whoever takes outcomes and nothing else.
    outcomes: Condvar,
}

/// From so many messages on, a request is large. More than a program may send at once by SMPP, where answers keep their order.
const LARGE: usize = 256;

fn is_large(request: &IntakeRequest) -> bool {
    matches!(request.step, Step::Batch(_)) && request.messages.len() >= LARGE
}

/// So many outcomes are enough for a round: for one PostgreSQL works no less than for some (measured, bench/RESULTS.md).
const ENOUGH: usize = 8;

/// How long after the last round began the next one begins at the latest, however few there are.
const GATHER: Duration = Duration::from_millis(20);

/// After so long without another there is no more to wait for: a carrier may wait for what it has sent to be acknowledged.
const QUIET: Duration = Duration::from_millis(5);

impl Waiting {
    fn enough(&self) -> bool {
        self.settle.len() >= ENOUGH || self.settle.iter().any(|entry| entry.then.hurries())
    }
}

impl Inbox {
    pub(super) fn push_intake(&self, entry: IntakeEntry, max: usize) -> Result<(), SubmitError> {
        let mut waiting = self.waiting.lock();
        if waiting.stopped {
            return Err(SubmitError::Unavailable("the server is stopping".into()));
        }
        if waiting.intake.len() + waiting.large.len() >= max {
            return Err(SubmitError::Busy);
        }
        let large = waiting.divided && is_large(&entry.request);
        if large { &mut waiting.large } else { &mut waiting.intake }.push_back(entry);
        drop(waiting);
        if large { &self.large } else { &self.requests }.notify_one();
        Ok(())
    }

    pub(super) fn push_settle(&self, entries: impl IntoIterator<Item = SettleEntry>) {
        let mut waiting = self.waiting.lock();
        waiting.settle.extend(entries);
        let ready = if waiting.gathering { waiting.enough() } else { !waiting.settle.is_empty() };
        let divided = waiting.divided;
        drop(waiting);
        if ready {
            if divided { &self.outcomes } else { &self.requests }.notify_one();
        }
    }

    /// All requests that wait.
    fn take_intake(&self) -> VecDeque<IntakeEntry> {
        let mut waiting = self.waiting.lock();
        let mut all = std::mem::take(&mut waiting.intake);
        all.append(&mut waiting.large);
        all
    }

    /// Waits a moment if there is nothing. False once stopped and empty.
    fn wait(&self, takes: Takes, stopping: bool) -> bool {
        let mut waiting = self.waiting.lock();
        let (intake, settle) = (waiting.intake.is_empty(), waiting.settle.is_empty());
        let (empty, arrived) = match takes {
            Takes::Both => (intake && settle, &self.requests),
            Takes::Requests => (intake, &self.requests),
            Takes::Large => (waiting.large.is_empty(), &self.large),
            Takes::Outcomes => (settle, &self.outcomes),
        };
        if empty {
            if stopping {
                waiting.stopped |= takes != Takes::Outcomes;
                return false;
            }
            arrived.wait_for(&mut waiting, Duration::from_millis(100));
        }
        true
    }

    /// Waits for enough outcomes, if some came while the last round was committed. What comes alone is not kept waiting.
    fn gather(&self, until: Instant) {
        let mut waiting = self.waiting.lock();
        waiting.gathering = true;
        while !waiting.settle.is_empty() && !waiting.enough() {
            let before = waiting.settle.len();
            let left = until.saturating_duration_since(Instant::now());
            self.outcomes.wait_for(&mut waiting, left.min(QUIET));
            if left.is_zero() || waiting.settle.len() == before {
                break;
            }
        }
        waiting.gathering = false;
    }

    /// What has arrived, up to about `max` messages of each sort.
    fn take(&self, takes: Takes, max: usize) -> (Vec<IntakeEntry>, Vec<SettleEntry>) {
        let mut waiting = self.waiting.lock();
        let (mut intake, mut settle) = (Vec::new(), Vec::new());
        if takes == Takes::Large {
            intake.extend(waiting.large.pop_front());
        }
        if matches!(takes, Takes::Both | Takes::Requests) {
            let mut messages = 0;
            let fits = |entry: &&IntakeEntry| {
                let room = messages < max;
                messages += entry.request.messages.len().max(1);
                room
            };
            let count = waiting.intake.iter().take_while(fits).count();
            intake.extend(waiting.intake.drain(..count));
        }
        if matches!(takes, Takes::Both | Takes::Outcomes) {
            let count = waiting.settle.len().min(max);
            settle.extend(waiting.settle.drain(..count));
        }
        (intake, settle)
    }
}

/// See the module.
pub(super) struct Writer {
    pipeline: Pipeline,
    takes: Takes,
    pub(super) hot: Hot,
    /// Its own, so that an answer of the database wakes this thread and no other (measured on PostgreSQL).
    runtime: tokio::runtime::Runtime,
    /// Requests taken, whose turn comes after the outcomes of the moment.
    next: Vec<IntakeEntry>,
}

impl Writer {
    /// The hot path's connection is made by its first commit, in the writer's own runtime.
    pub(super) fn new(pipeline: Pipeline, takes: Takes, hot: Hot) -> Writer {
        if takes != Takes::Both {
            pipeline.0.inbox.waiting.lock().divided = true;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs no more than a few file descriptors");
        Writer { pipeline, takes, hot, runtime, next: Vec::new() }
    }

    pub(super) fn spawn(self) -> std::thread::JoinHandle<()> {
        std::thread::Builder::new()
            .name(
                match self.takes {
                    Takes::Both | Takes::Outcomes => "writer",
                    Takes::Requests => "writer-in",
                    Takes::Large => "writer-large",
                }
                .into(),
            )
            .spawn(move || self.run())
            .expect("the system can start one more thread")
    }

    fn run(mut self) {
        loop {
            let stopping = self.pipeline.0.drained.load(std::sync::atomic::Ordering::Acquire);
            if !self.pipeline.0.inbox.wait(self.takes, stopping) {
                break;
            }
            let began = Instant::now();
            self.step();
            if self.takes == Takes::Outcomes {
                self.pipeline.0.inbox.gather(began + GATHER);
            }
        }
    }

    /// Commits what has arrived.
    pub(super) fn step(&mut self) {
        let (intake, settle) = self.pipeline.0.inbox.take(self.takes, self.pipeline.0.config.commit_max);
        let spans = match self.takes {
            Takes::Requests | Takes::Large => Vec::new(),
            Takes::Both | Takes::Outcomes => std::mem::take(&mut self.pipeline.0.memory.lock().finished),
        };
        let (items, thens): (Vec<SettleItem>, Vec<Then>) = settle.into_iter().map(|e| (e.item, e.then)).unzip();
        let outcomes = !items.is_empty() || !spans.is_empty();
        if intake.is_empty() || !outcomes {
            if outcomes {
                self.settle(items, thens, &spans);
            } else if !intake.is_empty() {
                self.intake(intake);
            }
            return;
        }
        let (requests, replies) = part(intake);
        let now = self.pipeline.0.clock.now_ms();
        match self.runtime.block_on(self.hot.commit(&items, &spans, &requests, now)) {
            Ok((settled, verdicts)) => {
                self.pipeline.after_settle(&items, thens, settled);
                self.pipeline.after_intake(join(requests, replies), verdicts);
            }
            Err(error) => {
                // Each by itself finds out what is wrong, and for whom.
                self.next = join(requests, replies);
                if let StoreError::Unavailable(why) = error {
                    self.refuse_waiting(&why);
                }
                self.settle(items, thens, &spans);
                let intake = std::mem::take(&mut self.next);
                if !intake.is_empty() {
                    self.intake(intake);
                }
            }
        }
    }

    fn intake(&mut self, entries: Vec<IntakeEntry>) {
        let (requests, replies) = part(entries);
        let now = self.pipeline.0.clock.now_ms();
        let done = self.runtime.block_on(self.hot.commit_intake(&requests, now));
        self.answer(join(requests, replies), done);
    }

    fn answer(&mut self, mut entries: Vec<IntakeEntry>, done: Result<Vec<Verdict>, StoreError>) {
        match done {
            Ok(verdicts) => self.pipeline.after_intake(entries, verdicts),
            Err(StoreError::Unavailable(why)) => {
                tracing::error!(error = %why, "the database does not take messages: {why}");
                for entry in entries {
                    let _ = entry.reply.send(Err(SubmitError::Unavailable(why.clone())));
                }
            }
            Err(error) if entries.len() == 1 => {
                tracing::error!(%error, "a request could not be stored and was refused: {error}");
                metrics::counter!("carillon_poisoned_total", "stage" => "intake").increment(1);
                for entry in entries {
                    let _ = entry.reply.send(Err(SubmitError::Poisoned));
                }
            }
            Err(_) => {
                // One of them is bad: it is found by halves, the others go through.
                let second = entries.split_off(entries.len() / 2);
                self.intake(entries);
                self.intake(second);
            }
        }
    }

    /// While outcomes wait for the database, requests are told so rather than kept waiting.
    fn refuse_waiting(&mut self, why: &str) {
        for entry in self.next.drain(..).chain(self.pipeline.0.inbox.take_intake()) {
            // A client that hung up needs no answer.
            let _ = entry.reply.send(Err(SubmitError::Unavailable(why.to_owned())));
        }
    }

    fn settle(&mut self, mut items: Vec<SettleItem>, mut thens: Vec<Then>, spans: &[SpanKey]) {
        loop {
            let now = self.pipeline.0.clock.now_ms();
            match self.runtime.block_on(self.hot.commit_settle(&items, spans, now)) {
                Ok(results) => return self.pipeline.after_settle(&items, thens, results),
                Err(StoreError::Unavailable(why)) => {
                    // Outcomes are facts: they wait until they can be written. Links stop by themselves, as nothing leaves their doubt.
                    tracing::error!(error = %why, "outcomes wait for the database: {why}");
                    self.refuse_waiting(&why);
                    if self.pipeline.0.abandoned.load(std::sync::atomic::Ordering::Acquire) {
                        tracing::error!(
                            "{} outcomes were not written: what they are about may be sent again",
                            items.len()
                        );
                        return;
                    }
                    self.pipeline.0.clock.block(Duration::from_millis(200));
                }
                Err(error) if items.len() <= 1 => {
                    tracing::error!(%error, ?items, "an outcome could not be settled and was set aside: {error}");
                    metrics::counter!("carillon_poisoned_total", "stage" => "settle").increment(1);
                    for item in &items {
                        let kept = self.runtime.block_on(self.hot.set_aside(item, &error.to_string(), now));
                        if let Err(error) = kept {
                            tracing::error!(%error, "that outcome stands in this log only: {error}");
                        }
                    }
                    let results = vec![Settled::default(); items.len()];
                    return self.pipeline.after_settle(&items, thens, results);
                }
                Err(_) => {
                    let half = items.len() / 2;
                    let (items_2, thens_2) = (items.split_off(half), thens.split_off(half));
                    self.settle(items, thens, spans);
                    return self.settle(items_2, thens_2, &[]);
                }
            }
        }
    }
}

type Replies = Vec<(oneshot::Sender<Result<Verdict, SubmitError>>, Option<oneshot::Sender<OtpAnswer>>)>;

/// The store takes requests side by side; who waits for their answers is kept apart meanwhile.
fn part(entries: Vec<IntakeEntry>) -> (Vec<IntakeRequest>, Replies) {
    entries.into_iter().map(|IntakeEntry { request, reply, otp }| (request, (reply, otp))).unzip()
}

fn join(requests: Vec<IntakeRequest>, replies: Replies) -> Vec<IntakeEntry> {
    requests.into_iter().zip(replies).map(|(request, (reply, otp))| IntakeEntry { request, reply, otp }).collect()
}

/// When a due row that an item wrote is due.
pub(super) fn due_of(item: &SettleItem, now: i64) -> Option<i64> {
    match item {
        SettleItem::Outcome(o) => match o.result {
            PartResult::Retry { due_at, .. } => Some(due_at),
            _ => None,
        },
        SettleItem::Decide { resend: true, .. } => Some(now),
        _ => None,
    }
}

/// What a settle commit did, summed for the metrics.
#[derive(Default)]
pub(super) struct Counts {
    states: [u64; 10],
    ended: u64,
    captured: u64,
    ignored: u64,
    parked: u64,
    retries: u64,
}

impl Counts {
    pub(super) fn add(&mut self, item: &SettleItem, result: &Settled) {
        if let Some((before, after)) = result.states
            && before != after
        {
            self.states[after as usize] += 1;
        }
        self.ended += u64::from(result.changed && result.closed);
        self.captured += u64::from(result.captured.0 > 0);
        self.parked += u64::from(result.parked);
        self.ignored += u64::from(result.id.is_some() && !result.changed);
        self.retries += u64::from(due_of(item, 0).is_some());
    }

    pub(super) fn publish(self) {
        for (state, count) in State::ALL.iter().zip(self.states) {
            if count > 0 {
                metrics::counter!("carillon_messages_total", "state" => state.as_str()).increment(count);
            }
        }
        metrics::counter!("carillon_messages_final_total").increment(self.ended);
        metrics::counter!("carillon_messages_captured_total").increment(self.captured);
        metrics::counter!("carillon_events_ignored_total").increment(self.ignored);
        metrics::counter!("carillon_receipts_parked_total").increment(self.parked);
        metrics::counter!("carillon_retries_total").increment(self.retries);
    }
}

#[cfg(test)]
mod tests {
    use carillon_domain::id::MessageId;

    use super::*;

    fn patient() -> SettleEntry {
        SettleEntry { item: SettleItem::Due { id: MessageId(uuid::Uuid::nil()) }, then: Then::Nothing }
    }

    /// With a carrier's next moment a year away, only what the inbox sees for itself lets it return.
    #[test]
    fn a_round_is_begun_with_enough_outcomes_or_one_that_hurries_or_when_no_more_come() {
        let hurried =
            || SettleEntry { then: Then::Ended { job: None, reply: Some(oneshot::channel().0) }, ..patient() };
        let tables: [(&str, Vec<SettleEntry>, bool); 5] = [
            ("nothing", vec![], false),
            ("one", vec![patient()], false),
            ("one fewer than enough", (1..ENOUGH).map(|_| patient()).collect(), false),
            ("enough", (0..ENOUGH).map(|_| patient()).collect(), true),
            ("one that hurries", vec![patient(), hurried()], true),
        ];
        for (name, entries, enough) in tables {
            let inbox = Inbox::default();
            let count = entries.len();
            inbox.push_settle(entries);
            assert_eq!(inbox.waiting.lock().enough(), enough, "{name}");
            inbox.gather(Instant::now() + Duration::from_secs(365 * 86_400));
            assert_eq!(inbox.take(Takes::Outcomes, 100).1.len(), count, "{name}");
        }
    }

    #[test]
    fn what_is_gathered_for_is_taken_when_it_comes() {
        let inbox = Inbox { waiting: Mutex::new(Waiting { divided: true, ..Waiting::default() }), ..Inbox::default() };
        inbox.push_settle([patient()]);
        std::thread::scope(|scope| {
            let gathered = scope.spawn(|| {
                inbox.gather(Instant::now() + Duration::from_secs(365 * 86_400));
                inbox.waiting.lock().settle.len()
            });
            // Each within the quiet moment after the one before, or the last in a round of its own: none is lost either way.
            for _ in 1..ENOUGH {
                inbox.push_settle([patient()]);
            }
            let gathered = gathered.join().expect("it returns");
            assert!((1..=ENOUGH).contains(&gathered), "{gathered}");
        });
        assert_eq!(inbox.take(Takes::Outcomes, 100).1.len(), ENOUGH);
        assert!(!inbox.waiting.lock().gathering);
    }
}
