//! Groups: named sets of contacts, lists and courses. Who is in one: `GET /v1/contacts?group=`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::contact::{self, EXTERNAL_ID_MAX, GroupKind, NAME_MAX};
use carillon_domain::id::{ContactId, GroupId, TypeId};
use carillon_store::contact_group::{self as store, Filter, Group};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::consents::of_group;
use super::contacts::code;
use super::error::{Code, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query, given};
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;

/// Contacts that one request puts in and takes out.
const MEMBERS_MAX: usize = 1_000;

/// A group to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// At most 200 characters.
    #[schema(example = "Regulars")]
    name: String,
    /// `list` (if not given) or `course`.
    #[schema(example = "list")]
    kind: Option<String>,
    /// Your own id of it, one group's of its kind alone.
    external_id: Option<String>,
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupChange {
    #[schema(example = "Regulars")]
    name: Option<String>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    external_id: Option<Option<String>>,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Group)]
pub struct GroupView {
    #[schema(value_type = String, example = "grp_01h455vb4pex5vsknk084sn02q")]
    id: GroupId,
    name: String,
    /// `list` or `course`.
    #[schema(example = "list")]
    kind: &'static str,
    external_id: Option<String>,
    /// Contacts in it.
    members: i64,
    /// How many of them stand where for promotional messages: `opted_in`, `confirmed`, `pending`, `opted_out`, and `unknown` without a record.
    /// Of one group that is read; left out elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"confirmed": 0, "opted_in": 40, "opted_out": 2, "pending": 0, "unknown": 8}))]
    consent: Option<BTreeMap<&'static str, i64>>,
    /// RFC 3339.
    created_at: String,
}

fn view(g: Group) -> GroupView {
    GroupView {
        id: g.id,
        name: g.name,
        kind: g.kind.as_str(),
        external_id: g.external_id,
        members: g.members,
        consent: None,
        created_at: rfc3339(g.created_at),
    }
}

/// All that is wrong with a group.
fn check(group: &Group) -> Problem {
    let texts =
        [("#/name", Some(&group.name), NAME_MAX), ("#/external_id", group.external_id.as_ref(), EXTERNAL_ID_MAX)];
    texts.into_iter().fold(Code::InvalidRequest.into(), |problem: Problem, (pointer, text, max)| {
        match text.map_or(Ok(()), |text| contact::line(text, max)) {
            Ok(()) => problem,
            Err(why) => problem.and(code(why), pointer, why.to_string()),
        }
    })
}

async fn save(app: &App, group: Group) -> Result<GroupView, Problem> {
    let problem = check(&group);
    if !problem.errors.is_empty() {
        return Err(problem);
    }
    store::put(&app.db, group.id.account(), &group).await?;
    Ok(view(group))
}

/// Make a group.
#[utoipa::path(post, path = "/v1/groups", tag = "Contacts", operation_id = "createGroup", request_body = NewGroup,
    responses((status = 201, body = GroupView), (status = 409, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Json(body): Json<NewGroup>,
) -> Result<(StatusCode, Json<GroupView>), Problem> {
    let kind = GroupKind::from_name(body.kind.as_deref().unwrap_or("list"));
    let kind = kind.ok_or_else(|| Code::InvalidValue.at("#/kind", "list or course"))?;
    let now = app.clock.now_ms();
    let id = GroupId::new(now, app.ids.next(), caller.account);
    let group = Group { id, kind, name: body.name, external_id: body.external_id, members: 0, created_at: now };
    Ok((StatusCode::CREATED, Json(save(&app, group).await?)))
}

/// Which groups, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `list` or `course`.
    kind: Option<String>,
    /// With this id of your own.
    external_id: Option<String>,
    /// That this contact is in.
    contact: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List groups, newest first.
#[utoipa::path(get, path = "/v1/groups", tag = "Contacts", operation_id = "listGroups", params(ListQuery),
    responses((status = 200, body = Paged<GroupView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<GroupView>>, Problem> {
    let refuse =
        |name: &'static str, detail: String| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, name, detail);
    let kind = |text: &str| GroupKind::from_name(text).ok_or_else(|| refuse("?kind", "list or course".into()));
    let contact = |text: &str| text.parse::<ContactId>().map_err(|e| refuse("?contact", e.to_string()));
    if let Some(id) = &query.external_id {
        contact::line(id, EXTERNAL_ID_MAX).map_err(|why| refuse("?external_id", why.to_string()))?;
    }
    let filter = Filter {
        kind: query.kind.as_deref().map(kind).transpose()?,
        external_id: query.external_id.as_deref(),
        contact: query.contact.as_deref().map(contact).transpose()?,
    };
    let filters = format!("{filter:?}");
    let window = Window::open(&app, caller.account, "groups", &filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(GroupId::from_uuid);
    let rows = store::list(&app.db, caller.account, filter, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |g| g.id.0, view)))
}

/// Read a group.
#[utoipa::path(get, path = "/v1/groups/{id}", tag = "Contacts", operation_id = "getGroup", params(("id" = String, Path)),
    responses((status = 200, body = GroupView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<GroupId>,
) -> Result<Json<GroupView>, Problem> {
    let group = store::by_id(&app.db, caller.account, id).await?;
    let consent = Some(of_group(&app, id, group.members).await?);
    Ok(Json(GroupView { consent, ..view(group) }))
}

/// Change a group.
#[utoipa::path(patch, path = "/v1/groups/{id}", tag = "Contacts", operation_id = "changeGroup", params(("id" = String, Path)),
    request_body = GroupChange, responses((status = 200, body = GroupView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<GroupId>,
    Json(body): Json<GroupChange>,
) -> Result<Json<GroupView>, Problem> {
    let group = store::by_id(&app.db, caller.account, id).await?;
    let name = body.name.unwrap_or(group.name);
    let external_id = body.external_id.unwrap_or(group.external_id);
    Ok(Json(save(&app, Group { name, external_id, ..group }).await?))
}

/// Delete a group.
///
/// Its contacts stay.
#[utoipa::path(delete, path = "/v1/groups/{id}", tag = "Contacts", operation_id = "deleteGroup", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<GroupId>,
) -> Result<StatusCode, Problem> {
    store::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is to be in, and who no more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembersChange {
    /// Ids of contacts to be put in; those that are in stay.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    add: Vec<ContactId>,
    /// Ids of contacts to be taken out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove: Vec<ContactId>,
}

/// Put contacts into a group, take others out.
///
/// All of it or nothing: 404 if the group, or a contact to be put in, is not there. At most 1,000 ids in a request.
#[utoipa::path(post, path = "/v1/groups/{id}/members", tag = "Contacts", operation_id = "changeGroupMembers",
    params(("id" = String, Path)), request_body = MembersChange, responses((status = 200, body = GroupView)))]
pub async fn change_members(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<GroupId>,
    Json(body): Json<MembersChange>,
) -> Result<Json<GroupView>, Problem> {
    if body.add.len() + body.remove.len() > MEMBERS_MAX {
        return Err(Code::TooLong.at("#", "at most 1,000 ids in one request"));
    }
    store::change_members(&app.db, caller.account, id, &body.add, &body.remove).await?;
    Ok(Json(view(store::by_id(&app.db, caller.account, id).await?)))
}
