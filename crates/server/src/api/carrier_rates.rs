//! What a part costs on a connection, by leading digits: what `least_cost` compares, and the operator's cost of a message.

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use carillon_domain::id::ConnectionId;
use carillon_domain::money::Money;
use carillon_domain::route::ConnectionNo;
use carillon_store::{carrier_rate, connection};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::carriers::{Manager, prefix};
use super::csv_table::{self, Csv};
use super::error::{Code, Problem};
use super::extract::{Id, Json, Query};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;

/// Lines of one table: every operator of the world has fewer prefixes.
const LINES_MAX: usize = 100_000;
const COLUMNS: [&str; 2] = ["prefix", "price"];
/// More than any part costs: a slip of the keyboard, or another currency.
const PRICE_MAX: Money = Money(1_000 * 1_000_000);

/// One line of a table.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLine {
    /// Digits, country code first; empty = everywhere.
    #[schema(example = "4915")]
    prefix: String,
    /// Of one part, in the platform's currency: a decimal with at most six places.
    #[schema(example = "0.0075")]
    price: String,
}

/// A line to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRateLine {
    /// Digits, country code first; everywhere if empty or not given.
    #[serde(default)]
    #[schema(example = "4915")]
    prefix: String,
    /// Of one part, in the platform's currency: a decimal with at most six places.
    #[serde(default)]
    #[schema(required = true, example = "0.0075")]
    price: String,
}

/// Which line.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LineQuery {
    /// Digits, country code first; empty = everywhere.
    #[param(required = true)]
    prefix: Option<String>,
}

/// How many lines there are now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// Lines of the table.
    #[schema(example = 1834)]
    pub(super) rows: usize,
}

fn price(text: &str) -> Option<Money> {
    Money::parse(text).filter(|price| (Money::ZERO..=PRICE_MAX).contains(price))
}

const PREFIX: &str = "up to 15 digits, country code first; none for everywhere";
const PRICE: &str = "a decimal such as 0.0075, at most six places, 0 to 1000";

/// The connection whose table is meant, if it is the caller's to manage.
async fn table_of(app: &App, manager: &Manager, id: ConnectionId) -> Result<ConnectionNo, Problem> {
    Ok(connection::by_id(&app.db, manager.owner_of(id.account()), id).await?.no)
}

/// List what a connection costs.
///
/// In order of prefix.
#[utoipa::path(get, path = "/v1/carrier-rates/{id}", tag = "Carriers", operation_id = "listCarrierRates",
    params(("id" = String, Path, description = "Of the connection"), ListQuery), responses((status = 200, body = Paged<RateLine>)))]
pub async fn list(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<RateLine>>, Problem> {
    let no = table_of(&app, &manager, id).await?;
    let window =
        Window::open(&app, id.account(), "carrier-rates", &id.to_string(), query.limit, query.cursor.as_deref())?;
    // Lines are sorted by prefix; the cursor carries it, behind a 1, in the place of an id.
    let after = window.after.map(|id| id.as_u128().to_string().split_off(1));
    let rows = carrier_rate::list(&app.db, no, after.as_deref(), window.fetch()).await?;
    let cursor = |(prefix, _): &(String, Money)| {
        Uuid::from_u128(format!("1{prefix}").parse().expect("prefixes are up to 15 digits"))
    };
    Ok(Json(window.page(rows, cursor, |(prefix, price)| RateLine { prefix, price: price.to_string() })))
}

/// Set what a prefix costs on a connection.
#[utoipa::path(put, path = "/v1/carrier-rates/{id}", tag = "Carriers", operation_id = "setCarrierRate",
    params(("id" = String, Path, description = "Of the connection")), request_body = NewRateLine, responses((status = 200, body = RateLine)))]
pub async fn set(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
    Json(body): Json<NewRateLine>,
) -> Result<Json<RateLine>, Problem> {
    let no = table_of(&app, &manager, id).await?;
    let prefix = prefix(&body.prefix).ok_or_else(|| Code::InvalidValue.at("#/prefix", PREFIX))?;
    let price = price(&body.price).ok_or_else(|| Code::InvalidValue.at("#/price", PRICE))?;
    carrier_rate::set(&app.db, no, prefix, price).await?;
    app.reload_routing().await?;
    Ok(Json(RateLine { prefix: prefix.to_owned(), price: price.to_string() }))
}

/// Take a prefix off what a connection costs.
#[utoipa::path(delete, path = "/v1/carrier-rates/{id}", tag = "Carriers", operation_id = "deleteCarrierRate",
    params(("id" = String, Path, description = "Of the connection"), LineQuery), responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
    Query(query): Query<LineQuery>,
) -> Result<StatusCode, Problem> {
    let no = table_of(&app, &manager, id).await?;
    let missing = || Problem::from(Code::InvalidQuery).and(Code::MissingField, "?prefix", "which line");
    carrier_rate::delete(&app.db, no, query.prefix.as_deref().ok_or_else(missing)?).await?;
    app.reload_routing().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace what a connection costs by a CSV table.
///
/// The first line is `prefix,price`. All rows are checked; if one is bad nothing changes, and `errors` lists the bad ones by their line. At
/// most 100,000 rows.
#[utoipa::path(put, path = "/v1/carrier-rates/{id}/csv", tag = "Carriers", operation_id = "importCarrierRates",
    params(("id" = String, Path, description = "Of the connection")),
    request_body(content = String, content_type = "text/csv", example = "prefix,price\n49,0.0075\n4915,0.0069\n"),
    responses((status = 200, body = Imported)))]
pub async fn import(
    State(app): State<App>,
    manager: Manager,
    Id(id): Id<ConnectionId>,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    let no = table_of(&app, &manager, id).await?;
    // After it is known whose table it is: a stranger is told nothing else.
    let csv = Csv::from_request(request, &app).await?;
    let rows =
        csv.rows(COLUMNS, LINES_MAX, |p, text| prefix(p).ok_or(PREFIX).and_then(|_| price(text).ok_or(PRICE))).await?;
    carrier_rate::replace(&app.db, no, &rows).await?;
    app.reload_routing().await?;
    tracing::info!(id = %id, actor = %manager.0.actor, "{} imported {} carrier rates of connection {id}", manager.0.actor, rows.len());
    Ok(Json(Imported { rows: rows.len() }))
}

/// Export what a connection costs as CSV.
#[utoipa::path(get, path = "/v1/carrier-rates/{id}/csv", tag = "Carriers", operation_id = "exportCarrierRates",
    params(("id" = String, Path, description = "Of the connection")), responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>, manager: Manager, Id(id): Id<ConnectionId>) -> Result<Response, Problem> {
    let no = table_of(&app, &manager, id).await?;
    let rows = carrier_rate::list(&app.db, no, None, u32::MAX).await?;
    Ok(csv_table::answer("carrier-rates", COLUMNS, rows.into_iter().map(|(p, price)| (p, price.to_string()))))
}
