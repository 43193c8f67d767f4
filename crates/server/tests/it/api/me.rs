//! Who am I, in and out of open mode; the account's settings; what the operator does to accounts.

use serde_json::{Value, json};

use crate::app::TestApp;

const CLIENT: &str = "550e8400-e29b-41d4-a716-446655440000";

/// Seed 1's own line: `curl "http://localhost:8080/v1/me?client_id=550e8400-e29b-41d4-a716-446655440000"`.
#[tokio::test]
async fn open_mode_opens_an_account_for_an_unknown_client() {
    let t = TestApp::with(|c| c.open_mode.enabled = true).await;
    let path = format!("/v1/me?client_id={CLIENT}");
    let first = t.get(&path, "").await;
    assert_eq!(first.status, 200, "{}", first.text);
    let me = first.json();
    assert_eq!(me["client_id"], CLIENT);
    let balance = json!({ "available": "100.00", "held": "0.00", "currency": "USD", "about_messages": 2000 });
    assert_eq!(me["balance"], balance);
    assert_eq!(me["account"]["settings"]["lenient"], true);
    assert_eq!(t.get(&path, "").await.json(), me, "the second time it is the same account");
    let typed = t.get(&format!("/v1/me?client_id={}", me["account"]["id"].as_str().unwrap()), "").await;
    assert_eq!(typed.json(), me, "its id names it as well");

    assert_eq!(t.get("/v1/me", "").await.refusal(), (401, "unauthenticated".into()));
    assert_eq!(t.get("/v1/me?client_id=nobody", "").await.refusal(), (400, "invalid_client_id".into()));
    let keys = format!("/v1/api-keys?client_id={CLIENT}");
    assert_eq!(t.get(&keys, "").await.refusal(), (403, "forbidden".into()), "using an account is not administering it");
}

#[tokio::test]
async fn a_thousand_first_requests_open_one_account() {
    let t = std::sync::Arc::new(TestApp::with(|c| c.open_mode.enabled = true).await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let t = t.clone();
        requests.spawn(async move {
            t.get(&format!("/v1/me?client_id={CLIENT}"), "").await.json()["balance"]["available"].clone()
        });
    }
    assert!(requests.join_all().await.into_iter().all(|available| available == "100.00"));
}

#[tokio::test]
async fn outside_open_mode_client_id_must_be_the_callers() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    let (other, _) = t.account("b").await;
    assert_eq!(t.get(&format!("/v1/me?client_id={}", account.id.0), &key).await.status, 200);
    assert_eq!(
        t.get(&format!("/v1/me?client_id={}", other.id.0), &key).await.refusal(),
        (403, "client_mismatch".into())
    );
    assert_eq!(t.get(&format!("/v1/me?client_id={CLIENT}"), "").await.refusal(), (401, "unauthenticated".into()));
    let none = carillon_store::account::by_id(&t.app.db, CLIENT.parse().unwrap()).await;
    assert!(none.is_err(), "nothing was opened");
}

#[tokio::test]
async fn settings_change_one_by_one() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let patch = async |body: Value| t.call("PATCH", "/v1/account", &key, Some(body)).await;
    let changed =
        patch(json!({ "name": "Shop", "settings": { "default_country": "DE", "parts_max": 3 } })).await.json();
    assert_eq!(
        (&changed["name"], &changed["settings"]["default_country"], &changed["settings"]["parts_max"]),
        (&json!("Shop"), &json!("DE"), &json!(3))
    );
    let cleared = patch(json!({ "settings": { "default_country": null } })).await.json();
    assert_eq!((&cleared["settings"]["default_country"], &cleared["settings"]["parts_max"]), (&json!(null), &json!(3)));
    assert_eq!(t.get("/v1/account", &key).await.json(), cleared, "not what memory said before");

    let bad = patch(json!({ "settings": { "default_country": "Germany", "parts_max": 0, "validity_s": 1 } })).await;
    let body = bad.json();
    let pointers: Vec<_> = body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/settings/default_country", "#/settings/parts_max", "#/settings/validity_s"]);
    for body in [
        json!({ "status": "active" }),
        json!({ "settings": { "parts_max": 256 } }),
        json!({ "settings": { "otp_success": "hope" } }),
    ] {
        assert_eq!(patch(body.clone()).await.refusal(), (400, "invalid_request".into()), "{body}");
    }
}

#[tokio::test]
async fn what_an_operator_does() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let made = t.post("/v1/admin/accounts", &operator, json!({ "name": "Napoli", "id": CLIENT })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        t.post("/v1/admin/accounts", &operator, json!({ "name": "N", "id": CLIENT })).await.refusal(),
        (409, "id_taken".into())
    );
    let path = format!("/v1/admin/accounts/{CLIENT}");
    let ledger = format!("{path}/ledger");
    let credited = t.post(&ledger, &operator, json!({ "kind": "top_up", "amount": "12.50", "note": "cash" })).await;
    assert_eq!((credited.status, credited.json()["available"].clone()), (201, json!("12.50")));
    for (body, status, code) in [
        (json!({ "kind": "top_up", "amount": "-1", "note": "x" }), 400, "invalid_amount"),
        (json!({ "kind": "top_up", "amount": "0", "note": "x" }), 400, "invalid_amount"),
        (json!({ "kind": "top_up", "amount": "1e3", "note": "x" }), 400, "invalid_amount"),
        (json!({ "kind": "top_up", "amount": "1000000001", "note": "x" }), 400, "invalid_amount"),
        (json!({ "kind": "top_up", "amount": 1, "note": "x" }), 400, "invalid_request"),
        (json!({ "kind": "gift", "amount": "1", "note": "x" }), 400, "invalid_request"),
        (json!({ "kind": "adjustment", "amount": "-12.51", "note": "x" }), 402, "insufficient_credit"),
    ] {
        assert_eq!(t.post(&ledger, &operator, body.clone()).await.refusal(), (status, code.into()), "{body}");
    }
    let entries = t.get(&ledger, &operator).await.json();
    assert_eq!(entries["data"].as_array().unwrap().len(), 1);

    let account = carillon_store::account::by_id(&t.app.db, CLIENT.parse().unwrap()).await.unwrap();
    let key = t.key(&account, carillon_domain::permission::Scopes::account_all(), None).await;
    assert_eq!(t.get("/v1/ledger", &key).await.json(), entries);
    let status = async |status: &str| {
        t.call("PATCH", &path, &operator, Some(json!({ "status": status, "tier": "vip" }))).await.status
    };
    assert_eq!(status("suspended").await, 200);
    assert_eq!(t.get("/v1/account", &key).await.json()["status"], "suspended", "at once, and it can read");
    assert_eq!(status("closed").await, 200);
    assert_eq!(t.get("/v1/account", &key).await.refusal(), (403, "account_closed".into()));
    assert_eq!(status("active").await, 200);
    assert_eq!(t.get("/v1/account", &key).await.json()["tier"], "vip");

    let page = t.get("/v1/admin/accounts?limit=1", &operator).await.json();
    let next = format!("/v1/admin/accounts?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let names: Vec<_> =
        [page, t.get(&next, &operator).await.json()].iter().map(|p| p["data"][0]["name"].clone()).collect();
    assert_eq!(names, [json!("operator"), json!("Napoli")]);
}
