//! Consent over the wire: recorded, asked of promotional messages, taken back by STOP, confirmed by YES, brought by an import.

use std::time::Duration;

use carillon::simulator::{self, Behaviour, Simulator, SimulatorConfig, Written};
use serde_json::{Value, json};

use super::contacts::made;
use crate::app::TestApp;

const TO: &str = "+4915112345678";
const OWN: &str = "4915735983801";

async fn needs(t: &TestApp, key: &str, what: &str) {
    let body = json!({"settings": {"promotional_consent": what}});
    assert_eq!(t.call("PATCH", "/v1/account", key, Some(body)).await.status, 200);
}

async fn record(t: &TestApp, key: &str, status: &str) -> Value {
    let body = json!({"phone": TO, "status": status, "source": "form", "text": "Yes, offers.", "ip": "203.0.113.7", "proof": "CRM 7"});
    let made = t.post("/v1/consents", key, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()
}

fn offer(to: Value) -> Value {
    json!({"to": to, "text": "offers", "category": "promotional"})
}

#[tokio::test]
async fn promotional_messages_ask_for_what_the_account_needs() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let send = async || {
        let answer = t.post("/v1/messages", &key, offer(json!(TO))).await;
        (answer.status, answer.code())
    };
    let taken = || (202, String::new());
    let refused = || (403, "no_consent".to_owned());
    assert_eq!(send().await, taken(), "by default nobody need agree");
    needs(&t, &key, "opt_in").await;
    assert_eq!(send().await, refused());
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "text": "your order"})).await.status, 202);
    assert_eq!(t.post("/v1/messages", &key, json!({"to": TO, "otp": true})).await.status, 200);
    let first = record(&t, &key, "opted_in").await;
    assert_eq!(
        (&first["text_hash"], &first["previous"], &first["source"]),
        (&json!("43a72e9341a960a7d6f1c84949d853389fa4b4e6723f77dd8fa779db2137a87b"), &json!(null), &json!("form")),
        "{first}"
    );
    assert_eq!(send().await, taken());
    needs(&t, &key, "double_opt_in").await;
    assert_eq!(send().await, refused());
    record(&t, &key, "confirmed").await;
    assert_eq!(send().await, taken());
    let out = record(&t, &key, "opted_out").await;
    assert_eq!(send().await, (403, "suppressed".to_owned()), "a refusal is on the list");
    record(&t, &key, "opted_in").await;
    needs(&t, &key, "opt_in").await;
    assert_eq!(send().await, taken(), "what the account recorded, it can take back");
    let all = t.get("/v1/consents?phone=%2B4915112345678&category=promotional", &key).await.json();
    let states: Vec<_> = all["data"].as_array().unwrap().iter().map(|c| c["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["opted_in", "opted_out", "confirmed", "opted_in"]);
    assert_eq!(all["data"][0]["previous"], out["id"]);
    let (_, other) = t.account("b").await;
    assert_eq!(t.get("/v1/consents", &other).await.json()["data"], json!([]));
}

#[tokio::test]
async fn batches_estimates_contacts_and_groups_show_it() {
    let t = TestApp::with(|config| config.server.public_url = "https://sms.test".into()).await;
    let (_, key) = t.account("a").await;
    let other = "+4915112345679";
    let group = made(&t, &key, "/v1/groups", json!({"name": "g"})).await;
    let mut ids = Vec::new();
    for to in [TO, other] {
        ids.push(made(&t, &key, "/v1/contacts", json!({ "phone": to })).await);
    }
    t.post(&format!("/v1/groups/{group}/members"), &key, json!({ "add": ids })).await;
    record(&t, &key, "opted_in").await;
    let estimate = t.post("/v1/estimates", &key, offer(json!([TO, other]))).await.json();
    assert_eq!((&estimate["recipients"], &estimate["without_consent"]), (&json!(2), &json!(1)));
    let plain = t.post("/v1/estimates", &key, json!({"to": [TO], "text": "x"})).await.json();
    assert_eq!(plain["without_consent"], json!(null));
    needs(&t, &key, "opt_in").await;
    let estimate = t.post("/v1/estimates", &key, offer(json!([TO, {"group": group}]))).await.json();
    assert_eq!((&estimate["recipients"], &estimate["refused"]), (&json!(1), &json!(1)), "{estimate}");
    assert_eq!(estimate["refusals"][0]["code"], "no_consent");
    let refused = t.post("/v1/batches", &key, offer(json!([TO, other]))).await;
    assert_eq!(
        (refused.refusal(), &refused.json()["errors"][0]["pointer"]),
        ((403, "no_consent".into()), &json!("#/to/1"))
    );
    let mut partial = offer(json!([other, TO]));
    partial["partial"] = json!(true);
    let batch = t.post("/v1/batches", &key, partial).await.json();
    assert_eq!((&batch["total"], &batch["refusals"]), (&json!(1), &json!([{"index": 0, "code": "no_consent"}])));

    let shown = t.get(&format!("/v1/contacts/{}", ids[0]), &key).await.json();
    assert_eq!(shown["consent"], json!({"promotional": "opted_in", "transactional": "unknown"}));
    let page = shown["preferences_url"].as_str().unwrap();
    assert!(page.starts_with("https://sms.test/p/"), "{page}");
    let listed = t.get("/v1/contacts?limit=1", &key).await.json();
    assert_eq!(listed["data"][0]["consent"]["promotional"], "unknown");
    let group = t.get(&format!("/v1/groups/{group}"), &key).await.json();
    assert_eq!(group["consent"], json!({"confirmed": 0, "opted_in": 1, "opted_out": 0, "pending": 0, "unknown": 1}));
    let records = t.get(&format!("/v1/contacts/{}/consents", ids[0]), &key).await.json();
    assert_eq!(records["data"].as_array().unwrap().len(), 1);
    let text = json!({"to": [{"contact": ids[0]}], "text": "Choose: {{preferences_url}}"});
    let sent = t.post("/v1/batches", &key, text).await.json();
    let path = format!("/v1/batches/{}/messages", sent["id"].as_str().unwrap());
    assert_eq!(t.get(&path, &key).await.json()["data"][0]["text"], json!(format!("Choose: {page}")));
}

/// Accepted first, taken back then, due at last: it is not sent, and costs nothing.
#[tokio::test]
async fn what_waits_is_asked_again() {
    let t = TestApp::with(|config| config.sandbox.receipt_delay_ms = 1).await;
    let (_, key) = t.account("a").await;
    needs(&t, &key, "double_opt_in").await;
    record(&t, &key, "confirmed").await;
    let mut body = offer(json!(TO));
    body["scheduled_at"] = json!("2026-11-21T13:00:00Z");
    let id = t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned();
    // As another process would: the record alone, and this one hears of it.
    let state =
        carillon_store::consent::states_after(&t.app.db, (carillon_domain::id::AccountNo(0), i64::MIN, i16::MIN), 9)
            .await
            .unwrap()
            .0;
    let mut taken_back = state[0];
    taken_back.status = carillon_domain::consent::Status::Pending;
    t.app.pipeline.suppressed().consents().set(&[taken_back]);
    t.app.clock.advance(Duration::from_secs(3_600));
    for _ in 0..2_000 {
        let m = t.get(&format!("/v1/messages/{id}"), &key).await.json();
        if m["status"] == "rejected" {
            assert_eq!((&m["error"]["code"], &m["price"]["held"]), (&json!("no_consent"), &json!("0.00")), "{m}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it was not rejected in ten seconds");
}

/// A carrier whose phones answer, and a number of the account's that they write to.
async fn stage() -> (TestApp, Simulator, String) {
    let behaviour = Behaviour { receipt_delay: Duration::ZERO, ..Behaviour::default() };
    let config = SimulatorConfig { behaviour, record: true, ..SimulatorConfig::default() };
    let carrier = simulator::start(config).await.unwrap();
    let port = carrier.addr().port();
    let t = TestApp::with(|config| {
        let text = format!("name=\"acme\"\nkind=\"smpp\"\nhost=\"127.0.0.1\"\nport={port}\nsystem_id=\"user\"");
        config.connections = vec![toml::from_str(&text).unwrap()];
    })
    .await;
    let (account, key) = t.account("Pizzeria").await;
    let (_, operator) = t.operator().await;
    let body = json!({"number": format!("+{OWN}"), "account": account.id});
    assert_eq!(t.post("/v1/admin/inbound-numbers", &operator, body).await.status, 201);
    (t, carrier, key)
}

/// The phone writes; once that is done, where it stands for promotional messages.
async fn hears(t: &TestApp, carrier: &Simulator, key: &str, text: &str, count: usize) -> String {
    t.app.clock.advance(Duration::from_secs(60));
    let (from, to) = (TO.trim_start_matches('+').into(), OWN.into());
    carrier.write(Written { from, to, data_coding: 3, short_message: text.into(), ..Written::default() });
    for _ in 0..2_000 {
        let list = t.get("/v1/inbound-messages", key).await.json()["data"].clone();
        let undone = carillon_store::inbound_message::undone(&t.app.db, 1).await.unwrap();
        if list.as_array().unwrap().len() >= count && undone.is_empty() {
            let shown = t.get(&format!("/v1/contacts?phone=%2B{}", &TO[1..]), key).await.json();
            return shown["data"][0]["consent"]["promotional"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{text} was not heard in ten seconds");
}

#[tokio::test]
async fn double_opt_in_from_end_to_end() {
    let (t, carrier, key) = stage().await;
    needs(&t, &key, "double_opt_in").await;
    let contact = made(&t, &key, "/v1/contacts", json!({ "phone": TO })).await;
    let ask = format!("/v1/contacts/{contact}/double-opt-in");
    // An account's own rule for the word gives way while an answer is waited for.
    made(&t, &key, "/v1/keyword-rules", json!({"keyword": "yes", "reply": "great"})).await;
    assert_eq!(hears(&t, &carrier, &key, "yes", 1).await, "unknown", "nobody asked");
    let asked = t.post(&ask, &key, json!({"text_version": "v3"})).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let question = asked.json()["message"].as_str().unwrap().to_owned();
    let sent = t.get(&format!("/v1/messages/{question}"), &key).await.json();
    assert_eq!(sent["text"], "Pizzeria: reply YES if you want to receive our messages, STOP if not.");
    assert_eq!((&sent["from"], &sent["category"]), (&json!(format!("+{OWN}")), &json!("transactional")));
    assert_eq!(t.post(&ask, &key, json!({})).await.refusal(), (409, "consent_asked".into()));
    assert_eq!(t.post("/v1/messages", &key, offer(json!(TO))).await.refusal(), (403, "no_consent".into()));
    assert_eq!(hears(&t, &carrier, &key, "what is this?", 2).await, "pending");
    assert_eq!(hears(&t, &carrier, &key, "Ja!", 3).await, "confirmed");
    assert_eq!(t.post("/v1/messages", &key, offer(json!(TO))).await.status, 202);
    let records = t.get(&format!("/v1/contacts/{contact}/consents"), &key).await.json()["data"].clone();
    assert_eq!(
        (&records[0]["source"], &records[0]["keyword"], &records[0]["previous"], &records[1]["text_version"]),
        (&json!("double_opt_in"), &json!("Ja!"), &records[1]["id"], &json!("v3"))
    );
    assert_eq!(t.post(&ask, &key, json!({})).await.refusal(), (409, "consent_confirmed".into()));

    assert_eq!(hears(&t, &carrier, &key, "STOP", 4).await, "opted_out");
    assert_eq!(t.post(&ask, &key, json!({})).await.refusal(), (403, "no_consent".into()), "who refused is not asked");
    record(&t, &key, "opted_in").await;
    assert_eq!(
        t.post("/v1/messages", &key, offer(json!(TO))).await.refusal(),
        (403, "suppressed".into()),
        "nor overruled"
    );
    assert_eq!(hears(&t, &carrier, &key, "START", 5).await, "opted_in");
    let records = t.get("/v1/consents?category=transactional", &key).await.json()["data"].clone();
    let words: Vec<_> = records.as_array().unwrap().iter().map(|r| r["keyword"].as_str().unwrap()).collect();
    assert_eq!(words, ["START", "STOP"], "each is recorded for both categories");
}

#[tokio::test]
async fn a_question_too_late_or_not_sent() {
    let (t, carrier, key) = stage().await;
    let contact = made(&t, &key, "/v1/contacts", json!({ "phone": TO })).await;
    let ask = format!("/v1/contacts/{contact}/double-opt-in");
    for _ in 0..3 {
        assert_eq!(t.post(&ask, &key, json!({})).await.status, 202);
        t.app.clock.advance(Duration::from_secs(49 * 3_600));
    }
    assert_eq!(t.post(&ask, &key, json!({})).await.refusal(), (409, "consent_asked".into()), "three times are enough");
    assert_eq!(hears(&t, &carrier, &key, "YES", 1).await, "pending", "too late");
    let (_, poor) = t.account("no number").await;
    let contact = made(&t, &poor, "/v1/contacts", json!({ "phone": TO })).await;
    let refused = t.post(&format!("/v1/contacts/{contact}/double-opt-in"), &poor, json!({})).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "#/from", "{}", refused.text);
    assert_eq!(t.get("/v1/consents", &poor).await.json()["data"], json!([]));
}

#[tokio::test]
async fn an_import_brings_consent() {
    let t = TestApp::start().await;
    carillon::imports::start(&t.app);
    let (_, key) = t.account("a").await;
    let request = t.request("POST", "/v1/contact-imports").bearer_auth(&key).header("content-type", "text/csv");
    let file = "phone,agreed,since\n+4915112345678,yes,2026-01-02\n+4915112345679,no,\n+4915112345670,,\n";
    let id = t.send(request.body(file)).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/contact-imports/{id}");
    let body = json!({"mapping": {"phone": "phone", "agreed": "consent", "since": "consent_at"},
        "consent": {"text_version": "v1", "proof": "paper forms, box 7"}});
    assert_eq!(t.post(&format!("{path}/start"), &key, body).await.status, 202);
    for _ in 0..2_000 {
        if t.get(&path, &key).await.json()["status"] == "finished" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let contacts = t.get("/v1/contacts", &key).await.json()["data"].clone();
    let states: Vec<_> =
        contacts.as_array().unwrap().iter().rev().map(|c| c["consent"]["promotional"].as_str().unwrap()).collect();
    assert_eq!(states, ["opted_in", "opted_out", "unknown"]);
    let records = t.get("/v1/consents?phone=%2B4915112345678", &key).await.json()["data"].clone();
    assert_eq!(
        (&records[0]["source"], &records[0]["captured_at"], &records[0]["proof"]),
        (&json!("import"), &json!("2026-01-02T00:00:00.000Z"), &json!("paper forms, box 7"))
    );
    assert_eq!(
        t.post("/v1/messages", &key, offer(json!("+4915112345679"))).await.refusal(),
        (403, "suppressed".into())
    );
    needs(&t, &key, "opt_in").await;
    assert_eq!(t.post("/v1/messages", &key, offer(json!(TO))).await.status, 202);
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"phone": TO, "status": "opted_in"});
        body[member] = value;
        body
    };
    let rows = [
        (json!({"status": "opted_in"}), "#/phone", "missing_field"),
        (with("phone", json!("12")), "#/phone", "phone_short_code"),
        (with("status", json!("pending")), "#/status", "invalid_value"),
        (with("status", json!("yes")), "#/status", "invalid_value"),
        (with("status", json!("confirmed")), "#/proof", "missing_field"),
        (with("category", json!("otp")), "#/category", "invalid_value"),
        (with("source", json!("keyword")), "#/source", "invalid_value"),
        (with("captured_at", json!("yesterday")), "#/captured_at", "invalid_value"),
        (with("captured_at", json!("2027-01-01T00:00:00Z")), "#/captured_at", "invalid_value"),
        (with("text", json!("x".repeat(4_001))), "#/text", "too_long"),
        (with("proof", json!("")), "#/proof", "too_short"),
        (with("ip", json!("a\nb")), "#/ip", "invalid_value"),
        (with("keyword", json!("STOP")), "#/keyword", "unknown_field"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post("/v1/consents", &key, body.clone()).await;
        let first = &answer.json()["errors"][0];
        assert_eq!((answer.status, &first["pointer"], &first["code"]), (400, &json!(pointer), &json!(code)), "{body}");
    }
    for query in ["?phone=x", "?category=otp", "?limit=0", "?status=opted_in"] {
        let answer = t.get(&format!("/v1/consents{query}"), &key).await;
        assert_eq!(answer.refusal(), (400, "invalid_query".into()), "{query}");
    }
    let setting = json!({"settings": {"promotional_consent": "always"}});
    assert_eq!(t.call("PATCH", "/v1/account", &key, Some(setting)).await.status, 400);
    assert_eq!(t.get("/v1/consents", &key).await.json()["data"], json!([]), "nothing was recorded");
}
