//! Batches: whole, in part, and large.

use std::time::Duration;

use carillon_store::testing::refuse_two_parts;
use serde_json::{Value, json};

use super::messages::{quick, quick_on_postgres};
use crate::app::TestApp;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect()
}

/// Reads a batch until none of its messages is on its way.
async fn finished(t: &TestApp, key: &str, id: &str) -> Value {
    for _ in 0..6_000 {
        let batch = t.get(&format!("/v1/batches/{id}"), key).await.json();
        if batch["counts"]["queued"] == 0 && batch["counts"]["sent"] == 0 {
            return batch;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} did not end in half a minute");
}

#[tokio::test]
async fn a_batch_from_acceptance_to_its_totals() {
    for t in [quick().await, quick_on_postgres().await] {
        accepted_and_counted(t).await;
    }
}

async fn accepted_and_counted(t: TestApp) {
    let (_, key) = t.account("a").await;
    let to = ["+4915112345678", "+447400123456", "+49 151 12345678", "+15005550101"];
    let body = json!({"to": to, "from": "Shop", "text": "hello", "client_ref": "c1", "tags": ["x"]});
    let answer = t.post("/v1/batches", &key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let accepted = answer.json();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/v1/batches/{id}"));
    assert_eq!(
        [&accepted["status"], &accepted["total"], &accepted["duplicates"], &accepted["refusals"], &accepted["parts"]],
        [&json!("accepted"), &json!(3), &json!({"count": 1, "indices": [2]}), &json!([]), &json!(3)]
    );
    assert_eq!(accepted["cost"], json!({"held": "0.15", "captured": "0.00", "currency": "USD"}));
    let done = finished(&t, &key, id).await;
    assert_eq!(done["counts"], json!({"queued": 0, "sent": 0, "delivered": 2, "failed": 1}));
    assert_eq!(done["cost"], json!({"held": "0.00", "captured": "0.10", "currency": "USD"}));
    assert_eq!(
        (&done["text"], &done["client_ref"], &done["duplicates"]),
        (&json!("hello"), &json!("c1"), &accepted["duplicates"])
    );
    let messages = t.get(&format!("/v1/messages?batch={id}"), &key).await.json();
    let messages = messages["data"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert!(
        messages
            .iter()
            .all(|m| m["text"] == "hello" && m["lane"] == "bulk" && m["batch"] == id && m["client_ref"] == "c1")
    );
    let listed = t.get("/v1/batches", &key).await.json();
    assert_eq!((listed["data"].as_array().map(Vec::len), &listed["data"][0]["id"]), (Some(1), &json!(id)));
}

#[tokio::test]
async fn in_part_as_far_as_numbers_and_money_go() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let mixed = ["+4915112345678", "nobody", "+447400123456", "+4915112345678"];
    let taken = t.post("/v1/batches", &key, json!({"to": mixed, "text": "hi", "partial": true})).await.json();
    assert_eq!((&taken["total"], &taken["duplicates"]), (&json!(2), &json!({"count": 1, "indices": [3]})), "{taken}");
    assert_eq!(taken["refusals"], json!([{"index": 1, "code": "phone_not_a_number"}]));
    let id = taken["id"].as_str().unwrap();
    assert_eq!(finished(&t, &key, id).await["refusals"], taken["refusals"], "kept");
    // 99.90 are left: 1,998 parts of 0.05.
    for count in [1_999, 2_500] {
        let (_, key) = t.account(&count.to_string()).await;
        t.post("/v1/batches", &key, json!({"to": ["+4915112345678", "+447400123456"], "text": "hi"})).await;
        let whole = t.post("/v1/batches", &key, json!({"to": numbers(count), "text": "hi"})).await;
        assert_eq!(whole.refusal(), (402, "insufficient_credit".into()), "{count}: {}", whole.text);
        let part = t.post("/v1/batches", &key, json!({"to": numbers(count), "text": "hi", "partial": true})).await;
        assert_eq!(part.status, 202, "{count}: {}", part.text);
        let part = part.json();
        assert_eq!(part["total"], 1_998, "{count}");
        let refusals = part["refusals"].as_array().unwrap();
        assert_eq!(refusals.len(), count - 1_998);
        assert_eq!(refusals[0], json!({"index": 1_998, "code": "insufficient_credit"}));
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "0.00");
    }
}

#[tokio::test]
async fn a_large_batch_is_whole_or_not_there() {
    for t in [quick().await, quick_on_postgres().await] {
        large_and_whole(t).await;
    }
}

async fn large_and_whole(t: TestApp) {
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let credit = json!({"amount": "1000.00", "kind": "top_up", "note": "test"});
    let paid = t.post(&format!("/v1/admin/accounts/{}/ledger", account.id), &operator, credit).await;
    assert!(paid.status < 300, "{}", paid.text);
    let body = json!({"to": numbers(5_001), "text": "hello", "scheduled_at": "2026-12-01T00:00:00Z"});
    let send = || t.request("POST", "/v1/batches").bearer_auth(&key).header("idempotency-key", "k1").json(&body);
    let (first, again) = (t.send(send()).await, t.send(send()).await);
    assert_eq!((first.status, again.status), (202, 202), "{} {}", first.text, again.text);
    assert_eq!(first.json(), again.json());
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let batch = first.json();
    assert_eq!((&batch["total"], &batch["counts"]["queued"]), (&json!(5_001), &json!(5_001)));
    let balance = t.get("/v1/me", &key).await.json()["balance"].clone();
    assert_eq!((&balance["held"], &balance["available"]), (&json!("250.05"), &json!("849.95")));
    let mut shown = 0;
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/messages?limit=200&batch={}{cursor}", batch["id"].as_str().unwrap());
        let page = t.get(&path, &key).await.json();
        shown += page["data"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(shown, 5_001);
}

#[tokio::test]
async fn estimates_of_many() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let body = json!({"to": ["+4915112345678", "+4915112345678", "12", "+447400123456"], "text": "x".repeat(161), "express": true});
    let estimate = t.post("/v1/estimates", &key, body).await.json();
    assert_eq!(
        [
            &estimate["recipients"],
            &estimate["duplicates"],
            &estimate["refused"],
            &estimate["parts"],
            &estimate["total"]
        ],
        [&json!(2), &json!({"count": 1, "indices": [1]}), &json!(1), &json!(2), &json!("0.28")]
    );
    assert_eq!(estimate["prices"], json!([{"per_part": "0.07", "recipients": 2}]));
    assert_eq!(
        (&estimate["refusals"][0]["pointer"], &estimate["refusals"][0]["code"]),
        (&json!("#/to/2"), &json!("phone_short_code"))
    );
    let one = t.post("/v1/estimates", &key, json!({"to": "+49151", "text": "hi"})).await.json();
    assert_eq!((&one["refused"], &one["refusals"][0]["pointer"]), (&json!(1), &json!("#/to")));
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"], json!([]), "nothing stored");
}

/// Every balance and every batch's totals, against a recount of the rows.
async fn adds_up(t: &TestApp) {
    let mut differences = Vec::new();
    carillon_store::ledger::verify(&t.app.db, |d| differences.push(d)).await.unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Where the carrier takes nothing for a long time.
async fn slow() -> TestApp {
    TestApp::with(|config| {
        config.sandbox.accept_delay_ms = 600_000;
        config.connections[0].window = 10;
    })
    .await
}

#[tokio::test]
async fn each_recipient_reads_a_text_of_its_own() {
    for t in [quick().await, quick_on_postgres().await] {
        personal(t).await;
    }
}

async fn personal(t: TestApp) {
    let (_, key) = t.account("a").await;
    let long = "x".repeat(160);
    let to = json!([
        {"phone": "+4915112345678", "variables": {"name": "Ada", "sum": 12.5}, "client_ref": "o-1"},
        {"phone": "+447400123456", "variables": {"name": "Борис", "sum": 7}},
        {"phone": "+15005550006", "variables": {"name": long, "sum": "7.00"}},
        {"phone": "+49 151 12345678", "variables": {"name": "again", "sum": 1}},
    ]);
    let text = "Hi {{ name }}, you owe {{sum}} {{currency|default(\"EUR\")}}.";
    let body = json!({"to": to, "text": text, "client_ref": "run"});
    let estimate = t.post("/v1/estimates", &key, body.clone()).await.json();
    assert_eq!(
        [
            &estimate["parts"],
            &estimate["total_parts"],
            &estimate["recipients"],
            &estimate["total"],
            &estimate["duplicates"]
        ],
        [&json!(2), &json!(4), &json!(3), &json!("0.20"), &json!({"count": 1, "indices": [3]})]
    );
    let answer = t.post("/v1/batches", &key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let batch = answer.json();
    assert_eq!((&batch["text"], &batch["parts"], &batch["cost"]["held"]), (&json!(text), &json!(4), &json!("0.20")));
    let id = batch["id"].as_str().unwrap();
    let messages = t.get(&format!("/v1/batches/{id}/messages"), &key).await.json();
    let read: Vec<_> = messages["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| json!([m["text"], m["encoding"], m["parts"], m["client_ref"]]))
        .collect();
    let third = format!("Hi {long}, you owe 7.00 EUR.");
    assert_eq!(
        read,
        [
            json!(["Hi Ada, you owe 12.5 EUR.", "gsm7", 1, "o-1"]),
            json!(["Hi Борис, you owe 7 EUR.", "ucs2", 1, "run"]),
            json!([third, "gsm7", 2, "run"]),
        ]
    );
    let done = finished(&t, &key, id).await;
    assert_eq!((&done["counts"]["delivered"], &done["cost"]["captured"]), (&json!(3), &json!("0.20")), "{done}");
    adds_up(&t).await;
}

#[tokio::test]
async fn recipients_that_are_refused_by_their_place() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let rows = [
        (json!([{"phone": "+4915112345678"}]), "Hi {{name}}", "#/to/0/variables", "missing_variable"),
        (json!(["+4915112345678"]), "Hi {{name}}", "#/to/0/variables", "missing_variable"),
        (json!([{"phone": "+4915112345678", "variables": {"name": ""}}]), "{{name}}", "#/to/0/variables", "too_short"),
        (
            json!([{"phone": "+4915112345678", "variables": {"name": "x".repeat(2_000)}}]),
            "{{name}}",
            "#/to/0/variables",
            "too_long",
        ),
        (json!([{"phone": "12"}]), "Hi", "#/to/0/phone", "phone_short_code"),
        (json!([{"phone": "+4915112345678", "client_ref": ""}]), "Hi", "#/to/0/client_ref", "too_short"),
        (json!([{}]), "Hi", "#/to/0", "missing_field"),
        (json!([{"phone": "+4915112345678", "tag": "x"}]), "Hi", "#/to/0", "conflicting_fields"),
        (json!(["+4915112345678", {"contact": "c"}]), "Hi", "#/to/1/contact", "invalid_id"),
        (json!([{"contact": "ctc_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/contact", "not_found"),
        (json!([{"group": "ctc_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/group", "invalid_id"),
        (json!([{"group": "grp_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/group", "not_found"),
        (json!([{"group": "grp_01h455vb4pex5vsknk084sn02q", "tag": "t"}]), "Hi", "#/to/0", "conflicting_fields"),
        (json!([{"segment": "s"}]), "Hi", "#/to/0/segment", "invalid_id"),
        (json!([{"segment": "seg_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/segment", "not_found"),
        (json!([{"source": "seg_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/source", "invalid_id"),
        (json!([{"source": "src_01h455vb4pex5vsknk084sn02q"}]), "Hi", "#/to/0/source", "not_found"),
        (json!([{"segment": "s", "source": "s"}]), "Hi", "#/to/0", "conflicting_fields"),
        (json!([{"tag": ""}]), "Hi", "#/to/0/tag", "invalid_value"),
        (json!([{"tag": "nobody has it"}]), "Hi", "#/to", "too_short"),
        (json!([{"phone": 7}]), "Hi", "#/to/0/phone", "wrong_type"),
        (json!([{"phon": "+4915112345678"}]), "Hi", "#/to/0/phon", "unknown_field"),
        (json!([{"phone": "+4915112345678", "variables": {"a": true}}]), "Hi", "#/to/0/variables/a", "wrong_type"),
        (json!([{"phone": "+4915112345678", "variables": ["a"]}]), "Hi", "#/to/0/variables", "wrong_type"),
        (json!(["+4915112345678"]), "Hi {{name", "#/text", "invalid_template"),
        (json!(["+4915112345678"]), "Hi {{name|shout}}", "#/text", "invalid_template"),
    ];
    for (to, text, pointer, code) in rows {
        let answer = t.post("/v1/batches", &key, json!({"to": to, "text": text})).await;
        let body = answer.json();
        let first = &body["errors"][0];
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{to} {text}: {}",
            answer.text
        );
    }
    let to = json!([{"segment": "s"}, {"phone": "+4915112345678"}, {"phone": "+4915112345678", "variables": {"name": "Ada"}}]);
    let part = t.post("/v1/batches", &key, json!({"to": to, "text": "Hi {{name}}", "partial": true})).await.json();
    assert_eq!((&part["total"], &part["duplicates"]["count"]), (&json!(1), &json!(0)), "{part}");
    let refused = json!([{"index": 0, "code": "invalid_id"}, {"index": 1, "code": "missing_variable"}]);
    assert_eq!(part["refusals"], refused);
    // Outside batches braces are text.
    let one = t.post("/v1/messages", &key, json!({"to": "+4915112345678", "text": "{{name}}"})).await;
    assert_eq!(one.status, 202, "{}", one.text);
}

#[tokio::test]
async fn pages_of_a_batch_hold_its_messages_in_order() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let other = json!({"to": ["+447400123456"], "text": "other"});
    t.post("/v1/batches", &key, other.clone()).await;
    let to = numbers(45);
    let batch = t.post("/v1/batches", &key, json!({"to": to, "text": "hi"})).await.json();
    t.post("/v1/batches", &key, other).await;
    let path = format!("/v1/batches/{}/messages?limit=20", batch["id"].as_str().unwrap());
    let (mut shown, mut cursor) = (Vec::new(), String::new());
    for expected in [20, 20, 5] {
        let page = t.get(&format!("{path}{cursor}"), &key).await.json();
        let data = page["data"].as_array().unwrap().clone();
        assert_eq!(data.len(), expected);
        shown.extend(data.iter().map(|m| m["to"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!((shown, cursor), (to, String::new()));
}

#[tokio::test]
async fn what_has_not_gone_out_is_canceled() {
    let t = slow().await;
    let (_, key) = t.account("a").await;
    let (now, later) = (
        json!({"to": numbers(1_000), "text": "hi"}),
        json!({"to": numbers(50), "text": "hi", "scheduled_at": "2026-12-01T00:00:00Z"}),
    );
    for (body, least) in [(now, 900), (later, 50)] {
        let total = body["to"].as_array().unwrap().len() as u64;
        let batch = t.post("/v1/batches", &key, body).await.json();
        let path = format!("/v1/batches/{}/cancel", batch["id"].as_str().unwrap());
        let done = t.post(&path, &key, json!({})).await;
        assert_eq!(done.status, 200, "{}", done.text);
        let done = done.json();
        let canceled = done["canceled"].as_u64().unwrap();
        assert!((least..=total).contains(&canceled), "{canceled} of {total}");
        assert_eq!(done["batch"]["counts"]["failed"], canceled);
        assert_eq!(done["batch"]["counts"]["queued"], total - canceled);
        let held = format!("{:.2}", (total - canceled) as f64 * 0.05);
        assert_eq!(done["batch"]["cost"]["held"], held, "the holds of the others stay");
        assert_eq!(t.post(&path, &key, json!({})).await.json()["canceled"], 0, "twice is once");
        adds_up(&t).await;
    }
    let (_, stranger) = t.account("b").await;
    let foreign = t.get("/v1/batches?limit=1", &key).await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(t.post(&format!("/v1/batches/{foreign}/cancel"), &stranger, json!({})).await.status, 404);
}

/// One of its chunks cannot be stored: nothing stays of the batch, the same key may be tried again.
#[tokio::test]
async fn a_large_batch_whose_chunk_fails_is_taken_back_at_once() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    refuse_two_parts(&t.app.db, true).await.unwrap();
    let mut to: Vec<Value> = numbers(4_000).iter().map(|n| json!({"phone": n, "variables": {"x": "short"}})).collect();
    to[2_100]["variables"]["x"] = "x".repeat(170).into();
    // Cheap enough for the account: 4,001 parts.
    t.app.pipeline.set_prices(carillon_domain::price::PriceBook::new(
        carillon_domain::money::Money(100),
        carillon_domain::money::Money(0),
        [],
    ));
    let before = t.get("/v1/me", &key).await.json()["balance"].clone();
    let body = json!({"to": to, "text": "{{x}}"});
    let send = || t.request("POST", "/v1/batches").bearer_auth(&key).header("idempotency-key", "k1").json(&body);
    let refused = t.send(send()).await;
    assert_eq!(refused.refusal(), (500, "internal".into()), "{}", refused.text);
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"], before, "the hold is returned");
    assert_eq!(t.get("/v1/batches", &key).await.json()["data"], json!([]));
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"], json!([]));
    refuse_two_parts(&t.app.db, false).await.unwrap();
    let again = t.send(send()).await;
    assert_eq!(again.status, 202, "{}", again.text);
    assert_eq!(finished(&t, &key, again.json()["id"].as_str().unwrap()).await["counts"]["delivered"], 4_000);
    adds_up(&t).await;
}
