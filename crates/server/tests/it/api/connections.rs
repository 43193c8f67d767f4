//! Connections behind the API: they carry messages without a restart, keep their secrets, and belong to somebody.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carillon::simulator::{self, Behaviour, Simulator, SimulatorConfig};
use serde_json::{Value, json};

use super::messages::finished;
use crate::app::TestApp;

const TO: &str = "+4915112345678";
const SECRET: &str = "hunter2xyz";

/// A carrier that answers at once and reports at once.
pub async fn carrier(credentials: Option<(&str, &str)>) -> Simulator {
    let behaviour = Behaviour { receipt_delay: Duration::from_millis(1), ..Behaviour::default() };
    let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    simulator::start(SimulatorConfig { behaviour, credentials, ..SimulatorConfig::default() }).await.unwrap()
}

/// The body that connects a carrier.
pub fn connection(name: &str, carrier: &Simulator) -> Value {
    let settings = json!({"host": "127.0.0.1", "port": carrier.addr().port(), "system_id": "user", "password": SECRET});
    json!({"name": name, "kind": "smpp", "settings": settings})
}

/// Connects a carrier for the owner of that key, and waits until it is bound.
pub async fn connect(t: &TestApp, key: &str, name: &str, carrier: &Simulator) -> String {
    let made = t.post("/v1/connections", key, connection(name, carrier)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    until(t, key, &id, "up").await;
    id
}

/// Asks until a connection is in that state.
pub async fn until(t: &TestApp, key: &str, id: &str, state: &str) -> Value {
    for _ in 0..2_000 {
        let seen = t.get(&format!("/v1/connections/{id}"), key).await.json();
        if seen["state"] == state {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} was not {state} in ten seconds: {}", t.get(&format!("/v1/connections/{id}"), key).await.text);
}

/// Sends a message and says which connection took it.
pub async fn taken_by(t: &TestApp, key: &str, message: Value) -> String {
    let sent = t.post("/v1/messages", key, message).await;
    assert!([200, 202].contains(&sent.status), "{}", sent.text);
    let ended = finished(t, key, sent.json()["id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "delivered", "{ended}");
    ended["connection"].as_str().unwrap().to_owned()
}

fn hello() -> Value {
    json!({"to": TO, "text": "hello"})
}

#[tokio::test]
async fn what_operators_change_counts_at_once() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let (_, shop) = t.account("shop").await;
    assert_eq!(taken_by(&t, &shop, hello()).await, "sandbox");

    let (first, second) = (carrier(None).await, carrier(None).await);
    let a = connect(&t, &operator, "first", &first).await;
    assert_eq!(taken_by(&t, &shop, hello()).await, "first", "a sandbox beside a carrier would claim what never was");
    let b = connect(&t, &operator, "second", &second).await;
    assert_eq!(taken_by(&t, &shop, hello()).await, "first");

    let off = t.post(&format!("/v1/connections/{a}/disable"), &operator, json!({})).await.json();
    assert_eq!((&off["enabled"], &off["state"]), (&json!(false), &json!("off")));
    assert_eq!(taken_by(&t, &shop, hello()).await, "second");
    t.post(&format!("/v1/connections/{a}/enable"), &operator, json!({})).await;
    until(&t, &operator, &a, "up").await;
    assert_eq!(taken_by(&t, &shop, hello()).await, "first");

    assert_eq!(t.call("DELETE", &format!("/v1/connections/{a}"), &operator, None).await.status, 204);
    assert_eq!(taken_by(&t, &shop, hello()).await, "second");
    assert_eq!(t.call("DELETE", &format!("/v1/connections/{b}"), &operator, None).await.status, 204);
    assert_eq!(taken_by(&t, &shop, hello()).await, "sandbox", "nothing else is left");
    assert_eq!(t.get(&format!("/v1/connections/{a}"), &operator).await.status, 404);
}

#[tokio::test]
async fn what_waits_for_a_deleted_connection_goes_elsewhere() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let (_, shop) = t.account("shop").await;
    let gone = carrier(None).await;
    let body = connection("dead", &gone);
    gone.shutdown().await;
    let dead = t.post("/v1/connections", &operator, body).await.json()["id"].as_str().unwrap().to_owned();
    let waiting = t.post("/v1/messages", &shop, hello()).await.json()["id"].as_str().unwrap().to_owned();
    until(&t, &operator, &dead, "down").await;
    assert_eq!(t.get(&format!("/v1/messages/{waiting}"), &shop).await.json()["status"], "queued");
    let alive = carrier(None).await;
    t.post("/v1/connections", &operator, connection("alive", &alive)).await;
    t.call("DELETE", &format!("/v1/connections/{dead}"), &operator, None).await;
    assert_eq!(finished(&t, &shop, &waiting).await["connection"], "alive");
}

#[tokio::test]
async fn settings_are_changed_and_sessions_begin_anew() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let guarded = carrier(Some(("user", SECRET))).await;
    let id = connect(&t, &operator, "acme", &guarded).await;
    let path = format!("/v1/connections/{id}");
    let change = async |body: Value| t.call("PATCH", &path, &operator, Some(body)).await;

    let changed = change(json!({"name": "acme-2", "settings": {"rate": 5, "binds": 2}})).await.json();
    assert_eq!((&changed["name"], &changed["settings"]["rate"]), (&json!("acme-2"), &json!(5)));
    assert_eq!(changed["secrets_set"], json!(["password"]), "what was not given stays");
    until(&t, &operator, &id, "up").await;
    let back = change(json!({"settings": {"rate": null, "binds": null}})).await.json();
    assert_eq!((&back["settings"]["rate"], &back["settings"]["binds"]), (&json!(0), &json!(1)), "the defaults again");

    assert_eq!(change(json!({"settings": {"password": "wrong"}})).await.status, 200);
    let down = until(&t, &operator, &id, "down").await;
    assert_eq!(down["secrets_set"], json!(["password"]));
    assert_eq!(change(json!({"settings": {"password": null}})).await.json()["secrets_set"], json!([]));
    assert_eq!(change(json!({"settings": {"password": SECRET}})).await.status, 200);
    let up = until(&t, &operator, &id, "up").await;
    assert_eq!((&up["sessions_bound"], &up["last_error"]), (&json!(1), &Value::Null));
}

/// Where log lines go while a test listens.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let lines = Lines::default();
    let writer = lines.clone();
    let listening =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(listening);
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let guarded = carrier(Some(("user", SECRET))).await;
    let id = connect(&t, &operator, "acme", &guarded).await;
    let path = format!("/v1/connections/{id}");
    let wrong_type =
        json!({"name": "b", "kind": "smpp", "settings": {"host": "h", "system_id": "u", "password": [SECRET]}});
    let bad = json!({"name": "b", "kind": "smpp", "settings": {"password": SECRET}});
    let answers = [
        t.post("/v1/connections", &operator, wrong_type).await,
        t.post("/v1/connections", &operator, bad).await,
        t.post("/v1/connections", &operator, connection("acme", &guarded)).await,
        t.get(&path, &operator).await,
        t.get("/v1/connections", &operator).await,
        t.call("PATCH", &path, &operator, Some(json!({"settings": {"rate": 1}}))).await,
        t.call("PATCH", &path, &operator, Some(json!({"settings": {"password": SECRET}}))).await,
        t.post(&format!("{path}/disable"), &operator, json!({})).await,
        t.post(&format!("{path}/enable"), &operator, json!({})).await,
        t.post("/v1/routes/explain", &operator, json!({"to": TO})).await,
        t.get("/metrics", "").await,
    ];
    let statuses = answers.iter().map(|a| a.status).collect::<Vec<_>>();
    assert_eq!(statuses, [400, 400, 409, 200, 200, 200, 200, 200, 200, 200, 200]);
    for (i, answer) in answers.iter().enumerate() {
        assert!(!answer.text.contains(SECRET), "answer {i}: {}", answer.text);
    }
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("added connection acme"), "the log is listened to");
    assert!(!log.contains(SECRET), "the log");
    let carillon_store::Db::Sqlite(sqlite) = &t.app.db else { panic!("these tests run on SQLite") };
    for file in [sqlite.path().to_owned(), sqlite.path().with_extension("db-wal")] {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let (_, shop) = t.account("shop").await;
    let smpp = |settings: Value| json!({"name": "a", "kind": "smpp", "settings": settings});
    let fine = || json!({"host": "smpp.example.com", "system_id": "u"});
    let with = |name: &str, value: Value| {
        let mut settings = fine();
        settings[name] = value;
        smpp(settings)
    };
    let rows = [
        (json!({"kind": "smpp"}), "#/name", "missing_field"),
        (json!({"name": "a"}), "#/kind", "missing_field"),
        (json!({"name": "a", "kind": "smoke"}), "#/kind", "invalid_value"),
        (json!({"name": "a b", "kind": "sandbox"}), "#/name", "invalid_value"),
        (json!({"name": "", "kind": "sandbox"}), "#/name", "invalid_value"),
        (json!({"name": "x".repeat(41), "kind": "sandbox"}), "#/name", "invalid_value"),
        (json!({"name": "a", "kind": "sandbox", "colour": 1}), "#/colour", "unknown_field"),
        (json!({"name": "a", "kind": "sandbox", "settings": []}), "#/settings", "wrong_type"),
        (smpp(json!({"system_id": "u"})), "#/settings/host", "invalid_value"),
        (smpp(json!({"host": "h"})), "#/settings/system_id", "invalid_value"),
        (with("colour", json!(1)), "#/settings/colour", "invalid_value"),
        (with("name", json!("b")), "#/settings/name", "invalid_value"),
        (with("port", json!(0)), "#/settings/port", "invalid_value"),
        (with("port", json!(65_536)), "#/settings/port", "invalid_value"),
        (with("window", json!(0)), "#/settings/window", "invalid_value"),
        (with("window", json!("9")), "#/settings/window", "invalid_value"),
        (with("in_doubt", json!(1)), "#/settings/in_doubt", "invalid_value"),
        (with("binds", json!(65)), "#/settings/binds", "invalid_value"),
        (with("rate", json!(-1)), "#/settings/rate", "invalid_value"),
        (with("alphabet", json!("ebcdic")), "#/settings/alphabet", "invalid_value"),
        (with("system_id", json!("x".repeat(16))), "#/settings/system_id", "invalid_value"),
        (with("password", json!(5)), "#/settings/password", "invalid_value"),
        (with("password", json!("x".repeat(65))), "#/settings/password", "invalid_value"),
        (with("unknown", json!("perhaps")), "#/settings/unknown", "invalid_value"),
        (with("enquire_link_s", json!(0)), "#/settings/enquire_link_s", "invalid_value"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post("/v1/connections", &operator, body.clone()).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{body}: {}", answer.text);
        let first = &answer.json()["errors"][0];
        assert_eq!((&first["pointer"], &first["code"]), (&json!(pointer), &json!(code)), "{body}");
    }
    let both = t.post("/v1/connections", &operator, smpp(json!({"host": "h", "rate": "x", "port": "y"}))).await.json();
    assert_eq!(both["errors"].as_array().unwrap().len(), 2, "every mistake is named: {both}");

    let taken = json!({"name": "sandbox", "kind": "sandbox"});
    assert_eq!(t.post("/v1/connections", &operator, taken).await.refusal(), (409, "name_taken".into()));
    let own = [
        (json!({"name": "a", "kind": "sandbox"}), "#/kind"),
        (with("binds", json!(9)), "#/settings/binds"),
        // Nobody's carrier is inside the operator's network.
        (with("host", json!("127.0.0.1")), "#/settings/host"),
        (with("host", json!("localhost")), "#/settings/host"),
        (with("host", json!("10.0.0.1")), "#/settings/host"),
        (with("host", json!("0x7f.1")), "#/settings/host"),
        (with("host", json!("169.254.169.254")), "#/settings/host"),
        (with("host", json!("[::1]")), "#/settings/host"),
    ];
    for (body, pointer) in own {
        let answer = t.post("/v1/connections", &shop, body.clone()).await.json();
        assert_eq!(answer["errors"][0]["pointer"], pointer, "{body}");
    }
    let list = t.get("/v1/connections", &operator).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "nothing was stored: {list}");
    let file = list["data"][0]["id"].as_str().unwrap();
    assert_eq!((&list["data"][0]["source"], &list["data"][0]["name"]), (&json!("file"), &json!("sandbox")));
    for (method, path) in [
        ("PATCH", format!("/v1/connections/{file}")),
        ("DELETE", format!("/v1/connections/{file}")),
        ("POST", format!("/v1/connections/{file}/disable")),
    ] {
        let answer = t.call(method, &path, &operator, Some(json!({}))).await;
        assert_eq!(answer.refusal(), (409, "configured_in_file".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn an_account_brings_its_carrier_and_nobody_else_sees_it() {
    let t = TestApp::with(|config| config.accounts.private_carriers = true).await;
    let (shop, shops) = t.account("shop").await;
    let (_, banks) = t.account("bank").await;
    let (_, operator) = t.operator().await;
    let own = carrier(None).await;
    let id = connect(&t, &shops, "mine", &own).await;
    assert_eq!(taken_by(&t, &shops, hello()).await, "mine");
    assert_eq!(taken_by(&t, &banks, hello()).await, "sandbox");

    for (method, path, body) in [
        ("GET", format!("/v1/connections/{id}"), None),
        ("PATCH", format!("/v1/connections/{id}"), Some(json!({"name": "stolen"}))),
        ("DELETE", format!("/v1/connections/{id}"), None),
        ("POST", format!("/v1/connections/{id}/disable"), Some(json!({}))),
        ("GET", format!("/v1/carrier-rates/{id}"), None),
        ("PUT", format!("/v1/carrier-rates/{id}"), Some(json!({"prefix": "", "price": "1"}))),
    ] {
        assert_eq!(t.call(method, &path, &banks, body).await.status, 404, "{method} {path}");
    }
    let names = async |key: &str, query: &str| {
        let list = t.get(&format!("/v1/connections{query}"), key).await.json();
        list["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&shops, "").await, ["mine"], "the platform's are not the account's to see");
    assert_eq!(names(&banks, "").await, [""; 0]);
    assert_eq!(names(&operator, "").await, ["sandbox"]);
    let of_shop = format!("?account={}", shop.id);
    assert_eq!(names(&operator, &of_shop).await, ["mine"], "operators may look after an account's");
    assert_eq!(t.get(&format!("/v1/connections{of_shop}"), &banks).await.refusal(), (403, "forbidden".into()));
    assert_eq!(t.get(&format!("/v1/connections/{id}"), &operator).await.json()["account"], json!(shop.id.to_string()));

    // It takes no message of others by the operator's route either.
    let route = json!({"name": "r", "groups": [{"members": [{"connection": "mine"}]}]});
    assert_eq!(
        t.post("/v1/routes", &operator, route).await.json()["errors"][0]["pointer"],
        "#/groups/0/members/0/connection"
    );
}
