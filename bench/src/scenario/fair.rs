//! How long a single message of one account waits while another account's backlog does: from acceptance to the carrier's answer, by the
//! server's own times.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{TEXT, preload};
use crate::report::{Meter, milliseconds};
use crate::{BenchError, Connection, Histogram, Kind, Target, Template, report::Report};

/// How often a message is asked whether it went out.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Fair {
    /// Messages that the first account leaves waiting; they must not drain meanwhile.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// API key of the account that sends one message at a time.
    #[arg(long)]
    other_key: String,
    /// How many it sends, one after another.
    #[arg(long, default_value_t = 200)]
    messages: u64,
}

impl Fair {
    pub(crate) async fn run(&self, url: &str, busy: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let other = Target::new(url, &self.other_key)?;
        preload(busy, self.backlog).await?;
        let meter = Meter::start(pid)?;
        let mut connection = Connection::open(&other).await?;
        let mut template = Template::new(&other, Kind::Normal, TEXT);
        let mut waits = Histogram::default();
        for ticket in 0..self.messages {
            let answer = connection.exchange(template.numbered(ticket)).await?;
            let body = String::from_utf8_lossy(connection.body()).into_owned();
            if answer.status != 202 {
                return Err(BenchError::Refused { what: "a message", status: answer.status, body });
            }
            let message: Value = serde_json::from_str(&body).unwrap_or_default();
            waits.record(submitted(&other, message["id"].as_str().unwrap_or_default()).await?);
        }
        let mut report = Report::default();
        let [p50, p95, p99] = [500, 950, 990].map(|per_mille| milliseconds(waits.quantile(per_mille)));
        let worst = milliseconds(waits.max());
        report.note(format!(
            "{} messages of one account, {} of another waiting: from acceptance to the carrier's answer p50 {p50}, p95 {p95}, p99 {p99}, worst {worst} ms",
            self.messages, self.backlog
        ));
        if let Some(megabytes) = meter.memory()? {
            report.note(format!("resident memory at the end: {megabytes} MB"));
        }
        Ok(report.print()?)
    }
}

/// Waits until a message went out; how long that took by the server's clock.
async fn submitted(target: &Target, id: &str) -> Result<Duration, BenchError> {
    let began = Instant::now();
    loop {
        let (status, body) = target.get(&format!("/v1/messages/{id}")).await?;
        let message: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(ms) = message["processing_ms"].as_u64() {
            return Ok(Duration::from_millis(ms));
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err(BenchError::Refused { what: "waiting for a message", status, body });
        }
        sleep(POLL).await; // whether it went out cannot be awaited
    }
}
