//! Campaigns through the API: written, tried, scheduled, launched, held up and ended; and every way that is refused.

use std::time::Duration;

use carillon_domain::permission::{Scope, Scopes};
use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use super::contacts::made;
use super::messages::{quick, quick_on_postgres};
use crate::app::{Answer, TestApp};

const ADA: &str = "+4915112345678";

/// A draft with this text to these entries; its id.
pub async fn draft(t: &TestApp, key: &str, text: &str, audience: Value) -> String {
    made(t, key, "/v1/campaigns", json!({"name": "Menu", "text": text, "audience": audience})).await
}

pub async fn launch(t: &TestApp, key: &str, id: &str, idempotency: &str) -> Answer {
    let request = t.request("POST", &format!("/v1/campaigns/{id}/launch")).bearer_auth(key);
    t.send(request.header("idempotency-key", idempotency)).await
}

async fn act(t: &TestApp, key: &str, id: &str, action: &str) -> Answer {
    t.call("POST", &format!("/v1/campaigns/{id}/{action}"), key, None).await
}

/// Waits until a campaign is so.
pub async fn until(t: &TestApp, key: &str, id: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..3_000 {
        last = t.get(&format!("/v1/campaigns/{id}"), key).await.json();
        if so(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} not in half a minute: {what}: {last}");
}

/// Waits until it has a status, and none of its messages is on its way.
pub async fn settled(t: &TestApp, key: &str, id: &str, status: &str) -> Value {
    until(t, key, id, status, |c| c["status"] == status && c["totals"]["queued"] == 0 && c["totals"]["sent"] == 0).await
}

async fn recipients(t: &TestApp, key: &str, id: &str, query: &str) -> Vec<(String, String)> {
    let list = t.get(&format!("/v1/campaigns/{id}/recipients{query}"), key).await;
    assert_eq!(list.status, 200, "{}", list.text);
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let mut all: Vec<_> =
        list.json()["data"].as_array().unwrap().iter().map(|r| (text(&r["phone"]), text(&r["code"]))).collect();
    all.sort();
    all
}

async fn person(t: &TestApp, key: &str, phone: &str, name: &str, tag: &str) -> String {
    made(t, key, "/v1/contacts", json!({"phone": phone, "name": name, "tags": [tag]})).await
}

#[tokio::test]
async fn a_campaign_from_draft_to_report() {
    for t in [quick().await, quick_on_postgres().await] {
        sent_and_counted(t).await;
    }
}

async fn sent_and_counted(t: TestApp) {
    let (_, key) = t.account("a").await;
    let ada = person(&t, &key, ADA, "Ada", "vip").await;
    person(&t, &key, "+447400123456", "Bob", "vip").await;
    person(&t, &key, "+447400123457", "", "vip").await;
    let group = made(&t, &key, "/v1/groups", json!({"name": "Regulars"})).await;
    t.post(&format!("/v1/groups/{group}/members"), &key, json!({"add": [ada]})).await;
    let stop = json!({"phone": "+447400123456", "reason": "opt_out"});
    assert!(t.post("/v1/suppressions", &key, stop).await.status < 300);
    let upload = t.request("POST", "/v1/audience-files?name=guests").bearer_auth(&key);
    let csv = "Phone;Name;Table No\n+49 151 12345679;Cid;7\n12;Dot;1\n+4915112345678;Ada;2\n";
    let file = t.send(upload.header("content-type", "text/csv").body(csv)).await;
    assert_eq!(file.status, 201, "{}", file.text);
    let file = file.json();
    assert_eq!([&file["rows"], &file["bad"], &file["variables"]], [&json!(3), &json!(1), &json!(["name", "table_no"])]);
    assert_eq!(file["bad_rows"], json!([{"line": 3, "phone": "12", "code": "phone_short_code"}]));

    let audience = json!([{"group": group}, {"tag": "vip"}, {"file": file["id"]},
        {"phone": "+4915112345680", "variables": {"name": "Eve"}}, "+4915112345681", "nobody"]);
    let text = "Hi {{name|upper}}{% if table_no is defined %}, table {{table_no}}{% endif %}!";
    let id = draft(&t, &key, text, audience.clone()).await;
    let shown = t.get(&format!("/v1/campaigns/{id}"), &key).await.json();
    assert_eq!(
        [&shown["status"], &shown["category"], &shown["runs"]],
        [&json!("draft"), &json!("promotional"), &json!(0)]
    );
    assert_eq!(shown["audience"][3], audience[3]);
    assert_eq!(shown["audience"][4], json!({"phone": "+4915112345681"}));

    let estimate = act(&t, &key, &id, "estimate").await.json();
    let skipped = json!({"suppressed": 1, "missing_variable": 2, "phone_short_code": 1, "phone_not_a_number": 1});
    assert_eq!(
        [&estimate["recipients"], &estimate["duplicates"], &estimate["skipped"], &estimate["missing_variables"]],
        [&json!(3), &json!(2), &skipped, &json!({"name": 2})]
    );
    assert_eq!(
        [
            &estimate["parts"],
            &estimate["total"],
            &estimate["enough"],
            &estimate["by_encoding"],
            &estimate["duration_s"]
        ],
        [&json!(3), &json!("0.15"), &json!(true), &json!({"gsm7": 3}), &json!(null)]
    );
    assert_eq!(t.get("/v1/batches", &key).await.json()["data"], json!([]), "nothing was sent");

    let launched = launch(&t, &key, &id, "k1").await;
    assert_eq!((launched.status, &launched.json()["status"]), (202, &json!("running")), "{}", launched.text);
    let again = launch(&t, &key, &id, "k1").await;
    assert_eq!((again.status, again.headers["idempotent-replayed"].as_str()), (202, "true"));
    let done = settled(&t, &key, &id, "finished").await;
    let totals = json!({"recipients": 8, "duplicates": 2, "skipped": 5, "waiting": 0, "queued": 0, "sent": 0,
        "delivered": 3, "failed": 0, "parts": 3});
    assert_eq!(done["totals"], totals);
    assert_eq!(done["run"]["skipped"], skipped);
    assert_eq!(done["cost"], json!({"held": "0.00", "captured": "0.15", "currency": "USD"}));
    let expected = [
        ("+4915112345681", "missing_variable"),
        ("+447400123456", "suppressed"),
        ("+447400123457", "missing_variable"),
        ("12", "phone_short_code"),
        ("nobody", "phone_not_a_number"),
    ];
    let mut expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    expected.sort();
    assert_eq!(recipients(&t, &key, &id, "?state=skipped").await, expected);
    assert_eq!(recipients(&t, &key, &id, "?state=handed_in").await.len(), 3);
    assert_eq!(recipients(&t, &key, &id, "?state=waiting").await, []);
    let first = t.get(&format!("/v1/campaigns/{id}/recipients?limit=5"), &key).await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(recipients(&t, &key, &id, &format!("?limit=5&cursor={cursor}")).await.len(), 3);
    let batch = done["run"]["batch"].as_str().unwrap();
    let messages = t.get(&format!("/v1/batches/{batch}/messages"), &key).await.json();
    let mut texts: Vec<_> = messages["data"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(
        texts,
        ["Hi ADA!", "Hi CID, table 7!", "Hi EVE!"],
        "the first of two wins: Ada of the group has no table"
    );
    let path = format!("/v1/audience-files/{}", file["id"].as_str().unwrap());
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
}

#[tokio::test]
async fn what_can_be_done_when_and_what_not() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let draft = || draft(&t, &key, "Hello", json!([ADA]));
    let at = json!({"at": "2026-12-04T11:00:00", "time_zone": "Europe/Berlin"});
    let state = |answer: &Answer| (answer.status, answer.json()["status"].as_str().unwrap_or("").to_owned());
    // A scheduled one is edited and gets another time; what it shows is when it begins.
    let id = draft().await;
    let path = format!("/v1/campaigns/{id}");
    let scheduled = t.post(&format!("{path}/schedule"), &key, at.clone()).await;
    assert_eq!(state(&scheduled), (200, "scheduled".into()), "{}", scheduled.text);
    assert_eq!(scheduled.json()["next_run_at"], "2026-12-04T10:00:00.000Z");
    assert_eq!(
        scheduled.json()["schedule"],
        json!({"at": "2026-12-04T11:00:00", "time_zone": "Europe/Berlin", "repeat": null})
    );
    let changed = t.call("PATCH", &path, &key, Some(json!({"text": "Bye", "pace": 5}))).await.json();
    assert_eq!([&changed["text"], &changed["pace"], &changed["name"]], [&json!("Bye"), &json!(5), &json!("Menu")]);
    let emptied = t.call("PATCH", &path, &key, Some(json!({"text": null}))).await;
    assert_eq!(emptied.json()["errors"][0]["pointer"], "#/text", "one that is to begin needs a text");
    let later = t.post(&format!("{path}/schedule"), &key, json!({"at": "2026-12-05T11:00:00Z"})).await.json();
    assert_eq!(later["next_run_at"], "2026-12-05T11:00:00.000Z");
    for action in ["pause", "resume"] {
        assert_eq!(act(&t, &key, &id, action).await.refusal(), (409, "campaign_state".into()), "{action}");
    }
    assert_eq!(t.call("DELETE", &path, &key, None).await.refusal(), (409, "campaign_state".into()));
    assert_eq!(state(&act(&t, &key, &id, "cancel").await), (200, "canceled".into()));
    for action in ["pause", "resume", "cancel"] {
        assert_eq!(act(&t, &key, &id, action).await.refusal(), (409, "campaign_state".into()), "{action}");
    }
    assert_eq!(t.post(&format!("{path}/schedule"), &key, at).await.refusal(), (409, "campaign_state".into()));
    assert_eq!(launch(&t, &key, &id, "k").await.refusal(), (409, "campaign_state".into()));
    assert_eq!(
        t.call("PATCH", &path, &key, Some(json!({"name": "x"}))).await.refusal(),
        (409, "campaign_state".into())
    );
    let copy = act(&t, &key, &id, "duplicate").await;
    assert_eq!(copy.status, 201);
    let copy = copy.json();
    assert_eq!(
        [&copy["name"], &copy["status"], &copy["text"]],
        [&json!("Menu (copy)"), &json!("draft"), &json!("Bye")]
    );
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);

    // A launch without its key launches nothing.
    let id = draft().await;
    let path = format!("/v1/campaigns/{id}");
    assert_eq!(act(&t, &key, &id, "launch").await.refusal(), (400, "idempotency_key_required".into()));
    assert_eq!(t.get(&path, &key).await.json()["status"], "draft");
    assert_eq!(launch(&t, &key, &id, "k2").await.status, 202);
    settled(&t, &key, &id, "finished").await;
    assert_eq!(launch(&t, &key, &id, "k3").await.refusal(), (409, "campaign_state".into()));
    for (method, path) in [("DELETE", path.clone()), ("POST", format!("{path}/cancel"))] {
        assert_eq!(t.call(method, &path, &key, None).await.refusal(), (409, "campaign_state".into()));
    }
    let listed = t.get("/v1/campaigns?status=finished", &key).await.json();
    assert_eq!((listed["data"][0]["id"].as_str(), listed["data"].as_array().unwrap().len()), (Some(id.as_str()), 1));
    assert_eq!(listed["data"][0]["totals"]["delivered"], 1);
    assert_eq!(t.get("/v1/campaigns?status=x", &key).await.refusal(), (400, "invalid_query".into()));
}

#[tokio::test]
async fn bodies_that_are_refused_and_change_nothing() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, other) = t.account("b").await;
    let foreign = made(&t, &other, "/v1/groups", json!({"name": "x"})).await;
    let long = "x".repeat(201);
    let many: Vec<_> = (0..10_001).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
    let words: serde_json::Map<_, _> = (0..51).map(|i| (format!("a{i}"), json!("x"))).collect();
    let rows = [
        (json!({}), "#/name", "missing_field"),
        (json!({"name": ""}), "#/name", "too_short"),
        (json!({"name": long}), "#/name", "too_long"),
        (json!({"name": "a", "x": 1}), "#/x", "unknown_field"),
        (json!({"name": "a", "text": ""}), "#/text", "too_short"),
        (json!({"name": "a", "text": "{{a"}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{% for x in y %}{{x}}{% endfor %}"}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{{a|nothing}}"}), "#/text", "invalid_template"),
        (
            json!({"name": "a", "text": "hi", "template": "tpl_01h455vb4pex5vsknk084sn02q"}),
            "#/template",
            "conflicting_fields",
        ),
        (json!({"name": "a", "template": "tpl_01h455vb4pex5vsknk084sn02q"}), "#/template", "not_found"),
        (json!({"name": "a", "template": "x"}), "#/template", "invalid_id"),
        (json!({"name": "a", "from": "TwelveLetter"}), "#/from", "sender_too_long"),
        (json!({"name": "a", "category": "otp"}), "#/category", "invalid_value"),
        (json!({"name": "a", "language": "klingon"}), "#/language", "invalid_value"),
        (json!({"name": "a", "validity_s": 5}), "#/validity_s", "invalid_value"),
        (json!({"name": "a", "callback_url": "x"}), "#/callback_url", "invalid_value"),
        (json!({"name": "a", "tags": ["a", ""]}), "#/tags/1", "too_short"),
        (json!({"name": "a", "pace": 0}), "#/pace", "invalid_value"),
        (json!({"name": "a", "pace": 100_001}), "#/pace", "invalid_value"),
        (json!({"name": "a", "audience": "x"}), "#/audience", "wrong_type"),
        (json!({"name": "a", "audience": [5]}), "#/audience/0", "wrong_type"),
        (json!({"name": "a", "audience": [{}]}), "#/audience/0", "missing_field"),
        (json!({"name": "a", "audience": [ADA, {"phone": ADA, "tag": "x"}]}), "#/audience/1", "conflicting_fields"),
        (json!({"name": "a", "audience": [{"tag": ""}]}), "#/audience/0/tag", "invalid_value"),
        (json!({"name": "a", "audience": [{"everybody": false}]}), "#/audience/0/everybody", "invalid_value"),
        (json!({"name": "a", "audience": [{"group": "x"}]}), "#/audience/0/group", "invalid_id"),
        (json!({"name": "a", "audience": [{"group": foreign}]}), "#/audience/0/group", "not_found"),
        (
            json!({"name": "a", "audience": [{"file": "aud_01h455vb4pex5vsknk084sn02q"}]}),
            "#/audience/0/file",
            "not_found",
        ),
        (
            json!({"name": "a", "audience": [{"tag": "x", "variables": {}}]}),
            "#/audience/0/variables",
            "conflicting_fields",
        ),
        (
            json!({"name": "a", "audience": [{"phone": ADA, "variables": {"a": []}}]}),
            "#/audience/0/variables",
            "wrong_type",
        ),
        (json!({"name": "a", "audience": [{"phone": ADA, "variables": words}]}), "#/audience/0/variables", "too_long"),
        (json!({"name": "a", "audience": [{"phone": ADA, "x": 1}]}), "#/audience/0/x", "unknown_field"),
        (json!({"name": "a", "audience": many}), "#/audience", "too_long"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post("/v1/campaigns", &key, body.clone()).await;
        let shown = &body.to_string()[..body.to_string().len().min(200)];
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{shown}: {}", answer.text);
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{shown}");
    }
    assert_eq!(t.get("/v1/campaigns", &key).await.json()["data"], json!([]));

    // Not ready, or no time to begin at.
    let id = made(&t, &key, "/v1/campaigns", json!({"name": "a"})).await;
    let path = format!("/v1/campaigns/{id}");
    let at = json!({"at": "2026-12-04T11:00:00Z"});
    for answer in [
        launch(&t, &key, &id, "k").await,
        t.post(&format!("{path}/schedule"), &key, at).await,
        act(&t, &key, &id, "estimate").await,
    ] {
        let pointers: Vec<_> =
            answer.json()["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
        assert_eq!(pointers, ["#/text", "#/audience"], "{}", answer.text);
    }
    for (body, pointer) in [
        (json!({}), "#/at"),
        (json!({"at": "2026-11-21T11:00:00Z"}), "#/at"),
        (json!({"at": "2026-12-04T11:00:00"}), "#/time_zone"),
        (json!({"at": "2026-12-04T11:00:00", "time_zone": "Mars/Base"}), "#/time_zone"),
        (json!({"at": "2026-12-04T11:00:00Z", "repeat": "FREQ=SECONDLY"}), "#/repeat"),
        (json!({"at": "2026-12-04T11:00:00Z", "x": 1}), "#/x"),
    ] {
        let answer = t.post(&format!("{path}/schedule"), &key, body.clone()).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}: {}", answer.text);
    }
    assert_eq!(t.get(&path, &key).await.json()["status"], "draft");
    // Who may only read changes nothing.
    let (_, reader) = t.account_with("c", Scopes::NONE.with(Scope::CampaignsRead)).await;
    assert_eq!(t.post("/v1/campaigns", &reader, json!({"name": "a"})).await.refusal(), (403, "forbidden".into()));
    assert_eq!(t.get("/v1/campaigns", &reader).await.status, 200);
}

#[tokio::test]
async fn short_of_money_it_pauses_and_goes_on_by_itself() {
    for t in [quick().await, quick_on_postgres().await] {
        let (account, key) = t.account("a").await;
        let (_, operator) = t.operator().await;
        // 100.00 are 2,000 messages.
        let to: Vec<_> = (0..2_400).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
        let id = draft(&t, &key, "Hello", json!(to)).await;
        assert_eq!(act(&t, &key, &id, "estimate").await.json()["enough"], false);
        assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
        let paused = settled(&t, &key, &id, "paused").await;
        assert_eq!(paused["reason"], "insufficient_credit");
        assert_eq!(
            (&paused["totals"]["delivered"], &paused["totals"]["waiting"], &paused["cost"]["captured"]),
            (&json!(2_000), &json!(400), &json!("100.00")),
            "to the last cent"
        );
        t.app.clock.advance(Duration::from_secs(61));
        until(&t, &key, &id, "it was looked at", |c| c["status"] == "paused").await;
        let credit = json!({"kind": "top_up", "amount": "50.00", "note": "top-up"});
        let given = t.post(&format!("/v1/admin/accounts/{}/ledger", account.id), &operator, credit).await;
        assert!(given.status < 300, "{}", given.text);
        t.app.clock.advance(Duration::from_secs(61));
        let done = settled(&t, &key, &id, "finished").await;
        assert_eq!((&done["totals"]["delivered"], &done["reason"]), (&json!(2_400), &json!(null)));
        let messages = t.get("/v1/me", &key).await.json();
        assert_eq!(messages["balance"]["available"], "30.00");
    }
}

#[tokio::test]
async fn a_pause_is_one_and_what_is_canceled_is_withdrawn() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let to: Vec<_> = (0..100).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
        // One a second.
        let body = json!({"name": "Slow", "text": "Hello", "audience": to, "pace": 1});
        let id = made(&t, &key, "/v1/campaigns", body).await;
        assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
        until(&t, &key, &id, "some are handed in", |c| c["totals"]["delivered"].as_i64() >= Some(1)).await;
        let paused = act(&t, &key, &id, "pause").await.json();
        assert_eq!((&paused["status"], &paused["reason"]), (&json!("paused"), &json!("asked")));
        let path = format!("/v1/campaigns/{id}");
        let text = t.call("PATCH", &path, &key, Some(json!({"text": "Bye"}))).await;
        assert_eq!(text.refusal(), (409, "campaign_state".into()), "some have read the other text");
        assert_eq!(
            t.call("PATCH", &path, &key, Some(json!({"pace": null, "name": "Fast"}))).await.json()["name"],
            "Fast"
        );
        let stands = settled(&t, &key, &id, "paused").await["totals"]["delivered"].clone();
        assert_eq!(act(&t, &key, &id, "resume").await.json()["status"], "running");
        let done = settled(&t, &key, &id, "finished").await;
        assert_eq!(
            (&done["totals"]["delivered"], &done["totals"]["failed"]),
            (&json!(100), &json!(0)),
            "{stands} before"
        );
    }
}

#[tokio::test]
async fn what_waits_of_a_canceled_one_is_withdrawn() {
    for url in [String::new(), TestPostgres::start().fresh_database().await] {
        // By a clock that stands the carrier takes what its bucket holds, and then no more.
        let t = TestApp::with(|config| {
            config.database.url = url.into();
            config.sandbox.rate = 1;
        })
        .await;
        let (_, key) = t.account("a").await;
        let to: Vec<_> = (0..200).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
        let body = json!({"name": "Halt", "text": "Hello", "audience": to, "pace": 40});
        let id = made(&t, &key, "/v1/campaigns", body).await;
        assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
        until(&t, &key, &id, "some wait for a carrier", |c| c["totals"]["queued"].as_i64() >= Some(15)).await;
        assert_eq!(act(&t, &key, &id, "cancel").await.json()["status"], "canceled");
        let c = until(&t, &key, &id, "they are withdrawn", |c| {
            c["totals"]["queued"] == 0 && c["run"]["ended_at"] != Value::Null
        })
        .await;
        assert!(c["totals"]["failed"].as_i64() >= Some(10), "{c}");
        assert_eq!((&c["totals"]["waiting"], &c["totals"]["recipients"]), (&json!(0), &json!(200)));
    }
}

#[tokio::test]
async fn tests_go_to_a_few_phones() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let ada = person(&t, &key, ADA, "Ada", "x").await;
    let id = draft(&t, &key, "Hi {{name}}", json!([{"everybody": true}])).await;
    let path = format!("/v1/campaigns/{id}/test");
    let to = json!({"to": [{"contact": ada}, {"phone": "+447400123456", "variables": {"name": "Bob"}}]});
    let sent = t.post(&path, &key, to).await;
    assert_eq!((sent.status, &sent.json()["messages"]), (202, &json!(2)), "{}", sent.text);
    let batch = sent.json()["batch"].as_str().unwrap().to_owned();
    let messages = t.get(&format!("/v1/batches/{batch}/messages"), &key).await.json();
    let texts: Vec<_> = messages["data"].as_array().unwrap().iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, ["Hi Ada", "Hi Bob"]);
    assert_eq!(t.get(&format!("/v1/campaigns/{id}"), &key).await.json()["status"], "draft");
    for (to, pointer, code) in [
        (json!([]), "#/to", "too_short"),
        (json!([ADA, "12"]), "#/to/0/variables", "missing_variable"),
        (json!([{"phone": "12", "variables": {"name": "x"}}]), "#/to/0", "phone_short_code"),
        (json!([{"everybody": true}]), "#/to/0", "invalid_value"),
        (json!(vec![ADA; 11]), "#/to", "too_long"),
    ] {
        let answer = t.post(&path, &key, json!({ "to": to })).await;
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_schedule_keeps_its_clock_and_its_restarts() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let id = draft(&t, &key, "Hello", json!([ADA])).await;
    // Six in the evening in Berlin: 17:00 UTC in winter, 16:00 from 2027-03-28 on.
    let plan = json!({"at": "2027-03-26T18:00:00", "time_zone": "Europe/Berlin", "repeat": "FREQ=DAILY;COUNT=3"});
    let scheduled = t.post(&format!("/v1/campaigns/{id}/schedule"), &key, plan).await.json();
    assert_eq!(scheduled["next_run_at"], "2027-03-26T17:00:00.000Z");
    let to = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let move_to = |text: &str| t.app.clock.advance(Duration::from_millis((to(text) - t.app.clock.now_ms()) as u64));
    move_to("2027-03-26T16:59:59Z");
    assert_eq!(t.get(&format!("/v1/campaigns/{id}"), &key).await.json()["runs"], 0);
    for (at, runs, next) in [
        ("2027-03-26T17:00:00Z", 1, json!("2027-03-27T17:00:00.000Z")),
        ("2027-03-27T17:00:00Z", 2, json!("2027-03-28T16:00:00.000Z")),
        ("2027-03-28T16:00:00Z", 3, json!(null)),
    ] {
        move_to(at);
        let c = until(&t, &key, &id, at, |c| c["runs"] == runs && c["status"] != "running").await;
        assert_eq!(c["next_run_at"], next, "{at}");
    }
    assert_eq!(settled(&t, &key, &id, "finished").await["totals"]["delivered"], 3);

    // What would begin more than a day late has failed; what repeats waits for its next time.
    let once = draft(&t, &key, "Hello", json!([ADA])).await;
    let daily = draft(&t, &key, "Hello", json!([ADA])).await;
    let at = |repeat: Value| json!({"at": "2027-04-01T10:00:00Z", "repeat": repeat});
    assert_eq!(t.post(&format!("/v1/campaigns/{once}/schedule"), &key, at(json!(null))).await.status, 200);
    assert_eq!(t.post(&format!("/v1/campaigns/{daily}/schedule"), &key, at(json!("FREQ=WEEKLY"))).await.status, 200);
    move_to("2027-04-02T10:00:01Z");
    assert_eq!(until(&t, &key, &once, "it failed", |c| c["status"] == "failed").await["reason"], "too_late");
    let c = until(&t, &key, &daily, "its next time", |c| c["next_run_at"] == "2027-04-08T10:00:00.000Z").await;
    assert_eq!((&c["status"], &c["runs"]), (&json!("scheduled"), &json!(0)));
}

#[tokio::test]
async fn audiences_that_are_empty_or_gone() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let group = made(&t, &key, "/v1/groups", json!({"name": "x"})).await;
    let empty = draft(&t, &key, "Hello", json!([{"group": group}, {"tag": "nobody"}])).await;
    assert_eq!(act(&t, &key, &empty, "estimate").await.json()["recipients"], 0);
    assert_eq!(launch(&t, &key, &empty, "k").await.status, 202);
    assert_eq!(until(&t, &key, &empty, "it failed", |c| c["status"] == "failed").await["reason"], "audience_empty");
    let gone = draft(&t, &key, "Hello", json!([ADA, {"group": group}])).await;
    assert_eq!(t.call("DELETE", &format!("/v1/groups/{group}"), &key, None).await.status, 204);
    let estimate = act(&t, &key, &gone, "estimate").await;
    assert_eq!(estimate.json()["errors"][0]["pointer"], "#/audience/1", "{}", estimate.text);
    assert_eq!(launch(&t, &key, &gone, "k").await.status, 202);
    let failed = until(&t, &key, &gone, "it failed", |c| c["status"] == "failed").await;
    assert_eq!((&failed["reason"], &failed["totals"]["queued"]), (&json!("audience_gone"), &json!(0)));
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"], json!([]), "not even to the first");
}
