//! The links to carriers: one supervisor per configured connection keeps its sessions bound, pulls messages when there is a slot and a
//! token, and reports what the carrier said. The sandbox is a connection like any other, to a simulator in this process.

mod callback;
mod http;
mod session;
mod submit;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::id::ConnectionId;
use carillon_domain::phone::Phone;
use carillon_domain::rate::Rate;
use carillon_domain::route::{Book, ConnectionNo};
use carillon_providers::Provider;
use carillon_smpp::{Backoff, BindKind, ClientConfig, ClientTls, ConnectError, Limits};
use parking_lot::{Mutex, RwLock};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Connection, Kind, Sandbox, UnknownPolicy};
use crate::pipeline::dispatch::Tried;
use crate::pipeline::routing::Costs;
use crate::pipeline::{ConnectionInfo, Pipeline};
use crate::routing::{Configured, host};
use crate::simulator::{self, Behaviour, SimulatorConfig};

pub use callback::{Callbacks, Listening};
use http::Carrier;

/// Why links could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The sandbox carrier found no port.
    #[error("the sandbox carrier cannot start: {0}")]
    Sandbox(std::io::Error),
    /// TLS is asked for and cannot be set up.
    #[error("connection `{0}`: TLS: {1}")]
    Tls(String, String),
    /// No HTTP client can be made.
    #[error("connection `{0}`: HTTP: {1}")]
    Http(String, String),
}

/// What the sessions of one connection share.
struct Shared {
    index: usize,
    settings: Connection,
    pipeline: Pipeline,
    clock: Clock,
    /// Hash of a number, for matching receipts.
    tag: PhoneTag,
    rate: Mutex<Rate>,
    bound: AtomicU32,
    breaker: Breaker,
    /// Whether it may lead to hosts of the public internet only.
    public_only: bool,
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

impl Shared {
    /// Parts that may still be handed over before those in doubt are too many. What is claimed counts as in doubt, and is what the next
    /// pull brings.
    fn room_in_doubt(&self) -> i64 {
        let (pipeline, index) = (&self.pipeline, self.index);
        i64::from(self.settings.in_doubt()) - pipeline.in_doubt(index) + pipeline.claimed(index)
    }

    /// What a link with room for so many may pull now (monotonic milliseconds). An eighth of the window and of the rate is kept for one-time codes,
    /// if there is more than one place. The one message of a trial is any.
    fn turn(&self, room: i64, trial: bool, now: u64) -> Turn {
        let window = i64::from(self.settings.window);
        let slots_kept = if window > 1 && !trial { (window / 8).max(1) } else { 0 };
        let mut rate = self.rate.lock();
        let tokens = rate.available(now);
        let tokens_kept = if trial { 0 } else { rate.kept() };
        let at_most = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let ordinary = (room - slots_kept).min(at_most(tokens.saturating_sub(tokens_kept)));
        if ordinary > 0 {
            return Turn { room: ordinary, otp_only: false, again_at: None };
        }
        let wanted = if tokens == 0 { 1 } else { tokens_kept + 1 };
        let again_at = (tokens < wanted).then(|| rate.free_at(now, wanted));
        Turn { room: room.min(at_most(tokens)), otp_only: true, again_at }
    }

    /// The carrier fails every time: others take its messages for a while, then one at a time tries again.
    fn open_breaker(&self) {
        let name = &self.settings.name;
        tracing::warn!(connection = %name, "connection {name}: the carrier keeps failing; trying again in {} s", BREAKER_PAUSE.as_secs());
        metrics::counter!("carillon_breaker_opened_total", "connection" => name.clone()).increment(1);
        self.breaker.half_open();
        self.pipeline.rest(self.index, BREAKER_PAUSE);
    }
}

/// See `Shared::turn`.
struct Turn {
    room: i64,
    otp_only: bool,
    /// When the rate allows more, if that is what is missing: monotonic milliseconds.
    again_at: Option<u64>,
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
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

/// The links of one connection as it is configured now.
struct Running {
    fingerprint: u64,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The carrier in this process, of a sandbox.
    sandbox: Option<simulator::Simulator>,
}

impl Running {
    /// Stops pulling, waits for the answers that are owed, and unbinds; at most `patience`.
    async fn stop(self, name: &str, patience: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(connection = %name, "connection {name}: the carrier still owed answers after {} s: their outcome is unknown", patience.as_secs());
        }
        if let Some(sandbox) = self.sandbox {
            sandbox.shutdown().await;
        }
    }
}

/// All links, and what they share.
pub struct Links {
    pipeline: Pipeline,
    clock: Clock,
    tag: PhoneTag,
    sandbox: Sandbox,
    callbacks: Callbacks,
    /// Connections whose carriers call back.
    listening: RwLock<HashMap<ConnectionId, Arc<Listening>>>,
    /// Shared by all HTTP connections, and made with the first.
    http: OnceLock<reqwest::Client>,
    /// Shared by those of accounts' own that may lead to the public internet only.
    public_http: OnceLock<reqwest::Client>,
    running: tokio::sync::Mutex<HashMap<ConnectionNo, (String, Running)>>,
    /// Links of what was changed or taken away, until they ended.
    ending: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links(..)")
    }
}

/// How long links that are replaced may wait for answers that are owed.
const REPLACED_PATIENCE: Duration = Duration::from_secs(10);

impl Links {
    /// None yet; `apply` brings them.
    pub fn new(pipeline: Pipeline, clock: Clock, tag: PhoneTag, sandbox: Sandbox, callbacks: Callbacks) -> Links {
        let (running, ending, stop) = (tokio::sync::Mutex::default(), TaskTracker::new(), CancellationToken::new());
        let (listening, http, public_http) = (RwLock::default(), OnceLock::new(), OnceLock::new());
        Links { pipeline, clock, tag, sandbox, callbacks, listening, http, public_http, running, ending, stop }
    }

    /// Brings the links to what is configured: new ones start, changed ones start anew once the old ones have heard what they are owed, and
    /// those that are gone end. Messages are routed by `book` from here on.
    pub async fn apply(&self, configured: &[Configured], book: Book, costs: Costs) {
        let mut running = self.running.lock().await;
        if self.stop.is_cancelled() {
            return;
        }
        *self.listening.write() = configured.iter().filter_map(|c| Some((c.id, Listening::of(c)?.into()))).collect();
        let same = |no: &ConnectionNo, r: &Running| {
            configured.iter().any(|c| c.no == *no && c.settings.fingerprint() == r.fingerprint)
        };
        let gone: Vec<ConnectionNo> = running.iter().filter(|(no, (_, r))| !same(no, r)).map(|(no, _)| *no).collect();
        let mut old: HashMap<_, _> = gone.into_iter().filter_map(|no| Some((no, running.remove(&no)?))).collect();
        for Configured { no, id, settings, public_only, .. } in configured {
            if running.contains_key(no) {
                continue;
            }
            let line = self.pipeline.add_line(info(*no, settings));
            let (stop, tasks) = (self.stop.child_token(), TaskTracker::new());
            let (mut next, before) = (
                Running { fingerprint: settings.fingerprint(), stop, tasks, sandbox: None },
                old.remove(no).map(|(_, before)| before),
            );
            let started = self.start(line, *id, settings, *public_only, &mut next, before).await;
            if let Err(error) = started {
                tracing::error!(connection = %settings.name, %error, "{error}");
                self.pipeline.trouble(line, error.to_string());
            }
            running.insert(*no, (settings.name.clone(), next));
        }
        self.pipeline.set_routing(book, costs);
        for (name, before) in old.into_values() {
            self.ending.spawn(async move { before.stop(&name, REPLACED_PATIENCE).await });
        }
    }

    async fn start(
        &self,
        line: usize,
        id: ConnectionId,
        settings: &Connection,
        public_only: bool,
        running: &mut Running,
        before: Option<Running>,
    ) -> Result<(), LinkError> {
        let carrier = match settings.kind {
            Kind::Http(provider) => Some(Arc::new(self.carrier(id, settings, provider, public_only)?)),
            Kind::Smpp | Kind::Sandbox => None,
        };
        let mut client = client_config(settings)?;
        if settings.kind == Kind::Sandbox {
            let carrier = simulator::start(sandbox_config(&self.sandbox)).await.map_err(LinkError::Sandbox)?;
            client.host = carrier.addr().ip().to_string();
            client.port = carrier.addr().port();
            client.system_id = "sandbox".into();
            running.sandbox = Some(carrier);
        }
        let shared = Arc::new(Shared {
            index: line,
            settings: settings.clone(),
            pipeline: self.pipeline.clone(),
            clock: self.clock.clone(),
            tag: self.tag.clone(),
            rate: Mutex::new(Rate::new(settings.rate)),
            bound: AtomicU32::new(0),
            breaker: Breaker::default(),
            public_only,
            stop: running.stop.clone(),
        });
        // A carrier allows so many binds: the old ones end before the new ones begin.
        let name = settings.name.clone();
        let ended = CancellationToken::new();
        match before {
            Some(before) => {
                let ended = ended.clone().drop_guard();
                self.ending.spawn(async move {
                    before.stop(&name, REPLACED_PATIENCE).await;
                    drop(ended);
                });
            }
            None => ended.cancel(),
        }
        if let Some(carrier) = carrier {
            // It has nobody to bind to first: what is routed in a moment need not go by another meanwhile.
            if ended.is_cancelled() {
                self.pipeline.set_bound(line, 1);
            }
            running.tasks.spawn(async move {
                ended.cancelled().await;
                http::run(shared, carrier).await;
            });
            running.tasks.close();
            return Ok(());
        }
        for number in 0..settings.binds {
            let (shared, client, ended) = (shared.clone(), client.clone(), ended.clone());
            running.tasks.spawn(async move {
                ended.cancelled().await;
                supervise(shared, client, number).await;
            });
        }
        running.tasks.close();
        Ok(())
    }

    fn carrier(
        &self,
        id: ConnectionId,
        settings: &Connection,
        provider: Provider,
        public_only: bool,
    ) -> Result<Carrier, LinkError> {
        let shared = if public_only { &self.public_http } else { &self.http };
        let client = match shared.get() {
            Some(client) => client.clone(),
            None => {
                let made =
                    http::client(public_only).map_err(|e| LinkError::Http(settings.name.clone(), e.to_string()))?;
                shared.get_or_init(|| made).clone()
            }
        };
        let callback_url = self.callbacks.url(id);
        let (credentials, carries) = (settings.provider.clone(), settings.carries());
        Ok(Carrier { provider, credentials, client, carries, callback_url })
    }

    /// Stops all: no more is pulled, answers that are owed are waited for, at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.stop.cancel();
        let running = std::mem::take(&mut *self.running.lock().await);
        for (name, links) in running.into_values() {
            self.ending.spawn(async move { links.stop(&name, patience).await });
        }
        self.ending.close();
        self.ending.wait().await;
    }
}

/// What the pipeline is to know of a connection.
fn info(no: ConnectionNo, settings: &Connection) -> ConnectionInfo {
    let tried = Tried {
        no,
        receipts: settings.receipts,
        unknown_wait_ms: i64::from(settings.unknown_wait_s) * 1_000,
        attempts_max: settings.attempts_max,
        claims: settings.unknown == UnknownPolicy::GiveUp,
        carries: settings.carries(),
    };
    ConnectionInfo { name: settings.name.clone(), tried, sessions: settings.binds as usize }
}

/// Of a message whose account wants no links instead of its files.
fn takes_no_files() -> SendError {
    let carrier = "this connection takes no such files".to_owned();
    SendError { kind: SendErrorKind::FailOver, code: ErrorCode::Unsupported, carrier }
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
                shared.pipeline.set_bound(shared.index, shared.bound.fetch_add(1, Ordering::Relaxed) + 1);
                session::run(&shared, parts, number as usize).await;
                shared.pipeline.set_bound(shared.index, shared.bound.fetch_sub(1, Ordering::Relaxed) - 1);
                if shared.clock.monotonic().saturating_sub(began) > Duration::from_secs(10) {
                    backoff.reset();
                    refusals = 0;
                }
                backoff.after_failure(rand::random())
            }
            Err(error) => {
                refusals += 1;
                shared.pipeline.trouble(shared.index, error.to_string());
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
    let mut pinned = client.clone();
    if shared.public_only {
        // The address that was checked is the one that is connected to; the certificate is still the name's.
        pinned.host = host::public(&client.host, client.port).await?.ip().to_string();
        if let Some(tls) = &mut pinned.tls {
            tls.server_name.get_or_insert_with(|| client.host.clone());
        }
    }
    let client = &pinned;
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
