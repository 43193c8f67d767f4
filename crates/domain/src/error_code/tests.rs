//! The catalogue is complete, its page is current, and SMPP is read as the tables say.

use super::*;
use crate::phone::{Phone, Strictness};

#[test]
fn codes_numbers_and_names_come_back() {
    for entry in CATALOGUE {
        let code = entry.code;
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        assert_eq!(entry.name.parse(), Ok(code));
        assert_eq!(format!("{code}"), entry.name);
        assert_eq!(snake_case(&format!("{code:?}")), entry.name, "the API and serde agree");
        for text in [entry.title, entry.explanation, entry.action] {
            assert!(!text.is_empty());
        }
    }
    assert!(CATALOGUE.is_sorted_by_key(|entry| entry.code.number()));
    assert_eq!(CATALOGUE.len(), 34);
    assert_eq!(ErrorCode::from_number(0), None);
    assert_eq!("nothing".parse::<ErrorCode>(), Err(UnknownErrorCode));
}

fn snake_case(camel: &str) -> String {
    let snake: String =
        camel.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(c.to_lowercase())).collect();
    snake.trim_start_matches('_').to_owned()
}

#[test]
fn sandbox_numbers_are_valid_and_provoke_their_code() {
    let refused = |status| from_smpp_status(status).code;
    for entry in CATALOGUE {
        let digits = SANDBOX_BASE + entry.code.number() as u64;
        let parsed = Phone::parse(&format!("+{digits}"), None, Strictness::Strict).expect("valid by libphonenumber");
        assert_eq!(parsed.phone.digits(), digits);
        let expected = match by_sandbox_number(digits) {
            None => continue,
            Some(Sandbox::Refuse { status, times: None }) => ReceiptState::Failed(refused(status)),
            Some(Sandbox::Receipt { stat, err }) => from_smpp_stat(stat, err, None),
            Some(Sandbox::NoAnswer | Sandbox::Partial { .. }) => continue,
            Some(other) => panic!("{other:?} provokes no code"),
        };
        let got = match entry.code {
            ErrorCode::ReceiptUnknown => ReceiptState::Unknown,
            // Under a deadline, congestion has this name.
            ErrorCode::OtpDeadline => ReceiptState::Failed(ErrorCode::CarrierCongested),
            code => ReceiptState::Failed(code),
        };
        assert_eq!(got, expected, "{digits}");
    }
    for (digits, sandbox) in sandbox::SPECIAL {
        assert!(Phone::parse(&format!("+{digits}"), None, Strictness::Strict).is_ok());
        assert_eq!(by_sandbox_number(*digits), Some(*sandbox));
    }
    for digits in [0, SANDBOX_BASE - 1, SANDBOX_BASE + 9_999, 4_915_112_345_678] {
        assert_eq!(by_sandbox_number(digits), None);
    }
}

#[test]
fn statuses() {
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    let table = [
        (0x58, Throttled, ErrorCode::CarrierCongested, "smpp 0x58 ESME_RTHROTTLED"),
        (0x14, Throttled, ErrorCode::CarrierCongested, "smpp 0x14 ESME_RMSGQFUL"),
        (0x08, Temporary { tries: 3 }, ErrorCode::CarrierError, "smpp 0x08 ESME_RSYSERR"),
        (0x45, Temporary { tries: 1 }, ErrorCode::CarrierRejected, "smpp 0x45 ESME_RSUBMITFAIL"),
        (0x0A, FailOver, ErrorCode::SenderRejected, "smpp 0x0A ESME_RINVSRCADR"),
        (0x0B, Permanent, ErrorCode::InvalidNumber, "smpp 0x0B ESME_RINVDSTADR"),
        (0x0E, ConnectionFatal, ErrorCode::CarrierCredentials, "smpp 0x0E ESME_RINVPASWD"),
        (0x101, FailOver, ErrorCode::BlockedByCarrier, "smpp 0x101 ESME_RPROHIBITED"),
        // Not in any table: a refusal, never tried again.
        (0x09, Permanent, ErrorCode::CarrierRejected, "smpp 0x09"),
        (0x400, Permanent, ErrorCode::CarrierRejected, "smpp 0x400"),
        (u32::MAX, Permanent, ErrorCode::CarrierRejected, "smpp 0xFFFFFFFF"),
    ];
    for (status, kind, code, carrier) in table {
        assert_eq!(from_smpp_status(status), SendError { kind, code, carrier: carrier.to_owned() });
    }
    assert!(smpp::STATUSES.is_sorted_by(|a, b| a.status < b.status));
    assert_eq!(SendError::unknown("link lost").kind, SendErrorKind::Unknown);
}

#[test]
fn receipts() {
    use ErrorCode as E;
    use ReceiptState::{Delivered, Failed, Interim, Unknown};
    let table = [
        // stat, err, message_state, meaning
        ("DELIVRD", "000", None, Delivered),
        ("delivrd", "", None, Delivered),
        ("DELIVERED", "0", None, Delivered),
        ("ENROUTE", "000", None, Interim),
        ("ACCEPTD", "000", None, Interim),
        ("BUFFRED", "000", None, Interim),
        ("SCHEDULED", "000", None, Interim),
        ("", "", None, Interim),
        ("WHATEVER", "001", None, Interim),
        ("UNKNOWN", "000", None, Unknown),
        ("EXPIRED", "027", None, Failed(E::Expired)),
        ("DELETED", "000", None, Failed(E::CarrierRejected)),
        ("UNDELIV", "000", None, Failed(E::Undeliverable)),
        ("UNDELIV", "001", None, Failed(E::UnknownSubscriber)),
        ("UNDELIV", "27", None, Failed(E::AbsentSubscriber)),
        ("UNDELIV", "0x1B", None, Failed(E::Undeliverable)),
        ("REJECTD", "SPAM", None, Failed(E::ContentFiltered)),
        ("REJECTD", "999", None, Failed(E::CarrierRejected)),
        // The TLV counts for more; one out of range does not count.
        ("", "", Some(2), Delivered),
        ("UNDELIV", "001", Some(2), Delivered),
        ("DELIVRD", "000", Some(1), Interim),
        ("DELIVRD", "000", Some(5), Failed(E::Undeliverable)),
        ("", "", Some(7), Unknown),
        ("DELIVRD", "000", Some(77), Delivered),
        ("", "", Some(77), Interim),
    ];
    for (stat, err, message_state, meaning) in table {
        assert_eq!(from_smpp_stat(stat, err, message_state), meaning, "{stat} {err} {message_state:?}");
    }
}

/// `UPDATE=1` rewrites the page.
#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERROR_CODES.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, markdown()).expect("docs can be written");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == markdown(), "docs/ERROR_CODES.md is not what the code renders: run the tests with UPDATE=1");
}
