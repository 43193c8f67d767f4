//! What every request and every refusal has in common.

use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn refusals_of_the_request_as_a_whole() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        t.request("POST", "/v1/api-keys").bearer_auth(&key).header("content-type", content_type).body(body)
    };
    let json_type = "application/json";
    let rows = [
        (t.request("GET", "/nothing"), 404, "not_found"),
        (t.request("PUT", "/v1/api-keys").bearer_auth(&key), 405, "method_not_allowed"),
        (t.request("POST", "/v1/api-keys").bearer_auth(&key), 415, "unsupported_media_type"),
        (post("text/plain", b"{}".to_vec()), 415, "unsupported_media_type"),
        (post("application/x-www-form-urlencoded", b"name=x".to_vec()), 415, "unsupported_media_type"),
        (post(json_type, Vec::new()), 400, "malformed_json"),
        (post(json_type, b"{\"name\":".to_vec()), 400, "malformed_json"),
        (post(json_type, b"{\"name\":\"\xff\"}".to_vec()), 400, "malformed_json"),
        (post(json_type, b"[]".to_vec()), 400, "invalid_request"),
        (post(json_type, b"null".to_vec()), 400, "invalid_request"),
        (post(json_type, b"{\"name\":\"a\",\"name\":\"b\"}".to_vec()), 400, "invalid_request"),
        (post(json_type, vec![b' '; 1_048_577]), 413, "payload_too_large"),
        (t.request("GET", "/v1/api-keys/nonsense").bearer_auth(&key), 400, "invalid_id"),
        (t.request("GET", "/v1/api-keys/ses_01h455vb4pex5vsknk084sn02q").bearer_auth(&key), 400, "invalid_id"),
        (t.request("GET", "/v1/api-keys/key_01h455vb4pex5vsknk084sn02q").bearer_auth(&key), 404, "not_found"),
    ];
    for (request, status, code) in rows {
        let answer = t.send(request).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["request_id"], answer.headers["request-id"].as_str());
        assert_eq!(answer.json()["type"], format!("/docs/problems#{code}"));
    }
}

#[tokio::test]
async fn the_callers_request_id_is_kept_if_it_is_sane() {
    let t = TestApp::start().await;
    for (given, kept) in [("abc-1.2_3", true), ("", false), ("a b", false), ("x\"y", false)] {
        let answer = t.send(t.request("GET", "/health").header("request-id", given)).await;
        assert_eq!(answer.headers["request-id"] == given, kept, "{given}");
        assert!(!answer.headers["request-id"].is_empty());
    }
    let long = "x".repeat(65);
    assert_ne!(t.send(t.request("GET", "/health").header("request-id", &long)).await.headers["request-id"], long);
}

#[tokio::test]
async fn what_runs_it_and_what_documents_it() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    assert_eq!(t.get("/health", "").await.json()["status"], "ok");
    assert_eq!(t.get("/ready", "").await.status, 200);
    t.get("/v1/me", &key).await;
    let metrics = t.get("/metrics", "").await;
    assert!(
        metrics.text.contains("http_request_seconds_bucket{method=\"GET\",route=\"/v1/me\",status=\"2xx\""),
        "{}",
        metrics.text
    );
    let document = t.get("/openapi.json", "").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["paths"]["/v1/me"]["get"]["operationId"], "getMe");
    let page = t.get("/docs", "").await;
    assert!(page.text.contains("/docs/docs.js") && !page.text.contains("https://"), "nothing from another host");
    assert!(t.get("/docs/problems", "").await.text.contains("id=\"insufficient_credit\""));
    assert_eq!(t.get("/", "").await.status, 200, "leads to the documentation");
    t.app.shutdown.cancel();
}

/// An operation id names each operation once, and each says what it answers when it refuses.
#[test]
fn the_document_is_whole() {
    let document = serde_json::to_value(carillon::api::openapi()).unwrap();
    let mut ids = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert_eq!(
                operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"],
                json!("#/components/schemas/Problem"),
                "{method} {path}"
            );
        }
    }
}
