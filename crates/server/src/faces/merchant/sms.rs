//! `/sms/send` and `/sms/schedule`: a text to somebody, or to many, without a campaign. What they answer is a batch.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use carillon_domain::id::TypeId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::recipients::Recipients;
use super::{in_our_words, instant};
use crate::access::Caller;
use crate::api::batches;
use crate::api::error::{Code, Problem};
use crate::api::extract::{Can, MessagesSend, parse_json};
use crate::api::idempotency;
use crate::api::sending::{self, Raw, Sending};
use crate::app::App;

/// What is to be sent, and to whom: `phone` or `recipients`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    message: String,
    phone: Option<String>,
    recipients: Option<Recipients>,
    /// Of `/sms/schedule`: RFC 3339; without an offset it is UTC.
    scheduled_at: Option<String>,
}

/// What was taken.
#[derive(Serialize)]
struct Taken {
    /// For `/sms/status/{id}`.
    id: Uuid,
    status: &'static str,
    recipients: i32,
    scheduled_at: Option<String>,
}

pub(super) async fn send(
    State(app): State<App>,
    caller: Can<MessagesSend>,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<Response, Problem> {
    let body: Body = parse_json(&bytes)?;
    if body.scheduled_at.is_some() {
        return Err(Code::UnknownField.at("#/scheduled_at", "what is to be sent later goes to POST /sms/schedule"));
    }
    submit(app, caller.0, headers, "POST /sms/send", bytes, body).await
}

pub(super) async fn schedule(
    State(app): State<App>,
    caller: Can<MessagesSend>,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<Response, Problem> {
    let body: Body = parse_json(&bytes)?;
    if body.scheduled_at.is_none() {
        return Err(Code::MissingField.at("#/scheduled_at", "say when, such as 2026-12-04T11:00:00Z"));
    }
    submit(app, caller.0, headers, "POST /sms/schedule", bytes, body).await
}

async fn submit(
    app: App,
    caller: Caller,
    headers: HeaderMap,
    operation: &'static str,
    bytes: Bytes,
    body: Body,
) -> Result<Response, Problem> {
    let one = body.phone.is_some();
    let recipients = match (body.phone, body.recipients) {
        (Some(phone), None) => Recipients::Numbers(vec![phone]),
        (None, Some(many)) => many,
        (None, None) => return Err(Code::MissingField.at("#/phone", "name a `phone`, or `recipients`")),
        (Some(_), Some(_)) => return Err(Code::ConflictingFields.at("#/phone", "`phone` or `recipients`, not both")),
    };
    let key = idempotency::key(&headers, operation, &bytes)?;
    let scheduled_at = body.scheduled_at.map(instant);
    let (work, runtime, time) = (app.clone(), tokio::runtime::Handle::current(), scheduled_at.clone());
    let prepare = move || {
        let to = recipients.translated()?;
        let batch = json!({"text": body.message, "to": to, "scheduled_at": time}).to_string();
        let sending = Sending::read(batch.as_bytes())?;
        runtime.block_on(batches::prepare(&work, caller, key, sending))
    };
    let in_words = |problem| of_one(in_our_words(problem), one);
    let prepared = tokio::task::spawn_blocking(prepare).await.map_err(|_| Code::Internal)?.map_err(in_words)?;
    let (batch, replayed) = batches::accept(&app, prepared).await.map_err(in_words)?;
    let taken = Taken { id: batch.id.uuid(), status: "Pending", recipients: batch.total, scheduled_at };
    let answer = sending::answer(StatusCode::ACCEPTED, &taken);
    Ok(if replayed { idempotency::replayed(answer) } else { answer })
}

/// Where there is but one, it is `phone` that is wrong.
fn of_one(mut problem: Problem, one: bool) -> Problem {
    for error in problem.errors.iter_mut().filter(|e| one && e.pointer.starts_with("#/recipients")) {
        error.pointer = "#/phone".into();
    }
    problem
}
