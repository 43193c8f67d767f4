//! What the simulator does with a message: chance by the configured shares, or a magic number's documented behaviour. Pure but for the random numbers it is handed.

use std::time::Duration;

use carillon_domain::error_code::{Sandbox, by_sandbox_number};
use carillon_smpp::CommandStatus;
use carillon_smpp::content::Part;
use carillon_smpp::receipt::State;
use rand::RngExt;
use smallvec::{SmallVec, smallvec};

use super::dialect::Dialect;

/// How a simulated carrier treats messages to ordinary numbers. Shares are percentages, 0 to 100, drawn for each message on its own.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Submits a bind may make a second before it is throttled; 0 for no limit.
    pub submit_rate: u32,
    /// Before a submit is answered.
    pub response_delay: Duration,
    /// Between the answer and the receipt.
    pub receipt_delay: Duration,
    /// Up to this much more, at random.
    pub receipt_jitter: Duration,
    /// Messages whose receipt says UNDELIV.
    pub failure_percent: f64,
    /// Submits answered with RTHROTTLED.
    pub throttle_percent: f64,
    /// Submits that are taken and never answered.
    pub no_answer_percent: f64,
    /// Whether messages that were never answered have receipts all the same.
    pub no_answer_receipts: bool,
    /// Messages whose receipt is lost.
    pub lost_percent: f64,
    /// Messages whose receipt comes twice.
    pub duplicate_percent: f64,
    /// Messages whose receipt comes before the answer to the submit.
    pub early_percent: f64,
    /// Messages whose receipt comes `late_by` later than it should.
    pub late_percent: f64,
    /// See `late_percent`.
    pub late_by: Duration,
    /// Answers and receipts due at the same moment go out in random order.
    pub out_of_order: bool,
    /// How receipts and message ids are written.
    pub dialect: Dialect,
}

impl Default for Behaviour {
    /// Answers at once, delivers everything a second later.
    fn default() -> Self {
        Self {
            submit_rate: 0,
            response_delay: Duration::ZERO,
            receipt_delay: Duration::from_secs(1),
            receipt_jitter: Duration::ZERO,
            failure_percent: 0.0,
            throttle_percent: 0.0,
            no_answer_percent: 0.0,
            no_answer_receipts: false,
            lost_percent: 0.0,
            duplicate_percent: 0.0,
            early_percent: 0.0,
            late_percent: 0.0,
            late_by: Duration::from_secs(10),
            out_of_order: false,
            dialect: Dialect::Standard,
        }
    }
}

/// What a submit is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accept,
    Refuse(CommandStatus),
    Never,
}

/// One receipt to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) state: State,
    pub(super) err: &'static str,
    /// From the answer on; ignored when `early`.
    pub(super) after: Duration,
    /// Goes out before the answer.
    pub(super) early: bool,
}

/// All that will happen to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) answer: Answer,
    pub(super) answer_after: Duration,
    pub(super) receipts: SmallVec<[Planned; 3]>,
    /// Whether the number's refusals end after some, so that they must be counted.
    pub(super) counted: bool,
}

impl Behaviour {
    /// Decides over a message to `destination` (digits, with or without `+`), which is this part of a longer one, and has been refused so often before.
    pub(super) fn decide(&self, destination: &[u8], part: Option<Part>, refused: u8, rng: &mut impl RngExt) -> Verdict {
        match digits(destination).and_then(by_sandbox_number) {
            None => self.by_chance(rng),
            Some(sandbox) => self.by_number(sandbox, part, refused),
        }
    }

    fn by_chance(&self, rng: &mut impl RngExt) -> Verdict {
        let answer = if chance(rng, self.throttle_percent) {
            Answer::Refuse(CommandStatus::RTHROTTLED)
        } else if chance(rng, self.no_answer_percent) {
            Answer::Never
        } else {
            Answer::Accept
        };
        let mut receipts = SmallVec::new();
        let taken = answer == Answer::Accept || (answer == Answer::Never && self.no_answer_receipts);
        if taken && !chance(rng, self.lost_percent) {
            let mut after = self.receipt_delay;
            if !self.receipt_jitter.is_zero() {
                after += self.receipt_jitter.mul_f64(rng.random::<f64>());
            }
            if chance(rng, self.late_percent) {
                after += self.late_by;
            }
            let failed = chance(rng, self.failure_percent);
            let (state, err) = if failed { (State::Undeliverable, "027") } else { (State::Delivered, "000") };
            let planned = Planned { state, err, after, early: chance(rng, self.early_percent) };
            receipts.push(planned);
            if chance(rng, self.duplicate_percent) {
                receipts.push(planned);
            }
        }
        Verdict { answer, answer_after: self.response_delay, receipts, counted: false }
    }

    fn by_number(&self, sandbox: Sandbox, part: Option<Part>, refused: u8) -> Verdict {
        let planned = |state, err| Planned { state, err, after: self.receipt_delay, early: false };
        let delivered = planned(State::Delivered, "000");
        let mut verdict = Verdict {
            answer: Answer::Accept,
            answer_after: self.response_delay,
            receipts: smallvec![delivered],
            counted: matches!(sandbox, Sandbox::Refuse { times: Some(_), .. }),
        };
        let receipt = |stat, err| planned(State::from_stat(stat).unwrap_or(State::Unknown), err);
        match sandbox {
            Sandbox::Deliver => {}
            Sandbox::Refuse { status, times } if times.is_none_or(|times| refused < times) => {
                verdict.answer = Answer::Refuse(CommandStatus(status));
                verdict.receipts.clear();
            }
            Sandbox::Refuse { .. } => {}
            Sandbox::Receipt { stat, err } => verdict.receipts[0] = receipt(stat, err),
            Sandbox::Partial { stat, err } => {
                if part.is_none_or(|part| part.index != 1) {
                    verdict.receipts[0] = receipt(stat, err);
                }
            }
            Sandbox::NoAnswer => {
                verdict.answer = Answer::Never;
                verdict.receipts.clear();
            }
            Sandbox::SlowAnswer { ms } => verdict.answer_after = Duration::from_millis(ms.into()),
            Sandbox::NoReceipt => verdict.receipts.clear(),
            Sandbox::Slow { ms } => verdict.receipts[0].after = Duration::from_millis(ms.into()),
            Sandbox::DuplicateReceipt => verdict.receipts.extend([delivered; 2]),
            Sandbox::EarlyReceipt => verdict.receipts[0].early = true,
            Sandbox::IntermediateReceipts => {
                let before = |state| Planned { after: self.receipt_delay / 2, ..planned(state, "000") };
                verdict.receipts = smallvec![before(State::Enroute), before(State::Accepted), delivered];
            }
            Sandbox::ContradictoryReceipt => {
                // Far enough behind the first that it comes second even when receipts of a moment are shuffled.
                let later = self.receipt_delay + Duration::from_millis(50);
                verdict.receipts.push(Planned { after: later, ..receipt("UNDELIV", "027") });
            }
        }
        verdict
    }
}

fn chance(rng: &mut impl RngExt, percent: f64) -> bool {
    // No draw where the answer is certain: it keeps the usual case cheap, and its random sequence the same.
    percent > 0.0 && rng.random::<f64>() * 100.0 < percent
}

/// The number that the digits of an address make.
fn digits(address: &[u8]) -> Option<u64> {
    std::str::from_utf8(address.strip_prefix(b"+").unwrap_or(address)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn receipts(verdict: &Verdict) -> String {
        let text = |planned: &Planned| {
            let early = if planned.early { "early " } else { "" };
            format!("{early}{} {} {}", planned.state.stat(), planned.err, planned.after.as_millis())
        };
        verdict.receipts.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn magic_numbers_do_what_is_documented() {
        let behaviour = Behaviour::default();
        let mut rng = StdRng::seed_from_u64(1);
        let (accept, refuse) = (Answer::Accept, |status| Answer::Refuse(CommandStatus(status)));
        let table = [
            ("4915112345678", accept, 0, "DELIVRD 000 1000"),
            ("not a number", accept, 0, "DELIVRD 000 1000"),
            ("15005550000", accept, 0, "DELIVRD 000 1000"),
            ("+15005550000", accept, 0, "DELIVRD 000 1000"),
            ("15005550001", accept, 0, "DELIVRD 000 30000"),
            ("15005550002", accept, 0, ""),
            ("15005550003", Answer::Never, 0, ""),
            ("15005550004", refuse(0x58), 0, ""),
            ("15005550005", accept, 0, "DELIVRD 000 1000, DELIVRD 000 1000, DELIVRD 000 1000"),
            ("15005550006", accept, 0, "early DELIVRD 000 1000"),
            ("15005550007", accept, 0, "ENROUTE 000 500, ACCEPTD 000 500, DELIVRD 000 1000"),
            ("15005550008", accept, 3000, "DELIVRD 000 1000"),
            ("15005550009", accept, 0, "DELIVRD 000 1000, UNDELIV 027 1050"),
            ("15005550101", refuse(0x0B), 0, ""),
            ("15005550102", accept, 0, "UNDELIV 001 1000"),
            ("15005550203", accept, 0, "REJECTD SPAM 1000"),
            ("15005550501", accept, 0, "EXPIRED 000 1000"),
        ];
        for (number, answer, answer_after, planned) in table {
            let verdict = behaviour.decide(number.as_bytes(), None, 0, &mut rng);
            let found = (verdict.answer, verdict.answer_after.as_millis(), receipts(&verdict));
            assert_eq!(found, (answer, answer_after, planned.to_owned()), "{number}");
        }
        let twice = [0, 1, 2].map(|refused| behaviour.decide(b"15005550004", None, refused, &mut rng).answer);
        assert_eq!(twice, [refuse(0x58), refuse(0x58), accept]);
        let parts = [1, 2].map(|index| {
            let part = Part { reference: 9, total: 2, index };
            receipts(&behaviour.decide(b"15005550604", Some(part), 0, &mut rng))
        });
        assert_eq!(parts, ["DELIVRD 000 1000", "UNDELIV 027 1000"]);
    }

    #[test]
    fn shares_are_kept() {
        let behaviour = Behaviour {
            throttle_percent: 10.0,
            no_answer_percent: 10.0,
            failure_percent: 50.0,
            lost_percent: 20.0,
            duplicate_percent: 5.0,
            ..Behaviour::default()
        };
        let mut rng = StdRng::seed_from_u64(7);
        let mut seen = [0; 5];
        for _ in 0..10_000 {
            let verdict = behaviour.decide(b"4915112345678", None, 0, &mut rng);
            seen[0] += u32::from(verdict.answer == Answer::Refuse(CommandStatus::RTHROTTLED));
            seen[1] += u32::from(verdict.answer == Answer::Never);
            seen[2] += u32::from(verdict.answer == Answer::Accept && verdict.receipts.is_empty());
            seen[3] += u32::from(verdict.receipts.first().is_some_and(|r| r.state == State::Undeliverable));
            seen[4] += u32::from(verdict.receipts.len() == 2);
        }
        for (seen, wanted) in seen.into_iter().zip([1000, 900, 1620, 3240, 324]) {
            assert!(seen.abs_diff(wanted) < wanted / 5, "{seen}, not about {wanted}");
        }
    }
}
