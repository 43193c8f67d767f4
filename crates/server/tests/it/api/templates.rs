//! Texts that are kept, and how they read for contacts and samples.

use carillon_domain::permission::{Scope, Scopes};
use serde_json::json;

use super::contacts::made;
use crate::app::TestApp;

#[tokio::test]
async fn the_life_of_a_template() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let body = json!({"name": "Friday", "text": "Hi {{name|default(\"friend\")}}, {{dish}}!"});
    let made = t.post("/v1/templates", &key, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json()["variables"], json!(["dish", "name"]));
    assert_eq!(t.post("/v1/templates", &key, body).await.refusal(), (409, "name_taken".into()));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/templates/{id}");
    let campaign = t.post("/v1/campaigns", &key, json!({"name": "a", "template": id})).await.json();
    assert_eq!(campaign["text"], made.json()["text"]);
    let changed = t.call("PATCH", &path, &key, Some(json!({"text": "Bye"}))).await.json();
    assert_eq!(
        [&changed["name"], &changed["text"], &changed["variables"]],
        [&json!("Friday"), &json!("Bye"), &json!([])]
    );
    let campaign = t.get(&format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap()), &key).await.json();
    assert_eq!(campaign["text"], made.json()["text"], "it keeps what it was written with");
    assert_eq!(t.get("/v1/templates", &key).await.json()["data"][0]["id"], json!(id));
    let endless = "{% for x in name %}{% for y in name %}{{ x }}{% endfor %}{% endfor %}";
    for (body, pointer, code) in [
        (json!({"text": "a"}), "#/name", "missing_field"),
        (json!({"name": "a"}), "#/text", "missing_field"),
        (json!({"name": "a", "text": ""}), "#/text", "too_short"),
        (json!({"name": "a", "text": "x".repeat(10_001)}), "#/text", "too_long"),
        (json!({"name": "a", "text": endless}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{% set a = name %}"}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{{ name * 1000000000 }}"}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{% include 'b' %}"}), "#/text", "invalid_template"),
        (json!({"name": "a", "text": "{{ name.__class__ }}"}), "#/text", "invalid_template"),
    ] {
        let answer = t.post("/v1/templates", &key, body.clone()).await;
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{body}: {}", answer.text);
    }
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 404);
}

#[tokio::test]
async fn previews_for_contacts_and_samples() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let ada = made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345678", "name": "Ada"})).await;
    let nameless = made(&t, &key, "/v1/contacts", json!({"phone": "+447400123456"})).await;
    let body = json!({"text": "Hi {{name}}, {{dish|default(\"fish\")}}", "contacts": [ada, nameless],
        "samples": [{"name": "Zoë Ж"}, {"name": "x".repeat(200)}]});
    let answer = t.post("/v1/templates/preview", &key, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let preview = answer.json();
    let expected = json!([
        {"contact": ada, "text": "Hi Ada, fish", "missing": [], "encoding": "gsm7", "parts": 1, "price": "0.05", "code": null},
        {"contact": nameless, "text": null, "missing": ["name"], "encoding": null, "parts": null, "price": null, "code": "missing_variable"},
        {"contact": null, "text": "Hi Zoë Ж, fish", "missing": [], "encoding": "ucs2", "parts": 1, "price": null, "code": null},
        {"contact": null, "text": format!("Hi {}, fish", "x".repeat(200)), "missing": [], "encoding": "gsm7", "parts": 2, "price": null, "code": null},
    ]);
    assert_eq!(preview["data"], expected);
    assert_eq!(preview["variables"], json!(["dish", "name"]));
    for (body, pointer, code) in [
        (json!({"text": "a"}), "#/contacts", "invalid_value"),
        (json!({"text": "{{", "samples": [{}]}), "#/text", "invalid_template"),
        (json!({"text": "a", "samples": vec![json!({}); 21]}), "#/contacts", "invalid_value"),
        (json!({"text": "a", "samples": [{"a": "x".repeat(1_001)}]}), "#/samples/0", "too_long"),
        (json!({"text": "a", "contacts": ["ctc_01h455vb4pex5vsknk084sn02q"]}), "#/contacts/0", "not_found"),
        (json!({"text": "a", "from": "TwelveLetter", "samples": [{}]}), "#/from", "sender_too_long"),
    ] {
        let answer = t.post("/v1/templates/preview", &key, body.clone()).await;
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{body}: {}", answer.text);
    }
    let (_, reader) = t.account_with("b", Scopes::NONE.with(Scope::CampaignsRead)).await;
    let body = json!({"text": "a", "contacts": [ada]});
    assert_eq!(t.post("/v1/templates/preview", &reader, body).await.refusal(), (403, "forbidden".into()));
}
