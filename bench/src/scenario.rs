//! One file per question; what several of them ask the server stands here.

pub(crate) mod accept;
pub(crate) mod batch;
pub(crate) mod bulk;
pub(crate) mod clicks;
pub(crate) mod e2e;
pub(crate) mod fair;
pub(crate) mod otp;
pub(crate) mod preset;
pub(crate) mod rate;
pub(crate) mod restart;
pub(crate) mod scheduled;
pub(crate) mod smpp;
pub(crate) mod webhooks;

use std::time::Duration;

use crate::{BenchError, Connection, Kind, Pace, Plan, Share, Target, Template};

/// One part of GSM-7, as most messages are.
const TEXT: &str = "Your order 4711 is on its way and arrives today between 14:00 and 16:00.";

/// Requests of a backlog carry as many recipients as the server takes.
const RECIPIENTS_MAX: u64 = 100_000;
/// Where the numbers of a backlog begin: apart from those of the load measured over it.
const BACKLOG_FIRST_NUMBER: u64 = 50_000_000;

/// How a plain load is made.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long requests are sent, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Requests per second, due at fixed times whatever the answers; without it, as fast as the server answers.
    #[arg(long)]
    rate: Option<f64>,
}

impl LoadArgs {
    fn plan(&self, target: &Target, kind: Kind) -> Plan {
        Plan {
            connections: self.connections,
            pace: self.rate.map_or(Pace::Closed, Pace::Rate),
            lasts: Duration::from_secs(self.seconds),
            limit: None,
            first_ticket: 0,
            shares: vec![Share { template: Template::new(target, kind, TEXT), percent: 100 }],
        }
    }
}

/// Leaves `messages` waiting on the normal lane, in batches as large as may be. One connection: what is measured
/// comes after.
async fn preload(target: &Target, messages: u64) -> Result<(), BenchError> {
    let mut connection = Connection::open(target).await?;
    let mut loaded = 0;
    while loaded < messages {
        let recipients = RECIPIENTS_MAX.min(messages - loaded);
        let mut template = Template::new(target, Kind::Batch(recipients as usize), TEXT);
        let ticket = (BACKLOG_FIRST_NUMBER + loaded).div_ceil(recipients);
        let answer = connection.exchange(template.numbered(ticket)).await?;
        if !template.kind.accepts(answer.status) {
            let body = String::from_utf8_lossy(connection.body()).into_owned();
            return Err(BenchError::Refused { what: "a batch of the backlog", status: answer.status, body });
        }
        loaded += recipients;
    }
    Ok(())
}
