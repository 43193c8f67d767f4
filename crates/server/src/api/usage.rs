//! Usage: messages, parts and money of any days, in any groups, as JSON or CSV; and the overview that charts are drawn from.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, BatchId};
use carillon_domain::report::{Dimension, Measure, Value, day_date, day_number};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Asker, Can, Id, Json, MessagesRead, Query};
use crate::app::App;
use crate::reporting::{self, FILTERS_MAX, Question, ReportError, Table};

/// Days of one question.
const DAYS_MAX: i32 = 400;
/// Days, the last of them today, if none are named.
const DAYS_DEFAULT: i32 = 30;
/// All that a calendar has since 1970.
pub(super) const ALL_DAYS: (i32, i32) = (0, 2_932_896);
/// Countries of an overview.
const COUNTRIES_MAX: usize = 10;

/// What usage is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// First day of acceptance (UTC), such as `2026-11-01`; 30 days until `to` if not given.
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// Last day; today if not given. At most 400 days.
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// Of `day`, `country`, `connection`, `status`, `error` and `batch`, with commas between them; all in one row if not given.
    #[param(example = "day,country")]
    group_by: Option<String>,
    /// Columns, with commas between them; all if not given.
    #[param(example = "accepted,delivered,delivery_rate")]
    measures: Option<String>,
    /// Only to these countries, with commas between them; `none` for numbers of no country.
    #[param(example = "DE,AT")]
    country: Option<String>,
    /// Only over these connections.
    connection: Option<String>,
    /// Only those that came to these ends.
    #[param(example = "undelivered,failed")]
    status: Option<String>,
    /// Only those that failed for these reasons.
    #[param(example = "absent_subscriber")]
    error: Option<String>,
    /// Only of these batches.
    batch: Option<String>,
    /// `json` or `csv`; CSV also with `Accept: text/csv`.
    format: Option<String>,
}

/// A table of usage.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageView {
    /// First day.
    #[schema(example = "2026-11-01")]
    from: String,
    /// Last day.
    #[schema(example = "2026-11-30")]
    to: String,
    /// One row for each group, in their order: its names, then its measures. Counts are numbers, money a decimal string, the rate a percentage, times
    /// milliseconds; what there is nothing of is null.
    #[schema(value_type = Vec<Object>, example = json!([{ "day": "2026-11-21", "country": "DE", "accepted": 120, "delivered": 117, "cost": "6.00", "delivery_rate": 97.5 }]))]
    data: Vec<serde_json::Map<String, serde_json::Value>>,
    /// The measures of all rows together.
    #[schema(value_type = Object, example = json!({ "accepted": 120, "delivered": 117, "cost": "6.00", "delivery_rate": 97.5 }))]
    totals: serde_json::Map<String, serde_json::Value>,
}

impl UsageView {
    pub(super) fn of(days: (i32, i32), table: &Table) -> UsageView {
        let measures = |values: &[Value]| {
            let names = &table.columns[table.columns.len() - values.len()..];
            names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json(value))).collect::<Vec<_>>()
        };
        let row = |(key, values): &(Vec<String>, Vec<Value>)| {
            let names = table.columns.iter().zip(key);
            let names = names.map(|(name, text)| ((*name).to_owned(), text.as_str().into()));
            names.chain(measures(values)).collect()
        };
        UsageView {
            from: day_date(days.0).to_string(),
            to: day_date(days.1).to_string(),
            data: table.rows.iter().map(row).collect(),
            totals: measures(&table.totals).into_iter().collect(),
        }
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::None => serde_json::Value::Null,
        Value::Count(n) => (*n).into(),
        Value::Amount(money) => money.to_string().into(),
        Value::Permille(n) => (*n as f64 / 10.0).into(),
    }
}

fn refused(parameter: &str, why: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::from(Code::InvalidQuery).and(Code::InvalidValue, format!("?{parameter}"), why)
}

/// A report that cannot be run, told of a query.
pub(super) fn problem(error: ReportError) -> Problem {
    match error {
        ReportError::Store(error) => error.into(),
        ReportError::TooLarge | ReportError::Filter(..) => Code::ReportTooLarge.with(error.to_string()),
    }
}

/// Whether the answer is to be CSV.
pub(super) fn wants_csv(format: Option<&str>, headers: &HeaderMap) -> Result<bool, Problem> {
    match format {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(_) => Err(refused("format", "json or csv")),
        None => Ok(headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/csv"))),
    }
}

/// A table to be saved as a file.
pub(super) fn csv(name: &str, days: (i32, i32), table: &Table) -> Response {
    let name = format!("attachment; filename=\"{name}-{}-{}.csv\"", day_date(days.0), day_date(days.1));
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, table.csv()).into_response()
}

/// Two days of a query as numbers.
fn days(from: Option<&str>, to: Option<&str>, now_ms: i64) -> Result<(i32, i32), Problem> {
    let read = |name, text: &str| -> Result<i32, Problem> {
        let date: Date = text.parse().map_err(|_| refused(name, "a date such as 2026-11-01"))?;
        Ok(day_number(date))
    };
    let to = to.map_or(Ok((now_ms / 86_400_000) as i32), |text| read("to", text))?;
    let from = from.map_or(Ok(to - DAYS_DEFAULT + 1), |text| read("from", text))?;
    if from > to {
        return Err(refused("from", "the first day is behind the last"));
    }
    if to - from >= DAYS_MAX {
        return Err(refused("from", format!("at most {DAYS_MAX} days")));
    }
    Ok((from, to))
}

/// Words of a list with commas; each once.
fn words<T: PartialEq>(
    name: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Vec<T>, Problem> {
    let mut all = Vec::new();
    for word in text.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let value = read(word).ok_or_else(|| refused(name, format!("of {}", known.join(", "))))?;
        if all.contains(&value) {
            return Err(refused(name, format!("`{word}` stands in it twice")));
        }
        all.push(value);
    }
    Ok(all)
}

/// Read usage.
///
/// Counts are exact, and at most a few seconds old. A message counts on the day it was accepted, and once it has ended, as what it came to.
/// `accepted` is null where rows or conditions are of what has ended (`connection`, `status`, `error`).
#[utoipa::path(get, path = "/v1/usage", tag = "Reports", operation_id = "getUsage", params(UsageQuery),
    responses((status = 200, content((UsageView = "application/json"), (String = "text/csv")))))]
pub async fn read(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    headers: HeaderMap,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    let as_csv = wants_csv(query.format.as_deref(), &headers)?;
    let days = days(query.from.as_deref(), query.to.as_deref(), app.clock.now_ms())?;
    let names: Vec<_> = Dimension::ALL.iter().map(|d| d.as_str()).collect();
    let group_by = words("group_by", query.group_by.as_deref(), Dimension::from_name, &names)?;
    let names: Vec<_> = Measure::ALL.iter().map(|m| m.as_str()).collect();
    let mut measures = words("measures", query.measures.as_deref(), Measure::from_name, &names)?;
    if measures.is_empty() {
        measures = Measure::ALL.to_vec();
    }
    let mut filters = Vec::new();
    for (dimension, list) in [
        (Dimension::Country, &query.country),
        (Dimension::Connection, &query.connection),
        (Dimension::Status, &query.status),
        (Dimension::Error, &query.error),
        (Dimension::Batch, &query.batch),
    ] {
        let values = list.as_deref().unwrap_or("").split(',').map(str::trim).filter(|value| !value.is_empty());
        filters.extend(values.map(|value| (dimension, value.to_owned())));
        if filters.len() > FILTERS_MAX {
            return Err(refused(dimension.as_str(), format!("at most {FILTERS_MAX} values in all")));
        }
    }
    reporting::check(&filters).map_err(|(place, why)| refused(filters[place].0.as_str(), why))?;
    let question = Question { days, group_by: &group_by, measures: &measures, filters: &filters };
    let table = reporting::run(&app.db, caller.account, &question).await.map_err(problem)?;
    match as_csv {
        true => Ok(csv("usage", days, &table)),
        false => Ok(Json(UsageView::of(days, &table)).into_response()),
    }
}

/// Which days an overview is of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// First day of acceptance (UTC); 30 days until `to` if not given.
    from: Option<String>,
    /// Last day; today if not given. At most 400 days.
    to: Option<String>,
    /// Whose hours the heat map shows (IANA); UTC if not given.
    #[param(example = "Europe/Berlin")]
    time_zone: Option<String>,
}

/// A step of the way, and how many messages came so far.
#[derive(Debug, Serialize, ToSchema)]
pub struct Step {
    /// `accepted`, `handed_over` (a carrier took it) or `delivered`.
    step: &'static str,
    /// How many.
    messages: i64,
}

/// An hour of the week.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeatCell {
    /// 1 (Monday) to 7.
    weekday: i8,
    /// 0 to 23.
    hour: i8,
    /// Messages accepted in it.
    accepted: i64,
    /// Of these, how many were delivered.
    delivered: i64,
}

/// A reason why messages failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reason {
    /// Its code in the catalogue of errors.
    #[schema(example = "absent_subscriber")]
    error: &'static str,
    /// A few words.
    title: &'static str,
    /// What you can do.
    action: &'static str,
    /// How many.
    messages: i64,
}

/// What became of messages, for charts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// All measures of all of them.
    #[schema(value_type = Object, example = json!({ "accepted": 120, "delivered": 117, "delivery_rate": 97.5, "p50_ms": 1900 }))]
    totals: serde_json::Map<String, serde_json::Value>,
    /// From acceptance to delivery.
    funnel: Vec<Step>,
    /// Day by day: `accepted`, `delivered`, `cost`.
    #[schema(value_type = Vec<Object>, example = json!([{ "day": "2026-11-21", "accepted": 120, "delivered": 117, "cost": "6.00" }]))]
    days: Vec<serde_json::Map<String, serde_json::Value>>,
    /// The ten countries with most messages: `accepted`, `delivered`, `delivery_rate`, `cost`.
    #[schema(value_type = Vec<Object>, example = json!([{ "country": "DE", "accepted": 120, "delivered": 117, "delivery_rate": 97.5, "cost": "6.00" }]))]
    countries: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Why messages failed, most frequent first, and what to do about it.
    errors: Vec<Reason>,
}

/// What became of the messages of some days.
#[derive(Debug, Serialize, ToSchema)]
pub struct SummaryView {
    /// First day.
    from: String,
    /// Last day.
    to: String,
    /// Sums and charts.
    #[serde(flatten)]
    overview: Overview,
    /// By hour of the week of acceptance; hours without messages are left out.
    heat_map: Vec<HeatCell>,
}

/// What became of messages of an account: all of some days, or those of these batches alone, as of a campaign.
pub(super) async fn overview(
    app: &App,
    account: AccountNo,
    days: (i32, i32),
    batches: &[BatchId],
) -> Result<Overview, Problem> {
    let filters: Vec<_> = batches.iter().map(|id| (Dimension::Batch, id.to_string())).collect();
    let ask = async |group_by: &[Dimension], measures: &[Measure]| {
        let question = Question { days, group_by, measures, filters: &filters };
        reporting::run(&app.db, account, &question).await.map_err(problem)
    };
    let count = |value: &Value| if let Value::Count(n) = value { *n } else { 0 };
    let view = |table: &Table| UsageView::of(days, table).data;

    let all = ask(&[], Measure::ALL).await?;
    let of = |measure| count(&all.totals[Measure::ALL.iter().position(|m| *m == measure).expect("it is one of all")]);
    let handed_over = of(Measure::Delivered) + of(Measure::Sent) + of(Measure::Undelivered);
    let funnel =
        [("accepted", of(Measure::Accepted)), ("handed_over", handed_over), ("delivered", of(Measure::Delivered))];
    let by_day = ask(&[Dimension::Day], &[Measure::Accepted, Measure::Delivered, Measure::Cost]).await?;
    let measures = [Measure::Accepted, Measure::Delivered, Measure::DeliveryRate, Measure::Cost];
    let mut by_country = ask(&[Dimension::Country], &measures).await?;
    by_country.rows.sort_by_key(|(_, values)| -count(&values[0]));
    by_country.rows.truncate(COUNTRIES_MAX);
    let mut by_error = ask(&[Dimension::Error], &[Measure::Ended]).await?;
    by_error.rows.sort_by_key(|(_, values)| -count(&values[0]));
    let reason = |(key, values): &(Vec<String>, Vec<Value>)| {
        let entry = key[0].parse::<ErrorCode>().ok()?.entry();
        Some(Reason { error: entry.name, title: entry.title, action: entry.action, messages: count(&values[0]) })
    };
    Ok(Overview {
        totals: UsageView::of(days, &all).totals,
        funnel: funnel.map(|(step, messages)| Step { step, messages }).into(),
        days: view(&by_day),
        countries: view(&by_country),
        errors: by_error.rows.iter().filter_map(reason).collect(),
    })
}

/// Read an overview.
///
/// What charts of some days are drawn from: the funnel, days, countries, reasons of failure, and a heat map of the week.
#[utoipa::path(get, path = "/v1/reports/summary", tag = "Reports", operation_id = "getSummary", params(SummaryQuery),
    responses((status = 200, body = SummaryView)))]
pub async fn summary(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<SummaryQuery>,
) -> Result<Json<SummaryView>, Problem> {
    let days = days(query.from.as_deref(), query.to.as_deref(), app.clock.now_ms())?;
    let zone = match &query.time_zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|_| refused("time_zone", "a time zone such as Europe/Berlin"))?,
    };
    let overview = overview(&app, caller.account, days, &[]).await?;
    let heat_map = heat_map(&app, caller.account, days, &zone).await?;
    let (from, to) = (day_date(days.0).to_string(), day_date(days.1).to_string());
    Ok(Json(SummaryView { from, to, overview, heat_map }))
}

async fn heat_map(app: &App, account: AccountNo, days: (i32, i32), zone: &TimeZone) -> Result<Vec<HeatCell>, Problem> {
    let hours = carillon_store::usage::hours(&app.db, account, days.0 * 24, days.1 * 24 + 23).await?;
    let mut cells = std::collections::BTreeMap::<(i8, i8), (i64, i64)>::new();
    for counted in hours {
        let at = jiff::Timestamp::from_second(i64::from(counted.hour) * 3600).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let at = at.to_zoned(zone.clone());
        let cell = cells.entry((at.weekday().to_monday_one_offset(), at.hour())).or_default();
        cell.0 += counted.accepted;
        cell.1 += counted.delivered;
    }
    let cell = |((weekday, hour), (accepted, delivered))| HeatCell { weekday, hour, accepted, delivered };
    Ok(cells.into_iter().map(cell).collect())
}

/// Read a batch's report.
///
/// What became of its messages: the funnel, delivery times, countries, and why some failed.
#[utoipa::path(get, path = "/v1/batches/{id}/report", tag = "Reports", operation_id = "getBatchReport", params(("id" = String, Path)),
    responses((status = 200, body = Overview)))]
pub async fn of_batch(
    State(app): State<App>,
    asker: Asker<MessagesRead>,
    Id(id): Id<BatchId>,
) -> Result<Json<Overview>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    carillon_store::batch::by_id(&app.db, caller.account, id).await?;
    overview(&app, caller.account, ALL_DAYS, &[id]).await.map(Json)
}
