//! Receivers that fail, are down, ask for patience, or are gone; and how what they missed comes after all. Time is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{deliveries, endpoint, quick, send, until};
use crate::app::TestApp;

/// Longer than a wait of the schedule with its jitter.
fn past(seconds: u64) -> Duration {
    Duration::from_secs(seconds + seconds / 10 + 1)
}

/// Waits until every attempt of an endpoint's pending events so far is recorded, `count` of them failed `attempts` times.
async fn failed(t: &TestApp, key: &str, id: &str, count: usize, attempts: usize) {
    until(&format!("{count} failed {attempts} times"), async || {
        let rows = deliveries(t, key, id, "").await;
        rows.iter().filter(|d| d["attempts"].as_array().unwrap().len() >= attempts).count() == count
    })
    .await;
}

#[tokio::test]
async fn down_for_an_hour_and_everything_comes() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, secret) = endpoint(&t, &key, json!({"url": r.url})).await;
    r.answer(Reply::Status(500));
    let mut expected = BTreeSet::new();
    for n in 0..10 {
        let message = send(&t, &key, n).await;
        expected.extend(["message.sent", "message.delivered"].map(|kind| (kind.to_owned(), message.clone())));
    }
    let mut attempts = 1;
    for wait in [5, 300, 1_800] {
        failed(&t, &key, &id, 20, attempts).await;
        t.app.clock.advance(past(wait));
        attempts += 1;
    }
    failed(&t, &key, &id, 20, attempts).await;
    let before = r.seen();
    r.answer(Reply::Status(200));
    t.app.clock.advance(past(7_200));
    let after: Vec<_> = r.wait(before.len() + 20).await.split_off(before.len());
    assert_eq!(after.iter().map(super::receiver::Hook::what).collect::<BTreeSet<_>>(), expected);
    let ids: BTreeMap<_, _> = before.iter().map(|h| (h.what(), h.id.clone())).collect();
    for hook in &after {
        assert_eq!(ids[&hook.what()], hook.id, "the same id at every attempt");
        assert_eq!(hook.signed_by(&secret), 1);
    }
    until("nothing waits", async || deliveries(&t, &key, &id, "&status=delivered").await.len() == 20).await;
    assert_eq!(r.seen().len(), before.len() + 20, "and nothing comes twice");
}

#[tokio::test]
async fn at_the_end_of_the_schedule_it_is_disabled_and_a_replay_brings_what_it_missed() {
    let (t, r, watch) = (quick().await, Receiver::start().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, _) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.delivered"]})).await;
    endpoint(&t, &key, json!({"url": watch.url, "events": ["webhook.disabled"]})).await;
    let path = format!("/v1/webhook-endpoints/{id}");
    r.answer(Reply::Status(500));
    let first = send(&t, &key, 1).await;
    for (attempt, wait) in [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].into_iter().enumerate() {
        failed(&t, &key, &id, 1, attempt + 1).await;
        t.app.clock.advance(past(wait));
    }
    let told = watch.wait(1).await.remove(0);
    let data = &told.body["data"];
    assert_eq!((&data["id"], &data["url"], &data["reason"]), (&json!(id), &json!(r.url), &json!("failing")));
    let shown = t.get(&path, &key).await.json();
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("disabled"), &json!("failing")));
    assert_eq!(r.seen().len(), 10);
    let retry = format!("{path}/deliveries/{}/retry", r.seen()[0].id);
    assert_eq!(t.post(&retry, &key, json!({})).await.refusal(), (409, "endpoint_disabled".into()));
    let replay = format!("{path}/replay");
    let all = json!({"from": "2026-11-21T00:00:00Z"});
    assert_eq!(t.post(&replay, &key, all.clone()).await.refusal(), (409, "endpoint_disabled".into()));
    // While it is disabled, events are kept for it.
    let second = send(&t, &key, 2).await;
    until("it is kept", async || deliveries(&t, &key, &id, "&status=missed").await.len() == 1).await;

    r.answer(Reply::Status(200));
    assert_eq!(t.call("PATCH", &path, &key, Some(json!({"status": "enabled"}))).await.json()["reason"], Value::Null);
    let early = json!({"from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"});
    assert_eq!(t.post(&replay, &key, early).await.json()["replayed"], 0);
    let said = t.post(&replay, &key, all.clone()).await;
    assert_eq!((said.status, said.json()["replayed"].clone()), (202, json!(2)));
    let came = r.wait(12).await.split_off(10);
    assert_eq!(came.iter().map(|h| h.what().1).collect::<Vec<_>>(), [first, second], "oldest first");
    assert_eq!(came[0].id, r.seen()[0].id);
    until("both are recorded", async || deliveries(&t, &key, &id, "&status=delivered").await.len() == 2).await;
    assert_eq!(t.post(&replay, &key, all).await.json()["replayed"], 0, "nothing failed any more");
    let everything = json!({"from": "2026-11-21T00:00:00Z", "only_failed": false});
    assert_eq!(t.post(&replay, &key, everything).await.json()["replayed"], 2);
    r.wait(14).await;
    let one = format!("{path}/deliveries/{}/retry", came[1].id);
    until("recorded again", async || deliveries(&t, &key, &id, "&status=delivered").await.len() == 2).await;
    assert_eq!(t.post(&one, &key, json!({})).await.status, 202);
    assert_eq!(r.wait(15).await[14].id, came[1].id);
}

/// An event that the receiver cannot digest, among others that it can, is given up alone.
#[tokio::test]
async fn one_bad_event_disables_nothing() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, _) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.delivered"]})).await;
    r.answer_next([Reply::Status(500)]);
    send(&t, &key, 1).await;
    for (attempt, wait) in [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].into_iter().enumerate() {
        failed(&t, &key, &id, 1, attempt + 1).await;
        if attempt == 4 {
            send(&t, &key, 2).await;
            until("the other is taken", async || deliveries(&t, &key, &id, "&status=delivered").await.len() == 1).await;
        }
        r.answer_next([Reply::Status(500)]);
        t.app.clock.advance(past(wait));
    }
    until("it is given up", async || deliveries(&t, &key, &id, "&status=failed").await.len() == 1).await;
    assert_eq!(t.get(&format!("/v1/webhook-endpoints/{id}"), &key).await.json()["status"], "enabled");
}

#[tokio::test]
async fn gone_is_gone_at_once() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, _) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.delivered"]})).await;
    r.answer(Reply::Status(410));
    send(&t, &key, 1).await;
    let path = format!("/v1/webhook-endpoints/{id}");
    until("it is disabled", async || t.get(&path, &key).await.json()["reason"] == "gone").await;
    send(&t, &key, 2).await;
    until("the next is kept", async || deliveries(&t, &key, &id, "&status=missed").await.len() == 1).await;
    assert_eq!(r.seen().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_gets_it() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, _) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.delivered"]})).await;
    r.answer_next([Reply::With(429, "retry-after", "600".into())]);
    send(&t, &key, 1).await;
    failed(&t, &key, &id, 1, 1).await;
    send(&t, &key, 2).await;
    t.app.clock.advance(Duration::from_secs(599));
    until("the second waits", async || deliveries(&t, &key, &id, "&status=pending").await.len() == 2).await;
    assert_eq!(r.seen().len(), 1, "nothing comes before its time, not the other event either");
    t.app.clock.advance(Duration::from_secs(1));
    r.wait(3).await;
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    let (t, r, inner) = (quick().await, Receiver::start().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, _) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.delivered"]})).await;
    r.answer_next([Reply::With(302, "location", inner.url.clone()), Reply::With(307, "location", inner.url.clone())]);
    send(&t, &key, 1).await;
    failed(&t, &key, &id, 1, 1).await;
    t.app.clock.advance(past(5));
    failed(&t, &key, &id, 1, 2).await;
    let log = deliveries(&t, &key, &id, "").await;
    let statuses: Vec<_> = log[0]["attempts"].as_array().unwrap().iter().map(|a| a["status"].clone()).collect();
    assert_eq!((statuses, inner.seen().len()), (vec![json!(302), json!(307)], 0));
}

/// Neither an endpoint nor a callback inside the network is taken.
#[tokio::test]
async fn addresses_inside_are_not_taken() {
    let r = Receiver::start().await;
    let t = TestApp::with(|c| c.webhooks.allow_private = false).await;
    let (_, key) = t.account("a").await;
    let local = t.post("/v1/webhook-endpoints", &key, json!({"url": r.url})).await;
    assert_eq!((local.status, local.json()["errors"][0]["pointer"].clone()), (400, json!("#/url")), "{}", local.text);
    let body = json!({"to": "+4915112345678", "text": "hello", "callback_url": r.url});
    let local = t.post("/v1/messages", &key, body).await;
    let pointer = local.json()["errors"][0]["pointer"].clone();
    assert_eq!((local.status, pointer), (400, json!("#/callback_url")), "{}", local.text);
}

/// What was taken while it was allowed, and no longer is, is not gone to: each address is looked at when it is used.
#[tokio::test]
async fn addresses_inside_are_not_gone_to() {
    let r = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("t.db").display());
    let process = async |allowed| {
        TestApp::with(|c| {
            c.database.url = url.as_str().into();
            c.vault.master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
            c.sandbox.receipt_delay_ms = 1;
            c.webhooks.allow_private = allowed;
        })
        .await
    };
    let before = process(true).await;
    let (_, key) = before.account("a").await;
    let due = json!("2026-11-21T12:01:00Z");
    let body = json!({"to": "+4915112345678", "text": "hello", "callback_url": r.url, "scheduled_at": due});
    let taken = before.post("/v1/messages", &key, body).await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    before.app.stop(Duration::from_secs(5)).await;
    let after = process(false).await;
    after.app.clock.advance(Duration::from_secs(61));
    until("the callback is refused", async || {
        let page = after.get("/v1/callback-deliveries?status=pending", &key).await.json();
        let inside =
            |d: &Value| d["attempts"][0]["error"].as_str().is_some_and(|e| e.contains("not on the public internet"));
        page["data"].as_array().unwrap().iter().any(inside)
    })
    .await;
    assert_eq!(r.seen().len(), 0);
}
