//! Customers' binds through `kill -9`: what was answered is there, and what was not taken is told again, receipts and messages from phones.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use carillon::simulator::Written;
use carillon_smpp::{Address, BindKind, ClientConfig, CommandStatus, Event, Limits, Receipt, SubmitSm, connect};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{Setup, World, number, postgres, quick};

/// A number of the customer's that phones write to.
const OWN: &str = "4915735983801";

/// Ids, as they are learnt.
type Ids = Arc<Mutex<HashSet<String>>>;

/// Submits as fast as a window of ten lets, binding again and again; notes the ids it was answered.
async fn submit(config: ClientConfig, answered: Ids, stop: CancellationToken) {
    let mut sent = 0;
    while !stop.is_cancelled() {
        let Ok((session, mut events)) = connect(&config).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut batch = Vec::new();
        loop {
            while session.free_slots() > 0 && !stop.is_cancelled() {
                sent += 1;
                let to = number(sent);
                let sm = SubmitSm {
                    source: Address { ton: 5, npi: 0, addr: &b"Shop"[..] },
                    destination: Address { ton: 1, npi: 1, addr: to.trim_start_matches('+').as_bytes() },
                    registered_delivery: 1,
                    short_message: b"hello",
                    ..SubmitSm::default()
                };
                if session.submit(&sm, 0).is_err() {
                    break;
                }
            }
            let more = tokio::time::timeout(Duration::from_millis(200), events.recv_many(&mut batch)).await;
            for event in batch.drain(..) {
                if let Event::SubmitResp { result: Ok(id), .. } = event {
                    answered.lock().insert(String::from_utf8(id.to_vec()).unwrap());
                }
            }
            match more {
                Ok(true) => {}
                Err(_) if !stop.is_cancelled() => {}
                _ => break,
            }
        }
    }
}

/// Receives, binding again and again; takes two deliveries of three, and lets the rest come again. Ids of receipts, texts of messages.
async fn receive(config: ClientConfig, taken: Ids, heard: Ids) {
    let mut count = 0;
    loop {
        let Ok((session, mut events)) = connect(&config).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut batch = Vec::new();
        while events.recv_many(&mut batch).await {
            for event in batch.drain(..) {
                let Event::Deliver { to, sm } = event else { continue };
                count += 1;
                if count % 3 == 0 {
                    session.respond_deliver(to, CommandStatus::RX_T_APPN);
                    continue;
                }
                match Receipt::of(&sm) {
                    Some(receipt) => taken.lock().insert(receipt.id.into_owned()),
                    None => heard.lock().insert(String::from_utf8_lossy(sm.content()).into_owned()),
                };
                session.respond_deliver(to, CommandStatus::ROK);
            }
        }
    }
}

async fn killed(database: String, times: usize) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!("[smpp_server]\nlisten = \"127.0.0.1:{port}\"\n").leak();
    let setup = Setup { behaviour: quick(), connection: "window = 50", settings, database };
    let mut world = World::new(setup).await;
    let body = json!({"name": "customer", "rate": 0, "window": 10});
    let made = world.api.post("/v1/smpp-credentials", "", &body).await.unwrap().json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let config = |bind| ClientConfig {
        port,
        system_id: text("system_id"),
        password: text("password"),
        bind,
        limits: Limits::default(),
        ..ClientConfig::default()
    };
    let (answered, taken, stop) = (Ids::default(), Ids::default(), CancellationToken::new());
    let submitting = tokio::spawn(submit(config(BindKind::Transmitter), answered.clone(), stop.clone()));
    let heard = Ids::default();
    let receiving = tokio::spawn(receive(config(BindKind::Receiver), taken.clone(), heard.clone()));
    let account = world.api.get("/v1/me").await["account"]["id"].clone();
    let body = json!({"number": format!("+{OWN}"), "account": account});
    let made = world.api.post("/v1/admin/inbound-numbers", "", &body).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text);
    let mut written = HashSet::new();
    for round in 1..=times {
        for n in 0..50 {
            let text = format!("written in round {round}: {n}");
            let short_message = text.clone().into_bytes();
            let (from, to) = (number(n).trim_start_matches('+').to_owned(), OWN.to_owned());
            world.carrier.write(Written { from, to, short_message, ..Written::default() });
            written.insert(text);
        }
        let before = answered.lock().len();
        world.until("some are answered", async || answered.lock().len() > before + 50).await;
        world.until("some are told", async || taken.lock().len() > 10 * round).await;
        world.kill().await;
        world.start().await;
    }
    stop.cancel();
    submitting.await.unwrap();
    let messages = world.ended().await;
    world.check_money(&messages).await;
    let stored: HashSet<String> = messages.iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    let answered = answered.lock().clone();
    let lost: Vec<_> = answered.difference(&stored).collect();
    assert!(lost.is_empty(), "{} of {} answered are not stored", lost.len(), answered.len());
    world.until("every end is told", async || stored.is_subset(&taken.lock())).await;
    world.until("every message from a phone is told", async || written.is_subset(&heard.lock())).await;
    assert_eq!(*heard.lock(), written);
    receiving.abort();
    eprintln!("{} messages, {} answered", stored.len(), answered.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite() {
    killed(String::new(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres() {
    killed(postgres().await, 2).await;
}
