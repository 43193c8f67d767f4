//! Customers bind to us by SMPP (B8): a face like `api/`, over the same pipeline. docs/SMPP.md is written for those who use it.
//!
//! `listen` takes connections and `bind` judges who may; each session then is one task (`session`), which reads what has arrived (`read`),
//! hands it to the pipeline in one request and answers after the commit. What is owed to a customer (receipts, inbound messages) waits in
//! the store; one task for each credential (`courier`) hands it to whichever of its sessions receives.

mod attempts;
mod bind;
mod courier;
mod inbound;
mod lines;
mod mailbox;
mod read;
mod render;
mod replace;
mod requests;
mod session;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use carillon_smpp::tls::{self, Identity};
use carillon_smpp::{Incoming, Limits, Listener, ServerConfig};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::config::SmppServer;

pub use lines::Binds;

/// Octets of the largest PDU taken: more than a hundred parts of text, and submit_multi with all its destinations.
const PDU_MAX: u32 = 16 * 1024;

/// What listens, and the sessions there are.
#[derive(Debug)]
pub struct Running {
    /// Where it listens without encryption.
    pub address: Option<SocketAddr>,
    /// Where it listens with TLS.
    pub tls_address: Option<SocketAddr>,
    sessions: TaskTracker,
}

impl Running {
    /// Waits, at most `patience`, for the sessions to end; they unbind by themselves once `app.shutdown` is cancelled.
    pub async fn stop(self, patience: Duration) {
        self.sessions.close();
        if tokio::time::timeout(patience, self.sessions.wait()).await.is_err() {
            tracing::warn!("{} SMPP sessions were still open; they are cut off", self.sessions.len());
        }
    }
}

/// Listens where the settings say, perhaps nowhere, until `app.shutdown` is cancelled.
///
/// # Errors
/// When an address cannot be listened on, or certificate and key cannot be used.
pub async fn start(app: &App) -> io::Result<Running> {
    let config = &app.config.smpp_server;
    let plain = open(&config.listen, config, None).await?;
    let tls = if config.tls_listen.is_empty() { None } else { Some(identity(config)?) };
    let tls = open(&config.tls_listen, config, tls).await?;
    let address = |listener: &Option<Listener>| listener.as_ref().map(Listener::local_addr).transpose();
    let sessions = TaskTracker::new();
    let running = Running { address: address(&plain)?, tls_address: address(&tls)?, sessions: sessions.clone() };
    let places = Arc::new(Semaphore::new(config.connections_max));
    let mut listening = false;
    for listener in [plain, tls].into_iter().flatten() {
        listening = true;
        tokio::spawn(listen(app.clone(), listener, sessions.clone(), places.clone()));
    }
    if listening {
        tokio::spawn(tell_couriers(app.clone()));
    }
    Ok(running)
}

fn identity(config: &SmppServer) -> io::Result<Arc<tokio_rustls::rustls::ServerConfig>> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    };
    let (chain, key) = (read(&config.tls_certificate)?, read(&config.tls_key)?);
    tls::server(Identity { chain_pem: &chain, key_pem: &key })
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {e}", config.tls_certificate.display())))
}

async fn open(
    address: &str,
    config: &SmppServer,
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
) -> io::Result<Option<Listener>> {
    if address.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = address.parse().expect("the configuration was checked");
    let server = ServerConfig {
        tls,
        bind_timeout: Duration::from_secs(config.bind_timeout_s),
        system_id: config.system_id.clone(),
        pdu_max: PDU_MAX,
    };
    let listener = Listener::bind(address, server).await;
    listener.map(Some).map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address} for SMPP: {e}")))
}

async fn listen(app: App, listener: Listener, sessions: TaskTracker, places: Arc<Semaphore>) {
    let shutdown = app.shutdown.clone();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let incoming = match accepted {
            Ok(incoming) => incoming,
            Err(error) => {
                // Too many open files, for one: they will not become fewer by trying at once.
                tracing::warn!(%error, "an SMPP connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics::counter!("carillon_smpp_binds_total", "result" => "no_room").increment(1);
            continue;
        };
        let app = app.clone();
        sessions.spawn(async move {
            serve(app, incoming).await;
            drop(place);
        });
    }
}

/// One connection, from its bind to its end.
async fn serve(app: App, incoming: Incoming) {
    let peer = incoming.peer();
    let Some(bound) = app.shutdown.run_until_cancelled(incoming.bind_request()).await else { return };
    let request = match bound {
        Ok(request) => request,
        Err(error) => return tracing::debug!(%peer, %error, "no SMPP bind from {peer}: {error}"),
    };
    let admitted = match bind::admit(&app, peer.ip(), &request.bind).await {
        Ok(admitted) => admitted,
        Err(status) => {
            tracing::info!(%peer, %status, "SMPP bind from {peer} refused: {status}");
            // Whether the peer still hears it is its own affair.
            let _ = request.refuse(status).await;
            return;
        }
    };
    let config = &app.config.smpp_server;
    let window = usize::from(admitted.settings.window);
    let limits = Limits {
        window,
        response_timeout: Duration::from_secs(config.response_timeout_s),
        enquire_link: Duration::from_secs(config.enquire_link_s),
        inbox: window,
        pdu_max: PDU_MAX,
    };
    let (kind, version) = (request.kind, request.bind.interface_version);
    match request.accept(limits).await {
        Ok((session, events)) => session::run(app, admitted, kind, version, session, events).await,
        Err(error) => tracing::debug!(%peer, %error, "an SMPP bind from {peer} came to nothing: {error}"),
    }
}

/// Hands on for whom receipts were written.
async fn tell_couriers(app: App) {
    let shutdown = app.shutdown.clone();
    while let Some(owed) = shutdown.run_until_cancelled(app.pipeline.receipts_owed()).await {
        for (account, credential) in owed {
            app.smpp.more(account, credential);
        }
    }
}
