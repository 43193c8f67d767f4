//! What waits for its time, and what short links count, over `kill -9`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::world::{Setup, World, number, postgres, quick};

/// Some thousands at one instant.
const MANY: usize = 4_000;
const WINDOW: usize = 20;

#[expect(clippy::disallowed_methods, reason = "the server's clock is the machine's")]
fn in_ms(ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    jiff::Timestamp::from_millisecond((now + ms) as i64).unwrap().to_string()
}

/// Killed before its time came and again in the midst of it, all of a batch goes out, and but for what was on its way nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_batch_goes_out_although_the_server_is_killed_in_the_midst() {
    for database in [String::new(), postgres().await] {
        let setup = Setup { behaviour: quick(), connection: "window = 20\nrate = 2000", database, ..Setup::default() };
        let mut world = World::new(setup).await;
        let to: Vec<String> = (0..MANY).map(number).collect();
        let body = json!({"to": to, "text": "hello", "scheduled_at": in_ms(20_000)});
        let answer = world.api.post("/v1/batches", "", &body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        let path = format!("/v1/batches/{}", answer.json()["id"].as_str().unwrap());
        assert_eq!(world.carrier.totals().accepted, 0, "none before its time");
        world.kill().await;
        world.start().await;
        let moved = world.api.patch(&path, &json!({"scheduled_at": in_ms(6_000)})).await;
        assert_eq!((moved["moved"].as_u64(), moved["kept"].as_u64()), (Some(MANY as u64), Some(0)), "{moved}");
        assert_eq!(world.carrier.totals().accepted, 0, "none before its time");
        world.carrier_until("it is being sent", |t| t.accepted > 500).await;
        world.kill().await;
        world.start().await;
        world.all_ended_as("delivered", MANY).await;
        let again: u64 = world.carrier.taken_again().iter().map(|(_, count)| u64::from(*count) - 1).sum();
        assert!(again <= 4 * WINDOW as u64, "{again} were sent twice");
    }
}

/// Whoever was sent on is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_that_were_answered_are_counted_although_the_server_is_killed() {
    for database in [String::new(), postgres().await] {
        let mut world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
        let body = json!({"to": number(1), "text": "https://shop.example/sale", "shorten_links": true});
        let answer = world.api.post("/v1/messages", "", &body).await.unwrap().json();
        let id = answer["links"][0].as_str().unwrap().to_owned();
        let link = world.api.get(&format!("/v1/links/{id}")).await;
        let path = link["url"].as_str().unwrap().strip_prefix("https://carillon.test").unwrap().to_owned();
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let people: Vec<_> = (0..8)
            .map(|_| {
                let (api, path, answered, stop) = (world.api.clone(), path.clone(), answered.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        match api.open(&path).await {
                            Some(302) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Some(other) => panic!("{other}"),
                            None => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                })
            })
            .collect();
        for round in 1..=3 {
            world.until("people are sent on", async || answered.load(Ordering::Relaxed) > round * 50).await;
            world.kill().await;
            world.start().await;
        }
        stop.store(true, Ordering::Relaxed);
        for person in people {
            person.await.unwrap();
        }
        let counted = world.api.get(&format!("/v1/links/{id}")).await["clicks"]["human"].as_u64().unwrap();
        let answered = answered.load(Ordering::Relaxed);
        // Of those who asked when it was killed, some were counted and never heard of it.
        assert!((answered..=answered + 3 * 8).contains(&counted), "{answered} answered, {counted} counted");
    }
}
