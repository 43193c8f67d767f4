//! `carillon simulator`: its flags, and the line it prints each second.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Behaviour, Dialect, SimulatorConfig, Totals, Written, start};

/// Be an SMSC on a TCP port, with the faults asked for. Sandbox numbers behave as docs/ERROR_CODES.md says.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulatorArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2775")]
    listen: SocketAddr,
    /// Only this system id may bind; with --password.
    #[arg(long, requires = "password")]
    system_id: Option<String>,
    /// Its password.
    #[arg(long, requires = "system_id")]
    password: Option<String>,
    /// Submits a bind may make a second before it is throttled; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Milliseconds before a submit is answered.
    #[arg(long, default_value_t = 0)]
    response_delay_ms: u64,
    /// Milliseconds between answer and receipt.
    #[arg(long, default_value_t = 1000)]
    receipt_delay_ms: u64,
    /// Up to so many milliseconds more, at random.
    #[arg(long, default_value_t = 0)]
    receipt_jitter_ms: u64,
    /// Per cent of messages whose receipt says UNDELIV.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    failure: f64,
    /// Per cent of submits throttled.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    throttle: f64,
    /// Per cent of submits taken and never answered.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    no_answer: f64,
    /// Messages never answered have receipts all the same.
    #[arg(long)]
    no_answer_receipts: bool,
    /// Per cent of receipts lost.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    lost: f64,
    /// Per cent of receipts sent twice.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    duplicate: f64,
    /// Per cent of receipts sent before the answer to the submit.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    early: f64,
    /// Per cent of receipts that come --late-by-ms later.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    late: f64,
    /// See --late.
    #[arg(long, default_value_t = 10_000)]
    late_by_ms: u64,
    /// What is due at the same moment goes out in random order.
    #[arg(long)]
    out_of_order: bool,
    /// How receipts and ids are written.
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,
    /// Unacknowledged receipts a bind may have.
    #[arg(long, default_value_t = 1000)]
    window: usize,
    /// What the random choices begin from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Let a phone write once a client has bound: FROM,TO,TEXT; may be given several times.
    #[arg(long, value_parser = written)]
    write: Vec<Written>,
    /// Count messages taken more than once (60 bytes of memory for each message).
    #[arg(long)]
    record: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100 is wanted".to_owned()),
    }
}

/// `FROM,TO,TEXT` as UCS-2.
fn written(text: &str) -> Result<Written, String> {
    let mut fields = text.splitn(3, ',');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(from), Some(to), Some(text)) if !from.is_empty() && !to.is_empty() => Ok(Written {
            from: from.to_owned(),
            to: to.to_owned(),
            data_coding: 8,
            short_message: text.encode_utf16().take(70).flat_map(u16::to_be_bytes).collect(),
            ..Written::default()
        }),
        _ => Err("FROM,TO,TEXT is wanted, such as 4915112345678,22333,STOP".to_owned()),
    }
}

impl SimulatorArgs {
    /// The flags as a configuration.
    pub fn config(&self) -> SimulatorConfig {
        let behaviour = Behaviour {
            submit_rate: self.rate,
            response_delay: Duration::from_millis(self.response_delay_ms),
            receipt_delay: Duration::from_millis(self.receipt_delay_ms),
            receipt_jitter: Duration::from_millis(self.receipt_jitter_ms),
            failure_percent: self.failure,
            throttle_percent: self.throttle,
            no_answer_percent: self.no_answer,
            no_answer_receipts: self.no_answer_receipts,
            lost_percent: self.lost,
            duplicate_percent: self.duplicate,
            early_percent: self.early,
            late_percent: self.late,
            late_by: Duration::from_millis(self.late_by_ms),
            out_of_order: self.out_of_order,
            dialect: self.dialect,
        };
        SimulatorConfig {
            listen: self.listen,
            behaviour,
            credentials: self.system_id.clone().zip(self.password.clone()),
            window: self.window,
            seed: self.seed,
            record: self.record,
            ..SimulatorConfig::default()
        }
    }

    /// Runs until `stop` is done, printing totals each second in which something happened, and at the end.
    ///
    /// # Errors
    /// When the address cannot be listened on, or nothing can be printed.
    pub async fn run(self, stop: impl Future<Output = ()>, out: &mut impl Write) -> io::Result<()> {
        let simulator = start(self.config()).await?;
        self.write.iter().cloned().for_each(|written| simulator.write(written));
        writeln!(out, "SMSC simulator listens on {}", simulator.addr())?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut last = Totals::default();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = second.tick() => {
                    let now = simulator.totals();
                    if now != last {
                        writeln!(out, "{}", line(&now, &last))?;
                        out.flush()?;
                    }
                    last = now;
                }
            }
        }
        writeln!(out, "{}", line(&simulator.totals(), &last))?;
        if self.record {
            writeln!(out, "taken more than once: {}", simulator.taken_again().len())?;
            writeln!(out, "most submits in any second: {}", simulator.totals().busiest)?;
        }
        out.flush()?;
        simulator.shutdown().await;
        Ok(())
    }
}

/// Totals, with what has been added since `last` where it tells a rate.
fn line(now: &Totals, last: &Totals) -> String {
    format!(
        "binds {} | submits {} (+{}) accepted {} throttled {} refused {} unanswered {} distinct {} | receipts {} (+{}) acknowledged {} repeated {} waiting {}",
        now.binds,
        now.submits,
        now.submits - last.submits,
        now.accepted,
        now.throttled,
        now.refused,
        now.unanswered,
        now.distinct,
        now.receipts,
        now.receipts - last.receipts,
        now.acknowledged,
        now.repeated,
        now.waiting,
    )
}
