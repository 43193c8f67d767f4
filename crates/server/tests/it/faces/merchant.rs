//! The endpoints of the second seed, by its document's tables.

use std::time::Duration;

use carillon_store::ledger;
use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};

use crate::app::TestApp;

pub const NOODLES: &str = "noodles@example.com";

/// A server that sells credits in the sandbox; its carrier is quick.
pub async fn shop() -> TestApp {
    shop_on("").await
}

/// On each database.
async fn shops() -> [TestApp; 2] {
    [shop().await, shop_on(&TestPostgres::start().fresh_database().await).await]
}

async fn shop_on(url: &str) -> TestApp {
    TestApp::with(|config| {
        config.database.url = url.into();
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
        config.faces.payments = carillon::config::Gateway::Sandbox;
    })
    .await
}

pub fn registration(email: &str) -> Value {
    json!({"name": "Noodle Bar", "email": email, "phone": "+4915112345600", "password": "correct horse battery"})
}

/// A merchant with so much credit; the token.
pub async fn merchant(t: &TestApp, email: &str, amount: &str) -> String {
    let made = t.post("/merchants/register", "", registration(email)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let paid = t
        .post("/billing/recharge", &token, json!({"amount": amount, "payment_id": format!("pay-{}", email.len())}))
        .await;
    assert_eq!(paid.status, 201, "{}", paid.text);
    token
}

/// Asks until it has this status.
async fn reaches(t: &TestApp, token: &str, path: &str, status: &str) -> Value {
    for _ in 0..2_000 {
        let shown = t.get(path, token).await.json();
        if shown["status"] == status {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{path} was not {status} in ten seconds");
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_merchant_registers_signs_in_and_is_shown() {
    let t = shop().await;
    let made = t.post("/merchants/register", "", registration(NOODLES)).await;
    assert_eq!((made.status, &made.json()["merchant"]["sms_credits"]), (201, &json!(0)), "{}", made.text);
    let signed_in =
        t.post("/merchants/login", "", json!({"email": NOODLES, "password": "correct horse battery"})).await;
    let token = signed_in.json()["token"].as_str().unwrap().to_owned();
    let profile = t.get("/merchants/profile", &token).await.json();
    assert_eq!(
        members(&profile),
        ["created_at", "email", "id", "name", "phone", "sms_credits"],
        "the columns of the table, no password"
    );
    assert_eq!(
        [&profile["name"], &profile["email"], &profile["phone"], &profile["created_at"]],
        ["Noodle Bar", NOODLES, "+4915112345600", "2026-11-21T12:00:00.000Z"].map(|text| json!(text)).each_ref()
    );
    assert_eq!(profile, made.json()["merchant"]);
    let id = profile["id"].as_str().unwrap();
    assert_eq!(t.get("/v1/me", &token).await.json()["client_id"], id, "the same account, by its UUID");

    let mut rows = vec![
        ("/merchants/register", registration(NOODLES), 409, "email_taken"),
        ("/merchants/login", json!({"email": NOODLES, "password": "wrong"}), 401, "wrong_password"),
        ("/merchants/login", json!({"email": NOODLES}), 400, "invalid_request"),
    ];
    for (member, value, code) in [
        ("phone", json!("+1-555-0123"), "invalid_request"),
        ("phone", json!(null), "invalid_request"),
        ("email", json!("nobody"), "invalid_request"),
        ("name", json!(""), "invalid_request"),
        ("password", json!("short"), "weak_password"),
        ("sms_credits", json!(5), "invalid_request"),
    ] {
        let mut body = registration("other@example.com");
        body[member] = value;
        rows.push(("/merchants/register", body, 400, code));
    }
    for (path, body, status, code) in rows {
        let answer = t.post(path, "", body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        let codes = [answer.code(), answer.json()["errors"][0]["code"].as_str().unwrap_or("").to_owned()];
        assert!(codes.iter().any(|c| c == code), "{path} {body}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json", "not a problem of /v1");
        assert!(answer.json()["error"].is_string(), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_campaign_at_once_as_the_tables_show() {
    for t in shops().await {
        at_once(t).await;
    }
}

async fn at_once(t: TestApp) {
    // One minute past six in the evening: between eight and eight in Germany and in all zones of the sandbox's numbers.
    t.app.clock.advance(Duration::from_secs(6 * 3_600 + 60));
    let token = merchant(&t, NOODLES, "5.00").await;
    // One whom the carrier refuses, one that comes again, and one that is no number.
    let recipients = "name,phone\nAda,+4915112345671\nBob,+15005550101\nAda,+49 151 12345671\nCy,12\n";
    let body = json!({"name": "Lunch", "message": "Hi {{name}}, soup today", "recipients": recipients});
    let made = t.post("/campaigns", &token, body).await;
    assert_eq!((made.status, &made.json()["status"]), (201, &json!("Scheduled")), "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let sent = reaches(&t, &token, &format!("/campaigns/{id}"), "Sent").await;
    assert_eq!(
        members(&sent),
        ["created_at", "id", "merchant_id", "message", "name", "recipients", "scheduled_at", "status"]
    );
    assert_eq!(sent["merchant_id"], t.get("/merchants/profile", &token).await.json()["id"]);
    let path = format!("/sms/status/{id}");
    for _ in 0..2_000 {
        if t.get(&path, &token).await.json()["counts"]["Pending"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = t.get(&path, &token).await.json();
    assert_eq!(
        (&status["campaign_id"], &status["counts"]),
        (&json!(id), &json!({"Pending": 0, "Sent": 1, "Failed": 2}))
    );
    let rows = status["recipients"].as_array().unwrap();
    let mut stand: Vec<_> =
        rows.iter().map(|r| (r["phone"].as_str().unwrap(), r["status"].as_str().unwrap())).collect();
    stand.sort_unstable();
    assert_eq!(stand, [("+15005550101", "Failed"), ("+4915112345671", "Sent")]);
    assert_eq!(members(&rows[0]), ["campaign_id", "id", "phone", "sent_at", "status"]);
    let listed = t.get("/campaigns", &token).await.json();
    assert_eq!((listed["campaigns"].as_array().map(Vec::len), &listed["campaigns"][0]["id"]), (Some(1), &json!(id)));
    let over = t.call("DELETE", &format!("/campaigns/{id}"), &token, None).await;
    assert_eq!(over.refusal(), (409, "campaign_state".into()));
    assert_eq!(over.json()["status"], "Sent", "its state by its word here: {}", over.text);
}

#[tokio::test]
async fn a_campaign_is_scheduled_changed_and_canceled() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let body = json!({"name": "Friday", "message": "Fish", "scheduled_at": "2026-12-04T11:00:00Z", "recipients": ["+4915112345671"]});
    let made = t.post("/campaigns", &token, body).await.json();
    assert_eq!(
        [&made["status"], &made["scheduled_at"], &made["recipients"]],
        [&json!("Scheduled"), &json!("2026-12-04T11:00:00.000Z"), &json!({"Pending": 1, "Sent": 0, "Failed": 0})],
        "{made}"
    );
    let path = format!("/campaigns/{}", made["id"].as_str().unwrap());
    let change = json!({"name": "Saturday", "scheduled_at": "2026-12-05 11:00:00", "recipients": "+4915112345671\n+4915112345672"});
    let changed = t.call("PATCH", &path, &token, Some(change)).await.json();
    assert_eq!(
        [&changed["name"], &changed["message"], &changed["scheduled_at"]],
        [&json!("Saturday"), &json!("Fish"), &json!("2026-12-05T11:00:00.000Z")],
        "{changed}"
    );
    // A refused change changes nothing.
    for bad in [
        json!({"name": "x", "scheduled_at": "2026-11-01T00:00:00Z"}),
        json!({"name": "x", "recipients": []}),
        json!({"name": "x", "status": "Sent"}),
    ] {
        let answer = t.call("PATCH", &path, &token, Some(bad.clone())).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{bad}");
        assert_eq!(t.get(&path, &token).await.json()["name"], "Saturday", "{bad}");
    }
    let canceled = t.call("DELETE", &path, &token, None).await;
    assert_eq!(
        (canceled.status, &canceled.json()["status"], &canceled.json()["recipients"]),
        (200, &json!("Failed"), &json!({"Pending": 0, "Sent": 0, "Failed": 2})),
        "nobody waits for it any more"
    );
    assert_eq!(
        t.call("PATCH", &path, &token, Some(json!({"name": "x"}))).await.refusal(),
        (409, "campaign_state".into())
    );
}

#[tokio::test]
async fn a_text_without_a_campaign() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let sent = t.post("/sms/send", &token, json!({"phone": "+4915112345671", "message": "Your table is ready"})).await;
    assert_eq!(
        (sent.status, &sent.json()["status"], &sent.json()["recipients"]),
        (202, &json!("Pending"), &json!(1)),
        "{}",
        sent.text
    );
    let path = format!("/sms/status/{}", sent.json()["id"].as_str().unwrap());
    let done = reaches(&t, &token, &path, "Sent").await;
    assert_eq!(done["recipients"][0]["phone"], "+4915112345671");
    let many = json!({"recipients": ["+4915112345671", "+4915112345672"], "message": "Closed", "scheduled_at": "2026-12-04T11:00:00"});
    let later = t.post("/sms/schedule", &token, many.clone()).await;
    assert_eq!(
        (later.status, &later.json()["scheduled_at"]),
        (202, &json!("2026-12-04T11:00:00.000Z")),
        "{}",
        later.text
    );
    let asked = t.get(&format!("/v1/batches/{}/messages", later.json()["id"].as_str().unwrap()), &token).await.json();
    assert_eq!(asked["data"][0]["scheduled_at"], later.json()["scheduled_at"], "{asked}");
    let path = format!("/sms/status/{}", later.json()["id"].as_str().unwrap());
    assert_eq!(t.get(&path, &token).await.json()["counts"], json!({"Pending": 2, "Sent": 0, "Failed": 0}));
    let page = t.get(&format!("{path}?limit=1"), &token).await.json();
    let next = t.get(&format!("{path}?limit=1&cursor={}", page["next_cursor"].as_str().unwrap()), &token).await.json();
    assert_ne!(page["recipients"][0]["id"], next["recipients"][0]["id"]);
    // The same request twice is one text.
    let once =
        |key: &str| t.request("POST", "/sms/schedule").bearer_auth(key).header("idempotency-key", "k1").json(&many);
    let (first, again) = (t.send(once(&token)).await, t.send(once(&token)).await);
    assert_eq!((first.status, &first.json()["id"]), (202, &again.json()["id"]), "{}", again.text);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let dear = json!({"phone": "+4915112345671", "message": "a".repeat(1_400)});
    let poor = merchant(&t, "poor@example.com", "1.00").await;
    for _ in 0..2 {
        t.post("/sms/send", &poor, dear.clone()).await;
    }
    let short = t.post("/sms/send", &poor, dear).await;
    assert_eq!(short.refusal(), (402, "insufficient_credit".into()), "{}", short.text);
}

#[tokio::test]
async fn a_payment_is_credited_once() {
    for t in shops().await {
        credited_once(t).await;
    }
}

async fn credited_once(t: TestApp) {
    let token =
        t.post("/merchants/register", "", registration(NOODLES)).await.json()["token"].as_str().unwrap().to_owned();
    let buy = async |amount: Value, payment: &str| {
        t.post("/billing/recharge", &token, json!({"amount": amount, "payment_id": payment})).await
    };
    let first = buy(json!("25.00"), "pay_1").await;
    assert_eq!(
        (first.status, &first.json()["sms_credits"], &first.json()["balance"]),
        (201, &json!(500), &json!("25.00")),
        "{}",
        first.text
    );
    let again = buy(json!("25.00"), "pay_1").await;
    assert_eq!((again.status, &again.json()["transaction"]), (200, &first.json()["transaction"]), "{}", again.text);
    assert_eq!(buy(json!("30.00"), "pay_1").await.refusal(), (422, "idempotency_mismatch".into()));
    assert_eq!(buy(json!("25.00"), "pay_declined_7").await.refusal(), (402, "payment_declined".into()));
    let billing = t.get("/billing", &token).await.json();
    assert_eq!((&billing["sms_credits"], &billing["balance"]), (&json!(500), &json!("25.00")));
    let rows = billing["transactions"].as_array().unwrap();
    assert_eq!((rows.len(), members(&rows[0])), (1, vec!["amount", "created_at", "id", "merchant_id", "type"]));
    assert_eq!((&rows[0]["type"], &rows[0]["amount"]), (&json!("Credit Purchase"), &json!("25.00")));
    // What an operator pays back is a refund.
    let (_, operator) = t.operator().await;
    let account = t.get("/v1/me", &token).await.json()["account"]["id"].as_str().unwrap().to_owned();
    let back = json!({"kind": "refund", "amount": "-0.02", "note": "paid back"});
    let entry = t.post(&format!("/v1/admin/accounts/{account}/ledger"), &operator, back).await;
    assert_eq!(entry.status, 201, "{}", entry.text);
    let billing = t.get("/billing", &token).await.json();
    let newest = &billing["transactions"][0];
    assert_eq!(
        (&newest["type"], &newest["amount"], &billing["sms_credits"]),
        (&json!("Refund"), &json!("0.02"), &json!(499)),
        "rounded down"
    );
    // Another merchant cannot have it too.
    let other = t.post("/merchants/register", "", registration("other@example.com")).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let theirs = t.post("/billing/recharge", &other, json!({"amount": "25.00", "payment_id": "pay_1"})).await;
    assert_eq!(theirs.refusal(), (409, "id_taken".into()));
    assert_eq!(t.get("/billing", &other).await.json()["sms_credits"], 0);
    // Told by many at once, with the least and the most that can be bought.
    for (amount, payment, cents) in [("1.00", "least", 100), ("10000.00", "most", 1_000_100)] {
        let tell = || t.post("/billing/recharge", &other, json!({"amount": amount, "payment_id": payment}));
        let told = tokio::join!(tell(), tell(), tell(), tell());
        let mut statuses = [told.0.status, told.1.status, told.2.status, told.3.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 201], "{payment}");
        assert_eq!(t.get("/billing", &other).await.json()["sms_credits"], cents / 5, "{payment}");
    }
    let mut differences = Vec::new();
    ledger::verify(&t.app.db, |d| differences.push(d)).await.unwrap();
    assert_eq!(differences, []);
    let page = t.get("/billing?limit=1", &other).await.json();
    let next =
        t.get(&format!("/billing?limit=1&cursor={}", page["next_cursor"].as_str().unwrap()), &other).await.json();
    assert_eq!(
        [&page["transactions"][0]["amount"], &next["transactions"][0]["amount"], &next["next_cursor"]],
        [&json!("10000.00"), &json!("1.00"), &json!(null)]
    );
}
