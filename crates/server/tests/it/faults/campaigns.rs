//! `kill -9` while a campaign writes its audience and hands it in: nobody is missed, and nobody is written to twice.

use std::collections::HashSet;
use std::time::Duration;

use carillon_domain::id::BatchId;
use carillon_store::message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::world::{Setup, World, number, postgres, quick};

/// Four windows of 50, as the documentation of `in_doubt` says.
const IN_DOUBT: usize = 200;
/// Rows that each request reads back.
const PAGE: u32 = 5_000;

/// Repeats a run: `CARILLON_FAULT_SEED=… cargo nextest run faults::campaigns`.
fn seed() -> u64 {
    let seed =
        std::env::var("CARILLON_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("CARILLON_FAULT_SEED={seed}");
    seed
}

/// Launches it, whatever becomes of the server meanwhile: with its key the same launch may be asked for again.
async fn launch(world: &World, id: &str) {
    let path = format!("/v1/campaigns/{id}/launch");
    let answer = world.api.post(&path, "one key", &json!({})).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
}

async fn campaign(world: &World, id: &str) -> Value {
    world.api.get(&format!("/v1/campaigns/{id}")).await
}

/// How far a campaign has come: recipients written, messages handed in, and those that arrived.
async fn steps(world: &World, id: &str) -> [i64; 3] {
    let totals = campaign(world, id).await["totals"].take();
    let of = |name: &str| totals[name].as_i64().unwrap();
    let messages = ["queued", "sent", "delivered", "failed"].map(of).iter().sum();
    [of("recipients"), messages, of("delivered")]
}

/// Waits until one of its counts is so high. It may take as long as it takes, as long as it goes on.
async fn reaches(world: &World, id: &str, which: usize, count: i64) {
    loop {
        let before = steps(world, id).await;
        if before[which] >= count {
            return;
        }
        world.until("the campaign goes on", async || steps(world, id).await != before).await;
    }
}

/// How many people; `CARILLON_CAMPAIGN_PEOPLE=200000` for as many as a large campaign has.
fn people(usual: usize) -> usize {
    std::env::var("CARILLON_CAMPAIGN_PEOPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn killed(database: String, people: usize, times: i64) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
    let total = people as i64;
    // One in a hundred stands there twice, and one number is none.
    let rows: String = (0..people).chain((0..people).step_by(100)).map(|n| format!("{},n{n}\n", number(n))).collect();
    let file = world.api.upload("/v1/audience-files", "text/csv", format!("phone,name\nnobody,x\n{rows}")).await.json();
    let body = json!({"name": "Black Friday", "text": "Hi {{name}}", "category": "transactional", "audience": [{"file": file["id"]}]});
    let made = world.api.post("/v1/campaigns", "", &body).await.unwrap().json();
    let id = made["id"].as_str().unwrap().to_owned();
    launch(&world, &id).await;
    // A third of the deaths while the audience is written, the others while it is handed in.
    let writing = times / 3;
    for n in 1..=times {
        let (which, part, of) = if n <= writing { (0, n, writing + 1) } else { (1, n - writing, times - writing + 1) };
        reaches(&world, &id, which, total * part / of).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
        eprintln!("killed at {:?}", steps(&world, &id).await);
        world.kill().await;
        world.start().await;
        launch(&world, &id).await;
    }
    reaches(&world, &id, 2, total).await;
    world.until("it has finished", async || campaign(&world, &id).await["status"] == "finished").await;
    let done = campaign(&world, &id).await;
    let totals = json!({"recipients": total + 1, "duplicates": people.div_ceil(100), "skipped": 1, "waiting": 0, "queued": 0,
        "sent": 0, "delivered": total, "failed": 0, "parts": total});
    assert_eq!((&done["totals"], &done["runs"]), (&totals, &json!(1)));
    world.check_money(&[]).await;

    let batch: BatchId = done["run"]["batch"].as_str().unwrap().parse().unwrap();
    let (db, mut after, mut to) = (world.database().await, None, HashSet::new());
    loop {
        let page = message::of_batch(&db, batch.account(), batch, after, PAGE).await.unwrap();
        for m in page.rows {
            assert!(to.insert(m.phone), "{} has two messages", m.phone);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(to.len(), people, "nobody was missed");
    let again: usize = world.carrier.taken_again().iter().map(|(_, count)| *count as usize - 1).sum();
    eprintln!("{again} of {people} were taken again by the carrier after {times} deaths");
    assert!(again <= times as usize * IN_DOUBT, "{again} messages were sent twice");
}

/// A winner is chosen, and the server dies before it is sent.
async fn killed_after_the_decision(database: String) {
    let mut world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
    let to: Vec<String> = (0..400).map(number).collect();
    let test = json!({"variants": [{"text": "One"}, {"text": "Two"}], "share": 50, "decide_after_s": 604_800});
    let body = json!({"name": "Which", "category": "transactional", "audience": to, "ab_test": test});
    let made = world.api.post("/v1/campaigns", "", &body).await.unwrap().json();
    let id = made["id"].as_str().unwrap().to_owned();
    launch(&world, &id).await;
    world.until("it waits", async || campaign(&world, &id).await["ab_test"]["decide_at"] != Value::Null).await;
    let chosen = world.api.post(&format!("/v1/campaigns/{id}/winner"), "", &json!({"variant": "B"})).await.unwrap();
    assert_eq!(chosen.status, 200, "{}", chosen.text);
    world.kill().await;
    world.start().await;
    reaches(&world, &id, 2, 400).await;
    world.until("it has finished", async || campaign(&world, &id).await["status"] == "finished").await;
    let done = campaign(&world, &id).await;
    assert_eq!((&done["ab_test"]["winner"], &done["totals"]["recipients"]), (&json!("B"), &json!(400)));
    let steps = steps(&world, &id).await;
    assert_eq!(steps, [400, 400, 400], "everybody once");
    world.check_money(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_decision_of_an_ab_test() {
    killed_after_the_decision(String::new()).await;
    killed_after_the_decision(postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_times_on_sqlite() {
    killed(String::new(), people(30_000), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_on_postgres() {
    killed(postgres().await, people(15_000), 3).await;
}
