//! The carrier takes messages and never says so: the outcome is unknown, the hold stays, and the policy decides.

use std::time::Duration;

use carillon::simulator::Behaviour;

use super::world::{Setup, World, quick};

const COUNT: usize = 20;

fn silent(receipts: bool, receipt_delay_ms: u64) -> Behaviour {
    let receipt_delay = Duration::from_millis(receipt_delay_ms);
    Behaviour { no_answer_percent: 100.0, no_answer_receipts: receipts, receipt_delay, ..Behaviour::default() }
}

async fn world(behaviour: Behaviour, connection: &'static str) -> World {
    let world = World::new(Setup { behaviour, connection, ..Setup::default() }).await;
    for n in 0..COUNT {
        world.api.message(n, "hello").await;
    }
    world
}

/// Waits until every outcome is known to be unknown.
async fn unknown(world: &World) {
    for m in world.api.messages().await {
        let id = m["id"].as_str().unwrap();
        world
            .until("the outcome is unknown", async || {
                let m = world.api.history(id).await;
                m["history"].as_array().unwrap().iter().any(|e| e["event"] == "unknown")
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_again_where_the_policy_says_so() {
    let world = world(silent(false, 20), "response_timeout_ms = 300\nunknown_wait_s = 2").await;
    unknown(&world).await;
    for m in world.api.messages().await {
        assert_eq!(m["price"]["held"], "0.05", "{m}");
    }
    assert_eq!(world.carrier.taken_again(), [], "nothing is sent again before the wait is over");
    world.carrier.set_behaviour(quick());
    world.all_ended_as("delivered", COUNT).await;
    assert!(world.carrier.taken_again().iter().all(|(_, times)| *times == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_up_where_the_policy_says_so() {
    let world = world(silent(false, 20), "response_timeout_ms = 300\nunknown_wait_s = 1\nunknown = \"give_up\"").await;
    let free = world.api.available().await;
    let messages = world.all_ended_as("failed", COUNT).await;
    assert!(messages.iter().all(|m| m["error"]["code"] == "outcome_unknown"), "{}", messages[0]);
    assert_ne!(world.api.available().await, free, "what was held is free again");
    assert_eq!(world.api.available().await, "100000.00");
    assert_eq!(world.carrier.totals().submits, COUNT as u64, "none was sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settled_by_a_receipt_that_comes_without_an_answer() {
    // After the answer was given up, and before.
    for receipt_delay_ms in [900, 50] {
        let world = world(silent(true, receipt_delay_ms), "response_timeout_ms = 300\nunknown_wait_s = 600").await;
        world.all_ended_as("delivered", COUNT).await;
        assert_eq!(world.carrier.totals().submits, COUNT as u64, "none was sent again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settled_by_an_answer_that_comes_late() {
    let world = World::new(Setup {
        behaviour: quick(),
        connection: "response_timeout_ms = 300\nunknown_wait_s = 600",
        ..Setup::default()
    })
    .await;
    world.carrier.pause_answers(true);
    for n in 0..COUNT {
        world.api.message(n, "hello").await;
    }
    unknown(&world).await;
    world.carrier.pause_answers(false);
    world.all_ended_as("delivered", COUNT).await;
    assert_eq!(world.carrier.totals().submits, COUNT as u64, "none was sent again");
}
