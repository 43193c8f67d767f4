//! API keys of an account. A key is shown once, when it is made.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{ApiKeyId, TypeId};
use carillon_domain::permission::{Scope, Scopes};
use carillon_store::api_key::{self, ApiKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::name;
use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, KeysManage, Query};
use super::page::{Paged, Window};
use crate::access;
use crate::app::App;
use crate::clock::rfc3339;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What you call it.
    #[schema(example = "web shop")]
    name: String,
    /// What it may do; all you may do in this account if not given.
    #[schema(example = json!(["messages:send", "messages:read"]))]
    scopes: Option<Vec<String>>,
    /// When it ends, RFC 3339; never if not given.
    expires_at: Option<String>,
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// For `DELETE /v1/api-keys/{id}`.
    #[schema(value_type = String)]
    id: ApiKeyId,
    /// What you call it.
    name: String,
    /// Its beginning and end, to recognise it by.
    #[schema(example = "car_live_4fT9kQ2mXb7L_…aB3d")]
    hint: String,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339; null = never.
    expires_at: Option<String>,
    /// RFC 3339.
    revoked_at: Option<String>,
    /// About when it was last used (to the minute), RFC 3339.
    used_at: Option<String>,
}

/// A key just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedKey {
    /// The key itself: shown now and never again.
    key: String,
    /// The rest.
    #[serde(flatten)]
    view: KeyView,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Rows of a page, 1 to 200; 50 if not given.
    pub(super) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

impl ListQuery {
    /// What `Window::open` takes.
    pub(super) fn page(&self) -> (Option<u32>, Option<&str>) {
        (self.limit, self.cursor.as_deref())
    }
}

fn view(k: ApiKey) -> KeyView {
    KeyView {
        id: k.id,
        hint: format!("car_live_{}_…{}", k.key_id, k.hint),
        name: k.name,
        scopes: k.scopes.iter().map(Scope::as_str).collect(),
        created_at: rfc3339(k.created_at),
        expires_at: k.expires_at.map(rfc3339),
        revoked_at: k.revoked_at.map(rfc3339),
        used_at: k.used_at.map(rfc3339),
    }
}

/// Make an API key.
///
/// The answer is the only place it is ever shown.
#[utoipa::path(post, path = "/v1/api-keys", tag = "Access", operation_id = "createApiKey", request_body = NewKey,
    responses((status = 201, body = CreatedKey)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<KeysManage>,
    Json(body): Json<NewKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    let name = name(&body.name, "#/name")?;
    let mut scopes = Scopes::NONE;
    for (i, text) in body.scopes.iter().flatten().enumerate() {
        let scope = text.parse().map_err(|e: carillon_domain::permission::UnknownScope| {
            Code::InvalidValue.at(format!("#/scopes/{i}"), e.to_string())
        })?;
        scopes = scopes.with(scope);
    }
    if body.scopes.is_none() {
        let own = caller.scopes.iter().filter(|s| *s != Scope::Operate);
        scopes = own.fold(Scopes::NONE, Scopes::with);
    }
    if scopes == Scopes::NONE {
        return Err(Code::TooShort.at("#/scopes", "at least one scope"));
    }
    if !caller.scopes.covers(scopes) {
        return Err(Code::ScopeNotHeld.into());
    }
    let expires_at = body.expires_at.map(|text| future(&text, app.clock.now_ms())).transpose()?;
    let (key, row) =
        access::issue_key(&app.db, &app.ids, app.clock.now_ms(), caller.account, name, scopes, expires_at).await?;
    Ok((StatusCode::CREATED, Json(CreatedKey { key, view: view(row) })))
}

fn future(text: &str, now: i64) -> Result<i64, Problem> {
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| Code::InvalidValue.at("#/expires_at", "an RFC 3339 instant such as 2027-01-31T00:00:00Z"))?;
    let ms = at.as_millisecond();
    if ms > now { Ok(ms) } else { Err(Code::InvalidValue.at("#/expires_at", "this instant is past")) }
}

/// List the API keys of the account.
///
/// Newest first, ended ones too.
#[utoipa::path(get, path = "/v1/api-keys", tag = "Access", operation_id = "listApiKeys", params(ListQuery),
    responses((status = 200, body = Paged<KeyView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<KeysManage>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<KeyView>>, Problem> {
    let window = Window::open(&app, caller.account, "api-keys", "", query.limit, query.cursor.as_deref())?;
    let rows = api_key::list(&app.db, caller.account, window.after.map(ApiKeyId::from_uuid), window.fetch()).await?;
    Ok(Json(window.page(rows, |k| k.id.0, view)))
}

/// Read one API key.
#[utoipa::path(get, path = "/v1/api-keys/{id}", tag = "Access", operation_id = "getApiKey", params(("id" = String, Path)),
    responses((status = 200, body = KeyView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<KeysManage>,
    Id(id): Id<ApiKeyId>,
) -> Result<Json<KeyView>, Problem> {
    Ok(Json(view(api_key::by_id(&app.db, caller.account, id).await?)))
}

/// End an API key.
///
/// It is refused at once.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "Access", operation_id = "revokeApiKey", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn revoke(
    State(app): State<App>,
    caller: Can<KeysManage>,
    Id(id): Id<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let key = api_key::revoke(&app.db, caller.account, id, app.clock.now_ms()).await?;
    app.access.forget_key(&key.key_id);
    Ok(StatusCode::NO_CONTENT)
}
