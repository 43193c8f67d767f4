//! An orderly end under load: nothing is lost, and nothing is sent twice.

use std::time::Duration;

use super::load::{Load, check_answers};
use super::world::{Setup, World, postgres, quick};

async fn stopped(database: String) {
    let mut behaviour = quick();
    behaviour.response_delay = Duration::from_millis(30);
    let mut world = World::new(Setup { behaviour, database, ..Setup::default() }).await;
    let load = Load::start(&world.api, 16);
    for round in 1..=3 {
        world.carrier_until("it is busy", |t| t.accepted > round * 150).await;
        world.terminate().await;
        world.start().await;
    }
    let asked = load.stop().await;
    let messages = world.ended().await;
    world.check_money(&messages).await;
    assert_eq!(world.carrier.taken_again(), [], "an orderly end leaves nothing in doubt");
    check_answers(&world.api, &asked, &messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    stopped(String::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    stopped(postgres().await).await;
}
