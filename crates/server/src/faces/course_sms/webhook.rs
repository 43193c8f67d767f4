//! `POST /api/sms/delivery-webhook`: somebody who reads a carrier's delivery log says what became of one number of a message. Guarded by a
//! secret of the configuration; each (message, phone) counts once.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::BatchId;
use carillon_domain::message::State as MessageState;
use carillon_domain::phone::{Country, Phone, Strictness};
use carillon_store::message;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::api::error::{Code, Problem};
use crate::api::extract::Json;
use crate::app::App;

/// Where the secret stands.
const HEADER: &str = "x-webhook-secret";
/// Of the word for what became of it, characters.
const STATUS_MAX: usize = 40;

/// Somebody who knows the secret.
pub(super) struct Reporter;

impl FromRequestParts<App> for Reporter {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let secret = app.config.faces.delivery_webhook_secret.expose_secret();
        if secret.is_empty() {
            return Err(
                Code::Forbidden.with("this server has no `faces.delivery_webhook_secret`: nobody may call this")
            );
        }
        let given = parts.headers.get(HEADER).ok_or_else(|| Code::Unauthenticated.with("send X-Webhook-Secret"))?;
        let good: bool = given.as_bytes().ct_eq(secret.as_bytes()).into();
        if good { Ok(Reporter) } else { Err(Code::InvalidCredential.with("X-Webhook-Secret is not the right one")) }
    }
}

/// What became of one number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notification {
    message_id: String,
    phone: String,
    /// `delivered`; any other word says that it was not.
    status: String,
    /// RFC 3339.
    timestamp: Option<String>,
}

/// That it was heard.
#[derive(Serialize)]
pub(super) struct Heard {
    status: &'static str,
}

pub(super) async fn take(
    State(app): State<App>,
    _: Reporter,
    Json(body): Json<Notification>,
) -> Result<Json<Heard>, Problem> {
    let batch: BatchId =
        body.message_id.parse().map_err(|_| Code::InvalidId.at("#/message_id", "no id of a message"))?;
    if body.timestamp.is_some_and(|t| t.parse::<jiff::Timestamp>().is_err()) {
        return Err(Code::InvalidValue.at("#/timestamp", "RFC 3339, such as 2025-07-14T10:05:00Z"));
    }
    if !(1..=STATUS_MAX).contains(&body.status.chars().count()) {
        return Err(
            Code::InvalidValue.at("#/status", "`delivered`, or a word of 1 to 40 characters for what went wrong")
        );
    }
    let known = app.account(batch.account()).await?;
    let country = known.settings.default_country.as_deref().and_then(Country::parse);
    // Whether the number could be written to was judged when it was.
    let to = Phone::parse(&body.phone, country, Strictness::Lenient)
        .map_err(|e| Problem::from(Code::InvalidRequest).and(Code::InvalidValue, "#/phone", e.reason.to_string()))?;
    let tag = to.phone.tag(&app.secrets.phone_key);
    let (id, state) = message::of_batch_to(&app.db, batch.account(), batch, tag).await?;
    if matches!(state, MessageState::Scheduled | MessageState::Queued) {
        return Err(Code::BatchLoading.with("no carrier is known to have this message yet: report it again"));
    }
    let failed = (body.status != "delivered").then_some(ErrorCode::Undeliverable.number());
    let counted = app.pipeline.report(id, failed).await?;
    tracing::debug!(message = %id, counted, "a delivery log was reported for {id}");
    Ok(Json(Heard { status: "ok" }))
}
