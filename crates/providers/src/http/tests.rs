//! Cases of carriers described by settings.

use carillon_domain::error_code::SendErrorKind::{
    self, ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown,
};

use super::*;
use crate::Provider;
use crate::testing::{answer, callback, files, meant, message, settings, wire};

#[test]
fn requests_to_the_byte() {
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[
                ("method", "GET"),
                (
                    "url",
                    "https://c.example/send?u={username}&p={password}&to={to_digits}&from={from}&text={text}&id={id}",
                ),
                ("username", "me"),
                ("password", "a&b {text}"),
            ],
            "GET https://c.example/send?u=me&p=a%26b%20%7Btext%7D&to=15558675310&from=ACME\
             &text=Hi%20%26%20%C3%BC&id=msg_01h455vb4pex5vsknk084sn02q\n\n",
        ),
        (
            &[
                ("url", "https://c.example/sms"),
                ("headers", "Authorization: {basic}\nX-Kind: {category}"),
                ("form", "to={to}\nmsg={text}\nudh={unicode}{flash}{parts}"),
                ("username", "me"),
                ("password", "pw"),
            ],
            "POST https://c.example/sms\nauthorization: Basic bWU6cHc=\nx-kind: transactional\n\
             content-type: application/x-www-form-urlencoded\n\nto=%2B15558675310&msg=Hi%20%26%20%C3%BC&udh=001",
        ),
        (
            &[
                ("method", "PUT"),
                ("url", "https://c.example/sms"),
                ("headers", "Content-Type: application/vnd.x+json"),
                ("json", r#"{"to":["{to}"],"text":"{text}","n":{parts},"u":"{nothing}"}"#),
            ],
            "Put https://c.example/sms\ncontent-type: application/vnd.x+json\n\n\
             {\"to\":[\"+15558675310\"],\"text\":\"Hi & ü\",\"n\":1,\"u\":\"\"}",
        ),
        (
            &[("url", "https://c.example/sms"), ("xml", r#"<sms to="{to_digits}" valid="{validity_s}">{text}</sms>"#)],
            "POST https://c.example/sms\ncontent-type: text/xml; charset=utf-8\n\n\
             <sms to=\"15558675310\" valid=\"3600\">Hi &amp; ü</sms>",
        ),
    ];
    for (given, expected) in table {
        assert_eq!(wire(&request(&message(), &settings(given)).unwrap()), *expected);
    }
}

#[test]
fn what_a_message_says_stays_where_it_is_put() {
    let nasty = "\"}],\"x\":\"{password}\r\nX: y</sms><a>&to=1'%00\u{7}\\";
    let message = Outbound { content: Content::Text(nasty), from: Some("A\r\nHost: evil"), ..message() };
    let of = |body: (&str, &str)| {
        let given =
            [("url", "https://c.example/{text}?t={text}"), ("headers", "X-From: {from}"), ("password", "s3cret"), body];
        request(&message, &settings(&given)).unwrap()
    };
    let json = of(("json", r#"{"text":"{text}"}"#));
    assert_eq!(serde_json::from_slice::<Value>(&json.body).unwrap(), serde_json::json!({ "text": nasty }));
    assert_eq!(json.headers[0], ("x-from".to_owned(), "AHost: evil".to_owned()));
    assert!(
        !json.url.contains(['"', '\r', '\n', ' ', '<', '#']) && json.url.matches(['?', '&', '=']).count() == 2,
        "{}",
        json.url
    );
    let form = of(("form", "text={text}\nto={to}"));
    let pairs: Vec<_> = form_urlencoded::parse(&form.body).into_owned().collect();
    assert_eq!(pairs, [("text".to_owned(), nasty.to_owned()), ("to".to_owned(), "+15558675310".to_owned())]);
    let xml = String::from_utf8(of(("xml", "<sms>{text}</sms>")).body).unwrap();
    assert_eq!((xml.matches('<').count(), xml.matches("s3cret").count()), (2, 0), "{xml}");
}

#[test]
fn files_go_where_they_are_asked_for() {
    let media = files(&["https://m/1?a=b\"c", "https://m/2"]);
    let table: &[(&str, &str, u8, &str)] = &[
        ("json", r#"{"t":"{text}","m":"{media}"}"#, 1, r#"{"t":"Hi & ü","m":"https://m/1?a=b\"c"}"#),
        ("json", r#"{"m":{media_list}}"#, 10, r#"{"m":["https://m/1?a=b\"c","https://m/2"]}"#),
        ("form", "m={media}", 1, "m=https%3A%2F%2Fm%2F1%3Fa%3Db%22c"),
        ("form", "m={media_list}", 10, "m=https%3A%2F%2Fm%2F1%3Fa%3Db%22c%2Chttps%3A%2F%2Fm%2F2"),
        ("xml", "<m>{media}</m>", 1, "<m>https://m/1?a=b&quot;c</m>"),
        ("form", "t={text}", 0, ""),
    ];
    for (kind, template, most, body) in table {
        let settings = settings(&[("url", "https://c.example/"), (kind, template)]);
        assert_eq!(Provider::Http.check(&settings), [], "{template}");
        assert_eq!(Provider::Http.carries(&settings).files, *most, "{template}");
        let message = Outbound { media: &media[..usize::from(*most).min(2)], ..message() };
        let sent = String::from_utf8(request(&message, &settings).unwrap().body).unwrap();
        assert!(sent == *body || *most == 0, "{template}: {sent}");
    }
    let none = settings(&[("url", "https://c.example/"), ("json", r#"{"m":"{media}","l":{media_list}}"#)]);
    assert_eq!(request(&message(), &none).unwrap().body, br#"{"m":"","l":[]}"#);
}

#[test]
fn what_it_cannot_carry_is_not_sent() {
    let media = files(&["https://m/1"]);
    let table = [Outbound { media: &media, ..message() }, Outbound { content: Content::Binary(&[1]), ..message() }];
    for message in table {
        let error = request(&message, &settings(&[("url", "https://c.example/")])).unwrap_err();
        assert_eq!(meant(&error), (FailOver, ErrorCode::Unsupported));
    }
}

#[test]
fn answers() {
    let json = settings(&[
        ("success_pointer", "/status"),
        ("success_values", "ok, queued"),
        ("id_pointer", "/data/0/id"),
        ("error_pointer", "/error/code"),
        (
            "errors",
            "22 = permanent invalid_number\n30 = throttled carrier_congested\n31=failover sender_rejected\n40 = fatal carrier_credentials\n50 = temporary carrier_error",
        ),
    ]);
    let text = settings(&[
        ("success_prefix", "OK"),
        ("id_after", "ID:"),
        ("errors", "ERR 1 = permanent invalid_number\nERR 2 = failover carrier_account"),
    ]);
    let bare = settings(&[]);
    let good = [
        (&json, 200, r#"{"status":"ok","data":[{"id":"x1"}]}"#, "x1"),
        (&json, 202, r#"{"status":"queued","data":[{"id":77}]}"#, "77"),
        (&text, 200, "OK ID: 123, more", "123"),
        (&text, 200, "OK\nID:abc\n", "abc"),
        (&bare, 204, "", ""),
    ];
    for (settings, status, body, id) in good {
        assert_eq!(response(&answer(status, body), settings), Ok(Accepted::Message(id.to_owned())), "{body}");
    }
    let bad: &[(&Credentials, u16, &str, SendErrorKind, ErrorCode)] = &[
        (&json, 400, r#"{"error":{"code":22}}"#, Permanent, ErrorCode::InvalidNumber),
        (&json, 200, r#"{"status":"bad","error":{"code":"30"}}"#, Throttled, ErrorCode::CarrierCongested),
        (&json, 200, r#"{"error":{"code":31}}"#, FailOver, ErrorCode::SenderRejected),
        (&json, 200, r#"{"error":{"code":40}}"#, ConnectionFatal, ErrorCode::CarrierCredentials),
        (&json, 200, r#"{"error":{"code":50}}"#, Temporary { tries: 3 }, ErrorCode::CarrierError),
        // Not listed: never tried again.
        (&json, 200, r#"{"status":"bad","error":{"code":99}}"#, Permanent, ErrorCode::CarrierRejected),
        (&json, 200, r#"{"status":"ok"}"#, Unknown, ErrorCode::OutcomeUnknown),
        (&json, 200, "<html>", Unknown, ErrorCode::OutcomeUnknown),
        (&json, 500, "", Temporary { tries: 3 }, ErrorCode::CarrierError),
        (&text, 200, "ERR 1 bad number", Permanent, ErrorCode::InvalidNumber),
        (&text, 400, "ERR 2", FailOver, ErrorCode::CarrierAccount),
        (&text, 200, "ERR 9", Permanent, ErrorCode::CarrierRejected),
        (&text, 200, "OK", Unknown, ErrorCode::OutcomeUnknown),
        (&bare, 429, "", Throttled, ErrorCode::CarrierCongested),
        (&bare, 302, "", FailOver, ErrorCode::CarrierError),
    ];
    for (settings, status, body, kind, code) in bad {
        assert_eq!(meant(&response(&answer(*status, body), settings).unwrap_err()), (*kind, *code), "{status} {body}");
    }
}

#[test]
fn callbacks() {
    use ReceiptState::{Delivered, Failed, Interim};
    let url = "https://sms.example.com/v1/callbacks/con_1/tok";
    let flat = settings(&[
        ("receipt_id", "mid"),
        ("receipt_to", "dst"),
        ("receipt_status", "st"),
        ("receipt_error", "err"),
        ("statuses", "5 = failed absent_subscriber\n1 = delivered\n6=failed\n7 = unknown"),
        ("inbound_from", "src"),
        ("inbound_to", "our"),
        ("inbound_text", "msg"),
        ("inbound_id", "mid"),
    ]);
    let nested = settings(&[("receipts_at", "/results"), ("receipt_id", "/message/id"), ("receipt_status", "status")]);
    let receipt = |id: &str, to: &str, state, carrier: &str| Receipt {
        id: id.into(),
        to: phone(to),
        state,
        carrier: carrier.into(),
    };
    let table = [
        (&flat, "mid=a&dst=%2B15558675310&st=1", vec![receipt("a", "15558675310", Delivered, "http 1")]),
        (&flat, "mid=a&st=5&err=9", vec![receipt("a", "", Failed(ErrorCode::AbsentSubscriber), "http 5 9")]),
        (&flat, r#"{"mid":12,"st":6}"#, vec![receipt("12", "", Failed(ErrorCode::Undeliverable), "http 6")]),
        (&flat, r#"{"mid":12,"st":7}"#, vec![receipt("12", "", ReceiptState::Unknown, "http 7")]),
        // Not listed: the words of SMPP are known, all else is not the last word.
        (
            &flat,
            "mid=a&st=UNDELIV&err=001",
            vec![receipt("a", "", Failed(ErrorCode::UnknownSubscriber), "http UNDELIV 001")],
        ),
        (&flat, "mid=a&st=99", vec![receipt("a", "", Interim, "http 99")]),
        (
            &nested,
            r#"{"results":[{"message":{"id":"a"},"status":"DELIVRD"},{"message":{"id":"b"},"status":"EXPIRED"},{}]}"#,
            vec![
                receipt("a", "", Delivered, "http DELIVRD"),
                receipt("b", "", Failed(ErrorCode::Expired), "http EXPIRED"),
            ],
        ),
    ];
    for (settings, body, receipts) in table {
        assert_eq!(heard(&callback(url, &[], body), settings), Ok(Heard { receipts, inbound: vec![] }), "{body}");
    }
    let inbound = Inbound {
        id: "z".into(),
        from: "+1555".into(),
        to: "777".into(),
        text: "Hi".into(),
        part: None,
        media: vec![],
    };
    let query = format!("{url}?src=%2B1555&our=777&msg=Hi&mid=z");
    assert_eq!(heard(&callback(&query, &[], ""), &flat), Ok(Heard { receipts: vec![], inbound: vec![inbound] }));
    for body in ["", "x=1", r#"{"results":[]}"#, "mid=a", "src=1"] {
        assert!(matches!(heard(&callback(url, &[], body), &flat), Err(CallbackError::Malformed(_))), "{body}");
        assert!(matches!(heard(&callback(url, &[], body), &nested), Err(CallbackError::Malformed(_))), "{body}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let table: &[(&str, &str, bool)] = &[
        ("url", "https://c.example/{to}?x={text}", true),
        ("url", "https://c.example/{too}", false),
        ("url", "https://{to}/", false),
        ("url", "ftp://c.example", false),
        ("url", "https://c.example/a b", false),
        ("headers", "X-A: {to}\n\nX-B: c", true),
        ("headers", "X A: b", false),
        ("headers", "Host: b", false),
        ("headers", "nothing", false),
        ("form", "to={to}\ntext={text}", true),
        ("form", "to={nobody}", false),
        ("json", r#"{"to":"{to}","n":{parts},"e":{}}"#, true),
        ("json", r#"{"to":"{to}"#, false),
        ("json", r#"{"to":{tO}}"#, false),
        ("xml", "<a>{id}</a>", true),
        ("xml", "<a>{idd}</a>", false),
        ("errors", "1 = permanent invalid_number", true),
        ("errors", "1 = permanent", false),
        ("errors", "1 = sometimes invalid_number", false),
        ("errors", "1 = permanent no_such_code", false),
        ("errors", "1 = permanent invalid_number twice", false),
        ("statuses", "1 = delivered\n2 = failed expired\n3 = interim", true),
        ("statuses", "1 = done", false),
        ("statuses", "1 = failed nowhere", false),
        ("method", "DELETE", false),
    ];
    for (field, value, good) in table {
        let url = if *field == "url" { *value } else { "https://c.example/" };
        let mistakes = Provider::Http.check(&settings(&[("url", url), (field, value)]));
        assert_eq!(mistakes.is_empty(), *good, "{field} {value}: {mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.field == *field));
    }
}
