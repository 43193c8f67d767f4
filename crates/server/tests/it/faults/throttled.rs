//! The carrier throttles half of what it is sent.

use carillon::simulator::Behaviour;

use super::world::{Setup, World, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_delivered_once() {
    let behaviour = Behaviour { throttle_percent: 50.0, ..quick() };
    let world = World::new(Setup { behaviour, ..Setup::default() }).await;
    world.api.batch(0, 150, "hello").await;
    for n in 150..200 {
        world.api.message(n, &format!("{n} {}", "long ".repeat(60))).await;
    }
    world.all_ended_as("delivered", 200).await;
    assert!(world.carrier.totals().throttled > 100, "{:?}", world.carrier.totals());
    assert_eq!(world.carrier.taken_again(), []);
}
