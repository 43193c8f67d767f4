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

/// What each `Range` gets: status, the octets from and to, `Content-Range`.
pub const RANGES: &[(&str, u16, Option<(usize, usize)>, &str)] = &[
    ("bytes=0-3", 206, Some((0, 4)), "bytes 0-3/1000"),
    ("bytes=990-", 206, Some((990, 1000)), "bytes 990-999/1000"),
    ("bytes=-10", 206, Some((990, 1000)), "bytes 990-999/1000"),
    ("bytes=-5000", 206, Some((0, 1000)), "bytes 0-999/1000"),
    ("bytes=500-5000", 206, Some((500, 1000)), "bytes 500-999/1000"),
    ("bytes=999-999", 206, Some((999, 1000)), "bytes 999-999/1000"),
    ("bytes=1000-", 416, None, "bytes */1000"),
    ("bytes=-0", 416, None, "bytes */1000"),
    ("bytes=5-4", 200, Some((0, 1000)), ""),
    ("bytes=0-1,5-6", 200, Some((0, 1000)), ""),
    ("bytes=x-1", 200, Some((0, 1000)), ""),
    ("bytes=+1-2", 200, Some((0, 1000)), ""),
    ("lines=0-1", 200, Some((0, 1000)), ""),
];

/// A PNG of a thousand octets that differ.
pub fn thousand() -> Vec<u8> {
    (0..1_000u32).map(|i| PNG.get(i as usize).copied().unwrap_or((i % 95 + 32) as u8)).collect()
}

/// Every range of a file at that path.
pub async fn check_ranges(t: &TestApp, path: &str) {
    let octets = thousand();
    for (range, status, part, content_range) in RANGES {
        let request = t.request("GET", path).header("range", *range);
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        let (got, length) = ((answer.status().as_u16(), header("content-range")), header("content-length"));
        assert_eq!(got, (*status, (*content_range).to_owned()), "{range}");
        let body = answer.bytes().await.unwrap();
        if let Some((from, to)) = part {
            assert_eq!((&body[..], length), (&octets[*from..*to], (to - from).to_string()), "{range}");
        }
    }
    let conditional = t.request("GET", path).header("range", "bytes=0-3").header("if-range", "\"x\"");
    assert_eq!(conditional.send().await.unwrap().status(), 200, "nothing tells that the condition holds");
    let head = t.request("HEAD", path).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"], &head.headers()["accept-ranges"]),
        (200, &"1000".parse().unwrap(), &"bytes".parse().unwrap())
    );
}

#[tokio::test]
async fn ranges_of_a_file() {
    let t = public().await;
    let (_, key) = t.account("a").await;
    let media = upload(&t, &key, thousand()).await.json();
    check_ranges(&t, &path_of(&media)).await;
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
