//! How many single messages a second are accepted, and how fast each is answered.

use super::LoadArgs;
use crate::report::{Meter, Report};
use crate::{BenchError, Kind, Target, drive};

#[derive(Debug, clap::Args)]
pub(crate) struct Accept {
    #[command(flatten)]
    load: LoadArgs,
}

impl Accept {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let meter = Meter::start(pid)?;
        let tally = drive(target, self.load.plan(target, Kind::Normal)).await?;
        let mut report = Report::default();
        let name = format!("accept, {} connections", self.load.connections);
        report.row(&name, tally.accepted(), tally.rate(), &tally, &meter)?;
        Ok(report.print()?)
    }
}
