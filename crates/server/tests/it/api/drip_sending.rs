//! Drips on their way: steps in order and in their time, conditions, and everything that ends them for somebody.

use std::time::Duration;

use carillon::campaigns;
use carillon::pipeline::prepare::Own;
use carillon_domain::campaign::Content;
use carillon_domain::id::{BatchId, DripId};
use carillon_domain::phone::{Parsed, Phone};
use carillon_store::drip_wave;
use carillon_store::hot::{IntakeRequest, NewBatch, Step};
use serde_json::{Value, json};

use super::contacts::made;
use super::drips::{act, active, enroll, people, until};
use super::messages::{quick, quick_on_postgres};
use super::two_way::{stage, written};
use crate::app::TestApp;

const ADA: &str = "+4915112345678";
const BOB: &str = "+447400123456";
const CID: &str = "+4915112345679";
const EVE: &str = "+4915112345680";
const MINUTE: Duration = Duration::from_secs(61);
const HOUR: Duration = Duration::from_secs(3_601);
const DAY: Duration = Duration::from_secs(86_401);

/// Who got which text, oldest first of one number.
async fn texts(t: &TestApp, key: &str, to: &str) -> Vec<String> {
    let list = t.get("/v1/messages?limit=200", key).await.json()["data"].clone();
    let all = list.as_array().unwrap().iter().rev().filter(|m| m["to"] == to);
    all.map(|m| m["text"].as_str().unwrap().to_owned()).collect()
}

fn delivered(step: usize, count: i64) -> impl Fn(&Value) -> bool {
    move |d| d["steps"][step]["totals"]["delivered"] == count
}

#[tokio::test]
async fn steps_come_one_after_another_to_whom_they_are_for() {
    for t in [quick().await, quick_on_postgres().await] {
        in_order(t).await;
    }
}

async fn in_order(t: TestApp) {
    let (_, key) = t.account("a").await;
    for (phone, name) in [(ADA, "Ada"), (CID, "Cid")] {
        made(&t, &key, "/v1/contacts", json!({"phone": phone, "name": name, "tags": ["new"]})).await;
    }
    let steps = json!([
        {"delay_s": 0, "text": "Hi {{name|default(\"friend\")}}!"},
        {"delay_s": 3_600, "text": "{{name}}, become a VIP", "condition": {"not": {"tag": "vip"}}},
        {"delay_s": 86_400, "text": "Bye {{name}}", "from": "Shop"},
    ]);
    let body = json!({"name": "Welcome", "category": "transactional", "steps": steps, "entry": {"tag": "new"}, "tags": ["welcome"]});
    let id = made(&t, &key, "/v1/drips", body).await;
    assert_eq!(act(&t, &key, &id, "activate", json!({"existing": true})).await.status, 200);
    enroll(&t, &key, &id, json!([{"phone": BOB, "variables": {"name": "Bob"}}, {"phone": EVE}]), 2).await;
    until(&t, &key, &id, "the first step", delivered(0, 4)).await;
    assert_eq!(texts(&t, &key, ADA).await, ["Hi Ada!"]);
    assert_eq!(texts(&t, &key, EVE).await, ["Hi friend!"]);
    // Asked for again, who is in it gets nothing twice; what is known by then counts.
    enroll(&t, &key, &id, json!([{"phone": BOB}, {"phone": ADA}]), 0).await;
    made(&t, &key, "/v1/contacts", json!({"phone": EVE, "name": "Eve"})).await;
    let vip = t.post("/v1/contacts", &key, json!({"phone": ADA, "tags": ["new", "vip"]})).await;
    assert_eq!(vip.status, 200, "{}", vip.text);
    t.app.clock.advance(HOUR);
    let second = until(&t, &key, &id, "the second step", |d| d["steps"][2]["totals"]["waiting"] == 4).await;
    let totals = &second["steps"][1]["totals"];
    assert_eq!((&totals["messages"], &totals["skipped"]), (&json!(2), &json!({"condition_not_met": 2})));
    assert_eq!(texts(&t, &key, EVE).await, ["Hi friend!", "Eve, become a VIP"]);
    assert_eq!(texts(&t, &key, ADA).await, ["Hi Ada!"]);
    t.app.clock.advance(DAY);
    let done = until(&t, &key, &id, "all have finished", |d| delivered(2, 4)(d) && d["people"]["waiting"] == 0).await;
    assert_eq!(done["people"]["ended"], json!({"finished": 4}));
    assert_eq!(done["cost"], json!({"held": "0.00", "captured": "0.50", "currency": "USD"}));
    assert_eq!(texts(&t, &key, BOB).await, ["Hi Bob!", "Bye Bob"]);
    let messages = t.get("/v1/messages", &key).await.json();
    assert_eq!((&messages["data"][0]["from"], &messages["data"][0]["tags"]), (&json!("Shop"), &json!(["welcome"])));
    // Who lacks a word is passed over at that step.
    let id = active(&t, &key, json!([{"delay_s": 0, "text": "{{town}}"}, {"delay_s": 0, "text": "Hello"}])).await;
    enroll(&t, &key, &id, json!([{"phone": BOB}]), 1).await;
    let done = until(&t, &key, &id, "the second step", delivered(1, 1)).await;
    let first = &done["steps"][0]["totals"];
    assert_eq!((&first["messages"], &first["skipped"]), (&json!(0), &json!({"missing_variable": 1})));
}

#[tokio::test]
async fn who_writes_leaves_and_stop_ends_all() {
    let s = stage().await;
    let (t, key) = (&s.t, &s.key);
    let steps = json!([{"delay_s": 0, "text": "One"}, {"delay_s": 3_600, "text": "Two"}]);
    let left_by_writing = active(t, key, steps.clone()).await;
    let body = json!({"name": "Bill", "category": "transactional", "steps": steps, "exit": {"on_reply": false}});
    let kept = made(t, key, "/v1/drips", body).await;
    assert_eq!(act(t, key, &kept, "activate", json!({})).await.status, 200);
    for id in [&left_by_writing, &kept] {
        enroll(t, key, id, json!([{"phone": ADA}, {"phone": BOB}]), 2).await;
        until(t, key, id, "the first step", delivered(0, 2)).await;
    }
    t.app.clock.advance(Duration::from_secs(1));
    s.carrier.write(written("Thank you"));
    let replied = until(t, key, &left_by_writing, "she replied", |d| d["people"]["ended"] != json!({})).await;
    assert_eq!(replied["people"], json!({"waiting": 1, "ended": {"replied": 1}}));
    assert_eq!(t.get(&format!("/v1/drips/{kept}"), key).await.json()["people"]["waiting"], 2);
    // She enters once more, after she wrote.
    t.app.clock.advance(Duration::from_secs(1));
    let again = json!({"people": [{"phone": ADA}], "again": true});
    assert_eq!(act(t, key, &left_by_writing, "enrollments", again).await.json()["entered"], 1);
    until(t, key, &left_by_writing, "the first step again", delivered(0, 3)).await;
    t.app.clock.advance(Duration::from_secs(1));
    s.carrier.write(written("STOP"));
    for id in [&left_by_writing, &kept] {
        let stopped = until(t, key, id, "she wants no more", |d| d["people"]["ended"] != json!({})).await;
        assert_eq!(stopped["people"], json!({"waiting": 1, "ended": {"stopped": 1}}));
    }
    t.app.clock.advance(HOUR);
    for id in [&left_by_writing, &kept] {
        until(t, key, id, "he gets the second", delivered(1, 1)).await;
    }
    let hers = texts(t, key, ADA).await;
    assert!(!hers.contains(&"Two".to_owned()), "{hers:?}");
    assert_eq!(texts(t, key, BOB).await.iter().filter(|text| *text == "Two").count(), 2);
}

#[tokio::test]
async fn goals_lists_and_deleted_contacts_end_it() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let ada = made(&t, &key, "/v1/contacts", json!({"phone": ADA})).await;
    let cid = made(&t, &key, "/v1/contacts", json!({"phone": CID})).await;
    let steps = json!([{"delay_s": 0, "text": "One"}, {"delay_s": 3_600, "text": "Two"}]);
    let body = json!({"name": "Cart", "category": "transactional", "steps": steps, "exit": {"goal_tag": "buyer"}});
    let id = made(&t, &key, "/v1/drips", body).await;
    assert_eq!(act(&t, &key, &id, "activate", json!({})).await.status, 200);
    let all = json!([{"contact": ada}, {"contact": cid}, {"phone": BOB}, {"phone": EVE}, {"phone": "+447400123457"}]);
    enroll(&t, &key, &id, all, 5).await;
    until(&t, &key, &id, "the first step", delivered(0, 5)).await;
    assert_eq!(t.post("/v1/contacts", &key, json!({"phone": ADA, "tags": ["buyer"]})).await.status, 200);
    assert_eq!(t.call("DELETE", &format!("/v1/contacts/{cid}"), &key, None).await.status, 204);
    assert!(t.post("/v1/suppressions", &key, json!({"phone": BOB, "reason": "opt_out"})).await.status < 300);
    assert_eq!(act(&t, &key, &id, "goals", json!({"people": [{"phone": EVE}]})).await.json()["ended"], 1);
    t.app.clock.advance(HOUR);
    let done = until(&t, &key, &id, "the second step", |d| d["people"]["waiting"] == 0).await;
    assert_eq!(done["people"]["ended"], json!({"goal": 2, "contact_gone": 1, "suppressed": 1, "finished": 1}));
    until(&t, &key, &id, "the one message", delivered(1, 1)).await;
    let ended =
        [(BOB, "suppressed"), ("+447400123457", "finished"), (ADA, "goal"), (CID, "contact_gone"), (EVE, "goal")];
    let expected = ended.map(|(phone, why)| (phone.to_owned(), why.to_owned()));
    assert_eq!(people(&t, &key, &id, "?state=ended").await, expected);
}

#[tokio::test]
async fn who_is_in_a_segment_enters_and_who_was_there_is_passed_over() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    made(&t, &key, "/v1/contacts", json!({"phone": ADA, "tags": ["new"]})).await;
    let segment = made(&t, &key, "/v1/segments", json!({"name": "New", "filter": {"tag": "new"}})).await;
    let body = json!({"name": "Welcome", "category": "transactional", "steps": [{"delay_s": 0, "text": "Hi"}], "entry": {"segment": segment}});
    let id = made(&t, &key, "/v1/drips", body).await;
    assert_eq!(act(&t, &key, &id, "activate", json!({"existing": false})).await.status, 200);
    until(&t, &key, &id, "she is passed over", |d| d["people"]["ended"] == json!({"passed_over": 1})).await;
    made(&t, &key, "/v1/contacts", json!({"phone": CID, "tags": ["new"]})).await;
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "he enters", delivered(0, 1)).await;
    assert_eq!((texts(&t, &key, ADA).await.len(), texts(&t, &key, CID).await.len()), (0, 1));
    // Without its segment it says so, and goes on for who is in it.
    assert_eq!(t.call("DELETE", &format!("/v1/segments/{segment}"), &key, None).await.status, 204);
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "it says so", |d| d["held_up"] == "entry_outdated").await;
    enroll(&t, &key, &id, json!([{"phone": BOB}]), 1).await;
    until(&t, &key, &id, "he enters by request", delivered(0, 2)).await;
}

#[tokio::test]
async fn short_of_money_it_waits_and_goes_on_by_itself() {
    for t in [quick().await, quick_on_postgres().await] {
        let (account, key) = t.account("a").await;
        let (_, operator) = t.operator().await;
        // 100.00 are 2,000 messages, and one is sent before.
        assert_eq!(t.post("/v1/messages", &key, json!({"to": BOB, "text": "Hello"})).await.status, 202);
        let id = active(&t, &key, json!([{"delay_s": 0, "text": "Hello"}])).await;
        for crowd in 0..3 {
            let number = |i: i32| json!({"phone": format!("+49151{:08}", 10_000_000 + crowd * 800 + i)});
            enroll(&t, &key, &id, (0..800).map(number).collect(), 800).await;
        }
        let held_up = |d: &Value| d["held_up"] == "insufficient_credit" && delivered(0, 1_999)(d);
        let short = until(&t, &key, &id, "the money is used up", held_up).await;
        assert_eq!((&short["people"]["waiting"], &short["cost"]["captured"]), (&json!(401), &json!("99.95")));
        t.app.clock.advance(MINUTE);
        let credit = json!({"kind": "top_up", "amount": "50.00", "note": "top-up"});
        let given = t.post(&format!("/v1/admin/accounts/{}/ledger", account.id), &operator, credit).await;
        assert!(given.status < 300, "{}", given.text);
        t.app.clock.advance(MINUTE);
        let done = until(&t, &key, &id, "the others", |d| delivered(0, 2_400)(d) && d["people"]["waiting"] == 0).await;
        assert_eq!((&done["held_up"], &done["people"]["ended"]), (&json!(null), &json!({"finished": 2_400})));
        assert_eq!(t.get("/v1/me", &key).await.json()["balance"]["available"], "29.95");
    }
}

#[tokio::test]
async fn a_pause_is_one_and_steps_change_under_who_is_in_it() {
    let t = quick().await;
    let (_, key) = t.account("a").await;
    let steps =
        json!([{"delay_s": 0, "text": "One"}, {"delay_s": 60, "text": "Two"}, {"delay_s": 60, "text": "Three"}]);
    let id = active(&t, &key, steps).await;
    let path = format!("/v1/drips/{id}");
    enroll(&t, &key, &id, json!([{"phone": ADA}]), 1).await;
    until(&t, &key, &id, "the first step", delivered(0, 1)).await;
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "the second step", delivered(1, 1)).await;
    enroll(&t, &key, &id, json!([{"phone": CID}]), 1).await;
    until(&t, &key, &id, "his first step", delivered(0, 2)).await;
    assert_eq!(t.call("POST", &format!("{path}/pause"), &key, None).await.status, 200);
    enroll(&t, &key, &id, json!([{"phone": BOB}]), 1).await;
    let fewer = json!({"steps": [{"delay_s": 0, "text": "One"}, {"delay_s": 60, "text": "Zwei"}]});
    let changed = t.call("PATCH", &path, &key, Some(fewer)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    t.app.clock.advance(HOUR);
    // Another drip shows that what is due by then would have gone.
    let other = active(&t, &key, json!([{"delay_s": 0, "text": "Now"}])).await;
    enroll(&t, &key, &other, json!([{"phone": EVE}]), 1).await;
    until(&t, &key, &other, "the other drip", delivered(0, 1)).await;
    let paused = t.get(&path, &key).await.json();
    assert_eq!((&paused["people"]["waiting"], &paused["steps"][0]["totals"]["messages"]), (&json!(3), &json!(2)));
    assert_eq!(act(&t, &key, &id, "activate", json!({})).await.status, 200);
    // Whose step is not there any more has finished; the others go on by its number.
    let on = until(&t, &key, &id, "it goes on", |d| delivered(0, 3)(d) && d["people"]["waiting"] == 1).await;
    assert_eq!(on["people"]["ended"], json!({"finished": 2}));
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "all have finished", |d| d["people"]["ended"] == json!({"finished": 3})).await;
    assert_eq!(texts(&t, &key, ADA).await, ["One", "Two"]);
    assert_eq!(texts(&t, &key, CID).await, ["One", "Zwei"]);
    assert_eq!(texts(&t, &key, BOB).await, ["One", "Zwei"]);
}

#[tokio::test]
async fn what_cannot_be_sent_holds_it_up_and_nobody_loses_a_step() {
    let t = quick().await;
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let suspend = async |status: &str| {
        let path = format!("/v1/admin/accounts/{}", account.id);
        let done = t.call("PATCH", &path, &operator, Some(json!({ "status": status }))).await;
        assert_eq!(done.status, 200, "{}", done.text);
    };
    super::contacts::declare(&t, &key, "city", "text").await;
    made(&t, &key, "/v1/contacts", json!({"phone": ADA, "attributes": {"city": "Bonn"}})).await;
    let condition = json!({"attribute": "city", "op": "eq", "value": "Bonn"});
    let steps = json!([{"delay_s": 60, "text": "Hi", "condition": condition}, {"delay_s": 60, "text": "Bye"}]);
    let id = active(&t, &key, steps).await;
    enroll(&t, &key, &id, json!([{"phone": ADA}]), 1).await;
    suspend("suspended").await;
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "it is held up", |d| d["held_up"] == "account_suspended").await;
    suspend("active").await;
    assert_eq!(t.call("DELETE", "/v1/contact-attributes/city", &key, None).await.status, 204);
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "its condition cannot be read", |d| d["held_up"] == "condition_outdated").await;
    super::contacts::declare(&t, &key, "city", "text").await;
    assert_eq!(t.post("/v1/contacts", &key, json!({"phone": ADA, "attributes": {"city": "Bonn"}})).await.status, 200);
    t.app.clock.advance(MINUTE);
    let on = until(&t, &key, &id, "it goes on", delivered(0, 1)).await;
    assert_eq!(on["held_up"], json!(null));
    t.app.clock.advance(MINUTE);
    until(&t, &key, &id, "to its end", delivered(1, 1)).await;
    assert_eq!(texts(&t, &key, ADA).await, ["Hi", "Bye"]);
}

/// As a process leaves it that dies between taking people as a wave and handing it in, or between that and having them go on.
#[tokio::test]
async fn what_a_crash_leaves_is_gone_on_with() {
    for t in [quick().await, quick_on_postgres().await] {
        for handed_in in [false, true] {
            let (account, key) = t.account("a").await;
            let text = "Hi {{name|default(\"friend\")}}";
            let id = active(&t, &key, json!([{"delay_s": 60, "text": text}, {"delay_s": 60, "text": "Bye"}])).await;
            enroll(&t, &key, &id, json!([{"phone": ADA}, {"phone": BOB}, {"phone": CID}]), 3).await;
            // Taken ahead of its time, so that the server leaves it alone until then.
            let (drip, due) = (id.parse::<DripId>().unwrap(), t.app.clock.now_ms() + 60_000);
            let wave = BatchId::new(due, t.app.ids.next(), account.no);
            let wave = drip_wave::claim(&t.app.db, drip, wave, due, 10).await.unwrap().unwrap();
            if handed_in {
                let (known, terms) = (t.app.account(account.no).await.unwrap(), t.app.pipeline.terms());
                let rules = t.app.rules_of(account.no, &known, &terms, due);
                let shared = Content { text: Some("Hi there".into()), ..Content::default() };
                let content = campaigns::content(&shared, None, &rules).unwrap();
                let members = drip_wave::members(&t.app.db, &wave).await.unwrap();
                let message = |place: usize| {
                    let phone = Phone::from_digits(members[place].phone).unwrap();
                    let to = Parsed { phone, country: phone.country() };
                    content.message_of(&rules, to, place as u32, &Own::NOTHING).unwrap()
                };
                let batch = NewBatch {
                    id: wave.id,
                    body: Some(content.body.clone()),
                    client_ref: None,
                    tags: None,
                    partial: true,
                    refusals: vec![(1, "goal")],
                };
                let messages = vec![message(0), message(2)];
                let request = IntakeRequest { account: account.no, key: None, step: Step::Batch(batch), messages };
                t.app.pipeline.submit(request).await.unwrap();
            }
            t.app.clock.advance(MINUTE);
            let on =
                until(&t, &key, &id, "they wait for the next step", |d| d["steps"][0]["totals"]["waiting"] == 0).await;
            let (count, ended) = if handed_in { (2, json!({"goal": 1})) } else { (3, json!({})) };
            assert_eq!((&on["people"]["waiting"], &on["people"]["ended"]), (&json!(count), &ended));
            assert_eq!(on["steps"][0]["totals"]["messages"], count, "no more than was stored");
            t.app.clock.advance(MINUTE);
            until(&t, &key, &id, "to its end", delivered(1, count)).await;
            let batches = t.get("/v1/batches", &key).await.json()["data"].as_array().unwrap().len();
            assert_eq!(batches, 2, "one for each step");
        }
    }
}
