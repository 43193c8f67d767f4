//! Media in a bucket: a store on the wire that believes nothing unsigned, as S3 does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use carillon::config::MediaPlace;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::media::{check_ranges, thousand};
use crate::app::TestApp;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[derive(Default)]
struct Held {
    objects: HashMap<String, Bytes>,
    broken: bool,
}

type Bucket = Arc<Mutex<Held>>;

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text.as_bytes()).finalize().into_bytes().to_vec()
}

/// The signature that a request should have, made anew from what came (AWS Signature Version 4).
fn signed(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<()> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let given = text("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| given.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (id, scope) = field("Credential")?.split_once('/')?;
    let (names, time, payload) = (field("SignedHeaders")?, text("x-amz-date")?, text("x-amz-content-sha256")?);
    if id != "AKIDEXAMPLE" || payload != hex(&Sha256::digest(body)) || !scope.ends_with("/eu-central-1/s3/aws4_request")
    {
        return None;
    }
    let listed: Option<String> = names.split(';').map(|n| Some(format!("{n}:{}\n", text(n)?.trim()))).collect();
    let canonical = format!("{method}\n{}\n\n{}\n{names}\n{payload}", uri.path(), listed?);
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, step| mac(&key, step));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    (field("Signature")? == hex(&mac(&key, &to_sign))).then_some(())
}

async fn answer(
    State(bucket): State<Bucket>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let mut held = bucket.lock();
    if signed(&method, &uri, &headers, &body).is_none() || held.broken {
        return (StatusCode::FORBIDDEN, "<Error><Code>SignatureDoesNotMatch</Code></Error>".into());
    }
    let name = uri.path().to_owned();
    match method {
        Method::PUT => {
            held.objects.insert(name, body);
            (StatusCode::OK, Bytes::new())
        }
        Method::DELETE => {
            held.objects.remove(&name);
            (StatusCode::NO_CONTENT, Bytes::new())
        }
        _ => match held.objects.get(&name) {
            None => (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>".into()),
            Some(object) => {
                let range = headers["range"].to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (first, last): (usize, usize) = (range.0.parse().unwrap(), range.1.parse().unwrap());
                (StatusCode::PARTIAL_CONTENT, object.slice(first..=last))
            }
        },
    }
}

async fn world() -> (TestApp, Bucket) {
    let bucket = Bucket::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(bucket.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let t = TestApp::with(|config| {
        config.server.public_url = "https://sms.example.com".into();
        let media = &mut config.media;
        (media.store, media.s3_endpoint) = (MediaPlace::S3, address);
        (media.s3_bucket, media.s3_prefix, media.s3_region) =
            ("media".into(), "carillon/".into(), "eu-central-1".into());
        (media.s3_access_key_id, media.s3_secret_access_key) = ("AKIDEXAMPLE".into(), SECRET.into());
    })
    .await;
    (t, bucket)
}

#[tokio::test]
async fn files_lie_in_the_bucket_and_leave_it() {
    let (t, bucket) = world().await;
    let (_, key) = t.account("a").await;
    let upload = async |octets| t.send(t.request("POST", "/v1/media").bearer_auth(&key).body(octets)).await;
    let (one, same) = (upload(thousand()).await, upload(thousand()).await.json());
    assert_eq!(one.status, 201, "{}", one.text);
    let one = one.json();
    let names: Vec<String> = bucket.lock().objects.keys().cloned().collect();
    assert!(names.contains(&format!("/media/carillon/{}", one["id"].as_str().unwrap())), "{names:?}");
    assert_eq!(names.len(), 2, "each file is its own");
    let path =
        |m: &serde_json::Value| m["url"].as_str().unwrap().strip_prefix("https://sms.example.com").unwrap().to_owned();
    check_ranges(&t, &path(&one)).await;
    assert_eq!(t.get(&path(&same), "").await.text.len(), t.get(&path(&one), "").await.text.len());

    assert_eq!(t.call("DELETE", &format!("/v1/media/{}", one["id"].as_str().unwrap()), &key, None).await.status, 204);
    assert_eq!(t.call("DELETE", &format!("/v1/media/{}", one["id"].as_str().unwrap()), &key, None).await.status, 404);
    assert_eq!((t.get(&path(&one), "").await.status, t.get(&path(&same), "").await.status), (410, 200));

    // A bucket that refuses: what was not kept is not there, what could not be erased is tried again.
    bucket.lock().broken = true;
    assert_eq!(upload(thousand()).await.refusal(), (503, "store_unavailable".into()));
    assert_eq!(t.get("/v1/media", &key).await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(t.get(&path(&same), "").await.refusal(), (503, "store_unavailable".into()));
    let same_path = format!("/v1/media/{}", same["id"].as_str().unwrap());
    assert_eq!(t.call("DELETE", &same_path, &key, None).await.status, 503);
    assert_eq!(t.get(&same_path, &key).await.status, 200);
    t.app.clock.advance(Duration::from_secs(31 * 86_400));
    assert!(carillon::media::sweep(&t.app).await.is_err());
    bucket.lock().broken = false;
    carillon::media::sweep(&t.app).await.unwrap();
    let left = bucket.lock().objects.len();
    assert_eq!((left, t.get(&same_path, &key).await.status), (0, 410));

    // Somebody else emptied it.
    let lost = upload(thousand()).await.json();
    bucket.lock().objects.clear();
    assert_eq!(t.get(&path(&lost), "").await.refusal(), (410, "media_gone".into()));
    assert_eq!(json!(t.get("/v1/media", &key).await.json()["data"].as_array().unwrap().len()), 1);
}

#[test]
fn a_bucket_needs_its_settings() {
    let with = |text: &str| {
        let file = Some(("t.toml".to_owned(), format!("[media]\nstore = \"s3\"\n{text}")));
        carillon::config::load(&carillon::config::Sources { file, ..Default::default() }).is_ok()
    };
    let all = "s3_endpoint = \"https://s3.example.com/\"\ns3_bucket = \"b\"\ns3_access_key_id = \"k\"\ns3_secret_access_key = \"s\"\n";
    assert!(with(all));
    for (from, to) in [
        ("https://", ""),
        ("\"b\"", "\"\""),
        ("\"b\"", "\"b c\""),
        ("\"k\"", "\"\""),
        ("\"s\"", "\"\""),
        ("https://s3.example.com/", "https://s3.example.com/x"),
    ] {
        assert!(!with(&all.replace(from, to)), "{from} {to}");
    }
    assert!(!with(&format!("{all}s3_prefix = \"a b\"\n")) && with(&format!("{all}s3_prefix = \"a/b-1/\"\n")));
    assert!(!with(&format!("{all}s3_region = \"\"\n")));
}
