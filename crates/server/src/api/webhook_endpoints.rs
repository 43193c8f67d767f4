//! Webhook endpoints of an account: where its events go, which ones, and the secret that signs them, shown once.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::event::{EventKind, Kinds};
use carillon_domain::id::{EndpointId, TypeId};
use carillon_store::webhook::{self, Change, Endpoint, EndpointStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api_keys::ListQuery;
use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Query, WebhooksManage};
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::notify::attempt::Line;
use crate::notify::secrets;

/// Endpoints an account may have.
const ENDPOINTS_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 200;
/// What `events` says when all are wanted.
const ALL: &str = "*";

/// An endpoint to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// Where events go: https, on the public internet, at most 512 bytes.
    #[schema(example = "https://example.com/carillon")]
    url: String,
    /// Which events; all, also those to come, if not given or `["*"]`.
    #[schema(example = json!(["message.delivered", "message.undelivered"]))]
    events: Option<Vec<String>>,
    /// What you call it, at most 200 characters.
    description: Option<String>,
}

/// What to change; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointChange {
    /// Where events go.
    url: Option<String>,
    /// Which events.
    events: Option<Vec<String>>,
    /// What you call it.
    description: Option<String>,
    /// `enabled` or `disabled`. Nothing is kept for an endpoint you disable.
    #[schema(example = "enabled")]
    status: Option<String>,
}

/// An endpoint without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointView {
    #[schema(value_type = String, example = "whe_01h455vb4pex5vsknk084sn02q")]
    id: EndpointId,
    url: String,
    /// Which events; `*` is all.
    events: Vec<&'static str>,
    description: String,
    /// `enabled` or `disabled`.
    #[schema(example = "enabled")]
    status: &'static str,
    /// Why it is disabled: `by_request`, `failing` (an event was refused for three days, and nothing else was taken) or `gone` (it answered 410).
    reason: Option<&'static str>,
    /// Since when it has its status, RFC 3339.
    status_at: String,
    /// About when it last took an event (to the minute), RFC 3339.
    accepted_at: Option<String>,
    /// Until when the secret before the last rotation signs as well, RFC 3339.
    previous_secret_until: Option<String>,
    created_at: String,
}

/// A secret just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedEndpoint {
    /// Signs what is sent there: shown now and never again.
    #[schema(example = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")]
    secret: String,
    /// The rest.
    #[serde(flatten)]
    view: EndpointView,
}

/// What a receiver said to a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestResult {
    /// `webhook-id` of the test.
    #[schema(value_type = String)]
    event: carillon_domain::id::EventId,
    /// Whether it answered 2xx.
    delivered: bool,
    /// What was answered.
    attempt: Line,
}

pub(crate) fn view(e: &Endpoint, now: i64) -> EndpointView {
    let reason = match e.status {
        EndpointStatus::Enabled => None,
        EndpointStatus::Disabled => Some("by_request"),
        EndpointStatus::Failing => Some("failing"),
        EndpointStatus::Gone => Some("gone"),
    };
    EndpointView {
        id: e.id,
        url: e.url.clone(),
        events: e.kinds.names().unwrap_or_else(|| vec![ALL]),
        description: e.description.clone(),
        status: if e.is_enabled() { "enabled" } else { "disabled" },
        reason,
        status_at: rfc3339(e.status_at),
        accepted_at: e.accepted_at.map(rfc3339),
        previous_secret_until: e.previous.as_ref().map(|(_, until)| *until).filter(|until| *until > now).map(rfc3339),
        created_at: rfc3339(e.created_at),
    }
}

fn kinds(names: Option<&[String]>) -> Result<Kinds, Problem> {
    let Some(names) = names else { return Ok(Kinds::ALL) };
    if names.is_empty() {
        return Err(Code::TooShort.at("#/events", "at least one, or [\"*\"] for all"));
    }
    if names.iter().any(|name| name == ALL) {
        return Ok(Kinds::ALL);
    }
    let mut kinds = Kinds::NONE;
    for (i, name) in names.iter().enumerate() {
        let kind = EventKind::from_name(name).ok_or_else(|| {
            Code::InvalidValue.at(format!("#/events/{i}"), "no event of this name; the documentation lists them")
        })?;
        kinds = kinds.with(kind);
    }
    Ok(kinds)
}

fn url(app: &App, text: &str) -> Result<String, Problem> {
    let refused = |e: crate::notify::guard::Refused| Code::InvalidValue.at("#/url", e.to_string());
    app.notify.outbound.guard().check(text).map(|_| text.to_owned()).map_err(refused)
}

fn description(text: &str) -> Result<String, Problem> {
    if text.chars().count() > DESCRIPTION_MAX {
        return Err(Code::TooLong.at("#/description", "at most 200 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(Code::InvalidValue.at("#/description", "no control characters"));
    }
    Ok(text.to_owned())
}

/// Make a webhook endpoint.
///
/// From now on it gets the events you choose. Its secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/v1/webhook-endpoints", tag = "Webhooks", operation_id = "createWebhookEndpoint", request_body = NewEndpoint,
    responses((status = 201, body = CreatedEndpoint)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Json(body): Json<NewEndpoint>,
) -> Result<(StatusCode, Json<CreatedEndpoint>), Problem> {
    let url = url(&app, &body.url)?;
    let kinds = kinds(body.events.as_deref())?;
    let description = description(body.description.as_deref().unwrap_or(""))?;
    if app.notify.count(caller.account) >= ENDPOINTS_MAX {
        return Err(Code::EndpointLimit.into());
    }
    let now = app.clock.now_ms();
    let id = EndpointId::new(now, app.ids.next(), caller.account);
    let secret = secrets::fresh();
    let endpoint = Endpoint {
        id,
        account: caller.account,
        url,
        description,
        kinds,
        status: EndpointStatus::Enabled,
        status_at: now,
        secret: secrets::seal(&app, caller.account, id, &secret),
        previous: None,
        accepted_at: None,
        created_at: now,
    };
    webhook::create(&app.db, &endpoint).await?;
    app.notify.reload(&app.db).await?;
    Ok((StatusCode::CREATED, Json(CreatedEndpoint { secret: secret.show(), view: view(&endpoint, now) })))
}

/// List the webhook endpoints of the account.
///
/// Newest first.
#[utoipa::path(get, path = "/v1/webhook-endpoints", tag = "Webhooks", operation_id = "listWebhookEndpoints", params(ListQuery),
    responses((status = 200, body = Paged<EndpointView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<EndpointView>>, Problem> {
    let window = Window::open(&app, caller.account, "webhook-endpoints", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(EndpointId::from_uuid);
    let rows = webhook::list(&app.db, caller.account, before, window.fetch()).await?;
    let now = app.clock.now_ms();
    Ok(Json(window.page(rows, |e| e.id.0, |e| view(&e, now))))
}

/// Read a webhook endpoint.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{id}", tag = "Webhooks", operation_id = "getWebhookEndpoint",
    params(("id" = String, Path)), responses((status = 200, body = EndpointView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
) -> Result<Json<EndpointView>, Problem> {
    let endpoint = webhook::by_id(&app.db, caller.account, id).await?;
    Ok(Json(view(&endpoint, app.clock.now_ms())))
}

/// Change a webhook endpoint.
///
/// `status: enabled` also brings one back that was disabled for failing; what it missed comes with a replay.
#[utoipa::path(patch, path = "/v1/webhook-endpoints/{id}", tag = "Webhooks", operation_id = "changeWebhookEndpoint",
    params(("id" = String, Path)), request_body(content = EndpointChange, example = json!({"status": "enabled"})), responses((status = 200, body = EndpointView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
    Json(body): Json<EndpointChange>,
) -> Result<Json<EndpointView>, Problem> {
    webhook::by_id(&app.db, caller.account, id).await?;
    let status = match body.status.as_deref() {
        None => None,
        Some("enabled") => Some(EndpointStatus::Enabled),
        Some("disabled") => Some(EndpointStatus::Disabled),
        Some(_) => return Err(Code::InvalidValue.at("#/status", "enabled or disabled")),
    };
    let change = Change {
        url: body.url.as_deref().map(|text| url(&app, text)).transpose()?,
        description: body.description.as_deref().map(description).transpose()?,
        kinds: body.events.as_deref().map(|names| kinds(Some(names))).transpose()?,
        status,
    };
    let now = app.clock.now_ms();
    let endpoint = webhook::change(&app.db, caller.account, id, &change, now).await?;
    app.notify.reload(&app.db).await?;
    Ok(Json(view(&endpoint, now)))
}

/// Delete a webhook endpoint.
///
/// With its log; nothing is sent there any more.
#[utoipa::path(delete, path = "/v1/webhook-endpoints/{id}", tag = "Webhooks", operation_id = "deleteWebhookEndpoint",
    params(("id" = String, Path)), responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
) -> Result<StatusCode, Problem> {
    webhook::delete(&app.db, caller.account, id).await?;
    app.notify.reload(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate the secret of a webhook endpoint.
///
/// For 24 hours both sign: the header holds two signatures, and either is enough.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/rotate-secret", tag = "Webhooks", operation_id = "rotateWebhookSecret",
    params(("id" = String, Path)), responses((status = 200, body = CreatedEndpoint)))]
pub async fn rotate(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
) -> Result<Json<CreatedEndpoint>, Problem> {
    let (endpoint, secret) = secrets::rotate(&app, caller.account, id).await?;
    Ok(Json(CreatedEndpoint { secret: secret.show(), view: view(&endpoint, app.clock.now_ms()) }))
}

/// Send a test event to a webhook endpoint.
///
/// At once and only once, whatever its filter; the answer is what the receiver said.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/test", tag = "Webhooks", operation_id = "testWebhookEndpoint",
    params(("id" = String, Path)), responses((status = 200, body = TestResult)))]
pub async fn test(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
) -> Result<Json<TestResult>, Problem> {
    let endpoint = webhook::by_id(&app.db, caller.account, id).await?;
    let (event, delivered, attempt) = crate::notify::test(&app, &endpoint).await?;
    Ok(Json(TestResult { event, delivered, attempt }))
}

/// What signs the account's callbacks.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackSecret {
    /// The secret.
    #[schema(example = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")]
    secret: String,
    /// Until when the one before the last rotation signs as well, RFC 3339.
    previous_secret_until: Option<String>,
}

/// Read the secret that signs callbacks.
///
/// Events that go to a message's own `callback_url` are signed with it. It is made when it is first asked for.
#[utoipa::path(get, path = "/v1/webhook-secret", tag = "Webhooks", operation_id = "getCallbackSecret",
    responses((status = 200, body = CallbackSecret)))]
pub async fn callback_secret(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
) -> Result<Json<CallbackSecret>, Problem> {
    let (endpoint, secret) = secrets::of_callbacks(&app, caller.account).await?;
    Ok(Json(shown(&app, &endpoint, &secret)))
}

/// Rotate the secret that signs callbacks.
///
/// For 24 hours both sign.
#[utoipa::path(post, path = "/v1/webhook-secret/rotate", tag = "Webhooks", operation_id = "rotateCallbackSecret",
    responses((status = 200, body = CallbackSecret)))]
pub async fn rotate_callback_secret(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
) -> Result<Json<CallbackSecret>, Problem> {
    secrets::of_callbacks(&app, caller.account).await?;
    let (endpoint, secret) = secrets::rotate(&app, caller.account, EndpointId(uuid::Uuid::nil())).await?;
    Ok(Json(shown(&app, &endpoint, &secret)))
}

fn shown(app: &App, endpoint: &Endpoint, secret: &crate::notify::sign::Secret) -> CallbackSecret {
    let until = view(endpoint, app.clock.now_ms()).previous_secret_until;
    CallbackSecret { secret: secret.show(), previous_secret_until: until }
}
