//! The entries of the catalogue, and the page of documentation they make.

use std::fmt::Write;

use super::ErrorCode;
use super::sandbox::{SPECIAL, Sandbox, by_sandbox_number};
use super::smpp::STATUSES;

/// What we say of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The code.
    pub code: ErrorCode,
    /// Its name in the API.
    pub name: &'static str,
    /// A few words for a list.
    pub title: &'static str,
    /// What happened.
    pub explanation: &'static str,
    /// What the sender can do.
    pub action: &'static str,
    /// Whether we tried again before giving up.
    pub retried: Retried,
}

/// Whether we tried again before a message failed with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It would have made no difference, or could have sent twice.
    No,
    /// Another connection was tried if the route has one.
    OtherConnection,
    /// A few times on the same connection.
    FewTimes,
    /// With growing pauses until the validity period (or the OTP deadline) ended.
    UntilExpiry,
    /// By the carrier, over hours.
    ByCarrier,
}

impl Retried {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OtherConnection => "on the route's other connections",
            Self::FewTimes => "a few times",
            Self::UntilExpiry => "until time was up",
            Self::ByCarrier => "by the carrier",
        }
    }
}

const fn entry(
    code: ErrorCode,
    name: &'static str,
    retried: Retried,
    title: &'static str,
    explanation: &'static str,
    action: &'static str,
) -> Entry {
    Entry { code, name, title, explanation, action, retried }
}

/// All codes, in order of number.
#[rustfmt::skip]
pub const CATALOGUE: &[Entry] = &[
    entry(ErrorCode::InvalidNumber, "invalid_number", Retried::No, "Invalid number",
        "The carrier says that the destination is no valid number.",
        "Check the number with the recipient; remove it from your lists."),
    entry(ErrorCode::UnknownSubscriber, "unknown_subscriber", Retried::No, "Number not in service",
        "The number is well formed, but nobody has it (any more).",
        "Remove the number from your lists."),
    entry(ErrorCode::AbsentSubscriber, "absent_subscriber", Retried::ByCarrier, "Handset off or out of reach",
        "The handset did not answer the network while the carrier kept trying.",
        "Send again later, or allow a longer validity period."),
    entry(ErrorCode::HandsetBusy, "handset_busy", Retried::ByCarrier, "Handset busy",
        "The handset was busy with other messages whenever the carrier tried.",
        "Send again in some minutes."),
    entry(ErrorCode::HandsetFull, "handset_full", Retried::ByCarrier, "Handset full",
        "The handset has no room for another message.",
        "Send again later; the recipient must delete messages first."),
    entry(ErrorCode::Undeliverable, "undeliverable", Retried::ByCarrier, "Not delivered",
        "The carrier could not deliver the message and did not say why.",
        "Send once more; if it fails again, check the number with the recipient."),
    entry(ErrorCode::NotMobile, "not_mobile", Retried::No, "Not a mobile number",
        "The number belongs to a landline or to a line that takes no text messages.",
        "Ask the recipient for a mobile number."),
    entry(ErrorCode::BlockedByCarrier, "blocked_by_carrier", Retried::OtherConnection, "Blocked by the carrier",
        "The carrier does not carry messages to this number from you: barred, unpaid, on a do-not-disturb list or not allowed for your service.",
        "Ask your operator which rules the carrier applies in this country."),
    entry(ErrorCode::BlockedByRecipient, "blocked_by_recipient", Retried::No, "Blocked by the recipient",
        "The recipient has barred messages, or messages of this kind.",
        "Do not write to this number again unless the recipient asks for it."),
    entry(ErrorCode::ContentFiltered, "content_filtered", Retried::No, "Content filtered",
        "A filter of the carrier took the text for spam or for something its rules forbid.",
        "Change the text (links, shorteners, capitals, missing registered template) before you send again."),
    entry(ErrorCode::Suppressed, "suppressed", Retried::No, "On the suppression list",
        "The number was put on the suppression list after the message was accepted: its owner opted out, or it must not be written to. Nothing was charged.",
        "Do not write to it. `GET /v1/suppressions?phone=` says why and since when."),
    entry(ErrorCode::NoConsent, "no_consent", Retried::No, "No consent",
        "The account's promotional messages need the recipient's consent, and it was taken back, or is not confirmed. Nothing was charged.",
        "Do not write to it. `GET /v1/consents?phone=` says what is recorded."),
    entry(ErrorCode::SenderRejected, "sender_rejected", Retried::OtherConnection, "Sender not accepted",
        "The carrier does not accept this sender for this destination.",
        "Use another sender, or have this one registered for the country."),
    entry(ErrorCode::MessageInvalid, "message_invalid", Retried::No, "Message not accepted",
        "The carrier found the message malformed: its type, times, parameters or encoding.",
        "Report it to your operator with the message id; the same message will fail again."),
    entry(ErrorCode::MessageTooLong, "message_too_long", Retried::No, "Message too long",
        "The carrier does not take a message or part of this length.",
        "Shorten the text."),
    entry(ErrorCode::TemplateUnknown, "template_unknown", Retried::OtherConnection, "No registered template",
        "The country takes registered texts only, and this text fits none of the templates set up for the connection.",
        "Write the text exactly as registered, or have it registered and ask your operator to add the template."),
    entry(ErrorCode::Unsupported, "unsupported", Retried::OtherConnection, "Not supported by the carrier",
        "The carrier cannot carry a message of this kind: flash, binary, or with media.",
        "Send it as plain text, or ask your operator for a route that carries this kind."),
    entry(ErrorCode::CarrierRejected, "carrier_rejected", Retried::No, "Rejected by the carrier",
        "The carrier refused or deleted the message and gave no reason that we know.",
        "Look at the carrier's own code in the message's history; ask your operator."),
    entry(ErrorCode::CarrierCongested, "carrier_congested", Retried::UntilExpiry, "Carrier congested",
        "The carrier kept answering that it is busy (throttled, queue full) until the message expired.",
        "Send again later, spread over more time, or with a longer validity period."),
    entry(ErrorCode::CarrierUnavailable, "carrier_unavailable", Retried::UntilExpiry, "Carrier not reachable",
        "There was no working connection to the carrier while the message was valid.",
        "Send again later; operators see the state of connections in the console."),
    entry(ErrorCode::CarrierError, "carrier_error", Retried::FewTimes, "Carrier's internal error",
        "The carrier answered with an error of its own each time.",
        "Send again later."),
    entry(ErrorCode::CarrierCredentials, "carrier_credentials", Retried::OtherConnection, "Carrier refused our credentials",
        "The carrier did not accept the user name or password of the connection.",
        "The operator must correct the connection's settings."),
    entry(ErrorCode::NoRoute, "no_route", Retried::No, "No route",
        "No connection is set up for this destination.",
        "Ask your operator to open the country or operator; nothing was charged."),
    entry(ErrorCode::CarrierAccount, "carrier_account", Retried::OtherConnection, "Carrier account not in order",
        "The connection's account at the carrier has no credit left, is suspended, or is not enabled for this service.",
        "The operator must put the account at the carrier in order; nothing was charged."),
    entry(ErrorCode::Expired, "expired", Retried::UntilExpiry, "Expired",
        "The validity period ended before the message was delivered.",
        "Send again if it is still of use, or allow a longer validity period."),
    entry(ErrorCode::Canceled, "canceled", Retried::No, "Canceled",
        "The message was canceled before it went to a carrier.",
        "Nothing; it was canceled on request."),
    entry(ErrorCode::OtpDeadline, "otp_deadline", Retried::UntilExpiry, "One-time code too late",
        "No carrier accepted the one-time code within the deadline. It is not sent later.",
        "Let the user ask for a new code."),
    entry(ErrorCode::QuietHours, "quiet_hours", Retried::UntilExpiry, "Held back in quiet hours",
        "Its turn came in hours in which promotional messages may not go to the recipient's country. It waits for their end.",
        "Nothing: it is sent when they end. Send earlier in the day, or faster, if that is too late."),
    entry(ErrorCode::OutcomeUnknown, "outcome_unknown", Retried::No, "Outcome unknown",
        "The carrier did not say whether it took the message, and no receipt came. It may have been delivered.",
        "Send again only if a second copy does no harm."),
    entry(ErrorCode::OtpOutcomeUnknown, "otp_outcome_unknown", Retried::No, "One-time code: outcome unknown",
        "At the deadline the carrier had not said whether it took the one-time code. It may still arrive.",
        "Let the user try the code if it arrives, or ask for a new one."),
    entry(ErrorCode::ReceiptUnknown, "receipt_unknown", Retried::No, "Carrier does not know",
        "The carrier's last report says that it does not know what became of the message.",
        "Treat it as not delivered; send again if a second copy does no harm."),
    entry(ErrorCode::PartiallyDelivered, "partially_delivered", Retried::ByCarrier, "Delivered in part",
        "Some parts of a long message were delivered, others failed. Only the delivered parts are charged.",
        "Send again if the recipient needs the whole; shorter texts are safer."),
    entry(ErrorCode::AccountSuspended, "account_suspended", Retried::No, "Account suspended",
        "The account was suspended while the message waited.",
        "Contact your operator."),
    entry(ErrorCode::Internal, "internal", Retried::No, "Internal error",
        "Carillon failed to handle the message. The operator has been alerted; nothing was charged.",
        "Send again; if it persists, report it with the message id."),
];

/// `docs/ERROR_CODES.md`.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    for entry in CATALOGUE {
        writeln!(
            page,
            "\n### `{}` ({})\n\n**{}.** {}\n",
            entry.name,
            entry.code.number(),
            entry.title,
            entry.explanation
        )
        .and_then(|()| writeln!(page, "- What to do: {}", entry.action))
        .and_then(|()| writeln!(page, "- Tried again: {}.", entry.retried.text()))
        .expect("writing to a string does not fail");
        let number = super::SANDBOX_BASE + entry.code.number().unsigned_abs() as u64;
        if let Some(sandbox) = by_sandbox_number(number) {
            writeln!(page, "- Sandbox: `+{number}`: {}.{}", sandbox.text(), otp_note(entry.code))
                .expect("writing to a string does not fail");
        }
    }
    page.push_str(SPECIAL_HEAD);
    for (digits, sandbox) in SPECIAL {
        writeln!(page, "| `+{digits}` | {} |", sandbox.text()).expect("writing to a string does not fail");
    }
    page.push_str(SMPP_HEAD);
    for status in STATUSES {
        let (name, code) = (status.name, status.code.name());
        writeln!(page, "| `0x{:02X}` | `{name}` | {} | `{code}` |", status.status, status.kind.text())
            .expect("writing to a string does not fail");
    }
    page
}

fn otp_note(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::OtpDeadline | ErrorCode::OtpOutcomeUnknown => " Send it with `otp: true`.",
        _ => "",
    }
}

const HEAD: &str = "# Why a message failed

<!-- Rendered from crates/domain/src/error_code; change it there, then run the tests with UPDATE=1. -->

A message that ends as `failed`, `undelivered`, `expired`, `rejected` or `canceled` carries one of these codes. Programs
should act on the name; the number is how it is stored and never changes. What the carrier itself said stands in the
message's history.

With the sandbox connection, the number beside a code provokes it. The block +1 500 555 0xxx (area code 500, no
handsets there) passes strict validation; every other number is delivered after a moment.

## Codes
";

const SPECIAL_HEAD: &str = "
## Sandbox numbers for other behaviour

| number | what the carrier does |
|---|---|
";

const SMPP_HEAD: &str = "
## SMPP answers

What `command_status` of a `submit_sm_resp` leads to. A status that is not listed is taken for a refusal by the carrier
(`carrier_rejected`), not tried again, and logged.

| status | name | what is done | code, if it ends there |
|---|---|---|---|
";

/// The sandbox behaviour that provokes a code, where a carrier can.
pub(super) const fn provoked_by(code: ErrorCode) -> Option<Sandbox> {
    const fn refuse(status: u32) -> Option<Sandbox> {
        Some(Sandbox::Refuse { status, times: None })
    }
    const fn receipt(stat: &'static str, err: &'static str) -> Option<Sandbox> {
        Some(Sandbox::Receipt { stat, err })
    }
    match code {
        ErrorCode::InvalidNumber => refuse(0x0B),
        ErrorCode::UnknownSubscriber => receipt("UNDELIV", "001"),
        ErrorCode::AbsentSubscriber => receipt("UNDELIV", "027"),
        ErrorCode::HandsetBusy => receipt("UNDELIV", "031"),
        ErrorCode::HandsetFull => receipt("UNDELIV", "032"),
        ErrorCode::Undeliverable => receipt("UNDELIV", "000"),
        ErrorCode::BlockedByCarrier => refuse(0x101),
        ErrorCode::BlockedByRecipient => receipt("UNDELIV", "013"),
        ErrorCode::ContentFiltered => receipt("REJECTD", "SPAM"),
        ErrorCode::SenderRejected => refuse(0x0A),
        ErrorCode::MessageInvalid => refuse(0x43),
        ErrorCode::MessageTooLong => refuse(0x01),
        ErrorCode::CarrierRejected => receipt("REJECTD", "000"),
        ErrorCode::CarrierCongested | ErrorCode::OtpDeadline => refuse(0x58),
        ErrorCode::CarrierUnavailable => refuse(0x102),
        ErrorCode::CarrierError => refuse(0x08),
        ErrorCode::Expired => receipt("EXPIRED", "000"),
        ErrorCode::OutcomeUnknown | ErrorCode::OtpOutcomeUnknown => Some(Sandbox::NoAnswer),
        ErrorCode::ReceiptUnknown => receipt("UNKNOWN", "000"),
        ErrorCode::PartiallyDelivered => Some(Sandbox::Partial { stat: "UNDELIV", err: "027" }),
        ErrorCode::NotMobile
        | ErrorCode::TemplateUnknown
        | ErrorCode::Unsupported
        | ErrorCode::CarrierCredentials
        | ErrorCode::CarrierAccount
        | ErrorCode::NoRoute
        | ErrorCode::Suppressed
        | ErrorCode::QuietHours
        | ErrorCode::NoConsent
        | ErrorCode::Canceled
        | ErrorCode::AccountSuspended
        | ErrorCode::Internal => None,
    }
}
