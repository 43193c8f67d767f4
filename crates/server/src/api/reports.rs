//! Saved reports: questions about usage with a name, run when asked for, and mailed on a schedule.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use carillon_domain::id::{AccountNo, ReportId, TypeId};
use carillon_domain::report::{Definition, Dimension, Every, Measure, Period, Schedule};
use carillon_store::report::{self, Report};
use carillon_store::user;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api_keys::ListQuery;
use super::auth::name;
use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, MessagesRead, Query, ReportsManage};
use super::page::{Paged, Window};
use super::usage::{UsageView, csv, problem, wants_csv};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;
use crate::reporting::{self, FILTERS_MAX, Question};

/// Reports of an account.
const REPORTS_MAX: i64 = 100;
/// People a report is mailed to.
const RECIPIENTS_MAX: usize = 10;

/// One condition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterBody {
    /// `country`, `connection`, `status`, `error` or `batch`.
    #[schema(example = "country")]
    by: String,
    /// As usage shows it; `none` where there is none.
    #[schema(example = "DE")]
    value: String,
}

/// When a report is mailed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// `day`, `week` or `month`.
    #[schema(example = "week")]
    every: String,
    /// The hour of the day in the report's time zone, 0 to 23.
    #[schema(example = 8)]
    hour: i8,
    /// Of `week`: 1 (Monday, if not given) to 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weekday: Option<i8>,
    /// Of `month`: 1 (if not given) to 28.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day: Option<i8>,
    /// Addresses of people of this account who have confirmed theirs, at most 10.
    #[schema(example = json!(["ada@example.com"]))]
    to: Vec<String>,
}

/// A report to be saved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    /// What you call it.
    #[schema(example = "Delivery by country")]
    name: String,
    /// Its columns: `accepted`, `ended`, `delivered`, `sent`, `undelivered`, `failed`, `expired`, `canceled`, `rejected`, `parts`, `cost`,
    /// `delivery_rate`, `p50_ms`, `p90_ms`, `p99_ms`.
    #[schema(example = json!(["accepted", "delivered", "delivery_rate"]))]
    measures: Vec<String>,
    /// Its rows: `day`, `country`, `connection`, `status`, `error`, `batch`; one row of all if not given.
    #[schema(example = json!(["day", "country"]))]
    #[serde(default)]
    group_by: Vec<String>,
    /// Conditions: of one kind any holds, of several all do.
    #[serde(default)]
    filters: Vec<FilterBody>,
    /// `today`, `yesterday`, `last_7_days`, `last_30_days`, `this_week`, `last_week`, `this_month`, `last_month`, `this_year` or `last_year`.
    #[schema(example = "last_7_days")]
    period: String,
    /// Whose today it is, and whose hour (IANA); UTC if not given. Days themselves are days of UTC.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// When it is mailed; never if not given.
    schedule: Option<ScheduleBody>,
}

/// A saved report.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportView {
    /// Its id.
    #[schema(value_type = String)]
    id: ReportId,
    /// What you call it.
    name: String,
    /// Its columns.
    measures: Vec<&'static str>,
    /// Its rows.
    group_by: Vec<&'static str>,
    /// Its conditions.
    filters: Vec<FilterBody>,
    /// Its days.
    period: &'static str,
    /// Whose today it is.
    time_zone: String,
    /// When it is mailed.
    schedule: Option<ScheduleBody>,
    /// When it is mailed next, RFC 3339.
    next_at: Option<String>,
    /// When it was mailed last, RFC 3339.
    sent_at: Option<String>,
    /// RFC 3339.
    created_at: String,
}

fn view(r: Report) -> ReportView {
    let Definition { measures, group_by, filters, period, time_zone, schedule } = r.definition;
    let schedule = schedule.map(|s| {
        let (every, weekday, day) = match s.every {
            Every::Day => ("day", None, None),
            Every::Week(weekday) => ("week", Some(weekday), None),
            Every::Month(day) => ("month", None, Some(day)),
        };
        ScheduleBody { every: every.to_owned(), hour: s.hour, weekday, day, to: s.to }
    });
    ReportView {
        id: r.id,
        name: r.name,
        measures: measures.into_iter().map(Measure::as_str).collect(),
        group_by: group_by.into_iter().map(Dimension::as_str).collect(),
        filters: filters.into_iter().map(|(by, value)| FilterBody { by: by.as_str().to_owned(), value }).collect(),
        period: period.as_str(),
        time_zone,
        schedule,
        next_at: r.next_at.map(rfc3339),
        sent_at: r.sent_at.map(rfc3339),
        created_at: rfc3339(r.created_at),
    }
}

/// Reads a list of names, each once.
fn named<T: PartialEq>(
    texts: &[String],
    pointer: &str,
    read: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Vec<T>, Problem> {
    let mut all = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let at = format!("{pointer}/{i}");
        let value = read(text).ok_or_else(|| Code::InvalidValue.at(at.clone(), format!("of {}", known.join(", "))))?;
        if all.contains(&value) {
            return Err(Code::DuplicateField.at(at, "it stands in the list before"));
        }
        all.push(value);
    }
    Ok(all)
}

fn filters(bodies: Vec<FilterBody>) -> Result<Vec<(Dimension, String)>, Problem> {
    if bodies.len() > FILTERS_MAX {
        return Err(Code::TooLong.at("#/filters", format!("at most {FILTERS_MAX}")));
    }
    let mut filters = Vec::with_capacity(bodies.len());
    for (i, body) in bodies.into_iter().enumerate() {
        let by = Dimension::from_name(&body.by).filter(|by| *by != Dimension::Day);
        let why = "of country, connection, status, error, batch";
        filters.push((by.ok_or_else(|| Code::InvalidValue.at(format!("#/filters/{i}/by"), why))?, body.value));
    }
    reporting::check(&filters)
        .map_err(|(place, why)| Code::InvalidValue.at(format!("#/filters/{place}/value"), why))?;
    Ok(filters)
}

async fn schedule(app: &App, caller: &Caller, body: ScheduleBody) -> Result<Schedule, Problem> {
    let at = |pointer: &str, why: &'static str| Code::InvalidValue.at(format!("#/schedule/{pointer}"), why);
    if !app.config.email.is_on() {
        return Err(at("", "this server sends no mail"));
    }
    let within = |value: Option<i8>, most: i8, pointer, why| {
        let value = value.unwrap_or(1);
        if (1..=most).contains(&value) { Ok(value) } else { Err(at(pointer, why)) }
    };
    let every = match body.every.as_str() {
        "day" if body.weekday.is_none() && body.day.is_none() => Every::Day,
        "week" if body.day.is_none() => Every::Week(within(body.weekday, 7, "weekday", "1 (Monday) to 7")?),
        "month" if body.weekday.is_none() => Every::Month(within(body.day, 28, "day", "1 to 28")?),
        "day" | "week" | "month" => return Err(at("every", "`weekday` is of week, `day` of month")),
        _ => return Err(at("every", "day, week or month")),
    };
    if !(0..=23).contains(&body.hour) {
        return Err(at("hour", "0 to 23"));
    }
    if body.to.is_empty() {
        return Err(at("to", "one to ten addresses"));
    }
    let to = people(app, caller.account, &body.to, "#/schedule/to").await?;
    Ok(Schedule { every, hour: body.hour, to })
}

/// Addresses that reports are mailed to: at most ten, each confirmed by somebody in the account.
pub(super) async fn people(
    app: &App,
    account: AccountNo,
    given: &[String],
    pointer: &str,
) -> Result<Vec<String>, Problem> {
    if given.len() > RECIPIENTS_MAX {
        return Err(Code::InvalidValue.at(pointer.to_owned(), "one to ten addresses"));
    }
    let to: Vec<String> = given.iter().map(|address| address.trim().to_lowercase()).collect();
    let confirmed = user::confirmed(&app.db, account, &to).await?;
    if let Some(place) = to.iter().position(|address| !confirmed.iter().any(|(theirs, _)| theirs == address)) {
        let why = "not the confirmed address of somebody in this account";
        return Err(Code::InvalidValue.at(format!("{pointer}/{place}"), why));
    }
    Ok(to)
}

/// The name and definition of a body, or what is wrong with it.
async fn read_body(app: &App, caller: &Caller, body: ReportBody) -> Result<(String, Definition), Problem> {
    let name = name(&body.name, "#/name")?;
    let known: Vec<_> = Measure::ALL.iter().map(|m| m.as_str()).collect();
    let measures = named(&body.measures, "#/measures", Measure::from_name, &known)?;
    if measures.is_empty() {
        return Err(Code::TooShort.at("#/measures", "at least one"));
    }
    let known: Vec<_> = Dimension::ALL.iter().map(|d| d.as_str()).collect();
    let group_by = named(&body.group_by, "#/group_by", Dimension::from_name, &known)?;
    let filters = filters(body.filters)?;
    let known = Period::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    let period = Period::from_name(&body.period);
    let period = period.ok_or_else(|| Code::InvalidValue.at("#/period", format!("of {known}")))?;
    let time_zone = body.time_zone.unwrap_or_else(|| "UTC".to_owned());
    if TimeZone::get(&time_zone).is_err() {
        return Err(Code::InvalidValue.at("#/time_zone", "a time zone such as Europe/Berlin"));
    }
    let schedule = match body.schedule {
        None => None,
        Some(body) => Some(schedule(app, caller, body).await?),
    };
    Ok((name, Definition { measures, group_by, filters, period, time_zone, schedule }))
}

/// Save a report.
///
/// An account has at most 100. With a schedule it is mailed, its table attached as CSV, to people of the account.
#[utoipa::path(post, path = "/v1/reports", tag = "Reports", operation_id = "createReport", request_body = ReportBody,
    responses((status = 201, body = ReportView), (status = 409, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ReportsManage>,
    Json(body): Json<ReportBody>,
) -> Result<(StatusCode, Json<ReportView>), Problem> {
    let (name, definition) = read_body(&app, &caller, body).await?;
    let now = app.clock.now_ms();
    let id = ReportId::new(now, app.ids.next(), caller.account);
    let next_at = definition.next_at(now);
    let new = Report { id, name, definition, next_at, sent_at: None, created_at: now };
    if !report::create(&app.db, &new, REPORTS_MAX).await? {
        return Err(Code::LimitReached.with(format!("an account has at most {REPORTS_MAX} reports")));
    }
    Ok((StatusCode::CREATED, Json(view(new))))
}

/// List saved reports, newest first.
#[utoipa::path(get, path = "/v1/reports", tag = "Reports", operation_id = "listReports", params(ListQuery),
    responses((status = 200, body = Paged<ReportView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<ReportView>>, Problem> {
    let (limit, cursor) = query.page();
    let window = Window::open(&app, caller.account, "reports", "", limit, cursor)?;
    let rows = report::list(&app.db, caller.account, window.after.map(ReportId::from_uuid), window.fetch()).await?;
    Ok(Json(window.page(rows, |r| r.id.0, view)))
}

/// Read a saved report.
#[utoipa::path(get, path = "/v1/reports/{id}", tag = "Reports", operation_id = "getReport", params(("id" = String, Path)),
    responses((status = 200, body = ReportView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Id(id): Id<ReportId>,
) -> Result<Json<ReportView>, Problem> {
    Ok(Json(view(report::by_id(&app.db, caller.account, id).await?)))
}

/// Replace a saved report.
#[utoipa::path(put, path = "/v1/reports/{id}", tag = "Reports", operation_id = "replaceReport", params(("id" = String, Path)),
    request_body = ReportBody, responses((status = 200, body = ReportView)))]
pub async fn replace(
    State(app): State<App>,
    caller: Can<ReportsManage>,
    Id(id): Id<ReportId>,
    super::sending::Raw(bytes): super::sending::Raw<false>,
) -> Result<Json<ReportView>, Problem> {
    report::by_id(&app.db, caller.account, id).await?;
    let (name, definition) = read_body(&app, &caller, super::extract::parse_json(&bytes)?).await?;
    let now = app.clock.now_ms();
    report::replace(&app.db, caller.account, id, &name, &definition, definition.next_at(now), now).await?;
    Ok(Json(view(report::by_id(&app.db, caller.account, id).await?)))
}

/// Delete a saved report.
#[utoipa::path(delete, path = "/v1/reports/{id}", tag = "Reports", operation_id = "deleteReport", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ReportsManage>,
    Id(id): Id<ReportId>,
) -> Result<StatusCode, Problem> {
    report::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// As what a report is answered.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    /// `json` or `csv`; CSV also with `Accept: text/csv`.
    format: Option<String>,
}

/// Run a saved report.
#[utoipa::path(get, path = "/v1/reports/{id}/run", tag = "Reports", operation_id = "runReport", params(("id" = String, Path), RunQuery),
    responses((status = 200, content((UsageView = "application/json"), (String = "text/csv")))))]
pub async fn run(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Id(id): Id<ReportId>,
    headers: HeaderMap,
    Query(query): Query<RunQuery>,
) -> Result<Response, Problem> {
    let as_csv = wants_csv(query.format.as_deref(), &headers)?;
    let report = report::by_id(&app.db, caller.account, id).await?;
    let question = Question::of(&report.definition, app.clock.now_ms());
    let table = reporting::run(&app.db, caller.account, &question).await.map_err(problem)?;
    match as_csv {
        true => Ok(csv("report", question.days, &table)),
        false => Ok(Json(UsageView::of(question.days, &table)).into_response()),
    }
}
