//! A carrier to send to: an SMSC on a TCP port, for `carillon simulator`, the sandbox connection and the tests. Numbers of the sandbox block
//! (`docs/ERROR_CODES.md`) behave as documented there; all others by the configured shares.

mod args;
mod behaviour;
mod dialect;
mod exchange;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use carillon_smpp::{CommandStatus, Event, Incoming, Limits, Listener, ServerConfig};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use args::SimulatorArgs;
pub use behaviour::Behaviour;
pub use dialect::Dialect;
pub use exchange::{Totals, Written};

use crate::clock::Clock;
use exchange::Exchange;

/// What a simulator is started with.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How messages are treated.
    pub behaviour: Behaviour,
    /// Who may bind, by system id and password; anyone if none.
    pub credentials: Option<(String, String)>,
    /// Unacknowledged deliver_sm a bind may have.
    pub window: usize,
    /// What the random choices begin from.
    pub seed: u64,
    /// Count how often each message is taken: 60 bytes for each, so for tests.
    pub record: bool,
    /// The time of day in receipts.
    pub clock: Clock,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            behaviour: Behaviour::default(),
            credentials: None,
            window: 1000,
            seed: 0,
            record: false,
            clock: Clock::system(),
        }
    }
}

struct Shared {
    exchange: Mutex<Exchange>,
    /// Something may be due earlier than the sweeper thinks.
    sooner: Notify,
    credentials: Option<(String, String)>,
    limits: Limits,
    /// Binds are refused with this.
    bind_status: Mutex<Option<CommandStatus>>,
}

/// A running simulator; dropping it stops it.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Starts a simulator.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(config: SimulatorConfig) -> io::Result<Simulator> {
    let server = ServerConfig { system_id: "simulator".to_owned(), ..ServerConfig::default() };
    let listener = Listener::bind(config.listen, server).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared {
        exchange: Mutex::new(Exchange::new(config.behaviour, config.seed, config.record, config.clock)),
        sooner: Notify::new(),
        credentials: config.credentials,
        limits: Limits { window: config.window, response_timeout: Duration::from_secs(10), ..Limits::default() },
        bind_status: Mutex::new(None),
    });
    let tasks = vec![tokio::spawn(sweep(Arc::clone(&shared))), tokio::spawn(listen(Arc::clone(&shared), listener))];
    Ok(Simulator { address, shared, tasks })
}

impl Simulator {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What has happened since the start.
    pub fn totals(&self) -> Totals {
        self.shared.exchange.lock().totals()
    }

    /// Changes how messages are treated from now on; what is already due stays as planned.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.shared.exchange.lock().behaviour = behaviour;
    }

    /// A phone writes to one of the client's numbers.
    pub fn write(&self, written: Written) {
        self.shared.exchange.lock().write(written);
    }

    /// Closes every connection at once, as a failing carrier does. Messages taken are kept: their receipts wait for the next bind.
    pub fn drop_links(&self) {
        self.shared.exchange.lock().drop_links();
    }

    /// Holds the answers to submits back (the messages are taken all the same), or lets those held back go.
    pub fn pause_answers(&self, pause: bool) {
        self.shared.exchange.lock().pause(pause);
    }

    /// Refuses binds with this status from now on; `None` accepts them again.
    pub fn refuse_binds(&self, status: Option<CommandStatus>) {
        *self.shared.bind_status.lock() = status;
    }

    /// How often this whole text (the octets on the wire, not a part of a longer one) was taken for this destination. 0 unless `record` is set.
    pub fn times_taken(&self, destination: &str, content: &[u8]) -> u32 {
        self.shared.exchange.lock().times_taken(destination.as_bytes(), content)
    }

    /// The destinations of messages (same destination, text and part) taken more than once, each with how often. Empty unless `record` is set.
    pub fn taken_again(&self) -> Vec<(String, u32)> {
        self.shared.exchange.lock().taken_again()
    }

    /// Stops: closes every connection and the port.
    pub async fn shutdown(mut self) {
        self.drop_links();
        for task in self.tasks.drain(..) {
            task.abort();
            // Either it was aborted, which is what we want, or it had ended.
            let _ = task.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.drop_links();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Does what is due, when it is due.
async fn sweep(shared: Arc<Shared>) {
    loop {
        let next = shared.exchange.lock().sweep();
        match next {
            None => shared.sooner.notified().await,
            Some(at) => {
                let _ = tokio::time::timeout_at(at, shared.sooner.notified()).await;
            }
        }
    }
}

async fn listen(shared: Arc<Shared>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(incoming) => drop(tokio::spawn(serve(Arc::clone(&shared), incoming))),
            // Too many open files, for one: they will not become fewer by trying at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming) {
    let Ok(request) = incoming.bind_request().await else { return };
    let refused = shared.bind_status.lock().or_else(|| match &shared.credentials {
        Some((name, _)) if name.as_bytes() != request.bind.system_id => Some(CommandStatus::RINVSYSID),
        Some((_, password)) if password.as_bytes() != request.bind.password => Some(CommandStatus::RINVPASWD),
        _ => None,
    });
    if let Some(status) = refused {
        // The client has gone already, which serves the same end.
        let _ = request.refuse(status).await;
        return;
    }
    let (kind, name) = (request.kind, request.bind.system_id.clone());
    let Ok((session, mut events)) = request.accept(shared.limits.clone()).await else { return };
    let bind = shared.exchange.lock().bound(&name, kind, session);
    let mut batch: Vec<Event> = Vec::new();
    while events.recv_many(&mut batch).await {
        let mut exchange = shared.exchange.lock();
        let before = exchange.next_due();
        exchange.on_events(bind, &mut batch);
        if exchange.next_due().is_some_and(|tick| before.is_none_or(|before| tick < before)) {
            shared.sooner.notify_one();
        }
    }
}
