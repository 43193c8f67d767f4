//! Clients that send without end and never forget: whatever happens to the server, each repeats a request with the same idempotency key
//! until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::world::{Api, number};
use crate::app::Answer;

/// Recipients of each batch.
pub const BATCH: usize = 30;

/// A request and its answer.
pub struct Asked {
    path: &'static str,
    key: String,
    body: Value,
    /// Of the message or batch.
    pub id: String,
    pub status: u16,
    /// How many messages it made.
    pub messages: usize,
}

impl Asked {
    /// The number a one-time code went to, as carriers write it.
    pub fn code_to(&self) -> Option<&str> {
        self.body["otp"].as_bool()?;
        self.body["to"].as_str()?.strip_prefix('+')
    }
}

/// Clients at work.
pub struct Load {
    tasks: JoinSet<Vec<Asked>>,
    stop: CancellationToken,
}

impl Load {
    /// So many clients.
    pub fn start(api: &Api, clients: usize) -> Load {
        let (mut tasks, stop, counter) = (JoinSet::new(), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..clients {
            tasks.spawn(client(api.clone(), counter.clone(), stop.clone()));
        }
        Load { tasks, stop }
    }

    /// Lets each finish its request. All that was asked.
    pub async fn stop(self) -> Vec<Asked> {
        self.stop.cancel();
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

async fn client(api: Api, counter: Arc<AtomicUsize>, stop: CancellationToken) -> Vec<Asked> {
    let mut asked = Vec::new();
    while !stop.is_cancelled() {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        let (path, body, messages) = request(n);
        let key = format!("key {n}");
        let answer = insist(&api, path, &key, &body).await;
        asked.push(Asked { path, key, body, id: named(&answer), status: answer.status, messages });
        // Some breath, so that the machine is not only about the clients.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asked
}

fn request(n: usize) -> (&'static str, Value, usize) {
    let first = n * BATCH;
    if n.is_multiple_of(25) {
        let to: Vec<String> = (first..first + BATCH).map(number).collect();
        return ("/v1/batches", json!({"to": to, "text": format!("batch {n}")}), BATCH);
    }
    let body = match n % 9 {
        0 => json!({"to": number(first), "otp": true, "text": format!("{n}: {{code}}")}),
        1 => json!({"to": number(first), "express": true, "text": format!("express {n}")}),
        2 => json!({"to": number(first), "text": format!("{n} {}", "long ".repeat(50))}),
        _ => json!({"to": number(first), "text": format!("text {n}")}),
    };
    ("/v1/messages", body, 1)
}

/// The id in an answer, of a one-time code's refusal too.
fn named(answer: &Answer) -> String {
    let json = answer.json();
    let id = json["id"].as_str().or(json["message_id"].as_str());
    id.unwrap_or_else(|| panic!("no id: {}", answer.text)).to_owned()
}

/// Repeats a request until the server has decided it.
async fn insist(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    loop {
        if let Ok(answer) = api.post(path, key, body).await {
            match (answer.status, answer.code().as_str()) {
                (200 | 202, _) | (503, "otp_failed") => return answer,
                (503, _) | (409, "idempotency_in_flight") => {}
                _ => panic!("{path} {body}: {} {}", answer.status, answer.text),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The messages there are in the end: those asked for, each once; and asking again, with the same key, changes nothing.
pub async fn check_answers(api: &Api, asked: &[Asked], messages: &[Value]) {
    let expected: usize = asked.iter().map(|a| a.messages).sum();
    assert_eq!(messages.len(), expected, "each request made its messages once");
    let status = |id: &str| messages.iter().find(|m| m["id"] == id).map(|m| m["status"].as_str().unwrap().to_owned());
    for a in asked.iter().filter(|a| a.path == "/v1/messages") {
        let status = status(&a.id).unwrap_or_else(|| panic!("{} was answered {} and is lost", a.id, a.status));
        let fine = if a.status == 503 { status == "failed" } else { status == "delivered" };
        assert!(fine, "{} was answered {} and is {status}: {}", a.id, a.status, api.history(&a.id).await);
    }
    for a in asked.iter().step_by(asked.len().div_ceil(200)) {
        let again = insist(api, a.path, &a.key, &a.body).await;
        assert_eq!((again.status, named(&again)), (a.status, a.id.clone()), "{} {}", a.key, a.body);
    }
    assert_eq!(api.messages().await.len(), expected, "asking again made none");
}
