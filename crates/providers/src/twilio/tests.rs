//! Twilio's cases. The signatures were made by `RequestValidator` of Twilio's own Python library 9.13.0 (token `12345`); the first is
//! the one of Twilio's documentation.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

const URL: &str = "https://sms.example.com/v1/callbacks/con_1/tok?x=1";

fn credentials() -> Credentials {
    settings(&[("account_sid", "AC0123"), ("auth_token", "12345")])
}

#[test]
fn requests_to_the_byte() {
    assert_eq!(
        wire(&request(&message(), &credentials()).unwrap()),
        "POST https://api.twilio.com/2010-04-01/Accounts/AC0123/Messages.json\n\
         content-type: application/x-www-form-urlencoded\n\
         authorization: Basic QUMwMTIzOjEyMzQ1\n\n\
         To=%2B15558675310&From=ACME&Body=Hi+%26+%C3%BC&ValidityPeriod=3600\
         &StatusCallback=https%3A%2F%2Fsms.example.com%2Fv1%2Fcallbacks%2Fcon_1%2Ftok"
    );
    let pool = settings(&[
        ("account_sid", "AC0123"),
        ("auth_token", "12345"),
        ("api_key_sid", "SK1"),
        ("api_key_secret", "k"),
        ("messaging_service_sid", "MG1"),
        ("base_url", "http://127.0.0.1:1/"),
    ]);
    let two = files(&["https://m/1?a=b", "https://m/2"]);
    let media = Outbound {
        from: None,
        content: Content::Text(""),
        media: &two,
        callback_url: None,
        validity_s: 259_200,
        ..message()
    };
    assert_eq!(
        wire(&request(&media, &pool).unwrap()),
        "POST http://127.0.0.1:1/2010-04-01/Accounts/AC0123/Messages.json\n\
         content-type: application/x-www-form-urlencoded\n\
         authorization: Basic U0sxOms=\n\n\
         To=%2B15558675310&MessagingServiceSid=MG1&MediaUrl=https%3A%2F%2Fm%2F1%3Fa%3Db&MediaUrl=https%3A%2F%2Fm%2F2\
         &ValidityPeriod=36000"
    );
}

#[test]
fn what_twilio_cannot_carry_is_not_sent() {
    let table = [
        (Outbound { flash: true, ..message() }, ErrorCode::Unsupported),
        (Outbound { content: Content::Binary(&[1]), ..message() }, ErrorCode::Unsupported),
        (Outbound { from: None, ..message() }, ErrorCode::SenderRejected),
    ];
    for (message, code) in table {
        assert_eq!(meant(&request(&message, &credentials()).unwrap_err()), (FailOver, code));
    }
}

#[test]
fn answers() {
    let good = answer(201, r#"{"sid":"SM1","status":"queued","error_code":null,"num_segments":"2"}"#);
    assert_eq!(response(&good, &credentials()), Ok(Accepted::Message("SM1".into())));
    let error = |code: u32| format!(r#"{{"code":{code},"message":"no +15558675310","more_info":"x","status":400}}"#);
    let refused: &[(u16, String, SendErrorKind, ErrorCode)] = &[
        (401, error(20003), ConnectionFatal, ErrorCode::CarrierCredentials),
        (404, error(20404), ConnectionFatal, ErrorCode::CarrierCredentials),
        (403, error(20005), ConnectionFatal, ErrorCode::CarrierAccount),
        (429, error(20429), Throttled, ErrorCode::CarrierCongested),
        (429, error(14107), Throttled, ErrorCode::CarrierCongested),
        (400, error(21211), Permanent, ErrorCode::InvalidNumber),
        (400, error(21212), FailOver, ErrorCode::SenderRejected),
        (400, error(21408), FailOver, ErrorCode::BlockedByCarrier),
        (400, error(21602), Permanent, ErrorCode::MessageInvalid),
        (400, error(21603), FailOver, ErrorCode::SenderRejected),
        (400, error(21604), Permanent, ErrorCode::MessageInvalid),
        (400, error(21606), FailOver, ErrorCode::SenderRejected),
        (400, error(21608), FailOver, ErrorCode::BlockedByCarrier),
        (400, error(21609), FailOver, ErrorCode::CarrierError),
        (400, error(21610), Permanent, ErrorCode::BlockedByRecipient),
        (400, error(21611), Throttled, ErrorCode::CarrierCongested),
        (400, error(21612), FailOver, ErrorCode::CarrierRejected),
        (400, error(21614), Permanent, ErrorCode::NotMobile),
        (400, error(21617), Permanent, ErrorCode::MessageTooLong),
        (400, error(21623), FailOver, ErrorCode::Unsupported),
        (400, error(12300), FailOver, ErrorCode::Unsupported),
        (400, error(20422), Permanent, ErrorCode::MessageInvalid),
        // Not in the table, or not Twilio's at all: by the status.
        (400, error(29999), Permanent, ErrorCode::CarrierRejected),
        (429, String::new(), Throttled, ErrorCode::CarrierCongested),
        (500, "<html>".into(), Temporary { tries: 3 }, ErrorCode::CarrierError),
        (503, String::new(), Temporary { tries: 3 }, ErrorCode::CarrierUnavailable),
        (504, String::new(), Unknown, ErrorCode::OutcomeUnknown),
        (302, String::new(), FailOver, ErrorCode::CarrierError),
        // Taken, and nobody can say under which id.
        (201, "<html>".into(), Unknown, ErrorCode::OutcomeUnknown),
        (201, r#"{"status":"queued"}"#.into(), Unknown, ErrorCode::OutcomeUnknown),
        (201, r#"{"sid":"SM1","status":"failed","error_code":30007}"#.into(), Permanent, ErrorCode::ContentFiltered),
    ];
    for (status, body, kind, code) in refused {
        let error = response(&answer(*status, body), &credentials()).unwrap_err();
        assert_eq!(meant(&error), (*kind, *code), "{status} {body}");
        assert!(!error.carrier.contains("5558675310"), "the history names nobody");
    }
}

#[test]
fn every_documented_failure_has_its_code() {
    let table = [
        ("30001", ErrorCode::CarrierCongested),
        ("30002", ErrorCode::CarrierAccount),
        ("30003", ErrorCode::AbsentSubscriber),
        ("30004", ErrorCode::BlockedByCarrier),
        ("30005", ErrorCode::UnknownSubscriber),
        ("30006", ErrorCode::NotMobile),
        ("30007", ErrorCode::ContentFiltered),
        ("30008", ErrorCode::Undeliverable),
        ("30009", ErrorCode::MessageInvalid),
        ("30010", ErrorCode::CarrierRejected),
        ("30011", ErrorCode::Unsupported),
        ("30012", ErrorCode::Expired),
        ("30034", ErrorCode::SenderRejected),
        ("12300", ErrorCode::Unsupported),
        ("63034", ErrorCode::MessageTooLong),
        ("39999", ErrorCode::Undeliverable),
        ("", ErrorCode::Undeliverable),
    ];
    for (code, meaning) in table {
        assert_eq!(failure(code), meaning, "{code}");
    }
}

const STATUS: &str = "MessageSid=SM0123456789abcdef0123456789abcdef&SmsSid=SM0123456789abcdef0123456789abcdef\
    &MessageStatus=delivered&SmsStatus=delivered&AccountSid=AC0123456789abcdef0123456789abcdef&From=%2B15017122661\
    &To=%2B15558675310&ApiVersion=2010-04-01";
const FAILED: &str = "MessageSid=SM0123456789abcdef0123456789abcdef&SmsSid=SM0123456789abcdef0123456789abcdef\
    &MessageStatus=undelivered&SmsStatus=undelivered&AccountSid=AC0123456789abcdef0123456789abcdef&From=%2B15017122661\
    &To=%2B15558675310&ApiVersion=2010-04-01&ErrorCode=30003";
const WRITTEN: &str = "MessageSid=SM1&SmsSid=SM1&SmsStatus=received&From=%2B15558675310&To=%2B15017122661\
    &Body=Gr%C3%BC%C3%9Fe+%26+50%25+%3D+%C3%9C&NumMedia=1&MediaUrl0=https%3A%2F%2Fapi.twilio.com%2Fm%2F1\
    &MediaContentType0=image%2Fpng";

#[test]
fn callbacks() {
    let receipt = |state, carrier: &str| {
        let id = "SM0123456789abcdef0123456789abcdef".to_owned();
        let receipt = Receipt { id, to: phone("15558675310"), state, carrier: carrier.to_owned() };
        Heard { receipts: vec![receipt], inbound: vec![] }
    };
    let written = Inbound {
        id: "SM1".into(),
        from: "+15558675310".into(),
        to: "+15017122661".into(),
        text: "Grüße & 50% = Ü".into(),
        part: None,
        media: vec![("https://api.twilio.com/m/1".into(), "image/png".into())],
    };
    let table = [
        (URL, "2b2Uui3Hhoh0OLaj2kfnsO6oMx8=", STATUS, Ok(receipt(ReceiptState::Delivered, "twilio delivered"))),
        // Signed with the port in the address, though we are reached without; and the other way round.
        (URL, "aPR2hgF8QPj7lmWOyEeRWq9c+Sw=", STATUS, Ok(receipt(ReceiptState::Delivered, "twilio delivered"))),
        (
            "https://sms.example.com:443/v1/callbacks/con_1/tok?x=1",
            "2b2Uui3Hhoh0OLaj2kfnsO6oMx8=",
            STATUS,
            Ok(receipt(ReceiptState::Delivered, "twilio delivered")),
        ),
        (
            URL,
            "/9TiKhRHRNeO5t0YIRF6xd7rNLk=",
            FAILED,
            Ok(receipt(ReceiptState::Failed(ErrorCode::AbsentSubscriber), "twilio undelivered 30003")),
        ),
        (URL, "SuTTciQf7h18jRlG/zN8lKPGI00=", WRITTEN, Ok(Heard { receipts: vec![], inbound: vec![written] })),
        // The signature of another body, of another address, none.
        (URL, "2b2Uui3Hhoh0OLaj2kfnsO6oMx8=", FAILED, Err(CallbackError::Forged)),
        ("https://sms.example.com/other", "2b2Uui3Hhoh0OLaj2kfnsO6oMx8=", STATUS, Err(CallbackError::Forged)),
        (URL, "", STATUS, Err(CallbackError::Forged)),
        (URL, "/9TiKhRHRNeO5t0YIRF6xd7rNLk=", "", Err(CallbackError::Forged)),
    ];
    for (url, signature, body, expected) in table {
        let headers = [("x-twilio-signature", signature)];
        assert_eq!(heard(&callback(url, &headers, body), &credentials()), expected, "{url} {signature}");
    }
    assert_eq!(heard(&callback(URL, &[], STATUS), &credentials()), Err(CallbackError::Unsigned));
    let headers = [("x-twilio-signature", "2b2Uui3Hhoh0OLaj2kfnsO6oMx8=")];
    assert_eq!(heard(&callback(URL, &headers, STATUS), &settings(&[])), Err(CallbackError::Unsigned));
}

#[test]
fn signatures_of_the_documentation_and_of_json() {
    let url = "https://example.com/myapp.php?foo=1&bar=2";
    let body = "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";
    let headers = [("x-twilio-signature", "L/OH5YylLD5NRKLltdqwSvS0BnU=")];
    assert_eq!(verify(&callback(url, &headers, body), "12345"), Ok(()));
    assert_eq!(verify(&callback(url, &headers, body), "12346"), Err(CallbackError::Forged));
    let sha = "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310";
    let url = format!("https://sms.example.com/cb?bodySHA256={sha}");
    let headers = [("x-twilio-signature", "+4RmJxWxya9T5tBr6ghB9EoD6as=")];
    assert_eq!(verify(&callback(&url, &headers, r#"{"a": 1}"#), "12345"), Ok(()));
    assert_eq!(verify(&callback(&url, &headers, r#"{"a": 2}"#), "12345"), Err(CallbackError::Forged));
}

#[test]
fn statuses() {
    let table = [
        ("queued", ReceiptState::Interim),
        ("sending", ReceiptState::Interim),
        ("sent", ReceiptState::Interim),
        ("accepted", ReceiptState::Interim),
        ("scheduled", ReceiptState::Interim),
        ("partially_delivered", ReceiptState::Interim),
        ("delivered", ReceiptState::Delivered),
        ("read", ReceiptState::Delivered),
        ("undelivered", ReceiptState::Failed(ErrorCode::Undeliverable)),
        ("failed", ReceiptState::Failed(ErrorCode::Undeliverable)),
        ("canceled", ReceiptState::Failed(ErrorCode::Canceled)),
        ("something_new", ReceiptState::Interim),
    ];
    for (status, state) in table {
        let body = format!("MessageSid=SM1&MessageStatus={status}&To=%2B15558675310");
        let mac = Hmac::<Sha1>::new_from_slice(b"12345").unwrap().chain_update(URL);
        let mac = mac.chain_update(format!("MessageSidSM1MessageStatus{status}To+15558675310")).finalize();
        let signature = STANDARD.encode(mac.into_bytes());
        let headers = [("x-twilio-signature", signature.as_str())];
        assert_eq!(
            heard(&callback(URL, &headers, &body), &credentials()).unwrap().receipts[0].state,
            state,
            "{status}"
        );
    }
}
