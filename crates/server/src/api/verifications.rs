//! Verifications: a code goes to a number, and comes back or does not. docs/VERIFICATIONS.md is the guide.

use std::ops::Deref;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{MessageId, VerificationId};
use carillon_domain::phone::{Country, Phone, Strictness};
use carillon_domain::verification::{Cap, Checked, NoResend, Refusal, Rules};
use carillon_store::hot::{IdempotencyKey, IntakeRequest, NewMessage, Step, Verdict};
use carillon_store::message;
use carillon_store::verification::{self, Begun, Resent, Verification};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, VerificationsManage, body_of, check_content_type, parse_json};
use super::idempotency;
use super::messages::{otp_failed, phone};
use super::page::{Paged, Window};
use super::sending::{self, Raw};
use crate::access::{Caller, code};
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::OtpAnswer;

mod begin;

pub use begin::NewVerificationBody;

/// Who may verify, counted against the stricter limit of what sends codes or tries them.
#[derive(Debug)]
pub struct Verifier(Caller);

impl Deref for Verifier {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<App> for Verifier {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Can::<VerificationsManage>::from_request_parts(parts, app).await?.0;
        app.limits.by_verifier(&caller, app.clock.monotonic())?;
        Ok(Verifier(caller))
    }
}

/// A verification.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verification)]
pub struct VerificationView {
    /// For `/check`, `/resend` and `/cancel`.
    #[schema(value_type = String, example = "vrf_01h455vb4pex5vsknk084sn02q")]
    id: VerificationId,
    /// `pending`, `approved`, `canceled`, `expired`, `max_attempts_reached` or `failed` (no carrier took the code).
    #[schema(example = "pending")]
    status: &'static str,
    #[schema(value_type = String, example = "+4915112345678")]
    to: Phone,
    /// Two letters; null for numbers of no country.
    #[schema(value_type = Option<String>, example = "DE")]
    country: Option<Country>,
    /// `sms`.
    channel: &'static str,
    from: Option<String>,
    /// Codes checked.
    attempts: u16,
    /// Codes that may still be checked.
    attempts_left: u16,
    /// Codes sent.
    sends: u16,
    /// Codes that may still be sent.
    sends_left: u16,
    /// When the next may be sent, RFC 3339; null when there is none.
    resend_at: Option<String>,
    /// The messages that carried it; what they cost stands there, their text is not shown.
    #[schema(value_type = Vec<String>)]
    messages: Vec<MessageId>,
    client_ref: Option<String>,
    /// As given.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// RFC 3339, as all that follow.
    created_at: String,
    expires_at: String,
    /// When it reached its final status.
    ended_at: Option<String>,
}

impl VerificationView {
    pub(crate) fn of(v: Verification, now: i64) -> VerificationView {
        let p = &v.progress;
        let state = p.state_at(now);
        let open = state == carillon_domain::verification::State::Pending;
        let sends_left = if open { p.sends_max.saturating_sub(p.sends) } else { 0 };
        let ended_at = p.ended_at.or((!open).then_some(p.expires_at));
        VerificationView {
            id: v.id,
            status: state.as_str(),
            to: phone(v.phone),
            country: v.destination.country,
            channel: "sms",
            from: v.sender,
            attempts: p.attempts,
            attempts_left: if open { p.attempts_max.saturating_sub(p.attempts) } else { 0 },
            sends: p.sends,
            sends_left,
            resend_at: (sends_left > 0).then(|| rfc3339(p.sent_at + p.resend_after)),
            messages: v.messages,
            client_ref: v.client_ref,
            metadata: v.metadata.and_then(|text| serde_json::from_str(&text).ok()),
            created_at: rfc3339(v.id.millis()),
            expires_at: rfc3339(p.expires_at),
            ended_at: ended_at.map(rfc3339),
        }
    }
}

/// A code to be checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// As the person typed it; spaces are passed over.
    #[schema(example = "123456")]
    code: String,
}

/// What a check found.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckView {
    /// Whether the code was right.
    valid: bool,
    #[serde(flatten)]
    verification: VerificationView,
}

/// One more code.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendBody {
    /// A code of yours, if the first was yours: only its hash is kept. The same or another.
    code: Option<String>,
    /// Make another code; the one before is wrong from then on. Otherwise the same is sent again.
    new_code: Option<bool>,
}

/// A refusal by the rules against pumping.
fn refused(refusal: Refusal) -> Problem {
    metrics::counter!("carillon_verifications_refused_total", "rule" => refusal.as_str()).increment(1);
    let seconds = |wait: u64| u32::try_from(wait.div_ceil(1_000)).unwrap_or(u32::MAX);
    let cap = |code: Code, wait: u64, what: &str| {
        code.with(format!("the cap of codes {what} is reached; one more may go in {} s", seconds(wait)))
            .retry_after(seconds(wait))
    };
    match refusal {
        Refusal::Country => Code::VerificationCountryNotAllowed.into(),
        Refusal::Cap(Cap::NumberHour, wait) => cap(Code::VerificationCapNumber, wait, "to this number in an hour"),
        Refusal::Cap(Cap::NumberDay, wait) => cap(Code::VerificationCapNumber, wait, "to this number in a day"),
        Refusal::Cap(Cap::PrefixHour, wait) => cap(Code::VerificationCapPrefix, wait, "to this block in an hour"),
        Refusal::Cap(Cap::PrefixDay, wait) => cap(Code::VerificationCapPrefix, wait, "to this block in a day"),
        Refusal::Cap(Cap::AddressHour, wait) => cap(Code::VerificationCapAddress, wait, "for this address in an hour"),
        Refusal::Cap(Cap::AddressDay, wait) => cap(Code::VerificationCapAddress, wait, "for this address in a day"),
        Refusal::Cap(Cap::AccountHour, wait) => cap(Code::VerificationCapAccount, wait, "of this account in an hour"),
        Refusal::Cap(Cap::AccountDay, wait) => cap(Code::VerificationCapAccount, wait, "of this account in a day"),
        Refusal::PrefixConversion => Code::VerificationConversionLow
            .with("too few of the last codes to this block of numbers came back")
            .retry_after(3_600),
        Refusal::CountryConversion => Code::VerificationConversionLow
            .with("too few of the last codes to this country came back")
            .retry_after(3_600),
    }
}

fn ended(state: carillon_domain::verification::State) -> Problem {
    Code::VerificationEnded.with(format!("the verification is `{}`", state.as_str())).member("status", state.as_str())
}

fn rules(app: &App, caller: &Caller) -> Rules {
    app.config.verification.with(&caller.info.settings.verification)
}

/// Begin a verification.
///
/// Sends a code to the number on the fastest lane. 201 when a carrier took it; 503 within the deadline of one-time codes when none did, and
/// then it costs nothing. The code is made here unless given, and never shown.
#[utoipa::path(post, path = "/v1/verifications", tag = "Verifications", operation_id = "createVerification",
    request_body(content = NewVerificationBody, examples(
        ("basic" = (summary = "A code", value = json!({"to": "+4915112345678", "brand": "Shop"}))),
        ("guarded" = (summary = "With the address of the person who asks", value = json!({"to": "+4915112345678", "text": "{code} is your code for Shop", "end_user_ip": "203.0.113.7"}))))),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same request with the same key is done once and answered alike.")),
    responses((status = 201, body = VerificationView), (status = 402, body = super::error::ProblemBody),
        (status = 403, body = super::error::ProblemBody), (status = 429, body = super::error::ProblemBody), (status = 503, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Verifier,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<Response, Problem> {
    caller.may_send()?;
    let body: NewVerificationBody = parse_json(&bytes)?;
    let key = idempotency::key(&headers, "POST /v1/verifications", &bytes)?;
    let rules = rules(&app, &caller);
    let (v, message) = begin::prepared(&app, &caller, &rules, body)?;
    match verification::begin(&app.db, caller.account, &v, &rules, key, v.id.millis()).await? {
        Begun::Begun => {}
        Begun::Refused(refusal) => return Err(refused(refusal)),
        Begun::Replayed(id) => return replay(&app, &caller, id).await,
        Begun::KeyReused => return Err(Code::IdempotencyMismatch.into()),
    }
    metrics::counter!("carillon_verifications_total").increment(1);
    let sent = deliver(app.clone(), caller.0.clone(), v, message, Undo::Begin(rules)).await?;
    Ok(created(sent.map_err(|(v, message, code)| failed(v.id, message, code))?, app.clock.now_ms()))
}

fn created(v: Verification, now: i64) -> Response {
    let location = HeaderValue::from_str(&format!("/v1/verifications/{}", v.id)).expect("an id is ASCII");
    let mut response = sending::answer(StatusCode::CREATED, &VerificationView::of(v, now));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn failed(id: VerificationId, message: MessageId, code: ErrorCode) -> Problem {
    otp_failed(message, code).member("verification_id", id.to_string())
}

/// The answer of the request that first had the key.
async fn replay(app: &App, caller: &Caller, id: VerificationId) -> Result<Response, Problem> {
    let v = verification::by_id(&app.db, caller.account, id).await?;
    let Some(first) = v.messages.first().copied() else { return Err(Code::IdempotencyInFlight.into()) };
    let carried = message::by_id(&app.db, caller.account, first).await?;
    let error = carried.error.and_then(ErrorCode::from_number).filter(|_| carried.final_at.is_some());
    let response = match error {
        Some(error) => failed(id, first, error).into_response(),
        None => created(v, app.clock.now_ms()),
    };
    Ok(idempotency::replayed(response))
}

/// What is undone if the message is never accepted.
enum Undo {
    Begin(Rules),
    Resend(Rules, Box<(Verification, Verification)>, Option<IdempotencyKey>),
}

/// Sends a code and notes what became of it, also when the client hangs up meanwhile: the message's body is to be erased. The verification
/// as it then is; or that no carrier took the code, and why.
async fn deliver(
    app: App,
    caller: Caller,
    v: Verification,
    message: NewMessage,
    undo: Undo,
) -> Result<Result<Verification, (Verification, MessageId, ErrorCode)>, Problem> {
    let account = caller.account;
    let whole = async move {
        let request = IntakeRequest { account, key: None, step: Step::Message, messages: vec![message] };
        let refusal = match app.pipeline.submit_otp(request).await {
            Ok((Verdict::Accepted { first, .. }, fate)) => {
                let error = match fate {
                    Some(OtpAnswer::Failed(error)) => Some(error),
                    _ => None,
                };
                // One that may still arrive can still be approved.
                let never = error.is_some_and(|error| error != ErrorCode::OtpOutcomeUnknown);
                let now = app.clock.now_ms();
                let v = verification::sent(&app.db, account, v.id, first, never, now, &|a, v, s| app.ended(a, v, s))
                    .await?;
                app.notify.wake();
                return Ok(match error {
                    None => Ok(v),
                    Some(error) => Err((v, first, error)),
                });
            }
            Ok((verdict, _)) => sending::refusal(&verdict, &caller.info.currency),
            Err(e) => e.into(),
        };
        match &undo {
            Undo::Begin(rules) => verification::undo(&app.db, account, &v, rules).await?,
            Undo::Resend(rules, states, key) => {
                verification::undo_resend(&app.db, account, states, rules, *key).await?;
            }
        }
        Err(refusal)
    };
    tokio::spawn(whole).await.unwrap_or_else(|_| Err(Code::Internal.into()))
}

/// Check a code.
///
/// The right one approves the verification, once. A wrong one is answered 200 with `valid: false` and `attempts_left`; after the last the
/// verification is `max_attempts_reached`. One that has ended answers 409.
#[utoipa::path(post, path = "/v1/verifications/{id}/check", tag = "Verifications", operation_id = "checkVerification", params(("id" = String, Path)),
    request_body = CheckBody, responses((status = 200, body = CheckView), (status = 409, body = super::error::ProblemBody)))]
pub async fn check(
    State(app): State<App>,
    caller: Verifier,
    Id(id): Id<VerificationId>,
    Json(body): Json<CheckBody>,
) -> Result<Json<CheckView>, Problem> {
    let given: String = body.code.chars().filter(|c| !c.is_whitespace()).collect();
    if given.is_empty() || given.len() > 64 {
        return Err(Code::InvalidValue.at("#/code", "the code as the person typed it, 1 to 64 characters"));
    }
    let now = app.clock.now_ms();
    let right = |hashed: &[u8]| code::matches(&app.secrets.code_key, id, &given, hashed);
    let (v, checked) =
        verification::check(&app.db, caller.account, id, now, right, &|a, v, s| app.ended(a, v, s)).await?;
    app.notify.wake();
    let (valid, result) = match checked {
        Checked::Approved => (true, "approved"),
        Checked::Wrong(_) => (false, "wrong"),
        Checked::Ended(state) => return Err(ended(state)),
    };
    metrics::counter!("carillon_verification_checks_total", "result" => result).increment(1);
    Ok(Json(CheckView { valid, verification: VerificationView::of(v, now) }))
}

/// Send the code again.
///
/// The same code, unless `new_code` asks for another. Counts against the same rules as the first; not before `resend_at`, and `sends_left` times.
#[utoipa::path(post, path = "/v1/verifications/{id}/resend", tag = "Verifications", operation_id = "resendVerification",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "As of `POST /v1/verifications`.")),
    request_body = Option<ResendBody>, responses((status = 200, body = VerificationView), (status = 409, body = super::error::ProblemBody),
        (status = 429, body = super::error::ProblemBody), (status = 503, body = super::error::ProblemBody)))]
pub async fn resend(
    State(app): State<App>,
    caller: Verifier,
    Id(id): Id<VerificationId>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    caller.may_send()?;
    let bytes = body_of(request, &app, app.config.server.body_max).await?;
    let body = if bytes.is_empty() {
        ResendBody::default()
    } else {
        check_content_type(&headers)?;
        parse_json(&bytes)?
    };
    let key = idempotency::key(&headers, &format!("POST /v1/verifications/{id}/resend"), &bytes)?;
    let (rules, now) = (rules(&app, &caller), app.clock.now_ms());
    let before = verification::by_id(&app.db, caller.account, id).await?;
    let again = begin::again(&app, &caller, &before, body, now)?;
    let change = |v: &mut Verification| (v.code_mac, v.generation) = (again.code_mac.clone(), again.generation);
    let states = match verification::resend(&app.db, caller.account, id, &rules, key, now, change).await? {
        Resent::Counted(states) => states,
        Resent::Refused(refusal) => return Err(refused(refusal)),
        Resent::No(NoResend::Ended(state)) => return Err(ended(state)),
        Resent::No(NoResend::TooMany) => return Err(Code::VerificationResendLimit.into()),
        Resent::No(NoResend::TooSoon(wait)) => {
            let seconds = u32::try_from((wait + 999) / 1_000).unwrap_or(u32::MAX);
            return Err(Code::VerificationResendTooSoon.with(format!("wait {seconds} s")).retry_after(seconds));
        }
        Resent::KeyReused => return Err(Code::IdempotencyMismatch.into()),
        Resent::Replayed => {
            let response = Json(VerificationView::of(before, now)).into_response();
            return Ok(idempotency::replayed(response));
        }
    };
    let v = states.0.clone();
    let undo = Undo::Resend(rules, states, key);
    match deliver(app.clone(), caller.0.clone(), v, again.message, undo).await? {
        Ok(v) => Ok(Json(VerificationView::of(v, app.clock.now_ms())).into_response()),
        Err((v, message, code)) => Err(failed(v.id, message, code)),
    }
}

/// Cancel a verification.
///
/// Its code is wrong from then on. Canceling twice is the same as once; what ended otherwise answers 409.
#[utoipa::path(post, path = "/v1/verifications/{id}/cancel", tag = "Verifications", operation_id = "cancelVerification", params(("id" = String, Path)),
    responses((status = 200, body = VerificationView), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Can<VerificationsManage>,
    Id(id): Id<VerificationId>,
) -> Result<Json<VerificationView>, Problem> {
    let now = app.clock.now_ms();
    let v =
        verification::cancel(&app.db, caller.account, id, now, &|a, v, s| app.ended(a, v, s)).await?.map_err(ended)?;
    app.notify.wake();
    Ok(Json(VerificationView::of(v, now)))
}

/// Read a verification.
#[utoipa::path(get, path = "/v1/verifications/{id}", tag = "Verifications", operation_id = "getVerification", params(("id" = String, Path)),
    responses((status = 200, body = VerificationView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<VerificationsManage>,
    Id(id): Id<VerificationId>,
) -> Result<Json<VerificationView>, Problem> {
    let v = verification::by_id(&app.db, caller.account, id).await?;
    Ok(Json(VerificationView::of(v, app.clock.now_ms())))
}

/// Which verifications, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of this number.
    to: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List verifications, newest first.
#[utoipa::path(get, path = "/v1/verifications", tag = "Verifications", operation_id = "listVerifications", params(ListQuery),
    responses((status = 200, body = Paged<VerificationView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<VerificationsManage>,
    super::extract::Query(query): super::extract::Query<ListQuery>,
) -> Result<Json<Paged<VerificationView>>, Problem> {
    let country = caller.info.settings.default_country.as_deref().and_then(Country::parse);
    let tag = |text: &String| {
        let parsed = Phone::parse(text, country, Strictness::Lenient).map_err(|_| {
            Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?to", "a phone number, its + written as %2B")
        })?;
        Ok::<i64, Problem>(parsed.phone.tag(&app.secrets.phone_key))
    };
    let to = query.to.as_ref().map(tag).transpose()?;
    let window =
        Window::open(&app, caller.account, "verifications", &format!("{to:?}"), query.limit, query.cursor.as_deref())?;
    let before = window.after.map(VerificationId);
    let rows = verification::list(&app.db, caller.account, to, before, window.fetch()).await?;
    let now = app.clock.now_ms();
    Ok(Json(window.page(rows, |v| v.id.0, |v| VerificationView::of(v, now))))
}
