//! Drips through the API: written, changed, begun, held up, ended and deleted; who enters and leaves by request; and every way that is refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::contacts::{declare, made};
use super::messages::quick;
use crate::app::{Answer, TestApp};

const ADA: &str = "+4915112345678";
const BOB: &str = "+447400123456";

pub async fn act(t: &TestApp, key: &str, id: &str, action: &str, body: Value) -> Answer {
    t.post(&format!("/v1/drips/{id}/{action}"), key, body).await
}

/// A drip of these steps that is active and entered by request alone; its id.
pub async fn active(t: &TestApp, key: &str, steps: Value) -> String {
    let id = made(t, key, "/v1/drips", json!({"name": "Welcome", "category": "transactional", "steps": steps})).await;
    let begun = act(t, key, &id, "activate", json!({})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (200, &json!("active")), "{}", begun.text);
    id
}

/// Has people enter, of whom so many were not in it.
pub async fn enroll(t: &TestApp, key: &str, id: &str, people: Value, entered: u64) {
    let answer = act(t, key, id, "enrollments", json!({"people": people})).await;
    assert_eq!((answer.status, &answer.json()["entered"]), (200, &json!(entered)), "{}", answer.text);
}

/// Waits until a drip is so.
pub async fn until(t: &TestApp, key: &str, id: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..3_000 {
        last = t.get(&format!("/v1/drips/{id}"), key).await.json();
        if so(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} not in half a minute: {what}: {last}");
}

/// Numbers and reasons of those in a drip that a query names.
pub async fn people(t: &TestApp, key: &str, id: &str, query: &str) -> Vec<(String, String)> {
    let list = t.get(&format!("/v1/drips/{id}/enrollments{query}"), key).await;
    assert_eq!(list.status, 200, "{}", list.text);
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let rows = list.json()["data"].as_array().unwrap().clone();
    let mut all: Vec<_> = rows.iter().map(|r| (text(&r["phone"]), text(&r["reason"]))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn what_can_be_done_when_and_what_not() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let id = made(&t, &key, "/v1/drips", json!({"name": "Welcome"})).await;
    let path = format!("/v1/drips/{id}");
    let state = (409, "drip_state".to_owned());
    let shown = t.get(&path, &key).await.json();
    assert_eq!(
        [&shown["status"], &shown["category"], &shown["exit"], &shown["people"], &shown["entry"]],
        [
            &json!("draft"),
            &json!("promotional"),
            &json!({"on_reply": true, "goal_tag": null}),
            &json!({"waiting": 0, "ended": {}}),
            &json!(null)
        ]
    );
    let empty = act(&t, &key, &id, "activate", json!({})).await;
    assert_eq!((empty.status, &empty.json()["errors"][0]["pointer"]), (400, &json!("#/steps")));
    assert_eq!(act(&t, &key, &id, "pause", json!({})).await.refusal(), state);
    assert_eq!(act(&t, &key, &id, "enrollments", json!({"people": [{"phone": ADA}]})).await.refusal(), state);
    assert_eq!(act(&t, &key, &id, "goals", json!({"people": [{"phone": ADA}]})).await.refusal(), state);
    let steps =
        json!({"steps": [{"delay_s": 86_400, "text": "Hi"}], "entry": {"tag": "new"}, "exit": {"goal_tag": "buyer"}});
    let changed = t.call("PATCH", &path, &key, Some(steps)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let changed = changed.json();
    assert_eq!((&changed["entry"], &changed["exit"]["goal_tag"]), (&json!({"tag": "new"}), &json!("buyer")));
    assert_eq!((&changed["exit"]["on_reply"], &changed["steps"][0]["totals"]["waiting"]), (&json!(true), &json!(0)));
    // Whether those who are there already enter is said once.
    let unsaid = act(&t, &key, &id, "activate", json!({})).await;
    assert_eq!((unsaid.status, &unsaid.json()["errors"][0]["pointer"]), (400, &json!("#/existing")));
    let begun = act(&t, &key, &id, "activate", json!({"existing": false})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (200, &json!("active")), "{}", begun.text);
    for (action, body) in [("activate", json!({})), ("activate", json!({"existing": true}))] {
        assert_eq!(act(&t, &key, &id, action, body).await.refusal(), state);
    }
    for (method, body) in [("PATCH", Some(json!({"name": "x"}))), ("DELETE", None)] {
        assert_eq!(t.call(method, &path, &key, body).await.refusal(), state, "{method}");
    }
    // People enter and leave while it is active or paused.
    enroll(&t, &key, &id, json!([{"phone": ADA}, {"phone": "+49 151 12345678"}, {"phone": BOB}]), 2).await;
    assert_eq!(t.call("POST", &format!("{path}/pause"), &key, None).await.json()["status"], "paused");
    enroll(&t, &key, &id, json!([{"phone": BOB}]), 0).await;
    assert_eq!(people(&t, &key, &id, "?state=waiting").await.len(), 2);
    let listed = t.get(&format!("{path}/enrollments?phone=%2B447400123456"), &key).await.json();
    let expected = json!([{"phone": BOB, "state": "waiting", "reason": null, "step": 1, "due_at": "2026-11-22T12:00:00.000Z",
        "entered_at": "2026-11-21T12:00:00.000Z", "ended_at": null}]);
    assert_eq!(listed["data"], expected);
    let first = t.get(&format!("{path}/enrollments?limit=1"), &key).await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(people(&t, &key, &id, &format!("?limit=1&cursor={cursor}")).await.len(), 1);
    let of_bob = format!("{path}/enrollments?phone=%2B447400123456");
    assert_eq!(t.call("DELETE", &of_bob, &key, None).await.status, 204);
    assert_eq!(t.call("DELETE", &of_bob, &key, None).await.status, 404, "he is not in it any more");
    assert_eq!(
        act(&t, &key, &id, "goals", json!({"people": [{"phone": ADA}, {"phone": BOB}]})).await.json()["ended"],
        1
    );
    let ended = [(BOB, "removed"), (ADA, "goal")].map(|(phone, why)| (phone.to_owned(), why.to_owned()));
    assert_eq!(people(&t, &key, &id, "?state=ended").await, ended);
    assert_eq!(people(&t, &key, &id, "?state=goal").await, ended[1..]);
    // Who has left enters anew when that is asked for.
    enroll(&t, &key, &id, json!([{"phone": ADA}]), 0).await;
    let again = act(&t, &key, &id, "enrollments", json!({"people": [{"phone": ADA}], "again": true})).await;
    assert_eq!(again.json(), json!({"entered": 1, "unchanged": 0}));
    // Ended, everybody leaves.
    let archived = t.call("POST", &format!("{path}/archive"), &key, None).await;
    assert_eq!((archived.status, &archived.json()["status"]), (200, &json!("archived")));
    let emptied = until(&t, &key, &id, "all have left", |d| d["people"]["waiting"] == 0).await;
    assert_eq!(emptied["people"]["ended"], json!({"archived": 1, "removed": 1}));
    for action in ["activate", "pause", "archive"] {
        assert_eq!(act(&t, &key, &id, action, json!({})).await.refusal(), state, "{action}");
    }
    assert_eq!(t.get("/v1/drips?status=archived", &key).await.json()["data"][0]["id"], json!(id));
    assert_eq!(t.get("/v1/drips?status=active", &key).await.json()["data"], json!([]));
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
}

#[tokio::test]
async fn bodies_that_are_refused_and_change_nothing() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, other) = t.account("b").await;
    declare(&t, &key, "city", "text").await;
    let foreign = made(&t, &other, "/v1/segments", json!({"name": "x", "filter": {"tag": "x"}})).await;
    let one = |step: Value| json!({"name": "a", "steps": [{"delay_s": 0, "text": "ok"}, step]});
    let many: Vec<_> = (0..21).map(|n| json!({"delay_s": n, "text": "x"})).collect();
    let rows = [
        (json!({}), "#/name", "missing_field"),
        (json!({"name": ""}), "#/name", "too_short"),
        (json!({"name": "a", "x": 1}), "#/x", "unknown_field"),
        (json!({"name": "a", "steps": many}), "#/steps", "too_long"),
        (json!({"name": "a", "steps": {}}), "#/steps", "wrong_type"),
        (one(json!({"text": "x"})), "#/steps/1", "missing_field"),
        (one(json!({"delay_s": 1})), "#/steps/1", "missing_field"),
        (one(json!({"delay_s": -1, "text": "x"})), "#/steps/1/delay_s", "invalid_value"),
        (one(json!({"delay_s": 31_622_401, "text": "x"})), "#/steps/1/delay_s", "invalid_value"),
        (one(json!({"delay_s": 1, "text": "x", "y": 1})), "#/steps/1/y", "unknown_field"),
        (one(json!({"delay_s": 1, "text": ""})), "#/steps/1/text", "too_short"),
        (one(json!({"delay_s": 1, "text": "{{a"})), "#/steps/1/text", "invalid_template"),
        (one(json!({"delay_s": 1, "text": "x", "from": "TwelveLetter"})), "#/steps/1/from", "sender_too_long"),
        (one(json!({"delay_s": 1, "text": "x", "condition": {"attribute": "no"}})), "#/steps/1/condition", ""),
        (one(json!({"delay_s": 1, "text": "x", "condition": 5})), "#/steps/1/condition", "wrong_type"),
        (json!({"name": "a", "from": "TwelveLetter"}), "#/from", "sender_too_long"),
        (json!({"name": "a", "category": "otp"}), "#/category", "invalid_value"),
        (json!({"name": "a", "validity_s": 5}), "#/validity_s", "invalid_value"),
        (json!({"name": "a", "tags": ["a", ""]}), "#/tags/1", "too_short"),
        (json!({"name": "a", "callback_url": "x"}), "#/callback_url", "invalid_value"),
        (json!({"name": "a", "entry": {}}), "#/entry", "missing_field"),
        (json!({"name": "a", "entry": {"tag": "x", "segment": "y"}}), "#/entry", "conflicting_fields"),
        (json!({"name": "a", "entry": {"tag": ""}}), "#/entry/tag", "too_short"),
        (json!({"name": "a", "entry": {"segment": "x"}}), "#/entry/segment", "invalid_id"),
        (json!({"name": "a", "entry": {"segment": foreign}}), "#/entry/segment", "not_found"),
        (json!({"name": "a", "exit": {"goal_tag": ""}}), "#/exit/goal_tag", "too_short"),
        (json!({"name": "a", "exit": {"never": true}}), "#/exit/never", "unknown_field"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post("/v1/drips", &key, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        let error = answer.json()["errors"][0].clone();
        assert!(error["pointer"].as_str().unwrap().starts_with(pointer), "{body}: {error}");
        assert!(code.is_empty() || error["code"] == code, "{body}: {error}");
    }
    // What is wrong with what all steps share is told once.
    let shared = json!({"name": "a", "from": "TwelveLetter", "steps": [{"delay_s": 0, "text": "a"}, {"delay_s": 0, "text": ""}]});
    let errors = t.post("/v1/drips", &key, shared).await.json()["errors"].clone();
    let pointers: Vec<_> = errors.as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/from", "#/steps/1/text"]);
    assert_eq!(t.get("/v1/drips", &key).await.json()["data"], json!([]), "nothing was made");

    let id = active(&t, &key, json!([{"delay_s": 60, "text": "x"}])).await;
    let person = |person: Value| json!({"people": [{"phone": ADA}, person]});
    let crowd: Vec<_> = (0..1_001).map(|i| json!({"phone": format!("+49151{:08}", 10_000_000 + i)})).collect();
    let contact = made(&t, &other, "/v1/contacts", json!({"phone": ADA})).await;
    for (body, pointer, code) in [
        (json!({"people": []}), "#/people", "too_short"),
        (json!({"people": crowd}), "#/people", "too_long"),
        (person(json!({})), "#/people/1", "missing_field"),
        (person(json!({"phone": ADA, "contact": contact})), "#/people/1", "conflicting_fields"),
        (person(json!({"phone": "12"})), "#/people/1/phone", "phone_short_code"),
        (person(json!({"contact": "x"})), "#/people/1/contact", "invalid_id"),
        (person(json!({"contact": contact})), "#/people/1/contact", "not_found"),
        (person(json!({"phone": BOB, "variables": {"a": []}})), "#/people/1/variables", "wrong_type"),
        (person(json!({"phone": BOB, "x": 1})), "#/people/1/x", "unknown_field"),
    ] {
        let answer = act(&t, &key, &id, "enrollments", body.clone()).await;
        let error = answer.json()["errors"][0].clone();
        assert_eq!((answer.status, &error["pointer"], &error["code"]), (400, &json!(pointer), &json!(code)), "{error}");
    }
    let goal = act(&t, &key, &id, "goals", person(json!({"phone": BOB, "variables": {"a": "b"}}))).await;
    assert_eq!(goal.json()["errors"][0]["pointer"], "#/people/1/variables");
    assert_eq!(people(&t, &key, &id, "").await, [], "of a list with a mistake nobody enters");
    let path = format!("/v1/drips/{id}");
    for query in ["/enrollments?state=x", "/enrollments?phone=12", "/enrollments?limit=0"] {
        assert_eq!(t.get(&format!("{path}{query}"), &key).await.refusal(), (400, "invalid_query".into()), "{query}");
    }
    for query in ["", "?phone=12", "?contact=x"] {
        let answer = t.call("DELETE", &format!("{path}/enrollments{query}"), &key, None).await;
        assert_eq!(answer.refusal(), (400, "invalid_query".into()), "{query}");
    }
    assert_eq!(t.get("/v1/drips?status=x", &key).await.refusal(), (400, "invalid_query".into()));
    let unneeded = act(&t, &key, &id, "activate", json!({"existing": true})).await;
    assert_eq!(unneeded.refusal(), (409, "drip_state".into()));
    for _ in 0..99 {
        made(&t, &key, "/v1/drips", json!({"name": "a"})).await;
    }
    assert_eq!(t.post("/v1/drips", &key, json!({"name": "a"})).await.refusal(), (409, "limit_reached".into()));
}
