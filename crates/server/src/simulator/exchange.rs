//! The simulated message centre behind the sockets: what it has taken, what is due, and who is bound. One lock, held for a batch of events or a sweep of what is
//! due; no task, timer or allocation per message.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use carillon_smpp::content::{Part, part_of};
use carillon_smpp::pdu::{MessageResp, QuerySmResp};
use carillon_smpp::receipt::State;
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{Address, BindKind, CommandStatus, DeliverSm, Event, Pdu, ReplyTo, Session, SubmitSm, values};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustc_hash::{FxHashMap, FxHasher};
use tokio::time::{Duration, Instant};

use super::behaviour::{Answer, Behaviour};
use super::dialect::Facts;
use crate::clock::Clock;
use phones::Phones;

mod phones;

pub use phones::Written;

/// Things due within this time of one another are done together.
const TICK_MS: u64 = 5;
/// Final messages kept for query_sm.
const RECENT_MAX: usize = 10_000;
/// Before a receipt that was refused or not acknowledged is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Binds accepted.
    pub binds: u64,
    /// submit_sm and data_sm received.
    pub submits: u64,
    /// Those accepted.
    pub accepted: u64,
    /// Those refused for being throttled.
    pub throttled: u64,
    /// Those refused for another reason.
    pub refused: u64,
    /// Those taken and never answered.
    pub unanswered: u64,
    /// Different messages taken (destination, text and part); counted only when recording is on.
    pub distinct: u64,
    /// Most submits within any one second; counted only when recording is on.
    pub busiest: u64,
    /// deliver_sm sent, repetitions included.
    pub receipts: u64,
    /// Those acknowledged.
    pub acknowledged: u64,
    /// Those answered with an error or not at all, which are sent again.
    pub repeated: u64,
    /// Receipts due that wait for a free slot or a bind that receives.
    pub waiting: u64,
    /// Messages from phones acknowledged.
    pub phones: u64,
}

/// An address of up to 20 octets, by value: a slice of the read buffer would keep all of it in memory until the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Addr {
    ton: u8,
    npi: u8,
    length: u8,
    octets: [u8; 20],
}

impl Addr {
    fn of<B: AsRef<[u8]>>(address: &Address<B>) -> Self {
        let addr = address.addr.as_ref();
        let length = addr.len().min(20);
        let mut octets = [0; 20];
        octets[..length].copy_from_slice(&addr[..length]);
        Self { ton: address.ton, npi: address.npi, length: u8::try_from(length).expect("at most 20"), octets }
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    fn borrowed(&self) -> Address<&[u8]> {
        Address { ton: self.ton, npi: self.npi, addr: self.octets() }
    }
}

/// A message taken.
#[derive(Debug)]
struct Message {
    source: Addr,
    destination: Addr,
    system: usize,
    bind: u32,
    submitted: i64,
    state: State,
    /// Receipts not yet acknowledged.
    open: u8,
}

#[derive(Clone, Copy, Debug)]
struct Receipt {
    id: u64,
    state: State,
    err: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Answer { bind: u32, to: ReplyTo, result: Result<u64, CommandStatus> },
    Receipt(Receipt),
}

/// A client and its binds.
#[derive(Debug)]
struct System {
    name: Vec<u8>,
    receivers: Vec<u32>,
    /// Receipts that no bind can take now, oldest first.
    backlog: VecDeque<Receipt>,
}

#[derive(Debug)]
struct Bound {
    session: Session,
    system: usize,
    /// Submits the rate still allows, in thousandths, and when that was reckoned.
    allowance: (u64, Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) behaviour: Behaviour,
    pub(super) totals: Totals,
    clock: Clock,
    rng: StdRng,
    started: Instant,
    next_id: u64,
    messages: FxHashMap<u64, Message>,
    recent: VecDeque<u64>,
    due: BTreeMap<u64, Vec<Due>>,
    /// Answers held back while paused; `None` when not paused.
    held: Option<Vec<Due>>,
    systems: Vec<System>,
    binds: FxHashMap<u32, Bound>,
    next_bind: u32,
    next_token: u64,
    in_flight: FxHashMap<u64, Receipt>,
    /// How often submits to a number that refuses some times have been refused.
    refusals: FxHashMap<u64, u8>,
    /// How often each message was taken, by a hash of what it is; `None` when not recorded.
    seen: Option<FxHashMap<u64, Seen>>,
    /// When the submits of the last second came; `None` when not recorded.
    lately: Option<VecDeque<Instant>>,
    scratch: (Vec<u8>, Vec<u8>),
    phones: Phones,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    destination: Addr,
    count: u32,
}

impl Exchange {
    pub(super) fn new(behaviour: Behaviour, seed: u64, record: bool, clock: Clock) -> Self {
        Self {
            behaviour,
            totals: Totals::default(),
            clock,
            rng: StdRng::seed_from_u64(seed),
            started: Instant::now(),
            next_id: 1,
            messages: FxHashMap::default(),
            recent: VecDeque::new(),
            due: BTreeMap::new(),
            held: None,
            systems: Vec::new(),
            binds: FxHashMap::default(),
            next_bind: 0,
            next_token: 0,
            in_flight: FxHashMap::default(),
            refusals: FxHashMap::default(),
            seen: record.then(FxHashMap::default),
            lately: record.then(VecDeque::new),
            scratch: (Vec::new(), Vec::new()),
            phones: Phones::default(),
        }
    }

    /// A client has bound; what waits for it goes out.
    pub(super) fn bound(&mut self, name: &[u8], kind: BindKind, session: Session) -> u32 {
        let system = self.systems.iter().position(|system| system.name == name).unwrap_or_else(|| {
            self.systems.push(System { name: name.to_vec(), receivers: Vec::new(), backlog: VecDeque::new() });
            self.systems.len() - 1
        });
        let bind = self.next_bind;
        self.next_bind += 1;
        self.totals.binds += 1;
        self.binds.insert(bind, Bound { session, system, allowance: (u64::MAX, Instant::now()) });
        if kind.receives() {
            self.systems[system].receivers.push(bind);
        }
        self.drain(system);
        self.drain_phones();
        bind
    }

    pub(super) fn drop_links(&self) {
        self.binds.values().for_each(|bound| bound.session.close());
    }

    /// Holds all answers to submits back, or lets them go.
    pub(super) fn pause(&mut self, pause: bool) {
        match (pause, &self.held) {
            (true, None) => self.held = Some(Vec::new()),
            (false, Some(_)) => self.held.take().unwrap_or_default().into_iter().for_each(|due| self.perform(due)),
            _ => {}
        }
    }

    /// All events of one read of a bind.
    pub(super) fn on_events(&mut self, bind: u32, events: &mut Vec<Event>) {
        let Some(system) = self.binds.get(&bind).map(|bound| bound.system) else { return };
        for event in events.drain(..) {
            match event {
                Event::Submit { to, sm } => self.on_submit(bind, system, to, &sm),
                Event::Request { to, pdu } => self.on_request(bind, system, to, pdu),
                Event::DeliverResp { token, .. } | Event::NoAnswer { token } if self.phones.knows(token) => {
                    let taken = matches!(event, Event::DeliverResp { status: CommandStatus::ROK, .. });
                    self.phone_answered(token, taken);
                }
                Event::DeliverResp { token, status: CommandStatus::ROK, .. } => self.acknowledged(token),
                Event::DeliverResp { token, .. } | Event::NoAnswer { token } => self.again(token),
                Event::Closed { unanswered, .. } => self.closed(bind, system, &unanswered),
                _ => {}
            }
        }
        self.drain(system);
    }

    fn closed(&mut self, bind: u32, system: usize, unanswered: &[u64]) {
        self.binds.remove(&bind);
        let system = &mut self.systems[system];
        system.receivers.retain(|receiver| *receiver != bind);
        // Not acknowledged, so not known to be safe: the next bind has them again, and first.
        self.phones.lost(unanswered);
        for token in unanswered.iter().rev() {
            if let Some(receipt) = self.in_flight.remove(token) {
                self.totals.repeated += 1;
                system.backlog.push_front(receipt);
            }
        }
    }

    fn on_submit<B: AsRef<[u8]>>(&mut self, bind: u32, system: usize, to: ReplyTo, sm: &SubmitSm<B>) {
        self.totals.submits += 1;
        self.note_time();
        if !self.allowed(bind) {
            return self.answer(bind, to, Err(CommandStatus::RTHROTTLED), Duration::ZERO);
        }
        let destination = Addr::of(&sm.destination);
        let (part, _) = part_of(sm);
        let key = fingerprint(&destination, sm.content(), part);
        let refused = self.refusals.get(&key).copied().unwrap_or(0);
        let verdict = self.behaviour.decide(destination.octets(), part, refused, &mut self.rng);
        match verdict.answer {
            Answer::Refuse(status) => {
                if verdict.counted {
                    self.refusals.insert(key, refused.saturating_add(1));
                }
                return self.answer(bind, to, Err(status), verdict.answer_after);
            }
            Answer::Never => self.totals.unanswered += 1,
            Answer::Accept if refused > 0 => drop(self.refusals.remove(&key)),
            Answer::Accept => {}
        }
        if let Some(seen) = &mut self.seen {
            let seen = seen.entry(key).or_insert(Seen { destination, count: 0 });
            seen.count += 1;
            self.totals.distinct += u64::from(seen.count == 1);
        }
        let id = self.next_id;
        self.next_id += 1;
        let registered = sm.registered_delivery;
        let planned = || verdict.receipts.iter().filter(|planned| wanted(registered, planned.state));
        let message = Message {
            source: Addr::of(&sm.source),
            destination,
            system,
            bind,
            submitted: self.clock.now_ms(),
            state: State::Enroute,
            open: u8::try_from(planned().count()).unwrap_or(u8::MAX),
        };
        let silent = message.open == 0;
        self.messages.insert(id, message);
        let receipt = |planned: &super::behaviour::Planned| Receipt { id, state: planned.state, err: planned.err };
        planned().filter(|planned| planned.early).for_each(|planned| self.perform(Due::Receipt(receipt(planned))));
        if verdict.answer == Answer::Accept {
            self.answer(bind, to, Ok(id), verdict.answer_after);
        }
        for planned in planned().filter(|planned| !planned.early) {
            self.schedule(verdict.answer_after + planned.after, Due::Receipt(receipt(planned)));
        }
        if silent {
            let last = verdict.receipts.last().map_or(State::Delivered, |planned| planned.state);
            self.finished(id, last);
        }
    }

    fn note_time(&mut self) {
        let Some(lately) = &mut self.lately else { return };
        let now = Instant::now();
        while lately.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            lately.pop_front();
        }
        lately.push_back(now);
        self.totals.busiest = self.totals.busiest.max(lately.len() as u64);
    }

    /// Whether the bind's rate allows one more submit now. A tenth of a second may come at once.
    fn allowed(&mut self, bind: u32) -> bool {
        let rate = u64::from(self.behaviour.submit_rate);
        let Some(bound) = self.binds.get_mut(&bind).filter(|_| rate > 0) else { return true };
        let (left, since) = bound.allowance;
        let now = Instant::now();
        let gained =
            u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX).saturating_mul(rate) / 1000;
        let left = left.saturating_add(gained).min((rate * 100).max(1000));
        let allowed = left >= 1000;
        bound.allowance = (if allowed { left - 1000 } else { left }, now);
        allowed
    }

    fn answer(&mut self, bind: u32, to: ReplyTo, result: Result<u64, CommandStatus>, after: Duration) {
        match result {
            Ok(_) => self.totals.accepted += 1,
            Err(CommandStatus::RTHROTTLED) => self.totals.throttled += 1,
            Err(_) => self.totals.refused += 1,
        }
        self.schedule(after, Due::Answer { bind, to, result });
    }

    fn on_request(&mut self, bind: u32, system: usize, to: ReplyTo, pdu: Pdu) {
        if let Pdu::DataSm(data) = pdu {
            return self.on_submit(bind, system, to, &data.into());
        }
        let Some(session) = self.binds.get(&bind).map(|bound| bound.session.clone()) else { return };
        let dialect = self.behaviour.dialect;
        let find = |id: &[u8]| dialect.read_answer_id(id);
        match pdu {
            Pdu::QuerySm(query) => match find(&query.message_id).and_then(|id| self.messages.get(&id)) {
                Some(message) => {
                    let resp = QuerySmResp {
                        message_id: &query.message_id[..],
                        final_date: b"",
                        message_state: message.state.code(),
                        error_code: 0,
                    };
                    session.respond(to, CommandStatus::ROK, &Pdu::QuerySmResp(resp)).expect("the id came in a PDU");
                }
                None => session.refuse(to, CommandStatus::RQUERYFAIL),
            },
            Pdu::CancelSm(cancel) => {
                let open = find(&cancel.message_id).and_then(|id| self.messages.get_mut(&id));
                match open.filter(|message| message.state == State::Enroute) {
                    Some(message) => {
                        message.state = State::Deleted;
                        session.refuse(to, CommandStatus::ROK);
                    }
                    None => session.refuse(to, CommandStatus::RCANCELFAIL),
                }
            }
            Pdu::ReplaceSm(_) => session.refuse(to, CommandStatus::RREPLACEFAIL),
            _ => session.refuse(to, CommandStatus::RINVCMDID),
        }
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        if after.is_zero() && !self.behaviour.out_of_order {
            return self.perform(due);
        }
        let tick = self.tick(Instant::now() + after) + 1;
        self.due.entry(tick).or_default().push(due);
    }

    fn tick(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.started).as_millis()).unwrap_or(u64::MAX) / TICK_MS
    }

    /// When the first thing is due, in ticks.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(tick, _)| *tick)
    }

    /// Does all that is due, and says when to come again.
    pub(super) fn sweep(&mut self) -> Option<Instant> {
        let now = self.tick(Instant::now());
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            let mut batch = entry.remove();
            if self.behaviour.out_of_order {
                batch.shuffle(&mut self.rng);
            }
            batch.into_iter().for_each(|due| self.perform(due));
        }
        let (tick, _) = self.due.first_key_value()?;
        Some(self.started + Duration::from_millis(tick * TICK_MS))
    }

    fn perform(&mut self, due: Due) {
        match due {
            Due::Answer { bind, to, result } => {
                if let Some(held) = &mut self.held {
                    return held.push(due);
                }
                // A bind that is gone gets no answer; that is what the client must live with.
                let Some(bound) = self.binds.get(&bind) else { return };
                match result {
                    Err(status) => bound.session.refuse(to, status),
                    Ok(id) => {
                        self.behaviour.dialect.write_answer_id(id, &mut self.scratch.0);
                        let resp = MessageResp { message_id: &self.scratch.0[..], tlvs: Tlvs(&[][..]) };
                        let pdu = match to.command {
                            carillon_smpp::CommandId::DATA_SM => Pdu::DataSmResp(resp),
                            _ => Pdu::SubmitSmResp(resp),
                        };
                        bound.session.respond(to, CommandStatus::ROK, &pdu).expect("our ids are short");
                    }
                }
            }
            Due::Receipt(receipt) => {
                let Some(system) = self.messages.get(&receipt.id).map(|message| message.system) else { return };
                let waits = !self.systems[system].backlog.is_empty();
                if waits || !self.deliver(receipt) {
                    self.systems[system].backlog.push_back(receipt);
                }
            }
        }
    }

    /// Sends what waits for a system's binds, as far as they can take it.
    fn drain(&mut self, system: usize) {
        while let Some(&receipt) = self.systems[system].backlog.front() {
            if !self.deliver(receipt) {
                return;
            }
            self.systems[system].backlog.pop_front();
        }
    }

    /// Sends a receipt over the bind its message came by, or another of the same client; `false` when none can take it now.
    fn deliver(&mut self, receipt: Receipt) -> bool {
        let Some(message) = self.messages.get_mut(&receipt.id) else { return true };
        // A cancelled message ends as such, whatever was planned.
        let deleted = message.state == State::Deleted;
        let state = if deleted { State::Deleted } else { receipt.state };
        let receivers = &self.systems[message.system].receivers;
        let first = receivers.iter().position(|bind| *bind == message.bind).unwrap_or(0);
        let (text, tlvs) = &mut self.scratch;
        for bind in receivers[first..].iter().chain(&receivers[..first]) {
            let Some(bound) = self.binds.get(bind) else { continue };
            if bound.session.free_slots() == 0 {
                continue;
            }
            let done = self.clock.now_ms();
            let facts = Facts { id: receipt.id, state, err: receipt.err, submitted: message.submitted, done };
            self.behaviour.dialect.write_receipt(&facts, text, tlvs);
            let on_the_way = state == State::Enroute;
            let sm = DeliverSm {
                // The addresses of a receipt are those of its message, swapped.
                source: message.destination.borrowed(),
                destination: message.source.borrowed(),
                esm_class: if on_the_way { values::ESM_INTERMEDIATE } else { values::ESM_RECEIPT },
                short_message: &text[..],
                tlvs: Tlvs(&tlvs[..]),
                ..DeliverSm::default()
            };
            if bound.session.deliver(&sm, self.next_token).is_ok() {
                self.in_flight.insert(self.next_token, receipt);
                self.next_token += 1;
                self.totals.receipts += 1;
                if !on_the_way {
                    message.state = state;
                }
                return true;
            }
        }
        false
    }

    fn acknowledged(&mut self, token: u64) {
        let Some(receipt) = self.in_flight.remove(&token) else { return };
        self.totals.acknowledged += 1;
        if let Some(message) = self.messages.get_mut(&receipt.id) {
            message.open = message.open.saturating_sub(1);
            if message.open == 0 {
                let state = message.state;
                self.finished(receipt.id, state);
            }
        }
    }

    fn again(&mut self, token: u64) {
        if let Some(receipt) = self.in_flight.remove(&token) {
            self.totals.repeated += 1;
            self.schedule(AGAIN_AFTER, Due::Receipt(receipt));
        }
    }

    /// Nothing more will come of this message: it is kept for a while, for query_sm.
    fn finished(&mut self, id: u64, state: State) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.state = state;
        }
        self.recent.push_back(id);
        if self.recent.len() > RECENT_MAX
            && let Some(old) = self.recent.pop_front()
        {
            self.messages.remove(&old);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let waiting = self.systems.iter().map(|system| system.backlog.len()).sum::<usize>();
        Totals { waiting: u64::try_from(waiting).unwrap_or(u64::MAX), ..self.totals }
    }

    /// How often this whole text (not a part of one) was taken for this destination; 0 when not recorded.
    pub(super) fn times_taken(&self, destination: &[u8], content: &[u8]) -> u32 {
        let destination = Addr::of(&Address { ton: 0, npi: 0, addr: destination });
        let key = fingerprint(&destination, content, None);
        self.seen.as_ref().and_then(|seen| seen.get(&key)).map_or(0, |seen| seen.count)
    }

    /// The destinations of messages taken more than once, each with how often.
    pub(super) fn taken_again(&self) -> Vec<(String, u32)> {
        let seen = self.seen.iter().flat_map(FxHashMap::values).filter(|seen| seen.count > 1);
        seen.map(|seen| (String::from_utf8_lossy(seen.destination.octets()).into_owned(), seen.count)).collect()
    }
}

/// What makes two submits the same message: destination, text, and which part of it.
fn fingerprint(destination: &Addr, content: &[u8], part: Option<Part>) -> u64 {
    let mut hasher = FxHasher::default();
    destination.octets().hash(&mut hasher);
    content.hash(&mut hasher);
    part.map(|part| (part.reference, part.index)).hash(&mut hasher);
    hasher.finish()
}

/// Whether `registered_delivery` asks for a receipt of this state.
fn wanted(registered: u8, state: State) -> bool {
    match registered & values::REGISTERED_MASK {
        0 => false,
        values::REGISTERED_FAILURE => state != State::Delivered,
        values::REGISTERED_SUCCESS => state == State::Delivered,
        _ => true,
    }
}
