//! The handles that everything shares.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carillon_store::{Db, StoreError, platform};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::access::password::Passwords;
use crate::clock::Clock;
use crate::config::Config;
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
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Cancelled when the server is to end.
    pub shutdown: CancellationToken,
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Takes an opened and migrated database and makes the rest.
    pub async fn new(config: Config, clock: Clock, db: Db) -> Result<App, StoreError> {
        let secrets = Secrets::load(&db).await?;
        let auth = &config.auth;
        let passwords = Passwords::new(auth.argon2_memory_kib, auth.argon2_passes, auth.argon2_concurrent.into());
        Ok(App(Arc::new(Inner {
            access: Access::new(auth.cache_ms),
            config: Arc::new(config),
            clock,
            db,
            ids: Ids::random(),
            passwords,
            secrets,
            metrics: telemetry::prometheus(),
            shutdown: CancellationToken::new(),
        })))
    }
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
