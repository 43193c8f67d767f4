//! Cases of Vonage's SMS API. The HMAC signatures were made by `Auth.sign_params` of Vonage's own Python library 4.9.1.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

fn credentials(method: &str) -> Credentials {
    settings(&[
        ("api_key", "abcd1234"),
        ("api_secret", "s3cret"),
        ("signature_secret", "signing-secret"),
        ("signature_method", method),
    ])
}

#[test]
fn requests_to_the_byte() {
    let head = "POST https://rest.nexmo.com/sms/json\ncontent-type: application/x-www-form-urlencoded\n\
                authorization: Basic YWJjZDEyMzQ6czNjcmV0\n\n";
    let tail = "&status-report-req=1&client-ref=msg_01h455vb4pex5vsknk084sn02q\
                &callback=https%3A%2F%2Fsms.example.com%2Fv1%2Fcallbacks%2Fcon_1%2Ftok";
    let long = format!("https://sms.example.com/{}", "x".repeat(100));
    let table = [
        (message(), format!("from=ACME&to=15558675310&type=text&text=Hi+%26+%C3%BC&ttl=3600000{tail}")),
        (
            Outbound {
                from: Some("+15017122661"),
                content: Content::Text("سلام"),
                encoding: Encoding::Ucs2,
                flash: true,
                ..message()
            },
            format!(
                "from=15017122661&to=15558675310&type=unicode&text=%D8%B3%D9%84%D8%A7%D9%85&message-class=0&ttl=3600000{tail}"
            ),
        ),
        (
            Outbound { content: Content::Binary(&[0, 255]), validity_s: 1, callback_url: Some(&long), ..message() },
            "from=ACME&to=15558675310&type=binary&body=00ff&ttl=20000&status-report-req=1\
             &client-ref=msg_01h455vb4pex5vsknk084sn02q"
                .to_owned(),
        ),
    ];
    for (message, body) in table {
        assert_eq!(wire(&request(&message, &credentials("sha256")).unwrap()), format!("{head}{body}"));
    }
    let india: Credentials =
        credentials("md5").iter().chain([("dlt_entity_id", "110"), ("templates", "1107: Hi ##x##")]).collect();
    let body = String::from_utf8(request(&message(), &india).unwrap().body).unwrap();
    assert!(body.contains("&entity-id=110&content-id=1107&"), "{body}");
}

#[test]
fn what_it_cannot_carry_is_not_sent() {
    let table = [
        (Outbound { media: &files(&["https://m/1"]), ..message() }, ErrorCode::Unsupported),
        (Outbound { content: Content::Binary(&[1]), parts: 2, ..message() }, ErrorCode::Unsupported),
        (Outbound { from: None, ..message() }, ErrorCode::SenderRejected),
    ];
    for (message, code) in table {
        assert_eq!(meant(&request(&message, &credentials("md5")).unwrap_err()), (FailOver, code));
    }
}

#[test]
fn answers() {
    let part = |id: &str| format!(r#"{{"to":"15558675310","message-id":"{id}","status":"0","message-price":"0.03"}}"#);
    let refused = |status: &str| format!(r#"{{"status":"{status}","error-text":"to 15558675310"}}"#);
    let all = |parts: &[String]| format!(r#"{{"message-count":"{}","messages":[{}]}}"#, parts.len(), parts.join(","));
    let two = all(&[part("A1"), part("A2")]);
    let accepted = Accepted::Parts(vec![Ok("A1".into()), Ok("A2".into())]);
    assert_eq!(response(&answer(200, &two), &credentials("md5")), Ok(accepted));
    let mixed = all(&[part("A1"), refused("1")]);
    let Ok(Accepted::Parts(parts)) = response(&answer(200, &mixed), &credentials("md5")) else {
        panic!("one was taken")
    };
    assert_eq!(
        (&parts[0], parts[1].as_ref().map_err(meant)),
        (&Ok("A1".into()), Err((Throttled, ErrorCode::CarrierCongested)))
    );

    let table: &[(&str, SendErrorKind, ErrorCode)] = &[
        ("1", Throttled, ErrorCode::CarrierCongested),
        ("2", Permanent, ErrorCode::MessageInvalid),
        ("3", Permanent, ErrorCode::MessageInvalid),
        ("4", ConnectionFatal, ErrorCode::CarrierCredentials),
        ("5", Temporary { tries: 3 }, ErrorCode::CarrierError),
        ("6", FailOver, ErrorCode::CarrierRejected),
        ("7", FailOver, ErrorCode::BlockedByCarrier),
        ("8", ConnectionFatal, ErrorCode::CarrierAccount),
        ("9", FailOver, ErrorCode::CarrierAccount),
        ("10", Throttled, ErrorCode::CarrierCongested),
        ("11", ConnectionFatal, ErrorCode::CarrierAccount),
        ("12", Permanent, ErrorCode::MessageTooLong),
        ("14", ConnectionFatal, ErrorCode::CarrierCredentials),
        ("15", FailOver, ErrorCode::SenderRejected),
        ("22", FailOver, ErrorCode::BlockedByCarrier),
        ("23", FailOver, ErrorCode::CarrierError),
        ("29", FailOver, ErrorCode::BlockedByCarrier),
        ("32", ConnectionFatal, ErrorCode::CarrierCredentials),
        ("33", Permanent, ErrorCode::UnknownSubscriber),
        ("99", Permanent, ErrorCode::CarrierRejected),
    ];
    for (status, kind, code) in table {
        let body = all(&[refused(status)]);
        let error = response(&answer(200, &body), &credentials("md5")).unwrap_err();
        assert_eq!((meant(&error), error.carrier), ((*kind, *code), format!("vonage {status}")));
    }
    let bodies = ["", "[]", r#"{"messages":[]}"#, r#"{"messages":[{"status":"0"}]}"#, r#"{"messages":[{}]}"#];
    for body in bodies {
        assert_eq!(response(&answer(200, body), &credentials("md5")).unwrap_err().kind, Unknown, "{body}");
    }
    assert_eq!(response(&answer(500, ""), &credentials("md5")).unwrap_err().kind, Temporary { tries: 3 });
}

const RECEIPT: &str = "msisdn=15558675310&to=ACME&network-code=310090&messageId=0C000000217B7F02&price=0.03330000&status=delivered\
    &scts=2611211200&err-code=0&api-key=abcd1234&message-timestamp=2026-11-21+12%3A00%3A00&timestamp=1795262400&nonce=aaaa-bbbb";
const WRITTEN: &str = "msisdn=15558675310&to=15017122661&messageId=0C1&text=a%3Db+%26+c&type=text&keyword=A%3DB\
    &message-timestamp=2026-11-21+12%3A00%3A00&timestamp=1795262400&nonce=n1&concat=true&concat-ref=66&concat-total=3&concat-part=2";

#[test]
fn callbacks() {
    let url = "https://sms.example.com/v1/callbacks/con_1/tok";
    let delivered = || Heard {
        receipts: vec![Receipt {
            id: "0C000000217B7F02".into(),
            to: phone("15558675310"),
            state: ReceiptState::Delivered,
            carrier: "vonage delivered 0".into(),
        }],
        inbound: vec![],
    };
    let written = || Heard {
        receipts: vec![],
        inbound: vec![Inbound {
            id: "0C1".into(),
            from: "15558675310".into(),
            to: "15017122661".into(),
            text: "a=b & c".into(),
            part: Some(InboundPart { reference: 66, total: 3, index: 2 }),
            media: vec![],
        }],
    };
    let table = [
        ("md5hash", RECEIPT, "cb2eac962fd5e6003ea9665ef78204bd", Ok(delivered())),
        ("md5", RECEIPT, "31de0d6c68bff156b5606bb270d68016", Ok(delivered())),
        ("sha1", RECEIPT, "23d5995738d92a31ccb9eb3c9730e1b292f61ebc", Ok(delivered())),
        ("sha256", RECEIPT, "f3a9424069e724b2801d6b3a9786c6fb02954debaf3839299272a7b25d89abb5", Ok(delivered())),
        ("sha256", RECEIPT, "F3A9424069E724B2801D6B3A9786C6FB02954DEBAF3839299272A7B25D89ABB5", Ok(delivered())),
        (
            "sha512",
            RECEIPT,
            "9f17a83819484951083479777dac46832ec2b91156c7e5e66e4c699496cb9bd3787b20c9ea850a8cfe20da2909bfa5379bfdb4d109e8f141c9b3678d2aaeba93",
            Ok(delivered()),
        ),
        // `=` and `&` in values are signed as `_`.
        ("sha256", WRITTEN, "0aa417da6385a33c4a38b1683012cf1de2a87f92f33b2819d1ec5d38841e90ce", Ok(written())),
        ("md5", WRITTEN, "4c96183fc4a172040986a671301f6cdb", Ok(written())),
        // Of another body, by another method, empty.
        (
            "sha256",
            WRITTEN,
            "f3a9424069e724b2801d6b3a9786c6fb02954debaf3839299272a7b25d89abb5",
            Err(CallbackError::Forged),
        ),
        ("sha1", RECEIPT, "31de0d6c68bff156b5606bb270d68016", Err(CallbackError::Forged)),
        ("sha256", RECEIPT, "", Err(CallbackError::Unsigned)),
        ("", RECEIPT, "31de0d6c68bff156b5606bb270d68016", Err(CallbackError::Unsigned)),
    ];
    for (method, body, sig, expected) in table {
        let (form, query) = (format!("{body}&sig={sig}"), format!("{url}?{body}&sig={sig}"));
        let pairs = form_urlencoded::parse(form.as_bytes()).into_owned();
        let members: serde_json::Map<_, _> = pairs.map(|(name, value)| (name, Value::from(value))).collect();
        let json = Value::from(members).to_string();
        // The account chooses among a form, a query and JSON.
        for (url, body) in [(url, form.as_str()), (query.as_str(), ""), (url, json.as_str())] {
            assert_eq!(heard(&callback(url, &[], body), &credentials(method)), expected, "{method} {sig} {body}");
        }
    }
    assert_eq!(heard(&callback(url, &[], RECEIPT), &credentials("md5")), Err(CallbackError::Unsigned));
    assert_eq!(heard(&callback(url, &[], ""), &credentials("md5")), Err(CallbackError::Unsigned));
}

#[test]
fn statuses_and_their_reasons() {
    use ErrorCode as E;
    use ReceiptState::{Delivered, Failed, Interim};
    let table = [
        ("delivered", "0", Delivered),
        ("accepted", "0", Interim),
        ("buffered", "0", Interim),
        ("new_word", "0", Interim),
        ("unknown", "1", ReceiptState::Unknown),
        ("expired", "1", Failed(E::Expired)),
        ("failed", "1", Failed(E::Undeliverable)),
        ("failed", "2", Failed(E::AbsentSubscriber)),
        ("failed", "3", Failed(E::UnknownSubscriber)),
        ("failed", "4", Failed(E::BlockedByRecipient)),
        ("failed", "5", Failed(E::Undeliverable)),
        ("failed", "6", Failed(E::ContentFiltered)),
        ("failed", "7", Failed(E::HandsetBusy)),
        ("failed", "8", Failed(E::CarrierError)),
        ("failed", "9", Failed(E::InvalidNumber)),
        ("failed", "10", Failed(E::MessageInvalid)),
        ("failed", "11", Failed(E::Undeliverable)),
        ("failed", "12", Failed(E::Undeliverable)),
        ("rejected", "13", Failed(E::BlockedByCarrier)),
        ("rejected", "14", Failed(E::BlockedByCarrier)),
        ("rejected", "15", Failed(E::CarrierAccount)),
        ("rejected", "16", Failed(E::CarrierAccount)),
        ("rejected", "50", Failed(E::ContentFiltered)),
        ("rejected", "51", Failed(E::SenderRejected)),
        ("rejected", "52", Failed(E::ContentFiltered)),
        ("rejected", "53", Failed(E::BlockedByCarrier)),
        ("rejected", "54", Failed(E::BlockedByCarrier)),
        ("rejected", "99", Failed(E::CarrierRejected)),
    ];
    for (status, err, state) in table {
        let text = format!("&err-code={err}&messageId=A&msisdn=15558675310&status={status}signing-secret");
        let sig = hex(&Md5::digest(text));
        let body = format!("err-code={err}&messageId=A&msisdn=15558675310&status={status}&sig={sig}");
        let heard = heard(&callback("https://h/", &[], &body), &credentials("md5hash")).unwrap();
        assert_eq!(heard.receipts[0].state, state, "{status} {err}");
    }
}
