//! `kill -9` while the steps of a drip go out: nobody misses one, and nobody has one twice.

use std::collections::HashMap;
use std::time::Duration;

use carillon_domain::id::{AccountNo, BatchId};
use carillon_store::{batch, message};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::world::{Setup, World, number, postgres, quick};

/// Four windows of 50, as the documentation of `in_doubt` says.
const IN_DOUBT: usize = 200;
const STEPS: usize = 3;
/// Rows that each request reads back.
const PAGE: u32 = 5_000;

async fn drip(world: &World, id: &str) -> Value {
    world.api.get(&format!("/v1/drips/{id}")).await
}

/// Messages handed in of all steps, and those delivered.
async fn come(world: &World, id: &str) -> [i64; 2] {
    let steps = drip(world, id).await["steps"].take();
    let sum = |name: &str| steps.as_array().unwrap().iter().map(|s| s["totals"][name].as_i64().unwrap()).sum();
    [sum("messages"), sum("delivered")]
}

/// Waits until one of these numbers is so high. It may take as long as it takes, as long as it goes on.
async fn reaches(world: &World, id: &str, which: usize, count: i64) {
    loop {
        let before = come(world, id).await;
        if before[which] >= count {
            return;
        }
        world.until("the drip goes on", async || come(world, id).await != before).await;
    }
}

async fn killed(database: String, people: usize, times: i64) {
    let seed: u64 =
        std::env::var("CARILLON_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("CARILLON_FAULT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
    let texts: Vec<String> = (1..=STEPS).map(|n| format!("Hi {{{{name}}}}, number {n}")).collect();
    let steps: Vec<Value> = texts.iter().map(|text| json!({"delay_s": 1, "text": text})).collect();
    let body = json!({"name": "Welcome", "category": "transactional", "steps": steps});
    let made = world.api.post("/v1/drips", "", &body).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/drips/{id}");
    assert_eq!(world.api.post(&format!("{path}/activate"), "", &json!({})).await.unwrap().status, 200);
    let all: Vec<Value> =
        (0..people).map(|n| json!({"phone": number(n), "variables": {"name": format!("n{n}")}})).collect();
    for some in all.chunks(1_000) {
        let entered = world.api.post(&format!("{path}/enrollments"), "", &json!({ "people": some })).await.unwrap();
        assert_eq!(entered.json()["entered"], some.len(), "{}", entered.text);
    }
    let total = (people * STEPS) as i64;
    for n in 1..=times {
        reaches(&world, &id, 0, total * n / (times + 1)).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
        eprintln!("killed at {:?}", come(&world, &id).await);
        world.kill().await;
        world.start().await;
        // Whoever asks again changes nothing.
        let again =
            world.api.post(&format!("{path}/enrollments"), "", &json!({ "people": all[..1_000] })).await.unwrap();
        assert_eq!(again.json(), json!({"entered": 0, "unchanged": 1_000}));
    }
    reaches(&world, &id, 1, total).await;
    world.until("all have finished", async || drip(&world, &id).await["people"]["waiting"] == 0).await;
    let done = drip(&world, &id).await;
    assert_eq!(done["people"]["ended"], json!({"finished": people}));
    for step in done["steps"].as_array().unwrap() {
        let totals = &step["totals"];
        assert_eq!(
            (&totals["messages"], &totals["delivered"], &totals["skipped"]),
            (&json!(people), &json!(people), &json!({}))
        );
    }
    world.check_money(&[]).await;

    let db = world.database().await;
    let account: AccountNo = id.parse::<carillon_domain::id::DripId>().unwrap().account();
    let mut got: HashMap<u64, Vec<String>> = HashMap::new();
    let mut before: Option<BatchId> = None;
    loop {
        let batches = batch::list(&db, account, before, 100).await.unwrap();
        let Some(last) = batches.last() else { break };
        before = Some(last.id);
        for wave in &batches {
            let mut after = None;
            loop {
                let page = message::of_batch(&db, account, wave.id, after, PAGE).await.unwrap();
                for m in page.rows {
                    got.entry(m.phone).or_default().push(m.body.to_string());
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
    }
    assert_eq!(got.len(), people, "nobody was missed");
    for (n, person) in (0..people).map(|n| (n, number(n))) {
        let mut texts = got.remove(&person[1..].parse().unwrap()).unwrap();
        texts.sort();
        let expected: Vec<String> = (1..=STEPS).map(|step| format!("Hi n{n}, number {step}")).collect();
        assert_eq!(texts, expected, "each step once");
    }
    let again: usize = world.carrier.taken_again().iter().map(|(_, count)| *count as usize - 1).sum();
    eprintln!("{again} of {total} were taken again by the carrier after {times} deaths");
    assert!(again <= times as usize * IN_DOUBT, "{again} messages were sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_times_on_sqlite() {
    killed(String::new(), 6_000, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_on_postgres() {
    killed(postgres().await, 4_000, 3).await;
}
