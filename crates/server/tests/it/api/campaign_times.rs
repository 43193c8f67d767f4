//! Campaigns by the clock of each recipient, within hours, to saved filters and to an account's own database.

use std::time::Duration;

use serde_json::{Value, json};

use super::campaigns::{draft, launch, settled, until};
use super::contacts::made;
use super::messages::{quick, quick_on_postgres};
use crate::app::TestApp;

const BERLIN: &str = "+4915112345678";
const TOKYO: &str = "+819012345678";
const NEW_YORK: &str = "+12125550123";

fn move_to(t: &TestApp, text: &str) {
    let at = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    t.app.clock.advance(Duration::from_millis((at - t.app.clock.now_ms()) as u64));
}

/// When each of a run's messages goes, by number.
async fn times(t: &TestApp, key: &str, campaign: &Value) -> Vec<(String, String)> {
    let batch = campaign["run"]["batch"].as_str().unwrap();
    let list = t.get(&format!("/v1/batches/{batch}/messages"), key).await.json();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let rows = list["data"].as_array().unwrap();
    let mut all: Vec<_> = rows.iter().map(|m| (text(&m["to"]), text(&m["scheduled_at"]))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn each_at_six_where_they_are() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let id = draft(&t, &key, "Hello", json!([BERLIN, TOKYO, NEW_YORK])).await;
        let path = format!("/v1/campaigns/{id}/schedule");
        for (body, pointer) in [
            (json!({"at": "2027-03-26T18:00:00", "local_time": true, "time_zone": "Europe/Berlin"}), "#/time_zone"),
            (json!({"at": "2027-03-26T18:00:00Z", "local_time": true}), "#/at"),
            // 14:00 of this day is past where the day begins.
            (json!({"at": "2026-11-21T14:00:00", "local_time": true}), "#/at"),
        ] {
            let refused = t.post(&path, &key, body).await;
            assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!(pointer)));
        }
        let plan = json!({"at": "2027-03-26T18:00:00", "local_time": true, "repeat": "FREQ=DAILY;COUNT=2"});
        let scheduled = t.post(&path, &key, plan).await.json();
        assert_eq!(scheduled["next_run_at"], "2027-03-26T04:00:00.000Z", "{scheduled}");
        assert_eq!((&scheduled["schedule"]["time_zone"], &scheduled["schedule"]["at"]), (&Value::Null, &json!("2027-03-26T18:00:00")));
        // The clocks of New York have changed by then, those of Berlin change on the 28th.
        for (runs, begin, berlin, tokyo, new_york) in [
            (1, "2027-03-26T04:00:00Z", "2027-03-26T17:00", "2027-03-26T09:00", "2027-03-26T22:00"),
            (2, "2027-03-27T04:00:00Z", "2027-03-27T17:00", "2027-03-27T09:00", "2027-03-27T22:00"),
        ] {
            move_to(&t, begin);
            let c = until(&t, &key, &id, begin, |c| c["runs"] == runs && c["status"] != "running").await;
            let at = |text: &str| format!("{text}:00.000Z");
            let mut expected = vec![
                (BERLIN.to_owned(), at(berlin)),
                (TOKYO.to_owned(), at(tokyo)),
                (NEW_YORK.to_owned(), at(new_york)),
            ];
            expected.sort();
            assert_eq!(times(&t, &key, &c).await, expected);
        }
        move_to(&t, "2027-03-27T22:00:01Z");
        assert_eq!(settled(&t, &key, &id, "finished").await["totals"]["delivered"], 6);
    }
}

#[tokio::test]
async fn within_hours_and_with_short_links() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let settings = json!({"settings": {"link_domain": "go.shop.example"}});
    assert_eq!(t.call("PATCH", "/v1/account", &key, Some(settings)).await.status, 200);
    let window = json!({"from": "15:00", "to": "16:00"});
    let body = json!({"name": "Sale", "text": "Sale: https://shop.example/sale?utm_source=sms", "audience": [BERLIN],
        "send_window": window, "shorten_links": true});
    let id = made(&t, &key, "/v1/campaigns", body).await;
    let shown = t.get(&format!("/v1/campaigns/{id}"), &key).await.json();
    assert_eq!((&shown["send_window"]["from"], &shown["shorten_links"]), (&json!("15:00"), &json!(true)));
    assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
    let c = until(&t, &key, &id, "all is handed in", |c| c["status"] == "finished").await;
    // Noon in UTC is one in the afternoon there.
    assert_eq!(times(&t, &key, &c).await, [(BERLIN.to_owned(), "2026-11-21T14:00:00.000Z".to_owned())]);
    let batch = c["run"]["batch"].as_str().unwrap();
    let message = t.get(&format!("/v1/batches/{batch}/messages"), &key).await.json()["data"][0].take();
    assert!(message["text"].as_str().unwrap().starts_with("Sale: https://go.shop.example/"), "{message}");
    let refused = t.call("PATCH", &format!("/v1/campaigns/{id}"), &key, Some(json!({"send_window": {"from": "9"}}))).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
}

#[tokio::test]
async fn to_a_segment_and_to_a_source_that_cannot_be_read() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    for (phone, tag) in [(BERLIN, "vip"), ("+4915112345679", "new")] {
        made(&t, &key, "/v1/contacts", json!({"phone": phone, "name": "Ada", "tags": [tag]})).await;
    }
    let segment = made(&t, &key, "/v1/segments", json!({"name": "VIP", "filter": {"tag": "vip"}})).await;
    let id = draft(&t, &key, "Hi {{name}}", json!([{"segment": segment}])).await;
    let shown = t.get(&format!("/v1/campaigns/{id}"), &key).await.json();
    assert_eq!(shown["audience"], json!([{"segment": segment}]));
    assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
    assert_eq!(settled(&t, &key, &id, "finished").await["totals"]["delivered"], 1);

    let source = json!({"name": "Leads", "columns": {"phone": "mobile"},
        "http": {"url": "https://localhost:9/leads.json"}});
    let source = made(&t, &key, "/v1/sources", source).await;
    let id = draft(&t, &key, "Hi", json!([BERLIN, {"source": source}])).await;
    let estimate = t.call("POST", &format!("/v1/campaigns/{id}/estimate"), &key, None).await;
    assert_eq!(
        (estimate.status, &estimate.json()["errors"][0]["pointer"]),
        (502, &json!("#/audience/1/source")),
        "{}",
        estimate.text
    );
    assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
    let failed = until(&t, &key, &id, "it failed", |c| c["status"] == "failed").await;
    assert_eq!((&failed["reason"], &failed["totals"]["delivered"]), (&json!("source_failed"), &json!(0)));
    for audience in [json!([{"segment": "seg_01h455vb4pex5vsknk084sn02q"}]), json!([{"source": "cmp_1"}])] {
        let body = json!({"name": "x", "text": "x", "audience": audience});
        assert_eq!(t.post("/v1/campaigns", &key, body).await.status, 400, "{audience}");
    }
}
