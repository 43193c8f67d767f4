//! Webhooks, as a receiver sees them: a real server that gets them, checks their signatures and answers as it is told.

mod delivery;
mod endpoints;
mod payloads;
mod processes;
pub mod receiver;
mod retries;

use serde_json::{Value, json};

use crate::app::TestApp;

/// A server whose sandbox is quick.
async fn quick() -> TestApp {
    TestApp::with(|c| c.sandbox.receipt_delay_ms = 1).await
}

/// Makes an endpoint: its id and secret.
async fn endpoint(t: &TestApp, key: &str, body: Value) -> (String, String) {
    let made = t.post("/v1/webhook-endpoints", key, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// Sends a message; its id.
async fn send(t: &TestApp, key: &str, n: usize) -> String {
    let body = json!({"to": format!("+4915112{n:06}"), "text": "hello"});
    let answer = t.post("/v1/messages", key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// The log of an endpoint, newest event first.
async fn deliveries(t: &TestApp, key: &str, endpoint: &str, query: &str) -> Vec<Value> {
    let page = t.get(&format!("/v1/webhook-endpoints/{endpoint}/deliveries?limit=200{query}"), key).await;
    assert_eq!(page.status, 200, "{}", page.text);
    page.json()["data"].as_array().unwrap().clone()
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
