//! The requests sent and not yet answered: how many there may be, whose they are, and when to stop waiting.

use crate::command::CommandId;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Highest sequence number (§3.2).
const SEQUENCE_MAX: u32 = 0x7FFF_FFFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    token: u64,
    command: CommandId,
}

/// A request that has just been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// What the sender called it.
    pub token: u64,
    /// What it was.
    pub command: CommandId,
    /// Whether it had been given up already.
    pub late: bool,
}

/// Bookkeeping of one session's requests. One queue of deadlines serves all, since all wait equally long.
#[derive(Debug)]
pub(crate) struct Window {
    size: usize,
    timeout: Duration,
    next: u32,
    pending: FxHashMap<u32, Pending>,
    deadlines: VecDeque<(Instant, u32)>,
    /// Requests given up, newest last, at most `size`: their answers may yet come.
    late: VecDeque<(u32, Pending)>,
}

impl Window {
    /// A window for `size` requests, each waiting `timeout` for its answer; sequence numbers begin at `first`.
    pub(crate) fn new(size: usize, timeout: Duration, first: u32) -> Self {
        Self {
            size,
            timeout,
            next: first,
            pending: FxHashMap::default(),
            deadlines: VecDeque::new(),
            late: VecDeque::new(),
        }
    }

    pub(crate) fn free(&self) -> usize {
        self.size.saturating_sub(self.pending.len())
    }

    /// A sequence number for a request that is not counted, such as enquire_link.
    pub(crate) fn sequence(&mut self) -> u32 {
        loop {
            let sequence = self.next;
            self.next = if sequence >= SEQUENCE_MAX { 1 } else { sequence + 1 };
            if !self.pending.contains_key(&sequence) {
                return sequence;
            }
        }
    }

    /// Counts a request as sent.
    pub(crate) fn open(&mut self, sequence: u32, command: CommandId, token: u64, now: Instant) {
        self.pending.insert(sequence, Pending { token, command });
        self.deadlines.push_back((now + self.timeout, sequence));
        self.forget_answered();
    }

    /// Answered requests leave the queue of deadlines when they reach its front; if one that is not answered keeps them from it,
    /// they are weeded out here, so that the queue stays within a few windows.
    fn forget_answered(&mut self) {
        while self.deadlines.front().is_some_and(|(_, sequence)| !self.pending.contains_key(sequence)) {
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > 4 * self.size + 64 {
            self.deadlines.retain(|(_, sequence)| self.pending.contains_key(sequence));
        }
    }

    /// The request this response answers, if its kind is right: `None` for a response nobody waits for.
    pub(crate) fn answer(&mut self, sequence: u32, response: CommandId) -> Option<Answered> {
        let fits = |pending: &Pending| response == CommandId::GENERIC_NACK || response == pending.command.response();
        if let Some(&pending) = self.pending.get(&sequence) {
            return fits(&pending).then(|| {
                self.pending.remove(&sequence);
                Answered { token: pending.token, command: pending.command, late: false }
            });
        }
        let at = self.late.iter().rposition(|(late, pending)| *late == sequence && fits(pending))?;
        let (_, pending) = self.late.remove(at)?;
        Some(Answered { token: pending.token, command: pending.command, late: true })
    }

    /// Gives up the requests whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, mut given_up: impl FnMut(u64)) {
        while let Some(&(deadline, sequence)) = self.deadlines.front() {
            if deadline > now && self.pending.contains_key(&sequence) {
                return;
            }
            self.deadlines.pop_front();
            if let Some(pending) = self.pending.remove(&sequence) {
                given_up(pending.token);
                if self.late.len() == self.size {
                    self.late.pop_front();
                }
                self.late.push_back((sequence, pending));
            }
        }
    }

    /// The requests that will never be answered now, oldest first.
    pub(crate) fn abandon(&mut self) -> Vec<u64> {
        let tokens = self.deadlines.iter().filter_map(|(_, sequence)| Some(self.pending.remove(sequence)?.token));
        let tokens = tokens.collect();
        self.deadlines.clear();
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(window: &mut Window, token: u64, now: Instant) -> u32 {
        let sequence = window.sequence();
        window.open(sequence, CommandId::SUBMIT_SM, token, now);
        sequence
    }

    #[tokio::test]
    async fn answers_free_slots_in_any_order_and_only_for_their_own_kind() {
        let now = Instant::now();
        let mut window = Window::new(2, SECOND, 1);
        let (first, second) = (opened(&mut window, 10, now), opened(&mut window, 20, now));
        assert_eq!((first, second, window.free()), (1, 2, 0));
        assert_eq!(window.answer(2, CommandId::DELIVER_SM_RESP), None);
        assert_eq!(window.answer(9, CommandId::SUBMIT_SM_RESP), None);
        assert_eq!(window.answer(2, CommandId::SUBMIT_SM_RESP).map(|a| (a.token, a.late)), Some((20, false)));
        assert_eq!(window.answer(2, CommandId::SUBMIT_SM_RESP), None);
        assert_eq!(window.answer(1, CommandId::GENERIC_NACK).map(|a| a.token), Some(10));
        assert_eq!(window.free(), 2);
    }

    #[tokio::test]
    async fn what_is_not_answered_in_time_is_given_up_once_and_remembered() {
        let now = Instant::now();
        let mut window = Window::new(2, SECOND, 1);
        opened(&mut window, 10, now);
        opened(&mut window, 20, now + SECOND);
        let mut given_up = Vec::new();
        for after in [0, 1, 1] {
            window.expire(now + SECOND * after, |token| given_up.push(token));
        }
        assert_eq!((given_up, window.free()), (vec![10], 1));
        assert_eq!(window.answer(1, CommandId::SUBMIT_SM_RESP).map(|a| (a.token, a.late)), Some((10, true)));
        assert_eq!(window.abandon(), [20]);
    }

    #[tokio::test]
    async fn the_queue_of_deadlines_stays_bounded_behind_one_that_never_answers() {
        let now = Instant::now();
        let mut window = Window::new(2, SECOND, 1);
        opened(&mut window, 0, now);
        for token in 1..10_000 {
            let sequence = opened(&mut window, token, now);
            window.answer(sequence, CommandId::SUBMIT_SM_RESP);
        }
        assert!(window.deadlines.len() <= 4 * 2 + 65, "{}", window.deadlines.len());
    }

    #[tokio::test]
    async fn sequence_numbers_wrap_past_those_in_use() {
        let now = Instant::now();
        let mut window = Window::new(9, SECOND, SEQUENCE_MAX);
        assert_eq!([(); 2].map(|()| opened(&mut window, 0, now)), [SEQUENCE_MAX, 1]);
        window.next = SEQUENCE_MAX;
        assert_eq!(window.sequence(), 2);
    }
}
