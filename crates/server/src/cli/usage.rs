//! `carillon usage …`.

use carillon_domain::report::{day_date, day_number};
use carillon_store::usage;
use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::{CliError, Office, say};

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Prove that what reports are made of is what the messages say; prints each difference.
    Verify(Days),
    /// Count anew from the messages: once after an upgrade from a version without reports. Beside a running server, too.
    Rebuild(Days),
}

/// Days of acceptance, UTC.
#[derive(Debug, Args)]
pub(super) struct Days {
    /// The first, such as 2026-11-01; the first there is if not given.
    #[arg(long)]
    from: Option<Date>,
    /// The last; today if not given.
    #[arg(long)]
    to: Option<Date>,
}

impl Days {
    fn numbers(&self, office: &Office) -> (i32, i32) {
        let today = (office.clock.now_ms() / 86_400_000) as i32;
        (self.from.map_or(0, day_number), self.to.map_or(today, day_number))
    }
}

impl UsageCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            UsageCommand::Verify(days) => {
                let (from, to) = days.numbers(office);
                let mut differences = 0u64;
                let checked = usage::verify(&office.db, (from, to), |d| {
                    differences += 1;
                    say(format_args!("account {}, {}: {:?} and {:?}", d.account.0, d.cell, d.recorded, d.computed));
                })
                .await?;
                if differences > 0 {
                    return Err(CliError::Refused(format!("{differences} difference(s) in {checked} account(s)")));
                }
                say(format_args!(
                    "usage is what the messages say until {}: {checked} account(s) checked",
                    day_date(to)
                ));
            }
            UsageCommand::Rebuild(days) => {
                let counted = usage::rebuild(&office.db, days.numbers(office)).await?;
                say(format_args!("usage of {counted} account(s) was counted anew"));
            }
        }
        Ok(())
    }
}
