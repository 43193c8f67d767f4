//! Sandbox numbers: each makes the sandbox carrier and the simulator behave in one documented way.

use super::ErrorCode;
use super::catalogue::provoked_by;

/// Start of the block of sandbox numbers, as E.164 digits: +1 500 555 0000. A code's number is this plus its own.
pub const SANDBOX_BASE: u64 = 15_005_550_000;

/// What the carrier does with a message. `stat` and `err` are those of an SMPP receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Accepts and delivers, as it does with every other number.
    Deliver,
    /// Refuses the submit with an SMPP `command_status`: the first `times` times, then delivers; always if none.
    Refuse {
        /// SMPP `command_status`.
        status: u32,
        /// How often.
        times: Option<u8>,
    },
    /// Accepts, then sends this final receipt.
    Receipt {
        /// Receipt `stat`.
        stat: &'static str,
        /// Receipt `err`.
        err: &'static str,
    },
    /// Delivers the first part and sends this receipt for the others (for the only one, if it is one).
    Partial {
        /// Receipt `stat` of the others.
        stat: &'static str,
        /// Receipt `err` of the others.
        err: &'static str,
    },
    /// Never answers the submit, never sends a receipt.
    NoAnswer,
    /// Answers the submit so many milliseconds late, then delivers.
    SlowAnswer {
        /// Milliseconds.
        ms: u32,
    },
    /// Accepts, never sends a receipt.
    NoReceipt,
    /// Accepts, delivers so many milliseconds later.
    Slow {
        /// Milliseconds.
        ms: u32,
    },
    /// Sends the delivery receipt three times.
    DuplicateReceipt,
    /// Sends the delivery receipt before it answers the submit.
    EarlyReceipt,
    /// Sends ENROUTE and ACCEPTD receipts before the final one.
    IntermediateReceipts,
    /// Sends a failure receipt after the delivery receipt, which must not count.
    ContradictoryReceipt,
}

/// Numbers that provoke no code but a behaviour: E.164 digits.
pub(super) const SPECIAL: &[(u64, Sandbox)] = &[
    (SANDBOX_BASE, Sandbox::Deliver),
    (SANDBOX_BASE + 1, Sandbox::Slow { ms: 30_000 }),
    (SANDBOX_BASE + 2, Sandbox::NoReceipt),
    (SANDBOX_BASE + 3, Sandbox::NoAnswer),
    (SANDBOX_BASE + 4, Sandbox::Refuse { status: 0x58, times: Some(2) }),
    (SANDBOX_BASE + 5, Sandbox::DuplicateReceipt),
    (SANDBOX_BASE + 6, Sandbox::EarlyReceipt),
    (SANDBOX_BASE + 7, Sandbox::IntermediateReceipts),
    (SANDBOX_BASE + 8, Sandbox::SlowAnswer { ms: 3_000 }),
    (SANDBOX_BASE + 9, Sandbox::ContradictoryReceipt),
    (SANDBOX_BASE + 10, Sandbox::Refuse { status: 0x08, times: Some(1) }),
];

/// The behaviour of a number (E.164 digits); none for numbers that are simply delivered.
pub fn by_sandbox_number(digits: u64) -> Option<Sandbox> {
    let offset = i16::try_from(digits.checked_sub(SANDBOX_BASE)?).ok()?;
    let special = SPECIAL.iter().find(|(number, _)| *number == digits).map(|(_, sandbox)| *sandbox);
    special.or_else(|| provoked_by(ErrorCode::from_number(offset)?))
}

impl Sandbox {
    /// In words, for the documentation.
    pub fn text(self) -> String {
        match self {
            Self::Deliver => "delivered".to_owned(),
            Self::Refuse { status, times: None } => format!("every submit is refused with 0x{status:02X}"),
            Self::Refuse { status, times: Some(times) } => {
                format!("the first {times} submits are refused with 0x{status:02X}, the next is delivered")
            }
            Self::Receipt { stat, err } => format!("accepted, then a receipt `stat:{stat} err:{err}`"),
            Self::Partial { stat, err } => {
                format!("the first part of several is delivered, the others get a receipt `stat:{stat} err:{err}`")
            }
            Self::NoAnswer => "no answer to the submit, no receipt".to_owned(),
            Self::SlowAnswer { ms } => format!("the submit is answered after {ms} ms, then delivered"),
            Self::NoReceipt => "accepted, never a receipt".to_owned(),
            Self::Slow { ms } => format!("delivered after {ms} ms"),
            Self::DuplicateReceipt => "delivered, the receipt comes three times".to_owned(),
            Self::EarlyReceipt => "the receipt comes before the answer to the submit".to_owned(),
            Self::IntermediateReceipts => "intermediate receipts, then delivered".to_owned(),
            Self::ContradictoryReceipt => "delivered, then a receipt that says the opposite".to_owned(),
        }
    }
}
