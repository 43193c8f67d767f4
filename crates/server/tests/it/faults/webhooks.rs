//! `kill -9` while webhooks are on their way: all of them come, each under one id, whatever was under way comes again under the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::world::{Setup, World, postgres, quick};
use crate::hooks::receiver::{Receiver, Reply};

const MESSAGES: usize = 300;
const SETTINGS: &str = "[webhooks]\nallow_http = true\nallow_private = true\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_has_two_ids() {
    for database in [String::new(), postgres().await] {
        let receiver = Receiver::start().await;
        let mut world =
            World::new(Setup { behaviour: quick(), settings: SETTINGS, database, ..Setup::default() }).await;
        let made = world.api.post("/v1/webhook-endpoints", "", &json!({"url": receiver.url})).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.text);
        // Some are under way and never answered when it dies.
        receiver.answer(Reply::Hang);
        world.api.batch(0, MESSAGES / 2, "hello").await;
        let hanging = receiver.wait(4).await;
        world.kill().await;
        receiver.answer(Reply::Status(200));
        world.start().await;
        for round in 1..=3 {
            world.api.batch(round * MESSAGES, MESSAGES / 6, "hello").await;
            receiver.wait(hanging.len() + round * MESSAGES / 6).await;
            world.kill().await;
            world.start().await;
        }
        let messages = world.ended().await;
        let expected: BTreeSet<(String, String)> = messages
            .iter()
            .flat_map(|m| {
                ["message.sent", "message.delivered"].map(|k| (k.to_owned(), m["id"].as_str().unwrap().to_owned()))
            })
            .collect();
        world
            .until("every event came", async || {
                let came: BTreeSet<_> = receiver.seen().iter().map(|h| h.what()).collect();
                came == expected
            })
            .await;
        let mut ids: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for hook in receiver.seen() {
            ids.entry(hook.what()).or_default().insert(hook.id);
        }
        assert!(ids.values().all(|ids| ids.len() == 1), "an event has one id");
        let again = receiver.seen().len() - expected.len();
        assert!(again >= hanging.len(), "what was under way came again");
        eprintln!("{} events, {again} of them twice", expected.len());
    }
}
