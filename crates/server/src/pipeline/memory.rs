//! What waits in memory: the queues of all connections, the spans they were accepted in, and what the store still holds back.
//!
//! Memory is a bounded window per (account, lane); the rest of a span stays in the store until there is room (`feed`). Pure but for
//! being one structure: the caller locks it, and passes the time.

mod replacing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::Lane;
use carillon_domain::route::{Book, ConnectionNo};
use carillon_store::hot::SpanKey;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;

pub(super) use replacing::Decided;

use super::queue::{Job, Queue};
use super::routing::{Costs, Routing};
use super::throttle::Throttle;

/// What became of a one-time code within its deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtpAnswer {
    /// The carrier took it (or the handset has it, where the account asks for that).
    Sent,
    /// It was not, and never will be.
    Failed(ErrorCode),
}

/// The deadline of a one-time code whose asker went with the process that took it: long past. Nobody waits for it any more, and a
/// carrier may have it already; it is sent at most once.
pub(super) const ORPHANED: u64 = 0;

/// One connection's share of memory.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) queue: Queue,
    /// Whether its link can take messages.
    pub(super) up: bool,
    /// Its connection's number.
    no: ConnectionNo,
}

/// Spans read between two looks at what else is due, if so many wait: single messages make small ones.
const SPANS_READ: usize = 64;

#[derive(Debug)]
struct Span {
    total: u32,
    /// How many have left memory for good, or never needed to enter it.
    done: u32,
    /// How many were fed into memory, from the first.
    fed: u32,
}

/// A job that waits a moment before it is offered again; soonest first.
#[derive(Debug)]
struct Delayed {
    at: u64,
    order: u64,
    connection: usize,
    job: Box<Job>,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Delayed {}
impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What of a span waits in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unfed {
    pub(super) span: SpanKey,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Where a message is, as far as memory knows.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// It was waiting here; now it is the caller's.
    Taken(Box<Job>),
    /// A link has it.
    InFlight,
    /// In the store, or gone.
    Elsewhere,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) lines: Vec<Lines>,
    pub(super) routing: Routing,
    pub(super) throttle: Throttle,
    /// What no connection there is may take: it waits for one.
    pub(super) unroutable: Vec<Box<Job>>,
    spans: FxHashMap<SpanKey, Span>,
    backlog: FxHashMap<(AccountNo, Lane), VecDeque<SpanKey>>,
    counts: FxHashMap<(AccountNo, Lane), usize>,
    total: usize,
    window: usize,
    memory_max: usize,
    delayed: BinaryHeap<Delayed>,
    order: u64,
    in_flight: FxHashSet<MessageId>,
    /// Messages withdrawn while the store had them, until (monotonic milliseconds): a feed under way must not bring them in.
    withdrawn: FxHashMap<MessageId, u64>,
    replacing: replacing::Replacing,
    waiters: FxHashMap<MessageId, oneshot::Sender<OtpAnswer>>,
    deadlines: BinaryHeap<Reverse<(u64, MessageId)>>,
    /// Messages with a due row that are in memory or in flight.
    pub(super) from_due: FxHashSet<MessageId>,
    /// Of those and of `several`, what left since due rows were last read.
    left: FxHashSet<MessageId>,
    /// Messages of several parts that are here: while some parts are on their way, another may get a due row.
    several: FxHashSet<MessageId>,
    /// Of those, what had one: it is read when they have left.
    skipped: FxHashMap<MessageId, i64>,
    /// Rows from that time on are to be read again.
    reread: Option<i64>,
    /// Chunks of large batches that are not sealed yet.
    loading: FxHashMap<BatchId, Vec<(SpanKey, Lane, u32)>>,
    /// Spans nothing of which is queued any more, to be deleted with the next commit.
    pub(super) finished: Vec<SpanKey>,
}

impl Memory {
    pub(super) fn new(window: usize, memory_max: usize) -> Memory {
        // A lane is fed once half its window is free: it must be one that memory can have free.
        Memory { window: window.min(memory_max), memory_max, ..Memory::default() }
    }

    /// One more line; see `Pipeline::add_line`.
    pub(super) fn add_line(&mut self, no: ConnectionNo) {
        self.lines.push(Lines { no, ..Lines::default() });
    }

    /// Other routes. What waits is routed anew, in the order it stood in each queue.
    pub(super) fn set_routing(&mut self, book: Arc<Book>, costs: Costs, newest: FxHashMap<ConnectionNo, usize>) {
        self.routing.set(book, costs, newest);
        let waiting: Vec<Box<Job>> = self.lines.iter_mut().flat_map(|l| l.queue.drain(|_| true)).collect();
        for job in waiting.into_iter().chain(std::mem::take(&mut self.unroutable)) {
            self.route(job);
        }
    }

    /// Messages in memory, in flight included.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    fn room(&self, key: (AccountNo, Lane)) -> usize {
        if key.1 == Lane::Otp {
            return usize::MAX;
        }
        let used = self.counts.get(&key).copied().unwrap_or(0);
        self.window.saturating_sub(used).min(self.memory_max.saturating_sub(self.total))
    }

    /// A span exists (at start, or before its messages are offered).
    pub(super) fn add_span(&mut self, span: SpanKey, lane: Lane, count: u32) {
        let key = (span.first.account(), lane);
        self.spans.insert(span, Span { total: count, done: 0, fed: 0 });
        self.backlog.entry(key).or_default().push_back(span);
    }

    /// A chunk of a large batch is stored; it is nobody's to send before the batch is sealed.
    pub(super) fn load(&mut self, batch: BatchId, span: SpanKey, lane: Lane, count: u32) {
        self.loading.entry(batch).or_default().push((span, lane, count));
    }

    /// A large batch is accepted: its chunks wait with the rest.
    pub(super) fn seal(&mut self, batch: BatchId) {
        for (span, lane, count) in self.loading.remove(&batch).unwrap_or_default() {
            self.add_span(span, lane, count);
        }
    }

    /// A large batch was taken back before its seal.
    pub(super) fn discard(&mut self, batch: BatchId) {
        self.loading.remove(&batch);
    }

    /// Messages of one request, just accepted: into memory while there is room and nothing older waits, the rest by the feeder later.
    pub(super) fn accept(
        &mut self,
        span: SpanKey,
        lane: Lane,
        count: u32,
        mut job: impl FnMut(u32) -> Box<Job>,
    ) -> usize {
        let key = (span.first.account(), lane);
        let mut room = if self.backlog.contains_key(&key) { 0 } else { self.room(key) };
        let entry = self.spans.entry(span).or_insert(Span { total: 0, done: 0, fed: 0 });
        let contiguous = entry.fed == entry.total;
        entry.total += count;
        if !contiguous {
            room = 0;
        }
        let taken = count.min(u32::try_from(room).unwrap_or(u32::MAX));
        entry.fed += taken;
        if taken < count && contiguous {
            self.backlog.entry(key).or_default().push_back(span);
        }
        for i in 0..taken {
            let job = job(i);
            self.enter(job);
        }
        taken as usize
    }

    fn enter(&mut self, job: Box<Job>) {
        let key = (job.message.id.account(), job.message.lane);
        *self.counts.entry(key).or_default() += 1;
        self.total += 1;
        if job.message.parts.as_slice().len() > 1 {
            self.several.insert(job.message.id);
        }
        if let Some(deadline) = job.deadline {
            self.deadlines.push(Reverse((deadline, job.message.id)));
        }
        if let Some(job) = self.entered(job) {
            self.route(job);
        }
    }

    /// Into the queue of the first connection of its order that is up and has not refused it; of the first that has not, if none is up; of
    /// the first at all, if all have.
    pub(super) fn route(&mut self, mut job: Box<Job>) {
        job.sender_flow = self.throttle.flow(&job);
        let order = self.routing.order(&job);
        let untried = |line: &&usize| !job.tried.contains(&self.lines[**line].no);
        let up = order.iter().filter(untried).find(|line| self.lines[**line].up);
        match up.or_else(|| order.iter().find(untried)).or(order.first()).copied() {
            Some(line) => self.lines[line].queue.push(job),
            None => self.unroutable.push(job),
        }
    }

    /// Whether a connection is left for a job, other than this line's and those that refused it.
    pub(super) fn another(&self, job: &Job, line: usize) -> bool {
        let (no, order) = (self.lines[line].no, self.routing.order(job));
        order.iter().map(|line| self.lines[*line].no).any(|other| other != no && !job.tried.contains(&other))
    }

    /// A link came up or went down. What waits for one that is down goes to one that is up.
    pub(super) fn set_up(&mut self, connection: usize, up: bool) {
        self.lines[connection].up = up;
        let stranded: Vec<usize> =
            (0..self.lines.len()).filter(|i| !self.lines[*i].up && self.lines[*i].queue.waiting() > 0).collect();
        if self.lines.iter().any(|l| l.up) {
            for line in stranded {
                for job in self.lines[line].queue.drain(|_| true) {
                    self.route(job);
                }
            }
        }
    }

    /// The next job for a connection's link.
    pub(super) fn pull(&mut self, connection: usize, otp_only: bool, now: u64) -> Option<Box<Job>> {
        let Memory { lines, throttle, .. } = self;
        let queue = &mut lines[connection].queue;
        let job = if throttle.is_idle() {
            queue.pull(otp_only, |_| true)?
        } else {
            queue.pull(otp_only, |job| throttle.may_go(job, now))?
        };
        self.in_flight.insert(job.message.id);
        Some(job)
    }

    /// A pulled job comes back unsent.
    pub(super) fn put_back(&mut self, connection: usize, job: Box<Job>) {
        self.in_flight.remove(&job.message.id);
        self.offer_again(connection, job);
    }

    /// To the front on the same connection; elsewhere if that is down, or was replaced.
    fn offer_again(&mut self, connection: usize, job: Box<Job>) {
        let line = &mut self.lines[connection];
        if line.up && self.routing.line(line.no) == Some(connection) {
            line.queue.put_back(job);
        } else {
            self.route(job);
        }
    }

    /// A pulled job goes to another connection.
    pub(super) fn fail_over(&mut self, job: Box<Job>) {
        self.in_flight.remove(&job.message.id);
        self.route(job);
    }

    /// A pulled job is offered again on the same connection at `at` (monotonic milliseconds).
    pub(super) fn delay(&mut self, connection: usize, job: Box<Job>, at: u64) {
        self.in_flight.remove(&job.message.id);
        self.order += 1;
        self.delayed.push(Delayed { at, order: self.order, connection, job });
    }

    /// Offers what has waited long enough. Whether anything was.
    pub(super) fn wake(&mut self, now: u64) -> bool {
        let mut any = self.lines.iter_mut().filter_map(|line| line.queue.resume().then_some(())).count() > 0;
        while self.delayed.peek().is_some_and(|d| d.at <= now) {
            let Some(d) = self.delayed.pop() else { break };
            self.offer_again(d.connection, d.job);
            any = true;
        }
        any
    }

    /// A job's stay in memory ended with a commit. Whether its (account, lane) has more in the store to bring in now.
    pub(super) fn leave(&mut self, job: &Job) -> bool {
        let id = job.message.id;
        self.in_flight.remove(&id);
        let several = self.several.remove(&id);
        if self.from_due.remove(&id) || several {
            self.left.insert(id);
        }
        if let Some(due_at) = self.skipped.remove(&id) {
            self.reread(due_at);
        }
        let key = (id.account(), job.message.lane);
        self.total = self.total.saturating_sub(1);
        let mut used = 0;
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            used = *count;
            if used == 0 {
                self.counts.remove(&key);
            }
        }
        if let Some(span) = job.span {
            self.done(span, 1);
        }
        used <= self.window / 2 && self.backlog.contains_key(&key)
    }

    fn done(&mut self, span: SpanKey, count: u32) {
        let Some(entry) = self.spans.get_mut(&span) else { return };
        entry.done += count;
        if entry.done >= entry.total && entry.fed >= entry.total {
            self.spans.remove(&span);
            self.finished.push(span);
        }
    }

    /// What to read next for each (account, lane) that has room for at least half a window: what fills it, of not too many spans in all.
    pub(super) fn hungry(&self) -> Vec<((AccountNo, Lane), Unfed)> {
        let mut out = Vec::new();
        let each = (SPANS_READ / self.backlog.len().max(1)).max(1);
        for (key, backlog) in &self.backlog {
            let mut room = u32::try_from(self.room(*key).min(self.window)).unwrap_or(u32::MAX);
            if room as usize * 2 < self.window && key.1 != Lane::Otp {
                continue;
            }
            for span in backlog.iter().take(each) {
                let Some(entry) = self.spans.get(span) else { continue };
                let to = entry.total.min(entry.fed.saturating_add(room));
                out.push((*key, Unfed { span: *span, from: entry.fed, to }));
                room -= to - entry.fed;
                if room == 0 {
                    break;
                }
            }
        }
        out
    }

    /// What was read of a span enters memory. Those of the range that are not among `jobs` were no longer queued.
    pub(super) fn feed(&mut self, key: (AccountNo, Lane), unfed: Unfed, jobs: Vec<Box<Job>>) {
        let Some(entry) = self.spans.get_mut(&unfed.span) else { return };
        entry.fed = unfed.to;
        let whole = entry.fed >= entry.total;
        if whole && let Some(backlog) = self.backlog.get_mut(&key) {
            backlog.pop_front();
            if backlog.is_empty() {
                self.backlog.remove(&key);
            }
        }
        let mut missing = unfed.to - unfed.from;
        for mut job in jobs {
            if self.withdrawn.remove(&job.message.id).is_none() && !self.several.contains(&job.message.id) {
                missing -= 1;
                if key.1 == Lane::Otp && !self.waiters.contains_key(&job.message.id) {
                    job.deadline = Some(ORPHANED);
                }
                self.enter(job);
            }
        }
        self.done(unfed.span, missing);
    }

    /// Messages with due rows are going to be read: what leaves from here on may be among them as it was before. From when on rows that
    /// were read are to be read again (Unix milliseconds).
    pub(super) fn begin_due(&mut self) -> Option<i64> {
        self.left.clear();
        self.reread.take()
    }

    fn reread(&mut self, due_at: i64) {
        self.reread = Some(self.reread.map_or(due_at, |at| at.min(due_at)));
    }

    /// A message with a due row enters memory, unless it is here. What is being withdrawn or left meanwhile is read again.
    pub(super) fn feed_due(&mut self, job: Box<Job>, due_at: i64) -> bool {
        let id = job.message.id;
        if self.withdrawn.contains_key(&id) || self.left.contains(&id) {
            self.reread(due_at);
            return false;
        }
        if self.several.contains(&id) {
            self.skipped.insert(id, due_at);
            return false;
        }
        if self.was_rescheduled(&job, due_at) {
            return false;
        }
        if !self.from_due.insert(id) {
            return false;
        }
        self.enter(job);
        true
    }

    /// How many more messages with due rows may come in.
    pub(super) fn due_room(&self) -> usize {
        (self.window * 10).saturating_sub(self.from_due.len()).min(self.memory_max.saturating_sub(self.total))
    }

    /// Finds a message that is to end. If a link or the store has it, a feed under way will not bring it in before `until`.
    pub(super) fn withdraw(&mut self, id: MessageId, until: u64) -> Whereabouts {
        if self.in_flight.contains(&id) {
            return Whereabouts::InFlight;
        }
        if let Some(job) = self.lines.iter_mut().find_map(|l| l.queue.remove(id)) {
            return Whereabouts::Taken(job);
        }
        if let Some(place) = self.unroutable.iter().position(|j| j.message.id == id) {
            return Whereabouts::Taken(self.unroutable.swap_remove(place));
        }
        if self.delayed.iter().any(|d| d.job.message.id == id) {
            let (mut found, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.delayed).into_iter().partition(|d| d.job.message.id == id);
            self.delayed = kept.into();
            if let Some(delayed) = found.pop() {
                return Whereabouts::Taken(delayed.job);
            }
        }
        self.withdrawn.insert(id, until);
        Whereabouts::Elsewhere
    }

    /// As `withdraw`, of many at once: one walk through the queues. What a link has is left out of the answer.
    pub(super) fn withdraw_all(&mut self, ids: &[MessageId], until: u64) -> Vec<(MessageId, Option<Box<Job>>)> {
        let mut wanted: FxHashSet<MessageId> = ids.iter().filter(|id| !self.in_flight.contains(id)).copied().collect();
        let mut taken: Vec<Box<Job>> =
            self.lines.iter_mut().flat_map(|l| l.queue.drain(|j| wanted.contains(&j.message.id))).collect();
        let (found, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.delayed).into_iter().partition(|d| wanted.contains(&d.job.message.id));
        self.delayed = kept.into();
        taken.extend(found.into_iter().map(|d| d.job));
        for job in &taken {
            wanted.remove(&job.message.id);
        }
        self.withdrawn.extend(wanted.iter().map(|id| (*id, until)));
        let taken = taken.into_iter().map(|job| (job.message.id, Some(job)));
        taken.chain(wanted.into_iter().map(|id| (id, None))).collect()
    }

    /// What was withdrawn did not end by it: a feed may bring it in again.
    pub(super) fn still_open(&mut self, id: MessageId) {
        self.withdrawn.remove(&id);
    }

    /// Forgets withdrawals that no feed can still be carrying.
    pub(super) fn forget_withdrawn(&mut self, now: u64) {
        self.withdrawn.retain(|_, until| *until > now);
        self.forget_replaced(now);
    }

    /// Takes out what its validity has ended for (Unix milliseconds).
    pub(super) fn expired(&mut self, now_ms: i64) -> Vec<Box<Job>> {
        let over = |j: &Job| j.message.expires_at <= now_ms;
        let mut expired: Vec<_> = self.lines.iter_mut().flat_map(|l| l.queue.drain(over)).collect();
        expired.extend(self.unroutable.extract_if(.., |j| over(j)));
        expired
    }

    /// Someone waits for a one-time code's fate.
    pub(super) fn wait_for(&mut self, id: MessageId, waiter: oneshot::Sender<OtpAnswer>) {
        self.waiters.insert(id, waiter);
    }

    /// Whether anyone waits for any.
    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// What is left of anything; all of it is nothing once every message has ended.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("total", self.total),
            ("queued", self.lines.iter().map(|l| l.queue.waiting()).sum()),
            ("spans", self.spans.len()),
            ("backlog", self.backlog.len()),
            ("counts", self.counts.len()),
            ("delayed", self.delayed.len()),
            ("in flight", self.in_flight.len()),
            ("withdrawn", self.withdrawn.len()),
            ("waiters", self.waiters.len()),
            ("deadlines", self.deadlines.len()),
            ("unroutable", self.unroutable.len()),
            ("from due", self.from_due.len()),
            ("several", self.several.len()),
            ("skipped", self.skipped.len()),
            ("loading", self.loading.len()),
            ("finished", self.finished.len()),
        ];
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// Tells the one who waits, if there is one.
    pub(super) fn answer(&mut self, id: MessageId, answer: OtpAnswer) {
        if let Some(waiter) = self.waiters.remove(&id) {
            // The client may have hung up meanwhile; the message's row tells what happened.
            let _ = waiter.send(answer);
        }
    }

    /// One-time codes whose deadline is past and that are not decided.
    pub(super) fn overdue(&mut self, now: u64) -> Vec<MessageId> {
        let mut out = Vec::new();
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            let waiting = self.waiters.contains_key(&id) || self.in_flight.contains(&id);
            let queued = || self.lines.iter().any(|l| l.queue.waiting_in(Lane::Otp) > 0) || !self.delayed.is_empty();
            if waiting || queued() {
                out.push(id);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_spans_fill_the_window_together() {
        // accounts, window, messages a span, how many are read of each of an account
        let alone: [(u32, usize, u32, &[u32]); 3] =
            [(1, 10, 3, &[3, 3, 3, 1]), (1, 10, 40, &[10]), (1, 10, 5, &[5, 5])];
        let many: [(u32, usize, u32, &[u32]); 3] =
            [(1, 1000, 2, &[2; SPANS_READ]), (32, 1000, 2, &[2, 2]), (100, 1000, 2, &[2])];
        for (accounts, window, count, expected) in alone.into_iter().chain(many) {
            let name = format!("{accounts} accounts, window {window}, {count} a span");
            let mut memory = Memory::new(window, 1_000_000);
            for account in (1..=accounts).map(AccountNo) {
                for n in 0..100 {
                    memory.add_span(SpanKey { first: MessageId::new(1, n * 10, account) }, Lane::Normal, count);
                }
            }
            let read = memory.hungry();
            let of_one = |(_, unfed): &&(_, Unfed)| unfed.span.first.account() == AccountNo(1);
            let counts: Vec<u32> = read.iter().filter(of_one).map(|(_, unfed)| unfed.to - unfed.from).collect();
            assert_eq!((counts.as_slice(), read.len()), (expected, expected.len() * accounts as usize), "{name}");
            // None is queued any more: there is room for the next.
            read.into_iter().for_each(|(key, unfed)| memory.feed(key, unfed, Vec::new()));
            let whole = expected.iter().filter(|read| **read == count).count();
            let (_, next) = *memory.hungry().iter().find(of_one).unwrap();
            let span = SpanKey { first: MessageId::new(1, whole as u64 * 10, AccountNo(1)) };
            assert_eq!((next.span, next.from), (span, expected[whole..].iter().sum()), "{name}");
        }
    }
}
