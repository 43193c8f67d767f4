//! SMPP in, SMPP out: binds that keep their windows full, and the time until the last message is final and its receipt is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carillon_smpp::{Address, BindKind, ClientConfig, CommandStatus, Event, Limits, Session, SubmitSm, connect};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::TEXT;
use crate::load::Answers;
use crate::report::{Meter, Report};
use crate::{BenchError, Connection, Kind, Tally, Target, metrics};

/// How often `/metrics` is asked while the backlog drains: coarse, since each answer costs the server time.
const POLL: Duration = Duration::from_millis(250);
/// How long receipts may still come after the last message is final.
const RECEIPTS_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Smpp {
    /// Where the server listens for SMPP without encryption.
    #[arg(long, default_value = "127.0.0.1:2775")]
    smpp: String,
    /// Sessions, all of one credential.
    #[arg(long, default_value_t = 4)]
    binds: u16,
    /// Submits unanswered at once in a session.
    #[arg(long, default_value_t = 250)]
    window: u16,
    /// Ask for receipts, and take them.
    #[arg(long)]
    receipts: bool,
    /// How long submits are sent, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How long to wait for the last messages after that, in seconds.
    #[arg(long, default_value_t = 120)]
    drain_seconds: u64,
}

impl Smpp {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let config = self.credential(target).await?;
        let before = metrics::read(target, FINAL).await?;
        let (meter, start) = (Meter::start(pid)?, Instant::now());
        let mut sessions = JoinSet::new();
        let receipts = Arc::new(AtomicU64::new(0));
        for index in 0..u64::from(self.binds) {
            let session = Submitter {
                config: config.clone(),
                end: start + Duration::from_secs(self.seconds),
                window: self.window.into(),
                registered_delivery: self.receipts.into(),
                numbers: (index..).step_by(self.binds.into()),
                receipts: receipts.clone(),
            };
            sessions.spawn(session.run());
        }
        let mut answers = Answers::default();
        while let Some(done) = sessions.join_next().await {
            let theirs = done.map_err(std::io::Error::other)??;
            theirs.statuses.iter().for_each(|(status, count)| *answers.statuses.entry(*status).or_default() += count);
            answers.latency.merge(&theirs.latency);
        }
        let kinds = BTreeMap::from([(Kind::Foreign("submit_sm".into()), answers)]);
        let tally = Tally { kinds, elapsed: start.elapsed(), first_failure: None };
        let accepted = tally.accepted();
        self.drain(target, before, accepted).await?;
        let whole_s = start.elapsed().as_secs_f64();
        let told = || receipts.load(Ordering::Relaxed);
        let deadline = Instant::now() + RECEIPTS_PATIENCE;
        while self.receipts && told() < accepted && Instant::now() < deadline {
            sleep(POLL / 10).await; // receipts arrive on the sessions' own tasks
        }
        let with_receipts_s = start.elapsed().as_secs_f64();

        let mut report = Report::default();
        let wanted = if self.receipts { ", receipts" } else { "" };
        let name = format!("SMPP to SMPP, {} binds, window {}{wanted}", self.binds, self.window);
        report.row(&name, accepted, accepted as f64 / whole_s, &tally, &meter)?;
        report.note(format!(
            "accepted {:.0}/s over {} s (latencies are of submit_sm_resp)",
            tally.rate(),
            self.seconds
        ));
        if self.receipts {
            let rate = told() as f64 / with_receipts_s;
            report.note(format!("receipts taken: {} of {accepted}, {rate:.0}/s until the last", told()));
        }
        Ok(report.print()?)
    }

    /// A credential for this run, made by the API.
    async fn credential(&self, target: &Target) -> Result<ClientConfig, BenchError> {
        let body = serde_json::json!({"name": "bench", "rate": 0, "window": self.window, "max_binds": self.binds, "inbound": "none"});
        let request = target.render("POST", "/v1/smpp-credentials", Some(&body.to_string()));
        let mut connection = Connection::open(target).await?;
        let answer = connection.exchange(&request).await?;
        let body = String::from_utf8_lossy(connection.body()).into_owned();
        let made: Value = match serde_json::from_str(&body) {
            Ok(made) if answer.status == 201 => made,
            _ => return Err(BenchError::Refused { what: "POST /v1/smpp-credentials", status: answer.status, body }),
        };
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        let (host, port) = self.smpp.rsplit_once(':').ok_or_else(|| BenchError::Address(self.smpp.clone()))?;
        Ok(ClientConfig {
            host: host.to_owned(),
            port: port.parse().map_err(|_| BenchError::Address(self.smpp.clone()))?,
            system_id: text("system_id"),
            password: text("password"),
            bind: if self.receipts { BindKind::Transceiver } else { BindKind::Transmitter },
            limits: Limits { window: self.window.into(), ..Limits::default() },
            ..ClientConfig::default()
        })
    }

    /// Waits until all accepted messages are final. The counter is the server's whole, so nobody else may send.
    async fn drain(&self, target: &Target, before: u64, accepted: u64) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(self.drain_seconds);
        loop {
            let finished = metrics::read(target, FINAL).await? - before;
            if finished >= accepted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(BenchError::Unfinished { finished, accepted, seconds: self.drain_seconds });
            }
            sleep(POLL).await; // a counter over HTTP cannot be awaited
        }
    }
}

/// The counter of messages in a final state.
const FINAL: &str = "carillon_messages_final_total";

/// One session of the load.
struct Submitter<N> {
    config: ClientConfig,
    end: Instant,
    window: usize,
    registered_delivery: u8,
    numbers: N,
    receipts: Arc<AtomicU64>,
}

impl<N: Iterator<Item = u64>> Submitter<N> {
    /// Submits until the end, then waits for the answers that are owed. Receipts are taken by a task that goes on.
    async fn run(mut self) -> Result<Answers, BenchError> {
        let (session, mut events) = connect(&self.config).await.map_err(std::io::Error::other)?;
        let mut answers = Answers::default();
        // When each was sent, by its slot: an answer frees it.
        let mut sent = vec![self.end; self.window];
        let mut free: Vec<usize> = (0..self.window).collect();
        let mut batch = Vec::new();
        loop {
            if Instant::now() < self.end {
                while let Some(slot) = free.pop() {
                    let to = format!("49151{:08}", self.numbers.next().unwrap_or_default() % 100_000_000);
                    let sm = SubmitSm {
                        source: Address { ton: 5, npi: 0, addr: &b"Bench"[..] },
                        destination: Address { ton: 1, npi: 1, addr: to.as_bytes() },
                        registered_delivery: self.registered_delivery,
                        short_message: TEXT.as_bytes(),
                        ..SubmitSm::default()
                    };
                    sent[slot] = Instant::now();
                    session.submit(&sm, slot as u64).map_err(std::io::Error::other)?;
                }
            } else if free.len() == self.window {
                break;
            }
            if !events.recv_many(&mut batch).await {
                return Err(BenchError::Truncated);
            }
            for event in batch.drain(..) {
                match event {
                    Event::SubmitResp { token, result, .. } => {
                        *answers.statuses.entry(if result.is_ok() { 200 } else { 400 }).or_default() += 1;
                        if result.is_ok() {
                            answers.latency.record(sent[token as usize].elapsed());
                        }
                        free.push(token as usize);
                    }
                    other => take(&session, &other, &self.receipts),
                }
            }
        }
        let receipts = self.receipts;
        tokio::spawn(async move {
            while events.recv_many(&mut batch).await {
                batch.drain(..).for_each(|event| take(&session, &event, &receipts));
            }
        });
        Ok(answers)
    }
}

/// Takes a receipt.
fn take(session: &Session, event: &Event, receipts: &AtomicU64) {
    if let Event::Deliver { to, .. } = event {
        session.respond_deliver(*to, CommandStatus::ROK);
        receipts.fetch_add(1, Ordering::Relaxed);
    }
}
