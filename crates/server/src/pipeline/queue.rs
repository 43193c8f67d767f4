//! The fair queue of one connection, in memory: lanes by share, accounts within a lane by deficit round robin, counted in parts.
//!
//! Pure: no clock, no locks. OTP is strict; express : normal : bulk share 16 : 4 : 1 (DESIGN §4). A connection pulls the next message
//! when it has a slot and a token; nothing is buffered behind the queue.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::Lane;
use carillon_domain::route::ConnectionNo;
use carillon_store::hot::{QueuedMessage, SpanKey};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

/// A message on its way, with what only this process knows of it.
#[derive(Debug)]
pub struct Job {
    /// What is to be sent.
    pub message: QueuedMessage,
    /// The span it was accepted in; `None` if it has a due row of its own.
    pub span: Option<SpanKey>,
    /// Weight of its account's tier.
    pub weight: u32,
    /// Connections that refused it, or took it and reported a failure.
    pub tried: SmallVec<[ConnectionNo; 2]>,
    /// Times a carrier asked for less when it was offered.
    pub throttled: u32,
    /// When it was last pulled to be handed over, Unix milliseconds.
    pub pulled_at: i64,
    /// Names its sender's turns, if that has a rate of its own; 0 if not.
    pub sender_flow: u32,
    /// No submit starts after this (monotonic milliseconds); OTP only.
    pub deadline: Option<u64>,
}

impl Job {
    fn flow(&self) -> Flow {
        (self.message.id.account(), self.sender_flow)
    }

    /// Bits that differ from message to message and from try to try, so that waits spread.
    pub fn jitter(&self) -> u32 {
        let mut hasher = FxHasher::default();
        (self.message.id, self.message.attempts, self.throttled).hash(&mut hasher);
        (hasher.finish() >> 32) as u32
    }

    /// Indexes of the parts not handed over yet.
    pub fn pending(&self) -> Vec<u8> {
        use carillon_domain::message::PartState;
        let parts = self.message.parts.as_slice().iter().enumerate();
        parts.filter(|(_, p)| **p == PartState::Pending).map(|(i, _)| i as u8).collect()
    }

    /// Parts not handed over yet: what it costs in rate and shares.
    pub fn cost(&self) -> i64 {
        use carillon_domain::message::PartState;
        self.message.parts.as_slice().iter().filter(|p| **p == PartState::Pending).count().max(1) as i64
    }
}

/// What takes turns: an account, apart by senders that have a rate of their own.
type Flow = (AccountNo, u32);

/// What an account has waiting in one lane.
#[derive(Debug, Default)]
struct Turn {
    jobs: VecDeque<Box<Job>>,
    deficit: i64,
}

/// One lane: accounts take turns.
#[derive(Debug, Default)]
struct LaneQueue {
    turns: FxHashMap<Flow, Turn>,
    ring: VecDeque<Flow>,
    /// Whose rate is used up for the moment: in no ring until `resume`.
    held: Vec<Flow>,
    /// What the lane may still take before the others have had their share.
    credit: i64,
    len: usize,
}

/// Shares of the lanes but OTP, which is strict.
const SHARES: [i64; 4] = [0, 16, 4, 1];

/// A weight of one earns this many parts a turn.
const QUANTUM: i64 = 4;

impl LaneQueue {
    fn push(&mut self, job: Box<Job>, front: bool) {
        let flow = job.flow();
        let turn = self.turns.entry(flow).or_default();
        if turn.jobs.is_empty() {
            self.ring.push_back(flow);
        }
        if front {
            turn.jobs.push_front(job);
        } else {
            turn.jobs.push_back(job);
        }
        self.len += 1;
    }

    fn pop(&mut self, may_go: &mut impl FnMut(&Job) -> bool) -> Option<Box<Job>> {
        loop {
            let flow = *self.ring.front()?;
            let turn = self.turns.get_mut(&flow).expect("a flow in the ring has a turn");
            let (cost, weight) =
                turn.jobs.front().map(|j| (j.cost(), i64::from(j.weight))).expect("a turn in the ring is not empty");
            if turn.deficit < cost {
                // Its turn is over; it earns for the next one.
                turn.deficit += weight.max(1) * QUANTUM;
                self.ring.rotate_left(1);
                continue;
            }
            if turn.jobs.front().is_some_and(|job| !may_go(job)) {
                self.held.extend(self.ring.pop_front());
                continue;
            }
            turn.deficit -= cost;
            let job = turn.jobs.pop_front();
            if turn.jobs.is_empty() {
                self.turns.remove(&flow);
                self.ring.pop_front();
            }
            self.len -= 1;
            return job;
        }
    }

    /// Rates have recovered: whoever was held back takes turns again. Whether anyone was.
    fn resume(&mut self) -> bool {
        let any = !self.held.is_empty();
        self.ring.extend(self.held.drain(..));
        any
    }

    fn take(&mut self, wanted: impl Fn(&Job) -> bool, account: Option<AccountNo>, out: &mut Vec<Box<Job>>) {
        self.resume();
        let flows: Vec<Flow> = self.ring.iter().copied().filter(|f| account.is_none_or(|a| a == f.0)).collect();
        for flow in flows {
            let Some(turn) = self.turns.get_mut(&flow) else { continue };
            if !turn.jobs.iter().any(|j| wanted(j)) {
                continue;
            }
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut turn.jobs).into_iter().partition(|j| wanted(j));
            self.len -= gone.len();
            out.extend(gone);
            turn.jobs = kept;
            if turn.jobs.is_empty() {
                self.turns.remove(&flow);
                self.ring.retain(|f| *f != flow);
            }
        }
    }
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: [LaneQueue; 4],
}

impl Queue {
    /// Takes a job in, behind its account's others.
    pub fn push(&mut self, job: Box<Job>) {
        self.lanes[job.message.lane as usize].push(job, false);
    }

    /// Puts a job back that was pulled and not sent, before its account's others.
    pub fn put_back(&mut self, job: Box<Job>) {
        self.lanes[job.message.lane as usize].push(job, true);
    }

    /// How many wait in all.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|l| l.len).sum()
    }

    /// How many wait in a lane.
    pub fn waiting_in(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len
    }

    /// Whoever was held back takes turns again. Whether anyone was.
    pub fn resume(&mut self) -> bool {
        self.lanes.iter_mut().map(LaneQueue::resume).filter(|resumed| *resumed).count() > 0
    }

    /// The next message: OTP first; of the others only if `otp_only` is false, by their shares. `may_go` is asked about each before it goes,
    /// and if it says no, whoever sends it waits for `resume`.
    pub fn pull(&mut self, otp_only: bool, mut may_go: impl FnMut(&Job) -> bool) -> Option<Box<Job>> {
        if let Some(job) = self.lanes[Lane::Otp as usize].pop(&mut may_go) {
            return Some(job);
        }
        if otp_only {
            return None;
        }
        loop {
            let mut waiting = false;
            for lane in [Lane::Express, Lane::Normal, Lane::Bulk] {
                let queue = &mut self.lanes[lane as usize];
                if queue.ring.is_empty() {
                    queue.credit = 0;
                    continue;
                }
                waiting = true;
                if queue.credit > 0
                    && let Some(job) = queue.pop(&mut may_go)
                {
                    queue.credit -= job.cost();
                    return Some(job);
                }
            }
            if !waiting {
                return None;
            }
            for (queue, share) in self.lanes.iter_mut().zip(SHARES) {
                if !queue.ring.is_empty() {
                    queue.credit += share;
                }
            }
        }
    }

    /// Takes one message out wherever it stands.
    pub fn remove(&mut self, id: MessageId) -> Option<Box<Job>> {
        let mut out = Vec::new();
        for lane in &mut self.lanes {
            lane.take(|j| j.message.id == id, Some(id.account()), &mut out);
        }
        out.pop()
    }

    /// Takes out all that `wanted` says.
    pub fn drain(&mut self, wanted: impl Fn(&Job) -> bool) -> Vec<Box<Job>> {
        let mut out = Vec::new();
        for lane in &mut self.lanes {
            lane.take(&wanted, None, &mut out);
        }
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use carillon_domain::message::{Flags, Parts};

    pub(crate) fn job(account: u32, lane: Lane, counter: u64, parts: u8, weight: u32) -> Box<Job> {
        let message = QueuedMessage {
            id: MessageId::new(1, counter, AccountNo(account)),
            lane,
            flags: Flags::default(),
            encoding: 0,
            parts: Parts::pending(parts),
            phone: 4_915_112_345_678,
            phone_tag: 1,
            sender: None,
            body: "x".into(),
            reference: None,
            attempts: 0,
            expires_at: i64::MAX,
            tags: None,
            refused_by: Vec::new(),
            error: None,
            mms: None,
        };
        Box::new(Job {
            message,
            span: None,
            weight,
            tried: SmallVec::new(),
            throttled: 0,
            pulled_at: 0,
            sender_flow: 0,
            deadline: None,
        })
    }

    fn pulled(queue: &mut Queue, count: usize) -> Vec<Box<Job>> {
        (0..count).map_while(|_| queue.pull(false, |_| true)).collect()
    }

    #[test]
    fn lanes_share_sixteen_to_four_to_one_and_otp_is_strict() {
        let mut queue = Queue::default();
        for i in 0..1_000 {
            for lane in [Lane::Bulk, Lane::Normal, Lane::Express] {
                queue.push(job(1, lane, i, 1, 1));
            }
        }
        queue.push(job(1, Lane::Otp, 5_000, 1, 1));
        assert!(queue.pull(true, |_| true).is_some_and(|j| j.message.lane == Lane::Otp));
        assert!(queue.pull(true, |_| true).is_none());
        let got = pulled(&mut queue, 210);
        let of = |lane| got.iter().filter(|j| j.message.lane == lane).count();
        assert_eq!((of(Lane::Express), of(Lane::Normal), of(Lane::Bulk)), (160, 40, 10));
    }

    #[test]
    fn an_express_message_overtakes_a_waiting_multitude() {
        let mut queue = Queue::default();
        for i in 0..100_000 {
            queue.push(job(1, Lane::Bulk, i, 1, 1));
        }
        pulled(&mut queue, 10);
        queue.push(job(1, Lane::Express, 0, 1, 1));
        let place = (0..).find(|_| queue.pull(false, |_| true).is_some_and(|j| j.message.lane == Lane::Express));
        assert!(place < Some(2), "{place:?}");
    }

    #[test]
    fn accounts_share_by_weight_in_parts_and_keep_their_own_order() {
        let mut queue = Queue::default();
        for i in 0..3_000 {
            queue.push(job(1, Lane::Normal, i, 1, 1));
            queue.push(job(2, Lane::Normal, i, 3, 1));
            queue.push(job(3, Lane::Normal, i, 1, 8));
        }
        let got = pulled(&mut queue, 2_000);
        let parts = |no| got.iter().filter(|j| j.message.id.account() == AccountNo(no)).map(|j| j.cost()).sum::<i64>();
        let (one, two, three) = (parts(1) as f64, parts(2) as f64, parts(3) as f64);
        assert!((one / two - 1.0).abs() < 0.1 && (three / one - 8.0).abs() < 0.5, "{one} {two} {three}");
        for no in 1..=3 {
            let ids: Vec<_> =
                got.iter().filter(|j| j.message.id.account() == AccountNo(no)).map(|j| j.message.id).collect();
            assert!(ids.is_sorted());
        }
    }

    #[test]
    fn who_has_no_rate_left_holds_nobody_up() {
        let mut queue = Queue::default();
        for i in 0..10 {
            queue.push(job(1, Lane::Express, i, 1, 1));
            queue.push(job(2, Lane::Express, i, 1, 1));
            queue.push(job(1, Lane::Bulk, i, 1, 1));
        }
        let mut left = 3;
        let mut may_go = |job: &Job| {
            let first = job.message.id.account() == AccountNo(1);
            left -= i32::from(first && left > 0);
            !first || left > 0
        };
        let got: Vec<u32> =
            std::iter::from_fn(|| queue.pull(false, &mut may_go)).map(|j| j.message.id.account().0).collect();
        assert_eq!((got.iter().filter(|a| **a == 1).count(), got.iter().filter(|a| **a == 2).count()), (2, 10));
        assert_eq!(queue.waiting(), 18);
        assert!(queue.resume() && !queue.resume());
        assert_eq!(pulled(&mut queue, 99).len(), 18);
    }

    #[test]
    fn one_message_is_taken_out_wherever_it_stands() {
        let mut queue = Queue::default();
        for i in 0..10 {
            queue.push(job(1, Lane::Normal, i, 1, 1));
        }
        let id = MessageId::new(1, 4, AccountNo(1));
        assert!(queue.remove(id).is_some_and(|j| j.message.id == id));
        assert!(queue.remove(id).is_none());
        assert_eq!(queue.drain(|j| j.message.id > id).len(), 5);
        assert_eq!((queue.waiting(), pulled(&mut queue, 99).len()), (4, 4));
        let back = job(1, Lane::Normal, 50, 1, 1);
        queue.push(job(1, Lane::Normal, 60, 1, 1));
        queue.put_back(back);
        assert_eq!(queue.pull(false, |_| true).map(|j| j.message.id), Some(MessageId::new(1, 50, AccountNo(1))));
    }
}
