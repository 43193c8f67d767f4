//! Messages from phones over the wire: stored once, put together, shown, answered; STOP, START and HELP.

use std::time::Duration;

use carillon::simulator::{self, Behaviour, Simulator, SimulatorConfig, Written};
use carillon_store::account::Account;
use serde_json::{Value, json};

use crate::app::TestApp;

const OWN: &str = "4915735983801";
const PEER: &str = "4915112345678";

/// A server bound to a simulated carrier, an account, its key, and its number.
pub struct Stage {
    pub t: TestApp,
    pub carrier: Simulator,
    account: Account,
    pub key: String,
    operator: String,
}

pub async fn stage() -> Stage {
    let behaviour = Behaviour { receipt_delay: Duration::ZERO, ..Behaviour::default() };
    let config = SimulatorConfig { behaviour, record: true, ..SimulatorConfig::default() };
    let carrier = simulator::start(config).await.unwrap();
    let port = carrier.addr().port();
    let t = TestApp::with(|config| {
        let text = format!("name=\"acme\"\nkind=\"smpp\"\nhost=\"127.0.0.1\"\nport={port}\nsystem_id=\"user\"");
        config.connections = vec![toml::from_str(&text).unwrap()];
    })
    .await;
    let (account, key) = t.account("Pizzeria").await;
    let (_, operator) = t.operator().await;
    let body = json!({"number": format!("+{OWN}"), "account": account.id});
    let made = t.post("/v1/admin/inbound-numbers", &operator, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    Stage { t, carrier, account, key, operator }
}

pub fn written(text: &str) -> Written {
    let short_message = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    Written { from: PEER.into(), to: OWN.into(), data_coding: 8, short_message, ..Written::default() }
}

fn part(reference: u8, total: u8, index: u8, text: &str) -> Written {
    let short_message = [&[5, 0, 3, reference, total, index], text.as_bytes()].concat();
    Written { esm_class: 0x40, data_coding: 3, short_message, ..written("") }
}

impl Stage {
    /// Waits until so many messages from phones are there; newest first. Nothing outside says when that is, so this asks.
    pub async fn inbound(&self, count: usize) -> Vec<Value> {
        for _ in 0..2_000 {
            let list = self.t.get("/v1/inbound-messages", &self.key).await.json()["data"].clone();
            let list = list.as_array().unwrap().clone();
            if list.len() >= count {
                assert_eq!(list.len(), count, "{list:?}");
                return list;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} messages did not come in ten seconds");
    }

    /// A phone writes, and its message is shown with what it did.
    async fn hear(&self, text: &str, count: usize) -> Value {
        self.t.app.clock.advance(Duration::from_secs(1));
        self.carrier.write(written(text));
        self.inbound(count).await[0].clone()
    }

    /// Texts sent to the peer, oldest first, once there are so many; and no more after a moment's settling of what was asked for.
    async fn sent(&self, count: usize) -> Vec<String> {
        for _ in 0..2_000 {
            let due = carillon_store::inbound_message::undone(&self.t.app.db, 1).await.unwrap();
            let list = self.t.get("/v1/messages", &self.key).await.json()["data"].clone();
            let texts: Vec<String> =
                list.as_array().unwrap().iter().rev().map(|m| m["text"].as_str().unwrap().to_owned()).collect();
            if due.is_empty() && texts.len() >= count {
                assert_eq!(texts.len(), count, "{texts:?}");
                return texts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} messages were not sent in ten seconds");
    }
}

#[tokio::test]
async fn a_conversation() {
    let s = stage().await;
    let came = s.hear("Is a table free at eight? 🍕", 1).await;
    assert_eq!(
        [&came["from"], &came["to"], &came["text"], &came["status"], &came["action"], &came["connection"]],
        [
            &json!(format!("+{PEER}")),
            &json!(format!("+{OWN}")),
            &json!("Is a table free at eight? 🍕"),
            &json!("received"),
            &json!("none"),
            &json!("acme")
        ]
    );
    let list = s.t.get("/v1/conversations?unread=true", &s.key).await.json();
    let conversation = &list["data"][0];
    assert_eq!(
        (&conversation["unread"], &conversation["received"], &conversation["sent"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!((&conversation["id"], &conversation["last_message"]["id"]), (&came["conversation"], &came["id"]));
    let path = format!("/v1/conversations/{}", conversation["id"].as_str().unwrap());
    s.t.app.clock.advance(Duration::from_secs(1));
    let reply = s.t.post(&format!("{path}/messages"), &s.key, json!({"text": "Yes, see you"})).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let said = s.t.get(&format!("{path}/messages"), &s.key).await.json();
    let both: Vec<_> = said["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["direction"].as_str().unwrap(), m["text"].as_str().unwrap()))
        .collect();
    assert_eq!(both, [("outbound", "Yes, see you"), ("inbound", "Is a table free at eight? 🍕")]);
    let page = s.t.get(&format!("{path}/messages?limit=1"), &s.key).await.json();
    let next = page["next_cursor"].as_str().unwrap();
    let second = s.t.get(&format!("{path}/messages?limit=1&cursor={next}"), &s.key).await.json();
    assert_eq!((&second["data"][0]["direction"], &second["has_more"]), (&json!("inbound"), &json!(false)));
    assert_eq!(s.t.post(&format!("{path}/read"), &s.key, json!({})).await.status, 204);
    let now = s.t.get(&path, &s.key).await.json();
    assert_eq!(
        (&now["unread"], &now["sent"], &now["last_message"]["direction"]),
        (&json!(0), &json!(1), &json!("outbound"))
    );
    let (_, stranger) = s.t.account("b").await;
    assert_eq!(s.t.get(&path, &stranger).await.status, 404);
    assert_eq!(s.t.get("/v1/inbound-messages", &stranger).await.json()["data"], json!([]));
}

#[tokio::test]
async fn long_messages_are_put_together() {
    let s = stage().await;
    for written in [part(7, 3, 3, "three"), part(7, 3, 1, "one "), part(7, 3, 1, "one "), part(7, 3, 2, "two ")] {
        s.carrier.write(written);
    }
    let whole = s.inbound(1).await[0].clone();
    assert_eq!(
        (&whole["text"], &whole["parts"], &whole["missing_parts"]),
        (&json!("one two three"), &json!(3), &json!([]))
    );
    // The reference again, with one part that never comes; then once more with another text.
    s.t.app.clock.advance(Duration::from_secs(60));
    s.carrier.write(part(7, 3, 1, "uno "));
    s.carrier.write(part(7, 3, 3, "tres"));
    s.carrier.write(part(7, 3, 1, "eins "));
    let gap = s.inbound(2).await[0].clone();
    assert_eq!((&gap["text"], &gap["missing_parts"]), (&json!("uno […]tres"), &json!([2])));
    s.t.app.clock.advance(Duration::from_secs(901));
    let late = s.inbound(3).await[0].clone();
    assert_eq!((&late["text"], &late["missing_parts"]), (&json!("eins […]"), &json!([2, 3])), "its time is up");
}

#[tokio::test]
async fn codings() {
    let s = stage().await;
    let rows: Vec<(Written, Value, Value)> = vec![
        (Written { data_coding: 0, short_message: vec![0x00, 0x1B, 0x65], ..written("") }, json!("@€"), Value::Null),
        (Written { data_coding: 3, short_message: vec![0xE9], ..written("") }, json!("é"), Value::Null),
        (Written { data_coding: 4, short_message: vec![0xDE, 0xAD], ..written("") }, Value::Null, json!("3q0=")),
        (
            Written { esm_class: 0x40, data_coding: 0, short_message: vec![3, 0x24, 1, 1, 0x1B, 0x67], ..written("") },
            json!("ğ"),
            Value::Null,
        ),
        (
            Written { data_coding: 3, tlvs: [&[0x04, 0x24, 0, 4][..], b"long"].concat(), ..written("") },
            json!("long"),
            Value::Null,
        ),
    ];
    for (i, (written, text, data)) in rows.into_iter().enumerate() {
        s.t.app.clock.advance(Duration::from_secs(1));
        s.carrier.write(written.clone());
        let came = s.inbound(i + 1).await[0].clone();
        assert_eq!((&came["text"], &came["data"]), (&text, &data), "{written:?}");
    }
    for (i, text) in [(1, "first "), (2, "second")] {
        let tlvs = [0x02, 0x0C, 0, 2, 0, 9, 0x02, 0x0E, 0, 1, 2, 0x02, 0x0F, 0, 1, i];
        s.carrier.write(Written { data_coding: 3, short_message: text.into(), tlvs: tlvs.into(), ..written("") });
    }
    assert_eq!(s.inbound(6).await[0]["text"], "first second", "SAR parameters");
}

#[tokio::test]
async fn what_is_nobodys_is_kept_for_the_operator() {
    let s = stage().await;
    s.carrier.write(Written { to: "99999".into(), ..written("STOP") });
    s.hear("hello", 1).await;
    let list = s.t.get("/v1/admin/inbound-messages", &s.operator).await.json();
    let stray = &list["data"][0];
    assert_eq!((&stray["to"], &stray["text"], &stray["conversation"]), (&json!("99999"), &json!("STOP"), &Value::Null));
    assert_eq!(s.sent(0).await, Vec::<String>::new());
}

#[tokio::test]
async fn stop_start_and_help() {
    let s = stage().await;
    let to = format!("+{PEER}");
    let send = async |body: Value| s.t.post("/v1/messages", &s.key, body).await.refusal();
    assert_eq!(s.hear("Please stop!", 1).await["action"], "stop");
    assert_eq!(s.sent(1).await.len(), 1, "one confirmation");
    let refused = (403, "suppressed".to_owned());
    assert_eq!(send(json!({"to": to, "text": "hi"})).await, refused);
    let entry = s.t.get("/v1/suppressions", &s.key).await.json()["data"][0].clone();
    assert_eq!(
        [&entry["source"], &entry["text"], &entry["scope"]],
        [&json!("keyword"), &json!("Please stop!"), &json!("account")]
    );
    s.hear("STOP", 2).await;
    assert_eq!(s.sent(1).await.len(), 1, "not again within a day");
    s.hear("what are you selling", 3).await;
    assert_eq!(send(json!({"to": to, "text": "hi"})).await, refused, "no other word lifts a stop");
    assert_eq!(s.hear("HELP", 4).await["action"], "help");
    let texts = s.sent(2).await;
    assert!(texts[1].starts_with("Pizzeria: "), "help is answered all the same: {texts:?}");
    s.hear("Start", 5).await;
    assert_eq!(s.sent(3).await.len(), 3);
    assert_eq!(s.t.post("/v1/messages", &s.key, json!({"to": to, "text": "hi"})).await.status, 202);
    s.t.post("/v1/suppressions", &s.key, json!({"phone": to, "reason": "blocked"})).await;
    s.hear("START", 6).await;
    assert_eq!(send(json!({"to": to, "text": "hi"})).await, refused, "what no STOP made no START lifts");
    assert_eq!(s.sent(4).await.len(), 4);
}

#[tokio::test]
async fn keywords_are_answered() {
    let s = stage().await;
    let rule = json!({"keyword": "Menü", "reply": "Today: lasagne"});
    let made = s.t.post("/v1/keyword-rules", &s.key, rule).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let came = s.hear("menu!", 1).await;
    assert_eq!((&came["action"], &came["rule"]), (&json!("rule"), &made.json()["id"]));
    assert_eq!(s.sent(1).await, ["Today: lasagne"]);
    s.hear("the menu please", 2).await;
    assert_eq!(s.sent(1).await.len(), 1, "it is not all that was written");
    for i in 0..12 {
        s.hear("menu", 3 + i).await;
    }
    assert_eq!(s.sent(10).await.len(), 10, "no more than ten in an hour");
    // A short code may be a machine.
    s.carrier.write(Written { from: "22333".into(), ..written("menu") });
    s.inbound(15).await;
    assert_eq!(s.sent(10).await.len(), 10);
    let path = format!("/v1/keyword-rules/{}", made.json()["id"].as_str().unwrap());
    let changed = json!({"keyword": "card", "match": "prefix", "reply": "x", "number": format!("+{OWN}")});
    assert_eq!(s.t.call("PUT", &path, &s.key, Some(changed)).await.json()["match"], "prefix");
    assert_eq!(s.t.call("DELETE", &path, &s.key, None).await.status, 204);
    assert_eq!(s.t.get("/v1/keyword-rules", &s.key).await.json()["data"], json!([]));
    for (body, pointer) in [
        (json!({"keyword": "!", "reply": "x"}), "#/keyword"),
        (json!({"keyword": "STOP", "reply": "x"}), "#/keyword"),
        (json!({"keyword": "a", "reply": " "}), "#/reply"),
        (json!({"keyword": "a", "reply": "x", "match": "fuzzy"}), "#/match"),
        (json!({"keyword": "a", "reply": "x", "number": "1"}), "#/number"),
    ] {
        let answer = s.t.post("/v1/keyword-rules", &s.key, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (400, &json!(pointer)), "{body}");
    }
}

/// What was not acknowledged comes again after the link is lost, and is stored once; the same words written again are another message.
#[tokio::test]
async fn repeated_by_the_carrier_and_repeated_by_the_person() {
    let s = stage().await;
    s.hear("1", 1).await;
    s.hear("1", 2).await;
    s.t.app.clock.advance(Duration::from_secs(1));
    let binds = s.carrier.totals().binds;
    s.carrier.drop_links();
    while s.carrier.totals().binds == binds {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let acknowledged = s.carrier.totals().phones;
    s.carrier.write(written("1"));
    while s.carrier.totals().phones == acknowledged {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(s.inbound(2).await.len(), 2, "the acknowledgement may have been lost with the link");
    s.hear("1", 3).await;
    assert_eq!(s.account.name, "Pizzeria");
}
