//! How many people a second are sent on by a short link, each counted before. The server's `public_url` is to be the address it is called by.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::histogram::Histogram;
use crate::report::{Report, milliseconds};
use crate::{BenchError, Connection, Target};

#[derive(Debug, clap::Args)]
pub(crate) struct Clicks {
    /// People who click, one click after another.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

impl Clicks {
    pub(crate) async fn run(&self, target: &Target) -> Result<(), BenchError> {
        let request = target.render("GET", &link(target).await?, None);
        let (start, lasts) = (Instant::now(), Duration::from_secs(self.seconds));
        let mut people = JoinSet::new();
        for _ in 0..self.connections {
            let (request, mut connection) = (request.clone(), Connection::open(target).await?);
            people.spawn(async move {
                let mut took = Histogram::default();
                while start.elapsed() < lasts {
                    let clicked = Instant::now();
                    let answer = connection.exchange(&request).await?;
                    if answer.status != 302 {
                        let body = String::from_utf8_lossy(connection.body()).into_owned();
                        return Err(BenchError::Refused { what: "a click", status: answer.status, body });
                    }
                    took.record(clicked.elapsed());
                }
                Ok(took)
            });
        }
        let mut all = Histogram::default();
        while let Some(person) = people.join_next().await {
            all.merge(&person.map_err(std::io::Error::other)??);
        }
        let rate = all.count() as f64 / start.elapsed().as_secs_f64();
        let [half, most] = [500, 990].map(|per_mille| milliseconds(all.quantile(per_mille)));
        let mut report = Report::default();
        report.note(format!("{} clicks, {rate:.0} a second; half within {half} ms, 99% within {most} ms", all.count()));
        Ok(report.print()?)
    }
}

/// The path of a new short link.
async fn link(target: &Target) -> Result<String, BenchError> {
    let body = r#"{"to":"+4915100000000","text":"https://example.com/sale","shorten_links":true}"#;
    let mut connection = Connection::open(target).await?;
    let answer = connection.exchange(&target.render("POST", "/v1/messages", Some(body))).await?;
    let body = String::from_utf8_lossy(connection.body()).into_owned();
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    let Some(id) = message["links"][0].as_str() else {
        return Err(BenchError::Refused { what: "a text with a link", status: answer.status, body });
    };
    let (_, link) = target.get(&format!("/v1/links/{id}")).await?;
    let link: Value = serde_json::from_str(&link).unwrap_or_default();
    let url = link["url"].as_str().unwrap_or_default();
    Ok(url.find("/l/").map(|at| url[at..].to_owned()).unwrap_or_default())
}
