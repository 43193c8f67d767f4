//! Senders: asked for, decided on, chosen; and what messages go out as where approval counts.

use serde_json::{Value, json};

use crate::app::TestApp;

const DE: &str = "+4915112345678";
const GB: &str = "+447400123456";
const SG: &str = "+6581234567";
const US: &str = "+12025550123";
const AR: &str = "+5491123456789";

async fn strict() -> TestApp {
    TestApp::with(|config| config.senders.required = true).await
}

async fn ask(t: &TestApp, key: &str, sender: &str, countries: &[&str]) -> String {
    let body = json!({"sender": sender, "countries": countries, "use_case": "Orders"});
    let made = t.post("/v1/senders", key, body).await;
    assert_eq!((made.status, &made.json()["status"]), (201, &json!("pending")), "{}", made.text);
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn approved(t: &TestApp, key: &str, operator: &str, sender: &str, countries: &[&str]) -> String {
    let id = ask(t, key, sender, countries).await;
    let done = t.post(&format!("/v1/admin/senders/{id}/approve"), operator, json!({})).await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("approved")), "{}", done.text);
    id
}

/// What a message goes out as, or the code it is refused with.
async fn sent_as(t: &TestApp, key: &str, from: Option<&str>, to: &str) -> String {
    let answer = t.post("/v1/messages", key, json!({"to": to, "from": from, "text": "hi"})).await;
    let body = answer.json();
    if answer.status == 202 {
        return body["from"].as_str().unwrap_or("nothing").to_owned();
    }
    assert_eq!((answer.status, &body["errors"][0]["pointer"]), (400, &json!("#/from")), "{}", answer.text);
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn from_the_request_to_the_first_message() {
    let t = strict().await;
    let ((_, key), (_, operator)) = (t.account("a").await, t.operator().await);
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, "sender_not_approved");
    let id = ask(&t, &key, "Shop", &[]).await;
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, "sender_not_approved", "asking is not enough");
    let waiting = t.get("/v1/admin/senders?status=pending", &operator).await.json();
    assert_eq!((&waiting["data"][0]["id"], &waiting["data"][0]["account"]), (&json!(id), &json!("a")));

    let rejected = t.post(&format!("/v1/admin/senders/{id}/reject"), &operator, json!({"reason": "Whose?"})).await;
    assert_eq!((rejected.status, &rejected.json()["reason"]), (200, &json!("Whose?")));
    assert_eq!(t.get(&format!("/v1/senders/{id}"), &key).await.json()["status"], "rejected");
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, "sender_not_approved");
    assert_eq!(
        t.call("PATCH", &format!("/v1/senders/{id}"), &key, Some(json!({"default": true}))).await.refusal(),
        (409, "sender_not_default".into())
    );

    t.post(&format!("/v1/admin/senders/{id}/approve"), &operator, json!({})).await;
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, "Shop");
    assert_eq!(sent_as(&t, &key, None, DE).await, "nothing", "the connection's own");
    assert_eq!(t.get("/v1/admin/senders?status=pending", &operator).await.json()["data"], json!([]));

    assert_eq!(t.call("DELETE", &format!("/v1/senders/{id}"), &key, None).await.status, 204);
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, "sender_not_approved");
    assert_eq!(t.call("DELETE", &format!("/v1/senders/{id}"), &key, None).await.status, 404);
}

#[tokio::test]
async fn countries_have_rules_and_defaults() {
    let t = strict().await;
    let ((_, key), (_, operator)) = (t.account("a").await, t.operator().await);
    let shop = approved(&t, &key, &operator, "Shop", &[]).await;
    let laden = approved(&t, &key, &operator, "Laden", &["DE", "SG"]).await;
    let number = approved(&t, &key, &operator, US, &["US"]).await;
    for id in [&shop, &laden, &number] {
        let chosen = t.call("PATCH", &format!("/v1/senders/{id}"), &key, Some(json!({"default": true}))).await;
        assert_eq!((chosen.status, &chosen.json()["default"]), (200, &json!(true)), "{}", chosen.text);
    }
    let no = "sender_not_allowed_in_country";
    for (from, to, expected) in [
        (Some("Shop"), GB, "Shop"),
        (Some("Shop"), SG, no),
        (Some("Laden"), SG, "Laden"),
        (Some("Laden"), GB, no),
        (Some("Shop"), US, no),
        (Some(US), US, US),
        (Some("Shop"), AR, no),
        (None, DE, "Laden"),
        (None, GB, "Shop"),
        (None, US, US),
    ] {
        assert_eq!(sent_as(&t, &key, from, to).await, expected, "{from:?} to {to}");
    }
    let rule = json!({"names": "refused", "numbers": "free", "replacement": "12345", "note": "by hand"});
    let set = t.call("PUT", "/v1/admin/sender-rules/ar", &operator, Some(rule)).await;
    assert_eq!((set.status, &set.json()["country"]), (200, &json!("AR")), "{}", set.text);
    assert_eq!(sent_as(&t, &key, Some("Shop"), AR).await, "12345");
    assert_eq!(t.call("DELETE", "/v1/admin/sender-rules/AR", &operator, None).await.status, 204);
    assert_eq!(sent_as(&t, &key, Some("Shop"), AR).await, "Shop");
    assert_eq!(t.call("DELETE", "/v1/admin/sender-rules/AR", &operator, None).await.status, 404);
    let rules = t.get("/v1/admin/sender-rules", &operator).await.json();
    assert!(rules["data"].as_array().unwrap().iter().all(|r| r["note"].as_str().is_some_and(|n| !n.is_empty())));

    // One batch to many countries: each its own, refused by place.
    let body = json!({"to": [DE, GB, US, AR], "text": "hi"});
    let batch = t.post("/v1/batches", &key, body).await.json();
    let sent = t.get(&format!("/v1/batches/{}/messages", batch["id"].as_str().unwrap()), &key).await.json();
    let from: Vec<_> =
        sent["data"].as_array().unwrap().iter().map(|m| m["from"].as_str().unwrap().to_owned()).collect();
    assert_eq!(from, ["Laden", "Shop", US, "Shop"]);
    let refused = t.post("/v1/batches", &key, json!({"to": [DE, US], "from": "Shop", "text": "hi"})).await.json();
    assert_eq!(refused["errors"], json!([{"pointer": "#/to/1", "code": no, "detail": refused["detail"]}]));
    let part = json!({"to": [DE, US], "from": "Shop", "text": "hi", "partial": true});
    assert_eq!(t.post("/v1/batches", &key, part).await.json()["refusals"], json!([{"index": 1, "code": no}]));

    // The newer choice takes the place of the older.
    let other = approved(&t, &key, &operator, "Kiosk", &["DE"]).await;
    t.call("PATCH", &format!("/v1/senders/{other}"), &key, Some(json!({"default": true}))).await;
    assert_eq!(sent_as(&t, &key, None, DE).await, "Kiosk");
    assert_eq!(t.get(&format!("/v1/senders/{laden}"), &key).await.json()["default"], false);
    // Approved for other countries than asked for.
    let narrow = t.post(&format!("/v1/admin/senders/{shop}/approve"), &operator, json!({"countries": ["gb"]})).await;
    assert_eq!(narrow.json()["countries"], json!(["GB"]));
    assert_eq!(sent_as(&t, &key, Some("Shop"), DE).await, no);
}

/// A number that phones write to is its account's to send as, at once and everywhere, and no longer once it is taken away.
#[tokio::test]
async fn own_numbers_need_no_approval() {
    let t = strict().await;
    let ((a, key), (_, stranger), (_, operator)) = (t.account("a").await, t.account("b").await, t.operator().await);
    let (long, short) = ("+4915735983801", "22333");
    let give = async |number: &str| {
        let body = json!({"number": number, "account": a.id});
        let made = t.post("/v1/admin/inbound-numbers", &operator, body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        format!("/v1/admin/inbound-numbers/{}", made.json()["id"].as_str().unwrap())
    };
    let (no, elsewhere) = ("sender_not_approved", "sender_not_allowed_in_country");
    assert_eq!(sent_as(&t, &key, Some(long), DE).await, no);
    let (of_long, of_short) = (give(long).await, give(short).await);
    for (key, from, to, expected) in [
        (&key, Some(long), DE, long),
        // The United States want numbers registered: one that is owned is.
        (&key, Some(long), US, long),
        (&key, Some(short), US, short),
        (&key, None, DE, "nothing"),
        (&stranger, Some(long), DE, no),
        (&stranger, Some(short), DE, no),
    ] {
        assert_eq!(sent_as(&t, key, from, to).await, expected, "{from:?} to {to}");
    }
    // Approved for one country besides: owned, it passes everywhere.
    approved(&t, &key, &operator, long, &["DE"]).await;
    assert_eq!(sent_as(&t, &key, Some(long), GB).await, long);
    for path in [of_long, of_short] {
        assert_eq!(t.call("DELETE", &path, &operator, None).await.status, 204);
        assert_eq!(t.call("DELETE", &path, &operator, None).await.status, 404);
    }
    for (from, to, expected) in [(long, DE, long), (long, GB, elsewhere), (short, DE, no)] {
        assert_eq!(sent_as(&t, &key, Some(from), to).await, expected, "{from} to {to}");
    }
}

#[tokio::test]
async fn where_from_is_free() {
    let t = TestApp::start().await;
    let ((_, key), (_, operator)) = (t.account("a").await, t.operator().await);
    assert_eq!(sent_as(&t, &key, Some("Anybody"), US).await, "Anybody");
    let id = approved(&t, &key, &operator, "Shop", &["DE"]).await;
    t.call("PATCH", &format!("/v1/senders/{id}"), &key, Some(json!({"default": true}))).await;
    t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"default_sender": "Any"}}))).await;
    assert_eq!((sent_as(&t, &key, None, DE).await, sent_as(&t, &key, None, GB).await), ("Shop".into(), "Any".into()));
}

#[tokio::test]
async fn requests_that_are_refused() {
    let t = strict().await;
    let ((_, key), (_, operator)) = (t.account("a").await, t.operator().await);
    let id = ask(&t, &key, "Shop", &[]).await;
    let good = json!({"sender": "Other", "use_case": "x"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let (asking, reject) = ("/v1/senders".to_owned(), format!("/v1/admin/senders/{id}/reject"));
    let rule = |names: &str| json!({"names": names, "numbers": "free", "note": "x"});
    let rows = [
        ("POST", &asking, with("sender", json!("TwelveLetter")), 400, "#/sender", "sender_too_long"),
        ("POST", &asking, with("sender", json!("12")), 400, "#/sender", "sender_short_code_length"),
        ("POST", &asking, with("countries", json!(["DE", "Germany"])), 400, "#/countries/1", "invalid_value"),
        ("POST", &asking, with("use_case", json!(" ")), 400, "#/use_case", "too_short"),
        ("POST", &asking, with("use_case", json!("x".repeat(501))), 400, "#/use_case", "too_long"),
        ("POST", &asking, with("use_case", json!("a\u{7}")), 400, "#/use_case", "invalid_value"),
        ("POST", &asking, with("default", json!(true)), 400, "#/default", "unknown_field"),
        ("POST", &asking, with("sender", json!("Shop")), 409, "", "sender_exists"),
        ("POST", &reject, json!({}), 400, "#/reason", "missing_field"),
        ("POST", &reject, json!({"reason": ""}), 400, "#/reason", "too_short"),
        ("PUT", &"/v1/admin/sender-rules/DE".to_owned(), rule("maybe"), 400, "#/names", "invalid_value"),
        ("PUT", &"/v1/admin/sender-rules/DEU".to_owned(), rule("free"), 400, "", "invalid_id"),
    ];
    for (method, path, body, status, pointer, code) in rows {
        let who = if path.contains("admin") { &operator } else { &key };
        let answer = t.call(method, path, who, Some(body.clone())).await;
        let json = answer.json();
        let first = &json["errors"][0];
        let got =
            (first["pointer"].as_str().unwrap_or(""), first["code"].as_str().unwrap_or(&answer.code()).to_owned());
        assert_eq!(
            (answer.status, got),
            (status, (pointer, code.to_owned())),
            "{method} {path} {body}: {}",
            answer.text
        );
    }
    assert_eq!(t.get("/v1/admin/senders?status=new", &operator).await.refusal(), (400, "invalid_query".into()));
    let (_, stranger) = t.account("b").await;
    assert_eq!(t.get(&format!("/v1/senders/{id}"), &stranger).await.status, 404);
    assert_eq!(ask(&t, &stranger, "Shop", &[]).await.get(..4), Some("snd_"), "each account may ask for the same");
}
