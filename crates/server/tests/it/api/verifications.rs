//! Verifications: codes sent, checked, sent again; who may ask for how many; and that a code is nowhere to be read.

use std::time::Duration;

use carillon::access::code;
use carillon_domain::id::VerificationId;
use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

const TO: &str = "+4915112345678";
/// A sandbox number that no carrier takes.
const INVALID: &str = "+15005550101";

/// A server whose carrier is quick; on PostgreSQL if asked.
async fn quick(postgres: bool, change: impl FnOnce(&mut carillon_domain::verification::Rules)) -> TestApp {
    let url = if postgres { TestPostgres::start().fresh_database().await } else { String::new() };
    TestApp::with(|config| {
        config.database.url = url.as_str().into();
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
        let rules = &mut config.verification;
        (rules.number_per_hour, rules.number_per_day) = (0, 0);
        change(rules);
    })
    .await
}

fn path(v: &Value, what: &str) -> String {
    format!("/v1/verifications/{}{what}", v["id"].as_str().unwrap())
}

/// The code of a verification that was made here.
fn code_of(t: &TestApp, v: &Value, generation: i16) -> String {
    let id: VerificationId = v["id"].as_str().unwrap().parse().unwrap();
    code::make(&t.app.secrets.code_key, id, generation, 6, &t.app.config.otp.alphabet)
}

/// A code that is not this one.
fn other(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

async fn begin(t: &TestApp, key: &str, body: Value) -> Value {
    let answer = t.post("/v1/verifications", key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

async fn check(t: &TestApp, key: &str, v: &Value, code: &str) -> Answer {
    t.post(&path(v, "/check"), key, json!({ "code": code })).await
}

#[tokio::test]
async fn a_code_is_sent_comes_back_and_is_approved_once() {
    for postgres in [false, true] {
        let t = quick(postgres, |_| {}).await;
        let (_, key) = t.account("a").await;
        let metadata = json!({"user": "7"});
        let body = json!({"to": "+49 151 12345678", "brand": "Shop", "from": "Shop", "client_ref": "signup 7", "metadata": metadata});
        let answer = t.post("/v1/verifications", &key, body).await;
        let v = answer.json();
        assert_eq!(answer.headers["location"], path(&v, ""));
        let shown = [&v["status"], &v["to"], &v["country"], &v["channel"], &v["from"], &v["client_ref"]];
        assert_eq!(shown, ["pending", TO, "DE", "sms", "Shop", "signup 7"]);
        assert_eq!((&v["attempts_left"], &v["sends_left"], &v["metadata"]), (&json!(5), &json!(4), &metadata));
        assert_eq!(v["expires_at"], "2026-11-21T12:10:00.000Z");
        let code = code_of(&t, &v, 0);
        assert!(!answer.text.contains(&code), "the code is not shown");

        let wrong = check(&t, &key, &v, other(&code)).await.json();
        assert_eq!(
            (&wrong["valid"], &wrong["status"], &wrong["attempts_left"]),
            (&json!(false), &json!("pending"), &json!(4))
        );
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        let right = check(&t, &key, &v, &spaced).await.json();
        assert_eq!(
            (&right["valid"], &right["status"], &right["attempts"]),
            (&json!(true), &json!("approved"), &json!(2))
        );
        let again = check(&t, &key, &v, &code).await;
        assert_eq!(
            (again.refusal(), again.json()["status"].clone()),
            ((409, "verification_ended".into()), json!("approved"))
        );
        let read = t.get(&path(&v, ""), &key).await.json();
        assert_eq!((&read["status"], &read["ended_at"]), (&json!("approved"), &json!("2026-11-21T12:00:00.000Z")));
        assert_eq!(t.get("/v1/verifications?to=%2B4915112345678", &key).await.json()["data"][0], read);
        assert_eq!(t.get("/v1/verifications?to=%2B4915112345679", &key).await.json()["data"], json!([]));
        let (_, stranger) = t.account("b").await;
        assert_eq!(check(&t, &stranger, &v, &code).await.refusal(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn the_text_of_its_message_is_shown_to_nobody() {
    let t = quick(false, |_| {}).await;
    let (_, key) = t.account("a").await;
    let v = begin(&t, &key, json!({"to": TO, "code": "Zebra99", "text": "{code} is your code for Shop"})).await;
    let id = v["messages"][0].as_str().unwrap();
    for path in [format!("/v1/messages/{id}"), "/v1/messages".into(), path(&v, ""), "/v1/verifications".into()] {
        let answer = t.get(&path, &key).await;
        assert!(
            answer.status == 200 && answer.text.contains(id) && !answer.text.contains("Zebra99"),
            "{}",
            answer.text
        );
    }
    let message = t.get(&format!("/v1/messages/{id}"), &key).await.json();
    assert_eq!((&message["text"], &message["lane"], &message["parts"]), (&json!(null), &json!("otp"), &json!(1)));
}

#[tokio::test]
async fn wrong_codes_end_it_and_so_do_time_and_cancel() {
    let t = quick(false, |rules| rules.attempts_max = 3).await;
    let (_, key) = t.account("a").await;
    let v = begin(&t, &key, json!({"to": TO, "code": "4711"})).await;
    for (left, status) in [(2, "pending"), (1, "pending"), (0, "max_attempts_reached")] {
        let answer = check(&t, &key, &v, "4712").await;
        let body = answer.json();
        assert_eq!((answer.status, &body["attempts_left"], &body["status"]), (200, &json!(left), &json!(status)));
    }
    assert_eq!(check(&t, &key, &v, "4711").await.refusal(), (409, "verification_ended".into()));
    assert_eq!(t.post(&path(&v, "/cancel"), &key, json!({})).await.refusal(), (409, "verification_ended".into()));

    let v = begin(&t, &key, json!({"to": TO, "code": "4711"})).await;
    for _ in 0..2 {
        assert_eq!(t.call("POST", &path(&v, "/cancel"), &key, None).await.json()["status"], "canceled");
    }
    assert_eq!(check(&t, &key, &v, "4711").await.refusal(), (409, "verification_ended".into()));

    let early = begin(&t, &key, json!({"to": TO, "code": "4711", "expires_in_s": 60})).await;
    let late = begin(&t, &key, json!({"to": TO, "code": "4711", "expires_in_s": 60})).await;
    t.app.clock.advance(Duration::from_millis(59_999));
    assert_eq!(check(&t, &key, &early, "4711").await.json()["valid"], true);
    t.app.clock.advance(Duration::from_millis(1));
    let expired = t.get(&path(&late, ""), &key).await.json();
    assert_eq!((&expired["status"], &expired["ended_at"]), (&json!("expired"), &expired["expires_at"]));
    let refused = check(&t, &key, &late, "4711").await;
    assert_eq!((refused.refusal().1, &refused.json()["status"]), ("verification_ended".into(), &json!("expired")));
}

/// A hundred at once: one right among wrong ones, and a hundred right ones.
#[tokio::test]
async fn concurrent_checks_approve_once_and_count_exactly() {
    for postgres in [false, true] {
        for (right_every, attempts_max) in [(100, 5u64), (1, 5)] {
            let t = std::sync::Arc::new(quick(postgres, |rules| rules.attempts_max = attempts_max as u16).await);
            let (_, key) = t.account("a").await;
            let v = begin(&t, &key, json!({"to": TO, "code": "4711"})).await;
            let mut tasks = tokio::task::JoinSet::new();
            for i in 0..100 {
                let (t, key, v) = (t.clone(), key.clone(), v.clone());
                let code = if i % right_every == 0 { "4711" } else { "0000" };
                tasks.spawn(async move { check(&t, &key, &v, code).await });
            }
            let answers = tasks.join_all().await;
            let valid = answers.iter().filter(|a| a.json()["valid"] == true).count();
            let judged = answers.iter().filter(|a| a.status == 200).count() as u64;
            assert!(answers.iter().all(|a| a.status == 200 || a.refusal() == (409, "verification_ended".into())));
            let read = t.get(&path(&v, ""), &key).await.json();
            assert_eq!(read["attempts"], judged, "each that was judged was counted");
            assert_eq!(read["status"], if valid == 1 { "approved" } else { "max_attempts_reached" });
            assert!(judged <= attempts_max && valid <= 1 && (right_every > 1 || valid == 1), "{judged} {valid}");
        }
    }
}

#[tokio::test]
async fn codes_are_sent_again_within_bounds() {
    let t = quick(false, |rules| rules.sends_max = 3).await;
    let (_, key) = t.account("a").await;
    let v = begin(&t, &key, json!({"to": TO})).await;
    let resend = async |body| t.call("POST", &path(&v, "/resend"), &key, body).await;
    let soon = resend(None).await;
    assert_eq!(soon.refusal(), (429, "verification_resend_too_soon".into()));
    assert_eq!(soon.headers["retry-after"], "30");
    t.app.clock.advance(Duration::from_secs(30));
    let again = resend(None).await.json();
    assert_eq!(
        (&again["sends"], &again["sends_left"], again["messages"].as_array().unwrap().len()),
        (&json!(2), &json!(1), 2)
    );
    assert_eq!(resend(Some(json!({"code": "1234"}))).await.refusal(), (400, "invalid_request".into()));
    t.app.clock.advance(Duration::from_secs(30));
    let other = resend(Some(json!({"new_code": true}))).await.json();
    assert_eq!((&other["sends_left"], &other["resend_at"]), (&json!(0), &json!(null)));
    t.app.clock.advance(Duration::from_secs(30));
    assert_eq!(resend(None).await.refusal(), (409, "verification_resend_limit".into()));
    assert_eq!(check(&t, &key, &v, &code_of(&t, &v, 0)).await.json()["valid"], false, "the first code is wrong now");
    assert_eq!(check(&t, &key, &v, &code_of(&t, &v, 1)).await.json()["valid"], true);
    assert_eq!(resend(None).await.refusal(), (409, "verification_ended".into()));

    // The same code again, and one of the caller's.
    let made = begin(&t, &key, json!({"to": TO})).await;
    let given = begin(&t, &key, json!({"to": TO, "code": "4711"})).await;
    t.app.clock.advance(Duration::from_secs(30));
    assert_eq!(t.call("POST", &path(&made, "/resend"), &key, None).await.status, 200);
    assert_eq!(check(&t, &key, &made, &code_of(&t, &made, 0)).await.json()["valid"], true);
    let missing = t.call("POST", &path(&given, "/resend"), &key, None).await;
    assert_eq!(missing.json()["errors"][0]["pointer"], "#/code", "only its hash is kept");
    assert_eq!(t.post(&path(&given, "/resend"), &key, json!({"code": "4711"})).await.status, 200);
    assert_eq!(check(&t, &key, &given, "4711").await.json()["valid"], true);
}

#[tokio::test]
async fn a_code_no_carrier_takes_fails_and_costs_nothing() {
    let t = quick(false, |_| {}).await;
    let (_, key) = t.account("a").await;
    let answer = t.post("/v1/verifications", &key, json!({"to": INVALID})).await;
    assert_eq!(answer.refusal(), (503, "otp_failed".into()));
    let id = answer.json()["verification_id"].as_str().unwrap().to_owned();
    let v = json!({ "id": id });
    assert_eq!(t.get(&path(&v, ""), &key).await.json()["status"], "failed");
    assert_eq!(check(&t, &key, &v, "123456").await.refusal(), (409, "verification_ended".into()));
    assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "100.00");
}

#[tokio::test]
async fn a_request_sent_twice_is_one() {
    for postgres in [false, true] {
        let t = quick(postgres, |_| {}).await;
        let (_, key) = t.account("a").await;
        let post = async |path: &str, body: Value| {
            t.send(t.request("POST", path).bearer_auth(&key).header("idempotency-key", "k").json(&body)).await
        };
        let first = post("/v1/verifications", json!({"to": TO})).await;
        let second = post("/v1/verifications", json!({"to": TO})).await;
        assert_eq!((first.status, second.status, &first.json()), (201, 201, &second.json()));
        assert_eq!(second.headers["idempotent-replayed"], "true");
        let other = post("/v1/verifications", json!({"to": "+4915112345679"})).await;
        assert_eq!(other.refusal(), (422, "idempotency_mismatch".into()));
        t.app.clock.advance(Duration::from_secs(30));
        let again = path(&first.json(), "/resend");
        assert_eq!(post(&again, json!({})).await.json()["sends"], 2);
        let repeated = post(&again, json!({})).await;
        assert_eq!((repeated.status, &repeated.json()["sends"]), (200, &json!(2)));
        let failed = async || {
            t.send(
                t.request("POST", "/v1/verifications")
                    .bearer_auth(&key)
                    .header("idempotency-key", "f")
                    .json(&json!({"to": INVALID})),
            )
            .await
        };
        let (once, twice) = (failed().await, failed().await);
        assert_eq!(
            (once.refusal(), once.json()["verification_id"].clone()),
            (twice.refusal(), twice.json()["verification_id"].clone())
        );
        assert_eq!(t.get("/v1/verifications", &key).await.json()["data"].as_array().unwrap().len(), 2);
    }
}

/// Each cap driven over: so many pass, the next is refused by its own code, and when its time has come one more passes.
#[tokio::test]
async fn every_cap_lets_its_count_pass() {
    type Set = fn(&mut carillon_domain::verification::Rules);
    let number = |i: u64| json!({"to": format!("+4915112{:06}", 345_678 + i)});
    let far = |i: u64| json!({"to": format!("+49151{}0{:05}", 12 + i % 60, 45_678 + i)});
    let from = |i: u64| json!({"to": format!("+49151{}0{:05}", 12 + i % 60, 45_678 + i), "end_user_ip": format!("2001:db8:1:2::{i}")});
    let rows: [(&str, Set, &dyn Fn(u64) -> Value, u64); 8] = [
        ("verification_cap_number", |r| r.number_per_hour = 3, &|_| json!({"to": TO}), 1_200),
        ("verification_cap_number", |r| r.number_per_day = 3, &|_| json!({"to": TO}), 28_800),
        ("verification_cap_prefix", |r| r.prefix_per_hour = 3, &number, 1_200),
        ("verification_cap_prefix", |r| r.prefix_per_day = 3, &number, 28_800),
        ("verification_cap_address", |r| r.address_per_hour = 3, &from, 1_200),
        ("verification_cap_address", |r| r.address_per_day = 3, &from, 28_800),
        ("verification_cap_account", |r| r.account_per_hour = 3, &far, 1_200),
        ("verification_cap_account", |r| r.account_per_day = 3, &far, 28_800),
    ];
    for (code, set, body, wait) in rows {
        let t = quick(false, set).await;
        let (_, key) = t.account("a").await;
        for i in 0..3 {
            begin(&t, &key, body(i)).await;
        }
        for i in 3..5 {
            let over = t.post("/v1/verifications", &key, body(i)).await;
            assert_eq!(over.refusal(), (429, code.into()), "{}", over.text);
            assert_eq!(over.headers["retry-after"], wait.to_string(), "{code}");
        }
        t.app.clock.advance(Duration::from_secs(wait));
        begin(&t, &key, body(6)).await;
        assert_eq!(t.post("/v1/verifications", &key, body(7)).await.refusal(), (429, code.into()));
        let (_, neighbour) = t.account("b").await;
        begin(&t, &neighbour, body(8)).await;
        let rule = code.strip_prefix("verification_cap_").unwrap();
        let counted = format!("carillon_verifications_refused_total{{rule=\"{rule}\"}}");
        assert!(t.get("/metrics", "").await.text.contains(&counted), "{counted}");
    }
}

#[tokio::test]
async fn caps_are_exact_under_concurrency_and_bind_resends_too() {
    for postgres in [false, true] {
        let t = std::sync::Arc::new(quick(postgres, |rules| rules.number_per_hour = 7).await);
        let (_, key) = t.account("a").await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let (t, key) = (t.clone(), key.clone());
            tasks.spawn(async move { t.post("/v1/verifications", &key, json!({"to": TO})).await });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 7);
        assert_eq!(answers.iter().filter(|a| a.refusal() == (429, "verification_cap_number".into())).count(), 23);
        let v = answers.iter().find(|a| a.status == 201).unwrap().json();
        t.app.clock.advance(Duration::from_secs(30));
        let resend = t.call("POST", &path(&v, "/resend"), &key, None).await;
        assert_eq!(resend.refusal(), (429, "verification_cap_number".into()));
        assert_eq!(t.get(&path(&v, ""), &key).await.json()["sends"], 1);
    }
}

#[tokio::test]
async fn blocks_and_countries_whose_codes_never_come_back() {
    for postgres in [false, true] {
        for by_country in [false, true] {
            let t = quick(postgres, |rules| {
                rules.conversion_min_percent = 50;
                let sample =
                    if by_country { &mut rules.conversion_country_sample } else { &mut rules.conversion_prefix_sample };
                *sample = 4;
            })
            .await;
            let (_, key) = t.account("a").await;
            let to = |i: u64| json!({"to": format!("+4915112{:06}", 345_678 + i), "code": "4711"});
            let mut begun = Vec::new();
            for i in 0..4 {
                begun.push(begin(&t, &key, to(i)).await);
            }
            check(&t, &key, &begun[0], "4711").await;
            begin(&t, &key, to(4)).await;
            // What is on its way back does not count yet; three minutes later it does.
            t.app.clock.advance(Duration::from_secs(181));
            let low = t.post("/v1/verifications", &key, to(5)).await;
            assert_eq!(low.refusal(), (429, "verification_conversion_low".into()), "{}", low.text);
            let elsewhere = json!({"to": "+447400123456"});
            begin(&t, &key, elsewhere).await;
            for v in &begun[1..3] {
                check(&t, &key, v, "4711").await;
            }
            begin(&t, &key, to(6)).await;
        }
    }
}

#[tokio::test]
async fn an_account_has_rules_of_its_own() {
    let t = quick(false, |_| {}).await;
    let (_, key) = t.account("a").await;
    let set = async |rules: Value| {
        t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"verification": rules}}))).await
    };
    assert_eq!(
        set(json!({"countries": ["DE", "fr"], "length": 8})).await.json()["settings"]["verification"]["countries"],
        json!(["DE", "FR"])
    );
    let v = begin(&t, &key, json!({"to": TO})).await;
    let id: VerificationId = v["id"].as_str().unwrap().parse().unwrap();
    let code = code::make(&t.app.secrets.code_key, id, 0, 8, "0123456789");
    assert_eq!(check(&t, &key, &v, &code).await.json()["valid"], true);
    let foreign = t.post("/v1/verifications", &key, json!({"to": "+447400123456"})).await;
    assert_eq!(foreign.refusal(), (403, "verification_country_not_allowed".into()));
    let rows = [
        (json!({"length": 3}), "#/settings/verification/length"),
        (json!({"attempts_max": 0}), "#/settings/verification/attempts_max"),
        (json!({"countries": ["Germany"]}), "#/settings/verification/countries/0"),
        (json!({"nonsense": 1}), "#/settings/verification/nonsense"),
    ];
    for (rules, pointer) in rows {
        let refused = set(rules.clone()).await;
        assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].clone()), (400, json!(pointer)), "{rules}");
    }
    set(json!({})).await;
    begin(&t, &key, json!({"to": "+447400123456"})).await;
}

/// Without money nothing happened: no verification, nothing counted, and the key is free.
#[tokio::test]
async fn what_cannot_be_paid_was_not_asked_for() {
    for postgres in [false, true] {
        let t = quick(postgres, |rules| rules.number_per_hour = 1).await;
        let (account, key) = t.account("a").await;
        let (_, operator) = t.operator().await;
        let ledger = format!("/v1/admin/accounts/{}/ledger", account.id);
        let credit = async |amount: &str| {
            let body = json!({"kind": "adjustment", "amount": amount, "note": "test"});
            assert_eq!(t.post(&ledger, &operator, body).await.status, 201);
        };
        credit("-100").await;
        let ask = async || {
            t.send(
                t.request("POST", "/v1/verifications")
                    .bearer_auth(&key)
                    .header("idempotency-key", "k")
                    .json(&json!({"to": TO})),
            )
            .await
        };
        for _ in 0..3 {
            assert_eq!(ask().await.refusal(), (402, "insufficient_credit".into()));
        }
        assert_eq!(t.get("/v1/verifications", &key).await.json()["data"], json!([]));
        credit("0.05").await;
        let v = ask().await;
        assert_eq!(v.status, 201, "{}", v.text);
        t.app.clock.advance(Duration::from_secs(3_600));
        let v = begin_again_broke(&t, &key, &v.json()).await;
        assert_eq!((&v["sends"], &v["status"]), (&json!(1), &json!("expired")));
    }
}

/// A resend that cannot be paid leaves the verification as it was.
async fn begin_again_broke(t: &TestApp, key: &str, v: &Value) -> Value {
    let answer = t.call("POST", &path(v, "/resend"), key, None).await;
    assert_eq!(answer.refusal(), (409, "verification_ended".into()), "its time is over");
    t.get(&path(v, ""), key).await.json()
}

#[tokio::test]
async fn a_resend_that_cannot_be_paid_changes_nothing() {
    let t = quick(false, |_| {}).await;
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let v = begin(&t, &key, json!({"to": TO})).await;
    let body = json!({"kind": "adjustment", "amount": "-99.95", "note": "test"});
    assert_eq!(t.post(&format!("/v1/admin/accounts/{}/ledger", account.id), &operator, body).await.status, 201);
    t.app.clock.advance(Duration::from_secs(30));
    let answer = t.post(&path(&v, "/resend"), &key, json!({"new_code": true})).await;
    assert_eq!(answer.refusal(), (402, "insufficient_credit".into()));
    assert_eq!(t.get(&path(&v, ""), &key).await.json(), v);
    assert_eq!(check(&t, &key, &v, &code_of(&t, &v, 0)).await.json()["valid"], true, "the first code still counts");
}

#[tokio::test]
async fn bad_requests_and_nothing_stored() {
    let t = quick(false, |_| {}).await;
    let (_, key) = t.account("a").await;
    let rows = [
        (json!({}), "#/to", "missing_field"),
        (json!({"to": ""}), "#/to", "phone_empty"),
        (json!({"to": "+49151"}), "#/to", "phone_too_short"),
        (json!({"to": TO, "txt": "x"}), "#/txt", "unknown_field"),
        (json!({"to": TO, "channel": "call"}), "#/channel", "invalid_value"),
        (json!({"to": TO, "from": "TwelveLetter"}), "#/from", "sender_too_long"),
        (json!({"to": TO, "text": "your code"}), "#/text", "otp_code_missing"),
        (json!({"to": TO, "text": "{brand}: {code}"}), "#/brand", "missing_field"),
        (json!({"to": TO, "brand": ""}), "#/brand", "invalid_value"),
        (json!({"to": TO, "brand": "{code}"}), "#/brand", "invalid_value"),
        (json!({"to": TO, "code": "123"}), "#/code", "invalid_value"),
        (json!({"to": TO, "code": "12345678901"}), "#/code", "invalid_value"),
        (json!({"to": TO, "code": "12 34"}), "#/code", "invalid_value"),
        (json!({"to": TO, "code": 1234}), "#/code", "wrong_type"),
        (json!({"to": TO, "code": "1234", "length": 4}), "#/length", "conflicting_fields"),
        (json!({"to": TO, "length": 3}), "#/length", "invalid_value"),
        (json!({"to": TO, "length": 11}), "#/length", "invalid_value"),
        (json!({"to": TO, "expires_in_s": 59}), "#/expires_in_s", "invalid_value"),
        (json!({"to": TO, "expires_in_s": 86401}), "#/expires_in_s", "invalid_value"),
        (json!({"to": TO, "end_user_ip": "here"}), "#/end_user_ip", "invalid_value"),
        (json!({"to": TO, "end_user_ip": "192.0.2.1:80"}), "#/end_user_ip", "invalid_value"),
        (json!({"to": TO, "client_ref": ""}), "#/client_ref", "too_short"),
        (json!({"to": TO, "metadata": {"a": 1}}), "#/metadata/a", "wrong_type"),
        (json!({"to": TO, "metadata": {"a": "x".repeat(2_048)}}), "#/metadata", "too_long"),
    ];
    for (body, pointer, code) in rows {
        let refused = t.post("/v1/verifications", &key, body.clone()).await;
        let first = refused.json()["errors"][0].clone();
        assert_eq!(
            (refused.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{body}: {}",
            refused.text
        );
    }
    assert_eq!(t.get("/v1/verifications", &key).await.json()["data"], json!([]));
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"], json!([]));
    let v = begin(&t, &key, json!({"to": TO})).await;
    for (body, pointer) in
        [(json!({}), "#/code"), (json!({"code": ""}), "#/code"), (json!({"code": "x".repeat(65)}), "#/code")]
    {
        assert_eq!(t.post(&path(&v, "/check"), &key, body).await.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(t.get(&path(&v, ""), &key).await.json()["attempts"], 0, "what cannot be a code is not counted");
}

#[tokio::test]
async fn a_suspended_account_sends_no_codes() {
    let t = quick(false, |_| {}).await;
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let v = begin(&t, &key, json!({"to": TO})).await;
    let path_of = format!("/v1/admin/accounts/{}", account.id);
    assert_eq!(t.call("PATCH", &path_of, &operator, Some(json!({"status": "suspended"}))).await.status, 200);
    for path in ["/v1/verifications".to_owned(), path(&v, "/resend")] {
        assert_eq!(t.post(&path, &key, json!({"to": TO})).await.refusal(), (403, "account_suspended".into()), "{path}");
    }
    assert_eq!(check(&t, &key, &v, &code_of(&t, &v, 0)).await.json()["valid"], true, "codes sent before still count");
}
