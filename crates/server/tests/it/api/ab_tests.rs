//! A/B tests of campaigns through the API: tried on a part, decided once by numbers or by a person, the winner sent to the rest; and every way that
//! is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use super::campaigns::{launch, settled, until};
use super::contacts::made;
use super::messages::{quick, quick_on_postgres};
use super::short_links;
use super::two_way::{stage, written};
use crate::app::TestApp;

const HOUR: Duration = Duration::from_secs(3_601);

fn people(count: u32) -> Vec<String> {
    (0..count).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect()
}

fn test_of(metric: &str, if_unclear: &str) -> Value {
    json!({"variants": [{"text": "Fish on Friday? https://shop.example/a"}, {"text": "Friday: fish! https://shop.example/b"}],
        "share": 50, "metric": metric, "decide_after_s": 3600, "if_unclear": if_unclear})
}

async fn post(t: &TestApp, key: &str, id: &str, action: &str, body: Value) -> crate::app::Answer {
    t.post(&format!("/v1/campaigns/{id}/{action}"), key, body).await
}

/// Waits until all of the test has arrived and its time is set.
async fn tried(t: &TestApp, key: &str, id: &str) -> Value {
    until(t, key, id, "the test is handed in", |c| {
        let totals = &c["totals"];
        c["ab_test"]["decide_at"] != Value::Null && totals["queued"] == 0 && totals["sent"] == 0
    })
    .await
}

/// Texts and numbers of a batch.
async fn messages(t: &TestApp, key: &str, batch: &Value) -> Vec<(String, String)> {
    let path = format!("/v1/batches/{}/messages?limit=200", batch.as_str().unwrap());
    let list = t.get(&path, key).await.json();
    let text = |m: &Value, name: &str| m[name].as_str().unwrap().to_owned();
    list["data"].as_array().unwrap().iter().map(|m| (text(m, "to"), text(m, "text"))).collect()
}

#[tokio::test]
async fn an_ab_test_is_won_by_clicks_and_its_winner_goes_to_the_rest() {
    for url in [String::new(), TestPostgres::start().fresh_database().await] {
        let t = short_links::server(&url).await;
        let (_, key) = t.account("a").await;
        let body = json!({"name": "Friday", "audience": people(190), "shorten_links": true, "ab_test": test_of("clicked", "ask")});
        let id = made(&t, &key, "/v1/campaigns", body).await;
        assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
        let c = tried(&t, &key, &id).await;
        let variants = c["ab_test"]["variants"].as_array().unwrap().clone();
        let count = |v: &Value| v["result"]["messages"].as_i64().unwrap();
        let sums: i64 = variants.iter().map(count).sum();
        assert_eq!((&c["status"], &c["ab_test"]["winner"]), (&json!("running"), &json!(null)));
        assert_eq!(
            (&c["totals"]["delivered"], &c["totals"]["waiting"], &c["totals"]["recipients"]),
            (&json!(sums), &json!(190 - sums), &json!(190))
        );
        assert_eq!((&c["ab_test"]["p_value"], &c["ab_test"]["significant"]), (&json!(null), &json!(false)), "{c}");
        for variant in ["A", "B"] {
            let listed =
                t.get(&format!("/v1/campaigns/{id}/recipients?variant={variant}&limit=200"), &key).await.json();
            let place = usize::from(variant == "B");
            assert_eq!(listed["data"].as_array().unwrap().len() as i64, count(&variants[place]));
        }
        // All who got the second open its link.
        let batch = variants[1]["result"]["batch"].as_str().unwrap();
        let links = t.get(&format!("/v1/links?batch={batch}&limit=200"), &key).await.json()["data"].clone();
        for link in links.as_array().unwrap() {
            short_links::opened(&t, "GET", link["url"].as_str().unwrap(), &[("user-agent", short_links::PHONE)]).await;
        }
        t.app.clock.advance(HOUR);
        let done = settled(&t, &key, &id, "finished").await;
        let test = &done["ab_test"];
        assert_eq!(
            [&test["winner"], &test["decided_by"], &test["leading"], &test["significant"]],
            [&json!("B"), &json!("numbers"), &json!("B"), &json!(true)]
        );
        let result = &test["variants"][1]["result"];
        assert_eq!(
            (&result["clicked"], &result["rate"], &result["high"]),
            (&result["messages"], &json!(1.0), &json!(1.0))
        );
        assert!(
            result["low"].as_f64() > Some(0.8) && test["variants"][0]["result"]["high"].as_f64() < Some(0.2),
            "{test}"
        );
        assert_eq!((&done["totals"]["delivered"], &done["totals"]["waiting"]), (&json!(190), &json!(0)));

        // Each number once; the rest has the winner's text.
        let mut all = BTreeSet::new();
        for (batch, begins) in [
            (&variants[0]["result"]["batch"], "Fish on"),
            (&variants[1]["result"]["batch"], "Friday: "),
            (&done["run"]["batch"], "Friday: "),
        ] {
            for (to, text) in messages(&t, &key, batch).await {
                assert!(text.starts_with(begins), "{text}");
                assert!(all.insert(to.clone()), "{to} twice");
            }
        }
        assert_eq!(all.len(), 190);
        let batch = t.get(&format!("/v1/batches/{}", done["run"]["batch"].as_str().unwrap()), &key).await.json();
        assert_eq!(batch["text"], "Friday: fish! https://shop.example/b");
    }
}

#[tokio::test]
async fn an_ab_test_without_a_clear_winner_asks_or_sends_the_leading() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let make = async |if_unclear: &str| {
            let body = json!({"name": "Friday", "audience": people(60), "ab_test": test_of("delivered", if_unclear)});
            let id = made(&t, &key, "/v1/campaigns", body).await;
            assert_eq!(launch(&t, &key, &id, &id).await.status, 202);
            tried(&t, &key, &id).await;
            id
        };
        let (asks, sends) = (make("ask").await, make("leading").await);
        t.app.clock.advance(HOUR);
        let done = settled(&t, &key, &sends, "finished").await;
        assert_eq!(
            [&done["ab_test"]["winner"], &done["ab_test"]["significant"], &done["totals"]["delivered"]],
            [&json!("A"), &json!(false), &json!(60)],
            "of equals the first"
        );
        let paused = until(&t, &key, &asks, "it asks", |c| c["status"] == "paused").await;
        assert_eq!((&paused["reason"], &paused["ab_test"]["winner"]), (&json!("undecided"), &json!(null)));
        // To go on without a choice is to look again.
        assert_eq!(post(&t, &key, &asks, "resume", json!({})).await.status, 200);
        until(&t, &key, &asks, "it asks again", |c| c["status"] == "paused").await;
        let chosen = post(&t, &key, &asks, "winner", json!({"variant": "B"})).await;
        assert_eq!(
            (chosen.status, &chosen.json()["ab_test"]["decided_by"]),
            (200, &json!("person")),
            "{}",
            chosen.text
        );
        let done = settled(&t, &key, &asks, "finished").await;
        assert_eq!((&done["ab_test"]["winner"], &done["totals"]["delivered"]), (&json!("B"), &json!(60)));
        for (variant, refused) in [("A", 409), ("B", 409)] {
            let again = post(&t, &key, &asks, "winner", json!({ "variant": variant })).await;
            assert_eq!(again.refusal(), (refused, "campaign_state".into()), "it has finished");
        }
    }
}

#[tokio::test]
async fn an_ab_test_decided_by_a_person_is_decided_once_and_waits_while_paused() {
    for t in [quick().await, quick_on_postgres().await] {
        let (_, key) = t.account("a").await;
        let body = json!({"name": "Friday", "audience": people(60), "ab_test": test_of("delivered", "leading")});
        let id = made(&t, &key, "/v1/campaigns", body).await;
        assert_eq!(
            post(&t, &key, &id, "winner", json!({"variant": "B"})).await.refusal(),
            (409, "campaign_state".into())
        );
        assert_eq!(launch(&t, &key, &id, "k").await.status, 202);
        let sent = tried(&t, &key, &id).await["totals"]["delivered"].clone();
        assert_eq!(post(&t, &key, &id, "pause", json!({})).await.status, 200);
        t.app.clock.advance(HOUR);
        for (variant, status) in [("C", 400), ("B", 200), ("B", 200), ("A", 409)] {
            let answer = post(&t, &key, &id, "winner", json!({ "variant": variant })).await;
            assert_eq!(answer.status, status, "{variant}: {}", answer.text);
        }
        let c = t.get(&format!("/v1/campaigns/{id}"), &key).await.json();
        assert_eq!(
            [&c["status"], &c["reason"], &c["ab_test"]["winner"], &c["totals"]["delivered"]],
            [&json!("paused"), &json!("asked"), &json!("B"), &sent]
        );
        // Whoever goes on with it knows the decision from its row alone.
        assert_eq!(post(&t, &key, &id, "resume", json!({})).await.status, 200);
        let done = settled(&t, &key, &id, "finished").await;
        assert_eq!((&done["ab_test"]["winner"], &done["totals"]["delivered"]), (&json!("B"), &json!(60)));
        // One that is canceled while it waits sends nothing more.
        let copy = post(&t, &key, &id, "duplicate", json!({})).await.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(launch(&t, &key, &copy, "k2").await.status, 202);
        let sent = tried(&t, &key, &copy).await["totals"]["delivered"].clone();
        assert_eq!(post(&t, &key, &copy, "cancel", json!({})).await.json()["status"], "canceled");
        let ended = until(&t, &key, &copy, "it is closed", |c| c["run"]["ended_at"] != Value::Null).await;
        assert_eq!((&ended["totals"]["delivered"], &ended["ab_test"]["winner"]), (&sent, &json!(null)));
    }
}

#[tokio::test]
async fn answers_count_in_an_ab_test_and_stops_do_not() {
    let s = stage().await;
    let body = json!({"name": "Friday", "audience": people(60), "ab_test": test_of("replied", "ask")});
    let id = made(&s.t, &s.key, "/v1/campaigns", body).await;
    assert_eq!(launch(&s.t, &s.key, &id, "k").await.status, 202);
    tried(&s.t, &s.key, &id).await;
    let in_a =
        s.t.get(&format!("/v1/campaigns/{id}/recipients?variant=A&limit=3"), &s.key).await.json()["data"].clone();
    let said = [(0, "yes please"), (1, "for two"), (1, "or three"), (2, "STOP")];
    for (who, text) in said {
        s.t.app.clock.advance(Duration::from_secs(1));
        let from = in_a[who]["phone"].as_str().unwrap().trim_start_matches('+').to_owned();
        s.carrier.write(carillon::simulator::Written { from, ..written(text) });
    }
    s.inbound(said.len()).await;
    let c = s.t.get(&format!("/v1/campaigns/{id}"), &s.key).await.json();
    let replied = |place: usize| c["ab_test"]["variants"][place]["result"]["replied"].clone();
    assert_eq!((replied(0), replied(1), &c["ab_test"]["leading"]), (json!(2), json!(0), &json!("A")), "{c}");
}

#[tokio::test]
async fn ab_tests_that_are_refused_and_change_nothing() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let two = json!([{"text": "a"}, {"text": "b"}]);
    let rows = [
        (json!({}), "#/ab_test/variants", "missing_field"),
        (json!({"variants": [{"text": "a"}]}), "#/ab_test/variants", "invalid_value"),
        (
            json!({"variants": [{}, {"from": "A"}, {"from": "B"}, {"from": "C"}, {"from": "D"}, {"from": "E"}]}),
            "#/ab_test/variants",
            "invalid_value",
        ),
        (json!({"variants": [{"text": "a"}, {"text": "a"}]}), "#/ab_test/variants", "invalid_value"),
        (json!({"variants": [{"text": "a"}, {"text": ""}]}), "#/ab_test/variants/1/text", "too_short"),
        (json!({"variants": [{"text": "{{a"}, {"text": "b"}]}), "#/ab_test/variants/0/text", "invalid_template"),
        (
            json!({"variants": [{"text": "a"}, {"from": "TwelveLetter"}]}),
            "#/ab_test/variants/1/from",
            "sender_too_long",
        ),
        (json!({"variants": two, "share": 0}), "#/ab_test/share", "invalid_value"),
        (json!({"variants": two, "share": 100}), "#/ab_test/share", "invalid_value"),
        (json!({"variants": two, "metric": "luck"}), "#/ab_test/metric", "invalid_value"),
        (json!({"variants": two, "metric": "clicked"}), "#/ab_test/metric", "conflicting_fields"),
        (json!({"variants": two, "decide_after_s": 59}), "#/ab_test/decide_after_s", "invalid_value"),
        (json!({"variants": two, "decide_after_s": 604_801}), "#/ab_test/decide_after_s", "invalid_value"),
        (json!({"variants": two, "if_unclear": "dice"}), "#/ab_test/if_unclear", "invalid_value"),
        (json!({"variants": two, "x": 1}), "#/ab_test/x", "unknown_field"),
    ];
    for (test, pointer, code) in rows {
        let body = json!({"name": "a", "text": "base", "ab_test": test});
        let answer = t.post("/v1/campaigns", &key, body.clone()).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{body}: {}", answer.text);
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{body}");
    }
    assert_eq!(t.get("/v1/campaigns", &key).await.json()["data"], json!([]));

    // One variant has no text, and neither has the campaign; a test goes once.
    let body = json!({"name": "a", "audience": people(1), "ab_test": {"variants": [{"text": "a"}, {"from": "Shop"}]}});
    let id = made(&t, &key, "/v1/campaigns", body).await;
    let path = format!("/v1/campaigns/{id}");
    assert_eq!(launch(&t, &key, &id, "k").await.json()["errors"][0]["pointer"], "#/text");
    let texts = json!({"ab_test": {"variants": two}});
    assert_eq!(t.call("PATCH", &path, &key, Some(texts.clone())).await.json()["ab_test"]["share"], 20);
    let weekly = json!({"at": "2026-12-04T11:00:00Z", "repeat": "FREQ=WEEKLY"});
    let refused = post(&t, &key, &id, "schedule", weekly.clone()).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "#/repeat", "{}", refused.text);
    let sent = post(&t, &key, &id, "test", json!({"to": people(1), "variant": "B"})).await;
    assert_eq!(messages(&t, &key, &sent.json()["batch"]).await[0].1, "b");
    let unknown = post(&t, &key, &id, "test", json!({"to": people(1), "variant": "C"})).await;
    assert_eq!(unknown.json()["errors"][0]["pointer"], "#/variant");
    let none = t.call("PATCH", &path, &key, Some(json!({"ab_test": null, "text": "a"}))).await.json();
    assert_eq!(none["ab_test"], json!(null));
    assert_eq!(post(&t, &key, &id, "schedule", weekly).await.status, 200);
    let late = t.call("PATCH", &path, &key, Some(texts)).await;
    assert_eq!(late.json()["errors"][0]["pointer"], "#/ab_test", "{}", late.text);
}
