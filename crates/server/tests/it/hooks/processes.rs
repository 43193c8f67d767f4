//! Several processes on one PostgreSQL: one of them sends each webhook and answers each phone, and another takes over when it ends.

use std::collections::BTreeSet;

use carillon_store::testing::TestPostgres;
use serde_json::json;

use super::receiver::Receiver;
use super::{deliveries, endpoint, send, until};
use crate::app::TestApp;

/// A process on that database, with the key that all of them have; perhaps with a carrier that brings what phones write.
async fn process(url: &str, inbound: bool) -> TestApp {
    TestApp::with(|config| {
        config.database.url = url.into();
        config.vault.master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
        config.sandbox.receipt_delay_ms = 1;
        let carrier = r#"
            name = "http"
            kind = "http"
            [provider]
            url = "https://carrier.example/send"
            inbound_from = "src"
            inbound_to = "our"
            inbound_text = "msg"
            inbound_id = "mid""#;
        if inbound {
            config.connections.push(toml::from_str(carrier).unwrap());
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_webhook_is_sent_once() {
    let url = TestPostgres::start().fresh_database().await;
    let (one, two) = (process(&url, true).await, process(&url, true).await);
    until("one of them leads", async || one.app.notify.leads() || two.app.notify.leads()).await;
    assert!(!(one.app.notify.leads() && two.app.notify.leads()), "not both");
    let r = Receiver::start().await;
    let (account, key) = one.account("a").await;
    let (_, operator) = two.operator().await;
    let (_, secret) =
        endpoint(&one, &key, json!({"url": r.url, "events": ["opt_out.created", "message.received"]})).await;
    two.app.notify.reload(&two.app.db).await.unwrap();
    let own = json!({"number": "+4915735983801", "account": account.id});
    assert_eq!(two.post("/v1/admin/inbound-numbers", &operator, own).await.status, 201);
    carillon::inbound::reload_numbers(&one.app).await.unwrap();
    let rule = json!({"keyword": "menu", "reply": "Today: lasagne"});
    assert_eq!(one.post("/v1/keyword-rules", &key, rule).await.status, 201);

    // Phones write to whichever is nearer, and each message to both: the carrier repeats it.
    let path = one.app.links.callback_url(carillon_store::connection::id_of_file(
        carillon_store::connection::number(&one.app.db, "http").await.unwrap(),
    ));
    for n in 0..40 {
        let word = if n % 4 == 0 { "STOP" } else { "menu" };
        let query = format!("{path}?src=4915112{n:06}&our=4915735983801&msg={word}&mid=m{n}");
        let (a, b) = tokio::join!(one.get(&query, ""), two.get(&query, ""));
        assert_eq!((a.status, b.status), (204, 204));
    }
    // 40 messages, of which ten put a number on the list.
    until("all of it is told", async || r.seen().len() >= 50).await;
    let answers = async || one.get("/v1/messages?limit=200", &key).await.json()["data"].as_array().unwrap().clone();
    until("all are answered", async || answers().await.len() >= 40).await;
    let done = async || carillon_store::inbound_message::undone(&one.app.db, 1).await.unwrap().is_empty();
    until("nothing is left to do", done).await;
    let to: BTreeSet<String> = answers().await.iter().map(|m| m["to"].as_str().unwrap().to_owned()).collect();
    assert_eq!((answers().await.len(), to.len()), (40, 40), "each is answered once");

    let (ended, other) = if one.app.notify.leads() { (one, two) } else { (two, one) };
    ended.app.stop(std::time::Duration::from_secs(5)).await;
    until("the other takes over", async || other.app.notify.leads()).await;
    let query = format!("{path}?src=4915113000000&our=4915735983801&msg=hello&mid=last");
    assert_eq!(other.get(&query, "").await.status, 204);
    until("it tells of what comes", async || r.seen().iter().any(|h| h.body["data"]["text"] == "hello")).await;
    let seen = r.seen();
    let ids: BTreeSet<String> = seen.iter().map(|h| h.id.clone()).collect();
    assert_eq!((seen.len(), ids.len()), (51, 51), "nothing was sent twice");
    assert!(seen.iter().all(|h| h.signed_by(&secret) == 1));
}

/// What one process settles the other tells of; what one was asked to send again the other sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_knows_the_other_tells() {
    let url = TestPostgres::start().fresh_database().await;
    let (one, two) = (process(&url, false).await, process(&url, false).await);
    until("one of them leads", async || one.app.notify.leads() || two.app.notify.leads()).await;
    let (leads, follows) = if one.app.notify.leads() { (one, two) } else { (two, one) };
    let r = Receiver::start().await;
    let (_, key) = follows.account("a").await;
    let (id, _) =
        endpoint(&follows, &key, json!({"url": r.url, "events": ["message.failed", "message.delivered"]})).await;
    leads.app.notify.reload(&leads.app.db).await.unwrap();
    for n in 0..10 {
        send(&follows, &key, n).await;
    }
    let hooks = r.wait(10).await;
    let path = format!("/v1/webhook-endpoints/{id}/deliveries/{}/retry", hooks[0].id);
    let delivered = async || deliveries(&follows, &key, &id, "&status=delivered").await.len() == 10;
    until("all are recorded", delivered).await;
    assert_eq!(follows.post(&path, &key, json!({})).await.status, 202);
    // It looks for what others were asked every five seconds of its clock.
    leads.app.clock.advance(std::time::Duration::from_secs(5));
    let again = r.wait(11).await.remove(10);
    assert_eq!(again.id, hooks[0].id);
}
