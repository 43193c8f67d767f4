//! The listening socket: connections accepted, each bounded in time and number, and ended in order.
//!
//! `axum::serve` knows no time-outs, so this is its loop with those of hyper: a client that sends its headers by the drop, or holds a connection
//! and says nothing, is cut off (slow loris), and so many connections at most are open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::app::App;

/// The headers of a request, in all: a token and some proxies' additions have room.
const HEADERS_BYTES: usize = 64 * 1_024;
/// After an error of the socket itself (no more files, say), milliseconds until it is asked again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Answers requests on `listener` until `app.shutdown` is cancelled and what was in flight then is answered.
pub async fn serve(app: App, listener: TcpListener) -> std::io::Result<()> {
    let server = &app.config.server;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(server.header_timeout_s.into()))
        .max_buf_size(HEADERS_BYTES);
    let router = TowerToHyperService::new(super::router(app.clone()));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(server.connections_max));
    let serving = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("the places are never closed");
            let (stream, peer) = accepted(&listener).await;
            let connection = http.serve_connection(TokioIo::new(stream), of_peer(router.clone(), peer));
            let watched = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "a connection ended early: {error}");
                }
                drop(place);
            });
        }
    };
    app.shutdown.run_until_cancelled(serving).await;
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// The service of one connection: handlers are told who it is.
fn of_peer(
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
) -> impl Service<Request<Incoming>, Response = axum::response::Response, Error = std::convert::Infallible, Future: Send>
{
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    })
}

/// The next connection.
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small answers wait for the peer's delayed acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not set TCP_NODELAY");
                }
                return (stream, peer);
            }
            Err(error) if gone(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether the client went away before it was accepted.
fn gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
