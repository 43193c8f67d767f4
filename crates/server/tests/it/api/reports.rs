//! Usage, overviews and saved reports: what a day's messages come to, in JSON and CSV, and all that is refused.

use carillon::jobs;
use carillon_domain::permission::Scopes;
use serde_json::{Value, json};

use super::messages::{quick, quick_on_postgres};
use crate::app::TestApp;

/// Sends a batch of two Germans, a Briton and a number that nobody has, waits for its end, and has it added up.
async fn four(t: &TestApp, key: &str) -> String {
    let to = ["+4915112345678", "+4915112345679", "+447400123456", "+15005550101"];
    let accepted = t.post("/v1/batches", key, json!({"to": to, "from": "Shop", "text": "hello"})).await.json();
    let id = accepted["id"].as_str().unwrap().to_owned();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let counts = t.get(&format!("/v1/batches/{id}"), key).await.json()["counts"].clone();
        if counts == json!({"queued": 0, "sent": 0, "delivered": 3, "failed": 1}) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{counts}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    jobs::usage::once(&t.app).await.unwrap();
    id
}

#[tokio::test]
async fn usage_in_groups() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let (_, other) = t.account("b").await;
        let batch = four(&t, &key).await;
        let day = "2026-11-21";
        let rows: &[(&str, Value)] = &[
            (
                "group_by=day,country&measures=accepted,delivered,failed,parts,cost,delivery_rate",
                json!([
                    {"day": day, "country": "DE", "accepted": 2, "delivered": 2, "failed": 0, "parts": 2, "cost": "0.10", "delivery_rate": 100.0},
                    {"day": day, "country": "GB", "accepted": 1, "delivered": 1, "failed": 0, "parts": 1, "cost": "0.05", "delivery_rate": 100.0},
                    {"day": day, "country": "US", "accepted": 1, "delivered": 0, "failed": 1, "parts": 1, "cost": "0.00", "delivery_rate": 0.0},
                ]),
            ),
            (
                "group_by=status,error,connection&measures=accepted,ended",
                json!([
                    {"status": "delivered", "error": "none", "connection": "sandbox", "accepted": null, "ended": 3},
                    {"status": "failed", "error": "invalid_number", "connection": "sandbox", "accepted": null, "ended": 1},
                ]),
            ),
            ("country=de,GB&measures=accepted", json!([{"accepted": 3}])),
            ("error=none&measures=ended,accepted", json!([{"ended": 3, "accepted": null}])),
            ("connection=sandbox&status=failed&measures=ended", json!([{"ended": 1}])),
            ("connection=elsewhere&measures=ended", json!([])),
            ("to=2026-11-20&measures=accepted", json!([])),
            ("from=2026-11-21&to=2026-11-21&measures=accepted", json!([{"accepted": 4}])),
        ];
        for (query, expected) in rows {
            let answer = t.get(&format!("/v1/usage?{query}"), &key).await;
            let mut data = answer.json()["data"].clone();
            // Keys sort by number of state and country; the test by names.
            if let Some(rows) = data.as_array_mut() {
                rows.sort_by_key(|row| row["status"].to_string());
            }
            assert_eq!(data, *expected, "{query}: {}", answer.text);
        }
        let only = t.get(&format!("/v1/usage?batch={batch}&group_by=batch&measures=delivered"), &key).await.json();
        assert_eq!(only["data"], json!([{"batch": batch, "delivered": 3}]));
        assert_eq!(only["totals"], json!({"delivered": 3}));
        assert_eq!((&only["from"], &only["to"]), (&json!("2026-10-23"), &json!("2026-11-21")));
        let foreign = t.get(&format!("/v1/usage?batch={batch}"), &other).await.json();
        assert_eq!((&foreign["data"], &foreign["totals"]["accepted"]), (&json!([]), &json!(0)));

        let table =
            "day,country,accepted,delivery_rate\n2026-11-21,DE,2,100.0\n2026-11-21,GB,1,100.0\n2026-11-21,US,1,0.0\n";
        let query = "/v1/usage?group_by=day,country&measures=accepted,delivery_rate";
        let by_format = t.get(&format!("{query}&format=csv"), &key).await;
        let by_accept = t.send(t.request("GET", query).bearer_auth(&key).header("accept", "text/csv")).await;
        for answer in [by_format, by_accept] {
            assert_eq!((answer.status, answer.text.as_str()), (200, table));
            assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
            assert!(answer.headers["content-disposition"].contains("usage-2026-10-23-2026-11-21.csv"));
        }
    }
}

#[tokio::test]
async fn overviews_of_days_and_of_a_batch() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let batch = four(&t, &key).await;
    t.post(
        "/v1/messages",
        &key,
        json!({"to": "+4915112345678", "from": "Shop", "text": "later", "scheduled_at": "2026-11-22T00:00:00Z"}),
    )
    .await;
    jobs::usage::once(&t.app).await.unwrap();
    let all = t.get("/v1/reports/summary?time_zone=Asia/Kolkata", &key).await.json();
    assert_eq!(
        all["funnel"],
        json!([
            {"step": "accepted", "messages": 5}, {"step": "handed_over", "messages": 3}, {"step": "delivered", "messages": 3}
        ])
    );
    assert_eq!(all["heat_map"], json!([{"weekday": 6, "hour": 17, "accepted": 5, "delivered": 3}]));
    assert_eq!(all["days"], json!([{"day": "2026-11-21", "accepted": 5, "delivered": 3, "cost": "0.15"}]));
    assert_eq!(
        all["countries"][0],
        json!({"country": "DE", "accepted": 3, "delivered": 2, "delivery_rate": 100.0, "cost": "0.10"})
    );
    assert_eq!((&all["errors"][0]["error"], &all["errors"][0]["messages"]), (&json!("invalid_number"), &json!(1)));
    assert!(all["errors"][0]["action"].as_str().is_some_and(|action| action.len() > 10));
    assert_eq!(all["errors"].as_array().unwrap().len(), 1);
    let of_batch = t.get(&format!("/v1/batches/{batch}/report"), &key).await.json();
    assert_eq!(of_batch["funnel"][0], json!({"step": "accepted", "messages": 4}));
    assert_eq!((&of_batch["totals"]["delivery_rate"], &of_batch["totals"]["cost"]), (&json!(75.0), &json!("0.15")));
    assert!(of_batch["totals"]["p99_ms"].is_i64(), "{of_batch}");
}

#[tokio::test]
async fn queries_that_are_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let rows = [
        ("/v1/usage?from=yesterday", "?from"),
        ("/v1/usage?from=2026-02-30", "?from"),
        ("/v1/usage?to=20261121x", "?to"),
        ("/v1/usage?from=2026-11-22&to=2026-11-21", "?from"),
        ("/v1/usage?from=2025-01-01&to=2026-11-21", "?from"),
        ("/v1/usage?group_by=day,phone", "?group_by"),
        ("/v1/usage?group_by=day,day", "?group_by"),
        ("/v1/usage?measures=profit", "?measures"),
        ("/v1/usage?country=Germany", "?country"),
        ("/v1/usage?status=queued", "?status"),
        ("/v1/usage?status=1)%20OR%20(1=1", "?status"),
        ("/v1/usage?error=404", "?error"),
        ("/v1/usage?batch=msg_01h455vb4pex5vsknk084sn02q", "?batch"),
        ("/v1/usage?format=xlsx", "?format"),
        ("/v1/usage?color=red", "?color"),
        ("/v1/reports/summary?time_zone=Atlantis", "?time_zone"),
        ("/v1/reports/summary?to=never", "?to"),
    ];
    for (path, pointer) in rows {
        let answer = t.get(path, &key).await;
        assert_eq!(answer.refusal(), (400, "invalid_query".into()), "{path}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{path}");
    }
    let many = vec!["DE"; 101].join(",");
    assert_eq!(t.get(&format!("/v1/usage?country={many}"), &key).await.refusal(), (400, "invalid_query".into()));
}

fn delivery() -> Value {
    json!({
        "name": "Delivery by country", "measures": ["accepted", "delivered"], "group_by": ["country"],
        "filters": [{"by": "country", "value": "DE"}], "period": "today"
    })
}

#[tokio::test]
async fn a_report_from_saving_to_deleting() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let (_, other) = t.account("b").await;
        four(&t, &key).await;
        let made = t.post("/v1/reports", &key, delivery()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let made = made.json();
        let path = format!("/v1/reports/{}", made["id"].as_str().unwrap());
        assert_eq!(
            (&made["time_zone"], &made["next_at"], &made["schedule"]),
            (&json!("UTC"), &json!(null), &json!(null))
        );
        assert_eq!(t.get(&path, &key).await.json(), made);
        assert_eq!(t.get("/v1/reports", &key).await.json()["data"], json!([made]));
        assert_eq!(t.get("/v1/reports", &other).await.json()["data"], json!([]));
        let run = t.get(&format!("{path}/run"), &key).await.json();
        assert_eq!(run["data"], json!([{"country": "DE", "accepted": 2, "delivered": 2}]));
        let csv = t.get(&format!("{path}/run?format=csv"), &key).await;
        assert_eq!(csv.text, "country,accepted,delivered\nDE,2,2\n");

        let mut body = delivery();
        (body["name"], body["filters"], body["period"]) = (json!("Yesterday"), json!([]), json!("yesterday"));
        let replaced = t.call("PUT", &path, &key, Some(body.clone())).await.json();
        assert_eq!((&replaced["name"], &replaced["created_at"]), (&json!("Yesterday"), &made["created_at"]));
        assert_eq!(t.get(&format!("{path}/run"), &key).await.json()["data"], json!([]));
        for (method, path, body) in [
            ("GET", path.clone(), None),
            ("GET", format!("{path}/run"), None),
            ("PUT", path.clone(), Some(body)),
            ("DELETE", path.clone(), None),
        ] {
            assert_eq!(
                t.call(method, &path, &other, body).await.refusal(),
                (404, "not_found".into()),
                "{method} {path}"
            );
        }
        assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
        assert_eq!(t.call("DELETE", &path, &key, None).await.refusal(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn reports_that_are_refused() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    let schedule = json!({"every": "day", "hour": 8, "to": ["ada@example.com"]});
    let rows = [
        ("name", json!(""), "#/name"),
        ("name", json!("x".repeat(101)), "#/name"),
        ("name", json!(5), "#/name"),
        ("measures", json!([]), "#/measures"),
        ("measures", json!(["accepted", "profit"]), "#/measures/1"),
        ("measures", json!(["accepted", "accepted"]), "#/measures/1"),
        ("group_by", json!(["day", "phone"]), "#/group_by/1"),
        ("filters", json!([{"by": "day", "value": "2026-11-21"}]), "#/filters/0/by"),
        (
            "filters",
            json!([{"by": "country", "value": "DE"}, {"by": "status", "value": "queued"}]),
            "#/filters/1/value",
        ),
        ("filters", json!([{"by": "country"}]), "#/filters/0/value"),
        ("filters", Value::Array(vec![json!({"by": "country", "value": "DE"}); 101]), "#/filters"),
        ("period", json!("ever"), "#/period"),
        ("time_zone", json!("Atlantis"), "#/time_zone"),
        ("color", json!("red"), "#/color"),
        // This server sends no mail.
        ("schedule", schedule, "#/schedule/"),
    ];
    for (member, value, pointer) in rows {
        let mut body = delivery();
        body[member] = value.clone();
        let answer = t.post("/v1/reports", &key, body).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{member} {value}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{member} {value}");
    }
    assert_eq!(t.get("/v1/reports", &key).await.json()["data"], json!([]), "nothing was saved");
    let reader = t.key(&account, Scopes::parse("messages:read").unwrap(), None).await;
    assert_eq!(t.post("/v1/reports", &reader, delivery()).await.refusal(), (403, "forbidden".into()));
    for _ in 0..100 {
        assert_eq!(t.post("/v1/reports", &key, delivery()).await.status, 201);
    }
    assert_eq!(t.post("/v1/reports", &key, delivery()).await.refusal(), (409, "limit_reached".into()));
}
