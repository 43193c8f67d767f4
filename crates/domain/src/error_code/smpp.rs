//! What SMPP answers and receipts mean to us: one row per `command_status`, one function for receipts.

use super::ErrorCode;

/// What the pipeline does about a submit that did not succeed. Everything hangs on this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The carrier asks for less: slow the connection down (halve its rate) and submit again after a pause, until the
    /// message expires. It does not count against the connection's health.
    Throttled,
    /// May pass: submit again on the same connection after a pause, at most `tries` more times; then fail over, or fail.
    Temporary {
        /// Further submits.
        tries: u8,
    },
    /// This connection will not take it, another may: go on to the route's next; fail if there is none.
    FailOver,
    /// No connection would take it: fail the message now.
    Permanent,
    /// The link itself is unfit (not bound, refused): put the message back unharmed, close the link, alert, and bind
    /// again slowly. It counts as no attempt.
    ConnectionFatal,
    /// The carrier may have taken it (no answer, link lost): never submit again blindly. The hold stays until a receipt
    /// comes or the policy for unknown outcomes decides.
    Unknown,
}

/// A submit that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {carrier}")]
pub struct SendError {
    /// What to do.
    pub kind: SendErrorKind,
    /// What the message fails with if it ends here.
    pub code: ErrorCode,
    /// The carrier's own words, e.g. `smpp 0x58 ESME_RTHROTTLED`; for the history, not for programs.
    pub carrier: String,
}

impl SendError {
    /// The answer did not come (`what` says why): the outcome is unknown.
    pub fn unknown(what: impl Into<String>) -> Self {
        Self { kind: SendErrorKind::Unknown, code: ErrorCode::OutcomeUnknown, carrier: what.into() }
    }
}

impl SendErrorKind {
    /// In words, for the documentation.
    pub(super) fn text(self) -> String {
        match self {
            Self::Throttled => "slow down, try again until expiry".to_owned(),
            Self::Temporary { tries: 1 } => "try once more".to_owned(),
            Self::Temporary { tries } => format!("try {tries} times more"),
            Self::FailOver => "next connection of the route".to_owned(),
            Self::Permanent => "fail".to_owned(),
            Self::ConnectionFatal => "put back, bind again, alert".to_owned(),
            Self::Unknown => "wait for a receipt".to_owned(),
        }
    }
}

/// A row of the table.
pub(super) struct Status {
    pub(super) status: u32,
    pub(super) name: &'static str,
    pub(super) kind: SendErrorKind,
    pub(super) code: ErrorCode,
}

const fn row(status: u32, name: &'static str, kind: SendErrorKind, code: ErrorCode) -> Status {
    Status { status, name, kind, code }
}

/// SMPP 3.4 §5.1.3 and 5.0 §4.7.6, by status.
#[rustfmt::skip]
pub(super) const STATUSES: &[Status] = {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    const ONCE: SendErrorKind = Temporary { tries: 1 };
    const FEW: SendErrorKind = Temporary { tries: 3 };
    &[
        row(0x01, "ESME_RINVMSGLEN", Permanent, E::MessageTooLong),
        row(0x02, "ESME_RINVCMDLEN", Permanent, E::MessageInvalid),
        row(0x03, "ESME_RINVCMDID", Permanent, E::MessageInvalid),
        row(0x04, "ESME_RINVBNDSTS", ConnectionFatal, E::CarrierUnavailable),
        row(0x05, "ESME_RALYBND", ConnectionFatal, E::CarrierUnavailable),
        row(0x06, "ESME_RINVPRTFLG", Permanent, E::MessageInvalid),
        row(0x07, "ESME_RINVREGDLVFLG", Permanent, E::MessageInvalid),
        row(0x08, "ESME_RSYSERR", FEW, E::CarrierError),
        row(0x0A, "ESME_RINVSRCADR", FailOver, E::SenderRejected),
        row(0x0B, "ESME_RINVDSTADR", Permanent, E::InvalidNumber),
        row(0x0D, "ESME_RBINDFAIL", ConnectionFatal, E::CarrierUnavailable),
        row(0x0E, "ESME_RINVPASWD", ConnectionFatal, E::CarrierCredentials),
        row(0x0F, "ESME_RINVSYSID", ConnectionFatal, E::CarrierCredentials),
        row(0x14, "ESME_RMSGQFUL", Throttled, E::CarrierCongested),
        row(0x15, "ESME_RINVSERTYP", FailOver, E::CarrierRejected),
        row(0x33, "ESME_RINVNUMDESTS", Permanent, E::MessageInvalid),
        row(0x34, "ESME_RINVDLNAME", Permanent, E::MessageInvalid),
        row(0x40, "ESME_RINVDESTFLAG", Permanent, E::MessageInvalid),
        row(0x42, "ESME_RINVSUBREP", Permanent, E::MessageInvalid),
        row(0x43, "ESME_RINVESMCLASS", Permanent, E::MessageInvalid),
        row(0x44, "ESME_RCNTSUBDL", Permanent, E::MessageInvalid),
        row(0x45, "ESME_RSUBMITFAIL", ONCE, E::CarrierRejected),
        row(0x48, "ESME_RINVSRCTON", FailOver, E::SenderRejected),
        row(0x49, "ESME_RINVSRCNPI", FailOver, E::SenderRejected),
        row(0x50, "ESME_RINVDSTTON", Permanent, E::InvalidNumber),
        row(0x51, "ESME_RINVDSTNPI", Permanent, E::InvalidNumber),
        row(0x53, "ESME_RINVSYSTYP", FailOver, E::CarrierRejected),
        row(0x54, "ESME_RINVREPFLAG", Permanent, E::MessageInvalid),
        row(0x55, "ESME_RINVNUMMSGS", Permanent, E::MessageInvalid),
        row(0x58, "ESME_RTHROTTLED", Throttled, E::CarrierCongested),
        row(0x61, "ESME_RINVSCHED", Permanent, E::MessageInvalid),
        row(0x62, "ESME_RINVEXPIRY", Permanent, E::MessageInvalid),
        row(0x63, "ESME_RINVDFTMSGID", Permanent, E::MessageInvalid),
        row(0x64, "ESME_RX_T_APPN", FEW, E::CarrierError),
        row(0x65, "ESME_RX_P_APPN", Permanent, E::CarrierRejected),
        row(0x66, "ESME_RX_R_APPN", Permanent, E::CarrierRejected),
        row(0xC0, "ESME_RINVOPTPARSTREAM", Permanent, E::MessageInvalid),
        row(0xC1, "ESME_ROPTPARNOTALLWD", Permanent, E::MessageInvalid),
        row(0xC2, "ESME_RINVPARLEN", Permanent, E::MessageInvalid),
        row(0xC3, "ESME_RMISSINGOPTPARAM", Permanent, E::MessageInvalid),
        row(0xC4, "ESME_RINVOPTPARAMVAL", Permanent, E::MessageInvalid),
        row(0xFE, "ESME_RDELIVERYFAILURE", ONCE, E::CarrierError),
        row(0xFF, "ESME_RUNKNOWNERR", ONCE, E::CarrierError),
        row(0x100, "ESME_RSERTYPUNAUTH", FailOver, E::CarrierRejected),
        row(0x101, "ESME_RPROHIBITED", FailOver, E::BlockedByCarrier),
        row(0x102, "ESME_RSERTYPUNAVAIL", FEW, E::CarrierUnavailable),
        row(0x103, "ESME_RSERTYPDENIED", FailOver, E::CarrierRejected),
        row(0x104, "ESME_RINVDCS", FailOver, E::MessageInvalid),
    ]
};

/// What a `command_status` other than 0 means. One we do not know is a refusal: not tried again.
pub fn from_smpp_status(status: u32) -> SendError {
    match STATUSES.iter().find(|row| row.status == status) {
        Some(row) => SendError { kind: row.kind, code: row.code, carrier: format!("smpp 0x{status:02X} {}", row.name) },
        None => SendError {
            kind: SendErrorKind::Permanent,
            code: ErrorCode::CarrierRejected,
            carrier: format!("smpp 0x{status:02X}"),
        },
    }
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptState {
    /// Not the last word: on its way, accepted, scheduled, or a state we do not know.
    Interim,
    /// On the handset.
    Delivered,
    /// Not delivered and will not be.
    Failed(ErrorCode),
    /// The carrier does not know. Not success; `receipt_unknown` once the wait for a better receipt is over.
    Unknown,
}

/// What a receipt means, from the text's `stat` and `err` and the `message_state` TLV, which counts for more
/// (SMPP 3.4 §5.2.28, 5.0 §4.7.15, Appendix B). A state we do not know is interim, never success.
pub fn from_smpp_stat(stat: &str, err: &str, message_state: Option<u8>) -> ReceiptState {
    match message_state.and_then(|state| from_message_state(state, err)) {
        Some(state) => state,
        None => from_text(stat, err),
    }
}

fn from_message_state(state: u8, err: &str) -> Option<ReceiptState> {
    let name = match state {
        0 => "SCHEDULED",
        1 => "ENROUTE",
        2 => "DELIVRD",
        3 => "EXPIRED",
        4 => "DELETED",
        5 => "UNDELIV",
        6 => "ACCEPTD",
        7 => "UNKNOWN",
        8 => "REJECTD",
        9 => "SKIPPED",
        _ => return None,
    };
    Some(from_text(name, err))
}

/// The seven letters of the specification, and the full words that some carriers write.
fn from_text(stat: &str, err: &str) -> ReceiptState {
    let failed = |otherwise| ReceiptState::Failed(from_err(err).unwrap_or(otherwise));
    match stat.trim().to_ascii_uppercase().as_str() {
        "DELIVRD" | "DELIVERED" => ReceiptState::Delivered,
        "EXPIRED" => ReceiptState::Failed(ErrorCode::Expired),
        "DELETED" => ReceiptState::Failed(ErrorCode::CarrierRejected),
        "UNDELIV" | "UNDELIVERABLE" | "UNDELIVERED" | "FAILED" | "SKIPPED" => failed(ErrorCode::Undeliverable),
        "REJECTD" | "REJECTED" => failed(ErrorCode::CarrierRejected),
        "UNKNOWN" => ReceiptState::Unknown,
        // ENROUTE, ACCEPTD, SCHEDULED, BUFFRED, and whatever else: something better may follow.
        _ => ReceiptState::Interim,
    }
}

/// `err` is the carrier's own by the specification. Many pass the network's error on (MAP, 3GPP TS 29.002 §7.6.1), which
/// is what is read here; the words are those of the sandbox and the simulator.
fn from_err(err: &str) -> Option<ErrorCode> {
    match err.trim().trim_start_matches('0') {
        "1" | "5" => Some(ErrorCode::UnknownSubscriber),
        "6" | "27" => Some(ErrorCode::AbsentSubscriber),
        "9" | "11" | "12" | "BLOCKED" => Some(ErrorCode::BlockedByCarrier),
        "13" | "DND" => Some(ErrorCode::BlockedByRecipient),
        "31" => Some(ErrorCode::HandsetBusy),
        "32" => Some(ErrorCode::HandsetFull),
        "34" => Some(ErrorCode::CarrierError),
        "SPAM" => Some(ErrorCode::ContentFiltered),
        _ => None,
    }
}
