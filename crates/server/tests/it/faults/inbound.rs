//! `kill -9` while phones write: what the carrier was told is safe is there, once, and whoever is to hear of it does, once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use carillon::simulator::Written;
use carillon_smpp::CommandStatus;
use serde_json::{Value, json};

use super::world::{Setup, World, number, postgres, quick};
use crate::hooks::receiver::Receiver;

const OWN: &str = "4915735983801";
const REPLY: &str = "Today: lasagne";
/// Messages of a round; every third asks for an answer.
const ROUND: usize = 150;
const SETTINGS: &str = "[webhooks]\nallow_http = true\nallow_private = true\n";

fn written(from: &str, text: &str) -> Written {
    let from = from.trim_start_matches('+').to_owned();
    Written { from, to: OWN.into(), data_coding: 3, short_message: text.into(), ..Written::default() }
}

fn part(from: &str, total: u8, index: u8, text: &str) -> Written {
    let short_message = [&[5, 0, 3, 7, total, index], text.as_bytes()].concat();
    Written { esm_class: 0x40, short_message, ..written(from, "") }
}

/// The n-th phone says something that nobody else says.
fn says(n: usize) -> Written {
    if n.is_multiple_of(3) { written(&number(n), "menu") } else { written(&number(n), &format!("hello {n}")) }
}

async fn world(database: String) -> World {
    let world = World::new(Setup { behaviour: quick(), settings: SETTINGS, database, ..Setup::default() }).await;
    let account = world.api.get("/v1/me").await["account"]["id"].clone();
    for (path, body) in [
        ("/v1/admin/inbound-numbers", json!({"number": format!("+{OWN}"), "account": account})),
        ("/v1/keyword-rules", json!({"keyword": "menu", "reply": REPLY})),
    ] {
        let made = world.api.post(path, "", &body).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.text);
    }
    world
}

/// All messages from phones.
async fn inbound(world: &World) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.api.get(&format!("/v1/inbound-messages?limit=200{cursor}")).await;
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

fn texts<'a>(all: &'a [Value], field: &str) -> Vec<&'a str> {
    all.iter().map(|m| m[field].as_str().unwrap()).collect()
}

async fn killed(database: String, times: usize) {
    let receiver = Receiver::start().await;
    let mut world = world(database).await;
    let endpoint = json!({"url": receiver.url, "events": ["message.received"]});
    assert_eq!(world.api.post("/v1/webhook-endpoints", "", &endpoint).await.unwrap().status, 201);
    for round in 0..times {
        (round * ROUND..(round + 1) * ROUND).for_each(|n| world.carrier.write(says(n)));
        let before = (round * ROUND) as u64;
        world.carrier_until("some are acknowledged", |t| t.phones > before + 10).await;
        world.kill().await;
        let acknowledged = world.carrier.totals().phones;
        world.carrier.refuse_binds(Some(CommandStatus::RBINDFAIL));
        world.start().await;
        let known = inbound(&world).await.len() as u64;
        assert!(known >= acknowledged, "{acknowledged} acknowledged, {known} known");
        world.carrier.refuse_binds(None);
        let all = before + ROUND as u64;
        world.carrier_until("all are acknowledged", |t| t.phones >= all).await;
        eprintln!("killed with {} of {ROUND} acknowledged and {known} known", acknowledged - before);
    }
    let count = times * ROUND;
    let all = inbound(&world).await;
    let expected: BTreeSet<String> = (0..count).map(number).collect();
    let came: BTreeSet<String> = texts(&all, "from").into_iter().map(str::to_owned).collect();
    assert_eq!((all.len(), came), (count, expected), "each is there once");

    let ids: HashSet<&str> = texts(&all, "id").into_iter().collect();
    let told = || {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for hook in receiver.seen() {
            told.entry(hook.what().1).or_default().insert(hook.id);
        }
        told
    };
    world.until("every message is told of", async || told().len() >= count).await;
    let told = told();
    assert!(told.keys().all(|id| ids.contains(id.as_str())), "and nothing else");
    assert!(told.values().all(|events| events.len() == 1), "a message is one event, however often it is sent");

    let asked: BTreeSet<String> = (0..count).step_by(3).map(number).collect();
    world.until("all are answered", async || world.api.messages().await.len() >= asked.len()).await;
    let answers = world.ended().await;
    let answered: BTreeSet<String> = texts(&answers, "to").into_iter().map(str::to_owned).collect();
    assert_eq!((answers.len(), answered), (asked.len(), asked), "each that asked is answered once");
    assert!(answers.iter().all(|m| m["text"] == REPLY));
    world.check_money(&answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_on_sqlite() {
    killed(String::new(), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_on_postgres() {
    killed(postgres().await, 3).await;
}

/// A part that was acknowledged is kept through it: the rest makes the message whole, or it is shown with a gap when its time is up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_half_a_long_message_received() {
    for database in [String::new(), postgres().await] {
        let mut world = world(database).await;
        let (whole, half) = (number(1), number(2));
        world.carrier.write(part(&whole, 3, 3, "three"));
        world.carrier.write(part(&whole, 3, 1, "one "));
        world.carrier.write(part(&half, 2, 1, "menu "));
        world.carrier_until("the first parts are acknowledged", |t| t.phones == 3).await;
        world.kill().await;
        world.start().await;
        world.carrier.write(part(&whole, 3, 2, "two "));
        world.until("it is whole", async || inbound(&world).await.len() == 1).await;
        let first = inbound(&world).await.remove(0);
        assert_eq!((&first["text"], &first["missing_parts"]), (&json!("one two three"), &json!([])));
        assert_eq!(first["from"], json!(whole));
        world.kill().await;
        let file = world.folder.path().join("carillon.toml");
        let settings = std::fs::read_to_string(&file).unwrap() + "\n[inbound]\nparts_wait_s = 1\n";
        std::fs::write(&file, settings).unwrap();
        world.start().await;
        world.until("its time is up", async || inbound(&world).await.len() == 2).await;
        let late = inbound(&world).await.remove(0);
        assert_eq!((&late["text"], &late["missing_parts"]), (&json!("menu […]"), &json!([2])));
        assert_eq!((&late["from"], &late["action"]), (&json!(half), &json!("none")), "with a gap it is no keyword");
        assert_eq!(world.api.messages().await, [] as [Value; 0]);
    }
}
