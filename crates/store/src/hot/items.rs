//! What settle is told, and what it answers: carriers' answers, receipts, and decisions of ours.

use std::sync::Arc;

use carillon_domain::id::MessageId;
use carillon_domain::message::State;
use carillon_domain::money::Money;

/// A span by its first message's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpanKey {
    /// Id of its first message.
    pub first: MessageId,
}

/// What became of one submit of one part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartResult {
    /// The carrier took it, under this id.
    Accepted {
        /// The carrier's id, normalised by the connection's rule.
        carrier_id: String,
        /// Whether receipts are to come.
        receipts: bool,
    },
    /// No answer came, and the policy will decide. A receipt that came since the submit and belongs to nobody else is taken for its own.
    Unknown {
        /// When it was handed over, Unix milliseconds.
        submitted_at: i64,
        /// When the policy decides, Unix milliseconds.
        decide_at: i64,
    },
    /// Refused, and to be tried again on the same connection at that time.
    Retry {
        /// When, Unix milliseconds.
        due_at: i64,
        /// Number of the `ErrorCode`.
        error: i16,
        /// In the carrier's own words.
        carrier_error: String,
    },
    /// Refused, and at once on its way to another connection.
    FailOver {
        /// Number of the `ErrorCode`.
        error: i16,
        /// In the carrier's own words.
        carrier_error: String,
    },
    /// Refused for good.
    Refused {
        /// Number of the `ErrorCode`.
        error: i16,
        /// In the carrier's own words.
        carrier_error: String,
    },
}

/// One answer of a carrier, or its absence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Which message.
    pub id: MessageId,
    /// Index of the part.
    pub part: u8,
    /// Which try, from 1.
    pub attempt: u8,
    /// Number of the connection.
    pub connection: i32,
    /// Keyed hash of the number, for finding receipts.
    pub phone_tag: i64,
    /// What it was sent as, for finding receipts of unknown attempts.
    pub sender: Option<Arc<str>>,
    /// When the answer came (or was given up), Unix milliseconds.
    pub at: i64,
    /// Whether the part was claimed before it was handed over; the claim ends with this.
    pub claimed: bool,
    /// Whether it was handed over as an MMS.
    pub mms: bool,
    /// What it was.
    pub result: PartResult,
}

/// What a receipt says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiptKind {
    /// On its way: noted nowhere.
    Interim,
    /// The handset has it.
    Delivered,
    /// The carrier does not know: what comes later counts, and if nothing does, it was not delivered.
    Unknown,
    /// It will not.
    Failed {
        /// Number of the `ErrorCode`.
        error: i16,
    },
}

/// How much of a message a carrier's id names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scope {
    /// One part: carriers that are given parts, and those that answer part by part.
    #[default]
    Part,
    /// All parts that went out together: carriers that are given the whole message.
    Message,
}

/// A delivery report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Number of the connection it came by.
    pub connection: i32,
    /// The carrier's id, normalised by the connection's rule.
    pub carrier_id: String,
    /// Keyed hash of the number it names, if it names one that can be read.
    pub phone_tag: Option<i64>,
    /// The sender it names.
    pub sender: Option<String>,
    /// What it says.
    pub kind: ReceiptKind,
    /// What it says it of.
    pub scope: Scope,
    /// In the carrier's own words.
    pub carrier_error: Option<String>,
    /// Whether a route may take the message to another connection if this says that it failed: then it waits to be routed once more.
    pub reroute: bool,
    /// When it came, Unix milliseconds.
    pub at: i64,
}

impl Outcome {
    pub(crate) fn attempted(&self) -> Attempted {
        Attempted {
            connection: self.connection,
            phone_tag: self.phone_tag,
            id: self.id,
            part: self.part,
            attempt: self.attempt,
        }
    }
}

/// One thing to settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettleItem {
    /// A carrier's answer.
    Outcome(Outcome),
    /// A delivery report.
    Receipt(Receipt),
    /// The message ends before its parts did: canceled, expired, past its deadline, without a route.
    End {
        /// Which.
        id: MessageId,
        /// The state it takes if nothing of it was taken.
        state: State,
        /// Number of the `ErrorCode`.
        error: i16,
        /// Whether its time is up (a one-time code's deadline): parts in doubt end too, and those not confirmed where the carrier's
        /// word is not enough.
        unknown_too: bool,
    },
    /// A part is about to be handed over to a connection that is to get nothing twice. Should the program end before the outcome is known, the
    /// part counts as one of unknown outcome at the next start.
    Claim(Claim),
    /// A claimed part was not handed over after all.
    Unclaim(Attempted),
    /// Its time came.
    Due {
        /// Which.
        id: MessageId,
    },
    /// An attempt of unknown outcome is decided: try again (the message is queued once more), or give up.
    Decide {
        /// Which attempt.
        attempt: Attempted,
        /// Whether to try again; a one-time code never is.
        resend: bool,
        /// Number of the `ErrorCode` when given up.
        error: i16,
    },
    /// No receipt came in all its time.
    Close {
        /// Which.
        id: MessageId,
    },
    /// Somebody who knows it by our id says what became of all of it. Counts only while a carrier has it and has said nothing.
    Reported {
        /// Which.
        id: MessageId,
        /// The number of the `ErrorCode`, if it did not arrive.
        failed: Option<i16>,
    },
}

impl SettleItem {
    /// The message it names; receipts name one by the carrier's id only.
    fn message(&self) -> Option<MessageId> {
        match self {
            SettleItem::Outcome(o) => Some(o.id),
            SettleItem::Claim(claim) => Some(claim.attempt.id),
            SettleItem::Unclaim(attempt) | SettleItem::Decide { attempt, .. } => Some(attempt.id),
            SettleItem::End { id, .. }
            | SettleItem::Due { id }
            | SettleItem::Close { id }
            | SettleItem::Reported { id, .. } => Some(*id),
            SettleItem::Receipt(_) => None,
        }
    }

    /// As `set_aside` keeps it: its message, and all of it for people to read.
    pub(crate) fn told(&self) -> (Option<uuid::Uuid>, String) {
        (self.message().map(|id| id.0), format!("{self:?}"))
    }
}

/// A part about to be handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which, and to which connection.
    pub attempt: Attempted,
    /// What it is sent as.
    pub sender: Option<Arc<str>>,
    /// Whether as an MMS.
    pub mms: bool,
    /// When, Unix milliseconds.
    pub submitted_at: i64,
    /// When the policy decides if no outcome is known, Unix milliseconds.
    pub decide_at: i64,
}

impl Claim {
    /// That nothing was heard of it.
    pub fn unheard(self, at: i64) -> SettleItem {
        let Attempted { connection, phone_tag, id, part, attempt } = self.attempt;
        let result = PartResult::Unknown { submitted_at: self.submitted_at, decide_at: self.decide_at };
        SettleItem::Outcome(Outcome {
            id,
            part,
            attempt,
            connection,
            phone_tag,
            sender: self.sender,
            at,
            claimed: true,
            mms: self.mms,
            result,
        })
    }
}

/// One attempt to hand over one part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempted {
    /// Number of the connection.
    pub connection: i32,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// Which message.
    pub id: MessageId,
    /// Index of the part.
    pub part: u8,
    /// Which try.
    pub attempt: u8,
}

/// What settling an item did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// The message it concerned; `None` for a receipt that found none.
    pub id: Option<MessageId>,
    /// Its state before and after.
    pub states: Option<(State, State)>,
    /// Whether the item changed anything.
    pub changed: bool,
    /// Whether nothing more becomes of the message.
    pub closed: bool,
    /// Whether that is a success, or already is one (`Progress::succeeded`).
    pub succeeded: bool,
    /// Why it failed or is in doubt, after the item.
    pub error: Option<i16>,
    /// What was paid by it.
    pub captured: Money,
    /// What was returned by it.
    pub released: Money,
    /// Whether the receipt waits for its message.
    pub parked: bool,
    /// Whether the outbox has something to tell because of it.
    pub told: bool,
    /// Number of the SMPP credential that is owed a receipt of its end: the row is written.
    pub smpp: Option<u16>,
}
