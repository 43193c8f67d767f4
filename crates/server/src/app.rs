//! The handles that everything shares.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carillon_domain::account::Tier;
use carillon_domain::id::AccountNo;
use carillon_domain::message::Lane;
use carillon_domain::phone::Phone;
use carillon_domain::price::{self, PriceBook};
use carillon_domain::retry::RetryPolicy;
use carillon_store::{Db, StoreError, account, connection, platform, rate};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::access::password::Passwords;
use crate::access::vault::Vault;
use crate::access::{Access, Caller};
use crate::clock::Clock;
use crate::config::{Config, UnknownPolicy};
use crate::inbound;
use crate::links::{self, Links, PhoneTag};
use crate::notify::Notifier;
use crate::pipeline::dispatch::Tried;
use crate::pipeline::prepare::{References, Rules};
use crate::pipeline::{ConnectionInfo, Pipeline, PipelineConfig, Running};
use crate::smpp_server::Binds;
use crate::telemetry;

/// A running Carillon; cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

/// What an `App` holds.
#[derive(Debug)]
pub struct Inner {
    /// Settings in force.
    pub config: Arc<Config>,
    /// The one clock.
    pub clock: Clock,
    /// The database.
    pub db: Db,
    /// Counters for ids.
    pub ids: Ids,
    /// Who asks, remembered.
    pub access: Access,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Made once at first start.
    pub secrets: Secrets,
    /// Locks up secrets that are stored.
    pub vault: Vault,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Cancelled when the server is to end.
    pub shutdown: CancellationToken,
    /// What becomes of messages.
    pub pipeline: Pipeline,
    /// Tells others what happened.
    pub notify: Notifier,
    /// Ties the parts of long messages together.
    pub references: References,
    /// Customers bound by SMPP.
    pub smpp: Binds,
    engine: Mutex<Option<Engine>>,
}

/// What runs beside the requests.
struct Engine {
    running: Running,
    links: Links,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine(..)")
    }
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Makes the data folder if it is missing, opens the database, brings its schema up to date, and makes the rest.
    pub async fn open(config: Config, clock: Clock) -> Result<App, StoreError> {
        let db = open_database(&config).await?;
        App::new(config, clock, db).await
    }

    /// Takes an opened and migrated database and makes the rest.
    pub async fn new(config: Config, clock: Clock, db: Db) -> Result<App, StoreError> {
        let secrets = Secrets::load(&db).await?;
        let vault = Vault::open_or_make(&db, &config.data.folder, &config.vault.master_key).await?;
        let (pipeline, notify, engine) = start_engine(&config, &clock, &db, &secrets).await?;
        let auth = &config.auth;
        let passwords = Passwords::new(auth.argon2_memory_kib, auth.argon2_passes, auth.argon2_concurrent.into());
        let app = App(Arc::new(Inner {
            access: Access::new(auth.cache_ms),
            config: Arc::new(config),
            clock,
            db,
            ids: Ids::random(),
            passwords,
            secrets,
            vault,
            metrics: telemetry::prometheus(),
            shutdown: CancellationToken::new(),
            pipeline,
            notify,
            references: References::new(rand::random),
            smpp: Binds::default(),
            engine: Mutex::new(Some(engine)),
        }));
        inbound::reload_numbers(&app).await?;
        inbound::start(&app);
        Ok(app)
    }

    /// The rules of the moment by which a caller's messages are taken.
    pub fn rules<'a>(&'a self, caller: &'a Caller, prices: &'a PriceBook, now: i64) -> Rules<'a> {
        Rules {
            account: caller.account,
            settings: &caller.info.settings,
            senders: &caller.info.senders,
            countries: caller.info.countries.as_deref(),
            prices,
            otp: &self.config.otp,
            phone_key: &self.secrets.phone_key,
            suppressed: self.pipeline.suppressed(),
            references: &self.references,
            now,
        }
    }

    /// Ends what runs beside the requests: links get the answers they are owed, for at most `patience`; then what is known is made
    /// durable, if the database takes it within as much time again.
    pub async fn stop(&self, patience: Duration) {
        self.shutdown.cancel();
        let engine = self.engine.lock().take();
        if let Some(Engine { running, links }) = engine {
            links.stop(patience).await;
            running.finish(patience).await;
        }
        self.db.close().await;
    }
}

async fn start_engine(
    config: &Config,
    clock: &Clock,
    db: &Db,
    secrets: &Secrets,
) -> Result<(Pipeline, Notifier, Engine), StoreError> {
    let mut connections = Vec::with_capacity(config.connections.len());
    for (index, c) in config.connections.iter().enumerate() {
        let tried = Tried {
            no: connection::number(db, &c.name).await?,
            receipts: c.receipts,
            unknown_wait_ms: i64::from(c.unknown_wait_s) * 1_000,
            attempts_max: c.attempts_max,
            index,
        };
        let resend_unknown = c.unknown == UnknownPolicy::Resend;
        connections.push(ConnectionInfo { name: c.name.clone(), tried, sessions: c.binds as usize, resend_unknown });
    }
    let mut tiers = Vec::new();
    let mut after = AccountNo::PLATFORM;
    loop {
        let page = account::list(db, after, 1_000).await?;
        let Some(last) = page.last() else { break };
        after = last.no;
        tiers.extend(page.iter().filter(|a| a.tier != Tier::Regular).map(|a| (a.no, a.tier)));
    }
    let prices = load_prices(config, db).await?;
    let (pipeline, running) =
        Pipeline::start(pipeline_config(config), clock.clone(), db, prices, tiers, connections).await?;
    pipeline.suppressed().load(db).await?;
    // Before anything is settled.
    let notify = Notifier::open(db, pipeline.clone()).await?;
    let key = secrets.phone_key;
    let tag: PhoneTag = Arc::new(move |phone: Phone| phone.tag(&key));
    let links = links::start(&config.connections, &config.sandbox, &pipeline, clock, tag)
        .await
        .map_err(|e| StoreError::Unavailable(e.to_string()))?;
    Ok((pipeline, notify, Engine { running, links }))
}

fn pipeline_config(config: &Config) -> PipelineConfig {
    let p = &config.pipeline;
    PipelineConfig {
        intake_waiting_max: p.intake_waiting_max,
        commit_max: p.commit_max,
        queue_window: p.queue_window,
        memory_max: p.memory_max,
        retry: RetryPolicy {
            first_ms: p.retry_first_ms,
            factor: p.retry_factor,
            max_ms: p.retry_max_ms,
            retries_max: p.retries_max,
        },
        otp_deadline: Duration::from_millis(config.otp.deadline_ms),
    }
}

/// Prices in force: the configured ones, and the rate tables.
pub async fn load_prices(config: &Config, db: &Db) -> Result<PriceBook, StoreError> {
    let rates = rate::all(db).await?.into_iter().map(|r| price::Rate {
        account: r.account,
        prefix: r.prefix,
        lane: Lane::from_number(r.lane),
        price: r.price,
    });
    Ok(PriceBook::new(config.prices.per_part(), config.prices.express_surcharge(), rates))
}

/// Opens the configured database, in a data folder that only its owner can read, and brings its schema up to date.
pub async fn open_database(config: &Config) -> Result<Db, StoreError> {
    let folder = &config.data.folder;
    make_private_folder(folder)
        .map_err(|e| StoreError::Unavailable(format!("the data folder {}: {e}", folder.display())))?;
    let db = Db::open(&config.database_url()).await?;
    db.migrate().await?;
    Ok(db)
}

fn make_private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Hands out the counters that make ids of one millisecond different (`domain::id`). Starts at random below 2^41, so that two
/// processes, or one before and after a restart, do not meet.
#[derive(Debug)]
pub struct Ids(AtomicU64);

impl Ids {
    /// A start nobody knows.
    pub fn random() -> Ids {
        Ids(AtomicU64::new(rand::random_range(0..1 << 41)))
    }

    /// The next counter.
    pub fn next(&self) -> u64 {
        self.take(1)
    }

    /// The first of `count` consecutive counters, which nobody else gets.
    pub fn take(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed)
    }
}

/// Secrets of this installation, the same after every restart and on every node.
pub struct Secrets {
    /// Signs access tokens.
    pub token_key: [u8; 32],
    /// Signs list cursors.
    pub cursor_key: [u8; 32],
    /// Keys the hash behind `phone_tag`.
    pub phone_key: [u8; 16],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    async fn load(db: &Db) -> Result<Secrets, StoreError> {
        Ok(Secrets {
            token_key: secret(db, "token_key").await?,
            cursor_key: secret(db, "cursor_key").await?,
            phone_key: secret(db, "phone_key").await?,
        })
    }
}

async fn secret<const N: usize>(db: &Db, name: &str) -> Result<[u8; N], StoreError> {
    let mut fresh = [0; N];
    rand::fill(&mut fresh);
    let stored = platform::get_or_set(db, name, &fresh).await?;
    stored.try_into().map_err(|_| StoreError::Broken(format!("the platform's `{name}` has another length")))
}
