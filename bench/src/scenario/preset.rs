//! Load profiles by name, with thresholds: 95% of requests under 2 s, 99% under 5 s, at least 99% successful.
//! Virtual users send, wait for the answer, pause, and send again.

use std::time::Duration;

use clap::ValueEnum;

use super::TEXT;
use crate::report::{Meter, Report, milliseconds};
use crate::{BenchError, Kind, Pace, Plan, Share, Stage, Tally, Target, Template, drive};

const P95_LIMIT: Duration = Duration::from_secs(2);
const P99_LIMIT: Duration = Duration::from_secs(5);
const SUCCESS_PERCENT_MIN: u64 = 99;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Does it work at all: 5 users for 30 s
    Smoke,
    /// The expected day: up to 100 users for 16 min
    Load,
    /// Beyond it: up to 200 users for 16 min
    Stress,
    /// A sudden crowd, twice: 10 to 200 users within 10 s, for 8 min
    Spike,
    /// 100,000 messages by 100 users without pauses
    Volume,
    /// Short bursts of 200 users for 2.5 min
    Burst,
    /// Does it leak: 50 users for 30 min
    Endurance,
    /// A sale opens: 200 users without pauses, mostly campaigns' texts, some express
    BlackFriday,
    /// A bank's evening: 100 users, nine of ten requests are one-time codes
    OtpBanking,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Preset {
    /// Which profile
    name: Name,
    /// Stretches (or shortens) every stage by this factor.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
}

/// What a name stands for.
struct Profile {
    name: &'static str,
    /// Seconds and users of each stage.
    stages: &'static [(u64, usize)],
    think_ms: u64,
    /// Requests at most.
    limit: Option<u64>,
    /// Percent of normal, express and one-time-code messages.
    mix: [u64; 3],
}

impl Name {
    fn profile(self) -> Profile {
        let usual = Profile { name: "", stages: &[], think_ms: 100, limit: None, mix: [80, 10, 10] };
        match self {
            Name::Smoke => Profile { name: "smoke", stages: &[(0, 5), (30, 5)], ..usual },
            Name::Load => {
                Profile { name: "load", stages: &[(120, 50), (300, 50), (120, 100), (300, 100), (120, 0)], ..usual }
            }
            Name::Stress => {
                Profile { name: "stress", stages: &[(120, 100), (300, 100), (120, 200), (300, 200), (120, 0)], ..usual }
            }
            Name::Spike => Profile {
                name: "spike",
                stages: &[
                    (60, 10),
                    (10, 200),
                    (120, 200),
                    (10, 10),
                    (80, 10),
                    (10, 200),
                    (120, 200),
                    (10, 10),
                    (60, 0),
                ],
                ..usual
            },
            Name::Volume => {
                Profile { name: "volume", stages: &[(0, 100), (3600, 100)], think_ms: 0, limit: Some(100_000), ..usual }
            }
            Name::Burst => Profile {
                name: "burst",
                stages: &[
                    (0, 200),
                    (20, 200),
                    (0, 5),
                    (45, 5),
                    (0, 200),
                    (20, 200),
                    (0, 5),
                    (45, 5),
                    (0, 200),
                    (20, 200),
                ],
                ..usual
            },
            Name::Endurance => Profile { name: "endurance", stages: &[(60, 50), (1680, 50), (60, 0)], ..usual },
            Name::BlackFriday => Profile {
                name: "black-friday",
                stages: &[(10, 200), (110, 200)],
                think_ms: 0,
                mix: [90, 10, 0],
                ..usual
            },
            Name::OtpBanking => {
                Profile { name: "otp-banking", stages: &[(10, 100), (110, 100)], mix: [5, 5, 90], ..usual }
            }
        }
    }
}

impl Preset {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let profile = self.name.profile();
        let (account, meter) = (Account::read(target).await?, Meter::start(pid)?);
        let tally = drive(target, profile.plan(target, self.scale)).await?;

        let mut report = Report::default();
        report.row(profile.name, tally.accepted(), tally.rate(), &tally, &meter)?;
        account.note_changes(&Account::read(target).await?, &mut report);
        let passed = judge(&tally, &mut report);
        report.print()?;
        if passed { Ok(()) } else { Err(BenchError::Threshold(profile.name)) }
    }
}

impl Profile {
    fn plan(&self, target: &Target, scale: f64) -> Plan {
        let stages: Vec<Stage> = self
            .stages
            .iter()
            .map(|&(seconds, users)| Stage { lasts: Duration::from_secs(seconds).mul_f64(scale), users })
            .collect();
        let shares = [Kind::Normal, Kind::Express, Kind::Otp]
            .into_iter()
            .zip(self.mix)
            .map(|(kind, percent)| Share { template: Template::new(target, kind, TEXT), percent })
            .collect();
        Plan {
            connections: stages.iter().map(|stage| stage.users).max().unwrap_or(0),
            lasts: stages.iter().map(|stage| stage.lasts).sum(),
            pace: Pace::Users { stages, think: Duration::from_millis(self.think_ms) },
            limit: self.limit,
            first_ticket: 0,
            shares,
        }
    }
}

/// Notes each threshold with the figure it was held against; true when all are met.
fn judge(tally: &Tally, report: &mut Report) -> bool {
    let latency = tally.latency();
    let (p95, p99) = (latency.quantile(950), latency.quantile(990));
    let (succeeded, requests) = (latency.count(), latency.count() + tally.failed());
    let mut all = true;
    for (met, what) in [
        (p95 < P95_LIMIT, format!("95% under {} s: {} ms", P95_LIMIT.as_secs(), milliseconds(p95))),
        (p99 < P99_LIMIT, format!("99% under {} s: {} ms", P99_LIMIT.as_secs(), milliseconds(p99))),
        (
            requests > 0 && succeeded * 100 >= requests * SUCCESS_PERCENT_MIN,
            format!("at least {SUCCESS_PERCENT_MIN}% successful: {succeeded} of {requests}"),
        ),
    ] {
        report.note(format!("{}: {what}", if met { "PASS" } else { "FAIL" }));
        all &= met;
    }
    all
}

/// The account as `GET /v1/me` shows it: its numbers before and after are the billing summary.
struct Account(Vec<(String, f64)>);

impl Account {
    async fn read(target: &Target) -> Result<Account, BenchError> {
        let (status, body) = target.get("/v1/me").await?;
        match serde_json::from_str(&body) {
            Ok(value) if status == 200 => {
                let mut numbers = Vec::new();
                collect_numbers("", &value, &mut numbers);
                Ok(Account(numbers))
            }
            _ => Err(BenchError::Refused { what: "GET /v1/me", status, body }),
        }
    }

    fn note_changes(&self, after: &Account, report: &mut Report) {
        for (path, now) in &after.0 {
            if let Some((_, before)) = self.0.iter().find(|(known, before)| known == path && before != now) {
                // Amounts are exact to six decimals; a difference of floats is not.
                let difference = ((now - before) * 1e6).round() / 1e6;
                report.note(format!("billing {path}: {before} before, {now} after ({difference:+})"));
            }
        }
    }
}

/// Every number in the document, or in a string of it (amounts are decimal strings), by its JSON pointer.
fn collect_numbers(pointer: &str, value: &serde_json::Value, into: &mut Vec<(String, f64)>) {
    use serde_json::Value;
    match value {
        Value::Number(number) => into.extend(number.as_f64().map(|number| (pointer.to_owned(), number))),
        Value::String(text) => {
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            into.extend(number.map(|number| (pointer.to_owned(), number)));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect_numbers(&format!("{pointer}/{name}"), member, into));
        }
        Value::Array(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_last_as_documented_and_their_mix_is_whole() {
        for (name, seconds, users) in [
            (Name::Smoke, 30, 5),
            (Name::Load, 960, 100),
            (Name::Stress, 960, 200),
            (Name::Spike, 480, 200),
            (Name::Burst, 150, 200),
            (Name::Endurance, 1800, 50),
            (Name::BlackFriday, 120, 200),
            (Name::OtpBanking, 120, 100),
        ] {
            let (profile, target) = (name.profile(), Target::new("http://h:1", "").unwrap());
            let plan = profile.plan(&target, 1.0);
            assert_eq!((plan.lasts.as_secs(), plan.connections), (seconds, users), "{}", profile.name);
            assert_eq!(profile.mix.iter().sum::<u64>(), 100, "{}", profile.name);
        }
    }

    #[test]
    fn the_numbers_of_an_account_are_found() {
        let me = r#"{"id":"acc_1","balance":{"available":"99.95","held":"0.05","about_messages":1999},"name":"nan","tags":[1]}"#;
        let mut numbers = Vec::new();
        collect_numbers("", &serde_json::from_str(me).unwrap(), &mut numbers);
        numbers.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [("/balance/about_messages", 1999.0), ("/balance/available", 99.95), ("/balance/held", 0.05)];
        assert_eq!(numbers, expected.map(|(path, number)| (path.to_owned(), number)));
    }
}
