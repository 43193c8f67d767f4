//! How long a one-time code takes while bulk messages wait. The answer comes when the carrier has accepted the code,
//! so the figures include the carrier's own time.

use super::{LoadArgs, preload};
use crate::report::{Meter, Report};
use crate::{BenchError, Kind, Target, drive};

#[derive(Debug, clap::Args)]
pub(crate) struct Otp {
    /// Messages to leave waiting first; they must not drain while codes are measured.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    #[command(flatten)]
    load: LoadArgs,
}

impl Otp {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        preload(target, self.backlog).await?;
        let meter = Meter::start(pid)?;
        let tally = drive(target, self.load.plan(target, Kind::Otp)).await?;
        let mut report = Report::default();
        let name = format!("OTP over {} waiting", self.backlog);
        report.row(&name, tally.accepted(), tally.rate(), &tally, &meter)?;
        if let Some(megabytes) = meter.memory()? {
            report.note(format!("resident memory at the end: {megabytes} MB"));
        }
        Ok(report.print()?)
    }
}
