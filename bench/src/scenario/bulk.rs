//! One request with as many recipients as may be: how long until all of it is durable, until the last of it went out, until it is final.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::TEXT;
use crate::report::{Report, milliseconds};
use crate::{BenchError, Connection, Kind, Target, Template};

/// How often the batch is asked how far it is: each answer costs the server next to nothing.
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Bulk {
    /// Recipients of the request.
    #[arg(long, default_value_t = 100_000)]
    recipients: usize,
    /// Each recipient has a variable of its own in the text.
    #[arg(long)]
    variables: bool,
    /// How many such requests, one after another; the best and the worst are told.
    #[arg(long, default_value_t = 3)]
    requests: u64,
    /// How long to wait for the last message of a request, in seconds.
    #[arg(long, default_value_t = 120)]
    drain_seconds: u64,
}

/// What one request took.
struct Took {
    accepted: Duration,
    submitted: Duration,
    ended: Duration,
}

impl Bulk {
    pub(crate) async fn run(&self, target: &Target) -> Result<(), BenchError> {
        let mut all = Vec::new();
        for ticket in 0..self.requests {
            all.push(self.one(target, ticket).await?);
        }
        let mut report = Report::default();
        let kind = if self.variables { "each with a text of its own" } else { "one text" };
        let told = |what: &str, of: fn(&Took) -> Duration| {
            let (best, worst) = (all.iter().map(of).min(), all.iter().map(of).max());
            let [best, worst] = [best, worst].map(|d| milliseconds(d.unwrap_or_default()));
            format!("{} recipients, {kind}: {what} after {best} ms, at worst {worst} ms", self.recipients)
        };
        report.note(told("accepted, all of it durable,", |t| t.accepted));
        report.note(told("last one submitted", |t| t.submitted));
        report.note(told("last one final", |t| t.ended));
        Ok(report.print()?)
    }

    async fn one(&self, target: &Target, ticket: u64) -> Result<Took, BenchError> {
        let mut template = Template::new(target, Kind::Batch(self.recipients), TEXT);
        let plain;
        let request = if self.variables {
            plain = personal(target, self.recipients, ticket);
            &plain[..]
        } else {
            template.numbered(ticket)
        };
        let mut connection = Connection::open(target).await?;
        let start = Instant::now();
        let answer = connection.exchange(request).await?;
        let accepted = start.elapsed();
        let body = String::from_utf8_lossy(connection.body()).into_owned();
        let refused = |status, body| BenchError::Refused { what: "the batch", status, body };
        if answer.status != 202 {
            return Err(refused(answer.status, body));
        }
        let batch: Value = serde_json::from_str(&body).unwrap_or_default();
        let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap_or_default());
        let mut submitted = None;
        loop {
            let (status, body) = target.get(&path).await?;
            let counts = serde_json::from_str::<Value>(&body).unwrap_or_default()["counts"].clone();
            let (Some(queued), Some(sent)) = (counts["queued"].as_u64(), counts["sent"].as_u64()) else {
                return Err(refused(status, body));
            };
            if queued == 0 {
                let submitted = *submitted.get_or_insert(start.elapsed());
                if sent == 0 {
                    return Ok(Took { accepted, submitted, ended: start.elapsed() });
                }
            }
            if start.elapsed() > Duration::from_secs(self.drain_seconds) {
                let accepted = self.recipients as u64;
                let finished = accepted.saturating_sub(queued + sent);
                return Err(BenchError::Unfinished { finished, accepted, seconds: self.drain_seconds });
            }
            sleep(POLL).await; // a batch's totals cannot be awaited
        }
    }
}

/// The same request with a word for each.
fn personal(target: &Target, recipients: usize, ticket: u64) -> Vec<u8> {
    let first = ticket * recipients as u64;
    let to: Vec<String> = (first..first + recipients as u64)
        .map(|n| format!(r#"{{"phone":"+49151{:08}","variables":{{"order":"{n}"}}}}"#, n % 100_000_000))
        .collect();
    let text = TEXT.replace("4711", "{{order}}");
    target.render("POST", "/v1/batches", Some(&format!(r#"{{"to":[{}],"text":"{text}"}}"#, to.join(","))))
}
