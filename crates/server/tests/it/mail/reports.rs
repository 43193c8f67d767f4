//! Saved reports by mail: on their hour, with their table, once, and to people of the account alone.

use std::time::Duration;

use carillon::jobs;
use carillon_domain::id::ReportId;
use carillon_store::email;
use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use super::sink::{Guard, Sink};
use super::{register, to, until};
use crate::app::TestApp;

const HOUR: Duration = Duration::from_secs(3600);

/// A server and its sink, and a key of Ada, whose address is confirmed.
async fn with_ada(url: &str) -> (TestApp, Sink, String) {
    let sink = Sink::start(Guard::Clear).await;
    let settings = to(&sink);
    let t = TestApp::with(|c| {
        settings(c);
        c.database.url = url.to_owned().into();
        c.accounts.registration_balance_cents = 1_000;
    })
    .await;
    let tokens = register(&t, "ada@example.com", "Ada").await;
    let token = sink.wait(1).await[0].token();
    assert_eq!(t.post("/v1/auth/verify-email", "", json!({ "token": token })).await.status, 204);
    // Her welcome.
    sink.wait(2).await;
    // Tokens end within the hour.
    let key =
        t.post("/v1/api-keys", tokens["access_token"].as_str().unwrap(), json!({ "name": "reports" })).await.json();
    (t, sink, key["key"].as_str().unwrap().to_owned())
}

fn daily(to: Value) -> Value {
    json!({
        "name": "Every morning", "measures": ["accepted", "cost"], "group_by": ["country"], "period": "yesterday",
        "schedule": { "every": "day", "hour": 14, "to": to }
    })
}

#[tokio::test]
async fn a_report_comes_at_its_hour() {
    for url in [String::new(), TestPostgres::start().fresh_database().await] {
        let (t, sink, ada) = with_ada(&url).await;
        let sent =
            t.post("/v1/messages", &ada, json!({ "to": "+4915112345678", "from": "Shop", "text": "hello" })).await;
        assert_eq!(sent.status, 202, "{}", sent.text);
        // It is noon of the 21st.
        let made = t.post("/v1/reports", &ada, daily(json!(["Ada@example.com"]))).await.json();
        assert_eq!(made["next_at"], "2026-11-21T14:00:00.000Z", "{made}");
        assert_eq!(made["schedule"]["to"], json!(["ada@example.com"]));
        let path = format!("/v1/reports/{}", made["id"].as_str().unwrap());
        jobs::usage::once(&t.app).await.unwrap();
        assert_eq!(t.get(&path, &ada).await.json()["sent_at"], json!(null), "not yet");

        // The first is of the 20th, when nothing was sent; the second of the 21st. Between them the server is away for a while: nothing comes twice.
        t.app.clock.advance(2 * HOUR);
        jobs::usage::once(&t.app).await.unwrap();
        jobs::usage::once(&t.app).await.unwrap();
        let first = sink.wait(3).await.remove(2);
        assert_eq!(first.field("Subject"), "Report: Every morning, 2026-11-20 to 2026-11-20");
        assert_eq!(first.to, ["<ada@example.com>"]);
        assert!(first.body.contains("accepted: 0; cost: 0.00 USD"), "{}", first.body);
        assert!(first.body.contains("filename=\"report-2026-11-20.csv\""), "{}", first.body);
        let told = t.get(&path, &ada).await.json();
        assert_eq!(
            (&told["sent_at"], &told["next_at"]),
            (&json!("2026-11-21T14:00:00.000Z"), &json!("2026-11-22T14:00:00.000Z"))
        );
        t.app.clock.advance(26 * HOUR);
        jobs::usage::once(&t.app).await.unwrap();
        let second = sink.wait(4).await.remove(3);
        assert!(
            second.body.contains("accepted: 1;") && second.body.contains("country,accepted,cost"),
            "{}",
            second.body
        );
        assert!(second.body.contains("DE,1,"), "{}", second.body);
        assert_eq!(t.get(&path, &ada).await.json()["next_at"], "2026-11-23T14:00:00.000Z");
        let account = made["id"].as_str().unwrap().parse::<ReportId>().unwrap().account();
        until("every mail has left", async || email::unsent(&t.app.db, account, 10).await.unwrap().is_empty()).await;
        assert_eq!(sink.mails().len(), 4);
    }
}

#[tokio::test]
async fn only_people_of_the_account_get_it() {
    let (t, sink, ada) = with_ada("").await;
    register(&t, "eve@example.com", "Eve").await;
    let token = sink.wait(3).await[2].token();
    assert_eq!(t.post("/v1/auth/verify-email", "", json!({ "token": token })).await.status, 204);
    let rows = [
        (daily(json!(["eve@example.com"])), "#/schedule/to/0"),
        (daily(json!(["ada@example.com", "nobody@example.com"])), "#/schedule/to/1"),
        (daily(json!([])), "#/schedule/to"),
        (daily(json!(vec!["ada@example.com"; 11])), "#/schedule/to"),
    ];
    for (body, pointer) in rows {
        let answer = t.post("/v1/reports", &ada, body).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    let schedules = [
        (json!({"every": "hour", "hour": 8, "to": ["ada@example.com"]}), "#/schedule/every"),
        (json!({"every": "day", "hour": 24, "to": ["ada@example.com"]}), "#/schedule/hour"),
        (json!({"every": "day", "hour": -1, "to": ["ada@example.com"]}), "#/schedule/hour"),
        (json!({"every": "day", "hour": 8, "weekday": 1, "to": ["ada@example.com"]}), "#/schedule/every"),
        (json!({"every": "week", "hour": 8, "weekday": 8, "to": ["ada@example.com"]}), "#/schedule/weekday"),
        (json!({"every": "month", "hour": 8, "day": 29, "to": ["ada@example.com"]}), "#/schedule/day"),
        (json!({"every": "month", "hour": 8, "day": 0, "to": ["ada@example.com"]}), "#/schedule/day"),
    ];
    for (schedule, pointer) in schedules {
        let mut body = daily(json!([]));
        body["schedule"] = schedule;
        let answer = t.post("/v1/reports", &ada, body).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.text);
    }
    assert_eq!(t.get("/v1/reports", &ada).await.json()["data"], json!([]));
}
