//! What links in mails do: prove an address, choose a new password; and who is told of an endpoint that was given up.

use std::time::Duration;

use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use super::sink::{Guard, Sink};
use super::{PASSWORD, register, to, unsent, until};
use crate::app::{Answer, TestApp};
use crate::hooks::receiver::{Receiver, Reply};

const NEW: &str = "battery staple";

/// A server on each database, with a sink each.
async fn both() -> Vec<(TestApp, Sink)> {
    let mut both = Vec::new();
    for url in ["".to_owned(), TestPostgres::start().fresh_database().await] {
        let sink = Sink::start(Guard::Clear).await;
        let settings = to(&sink);
        let t = TestApp::with(|c| {
            settings(c);
            c.database.url = url.into();
            c.accounts.registration_balance_cents = 1_000;
        });
        both.push((t.await, sink));
    }
    both
}

async fn verify(t: &TestApp, token: &str) -> Answer {
    t.post("/v1/auth/verify-email", "", json!({ "token": token })).await
}

async fn forgot(t: &TestApp, email: &str) -> Answer {
    t.post("/v1/auth/forgot-password", "", json!({ "email": email })).await
}

async fn reset(t: &TestApp, token: &str, password: &str) -> Answer {
    t.post("/v1/auth/reset-password", "", json!({ "token": token, "password": password })).await
}

async fn login(t: &TestApp, password: &str) -> Answer {
    t.post("/v1/auth/login", "", json!({ "email": "ada@example.com", "password": password })).await
}

fn bearer(tokens: &Value) -> String {
    tokens["access_token"].as_str().unwrap().to_owned()
}

/// Refused because of the token, and nothing else is said.
fn is_dead(answer: &Answer) -> bool {
    let json = answer.json();
    let error = &json["errors"][0];
    answer.refusal() == (400, "invalid_request".into())
        && (&error["pointer"], &error["code"]) == (&json!("#/token"), &json!("invalid_value"))
}

#[tokio::test]
async fn an_address_is_proved_once() {
    for (t, sink) in both().await {
        let ada = bearer(&register(&t, "Ada@example.com", "Ada").await);
        let verified = async || t.get("/v1/me", &ada).await.json()["user"]["email_verified"].clone();
        assert_eq!(verified().await, json!(false));
        let token = sink.wait(1).await[0].token();
        let path = t.get("/verify-email", "").await;
        assert_eq!((path.status, path.headers["referrer-policy"].as_str()), (200, "no-referrer"));
        assert_eq!(verified().await, json!(false), "opening the page does nothing");
        for bad in ["", "x", &token[1..], &"x".repeat(5_000)] {
            assert!(is_dead(&verify(&t, bad).await), "{bad}");
        }
        assert!(is_dead(&reset(&t, &token, NEW).await), "it is no token for a password");
        assert_eq!(verify(&t, &token).await.status, 204);
        assert_eq!(verified().await, json!(true));
        assert!(is_dead(&verify(&t, &token).await), "once");
        let welcome = sink.wait(2).await.remove(1);
        assert_eq!(
            (welcome.field("Subject"), welcome.body.contains("https://sms.example/docs")),
            ("Welcome to Carillon".into(), true)
        );
    }
}

#[tokio::test]
async fn a_link_that_was_lost_is_sent_again() {
    for (t, sink) in both().await {
        register(&t, "ada@example.com", "Ada").await;
        sink.wait(1).await;
        let again = async |email: &str| t.post("/v1/auth/resend-verification", "", json!({ "email": email })).await;
        let (known, unknown) = (again(" ADA@example.com").await, again("bob@example.com").await);
        assert_eq!((known.status, &known.text), (202, &unknown.text));
        let token = sink.wait(2).await[1].token();
        assert!(is_dead(&reset(&t, &token, NEW).await), "it is no token for a password");
        assert_eq!(verify(&t, &token).await.status, 204);
        sink.wait(3).await;
        // Confirmed: nothing comes any more. What is asked for later is done later.
        assert_eq!(again("ada@example.com").await.status, 202);
        forgot(&t, "ada@example.com").await;
        assert_eq!(sink.wait(4).await[3].field("Subject"), "Choose a new password");
        until("every mail has left", async || unsent(&t).await.is_empty()).await;
        assert_eq!(sink.mails().len(), 4);
        assert_eq!(again("ada").await.json()["errors"][0]["pointer"], "#/email");
    }
}

#[tokio::test]
async fn a_forgotten_password() {
    for (t, sink) in both().await {
        let first = bearer(&register(&t, "ada@example.com", "Ada").await);
        let second = bearer(&login(&t, PASSWORD).await.json());
        sink.wait(1).await;
        let (known, unknown) = (forgot(&t, " ADA@example.com").await, forgot(&t, "bob@example.com").await);
        assert_eq!((known.status, &known.text), (202, &unknown.text));
        assert_eq!(known.status, unknown.status);
        let token = sink.wait(2).await[1].token();
        assert_eq!(sink.mails()[1].field("Subject"), "Choose a new password");
        forgot(&t, "ada@example.com").await;
        let other = sink.wait(3).await[2].token();

        assert_eq!(reset(&t, &token, "short").await.code(), "weak_password");
        assert_eq!(reset(&t, &token, "ADA@example.com").await.code(), "weak_password");
        for _ in 0..6 {
            login(&t, "wrong").await;
        }
        assert_eq!(login(&t, PASSWORD).await.code(), "locked_out");
        for session in [&first, &second] {
            assert_eq!(t.get("/v1/me", session).await.status, 200);
        }
        assert_eq!(reset(&t, &token, NEW).await.status, 204);
        for session in [&first, &second] {
            assert_eq!(t.get("/v1/me", session).await.refusal(), (401, "revoked_credential".into()));
        }
        assert!(
            is_dead(&reset(&t, &token, NEW).await) && is_dead(&reset(&t, &other, NEW).await),
            "one use of one link"
        );
        assert_eq!(login(&t, PASSWORD).await.code(), "wrong_password");
        let third = bearer(&login(&t, NEW).await.json());
        assert_eq!(t.get("/v1/me", &third).await.json()["user"]["email_verified"], json!(true), "they read their mail");
        assert_eq!(sink.mails().iter().filter(|m| m.to == ["<bob@example.com>"]).count(), 0);
    }
}

#[tokio::test]
async fn links_end() {
    let sink = Sink::start(Guard::Clear).await;
    let t = TestApp::with(to(&sink)).await;
    register(&t, "ada@example.com", "Ada").await;
    forgot(&t, "ada@example.com").await;
    let mails = sink.wait(2).await;
    let of = |subject: &str| mails.iter().find(|m| m.field("Subject").starts_with(subject)).unwrap().token();
    let (proof, choice) = (of("Confirm"), of("Choose"));
    t.app.clock.advance(Duration::from_secs(3_600));
    assert!(is_dead(&reset(&t, &choice, NEW).await));
    t.app.clock.advance(Duration::from_secs(23 * 3_600));
    assert!(is_dead(&verify(&t, &proof).await));
    assert_eq!(login(&t, PASSWORD).await.status, 200);
}

/// Whoever asks again and again fills nobody's mailbox.
#[tokio::test]
async fn asking_again_and_again() {
    let sink = Sink::start(Guard::Clear).await;
    let settings = to(&sink);
    let t = TestApp::with(|c| {
        settings(c);
        c.limits.exempt = Vec::new();
        c.limits.sign_in_per_min = 9;
    })
    .await;
    register(&t, "ada@example.com", "Ada").await;
    let mut statuses = Vec::new();
    for _ in 0..9 {
        statuses.push(forgot(&t, "ada@example.com").await.status);
    }
    assert_eq!(statuses, [[202; 8].as_slice(), &[429]].concat());
    sink.wait(4).await;
    t.app.clock.advance(Duration::from_secs(3_600));
    forgot(&t, "ada@example.com").await;
    sink.wait(5).await;
    until("nothing more is to come", async || unsent(&t).await.is_empty()).await;
    assert_eq!(sink.mails().len(), 5, "one to confirm, three while they were good, one afterwards");
}

/// Without a mail server everything answers as with one, and nothing is queued.
#[tokio::test]
async fn without_mail() {
    let t = TestApp::start().await;
    let ada = bearer(&register(&t, "ada@example.com", "Ada").await);
    assert_eq!(t.get("/v1/me", &ada).await.json()["user"]["email_verified"], json!(false));
    assert_eq!(forgot(&t, "ada@example.com").await.status, 202);
    assert!(is_dead(&verify(&t, "x").await) && is_dead(&reset(&t, "x", NEW).await));
    assert!(unsent(&t).await.is_empty());
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let rows = [
        ("verify-email", json!({}), "#/token", "missing_field"),
        ("verify-email", json!({ "token": 1 }), "#/token", "wrong_type"),
        ("verify-email", json!({ "token": "x", "email": "a@b.c" }), "#/email", "unknown_field"),
        ("forgot-password", json!({ "email": "ada" }), "#/email", "invalid_value"),
        ("forgot-password", json!({ "email": "a@b.c\r\nBcc: x@y.z" }), "#/email", "invalid_value"),
        ("forgot-password", json!({ "email": "a@b.c", "link": "https://evil.example" }), "#/link", "unknown_field"),
        ("reset-password", json!({ "token": "x" }), "#/password", "missing_field"),
        ("reset-password", json!({ "token": "x", "password": null }), "#/password", "wrong_type"),
    ];
    for (path, body, pointer, code) in rows {
        let answer = t.post(&format!("/v1/auth/{path}"), "", body.clone()).await;
        let error = answer.json()["errors"][0].clone();
        assert_eq!((answer.status, &error["pointer"], &error["code"]), (400, &json!(pointer), &json!(code)), "{body}");
    }
}

/// The account's owners are told by mail of an endpoint that was given up; of its address only where it is.
#[tokio::test]
async fn an_endpoint_that_was_given_up() {
    for (t, sink) in both().await {
        let ada = bearer(&register(&t, "ada@example.com", "Ada").await);
        sink.wait(1).await;
        let r = Receiver::start().await;
        r.answer(Reply::Status(410));
        let body = json!({ "url": format!("{}?key=secret", r.url), "events": ["message.delivered"] });
        let made = t.post("/v1/webhook-endpoints", &ada, body).await.json();
        let id = made["id"].as_str().unwrap();
        let sent = t.post("/v1/messages", &ada, json!({ "to": "+4915112345678", "text": "hello" })).await;
        assert_eq!(sent.status, 202, "{}", sent.text);
        // On PostgreSQL the lead comes within seconds.
        let mail = sink.wait(2).await.remove(1);
        assert_eq!(
            (mail.to, sink.mails()[1].field("Subject")),
            (vec!["<ada@example.com>".to_owned()], "A webhook endpoint was disabled".into())
        );
        let origin = r.url.strip_suffix("/hook").unwrap();
        for part in [id, origin, "it answered 410", "your account Ada", "21 November 2026, 12:00 UTC", "for 7 days"] {
            assert!(mail.body.contains(part), "{part}: {}", mail.body);
        }
        assert!(!mail.body.contains("secret"), "{}", mail.body);
    }
}
