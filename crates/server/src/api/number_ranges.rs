//! Which operator has which numbers: the table behind the condition `operators` of routes. The platform's.

use axum::extract::State;
use axum::response::Response;
use carillon_store::number_range;

use super::carrier_rates::Imported;
use super::carriers::prefix;
use super::csv_table::{self, Csv};
use super::error::Problem;
use super::extract::{Can, Json, Operate};
use crate::app::App;
use crate::routing::rules::operator;

/// Ranges of one table: the world's numbering plans have fewer.
const RANGES_MAX: usize = 250_000;
const COLUMNS: [&str; 2] = ["prefix", "mcc_mnc"];

/// Replace the table of number ranges by a CSV one.
///
/// The first line is `prefix,mcc_mnc`. All rows are checked; if one is bad nothing changes, and `errors` lists the bad ones by their line.
/// At most 250,000 rows. Numbers that were ported are where their range says.
#[utoipa::path(put, path = "/v1/number-ranges", tag = "Carriers", operation_id = "importNumberRanges",
    request_body(content = String, content_type = "text/csv", example = "prefix,mcc_mnc\n49151,26201\n49152,26202\n"),
    responses((status = 200, body = Imported)))]
pub async fn import(State(app): State<App>, caller: Can<Operate>, csv: Csv) -> Result<Json<Imported>, Problem> {
    let range = |p: &str, text: &str| {
        prefix(p).filter(|p| !p.is_empty()).ok_or("1 to 15 digits, country code first")?;
        operator(text).ok_or("MCC and MNC, 5 or 6 digits")
    };
    let rows = csv.rows(COLUMNS, RANGES_MAX, range).await?;
    number_range::replace(&app.db, &rows).await?;
    app.reload_routing().await?;
    tracing::info!(actor = %caller.actor, "{} imported {} number ranges", caller.actor, rows.len());
    Ok(Json(Imported { rows: rows.len() }))
}

/// Export the table of number ranges as CSV.
#[utoipa::path(get, path = "/v1/number-ranges", tag = "Carriers", operation_id = "exportNumberRanges",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>, _: Can<Operate>) -> Result<Response, Problem> {
    let rows = number_range::all(&app.db).await?;
    Ok(csv_table::answer("number-ranges", COLUMNS, rows.into_iter().map(|(p, operator)| (p, format!("{operator:05}")))))
}
