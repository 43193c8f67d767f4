//! Media: uploaded, linked to, opened by whoever has the link, gone in the end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

const PNG: &[u8] = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x01";
const TO: &str = "+4915112345678";
const DAY: Duration = Duration::from_secs(86_400);

async fn public() -> TestApp {
    TestApp::with(|config| {
        config.server.public_url = "https://sms.example.com/".into();
        config.media.file_max = 10_000;
        config.media.account_max = 25_000;
    })
    .await
}

async fn upload(t: &TestApp, key: &str, octets: Vec<u8>) -> Answer {
    t.send(t.request("POST", "/v1/media").bearer_auth(key).body(octets)).await
}

fn path_of(media: &Value) -> String {
    media["url"].as_str().unwrap().strip_prefix("https://sms.example.com").unwrap().to_owned()
}

fn files(t: &TestApp) -> usize {
    let Ok(folders) = std::fs::read_dir(t.app.config.data.folder.join("media")) else { return 0 };
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn from_the_upload_to_the_open_link() {
    let t = public().await;
    let (_, key) = t.account("a").await;
    let made = upload(&t, &key, PNG.to_vec()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let media = made.json();
    assert_eq!((&media["content_type"], &media["size"]), (&json!("image/png"), &json!(PNG.len())));
    let id = media["id"].as_str().unwrap();
    let opened = t.get(&path_of(&media), "").await;
    assert_eq!((opened.status, opened.headers["content-length"].as_str()), (200, PNG.len().to_string().as_str()));
    for (name, value) in [
        ("content-type", "image/png"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("content-disposition", "inline; filename=\"file.png\""),
        ("cache-control", "private, max-age=3600"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(opened.headers[name], value, "{name}");
    }
    let card = b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Ada\r\nEND:VCARD\r\n".to_vec();
    let card = upload(&t, &key, card).await.json();
    assert!(t.get(&path_of(&card), "").await.headers["content-disposition"].starts_with("attachment"));

    let text = format!("Look\n{}\nhttps://shop.example/a.jpg", media["url"].as_str().unwrap());
    let body = json!({"to": TO, "text": "Look", "media": [id, "https://shop.example/a.jpg"]});
    let estimate = t.post("/v1/estimates", &key, body.clone()).await.json();
    assert_eq!(estimate["units"], text.len());
    let sent = t.post("/v1/messages", &key, body).await;
    assert_eq!(sent.status, 202, "{}", sent.text);
    let message = t.get(&format!("/v1/messages/{}", sent.json()["id"].as_str().unwrap()), &key).await.json();
    assert_eq!(message["text"], text);
    let batch = json!({"to": [{"phone": TO, "variables": {"n": "Ada"}}], "text": "{{n}}", "media": [id]});
    let batch = t.post("/v1/batches", &key, batch).await.json();
    let page = t.get(&format!("/v1/batches/{}/messages", batch["id"].as_str().unwrap()), &key).await.json();
    assert_eq!(page["data"][0]["text"], format!("Ada\n{}", media["url"].as_str().unwrap()));
    let alone = t.post("/v1/messages", &key, json!({"to": TO, "media": [id]})).await;
    assert_eq!(alone.status, 202, "{}", alone.text);
}

#[tokio::test]
async fn files_end_and_say_so() {
    let t = public().await;
    let (_, key) = t.account("a").await;
    let (one, same) = (upload(&t, &key, PNG.to_vec()).await.json(), upload(&t, &key, PNG.to_vec()).await.json());
    assert_ne!(one["url"], same["url"]);
    assert_eq!(files(&t), 1, "the same octets lie there once");
    let [first, second] = [&one, &same].map(|m| format!("/v1/media/{}", m["id"].as_str().unwrap()));
    assert_eq!(t.call("DELETE", &first, &key, None).await.status, 204);
    assert_eq!(t.call("DELETE", &first, &key, None).await.status, 404);
    assert_eq!((t.get(&path_of(&one), "").await.refusal(), files(&t)), ((410, "media_gone".into()), 1));
    assert_eq!(t.get(&first, &key).await.refusal(), (410, "media_gone".into()));
    assert_eq!(t.get(&path_of(&same), "").await.status, 200, "the other still needs them");
    let named = json!({"to": TO, "text": "x", "media": [one["id"], same["id"]]});
    let refused = t.post("/v1/messages", &key, named).await.json();
    assert_eq!(
        (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
        (&json!("#/media/0"), &json!("media_gone"))
    );
    let late = json!({"to": TO, "text": "x", "media": [same["id"]], "scheduled_at": "2026-12-20T00:00:00Z"});
    assert_eq!(t.post("/v1/messages", &key, late).await.json()["errors"][0]["code"], "media_gone", "too late for it");

    t.app.clock.advance(DAY * 30);
    assert_eq!(t.get(&path_of(&same), "").await.refusal(), (410, "media_gone".into()));
    assert_eq!(t.get("/v1/media", &key).await.json()["data"], json!([]));
    carillon::media::sweep(&t.app).await.unwrap();
    assert_eq!((files(&t), t.get(&second, &key).await.status), (0, 410));
    t.app.clock.advance(DAY * 400);
    carillon::media::sweep(&t.app).await.unwrap();
    assert_eq!((t.get(&path_of(&same), "").await.status, t.get(&second, &key).await.status), (404, 404));
}

#[tokio::test]
async fn what_is_refused() {
    let t = public().await;
    let ((_, key), (_, stranger)) = (t.account("a").await, t.account("b").await);
    for octets in [&b""[..], b"<svg onload='alert(1)'>", b"#!/bin/sh\n", b"MZ\x90"] {
        assert_eq!(upload(&t, &key, octets.to_vec()).await.refusal(), (415, "unsupported_media_type".into()));
    }
    let large = |n: usize| [PNG, &vec![0; n - PNG.len()]].concat();
    assert_eq!(upload(&t, &key, large(10_001)).await.refusal(), (413, "payload_too_large".into()));
    let form =
        t.request("POST", "/v1/media").bearer_auth(&key).header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(t.send(form.body(PNG)).await.refusal(), (415, "unsupported_media_type".into()));
    let kept = upload(&t, &key, large(10_000)).await.json();
    assert_eq!(upload(&t, &key, large(9_999)).await.status, 201);
    assert_eq!(upload(&t, &key, large(9_998)).await.refusal(), (409, "media_full".into()));
    assert_eq!(files(&t), 2);
    let path = format!("/v1/media/{}", kept["id"].as_str().unwrap());
    assert_eq!(
        [t.get(&path, &stranger).await.status, t.call("DELETE", &path, &stranger, None).await.status],
        [404, 404]
    );
    for token in ["0000000000000000", "x", "..%2f..%2fcarillon.db"] {
        assert_eq!(t.get(&format!("/m/{token}"), "").await.status, 404, "{token}");
    }
    let with = |media: Value| json!({"to": TO, "text": "x", "media": media});
    let rows = [
        (&key, with(json!([])), "#/media", "too_short"),
        (&key, with(json!(vec!["https://a.example/1"; 11])), "#/media", "too_long"),
        (&key, with(json!("https://a.example/1")), "#/media", "wrong_type"),
        (&key, with(json!(["http://a.example/1"])), "#/media/0", "invalid_value"),
        (&key, with(json!(["https://"])), "#/media/0", "invalid_value"),
        (&key, with(json!(["https://u:p@a.example/1"])), "#/media/0", "invalid_value"),
        (&key, with(json!(["https://a.example/1", "bat_01h455vb4pex5vsknk084sn02q"])), "#/media/1", "invalid_value"),
        (&stranger, with(json!([kept["id"]])), "#/media/0", "not_found"),
        (&key, json!({"to": TO, "otp": true, "media": [kept["id"]]}), "#/media", "conflicting_fields"),
        (&key, json!({"to": TO, "data": "AAAA", "media": [kept["id"]]}), "#/media", "conflicting_fields"),
    ];
    for (who, body, pointer, code) in rows {
        let answer = t.post("/v1/messages", who, body.clone()).await;
        let first = answer.json()["errors"][0].clone();
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{body}: {}",
            answer.text
        );
    }
    t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"mms_fallback": "refuse"}}))).await;
    let refused = t.post("/v1/messages", &key, with(json!([kept["id"]]))).await.json();
    assert_eq!(refused["errors"][0]["code"], "mms_unavailable");
    let hidden = TestApp::start().await;
    let (_, key) = hidden.account("a").await;
    let media = upload(&hidden, &key, PNG.to_vec()).await.json();
    assert_eq!(media["url"], json!(null));
    let refused = hidden.post("/v1/messages", &key, with(json!([media["id"]]))).await.json();
    assert_eq!(refused["errors"][0]["code"], "media_unavailable");
}
