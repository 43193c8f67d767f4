//! The one table of what a customer is answered: every refusal and its `command_status`. docs/SMPP.md shows it; a test compares.

use carillon_smpp::CommandStatus;

use crate::pipeline::SubmitError;
use crate::pipeline::prepare::Mistake;

/// The balance does not cover the message. Vendors' statuses begin at 0x400 (SMPP 3.4 §5.1.3).
pub(super) const INSUFFICIENT_CREDIT: CommandStatus = CommandStatus(0x401);
/// The recipient does not want messages.
pub(super) const SUPPRESSED: CommandStatus = CommandStatus(0x402);
/// The account is suspended: it may bind and be told, not send.
pub(super) const SUSPENDED: CommandStatus = CommandStatus(0x403);

/// A message that cannot be taken as it is: which field, which code.
pub(super) fn of_mistake(mistake: &Mistake) -> CommandStatus {
    match (mistake.field, mistake.code) {
        (_, "suppressed" | "no_consent" | "recipient_suppressed" | "opted_out") => SUPPRESSED,
        ("to", _) => CommandStatus::RINVDSTADR,
        ("from", _) => CommandStatus::RINVSRCADR,
        ("scheduled_at", _) => CommandStatus::RINVSCHED,
        ("validity_s", _) => CommandStatus::RINVEXPIRY,
        ("text" | "data", "too_long" | "too_short") => CommandStatus::RINVMSGLEN,
        _ => CommandStatus::RSUBMITFAIL,
    }
}

/// A request that was not decided: nothing was stored.
pub(super) fn of_submit_error(error: &SubmitError) -> CommandStatus {
    match error {
        SubmitError::Busy => CommandStatus::RMSGQFUL,
        SubmitError::Suppressed | SubmitError::NoConsent => SUPPRESSED,
        SubmitError::Unavailable(_) | SubmitError::Poisoned => CommandStatus::RSYSERR,
    }
}

/// A recipient of a batch that was not taken.
pub(super) fn of_refusal(code: &str) -> CommandStatus {
    match code {
        "insufficient_credit" => INSUFFICIENT_CREDIT,
        "suppressed" | "recipient_suppressed" | "opted_out" => SUPPRESSED,
        _ => CommandStatus::RSUBMITFAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_and_their_statuses() {
        let rows = [
            ("to", "phone_too_short", CommandStatus::RINVDSTADR),
            ("from", "sender_too_long", CommandStatus::RINVSRCADR),
            ("text", "too_long", CommandStatus::RINVMSGLEN),
            ("text", "too_short", CommandStatus::RINVMSGLEN),
            ("data", "too_long", CommandStatus::RINVMSGLEN),
            ("text", "invalid_value", CommandStatus::RSUBMITFAIL),
            ("scheduled_at", "invalid_value", CommandStatus::RINVSCHED),
            ("validity_s", "invalid_value", CommandStatus::RINVEXPIRY),
            ("client_ref", "too_long", CommandStatus::RSUBMITFAIL),
        ];
        for (field, code, status) in rows {
            assert_eq!(of_mistake(&Mistake::new(field, code, "")), status, "{field} {code}");
        }
        for (error, status) in [
            (SubmitError::Busy, CommandStatus::RMSGQFUL),
            (SubmitError::Unavailable(String::new()), CommandStatus::RSYSERR),
            (SubmitError::Poisoned, CommandStatus::RSYSERR),
            (SubmitError::Suppressed, SUPPRESSED),
        ] {
            assert_eq!(of_submit_error(&error), status, "{error}");
        }
        assert_eq!(of_refusal("insufficient_credit"), INSUFFICIENT_CREDIT);
    }
}
