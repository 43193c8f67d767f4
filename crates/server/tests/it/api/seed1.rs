//! The `curl` lines of the first seed, as they stand there, in open mode.

use crate::api::messages::finished;
use crate::app::{Answer, TestApp};

const CLIENT: &str = "550e8400-e29b-41d4-a716-446655440000";

async fn open() -> TestApp {
    TestApp::with(|config| {
        config.open_mode.enabled = true;
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
    })
    .await
}

async fn post(t: &TestApp, body: &'static str) -> Answer {
    t.send(t.request("POST", "/v1/messages").header("content-type", "application/json").body(body)).await
}

#[tokio::test]
async fn a_regular_message() {
    let t = open().await;
    let answer = post(
        &t,
        r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+1234567890","from":"TEST","text":"Hello SMS!"}"#,
    )
    .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!((&answer.json()["status"], &answer.json()["price"]["amount"]), (&"queued".into(), &"0.05".into()));
}

#[tokio::test]
async fn a_one_time_code() {
    let t = open().await;
    let answer =
        post(&t, r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+1234567890","from":"BANK","otp":true}"#)
            .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["otp_code"].as_str().map(str::len), Some(6));
    let failed = post(
        &t,
        r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+15005550101","from":"BANK","otp":true}"#,
    )
    .await;
    assert_eq!(failed.status, 503);
    assert_eq!(failed.json()["error"], "OTP delivery failed - operator cannot deliver immediately");
}

#[tokio::test]
async fn an_express_message_costs_seven_cents() {
    let t = open().await;
    let answer = post(&t, r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+1234567890","from":"URGENT","text":"Emergency alert","express":true}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["price"]["amount"], "0.07");
}

#[tokio::test]
async fn reports_of_one_and_of_all() {
    let t = open().await;
    let sent = post(&t, r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+1234567890","from":"SENDER","text":"Hello World"}"#).await;
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(finished(&t, "", &id).await["status"], "delivered", "the id alone names its account");
    let all = t.get(&format!("/v1/messages?client_id={CLIENT}"), "").await.json();
    assert_eq!((all["data"].as_array().map(Vec::len), &all["data"][0]["id"]), (Some(1), &id.as_str().into()));
    assert_eq!(t.get(&format!("/v1/messages/{id}?client_id={CLIENT}"), "").await.status, 200);
    let stranger = "650e8400-e29b-41d4-a716-446655440000";
    assert_eq!(t.get(&format!("/v1/messages/{id}?client_id={stranger}"), "").await.status, 404);
    assert_eq!(t.get(&format!("/v1/messages?client_id={stranger}"), "").await.json()["data"], serde_json::json!([]));
}

#[tokio::test]
async fn the_balance() {
    let t = open().await;
    let me = t.get(&format!("/v1/me?client_id={CLIENT}"), "").await;
    assert_eq!(
        (me.status, &me.json()["client_id"], &me.json()["balance"]["available"]),
        (200, &CLIENT.into(), &"100.00".into())
    );
}

#[tokio::test]
async fn health_readiness_and_documentation() {
    let t = open().await;
    for path in ["/health", "/ready", "/docs"] {
        assert_eq!(t.get(path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn no_message_without_money() {
    let t = TestApp::with(|config| {
        config.open_mode.enabled = true;
        config.open_mode.starting_balance_cents = 4;
    })
    .await;
    let answer = post(
        &t,
        r#"{"client_id":"550e8400-e29b-41d4-a716-446655440000","to":"+1234567890","from":"TEST","text":"Hello SMS!"}"#,
    )
    .await;
    assert_eq!(answer.refusal(), (402, "insufficient_credit".into()));
    assert_eq!((&answer.json()["needed"], &answer.json()["available"]), (&"0.05".into(), &"0.04".into()));
}
