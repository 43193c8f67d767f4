//! The whole journey: accepted, submitted to the carrier, receipted, billed.
//!
//! The rate that counts is messages divided by the time until the last of them is final; accepting faster only
//! builds a backlog, whose draining is then part of the time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::LoadArgs;
use crate::report::{Meter, Report};
use crate::{BenchError, Kind, Target, drive, metrics};

/// How often `/metrics` is asked while the backlog drains: coarse, since each answer costs the server time.
const POLL: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(crate) struct EndToEnd {
    /// Recipients in each request; 1 sends single messages.
    #[arg(long, default_value_t = 1)]
    recipients: usize,
    /// The counter of messages in a final state on /metrics; `name` sums over labels, `name{label="value"}` selects.
    #[arg(long, default_value = "carillon_messages_final_total")]
    final_metric: String,
    /// How long to wait for the last messages after the load has ended, in seconds.
    #[arg(long, default_value_t = 120)]
    drain_seconds: u64,
    #[command(flatten)]
    load: LoadArgs,
}

impl EndToEnd {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let kind = if self.recipients == 1 { Kind::Normal } else { Kind::Batch(self.recipients) };
        let before = metrics::read(target, &self.final_metric).await?;
        let (meter, start) = (Meter::start(pid)?, Instant::now());
        let tally = drive(target, self.load.plan(target, kind)).await?;
        let accepted = tally.accepted();
        let under_load = metrics::read(target, &self.final_metric).await? - before;
        let under_load_s = start.elapsed().as_secs_f64();
        self.drain(target, before, accepted).await?;
        let whole_s = start.elapsed().as_secs_f64();

        let mut report = Report::default();
        let name = format!("end to end, {} connections", self.load.connections);
        report.row(&name, accepted, accepted as f64 / whole_s, &tally, &meter)?;
        report.note(format!(
            "accepted {:.0}/s over {} s (latencies are of acceptance)",
            tally.rate(),
            self.load.seconds
        ));
        report.note(format!("final while the load ran: {under_load}, {:.0}/s", under_load as f64 / under_load_s));
        report.note(format!("last message final {:.1} s after the load ended", whole_s - under_load_s));
        Ok(report.print()?)
    }

    /// Waits until all accepted messages are final. The counter is the server's whole, so nobody else may send.
    async fn drain(&self, target: &Target, before: u64, accepted: u64) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(self.drain_seconds);
        loop {
            let total = metrics::read(target, &self.final_metric).await?;
            if total == 0 && accepted > 0 && Instant::now() >= deadline {
                return Err(BenchError::NoSuchMetric(self.final_metric.clone()));
            }
            let finished = total - before;
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
