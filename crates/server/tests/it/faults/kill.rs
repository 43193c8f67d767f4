//! `kill -9`, again and again.

use std::collections::HashSet;
use std::time::Duration;

use carillon::simulator::Behaviour;
use carillon_smpp::CommandStatus;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::load::{Asked, Load, check_answers};
use super::world::{Setup, World, number, postgres, quick};

const WINDOW: usize = 20;
/// Four windows, as the documentation of `in_doubt` says.
const IN_DOUBT: usize = 4 * WINDOW;
/// Recipients of a batch that takes many commits.
const LARGE: usize = 10_000;
const CONNECTION: &str = "window = 20";

/// Repeats a run: `CARILLON_FAULT_SEED=… cargo nextest run faults::kill`.
fn seed() -> u64 {
    let seed =
        std::env::var("CARILLON_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("CARILLON_FAULT_SEED={seed}");
    seed
}

async fn killed(database: String, times: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut world =
        World::new(Setup { behaviour: quick(), connection: CONNECTION, database, ..Setup::default() }).await;
    let load = Load::start(&world.api, 16);
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
        world.kill().await;
        world.start().await;
    }
    let asked = load.stop().await;
    let messages = world.ended().await;
    world.check_money(&messages).await;
    let again = world.carrier.taken_again();
    let codes: HashSet<&str> = asked.iter().filter_map(Asked::code_to).collect();
    assert!(
        again.iter().all(|(to, _)| !codes.contains(to.trim_start_matches('+'))),
        "a one-time code was sent twice: {again:?}"
    );
    let again: usize = again.iter().map(|(_, count)| *count as usize - 1).sum();
    eprintln!("{} messages, {again} taken again, carrier {:?}", messages.len(), world.carrier.totals());
    assert!(again <= times * IN_DOUBT, "{again} messages were sent twice");
    check_answers(&world.api, &asked, &messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_on_sqlite() {
    killed(String::new(), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_on_postgres() {
    killed(postgres().await, 3).await;
}

/// Where a carrier is to get nothing twice, a part is claimed before it is handed over: what was perhaps handed over when the process died is
/// not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_where_the_connection_says_so() {
    let mut random = StdRng::seed_from_u64(seed());
    for (database, times) in [(String::new(), 5), (postgres().await, 2)] {
        let connection = "window = 20\nunknown = \"give_up\"\nunknown_wait_s = 2";
        let mut world = World::new(Setup { behaviour: quick(), connection, database, ..Setup::default() }).await;
        let load = Load::start(&world.api, 16);
        for _ in 0..times {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
            world.kill().await;
            world.start().await;
        }
        let asked = load.stop().await;
        let messages = world.ended().await;
        world.check_money(&messages).await;
        assert_eq!(world.carrier.taken_again(), [], "nothing was sent twice");
        // Of a long message, perhaps one part only.
        let given_up =
            |m: &Value| matches!(m["error"]["code"].as_str(), Some("outcome_unknown" | "partially_delivered"));
        let unknown = messages.iter().filter(|m| given_up(m)).count();
        eprintln!("{} messages, {unknown} of unknown outcome, carrier {:?}", messages.len(), world.carrier.totals());
        assert!(unknown <= times * IN_DOUBT, "{unknown} messages were given up");
        // Codes end at their deadline; all else arrived, or may have and is not sent again.
        let ordinary = messages.iter().filter(|m| m["lane"] != "otp");
        let lost: Vec<_> = ordinary.filter(|m| m["status"] != "delivered" && !given_up(m)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let answered: usize = asked.iter().map(|a| a.messages).sum();
        assert!(messages.len() >= answered, "{} of {answered} messages are there", messages.len());
    }
}

/// What the carrier was told is safe is safe: a receipt is acknowledged after its commit, and all others come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_receipts_come_in() {
    for database in [String::new(), postgres().await] {
        let behaviour = Behaviour { receipt_delay: Duration::from_millis(1_500), ..Behaviour::default() };
        let mut world = World::new(Setup { behaviour, database, ..Setup::default() }).await;
        for round in 0..3 {
            world.api.batch(round * 400, 400, "hello").await;
            world.until("all are with the carrier", async || !world.api.any("queued").await).await;
            let before = round as u64 * 400;
            world.carrier_until("some receipts are acknowledged", |t| t.acknowledged > before + 20).await;
            world.kill().await;
            let acknowledged = world.carrier.totals().acknowledged;
            world.carrier.refuse_binds(Some(CommandStatus::RBINDFAIL));
            world.start().await;
            let messages = world.api.messages().await;
            let delivered = messages.iter().filter(|m| m["status"] == "delivered").count();
            assert!(delivered as u64 >= acknowledged, "{acknowledged} acknowledged, {delivered} known");
            world.carrier.refuse_binds(None);
            world.ended().await;
        }
        world.all_ended_as("delivered", 1_200).await;
        assert_eq!(world.carrier.taken_again(), []);
    }
}

/// A batch of many chunks is there whole or not at all, and its money with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_large_batch_is_taken() {
    let mut random = StdRng::seed_from_u64(seed());
    for database in [String::new(), postgres().await] {
        let mut world = World::new(Setup { behaviour: quick(), database, ..Setup::default() }).await;
        let body = json!({"to": (0..LARGE).map(number).collect::<Vec<_>>(), "text": "hello"});
        for _ in 0..4 {
            let (api, body) = (world.api.clone(), body.clone());
            let asked = tokio::spawn(async move { api.post("/v1/batches", "one key", &body).await });
            world.until("its money is held", async || world.api.held().await != "0.00").await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
            world.kill().await;
            world.start().await;
            world.check_money(&[]).await;
            let stored = world.api.messages().await.len();
            let answered = asked.await.unwrap().is_ok_and(|a| a.status == 202);
            assert!(stored == LARGE || (stored == 0 && !answered), "{stored} of {LARGE} are there");
            if stored == LARGE {
                break;
            }
        }
        let answer = world.api.post("/v1/batches", "one key", &body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        world.all_ended_as("delivered", LARGE).await;
        eprintln!("killed in the middle of it {} times", world.logged("never accepted"));
    }
}
