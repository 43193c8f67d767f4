//! `carillon serve`: from nothing to a server that takes messages.

use std::io::Write;
use std::path::Path;

use carillon_domain::account::Settings;
use carillon_domain::id::AccountNo;
use carillon_domain::money::Money;
use carillon_domain::permission::{Scope, Scopes};
use carillon_store::account::{self, NewAccount, StartingCredit};
use clap::Args;
use tokio::net::TcpListener;

use super::{CliError, say};
use crate::access::issue_key;
use crate::api;
use crate::app::{App, load_prices};
use crate::campaigns;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::drips;
use crate::jobs;
use crate::notify;
use crate::smpp_server;
use crate::telemetry;

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen, for example 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

impl ServeArgs {
    pub(super) fn flags(&self) -> Vec<(&'static str, String)> {
        self.listen.iter().map(|listen| ("server.listen", listen.clone())).collect()
    }
}

/// The key made at first start, for `carillon send` on the same machine. Only its owner can read it.
pub(super) const FIRST_KEY_FILE: &str = "first.key";

/// Between two looks at the price lists.
const PRICES_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn run(loaded: Loaded, _: ServeArgs) -> Result<(), CliError> {
    let config = loaded.config;
    telemetry::init_log(&config.log);
    loaded.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    if config.open_mode.enabled {
        tracing::warn!("open mode is on: whoever reaches {} can use any account", config.server.listen);
    }
    let stop = stop_signal();
    let wanted = config.server.listen;
    let listener =
        TcpListener::bind(wanted).await.map_err(|e| CliError::Io(format!("cannot listen on {wanted}"), e))?;
    let address = listener.local_addr().map_err(|e| CliError::Io("the listening socket".into(), e))?;
    let app = App::open(config, Clock::system()).await?;
    let fresh = first_account(&app).await?;
    let smpp = smpp_server::start(&app).await.map_err(|e| CliError::Io("the SMPP server".into(), e))?;
    announce(&app, address, fresh.as_deref());
    announce_smpp(&smpp);
    keep_metrics_small(&app);
    jobs::start(&app);
    notify::start(&app);
    campaigns::start(&app);
    drips::start(&app);
    follow_prices(&app);
    let patience = std::time::Duration::from_secs(app.config.server.shutdown_s);
    let mut serving = tokio::spawn(api::serve(app.clone(), listener));
    tokio::select! {
        () = stop => {}
        ended = &mut serving => return finished(ended),
    }
    tracing::info!("stopping: finishing what is in flight");
    app.shutdown.cancel();
    if tokio::time::timeout(patience, &mut serving).await.is_err() {
        tracing::warn!("requests were still open after {} s; they are cut off", patience.as_secs());
    }
    smpp.stop(patience).await;
    app.stop(patience).await;
    tracing::info!("stopped");
    Ok(())
}

fn finished(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), CliError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(CliError::Io("the listening socket".into(), e)),
        Err(e) => Err(CliError::Refused(format!("the server ended: {e}"))),
    }
}

/// On an empty database: an account with credit and a key that may do everything. Returns the key.
async fn first_account(app: &App) -> Result<Option<String>, CliError> {
    if !account::list(&app.db, AccountNo::PLATFORM, 1).await?.is_empty() {
        return Ok(None);
    }
    let now = app.clock.now_ms();
    let amount = Money::from_cents(app.config.accounts.first_balance_cents.into());
    let credit = StartingCredit { amount, counter: app.ids.next(), note: "to try things with", actor: "first start" };
    let new = NewAccount {
        id: None,
        counter: app.ids.next(),
        name: "Main",
        currency: &app.config.prices.currency,
        settings: Settings::default(),
        owner: None,
        credit: (amount > Money::ZERO).then_some(credit),
        now,
    };
    let account = account::create(&app.db, &new).await?;
    let scopes: Scopes = Scopes::account_all().with(Scope::Operate);
    let (key, _) = issue_key(&app.db, &app.ids, now, account.no, "first key".into(), scopes, None).await?;
    let path = app.config.data.folder.join(FIRST_KEY_FILE);
    write_private(&path, &key).map_err(|e| CliError::Io(path.display().to_string(), e))?;
    Ok(Some(key))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// Told to the person at the terminal, not to the log: a key must not stand there.
fn announce(app: &App, address: std::net::SocketAddr, key: Option<&str>) {
    say(format_args!(
        "Carillon {} listens on http://{address} (documentation: http://{address}/docs)",
        env!("CARGO_PKG_VERSION")
    ));
    let Some(key) = key else { return };
    say(format_args!(
        "\nThis is the first start: an account with {} {} and an API key were made.\nThe key is shown this once, and kept in {} for `carillon send`:\n\n  {key}\n\nSend a first message:\n\n  \
         curl -X POST http://{address}/v1/messages \\\n    -H 'Authorization: Bearer {key}' \\\n    -H 'Content-Type: application/json' \\\n    -d '{{\"to\": \"+4915112345678\", \"text\": \"hello\"}}'\n",
        Money::from_cents(app.config.accounts.first_balance_cents.into()),
        app.config.prices.currency,
        app.config.data.folder.join(FIRST_KEY_FILE).display(),
    ));
}

fn announce_smpp(smpp: &smpp_server::Running) {
    for (address, how) in [(smpp.address, "without encryption"), (smpp.tls_address, "with TLS")] {
        if let Some(address) = address {
            say(format_args!("Customers bind by SMPP on {address} {how}"));
        }
    }
}

/// The recorder keeps every sample of a histogram until it is told to add them up.
fn keep_metrics_small(app: &App) {
    let (metrics, shutdown) = (app.metrics.clone(), app.shutdown.clone());
    tokio::spawn(async move {
        let mut every = tokio::time::interval(std::time::Duration::from_secs(5));
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            metrics.run_upkeep();
        }
    });
}

/// Prices set at the command line, beside this process, count from the next look.
fn follow_prices(app: &App) {
    let app = app.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(PRICES_EVERY);
        while app.shutdown.run_until_cancelled(every.tick()).await.is_some() {
            match load_prices(&app.config, &app.db).await {
                Ok(prices) => app.pipeline.set_prices(prices),
                Err(error) => tracing::warn!(%error, "could not read the prices; those in force stay"),
            }
            if let Err(error) = app.follow_routing().await {
                tracing::warn!(%error, "could not read connections and routes; those in force stay");
            }
        }
    });
}

/// Completes at SIGINT or SIGTERM, from this call on: whoever stops a server that has only begun has it end in order, too.
pub(super) fn stop_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).expect("the process may listen to its signals");
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
    }
}
