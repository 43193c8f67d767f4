//! Segments through the API: saved, counted, used; what is refused; activity as it comes from messages; suggested audiences.

use std::time::Duration;

use carillon::jobs::activity;
use carillon_domain::permission::{Scope, Scopes};
use serde_json::{Value, json};

use super::contacts::{declare, made};
use crate::app::TestApp;

/// Ada, Bob and Cid; Ada and Cid in the course `course_123`, Ada and Bob `new`.
async fn people(t: &TestApp, key: &str) -> Vec<String> {
    declare(t, key, "city", "text").await;
    let mut ids = Vec::new();
    for (n, name, status, city) in [(1, "Ada", "new", "Bonn"), (2, "Bob", "new", "O'Hara"), (3, "Cid", "paid", "Bonn")]
    {
        let body =
            json!({"phone": format!("+491511234567{n}"), "name": name, "status": status, "attributes": {"city": city}});
        ids.push(made(t, key, "/v1/contacts", body).await);
    }
    let course = json!({"name": "Rust", "kind": "course", "external_id": "course_123"});
    let course = made(t, key, "/v1/groups", course).await;
    let members = json!({"add": [ids[0], ids[2]]});
    assert_eq!(t.post(&format!("/v1/groups/{course}/members"), key, members).await.status, 200);
    ids
}

async fn count(t: &TestApp, key: &str, filter: Value) -> Value {
    let answer = t.post("/v1/segments/count", key, json!({ "filter": filter })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["count"].clone()
}

async fn names(t: &TestApp, key: &str, query: &str) -> Vec<String> {
    let list = t.get(&format!("/v1/contacts{query}"), key).await;
    assert_eq!(list.status, 200, "{query}: {}", list.text);
    list.json()["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

/// The leads of a course by their status, saved, listed, written to, changed and deleted.
#[tokio::test]
async fn the_life_of_a_segment() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, stranger) = t.account("b").await;
    people(&t, &key).await;
    let filter = json!({"all": [{"group": {"external_id": "course_123", "kind": "course"}}, {"field": "status", "op": "eq", "value": "new"}]});
    assert_eq!(count(&t, &key, filter.clone()).await, 1);
    assert_eq!(count(&t, &stranger, filter.clone()).await, 0, "another account's contacts are nobody's here");
    let id = made(&t, &key, "/v1/segments", json!({"name": "New in Rust", "filter": filter})).await;
    let path = format!("/v1/segments/{id}");
    let shown = t.get(&path, &key).await.json();
    let expected = json!({"id": id, "name": "New in Rust", "filter": filter, "created_at": "2026-11-21T12:00:00.000Z",
        "changed_at": "2026-11-21T12:00:00.000Z"});
    assert_eq!(shown, expected);
    assert_eq!(t.get("/v1/segments", &key).await.json()["data"], json!([expected]));
    assert_eq!(names(&t, &key, &format!("?segment={id}")).await, ["Ada"]);

    // Who is in it is found when it is used.
    let change = json!({"filter": {"attribute": "city", "op": "eq", "value": "Bonn"}});
    assert_eq!(t.call("PATCH", &path, &key, Some(change)).await.json()["name"], "New in Rust");
    assert_eq!(names(&t, &key, &format!("?segment={id}&limit=1")).await, ["Cid"]);
    let cursor = t.get(&format!("/v1/contacts?segment={id}&limit=1"), &key).await.json()["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    assert_eq!(names(&t, &key, &format!("?segment={id}&limit=1&cursor={cursor}")).await, ["Ada"]);
    assert_eq!(t.get(&format!("/v1/contacts?cursor={cursor}"), &key).await.refusal(), (400, "invalid_cursor".into()));
    assert_eq!(t.get(&format!("{path}/count"), &key).await.json(), json!({"count": 2}));

    let batch = json!({"to": [{"segment": id}, "+4915112345671"], "text": "Hi {{name}} of {{city}}"});
    assert_eq!(t.post("/v1/estimates", &key, batch.clone()).await.json()["recipients"], 2);
    let sent = t.post("/v1/batches", &key, batch.clone()).await;
    assert_eq!((sent.status, &sent.json()["duplicates"]), (202, &json!({"count": 1, "indices": [1]})), "{}", sent.text);
    let theirs = t.post("/v1/batches", &stranger, batch.clone()).await;
    assert_eq!(theirs.json()["errors"][0]["code"], "not_found", "{}", theirs.text);

    // An attribute that is taken away leaves no segment that means something else.
    assert_eq!(t.call("DELETE", "/v1/contact-attributes/city", &key, None).await.status, 204);
    for used in [t.get(&format!("{path}/count"), &key).await, t.get(&format!("/v1/contacts?segment={id}"), &key).await]
    {
        assert_eq!(used.refusal(), (409, "segment_outdated".into()), "{}", used.text);
        assert_eq!(used.json()["errors"][0]["pointer"], "#/filter/attribute");
    }
    let sent = t.post("/v1/batches", &key, batch).await.json();
    assert_eq!(
        (&sent["errors"][0]["pointer"], &sent["errors"][0]["code"]),
        (&json!("#/to/0/segment"), &json!("segment_outdated"))
    );
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
    assert_eq!(names(&t, &key, "").await.len(), 3, "contacts stay");
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    people(&t, &key).await;
    let deep = (0..20).fold(json!({"tag": "a"}), |inner, _| json!({ "not": inner }));
    let wide = json!({"any": vec![json!({"tag": "x".repeat(40)}); 100]});
    let long = json!({"any": vec![json!({"attribute": "city", "op": "eq", "value": "x".repeat(200)}); 90]});
    let rows = [
        (json!({"tag": ""}), "#/filter/tag", "too_short"),
        (json!([]), "#/filter", "wrong_type"),
        (json!({"all": [{"tag": "a"}, {"sql": "1=1"}]}), "#/filter/all/1", "invalid_value"),
        (json!({"attribute": "city' OR '1'='1", "op": "exists"}), "#/filter/attribute", "unknown_field"),
        (json!({"attribute": "city", "op": "= 'x' OR 1=1 --", "value": 1}), "#/filter/op", "invalid_value"),
        (json!({"attribute": "city", "op": "eq", "value": 1}), "#/filter/value", "wrong_type"),
        (json!({"attribute": "city", "op": "eq"}), "#/filter/value", "missing_field"),
        (json!({"activity": "sent", "within_days": 3, "hours": 1}), "#/filter/hours", "unknown_field"),
        (wide, "#/filter/any/99", "too_long"),
        (long, "#/filter", "too_long"),
    ];
    for (filter, pointer, code) in rows {
        for (path, body) in [
            ("/v1/segments", json!({"name": "x", "filter": filter})),
            ("/v1/segments/count", json!({"filter": filter})),
        ] {
            let answer = t.post(path, &key, body).await;
            let first = &answer.json()["errors"][0];
            assert_eq!(
                (answer.status, &first["pointer"], &first["code"]),
                (400, &json!(pointer), &json!(code)),
                "{filter}: {}",
                answer.text
            );
        }
    }
    let answer = t.post("/v1/segments/count", &key, json!({ "filter": deep })).await;
    assert_eq!(answer.json()["errors"][0]["code"], "too_long", "{}", answer.text);
    for (body, pointer, code) in [
        (json!({"name": "x"}), "#/filter", "missing_field"),
        (json!({"name": " ", "filter": {"tag": "a"}}), "#/name", "too_short"),
        (json!({"name": "x", "filter": {"tag": "a"}, "kind": 1}), "#/kind", "unknown_field"),
    ] {
        let first = t.post("/v1/segments", &key, body.clone()).await.json()["errors"][0].clone();
        assert_eq!((&first["pointer"], &first["code"]), (&json!(pointer), &json!(code)), "{body}");
    }
    assert_eq!(t.get("/v1/segments", &key).await.json()["data"], json!([]), "nothing was saved");
    // Values that look like SQL are values.
    assert_eq!(count(&t, &key, json!({"attribute": "city", "op": "eq", "value": "O'Hara"})).await, 1);
    assert_eq!(count(&t, &key, json!({"attribute": "city", "op": "eq", "value": "' OR 1=1 --"})).await, 0);

    let reader = t.key(&account, Scopes::NONE.with(Scope::ContactsRead), None).await;
    assert_eq!(count(&t, &reader, json!({"tag": "a"})).await, 0);
    let body = json!({"name": "x", "filter": {"tag": "a"}});
    assert_eq!(t.post("/v1/segments", &reader, body).await.refusal(), (403, "forbidden".into()));
}

/// A message is sent and delivered, another is not; a little later both count, and once.
#[tokio::test]
async fn activity_follows_messages() {
    let t = TestApp::with(|c| c.sandbox.receipt_delay_ms = 1).await;
    let (_, key) = t.account("a").await;
    people(&t, &key).await;
    let sent = t.post("/v1/messages", &key, json!({"to": "+4915112345671", "text": "hi"})).await.json();
    let path = format!("/v1/messages/{}", sent["id"].as_str().unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while t.get(&path, &key).await.json()["status"] != "delivered" {
        assert!(tokio::time::Instant::now() < deadline, "not delivered in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let delivered = json!({"activity": "delivered", "within_days": 7});
    activity::once(&t.app).await.unwrap();
    assert_eq!(count(&t, &key, delivered.clone()).await, 0, "too early");
    t.app.clock.advance(Duration::from_secs(300));
    for _ in 0..2 {
        activity::once(&t.app).await.unwrap();
        assert_eq!(count(&t, &key, delivered.clone()).await, 1);
        let twice = json!({"activity": "delivered", "within_days": 7, "at_least": 2});
        assert_eq!(count(&t, &key, twice).await, 0);
    }
    t.app.clock.advance(Duration::from_secs(8 * 86_400));
    assert_eq!(count(&t, &key, delivered).await, 0, "eight days later it is too long ago");

    let suggested = t.get("/v1/suggested-audiences?seed=3", &key).await;
    assert_eq!(suggested.status, 200, "{}", suggested.text);
    let body = suggested.json();
    assert_eq!(body["contacts"], 1);
    let only = &body["data"][0];
    assert_eq!(
        (&body["data"][1], &only["name"], &only["size"]),
        (&Value::Null, &json!("New faces"), &json!(2)),
        "{body}"
    );
    let saved = made(&t, &key, "/v1/segments", json!({"name": only["name"], "filter": only["filter"]})).await;
    assert_eq!(names(&t, &key, &format!("?segment={saved}")).await, ["Cid", "Bob"]);
}
