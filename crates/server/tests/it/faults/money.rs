//! Money and idempotency under concurrency: the balance is never overdrawn, and one key is one message.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::world::{number, postgres};
use crate::app::{Answer, TestApp};

/// An account has 100.00: at 20 cents enough for 500 messages.
async fn with_price(cents: u32, database: String) -> Arc<TestApp> {
    let t = TestApp::with(|config| {
        config.database.url = database.into();
        config.prices.per_part_cents = cents;
    })
    .await;
    Arc::new(t)
}

/// All at once.
async fn at_once(
    t: &Arc<TestApp>,
    path: &'static str,
    key: &str,
    idempotency_key: Option<&'static str>,
    bodies: Vec<Value>,
) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for body in bodies {
        let (t, key) = (t.clone(), key.to_owned());
        tasks.spawn(async move {
            let mut request = t.request("POST", path).bearer_auth(key).json(&body);
            if let Some(name) = idempotency_key {
                request = request.header("Idempotency-Key", name);
            }
            t.send(request).await
        });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_for_500_takes_500_of_1000() {
    for database in [String::new(), postgres().await] {
        let t = with_price(20, database).await;
        let (_, key) = t.account("a").await;
        let bodies = (0..1_000).map(|n| json!({"to": number(n), "text": "hello"})).collect();
        let answers = at_once(&t, "/v1/messages", &key, None, bodies).await;
        let count = |status| answers.iter().filter(|a| a.status == status).count();
        assert_eq!((count(202), count(402)), (500, 500));
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "0.00");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_message_and_one_charge() {
    for database in [String::new(), postgres().await] {
        let t = with_price(20, database).await;
        let (_, key) = t.account("a").await;
        let bodies = vec![json!({"to": number(1), "text": "hello"}); 200];
        let answers = at_once(&t, "/v1/messages", &key, Some("the same"), bodies).await;
        let replayed = answers.iter().filter(|a| a.headers.contains_key("idempotent-replayed")).count();
        assert!(answers.iter().all(|a| a.status == 202 && a.json()["id"] == answers[0].json()["id"]), "{answers:?}");
        assert_eq!(replayed, 199);
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "99.80");
        assert_eq!(t.get("/v1/messages", &key).await.json()["data"].as_array().map(Vec::len), Some(1));
    }
}

/// Of 256 messages each: PostgreSQL takes two at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_for_39_batches_takes_39_of_40_and_one_key_is_one_batch() {
    for database in [String::new(), postgres().await] {
        let t = with_price(1, database).await;
        let (_, key) = t.account("a").await;
        let batch = |text: &str| json!({"to": (0..256).map(number).collect::<Vec<_>>(), "text": text});
        let answers = at_once(&t, "/v1/batches", &key, None, vec![batch("one of many"); 40]).await;
        let count = |status| answers.iter().filter(|a| a.status == status).count();
        assert_eq!((count(202), count(402)), (39, 1));
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "0.16");

        let (_, key) = t.account("b").await;
        let answers = at_once(&t, "/v1/batches", &key, Some("the same"), vec![batch("the only one"); 20]).await;
        assert!(answers.iter().all(|a| a.status == 202 && a.json()["id"] == answers[0].json()["id"]), "{answers:?}");
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "97.44");
    }
}
