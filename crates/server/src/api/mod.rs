//! HTTP: the table of contents of the API, and what every answer has in common.

pub mod error;
pub mod extract;
pub mod page;

pub mod account;
pub mod admin;
pub mod api_keys;
pub mod auth;
pub mod batches;
pub mod conversations;
mod docs;
pub mod estimates;
pub mod history;
pub mod idempotency;
pub mod inbound_messages;
pub mod inbound_numbers;
pub mod keyword_rules;
pub mod ledger;
mod loading;
pub mod me;
pub mod messages;
pub mod ops;
pub mod recipients;
pub mod sender_review;
pub mod senders;
pub mod sending;
pub mod sessions;
pub mod smpp_credentials;
pub mod suppression_lists;
pub mod suppressions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use error::{Code, Problem};

/// Every route of the API, and the document that describes them.
fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::<App>::with_openapi(docs::Document::openapi())
        // Who asks
        .routes(routes!(auth::register))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::read, api_keys::revoke))
        .routes(routes!(smpp_credentials::create, smpp_credentials::list))
        .routes(routes!(smpp_credentials::read, smpp_credentials::change, smpp_credentials::delete))
        .routes(routes!(smpp_credentials::renew))
        // The account
        .routes(routes!(me::me))
        .routes(routes!(account::read, account::change))
        .routes(routes!(ledger::list))
        // Operating the platform
        .routes(routes!(admin::create, admin::list))
        .routes(routes!(admin::read, admin::change))
        .routes(routes!(admin::credit, admin::entries))
        // Messages
        .routes(routes!(messages::create, messages::list))
        .routes(routes!(messages::read, messages::cancel))
        .routes(routes!(batches::create, batches::list))
        .routes(routes!(batches::read))
        .routes(routes!(batches::messages))
        .routes(routes!(batches::cancel))
        .routes(routes!(estimates::create))
        // Senders
        .routes(routes!(senders::create, senders::list))
        .routes(routes!(senders::read, senders::change, senders::delete))
        .routes(routes!(sender_review::list))
        .routes(routes!(sender_review::approve))
        .routes(routes!(sender_review::reject))
        .routes(routes!(sender_review::rules))
        .routes(routes!(sender_review::set_rule, sender_review::delete_rule))
        // Two-way
        .routes(routes!(inbound_messages::list))
        .routes(routes!(inbound_messages::read))
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::read))
        .routes(routes!(conversations::messages, conversations::reply))
        .routes(routes!(conversations::mark_read))
        .routes(routes!(keyword_rules::create, keyword_rules::list))
        .routes(routes!(keyword_rules::read, keyword_rules::replace, keyword_rules::delete))
        .routes(routes!(inbound_numbers::list))
        .routes(routes!(inbound_numbers::create, inbound_numbers::list_all))
        .routes(routes!(inbound_numbers::delete))
        .routes(routes!(inbound_messages::unmatched))
        // Who must not be written to
        .routes(routes!(suppressions::create, suppressions::list))
        .routes(routes!(suppressions::read, suppressions::end))
        .routes(routes!(suppression_lists::import))
        .routes(routes!(suppression_lists::export))
        .routes(routes!(suppressions::platform_create, suppressions::platform_list))
        .routes(routes!(suppressions::platform_read, suppressions::platform_end))
        .routes(routes!(suppression_lists::platform_import))
        .routes(routes!(suppression_lists::platform_export))
        // Running it
        .routes(routes!(ops::health))
        .routes(routes!(ops::ready))
        .split_for_parts();
    docs::complete(&mut document);
    (router, document)
}

/// The OpenAPI document, generated from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The whole HTTP service.
pub fn router(app: App) -> Router {
    let (api, document) = routes();
    let document: Arc<str> = document.to_json().expect("the document is plain data").into();
    api.route("/metrics", get(ops::metrics))
        .route("/", get(docs::start))
        .route("/docs", get(docs::page))
        .route("/docs/docs.js", get(docs::script))
        .route("/docs/problems", get(docs::problems))
        .route("/openapi.json", get(move || docs::document(document.clone())))
        .fallback(async || Problem::from(Code::NotFound))
        .layer(DefaultBodyLimit::max(app.config.server.body_max))
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("a handler panicked; see the message before this line");
            Problem::from(Code::Internal).into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

/// Answers requests on `listener` until `app.shutdown` is cancelled and what was in flight then is answered.
pub async fn serve(app: App, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    // Without TCP_NODELAY small answers wait for the peer's delayed acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
    });
    let shutdown = app.shutdown.clone();
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The id of a request: the caller's, if it sent a sane one, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(pub HeaderValue);

const REQUEST_ID: &str = "request-id";

impl RequestId {
    fn of(request: &Request) -> RequestId {
        let sane = |v: &&HeaderValue| {
            (1..=64).contains(&v.len()) && v.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        };
        let given = request.headers().get(REQUEST_ID).or_else(|| request.headers().get("x-request-id"));
        RequestId(given.filter(sane).cloned().unwrap_or_else(RequestId::fresh))
    }

    /// Random start, then counting: unique enough to find one line in a log, and cheap.
    fn fresh() -> HeaderValue {
        static NEXT: std::sync::LazyLock<AtomicU64> = std::sync::LazyLock::new(|| AtomicU64::new(rand::random()));
        HeaderValue::from_str(&format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))).expect("hexadecimal is ASCII")
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }
}

/// What every answer has in common: its request's id, problems rendered, a line in the log and a measurement.
async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = app.clock.monotonic();
    let id = RequestId::of(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        response = with_headers_of(&response, problem.render(id.as_str()));
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = with_headers_of(&response, Problem::from(Code::MethodNotAllowed).render(id.as_str()));
    }
    response.headers_mut().insert(REQUEST_ID, id.0.clone());
    let (status, took) = (response.status(), app.clock.monotonic().saturating_sub(started));
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    metrics::histogram!("http_request_seconds", "method" => method.to_string(), "route" => route.to_owned(), "status" => status_class(status)).record(took);
    if status.is_server_error() {
        tracing::warn!(request_id = id.as_str(), route, status = status.as_u16(), "{method} {route} answered {status}");
    } else {
        tracing::debug!(
            request_id = id.as_str(),
            route,
            status = status.as_u16(),
            "{method} {route} answered {status}"
        );
    }
    response
}

/// A rendered problem keeps what the first answer said about the path (`Allow`) or the key (`Idempotent-Replayed`).
fn with_headers_of(before: &Response, mut rendered: Response) -> Response {
    for name in ["allow", idempotency::REPLAYED] {
        if let Some(value) = before.headers().get(name) {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "1xx",
    }
}
