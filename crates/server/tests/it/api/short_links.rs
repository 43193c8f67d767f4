//! Short links: made for each recipient, opened by people, programs and previews, and never anything else than what they were made for.

use std::time::Duration;

use serde_json::{Value, json};

use super::messages::finished;
use crate::app::{Answer, TestApp};

const TO: &str = "+4915112345678";
const TARGET: &str = "https://shop.example/sale?utm=sms&x=1#top";
pub const PHONE: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
const MESSAGES: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0";

pub async fn server(url: &str) -> TestApp {
    TestApp::with(|config| {
        config.database.url = url.into();
        config.server.public_url = "https://carillon.test".into();
        config.sandbox.accept_delay_ms = 0;
        config.sandbox.receipt_delay_ms = 1;
    })
    .await
}

async fn on_both() -> [TestApp; 2] {
    let postgres = carillon_store::testing::TestPostgres::start().fresh_database().await;
    [server("").await, server(&postgres).await]
}

/// Opens an address as if its host led here.
pub async fn opened(t: &TestApp, method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
    let (host, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = client.request(method.parse().unwrap(), format!("{}/{path}", t.url)).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    t.send(request).await
}

/// Sends a text and gives back the address in it.
async fn sent(t: &TestApp, key: &str, text: &str) -> (Value, String) {
    let body = json!({"to": TO, "text": text, "shorten_links": true});
    let answer = t.post("/v1/messages", key, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let accepted = answer.json();
    let shown = finished(t, key, accepted["id"].as_str().unwrap()).await;
    let text = shown["text"].as_str().unwrap().to_owned();
    let at = carillon_domain::short_link::addresses(&text)[0].clone();
    (accepted, text[at].to_owned())
}

#[tokio::test]
async fn a_link_from_its_message_to_its_clicks() {
    for t in on_both().await {
        let (_, key) = t.account("a").await;
        let (accepted, url) = sent(&t, &key, &format!("Sale! {TARGET}.")).await;
        let code = url.strip_prefix("https://carillon.test/l/").unwrap();
        assert_eq!(code.len(), 9, "{url}");
        let read = async || t.get(&format!("/v1/links/{}", accepted["links"][0].as_str().unwrap()), &key).await.json();
        let link = read().await;
        assert_eq!((&link["url"], &link["target"], &link["message"]), (&json!(url), &json!(TARGET), &accepted["id"]));
        assert_eq!(link["clicks"], json!({"human": 0, "bot": 0, "preview": 0}));
        let rows: [(&str, &[(&str, &str)], Value); 6] = [
            ("GET", &[("user-agent", PHONE)], json!({"human": 1, "bot": 0, "preview": 0})),
            ("HEAD", &[("user-agent", PHONE)], json!({"human": 1, "bot": 0, "preview": 0})),
            ("GET", &[("user-agent", MESSAGES)], json!({"human": 1, "bot": 0, "preview": 1})),
            ("GET", &[("user-agent", PHONE), ("sec-purpose", "prefetch")], json!({"human": 1, "bot": 0, "preview": 2})),
            ("GET", &[("user-agent", "curl/8.5.0")], json!({"human": 1, "bot": 1, "preview": 2})),
            ("GET", &[("user-agent", PHONE)], json!({"human": 2, "bot": 1, "preview": 2})),
        ];
        for (method, headers, counts) in rows {
            let answer = opened(&t, method, &url, headers).await;
            assert_eq!((answer.status, answer.headers["location"].as_str()), (302, TARGET));
            assert_eq!(answer.headers["cache-control"], "no-store");
            assert_eq!(answer.headers["referrer-policy"], "no-referrer");
            assert_eq!(read().await["clicks"], counts, "{method} {headers:?}");
        }
        assert_eq!(read().await["first_clicked_at"], "2026-11-21T12:00:00.000Z");
        let path = format!("/v1/links/{}/clicks", accepted["links"][0].as_str().unwrap());
        let clicks = t.get(&path, &key).await.json()["data"].clone();
        let told = |c: &Value| format!("{} {}", c["visitor"].as_str().unwrap(), c["device"].as_str().unwrap());
        let told: Vec<String> = clicks.as_array().unwrap().iter().map(told).collect();
        assert_eq!(told, ["human android", "bot other", "preview android", "preview desktop", "human android"]);
        // Another account sees nothing of it.
        let (_, other) = t.account("b").await;
        assert_eq!(t.get(&path, &other).await.refusal(), (404, "not_found".into()));
        assert_eq!(t.get("/v1/links", &other).await.json()["data"], json!([]));
        assert_eq!(t.get("/v1/links", &key).await.json()["data"][0]["id"], accepted["links"][0]);
        // Half a year after, it leads nowhere.
        t.app.clock.advance(Duration::from_secs(180 * 86_400));
        let gone = opened(&t, "GET", &url, &[("user-agent", PHONE)]).await;
        assert_eq!((gone.status, gone.headers.get("location")), (410, None));
    }
}

/// Nothing that whoever opens a link can write changes where it leads.
#[tokio::test]
async fn an_open_redirect_is_refused() {
    let t = server("").await;
    let (_, key) = t.account("a").await;
    let (_, url) = sent(&t, &key, TARGET).await;
    for tail in [
        "?url=https://evil.example",
        "?target=//evil.example",
        "?next=https://evil.example&to=x",
        "#https://evil.example",
    ] {
        let answer = opened(&t, "GET", &format!("{url}{tail}"), &[("x-forwarded-host", "evil.example")]).await;
        assert_eq!((answer.status, answer.headers["location"].as_str()), (302, TARGET), "{tail}");
    }
    let unknown = ["000000000", "https:%2F%2Fevil.example", "%2F%2Fevil.example", "..%2F..%2Fetc", "x", "evil.example"];
    for code in unknown {
        for prefix in ["https://carillon.test/l/", "https://carillon.test/"] {
            let answer = opened(&t, "GET", &format!("{prefix}{code}"), &[]).await;
            assert_eq!((answer.status, answer.headers.get("location")), (404, None), "{prefix}{code}");
        }
    }
    let answer = opened(&t, "POST", &url, &[]).await;
    assert_eq!((answer.status, answer.headers.get("location")), (405, None));
    // What would not be a web address does not become a link.
    for (text, code) in [
        ("https://user:secret@shop.example/", "invalid_link"),
        ("https://shop.example:99999/", "invalid_link"),
        (&format!("https://shop.example/{}", "x".repeat(2_100)), "invalid_link"),
        (&"https://a.example ".repeat(11), "invalid_link"),
    ] {
        let answer = t.post("/v1/messages", &key, json!({"to": TO, "text": text, "shorten_links": true})).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["code"]), (400, &json!(code)), "{text}");
    }
    let plain = "javascript:alert(1) data:text/html,x ftp://a.example www.a.example";
    let body = json!({"to": TO, "text": plain, "shorten_links": true});
    let answer = t.post("/v1/messages", &key, body).await.json();
    assert_eq!(answer["links"], Value::Null);
    assert_eq!(finished(&t, &key, answer["id"].as_str().unwrap()).await["text"], plain);
}

/// Under an account's own domain stand its own links and nobody else's.
#[tokio::test]
async fn own_domains_lead_to_own_links() {
    let t = server("").await;
    let (_, key) = t.account("a").await;
    let (_, other) = t.account("b").await;
    let domain = async |key: &str, domain: Value| {
        t.call("PATCH", "/v1/account", key, Some(json!({"settings": {"link_domain": domain}}))).await.status
    };
    for wrong in [
        "",
        "shop",
        "https://go.example",
        "go.example/x",
        "GO.example",
        "go..example",
        "-go.example",
        "1.2.3.4",
        "gö.example",
        "go.example:80",
    ] {
        assert_eq!(domain(&key, json!(wrong)).await, 400, "{wrong}");
    }
    assert_eq!(domain(&key, json!("go.a.example")).await, 200);
    assert_eq!(domain(&other, json!("go.b.example")).await, 200);
    let (_, url) = sent(&t, &key, TARGET).await;
    let code = url.strip_prefix("https://go.a.example/").unwrap().to_owned();
    for (address, status) in [
        (url.clone(), 302),
        (format!("https://GO.A.EXAMPLE/{code}"), 302),
        (format!("https://go.a.example:8443/{code}"), 302),
        (format!("https://go.a.example/l/{code}"), 302),
        (format!("https://carillon.test/l/{code}"), 302),
        (format!("https://go.b.example/{code}"), 404),
        (format!("https://go.b.example/l/{code}"), 404),
        (format!("https://carillon.test/{code}"), 404),
        (format!("https://elsewhere.example/{code}"), 404),
    ] {
        assert_eq!(opened(&t, "GET", &address, &[]).await.status, status, "{address}");
    }
    assert_eq!(domain(&key, Value::Null).await, 200);
    assert!(sent(&t, &key, TARGET).await.1.starts_with("https://carillon.test/l/"));
}

/// Each recipient of a batch has links of its own, also where the address is its own; parts and price are those of the text with them.
#[tokio::test]
async fn a_batch_of_links() {
    for t in on_both().await {
        let (_, key) = t.account("a").await;
        let long = format!("https://shop.example/{}", "x".repeat(300));
        let body = json!({"to": [TO, "+447400123456"], "text": format!("Hello, look: {long}"), "shorten_links": true});
        assert_eq!(t.post("/v1/estimates", &key, body.clone()).await.json()["total_parts"], 2, "one part each");
        let batch = t.post("/v1/batches", &key, body).await.json();
        let id = batch["id"].as_str().unwrap().to_owned();
        assert_eq!((&batch["parts"], &batch["text"]), (&json!(2), &json!(format!("Hello, look: {long}"))));
        let links = t.get(&format!("/v1/links?batch={id}"), &key).await.json()["data"].clone();
        assert_eq!(links.as_array().unwrap().len(), 2);
        assert_ne!(links[0]["url"], links[1]["url"]);
        assert!(links.as_array().unwrap().iter().all(|l| l["target"] == long && l["batch"] == id));
        let shown = async || t.get(&format!("/v1/batches/{id}"), &key).await.json()["links"].clone();
        assert_eq!(shown().await, json!({"links": 2, "clicked": 0, "clicks": 0}));
        for _ in 0..3 {
            opened(&t, "GET", links[0]["url"].as_str().unwrap(), &[("user-agent", PHONE)]).await;
        }
        opened(&t, "GET", links[1]["url"].as_str().unwrap(), &[("user-agent", MESSAGES)]).await;
        assert_eq!(shown().await, json!({"links": 2, "clicked": 1, "clicks": 3}));
        // Addresses made of recipients' own words.
        let to = json!([{"phone": TO, "variables": {"id": "7"}}, {"phone": "+447400123456", "variables": {"id": "8"}}]);
        let own = json!({"to": to, "text": "Yours: https://shop.example/{{id}}!", "shorten_links": true});
        let own = t.post("/v1/batches", &key, own).await.json()["id"].as_str().unwrap().to_owned();
        let links = t.get(&format!("/v1/links?batch={own}"), &key).await.json()["data"].clone();
        let mut targets: Vec<&str> = links.as_array().unwrap().iter().map(|l| l["target"].as_str().unwrap()).collect();
        targets.sort_unstable();
        assert_eq!(targets, ["https://shop.example/7", "https://shop.example/8"]);
        let wrong = json!({"to": [{"phone": TO, "variables": {"id": "u:p@x"}}], "text": "https://{{id}}", "shorten_links": true});
        let answer = t.post("/v1/batches", &key, wrong).await;
        assert_eq!(answer.json()["errors"][0]["code"], "invalid_link", "{}", answer.text);
        // A batch that takes many commits.
        let numbers: Vec<String> = (0..2_100).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
        t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"validity_s": 600}}))).await;
        let many = json!({"to": numbers, "text": TARGET, "shorten_links": true, "partial": true, "scheduled_at": "2026-11-22T12:00:00Z"});
        let many = t.post("/v1/batches", &key, many).await.json();
        let path = format!("/v1/batches/{}", many["id"].as_str().unwrap());
        assert_eq!(t.get(&path, &key).await.json()["links"]["links"], many["total"]);
    }
}
