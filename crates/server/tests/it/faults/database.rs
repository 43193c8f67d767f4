//! The database takes nothing for a while: requests are refused with 503, nothing is lost, and all goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use carillon_store::testing::TestPostgres;
use parking_lot::Mutex;
use serde_json::json;
use sqlx::{Connection, Executor};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::load::{Load, check_answers};
use super::world::{Setup, World, number, postgres, quick};

/// While the database is away and outcomes wait for it, a request is refused; once it is back, all that was accepted is delivered.
async fn refused_until(world: &World, back: impl AsyncFnOnce()) {
    let refused = world.api.post("/v1/messages", "", &json!({"to": number(9_000), "text": "not now"})).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{}", refused.text);
    assert!(refused.headers["retry-after"].parse::<u32>().is_ok_and(|s| s > 0));
    back().await;
    let late = json!({"to": number(9_001), "text": "now"});
    world
        .until("it takes messages again", async || {
            world.api.post("/v1/messages", "", &late).await.unwrap().status == 202
        })
        .await;
    world.all_ended_as("delivered", 301).await;
    assert_eq!(world.carrier.taken_again(), []);
}

/// Holds the lock that every writer of the file needs.
async fn locked(world: &World) -> sqlx::SqliteConnection {
    let file = world.folder.path().join("data/carillon.db");
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    other
}

const WINDOW: usize = 20;

/// 300 messages, of which some are with the carrier and most still wait.
async fn busy(database: String) -> World {
    let mut behaviour = quick();
    behaviour.response_delay = Duration::from_millis(100);
    let world = World::new(Setup { behaviour, database, connection: "window = 20", ..Setup::default() }).await;
    world.api.batch(0, 300, "hello").await;
    world.carrier_until("some are taken", |t| t.accepted > 20).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_locked_by_another_process() {
    let world = busy(String::new()).await;
    let mut other = locked(&world).await;
    refused_until(&world, async || {
        other.execute("ROLLBACK").await.unwrap();
    })
    .await;
}

/// What waits to be written cannot wait for ever: the end is then like a crash, and costs no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_while_it_is_locked() {
    let mut world = busy(String::new()).await;
    let mut other = locked(&world).await;
    world.terminate().await;
    other.execute("ROLLBACK").await.unwrap();
    world.start().await;
    world.all_ended_as("delivered", 300).await;
    let again = world.carrier.taken_again();
    assert!(again.len() <= 4 * WINDOW && again.iter().all(|(_, times)| *times == 2), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_with_a_table_locked() {
    let database = postgres().await;
    let world = busy(database.clone()).await;
    let mut other = sqlx::PgConnection::connect(&database).await.unwrap();
    other.execute("BEGIN; LOCK TABLE message IN EXCLUSIVE MODE").await.unwrap();
    refused_until(&world, async || {
        other.execute("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_out_of_reach() {
    let database = TestPostgres::start().fresh_database().await;
    let (head, rest) = database.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let wire = Wire::to(address.to_owned()).await;
    let world = busy(format!("{head}@{}/{name}", wire.address)).await;
    wire.cut();
    refused_until(&world, async || wire.mend()).await;
}

/// A connection that can be cut.
struct Wire {
    address: String,
    cut: Arc<Mutex<CancellationToken>>,
}

impl Wire {
    async fn to(target: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let state = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (cut, target) = (state.lock().clone(), target.clone());
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    let mut far = TcpStream::connect(target).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                }));
            }
        });
        Wire { address, cut }
    }

    /// Every connection is lost, and new ones are at once.
    fn cut(&self) {
        self.cut.lock().cancel();
    }

    fn mend(&self) {
        *self.cut.lock() = CancellationToken::new();
    }
}

/// Requests whose commit it took back are refused, outcomes are settled again, and all goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_crashes_three_times() {
    let postgres = TestPostgres::private();
    let database = postgres.fresh_database().await;
    let world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
    let load = Load::start(&world.api, 16);
    for _ in 0..3 {
        let taken = world.carrier.totals().accepted;
        world.carrier_until("messages go out", |t| t.accepted > taken + 200).await;
        postgres.crash().await;
    }
    let asked = load.stop().await;
    let messages = world.ended().await;
    world.check_money(&messages).await;
    assert_eq!(world.carrier.taken_again(), [], "what was sent is known");
    check_answers(&world.api, &asked, &messages).await;
}
