//! Connections to carriers: the platform's for operators, an account's own for those who bring their carrier. Secrets go in and never come out.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{AccountId, AccountNo, ConnectionId, TypeId};
use carillon_domain::route::ConnectionNo;
use carillon_store::connection::{self, Change, Connection, NewConnection};
use carillon_store::{StoreError, account};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::carriers::{Manager, OwnedQuery, OwnerQuery, refused};
use super::error::{Code, Problem};
use super::extract::{Id, Json, Query};
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::config;
use crate::pipeline::ConnectionState;
use crate::routing::host;
use crate::routing::rules::Wrong;
use crate::routing::settings::{self, Given, Secrets};

/// The most connections of one account.
const OWN_MAX: u32 = 10;
/// The most connections of the platform.
pub const PLATFORM_MAX: u32 = 500;
/// The most sessions of an account's own connection.
const OWN_BINDS_MAX: u32 = 8;

/// A connection to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConnectionBody {
    /// Shown with messages: 1 to 40 of a-z, 0-9, - _ .
    #[schema(example = "acme")]
    name: String,
    /// What it speaks: `smpp`, `sandbox`, or an HTTP provider: `twilio`, `vonage_sms`, `vonage_messages`, `msg91`, `sns`, `http`.
    #[schema(example = "smpp")]
    kind: String,
    /// As in the configuration file, where all of them are explained; what is left out has the default given there.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"host": "smpp.example.com", "system_id": "user", "password": "secret", "rate": 50}))]
    settings: Given,
    /// Whether it is used at once; true if not given.
    enabled: Option<bool>,
}

/// What to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionChange {
    /// Shown with messages.
    name: Option<String>,
    /// Settings to change; null brings the default back, or forgets a secret.
    #[schema(value_type = Option<Object>, example = json!({"rate": 100, "password": "another"}))]
    settings: Option<Given>,
}

/// A connection without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionView {
    /// For routes and the other calls.
    #[schema(value_type = String)]
    id: ConnectionId,
    /// Whose; null = the platform's.
    #[schema(value_type = Option<String>)]
    account: Option<AccountId>,
    /// Shown with messages.
    #[schema(example = "acme")]
    name: String,
    /// What it speaks; null if the configuration file has it no more.
    #[schema(example = "smpp")]
    kind: Option<String>,
    /// `api`, or `file`: that one is changed in the configuration file only.
    #[schema(example = "api")]
    source: &'static str,
    /// Whether it is to be used.
    enabled: bool,
    /// All settings in force, secrets excepted.
    #[schema(value_type = Object)]
    settings: Value,
    /// Which secret settings are set.
    #[schema(example = json!(["password"]))]
    secrets_set: Vec<String>,
    /// `up`, `down` (no session is bound), `resting` (the carrier kept failing) or `off`: it is not in use.
    #[schema(example = "up")]
    state: &'static str,
    /// Sessions that are bound.
    sessions_bound: u32,
    /// Messages that wait for it in memory.
    waiting: usize,
    /// Parts handed over whose answer is not there, or not stored yet.
    in_doubt: i64,
    /// Delivered of a thousand over the last hour; null if too few were sent to say.
    #[schema(example = 981)]
    delivered_per_mille: Option<u16>,
    /// Why it could not be bound when it was last tried, if it is not.
    last_error: Option<String>,
    /// RFC 3339; null if it stands in the configuration file.
    created_at: Option<String>,
    /// RFC 3339.
    updated_at: Option<String>,
}

/// What of a connection is shown; the configuration file's settings are those of the running server.
fn view(app: &App, row: &Connection, account: Option<AccountId>, states: &States) -> ConnectionView {
    let state = states.get(&row.no);
    let (settings, kind, secrets_set) = match &row.settings {
        None => of_file(app, &row.name),
        Some(_) => match settings::of_row(&app.vault, row) {
            Ok(c) => shown(&c, row),
            // What can be read is shown, so that it can be corrected.
            Err(_) => (given(row).into(), Some(row.kind.clone()), Vec::new()),
        },
    };
    let of_api = row.settings.is_some();
    ConnectionView {
        id: row.id,
        account,
        name: row.name.clone(),
        enabled: row.enabled && kind.is_some(),
        kind,
        source: if of_api { "api" } else { "file" },
        settings,
        secrets_set,
        state: state.map_or("off", |s| s.state.as_str()),
        sessions_bound: state.map_or(0, |s| s.sessions_bound),
        waiting: state.map_or(0, |s| s.waiting),
        in_doubt: state.map_or(0, |s| s.in_doubt),
        delivered_per_mille: state.and_then(|s| s.delivery),
        last_error: state.and_then(|s| s.trouble.clone()),
        created_at: of_api.then(|| rfc3339(row.created_at)),
        updated_at: of_api.then(|| rfc3339(row.updated_at)),
    }
}

/// How connections fare, by number.
pub(super) type States = HashMap<ConnectionNo, ConnectionState>;

/// Of those in use: what was taken away may still be unbinding.
pub(super) fn states(app: &App) -> States {
    let mut states = app.pipeline.connections();
    app.pipeline.with_routes(|book, _| states.retain(|s| book.uses(s.no)));
    states.into_iter().map(|s| (s.no, s)).collect()
}

fn of_file(app: &App, name: &str) -> (Value, Option<String>, Vec<String>) {
    match app.config.connections.iter().find(|c| c.name == name) {
        Some(c) => (settings::shown(c), Some(c.kind.name().to_owned()), settings::secrets_set(c)),
        None => (Value::Object(Given::new()), None, Vec::new()),
    }
}

fn shown(c: &config::Connection, row: &Connection) -> (Value, Option<String>, Vec<String>) {
    (settings::shown(c), Some(row.kind.clone()), settings::secrets_set(c))
}

fn given(row: &Connection) -> Given {
    row.settings.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Checks a connection as it would be.
async fn checked(
    app: &App,
    owner: AccountNo,
    name: &str,
    kind: &str,
    settings: &Given,
    secrets: &Secrets,
) -> Result<(), Problem> {
    let connection = settings::join(name, kind, settings, secrets).map_err(refused)?;
    if owner == AccountNo::PLATFORM {
        let taken = app.config.connections.iter().any(|c| c.name == name);
        return if taken {
            Err(Code::NameTaken.with("the configuration file has a connection of this name"))
        } else {
            Ok(())
        };
    }
    let wrong = |pointer: &str, why: String| Wrong { pointer: pointer.to_owned(), why };
    let mut mistakes = Vec::new();
    if connection.kind == config::Kind::Sandbox {
        mistakes.push(wrong("#/kind", "the sandbox is the platform's; yours is a carrier".into()));
    }
    if connection.binds > OWN_BINDS_MAX {
        mistakes.push(wrong("#/settings/binds", format!("`binds` is 1 to {OWN_BINDS_MAX}")));
    }
    if mistakes.is_empty() && !app.config.accounts.private_carriers {
        for (pointer, address) in addresses(&connection) {
            if let Err(why) = host::may_be_named(&address).await {
                mistakes.push(Wrong { pointer, why });
            }
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(refused(mistakes)) }
}

/// What a connection leads to, and the setting that says so.
fn addresses(c: &config::Connection) -> Vec<(String, String)> {
    if c.kind == config::Kind::Smpp {
        let host = if c.host.contains(':') { format!("[{}]", c.host) } else { c.host.clone() };
        return vec![("#/settings/host".into(), format!("smpp://{host}:{}", c.port))];
    }
    let given = ["base_url", "url"].into_iter().filter_map(|name| Some((name, c.provider.given(name)?)));
    given.map(|(name, url)| (format!("#/settings/provider/{name}"), url.to_owned())).collect()
}

async fn account_id(app: &App, manager: &Manager, owner: AccountNo) -> Result<Option<AccountId>, Problem> {
    match owner {
        AccountNo::PLATFORM => Ok(None),
        no if no == manager.0.account => Ok(Some(manager.0.info.id)),
        no => Ok(Some(account::by_no(&app.db, no).await?.id)),
    }
}

/// Connect a carrier.
///
/// Operators connect the platform's, or an account's (`account`); accounts their own. It is used as soon as a route, or the absence of one,
/// leads there: no restart. Secrets (`password`) are sealed and never shown again.
#[utoipa::path(post, path = "/v1/connections", tag = "Carriers", operation_id = "createConnection", params(OwnerQuery),
    request_body = NewConnectionBody, responses((status = 201, body = ConnectionView)))]
pub async fn create(
    State(app): State<App>,
    manager: Manager,
    Query(query): Query<OwnerQuery>,
    Json(mut body): Json<NewConnectionBody>,
) -> Result<(StatusCode, Json<ConnectionView>), Problem> {
    let owner = manager.owner(&app, query.account).await?;
    let secrets = settings::split(&body.kind, &mut body.settings).map_err(|w| refused(vec![w]))?;
    let secrets: Secrets = secrets.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    checked(&app, owner, &body.name, &body.kind, &body.settings, &secrets).await?;
    let now = app.clock.now_ms();
    let id = ConnectionId::new(now, app.ids.next(), owner);
    let sealed = settings::seal(&app.vault, id, &secrets);
    let new = NewConnection {
        id,
        account: owner,
        name: &body.name,
        kind: &body.kind,
        settings: &text(&body.settings),
        secrets: sealed.as_deref(),
        enabled: body.enabled.unwrap_or(true),
        now,
        most: if owner == AccountNo::PLATFORM { PLATFORM_MAX } else { OWN_MAX },
    };
    let row = connection::create(&app.db, &new).await?;
    app.reload_routing().await?;
    tracing::info!(connection = %row.name, id = %id, actor = %manager.0.actor, "{} added connection {}", manager.0.actor, row.name);
    let view = view(&app, &row, account_id(&app, &manager, owner).await?, &states(&app));
    Ok((StatusCode::CREATED, Json(view)))
}

fn text(settings: &Given) -> String {
    serde_json::to_string(settings).expect("JSON is JSON")
}

/// List connections.
///
/// Newest first; those of the configuration file last.
#[utoipa::path(get, path = "/v1/connections", tag = "Carriers", operation_id = "listConnections", params(OwnedQuery),
    responses((status = 200, body = Paged<ConnectionView>)))]
pub async fn list(
    State(app): State<App>,
    manager: Manager,
    Query(query): Query<OwnedQuery>,
) -> Result<Json<Paged<ConnectionView>>, Problem> {
    let owner = manager.owner(&app, query.account).await?;
    let window = Window::open(&app, owner, "connections", "", query.limit, query.cursor.as_deref())?;
    let rows = connection::list(&app.db, owner, window.after.map(ConnectionId::from_uuid), window.fetch()).await?;
    let (account, states) = (account_id(&app, &manager, owner).await?, states(&app));
    Ok(Json(window.page(rows, |c| c.id.0, |c| view(&app, &c, account, &states))))
}

/// Read a connection.
#[utoipa::path(get, path = "/v1/connections/{id}", tag = "Carriers", operation_id = "getConnection", params(("id" = String, Path)),
    responses((status = 200, body = ConnectionView)))]
pub async fn read(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
) -> Result<Json<ConnectionView>, Problem> {
    let owner = manager.owner_of(id.account());
    let row = connection::by_id(&app.db, owner, id).await?;
    Ok(Json(view(&app, &row, account_id(&app, &manager, owner).await?, &states(&app))))
}

/// Change a connection.
///
/// Its sessions begin anew with the new settings; what waits for it keeps waiting.
#[utoipa::path(patch, path = "/v1/connections/{id}", tag = "Carriers", operation_id = "changeConnection", params(("id" = String, Path)),
    request_body = ConnectionChange, responses((status = 200, body = ConnectionView)))]
pub async fn change(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
    Json(body): Json<ConnectionChange>,
) -> Result<Json<ConnectionView>, Problem> {
    let old = changeable(&app, &manager, id).await?;
    let mut settings = given(&old);
    let mut secrets = settings::secrets_of_row(&app.vault, &old).unwrap_or_else(|why| {
        tracing::warn!(connection = %old.name, "connection {}: {why}; only those given now are kept", old.name);
        Secrets::new()
    });
    let changes = body.settings.is_some();
    if let Some(mut wanted) = body.settings {
        for (name, value) in settings::split(&old.kind, &mut wanted).map_err(|w| refused(vec![w]))? {
            match value {
                Some(text) => drop(secrets.insert(name, text)),
                None => drop(secrets.remove(&name)),
            }
        }
        settings::merge(&mut settings, wanted);
    }
    let name = body.name.as_deref().unwrap_or(&old.name);
    checked(&app, old.account, name, &old.kind, &settings, &secrets).await?;
    let (text, sealed) = (text(&settings), settings::seal(&app.vault, id, &secrets));
    let wanted = Change {
        name: body.name.as_deref(),
        settings: changes.then_some((text.as_str(), sealed.as_deref())),
        enabled: None,
    };
    store(&app, &manager, &old, &wanted).await
}

/// One that the caller may change: not the configuration file's.
async fn changeable(app: &App, manager: &Manager, id: ConnectionId) -> Result<Connection, Problem> {
    let row = connection::by_id(&app.db, manager.owner_of(id.account()), id).await?;
    if row.settings.is_some() { Ok(row) } else { Err(Code::ConfiguredInFile.into()) }
}

async fn store(
    app: &App,
    manager: &Manager,
    old: &Connection,
    wanted: &Change<'_>,
) -> Result<Json<ConnectionView>, Problem> {
    let row = connection::change(&app.db, old.account, old.id, wanted, app.clock.now_ms()).await?;
    app.reload_routing().await?;
    let names: Vec<_> = wanted.settings.iter().flat_map(|_| given(&row)).map(|(name, _)| name).collect();
    tracing::info!(connection = %row.name, id = %row.id, actor = %manager.0.actor, enabled = row.enabled,
        "{} changed connection {}: enabled {}, set {names:?}", manager.0.actor, row.name, row.enabled);
    Ok(Json(view(app, &row, account_id(app, manager, row.account).await?, &states(app))))
}

/// Use a connection again.
#[utoipa::path(post, path = "/v1/connections/{id}/enable", tag = "Carriers", operation_id = "enableConnection", params(("id" = String, Path)),
    responses((status = 200, body = ConnectionView)))]
pub async fn enable(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
) -> Result<Json<ConnectionView>, Problem> {
    let old = changeable(&app, &manager, id).await?;
    store(&app, &manager, &old, &Change { enabled: Some(true), ..Change::default() }).await
}

/// Stop using a connection.
///
/// It is unbound once the answers it owes are in. What waits for it goes to the next connection that its route names, or waits.
#[utoipa::path(post, path = "/v1/connections/{id}/disable", tag = "Carriers", operation_id = "disableConnection", params(("id" = String, Path)),
    responses((status = 200, body = ConnectionView)))]
pub async fn disable(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
) -> Result<Json<ConnectionView>, Problem> {
    let old = changeable(&app, &manager, id).await?;
    store(&app, &manager, &old, &Change { enabled: Some(false), ..Change::default() }).await
}

/// Delete a connection.
///
/// With its secrets and its rates. Messages it carried keep its name. Routes that name it go on with their other connections.
#[utoipa::path(delete, path = "/v1/connections/{id}", tag = "Carriers", operation_id = "deleteConnection", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(State(app): State<App>, manager: Manager, Id(id): Id<ConnectionId>) -> Result<StatusCode, Problem> {
    let old = changeable(&app, &manager, id).await?;
    connection::delete(&app.db, old.account, id, app.clock.now_ms()).await?;
    app.reload_routing().await?;
    tracing::info!(connection = %old.name, id = %id, actor = %manager.0.actor, "{} deleted connection {}", manager.0.actor, old.name);
    Ok(StatusCode::NO_CONTENT)
}

/// Every connection an owner may name in its routes, by id.
pub(super) async fn usable(app: &App, owner: AccountNo) -> Result<HashMap<ConnectionId, Connection>, StoreError> {
    let rows = connection::list(&app.db, owner, None, 10_000).await?;
    let there = |c: &Connection| c.settings.is_some() || app.config.connections.iter().any(|f| f.name == c.name);
    Ok(rows.into_iter().filter(there).map(|c| (c.id, c)).collect())
}
