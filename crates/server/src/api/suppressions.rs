//! The suppression list: numbers that must not be written to, an account's and the platform's.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, SuppressionId, TypeId};
use carillon_domain::message::Category;
use carillon_domain::phone::Phone;
use carillon_domain::sender::Sender;
use carillon_domain::suppression::{Reason, Scope, Source};
use carillon_store::suppression::{self, Filter, NewSuppression, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Operate, Query, SuppressionsManage};
use super::messages::phone;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::prepare;

/// Characters of a note.
const TEXT_MAX: usize = 500;

/// An entry to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// The number: + and country code; or national, with the account's `default_country`.
    #[schema(example = "+4915112345678")]
    pub(super) phone: String,
    /// `opt_out` (if not given), `dnd`, `blocked`, `bounced` or `complaint`: decides which messages are held back.
    #[schema(example = "opt_out")]
    pub(super) reason: Option<String>,
    /// Only messages from this sender, and those that name none.
    pub(super) sender: Option<String>,
    /// Only messages of this category: `transactional`, `promotional` or `otp`.
    pub(super) category: Option<String>,
    /// A note, at most 500 characters.
    #[schema(example = "asked on the phone")]
    pub(super) text: Option<String>,
}

/// An entry of the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppression)]
pub struct EntryView {
    #[schema(value_type = String, example = "sup_01h455vb4pex5vsknk084sn02q")]
    id: SuppressionId,
    /// Null once erased: the list then knows only its keyed hash.
    #[schema(value_type = Option<String>, example = "+4915112345678")]
    phone: Option<Phone>,
    /// `opt_out`, `dnd`, `blocked`, `bounced` or `complaint`.
    #[schema(example = "opt_out")]
    reason: &'static str,
    /// `account`, `sender`, `category` or `platform`.
    #[schema(example = "account")]
    scope: &'static str,
    sender: Option<String>,
    category: Option<&'static str>,
    /// `keyword` (the person wrote STOP), `preference_page` (they chose so), `api`, `import` or `operator`.
    #[schema(example = "api")]
    source: &'static str,
    /// What the person wrote, or a note.
    text: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339; null while it holds.
    ended_at: Option<String>,
    /// How it ended.
    ended_by: Option<&'static str>,
    ended_text: Option<String>,
}

impl EntryView {
    pub(crate) fn of(s: Suppression) -> EntryView {
        EntryView {
            id: s.id,
            phone: s.phone.map(phone),
            reason: s.reason.as_str(),
            scope: s.scope.as_str(s.account == AccountNo::PLATFORM),
            sender: s.scope.sender,
            category: s.scope.category.map(Category::as_str),
            source: s.source.as_str(),
            text: s.text,
            created_at: rfc3339(s.id.millis()),
            ended_at: s.ended.as_ref().map(|e| rfc3339(e.at)),
            ended_by: s.ended.as_ref().map(|e| e.source.as_str()),
            ended_text: s.ended.and_then(|e| e.text),
        }
    }
}

/// One field of an entry that is refused.
pub(super) struct Wrong {
    pub(super) field: &'static str,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) suggestion: Option<String>,
}

impl From<Vec<Wrong>> for Problem {
    fn from(wrong: Vec<Wrong>) -> Problem {
        let errors = wrong.into_iter().map(|w| super::error::FieldError {
            pointer: format!("#/{}", w.field).into(),
            code: w.code,
            detail: w.detail.into(),
            suggestion: w.suggestion,
        });
        Problem { errors: errors.collect(), ..Code::InvalidRequest.into() }
    }
}

/// Whose list an entry is for, and by which rules it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    pub(super) account: AccountNo,
    pub(super) settings: &'a Settings,
    pub(super) source: Source,
}

impl List<'_> {
    /// Checks an entry: all that is wrong with it, or what the store takes.
    pub(super) fn judge(self, app: &App, entry: &NewEntry) -> Result<NewSuppression, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut refuse =
            |field, code, detail: String, suggestion| wrong.push(Wrong { field, code, detail, suggestion });
        let phone = prepare::recipient(&entry.phone, self.settings)
            .map(|parsed| parsed.phone)
            .map_err(|e| refuse("phone", e.reason.code(), e.reason.to_string(), e.suggestion))
            .ok();
        let reason = Reason::from_name(entry.reason.as_deref().unwrap_or("opt_out"));
        if reason.is_none() {
            let detail = "opt_out, dnd, blocked, bounced or complaint".to_owned();
            refuse("reason", Code::InvalidValue.as_str(), detail, None);
        }
        if let Some(sender) = &entry.sender
            && let Err(e) = sender.parse::<Sender>()
        {
            refuse("sender", e.code(), e.to_string(), None);
        }
        if entry.sender.is_some() && self.account == AccountNo::PLATFORM {
            refuse("sender", Code::ConflictingFields.as_str(), "senders belong to accounts".into(), None);
        }
        if entry.sender.is_some() && entry.category.is_some() {
            let detail = "an entry is for one sender or one category, not both".to_owned();
            refuse("category", Code::ConflictingFields.as_str(), detail, None);
        }
        let category = entry.category.as_deref().map(Category::from_name);
        if category == Some(None) {
            let detail = "transactional, promotional or otp".to_owned();
            refuse("category", Code::InvalidValue.as_str(), detail, None);
        }
        if entry.text.as_ref().is_some_and(|t| t.chars().count() > TEXT_MAX) {
            refuse("text", Code::TooLong.as_str(), format!("at most {TEXT_MAX} characters"), None);
        }
        match (phone, reason) {
            (Some(phone), Some(reason)) if wrong.is_empty() => Ok(NewSuppression {
                id: SuppressionId::new(app.clock.now_ms(), app.ids.next(), self.account),
                phone: phone.digits(),
                phone_tag: phone.tag(&app.secrets.phone_key),
                reason,
                scope: Scope { sender: entry.sender.clone(), category: category.flatten() },
                source: self.source,
                text: entry.text.clone(),
                origin: None,
            }),
            _ => Err(wrong),
        }
    }
}

async fn add(app: &App, list: List<'_>, entry: &NewEntry) -> Result<(StatusCode, Json<EntryView>), Problem> {
    let new = list.judge(app, entry).map_err(Problem::from)?;
    let added = app.pipeline.suppressed().open(&app.db, list.account, &[new], app.clock.now_ms(), None).await?;
    let (id, fresh) = added.first().copied().ok_or(Code::Internal)?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(EntryView::of(suppression::by_id(&app.db, list.account, id).await?))))
}

/// Which entries, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of this number.
    phone: Option<String>,
    /// For this reason.
    reason: Option<String>,
    /// Those that have ended too.
    ended: Option<bool>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

async fn page_of(
    app: &App,
    account: AccountNo,
    settings: &Settings,
    query: &ListQuery,
) -> Result<Json<Paged<EntryView>>, Problem> {
    let refuse = |name: &'static str, detail| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, name, detail);
    let lenient = Settings { lenient: true, ..settings.clone() };
    let tag = |text: &String| {
        let phone = prepare::recipient(text, &lenient);
        phone
            .map(|p| p.phone.tag(&app.secrets.phone_key))
            .map_err(|_| refuse("?phone", "a phone number, its + written as %2B"))
    };
    let reason = |text: &String| Reason::from_name(text).ok_or_else(|| refuse("?reason", "a reason, such as opt_out"));
    let filter = Filter {
        phone_tag: query.phone.as_ref().map(tag).transpose()?,
        reason: query.reason.as_ref().map(reason).transpose()?,
        ended: query.ended == Some(true),
    };
    let filters = format!("{:?}{:?}{:?}", query.phone, query.reason, filter.ended);
    let window = Window::open(app, account, "suppressions", &filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(SuppressionId::from_uuid);
    let rows = suppression::list(&app.db, account, filter, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |s| s.id.0, EntryView::of)))
}

async fn close(app: &App, account: AccountNo, id: SuppressionId, source: Source) -> Result<StatusCode, Problem> {
    let tag = suppression::end(&app.db, account, id, source, None, app.clock.now_ms()).await?;
    app.pipeline.suppressed().reread(&app.db, account, tag).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put a number on the list.
///
/// 201; or 200 with the entry that says the same already, unchanged. From here on no message of the account is accepted for it, nor
/// sent that was accepted before, save those its reason lets pass.
#[utoipa::path(post, path = "/v1/suppressions", tag = "Suppressions", operation_id = "createSuppression", request_body = NewEntry,
    responses((status = 201, body = EntryView), (status = 200, body = EntryView, description = "It stood there already")))]
pub async fn create(
    State(app): State<App>,
    caller: Can<SuppressionsManage>,
    Json(entry): Json<NewEntry>,
) -> Result<(StatusCode, Json<EntryView>), Problem> {
    let list = List { account: caller.account, settings: &caller.info.settings, source: Source::Api };
    add(&app, list, &entry).await
}

/// List entries, newest first.
///
/// With `ended=true` the history too: entries are never changed, only ended.
#[utoipa::path(get, path = "/v1/suppressions", tag = "Suppressions", operation_id = "listSuppressions", params(ListQuery),
    responses((status = 200, body = Paged<EntryView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<SuppressionsManage>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<EntryView>>, Problem> {
    page_of(&app, caller.account, &caller.info.settings, &query).await
}

/// Read an entry.
#[utoipa::path(get, path = "/v1/suppressions/{id}", tag = "Suppressions", operation_id = "getSuppression", params(("id" = String, Path)),
    responses((status = 200, body = EntryView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<SuppressionsManage>,
    Id(id): Id<SuppressionId>,
) -> Result<Json<EntryView>, Problem> {
    Ok(Json(EntryView::of(suppression::by_id(&app.db, caller.account, id).await?)))
}

/// End an entry.
///
/// It stays in the history. Only do this for a number whose owner asked for it, or that was entered by mistake.
#[utoipa::path(delete, path = "/v1/suppressions/{id}", tag = "Suppressions", operation_id = "endSuppression", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn end(
    State(app): State<App>,
    caller: Can<SuppressionsManage>,
    Id(id): Id<SuppressionId>,
) -> Result<StatusCode, Problem> {
    close(&app, caller.account, id, Source::Api).await
}

/// Put a number on the platform's list.
///
/// It binds every account.
#[utoipa::path(post, path = "/v1/admin/suppressions", tag = "Platform", operation_id = "createPlatformSuppression", request_body = NewEntry,
    responses((status = 201, body = EntryView), (status = 200, body = EntryView, description = "It stood there already")))]
pub async fn platform_create(
    State(app): State<App>,
    caller: Can<Operate>,
    Json(entry): Json<NewEntry>,
) -> Result<(StatusCode, Json<EntryView>), Problem> {
    let list = List { account: AccountNo::PLATFORM, settings: &caller.info.settings, source: Source::Operator };
    add(&app, list, &entry).await
}

/// List entries of the platform, newest first.
#[utoipa::path(get, path = "/v1/admin/suppressions", tag = "Platform", operation_id = "listPlatformSuppressions", params(ListQuery),
    responses((status = 200, body = Paged<EntryView>)))]
pub async fn platform_list(
    State(app): State<App>,
    caller: Can<Operate>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<EntryView>>, Problem> {
    page_of(&app, AccountNo::PLATFORM, &caller.info.settings, &query).await
}

/// Read an entry of the platform.
#[utoipa::path(get, path = "/v1/admin/suppressions/{id}", tag = "Platform", operation_id = "getPlatformSuppression",
    params(("id" = String, Path)), responses((status = 200, body = EntryView)))]
pub async fn platform_read(
    State(app): State<App>,
    _: Can<Operate>,
    Id(id): Id<SuppressionId>,
) -> Result<Json<EntryView>, Problem> {
    Ok(Json(EntryView::of(suppression::by_id(&app.db, AccountNo::PLATFORM, id).await?)))
}

/// End an entry of the platform.
#[utoipa::path(delete, path = "/v1/admin/suppressions/{id}", tag = "Platform", operation_id = "endPlatformSuppression",
    params(("id" = String, Path)), responses((status = 204)))]
pub async fn platform_end(
    State(app): State<App>,
    _: Can<Operate>,
    Id(id): Id<SuppressionId>,
) -> Result<StatusCode, Problem> {
    close(&app, AccountNo::PLATFORM, id, Source::Operator).await
}
