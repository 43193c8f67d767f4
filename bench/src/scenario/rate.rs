//! How exactly a connection's rate is used while messages wait for it: how many the carrier took of how many it might. The most that
//! came in any one second is the carrier's to tell (the simulator's `--record`).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::preload;
use crate::report::Report;
use crate::{BenchError, Target, metrics};

/// Counts what a carrier took, of messages of one part.
const TAKEN: &str = "carillon_messages_total{state=\"sent\"}";

#[derive(Debug, clap::Args)]
pub(crate) struct Rate {
    /// Parts a second that the connection may send.
    #[arg(long)]
    limit: u64,
    /// How long it is watched, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Rate {
    pub(crate) async fn run(&self, target: &Target) -> Result<(), BenchError> {
        // Enough for the time it is watched, and some.
        preload(target, self.limit * (self.seconds + 30)).await?;
        sleep(Duration::from_secs(2)).await;
        let (before, start) = (metrics::read(target, TAKEN).await?, Instant::now());
        sleep(Duration::from_secs(self.seconds)).await;
        let (taken, seconds) = (metrics::read(target, TAKEN).await? - before, start.elapsed().as_secs_f64());
        let share = taken as f64 / (self.limit as f64 * seconds) * 100.0;
        let mut report = Report::default();
        report.note(format!("{taken} parts in {seconds:.1} s at {} a second: {share:.2}% of the limit", self.limit));
        Ok(report.print()?)
    }
}
