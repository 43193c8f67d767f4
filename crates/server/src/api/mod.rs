//! HTTP: the table of contents of the API, and what every answer has in common.

pub mod error;
pub mod extract;
pub mod page;

pub mod account;
pub mod admin;
pub mod api_keys;
mod attach;
pub mod audience_files;
pub mod auth;
pub mod batches;
mod callbacks;
pub mod campaign_ab_tests;
pub mod campaign_actions;
pub mod campaign_audience;
pub mod campaign_recipients;
pub mod campaign_trials;
pub mod campaigns;
pub mod carrier_rates;
pub mod carriers;
pub mod connections;
pub mod consents;
pub mod contact_attributes;
pub mod contact_imports;
pub mod contact_lists;
pub mod contacts;
pub mod conversations;
mod csv_table;
mod docs;
pub mod drip_actions;
pub mod drip_people;
pub mod drips;
pub mod email_links;
pub mod estimates;
pub mod explain;
pub mod groups;
pub mod history;
pub mod idempotency;
pub mod inbound_messages;
pub mod inbound_numbers;
pub mod keyword_rules;
pub mod ledger;
mod listen;
mod loading;
pub mod me;
pub mod media;
pub mod messages;
pub mod number_ranges;
pub mod ops;
mod preferences;
pub mod recipients;
pub mod reports;
pub mod routes;
pub mod scheduling;
pub mod segments;
pub mod sender_review;
pub mod senders;
pub mod sending;
pub mod sessions;
pub mod short_links;
pub mod smpp_credentials;
pub mod sources;
pub mod suggested_audiences;
pub mod suppression_lists;
pub mod suppressions;
pub mod templates;
pub mod throughput;
pub mod usage;
pub mod verifications;
pub mod webhook_deliveries;
pub mod webhook_endpoints;

pub use listen::serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::address::Client;
use crate::access::limit::{self, Class};
use crate::app::App;
use crate::faces;
use error::{Code, Problem};

/// Every route of the API, and the document that describes them.
fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::<App>::with_openapi(docs::Document::openapi())
        // Who asks
        .routes(routes!(auth::register))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(email_links::verify_email))
        .routes(routes!(email_links::resend_verification))
        .routes(routes!(email_links::forgot_password))
        .routes(routes!(email_links::reset_password))
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
        .routes(routes!(messages::read, messages::cancel, scheduling::change_message))
        .routes(routes!(batches::create, batches::list))
        .routes(routes!(batches::read, scheduling::change_batch, scheduling::cancel_batch))
        .routes(routes!(batches::messages))
        .routes(routes!(batches::cancel))
        .routes(routes!(estimates::create))
        .routes(routes!(short_links::list))
        .routes(routes!(short_links::read))
        .routes(routes!(short_links::clicks))
        // Media
        .routes(routes!(media::upload, media::list))
        .routes(routes!(media::read, media::delete))
        // Senders
        .routes(routes!(senders::create, senders::list))
        .routes(routes!(senders::read, senders::change, senders::delete))
        .routes(routes!(sender_review::list))
        .routes(routes!(sender_review::approve))
        .routes(routes!(sender_review::reject))
        .routes(routes!(sender_review::rules))
        .routes(routes!(sender_review::set_rule, sender_review::delete_rule))
        // Carriers
        .routes(routes!(connections::create, connections::list))
        .routes(routes!(connections::read, connections::change, connections::delete))
        .routes(routes!(connections::enable))
        .routes(routes!(connections::disable))
        .routes(routes!(routes::create, routes::list))
        .routes(routes!(routes::read, routes::change, routes::delete))
        .routes(routes!(explain::explain))
        .routes(routes!(carrier_rates::list, carrier_rates::set, carrier_rates::delete))
        .routes(routes!(carrier_rates::import, carrier_rates::export))
        .routes(routes!(number_ranges::import, number_ranges::export))
        .routes(routes!(throughput::list, throughput::set, throughput::delete))
        // Verifying numbers
        .routes(routes!(verifications::create, verifications::list))
        .routes(routes!(verifications::read))
        .routes(routes!(verifications::check))
        .routes(routes!(verifications::resend))
        .routes(routes!(verifications::cancel))
        // Webhooks
        .routes(routes!(webhook_endpoints::create, webhook_endpoints::list))
        .routes(routes!(webhook_endpoints::read, webhook_endpoints::change, webhook_endpoints::delete))
        .routes(routes!(webhook_endpoints::rotate))
        .routes(routes!(webhook_endpoints::test))
        .routes(routes!(webhook_endpoints::callback_secret))
        .routes(routes!(webhook_endpoints::rotate_callback_secret))
        .routes(routes!(webhook_deliveries::list))
        .routes(routes!(webhook_deliveries::retry))
        .routes(routes!(webhook_deliveries::replay))
        .routes(routes!(webhook_deliveries::list_callbacks))
        .routes(routes!(webhook_deliveries::retry_callback))
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
        // Who is written to
        .routes(routes!(contacts::create, contacts::list))
        .routes(routes!(contacts::read, contacts::change, contacts::delete))
        .routes(routes!(contact_lists::export))
        .routes(routes!(contact_imports::upload, contact_imports::list))
        .routes(routes!(contact_imports::read))
        .routes(routes!(contact_imports::preview))
        .routes(routes!(contact_imports::start))
        .routes(routes!(contact_imports::cancel))
        .routes(routes!(contact_imports::errors))
        .routes(routes!(groups::create, groups::list))
        .routes(routes!(groups::read, groups::change, groups::delete))
        .routes(routes!(groups::change_members))
        .routes(routes!(contact_attributes::list))
        .routes(routes!(contact_attributes::declare, contact_attributes::delete))
        .routes(routes!(segments::create, segments::list))
        .routes(routes!(segments::count_filter))
        .routes(routes!(segments::read, segments::change, segments::delete))
        .routes(routes!(segments::count))
        .routes(routes!(suggested_audiences::list))
        .routes(routes!(sources::create, sources::list))
        .routes(routes!(sources::read, sources::change, sources::delete))
        .routes(routes!(sources::test))
        // Who agreed
        .routes(routes!(consents::create, consents::list))
        .routes(routes!(consents::of_contact))
        .routes(routes!(consents::ask))
        // Campaigns
        .routes(routes!(campaigns::create, campaigns::list))
        .routes(routes!(campaigns::read, campaigns::change, campaigns::delete))
        .routes(routes!(campaign_actions::schedule))
        .routes(routes!(campaign_actions::launch))
        .routes(routes!(campaign_actions::pause))
        .routes(routes!(campaign_actions::resume))
        .routes(routes!(campaign_actions::cancel))
        .routes(routes!(campaign_actions::duplicate))
        .routes(routes!(campaign_ab_tests::choose))
        .routes(routes!(campaign_trials::estimate))
        .routes(routes!(campaign_trials::test))
        .routes(routes!(campaign_recipients::list))
        .routes(routes!(drips::create, drips::list))
        .routes(routes!(drips::read, drips::change, drips::delete))
        .routes(routes!(drip_actions::activate))
        .routes(routes!(drip_actions::pause))
        .routes(routes!(drip_actions::archive))
        .routes(routes!(drip_people::enroll, drip_people::list, drip_people::remove))
        .routes(routes!(drip_people::goal))
        .routes(routes!(audience_files::upload, audience_files::list))
        .routes(routes!(audience_files::read, audience_files::delete))
        .routes(routes!(templates::create, templates::list))
        .routes(routes!(templates::read, templates::change, templates::delete))
        .routes(routes!(templates::preview))
        // Reports
        .routes(routes!(usage::read))
        .routes(routes!(usage::summary))
        .routes(routes!(usage::of_batch))
        .routes(routes!(usage::of_campaign))
        .routes(routes!(reports::create, reports::list))
        .routes(routes!(reports::read, reports::replace, reports::delete))
        .routes(routes!(reports::run))
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
    api.merge(faces::router(&app.config.faces))
        .route("/metrics", get(ops::metrics))
        // Carriers call it, each at an address of its own; nobody else has a use for it.
        .route("/v1/callbacks/{connection}/{token}", get(callbacks::take).post(callbacks::take))
        .route("/", get(docs::start))
        .route("/m/{token}", get(media::open))
        .route("/l/{code}", get(short_links::open))
        .route("/{code}", get(short_links::open_on_own_domain))
        .route("/p/{token}", get(preferences::open).post(preferences::choose))
        .route("/verify-email", get(email_links::page))
        .route("/reset-password", get(email_links::page))
        .route("/email-links.js", get(email_links::script))
        .route("/docs", get(docs::page))
        .route("/docs/docs.js", get(docs::script))
        .route("/docs/problems", get(docs::problems))
        .route("/openapi.json", get(move || docs::document(document.clone())))
        .fallback(async || Problem::from(Code::NotFound))
        // One layer: each of a router's own costs every request a boxed call and a copy of it.
        .layer(
            ServiceBuilder::new()
                .layer(middleware::from_fn_with_state(app.clone(), finish))
                .layer(CatchPanicLayer::custom(|_| {
                    tracing::error!("a handler panicked; see the message before this line");
                    Problem::from(Code::Internal).into_response()
                }))
                .layer(DefaultBodyLimit::max(app.config.server.body_max)),
        )
        .with_state(app)
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
    let (mut response, standing) = limited(&app, started, request, next).await;
    let mut problem = response.extensions_mut().remove::<Arc<Problem>>();
    if problem.is_none() && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        problem = Some(Arc::new(Code::MethodNotAllowed.into()));
    }
    if let Some(problem) = problem {
        let rendered = faces::refusal(route.as_ref().map_or("", MatchedPath::as_str), &problem, id.as_str());
        response = with_headers_of(&response, rendered);
    }
    response.headers_mut().insert(REQUEST_ID, id.0.clone());
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
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

/// What watches the server asks often, and from one address for all.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Answers unless the client's address has had its share; and how the request stands with the limits it met.
async fn limited(app: &App, now: Duration, request: Request, next: Next) -> (Response, Option<limit::Standing>) {
    let server = &app.config.server;
    let client =
        Client::of(request.extensions(), request.headers(), &server.trusted_proxies, server.client_address_header);
    let exempt = PROBES.contains(&request.uri().path()) || app.limits.exempts(&client);
    let answer = async {
        match app.limits.by_address(Class::Address, client.address, now) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    limit::noting(exempt, answer).await
}

/// A rendered problem keeps what the first answer said about the path (`Allow`), the range or the key (`Idempotent-Replayed`).
fn with_headers_of(before: &Response, mut rendered: Response) -> Response {
    for name in ["allow", "content-range", idempotency::REPLAYED] {
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
