//! What is kept no longer than the settings say, by the server's own clock.

use std::time::Duration;

use carillon::jobs::sweep;
use carillon_store::testing::TestPostgres;
use serde_json::json;

use crate::app::TestApp;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn verifications_go_with_their_numbers_and_hashes() {
    for postgres in [false, true] {
        let url = if postgres { TestPostgres::start().fresh_database().await } else { String::new() };
        let t = TestApp::with(|config| {
            config.database.url = url.as_str().into();
            config.sandbox.accept_delay_ms = 0;
        })
        .await;
        let ((a, key), (_, other)) = (t.account("a").await, t.account("b").await);
        let begin = async |key: &str, to: &str| {
            let answer = t.post("/v1/verifications", key, json!({ "to": to })).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            format!("/v1/verifications/{}", answer.json()["id"].as_str().unwrap())
        };
        let canceled = begin(&key, "+4915112345678").await;
        assert_eq!(t.post(&format!("{canceled}/cancel"), &key, json!({})).await.status, 200);
        let (expired, others) = (begin(&key, "+4915112345679").await, begin(&other, "+4915112345678").await);
        t.app.clock.advance(DAY);
        let later = begin(&key, "+4915112345680").await;
        let status = async |path: &str, key: &str| t.get(path, key).await.status;

        t.app.clock.advance(29 * DAY - Duration::from_millis(1));
        sweep::once(&t.app).await.unwrap();
        for (path, key) in [(&canceled, &key), (&expired, &key), (&others, &other), (&later, &key)] {
            assert_eq!(status(path, key).await, 200, "not before its time");
        }
        t.app.clock.advance(Duration::from_secs(60));
        sweep::once(&t.app).await.unwrap();
        sweep::once(&t.app).await.unwrap();
        for (path, key, expected) in
            [(&canceled, &key, 404), (&expired, &key, 404), (&others, &other, 404), (&later, &key, 200)]
        {
            assert_eq!(status(path, key).await, expected);
        }
        let left = t.get("/v1/verifications", &key).await.json();
        assert_eq!(left["data"].as_array().unwrap().len(), 1);
        let open = carillon_store::verification::sweep::account_after(&t.app.db, a.no).await.unwrap();
        assert_eq!(open, None, "of the other account nothing is left");
    }
}
