//! How many messages a second are accepted when a request names many recipients.

use super::LoadArgs;
use crate::report::{Meter, Report};
use crate::{BenchError, Kind, Target, drive};

#[derive(Debug, clap::Args)]
pub(crate) struct Batch {
    /// Recipients in each request.
    #[arg(long, default_value_t = 1000)]
    recipients: usize,
    #[command(flatten)]
    load: LoadArgs,
}

impl Batch {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let meter = Meter::start(pid)?;
        let tally = drive(target, self.load.plan(target, Kind::Batch(self.recipients))).await?;
        let mut report = Report::default();
        let name = format!("batches of {}, {} connections", self.recipients, self.load.connections);
        report.row(&name, tally.accepted(), tally.rate(), &tally, &meter)?;
        Ok(report.print()?)
    }
}
