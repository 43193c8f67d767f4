//! Messages: sent, shown, listed, canceled; one-time codes; repeated requests.

use std::time::Duration;

use carillon_store::set_aside;
use carillon_store::testing::{TestPostgres, refuse_outcomes};
use serde_json::{Value, json};

use crate::app::TestApp;

const TO: &str = "+4915112345678";
/// Sandbox numbers: a code's is +1 500 555 0000 plus its own number.
const ABSENT: &str = "+15005550103";
const INVALID: &str = "+15005550101";

/// Reads a message until it is final. Nothing outside the server says when that is, so this asks.
pub async fn finished(t: &TestApp, key: &str, id: &str) -> Value {
    for _ in 0..2_000 {
        let message = t.get(&format!("/v1/messages/{id}"), key).await.json();
        if !message["final_at"].is_null() {
            return message;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} did not end in ten seconds");
}

/// A server whose carrier is quick.
pub async fn quick() -> TestApp {
    quick_on("").await
}

/// On a PostgreSQL of its own.
pub async fn quick_on_postgres() -> TestApp {
    quick_on(&TestPostgres::start().fresh_database().await).await
}

async fn quick_on(url: &str) -> TestApp {
    TestApp::with(|config| {
        config.database.url = url.into();
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
    })
    .await
}

#[tokio::test]
async fn a_message_from_acceptance_to_delivery() {
    for t in [quick().await, quick_on_postgres().await] {
        accepted_and_delivered(t).await;
    }
}

async fn accepted_and_delivered(t: TestApp) {
    let (_, key) = t.account("a").await;
    let body =
        json!({"to": "+49 151 12345678", "from": "Shop", "text": "hello", "client_ref": "order 7", "tags": ["a", "b"]});
    let answer = t.post("/v1/messages", &key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let accepted = answer.json();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/v1/messages/{id}"));
    assert_eq!(
        [&accepted["status"], &accepted["to"], &accepted["from"], &accepted["lane"], &accepted["encoding"]],
        [&json!("queued"), &json!(TO), &json!("Shop"), &json!("normal"), &json!("gsm7")]
    );
    assert_eq!(accepted["price"], json!({"amount": "0.05", "currency": "USD"}));
    let shown = finished(&t, &key, id).await;
    assert_eq!(
        [&shown["status"], &shown["text"], &shown["connection"], &shown["client_ref"], &shown["tags"], &shown["error"]],
        [&json!("delivered"), &json!("hello"), &json!("sandbox"), &json!("order 7"), &json!(["a", "b"]), &Value::Null]
    );
    assert_eq!((&shown["price"]["captured"], &shown["price"]["held"]), (&json!("0.05"), &json!("0.00")));
    let events: Vec<_> = shown["history"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["accepted", "sent", "delivered"]);
    let uuid = id.parse::<carillon_domain::id::MessageId>().unwrap().0;
    assert_eq!(t.get(&format!("/v1/messages/{uuid}"), &key).await.json()["id"], id, "the bare UUID is taken too");
    let balance = t.get("/v1/me", &key).await.json()["balance"].clone();
    assert_eq!((&balance["available"], &balance["held"]), (&json!("99.95"), &json!("0.00")));
}

#[tokio::test]
async fn what_texts_cost_and_how_they_are_written() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let rows = [
        (json!({"text": "x".repeat(160)}), "gsm7", 1, "0.05", "normal"),
        (json!({"text": "x".repeat(161)}), "gsm7", 2, "0.10", "normal"),
        (json!({"text": "سلام"}), "ucs2", 1, "0.05", "normal"),
        (json!({"text": "“hi”"}), "ucs2", 1, "0.05", "normal"),
        (json!({"text": "“hi”", "transliterate": true}), "gsm7", 1, "0.05", "normal"),
        (json!({"text": "ğ".repeat(80)}), "ucs2", 2, "0.10", "normal"),
        (json!({"text": "ğ".repeat(80), "language": "turkish"}), "gsm7", 1, "0.05", "normal"),
        (json!({"text": "hi", "express": true}), "gsm7", 1, "0.07", "express"),
        (json!({"text": "x".repeat(161), "express": true}), "gsm7", 2, "0.14", "express"),
        (json!({"text": "hi", "flash": true}), "gsm7", 1, "0.05", "normal"),
        (json!({"data": "3q2+7w=="}), "binary", 1, "0.05", "normal"),
    ];
    for (mut body, encoding, parts, price, lane) in rows {
        body["to"] = TO.into();
        let estimate = t.post("/v1/estimates", &key, body.clone()).await.json();
        let sent = t.post("/v1/messages", &key, body.clone()).await.json();
        let expected = [&json!(encoding), &json!(parts), &json!(lane)];
        assert_eq!([&sent["encoding"], &sent["parts"], &sent["lane"]], expected, "{body}");
        assert_eq!([&estimate["encoding"], &estimate["parts"], &estimate["lane"]], expected, "{body}");
        assert_eq!((&sent["price"]["amount"], &estimate["total"]), (&json!(price), &json!(price)), "{body}");
        let shown = finished(&t, &key, sent["id"].as_str().unwrap()).await;
        let given = |name: &str| body.get(name).cloned().unwrap_or(Value::Null);
        assert_eq!(
            (shown["status"].as_str(), &shown["text"], &shown["data"]),
            (Some("delivered"), &given("text"), &given("data")),
            "{body}"
        );
    }
}

#[tokio::test]
async fn failures_say_why_and_cost_nothing() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    for (to, status, code) in [(INVALID, "failed", "invalid_number"), (ABSENT, "undelivered", "absent_subscriber")] {
        let sent = t.post("/v1/messages", &key, json!({"to": to, "text": "hello"})).await.json();
        let shown = finished(&t, &key, sent["id"].as_str().expect("accepted")).await;
        assert_eq!((&shown["status"], &shown["error"]["code"]), (&json!(status), &json!(code)), "{shown}");
        for member in ["title", "explanation", "action"] {
            assert!(shown["error"][member].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
        }
        assert_eq!((&shown["price"]["captured"], &shown["price"]["held"]), (&json!("0.00"), &json!("0.00")));
    }
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "100.00");
}

#[tokio::test]
async fn one_time_codes_are_sent_at_once_or_not_at_all() {
    let t = quick().await;
    let (account, key) = t.account("a").await;
    let sent = t.post("/v1/messages", &key, json!({"to": TO, "otp": true})).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let body = sent.json();
    let code = body["otp_code"].as_str().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
    assert_eq!((&body["status"], &body["lane"]), (&json!("sent"), &json!("otp")));
    let shown = finished(&t, &key, body["id"].as_str().unwrap()).await;
    assert_eq!(shown["text"], format!("Your code is {code}"));
    let given = t
        .post("/v1/messages", &key, json!({"to": TO, "otp": true, "otp_code": "AB12", "text": "{code}!"}))
        .await
        .json();
    assert_eq!((&given["otp_code"], given["status"].as_str()), (&json!("AB12"), Some("sent")));
    let failed = t.post("/v1/messages", &key, json!({"to": INVALID, "otp": true})).await;
    assert_eq!(failed.refusal(), (503, "otp_failed".into()), "{}", failed.text);
    let problem = failed.json();
    assert_eq!(problem["error"], "OTP delivery failed - operator cannot deliver immediately");
    assert_eq!(problem["failure"]["code"], "invalid_number");
    let ended = finished(&t, &key, problem["message_id"].as_str().unwrap()).await;
    assert_eq!((&ended["status"], &ended["price"]["captured"]), (&json!("failed"), &json!("0.00")));
    let settings = json!({"settings": {"otp_return_code": false}});
    assert_eq!(t.call("PATCH", "/v1/account", &key, Some(settings)).await.status, 200, "{}", account.id);
    let quiet = t.post("/v1/messages", &key, json!({"to": TO, "otp": true})).await.json();
    assert_eq!((&quiet["otp_code"], quiet["status"].as_str()), (&Value::Null, Some("sent")));
    let shown = finished(&t, &key, quiet["id"].as_str().unwrap()).await;
    assert_eq!(shown["text"], "Your code is ******");
}

#[tokio::test]
async fn a_repeated_request_is_one() {
    let t = std::sync::Arc::new(quick().await);
    let (_, key) = t.account("a").await;
    let send = |t: &TestApp, idempotency: &str, body: Value| {
        t.request("POST", "/v1/messages").bearer_auth(&key).header("idempotency-key", idempotency).json(&body)
    };
    let body = json!({"to": TO, "text": "once"});
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (t, request) = (t.clone(), send(&t, "k1", body.clone()));
        tasks.spawn(async move { t.send(request).await });
    }
    let answers = tasks.join_all().await;
    let first = &answers[0];
    assert!(answers.iter().all(|a| a.status == 202 && a.text == first.text), "one answer: {}", first.text);
    let replays = answers.iter().filter(|a| a.headers.get("idempotent-replayed").is_some_and(|v| v == "true")).count();
    assert_eq!(replays, 199);
    finished(&t, &key, first.json()["id"].as_str().unwrap()).await;
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "99.95", "one charge");
    for (to, status) in [(TO, 200), (INVALID, 503)] {
        let otp = json!({"to": to, "otp": true});
        let (first, again) = (t.send(send(&t, to, otp.clone())).await, t.send(send(&t, to, otp)).await);
        assert_eq!((first.status, again.status), (status, status), "{} {}", first.text, again.text);
        assert_eq!(again.headers["idempotent-replayed"], "true");
        let member = if status == 200 { "otp_code" } else { "message_id" };
        assert_eq!(first.json()[member], again.json()[member]);
    }
}

#[tokio::test]
async fn a_one_time_code_still_being_decided_is_not_asked_for_twice() {
    let t = std::sync::Arc::new(TestApp::with(|config| config.sandbox.accept_delay_ms = 1_000).await);
    let (_, key) = t.account("a").await;
    let request = |t: &TestApp| {
        let body = json!({"to": TO, "otp": true});
        t.request("POST", "/v1/messages").bearer_auth(&key).header("idempotency-key", "k1").json(&body)
    };
    let first = tokio::spawn({
        let (t, request) = (t.clone(), request(&t));
        async move { t.send(request).await }
    });
    while t.get("/v1/messages", &key).await.json()["data"] == json!([]) {
        tokio::task::yield_now().await;
    }
    let second = t.send(request(&t)).await;
    assert_eq!(second.refusal(), (409, "idempotency_in_flight".into()), "{}", second.text);
    assert_eq!(second.headers["retry-after"], "1");
    let first = first.await.unwrap();
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(t.send(request(&t)).await.json()["otp_code"], first.json()["otp_code"]);
}

#[tokio::test]
async fn messages_are_canceled_while_they_can_be() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let later = json!({"to": TO, "text": "later", "scheduled_at": "2026-12-01T08:00:00+01:00"});
    let accepted = t.post("/v1/messages", &key, later).await.json();
    assert_eq!(
        (&accepted["status"], &accepted["scheduled_at"]),
        (&json!("scheduled"), &json!("2026-12-01T07:00:00.000Z"))
    );
    let path = format!("/v1/messages/{}", accepted["id"].as_str().unwrap());
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["held"], "0.05");
    for _ in 0..2 {
        let canceled = t.call("DELETE", &path, &key, None).await;
        assert_eq!((canceled.status, &canceled.json()["status"]), (200, &json!("canceled")), "{}", canceled.text);
    }
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "100.00");
    let sent = t.post("/v1/messages", &key, json!({"to": TO, "text": "now"})).await.json();
    let id = sent["id"].as_str().unwrap();
    finished(&t, &key, id).await;
    let late = t.call("DELETE", &format!("/v1/messages/{id}"), &key, None).await;
    assert_eq!(late.refusal(), (409, "too_late_to_cancel".into()));
}

#[tokio::test]
async fn lists_select_and_go_on() {
    for t in [quick().await, quick_on_postgres().await] {
        selected_and_paged(t).await;
    }
}

async fn selected_and_paged(t: TestApp) {
    let (_, key) = t.account("a").await;
    let mut ids = Vec::new();
    for i in 0..7 {
        let body = json!({"to": format!("+491511234567{i}"), "text": "hi", "client_ref": format!("r{i}"), "tags": [if i % 2 == 0 { "even" } else { "odd" }],
            "express": i == 3, "scheduled_at": "2026-12-01T00:00:00Z"});
        ids.push(t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned());
    }
    let canceled = t.call("DELETE", &format!("/v1/messages/{}", ids[5]), &key, None).await;
    assert_eq!(canceled.status, 200, "{}", canceled.text);
    let rows: &[(&str, &[usize])] = &[
        ("", &[6, 5, 4, 3, 2, 1, 0]),
        ("status=canceled", &[5]),
        ("status=delivered", &[]),
        ("to=%2B4915112345672", &[2]),
        ("lane=express", &[3]),
        ("client_ref=r4", &[4]),
        ("tag=even", &[6, 4, 2, 0]),
        ("tag=eve", &[]),
        ("tag=odd&status=scheduled", &[3, 1]),
        ("since=2026-11-21T11:00:00Z&until=2026-11-21T13:00:00Z", &[6, 5, 4, 3, 2, 1, 0]),
        ("since=2026-11-21T13:00:00Z", &[]),
        ("until=2026-11-21T11:00:00Z", &[]),
        ("batch=bat_01h455vb4pex5vsknk084sn02q", &[]),
    ];
    for (query, expected) in rows {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = t.get(&format!("/v1/messages?{query}&limit=2{cursor}").replace("?&", "?"), &key).await;
            assert_eq!(page.status, 200, "{query}: {}", page.text);
            let page = page.json();
            let rows = page["data"].as_array().unwrap();
            assert!(rows.len() <= 2 && rows.iter().all(|m| m.get("history").is_none()));
            found.extend(rows.iter().map(|m| ids.iter().position(|id| m["id"] == **id).unwrap()));
            assert_eq!(page["has_more"], !page["next_cursor"].is_null());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(&found, expected, "{query}");
    }
    let first = t.get("/v1/messages?limit=1", &key).await.json();
    let foreign = format!("/v1/messages?limit=1&tag=even&cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!(
        t.get(&foreign, &key).await.refusal(),
        (400, "invalid_cursor".into()),
        "a cursor belongs to its filters"
    );
}

/// An outcome the database refuses holds up nobody and is kept for the operator.
#[tokio::test]
async fn an_outcome_that_cannot_be_written_is_set_aside() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    refuse_outcomes(&t.app.db, "poison").await.unwrap();
    let bad = t.post("/v1/messages", &key, json!({"to": TO, "text": "x", "client_ref": "poison"})).await;
    let good = t.post("/v1/messages", &key, json!({"to": TO, "text": "x"})).await;
    let id = |answer: &crate::app::Answer| answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(finished(&t, &key, &id(&good)).await["status"], "delivered");
    let mut kept = Vec::new();
    for _ in 0..2_000 {
        kept = set_aside::list(&t.app.db, 0, 10).await.unwrap();
        // The carrier's answer; its receipt is about a message that never got one, and is parked.
        if !kept.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].message.map(|m| m.to_string()), Some(id(&bad)));
    assert!(kept.iter().all(|row| row.error.contains("poison")), "{kept:?}");
    assert_eq!(t.get(&format!("/v1/messages/{}", id(&bad)), &key).await.json()["status"], "queued");
}
