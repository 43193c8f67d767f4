//! The page where people choose for themselves: opened by its address alone, changed by its form alone.

use carillon::consents::page_token;
use carillon_domain::id::AccountNo;
use carillon_domain::phone::Phone;
use serde_json::json;

use super::contacts::made;
use crate::app::{Answer, TestApp};

const TO: &str = "+4915112345678";

async fn choose(t: &TestApp, path: &str, form: &'static str) -> Answer {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(format!("{}{path}", t.url)).header("content-type", "application/x-www-form-urlencoded");
    t.send(request.header("user-agent", "Phone/1").body(form)).await
}

#[tokio::test]
async fn a_person_chooses() {
    let t = TestApp::with(|config| config.server.public_url = "https://sms.test".into()).await;
    let (account, key) = t.account("Lotte & Sohn <GmbH>").await;
    let contact = made(&t, &key, "/v1/contacts", json!({ "phone": TO })).await;
    let shown = async || t.get(&format!("/v1/contacts/{contact}"), &key).await.json();
    let url = shown().await["preferences_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("https://sms.test").unwrap().to_owned();
    let page = t.get(&path, "").await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("Lotte &amp; Sohn &lt;GmbH&gt;") && !page.text.contains("<GmbH>"), "{}", page.text);
    assert!(page.text.contains("ending in 678") && !page.text.contains("15112345"), "the number itself is not shown");
    assert!(!page.text.contains(" checked"), "nothing is chosen for who has not chosen");
    assert_eq!(
        (page.headers["referrer-policy"].as_str(), page.headers["cache-control"].as_str()),
        ("no-referrer", "no-store")
    );
    assert!(page.headers["content-security-policy"].contains("form-action 'self'"));
    assert_eq!(t.get("/v1/consents", &key).await.json()["data"], json!([]), "opening it does nothing");

    let saved = choose(&t, &path, "promotional=in&transactional=out").await;
    assert_eq!((saved.status, saved.headers["location"].as_str()), (303, "?saved"), "{}", saved.text);
    assert_eq!(shown().await["consent"], json!({"promotional": "opted_in", "transactional": "opted_out"}));
    assert!(t.get(&format!("{path}?saved"), "").await.text.contains("role=\"status\">Saved"));
    let send = async |category: &str| {
        t.post("/v1/messages", &key, json!({"to": TO, "text": "x", "category": category})).await.status
    };
    assert_eq!((send("promotional").await, send("transactional").await), (202, 403));
    let records = t.get("/v1/consents", &key).await.json()["data"].clone();
    assert_eq!(
        (&records[0]["source"], &records[0]["ip"], &records[0]["user_agent"]),
        (&json!("preference_page"), &json!("127.0.0.1"), &json!("Phone/1"))
    );
    choose(&t, &path, "promotional=in&transactional=out").await;
    assert_eq!(t.get("/v1/consents", &key).await.json()["data"].as_array().unwrap().len(), 2, "no news, no record");

    assert_eq!(choose(&t, &path, "none=1&promotional=in").await.status, 303);
    assert_eq!((send("promotional").await, send("transactional").await), (403, 403));
    let body = json!({"phone": TO, "status": "opted_in"});
    assert_eq!(t.post("/v1/consents", &key, body).await.status, 201);
    assert_eq!(send("promotional").await, 403, "nobody else lifts it");
    assert_eq!(choose(&t, &path, "promotional=out&transactional=in").await.status, 303);
    assert_eq!((send("promotional").await, send("transactional").await), (403, 202));

    // A STOP holds everything back; who chooses anew here is heard.
    let stop = carillon_store::suppression::NewSuppression {
        id: carillon_domain::id::SuppressionId::new(t.app.clock.now_ms(), 1, account.no),
        phone: 4_915_112_345_678,
        phone_tag: Phone::from_digits(4_915_112_345_678).unwrap().tag(&t.app.secrets.phone_key),
        reason: carillon_domain::suppression::Reason::OptOut,
        scope: carillon_domain::suppression::Scope::default(),
        source: carillon_domain::suppression::Source::Keyword,
        text: None,
        origin: None,
    };
    t.app.pipeline.suppressed().open(&t.app.db, account.no, &[stop], t.app.clock.now_ms(), None).await.unwrap();
    let page = t.get(&path, "").await.text;
    assert_eq!(page.matches("value=\"out\" checked").count(), 2, "{page}");
    choose(&t, &path, "promotional=out&transactional=in").await;
    assert_eq!((send("promotional").await, send("transactional").await), (403, 202));
}

#[tokio::test]
async fn addresses_and_forms_that_are_refused() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    let phone = Phone::from_digits(4_915_112_345_678).unwrap();
    let good = page_token(&t.app.secrets.preference_key, account.no, phone);
    let foreign = page_token(&[0; 32], account.no, phone);
    let nobody = page_token(&t.app.secrets.preference_key, AccountNo(999), phone);
    for token in ["x", &foreign, &nobody, &good[..31], &"A".repeat(32), "%00", "a%2Fb"] {
        let path = format!("/p/{token}");
        assert_eq!(t.get(&path, "").await.refusal(), (404, "not_found".into()), "{token}");
        assert_eq!(choose(&t, &path, "none=1").await.refusal(), (404, "not_found".into()), "{token}");
    }
    let path = format!("/p/{good}");
    for form in ["promotional=maybe", "otp=in", "phone=1", "promotional=in&promotional=out", "x"] {
        assert_eq!(choose(&t, &path, form).await.refusal(), (400, "invalid_request".into()), "{form}");
    }
    assert_eq!(
        t.post(&path, "", json!({"promotional": "out"})).await.refusal(),
        (415, "unsupported_media_type".into())
    );
    let long: &'static str = Box::leak("a=b&".repeat(300).into_boxed_str());
    assert_eq!(choose(&t, &path, long).await.refusal(), (413, "payload_too_large".into()));
    assert_eq!(choose(&t, &path, "").await.status, 303, "nothing chosen, nothing done");
    assert_eq!(t.get("/v1/consents", &key).await.json()["data"], json!([]));
}
