//! The three endpoints of the fourth seed, by its document's own examples.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use carillon_domain::permission::{Scope, Scopes};
use serde_json::{Value, json};

use crate::api::contacts::made;
use crate::api::messages::{quick, quick_on_postgres};
use crate::app::{Answer, TestApp};

const SECRET: &str = "of the forwarder";

/// The account of the document: three take part in `course_123`, one of them a new lead; two leads are new, one has paid.
async fn academy(t: &TestApp, name: &str) -> String {
    let (_, key) = t.account(name).await;
    let group =
        made(t, &key, "/v1/groups", json!({"name": "React", "kind": "course", "external_id": "course_123"})).await;
    let mut members = Vec::new();
    for (phone, status) in [("+4915112345671", "enrolled"), ("+4915112345672", "enrolled"), ("+4915112345673", "new")] {
        members.push(made(t, &key, "/v1/contacts", json!({"phone": phone, "status": status})).await);
    }
    t.post(&format!("/v1/groups/{group}/members"), &key, json!({"add": members})).await;
    made(t, &key, "/v1/contacts", json!({"phone": "+4915112345674"})).await;
    made(t, &key, "/v1/contacts", json!({"phone": "+4915112345675", "status": "paid"})).await;
    key
}

async fn send(t: &TestApp, key: &str, recipients: Value) -> Answer {
    t.post("/api/sms/send", key, json!({"message": "Welcome to React course!", "recipients": recipients})).await
}

/// The newest message of the history, once it has this status.
async fn newest(t: &TestApp, key: &str, status: &str) -> Value {
    for _ in 0..2_000 {
        let message = t.get("/api/sms/history?limit=1", key).await.json()["messages"][0].clone();
        if message["status"] == status {
            return message;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it was not {status} in ten seconds");
}

#[tokio::test]
async fn sent_as_the_document_shows_and_seen_in_the_history() {
    for t in [quick().await, quick_on_postgres().await] {
        let key = academy(&t, "academy").await;
        let recipients = json!([{"type": "course", "id": "course_123"}, {"type": "lead_group", "status": "new"}]);
        let sent = send(&t, &key, recipients).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        let sent = sent.json();
        assert_eq!(
            [&sent["success"], &sent["status"], &sent["total_count"], &sent["cost"]],
            [&json!(true), &json!("sending"), &json!(4), &json!(0.2)],
            "who is in both gets it once"
        );
        let message = newest(&t, &key, "sent").await;
        let expected = json!({"id": sent["message_id"], "message": "Welcome to React course!", "total_count": 4,
            "delivered_count": 4, "failed_count": 0, "status": "sent", "cost": 0.2, "sent_at": "2026-11-21T12:00:00.000Z"});
        assert_eq!(message, expected, "the members of the document, and no others");
    }
}

/// recipients -> how many get it
#[tokio::test]
async fn whom_recipients_stand_for() {
    let t = quick().await;
    let key = academy(&t, "academy").await;
    let person = json!({"type": "individual", "phone": "+44 7400 123456"});
    let rows = [
        (json!([{"type": "course", "id": "course_123"}]), 3),
        (json!([{"type": "lead_group"}]), 2),
        (json!([{"type": "lead_group", "status": "paid"}]), 1),
        (json!([person]), 1),
        (json!([person, person, {"type": "individual", "phone": "+447400123456"}]), 1),
        (json!([{"type": "lead_group", "status": "paid"}, {"type": "lead_group", "status": "nobody has this"}]), 1),
    ];
    for (recipients, expected) in rows {
        let sent = send(&t, &key, recipients.clone()).await;
        assert_eq!((sent.status, &sent.json()["total_count"]), (200, &json!(expected)), "{recipients}: {}", sent.text);
    }
    let stopped = t.post("/v1/suppressions", &key, json!({"phone": "+4915112345671"})).await;
    assert_eq!(stopped.status, 201, "{}", stopped.text);
    let sent = send(&t, &key, json!([{"type": "course", "id": "course_123"}])).await;
    assert_eq!(sent.json()["total_count"], 2, "who must not be written to is left out: {}", sent.text);
}

/// Courses and leads in the platform's own tables go before copies of them.
#[tokio::test]
async fn recipients_from_a_source() {
    let t = quick().await;
    let key = academy(&t, "academy").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/people", listener.local_addr().unwrap());
    let people = || async { axum::Json(json!([{"p": "+4915112345681"}, {"p": "+4915112345682"}])) };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/people", get(people))).await });
    for name in ["course:course_9", "lead_group:paid"] {
        made(&t, &key, "/v1/sources", json!({"name": name, "http": {"url": url}, "columns": {"phone": "p"}})).await;
    }
    for recipient in [json!({"type": "course", "id": "course_9"}), json!({"type": "lead_group", "status": "paid"})] {
        let sent = send(&t, &key, json!([recipient])).await;
        assert_eq!((sent.status, &sent.json()["total_count"]), (200, &json!(2)), "{}", sent.text);
    }
}

/// body -> status, code, the field refused and its code
#[tokio::test]
async fn what_is_refused() {
    let t = quick().await;
    let key = academy(&t, "academy").await;
    let to = json!([{"type": "individual", "phone": "+4915112345671"}]);
    made(&t, &key, "/v1/groups", json!({"name": "Empty", "kind": "course", "external_id": "empty"})).await;
    made(&t, &key, "/v1/groups", json!({"name": "No course", "external_id": "list_1"})).await;
    t.post("/v1/suppressions", &key, json!({"phone": "+447400123456"})).await;
    let rows = [
        (json!({"recipients": to}), 400, "invalid_request", "#/message", "missing_field"),
        (json!({"message": "", "recipients": to}), 400, "invalid_request", "#/message", "too_short"),
        (json!({"message": "a".repeat(5_000), "recipients": to}), 400, "invalid_request", "#/message", "too_long"),
        (json!({"message": "a"}), 400, "invalid_request", "#/recipients", "missing_field"),
        (json!({"message": "a", "recipients": []}), 400, "invalid_request", "#/recipients", "too_short"),
        (json!({"message": "a", "recipients": to, "from": "x"}), 400, "invalid_request", "#/from", "unknown_field"),
        (
            json!({"message": "a", "recipients": [{"type": "course", "id": "gone"}]}),
            400,
            "invalid_request",
            "#/recipients/0/id",
            "not_found",
        ),
        (
            json!({"message": "a", "recipients": [{"type": "course", "id": "list_1"}]}),
            400,
            "invalid_request",
            "#/recipients/0/id",
            "not_found",
        ),
        (
            json!({"message": "a", "recipients": [{"type": "course", "id": "empty"}]}),
            400,
            "invalid_request",
            "#/recipients",
            "too_short",
        ),
        (
            json!({"message": "a", "recipients": [{"type": "individual", "phone": "+1-555-0123"}]}),
            400,
            "invalid_request",
            "#/recipients/0/phone",
            "phone_too_short",
        ),
        (
            json!({"message": "a", "recipients": [{"type": "course", "id": "course_123"}, {"type": "lead_group", "status": ""}]}),
            400,
            "invalid_request",
            "#/recipients/1/status",
            "invalid_value",
        ),
        (
            json!({"message": "a", "recipients": [{"type": "individual", "phone": "+447400123456"}]}),
            403,
            "suppressed",
            "#/recipients/0",
            "suppressed",
        ),
    ];
    for (body, status, code, pointer, field) in rows {
        let answer = t.post("/api/sms/send", &key, body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{body}: {}", answer.text);
        let (said, first) = (answer.json(), answer.json()["errors"][0].clone());
        assert_eq!((&first["pointer"], &first["code"]), (&json!(pointer), &json!(field)), "{body}");
        assert_eq!((&said["success"], said["error"].is_string()), (&json!(false), true), "{body}");
        assert_eq!(answer.headers["content-type"], "application/json", "not a problem of /v1");
    }
    let kinds = [
        json!({"type": "segment", "id": "x"}),
        json!({"type": "course"}),
        json!({"id": "course_123"}),
        json!("+4915112345671"),
    ];
    for recipient in kinds {
        let answer = send(&t, &key, json!([recipient])).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{recipient}: {}", answer.text);
    }
    for query in ["limit=0", "limit=201", "offset=-1", "offset=100001", "page=2"] {
        assert_eq!(
            t.get(&format!("/api/sms/history?{query}"), &key).await.refusal(),
            (400, "invalid_query".into()),
            "{query}"
        );
    }
    let history = t.get("/api/sms/history", &key).await.json();
    assert_eq!(history, json!({"messages": []}), "nothing of all that was sent");
}

#[tokio::test]
async fn who_may_and_what_it_costs() {
    let t = quick().await;
    let key = academy(&t, "academy").await;
    for (method, path) in [("POST", "/api/sms/send"), ("GET", "/api/sms/history")] {
        assert_eq!(
            t.call(method, path, "", Some(json!({}))).await.refusal(),
            (401, "unauthenticated".into()),
            "{path}"
        );
        let (_, reader) = t.account_with("b", Scopes::NONE.with(Scope::BillingRead)).await;
        assert_eq!(t.call(method, path, &reader, Some(json!({}))).await.refusal(), (403, "forbidden".into()), "{path}");
    }
    assert_eq!(t.call("DELETE", "/api/sms/history", &key, None).await.json()["success"], false);
    // 2,001 parts of 0.05 where there are 100.00: nobody gets it.
    let people: Vec<_> =
        (0..667).map(|i| json!({"type": "individual", "phone": format!("+49151{:08}", 20_000_000 + i)})).collect();
    let long = json!({"message": "a".repeat(400), "recipients": people});
    let short = t.post("/api/sms/send", &key, long).await;
    assert_eq!(short.refusal(), (402, "insufficient_credit".into()), "{}", short.text);
    assert_eq!(t.get("/api/sms/history", &key).await.json(), json!({"messages": []}));
    // The same request twice is one message.
    let once = |key: &str| {
        let body = json!({"message": "Hi", "recipients": [{"type": "course", "id": "course_123"}]});
        t.request("POST", "/api/sms/send").bearer_auth(key).header("idempotency-key", "k1").json(&body)
    };
    let (first, again) = (t.send(once(&key)).await, t.send(once(&key)).await);
    assert_eq!((first.status, &first.json()["message_id"]), (200, &again.json()["message_id"]), "{}", first.text);
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn the_history_page_by_page() {
    let t = quick().await;
    let (academy, other) = (academy(&t, "academy").await, t.account("other").await.1);
    for text in ["one", "two", "three"] {
        let body = json!({"message": text, "recipients": [{"type": "lead_group"}]});
        assert_eq!(t.post("/api/sms/send", &academy, body).await.status, 200);
        t.app.clock.advance(Duration::from_secs(1));
    }
    let texts = async |query: &str| {
        let page = t.get(&format!("/api/sms/history{query}"), &academy).await.json();
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("").await, ["three", "two", "one"], "by sent_at, newest first");
    assert_eq!(texts("?limit=2").await, ["three", "two"]);
    assert_eq!(texts("?limit=2&offset=2").await, ["one"]);
    assert_eq!(texts("?offset=3").await, Vec::<String>::new());
    assert_eq!(t.get("/api/sms/history", &other).await.json(), json!({"messages": []}));
}

async fn notify(t: &TestApp, secret: Option<&str>, body: Value) -> Answer {
    let request = t.request("POST", "/api/sms/delivery-webhook").json(&body);
    t.send(secret.into_iter().fold(request, |request, secret| request.header("x-webhook-secret", secret))).await
}

/// A carrier that takes everything and says nothing more for an hour.
async fn silent(secret: &str) -> TestApp {
    TestApp::with(|config| {
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 3_600_000;
        config.faces.delivery_webhook_secret = secret.into();
    })
    .await
}

#[tokio::test]
async fn a_delivery_log_counts_each_number_once() {
    let t = silent(SECRET).await;
    let key = academy(&t, "academy").await;
    let id = send(&t, &key, json!([{"type": "course", "id": "course_123"}])).await.json()["message_id"].clone();
    for _ in 0..2_000 {
        if t.get(&format!("/v1/batches/{}", id.as_str().unwrap()), &key).await.json()["counts"]["sent"] == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // status, phone -> delivered, failed, status
    let rows = [
        ("delivered", "+4915112345671", 1, 0, "sending"),
        ("delivered", "+4915112345671", 1, 0, "sending"),
        ("failed", "+49-151-12345671", 1, 0, "sending"),
        ("blocked by the carrier", "+4915112345672", 1, 1, "sending"),
        ("delivered", "+4915112345672", 1, 1, "sending"),
        ("delivered", "+49 151 12345673", 2, 1, "sent"),
    ];
    for (status, phone, delivered, failed, overall) in rows {
        let body = json!({"message_id": id, "phone": phone, "status": status, "timestamp": "2025-07-14T10:05:00Z"});
        let heard = notify(&t, Some(SECRET), body).await;
        assert_eq!((heard.status, heard.json()), (200, json!({"status": "ok"})), "{status} {phone}: {}", heard.text);
        let now = t.get("/api/sms/history", &key).await.json()["messages"][0].clone();
        assert_eq!(
            [&now["delivered_count"], &now["failed_count"], &now["status"]],
            [&json!(delivered), &json!(failed), &json!(overall)],
            "{status} {phone}"
        );
    }
    let cost = t.get("/api/sms/history", &key).await.json()["messages"][0]["cost"].clone();
    assert_eq!(cost, json!(0.1), "who did not get it is not paid for");
    let rows = [
        (json!({"message_id": id, "phone": "+447400123456", "status": "delivered"}), 404, "not_found"),
        (
            json!({"message_id": "bat_01h455vb4pex5vsknk084sn02q", "phone": "+4915112345671", "status": "delivered"}),
            404,
            "not_found",
        ),
        (json!({"message_id": "msg_123", "phone": "+1-555-0123", "status": "delivered"}), 400, "invalid_request"),
        (json!({"message_id": id, "phone": "nobody", "status": "delivered"}), 400, "invalid_request"),
        (json!({"message_id": id, "phone": "+4915112345671", "status": ""}), 400, "invalid_request"),
        (
            json!({"message_id": id, "phone": "+4915112345671", "status": "delivered", "timestamp": "now"}),
            400,
            "invalid_request",
        ),
        (json!({"message_id": id, "phone": "+4915112345671"}), 400, "invalid_request"),
    ];
    for (body, status, code) in rows {
        let answer = notify(&t, Some(SECRET), body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_delivery_log_has_a_secret() {
    let body =
        json!({"message_id": "bat_01h455vb4pex5vsknk084sn02q", "phone": "+4915112345671", "status": "delivered"});
    let t = silent(SECRET).await;
    let (_, key) = t.account("a").await;
    for (secret, code) in
        [(None, "unauthenticated"), (Some(""), "invalid_credential"), (Some("of the forwarde"), "invalid_credential")]
    {
        assert_eq!(notify(&t, secret, body.clone()).await.refusal(), (401, code.into()), "{secret:?}");
    }
    assert_eq!(t.post("/api/sms/delivery-webhook", &key, body.clone()).await.status, 401, "an API key is not it");
    let unset = silent("").await;
    for secret in [None, Some("")] {
        assert_eq!(notify(&unset, secret, body.clone()).await.refusal(), (403, "forbidden".into()), "{secret:?}");
    }
}

#[tokio::test]
async fn switched_off_it_is_not_there() {
    let t = TestApp::with(|config| config.faces.course_sms = false).await;
    let (_, key) = t.account("a").await;
    for (method, path) in
        [("POST", "/api/sms/send"), ("GET", "/api/sms/history"), ("POST", "/api/sms/delivery-webhook")]
    {
        let answer = t.call(method, path, &key, Some(json!({}))).await;
        assert_eq!(
            (answer.refusal(), answer.headers["content-type"].as_str()),
            ((404, "not_found".into()), "application/problem+json")
        );
    }
}
