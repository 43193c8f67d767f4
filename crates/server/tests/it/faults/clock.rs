//! The clock of the machine is set back and forth.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::messages::finished;
use crate::app::TestApp;

/// Takes a code and never answers (`docs/ERROR_CODES.md`).
const SILENT: &str = "+15005550003";

async fn quick() -> TestApp {
    TestApp::with(|config| {
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
    })
    .await
}

#[tokio::test]
async fn ids_stay_in_order_and_nothing_expires() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let mut ids: Vec<String> = Vec::new();
    for step_ms in [0, -5_000, 7_000, -1, -30_000, 31_000, -3_600_000, 3_600_000, 1] {
        t.app.clock.step_wall(step_ms);
        for n in 0..3 {
            let body = json!({"to": "+4915112345678", "text": format!("{step_ms} {n}"), "validity_s": 60});
            let answer = t.post("/v1/messages", &key, body).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    for id in &ids {
        assert_eq!(finished(&t, &key, id).await["status"], "delivered");
    }
    let listed = t.get("/v1/messages?limit=200", &key).await.json();
    let listed: Vec<&str> = listed["data"].as_array().unwrap().iter().rev().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn deadlines_are_kept_by_the_clock_that_never_steps() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let request = t.request("POST", "/v1/messages").bearer_auth(&key).json(&json!({"to": SILENT, "otp": true}));
    let mut waiting = std::pin::pin!(t.send(request));
    for step_ms in [60_000, -120_000, 60_000] {
        t.app.clock.step_wall(step_ms);
        let early = tokio::time::timeout(Duration::from_millis(150), &mut waiting).await;
        assert!(early.is_err(), "a step of the clock decided it: {early:?}");
    }
    t.app.clock.advance(Duration::from_millis(5_000));
    let answer = waiting.await;
    assert_eq!(
        (answer.status, &answer.json()["failure"]["code"]),
        (503, &Value::from("otp_outcome_unknown")),
        "{}",
        answer.text
    );
}
