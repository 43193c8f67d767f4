//! Routes: which connections messages take. The platform's are for everybody; an account's own lead to connections of its own.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{AccountId, AccountNo, ConnectionId, RouteId, TypeId};
use carillon_store::connection::Connection;
use carillon_store::route::{self, Route};
use carillon_store::{StoreError, account};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::name;
use super::carriers::{Manager, OwnedQuery, OwnerQuery, refused};
use super::connections::usable;
use super::error::{Code, Problem};
use super::extract::{Id, Json, Query};
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::routing::rules::{ConditionsShape, GroupShape, Shape};

/// The most routes of one account, and of the platform.
const OWN_MAX: u32 = 100;
const PLATFORM_MAX: u32 = 2_000;
/// Ranks reach so far either way.
const RANK_MAX: i32 = 1_000_000;

/// A route to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRouteBody {
    /// For people.
    #[schema(example = "Germany, cheapest first")]
    name: String,
    /// The lowest that fits counts, of an account's own before the platform's; 100 if not given.
    #[schema(example = 100)]
    rank: Option<i32>,
    /// Whether it counts; true if not given.
    enabled: Option<bool>,
    /// What a message must be like; every message if not given.
    #[serde(default)]
    #[schema(example = json!({"countries": ["DE"], "lanes": ["normal", "bulk"]}))]
    conditions: ConditionsShape,
    /// Tried in order; the strategy of each orders its members.
    #[schema(example = json!([{"strategy": "least_cost", "members": [{"connection": "acme"}, {"connection": "other"}]}]))]
    groups: Vec<GroupShape>,
    /// Whether a message that a carrier took and then reported as failed goes to the next connection; false if not given.
    reroute: Option<bool>,
}

/// What to change; what is left out stays. `conditions` and `groups` are replaced whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// For people.
    name: Option<String>,
    /// The lowest that fits counts.
    rank: Option<i32>,
    /// Whether it counts.
    enabled: Option<bool>,
    /// What a message must be like.
    conditions: Option<ConditionsShape>,
    /// Tried in order.
    groups: Option<Vec<GroupShape>>,
    /// Whether failed receipts send on.
    reroute: Option<bool>,
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteView {
    /// For the other calls.
    #[schema(value_type = String)]
    id: RouteId,
    /// Whose; null = the platform's.
    #[schema(value_type = Option<String>)]
    account: Option<AccountId>,
    /// For people.
    name: String,
    /// The lowest that fits counts.
    rank: i32,
    /// Whether it counts.
    enabled: bool,
    /// What a message must be like.
    conditions: ConditionsShape,
    /// Tried in order.
    groups: Vec<GroupShape>,
    /// Whether failed receipts send on.
    reroute: bool,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

fn view(row: Route, account: Option<AccountId>) -> Result<RouteView, Problem> {
    let Shape { conditions, groups } = shape(&row)?;
    Ok(RouteView {
        id: row.id,
        account,
        name: row.name,
        rank: row.rank,
        enabled: row.enabled,
        conditions,
        groups,
        reroute: row.reroute,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    })
}

fn shape(row: &Route) -> Result<Shape, Problem> {
    Shape::stored(row).map_err(|e| StoreError::Broken(format!("route {}: {e}", row.id)).into())
}

/// Checks a shape for its owner, and writes connections as ids where they were named. Those in `kept` may stay though they are no more.
async fn checked(app: &App, owner: AccountNo, mut shape: Shape, kept: &[&str]) -> Result<Shape, Problem> {
    if owner != AccountNo::PLATFORM && !shape.conditions.accounts.is_empty() {
        let why = "a route of an account is for its own messages: leave this out";
        return Err(Code::InvalidValue.at("#/conditions/accounts", why));
    }
    let mut accounts = HashMap::new();
    for id in shape.conditions.accounts.iter().take(500) {
        match account::by_id(&app.db, *id).await {
            Ok(found) => drop(accounts.insert(*id, found.no)),
            Err(StoreError::NotFound) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let connections = usable(app, owner).await?;
    // What stood there before may have been deleted since: it stays, and is passed over.
    let gone = |text: &str| kept.contains(&text).then_some(-1);
    shape.read(&accounts, |text| find(&connections, text).map(|c| c.no).or_else(|| gone(text))).map_err(refused)?;
    for member in shape.groups.iter_mut().flat_map(|g| &mut g.members) {
        if let Some(found) = find(&connections, &member.connection) {
            member.connection = found.id.to_string();
        }
    }
    Ok(shape)
}

/// The connection that a text means: its id, or its name (the configuration file's before the API's).
fn find<'a>(connections: &'a HashMap<ConnectionId, Connection>, text: &str) -> Option<&'a Connection> {
    let by_id = text.parse().ok().and_then(|id| connections.get(&id));
    by_id.or_else(|| connections.values().filter(|c| c.name == text).min_by_key(|c| c.settings.is_some()))
}

fn rank(rank: i32) -> Result<i32, Problem> {
    let why = "-1000000 to 1000000";
    if (-RANK_MAX..=RANK_MAX).contains(&rank) { Ok(rank) } else { Err(Code::InvalidValue.at("#/rank", why)) }
}

async fn account_id(app: &App, owner: AccountNo) -> Result<Option<AccountId>, Problem> {
    match owner {
        AccountNo::PLATFORM => Ok(None),
        no => Ok(Some(account::by_no(&app.db, no).await?.id)),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rules are plain data")
}

/// Make a route.
///
/// It counts at once. Operators make the platform's (or an account's, with `account`), accounts their own, over connections of their own.
#[utoipa::path(post, path = "/v1/routes", tag = "Carriers", operation_id = "createRoute", params(OwnerQuery),
    request_body = NewRouteBody, responses((status = 201, body = RouteView)))]
pub async fn create(
    State(app): State<App>,
    manager: Manager,
    Query(query): Query<OwnerQuery>,
    Json(body): Json<NewRouteBody>,
) -> Result<(StatusCode, Json<RouteView>), Problem> {
    let owner = manager.owner(&app, query.account).await?;
    let name = name(&body.name, "#/name")?;
    let shape = checked(&app, owner, Shape { conditions: body.conditions, groups: body.groups }, &[]).await?;
    let now = app.clock.now_ms();
    let row = Route {
        id: RouteId::new(now, app.ids.next(), owner),
        account: owner,
        name,
        rank: rank(body.rank.unwrap_or(100))?,
        enabled: body.enabled.unwrap_or(true),
        conditions: json(&shape.conditions),
        groups: json(&shape.groups),
        reroute: body.reroute.unwrap_or(false),
        created_at: now,
        updated_at: now,
    };
    route::create(&app.db, &row, if owner == AccountNo::PLATFORM { PLATFORM_MAX } else { OWN_MAX }).await?;
    app.reload_routing().await?;
    tracing::info!(route = %row.id, actor = %manager.0.actor, "{} made route {}", manager.0.actor, row.id);
    Ok((StatusCode::CREATED, Json(view(row, account_id(&app, owner).await?)?)))
}

/// List routes.
///
/// Newest first; what counts is their rank.
#[utoipa::path(get, path = "/v1/routes", tag = "Carriers", operation_id = "listRoutes", params(OwnedQuery),
    responses((status = 200, body = Paged<RouteView>)))]
pub async fn list(
    State(app): State<App>,
    manager: Manager,
    Query(query): Query<OwnedQuery>,
) -> Result<Json<Paged<RouteView>>, Problem> {
    let owner = manager.owner(&app, query.account).await?;
    let window = Window::open(&app, owner, "routes", "", query.limit, query.cursor.as_deref())?;
    let rows = route::list(&app.db, owner, window.after.map(RouteId::from_uuid), window.fetch()).await?;
    let account = account_id(&app, owner).await?;
    let Paged { data, next_cursor, has_more } = window.page(rows, |r| r.id.0, |r| view(r, account));
    Ok(Json(Paged { data: data.into_iter().collect::<Result<_, _>>()?, next_cursor, has_more }))
}

/// Read a route.
#[utoipa::path(get, path = "/v1/routes/{id}", tag = "Carriers", operation_id = "getRoute", params(("id" = String, Path)),
    responses((status = 200, body = RouteView)))]
pub async fn read(State(app): State<App>, manager: Manager, Id(id): Id<RouteId>) -> Result<Json<RouteView>, Problem> {
    let owner = manager.owner_of(id.account());
    let row = route::by_id(&app.db, owner, id).await?;
    view(row, account_id(&app, owner).await?).map(Json)
}

/// Change a route.
#[utoipa::path(patch, path = "/v1/routes/{id}", tag = "Carriers", operation_id = "changeRoute", params(("id" = String, Path)),
    request_body = RouteChange, responses((status = 200, body = RouteView)))]
pub async fn change(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<RouteId>,
    Json(body): Json<RouteChange>,
) -> Result<Json<RouteView>, Problem> {
    let owner = manager.owner_of(id.account());
    let mut row = route::by_id(&app.db, owner, id).await?;
    if let Some(text) = &body.name {
        row.name = name(text, "#/name")?;
    }
    row.rank = rank(body.rank.unwrap_or(row.rank))?;
    row.enabled = body.enabled.unwrap_or(row.enabled);
    row.reroute = body.reroute.unwrap_or(row.reroute);
    if body.conditions.is_some() || body.groups.is_some() {
        let old = shape(&row)?;
        let kept: Vec<_> = old.groups.iter().flat_map(|g| &g.members).map(|m| m.connection.as_str()).collect();
        let conditions = body.conditions.unwrap_or_else(|| old.conditions.clone());
        let groups = body.groups.unwrap_or_else(|| old.groups.clone());
        let shape = checked(&app, owner, Shape { conditions, groups }, &kept).await?;
        (row.conditions, row.groups) = (json(&shape.conditions), json(&shape.groups));
    }
    row.updated_at = app.clock.now_ms();
    route::change(&app.db, &row).await?;
    app.reload_routing().await?;
    tracing::info!(route = %id, actor = %manager.0.actor, "{} changed route {id}", manager.0.actor);
    view(row, account_id(&app, owner).await?).map(Json)
}

/// Delete a route.
#[utoipa::path(delete, path = "/v1/routes/{id}", tag = "Carriers", operation_id = "deleteRoute", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(State(app): State<App>, manager: Manager, Id(id): Id<RouteId>) -> Result<StatusCode, Problem> {
    route::delete(&app.db, manager.owner_of(id.account()), id).await?;
    app.reload_routing().await?;
    tracing::info!(route = %id, actor = %manager.0.actor, "{} deleted route {id}", manager.0.actor);
    Ok(StatusCode::NO_CONTENT)
}
