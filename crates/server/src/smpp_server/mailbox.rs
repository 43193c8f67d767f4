//! What is on its way to one customer, in memory: read from the store and not yet sent, sent and not yet answered, answered and not yet
//! deleted. Bounded; the rest waits in the store. Pure bookkeeping: the courier sends and deletes, sessions report answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use carillon_smpp::CommandStatus;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::render::Piece;

/// The first pause after a refusal; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause of a line, and of one delivery.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Answers that came too late are still known for so many deliveries.
const LATE_MAX: usize = 10_000;

/// A place in the order of delivery: which delivery, and which of its pieces (a long inbound message has several).
pub(super) type Place = (Uuid, u8);

/// A piece that waits or is on its way.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) piece: Arc<Piece>,
    /// How often it was refused.
    refusals: u32,
    /// Not before this instant.
    after: Option<Instant>,
}

#[derive(Default)]
struct State {
    /// To be sent, in order.
    waiting: BTreeMap<Place, Item>,
    /// By the token of its deliver_sm.
    in_flight: FxHashMap<u64, (Place, Item)>,
    /// Given up by the session, and perhaps answered yet.
    late: FxHashMap<u64, Place>,
    /// Pieces of each delivery that are not answered yet, of those that have several.
    open: FxHashMap<Uuid, u8>,
    /// Answered, to be deleted.
    done: Vec<Uuid>,
    /// All deliveries that are here, those included whose row is to be deleted.
    here: FxHashSet<Uuid>,
    /// The store may hold what is not here.
    more: bool,
    next_token: u64,
    /// Refusals since the last yes.
    refusals: u32,
    pause_until: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// Wakes the courier.
    pub(super) wake: Notify,
}

fn pause(refusals: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << refusals.saturating_sub(1).min(10)).min(PAUSE_MAX)
}

impl Mailbox {
    /// The store has more, or there is a new session to send by.
    pub(super) fn more(&self) {
        self.state.lock().more = true;
        self.wake.notify_one();
    }

    /// Whether the store is to be read, given that fewer than `low` are here; what arrives from now on will say so again.
    pub(super) fn wants_more(&self, low: usize) -> bool {
        let mut state = self.state.lock();
        let wants = state.more && state.waiting.len() + state.in_flight.len() < low;
        if wants {
            state.more = false;
        }
        wants
    }

    /// How many rows at the front of the store's are here already.
    pub(super) fn held(&self) -> usize {
        self.state.lock().here.len()
    }

    /// Takes in a delivery that was read, unless it is here.
    pub(super) fn put(&self, seq: Uuid, pieces: Vec<Piece>) {
        let mut state = self.state.lock();
        if !state.here.insert(seq) {
            return;
        }
        if pieces.len() > 1 {
            state.open.insert(seq, pieces.len() as u8);
        }
        for (i, piece) in pieces.into_iter().enumerate() {
            state.waiting.insert((seq, i as u8), Item { piece: Arc::new(piece), refusals: 0, after: None });
        }
    }

    /// There was more in the store than was read.
    pub(super) fn still_more(&self) {
        self.state.lock().more = true;
    }

    /// The next piece to send and the token to send it under; or when to look again, if anything waits for a time.
    pub(super) fn next(&self, now: Instant) -> Result<(u64, Arc<Piece>), Option<Instant>> {
        let mut state = self.state.lock();
        if let Some(until) = state.pause_until {
            if until > now {
                return Err(Some(until));
            }
            state.pause_until = None;
        }
        let mut soonest = None::<Instant>;
        let mut ready = None;
        for (place, item) in &state.waiting {
            match item.after.filter(|after| *after > now) {
                Some(after) => soonest = Some(soonest.map_or(after, |s| s.min(after))),
                None => {
                    ready = Some(*place);
                    break;
                }
            }
        }
        let Some(place) = ready else { return Err(soonest) };
        let item = state.waiting.remove(&place).expect("just found");
        let token = state.next_token;
        state.next_token += 1;
        let piece = item.piece.clone();
        state.in_flight.insert(token, (place, item));
        Ok((token, piece))
    }

    /// It was not sent after all.
    pub(super) fn unsent(&self, token: u64) {
        let mut state = self.state.lock();
        if let Some((place, item)) = state.in_flight.remove(&token) {
            state.waiting.insert(place, item);
        }
    }

    /// It cannot be sent by anybody: it counts as handed over.
    pub(super) fn unsendable(&self, token: u64) {
        let mut state = self.state.lock();
        if let Some((place, _)) = state.in_flight.remove(&token) {
            state.finish(place);
        }
    }

    /// The customer's answer to a deliver_sm.
    pub(super) fn answered(&self, token: u64, status: CommandStatus, now: Instant) {
        let mut state = self.state.lock();
        let place = match state.in_flight.remove(&token) {
            Some((place, _)) if status.is_ok() => place,
            Some((place, item)) => {
                state.refused(place, item, now);
                drop(state);
                return self.wake.notify_one();
            }
            // An answer after all: if it is a yes, the delivery need not be sent again.
            None => match state.late.remove(&token) {
                Some(place) if status.is_ok() && state.waiting.remove(&place).is_some() => place,
                _ => return,
            },
        };
        state.refusals = 0;
        state.finish(place);
        drop(state);
        self.wake.notify_one();
    }

    /// No answer came: they are sent again, before what is younger.
    pub(super) fn unanswered(&self, tokens: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        for token in tokens {
            if let Some((place, item)) = state.in_flight.remove(&token) {
                state.waiting.insert(place, item);
                if state.late.len() >= LATE_MAX {
                    state.late.clear();
                }
                state.late.insert(token, place);
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// What was answered and is to be deleted; `deleted` is told when it is.
    pub(super) fn take_done(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.state.lock().done)
    }

    /// Their rows are gone.
    pub(super) fn deleted(&self, seqs: &[Uuid]) {
        let mut state = self.state.lock();
        for seq in seqs {
            state.here.remove(seq);
        }
    }

    /// Their rows are still there.
    pub(super) fn not_deleted(&self, seqs: Vec<Uuid>) {
        self.state.lock().done.extend(seqs);
    }

    /// How many wait for their deletion.
    pub(super) fn done_len(&self) -> usize {
        self.state.lock().done.len()
    }

    /// A session that knows no optional parameters has come: what needs one is read again, and goes in parts. So is what is younger, so
    /// that the order stays; but for deliveries in parts, some of which may be on their way.
    pub(super) fn forget_payloads(&self) {
        let mut state = self.state.lock();
        let Some(first) = state.waiting.iter().find(|(_, item)| item.piece.is_payload()).map(|(place, _)| *place)
        else {
            return;
        };
        state.more = true;
        for (place, item) in state.waiting.split_off(&first) {
            if state.open.contains_key(&place.0) {
                state.waiting.insert(place, item);
            } else {
                state.here.remove(&place.0);
            }
        }
    }

    /// Nobody receives any more: what waits is read again when somebody does.
    pub(super) fn forget_waiting(&self) {
        let mut state = self.state.lock();
        state.more |= !state.waiting.is_empty();
        for (seq, _) in std::mem::take(&mut state.waiting).into_keys() {
            state.open.remove(&seq);
            state.here.remove(&seq);
        }
        state.late.clear();
        state.refusals = 0;
        state.pause_until = None;
    }
}

impl State {
    fn finish(&mut self, (seq, _): Place) {
        if let Some(open) = self.open.get_mut(&seq) {
            *open -= 1;
            if *open > 0 {
                return;
            }
            self.open.remove(&seq);
        }
        self.done.push(seq);
    }

    /// The delivery waits by itself, longer each time; the line pauses while nothing but refusals comes.
    fn refused(&mut self, place: Place, mut item: Item, now: Instant) {
        item.refusals += 1;
        item.after = Some(now + pause(item.refusals));
        self.refusals += 1;
        // One that is refused among many that are taken stops nobody.
        if self.refusals > 1 {
            self.pause_until = Some(now + pause(self.refusals - 1));
        }
        self.waiting.insert(place, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn filled(count: u128) -> Mailbox {
        let mailbox = Mailbox::default();
        for n in 0..count {
            mailbox.put(seq(n), vec![Piece::default()]);
        }
        mailbox
    }

    fn sent(mailbox: &Mailbox) -> Option<u64> {
        mailbox.next(Instant::now()).ok().map(|(token, _)| token)
    }

    #[tokio::test]
    async fn what_was_not_answered_goes_before_what_is_younger() {
        let mailbox = filled(4);
        let tokens: Vec<u64> = (0..3).filter_map(|_| sent(&mailbox)).collect();
        assert_eq!(tokens, [0, 1, 2]);
        mailbox.answered(1, CommandStatus::ROK, Instant::now());
        mailbox.unanswered([2, 0]);
        assert_eq!(mailbox.take_done(), [seq(1)]);
        // Again 0 and 2, then 3.
        let order: Vec<Place> =
            (0..3).filter_map(|_| sent(&mailbox)).map(|t| mailbox.state.lock().in_flight[&t].0).collect();
        assert_eq!(order, [(seq(0), 0), (seq(2), 0), (seq(3), 0)]);
        assert_eq!(sent(&mailbox), None);
    }

    #[tokio::test]
    async fn what_is_here_is_not_taken_in_twice() {
        let mailbox = filled(2);
        let token = sent(&mailbox).unwrap();
        mailbox.answered(token, CommandStatus::ROK, Instant::now());
        sent(&mailbox).unwrap();
        for n in 0..3 {
            mailbox.put(seq(n), vec![Piece::default()]);
        }
        assert_eq!((sent(&mailbox).is_some(), sent(&mailbox)), (true, None));
        let done = mailbox.take_done();
        mailbox.deleted(&done);
        mailbox.put(seq(0), vec![Piece::default()]);
        assert!(sent(&mailbox).is_some(), "once deleted, a row of that place is another");
    }

    #[tokio::test]
    async fn a_late_yes_counts_and_a_late_no_does_not() {
        let mailbox = filled(2);
        let (first, second) = (sent(&mailbox).unwrap(), sent(&mailbox).unwrap());
        mailbox.unanswered([first, second]);
        mailbox.answered(first, CommandStatus::ROK, Instant::now());
        mailbox.answered(second, CommandStatus::RX_T_APPN, Instant::now());
        assert_eq!(mailbox.take_done(), [seq(0)]);
        assert_eq!((sent(&mailbox).is_some(), sent(&mailbox)), (true, None));
    }

    #[tokio::test]
    async fn a_delivery_of_several_pieces_is_done_with_the_last() {
        let mailbox = Mailbox::default();
        mailbox.put(seq(7), vec![Piece::default(), Piece::default()]);
        let (first, second) = (sent(&mailbox).unwrap(), sent(&mailbox).unwrap());
        mailbox.answered(second, CommandStatus::ROK, Instant::now());
        assert_eq!(mailbox.done_len(), 0);
        mailbox.answered(first, CommandStatus::ROK, Instant::now());
        assert_eq!(mailbox.take_done(), [seq(7)]);
    }

    #[tokio::test]
    async fn refusals_pause_the_one_then_the_line() {
        let (mailbox, now) = (filled(3), Instant::now());
        let next = |at| mailbox.next(at).map(|(token, _)| token);
        let first = next(now).unwrap();
        mailbox.answered(first, CommandStatus::RX_P_APPN, now);
        let second = next(now).expect("one refused stops nobody");
        mailbox.answered(second, CommandStatus::RX_P_APPN, now);
        assert_eq!(next(now), Err(Some(now + PAUSE_FIRST)));
        let again = next(now + PAUSE_FIRST).unwrap();
        assert_eq!(mailbox.state.lock().in_flight[&again].0, (seq(0), 0));
        mailbox.answered(again, CommandStatus::ROK, now);
        assert_eq!(mailbox.take_done(), [seq(0)]);
        for refusals in 0..40 {
            assert!(pause(refusals) <= PAUSE_MAX);
        }
    }

    #[tokio::test]
    async fn what_needs_optional_parameters_is_read_again() {
        let mailbox = filled(1);
        let (plain, two) = (vec![Piece::default()], vec![Piece::default(), Piece::default()]);
        mailbox.put(seq(1), vec![Piece { tlvs: vec![4, 36, 0, 0], ..Piece::default() }]);
        mailbox.put(seq(2), plain.clone());
        mailbox.put(seq(3), two.clone());
        mailbox.forget_payloads();
        assert!(mailbox.wants_more(9) && mailbox.held() == 2);
        for (n, pieces) in [(0, plain.clone()), (1, two.clone()), (2, plain), (3, two)] {
            mailbox.put(seq(n), pieces);
        }
        let order: Vec<Place> =
            std::iter::from_fn(|| sent(&mailbox)).map(|t| mailbox.state.lock().in_flight[&t].0).collect();
        let expected = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)];
        assert_eq!(order, expected.map(|(n, piece)| (seq(n), piece)));
    }

    #[tokio::test]
    async fn without_receivers_nothing_waits_here() {
        let mailbox = filled(2);
        let token = sent(&mailbox).unwrap();
        mailbox.unanswered([token]);
        mailbox.forget_waiting();
        assert_eq!((sent(&mailbox), mailbox.wants_more(1)), (None, true));
    }
}
