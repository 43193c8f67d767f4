//! HTTP carriers that misbehave, receipts that come in any order, and a server that is killed meanwhile. An SMPP carrier stands behind the
//! HTTP one: what may go elsewhere goes there.

use serde_json::json;

use super::web::{Does, Web, connection};
use super::world::{Setup, World, postgres, quick};

const COUNT: usize = 20;
/// Times that let a test end soon.
const SOON: &str = "response_timeout_ms = 300\nunknown_wait_s = 1\nunknown = \"give_up\"";

async fn world(does: Does, more: &str, database: String) -> (World, Web) {
    let (web, address) = Web::start(does).await;
    let settings = connection(&address, more);
    let world = World::new(Setup { behaviour: quick(), settings, database, ..Setup::default() }).await;
    (world, web)
}

/// Two parts, and what JSON would trip over.
fn long() -> String {
    "\"Grüße\" \\ ".repeat(20)
}

async fn has(world: &World, id: &str, status: &str) {
    world.until(status, async || world.api.history(id).await["status"] == status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_in_any_order_bill_a_message_once() {
    for database in [String::new(), postgres().await] {
        let (world, web) = world(Does::Take, "", database).await;
        let id = world.api.message(0, &long()).await;
        has(&world, &id, "sent").await;
        let taken = &web.taken()[0];
        assert_eq!((&taken["text"], &taken["parts"], &taken["id"]), (&json!(long()), &json!(2), &json!(id)));
        // Interim, final, twice, and its opposite.
        for status in ["ACCEPTD", "DELIVRD", "DELIVRD", "UNDELIV"] {
            assert_eq!(web.report(&world.api, 0, status).await.status, 204, "{status}");
        }
        has(&world, &id, "delivered").await;
        // Early: before the answer it belongs to.
        let path = web.callback_path();
        let early = json!({ "mid": "c1", "dst": super::world::number(1).trim_start_matches('+'), "st": "UNDELIV", "err": "001" });
        assert_eq!(world.api.call_back(&path, early).await.status, 204);
        let failed = world.api.message(1, &long()).await;
        has(&world, &failed, "undelivered").await;
        assert_eq!(world.api.history(&failed).await["error"]["code"], "unknown_subscriber");
        let messages = world.ended().await;
        world.check_money(&messages).await;
        assert_eq!((web.asked(), world.carrier.totals().submits), (2, 0), "one request a message, whatever its parts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_carriers_is_not_believed() {
    let (world, web) = world(Does::Take, "", String::new()).await;
    let id = world.api.message(0, "hello").await;
    has(&world, &id, "sent").await;
    let good = web.callback_path();
    let (rest, token) = good.rsplit_once('/').unwrap();
    let other: String = token.chars().rev().collect();
    let body = json!({ "mid": "c0", "dst": web.taken()[0]["to"], "st": "DELIVRD" });
    // Too large by a little: the server has read all of it when it refuses, so that the answer is not lost with the connection.
    let large = json!({ "mid": "c0", "st": "x".repeat(1 << 20) });
    let table = [
        (format!("{rest}/{other}"), &body, 403),
        (format!("{rest}/{}", &token[1..]), &body, 403),
        (good.replace("con_", "con_7"), &body, 404),
        ("/v1/callbacks/con_01h455vb4pex5vsknk084sn02q/0".to_owned(), &body, 404),
        ("/v1/callbacks/nonsense/0".to_owned(), &body, 404),
        (good.clone(), &large, 413),
        (good.clone(), &json!({ "something": "else" }), 400),
        (good.clone(), &json!([]), 400),
    ];
    for (path, body, status) in table {
        let answer = world.api.call_back(&path, body.clone()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.json()["code"].is_string(), "a problem: {}", answer.text);
    }
    assert_eq!(world.api.history(&id).await["status"], "sent", "and nothing came of it");
    assert_eq!(web.report(&world.api, 0, "DELIVRD").await.status, 204);
    world.all_ended_as("delivered", 1).await;
    assert_eq!(world.logged("s3cret") + world.logged(token), 0, "no secret in the log");
}

/// The carrier answers 500, or sends us elsewhere: another connection takes over, and nobody is asked but the carrier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_redirects_lead_to_the_next_connection() {
    let (elsewhere, address) = Web::start(Does::Take).await;
    for does in [Does::Status(500, 0), Does::Redirect(format!("{address}/send")), Does::Status(401, 0)] {
        let (world, web) = world(does.clone(), "attempts_max = 2", String::new()).await;
        for n in 0..COUNT {
            world.api.message(n, "hello").await;
        }
        world.all_ended_as("delivered", COUNT).await;
        assert!(web.asked() >= 1, "{does:?}");
        assert_eq!(world.carrier.totals().submits, COUNT as u64, "{does:?}: each once");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
}

/// The carrier hangs, or answers what nobody can read: it may have the message, so nobody else gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_not_sent_again() {
    for does in [Does::Hang, Does::Garble] {
        let (world, web) = world(does.clone(), SOON, String::new()).await;
        for n in 0..5 {
            world.api.message(n, "hello").await;
        }
        let messages = world.all_ended_as("failed", 5).await;
        assert!(messages.iter().all(|m| m["error"]["code"] == "outcome_unknown"), "{does:?}: {}", messages[0]);
        assert_eq!((web.taken_again(), world.carrier.totals().submits), (0, 0), "{does:?}");
    }
}

/// A receipt tells what the answer did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_settles_an_unknown_outcome() {
    let (world, web) = world(Does::Hang, "response_timeout_ms = 300\nunknown_wait_s = 600", String::new()).await;
    let id = world.api.message(0, &long()).await;
    let unknown = async || {
        let m = world.api.history(&id).await;
        m["history"].as_array().unwrap().iter().any(|e| e["event"] == "unknown")
    };
    world.until("the outcome is unknown", unknown).await;
    assert_eq!(web.report(&world.api, 0, "DELIVRD").await.status, 204);
    world.all_ended_as("delivered", 1).await;
    assert_eq!((web.asked(), world.carrier.totals().submits), (1, 0));
}

/// Asked for less, it waits as long as it was told and then sends all, in the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_requests_are_made_later() {
    let (world, web) = world(Does::Take, "window = 4", String::new()).await;
    web.first([Does::Status(429, 1), Does::Status(503, 1)]);
    let delivering = web.deliver_all(&world.api);
    for n in 0..COUNT {
        world.api.message(n, "hello").await;
    }
    world.all_ended_as("delivered", COUNT).await;
    delivering.abort();
    assert_eq!((web.taken().len(), web.taken_again(), world.carrier.totals().submits), (COUNT, 0, 0));
}

/// Nobody listens there: nothing was written, so all of it goes elsewhere at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_is_not_there_harms_nothing() {
    let settings = connection("http://127.0.0.1:1", "");
    let world = World::new(Setup { behaviour: quick(), settings, ..Setup::default() }).await;
    for n in 0..COUNT {
        world.api.message(n, "hello").await;
    }
    world.all_ended_as("delivered", COUNT).await;
    assert_eq!(world.carrier.totals().submits, COUNT as u64, "each once");
}

/// `kill -9` while requests and receipts are under way: nothing is lost or billed twice, and no more is sent twice than was in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_amid() {
    const WINDOW: usize = 20;
    const MANY: usize = 1_200;
    const TIMES: usize = 4;
    for database in [String::new(), postgres().await] {
        let (mut world, web) = world(Does::Take, "window = 20\nrate = 600", database).await;
        world.api.batch(0, MANY, "hello").await;
        let delivering = web.deliver_all(&world.api);
        for time in 1..=TIMES {
            world.until("it has taken some", async || web.taken().len() >= time * MANY / (TIMES + 2)).await;
            world.kill().await;
            world.start().await;
        }
        world.all_ended_as("delivered", MANY).await;
        delivering.abort();
        assert!(web.taken_again() <= TIMES * 4 * WINDOW, "{} were sent twice", web.taken_again());
        assert_eq!(world.carrier.totals().submits, 0, "the other carrier was not needed");
    }
}
