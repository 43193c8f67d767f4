//! How many single messages a second are accepted, and how fast each is answered.

use super::LoadArgs;
use crate::report::{Meter, Report};
use crate::{BenchError, Kind, Target, drive};

#[derive(Debug, clap::Args)]
pub(crate) struct Accept {
    /// GET this path instead, `{to}` being the number: to send another system the same load.
    #[arg(long)]
    get: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
}

impl Accept {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let meter = Meter::start(pid)?;
        let kind = self.get.clone().map_or(Kind::Normal, Kind::Foreign);
        let tally = drive(target, self.load.plan(target, kind)).await?;
        let mut report = Report::default();
        let name = format!("accept, {} connections", self.load.connections);
        report.row(&name, tally.accepted(), tally.rate(), &tally, &meter)?;
        Ok(report.print()?)
    }
}
