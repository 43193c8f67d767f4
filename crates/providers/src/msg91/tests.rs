//! MSG91's cases.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

fn credentials() -> Credentials {
    let templates = "64a1: Your code is ##OTP##, ##APP##.\n64b2: Dear ##NAME##, Rs ##SUM## is due.";
    settings(&[("authkey", "k3y"), ("templates", templates), ("sender", "ACMEIN")])
}

#[test]
fn requests_to_the_byte() {
    let due = Outbound { content: Content::Text("Dear \"A\", Rs 5 is due."), from: None, ..message() };
    let code = Outbound {
        content: Content::Text("Your code is 123456, Acme."),
        category: Category::Otp,
        validity_s: 300,
        ..message()
    };
    let table = [
        (
            due,
            "POST https://control.msg91.com/api/v5/flow\ncontent-type: application/json\nauthkey: k3y\n\n\
             {\"template_id\":\"64b2\",\"short_url\":\"0\",\"sender\":\"ACMEIN\",\"recipients\":[{\"mobiles\":\"15558675310\",\
             \"NAME\":\"\\\"A\\\"\",\"SUM\":\"5\",\"clientid\":\"msg_01h455vb4pex5vsknk084sn02q\"}]}",
        ),
        (
            code,
            "POST https://control.msg91.com/api/v5/otp?template_id=64a1&mobile=15558675310&otp=123456&otp_length=6&otp_expiry=5&sender=ACME\n\
             content-type: application/json\nauthkey: k3y\n\n{\"APP\":\"Acme\"}",
        ),
        // No number: a flow like any other.
        (
            Outbound { content: Content::Text("Your code is A-1b, Acme."), ..code },
            "POST https://control.msg91.com/api/v5/flow\ncontent-type: application/json\nauthkey: k3y\n\n\
             {\"template_id\":\"64a1\",\"short_url\":\"0\",\"sender\":\"ACME\",\"recipients\":[{\"mobiles\":\"15558675310\",\
             \"OTP\":\"A-1b\",\"APP\":\"Acme\",\"clientid\":\"msg_01h455vb4pex5vsknk084sn02q\"}]}",
        ),
        // Not sent as a code: a flow like any other.
        (
            Outbound { category: Category::Transactional, ..code },
            "POST https://control.msg91.com/api/v5/flow\ncontent-type: application/json\nauthkey: k3y\n\n\
             {\"template_id\":\"64a1\",\"short_url\":\"0\",\"sender\":\"ACME\",\"recipients\":[{\"mobiles\":\"15558675310\",\
             \"OTP\":\"123456\",\"APP\":\"Acme\",\"clientid\":\"msg_01h455vb4pex5vsknk084sn02q\"}]}",
        ),
    ];
    for (message, expected) in table {
        assert_eq!(wire(&request(&message, &credentials()).unwrap()), expected);
    }
}

#[test]
fn what_it_cannot_carry_is_not_sent() {
    let table = [
        (message(), ErrorCode::TemplateUnknown),
        (Outbound { flash: true, ..message() }, ErrorCode::Unsupported),
        (Outbound { media: &files(&["https://m/1"]), ..message() }, ErrorCode::Unsupported),
        (Outbound { content: Content::Binary(&[1]), ..message() }, ErrorCode::Unsupported),
    ];
    for (message, code) in table {
        assert_eq!(meant(&request(&message, &credentials()).unwrap_err()), (FailOver, code));
    }
}

#[test]
fn answers() {
    let accepted = |id: &str| Ok(Accepted::Message(id.to_owned()));
    let good = [
        (r#"{"type":"success","message":"3763646c30"}"#, "3763646c30"),
        (r#"{"type":"success","request_id":"3763646c31"}"#, "3763646c31"),
    ];
    for (body, id) in good {
        assert_eq!(response(&answer(200, body), &credentials()), accepted(id));
    }
    let table: &[(u16, &str, SendErrorKind, ErrorCode)] = &[
        // Errors come with HTTP 200 too.
        (200, r#"{"type":"error","message":"Template ID missing"}"#, FailOver, ErrorCode::TemplateUnknown),
        (
            200,
            r#"{"type":"error","code":"201","message":"Authentication failure"}"#,
            ConnectionFatal,
            ErrorCode::CarrierCredentials,
        ),
        (
            401,
            r#"{"type":"error","code":"207","message":"Invalid authkey"}"#,
            ConnectionFatal,
            ErrorCode::CarrierCredentials,
        ),
        (
            418,
            r#"{"type":"error","code":418,"message":"IP not whitelisted"}"#,
            ConnectionFatal,
            ErrorCode::CarrierCredentials,
        ),
        (200, r#"{"type":"error","message":"unauthorized"}"#, ConnectionFatal, ErrorCode::CarrierCredentials),
        (
            200,
            r#"{"type":"error","code":"202","message":"Invalid mobile number"}"#,
            Permanent,
            ErrorCode::InvalidNumber,
        ),
        (200, r#"{"type":"error","message":"Please provide valid mobile"}"#, Permanent, ErrorCode::InvalidNumber),
        (200, r#"{"type":"error","code":"203","message":"Invalid sender ID"}"#, FailOver, ErrorCode::SenderRejected),
        (200, r#"{"type":"error","code":"301","message":"Insufficient balance"}"#, FailOver, ErrorCode::CarrierAccount),
        (200, r#"{"type":"error","message":"low wallet balance"}"#, FailOver, ErrorCode::CarrierAccount),
        (
            200,
            r#"{"type":"error","code":"302","message":"Expired account"}"#,
            ConnectionFatal,
            ErrorCode::CarrierAccount,
        ),
        (
            200,
            r#"{"type":"error","code":"303","message":"Banned account"}"#,
            ConnectionFatal,
            ErrorCode::CarrierAccount,
        ),
        (200, r#"{"type":"error","code":"306","message":"Route unavailable"}"#, FailOver, ErrorCode::BlockedByCarrier),
        (200, r#"{"type":"error","code":"310","message":"Too long"}"#, Permanent, ErrorCode::MessageTooLong),
        (200, r#"{"type":"error","code":"311","message":"Same request twice"}"#, Permanent, ErrorCode::ContentFiltered),
        (429, r#"{"type":"error","message":"Too many requests"}"#, Throttled, ErrorCode::CarrierCongested),
        (200, r#"{"type":"error","message":"something new"}"#, Permanent, ErrorCode::CarrierRejected),
        (500, r#"{"type":"error","message":"oops"}"#, Temporary { tries: 3 }, ErrorCode::CarrierError),
        (500, "", Temporary { tries: 3 }, ErrorCode::CarrierError),
        (504, "", Unknown, ErrorCode::OutcomeUnknown),
        (200, "<html>", Unknown, ErrorCode::OutcomeUnknown),
        (200, "{}", Unknown, ErrorCode::OutcomeUnknown),
        (200, r#"{"type":"success"}"#, Unknown, ErrorCode::OutcomeUnknown),
    ];
    for (status, body, kind, code) in table {
        assert_eq!(
            meant(&response(&answer(*status, body), &credentials()).unwrap_err()),
            (*kind, *code),
            "{status} {body}"
        );
    }
}

#[test]
fn callbacks() {
    use ErrorCode as E;
    use ReceiptState::{Delivered, Failed, Interim};
    let url = "https://sms.example.com/v1/callbacks/con_1/tok";
    let v2 = |status: &str, desc: &str| {
        let data = format!(
            r#"[{{"senderId":"ACMEIN","requestId":"376r","userId":"1","campaignName":"API","report":[{{"date":"2026-11-21 12:00:00","number":"919812345678","status":"{status}","desc":"{desc}"}}]}}]"#
        );
        form([("data", data.as_str())])
    };
    let v3 = |status: &str, desc: &str| {
        format!(
            r#"{{"date":"2026-11-21","number":"919812345678","senderId":"ACMEIN","requestId":"376r","status":{status},"desc":"{desc}"}}"#
        )
    };
    let own =
        r#"{"requestId":"376r","telNum":"919812345678","status":"Delivered","deliveryTime":"x","failureReason":""}"#;
    let table = [
        (v2("1", "DELIVERED"), Delivered),
        (v2("2", "FAILED"), Failed(E::Undeliverable)),
        (v2("2", "Absent Subscriber"), Failed(E::AbsentSubscriber)),
        (v2("2", "DLT Template mismatch"), Failed(E::TemplateUnknown)),
        (v2("9", "NDNC"), Failed(E::BlockedByRecipient)),
        (v2("16", "REJECTED"), Failed(E::CarrierRejected)),
        (v2("25", "REJECTED"), Failed(E::CarrierRejected)),
        (v2("17", "BLOCKED NUMBER"), Failed(E::BlockedByCarrier)),
        (v2("8", "SUBMITTED"), Interim),
        (v2("77", "NEW"), Interim),
        (v3("1", "DELIVERED"), Delivered),
        (v3("\"2\"", "FAILED"), Failed(E::Undeliverable)),
        (own.to_owned(), Delivered),
        (own.replace("Delivered", "failed"), Failed(E::Undeliverable)),
        (form([("requestId", "376r"), ("number", "919812345678"), ("status", "1")]), Delivered),
    ];
    for (body, state) in table {
        let heard = heard(&callback(url, &[], &body), &credentials()).unwrap();
        let [receipt] = &heard.receipts[..] else { panic!("{body}") };
        assert_eq!((receipt.id.as_str(), receipt.to, receipt.state), ("376r", phone("919812345678"), state), "{body}");
    }
    let written = r#"{"mobile":"919812345678","receiver":"56161","message":"STOP","UUID":"u1"}"#;
    let inbound = Inbound {
        id: "u1".into(),
        from: "919812345678".into(),
        to: "56161".into(),
        text: "STOP".into(),
        part: None,
        media: vec![],
    };
    assert_eq!(
        heard(&callback(url, &[], written), &credentials()),
        Ok(Heard { receipts: vec![], inbound: vec![inbound] })
    );
    for body in ["", "data=x", "[]", "{}", r#"{"status":"1"}"#] {
        assert!(matches!(heard(&callback(url, &[], body), &credentials()), Err(CallbackError::Malformed(_))), "{body}");
    }
}
