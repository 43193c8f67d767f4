//! The life of an endpoint, and what is refused.

use carillon_domain::permission::{Scope, Scopes};
use serde_json::{Value, json};

use super::{endpoint, quick};
use crate::app::TestApp;

#[tokio::test]
async fn the_life_of_an_endpoint() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let body = json!({"url": "https://example.com/a", "events": ["message.sent"], "description": "shop"});
    let (id, secret) = endpoint(&t, &key, body).await;
    assert!(secret.starts_with("whsec_"));
    let path = format!("/v1/webhook-endpoints/{id}");
    let shown = t.get(&path, &key).await.json();
    let expected = json!({
        "id": id, "url": "https://example.com/a", "events": ["message.sent"], "description": "shop", "status": "enabled",
        "reason": null, "status_at": "2026-11-21T12:00:00.000Z", "accepted_at": null, "previous_secret_until": null,
        "created_at": "2026-11-21T12:00:00.000Z",
    });
    assert_eq!(shown, expected, "the secret is shown once");
    let change = json!({"url": "https://example.com/b", "events": ["*"], "status": "disabled"});
    let changed = t.call("PATCH", &path, &key, Some(change)).await.json();
    assert_eq!(
        [&changed["url"], &changed["events"], &changed["description"], &changed["status"], &changed["reason"]],
        [&json!("https://example.com/b"), &json!(["*"]), &json!("shop"), &json!("disabled"), &json!("by_request")]
    );
    assert_eq!(t.call("PATCH", &path, &key, Some(json!({}))).await.json(), changed, "nothing given, nothing changed");
    let (second, _) = endpoint(&t, &key, json!({"url": "https://example.com/c"})).await;
    let list = t.get("/v1/webhook-endpoints", &key).await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, [json!(second), json!(id)], "newest first");
    // The secret of callbacks is no endpoint.
    assert_eq!(t.get("/v1/webhook-secret", &key).await.status, 200);
    assert_eq!(t.get("/v1/webhook-endpoints", &key).await.json(), list);
    let nil = "/v1/webhook-endpoints/00000000-0000-0000-0000-000000000000";
    assert_eq!(t.get(nil, &key).await.status, 404);
    assert_eq!(t.call("DELETE", nil, &key, None).await.status, 404);
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.call("DELETE", &path, &key, None).await.refusal(), (404, "not_found".into()));
}

#[tokio::test]
async fn what_is_refused() {
    let t = quick().await;
    let (account, key) = t.account("a").await;
    let weak = t.key(&account, Scopes::NONE.with(Scope::MessagesSend), None).await;
    let good = json!({"url": "https://example.com/"});
    assert_eq!(t.post("/v1/webhook-endpoints", &weak, good.clone()).await.refusal(), (403, "forbidden".into()));
    let (id, _) = endpoint(&t, &key, good.clone()).await;
    let path = format!("/v1/webhook-endpoints/{id}");
    let rows: &[(&str, &str, Value, &str, &str)] = &[
        ("POST", "", json!({}), "#/url", "missing_field"),
        ("POST", "", json!({"url": 5}), "#/url", "wrong_type"),
        ("POST", "", json!({"url": ""}), "#/url", "invalid_value"),
        ("POST", "", json!({"url": "example.com"}), "#/url", "invalid_value"),
        ("POST", "", json!({"url": "ftp://example.com/"}), "#/url", "invalid_value"),
        ("POST", "", json!({"url": "https://u:p@example.com/"}), "#/url", "invalid_value"),
        ("POST", "", json!({"url": format!("https://example.com/{}", "a".repeat(600))}), "#/url", "invalid_value"),
        ("POST", "", json!({"url": "https://example.com/", "events": []}), "#/events", "too_short"),
        (
            "POST",
            "",
            json!({"url": "https://example.com/", "events": ["message.sent", "x"]}),
            "#/events/1",
            "invalid_value",
        ),
        ("POST", "", json!({"url": "https://example.com/", "events": "*"}), "#/events", "wrong_type"),
        (
            "POST",
            "",
            json!({"url": "https://example.com/", "description": "a".repeat(201)}),
            "#/description",
            "too_long",
        ),
        ("POST", "", json!({"url": "https://example.com/", "description": "a\nb"}), "#/description", "invalid_value"),
        ("POST", "", json!({"url": "https://example.com/", "secret": "x"}), "#/secret", "unknown_field"),
        ("PATCH", &path, json!({"status": "paused"}), "#/status", "invalid_value"),
        ("PATCH", &path, json!({"url": "http:"}), "#/url", "invalid_value"),
        ("PATCH", &path, json!({"events": ["x"]}), "#/events/0", "invalid_value"),
        ("PATCH", &path, json!({"reason": "x"}), "#/reason", "unknown_field"),
        ("POST", "replay", json!({"from": 5}), "#/from", "wrong_type"),
        ("POST", "replay", json!({"from": "yesterday"}), "#/from", "invalid_value"),
        (
            "POST",
            "replay",
            json!({"from": "2026-11-21T00:00:00Z", "to": "2026-11-21T00:00:00Z"}),
            "#/to",
            "invalid_value",
        ),
        (
            "POST",
            "replay",
            json!({"from": "2026-11-21T00:00:00Z", "only_failed": "yes"}),
            "#/only_failed",
            "wrong_type",
        ),
    ];
    for (method, to, body, pointer, code) in rows {
        let to = match *to {
            "" => "/v1/webhook-endpoints".to_owned(),
            "replay" => format!("{path}/replay"),
            other => other.to_owned(),
        };
        let answer = t.call(method, &to, &key, Some(body.clone())).await;
        let first = answer.json()["errors"][0].clone();
        assert_eq!(
            (answer.status, first["pointer"].as_str(), first["code"].as_str()),
            (400, Some(*pointer), Some(*code)),
            "{method} {to} {body}: {}",
            answer.text
        );
    }
    let unknown = "evt_01h455vb4pex5vsknk084sn02q";
    for (method, to, status, code) in [
        ("POST", format!("{path}/deliveries/{unknown}/retry"), 404, "not_found"),
        ("POST", format!("{path}/deliveries/nonsense/retry"), 400, "invalid_id"),
        ("POST", format!("/v1/callback-deliveries/{unknown}/retry"), 404, "not_found"),
        ("GET", format!("{path}/deliveries?status=lost"), 400, "invalid_query"),
        ("GET", format!("{path}/deliveries?limit=0"), 400, "invalid_query"),
        ("GET", format!("{path}/deliveries?page=1"), 400, "invalid_query"),
        ("GET", "/v1/webhook-endpoints/msg_01h455vb4pex5vsknk084sn02q".into(), 400, "invalid_id"),
    ] {
        assert_eq!(t.call(method, &to, &key, Some(json!({}))).await.refusal(), (status, code.into()), "{method} {to}");
    }
    for _ in 1..100 {
        endpoint(&t, &key, good.clone()).await;
    }
    assert_eq!(t.post("/v1/webhook-endpoints", &key, good).await.refusal(), (409, "endpoint_limit".into()));
    let list = t.get("/v1/webhook-endpoints?limit=200", &key).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 100);
}

/// A message's own callback goes where an endpoint may, and nowhere else.
#[tokio::test]
async fn callbacks_are_refused_like_endpoints() {
    let t = TestApp::with(|config| (config.webhooks.allow_http, config.webhooks.allow_private) = (false, false)).await;
    let (_, key) = t.account("a").await;
    let rows = [
        ("http://example.com/sms", "a URL that begins with https://"),
        ("https://127.0.0.1/sms", "127.0.0.1 is not on the public internet"),
        ("https://0x7f.1/sms", "127.0.0.1 is not on the public internet"),
        ("https://localhost:8080/sms", "localhost is not on the public internet"),
        ("https://[::1]/sms", "[::1] is not on the public internet"),
        ("https://example.com:25/sms", "port 25 is not allowed: use 443, or one from 1024 on"),
        ("https://me:secret@example.com/sms", "no user name or password in the URL"),
        ("example.com", "not a URL: send one such as https://example.com/sms"),
    ];
    for (url, why) in rows {
        for (path, to) in [("/v1/messages", json!("+4915112345678")), ("/v1/batches", json!(["+4915112345678"]))] {
            let answer = t.post(path, &key, json!({"to": to, "text": "hello", "callback_url": url})).await;
            let expected = json!([{"pointer": "#/callback_url", "code": "invalid_value", "detail": why}]);
            assert_eq!((answer.status, &answer.json()["errors"]), (400, &expected), "{path} {url}");
        }
        let endpoint = t.post("/v1/webhook-endpoints", &key, json!({"url": url})).await.json();
        assert_eq!(endpoint["errors"][0]["detail"], why, "an endpoint is judged alike");
    }
    assert_eq!(t.get("/v1/messages", &key).await.json()["data"], json!([]), "nothing was stored");
    let good = json!({"to": "+4915112345678", "text": "hello", "callback_url": "https://example.com/sms"});
    assert_eq!(t.post("/v1/messages", &key, good).await.status, 202);
}
