//! Senders of an account: asked for, approved by an operator, chosen to stand in for messages that name none.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{SenderId, TypeId};
use carillon_domain::phone::Country;
use carillon_domain::sender::Sender as SenderText;
use carillon_store::StoreError;
use carillon_store::sender::{self, Sender, Status};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{AccountRead, Can, Id, Json, Query, SendersManage};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;

/// Senders of one account.
const SENDERS_MAX: u32 = 500;
/// Characters of a text that people read.
const NOTE_MAX: usize = 500;

/// A sender to be asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSender {
    /// 1 to 11 letters and digits, a short code, or a phone number with +.
    #[schema(example = "Shop")]
    sender: String,
    /// Where it is to be used, two-letter countries; everywhere if not given. Countries that want senders registered must be named.
    #[schema(example = json!(["DE", "AT"]))]
    countries: Option<Vec<String>>,
    /// What it is for, 1 to 500 characters: the operator decides by it.
    #[schema(example = "Order confirmations of shop.example")]
    use_case: String,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderChange {
    /// Whether it stands in, in its countries, for messages that name no sender. It takes the place of the one that did.
    default: Option<bool>,
}

/// A sender.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sender)]
pub struct SenderView {
    #[schema(value_type = String, example = "snd_01h455vb4pex5vsknk084sn02q")]
    id: SenderId,
    #[schema(example = "Shop")]
    sender: String,
    /// `alphanumeric`, `short_code` or `long_code`.
    #[schema(example = "alphanumeric")]
    kind: &'static str,
    /// Where it may be used; empty is everywhere.
    countries: Vec<String>,
    use_case: String,
    /// `pending`, `approved` or `rejected`.
    #[schema(example = "approved")]
    status: &'static str,
    /// Why it was rejected.
    reason: Option<String>,
    /// Whether it stands in for messages that name none.
    default: bool,
    /// RFC 3339.
    created_at: String,
    /// When it was approved or rejected, RFC 3339.
    decided_at: Option<String>,
}

impl SenderView {
    pub(crate) fn of(s: Sender) -> SenderView {
        SenderView {
            id: s.id,
            kind: s.sender.kind().as_str(),
            sender: s.sender.into(),
            countries: s.countries.iter().map(Country::to_string).collect(),
            use_case: s.use_case,
            status: s.status.as_str(),
            reason: s.reason,
            default: s.default,
            created_at: rfc3339(s.created_at),
            decided_at: s.decided_at.map(rfc3339),
        }
    }
}

/// A text for people: 1 to 500 characters, lines allowed.
pub(super) fn note(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Code::TooShort.at(pointer, "say something"));
    }
    if text.chars().count() > NOTE_MAX {
        return Err(Code::TooLong.at(pointer, "at most 500 characters"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Code::InvalidValue.at(pointer, "no control characters"));
    }
    Ok(text.to_owned())
}

/// Two-letter countries, each once, in order.
pub(super) fn countries(texts: &[String]) -> Result<Vec<Country>, Problem> {
    let mut all = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let country = Country::parse(text).ok_or_else(|| {
            Code::InvalidValue.at(format!("#/countries/{i}"), "a two-letter country code, such as DE")
        })?;
        all.push(country);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Ask for a sender.
///
/// It can be used once an operator has approved it (on servers that leave `from` free it can be used anyway).
#[utoipa::path(post, path = "/v1/senders", tag = "Senders", operation_id = "requestSender", request_body = NewSender,
    responses((status = 201, body = SenderView), (status = 409, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<SendersManage>,
    Json(body): Json<NewSender>,
) -> Result<(StatusCode, Json<SenderView>), Problem> {
    let text: SenderText = body.sender.parse().map_err(|e: carillon_domain::sender::SenderError| {
        let code = Code::ALL.iter().find(|code| code.as_str() == e.code()).copied();
        code.unwrap_or(Code::InvalidValue).at("#/sender", e.to_string())
    })?;
    let countries = countries(body.countries.as_deref().unwrap_or_default())?;
    let use_case = note(&body.use_case, "#/use_case")?;
    if sender::list(&app.db, caller.account, None, SENDERS_MAX).await?.len() == SENDERS_MAX as usize {
        return Err(Code::TooManySenders.into());
    }
    let now = app.clock.now_ms();
    let new = Sender {
        id: SenderId::new(now, app.ids.next(), caller.account),
        sender: text,
        countries,
        use_case,
        status: Status::Pending,
        reason: None,
        default: false,
        created_at: now,
        decided_at: None,
    };
    sender::create(&app.db, caller.account, &new).await.map_err(|e| match e {
        StoreError::Taken(_) => Code::SenderExists.into(),
        other => Problem::from(other),
    })?;
    Ok((StatusCode::CREATED, Json(SenderView::of(new))))
}

/// List the account's senders, newest first.
#[utoipa::path(get, path = "/v1/senders", tag = "Senders", operation_id = "listSenders", params(ListQuery),
    responses((status = 200, body = Paged<SenderView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<AccountRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<SenderView>>, Problem> {
    let window = Window::open(&app, caller.account, "senders", "", query.limit, query.cursor.as_deref())?;
    let rows = sender::list(&app.db, caller.account, window.after.map(SenderId::from_uuid), window.fetch()).await?;
    Ok(Json(window.page(rows, |s| s.id.0, SenderView::of)))
}

/// Read a sender.
#[utoipa::path(get, path = "/v1/senders/{id}", tag = "Senders", operation_id = "getSender", params(("id" = String, Path)),
    responses((status = 200, body = SenderView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<AccountRead>,
    Id(id): Id<SenderId>,
) -> Result<Json<SenderView>, Problem> {
    Ok(Json(SenderView::of(sender::by_id(&app.db, caller.account, id).await?)))
}

/// Choose a sender for messages that name none.
///
/// In the countries it is approved for, or everywhere. Before the account's setting `default_sender`.
#[utoipa::path(patch, path = "/v1/senders/{id}", tag = "Senders", operation_id = "changeSender", params(("id" = String, Path)),
    request_body = SenderChange, responses((status = 200, body = SenderView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<SendersManage>,
    Id(id): Id<SenderId>,
    Json(body): Json<SenderChange>,
) -> Result<Json<SenderView>, Problem> {
    let old = sender::by_id(&app.db, caller.account, id).await?;
    let Some(default) = body.default else { return Ok(Json(SenderView::of(old))) };
    if default && old.status != Status::Approved {
        return Err(Code::SenderNotDefault.into());
    }
    let new = sender::set_default(&app.db, caller.account, id, default).await?;
    app.access.forget_account(caller.account);
    Ok(Json(SenderView::of(new)))
}

/// Give up a sender.
#[utoipa::path(delete, path = "/v1/senders/{id}", tag = "Senders", operation_id = "deleteSender", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<SendersManage>,
    Id(id): Id<SenderId>,
) -> Result<StatusCode, Problem> {
    sender::delete(&app.db, caller.account, id).await?;
    app.access.forget_account(caller.account);
    Ok(StatusCode::NO_CONTENT)
}
