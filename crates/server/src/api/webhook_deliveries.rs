//! What was sent to webhook endpoints and callbacks, attempt by attempt, and how to have it sent again.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use carillon_domain::event::EventKind;
use carillon_domain::id::{EndpointId, EventId, MessageId, TypeId};
use carillon_store::delivery::{self, Delivery, DeliveryState, Queue, Range};
use carillon_store::webhook;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Query, WebhooksManage};
use super::page::{Paged, Window};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;
use crate::notify::attempt::{Line, read_log};

/// Deliveries one transaction of a replay takes up.
const BITE: u32 = 1_000;

/// One event for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The `webhook-id`, the same for all endpoints and attempts.
    #[schema(value_type = String, example = "evt_01h455vb4pex5vsknk084sn02q")]
    event: EventId,
    /// What happened.
    #[schema(example = "message.delivered")]
    r#type: &'static str,
    /// The message it is about, if it is about one that was sent.
    #[schema(value_type = Option<String>)]
    message: Option<MessageId>,
    /// When it happened, RFC 3339.
    timestamp: String,
    /// `pending`, `delivered`, `failed`, or `missed` while the endpoint was disabled.
    #[schema(example = "delivered")]
    status: &'static str,
    /// When it is tried next, RFC 3339; null if it is not.
    next_attempt_at: Option<String>,
    /// The first attempt and the last ones, oldest first.
    attempts: Vec<Line>,
}

fn view(d: Delivery) -> DeliveryView {
    let about = d.subject.filter(|_| d.kind.is_some_and(EventKind::is_transition));
    DeliveryView {
        event: d.event,
        r#type: d.kind.map_or("unknown", EventKind::as_str),
        message: about.map(MessageId),
        timestamp: rfc3339(d.event_at),
        status: d.state.as_str(),
        next_attempt_at: (d.state == DeliveryState::Pending).then(|| rfc3339(d.due_at)),
        attempts: read_log(d.log.as_deref()),
    }
}

/// Which deliveries, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `pending`, `delivered`, `failed` or `missed`.
    status: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

async fn page(
    app: &App,
    caller: &Caller,
    endpoint: EndpointId,
    query: ListQuery,
) -> Result<Json<Paged<DeliveryView>>, Problem> {
    let named = |text: &str| DeliveryState::ALL.into_iter().find(|state| state.as_str() == text);
    let state = query.status.as_deref().map(|text| {
        let expected = "pending, delivered, failed or missed";
        named(text).ok_or_else(|| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?status", expected))
    });
    let state = state.transpose()?;
    let filters = format!("{endpoint} {state:?}");
    let window =
        Window::open(app, caller.account, "webhook-deliveries", &filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(EventId::from_uuid);
    let rows = delivery::list(&app.db, caller.account, endpoint, state, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |d| d.event.0, view)))
}

/// List what was sent to a webhook endpoint.
///
/// Newest event first, with every attempt.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{id}/deliveries", tag = "Webhooks", operation_id = "listWebhookDeliveries",
    params(("id" = String, Path), ListQuery), responses((status = 200, body = Paged<DeliveryView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<DeliveryView>>, Problem> {
    webhook::by_id(&app.db, caller.account, id).await?;
    page(&app, &caller, id, query).await
}

/// List what was sent to callbacks.
///
/// To the `callback_url` of messages, newest event first.
#[utoipa::path(get, path = "/v1/callback-deliveries", tag = "Webhooks", operation_id = "listCallbackDeliveries",
    params(ListQuery), responses((status = 200, body = Paged<DeliveryView>)))]
pub async fn list_callbacks(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<DeliveryView>>, Problem> {
    page(&app, &caller, CALLBACKS, query).await
}

/// Callbacks stand where an endpoint's id would.
const CALLBACKS: EndpointId = EndpointId(Uuid::nil());

/// Send an event to a webhook endpoint again.
///
/// Whatever became of it; with the same `webhook-id`, and the whole schedule of attempts anew.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/deliveries/{event}/retry", tag = "Webhooks", operation_id = "retryWebhookDelivery",
    params(("id" = String, Path), ("event" = String, Path)), responses((status = 202, body = DeliveryView)))]
pub async fn retry(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Path((endpoint, event)): Path<(String, String)>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let wrong = |e: carillon_domain::id::IdError| Code::InvalidId.with(e.to_string());
    let endpoint = endpoint.parse().map_err(wrong)?;
    enabled(&app, &caller, endpoint).await?;
    again(&app, &caller, endpoint, event.parse().map_err(wrong)?).await
}

/// Send an event to its message's callback again.
#[utoipa::path(post, path = "/v1/callback-deliveries/{id}/retry", tag = "Webhooks", operation_id = "retryCallbackDelivery",
    params(("id" = String, Path)), responses((status = 202, body = DeliveryView)))]
pub async fn retry_callback(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(event): Id<EventId>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    again(&app, &caller, CALLBACKS, event).await
}

async fn again(
    app: &App,
    caller: &Caller,
    endpoint: EndpointId,
    event: EventId,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let d = delivery::again(&app.db, caller.account, endpoint, event, app.clock.now_ms()).await?;
    app.notify.ring([Queue { id: d.queue, account: caller.account, endpoint, due_at: d.due_at }]);
    Ok((StatusCode::ACCEPTED, Json(view(d))))
}

async fn enabled(app: &App, caller: &Caller, id: EndpointId) -> Result<(), Problem> {
    let endpoint = webhook::by_id(&app.db, caller.account, id).await?;
    if endpoint.is_enabled() { Ok(()) } else { Err(Code::EndpointDisabled.into()) }
}

/// Which events to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The first, by when it happened, RFC 3339; all that the log holds if not given.
    #[schema(example = "2026-11-20T00:00:00Z")]
    from: Option<String>,
    /// Up to this time, RFC 3339; until now if not given.
    to: Option<String>,
    /// Only what did not arrive (`failed` and `missed`); true if not given.
    only_failed: Option<bool>,
}

/// How many are sent again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    /// Events.
    replayed: u64,
}

fn instant(text: &str, pointer: &'static str) -> Result<i64, Problem> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| Code::InvalidValue.at(pointer, "an RFC 3339 instant such as 2027-01-31T00:00:00Z"))?;
    Ok(at.as_millisecond())
}

/// Replay events to a webhook endpoint.
///
/// All of a span of time that are still in the log, oldest first, with the `webhook-id`s they had.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/replay", tag = "Webhooks", operation_id = "replayWebhookDeliveries",
    params(("id" = String, Path)), request_body = Replay, responses((status = 202, body = Replayed)))]
pub async fn replay(
    State(app): State<App>,
    caller: Can<WebhooksManage>,
    Id(id): Id<EndpointId>,
    Json(body): Json<Replay>,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    enabled(&app, &caller, id).await?;
    let now = app.clock.now_ms();
    let from = body.from.as_deref().map_or(Ok(0), |text| instant(text, "#/from"))?;
    let to = body.to.as_deref().map_or(Ok(now.saturating_add(1)), |text| instant(text, "#/to"))?;
    if to <= from {
        return Err(Code::InvalidValue.at("#/to", "later than `from`"));
    }
    let range = Range { from, to, only_failed: body.only_failed.unwrap_or(true) };
    let (mut replayed, mut after) = (0, None);
    loop {
        let (count, next) = delivery::replay(&app.db, caller.account, id, range, after, BITE, now).await?;
        replayed += count;
        app.notify.ring([Queue { id: id.0, account: caller.account, endpoint: id, due_at: now }]);
        match next {
            Some(_) => after = next,
            None => return Ok((StatusCode::ACCEPTED, Json(Replayed { replayed }))),
        }
    }
}
