//! Walks every route of the OpenAPI document with another account's key: what belongs to one account is not there for another.

use carillon_domain::id::TypeId;
use carillon_domain::permission::{Scope, Scopes};
use serde_json::json;

use crate::app::TestApp;

/// Routes that anybody may call, or that need no id and speak of the caller alone.
const OF_NOBODY: &[&str] = &[
    "/health",
    "/ready",
    "/v1/auth/register",
    "/v1/auth/login",
    "/v1/auth/refresh",
    "/v1/auth/verify-email",
    "/v1/auth/forgot-password",
    "/v1/auth/resend-verification",
    "/v1/auth/reset-password",
];

fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(carillon::api::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &serde_json::Value)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// No credential, no route.
#[tokio::test]
async fn every_route_wants_a_credential() {
    let t = TestApp::start().await;
    let mut walked = 0;
    for (method, path) in routes() {
        if OF_NOBODY.contains(&path.as_str()) {
            continue;
        }
        let path = path.replace("{id}", "acc_01h455vb4pex5vsknk084sn02q");
        let answer = t.call(&method, &path, "", None).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated".into()), "{method} {path}");
        walked += 1;
    }
    assert!(walked > 10, "the document lists the routes");
}

/// With an id of another account in its path, every route answers 404 or 403, whatever the caller may do at home.
#[tokio::test]
async fn ids_of_another_account_are_not_there() {
    let t = TestApp::start().await;
    let (victim, victims_key) = t.account("victim").await;
    let (_, thief) = t.account("thief").await;
    let made = t.post("/v1/api-keys", &victims_key, json!({ "name": "target" })).await.json();
    let key_id = made["id"].as_str().unwrap();
    let smpp = t.post("/v1/smpp-credentials", &victims_key, json!({ "name": "target" })).await.json();
    let foreign = |prefix: &str| {
        let id = carillon_domain::id::compose(t.app.clock.now_ms(), 7, victim.no);
        let wrapped = carillon_domain::id::MessageId::from_uuid(id).to_string();
        wrapped.replace("msg_", prefix)
    };
    let mut walked = 0;
    for (method, path) in routes().into_iter().filter(|(_, path)| path.contains("{id}")) {
        let id = match path.split('/').nth(2) {
            Some("api-keys") => key_id.to_owned(),
            Some("smpp-credentials") => smpp["id"].as_str().unwrap().to_owned(),
            Some("sessions") => foreign("ses_"),
            Some("messages") => foreign("msg_"),
            Some("batches") => foreign("bat_"),
            Some("senders") => foreign("snd_"),
            Some("connections" | "carrier-rates") => foreign("con_"),
            Some("routes") => foreign("rte_"),
            Some("verifications") => foreign("vrf_"),
            Some("webhook-endpoints") => foreign("whe_"),
            Some("callback-deliveries") => foreign("evt_"),
            Some("media") => foreign("med_"),
            Some("links") => foreign("lnk_"),
            Some("inbound-messages") => foreign("inb_"),
            Some("conversations") => foreign("cnv_"),
            Some("keyword-rules") => foreign("kwr_"),
            Some("suppressions") => foreign("sup_"),
            Some("contacts") => foreign("ctc_"),
            Some("contact-imports") => foreign("imp_"),
            Some("reports") => foreign("rpt_"),
            Some("groups") => foreign("grp_"),
            Some("segments") => foreign("seg_"),
            Some("sources") => foreign("src_"),
            Some("campaigns") => foreign("cmp_"),
            Some("drips") => foreign("drp_"),
            Some("audience-files") => foreign("aud_"),
            Some("templates") => foreign("tpl_"),
            Some("admin") => victim.id.to_string(),
            _ => panic!("{path}: say here which id of the victim to try"),
        };
        let path = path.replace("{id}", &id).replace("{event}", &foreign("evt_"));
        let body = match path.rsplit('/').next() {
            Some("check") => json!({ "code": "1234" }),
            Some("enrollments" | "goals") => json!({ "people": [{ "phone": "+4915112345678" }] }),
            Some("winner") => json!({ "variant": "A" }),
            Some("schedule") => json!({ "at": "2026-12-04T11:00:00Z" }),
            Some("test") if path.contains("/campaigns/") => json!({ "to": ["+4915112345678"] }),
            _ => json!({}),
        };
        let answer = t.call(&method, &path, &thief, Some(body)).await;
        assert!(matches!(answer.status, 403 | 404), "{method} {path}: {} {}", answer.status, answer.text);
        walked += 1;
    }
    assert!(walked >= 5);
    let target = t.get(&format!("/v1/api-keys/{key_id}"), &victims_key).await.json();
    assert_eq!(target["revoked_at"], json!(null), "and nothing was done");
}

/// A key without any scope can only ask who it is.
#[tokio::test]
async fn a_key_without_scopes_reaches_nothing() {
    let t = TestApp::start().await;
    let (_, powerless) = t.account_with("a", Scopes::NONE).await;
    for (method, path) in routes() {
        if OF_NOBODY.contains(&path.as_str()) || path == "/v1/me" {
            continue;
        }
        let path = path.replace("{id}", "acc_01h455vb4pex5vsknk084sn02q");
        let answer = t.call(&method, &path, &powerless, None).await;
        assert_eq!(answer.refusal(), (403, "forbidden".into()), "{method} {path}");
    }
}

/// All scopes of an account are not the operator's.
#[tokio::test]
async fn only_operators_operate() {
    let t = TestApp::start().await;
    let (_, owner) = t.account("a").await;
    for (method, path) in routes().into_iter().filter(|(_, path)| path.starts_with("/v1/admin")) {
        let path = path.replace("{id}", "acc_01h455vb4pex5vsknk084sn02q");
        assert_eq!(
            t.call(&method, &path, &owner, Some(json!({}))).await.refusal(),
            (403, "forbidden".into()),
            "{method} {path}"
        );
    }
    assert!(!Scopes::account_all().allows(Scope::Operate));
}
