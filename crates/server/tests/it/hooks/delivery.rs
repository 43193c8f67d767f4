//! What comes, to whom, and signed how.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::receiver::{Receiver, Reply};
use super::{deliveries, endpoint, quick, send, until};
use crate::app::NOON;

#[tokio::test]
async fn an_endpoint_hears_what_becomes_of_messages() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, secret) = endpoint(&t, &key, json!({"url": r.url})).await;
    let message = send(&t, &key, 1).await;
    let hooks = r.wait(2).await;
    let mut what: Vec<_> = hooks.iter().map(super::receiver::Hook::what).collect();
    what.sort();
    assert_eq!(what, [("message.delivered".into(), message.clone()), ("message.sent".into(), message.clone())]);
    for hook in &hooks {
        assert_eq!((hook.signatures.len(), hook.signed_by(&secret)), (1, 1));
        assert_eq!(hook.timestamp, NOON / 1_000);
        assert!(hook.id.starts_with("evt_") && !hook.id.contains('.'), "{}", hook.id);
        assert!(hook.agent.starts_with("Carillon/"), "{}", hook.agent);
        assert!(hook.body["timestamp"].as_str().unwrap().starts_with("2026-11-21T12:00:00"));
        assert_eq!(hook.body["data"]["to"], "+4915112000001");
    }
    assert_ne!(hooks[0].id, hooks[1].id);
    let mut shown = t.get(&format!("/v1/messages/{message}"), &key).await.json();
    shown.as_object_mut().unwrap().remove("history");
    let last = hooks.iter().find(|h| h.body["data"]["status"] == "delivered").expect("the message as it stands");
    assert_eq!(last.body["data"], shown, "as the API shows it");

    until("both are recorded", async || deliveries(&t, &key, &id, "&status=delivered").await.len() == 2).await;
    let log = deliveries(&t, &key, &id, "").await;
    for line in &log {
        assert_eq!((&line["message"], &line["attempts"][0]["status"]), (&json!(message), &json!(200)), "{line}");
    }
    let accepted = t.get(&format!("/v1/webhook-endpoints/{id}"), &key).await.json()["accepted_at"].clone();
    assert!(accepted.is_string());
}

#[tokio::test]
async fn only_what_is_asked_for_and_nobody_elses() {
    let (t, r, other) = (quick().await, Receiver::start().await, Receiver::start().await);
    let ((_, key), (_, stranger)) = (t.account("a").await, t.account("b").await);
    // One that ends before there is an endpoint.
    let before = send(&t, &key, 0).await;
    let path = format!("/v1/messages/{before}");
    until("it is delivered", async || t.get(&path, &key).await.json()["status"] == "delivered").await;
    let filter = json!({"url": r.url, "events": ["message.delivered", "message.undelivered"]});
    let (id, _) = endpoint(&t, &key, filter).await;
    endpoint(&t, &stranger, json!({"url": other.url, "events": ["message.failed"]})).await;
    let ids: BTreeSet<String> = [send(&t, &key, 1).await, send(&t, &key, 2).await].into();
    send(&t, &stranger, 3).await;
    let failed = t.post("/v1/messages", &stranger, json!({"to": "+15005550101", "text": "x"})).await.json();
    let failed = failed["id"].as_str().unwrap_or("").to_owned();
    other.wait(1).await;
    r.wait(2).await;
    // Nothing is waited for any more: what could come has come.
    until("all is done", async || deliveries(&t, &key, &id, "&status=pending").await.is_empty()).await;
    let what: BTreeSet<(String, String)> = r.seen().iter().map(super::receiver::Hook::what).collect();
    let expected: BTreeSet<_> = ids.into_iter().map(|id| ("message.delivered".to_owned(), id)).collect();
    assert_eq!((what, r.seen().len()), (expected, 2));
    assert_eq!(
        other.seen().iter().map(super::receiver::Hook::what).collect::<Vec<_>>(),
        [("message.failed".into(), failed)]
    );
}

#[tokio::test]
async fn a_slow_receiver_delays_nobody_else() {
    let (t, slow, fast) = (quick().await, Receiver::start().await, Receiver::start().await);
    slow.answer(Reply::Hang);
    let ((_, key), (_, neighbour)) = (t.account("a").await, t.account("b").await);
    for url in [&slow.url, &fast.url] {
        endpoint(&t, &key, json!({"url": url, "events": ["message.delivered"]})).await;
    }
    endpoint(&t, &neighbour, json!({"url": fast.url, "events": ["message.delivered"]})).await;
    for n in 0..40 {
        send(&t, if n % 2 == 0 { &key } else { &neighbour }, n).await;
    }
    fast.wait(40).await;
    let bound = usize::from(t.app.config.webhooks.per_endpoint);
    assert_eq!(slow.wait(bound).await.len(), bound, "its own places, and no more");
}

#[tokio::test]
async fn a_callback_is_signed_by_the_account() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let body = json!({"to": "+4915112345678", "text": "hello", "callback_url": r.url});
    let message = t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned();
    let hooks = r.wait(2).await;
    let secret = t.get("/v1/webhook-secret", &key).await.json();
    let secret = secret["secret"].as_str().unwrap();
    for hook in &hooks {
        assert_eq!((hook.signed_by(secret), hook.what().1), (1, message.clone()));
    }
    let rotated = t.post("/v1/webhook-secret/rotate", &key, json!({})).await.json();
    assert!(rotated["previous_secret_until"].is_string());
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!(t.get("/v1/webhook-secret", &key).await.json()["secret"], new);
    until("both are recorded", async || {
        let page = t.get("/v1/callback-deliveries?status=delivered", &key).await.json();
        page["data"].as_array().unwrap().len() == 2
    })
    .await;
    let again = format!("/v1/callback-deliveries/{}/retry", hooks[0].id);
    assert_eq!(t.post(&again, &key, json!({})).await.status, 202);
    let third = r.wait(3).await.remove(2);
    assert_eq!((third.id.clone(), third.signed_by(secret), third.signed_by(new)), (hooks[0].id.clone(), 1, 1));
}

#[tokio::test]
async fn for_a_day_both_secrets_sign() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, old) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.sent"]})).await;
    let path = format!("/v1/webhook-endpoints/{id}");
    let rotated = t.post(&format!("{path}/rotate-secret"), &key, json!({})).await.json();
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated["previous_secret_until"], "2026-11-22T12:00:00.000Z");
    let until_now = |hooks: Vec<super::receiver::Hook>| {
        let last = hooks.last().unwrap().clone();
        (last.signatures.len(), last.signed_by(&old), last.signed_by(&new))
    };
    send(&t, &key, 1).await;
    assert_eq!(until_now(r.wait(1).await), (2, 1, 1));
    t.app.clock.advance(Duration::from_secs(24 * 3_600));
    send(&t, &key, 2).await;
    assert_eq!(until_now(r.wait(2).await), (1, 0, 1));
    assert_eq!(t.get(&path, &key).await.json()["previous_secret_until"], json!(null));
}

#[tokio::test]
async fn a_test_says_what_the_receiver_says() {
    let (t, r) = (quick().await, Receiver::start().await);
    let (_, key) = t.account("a").await;
    let (id, secret) = endpoint(&t, &key, json!({"url": r.url, "events": ["message.failed"]})).await;
    let path = format!("/v1/webhook-endpoints/{id}/test");
    let long = "é".repeat(70_000);
    for (reply, delivered, status, response) in [
        (Reply::Body(200, "thanks".into()), true, 200, json!("thanks")),
        (Reply::Body(500, "o\u{7}h\r\n".into()), false, 500, json!("o h")),
        (Reply::Status(204), true, 204, json!(null)),
        (Reply::Body(200, long.clone()), true, 200, json!("é".repeat(256))),
    ] {
        r.answer(reply);
        let said = t.post(&path, &key, json!({})).await.json();
        assert_eq!((&said["delivered"], &said["attempt"]["status"]), (&json!(delivered), &json!(status)), "{said}");
        assert_eq!(said["attempt"].get("response").cloned().unwrap_or_default(), response);
        let hook = r.seen().pop().unwrap();
        assert_eq!((&json!(hook.id), hook.signed_by(&secret)), (&said["event"], 1));
        assert_eq!((&hook.body["type"], &hook.body["data"]["id"]), (&json!("webhook.test"), &json!(id)));
    }
    let log = deliveries(&t, &key, &id, "").await;
    assert_eq!(
        log.iter().map(|d| d["status"].as_str().unwrap()).collect::<Vec<_>>(),
        ["delivered", "delivered", "failed", "delivered"]
    );
}
