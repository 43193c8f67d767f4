//! Cases of AWS SNS. The signatures were made by botocore 1.43.11; the one over `Param1=value1` is that of AWS's published test suite.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

fn credentials() -> Credentials {
    settings(&[
        ("access_key_id", "AKIDEXAMPLE"),
        ("secret_access_key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("region", "eu-central-1"),
        ("max_price", "0.50"),
    ])
}

#[test]
fn signature_version_4_as_published() {
    let of = settings(&[
        ("access_key_id", "AKIDEXAMPLE"),
        ("secret_access_key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("region", "us-east-1"),
    ]);
    let mut request = post_form("https://example.amazonaws.com/".to_owned(), [("Param1", "value1")]);
    sign(&mut request, "service", &of, 1_440_938_160_000);
    assert_eq!(
        wire(&request),
        "POST https://example.amazonaws.com/\ncontent-type: application/x-www-form-urlencoded\nx-amz-date: 20150830T123600Z\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a\n\n\
         Param1=value1"
    );
}

#[test]
fn requests_to_the_byte() {
    let attribute = |i: usize, name: &str, kind: &str, value: &str| {
        let entry = format!("&MessageAttributes.entry.{i}");
        format!("{entry}.Name={name}{entry}.Value.DataType={kind}{entry}.Value.StringValue={value}")
    };
    let head = "Action=Publish&Version=2010-03-31&PhoneNumber=%2B15558675310&Message=Hi+%26+%C3%BC";
    let sender = [
        attribute(1, "AWS.SNS.SMS.SMSType", "String", "Transactional"),
        attribute(2, "AWS.SNS.SMS.SenderID", "String", "ACME"),
        attribute(3, "AWS.SNS.SMS.MaxPrice", "Number", "0.50"),
    ];
    assert_eq!(
        wire(&request(&message(), &credentials()).unwrap()),
        format!(
            "POST https://sns.eu-central-1.amazonaws.com/\ncontent-type: application/x-www-form-urlencoded\n\
             x-amz-date: 20261121T120000Z\nauthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20261121/eu-central-1/sns/aws4_request, SignedHeaders=content-type;host;x-amz-date, \
             Signature=954c0018fbc252ee1e9963443d3a2eee3c5adbf0437c928a9a341afa61b427c8\n\n{head}{}",
            sender.concat()
        )
    );
    let india: Credentials =
        credentials().iter().chain([("dlt_entity_id", "110"), ("templates", "1107: Hi ##x##")]).collect();
    let long = Outbound { from: Some("+15017122661"), category: Category::Promotional, ..message() };
    let number = [
        attribute(1, "AWS.SNS.SMS.SMSType", "String", "Promotional"),
        attribute(2, "AWS.MM.SMS.OriginationNumber", "String", "%2B15017122661"),
        attribute(3, "AWS.SNS.SMS.MaxPrice", "Number", "0.50"),
        attribute(4, "AWS.MM.SMS.EntityId", "String", "110"),
        attribute(5, "AWS.MM.SMS.TemplateId", "String", "1107"),
    ];
    let body = String::from_utf8(request(&long, &india).unwrap().body).unwrap();
    assert_eq!(body, format!("{head}{}", number.concat()));
}

#[test]
fn what_it_cannot_carry_is_not_sent() {
    let long = "x".repeat(1601);
    let table = [
        (Outbound { flash: true, ..message() }, ErrorCode::Unsupported),
        (Outbound { media: &files(&["https://m/1"]), ..message() }, ErrorCode::Unsupported),
        (Outbound { content: Content::Binary(&[1]), ..message() }, ErrorCode::Unsupported),
        (Outbound { content: Content::Text(&long), ..message() }, ErrorCode::MessageTooLong),
    ];
    for (message, code) in table {
        assert_eq!(meant(&request(&message, &credentials()).unwrap_err()), (FailOver, code));
    }
}

#[test]
fn answers() {
    let good = r#"<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>567910cd-659e-55d4-8ccb-5aaf14679dc0</MessageId></PublishResult><ResponseMetadata><RequestId>d74b8436</RequestId></ResponseMetadata></PublishResponse>"#;
    assert_eq!(
        response(&answer(200, good), &credentials()),
        Ok(Accepted::Message("567910cd-659e-55d4-8ccb-5aaf14679dc0".into()))
    );
    let number = "Invalid parameter: PhoneNumber Reason: +15558675310 is not valid";
    let table: &[(u16, &str, &str, SendErrorKind, ErrorCode)] = &[
        (400, "InvalidParameter", number, Permanent, ErrorCode::InvalidNumber),
        (400, "InvalidParameter", "Invalid parameter: Message Reason: too long", Permanent, ErrorCode::MessageInvalid),
        (400, "InvalidParameterValue", "OriginationNumber unknown", FailOver, ErrorCode::SenderRejected),
        (400, "ParameterValueInvalid", "x", Permanent, ErrorCode::MessageInvalid),
        (400, "ValidationException", "x", Permanent, ErrorCode::MessageInvalid),
        (400, "OptedOut", "x", Permanent, ErrorCode::BlockedByRecipient),
        (403, "AuthorizationError", "x", ConnectionFatal, ErrorCode::CarrierCredentials),
        (403, "AccessDenied", "x", ConnectionFatal, ErrorCode::CarrierCredentials),
        (403, "InvalidClientTokenId", "x", ConnectionFatal, ErrorCode::CarrierCredentials),
        (403, "SignatureDoesNotMatch", "x", ConnectionFatal, ErrorCode::CarrierCredentials),
        (403, "OptInRequired", "x", ConnectionFatal, ErrorCode::CarrierAccount),
        (429, "Throttled", "x", Throttled, ErrorCode::CarrierCongested),
        (400, "Throttling", "Rate exceeded", Throttled, ErrorCode::CarrierCongested),
        (500, "InternalError", "x", Temporary { tries: 3 }, ErrorCode::CarrierError),
        (500, "InternalFailure", "x", Temporary { tries: 3 }, ErrorCode::CarrierError),
        (503, "ServiceUnavailable", "x", Temporary { tries: 3 }, ErrorCode::CarrierUnavailable),
        (404, "NotFound", "x", FailOver, ErrorCode::CarrierError),
        (400, "SomethingNew", "x", Permanent, ErrorCode::CarrierRejected),
    ];
    for (status, code, text, kind, meaning) in table {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"
        );
        let error = response(&answer(*status, &body), &credentials()).unwrap_err();
        assert_eq!(meant(&error), (*kind, *meaning), "{status} {code}");
        assert!(!error.carrier.contains("5558675310"), "the history names nobody");
    }
    for (status, body, kind) in
        [(200, "", Unknown), (200, "{}", Unknown), (504, "", Unknown), (500, "", Temporary { tries: 3 })]
    {
        assert_eq!(response(&answer(status, body), &credentials()).unwrap_err().kind, kind, "{status} {body}");
    }
}

/// Three events as CloudWatch packs them: one delivered, one not, one that is none.
const BATCH: &str = "H4sIAAAAAAACA61RXUvDQBD8K8e9auxdSqr0LbSxFKyUfjw1IvlYm5P2LmQvgRL6391rooKIIgj3sjs7sztzLT8CYrKHzakEPmZ8Gm7C50W0XoeziF8zfjD7WWXq0mGocVCjBwlaTw7kYKoqyOyyTg8Ki41ZFkbDY31MoeqZUQPaIlF3LVe5k5AOsYqW2uToRCXV/QkOb2OujVUvKkusMjqmHrX6gXnuaio9GZNO/CnU9X3hjzwpPV8y6Y+FoHcjhIj52Q3ncFANVKdeMyem0h9bYn4lgyC4G90GQyk6+bIyjcqhWgGWRiN0c4vuGFYkyFIAzZIsg9JCztITK10G/UK6zNbYkdbbyYRCJcRh72n4/5OG/3eH8ieHl49k+vKTTCEzF3emtt8Yuw/nD9tV9MXY8Bdj5Iq9otH8/HR+A7Bv5umDAgAA";

#[test]
fn the_delivery_log() {
    let url = "https://sms.example.com/v1/callbacks/con_1/tok";
    let receipt = |id: &str, to: &str, state, carrier: &str| Receipt {
        id: id.into(),
        to: phone(to),
        state,
        carrier: carrier.into(),
    };
    let batch = format!(r#"{{"awslogs":{{"data":"{BATCH}"}}}}"#);
    let expected = vec![
        receipt("m-1", "15558675310", ReceiptState::Delivered, "sns Message has been accepted by phone"),
        receipt(
            "m-2",
            "15558675311",
            ReceiptState::Failed(ErrorCode::BlockedByRecipient),
            "sns Phone number is opted out",
        ),
    ];
    assert_eq!(heard(&callback(url, &[], &batch), &credentials()), Ok(Heard { receipts: expected, inbound: vec![] }));

    let event = |status: &str, said: &str| {
        format!(
            r#"{{"notification":{{"messageId":"m-3","timestamp":"2022-03-08 19:05:32.271"}},"delivery":{{"numberOfMessageParts":1,"destination":"+15558675310","priceInUSD":0.00831,"smsType":"Transactional","providerResponse":"{said}","dwellTimeMs":105}},"status":"{status}"}}"#
        )
    };
    use ErrorCode as E;
    use ReceiptState::{Delivered, Failed, Interim};
    let table = [
        ("SUCCESS", "Message has been accepted by phone carrier", Delivered),
        ("FAILURE", "Blocked as spam by phone carrier", Failed(E::ContentFiltered)),
        ("FAILURE", "Destination is on a blocked list", Failed(E::BlockedByCarrier)),
        ("FAILURE", "Invalid phone number", Failed(E::InvalidNumber)),
        ("FAILURE", "Message body is invalid", Failed(E::MessageInvalid)),
        ("FAILURE", "Phone carrier has blocked this message", Failed(E::BlockedByCarrier)),
        ("FAILURE", "Phone carrier is currently unreachable/unavailable", Failed(E::CarrierUnavailable)),
        ("FAILURE", "Phone has blocked SMS", Failed(E::BlockedByRecipient)),
        ("FAILURE", "Phone is on a blocked list", Failed(E::BlockedByRecipient)),
        ("FAILURE", "Phone is currently unreachable/unavailable", Failed(E::AbsentSubscriber)),
        ("FAILURE", "Phone number is opted out", Failed(E::BlockedByRecipient)),
        ("FAILURE", "This delivery would exceed max price", Failed(E::CarrierAccount)),
        ("FAILURE", "Unknown error attempting to reach phone", Failed(E::Undeliverable)),
        ("FAILURE", "Something new", Failed(E::Undeliverable)),
        ("PENDING", "Something new", Interim),
    ];
    for (status, said, state) in table {
        let body = event(status, said);
        let heard = heard(&callback(url, &[], &body), &credentials()).unwrap();
        assert_eq!(heard.receipts, [receipt("m-3", "15558675310", state, &format!("sns {said}"))], "{status} {said}");
    }
    let bad =
        ["", "{}", "[]", r#"{"awslogs":{"data":"%"}}"#, r#"{"awslogs":{"data":"AAAA"}}"#, r#"{"status":"SUCCESS"}"#];
    for body in bad {
        assert!(matches!(heard(&callback(url, &[], body), &credentials()), Err(CallbackError::Malformed(_))), "{body}");
    }
}
