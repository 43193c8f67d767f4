//! Batches: whole, in part, and large.

use std::time::Duration;

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
        [&json!("accepted"), &json!(3), &json!(1), &json!([]), &json!(3)]
    );
    assert_eq!(accepted["cost"], json!({"held": "0.15", "captured": "0.00", "currency": "USD"}));
    let done = finished(&t, &key, id).await;
    assert_eq!(done["counts"], json!({"queued": 0, "sent": 0, "delivered": 2, "failed": 1}));
    assert_eq!(done["cost"], json!({"held": "0.00", "captured": "0.10", "currency": "USD"}));
    assert_eq!((&done["text"], &done["client_ref"], &done["duplicates"]), (&json!("hello"), &json!("c1"), &json!(1)));
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
    assert_eq!((&taken["total"], &taken["duplicates"]), (&json!(2), &json!(1)), "{taken}");
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
        [&json!(2), &json!(1), &json!(1), &json!(2), &json!("0.28")]
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
