//! One bound session at work: pulls, submits, collects answers, and hands receipts on.

use carillon_domain::error_code::{self, ReceiptState, SendError, SendErrorKind};
use carillon_domain::message::Lane;
use carillon_smpp::message_id::{IdRule, convert};
use carillon_smpp::pdu::{CancelSm, Pdu};
use carillon_smpp::{CommandStatus, DeliverSm, Event, Events, Receipt, ReplyTo, Session};
use carillon_store::hot::{self, ReceiptKind};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::submit::{NotSent, Submitter, alphabet};
use super::{BREAKER_PAUSE, Shared, number, sleep_until};
use crate::config::IdBase;
use crate::pipeline::dispatch::Answer;
use crate::pipeline::queue::Job;
use crate::pipeline::{Ack, Inbound, Late};

/// A session both ways, or a transmitter with its receiver.
pub(super) struct Bound {
    pub(super) sender: Session,
    pub(super) events: Events,
    pub(super) receiver: Option<(Session, Events)>,
}

/// A message whose parts are with the carrier.
struct InFlight {
    job: Box<Job>,
    waiting: u8,
    answers: Vec<(u8, Answer)>,
}

/// Tokens name a slot, its use, and a part: 24, 32 and 8 bits.
#[derive(Default)]
struct Slots {
    slots: Vec<(u32, Option<InFlight>)>,
    free: Vec<u32>,
}

fn token(slot: u32, usage: u32, part: u8) -> u64 {
    u64::from(slot) << 40 | u64::from(usage) << 8 | u64::from(part)
}

impl Slots {
    fn reserve(&mut self) -> (u32, u32) {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.0 = entry.0.wrapping_add(1);
            return (slot, entry.0);
        }
        self.slots.push((0, None));
        (self.slots.len() as u32 - 1, 0)
    }

    fn get(&mut self, token: u64) -> Option<&mut InFlight> {
        let (usage, entry) = self.slots.get_mut((token >> 40) as usize)?;
        if u64::from(*usage) == (token >> 8) & 0xFFFF_FFFF { entry.as_mut() } else { None }
    }

    fn release(&mut self, token: u64) -> Option<InFlight> {
        let slot = (token >> 40) as u32;
        let out = self.slots[slot as usize].1.take();
        self.free.push(slot);
        out
    }

    fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

type Done = Vec<(Box<Job>, Vec<(u8, Answer)>)>;

struct Work<'a> {
    shared: &'a Shared,
    sender: Session,
    slots: Slots,
    submitter: Submitter,
    pulled: Vec<Box<Job>>,
    done: Done,
    receipts: Vec<(hot::Receipt, Option<(Session, ReplyTo)>)>,
    /// Parts whose answer did not come in time, in case it still does.
    late: FxHashMap<u64, Late>,
    throttles: u32,
    pause_until: Option<Instant>,
    unfit: bool,
    tripped: bool,
}

/// Late answers remembered at most; older ones are receipts' affair.
const LATE_MAX: usize = 10_000;

/// Works until the session ends, or until all answers are in once the links stop.
pub(super) async fn run(shared: &Shared, bound: Bound, session: usize) {
    let no = shared.pipeline.number(shared.index);
    shared.pipeline.link_changed(no);
    work_on(shared, bound, session).await;
    shared.pipeline.link_changed(no);
}

async fn work_on(shared: &Shared, bound: Bound, session: usize) {
    let Bound { sender, mut events, receiver } = bound;
    let (receiver_session, mut receiver_events) = receiver.unzip();
    let mut work = Work {
        shared,
        sender: sender.clone(),
        slots: Slots::default(),
        submitter: Submitter::default(),
        pulled: Vec::new(),
        done: Vec::new(),
        receipts: Vec::new(),
        late: FxHashMap::default(),
        throttles: 0,
        pause_until: None,
        unfit: false,
        tripped: false,
    };
    let (mut inbox, mut receiver_inbox) = (Vec::new(), Vec::new());
    loop {
        let stopping = shared.stop.is_cancelled();
        if stopping && work.slots.busy() == 0 {
            sender.unbind().await;
            if let Some(receiver) = &receiver_session {
                receiver.unbind().await;
            }
            return;
        }
        let wait = if stopping { None } else { work.fill() };
        tokio::select! {
            more = events.recv_many(&mut inbox) => {
                let over = work.take(&mut inbox, &sender) || !more;
                work.report();
                if over {
                    if let Some(receiver) = &receiver_session {
                        receiver.close();
                    }
                    return;
                }
            }
            more = recv_optional(&mut receiver_events, &mut receiver_inbox) => {
                let session = receiver_session.as_ref().expect("events come from a receiver only if there is one");
                let over = work.take(&mut receiver_inbox, session) || !more;
                work.report();
                if over {
                    // Asked again it would say so again, at once and for ever.
                    receiver_events = None;
                    sender.close();
                }
            }
            () = shared.pipeline.woken(shared.index, session), if !stopping => {}
            () = sleep_until(wait), if wait.is_some() => {}
            () = shared.stop.cancelled(), if !stopping => {}
        }
        if work.unfit {
            // The carrier says this session may not send: bind anew, slowly.
            work.unfit = false;
            sender.close();
        }
        if work.tripped {
            work.tripped = false;
            work.open_breaker();
        }
    }
}

async fn recv_optional(events: &mut Option<Events>, out: &mut Vec<Event>) -> bool {
    match events {
        Some(events) => events.recv_many(out).await,
        None => std::future::pending().await,
    }
}

fn rule(base: IdBase, other: IdBase) -> IdRule {
    // Hexadecimal is made decimal only where the carrier writes the other kind in decimal: otherwise ids are opaque.
    if base == IdBase::Hex && other == IdBase::Decimal { IdRule::HexToDec } else { IdRule::AsIs }
}

impl Work<'_> {
    /// Pulls and submits while there is room. When to look again if a token or a pause is all that is missing.
    fn fill(&mut self) -> Option<Instant> {
        let (shared, index) = (self.shared, self.shared.index);
        if !self.sender.is_open() {
            return None;
        }
        loop {
            let at = Instant::now();
            if let Some(until) = self.pause_until {
                if until > at {
                    return Some(until);
                }
                self.pause_until = None;
            }
            let mut room = (self.sender.free_slots() as i64).min(shared.room_in_doubt());
            let trial = shared.breaker.trial.load(std::sync::atomic::Ordering::Relaxed);
            if trial {
                room = room.min(1 - self.slots.busy() as i64);
            }
            if room <= 0 {
                return None;
            }
            let now = shared.pipeline.now();
            let turn = shared.turn(room, trial, now);
            if turn.room > 0 {
                shared.pipeline.pull(index, turn.room, turn.otp_only, &mut self.pulled);
            }
            if self.pulled.is_empty() {
                return turn.again_at.map(|free| at + std::time::Duration::from_millis(free - now));
            }
            let mut unsent = Vec::new();
            for job in std::mem::take(&mut self.pulled) {
                if !unsent.is_empty() {
                    unsent.push(job);
                } else if let Err(job) = self.submit(job, now) {
                    unsent.push(job);
                }
            }
            self.report();
            if !unsent.is_empty() {
                // The last first: each goes to the front of its account's others.
                unsent.into_iter().rev().for_each(|job| shared.pipeline.put_back(index, job));
                return None;
            }
        }
    }

    /// Hands one message over. It comes back if the session takes no more.
    fn submit(&mut self, job: Box<Job>, now: u64) -> Result<(), Box<Job>> {
        let parts = job.pending();
        let (slot, usage) = self.slots.reserve();
        let settings = &self.shared.settings;
        let now_ms = self.shared.clock.now_ms();
        let (sent, result) =
            self.submitter.send(&self.sender, settings, &job.message, &parts, now_ms, |part| token(slot, usage, part));
        self.shared.rate.lock().take(now, sent as u64);
        if sent == 0 {
            self.slots.free.push(slot);
            match result {
                Err(NotSent::Unfit(error)) => {
                    let answers = parts.iter().map(|part| (*part, Answer::Refused(error.clone()))).collect();
                    self.done.push((job, answers));
                    return Ok(());
                }
                _ => return Err(job),
            }
        }
        // Parts for which the window had no room are offered again once the others are answered.
        let unsent = parts[sent..].iter();
        let later = SendError {
            kind: SendErrorKind::Throttled,
            code: error_code::ErrorCode::CarrierCongested,
            carrier: "the window was full".into(),
        };
        let answers = unsent.map(|part| (*part, Answer::Refused(later.clone()))).collect();
        self.slots.slots[slot as usize].1 = Some(InFlight { job, waiting: sent as u8, answers });
        Ok(())
    }

    /// Takes what the session says. Whether it is over.
    fn take(&mut self, inbox: &mut Vec<Event>, session: &Session) -> bool {
        let mut over = false;
        for event in inbox.drain(..) {
            match event {
                Event::SubmitResp { token, result: Ok(id), late } => {
                    self.throttles = 0;
                    self.shared.breaker.success();
                    let id = String::from_utf8_lossy(&id);
                    let settings = &self.shared.settings;
                    let id = convert(rule(settings.message_id, settings.receipt_id), &id).into_owned();
                    if late { self.late_answer(token, id) } else { self.answer(token, Answer::Accepted(id)) }
                }
                Event::SubmitResp { token, result: Err(status), late: false } => self.refused(token, status),
                Event::SubmitResp { token, result: Err(_), late: true } => drop(self.late.remove(&token)),
                Event::NoAnswer { token } => {
                    self.fail();
                    self.remember_late(token);
                    self.answer(token, Answer::Refused(SendError::unknown("no answer in time")));
                }
                Event::Deliver { to, sm } => self.deliver(to, &sm, session),
                Event::Closed { reason, unanswered } => {
                    let name = &self.shared.settings.name;
                    tracing::info!(connection = %name, %reason, unanswered = unanswered.len(), "connection {name}: session over: {reason}");
                    for token in unanswered {
                        self.answer(token, Answer::Refused(SendError::unknown(format!("link lost: {reason}"))));
                    }
                    over = true;
                }
                Event::Request { to, .. } | Event::Submit { to, .. } => session.refuse(to, CommandStatus::RINVCMDID),
                Event::Response { .. } | Event::DeliverResp { .. } | Event::Alert(_) | Event::Nack { .. } => {}
            }
        }
        over
    }

    fn refused(&mut self, token: u64, status: CommandStatus) {
        let error = error_code::from_smpp_status(status.0);
        match error.kind {
            SendErrorKind::Throttled => {
                // 10 ms, doubling to about a second while nothing but throttles comes.
                let pause = std::time::Duration::from_millis(10 << self.throttles.min(7));
                self.throttles += 1;
                self.pause_until = Some(Instant::now() + pause);
            }
            SendErrorKind::ConnectionFatal => self.unfit = true,
            SendErrorKind::Temporary { .. } => self.fail(),
            _ => self.shared.breaker.success(),
        }
        self.answer(token, Answer::Refused(error));
    }

    fn fail(&mut self) {
        self.tripped |= self.shared.breaker.failure();
    }

    fn answer(&mut self, token: u64, answer: Answer) {
        let Some(in_flight) = self.slots.get(token) else { return };
        let past = in_flight.job.deadline.is_some_and(|at| at <= self.shared.pipeline.now());
        if past && let Answer::Accepted(id) = &answer {
            cancel_sm(&self.sender, &in_flight.job, id);
        }
        in_flight.answers.push((token as u8, answer));
        in_flight.waiting -= 1;
        if in_flight.waiting == 0
            && let Some(InFlight { job, answers, .. }) = self.slots.release(token)
        {
            self.done.push((job, answers));
        }
    }

    fn remember_late(&mut self, token: u64) {
        if self.late.len() >= LATE_MAX {
            self.late.clear();
        }
        if let Some(in_flight) = self.slots.get(token) {
            let m = &in_flight.job.message;
            let late = Late {
                id: m.id,
                part: token as u8,
                attempt: m.attempts,
                phone_tag: m.phone_tag,
                sender: m.sender.clone(),
            };
            self.late.insert(token, late);
        }
    }

    /// An answer came after all: its id lets the receipt find the message.
    fn late_answer(&mut self, token: u64, carrier_id: String) {
        if let Some(late) = self.late.remove(&token) {
            self.shared.pipeline.late(self.shared.index, late, carrier_id);
        }
    }

    fn deliver(&mut self, to: ReplyTo, sm: &DeliverSm, session: &Session) {
        let Some(receipt) = Receipt::of(sm) else {
            let (pipeline, no) = (&self.shared.pipeline, self.shared.pipeline.number(self.shared.index));
            let alphabet = alphabet(&self.shared.settings);
            let inbound = Inbound::of_sm(no, sm, alphabet, pipeline.repeats_until(no));
            pipeline.inbound(inbound, Ack::Session(session.clone(), to));
            return;
        };
        let settings = &self.shared.settings;
        let state = error_code::from_smpp_stat(
            &receipt.stat,
            receipt.err.as_deref().unwrap_or_default(),
            receipt.state.map(carillon_smpp::receipt::State::code),
        );
        let kind = match state {
            _ if receipt.intermediate => ReceiptKind::Interim,
            ReceiptState::Delivered => ReceiptKind::Delivered,
            ReceiptState::Failed(code) => ReceiptKind::Failed { error: code.number() },
            ReceiptState::Interim => ReceiptKind::Interim,
            ReceiptState::Unknown => ReceiptKind::Unknown,
        };
        let failed = matches!(kind, ReceiptKind::Failed { .. } | ReceiptKind::Unknown);
        let carrier_error = failed.then(|| {
            format!("stat:{} err:{}", receipt.stat, receipt.err.as_deref().unwrap_or_default())
                .chars()
                .take(200)
                .collect()
        });
        // A receipt goes back: its source is who the message was for.
        let source = sm.source.text();
        let hot = hot::Receipt {
            connection: self.shared.pipeline.number(self.shared.index),
            carrier_id: convert(rule(settings.receipt_id, settings.message_id), &receipt.id).into_owned(),
            phone_tag: number(&source).map(|phone| (self.shared.tag)(phone)),
            sender: None,
            kind,
            scope: hot::Scope::Part,
            carrier_error,
            reroute: false,
            at: self.shared.clock.now_ms(),
        };
        self.receipts.push((hot, Some((session.clone(), to))));
    }

    /// Reports everything collected in one go.
    fn report(&mut self) {
        if !self.done.is_empty() {
            self.shared.pipeline.answered(self.shared.index, self.done.drain(..));
        }
        if !self.receipts.is_empty() {
            self.shared.pipeline.receipts(self.receipts.drain(..));
        }
    }

    /// The carrier fails every time: others take its messages for a while, then one at a time tries again.
    fn open_breaker(&mut self) {
        self.shared.open_breaker();
        self.pause_until = Some(Instant::now() + BREAKER_PAUSE);
    }
}

/// A one-time code was taken after its deadline: the carrier is asked to drop it (SMPP 3.4 §4.9.1). Its answer changes nothing.
fn cancel_sm(session: &Session, job: &Job, carrier_id: &str) {
    if job.message.lane != Lane::Otp {
        return;
    }
    let destination = job.message.phone.to_string();
    let cancel = CancelSm::<&[u8]> {
        service_type: b"",
        message_id: carrier_id.as_bytes(),
        source: carillon_smpp::pdu::Address {
            ton: 0,
            npi: 0,
            addr: job.message.sender.as_deref().unwrap_or_default().as_bytes(),
        },
        destination: carillon_smpp::pdu::Address { ton: 1, npi: 1, addr: destination.as_bytes() },
    };
    if let Err(error) = session.request(&Pdu::CancelSm(cancel), u64::MAX) {
        tracing::debug!(%error, "a late one-time code could not be canceled: {error}");
    }
}
