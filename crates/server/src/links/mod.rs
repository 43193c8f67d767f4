//! The links to carriers: one supervisor per configured connection keeps its sessions bound, pulls messages when there is a slot and a
//! token, and reports what the carrier said. The sandbox is a connection like any other, to a simulator in this process.

pub(crate) mod rate;
mod session;
mod submit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use carillon_domain::phone::Phone;
use carillon_smpp::{Backoff, BindKind, ClientConfig, ClientTls, ConnectError, Limits};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Connection, Kind, Sandbox};
use crate::pipeline::Pipeline;
use crate::simulator::{self, Behaviour, SimulatorConfig};

use rate::Bucket;

/// Why links could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The sandbox carrier found no port.
    #[error("the sandbox carrier cannot start: {0}")]
    Sandbox(std::io::Error),
    /// TLS is asked for and cannot be set up.
    #[error("connection `{0}`: TLS: {1}")]
    Tls(String, String),
}

/// What the sessions of one connection share.
struct Shared {
    index: usize,
    settings: Connection,
    pipeline: Pipeline,
    clock: Clock,
    /// Hash of a number, for matching receipts.
    tag: PhoneTag,
    bucket: Mutex<Bucket>,
    bound: AtomicU32,
    breaker: Breaker,
    stop: CancellationToken,
}

/// The keyed hash of the digits of a number.
pub type PhoneTag = Arc<dyn Fn(Phone) -> i64 + Send + Sync>;

/// Opens after many failures in a row; then one message at a time tries whether the carrier is well again.
#[derive(Default)]
struct Breaker {
    failures: AtomicU32,
    trial: AtomicBool,
}

/// Failures in a row that open the breaker.
const BREAKER_FAILURES: u32 = 20;
/// How long it stays open.
const BREAKER_PAUSE: Duration = Duration::from_secs(5);

impl Breaker {
    fn success(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.trial.store(false, Ordering::Relaxed);
    }

    /// Whether this failure opens it.
    fn failure(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= BREAKER_FAILURES || self.trial.load(Ordering::Relaxed)
    }

    fn half_open(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.trial.store(true, Ordering::Relaxed);
    }
}

/// The running links.
pub struct Links {
    stop: CancellationToken,
    tasks: TaskTracker,
    sandboxes: Vec<simulator::Simulator>,
}

/// Starts a supervisor for each session of each connection.
pub async fn start(
    connections: &[Connection],
    sandbox: &Sandbox,
    pipeline: &Pipeline,
    clock: &Clock,
    tag: PhoneTag,
) -> Result<Links, LinkError> {
    let (stop, tasks, mut sandboxes) = (CancellationToken::new(), TaskTracker::new(), Vec::new());
    for (index, settings) in connections.iter().enumerate() {
        let mut client = client_config(settings)?;
        if settings.kind == Kind::Sandbox {
            let carrier = simulator::start(sandbox_config(sandbox)).await.map_err(LinkError::Sandbox)?;
            client.host = carrier.addr().ip().to_string();
            client.port = carrier.addr().port();
            client.system_id = "sandbox".into();
            sandboxes.push(carrier);
        }
        let shared = Arc::new(Shared {
            index,
            settings: settings.clone(),
            pipeline: pipeline.clone(),
            clock: clock.clone(),
            tag: tag.clone(),
            bucket: Mutex::new(Bucket::new(settings.rate)),
            bound: AtomicU32::new(0),
            breaker: Breaker::default(),
            stop: stop.clone(),
        });
        for number in 0..settings.binds {
            tasks.spawn(supervise(shared.clone(), client.clone(), number));
        }
    }
    tasks.close();
    Ok(Links { stop, tasks, sandboxes })
}

impl Links {
    /// Stops pulling, waits for the answers that are owed, and unbinds; at most `patience`.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!("carriers still owed answers after {} s: their outcome is unknown", patience.as_secs());
        }
        for sandbox in self.sandboxes {
            sandbox.shutdown().await;
        }
    }
}

fn sandbox_config(sandbox: &Sandbox) -> SimulatorConfig {
    let behaviour = Behaviour {
        submit_rate: sandbox.rate,
        response_delay: Duration::from_millis(sandbox.accept_delay_ms),
        receipt_delay: Duration::from_millis(sandbox.receipt_delay_ms),
        ..Behaviour::default()
    };
    SimulatorConfig { listen: ([127, 0, 0, 1], 0).into(), behaviour, ..SimulatorConfig::default() }
}

fn client_config(settings: &Connection) -> Result<ClientConfig, LinkError> {
    let tls = if settings.tls {
        let config = carillon_smpp::tls::client_with_platform_roots(None)
            .map_err(|e| LinkError::Tls(settings.name.clone(), e.to_string()))?;
        Some(ClientTls { config, server_name: None })
    } else {
        None
    };
    Ok(ClientConfig {
        host: settings.host.clone(),
        port: settings.port,
        tls,
        system_id: settings.system_id.clone(),
        password: settings.password.expose_secret().to_owned(),
        system_type: settings.system_type.clone(),
        bind: BindKind::Transceiver,
        limits: Limits {
            window: settings.window as usize,
            response_timeout: Duration::from_millis(settings.response_timeout_ms),
            enquire_link: Duration::from_secs(settings.enquire_link_s.into()),
            ..Limits::default()
        },
        ..ClientConfig::default()
    })
}

/// Keeps one session bound until the links stop.
async fn supervise(shared: Arc<Shared>, client: ClientConfig, number: u32) {
    let name = shared.settings.name.clone();
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    let mut refusals = 0u32;
    while !shared.stop.is_cancelled() {
        let connected = tokio::select! {
            () = shared.stop.cancelled() => return,
            connected = connect(&shared, &client) => connected,
        };
        let wait = match connected {
            Ok(parts) => {
                tracing::info!(connection = %name, number, "connection {name}: session {number} is bound");
                let began = shared.clock.monotonic();
                shared.bound.fetch_add(1, Ordering::Relaxed);
                shared.pipeline.set_up(shared.index, true);
                session::run(&shared, parts, number as usize).await;
                if shared.bound.fetch_sub(1, Ordering::Relaxed) == 1 {
                    shared.pipeline.set_up(shared.index, false);
                }
                if shared.clock.monotonic().saturating_sub(began) > Duration::from_secs(10) {
                    backoff.reset();
                    refusals = 0;
                }
                backoff.after_failure(rand::random())
            }
            Err(error) => {
                refusals += 1;
                if refusals == 1 || refusals.is_multiple_of(10) {
                    tracing::warn!(connection = %name, %error, refusals, "connection {name}: not bound: {error} (try {refusals})");
                }
                metrics::counter!("carillon_binds_refused_total", "connection" => name.clone()).increment(1);
                backoff.after_failure(rand::random())
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One session both ways, or a pair.
async fn connect(shared: &Shared, client: &ClientConfig) -> Result<session::Bound, ConnectError> {
    if shared.settings.bind == crate::config::Bind::Transceiver {
        let (session, events) = carillon_smpp::connect(client).await?;
        return Ok(session::Bound { sender: session, events, receiver: None });
    }
    let transmitter = ClientConfig { bind: BindKind::Transmitter, ..client.clone() };
    let receiver = ClientConfig { bind: BindKind::Receiver, ..client.clone() };
    let receiver = carillon_smpp::connect(&receiver).await?;
    let (sender, events) = carillon_smpp::connect(&transmitter).await?;
    Ok(session::Bound { sender, events, receiver: Some(receiver) })
}

/// The number an address names, if it can be one.
fn number(address: &str) -> Option<Phone> {
    let digits = address.trim().trim_start_matches('+').trim_start_matches("00");
    digits.parse().ok().and_then(Phone::from_digits)
}
