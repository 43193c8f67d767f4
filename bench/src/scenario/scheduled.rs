//! Messages scheduled at one instant: how long after it the first of them goes out, and how fast the others follow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::{RECIPIENTS_MAX, TEXT};
use crate::report::{Report, milliseconds};
use crate::{BenchError, Connection, Target};

/// How often the batches are asked how far they are.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Scheduled {
    /// Messages due at the one instant.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How far ahead that is, in seconds: loading must be over by then.
    #[arg(long, default_value_t = 180)]
    lead_seconds: u64,
    /// How long to wait for the last message, in seconds.
    #[arg(long, default_value_t = 300)]
    drain_seconds: u64,
}

impl Scheduled {
    #[expect(clippy::disallowed_methods, reason = "the server is told an instant of the day")]
    pub(crate) async fn run(&self, target: &Target) -> Result<(), BenchError> {
        let lead = Duration::from_secs(self.lead_seconds);
        let (start, wall) = (Instant::now(), SystemTime::now() + lead);
        let at = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = jiff::Timestamp::from_millisecond(at as i64).map_err(std::io::Error::other)?.to_string();
        let due = start + lead;
        let mut batches = Vec::new();
        let mut loaded = 0;
        while loaded < self.messages {
            let recipients = RECIPIENTS_MAX.min(self.messages - loaded);
            batches.push(load(target, loaded, recipients, &at).await?);
            loaded += recipients;
        }
        let took = start.elapsed();
        if Instant::now() + Duration::from_secs(1) > due {
            return Err(BenchError::NotReady(format!("loading took {} ms: raise --lead-seconds", milliseconds(took))));
        }
        sleep_until(due).await;
        let mut first = None;
        loop {
            let gone = left(target, &batches).await?;
            let since = due.elapsed();
            if gone > 0 {
                first.get_or_insert(since);
            }
            if gone >= self.messages {
                let mut report = Report::default();
                report.note(format!(
                    "{} messages scheduled at one instant, stored in {} ms",
                    self.messages,
                    milliseconds(took)
                ));
                report.note(format!("the first had gone out {} ms after it", milliseconds(first.unwrap_or(since))));
                let rate = self.messages as f64 / since.as_secs_f64();
                report.note(format!("the last {} ms after it: {rate:.0} a second", milliseconds(since)));
                return Ok(report.print()?);
            }
            if since > Duration::from_secs(self.drain_seconds) {
                return Err(BenchError::Unfinished {
                    finished: gone,
                    accepted: self.messages,
                    seconds: self.drain_seconds,
                });
            }
            sleep(POLL).await; // a batch's totals cannot be awaited
        }
    }
}

/// One batch; its path.
async fn load(target: &Target, first: u64, recipients: u64, at: &str) -> Result<String, BenchError> {
    let to: Vec<String> = (first..first + recipients).map(|n| format!("\"+49151{:08}\"", n % 100_000_000)).collect();
    let body = format!(r#"{{"to":[{}],"text":"{TEXT}","scheduled_at":"{at}"}}"#, to.join(","));
    let mut connection = Connection::open(target).await?;
    let answer = connection.exchange(&target.render("POST", "/v1/batches", Some(&body))).await?;
    let body = String::from_utf8_lossy(connection.body()).into_owned();
    if answer.status != 202 {
        return Err(BenchError::Refused { what: "a scheduled batch", status: answer.status, body });
    }
    let batch: Value = serde_json::from_str(&body).unwrap_or_default();
    Ok(format!("/v1/batches/{}", batch["id"].as_str().unwrap_or_default()))
}

/// How many messages of all batches a carrier has, or had.
async fn left(target: &Target, batches: &[String]) -> Result<u64, BenchError> {
    let mut gone = 0;
    for path in batches {
        let (status, body) = target.get(path).await?;
        let batch = serde_json::from_str::<Value>(&body).unwrap_or_default();
        let (Some(total), Some(queued)) = (batch["total"].as_u64(), batch["counts"]["queued"].as_u64()) else {
            return Err(BenchError::Refused { what: "a question after a batch", status, body });
        };
        gone += total.saturating_sub(queued);
    }
    Ok(gone)
}
