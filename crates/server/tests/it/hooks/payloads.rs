//! What webhooks say: whatever an event is about is shown as the API's GET shows it.

use carillon::access::code;
use carillon::simulator::{self, Behaviour, SimulatorConfig, Written};
use carillon_domain::id::VerificationId;
use serde_json::{Value, json};
use std::time::Duration;

use super::receiver::{Receiver, Reply};
use super::{deliveries, endpoint, until};
use crate::app::TestApp;

const OWN: &str = "4915735983801";
const PEER: &str = "4915112345678";

/// What came of one type, once it is there, about the subject if one is named.
async fn told(r: &Receiver, kind: &str, about: &str) -> Value {
    let found = || {
        let seen = r.seen();
        let hook =
            seen.into_iter().find(|h| h.body["type"] == kind && (about.is_empty() || h.body["data"]["id"] == about));
        hook.map(|h| h.body["data"].clone())
    };
    until(kind, async || found().is_some()).await;
    found().unwrap()
}

#[tokio::test]
async fn each_event_carries_what_it_is_about() {
    let behaviour = Behaviour { receipt_delay: Duration::from_millis(1), ..Behaviour::default() };
    let carrier = simulator::start(SimulatorConfig { behaviour, ..SimulatorConfig::default() }).await.unwrap();
    let port = carrier.addr().port();
    let t = TestApp::with(|config| {
        let text = format!("name=\"acme\"\nkind=\"smpp\"\nhost=\"127.0.0.1\"\nport={port}\nsystem_id=\"user\"");
        config.connections = vec![toml::from_str(&text).unwrap()];
    })
    .await;
    let ((account, key), (_, operator)) = (t.account("a").await, t.operator().await);
    let (r, gone) = (Receiver::start().await, Receiver::start().await);
    let get = async |path: String| {
        let answer = t.get(&path, &key).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    };
    let id_of = |v: &Value| v["id"].as_str().unwrap().to_owned();

    let (id, _) = endpoint(&t, &key, json!({"url": r.url})).await;
    let shown = get(format!("/v1/webhook-endpoints/{id}")).await;
    t.post(&format!("/v1/webhook-endpoints/{id}/test"), &key, json!({})).await;
    assert_eq!(told(&r, "webhook.test", &id).await, shown);
    let log = deliveries(&t, &key, &id, "").await;
    let again = format!("/v1/webhook-endpoints/{id}/deliveries/{}/retry", log[0]["event"].as_str().unwrap());
    assert_eq!(t.post(&again, &key, json!({})).await.status, 202);
    let repeated = r.wait(2).await.remove(1).body["data"].clone();
    assert_eq!((&repeated["id"], &repeated["url"]), (&json!(id), &json!(r.url)), "sent again, it is as whole");

    // A phone writes, wants no more, and wants it again.
    let body = json!({"number": format!("+{OWN}"), "account": account.id});
    assert_eq!(t.post("/v1/admin/inbound-numbers", &operator, body).await.status, 201);
    let write = |text: &str| {
        t.app.clock.advance(Duration::from_secs(1));
        let short_message = text.into();
        carrier.write(Written {
            from: PEER.into(),
            to: OWN.into(),
            data_coding: 3,
            short_message,
            ..Written::default()
        });
    };
    write("Is a table free?");
    let came = told(&r, "message.received", "").await;
    assert_eq!((&came["text"], &came["from"]), (&json!("Is a table free?"), &json!(format!("+{PEER}"))));
    assert_eq!(came, get(format!("/v1/inbound-messages/{}", id_of(&came))).await);
    write("STOP");
    let stopped = told(&r, "opt_out.created", "").await;
    let entry = format!("/v1/suppressions/{}", id_of(&stopped));
    assert_eq!((&stopped["phone"], &stopped["ended_at"]), (&json!(format!("+{PEER}")), &Value::Null));
    assert_eq!(stopped, get(entry.clone()).await);
    write("START");
    let lifted = told(&r, "opt_out.removed", &id_of(&stopped)).await;
    assert_eq!((&lifted["ended_by"], &lifted), (&json!("keyword"), &get(entry).await));

    // Verifications end well and badly.
    for (path, right, kind) in [("check", true, "verification.approved"), ("cancel", false, "verification.failed")] {
        let v = t.post("/v1/verifications", &key, json!({"to": format!("+{PEER}")})).await;
        assert_eq!(v.status, 201, "{}", v.text);
        let v = id_of(&v.json());
        let vid: VerificationId = v.parse().unwrap();
        let made = code::make(&t.app.secrets.code_key, vid, 0, 6, &t.app.config.otp.alphabet);
        let body = if right { json!({ "code": made }) } else { json!({}) };
        assert_eq!(t.post(&format!("/v1/verifications/{v}/{path}"), &key, body).await.status, 200);
        let ended = told(&r, kind, &v).await;
        assert_eq!(ended, get(format!("/v1/verifications/{v}")).await);
        assert_ne!(ended["status"], "pending");
    }

    // Senders are decided on.
    for (text, decision, body) in
        [("Shop", "approve", json!({})), ("Bank", "reject", json!({"reason": "Send proof that the name is yours"}))]
    {
        let made = t.post("/v1/senders", &key, json!({"sender": text, "use_case": "Orders"})).await.json();
        let sender = id_of(&made);
        assert_eq!(t.post(&format!("/v1/admin/senders/{sender}/{decision}"), &operator, body).await.status, 200);
        let decided =
            told(&r, &format!("sender.{decision}{}", if decision == "reject" { "ed" } else { "d" }), "").await;
        assert_eq!(decided, get(format!("/v1/senders/{sender}")).await);
    }

    // A message on its way, and another endpoint that is no more.
    let (other, _) = endpoint(&t, &key, json!({"url": gone.url, "events": ["message.delivered"]})).await;
    gone.answer(Reply::Status(410));
    let sent = t.post("/v1/messages", &key, json!({"to": format!("+{PEER}"), "text": "hello"})).await.json();
    let mut shown = told(&r, "message.delivered", &id_of(&sent)).await;
    let mut read = get(format!("/v1/messages/{}", id_of(&sent))).await;
    read.as_object_mut().unwrap().remove("history");
    shown.as_object_mut().unwrap().remove("history");
    assert_eq!(shown, read);
    let disabled = told(&r, "webhook.disabled", &other).await;
    assert_eq!((&disabled["reason"], &disabled["status"]), (&json!("gone"), &json!("disabled")));
    assert_eq!(disabled, get(format!("/v1/webhook-endpoints/{other}")).await);

    // What is no more is told by its id.
    r.answer(Reply::Status(500));
    let made = t.post("/v1/senders", &key, json!({"sender": "Kiosk", "use_case": "Orders"})).await.json();
    let sender = id_of(&made);
    t.post(&format!("/v1/admin/senders/{sender}/approve"), &operator, json!({})).await;
    told(&r, "sender.approved", &sender).await;
    assert_eq!(t.call("DELETE", &format!("/v1/senders/{sender}"), &key, None).await.status, 204);
    r.answer(Reply::Status(200));
    until("the failure is recorded", async || {
        deliveries(&t, &key, &id, "").await[0]["attempts"].as_array().unwrap().len() == 1
    })
    .await;
    t.app.clock.advance(Duration::from_secs(10));
    let last = || r.seen().last().unwrap().body["data"].clone();
    until("it comes again", async || last() == json!({ "id": sender })).await;
}

/// A campaign's events carry it as the API shows it, but for whom it goes to.
#[tokio::test]
async fn campaigns_are_told_without_their_audience() {
    let t = super::quick().await;
    let (_, key) = t.account("a").await;
    let r = Receiver::start().await;
    endpoint(&t, &key, json!({"url": r.url})).await;
    let campaign = async |audience: Value| {
        let body = json!({"name": "Menu", "text": "Hello", "audience": audience});
        let id = t.post("/v1/campaigns", &key, body).await.json()["id"].as_str().unwrap().to_owned();
        let launch = t.request("POST", &format!("/v1/campaigns/{id}/launch")).bearer_auth(&key);
        assert_eq!(t.send(launch.header("idempotency-key", &id)).await.status, 202);
        id
    };
    let sent = campaign(json!([format!("+{PEER}")])).await;
    assert_eq!(told(&r, "campaign.started", &sent).await["name"], "Menu");
    let finished = told(&r, "campaign.finished", &sent).await;
    assert_eq!((&finished["status"], &finished["totals"]["recipients"]), (&json!("finished"), &json!(1)));
    assert_eq!(finished.get("audience"), None, "it may be long, and holds numbers");
    let empty = campaign(json!([{"tag": "nobody"}])).await;
    assert_eq!(told(&r, "campaign.failed", &empty).await["reason"], "audience_empty");
}
