//! What settle decides, given what it read: pure, and the same for both databases.

use std::collections::BTreeMap;
use std::sync::Arc;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Event, Flags, PartState, Parts, Progress, State};
use carillon_domain::money::Money;
use carillon_domain::smpp::SmppOrigin;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::event::{Transition, Watched, WatchedStates};
use crate::usage::{Cell, Sums};

use super::items::{Attempted, Claim, Outcome, PartResult, Receipt, ReceiptKind, SettleItem, Settled};
use super::matching::{receipt_since, take_parked};
pub(crate) use super::parts::{part_bytes, parts_of};

/// A message's changeable columns, as read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) progress: Progress,
    pub(crate) batch: Option<Uuid>,
    pub(crate) attempts: i16,
    pub(crate) connection: Option<i32>,
    pub(crate) carrier_error: Option<String>,
    pub(crate) due_at: Option<i64>,
    pub(crate) sent_at: Option<i64>,
    pub(crate) final_at: Option<i64>,
    pub(crate) country: i16,
    /// As read: what totals are corrected from.
    pub(crate) before: (State, Money, Money),
    /// As what it counted when it was read, if it had ended.
    pub(crate) counted: Option<(Cell, Sums)>,
    pub(crate) dirty: bool,
}

impl Row {
    /// Whether the message was tried again after that attempt, so that a no to it decides nothing. Attempts are counted per
    /// message: of several parts, one may be at its first while another is at its second.
    pub(super) fn tried_again(&self, attempt: u8) -> bool {
        matches!(self.progress.parts, Parts::One(_)) && i16::from(attempt) < self.attempts
    }

    /// Whether a failure that was reported may lead to another attempt elsewhere. Not what is paid for already, nor parts of a whole that the
    /// handset puts together, nor one-time codes, which have seconds.
    pub(super) fn may_reroute(&self, part: u8) -> bool {
        let free = !self.progress.flags.has(Flags::PAY_ON_ACCEPT) && !self.progress.flags.has(Flags::OTP);
        let with_carrier = self.part_is(part, PartState::Accepted) || self.part_is(part, PartState::Unknown);
        free && with_carrier && matches!(self.progress.parts, Parts::One(_)) && self.attempts < REROUTED_AT_MOST
    }

    fn is_last(&self, part: u8) -> bool {
        usize::from(part) + 1 >= self.progress.parts.as_slice().len()
    }

    pub(super) fn part_is(&self, part: u8, state: PartState) -> bool {
        self.progress.parts.as_slice().get(usize::from(part)) == Some(&state)
    }
}

/// Attempts after which a reported failure is believed.
const REROUTED_AT_MOST: i16 = 8;

/// A connection and a carrier's id on it.
pub(crate) type RefKey<'a> = (i32, &'a str);

/// A carrier's id in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CarrierRef<'a> {
    pub(crate) connection: i32,
    pub(crate) carrier_id: &'a str,
    pub(crate) id: MessageId,
    pub(crate) part: u8,
    pub(crate) attempt: u8,
    pub(crate) phone_tag: i64,
}

/// A carrier's id and, if this commit brings it, its place in `refs_new`.
pub(crate) struct OpenRef<'a> {
    pub(crate) reference: CarrierRef<'a>,
    pub(crate) fresh: Option<usize>,
}

/// A receipt waiting in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parked {
    pub(crate) seq: Uuid,
    pub(crate) receipt: Receipt,
}

/// An unknown attempt with what receipts are matched by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenUnknown {
    pub(crate) attempt: Attempted,
    pub(crate) sender: Option<String>,
    pub(crate) submitted_at: i64,
}

/// What was read before deciding.
#[derive(Default)]
pub(crate) struct Read<'a> {
    pub(crate) rows: FxHashMap<MessageId, Row>,
    pub(crate) refs: FxHashMap<RefKey<'a>, Vec<OpenRef<'a>>>,
    pub(crate) parked: FxHashMap<RefKey<'a>, Vec<Parked>>,
    /// By connection and destination, for parts that got no answer; oldest first.
    pub(crate) parked_for: FxHashMap<(i32, i64), Vec<Parked>>,
    /// Of the receipts' destinations.
    pub(crate) unknowns: FxHashMap<(i32, i64), Vec<OpenUnknown>>,
}

impl<'a> Read<'a> {
    pub(crate) fn add_ref(&mut self, reference: CarrierRef<'a>) {
        let key = (reference.connection, reference.carrier_id);
        self.refs.entry(key).or_default().push(OpenRef { reference, fresh: None });
    }

    pub(crate) fn add_unknown(&mut self, unknown: OpenUnknown) {
        let key = (unknown.attempt.connection, unknown.attempt.phone_tag);
        self.unknowns.entry(key).or_default().push(unknown);
    }
}

/// Values of the `attempt.result` column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Remembered {
    Retry = 0,
    FailOver = 1,
    Unknown = 2,
    Failed = 3,
    Late = 4,
}

/// A line of a message's unusual history.
pub(crate) struct AttemptRow {
    pub(crate) id: MessageId,
    pub(crate) attempt: u8,
    pub(crate) part: u8,
    pub(crate) connection: i32,
    pub(crate) result: Remembered,
    pub(crate) error: Option<i16>,
    pub(crate) carrier_error: Option<String>,
    pub(crate) at: i64,
}

/// Change of a batch's totals: queued, sent, delivered, failed, held, captured.
pub(crate) type BatchDelta = [i64; 6];

/// What is to be written, and what is to be answered.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    pub(crate) settled: Vec<Settled>,
    /// `None` where a receipt of the same commit took the reference away again: it is never written.
    pub(crate) refs_new: Vec<Option<CarrierRef<'a>>>,
    pub(crate) refs_gone: Vec<CarrierRef<'a>>,
    pub(crate) claims_new: Vec<&'a Claim>,
    pub(crate) claims_gone: Vec<Attempted>,
    pub(crate) unknown_new: Vec<(OpenUnknown, i64)>,
    pub(crate) unknown_decided: Vec<Attempted>,
    pub(crate) unknown_gone: Vec<Attempted>,
    pub(crate) parked_new: Vec<&'a Receipt>,
    pub(crate) parked_gone: Vec<(i32, String, Uuid)>,
    /// Messages that went otherwise than their flags said, as an MMS or as text.
    pub(crate) flags_new: Vec<(MessageId, Flags)>,
    pub(crate) attempts: Vec<AttemptRow>,
    /// Taken away before `due_new` is put.
    pub(crate) due_gone: Vec<(i64, MessageId)>,
    pub(crate) due_new: Vec<(i64, MessageId)>,
    /// Captured and released, per account in order.
    pub(crate) money: BTreeMap<AccountNo, (Money, Money)>,
    pub(crate) batches: BTreeMap<(AccountNo, Uuid), BatchDelta>,
    watched: Arc<WatchedStates>,
    /// Transitions somebody wants to be told of, per account.
    pub(crate) events: BTreeMap<AccountNo, Vec<Transition>>,
    /// Messages that ended, with their end and the SMPP credential that is owed a receipt.
    pub(crate) smpp: Vec<(MessageId, State, u16)>,
}

/// What a settle commit needs to read, from its items alone.
pub(crate) struct Wanted<'a> {
    /// In any order, with repetitions, until `sorted_ids`.
    pub(crate) ids: Vec<MessageId>,
    /// Carriers' ids that receipts name and this commit's own answers do not bring; in order, each once.
    pub(crate) receipts: Vec<RefKey<'a>>,
    /// Carriers' ids of this commit's answers, with their destination.
    pub(crate) accepted: FxHashMap<RefKey<'a>, i64>,
    /// Connections and destinations of parts that got no answer.
    pub(crate) silent: Vec<(i32, i64)>,
}

pub(crate) fn wanted(items: &[SettleItem]) -> Wanted<'_> {
    let mut wanted = Wanted {
        ids: Vec::with_capacity(items.len()),
        receipts: Vec::new(),
        accepted: FxHashMap::default(),
        silent: Vec::new(),
    };
    for item in items {
        match item {
            SettleItem::Outcome(o) => {
                wanted.ids.push(o.id);
                match &o.result {
                    PartResult::Accepted { carrier_id, receipts: true } => {
                        wanted.accepted.insert((o.connection, carrier_id), o.phone_tag);
                    }
                    PartResult::Unknown { .. } => wanted.silent.push((o.connection, o.phone_tag)),
                    _ => {}
                }
            }
            SettleItem::Receipt(_) | SettleItem::Claim(_) | SettleItem::Unclaim(_) => {}
            SettleItem::End { id, .. }
            | SettleItem::Due { id }
            | SettleItem::Close { id }
            | SettleItem::Reported { id, .. } => wanted.ids.push(*id),
            SettleItem::Decide { attempt, .. } => wanted.ids.push(attempt.id),
        }
    }
    for (key, tag) in receipts(items) {
        // Carriers reuse ids: an answer of this commit is meant only if the destination is the same, too.
        let ours = wanted.accepted.get(&key).is_some_and(|accepted| tag.is_none_or(|tag| tag == *accepted));
        if !ours {
            wanted.receipts.push(key);
        }
    }
    wanted.receipts.sort_unstable();
    wanted.receipts.dedup();
    wanted.silent.sort_unstable();
    wanted.silent.dedup();
    wanted
}

impl Wanted<'_> {
    /// All messages to read, in order of account, each once.
    pub(crate) fn sorted_ids(&mut self) -> &[MessageId] {
        self.ids.sort_unstable_by_key(|id| (id.account(), *id));
        self.ids.dedup();
        &self.ids
    }

    /// Destinations of receipts that nothing read so far accounts for: an unknown attempt may. In order, each once.
    pub(crate) fn unmatched(&self, items: &[SettleItem], read: &Read<'_>) -> Vec<(i32, i64)> {
        let unmatched =
            receipts(items).filter(|(key, _)| !read.refs.contains_key(key) && !self.accepted.contains_key(key));
        let mut destinations: Vec<_> =
            unmatched.filter_map(|((connection, _), tag)| Some((connection, tag?))).collect();
        destinations.sort_unstable();
        destinations.dedup();
        destinations
    }
}

/// Keys and destinations of the receipts that decide something.
fn receipts(items: &[SettleItem]) -> impl Iterator<Item = (RefKey<'_>, Option<i64>)> {
    items.iter().filter_map(|item| match item {
        SettleItem::Receipt(r) if r.kind != ReceiptKind::Interim => {
            Some(((r.connection, r.carrier_id.as_str()), r.phone_tag))
        }
        _ => None,
    })
}

/// Decides all items: outcomes before receipts, otherwise in order. Answers also with the rows as they are now.
pub(crate) fn plan<'a>(
    items: &'a [SettleItem],
    mut read: Read<'a>,
    watched: &Watched,
    now: i64,
) -> (Plan<'a>, FxHashMap<MessageId, Row>) {
    let mut plan =
        Plan { settled: vec![Settled::default(); items.len()], watched: watched.states(), ..Plan::default() };
    for (i, item) in items.iter().enumerate() {
        if !matches!(item, SettleItem::Receipt(_)) {
            plan.settled[i] = plan.item(item, &mut read, now);
        }
    }
    for (i, item) in items.iter().enumerate() {
        if let SettleItem::Receipt(receipt) = item {
            plan.settled[i] = plan.receipt(receipt, &mut read, now);
        }
    }
    plan.total(&read.rows);
    (plan, read.rows)
}

impl<'a> Plan<'a> {
    fn item(&mut self, item: &'a SettleItem, read: &mut Read<'a>, now: i64) -> Settled {
        match item {
            SettleItem::Outcome(o) => self.outcome(o, read),
            SettleItem::End { id, state, error, unknown_too } => {
                let handed = |p: &PartState| matches!(p, PartState::Unknown | PartState::Accepted);
                let in_doubt = read.rows.get(id).is_some_and(|r| r.progress.parts.as_slice().iter().any(handed));
                // At a deadline, what a carrier has and has not confirmed may arrive yet.
                let error = if *unknown_too && in_doubt { ErrorCode::OtpOutcomeUnknown.number() } else { *error };
                self.apply(read, *id, Event::End { state: *state, error, unknown_too: *unknown_too }, now)
            }
            SettleItem::Claim(claim) => {
                self.claims_new.push(claim);
                Settled::default()
            }
            SettleItem::Unclaim(attempt) => {
                self.unclaim(*attempt);
                Settled::default()
            }
            SettleItem::Due { id } => self.apply(read, *id, Event::Due, now),
            SettleItem::Close { id } => self.apply(read, *id, Event::Close, now),
            SettleItem::Reported { id, failed } => self.reported(*id, *failed, read, now),
            SettleItem::Decide { attempt, resend, error } => {
                self.unknown_decided.push(*attempt);
                // A one-time code is not sent twice, whatever its connection's policy.
                let code = read.rows.get(&attempt.id).is_some_and(|r| r.progress.flags.has(Flags::OTP));
                if !resend || code {
                    return self.apply(read, attempt.id, Event::Refused { part: attempt.part, error: *error }, now);
                }
                let settled = self.apply(read, attempt.id, Event::Resend { part: attempt.part }, now);
                if settled.changed {
                    self.put_due(read, attempt.id, now);
                }
                settled
            }
            SettleItem::Receipt(receipt) => self.receipt(receipt, read, now),
        }
    }

    /// One that this very commit brings is not written at all.
    fn unclaim(&mut self, attempt: Attempted) {
        match self.claims_new.iter().position(|claim| claim.attempt == attempt) {
            Some(place) => drop(self.claims_new.swap_remove(place)),
            None => self.claims_gone.push(attempt),
        }
    }

    fn outcome(&mut self, o: &'a Outcome, read: &mut Read<'a>) -> Settled {
        if o.claimed {
            self.unclaim(o.attempted());
        }
        let Some(row) = read.rows.get_mut(&o.id) else { return Settled::default() };
        let tried_again = row.tried_again(o.attempt);
        let was_in_doubt = row.part_is(o.part, PartState::Unknown);
        let last = row.is_last(o.part);
        row.attempts = row.attempts.max(i16::from(o.attempt));
        if !row.progress.closed || row.connection.is_none() {
            row.connection = Some(o.connection);
        }
        row.dirty = true;
        let handed = match o.result {
            PartResult::Accepted { .. } => true,
            PartResult::Unknown { .. } => !tried_again,
            _ => false,
        };
        if handed && !row.progress.closed && row.progress.goes_as(o.part, o.mms) {
            self.flags_new.push((o.id, row.progress.flags));
        }
        // An answer at last, where there may have been none.
        let late = was_in_doubt || tried_again || row.progress.closed;
        if late && !matches!(o.result, PartResult::Unknown { .. }) {
            self.unknown_gone.push(o.attempted());
        }
        // A refusal that may be tried again leaves the part to be sent, whatever it was before.
        let again = |plan: &mut Plan<'a>, read: &mut Read<'a>| {
            if was_in_doubt {
                plan.apply(read, o.id, Event::Resend { part: o.part }, o.at);
            }
        };
        match &o.result {
            PartResult::Accepted { carrier_id, receipts } => self.accepted(o, carrier_id, *receipts, read),
            PartResult::Unknown { submitted_at, decide_at } => {
                let error = ErrorCode::OutcomeUnknown.number();
                self.remember(o, Remembered::Unknown, Some(error), None);
                if tried_again {
                    return self.current(read, o.id, false);
                }
                let settled = self.apply(read, o.id, Event::Unknown { part: o.part, error }, o.at);
                if !settled.changed {
                    return settled;
                }
                if let Some((parked, used_up)) = receipt_since(o, *submitted_at, last, read) {
                    let then = self.report(&parked.receipt, &o.attempted(), read, o.at);
                    if used_up {
                        self.parked_gone.push((o.connection, parked.receipt.carrier_id, parked.seq));
                    }
                    return both(settled, then);
                }
                let sender = o.sender.as_deref().map(str::to_owned);
                let unknown = OpenUnknown { attempt: o.attempted(), sender, submitted_at: *submitted_at };
                read.add_unknown(unknown.clone());
                self.unknown_new.push((unknown, *decide_at));
                settled
            }
            PartResult::Retry { due_at, error, carrier_error } => {
                self.remember(o, Remembered::Retry, Some(*error), Some(carrier_error));
                if tried_again {
                    return self.current(read, o.id, false);
                }
                again(self, read);
                let waits = read.rows.get(&o.id).is_some_and(|r| !r.progress.closed);
                if waits {
                    self.put_due(read, o.id, *due_at);
                }
                self.current(read, o.id, waits)
            }
            PartResult::FailOver { error, carrier_error } => {
                self.remember(o, Remembered::FailOver, Some(*error), Some(carrier_error));
                if !tried_again && was_in_doubt {
                    again(self, read);
                    // Its span may be gone by now: it waits on its own.
                    self.put_due(read, o.id, o.at);
                }
                self.current(read, o.id, !tried_again)
            }
            PartResult::Refused { error, carrier_error } => {
                if o.attempt > 1 || tried_again {
                    self.remember(o, Remembered::Failed, Some(*error), Some(carrier_error));
                }
                if tried_again {
                    return self.current(read, o.id, false);
                }
                if let Some(row) = read.rows.get_mut(&o.id).filter(|r| !r.progress.closed) {
                    row.carrier_error = Some(carrier_error.clone());
                }
                self.apply(read, o.id, Event::Refused { part: o.part, error: *error }, o.at)
            }
        }
    }

    fn accepted(&mut self, o: &'a Outcome, carrier_id: &'a str, receipts: bool, read: &mut Read<'a>) -> Settled {
        let settled = self.apply(read, o.id, Event::Accepted { part: o.part, receipts }, o.at);
        if !settled.changed {
            // A late yes (past the OTP's deadline, after a cancel, to an attempt made again): recorded, not billed.
            self.remember(o, Remembered::Late, None, None);
            if settled.closed {
                return settled;
            }
        }
        if !receipts {
            return settled;
        }
        // A receipt that came before this answer waits in the parking.
        let last = read.rows.get(&o.id).is_some_and(|row| row.is_last(o.part));
        let waiting = read.parked.get_mut(&(o.connection, carrier_id)).and_then(|all| {
            let fits = |p: &Parked| p.receipt.phone_tag.is_none_or(|tag| tag == o.phone_tag);
            all.iter().position(fits).map(|at| take_parked(all, at, last))
        });
        let Some((parked, used_up)) = waiting else {
            let (connection, phone_tag) = (o.connection, o.phone_tag);
            let reference =
                CarrierRef { connection, carrier_id, id: o.id, part: o.part, attempt: o.attempt, phone_tag };
            let fresh = Some(self.refs_new.len());
            read.refs.entry((connection, carrier_id)).or_default().push(OpenRef { reference, fresh });
            self.refs_new.push(Some(reference));
            return settled;
        };
        if used_up {
            self.parked_gone.push((o.connection, carrier_id.to_owned(), parked.seq));
        }
        both(settled, self.report(&parked.receipt, &o.attempted(), read, o.at))
    }

    /// Applies one event to a message's row and notes what follows for the money.
    pub(super) fn apply(&mut self, read: &mut Read<'a>, id: MessageId, event: Event, now: i64) -> Settled {
        let Some(row) = read.rows.get_mut(&id) else { return Settled::default() };
        let before = row.progress.state;
        let effect = row.progress.apply(event);
        let after = row.progress.state;
        let mut told = false;
        if effect.changed {
            row.dirty = true;
            if after == State::Sent
                || (before == State::Queued && matches!(after, State::Delivered | State::Undelivered))
            {
                row.sent_at.get_or_insert(now);
            }
            if row.progress.closed {
                row.final_at.get_or_insert(now);
            }
            if after == State::Delivered {
                row.carrier_error = None;
            }
            if effect.capture != Money::ZERO || effect.release != Money::ZERO {
                let money = self.money.entry(id.account()).or_default();
                money.0 += effect.capture;
                money.1 += effect.release;
            }
            if before != after && EventKind::of_state(after).is_some() {
                let own = row.progress.flags.has(Flags::EVENTS);
                told = own || self.watched.get(&id.account()).is_some_and(|states| states.has(after));
                if told {
                    self.events.entry(id.account()).or_default().push(Transition { message: id, state: after, own });
                }
            }
        }
        let origin = SmppOrigin::of(row.progress.flags).filter(|_| effect.changed && row.progress.closed);
        let smpp = origin.filter(|o| o.receipts.tells(after)).map(|o| o.credential);
        self.smpp.extend(smpp.map(|credential| (id, after, credential)));
        // A due row is kept exactly as long as the message waits.
        let waits = matches!(after, State::Queued | State::Scheduled) && !row.progress.closed;
        if !waits && let Some(due_at) = row.due_at.take() {
            self.drop_due(due_at, id);
        }
        Settled {
            id: Some(id),
            states: Some((before, after)),
            changed: effect.changed,
            closed: row.progress.closed,
            succeeded: row.progress.succeeded(),
            error: row.progress.error,
            captured: effect.capture,
            released: effect.release,
            parked: false,
            told,
            smpp,
        }
    }

    pub(super) fn current(&self, read: &Read<'a>, id: MessageId, changed: bool) -> Settled {
        let Some(row) = read.rows.get(&id) else { return Settled::default() };
        let (state, closed, error) = (row.progress.state, row.progress.closed, row.progress.error);
        let succeeded = row.progress.succeeded();
        Settled { id: Some(id), states: Some((state, state)), changed, closed, succeeded, error, ..Settled::default() }
    }

    pub(super) fn put_due(&mut self, read: &mut Read<'a>, id: MessageId, due_at: i64) {
        let Some(row) = read.rows.get_mut(&id) else { return };
        if row.due_at == Some(due_at) {
            return;
        }
        if let Some(old) = row.due_at.replace(due_at) {
            self.drop_due(old, id);
        }
        row.dirty = true;
        self.due_new.push((due_at, id));
    }

    /// What was put by this very commit is not written at all.
    fn drop_due(&mut self, due_at: i64, id: MessageId) {
        match self.due_new.iter().position(|new| *new == (due_at, id)) {
            Some(place) => drop(self.due_new.swap_remove(place)),
            None => self.due_gone.push((due_at, id)),
        }
    }

    fn remember(&mut self, o: &Outcome, result: Remembered, error: Option<i16>, carrier_error: Option<&String>) {
        self.attempts.push(AttemptRow {
            id: o.id,
            attempt: o.attempt,
            part: o.part,
            connection: o.connection,
            result,
            error,
            carrier_error: carrier_error.cloned(),
            at: o.at,
        });
    }

    /// Totals of batches follow from the rows that changed.
    fn total(&mut self, rows: &FxHashMap<MessageId, Row>) {
        for (id, row) in rows {
            let Some(batch) = row.batch.filter(|_| row.dirty) else { continue };
            let (state, held, captured) = row.before;
            let delta = self.batches.entry((id.account(), batch)).or_default();
            delta[class(state)] -= 1;
            delta[class(row.progress.state)] += 1;
            delta[4] += (row.progress.held - held).0;
            delta[5] += (row.progress.captured - captured).0;
        }
        self.batches.retain(|_, delta| delta.iter().any(|d| *d != 0));
    }
}

/// Which of a batch's four counters a state counts in.
fn class(state: State) -> usize {
    match state {
        State::Scheduled | State::Queued => 0,
        State::Sent => 1,
        State::Delivered => 2,
        _ => 3,
    }
}

/// What an item did together with what followed from it.
pub(super) fn both(first: Settled, then: Settled) -> Settled {
    Settled {
        states: first.states.zip(then.states).map(|((before, _), (_, after))| (before, after)),
        changed: first.changed || then.changed,
        captured: first.captured + then.captured,
        released: first.released + then.released,
        told: first.told || then.told,
        smpp: first.smpp.or(then.smpp),
        ..then
    }
}
