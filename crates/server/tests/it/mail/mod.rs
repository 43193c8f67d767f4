//! Mail, as a mail server and its readers see it: a real one, over a socket, that takes, refuses, breaks off and hangs.

mod links;
mod reports;
mod sending;
pub mod sink;

use carillon::config::{Config, MailTls};
use carillon_domain::id::AccountNo;
use carillon_store::email::{self, Unsent};
use serde_json::{Value, json};

use crate::app::TestApp;
use sink::Sink;

const PASSWORD: &str = "correct horse";

/// Mail goes to that sink, in clear.
fn to(sink: &Sink) -> impl FnOnce(&mut Config) {
    let port = sink.port;
    move |c| {
        c.email.smtp_host = "localhost".into();
        c.email.smtp_port = port;
        c.email.tls = MailTls::None;
        c.email.from = "Carillon <no-reply@sms.example>".into();
        c.server.public_url = "https://sms.example".into();
    }
}

async fn register(t: &TestApp, email: &str, name: &str) -> Value {
    let body = json!({ "email": email, "password": PASSWORD, "name": name });
    let answer = t.post("/v1/auth/register", "", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

/// Mails to people that wait or were given up.
async fn unsent(t: &TestApp) -> Vec<Unsent> {
    email::unsent(&t.app.db, AccountNo::PLATFORM, 100).await.unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
