//! The disk is full: files may not grow. Requests are refused with 503, nothing is lost, and all goes on once there is room.

use serde_json::json;
use tokio::process::Command;

use super::world::{Setup, World, number, quick};

async fn limit_files(world: &World, size: &str) {
    let arguments = ["--pid", &world.pid().to_string(), &format!("--fsize={size}:unlimited")].map(str::to_owned);
    assert!(Command::new("prlimit").args(arguments).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_and_then_not() {
    let world = World::new(Setup { behaviour: quick(), ..Setup::default() }).await;
    world.api.batch(0, 200, "hello").await;
    let size = |name: &str| std::fs::metadata(world.folder.path().join("data").join(name)).unwrap().len();
    let largest = size("carillon.db").max(size("carillon.db-wal"));
    limit_files(&world, &(largest + 200_000).to_string()).await;
    let (mut accepted, mut refused) = (0, 0);
    let text = "x".repeat(1_200);
    while refused < 20 {
        let body = json!({"to": number(1_000 + accepted), "text": text});
        let answer = world.api.post("/v1/messages", "", &body).await.unwrap();
        match answer.status {
            202 => accepted += 1,
            _ => {
                assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{}", answer.text);
                refused += 1;
            }
        }
        assert!(accepted < 20_000, "the disk is never full");
    }
    limit_files(&world, "unlimited").await;
    world.api.batch(50_000, 100, "there is room").await;
    world.all_ended_as("delivered", 300 + accepted).await;
    assert_eq!(world.carrier.taken_again(), []);
}
