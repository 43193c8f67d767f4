//! Cases of Vonage's Messages API. The first token was made by PyJWT and found good by `vonage_jwt.verify_signature` of Vonage's own
//! Python library 4.9.1.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

const URL: &str = "https://sms.example.com/v1/callbacks/con_1/tok";

fn credentials() -> Credentials {
    settings(&[("api_key", "abcd1234"), ("api_secret", "s3cret"), ("signature_secret", "signing-secret")])
}

#[test]
fn requests_to_the_byte() {
    let head = "POST https://api.nexmo.com/v1/messages\ncontent-type: application/json\n\
                authorization: Basic YWJjZDEyMzQ6czNjcmV0\naccept: application/json\n\n";
    let tail = r#""client_ref":"msg_01h455vb4pex5vsknk084sn02q","webhook_url":"https://sms.example.com/v1/callbacks/con_1/tok","webhook_version":"v1"}"#;
    let [image, video, card] = ["https://m/1.png", "https://m/1.MP4?x", "https://m/c.vcf"].map(|url| files(&[url]));
    let several = files(&["https://m/1.jpg", "https://m/2", "https://m/3.pdf"]);
    let table = [
        (
            message(),
            format!(
                r#"{{"message_type":"text","text":"Hi & ü","channel":"sms","ttl":3600,"sms":{{"encoding_type":"text"}},"to":"15558675310","from":"ACME",{tail}"#
            ),
        ),
        (
            Outbound { content: Content::Text("\"سلام\"\n"), encoding: Encoding::Ucs2, validity_s: 1, ..message() },
            format!(
                r#"{{"message_type":"text","text":"\"سلام\"\n","channel":"sms","ttl":20,"sms":{{"encoding_type":"unicode"}},"to":"15558675310","from":"ACME",{tail}"#
            ),
        ),
        (
            Outbound { media: &image, from: Some("+15017122661"), ..message() },
            format!(
                r#"{{"message_type":"image","image":{{"url":"https://m/1.png","caption":"Hi & ü"}},"channel":"mms","ttl":3600,"to":"15558675310","from":"15017122661",{tail}"#
            ),
        ),
        (
            Outbound { media: &video, content: Content::Text(""), ..message() },
            format!(
                r#"{{"message_type":"video","video":{{"url":"https://m/1.MP4?x"}},"channel":"mms","ttl":3600,"to":"15558675310","from":"ACME",{tail}"#
            ),
        ),
        (
            Outbound { media: &card, validity_s: 60, ..message() },
            format!(
                r#"{{"message_type":"vcard","vcard":{{"url":"https://m/c.vcf","caption":"Hi & ü"}},"channel":"mms","ttl":300,"to":"15558675310","from":"ACME",{tail}"#
            ),
        ),
        (
            Outbound { media: &several, ..message() },
            format!(
                r#"{{"message_type":"content","content":[{{"type":"image","url":"https://m/1.jpg","caption":"Hi & ü"}},{{"type":"file","url":"https://m/2"}},{{"type":"file","url":"https://m/3.pdf"}}],"channel":"mms","ttl":3600,"to":"15558675310","from":"ACME",{tail}"#
            ),
        ),
    ];
    for (message, body) in table {
        assert_eq!(wire(&request(&message, &credentials()).unwrap()), format!("{head}{body}"));
    }
}

#[test]
fn what_it_cannot_carry_is_not_sent() {
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
    let good = answer(202, r#"{"message_uuid":"aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"}"#);
    assert_eq!(response(&good, &credentials()), Ok(Accepted::Message("aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab".into())));
    let problem = |code: u32| {
        format!(
            r#"{{"type":"https://developer.vonage.com/api-errors/messages#{code}","title":"Words","detail":"15558675310","instance":"x"}}"#
        )
    };
    let table: &[(u16, String, SendErrorKind, ErrorCode)] = &[
        (429, problem(1000), Throttled, ErrorCode::CarrierCongested),
        (422, problem(1010), Permanent, ErrorCode::MessageInvalid),
        (422, problem(1020), Permanent, ErrorCode::MessageInvalid),
        (422, problem(1022), FailOver, ErrorCode::TemplateUnknown),
        (500, problem(1030), Temporary { tries: 3 }, ErrorCode::CarrierError),
        (422, problem(1040), FailOver, ErrorCode::CarrierRejected),
        (422, problem(1050), FailOver, ErrorCode::BlockedByCarrier),
        (403, problem(1060), ConnectionFatal, ErrorCode::CarrierAccount),
        (402, problem(1070), FailOver, ErrorCode::CarrierAccount),
        (403, problem(1080), ConnectionFatal, ErrorCode::CarrierAccount),
        (422, problem(1090), Permanent, ErrorCode::MessageTooLong),
        (422, problem(1100), Temporary { tries: 3 }, ErrorCode::CarrierError),
        (422, problem(1120), FailOver, ErrorCode::SenderRejected),
        (422, problem(1170), Permanent, ErrorCode::InvalidNumber),
        (401, r#"{"title":"Unauthorized"}"#.into(), ConnectionFatal, ErrorCode::CarrierCredentials),
        (422, problem(9999), Permanent, ErrorCode::CarrierRejected),
        (502, String::new(), Unknown, ErrorCode::OutcomeUnknown),
        (202, "{}".into(), Unknown, ErrorCode::OutcomeUnknown),
        (202, "<html>".into(), Unknown, ErrorCode::OutcomeUnknown),
    ];
    for (status, body, kind, code) in table {
        let error = response(&answer(*status, body), &credentials()).unwrap_err();
        assert_eq!(meant(&error), (*kind, *code), "{status} {body}");
        assert!(!error.carrier.contains("5558675310"), "the history names nobody");
    }
}

/// A token over a body, or over whatever the claims say.
fn token(secret: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

fn claims(body: &str) -> String {
    format!(r#"{{"api_key":"abcd1234","payload_hash":"{}","iat":1795262400}}"#, hex(&Sha256::digest(body)))
}

const HS256: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
const DELIVERED: &str = r#"{"message_uuid":"aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab","to":"15558675310","from":"ACME","timestamp":"2026-11-21T12:00:00Z","status":"delivered","channel":"sms"}"#;
const TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhcGlfa2V5IjoiYWJjZDEyMzQiLCJwYXlsb2FkX2hhc2giOiIwZTMxM2M5NjVkOWM0NWE5ODM4MmJhNTJhNDcxYzQyZDc0MDQzMWNlZDJhN2RkOWQwNzhlZmNhMzE2ZWEyZTlmIiwiaWF0IjoxNzk1MjYyNDAwLCJqdGkiOiIxIiwiaXNzIjoiVm9uYWdlIn0.R4yNpUEjnW8aIglXCmtlhK5RmRM0nLYh9KygzfPXB-Y";

#[test]
fn only_what_is_signed_is_believed() {
    let heard = |token: &str, body: &str| heard(&callback(URL, &[("authorization", token)], body), &credentials());
    let receipt = Receipt {
        id: "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab".into(),
        to: phone("15558675310"),
        state: ReceiptState::Delivered,
        carrier: "vonage delivered".into(),
    };
    assert_eq!(heard(TOKEN, DELIVERED), Ok(Heard { receipts: vec![receipt], inbound: vec![] }));
    let forged = [
        (TOKEN.to_owned(), DELIVERED.replace("delivered", "rejected")),
        (format!("{TOKEN}x"), DELIVERED.to_owned()),
        (token("other", HS256, &claims(DELIVERED)), DELIVERED.to_owned()),
        (token("signing-secret", r#"{"typ":"JWT","alg":"none"}"#, &claims(DELIVERED)), DELIVERED.to_owned()),
        (token("signing-secret", HS256, &claims(DELIVERED).replace("abcd1234", "ffff0000")), DELIVERED.to_owned()),
        (token("signing-secret", HS256, r#"{"api_key":"abcd1234"}"#), DELIVERED.to_owned()),
        ("Bearer a.b".to_owned(), DELIVERED.to_owned()),
        ("Bearer ".to_owned(), DELIVERED.to_owned()),
    ];
    for (token, body) in forged {
        assert_eq!(heard(&token, &body), Err(CallbackError::Forged), "{token}");
    }
    assert_eq!(heard("Basic x", DELIVERED), Err(CallbackError::Unsigned));
    assert_eq!(super::heard(&callback(URL, &[], DELIVERED), &credentials()), Err(CallbackError::Unsigned));
    let unset = settings(&[("api_key", "abcd1234")]);
    assert_eq!(
        super::heard(&callback(URL, &[("authorization", TOKEN)], DELIVERED), &unset),
        Err(CallbackError::Unsigned)
    );
}

#[test]
fn statuses_and_inbound() {
    use ErrorCode as E;
    use ReceiptState::{Delivered, Failed, Interim};
    let heard = |body: &str| {
        let token = token("signing-secret", HS256, &claims(body));
        heard(&callback(URL, &[("authorization", &token)], body), &credentials())
    };
    let table = [
        (r#""submitted""#, Interim),
        (r#""delivered""#, Delivered),
        (r#""read""#, Delivered),
        (r#""rejected""#, Failed(E::CarrierRejected)),
        (r#""undeliverable""#, Failed(E::Undeliverable)),
        (r#""rejected","error":{"type":"https://x/messages#1210","title":"1210"}"#, Failed(E::ContentFiltered)),
        (r#""undeliverable","error":{"type":"https://x/messages#1260","title":1260}"#, Failed(E::Undeliverable)),
        (r#""undeliverable","error":{"type":"https://x/messages#1180","title":"Absent"}"#, Failed(E::AbsentSubscriber)),
        (r#""undeliverable","error":{"title":1190}"#, Failed(E::UnknownSubscriber)),
        (r#""undeliverable","error":{"title":1240}"#, Failed(E::InvalidNumber)),
        (r#""something_new""#, Interim),
    ];
    for (status, state) in table {
        let body = format!(r#"{{"message_uuid":"u1","to":"15558675310","status":{status}}}"#);
        assert_eq!(heard(&body).unwrap().receipts[0].state, state, "{status}");
    }
    let written = |text: &str, media: &[(&str, &str)]| Inbound {
        id: "u1".into(),
        from: "15558675310".into(),
        to: "15017122661".into(),
        text: text.into(),
        part: None,
        media: media.iter().map(|(url, kind)| ((*url).to_owned(), (*kind).to_owned())).collect(),
    };
    let head = r#"{"message_uuid":"u1","from":"15558675310","to":"15017122661","channel":"sms""#;
    let table = [
        (format!(r#"{head},"message_type":"text","text":"Hallo"}}"#), written("Hallo", &[])),
        (
            format!(r#"{head},"message_type":"image","image":{{"url":"https://m/1","caption":"see"}}}}"#),
            written("see", &[("https://m/1", "image")]),
        ),
    ];
    for (body, expected) in table {
        assert_eq!(heard(&body), Ok(Heard { receipts: vec![], inbound: vec![expected] }));
    }
    assert!(matches!(heard("{}"), Err(CallbackError::Malformed(_))));
}
