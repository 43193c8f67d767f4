//! Signing up, in and out; locks; sessions; refresh.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::TestApp;

const PASSWORD: &str = "correct horse";

async fn register(t: &TestApp, email: &str) -> Value {
    let answer = t.post("/v1/auth/register", "", json!({ "email": email, "password": PASSWORD })).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

async fn login(t: &TestApp, email: &str, password: &str) -> crate::app::Answer {
    t.post("/v1/auth/login", "", json!({ "email": email, "password": password })).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn from_registration_to_signing_out() {
    let t = TestApp::start().await;
    let registered = register(&t, " Ada@Example.com ").await;
    let me = t.get("/v1/me", text(&registered, "access_token")).await.json();
    assert_eq!((&me["user"]["email"], &me["balance"]["available"]), (&json!("ada@example.com"), &json!("0.00")));

    let signed_in = login(&t, "ada@example.com", PASSWORD).await.json();
    let token = text(&signed_in, "access_token");
    let sessions = t.get("/v1/sessions", token).await.json();
    let current: Vec<_> =
        sessions["data"].as_array().unwrap().iter().map(|s| s["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false]);

    assert_eq!(t.post("/v1/auth/logout", token, json!({})).await.status, 204);
    assert_eq!(t.get("/v1/me", token).await.refusal(), (401, "revoked_credential".into()));
    assert_eq!(t.get("/v1/me", text(&registered, "access_token")).await.status, 200, "the other session goes on");
}

#[tokio::test]
async fn what_registration_refuses() {
    let t = TestApp::start().await;
    register(&t, "ada@example.com").await;
    let rows = [
        (json!({ "email": "ada@example.com", "password": PASSWORD }), 409, "email_taken"),
        (json!({ "email": "ADA@example.com", "password": PASSWORD }), 409, "email_taken"),
        (json!({ "email": "bob", "password": PASSWORD }), 400, "invalid_request"),
        (json!({ "email": "bob@example.com", "password": "short" }), 400, "weak_password"),
        (json!({ "email": "bob@example.com", "password": "Bob@example.com" }), 400, "weak_password"),
        (json!({ "email": "bob@example.com", "password": PASSWORD, "name": " " }), 400, "invalid_request"),
        (json!({ "email": "bob@example.com", "password": PASSWORD, "name": "x".repeat(101) }), 400, "invalid_request"),
        (json!({ "email": "bob@example.com", "password": PASSWORD, "operator": true }), 400, "invalid_request"),
        (json!({ "email": "bob@example.com" }), 400, "invalid_request"),
    ];
    for (body, status, code) in rows {
        let answer = t.post("/v1/auth/register", "", body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{body}");
    }
    let closed = TestApp::with(|c| c.accounts.registration = false).await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    assert_eq!(closed.post("/v1/auth/register", "", body).await.refusal(), (403, "registration_closed".into()));
}

/// Somebody registered and somebody unknown are answered alike, locks included, and locks grow.
#[tokio::test]
async fn repeated_failures_lock() {
    let t = TestApp::start().await;
    register(&t, "ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        for attempt in 1..=5 {
            assert_eq!(login(&t, email, "wrong").await.refusal(), (401, "wrong_password".into()), "{email} {attempt}");
        }
        let locked = login(&t, email, PASSWORD).await;
        assert_eq!(locked.refusal(), (429, "locked_out".into()), "{email}: even the right password waits");
        assert_eq!(locked.headers["retry-after"], "30");
    }
    t.app.clock.advance(Duration::from_secs(30));
    for email in ["ada@example.com", "nobody@example.com"] {
        assert_eq!(login(&t, email, "wrong").await.status, 401, "{email}");
        assert_eq!(login(&t, email, PASSWORD).await.headers["retry-after"], "60", "{email}");
    }
    t.app.clock.advance(Duration::from_secs(60));
    assert_eq!(login(&t, "ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(login(&t, "ada@example.com", "wrong").await.status, 401, "the count begins anew");
    assert_eq!(login(&t, "ada@example.com", PASSWORD).await.status, 200);
}

/// Fifty guesses at once are not more than five guesses.
#[tokio::test]
async fn guesses_at_once_do_not_outrun_the_lock() {
    let t = std::sync::Arc::new(TestApp::start().await);
    register(&t, "ada@example.com").await;
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let t = t.clone();
        guesses.spawn(async move { login(&t, "ada@example.com", "wrong").await.status });
    }
    let checked = guesses.join_all().await.into_iter().filter(|status| *status == 401).count();
    assert!(checked <= 5, "{checked} passwords were checked");
}

#[tokio::test]
async fn a_refresh_token_works_once_and_twice_ends_the_session() {
    let t = TestApp::start().await;
    let first = register(&t, "ada@example.com").await;
    let refresh = async |token: &str| t.post("/v1/auth/refresh", "", json!({ "refresh_token": token })).await;
    let second = refresh(text(&first, "refresh_token")).await.json();
    assert_eq!(second["session"], first["session"]);
    assert_eq!(t.get("/v1/me", text(&second, "access_token")).await.status, 200);
    assert_eq!(refresh(text(&first, "refresh_token")).await.refusal(), (401, "revoked_credential".into()));
    assert_eq!(t.get("/v1/me", text(&second, "access_token")).await.refusal(), (401, "revoked_credential".into()));
    assert_eq!(refresh(text(&second, "refresh_token")).await.refusal(), (401, "revoked_credential".into()));
    for bad in ["", "x", "car_rt_x_y", text(&second, "access_token")] {
        assert_eq!(refresh(bad).await.refusal(), (401, "invalid_credential".into()), "{bad}");
    }
}

#[tokio::test]
async fn tokens_expire_and_sessions_end() {
    let t = TestApp::start().await;
    let ada = register(&t, "ada@example.com").await;
    let other = login(&t, "ada@example.com", PASSWORD).await.json();
    let (token, id) = (text(&ada, "access_token"), text(&other, "session"));
    let stranger = register(&t, "bob@example.com").await;
    let path = format!("/v1/sessions/{id}");
    assert_eq!(t.call("DELETE", &path, text(&stranger, "access_token"), None).await.status, 404);
    assert_eq!(t.call("DELETE", &path, token, None).await.status, 204);
    assert_eq!(t.get("/v1/me", text(&other, "access_token")).await.refusal(), (401, "revoked_credential".into()));
    assert_eq!(t.call("DELETE", &path, token, None).await.status, 404);

    t.app.clock.advance(Duration::from_secs(900));
    assert_eq!(t.get("/v1/me", token).await.refusal(), (401, "expired_credential".into()));
    t.app.clock.advance(Duration::from_secs(2_592_000));
    let late = t.post("/v1/auth/refresh", "", json!({ "refresh_token": ada["refresh_token"] })).await;
    assert_eq!(late.refusal(), (401, "revoked_credential".into()));
}

/// Keys are programs': they do not sign out and have no sessions.
#[tokio::test]
async fn keys_have_no_sessions() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    assert_eq!(t.get("/v1/sessions", &key).await.refusal(), (403, "forbidden".into()));
    assert_eq!(t.post("/v1/auth/logout", &key, json!({})).await.refusal(), (403, "forbidden".into()));
}
