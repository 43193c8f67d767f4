//! A message as it is shown: where it stands, and everything that happened to it, in order.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{BatchId, MessageId};
use carillon_domain::message::{Flags, PartState, State};
use carillon_domain::phone::Phone;
use carillon_store::account::Account;
use carillon_store::message::{Attempt, Message};
use serde::Serialize;
use utoipa::ToSchema;

use super::messages::{encoding_name, phone};
use crate::clock::rfc3339;

/// A message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageView {
    #[schema(value_type = String, example = "msg_01h455vb4pex5vsknk084sn02q")]
    id: MessageId,
    /// The batch it came with.
    #[schema(value_type = Option<String>)]
    batch: Option<BatchId>,
    /// `scheduled`, `queued`, `sent`, `delivered`, `undelivered`, `failed`, `expired`, `canceled` or `rejected`.
    #[schema(example = "delivered")]
    status: &'static str,
    #[schema(value_type = String, example = "+4915112345678")]
    to: Phone,
    from: Option<String>,
    /// The text that is sent; null for octets, and for the code of a verification.
    text: Option<String>,
    /// The octets that are sent, as base64; null for text.
    data: Option<String>,
    /// `otp`, `express`, `normal` or `bulk`.
    lane: &'static str,
    category: &'static str,
    /// `gsm7`, `ucs2` or `binary`.
    encoding: &'static str,
    flash: bool,
    /// What it is priced by.
    parts: u8,
    /// How each part stands, of several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    part_states: Vec<&'static str>,
    /// Addresses of its files, if they may go with it as an MMS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    media: Vec<String>,
    /// Whether it went as an MMS, its text without the links; only with `media`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mms: Option<bool>,
    price: PriceView,
    client_ref: Option<String>,
    tags: Vec<String>,
    callback_url: Option<String>,
    /// The connection that has it, or had it last.
    connection: Option<String>,
    /// Submits after the first.
    retry_count: i16,
    /// Why it failed.
    error: Option<FailureView>,
    /// RFC 3339, as all that follow.
    created_at: String,
    /// When it is due: scheduled, or to be tried again.
    scheduled_at: Option<String>,
    sent_at: Option<String>,
    final_at: Option<String>,
    expires_at: String,
    /// From acceptance until a carrier took it, milliseconds.
    processing_ms: Option<i64>,
    /// From the carrier's acceptance to the final state, milliseconds.
    delivery_ms: Option<i64>,
    /// Everything that happened to it, in order of time; in lists left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<EventView>>,
}

/// What it costs, decimal.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    /// Of all parts, or of the MMS if that is more: the most it can cost.
    #[schema(example = "0.05")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// Of one part.
    per_part: String,
    /// Of the whole, if it may go as an MMS or as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    mms: Option<String>,
    /// Still reserved.
    held: String,
    /// Paid.
    captured: String,
}

/// A code of the catalogue of failures.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailureView {
    #[schema(example = "absent_subscriber")]
    code: &'static str,
    title: &'static str,
    /// What happened.
    explanation: &'static str,
    /// What you can do.
    action: &'static str,
    /// What the carrier called it.
    carrier_code: Option<String>,
}

/// Something that happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// RFC 3339.
    at: String,
    /// `accepted`, `retry`, `failover`, `unknown`, `attempt_failed`, `late`, `sent`, or the final status.
    #[schema(example = "sent")]
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    /// Which submit, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i16>,
    /// Which part, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<i16>,
    /// A code of the catalogue of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What the carrier called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier_code: Option<String>,
}

impl EventView {
    fn plain(at: i64, event: &'static str) -> EventView {
        EventView {
            at: rfc3339(at),
            event,
            connection: None,
            attempt: None,
            part: None,
            reason: None,
            carrier_code: None,
        }
    }
}

fn code(number: Option<i16>) -> Option<ErrorCode> {
    number.and_then(ErrorCode::from_number)
}

/// Names of `attempt.result`.
const RESULTS: [&str; 5] = ["retry", "failover", "unknown", "attempt_failed", "late"];

fn history(m: &Message, attempts: &[Attempt]) -> Vec<EventView> {
    let mut events: Vec<(i64, EventView)> = vec![(m.id.millis(), EventView::plain(m.id.millis(), "accepted"))];
    events.extend(attempts.iter().map(|a| {
        let event = usize::try_from(a.result).ok().and_then(|r| RESULTS.get(r)).copied().unwrap_or("attempt_failed");
        let view = EventView {
            connection: a.connection.clone(),
            attempt: Some(a.attempt),
            part: (m.parts > 1).then_some(a.part + 1),
            reason: code(a.error).map(ErrorCode::name),
            carrier_code: a.carrier_error.clone(),
            ..EventView::plain(a.at, event)
        };
        (a.at, view)
    }));
    if let Some(at) = m.sent_at {
        events.push((at, EventView { connection: m.connection.clone(), ..EventView::plain(at, "sent") }));
    }
    // A message that closes as `sent` has no other state to tell of.
    if let Some(at) = m.final_at.filter(|_| m.state != State::Sent || m.sent_at.is_none()) {
        let view = EventView {
            reason: code(m.error).map(ErrorCode::name),
            carrier_code: m.carrier_error.clone(),
            ..EventView::plain(at, m.state.as_str())
        };
        events.push((at, view));
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

impl MessageView {
    /// With everything that happened.
    pub fn with_history(m: Message, attempts: &[Attempt], account: &Account) -> MessageView {
        let history = history(&m, attempts);
        MessageView { history: Some(history), ..MessageView::of(m, account) }
    }

    /// As in a list.
    pub fn of(m: Message, account: &Account) -> MessageView {
        let binary = m.flags.has(Flags::BINARY);
        // What the answer to the request withheld is not told here either.
        let body = match &m.otp_code {
            Some(code) if !account.settings.otp_return_code => m.body.replace(&**code, "******"),
            _ => m.body.to_string(),
        };
        let body = Some(body).filter(|_| !m.flags.has(Flags::SECRET));
        let accepted = m.id.millis();
        let (price, went_as_mms) = (m.price(), m.mms.is_some().then(|| m.went_as_mms()));
        let part_state = |n: &u8| PartState::from_number(*n).map_or("unknown", PartState::as_str);
        let failure = code(m.error).filter(|_| m.state != State::Delivered).map(ErrorCode::entry);
        MessageView {
            id: m.id,
            batch: m.batch,
            status: m.state.as_str(),
            to: phone(m.phone),
            from: m.sender,
            text: body.clone().filter(|_| !binary),
            data: body.filter(|_| binary),
            lane: m.lane.as_str(),
            category: m.category.as_str(),
            encoding: encoding_name(m.encoding),
            flash: m.flags.has(Flags::FLASH),
            parts: m.parts,
            part_states: m.part_states.iter().flatten().map(part_state).collect(),
            media: m.mms.iter().flat_map(|mms| &mms.files).map(|file| file.url.clone()).collect(),
            mms: went_as_mms,
            price: PriceView {
                amount: price.to_string(),
                currency: account.currency.clone(),
                per_part: m.unit_price.to_string(),
                mms: m.mms_price.map(|price| price.to_string()),
                held: m.held.to_string(),
                captured: m.captured.to_string(),
            },
            client_ref: m.client_ref,
            tags: m.tags.as_deref().and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default(),
            callback_url: m.callback_url,
            connection: m.connection,
            retry_count: (m.attempts - 1).max(0),
            error: failure.map(|entry| FailureView {
                code: entry.name,
                title: entry.title,
                explanation: entry.explanation,
                action: entry.action,
                carrier_code: m.carrier_error,
            }),
            created_at: rfc3339(accepted),
            scheduled_at: m.due_at.map(rfc3339),
            sent_at: m.sent_at.map(rfc3339),
            final_at: m.final_at.map(rfc3339),
            expires_at: rfc3339(m.expires_at),
            processing_ms: m.sent_at.map(|at| (at - accepted).max(0)),
            delivery_ms: m.sent_at.zip(m.final_at).map(|(sent, end)| (end - sent).max(0)),
            history: None,
        }
    }
}
