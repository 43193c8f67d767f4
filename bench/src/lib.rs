//! The load generator: scenarios against a running Carillon, cheap enough to share two cores with it.
//!
//! One thread, hand-written HTTP/1.1 over keep-alive connections, requests rendered once and only their digits
//! changed. `client` speaks HTTP, `request` renders, `load` drives connections by a plan and tallies, `scenario`
//! holds one file per question asked, `report` prints the answers as a Markdown table.

mod client;
mod error;
mod histogram;
mod load;
mod metrics;
mod process;
mod report;
mod request;
mod scenario;

use clap::{Args as ClapArgs, Subcommand};

pub use client::{Answer, Connection, Target};
pub use error::BenchError;
pub use histogram::Histogram;
pub use load::{Pace, Plan, Share, Stage, Tally, drive};
pub use metrics::sum_samples;
pub use request::{Kind, Template};

/// What to measure, and where.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Address of the server, plain HTTP.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080", env = "CARILLON_URL")]
    url: String,
    /// API key with the scope to send.
    #[arg(long, global = true, default_value = "", env = "CARILLON_API_KEY", hide_env_values = true)]
    key: String,
    /// Process id of the server, to report its CPU seconds per million messages and its peak memory.
    #[arg(long, global = true)]
    pid: Option<u32>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Single `POST /v1/messages`: accepted per second and latency
    Accept(scenario::accept::Accept),
    /// `POST /v1/batches` with many recipients a request: messages accepted per second
    Batch(scenario::batch::Batch),
    /// One request of 100,000 recipients: time to durable acceptance, to the last submit, to the last final state
    Bulk(scenario::bulk::Bulk),
    /// Short links opened: people sent on per second, each counted before
    Clicks(scenario::clicks::Clicks),
    /// From request to final state: sustained rate, CPU per million messages, peak memory
    E2e(scenario::e2e::EndToEnd),
    /// Latency of one-time codes while a backlog waits
    Otp(scenario::otp::Otp),
    /// One account's single messages while another's backlog waits
    Fair(scenario::fair::Fair),
    /// How much of its rate a connection uses while messages wait
    Rate(scenario::rate::Rate),
    /// SMPP in, SMPP out: accepted per second, and the time until the last is final
    Smpp(scenario::smpp::Smpp),
    /// Time from the start of the process until it is ready, with messages waiting
    Restart(scenario::restart::Restart),
    /// Messages scheduled at one instant: how soon they start, how fast they flow
    Scheduled(scenario::scheduled::Scheduled),
    /// Webhooks delivered per second to a sink in this process
    Webhooks(scenario::webhooks::Webhooks),
    /// A named load profile with thresholds: smoke, load, stress, spike, volume, burst, endurance and others
    Preset(scenario::preset::Preset),
}

/// Runs one scenario and prints its report to stdout. Blocks; starts a runtime of one thread of its own, since
/// more would take the core from the server under test.
///
/// # Errors
/// When the server cannot be reached or answers what is no HTTP, when `pid` is not a process, or when a preset's
/// threshold is missed.
pub fn run_blocking(args: Args) -> Result<(), BenchError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let target = Target::new(&args.url, &args.key)?;
        match args.scenario {
            Scenario::Accept(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Batch(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Bulk(scenario) => scenario.run(&target).await,
            Scenario::Clicks(scenario) => scenario.run(&target).await,
            Scenario::E2e(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Otp(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Fair(scenario) => scenario.run(&args.url, &target, args.pid).await,
            Scenario::Rate(scenario) => scenario.run(&target).await,
            Scenario::Smpp(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Restart(scenario) => scenario.run(&target).await,
            Scenario::Scheduled(scenario) => scenario.run(&target).await,
            Scenario::Webhooks(scenario) => scenario.run(&target, args.pid).await,
            Scenario::Preset(scenario) => scenario.run(&target, args.pid).await,
        }
    })
}

/// [`run_blocking`] for callers inside a runtime, on a thread of its own.
///
/// # Errors
/// Those of [`run_blocking`].
pub async fn run(args: Args) -> Result<(), BenchError> {
    tokio::task::spawn_blocking(move || run_blocking(args)).await.map_err(std::io::Error::other)?
}
