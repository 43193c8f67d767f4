//! When messages go: quiet hours, windows and local times; and what waits for its time, changed before it goes.

use std::time::Duration;

use serde_json::{Value, json};

use super::messages::{finished, quick, quick_on_postgres};
use crate::app::TestApp;

/// At noon in UTC (13:00, a Saturday).
const BERLIN: &str = "+4915112345678";
/// At noon in UTC: 21:00.
const TOKYO: &str = "+819012345678";
/// At noon in UTC: 7:00.
const NEW_YORK: &str = "+12125550123";

async fn settings(t: &TestApp, key: &str, settings: Value) -> u16 {
    t.call("PATCH", "/v1/account", key, Some(json!({ "settings": settings }))).await.status
}

#[tokio::test]
async fn promotional_messages_wait_for_the_end_of_quiet_hours() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    // A member of the body, the account's settings, and when it goes: now if empty.
    #[rustfmt::skip]
    let rows = [
        (BERLIN, json!({"category": "promotional"}), json!({}), ""),
        (TOKYO, json!({"category": "promotional"}), json!({}), "2026-11-22T00:00:00.000Z"),
        (NEW_YORK, json!({"category": "promotional"}), json!({}), "2026-11-21T13:00:00.000Z"),
        (TOKYO, json!({}), json!({}), ""),
        (TOKYO, json!({"category": "promotional", "quiet_hours": "keep"}), json!({}), "2026-11-22T00:00:00.000Z"),
        (TOKYO, json!({"category": "promotional", "quiet_hours": "ignore"}), json!({"quiet_hours_ignorable": true}), ""),
        (TOKYO, json!({"category": "promotional"}), json!({"quiet_hours": "off"}), ""),
        (TOKYO, json!({"category": "promotional"}), json!({"quiet_hours": {"own": {"from": "08:00", "to": "22:00"}}}), ""),
        (BERLIN, json!({"category": "promotional"}), json!({"quiet_hours": {"own": {"from": "10:00", "to": "18:00", "days": ["mon", "fri"]}}}),
         "2026-11-23T09:00:00.000Z"),
        // A window binds whatever it is.
        (BERLIN, json!({"send_window": {"from": "15:00", "to": "16:00"}}), json!({"quiet_hours": "country"}), "2026-11-21T14:00:00.000Z"),
        (TOKYO, json!({"category": "promotional", "send_window": {"from": "06:00", "to": "09:30", "days": ["tue"]}, "validity_s": 604_800}), json!({}),
         "2026-11-24T00:00:00.000Z"),
    ];
    for (to, mut body, changed, expected) in rows {
        assert_eq!(settings(&t, &key, changed).await, 200);
        (body["to"], body["text"]) = (json!(to), json!("Sale!"));
        let answer = t.post("/v1/messages", &key, body.clone()).await;
        assert_eq!(answer.status, 202, "{body}: {}", answer.text);
        let sent = answer.json();
        let expected = match expected {
            "" => [json!("queued"), Value::Null, Value::Null],
            at => [json!("scheduled"), json!(at), json!("quiet_hours")],
        };
        assert_eq!([&sent["status"], &sent["scheduled_at"], &sent["delayed_by"]], expected.each_ref(), "{body}");
    }
}

#[tokio::test]
async fn settings_of_quiet_hours_that_are_none() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    for wrong in [
        json!({"quiet_hours": "never"}),
        json!({"quiet_hours": {"own": {"from": "20:00", "to": "09:00"}}}),
        json!({"quiet_hours": {"own": {"from": "09:00", "to": "20:00", "days": []}}}),
        json!({"quiet_hours": {"own": {"from": "09:00"}}}),
        json!({"quiet_hours": {"own": {"from": "09:00", "to": "24:30"}}}),
        json!({"quiet_hours_ignorable": "yes"}),
    ] {
        assert_eq!(settings(&t, &key, wrong.clone()).await, 400, "{wrong}");
    }
    assert_eq!(t.get("/v1/account", &key).await.json()["settings"]["quiet_hours"], "country");
    // What would wait longer than it lives is refused, and says until when it would wait.
    let body = json!({"to": TOKYO, "text": "Sale!", "category": "promotional", "validity_s": 3600});
    let answer = t.post("/v1/messages", &key, body).await;
    let error = &answer.json()["errors"][0];
    assert_eq!((answer.status, &error["code"]), (400, &json!("quiet_hours")));
    assert!(error["detail"].as_str().unwrap().contains("2026-11-22T00:00:00"), "{error}");
}

/// In one batch some go at once and some in the morning; all of them arrive.
#[tokio::test]
async fn a_batch_goes_to_each_at_its_own_time() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let body = json!({"to": [BERLIN, TOKYO, NEW_YORK], "text": "Sale!", "category": "promotional"});
        let batch = t.post("/v1/batches", &key, body).await.json()["id"].as_str().unwrap().to_owned();
        until(&t, &key, &batch, |counts| counts["delivered"] == 1).await;
        let messages = t.get(&format!("/v1/batches/{batch}/messages"), &key).await.json();
        let at = |i: usize| (messages["data"][i]["status"].clone(), messages["data"][i]["scheduled_at"].clone());
        assert_eq!(at(1), (json!("scheduled"), json!("2026-11-22T00:00:00.000Z")));
        assert_eq!(at(2), (json!("scheduled"), json!("2026-11-21T13:00:00.000Z")));
        t.app.clock.advance(Duration::from_secs(3_600));
        until(&t, &key, &batch, |counts| counts["delivered"] == 2).await;
        t.app.clock.advance(Duration::from_secs(11 * 3_600));
        until(&t, &key, &batch, |counts| counts["delivered"] == 3).await;
    }
}

/// What stands in a queue when the hours end does not go out: it waits for the morning.
#[tokio::test]
async fn what_is_still_queued_when_quiet_hours_begin_waits() {
    let t = TestApp::with(|config| {
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
        // By the test's clock, which stands.
        config.throughput.regular = 1;
    })
    .await;
    let (_, key) = t.account("a").await;
    let body = json!({"to": BERLIN, "text": "Sale!", "category": "promotional"});
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(t.post("/v1/messages", &key, body.clone()).await.json()["id"].as_str().unwrap().to_owned());
    }
    finished(&t, &key, &ids[0]).await;
    let path = format!("/v1/messages/{}", ids[1]);
    assert_eq!(t.get(&path, &key).await.json()["status"], "queued");
    // 20:30 in Berlin.
    t.app.clock.advance(Duration::from_secs(27_000));
    for tries in 0.. {
        let message = t.get(&path, &key).await.json();
        if message["scheduled_at"] == "2026-11-22T08:00:00.000Z" {
            assert_eq!((&message["status"], &message["retry_count"]), (&json!("queued"), &json!(0)));
            assert_eq!(message["history"][1]["reason"], "quiet_hours");
            break;
        }
        assert!(tries < 2_000 && message["final_at"].is_null(), "{message}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    t.app.clock.advance(Duration::from_secs(13 * 3_600));
    assert_eq!(finished(&t, &key, &ids[1]).await["status"], "delivered");
}

async fn until(t: &TestApp, key: &str, batch: &str, so: impl Fn(&Value) -> bool) {
    for _ in 0..2_000 {
        if so(&t.get(&format!("/v1/batches/{batch}"), key).await.json()["counts"]) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{batch} did not come so far in ten seconds");
}

#[tokio::test]
async fn times_of_zones_and_of_recipients() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    #[rustfmt::skip]
    let rows = [
        (BERLIN, json!({"scheduled_at": "2027-03-28T08:00:00", "time_zone": "Europe/Berlin"}), "2027-03-28T06:00:00.000Z"),
        (BERLIN, json!({"scheduled_at": "2027-03-27T08:00:00", "time_zone": "Europe/Berlin"}), "2027-03-27T07:00:00.000Z"),
        (BERLIN, json!({"scheduled_at": "2027-03-28T02:30:00", "time_zone": "Europe/Berlin"}), "2027-03-28T01:30:00.000Z"),
        (BERLIN, json!({"scheduled_at": "2027-01-31T08:00:00", "time_zone": "Asia/Kathmandu"}), "2027-01-31T02:15:00.000Z"),
        (BERLIN, json!({"scheduled_at": "2027-01-31T10:00:00", "local_time": true}), "2027-01-31T09:00:00.000Z"),
        (TOKYO, json!({"scheduled_at": "2027-01-31T10:00:00", "local_time": true}), "2027-01-31T01:00:00.000Z"),
        (NEW_YORK, json!({"scheduled_at": "2027-01-31T10:00:00", "local_time": true}), "2027-01-31T15:00:00.000Z"),
        // Asked for at night, and advertising.
        (TOKYO, json!({"scheduled_at": "2027-01-31T23:00:00", "local_time": true, "category": "promotional"}), "2027-02-01T00:00:00.000Z"),
    ];
    for (to, mut body, expected) in rows {
        (body["to"], body["text"]) = (json!(to), json!("hello"));
        let sent = t.post("/v1/messages", &key, body.clone()).await.json();
        assert_eq!((&sent["status"], &sent["scheduled_at"]), (&json!("scheduled"), &json!(expected)), "{body}");
    }
    // In a batch, with those left out for whom it is past.
    let body =
        json!({"to": [TOKYO, NEW_YORK], "text": "hello", "scheduled_at": "2026-11-21T09:00:00", "local_time": true});
    let answer = t.post("/v1/batches", &key, body.clone()).await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["code"]), (400, &json!("local_time_past")));
    assert_eq!(answer.json()["errors"][0]["pointer"], "#/to/0");
    let mut partial = body;
    partial["partial"] = json!(true);
    let taken = t.post("/v1/batches", &key, partial).await.json();
    assert_eq!((&taken["total"], &taken["refusals"][0]["code"]), (&json!(1), &json!("local_time_past")));
}

#[tokio::test]
async fn a_scheduled_message_is_changed_before_it_goes() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let body = json!({"to": BERLIN, "text": "later", "scheduled_at": "2026-11-22T12:00:00Z", "client_ref": "c", "validity_s": 7200});
        let id = t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/messages/{id}");
        let money = async || {
            let balance = t.get("/v1/me", &key).await.json()["balance"].clone();
            (balance["available"].clone(), balance["held"].clone())
        };
        let long = "x".repeat(200);
        let changed = t.call("PATCH", &path, &key, Some(json!({"text": long}))).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let m = changed.json();
        assert_eq!((&m["text"], &m["parts"], &m["price"]["held"]), (&json!(long), &json!(2), &json!("0.10")));
        assert_eq!((&m["scheduled_at"], &m["client_ref"]), (&json!("2026-11-22T12:00:00.000Z"), &json!("c")));
        assert_eq!(money().await, (json!("99.90"), json!("0.10")));
        let sooner = json!({"scheduled_at": "2026-11-21T14:30:00", "time_zone": "Europe/Berlin"});
        let m = t.call("PATCH", &path, &key, Some(sooner)).await.json();
        assert_eq!(
            (&m["scheduled_at"], &m["expires_at"]),
            (&json!("2026-11-21T13:30:00.000Z"), &json!("2026-11-21T15:30:00.000Z"))
        );
        assert_eq!((&m["text"], &m["price"]["held"]), (&json!(long), &json!("0.10")));
        for (wrong, code) in [
            (json!({"scheduled_at": "2026-11-21T11:00:00Z"}), "invalid_value"),
            (json!({"text": ""}), "too_short"),
            (json!({"text": "x".repeat(2_000)}), "too_long"),
            (json!({"validity_s": 5}), "invalid_value"),
            (json!({"time_zone": "Europe/Berlin"}), "invalid_value"),
            (json!({"to": BERLIN}), "unknown_field"),
            (json!({"send_window": {"from": "09:00", "to": "08:00"}}), "invalid_value"),
        ] {
            let answer = t.call("PATCH", &path, &key, Some(wrong.clone())).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["code"]),
                (400, &json!(code)),
                "{wrong}: {}",
                answer.text
            );
        }
        assert_eq!(money().await, (json!("99.90"), json!("0.10")), "and nothing changed");
        // At once.
        let m =
            t.call("PATCH", &path, &key, Some(json!({"scheduled_at": "2026-11-21T12:00:00Z", "text": "now"}))).await;
        assert_eq!(m.status, 200, "{}", m.text);
        let done = finished(&t, &key, &id).await;
        assert_eq!((&done["status"], &done["text"]), (&json!("delivered"), &json!("now")));
        assert_eq!(money().await, (json!("99.95"), json!("0.00")));
        let late = t.call("PATCH", &path, &key, Some(json!({"text": "too late"}))).await;
        assert_eq!(late.refusal(), (409, "not_editable".into()));
    }
}

#[tokio::test]
async fn what_cannot_be_changed() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let later = "2026-11-22T12:00:00Z";
    let octets = json!({"to": BERLIN, "data": "3q2+7w==", "scheduled_at": later});
    let octets = t.post("/v1/messages", &key, octets).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/messages/{octets}");
    assert_eq!(t.call("PATCH", &path, &key, Some(json!({"text": "x"}))).await.refusal(), (409, "not_editable".into()));
    let moved = t.call("PATCH", &path, &key, Some(json!({"scheduled_at": "2026-11-23T12:00:00Z"}))).await.json();
    assert_eq!((&moved["scheduled_at"], &moved["data"]), (&json!("2026-11-23T12:00:00.000Z"), &json!("3q2+7w==")));
    let batch = t.post("/v1/batches", &key, json!({"to": [BERLIN], "text": "x", "scheduled_at": later})).await.json();
    let messages = t.get(&format!("/v1/batches/{}/messages", batch["id"].as_str().unwrap()), &key).await.json();
    let path = format!("/v1/messages/{}", messages["data"][0]["id"].as_str().unwrap());
    assert_eq!(t.call("PATCH", &path, &key, Some(json!({"text": "x"}))).await.refusal(), (409, "not_editable".into()));
    // More than the balance: nothing changes.
    let poor = t.post("/v1/messages", &key, json!({"to": BERLIN, "text": "x", "scheduled_at": later})).await.json();
    let path = format!("/v1/messages/{}", poor["id"].as_str().unwrap());
    let numbers: Vec<String> = (0..1_997).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
    let rest = t.post("/v1/batches", &key, json!({"to": numbers, "text": "x", "scheduled_at": later})).await;
    assert_eq!(rest.json()["cost"]["held"], "99.85", "{}", rest.text);
    let answer = t.call("PATCH", &path, &key, Some(json!({"text": "x".repeat(200)}))).await;
    assert_eq!(answer.refusal(), (402, "insufficient_credit".into()));
    assert_eq!(t.get(&path, &key).await.json()["text"], "x");
}

#[tokio::test]
async fn a_scheduled_batch_is_moved_and_canceled() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let numbers: Vec<String> = (0..1_200).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
        let batch = |to: Value| json!({"to": to, "text": "hello {{name|default(\"you\")}}", "scheduled_at": "2026-11-22T12:00:00Z"});
        let id = t.post("/v1/batches", &key, batch(json!(numbers))).await.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/batches/{id}");
        let change = |at: &str| Some(json!({ "scheduled_at": at }));
        let moved = t.call("PATCH", &path, &key, change("2026-11-21T12:30:00Z")).await.json();
        assert_eq!((&moved["moved"], &moved["kept"]), (&json!(1_200), &json!(0)), "{moved}");
        let first = t.get(&format!("{path}/messages?limit=1"), &key).await.json()["data"][0].clone();
        assert_eq!(
            (&first["scheduled_at"], &first["expires_at"]),
            (&json!("2026-11-21T12:30:00.000Z"), &json!("2026-11-23T12:30:00.000Z"))
        );
        for wrong in [json!({}), json!({"scheduled_at": "never"}), json!({"text": "x"})] {
            assert_eq!(t.call("PATCH", &path, &key, Some(wrong.clone())).await.status, 400, "{wrong}");
        }
        t.app.clock.advance(Duration::from_secs(1_800));
        until(&t, &key, &id, |counts| counts["delivered"] == 1_200).await;
        assert_eq!(
            t.call("PATCH", &path, &key, change("2026-11-24T12:30:00Z")).await.refusal(),
            (409, "not_editable".into())
        );
        // Local time: each has its own; then all of it is taken back.
        let id =
            t.post("/v1/batches", &key, batch(json!([BERLIN, TOKYO]))).await.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/batches/{id}");
        let local = json!({"scheduled_at": "2026-11-25T10:00:00", "local_time": true});
        assert_eq!(t.call("PATCH", &path, &key, Some(local)).await.json()["moved"], 2);
        let messages = t.get(&format!("{path}/messages"), &key).await.json();
        let times = [&messages["data"][0]["scheduled_at"], &messages["data"][1]["scheduled_at"]];
        assert_eq!(times, [&json!("2026-11-25T09:00:00.000Z"), &json!("2026-11-25T01:00:00.000Z")]);
        assert_eq!(t.call("DELETE", &path, &key, None).await.json()["canceled"], 2);
        t.app.clock.advance(Duration::from_secs(10 * 86_400));
        assert_eq!(t.get(&path, &key).await.json()["counts"]["failed"], 2);
    }
}
