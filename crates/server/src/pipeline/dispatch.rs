//! What a carrier's answers mean for a message: settled, offered again, handed to another connection, or given up.
//!
//! Policy hangs on the kind of the error alone (`domain::error_code::SendErrorKind`) and on what else the message could try. The function
//! is pure; `Pipeline` carries out what it says.

use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::media::Carries;
use carillon_domain::message::{Flags, Lane, PartState, Parts};
use carillon_domain::phone::Phone;
use carillon_domain::quiet;
use carillon_domain::retry::{Next, RetryPolicy};
use carillon_store::hot::{Outcome, PartResult, QueuedMessage, SettleItem};

use super::queue::Job;

/// What a carrier said to one part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It took it, under this id.
    Accepted(String),
    /// It refused it, or never answered.
    Refused(SendError),
}

/// What is known of the connection that was tried.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Its number in the store.
    pub no: i32,
    /// Whether it reports deliveries.
    pub receipts: bool,
    /// How long an unknown outcome may stay so, milliseconds.
    pub unknown_wait_ms: i64,
    /// Submits of one message on it at most.
    pub attempts_max: u16,
    /// Whether it is to get nothing twice: each part is claimed, durably, before it is handed over.
    pub claims: bool,
    /// What files it takes with a message.
    pub carries: Carries,
}

impl Tried {
    /// Whether a message goes by it as an MMS.
    pub fn takes_as_mms(&self, message: &QueuedMessage) -> bool {
        message.mms.as_ref().is_some_and(|mms| self.carries.all(mms))
    }
}

/// What becomes of a job once all parts that were submitted are answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves memory with the commit of its items.
    Leaves,
    /// It is offered again on the same connection after so many milliseconds.
    Again {
        /// Milliseconds.
        after_ms: u64,
    },
    /// It goes back to the front: the link was unfit.
    PutBack,
    /// It goes to another connection at once.
    FailOver,
}

/// The circumstances of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Unix milliseconds.
    pub now_ms: i64,
    /// Monotonic milliseconds, for deadlines.
    pub now: u64,
    /// Whether a connection that has not refused it is left.
    pub another: bool,
    /// Any 32 random bits.
    pub random: u32,
}

fn item(job: &Job, part: u8, tried: &Tried, at: i64, result: PartResult) -> SettleItem {
    SettleItem::Outcome(Outcome {
        id: job.message.id,
        part,
        attempt: job.message.attempts,
        connection: tried.no,
        phone_tag: job.message.phone_tag,
        sender: job.message.sender.clone(),
        at,
        claimed: tried.claims,
        mms: tried.takes_as_mms(&job.message),
        result,
    })
}

fn set(job: &mut Job, part: u8, state: PartState) {
    match &mut job.message.parts {
        Parts::One(one) => *one = state,
        Parts::Many(many) => {
            if let Some(slot) = many.get_mut(usize::from(part)) {
                *slot = state;
            }
        }
    }
}

/// Decides about a job whose submitted parts all have their answers. `answers` are those of this round; items to settle are appended.
pub fn decide(
    job: &mut Job,
    answers: &[(u8, Answer)],
    tried: &Tried,
    policy: &RetryPolicy,
    c: Circumstances,
    items: &mut Vec<SettleItem>,
) -> Fate {
    let mut worst: Option<&SendError> = None;
    for (part, answer) in answers {
        match answer {
            Answer::Accepted(carrier_id) => {
                set(job, *part, PartState::Accepted);
                let result = PartResult::Accepted { carrier_id: carrier_id.clone(), receipts: tried.receipts };
                items.push(item(job, *part, tried, c.now_ms, result));
            }
            Answer::Refused(e) if e.kind == SendErrorKind::Unknown => {
                set(job, *part, PartState::Unknown);
                let decide_at = c.now_ms + tried.unknown_wait_ms;
                items.push(item(
                    job,
                    *part,
                    tried,
                    c.now_ms,
                    PartResult::Unknown { submitted_at: job.pulled_at, decide_at },
                ));
            }
            Answer::Refused(e) => {
                if worst.is_none_or(|w| severity(e.kind) > severity(w.kind)) {
                    worst = Some(e);
                }
            }
        }
    }
    let Some(error) = worst else { return Fate::Leaves };
    let past_deadline = job.deadline.is_some_and(|at| at <= c.now);
    if past_deadline {
        // The deadline's own End settles it; a refusal now changes nothing.
        return refuse(job, ErrorCode::OtpDeadline, error, tried, c.now_ms, items);
    }
    let none_taken = job.message.parts.as_slice().iter().all(|p| *p == PartState::Pending);
    match error.kind {
        SendErrorKind::ConnectionFatal => Fate::PutBack,
        SendErrorKind::Throttled => {
            job.throttled += 1;
            // Doubling from 100 ms to 5 s, less up to half of it by chance.
            let step = 100u64 << job.throttled.saturating_sub(1).min(6);
            let after_ms = step.min(5_000) - step.min(5_000) / 2 * u64::from(c.random >> 16) / 65_536;
            Fate::Again { after_ms }
        }
        kind => {
            let another = c.another && none_taken;
            let spent = u16::from(job.message.attempts);
            let mut next = policy.next(kind, spent, c.now_ms, job.message.expires_at, another, c.random);
            if spent >= tried.attempts_max && matches!(next, Next::RetryAt(_)) {
                next = if another { Next::FailOver } else { Next::Fail };
            }
            match next {
                // A one-time code has seconds: it goes elsewhere, or is offered again in memory.
                Next::RetryAt(_) if job.message.lane == Lane::Otp && another => {
                    fail_over(job, error, tried, c.now_ms, items)
                }
                Next::RetryAt(_) if job.message.lane == Lane::Otp => Fate::Again { after_ms: 200 },
                Next::RetryAt(at) => {
                    let due_at = considerate(&job.message, at);
                    for part in job.pending() {
                        let result = PartResult::Retry {
                            due_at,
                            error: error.code.number(),
                            carrier_error: error.carrier.clone(),
                        };
                        items.push(item(job, part, tried, c.now_ms, result));
                    }
                    Fate::Leaves
                }
                Next::FailOver => fail_over(job, error, tried, c.now_ms, items),
                Next::Fail => refuse(job, error.code, error, tried, c.now_ms, items),
            }
        }
    }
}

/// When a message may be tried that is to be tried at that time (Unix milliseconds): later, if quiet hours hold it back.
pub(super) fn considerate(m: &QueuedMessage, at: i64) -> i64 {
    if !m.flags.has(Flags::QUIET) {
        return at;
    }
    let phone = Phone::from_digits(m.phone).expect("only parsed numbers are stored");
    let country = phone.country();
    quiet::next(at, quiet::zones(phone, country), quiet::customary(phone, country)).unwrap_or(at)
}

fn fail_over(job: &mut Job, error: &SendError, tried: &Tried, now_ms: i64, items: &mut Vec<SettleItem>) -> Fate {
    job.tried.push(tried.no);
    for part in job.pending().into_iter().take(1) {
        let result = PartResult::FailOver { error: error.code.number(), carrier_error: error.carrier.clone() };
        items.push(item(job, part, tried, now_ms, result));
    }
    Fate::FailOver
}

fn refuse(
    job: &mut Job,
    code: ErrorCode,
    error: &SendError,
    tried: &Tried,
    now_ms: i64,
    items: &mut Vec<SettleItem>,
) -> Fate {
    for part in job.pending() {
        let result = PartResult::Refused { error: code.number(), carrier_error: error.carrier.clone() };
        items.push(item(job, part, tried, now_ms, result));
        set(job, part, PartState::Refused);
    }
    Fate::Leaves
}

/// Of several refusals of one message's parts, the one that decides.
fn severity(kind: SendErrorKind) -> u8 {
    match kind {
        SendErrorKind::Unknown => 0,
        SendErrorKind::Throttled => 1,
        SendErrorKind::ConnectionFatal => 2,
        SendErrorKind::Temporary { .. } => 3,
        SendErrorKind::FailOver => 4,
        SendErrorKind::Permanent => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::queue::tests::job;

    fn refused(kind: SendErrorKind) -> Answer {
        Answer::Refused(SendError { kind, code: ErrorCode::CarrierError, carrier: "smpp 0x08".into() })
    }

    #[test]
    fn what_becomes_of_a_message_by_its_carriers_answers() {
        use SendErrorKind::*;
        let ok = || Answer::Accepted("1".into());
        // lane, attempts, answers, another connection left, deadline -> fate, what is settled
        #[rustfmt::skip]
        let rows: Vec<(Lane, u8, Vec<Answer>, bool, Option<u64>, Fate, &str)> = vec![
            (Lane::Normal, 1, vec![ok()], true, None, Fate::Leaves, "accepted"),
            (Lane::Normal, 1, vec![refused(Unknown)], true, None, Fate::Leaves, "unknown"),
            (Lane::Normal, 1, vec![refused(Permanent)], true, None, Fate::Leaves, "refused"),
            (Lane::Normal, 1, vec![refused(FailOver)], true, None, Fate::FailOver, "failover"),
            (Lane::Normal, 1, vec![refused(FailOver)], false, None, Fate::Leaves, "refused"),
            (Lane::Normal, 1, vec![refused(Temporary { tries: 3 })], true, None, Fate::Leaves, "retry"),
            (Lane::Normal, 4, vec![refused(Temporary { tries: 3 })], true, None, Fate::FailOver, "failover"),
            (Lane::Normal, 1, vec![refused(Throttled)], true, None, Fate::Again { after_ms: 100 }, ""),
            (Lane::Normal, 1, vec![refused(ConnectionFatal)], true, None, Fate::PutBack, ""),
            (Lane::Otp, 1, vec![refused(Temporary { tries: 3 })], true, Some(900), Fate::FailOver, "failover"),
            (Lane::Otp, 1, vec![refused(Temporary { tries: 3 })], false, Some(900), Fate::Again { after_ms: 200 }, ""),
            (Lane::Otp, 1, vec![refused(Throttled)], false, Some(500), Fate::Leaves, "refused"),
            (Lane::Normal, 1, vec![ok(), ok()], true, None, Fate::Leaves, "accepted accepted"),
            (Lane::Normal, 1, vec![ok(), refused(FailOver)], true, None, Fate::Leaves, "accepted refused"),
            (Lane::Normal, 1, vec![ok(), refused(Temporary { tries: 3 })], true, None, Fate::Leaves, "accepted retry"),
            (Lane::Normal, 1, vec![refused(Throttled), refused(Permanent)], true, None, Fate::Leaves, "refused refused"),
            (Lane::Normal, 1, vec![refused(FailOver), refused(FailOver)], true, None, Fate::FailOver, "failover"),
            (Lane::Normal, 1, vec![ok(), refused(Throttled)], true, None, Fate::Again { after_ms: 100 }, "accepted"),
        ];
        let carries = Carries::NOTHING;
        let tried = Tried { no: 1, receipts: true, unknown_wait_ms: 60_000, attempts_max: 7, claims: false, carries };
        let policy = RetryPolicy { first_ms: 1_000, factor: 3, max_ms: 9_000, retries_max: 6 };
        for (i, (lane, attempts, answers, another, deadline, fate, settled)) in rows.into_iter().enumerate() {
            let mut job = job(1, lane, 1, answers.len() as u8, 1);
            job.message.attempts = attempts;
            job.deadline = deadline;
            let answers: Vec<(u8, Answer)> = answers.into_iter().enumerate().map(|(p, a)| (p as u8, a)).collect();
            let mut items = Vec::new();
            let c = Circumstances { now_ms: 0, now: 500, another, random: 0 };
            assert_eq!(decide(&mut job, &answers, &tried, &policy, c, &mut items), fate, "row {i}");
            let names: Vec<&str> = items
                .iter()
                .map(|item| match item {
                    SettleItem::Outcome(Outcome { result, .. }) => match result {
                        PartResult::Accepted { .. } => "accepted",
                        PartResult::Unknown { .. } => "unknown",
                        PartResult::Retry { .. } => "retry",
                        PartResult::FailOver { .. } => "failover",
                        PartResult::Refused { .. } => "refused",
                    },
                    _ => "something else",
                })
                .collect();
            assert_eq!(names.join(" "), settled, "row {i}");
        }
    }
}
