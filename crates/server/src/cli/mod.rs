//! The command line: what operators and developers type.

mod accounts;
mod carriers;
mod keys;
mod money;
mod send;
mod serve;
mod set_aside;
mod usage;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use carillon_domain::id::{AccountId, AccountNo};
use carillon_store::account::Account;
use carillon_store::{Db, StoreError, account};
use clap::{Args, Parser, Subcommand};

use crate::app::{Ids, open_database};
use crate::clock::Clock;
use crate::config::{self, Config, Loaded, Mistakes, Sources};
use crate::simulator::SimulatorArgs;

/// Carillon: an SMS platform that anyone can run.
#[derive(Debug, Parser)]
#[command(name = "carillon", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from, for every command.
#[derive(Debug, Args)]
struct Settings {
    /// A file of settings; see config.default.toml for all of them.
    #[arg(long, global = true, env = "CARILLON_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the database file and the first key.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_folder: Option<String>,
    /// sqlite:PATH or postgres://user:password@host/name.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server. The first start makes an account and an API key and prints how to send a message.
    Serve(serve::ServeArgs),
    /// Bring the database's schema up to this version.
    Migrate,
    /// Accounts: the tenants.
    #[command(subcommand)]
    Account(accounts::AccountCommand),
    /// API keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Credit given or taken by hand.
    #[command(subcommand)]
    Credit(money::CreditCommand),
    /// Prices by destination and lane.
    #[command(subcommand)]
    Price(money::PriceCommand),
    /// Connections to carriers.
    #[command(subcommand)]
    Connection(carriers::ConnectionCommand),
    /// Routes over connections.
    #[command(subcommand)]
    Route(carriers::RouteCommand),
    /// The ledger.
    #[command(subcommand)]
    Ledger(money::LedgerCommand),
    /// What reports are made of.
    #[command(subcommand)]
    Usage(usage::UsageCommand),
    /// List outcomes that could not be written: each is a defect.
    SetAside,
    /// Print the OpenAPI document.
    Openapi,
    /// Send a message through a running server and follow it to its end.
    Send(send::SendArgs),
    /// Be a carrier: an SMSC on a TCP port, with the faults asked for.
    Simulator(SimulatorArgs),
    /// Load a running server and measure it.
    Bench(carillon_bench::Args),
}

/// What a command can end with besides success.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(#[from] Mistakes),
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Files and sockets.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
}

/// Runs the command in the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // It brings a runtime of its own: more threads would take the core from the server it measures.
    if let Command::Bench(args) = cli.command {
        return ended(carillon_bench::run_blocking(args).map_err(|e| CliError::Refused(e.to_string())));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    ended(runtime.block_on(run(cli)))
}

fn ended(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if matches!(error, CliError::Settings(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Serve(args) => serve::run(cli.settings.load(&args.flags())?, args).await,
        Command::Migrate => {
            let office = Office::open(&cli.settings).await?;
            say("the database is up to date");
            office.db.close().await;
            Ok(())
        }
        Command::Account(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Key(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Credit(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Price(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Connection(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Route(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Ledger(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::Usage(command) => command.run(&Office::open(&cli.settings).await?).await,
        Command::SetAside => set_aside::run(&Office::open(&cli.settings).await?).await,
        Command::Openapi => {
            say(crate::api::openapi().to_pretty_json().expect("the document is plain data"));
            Ok(())
        }
        Command::Send(args) => send::run(&cli.settings.load(&[])?.config, args).await,
        Command::Simulator(args) => {
            let mut out = std::io::stdout();
            args.run(serve::stop_signal(), &mut out).await.map_err(|e| CliError::Io("the simulator".into(), e))
        }
        Command::Bench(_) => Ok(()), // ran before there was a runtime
    }
}

impl Settings {
    fn load(&self, flags: &[(&'static str, String)]) -> Result<Loaded, CliError> {
        let file = match &self.config {
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|e| CliError::Io(name.clone(), e))?;
                Some((name, text))
            }
            None => None,
        };
        let given =
            [("data.folder", &self.data_folder), ("database.url", &self.database_url), ("log.level", &self.log_level)];
        let given = given.into_iter().filter_map(|(path, text)| text.clone().map(|text| (path, text)));
        let environment =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        Ok(config::load(&Sources { file, environment, flags: given.chain(flags.iter().cloned()).collect() })?)
    }
}

/// What administration by hand needs: the database, and no running server.
struct Office {
    config: Config,
    db: Db,
    ids: Ids,
    clock: Clock,
}

impl Office {
    async fn open(settings: &Settings) -> Result<Office, CliError> {
        let config = settings.load(&[])?.config;
        let db = open_database(&config).await?;
        Ok(Office { config, db, ids: Ids::random(), clock: Clock::system() })
    }

    /// The account a person means by an id, a bare UUID or a number.
    async fn account(&self, text: &str) -> Result<Account, CliError> {
        let found = match (text.parse::<u32>(), text.parse::<AccountId>()) {
            (Ok(no), _) => account::by_no(&self.db, AccountNo(no)).await,
            (_, Ok(id)) => account::by_id(&self.db, id).await,
            (_, Err(e)) => return Err(CliError::Refused(format!("{text}: {e}"))),
        };
        found.map_err(|e| match e {
            StoreError::NotFound => CliError::Refused(format!("there is no account {text}")),
            other => other.into(),
        })
    }
}

/// Writes a line for the person at the terminal. Nobody listening is no error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "carillon: {line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_do_not_contradict_one_another() {
        Cli::command().debug_assert();
        for line in [
            "carillon serve --listen 127.0.0.1:0",
            "carillon credit add 1 -2.50 --kind adjustment --note x",
            "carillon ledger verify --data-folder d",
            "carillon connection add acme --set host=smpp.example.com --set rate=50 --secret password",
            "carillon route explain +4915112345678 --lane otp --tag a",
            "carillon send +4915112345678 hello",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
