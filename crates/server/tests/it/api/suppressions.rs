//! Numbers that must not be written to: at acceptance, at submit, by list; and what ends it.

use carillon_store::suppression;
use serde_json::{Value, json};

use super::messages::{finished, quick};
use crate::app::TestApp;

const TO: &str = "+4915112345678";
const OTHER: &str = "+4915112345679";

async fn suppress(t: &TestApp, key: &str, body: Value) -> String {
    let answer = t.post("/v1/suppressions", key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn balance(t: &TestApp, key: &str) -> Value {
    t.get("/v1/me", key).await.json()["balance"].clone()
}

#[tokio::test]
async fn the_life_of_an_entry() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let (_, stranger) = t.account("b").await;
    let before = balance(&t, &key).await;
    let id = suppress(&t, &key, json!({"phone": "+49 151 12345678", "text": "asked on the phone"})).await;
    let again = t.post("/v1/suppressions", &key, json!({"phone": TO, "text": "other"})).await;
    assert_eq!(
        (again.status, &again.json()["id"], &again.json()["text"]),
        (200, &json!(id), &json!("asked on the phone"))
    );

    let refused = t.post("/v1/messages", &key, json!({"to": TO, "text": "hi"})).await;
    assert_eq!(refused.refusal(), (403, "suppressed".into()), "{}", refused.text);
    assert_eq!(refused.json()["errors"][0]["pointer"], "#/to");
    assert_eq!(balance(&t, &key).await, before, "nothing held, nothing charged");
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "otp": true})).await.status, 200, "a code was asked for");
    assert_eq!(
        t.post("/v1/messages", &stranger, json!({"to": TO, "text": "hi"})).await.status,
        202,
        "another account's list"
    );

    let path = format!("/v1/suppressions/{id}");
    assert_eq!(t.get(&path, &stranger).await.status, 404);
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "text": "hi"})).await.status, 202);
    let shown = t.get(&path, &key).await.json();
    assert_eq!(
        [&shown["reason"], &shown["scope"], &shown["source"], &shown["ended_by"]],
        [&json!("opt_out"), &json!("account"), &json!("api"), &json!("api")]
    );
    assert!(shown["ended_at"].is_string());
    for (query, expected) in
        [("", 0), ("?ended=true", 1), ("?ended=true&phone=%2B4915112345678", 1), ("?ended=true&reason=dnd", 0)]
    {
        let list = t.get(&format!("/v1/suppressions{query}"), &key).await.json();
        assert_eq!(list["data"].as_array().unwrap().len(), expected, "{query}");
    }
}

/// An entry's reason and scope -> whether the account's messages to the number are refused: plain, advertising, a code, from the sender.
#[tokio::test]
async fn which_messages_are_refused() {
    let t = quick().await;
    let rows = [
        (json!({}), [true, true, false, true]),
        (json!({"reason": "dnd"}), [false, true, false, false]),
        (json!({"reason": "blocked"}), [true, true, true, true]),
        (json!({"reason": "bounced"}), [true, true, false, true]),
        (json!({"category": "promotional"}), [false, true, false, false]),
        (json!({"sender": "Shop"}), [true, true, false, true]),
        (json!({"sender": "Other"}), [true, true, false, false]),
    ];
    for (mut entry, expected) in rows {
        let (_, key) = t.account("a").await;
        entry["phone"] = TO.into();
        suppress(&t, &key, entry.clone()).await;
        let messages = [
            json!({"to": TO, "text": "hi"}),
            json!({"to": TO, "text": "hi", "category": "promotional"}),
            json!({"to": TO, "otp": true}),
            json!({"to": TO, "text": "hi", "from": "Shop"}),
        ];
        for (message, refused) in messages.into_iter().zip(expected) {
            let answer = t.post("/v1/messages", &key, message.clone()).await;
            assert_eq!(answer.status == 403, refused, "{entry} {message}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn batches_leave_them_out() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    suppress(&t, &key, json!({"phone": TO})).await;
    let batch = |partial| json!({"to": [OTHER, TO, "nobody"], "text": "hi", "partial": partial});
    let whole = t.post("/v1/batches", &key, json!({"to": [OTHER, TO], "text": "hi"})).await;
    assert_eq!(whole.refusal(), (403, "suppressed".into()));
    assert_eq!(whole.json()["errors"][0]["pointer"], "#/to/1");
    let mixed = t.post("/v1/batches", &key, batch(false)).await;
    assert_eq!(mixed.refusal(), (400, "invalid_request".into()));
    let taken = t.post("/v1/batches", &key, batch(true)).await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    let expected = json!([{"index": 1, "code": "suppressed"}, {"index": 2, "code": "phone_not_a_number"}]);
    assert_eq!((&taken.json()["total"], &taken.json()["refusals"]), (&json!(1), &expected));
}

/// Accepted first, stopped then, due at last: a link is not given it, and the hold goes back.
#[tokio::test]
async fn what_waits_is_stopped_too() {
    let t = TestApp::with(|config| config.sandbox.receipt_delay_ms = 1).await;
    let (_, key) = t.account("a").await;
    let before = balance(&t, &key).await;
    let body = json!({"to": TO, "text": "hi", "scheduled_at": "2026-11-21T13:00:00Z"});
    let id = t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned();
    suppress(&t, &key, json!({"phone": TO})).await;
    t.app.clock.advance(std::time::Duration::from_secs(3_600));
    let message = finished(&t, &key, &id).await;
    assert_eq!(
        (&message["status"], &message["error"]["code"]),
        (&json!("rejected"), &json!("suppressed")),
        "{message}"
    );
    assert_eq!(balance(&t, &key).await, before);
}

/// The same key, the same answer, though the number has come onto the list since.
#[tokio::test]
async fn a_repeated_request_is_answered_as_before() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let send = async |name: &'static str| {
        let request = t.request("POST", "/v1/messages").bearer_auth(&key).header("idempotency-key", name);
        t.send(request.json(&json!({"to": TO, "text": "hi"}))).await
    };
    let first = send("k1").await;
    suppress(&t, &key, json!({"phone": TO})).await;
    let again = send("k1").await;
    assert_eq!((again.status, &again.json()["id"]), (202, &first.json()["id"]));
    assert_eq!(send("k2").await.refusal(), (403, "suppressed".into()));
}

#[tokio::test]
async fn the_platforms_list_binds_everybody() {
    let t = quick().await;
    let (_, operator) = t.operator().await;
    let (_, key) = t.account("a").await;
    let made = t.post("/v1/admin/suppressions", &operator, json!({"phone": TO, "reason": "blocked"})).await;
    assert_eq!((made.status, &made.json()["scope"]), (201, &json!("platform")), "{}", made.text);
    for body in [json!({"to": TO, "text": "hi"}), json!({"to": TO, "otp": true})] {
        assert_eq!(t.post("/v1/messages", &key, body).await.refusal(), (403, "suppressed".into()));
    }
    let path = format!("/v1/admin/suppressions/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 403);
    assert_eq!(t.get("/v1/suppressions?ended=true", &key).await.json()["data"], json!([]), "it is not the account's");
    assert_eq!(t.call("DELETE", &path, &operator, None).await.status, 204);
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "text": "hi"})).await.status, 202);
}

#[tokio::test]
async fn lists_go_in_and_out() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let csv = "phone,reason,text\n+4915112345678,opt_out,\"=1+1, \"\"quoted\"\"\"\n+49 151 12345679,,\nnobody,,\n+4915112345670,why,\n+4915112345678,,\n";
    let import = async |body: &'static str| {
        let request = t.request("POST", "/v1/suppressions/import").bearer_auth(&key).header("content-type", "text/csv");
        t.send(request.body(body)).await
    };
    let report = import(csv).await.json();
    assert_eq!(
        (&report["added"], &report["existing"], &report["refused"]),
        (&json!(2), &json!(1), &json!(2)),
        "{report}"
    );
    let errors: Vec<_> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["row"].as_u64().unwrap(), &e["field"], &e["code"]))
        .collect();
    assert_eq!(
        errors,
        [(3, &json!("phone"), &json!("phone_not_a_number")), (4, &json!("reason"), &json!("invalid_value"))]
    );
    let again = import(csv).await.json();
    assert_eq!((&again["added"], &again["existing"]), (&json!(0), &json!(3)), "sending it again changes nothing");
    let body = json!({"entries": [{"phone": "+4915112345671", "reason": "dnd"}, {"phone": "", "reason": "dnd"}]});
    let report = t.post("/v1/suppressions/import", &key, body).await.json();
    assert_eq!((&report["added"], &report["refused"]), (&json!(1), &json!(1)));

    let export = t.get("/v1/suppressions/export", &key).await;
    assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = export.text.lines().collect();
    assert_eq!(lines.len(), 4, "{}", export.text);
    assert_eq!(lines[0], "phone,reason,sender,category,text,scope,source,created_at");
    assert_eq!(lines[1], "+4915112345671,dnd,,,,account,import,2026-11-21T12:00:00.000Z");
    assert!(export.text.contains("\"'=1+1, \"\"quoted\"\"\""), "no formula: {}", export.text);
    let (_, other) = t.account("b").await;
    let request = t.request("POST", "/v1/suppressions/import").bearer_auth(&other).header("content-type", "text/csv");
    assert_eq!(t.send(request.body(export.text.clone())).await.json()["added"], 3, "what goes out goes in");
}

#[tokio::test]
async fn what_is_refused() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let rows = [
        (json!({}), "#/phone", "missing_field"),
        (json!({"phone": "12"}), "#/phone", "phone_short_code"),
        (json!({"phone": "+49015112345678"}), "#/phone", "phone_trunk_prefix"),
        (json!({"phone": TO, "reason": "because"}), "#/reason", "invalid_value"),
        (json!({"phone": TO, "sender": "TwelveLetter"}), "#/sender", "sender_too_long"),
        (json!({"phone": TO, "category": "all"}), "#/category", "invalid_value"),
        (json!({"phone": TO, "sender": "Shop", "category": "otp"}), "#/category", "conflicting_fields"),
        (json!({"phone": TO, "text": "x".repeat(501)}), "#/text", "too_long"),
        (json!({"phone": TO, "scope": "account"}), "#/scope", "unknown_field"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post("/v1/suppressions", &key, body.clone()).await;
        let first = &answer.json()["errors"][0];
        assert_eq!((answer.status, &first["pointer"], &first["code"]), (400, &json!(pointer), &json!(code)), "{body}");
    }
    let platform = t.post("/v1/admin/suppressions", &operator, json!({"phone": TO, "sender": "Shop"})).await;
    assert_eq!(platform.json()["errors"][0]["code"], "conflicting_fields");
    for (csv, status, code) in [
        ("", 400, "invalid_request"),
        ("number\n+4915112345678\n", 400, "invalid_request"),
        ("reason\nopt_out\n", 400, "invalid_request"),
        ("phone\n", 400, "invalid_request"),
        ("phone,reason\n+4915112345678\n", 400, "malformed_csv"),
    ] {
        let request = t.request("POST", "/v1/suppressions/import").bearer_auth(&key).header("content-type", "text/csv");
        assert_eq!(t.send(request.body(csv)).await.refusal(), (status, code.into()), "{csv}");
    }
    for query in ["?phone=x", "?reason=why", "?ended=2", "?limit=0"] {
        assert_eq!(
            t.get(&format!("/v1/suppressions{query}"), &key).await.refusal(),
            (400, "invalid_query".into()),
            "{query}"
        );
    }
    assert_eq!(t.get("/v1/suppressions?ended=true", &key).await.json()["data"], json!([]), "nothing was stored");
}

/// Another process on the same database changes the list: this one hears of it.
#[tokio::test]
async fn what_another_process_changes_counts() {
    let t = quick().await;
    let (account, key) = t.account("a").await;
    let id = suppress(&t, &key, json!({"phone": TO})).await.parse().unwrap();
    let list = t.app.pipeline.suppressed();
    let since = t.app.clock.now_ms();
    let now = since + 1_000;
    suppression::end(&t.app.db, account.no, id, carillon_domain::suppression::Source::Api, None, now).await.unwrap();
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "text": "hi"})).await.status, 403, "not heard of yet");
    list.follow(&t.app.db, since).await.unwrap();
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "text": "hi"})).await.status, 202);
}
