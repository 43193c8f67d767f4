//! API keys: made, listed, refused, ended.

use std::time::Duration;

use carillon_domain::permission::{Scope, Scopes};
use serde_json::json;

use crate::app::{NOON, TestApp};

#[tokio::test]
async fn the_life_of_a_key() {
    let t = TestApp::start().await;
    let (_, owner) = t.account("a").await;
    let body = json!({ "name": "shop", "scopes": ["messages:send"], "expires_at": "2026-11-22T12:00:00Z" });
    let made = t.post("/v1/api-keys", &owner, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(t.get("/v1/me", key).await.json()["scopes"], json!(["messages:send"]));
    assert_eq!(t.get("/v1/api-keys", key).await.refusal(), (403, "forbidden".into()));
    let read = t.get(&path, &owner).await.json();
    assert_eq!((&read["name"], &read["key"]), (&json!("shop"), &json!(null)), "the secret is shown once");

    assert_eq!(t.call("DELETE", &path, &owner, None).await.status, 204);
    assert_eq!(
        t.get("/v1/me", key).await.refusal(),
        (401, "revoked_credential".into()),
        "at once, though it was in memory"
    );
    assert!(t.get(&path, &owner).await.json()["revoked_at"].is_string());
}

#[tokio::test]
async fn keys_expire() {
    let t = TestApp::start().await;
    let (account, _) = t.account("a").await;
    let key = t.key(&account, Scopes::account_all(), Some(NOON + 1_000)).await;
    assert_eq!(t.get("/v1/me", &key).await.status, 200);
    t.app.clock.advance(Duration::from_secs(1));
    assert_eq!(t.get("/v1/me", &key).await.refusal(), (401, "expired_credential".into()));
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (account, owner) = t.account("a").await;
    let few = t.key(&account, Scopes::NONE.with(Scope::KeysManage), None).await;
    let rows = [
        (&owner, json!({ "name": "" }), 400, "invalid_request"),
        (&owner, json!({ "name": "x", "scopes": [] }), 400, "invalid_request"),
        (&owner, json!({ "name": "x", "scopes": ["messages:sned"] }), 400, "invalid_request"),
        (&owner, json!({ "name": "x", "scopes": ["platform:operate"] }), 403, "scope_not_held"),
        (&few, json!({ "name": "x", "scopes": ["messages:send"] }), 403, "scope_not_held"),
        (&owner, json!({ "name": "x", "expires_at": "tomorrow" }), 400, "invalid_request"),
        (&owner, json!({ "name": "x", "expires_at": "2026-11-21T12:00:00Z" }), 400, "invalid_request"),
    ];
    for (key, body, status, code) in rows {
        assert_eq!(t.post("/v1/api-keys", key, body.clone()).await.refusal(), (status, code.into()), "{body}");
    }
    let good = t.post("/v1/api-keys", &few, json!({ "name": "x" })).await.json();
    assert_eq!(good["scopes"], json!(["keys:manage"]), "no scopes asked for: those of the maker");
}

#[tokio::test]
async fn credentials_that_are_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let mut changed = key.clone();
    let last = changed.pop().unwrap();
    changed.push(if last == '0' { '1' } else { '0' });
    // The right shape and checksum, and nobody's.
    let (foreign, _) = carillon::access::key::generate();
    let rows = [
        ("authorization", String::new(), "invalid_credential"),
        ("authorization", format!("Basic {key}"), "invalid_credential"),
        ("authorization", format!("Bearer {changed}"), "invalid_credential"),
        ("authorization", format!("Bearer {foreign}"), "invalid_credential"),
        ("authorization", "Bearer a.b.c".into(), "invalid_credential"),
        ("x-api-key", changed, "invalid_credential"),
    ];
    for (header, value, code) in rows {
        let answer = t.send(t.request("GET", "/v1/me").header(header, &value)).await;
        assert_eq!(answer.refusal(), (401, code.into()), "{header}: {value}");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    assert_eq!(t.get("/v1/me", "").await.refusal(), (401, "unauthenticated".into()));
    assert_eq!(t.send(t.request("GET", "/v1/me").header("x-api-key", &key)).await.status, 200);
}

#[tokio::test]
async fn lists_go_page_by_page() {
    let t = TestApp::start().await;
    let (account, owner) = t.account("a").await;
    for _ in 0..4 {
        t.key(&account, Scopes::account_all(), None).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = t.get(&format!("/v1/api-keys?limit=2{cursor}"), &owner).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first, none twice: {seen:?}");
    let foreign = format!("/v1/ledger?limit=2{cursor}");
    for (path, code) in [
        (foreign.as_str(), "invalid_cursor"),
        ("/v1/api-keys?cursor=x", "invalid_cursor"),
        ("/v1/api-keys?limit=0", "invalid_query"),
        ("/v1/api-keys?limit=201", "invalid_query"),
        ("/v1/api-keys?limit=x", "invalid_query"),
        ("/v1/api-keys?page=2", "invalid_query"),
    ] {
        assert_eq!(t.get(path, &owner).await.refusal(), (400, code.into()), "{path}");
    }
}
