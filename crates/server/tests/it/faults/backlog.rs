//! A large backlog waits for a slow carrier (A4).

use serde_json::json;

use super::world::{Setup, World, number, quick};

const BACKLOG: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn express_and_codes_overtake_it() {
    let world = World::new(Setup { behaviour: quick(), connection: "rate = 100", ..Setup::default() }).await;
    world.api.batch(0, BACKLOG, "hello").await;
    world.carrier_until("it is being sent", |t| t.accepted > 10).await;
    let before = world.carrier.totals().accepted;
    let body = json!({"to": number(90_000), "text": "express", "express": true});
    let answer = world.api.post("/v1/messages", "", &body).await.unwrap().json();
    let id = answer["id"].as_str().unwrap();
    world.until("it is delivered", async || world.api.history(id).await["status"] == "delivered").await;
    let code = world.api.post("/v1/messages", "", &json!({"to": number(90_001), "otp": true})).await.unwrap();
    assert_eq!(code.status, 200, "{}", code.text);
    // The carrier's clock is its count: a fair share would have been a twentieth of the backlog, its turn at the end all of it.
    let meanwhile = world.carrier.totals().accepted - before;
    assert!(meanwhile < BACKLOG as u64 / 20, "{meanwhile} of the backlog went first");
}
