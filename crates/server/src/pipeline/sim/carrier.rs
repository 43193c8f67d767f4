//! Carriers that do everything carriers do, and the links to them: what `links::session` does with sockets and time, done with dice.

use std::collections::BTreeMap;

use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_store::hot::{Receipt, ReceiptKind};

use super::laws::Heard;
use super::{Dice, World};
use crate::pipeline::Late;
use crate::pipeline::dispatch::Answer;
use crate::pipeline::queue::Job;

/// One carrier, and the one session to it.
pub(super) struct Carrier {
    pub(super) receipts: bool,
    pub(super) resend: bool,
    pub(super) unknown_wait_ms: i64,
    pub(super) window: i64,
    pub(super) in_doubt: i64,
    /// Out of a hundred submits, those it does not simply take.
    pub(super) hostility: u64,
    pub(super) up: bool,
    /// Which session: what was said in an earlier one is not heard.
    session: u32,
    slots: BTreeMap<u64, InFlight>,
    next_slot: u64,
    unanswered: i64,
    paused_until: u64,
    ids: u64,
}

/// A message whose parts are with the carrier.
struct InFlight {
    job: Box<Job>,
    waiting: usize,
    answers: Vec<(u8, Answer)>,
}

/// What is going to happen.
pub(super) enum Happening {
    Answer {
        carrier: usize,
        session: u32,
        slot: u64,
        part: u8,
        answer: Answer,
    },
    /// An answer after it was given up.
    Late {
        carrier: usize,
        session: u32,
        late: Late,
        carrier_id: String,
    },
    Receipt {
        receipt: Receipt,
    },
    LinkLost {
        carrier: usize,
        session: u32,
    },
    LinkUp {
        carrier: usize,
    },
}

/// How long a carrier may take to answer, milliseconds.
const PATIENCE: u64 = 400;

fn refusal(dice: &mut Dice) -> SendError {
    use SendErrorKind::*;
    let kinds =
        [Throttled, Throttled, Temporary { tries: 2 }, Temporary { tries: 2 }, FailOver, Permanent, ConnectionFatal];
    SendError { kind: dice.pick(&kinds), code: ErrorCode::CarrierError, carrier: "no".into() }
}

impl Carrier {
    pub(super) fn new(dice: &mut Dice, orderly: bool) -> Carrier {
        let window = dice.between(1, 8) as i64;
        Carrier {
            receipts: dice.chance(85),
            resend: dice.chance(60),
            unknown_wait_ms: dice.pick(&[300, 3_000, 30_000]),
            window,
            in_doubt: window * dice.between(1, 4) as i64,
            hostility: if orderly { 0 } else { dice.below(70) },
            up: false,
            session: 0,
            slots: BTreeMap::new(),
            next_slot: 0,
            unanswered: 0,
            paused_until: 0,
            ids: 0,
        }
    }

    /// The process died: nobody listens any more.
    pub(super) fn forget(&mut self) {
        self.slots.clear();
        self.unanswered = 0;
        self.up = false;
        self.session += 1;
        self.paused_until = 0;
    }

    /// A pause is over.
    pub(super) fn rested(&self, now: u64) -> bool {
        self.paused_until > 0 && self.paused_until <= now
    }

    fn id(&mut self, dice: &mut Dice) -> String {
        self.ids += 1;
        if dice.chance(self.hostility / 5) { dice.below(5).to_string() } else { (self.ids + 100).to_string() }
    }
}

impl World {
    /// Pulls and submits while there is room, as a session does.
    pub(super) fn fill(&mut self, c: usize) {
        loop {
            let now = self.now();
            let pipeline = self.pipeline().clone();
            let doubt = pipeline.in_doubt(c);
            let carrier = &mut self.carriers[c];
            assert!(carrier.unanswered <= carrier.window, "the window is a bound");
            assert!(
                doubt <= carrier.in_doubt + 2,
                "doubt is bounded but for the last message's further parts: {doubt}"
            );
            if !carrier.up || carrier.paused_until > now {
                return;
            }
            carrier.paused_until = 0;
            let room = (carrier.window - carrier.unanswered).min(carrier.in_doubt - doubt + pipeline.claimed(c));
            if room <= 0 {
                return;
            }
            let kept = if carrier.window > 1 { (carrier.window / 8).max(1) } else { 0 };
            let (room, otp_only) = if room > kept { (room - kept, false) } else { (room, true) };
            let mut jobs = Vec::new();
            pipeline.pull(c, room, otp_only, &mut jobs);
            if jobs.is_empty() {
                return;
            }
            let mut full = false;
            for job in jobs {
                if full {
                    pipeline.put_back(c, job);
                } else {
                    full = !self.hand_over(c, job);
                }
            }
            if full {
                return;
            }
        }
    }

    /// Submits what fits of one message. Whether all of it did.
    fn hand_over(&mut self, c: usize, job: Box<Job>) -> bool {
        let parts = job.pending();
        assert!(!parts.is_empty(), "a message without parts to send was pulled: {job:?}");
        let free = (self.carriers[c].window - self.carriers[c].unanswered) as usize;
        let sent = parts.len().min(free);
        if sent == 0 {
            self.pipeline().put_back(c, job);
            return false;
        }
        let slot = self.carriers[c].next_slot;
        self.carriers[c].next_slot += 1;
        for part in &parts[..sent] {
            self.submit(c, slot, &job, *part);
        }
        let carrier = "the window was full";
        let later =
            SendError { kind: SendErrorKind::Throttled, code: ErrorCode::CarrierCongested, carrier: carrier.into() };
        let answers = parts[sent..].iter().map(|part| (*part, Answer::Refused(later.clone()))).collect();
        self.carriers[c].unanswered += sent as i64;
        self.carriers[c].slots.insert(slot, InFlight { job, waiting: sent, answers });
        sent == parts.len()
    }

    /// What the carrier does with a part is decided here, and happens later.
    fn submit(&mut self, c: usize, slot: u64, job: &Job, part: u8) {
        let (now, wall) = (self.now(), self.wall());
        self.laws.submitted(job, part, c, now, wall);
        let session = self.carriers[c].session;
        let answer_in = self.dice.between(1, 60);
        let answer = |answer| Happening::Answer { carrier: c, session, slot, part, answer };
        let hostile = self.dice.chance(self.carriers[c].hostility);
        let id = self.carriers[c].id(&mut self.dice);
        if !hostile {
            self.later(answer_in, answer(Answer::Accepted(id.clone())));
            self.report(c, job, id, answer_in);
            return;
        }
        match self.dice.below(10) {
            0..5 => {
                let refused = Answer::Refused(refusal(&mut self.dice));
                self.later(answer_in, answer(refused));
            }
            5..8 => {
                // Silence, though it may have taken it, and may say so yet.
                self.later(PATIENCE, answer(Answer::Refused(SendError::unknown("no answer in time"))));
                match self.dice.below(4) {
                    0 => {
                        let m = &job.message;
                        let sender = m.sender.clone();
                        let late = Late { id: m.id, part, attempt: m.attempts, phone_tag: m.phone_tag, sender };
                        let after = PATIENCE + self.dice.between(1, 2_000);
                        self.later(after, Happening::Late { carrier: c, session, late, carrier_id: id.clone() });
                        self.report(c, job, id, after);
                    }
                    1 => self.report(c, job, id, answer_in),
                    _ => {}
                }
            }
            _ => {
                // The link breaks with the window outstanding; what was to be answered later is not.
                self.later(answer_in * 3, answer(Answer::Accepted(id.clone())));
                let lost_in = self.dice.between(1, 100);
                self.later(lost_in, Happening::LinkLost { carrier: c, session });
                self.report(c, job, id, answer_in);
            }
        }
    }

    /// Receipts for a part that was taken: in an orderly world one, after the answer.
    fn report(&mut self, c: usize, job: &Job, carrier_id: String, answer_in: u64) {
        let hostility = self.carriers[c].hostility;
        if !self.carriers[c].receipts {
            return;
        }
        let failed = ReceiptKind::Failed { error: ErrorCode::AbsentSubscriber.number() };
        let kind = if self.dice.chance(80) { ReceiptKind::Delivered } else { failed };
        let mut kinds = vec![kind];
        let hostile = self.dice.chance(hostility);
        if hostile {
            match self.dice.below(6) {
                0 => kinds.push(kind),
                1 => kinds.push(if kind == failed { ReceiptKind::Delivered } else { failed }),
                2 => kinds.clear(),
                3 => kinds.insert(0, ReceiptKind::Interim),
                4 => kinds.insert(0, ReceiptKind::Unknown),
                _ => kinds.extend([kind, failed]),
            }
        }
        for kind in kinds {
            let early = hostile && self.dice.chance(40);
            let after = if early { self.dice.between(1, answer_in) } else { answer_in + self.dice.between(1, 3_000) };
            let named = !(hostile && self.dice.chance(20));
            let receipt = Receipt {
                reroute: false,
                connection: self.pipeline().number(c),
                carrier_id: carrier_id.clone(),
                phone_tag: named.then_some(job.message.phone_tag),
                sender: None,
                kind,
                scope: Default::default(),
                carrier_error: None,
                at: 0,
            };
            if kind == ReceiptKind::Delivered {
                self.laws.delivered(job.message.id);
            }
            self.later(after, Happening::Receipt { receipt });
        }
    }

    /// Everything whose time has come; what the links heard of it is reported in one go.
    pub(super) fn happen(&mut self) {
        let mut done: Vec<Vec<_>> = self.carriers.iter().map(|_| Vec::new()).collect();
        while let Some(entry) =
            self.future.first_entry().filter(|e| e.key().0 <= self.clock.monotonic().as_millis() as u64)
        {
            match entry.remove() {
                Happening::Answer { carrier, session, slot, part, answer } => {
                    if self.carriers[carrier].session == session {
                        done[carrier].extend(self.answer(carrier, slot, part, answer));
                    }
                }
                Happening::Late { carrier, session, late, carrier_id } => {
                    if self.carriers[carrier].session == session {
                        self.pipeline().late(carrier, late, carrier_id);
                    }
                }
                Happening::Receipt { receipt } => self.deliver(receipt),
                Happening::LinkLost { carrier, session } => {
                    if self.carriers[carrier].session == session {
                        done[carrier].extend(self.lose_link(carrier));
                    }
                }
                Happening::LinkUp { carrier } => {
                    self.carriers[carrier].up = true;
                    self.poked[carrier] = true;
                    self.pipeline().set_bound(carrier, 1);
                }
            }
        }
        for (c, done) in done.into_iter().enumerate().filter(|(_, done)| !done.is_empty()) {
            self.pipeline().answered(c, done);
            self.poked[c] = true;
        }
    }

    fn answer(&mut self, c: usize, slot: u64, part: u8, answer: Answer) -> Vec<(Box<Job>, Vec<(u8, Answer)>)> {
        let now = self.now();
        let carrier = &mut self.carriers[c];
        let Some(entry) = carrier.slots.get_mut(&slot) else { return Vec::new() };
        let heard = match &answer {
            Answer::Accepted(_) => Heard::Accepted,
            Answer::Refused(e) if e.kind == SendErrorKind::Unknown => Heard::Unknown,
            Answer::Refused(_) => Heard::Refused,
        };
        self.laws.heard(entry.job.message.id, part, heard);
        let mut fatal = false;
        if let Answer::Refused(error) = &answer {
            match error.kind {
                SendErrorKind::Throttled => carrier.paused_until = now + self.dice.between(1, 100),
                SendErrorKind::ConnectionFatal => fatal = true,
                _ => {}
            }
        }
        entry.answers.push((part, answer));
        entry.waiting -= 1;
        carrier.unanswered -= 1;
        let mut done = Vec::new();
        if entry.waiting == 0 {
            let InFlight { job, answers, .. } = carrier.slots.remove(&slot).expect("it was there");
            done.push((job, answers));
        }
        if fatal {
            done.extend(self.lose_link(c));
        }
        done
    }

    /// The session ends: what it had not heard it does not know.
    fn lose_link(&mut self, c: usize) -> Vec<(Box<Job>, Vec<(u8, Answer)>)> {
        let carrier = &mut self.carriers[c];
        carrier.up = false;
        carrier.session += 1;
        carrier.unanswered = 0;
        let mut done = Vec::new();
        for (_, InFlight { job, mut answers, .. }) in std::mem::take(&mut carrier.slots) {
            for part in job.pending() {
                if answers.iter().all(|(p, _)| *p != part) {
                    self.laws.heard(job.message.id, part, Heard::Unknown);
                    answers.push((part, Answer::Refused(SendError::unknown("link lost"))));
                }
            }
            done.push((job, answers));
        }
        self.pipeline().set_bound(c, 0);
        let again = self.dice.between(10, 1_000);
        self.later(again, Happening::LinkUp { carrier: c });
        done
    }

    /// A receipt reaches us if the link is up; otherwise the carrier tries again.
    fn deliver(&mut self, mut receipt: Receipt) {
        let c = receipt.connection as usize - 1;
        if !self.carriers[c].up {
            return self.later(250, Happening::Receipt { receipt });
        }
        receipt.at = self.wall();
        self.receive(receipt);
    }
}
