//! The API of SMPP credentials.

use carillon_smpp::{BindKind, CommandStatus, Event};
use serde_json::json;

use super::Smpp;

#[tokio::test]
async fn made_read_changed_and_ended() {
    let s = Smpp::start().await;
    let body = json!({"name": "shop", "allowed_addresses": ["127.0.0.0/8"], "window": 7, "default_sender": "Shop"});
    let made = s.t.post("/v1/smpp-credentials", &s.key, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    let (id, password) = (made["id"].as_str().unwrap(), made["password"].as_str().unwrap());
    assert_eq!((password.len(), made["system_id"].as_str().unwrap().len()), (8, 12));
    assert_eq!(
        (&made["window"], &made["max_binds"], &made["rate"], &made["alphabet"], &made["inbound"], &made["warnings"]),
        (&json!(7), &json!(4), &json!(100), &json!("gsm7"), &json!("udh"), &json!([]))
    );
    let read = s.t.get(&format!("/v1/smpp-credentials/{id}"), &s.key).await;
    assert!(!read.text.contains(password) && !read.text.contains("argon2"), "{}", read.text);
    assert_eq!(read.json()["default_sender"], "Shop");
    let open = s.t.post("/v1/smpp-credentials", &s.key, json!({"name": "open"})).await.json();
    assert!(open["warnings"][0].as_str().unwrap().contains("allowed_addresses"), "{open}");
    let listed = s.t.get("/v1/smpp-credentials", &s.key).await.json();
    let names: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["open", "shop"]);

    let path = format!("/v1/smpp-credentials/{id}");
    let change = json!({"allowed_addresses": [], "inbound": "none", "default_sender": "", "name": "renamed"});
    let changed = s.t.call("PATCH", &path, &s.key, Some(change)).await.json();
    assert_eq!(
        (&changed["name"], &changed["inbound"], &changed["default_sender"], &changed["window"]),
        (&json!("renamed"), &json!("none"), &json!(null), &json!(7))
    );
    assert_eq!(s.t.call("DELETE", &path, &s.key, None).await.status, 204);
    assert_eq!(s.t.get(&path, &s.key).await.refusal(), (404, "not_found".into()));
    assert_eq!(s.t.call("DELETE", &path, &s.key, None).await.refusal(), (404, "not_found".into()));
}

#[tokio::test]
async fn what_cannot_be() {
    let s = Smpp::with(|c| c.smpp_server.rate_max = 500).await;
    let rows = [
        (json!({}), "#/name", "missing_field"),
        (json!({"name": ""}), "#/name", "invalid_value"),
        (json!({"name": "a", "window": 0}), "#/window", "invalid_value"),
        (json!({"name": "a", "window": 1001}), "#/window", "invalid_value"),
        (json!({"name": "a", "max_binds": 0}), "#/max_binds", "invalid_value"),
        (json!({"name": "a", "max_binds": 33}), "#/max_binds", "invalid_value"),
        (json!({"name": "a", "rate": 0}), "#/rate", "invalid_value"),
        (json!({"name": "a", "rate": 501}), "#/rate", "invalid_value"),
        (
            json!({"name": "a", "allowed_addresses": ["10.0.0.0/8", "10.0.0.1/8"]}),
            "#/allowed_addresses/1",
            "invalid_value",
        ),
        (json!({"name": "a", "allowed_addresses": vec!["10.0.0.1"; 51]}), "#/allowed_addresses", "too_long"),
        (json!({"name": "a", "default_sender": "much too long a name"}), "#/default_sender", "invalid_value"),
        (json!({"name": "a", "alphabet": "ebcdic"}), "#/alphabet", "invalid_value"),
        (json!({"name": "a", "inbound": "sar"}), "#/inbound", "invalid_value"),
        (json!({"name": "a", "password": "mine"}), "#/password", "unknown_field"),
    ];
    for (body, pointer, code) in rows {
        let answer = s.t.post("/v1/smpp-credentials", &s.key, body.clone()).await;
        let error = &answer.json()["errors"][0];
        assert_eq!((answer.status, &error["pointer"], &error["code"]), (400, &json!(pointer), &json!(code)), "{body}");
    }
    assert_eq!(s.t.get("/v1/smpp-credentials", &s.key).await.json()["data"], json!([]), "and nothing was made");
}

/// What an account changes counts at once for those who are bound.
#[tokio::test]
async fn changes_end_sessions() {
    let s = Smpp::start().await;
    let mut credential = s.credential(json!({})).await;
    let path = format!("/v1/smpp-credentials/{}", credential.id);
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    assert_eq!(s.t.get(&path, &s.key).await.json()["bound"], 1);

    let renewed = s.t.call("POST", &format!("{path}/password"), &s.key, None).await.json();
    assert!(matches!(client.next().await, Event::Closed { .. }));
    assert_eq!(s.refusal(&credential).await, CommandStatus::RINVPASWD);
    credential.password = renewed["password"].as_str().unwrap().into();

    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    s.t.call("PATCH", &path, &s.key, Some(json!({"enabled": false}))).await;
    assert!(matches!(client.next().await, Event::Closed { .. }));
    assert_eq!(s.refusal(&credential).await, CommandStatus::RBINDFAIL);

    s.t.call("PATCH", &path, &s.key, Some(json!({"enabled": true}))).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    assert_eq!(s.t.call("DELETE", &path, &s.key, None).await.status, 204);
    assert!(matches!(client.next().await, Event::Closed { .. }));
    assert_eq!(s.refusal(&credential).await, CommandStatus::RINVSYSID);
}
