//! The carrier drops the link in the middle of a window.

use std::time::Duration;

use carillon::simulator::Behaviour;

use super::world::{Setup, World};

async fn dropped(connection: &'static str) {
    // Receipts come after the wait: until then nobody knows what became of the unanswered.
    let (response_delay, receipt_delay) = (Duration::from_millis(50), Duration::from_millis(2_500));
    let behaviour = Behaviour { response_delay, receipt_delay, ..Behaviour::default() };
    let world = World::new(Setup { behaviour, connection, ..Setup::default() }).await;
    world.api.batch(0, 600, "hello").await;
    for round in 1..=3 {
        world.carrier_until("a window is under way", |t| t.submits > round * 90).await;
        world.carrier.drop_links();
    }
    world.all_ended_as("delivered", 600).await;
    let again = world.carrier.taken_again();
    assert!(!again.is_empty() && again.len() <= 3 * 20, "{} taken twice", again.len());
    for (to, _) in again {
        let found = world.api.get(&format!("/v1/messages?to=%2B{}", to.trim_start_matches('+'))).await;
        let message = world.api.history(found["data"][0]["id"].as_str().unwrap()).await;
        let unknown = message["history"].as_array().unwrap().iter().any(|e| e["event"] == "unknown");
        assert!(unknown, "sent twice without a reason: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_unanswered_is_sent_again_only_after_the_wait() {
    dropped("window = 20\nunknown_wait_s = 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_where_receipts_have_a_link_of_their_own() {
    dropped("window = 20\nunknown_wait_s = 1\nbind = \"transmitter_receiver\"").await;
}
