//! A one-time code that was refused is never sent later, and costs nothing.

use carillon_smpp::CommandStatus;
use serde_json::json;

use super::world::{Setup, World, number, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_while_the_link_is_down_and_not_sent_when_it_is_up() {
    let mut world =
        World::new(Setup { behaviour: quick(), settings: "[otp]\ndeadline_ms = 600", ..Setup::default() }).await;
    world.carrier_until("it is bound", |t| t.binds > 0).await;
    world.carrier.refuse_binds(Some(CommandStatus::RBINDFAIL));
    world.carrier.drop_links();
    let mut ids = Vec::new();
    for n in 0..5 {
        let answer = world.api.post("/v1/messages", "", &json!({"to": number(n), "otp": true})).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "otp_failed"), "{}", answer.text);
        ids.push(answer.json()["message_id"].as_str().unwrap().to_owned());
    }
    // One more is cut off by a crash: it is found past its deadline at the next start.
    let (api, to) = (world.api.clone(), number(5));
    let cut_off = tokio::spawn(async move { api.post("/v1/messages", "", &json!({"to": to, "otp": true})).await });
    world.until("it is stored", async || world.api.messages().await.len() == 6).await;
    world.kill().await;
    assert!(cut_off.await.unwrap().is_err());
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    world.carrier.refuse_binds(None);
    world.start().await;
    // What is sent after them has overtaken nothing: codes go first.
    world.api.message(100, "afterwards").await;
    world.carrier_until("the link is up again", |t| t.accepted > 0).await;
    let messages = world.ended().await;
    assert_eq!(messages.iter().filter(|m| m["status"] == "failed").count(), 6, "{messages:?}");
    for id in ids {
        assert_eq!(world.api.history(&id).await["error"]["code"], "otp_deadline");
    }
    world.check_money(&messages).await;
    assert_eq!((world.carrier.totals().submits, world.api.available().await.as_str()), (1, "99999.95"));
}
