//! `kill -9` while a table of contacts is taken in: each row counts once, whatever was lost.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::world::{Setup, World, postgres};

/// Rows of the file; every tenth repeats a number, every twentieth is wrong.
const ROWS: usize = 12_000;
const KILLS: usize = 4;

fn file() -> String {
    let row = |n: usize| match n {
        n if n % 20 == 7 => format!("nobody,{n}\n"),
        n if n % 10 == 3 => format!("+49151{:08},again {n}\n", 10_000_000 + n - 1),
        n => format!("+49151{:08},{n}\n", 10_000_000 + n),
    };
    "phone,name\n".to_owned() + &(0..ROWS).map(row).collect::<String>()
}

async fn read(world: &World, path: &str) -> i64 {
    world.api.get(path).await["rows"]["read"].as_i64().unwrap()
}

async fn killed(database: String) {
    let mut random = StdRng::seed_from_u64(rand::random());
    let mut world = World::new(Setup { database, ..Setup::default() }).await;
    let uploaded = world.api.upload("/v1/contact-imports", "text/csv", file()).await;
    assert_eq!(uploaded.status, 201, "{}", uploaded.text);
    let path = format!("/v1/contact-imports/{}", uploaded.json()["id"].as_str().unwrap());
    let plan = json!({"mapping": {"phone": "phone", "name": "name"}, "tags": ["t"]});
    assert_eq!(world.api.post(&format!("{path}/start"), "", &plan).await.unwrap().status, 202);
    let (mut at, mut between) = (0, 0);
    for _ in 0..KILLS {
        let more = at + random.random_range(1..ROWS as i64 / (KILLS as i64 + 1));
        world.until("it goes on", async || read(&world, &path).await >= more).await;
        world.kill().await;
        world.start().await;
        let now = read(&world, &path).await;
        assert!(now >= more, "{now} rows of at least {more} are known");
        between += usize::from(now < ROWS as i64);
        at = now;
    }
    world.until("it ends", async || world.api.get(&path).await["status"] != "running").await;
    let import = world.api.get(&path).await;
    let (bad, repeated) = (ROWS / 20, ROWS / 10);
    let created = ROWS - bad - repeated;
    let rows =
        json!({"read": ROWS, "created": created, "updated": 0, "unchanged": 0, "duplicates": repeated, "bad": bad});
    assert_eq!((&import["status"], &import["rows"]), (&json!("finished"), &rows), "{import}");
    let (mut found, mut cursor) = (0, String::new());
    loop {
        let page: Value = world.api.get(&format!("/v1/contacts?tag=t&limit=200{cursor}")).await;
        let people = page["data"].as_array().unwrap();
        assert!(people.iter().all(|c| !c["name"].as_str().unwrap().starts_with("again")), "the first row counts");
        found += people.len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, created);
    eprintln!("killed in the middle of it {between} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    killed(String::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    killed(postgres().await).await;
}
