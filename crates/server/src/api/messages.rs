//! Messages: send one, read what became of it, cancel it while it can be.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carillon_domain::encoding::Encoding;
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{BatchId, MessageId, ShortLinkId, TypeId};
use carillon_domain::message::{Flags, Lane, State as Status};
use carillon_domain::phone::{Country, Phone, Strictness};
use carillon_store::hot::{IntakeRequest, NewMessage, Step, Verdict};
use carillon_store::message::{self, Filter, Message};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Asker, Can, Id, Json, MessagesRead, MessagesSend, Query};
use super::history::MessageView;
use super::idempotency;
use super::page::{Paged, Window};
use super::sending::{self, Amount, Raw, Sending, To};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::prepare::{self, Mistake, Rules};
use crate::pipeline::{CancelOutcome, OtpAnswer, SubmitError};

/// A message to be sent; null is the same as leaving out.
// For the documentation alone: `sending::Sending` reads it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `Sending` reads")]
pub struct NewMessageBody {
    /// In open mode: the UUID of the account. Otherwise not needed; then it must be the credential's account.
    client_id: Option<String>,
    /// The phone number: + and country code; or national, with the account's `default_country`.
    #[schema(example = "+4915112345678")]
    to: String,
    /// 1 to 11 letters and digits, a short code, or a phone number; the account's `default_sender` if not given.
    #[schema(example = "Carillon")]
    from: Option<String>,
    /// The text. For an OTP optional, with `{code}` where the code belongs.
    #[schema(example = "Hello")]
    text: Option<String>,
    /// Instead of `text`: octets as base64.
    data: Option<String>,
    /// A one-time code: sent at once, answered 200 or 503 within the deadline (5 s by default).
    otp: Option<bool>,
    /// A one-time code of yours, 3 to 32 characters; made for you if not given.
    otp_code: Option<String>,
    /// Overtakes normal and bulk messages, for a surcharge per part. Adds nothing to an OTP, which goes first anyway.
    express: Option<bool>,
    /// Shown at once and not kept by the handset (class 0).
    flash: Option<bool>,
    /// `transactional` (the default) or `promotional`.
    category: Option<String>,
    /// A language whose GSM-7 tables may be used, if your carrier is known to take them, such as `turkish`.
    language: Option<String>,
    /// Replace characters outside GSM-7 when that makes the whole text GSM-7; the account's setting if not given.
    transliterate: Option<bool>,
    /// How long it is tried, 60 to 604800 seconds; the account's setting if not given.
    #[schema(minimum = 60, maximum = 604800)]
    validity_s: Option<i64>,
    /// When to send it, RFC 3339, at most a year ahead. Up to ten minutes past means at once.
    scheduled_at: Option<String>,
    /// Zone of the tz database, such as `Europe/Berlin`: `scheduled_at` is then a local time without offset, such as `2027-01-31T08:00:00`.
    time_zone: Option<String>,
    /// `scheduled_at` is a local time of wherever the recipient is, as far as the number tells.
    local_time: Option<bool>,
    /// Hours of the recipient in which alone it may go; outside it waits.
    #[schema(value_type = Option<Object>, example = json!({"from": "09:00", "to": "18:00", "days": ["mon", "tue", "wed", "thu", "fri"]}))]
    send_window: Option<()>,
    /// `keep` (the default) or `ignore`, if the account's setting `quiet_hours_ignorable` allows: of promotional messages.
    quiet_hours: Option<String>,
    /// Short links of the recipient's own take the places of the web addresses in `text`: their clicks are counted.
    shorten_links: Option<bool>,
    /// Your own name for it, at most 64 characters.
    client_ref: Option<String>,
    /// At most 10 labels of at most 40 characters.
    tags: Option<Vec<String>>,
    /// Where its events are to go: http or https, at most 512 bytes.
    callback_url: Option<String>,
    /// Files that go with it, at most 10: ids of uploaded ones, or addresses with https://. Where the connection takes them it goes as an MMS, at one
    /// price; elsewhere the text gets a link to each (the account's setting `mms_fallback`), which counts in parts and price. The greater is held.
    media: Option<Vec<String>>,
}

/// A message just accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted<'a> {
    /// For `GET /v1/messages/{id}`.
    #[schema(value_type = String, example = "msg_01h455vb4pex5vsknk084sn02q")]
    id: MessageId,
    /// `queued` or `scheduled`; of an OTP `sent` or `delivered`.
    #[schema(example = "queued")]
    status: &'static str,
    #[schema(value_type = String, example = "+4915112345678")]
    to: Phone,
    from: Option<&'a str>,
    #[schema(example = "normal")]
    lane: &'static str,
    category: &'static str,
    /// `gsm7`, `ucs2` or `binary`.
    #[schema(example = "gsm7")]
    encoding: &'static str,
    /// What it is priced by.
    parts: u8,
    /// Of all parts; held now, captured on success, released on failure.
    #[schema(inline)]
    price: Amount<'a>,
    /// The one-time code, unless the account's settings withhold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    otp_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_at: Option<String>,
    /// `quiet_hours`: it was to go before `scheduled_at`, and waits for hours in which it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "quiet_hours")]
    delayed_by: Option<&'static str>,
    /// Its short links, in the order of the text: ids for `GET /v1/links/{id}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    links: Vec<ShortLinkId>,
    expires_at: String,
    created_at: String,
}

impl<'a> Accepted<'a> {
    fn new(id: MessageId, m: &'a NewMessage, caller: &'a Caller) -> Accepted<'a> {
        Accepted {
            id,
            status: if m.due_at.is_some() { "scheduled" } else { "queued" },
            to: phone(m.phone),
            from: m.sender.as_deref(),
            lane: m.lane.as_str(),
            category: m.category.as_str(),
            encoding: encoding_name(m.encoding),
            parts: m.parts,
            price: Amount::of(m.held(), &caller.info.currency),
            otp_code: m.otp_code.as_deref().filter(|_| caller.info.settings.otp_return_code),
            client_ref: m.extra.as_deref().and_then(|e| e.client_ref.as_deref()),
            scheduled_at: m.due_at.map(rfc3339),
            delayed_by: None,
            links: m.extra.iter().flat_map(|e| &e.links).map(|link| link.id).collect(),
            expires_at: rfc3339(m.expires_at),
            created_at: rfc3339(id.millis()),
        }
    }

    /// The answer that was given before, from what is stored.
    fn again(m: &'a Message, caller: &'a Caller) -> Accepted<'a> {
        Accepted {
            id: m.id,
            status: if m.state == Status::Scheduled { "scheduled" } else { "queued" },
            to: phone(m.phone),
            from: m.sender.as_deref(),
            lane: m.lane.as_str(),
            category: m.category.as_str(),
            encoding: encoding_name(m.encoding),
            parts: m.parts,
            price: Amount::of(m.price(), &caller.info.currency),
            otp_code: m.otp_code.as_deref().filter(|_| caller.info.settings.otp_return_code),
            client_ref: m.client_ref.as_deref(),
            scheduled_at: m.due_at.filter(|_| m.state == Status::Scheduled).map(rfc3339),
            delayed_by: None,
            links: Vec::new(),
            expires_at: rfc3339(m.expires_at),
            created_at: rfc3339(m.id.millis()),
        }
    }

    fn response(&self, status: StatusCode) -> Response {
        let mut response = sending::answer(status, self);
        let location = HeaderValue::from_str(&format!("/v1/messages/{}", self.id)).expect("an id is ASCII");
        response.headers_mut().insert(header::LOCATION, location);
        response
    }
}

pub(crate) fn phone(digits: u64) -> Phone {
    Phone::from_digits(digits).expect("only parsed numbers are stored")
}

pub(super) fn encoding_name(number: i16) -> &'static str {
    Encoding::from_number(number).map_or("unknown", Encoding::name)
}

/// Send one message.
///
/// 202: it is stored, its price is held, and it will be sent. An OTP is answered when the carrier took it (200) or with 503, and then it
/// is never sent and costs nothing.
#[utoipa::path(post, path = "/v1/messages", tag = "Messages", operation_id = "sendMessage",
    request_body(content = NewMessageBody, examples(
        ("basic" = (summary = "A text", value = json!({"to": "+4915112345678", "text": "Hello"}))),
        ("otp" = (summary = "A one-time code", value = json!({"to": "+4915112345678", "otp": true, "text": "{code} is your code for Shop"}))),
        ("express" = (summary = "Ahead of the others", value = json!({"to": "+4915112345678", "text": "Your taxi is here", "express": true}))),
        ("failure" = (summary = "A failure to try (sandbox)", value = json!({"to": "+15005550103", "text": "Hello"}))))),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same request with the same key is done once and answered alike.")),
    responses((status = 202, body = Accepted, description = "Accepted"), (status = 200, body = Accepted, description = "One-time code sent"),
        (status = 402, body = super::error::ProblemBody), (status = 503, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<Response, Problem> {
    let mut sending = Sending::read(&bytes)?;
    let caller = asker.named(&app, sending.client_id()).await?;
    sending.attach(&app, &caller).await?;
    let key = idempotency::key(&headers, "POST /v1/messages", &bytes)?;
    let terms = app.pipeline.terms();
    let (message, delayed) = one(&sending, &app.rules(&caller, &terms, app.clock.now_ms()))?;
    let request = IntakeRequest { account: caller.account, key, step: Step::Message, messages: vec![message.clone()] };
    let submitted = if sending.is_otp() {
        app.pipeline.submit_otp(request).await
    } else {
        app.pipeline.submit(request).await.map(|verdict| (verdict, None))
    };
    let (verdict, otp) = match (submitted, key) {
        // The number may have come onto the list after the first request with this key.
        (Err(refused @ (SubmitError::Suppressed | SubmitError::NoConsent)), Some(key)) => {
            let first = message::by_key(&app.db, caller.account, key, app.clock.now_ms()).await?;
            (Verdict::Replayed { resource: first.ok_or(refused)? }, None)
        }
        (submitted, _) => submitted?,
    };
    match (verdict, otp) {
        (Verdict::Accepted { first, .. }, None) => {
            let delayed_by = delayed.then_some("quiet_hours");
            Ok(Accepted { delayed_by, ..Accepted::new(first, &message, &caller) }.response(StatusCode::ACCEPTED))
        }
        (Verdict::Accepted { first, .. }, Some(OtpAnswer::Sent)) => {
            let status = if message.flags.has(Flags::PAY_ON_ACCEPT) { "sent" } else { "delivered" };
            Ok(Accepted { status, ..Accepted::new(first, &message, &caller) }.response(StatusCode::OK))
        }
        (Verdict::Accepted { first, .. }, Some(OtpAnswer::Failed(code))) => Err(otp_failed(first, code)),
        (Verdict::Replayed { resource }, _) => replay(&app, &caller, MessageId::from_uuid(resource)).await,
        (verdict, _) => Err(sending::refusal(&verdict, &caller.info.currency)),
    }
}

/// The one message of a request, and whether hours delay it; or all its mistakes.
fn one(sending: &Sending<'_>, rules: &Rules<'_>) -> Result<(NewMessage, bool), Problem> {
    let mut mistakes = Vec::new();
    let to = match &sending.to {
        None => Err(Mistake::new("to", "missing_field", "add the phone number")),
        Some(To::Many(_)) => {
            Err(Mistake::new("to", "wrong_type", "one phone number as a string; many go to POST /v1/batches"))
        }
        Some(To::One(text)) => prepare::recipient(text.as_str(), rules.settings).map_err(|e| Mistake::phone(e, None)),
    };
    let to = to.map_err(|mistake| mistakes.push(mistake)).ok();
    let content = sending::content(sending, false, rules, &mut mistakes);
    match (to, content) {
        (Some(to), Some(content)) if mistakes.is_empty() => {
            let message = content.message(rules, to, 0, true).map_err(|mistake| Problem::from(vec![mistake]))?;
            let delayed = content.when.placed(rules, &to).is_ok_and(|placed| placed.delayed);
            Ok((message, delayed))
        }
        _ => Err(mistakes.into()),
    }
}

/// The answer of the request that first had the key.
async fn replay(app: &App, caller: &Caller, id: MessageId) -> Result<Response, Problem> {
    let m = message::by_id(&app.db, caller.account, id).await?;
    if m.lane != Lane::Otp {
        return Ok(idempotency::replayed(Accepted::again(&m, caller).response(StatusCode::ACCEPTED)));
    }
    let done = m.final_at.is_some();
    let response = match m.state {
        Status::Sent if done || m.flags.has(Flags::PAY_ON_ACCEPT) => otp_again(&m, caller),
        Status::Delivered => otp_again(&m, caller),
        _ if done => {
            otp_failed(id, m.error.and_then(ErrorCode::from_number).unwrap_or(ErrorCode::Internal)).into_response()
        }
        _ => return Err(Code::IdempotencyInFlight.into()),
    };
    Ok(idempotency::replayed(response))
}

fn otp_again(m: &Message, caller: &Caller) -> Response {
    let status = if m.flags.has(Flags::PAY_ON_ACCEPT) { "sent" } else { "delivered" };
    Accepted { status, ..Accepted::again(m, caller) }.response(StatusCode::OK)
}

/// Seed 1's words for it; clients of theirs compare them.
const OTP_ERROR: &str = "OTP delivery failed - operator cannot deliver immediately";

pub(super) fn otp_failed(id: MessageId, code: ErrorCode) -> Problem {
    let entry = code.entry();
    Code::OtpFailed
        .with(entry.explanation)
        .member("error", OTP_ERROR)
        .member("message_id", id.to_string())
        .member("failure", serde_json::json!({ "code": entry.name, "title": entry.title, "explanation": entry.explanation, "action": entry.action }))
}

/// Which messages, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `scheduled`, `queued`, `sent`, `delivered`, `undelivered`, `failed`, `expired`, `canceled` or `rejected`.
    status: Option<String>,
    /// The phone number written to.
    to: Option<String>,
    /// `otp`, `express`, `normal` or `bulk`.
    lane: Option<String>,
    /// Of this batch.
    #[param(value_type = Option<String>)]
    batch: Option<String>,
    /// With this name of yours.
    client_ref: Option<String>,
    /// With this label of yours.
    tag: Option<String>,
    /// Accepted at this time or later, RFC 3339.
    since: Option<String>,
    /// Accepted before this time, RFC 3339.
    until: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Reads a parameter, or adds to the problem.
fn parameter<T>(
    problem: &mut Vec<(&'static str, &'static str)>,
    name: &'static str,
    text: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
    expected: &'static str,
) -> Option<T> {
    let value = text.map(read);
    if matches!(value, Some(None)) {
        problem.push((name, expected));
    }
    value.flatten()
}

const INSTANT: &str = "an RFC 3339 instant such as 2027-01-31T00:00:00Z";

impl ListQuery {
    fn filter(&self, app: &App, caller: &Caller) -> Result<Filter<'_>, Problem> {
        let mut wrong = Vec::new();
        let at = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        let country = caller.info.settings.default_country.as_deref().and_then(Country::parse);
        let tag = |text: &str| {
            Phone::parse(text, country, Strictness::Lenient).ok().map(|p| p.phone.tag(&app.secrets.phone_key))
        };
        let seen = |text: &str| !text.chars().any(char::is_control);
        let visible = "no control characters";
        parameter(&mut wrong, "?client_ref", self.client_ref.as_deref(), |t| seen(t).then_some(()), visible);
        parameter(&mut wrong, "?tag", self.tag.as_deref(), |t| seen(t).then_some(()), visible);
        let filter = Filter {
            state: parameter(
                &mut wrong,
                "?status",
                self.status.as_deref(),
                Status::from_name,
                "a status, such as delivered",
            ),
            phone_tag: parameter(&mut wrong, "?to", self.to.as_deref(), tag, "a phone number, its + written as %2B"),
            lane: parameter(&mut wrong, "?lane", self.lane.as_deref(), Lane::from_name, "otp, express, normal or bulk"),
            batch: parameter(
                &mut wrong,
                "?batch",
                self.batch.as_deref(),
                |t| t.parse::<BatchId>().ok(),
                "the id of a batch",
            ),
            since: parameter(&mut wrong, "?since", self.since.as_deref(), at, INSTANT),
            until: parameter(&mut wrong, "?until", self.until.as_deref(), at, INSTANT),
            client_ref: self.client_ref.as_deref(),
            tag: self.tag.as_deref(),
        };
        if wrong.is_empty() {
            return Ok(filter);
        }
        let problem = Problem::from(Code::InvalidQuery);
        Err(wrong.into_iter().fold(problem, |p, (name, expected)| p.and(Code::InvalidValue, name, expected)))
    }
}

/// List messages, newest first.
///
/// With filters a request looks at 10,000 messages at most: a page may then be short, even empty, and still have a `next_cursor` to go
/// on with.
#[utoipa::path(get, path = "/v1/messages", tag = "Messages", operation_id = "listMessages", params(ListQuery),
    responses((status = 200, body = Paged<MessageView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<MessageView>>, Problem> {
    let filter = query.filter(&app, &caller)?;
    let window =
        Window::open(&app, caller.account, "messages", &format!("{filter:?}"), query.limit, query.cursor.as_deref())?;
    let before = window.after.map(MessageId::from_uuid);
    let found = message::list(&app.db, caller.account, &filter, before, window.limit).await?;
    let views = found.rows.into_iter().map(|m| MessageView::of(m, &caller.info)).collect();
    Ok(Json(window.page_to(views, found.next.map(|id| id.0))))
}

/// Read a message.
///
/// Where it stands, what it costs, and everything that happened to it.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "Messages", operation_id = "getMessage",
    params(("id" = String, Path, description = "`msg_…`, or its bare UUID.")), responses((status = 200, body = MessageView)))]
pub async fn read(
    State(app): State<App>,
    asker: Asker<MessagesRead>,
    Id(id): Id<MessageId>,
) -> Result<Json<MessageView>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    whole(&app, &caller, id).await.map(Json)
}

/// A message with its history.
pub(super) async fn whole(app: &App, caller: &Caller, id: MessageId) -> Result<MessageView, Problem> {
    let m = message::by_id(&app.db, caller.account, id).await?;
    let attempts = message::attempts(&app.db, caller.account, id).await?;
    Ok(MessageView::with_history(m, &attempts, &caller.info))
}

/// Cancel a message.
///
/// As long as no carrier has it; what was held for it is released. Canceling twice is the same as once.
#[utoipa::path(delete, path = "/v1/messages/{id}", tag = "Messages", operation_id = "cancelMessage", params(("id" = String, Path)),
    responses((status = 200, body = MessageView), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    Id(id): Id<MessageId>,
) -> Result<Json<MessageView>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    let m = message::by_id(&app.db, caller.account, id).await?;
    if m.state != Status::Canceled {
        let outcome = if m.final_at.is_some() { CancelOutcome::TooLate } else { app.pipeline.cancel(id).await? };
        match outcome {
            CancelOutcome::Canceled => {}
            CancelOutcome::Unknown => return Err(Code::NotFound.into()),
            CancelOutcome::TooLate => {
                let now = message::by_id(&app.db, caller.account, id).await?.state;
                return Err(Code::TooLateToCancel.with(format!("the message is `{}`", now.as_str())));
            }
        }
    }
    whole(&app, &caller, id).await.map(Json)
}
