//! Segments: saved filters over contacts. Who is in one: `GET /v1/contacts?segment=`; the language is `carillon_domain::segment`'s.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::contact::{self, NAME_MAX};
use carillon_domain::id::SegmentId;
use carillon_domain::segment::{self, Filter, Refusal, Wrong};
use carillon_store::segment::{self as store, Segment};
use carillon_store::{contact as contacts, contact_group};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::contacts::code as code_of;
use super::error::{Code, FieldError, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query};
use super::page::{Paged, Window};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;

/// Octets of a filter as JSON.
const FILTER_OCTETS: usize = 16_384;

/// A segment to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSegment {
    /// At most 200 characters.
    #[schema(example = "Regulars in Bonn")]
    name: String,
    /// Which contacts: `all`, `any` and `not` put others together.
    #[schema(value_type = Object, example = json!({"all": [{"tag": "regular"}, {"field": "status", "op": "eq", "value": "new"}]}))]
    filter: Value,
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentChange {
    #[schema(example = "Regulars")]
    name: Option<String>,
    #[schema(value_type = Option<Object>, example = json!({"tag": "regular"}))]
    filter: Option<Value>,
}

/// A filter to be counted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterBody {
    #[schema(value_type = Object, example = json!({"tag": "regular"}))]
    filter: Value,
}

/// A segment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Segment)]
pub struct SegmentView {
    #[schema(value_type = String, example = "seg_01h455vb4pex5vsknk084sn02q")]
    id: SegmentId,
    name: String,
    /// As it was written.
    #[schema(value_type = Object)]
    filter: Value,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

/// How many contacts there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentCount {
    /// Contacts the filter has at this moment.
    #[schema(example = 1200)]
    count: i64,
}

fn view(s: Segment) -> SegmentView {
    SegmentView {
        id: s.id,
        name: s.name,
        filter: serde_json::from_str(&s.filter).unwrap_or(Value::Null),
        created_at: rfc3339(s.created_at),
        changed_at: rfc3339(s.changed_at),
    }
}

/// Refusals of a filter as those of the member it stands in.
pub(super) fn refused(all: Vec<Wrong>, at: &str) -> Problem {
    let code = |why| match why {
        Refusal::Object | Refusal::Type(_) => Code::WrongType,
        Refusal::Which | Refusal::OneOf(_) | Refusal::Control => Code::InvalidValue,
        Refusal::Unknown | Refusal::Undeclared => Code::UnknownField,
        Refusal::Missing => Code::MissingField,
        Refusal::Long(_) | Refusal::Deep | Refusal::Conditions => Code::TooLong,
        Refusal::Empty => Code::TooShort,
    };
    let errors = all.into_iter().map(|w| FieldError {
        pointer: format!("{at}{}", w.pointer).into(),
        code: code(w.why).as_str(),
        detail: w.why.to_string().into(),
        suggestion: None,
    });
    Problem { errors: errors.collect(), ..Code::InvalidRequest.into() }
}

/// Reads a filter that stands `at` a pointer of a body.
pub(super) async fn read_filter(app: &App, caller: &Caller, filter: &Value, at: &str) -> Result<Filter, Problem> {
    if filter.to_string().len() > FILTER_OCTETS {
        return Err(Code::TooLong.at(at.to_owned(), "at most 16384 octets"));
    }
    let declared = contact_group::declared(&app.db, caller.account).await?;
    segment::read(filter, &declared, app.clock.now_ms()).map_err(|all| refused(all, at))
}

async fn save(app: &App, caller: &Caller, segment: Segment, filter: &Value) -> Result<SegmentView, Problem> {
    let mut problem = match read_filter(app, caller, filter, "#/filter").await {
        Err(problem) if problem.errors.is_empty() => return Err(problem),
        Err(problem) => problem,
        Ok(_) => Code::InvalidRequest.into(),
    };
    if let Err(why) = contact::line(&segment.name, NAME_MAX) {
        problem = problem.and(code_of(why), "#/name", why.to_string());
    }
    if !problem.errors.is_empty() {
        return Err(problem);
    }
    let segment = Segment { filter: filter.to_string(), ..segment };
    store::put(&app.db, caller.account, &segment).await?;
    Ok(view(segment))
}

/// Save a filter over contacts.
///
/// It holds no contacts: who is in it is found whenever it is used. The language stands in docs/AUDIENCES.md.
#[utoipa::path(post, path = "/v1/segments", tag = "Contacts", operation_id = "createSegment", request_body = NewSegment,
    responses((status = 201, body = SegmentView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Json(body): Json<NewSegment>,
) -> Result<(StatusCode, Json<SegmentView>), Problem> {
    let now = app.clock.now_ms();
    let id = SegmentId::new(now, app.ids.next(), caller.account);
    let segment = Segment { id, name: body.name, filter: String::new(), created_at: now, changed_at: now };
    Ok((StatusCode::CREATED, Json(save(&app, &caller, segment, &body.filter).await?)))
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List segments, newest first.
#[utoipa::path(get, path = "/v1/segments", tag = "Contacts", operation_id = "listSegments", params(ListQuery),
    responses((status = 200, body = Paged<SegmentView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<SegmentView>>, Problem> {
    let window = Window::open(&app, caller.account, "segments", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(SegmentId);
    let rows = store::list(&app.db, caller.account, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |s| s.id.0, view)))
}

/// Count a filter before it is saved.
#[utoipa::path(post, path = "/v1/segments/count", tag = "Contacts", operation_id = "countFilter", request_body = FilterBody,
    responses((status = 200, body = SegmentCount)))]
pub async fn count_filter(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Json(body): Json<FilterBody>,
) -> Result<Json<SegmentCount>, Problem> {
    let filter = read_filter(&app, &caller, &body.filter, "#/filter").await?;
    Ok(Json(SegmentCount { count: contacts::count(&app.db, caller.account, &filter).await? }))
}

/// Read a segment.
#[utoipa::path(get, path = "/v1/segments/{id}", tag = "Contacts", operation_id = "getSegment", params(("id" = String, Path)),
    responses((status = 200, body = SegmentView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<SegmentId>,
) -> Result<Json<SegmentView>, Problem> {
    Ok(Json(view(store::by_id(&app.db, caller.account, id).await?)))
}

/// Count the contacts of a segment.
///
/// 409 `segment_outdated` if its filter names an attribute that was taken away.
#[utoipa::path(get, path = "/v1/segments/{id}/count", tag = "Contacts", operation_id = "countSegment", params(("id" = String, Path)),
    responses((status = 200, body = SegmentCount), (status = 409, body = super::error::ProblemBody)))]
pub async fn count(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<SegmentId>,
) -> Result<Json<SegmentCount>, Problem> {
    let filter = resolve(&app, &caller, id).await?;
    Ok(Json(SegmentCount { count: contacts::count(&app.db, caller.account, &filter).await? }))
}

/// Change a segment.
#[utoipa::path(patch, path = "/v1/segments/{id}", tag = "Contacts", operation_id = "changeSegment", params(("id" = String, Path)),
    request_body = SegmentChange, responses((status = 200, body = SegmentView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<SegmentId>,
    Json(body): Json<SegmentChange>,
) -> Result<Json<SegmentView>, Problem> {
    let segment = store::by_id(&app.db, caller.account, id).await?;
    let name = body.name.unwrap_or(segment.name);
    let filter = body.filter.unwrap_or_else(|| serde_json::from_str(&segment.filter).unwrap_or(Value::Null));
    let changed = Segment { name, changed_at: app.clock.now_ms(), ..segment };
    Ok(Json(save(&app, &caller, changed, &filter).await?))
}

/// Delete a segment.
///
/// Its contacts stay.
#[utoipa::path(delete, path = "/v1/segments/{id}", tag = "Contacts", operation_id = "deleteSegment", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<SegmentId>,
) -> Result<StatusCode, Problem> {
    store::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A saved filter, to be used now.
pub(super) async fn resolve(app: &App, caller: &Caller, id: SegmentId) -> Result<Filter, Problem> {
    let resolved = store::resolve(&app.db, caller.account, id, app.clock.now_ms()).await?;
    resolved.map_err(|all| Problem { code: Code::SegmentOutdated, ..refused(all, "#/filter") })
}
