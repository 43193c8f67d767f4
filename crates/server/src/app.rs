//! The handles that everything shares.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use carillon_domain::account::Tier;
use carillon_domain::id::AccountNo;
use carillon_domain::phone::Phone;
use carillon_domain::price::{self, PriceBook, Priced};
use carillon_domain::retry::RetryPolicy;
use carillon_store::{Db, StoreError, account, platform, rate};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::access::limit::Limits;
use crate::access::password::Passwords;
use crate::access::vault::Vault;
use crate::access::{Access, Caller, Known};
use crate::clicks::{self, Clicks};
use crate::clock::Clock;
use crate::config::Config;
use crate::imports::Imports;
use crate::inbound;
use crate::links::{Callbacks, Links, PhoneTag};
use crate::media::MediaStore;
use crate::notify::Notifier;
use crate::notify::email::Postbox;
use crate::pipeline::prepare::{References, Rules, Shortener};
use crate::pipeline::{Pipeline, PipelineConfig, Running, Terms};
use crate::routing;
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
    /// How often they ask.
    pub limits: Limits,
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
    /// Mail to people.
    pub email: Postbox,
    /// What takes them to carriers.
    pub links: Links,
    /// Files that messages carry.
    pub media: MediaStore,
    /// Tables of contacts that are taken in.
    pub imports: Imports,
    /// Ties the parts of long messages together.
    pub references: References,
    /// Who opens short links.
    pub clicks: Clicks,
    /// Customers bound by SMPP.
    pub smpp: Binds,
    routing_version: AtomicI64,
    running: Mutex<Option<Running>>,
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
        let vault = Vault::open_or_make(&db, &config.data.folder, &config.vault.master_key).await?;
        let secrets = Secrets::load(&db, &vault).await?;
        let (pipeline, running) = start_pipeline(&config, &clock, &db).await?;
        pipeline.suppressed().load(&db).await?;
        pipeline.suppressed().consents().load(&db).await?;
        // Before anything is settled.
        let notify = Notifier::open(&db, pipeline.clone(), &config.webhooks).await?;
        let key = secrets.phone_key;
        let tag: PhoneTag = Arc::new(move |phone: Phone| phone.tag(&key));
        let callbacks = Callbacks { public_url: config.server.public_url.clone(), key: secrets.callback_key };
        let links = Links::new(pipeline.clone(), clock.clone(), tag, config.sandbox.clone(), callbacks);
        let auth = &config.auth;
        let passwords = Passwords::new(auth.argon2_memory_kib, auth.argon2_passes, auth.argon2_concurrent.into());
        let media =
            MediaStore::new(&config).map_err(|e| StoreError::Unavailable(format!("the store of media: {e}")))?;
        let imports = Imports::new(&config.data.folder);
        let email = Postbox::open(&config).map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let app = App(Arc::new(Inner {
            access: Access::new(auth.cache_ms),
            limits: Limits::new(&config.limits),
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
            email,
            links,
            media,
            imports,
            references: References::new(rand::random),
            clicks: Clicks::new(),
            smpp: Binds::default(),
            routing_version: AtomicI64::new(0),
            running: Mutex::new(Some(running)),
        }));
        inbound::reload_numbers(&app).await?;
        inbound::start(&app);
        clicks::start(&app);
        app.reload_routing().await?;
        Ok(app)
    }

    /// Brings connections, routes and rates to what the configuration and the database say.
    pub async fn reload_routing(&self) -> Result<(), StoreError> {
        let loaded = routing::load(&self.config, &self.db, &self.vault).await?;
        let rates = &self.config.throughput;
        let tiers = [rates.regular, rates.premium, rates.vip];
        self.pipeline.set_throughput(loaded.throughput, tiers);
        self.links.apply(&loaded.connections, loaded.book, loaded.costs).await;
        self.routing_version.store(loaded.version, Ordering::Relaxed);
        Ok(())
    }

    /// The same, if another process has changed any of it since.
    pub async fn follow_routing(&self) -> Result<(), StoreError> {
        if carillon_store::route::version(&self.db).await? != self.routing_version.load(Ordering::Relaxed) {
            self.reload_routing().await?;
        }
        Ok(())
    }

    /// The rules of the moment by which a caller's messages are taken.
    pub fn rules<'a>(&'a self, caller: &'a Caller, terms: &'a Terms, now: i64) -> Rules<'a> {
        self.rules_of(caller.account, &caller.info, terms, now)
    }

    /// The same of an account.
    pub fn rules_of<'a>(&'a self, account: AccountNo, known: &'a Known, terms: &'a Terms, now: i64) -> Rules<'a> {
        // What waits is asked again when it is sent, by what was needed last.
        self.pipeline.suppressed().consents().need(account, known.settings.promotional_consent);
        Rules {
            account,
            settings: &known.settings,
            senders: &known.senders,
            countries: known.countries.as_deref(),
            terms,
            otp: &self.config.otp,
            phone_key: &self.secrets.phone_key,
            suppressed: self.pipeline.suppressed(),
            references: &self.references,
            shortener: Shortener { public_url: &self.config.server.public_url, ids: &self.ids, random: rand::random },
            callbacks: self.notify.outbound.guard(),
            now,
        }
    }

    /// Ends what runs beside the requests: links get the answers they are owed, for at most `patience`; then what is known is made
    /// durable, if the database takes it within as much time again.
    pub async fn stop(&self, patience: Duration) {
        self.shutdown.cancel();
        let running = self.running.lock().take();
        if let Some(running) = running {
            self.links.stop(patience).await;
            running.finish(patience).await;
        }
        self.db.close().await;
    }
}

async fn start_pipeline(config: &Config, clock: &Clock, db: &Db) -> Result<(Pipeline, Running), StoreError> {
    let (mut tiers, mut needed) = (Vec::new(), Vec::new());
    let mut after = AccountNo::PLATFORM;
    loop {
        let page = account::list(db, after, 1_000).await?;
        let Some(last) = page.last() else { break };
        after = last.no;
        tiers.extend(page.iter().filter(|a| a.tier != Tier::Regular).map(|a| (a.no, a.tier)));
        needed.extend(page.iter().map(|a| (a.no, a.settings.promotional_consent)));
    }
    let prices = load_prices(config, db).await?;
    let started = Pipeline::start(pipeline_config(config), clock.clone(), db, prices, tiers).await?;
    needed.into_iter().for_each(|(account, needed)| started.0.suppressed().consents().need(account, needed));
    Ok(started)
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
    let rates = rate::all(db).await?.into_iter().filter_map(|r| {
        // What a newer version wrote is no price of ours.
        let of = Priced::from_number(r.lane)?;
        Some(price::Rate { account: r.account, prefix: r.prefix, of, price: r.price })
    });
    let prices = &config.prices;
    let book = PriceBook::new(prices.per_part(), prices.express_surcharge(), rates);
    Ok(book.with_flat(prices.per_mms(), prices.own_carrier_fee()))
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
    /// Makes the secrets of the addresses where carriers call back.
    pub callback_key: [u8; 32],
    /// Makes codes of verifications and keys their hashes; in the database under seal, because codes are short enough to be tried out by
    /// whoever has both.
    pub code_key: [u8; 32],
    /// Makes the links to people's own pages.
    pub preference_key: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    async fn load(db: &Db, vault: &Vault) -> Result<Secrets, StoreError> {
        Ok(Secrets {
            token_key: secret(db, "token_key").await?,
            cursor_key: secret(db, "cursor_key").await?,
            phone_key: secret(db, "phone_key").await?,
            callback_key: secret(db, "callback_key").await?,
            code_key: sealed_secret(db, vault, "code_key").await?,
            preference_key: secret(db, "preference_key").await?,
        })
    }
}

async fn secret<const N: usize>(db: &Db, name: &str) -> Result<[u8; N], StoreError> {
    let mut fresh = [0; N];
    rand::fill(&mut fresh);
    let stored = platform::get_or_set(db, name, &fresh).await?;
    stored.try_into().map_err(|_| StoreError::Broken(format!("the platform's `{name}` has another length")))
}

async fn sealed_secret<const N: usize>(db: &Db, vault: &Vault, name: &str) -> Result<[u8; N], StoreError> {
    let mut fresh = [0; N];
    rand::fill(&mut fresh);
    let stored = platform::get_or_set(db, name, &vault.seal(&fresh, name.as_bytes())).await?;
    let opened = vault
        .open(&stored, name.as_bytes())
        .map_err(|e| StoreError::Broken(format!("the platform's `{name}`: {e}")))?;
    opened.try_into().map_err(|_| StoreError::Broken(format!("the platform's `{name}` has another length")))
}
