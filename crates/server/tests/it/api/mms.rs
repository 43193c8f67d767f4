//! Messages with files: as an MMS where the connection takes them, as links elsewhere, and what each way costs. And the carriers that accounts bring,
//! which cost the platform's fee.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use carillon::config::Connection;
use carillon::pipeline::LineState;
use carillon_store::ledger;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::connections::until;
use super::messages::finished;
use crate::app::TestApp;

const PNG: &[u8] = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x01";
const TO: &str = "+15005550006";

/// A carrier that keeps the bodies of what it is asked, and takes all or refuses all.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    refuses: bool,
    bodies: Vec<String>,
}

impl Keeper {
    async fn start() -> (Keeper, String) {
        let keeper = Keeper::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(keep).with_state(keeper.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (keeper, address)
    }

    fn refuse(&self, refuses: bool) {
        self.0.lock().refuses = refuses;
    }

    /// What came since somebody asked.
    fn bodies(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().bodies)
    }

    fn one(&self) -> Value {
        let bodies = self.bodies();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        serde_json::from_str(&bodies[0]).unwrap()
    }
}

/// As SNS answers, or as the others do.
async fn keep(
    State(keeper): State<Keeper>,
    request: Request,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut kept = keeper.0.lock();
    if kept.refuses {
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "no".into());
    }
    let id = kept.bodies.len();
    let answer = if text.starts_with("Action=Publish") {
        format!("<PublishResponse><PublishResult><MessageId>m{id}</MessageId></PublishResult></PublishResponse>")
    } else {
        json!({ "id": format!("c{id}") }).to_string()
    };
    kept.bodies.push(text);
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], answer)
}

fn settings(address: &str, mms: bool) -> Value {
    let body = if mms { r#"{"text":"{text}","media":{media_list}}"# } else { r#"{"text":"{text}"}"# };
    json!({"mms": mms, "receipts": false, "provider": {"url": format!("{address}/send"), "json": body, "id_pointer": "/id"}})
}

fn connection(name: &str, kind: &str, settings: Value) -> Connection {
    let mut all = settings;
    all["name"] = json!(name);
    all["kind"] = json!(kind);
    let connection: Connection = serde_json::from_value(all).unwrap();
    assert_eq!(connection.mistakes(), [], "{name}");
    connection
}

/// A server with these connections, in this order, all up.
async fn server(connections: Vec<Connection>) -> TestApp {
    let count = connections.len();
    let t = TestApp::with(|config| {
        config.server.public_url = "https://sms.example.com".into();
        config.accounts.private_carriers = true;
        config.connections = connections;
    })
    .await;
    for _ in 0..2_000 {
        if t.app.pipeline.connections().iter().filter(|c| c.state == LineState::Up).count() == count {
            return t;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not all connections are up");
}

async fn upload(t: &TestApp, key: &str) -> Value {
    let made = t.send(t.request("POST", "/v1/media").bearer_auth(key).body(PNG)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()
}

/// Sends and waits for the end.
async fn sent(t: &TestApp, key: &str, body: Value) -> Value {
    let answer = t.post("/v1/messages", key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    finished(t, key, answer.json()["id"].as_str().unwrap()).await
}

async fn adds_up(t: &TestApp) {
    let mut found = Vec::new();
    ledger::verify(&t.app.db, |difference| found.push(format!("{difference:?}"))).await.unwrap();
    assert_eq!(found, Vec::<String>::new());
}

fn money(message: &Value) -> [&str; 3] {
    ["amount", "held", "captured"].map(|name| message["price"][name].as_str().unwrap())
}

#[tokio::test]
async fn files_go_as_they_are_or_as_links_and_each_way_has_its_price() {
    let ((able, one), (plain, two)) = (Keeper::start().await, Keeper::start().await);
    let t = server(vec![
        connection("able", "http", settings(&one, true)),
        connection("plain", "http", settings(&two, false)),
    ])
    .await;
    let (_, key) = t.account("a").await;
    let media = upload(&t, &key).await;
    let url = media["url"].as_str().unwrap();
    let elsewhere = "https://shop.example/a.pdf";
    let message = json!({"to": TO, "text": "Look", "media": [media["id"], elsewhere]});
    let with_links = format!("Look\n{url}\n{elsewhere}");

    let estimate = t.post("/v1/estimates", &key, message.clone()).await.json();
    assert_eq!(
        (&estimate["prices"][0]["per_part"], &estimate["mms"], &estimate["total"]),
        (&json!("0.05"), &json!([{"per_mms": "0.15", "recipients": 1}]), &json!("0.15"))
    );
    let ended = sent(&t, &key, message.clone()).await;
    assert_eq!(able.one(), json!({"text": "Look", "media": [url, elsewhere]}));
    assert_eq!(
        (money(&ended), &ended["mms"], &ended["connection"]),
        (["0.15", "0.00", "0.15"], &json!(true), &json!("able"))
    );
    assert_eq!((&ended["media"], &ended["text"]), (&json!([url, elsewhere]), &json!(with_links)));

    // The first connection refuses: the second gets links, and they cost their parts.
    able.refuse(true);
    let ended = sent(&t, &key, message.clone()).await;
    assert_eq!(plain.one(), json!({"text": with_links}));
    assert_eq!((money(&ended), &ended["mms"]), (["0.15", "0.00", "0.05"], &json!(false)));
    let long = json!({"to": TO, "text": "x".repeat(600), "media": [media["id"]]});
    assert_eq!(money(&sent(&t, &key, long.clone()).await), ["0.25", "0.00", "0.25"], "more parts than an MMS costs");
    plain.bodies();
    able.refuse(false);
    let ended = sent(&t, &key, long).await;
    assert_eq!(
        (money(&ended), &ended["parts"]),
        (["0.25", "0.00", "0.15"], &json!(5)),
        "but as an MMS it has its one price"
    );
    assert_eq!(able.one()["text"], "x".repeat(600));

    // Read back from the store, when its time comes; and from a batch.
    let mut later = message.clone();
    later["scheduled_at"] = json!("2026-11-21T12:01:00Z");
    let answer = t.post("/v1/messages", &key, later).await.json();
    t.app.clock.advance(Duration::from_secs(61));
    finished(&t, &key, answer["id"].as_str().unwrap()).await;
    assert_eq!(able.one(), json!({"text": "Look", "media": [url, elsewhere]}));
    let batch = json!({"to": [{"phone": TO, "variables": {"n": "Ada"}}], "text": "{{n}}", "media": [media["id"]]});
    let batch = t.post("/v1/batches", &key, batch).await.json();
    assert_eq!(batch["cost"]["held"], "0.15");
    let page = t.get(&format!("/v1/batches/{}/messages", batch["id"].as_str().unwrap()), &key).await.json();
    finished(&t, &key, page["data"][0]["id"].as_str().unwrap()).await;
    assert_eq!(able.one(), json!({"text": "Ada", "media": [url]}));
    let whole = t.get(&format!("/v1/batches/{}", batch["id"].as_str().unwrap()), &key).await.json();
    assert_eq!((&whole["cost"]["held"], &whole["cost"]["captured"]), (&json!("0.00"), &json!("0.15")));

    // Nobody takes them: nothing is charged.
    able.refuse(true);
    plain.refuse(true);
    let ended = sent(&t, &key, message).await;
    assert_eq!((&ended["status"], money(&ended)), (&json!("failed"), ["0.15", "0.00", "0.00"]));
    adds_up(&t).await;
}

#[tokio::test]
async fn an_account_that_wants_no_links_gets_none() {
    let ((able, one), (plain, two)) = (Keeper::start().await, Keeper::start().await);
    let t = server(vec![
        connection("plain", "http", settings(&two, false)),
        connection("able", "http", settings(&one, true)),
    ])
    .await;
    let (_, key) = t.account("a").await;
    t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"mms_fallback": "refuse"}}))).await;
    let media = upload(&t, &key).await;
    let message = json!({"to": TO, "text": "x".repeat(400), "media": [media["id"]]});
    let ended = sent(&t, &key, message.clone()).await;
    assert_eq!(able.one(), json!({"text": "x".repeat(400), "media": [media["url"]]}));
    assert_eq!((money(&ended), &ended["mms"], &ended["parts"]), (["0.15", "0.00", "0.15"], &json!(true), &json!(1)));
    assert_eq!(ended["history"][1]["event"], "failover", "the first takes no files: {ended}");
    let alone = sent(&t, &key, json!({"to": TO, "media": [media["id"]]})).await;
    assert_eq!((able.one(), money(&alone)[2]), (json!({"text": "", "media": [media["url"]]}), "0.15"));
    able.refuse(true);
    let ended = sent(&t, &key, message).await;
    assert_eq!((&ended["status"], money(&ended)), (&json!("failed"), ["0.15", "0.00", "0.00"]));
    assert_eq!(plain.bodies(), Vec::<String>::new());
    let many = json!({"to": TO, "media": vec!["https://shop.example/a.png"; 11]});
    assert_eq!(t.post("/v1/messages", &key, many).await.json()["errors"][0]["code"], "too_long");
    adds_up(&t).await;
}

#[tokio::test]
async fn carriers_that_accounts_bring_cost_the_platforms_fee() {
    let ((theirs, one), (ours, two)) = (Keeper::start().await, Keeper::start().await);
    let t = server(vec![connection("ours", "http", settings(&two, true))]).await;
    let (_, operator) = t.operator().await;
    let ((shop, key), (_, other)) = (t.account("shop").await, t.account("other").await);
    let made = json!({"name": "theirs", "kind": "http", "settings": settings(&one, true)});
    let made = t.post("/v1/connections", &key, made).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    until(&t, &key, &id, "up").await;

    let two_parts = json!({"to": TO, "text": "x".repeat(200)});
    let estimate = t.post("/v1/estimates", &key, two_parts.clone()).await.json();
    assert_eq!((&estimate["prices"][0]["per_part"], &estimate["total"]), (&json!("0.001"), &json!("0.002")));
    let explained = t.post("/v1/routes/explain", &key, json!({"to": TO})).await.json();
    let price = json!({"basis": "own_carrier_fee", "per_part": "0.001", "per_mms": "0.001", "currency": "USD"});
    assert_eq!(
        (&explained["price"], &explained["takes"], &explained["candidates"][0]["mms_files"]),
        (&price, &json!("theirs"), &json!(10))
    );
    let ended = sent(&t, &key, two_parts.clone()).await;
    assert_eq!((money(&ended), &ended["connection"]), (["0.002", "0.00", "0.002"], &json!("theirs")));
    assert_eq!(money(&sent(&t, &other, two_parts.clone()).await), ["0.10", "0.00", "0.10"], "others pay the list");
    let explained = t.post("/v1/routes/explain", &other, json!({"to": TO})).await.json();
    let price = json!({"basis": "price_list", "per_part": "0.05", "per_mms": "0.15", "currency": "USD"});
    assert_eq!(explained["price"], price);

    // A fee of its own; express changes nothing, and an MMS costs as much as a part.
    let path = format!("/v1/admin/accounts/{}", shop.id);
    let set = async |fee: Value| t.call("PATCH", &path, &operator, Some(json!({"own_carrier_fee": fee}))).await;
    for wrong in ["-0.001", "1000.01", "x", ""] {
        assert_eq!(set(json!(wrong)).await.json()["errors"][0]["pointer"], "#/own_carrier_fee", "{wrong}");
    }
    assert_eq!(set(json!("0.0025")).await.json()["settings"]["own_carrier_fee"], "0.0025");
    let own_setting = json!({"settings": {"own_carrier_fee": "0"}});
    assert_eq!(t.call("PATCH", "/v1/account", &key, Some(own_setting)).await.status, 400, "not the account's to set");
    let express = json!({"to": TO, "text": "hi", "express": true});
    assert_eq!(money(&sent(&t, &key, express).await), ["0.0025", "0.00", "0.0025"]);
    let files = json!({"to": TO, "text": "x".repeat(200), "media": ["https://shop.example/a.png"]});
    assert_eq!(money(&sent(&t, &key, files.clone()).await), ["0.005", "0.00", "0.0025"]);
    theirs.refuse(true);
    let ended = sent(&t, &key, files).await;
    assert_eq!((&ended["status"], money(&ended)[2]), (&json!("failed"), "0.00"), "none of ours stands in");
    theirs.refuse(false);
    assert_eq!(set(json!(null)).await.json()["settings"]["own_carrier_fee"], json!(null));
    ours.bodies();

    // Accepted for its own carrier at the fee, it goes by no other, even if that is gone; accepted for ours, it stays ours.
    let mut later = two_parts.clone();
    later["scheduled_at"] = json!("2026-11-21T12:01:00Z");
    later["validity_s"] = json!(60);
    let (mine, yours) =
        (t.post("/v1/messages", &key, later.clone()).await.json(), t.post("/v1/messages", &other, later).await.json());
    assert_eq!(t.call("DELETE", &format!("/v1/connections/{id}"), &key, None).await.status, 204);
    let brought = json!({"name": "brought", "kind": "http", "settings": settings(&one, true)});
    let brought = t.post("/v1/connections", &other, brought).await.json();
    until(&t, &other, brought["id"].as_str().unwrap(), "up").await;
    theirs.bodies();
    t.app.clock.advance(Duration::from_secs(61));
    let yours = finished(&t, &other, yours["id"].as_str().unwrap()).await;
    assert_eq!((&yours["connection"], money(&yours)[2], ours.bodies().len()), (&json!("ours"), "0.10", 1));
    t.app.clock.advance(Duration::from_secs(61));
    let mine = finished(&t, &key, mine["id"].as_str().unwrap()).await;
    assert_eq!(
        (&mine["status"], &mine["error"]["code"], money(&mine)),
        (&json!("expired"), &json!("no_route"), ["0.002", "0.00", "0.00"])
    );
    assert_eq!((ours.bodies().len(), theirs.bodies().len()), (0, 0));
    adds_up(&t).await;
}

#[tokio::test]
async fn sns_is_told_what_is_advertising() {
    let (aws, address) = Keeper::start().await;
    let provider =
        json!({"access_key_id": "AKIA", "secret_access_key": "s", "region": "eu-central-1", "base_url": address});
    let t = server(vec![connection("aws", "sns", json!({"receipts": false, "provider": provider}))]).await;
    let (_, key) = t.account("a").await;
    // It is seven in the morning where the number is.
    t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"quiet_hours": "off"}}))).await;
    for (message, kind) in [
        (json!({"to": TO, "text": "x"}), "Transactional"),
        (json!({"to": TO, "text": "x", "category": "promotional"}), "Promotional"),
        (json!({"to": TO, "otp": true}), "Transactional"),
    ] {
        let answer = t.post("/v1/messages", &key, message).await;
        finished(&t, &key, answer.json()["id"].as_str().unwrap()).await;
        let [body] = &aws.bodies()[..] else { panic!("one request") };
        assert!(body.contains(&format!("AWS.SNS.SMS.SMSType&MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue={kind}&")) || body.ends_with(&format!("StringValue={kind}")), "{body}");
    }
}

#[test]
fn only_what_can_take_files_is_told_to() {
    let table = [
        ("smpp", json!({"host": "h", "system_id": "u", "mms": true}), true),
        ("sandbox", json!({"mms": true}), true),
        ("http", json!({"mms": true, "provider": {"url": "https://a.example/?t={text}"}}), true),
        ("http", json!({"mms": true, "provider": {"url": "https://a.example/?t={text}&m={media}"}}), false),
        ("twilio", json!({"mms": true, "provider": {"account_sid": "AC1", "auth_token": "t"}}), false),
        ("msg91", json!({"mms": true, "provider": {"authkey": "k", "templates": "1: x"}}), true),
    ];
    for (kind, settings, wrong) in table {
        let mut all = settings;
        (all["name"], all["kind"]) = (json!("a"), json!(kind));
        let mistakes = serde_json::from_value::<Connection>(all).unwrap().mistakes();
        assert_eq!(mistakes.iter().any(|(setting, _)| setting == "mms"), wrong, "{kind}: {mistakes:?}");
    }
}
