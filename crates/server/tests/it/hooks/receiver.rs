//! A receiver of webhooks: remembers what came, answers as it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status.
    Status(u16),
    /// A status and a header.
    With(u16, &'static str, String),
    /// A status and a body.
    Body(u16, String),
    /// Nothing, ever.
    Hang,
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Hook {
    pub id: String,
    pub timestamp: i64,
    pub signatures: Vec<String>,
    pub agent: String,
    pub raw: Vec<u8>,
    pub body: Value,
}

impl Hook {
    /// `type` and, of a message, its id.
    pub fn what(&self) -> (String, String) {
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        (text(&self.body["type"]), text(&self.body["data"]["id"]))
    }

    /// How many of its signatures are by this secret: as the specification says, and by nothing of ours.
    pub fn signed_by(&self, secret: &str) -> usize {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let right = |signature: &&String| {
            let given = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
            mac.update(self.id.as_bytes());
            mac.update(b".");
            mac.update(self.timestamp.to_string().as_bytes());
            mac.update(b".");
            mac.update(&self.raw);
            mac.verify_slice(&given).is_ok()
        };
        self.signatures.iter().filter(right).count()
    }
}

struct Inner {
    seen: Mutex<Vec<Hook>>,
    /// Answered one after another, before `reply`.
    next: Mutex<VecDeque<Reply>>,
    reply: Mutex<Reply>,
}

/// See the module.
#[derive(Clone)]
pub struct Receiver {
    /// `http://127.0.0.1:…/hook`.
    pub url: String,
    inner: Arc<Inner>,
}

impl Receiver {
    /// One that answers 200.
    pub async fn start() -> Receiver {
        let inner = Inner { seen: Mutex::default(), next: Mutex::default(), reply: Mutex::new(Reply::Status(200)) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Receiver { url, inner: Arc::new(inner) };
        let app = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        receiver
    }

    /// Answers so from now on.
    pub fn answer(&self, reply: Reply) {
        *self.inner.reply.lock() = reply;
    }

    /// Answers so the next times.
    pub fn answer_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inner.next.lock().extend(replies);
    }

    /// All that came so far.
    pub fn seen(&self) -> Vec<Hook> {
        self.inner.seen.lock().clone()
    }

    /// Waits until so many came.
    pub async fn wait(&self, count: usize) -> Vec<Hook> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            assert!(Instant::now() < deadline, "{} of {count} came", seen.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let hook = Hook {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap_or(0),
        signatures: text("webhook-signature").split(' ').map(str::to_owned).collect(),
        agent: text("user-agent"),
        raw: body.to_vec(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    receiver.inner.seen.lock().push(hook);
    let next = receiver.inner.next.lock().pop_front();
    let reply = next.unwrap_or_else(|| receiver.inner.reply.lock().clone());
    let status = |code| StatusCode::from_u16(code).unwrap();
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::With(code, name, value) => (status(code), [(name, value)]).into_response(),
        Reply::Body(code, body) => (status(code), body).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}
