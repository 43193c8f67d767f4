//! Whole suppression lists: taken in from JSON or CSV with a report of the rows that are wrong, and given out as CSV.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use carillon_domain::account::Settings;
use carillon_domain::id::AccountNo;
use carillon_domain::message::Category;
use carillon_domain::suppression::Source;
use carillon_store::suppression::{self, Filter, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::csv_table::{is_csv, plain, streamed};
use super::error::{Code, Problem};
use super::extract::{Can, Json, Operate, SuppressionsManage, body_of, check_content_type, parse_json};
use super::messages::phone;
use super::suppressions::{List, NewEntry, Wrong};
use crate::app::App;
use crate::clock::rfc3339;

/// Rows of one import.
const ROWS_MAX: usize = 100_000;
/// Rows of one transaction: others write between.
const CHUNK: usize = 500;
/// Wrong rows that are told one by one; all are counted.
const REPORTED_MAX: usize = 1_000;
/// Rows of an export read at a time.
const EXPORT_PAGE: u32 = 1_000;

/// A list to be imported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    /// At most 100,000.
    entries: Vec<NewEntry>,
}

/// What became of a list.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ImportReport {
    /// Entries made.
    added: usize,
    /// Entries that said the same already.
    existing: usize,
    /// Rows that are wrong; the others were taken.
    refused: usize,
    /// The first 1,000 of those.
    errors: Vec<RowError>,
}

/// A row that was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowError {
    /// From 1; of a CSV without counting its heading.
    row: usize,
    /// Which field.
    field: &'static str,
    /// A code of `/docs/problems`.
    #[schema(example = "phone_too_short")]
    code: &'static str,
    detail: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

impl ImportReport {
    fn refuse(&mut self, row: usize, wrong: Vec<Wrong>) {
        self.refused += 1;
        if let Some(w) = wrong.into_iter().next().filter(|_| self.errors.len() < REPORTED_MAX) {
            let Wrong { field, code, detail, suggestion } = w;
            self.errors.push(RowError { row, field, code, detail, suggestion });
        }
    }
}

/// A list as JSON or CSV, by its content type.
#[derive(Debug)]
pub struct Rows(Vec<NewEntry>);

impl FromRequest<App> for Rows {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let csv = is_csv(request.headers());
        if !csv {
            check_content_type(request.headers())?;
        }
        let bytes = body_of(request, app, app.config.server.batch_body_max).await?;
        let rows = if csv { read_csv(&bytes)? } else { parse_json::<ImportBody>(&bytes)?.entries };
        let pointer = if csv { "#" } else { "#/entries" };
        match rows.len() {
            0 => Err(Code::TooShort.at(pointer, "there is no row")),
            n if n > ROWS_MAX => Err(Code::TooLong.at(pointer, "at most 100,000 rows in one request")),
            _ => Ok(Rows(rows)),
        }
    }
}

/// A row of a CSV; its columns were checked by their names.
#[derive(Deserialize)]
struct CsvRow {
    phone: String,
    reason: Option<String>,
    sender: Option<String>,
    category: Option<String>,
    text: Option<String>,
}

impl From<CsvRow> for NewEntry {
    fn from(CsvRow { phone, reason, sender, category, text }: CsvRow) -> NewEntry {
        NewEntry { phone, reason, sender, category, text }
    }
}

/// What an export holds; of the last three an import makes nothing.
const COLUMNS: [&str; 8] = ["phone", "reason", "sender", "category", "text", "scope", "source", "created_at"];

fn read_csv(bytes: &[u8]) -> Result<Vec<NewEntry>, Problem> {
    let malformed = |e: csv::Error| Code::MalformedCsv.with(e.to_string());
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let headers = reader.headers().map_err(malformed)?.clone();
    for name in &headers {
        if !COLUMNS.contains(&name) {
            let shown: String = name.chars().take(40).collect();
            let known = "phone, reason, sender, category and text are known";
            return Err(Code::UnknownField.at("#", format!("the column `{shown}`: {known}")));
        }
    }
    if !headers.iter().any(|name| name == "phone") {
        return Err(Code::MissingField.at("#", "the first line names the columns; `phone` must be one"));
    }
    // One more than is taken shows that it is too long.
    let rows = reader.deserialize::<CsvRow>().take(ROWS_MAX + 1);
    rows.map(|row| row.map(NewEntry::from)).collect::<Result<_, _>>().map_err(malformed)
}

async fn take(app: &App, list: List<'_>, rows: &[NewEntry]) -> Result<Json<ImportReport>, Problem> {
    let mut report = ImportReport::default();
    for (chunk, first) in rows.chunks(CHUNK).zip((1..).step_by(CHUNK)) {
        let mut entries = Vec::with_capacity(chunk.len());
        for (row, entry) in (first..).zip(chunk) {
            match list.judge(app, entry) {
                Ok(entry) => entries.push(entry),
                Err(wrong) => report.refuse(row, wrong),
            }
        }
        let added = app.pipeline.suppressed().open(&app.db, list.account, &entries, app.clock.now_ms(), None).await?;
        let fresh = added.iter().filter(|(_, fresh)| *fresh).count();
        report.added += fresh;
        report.existing += added.len() - fresh;
    }
    Ok(Json(report))
}

/// Import a list.
///
/// JSON, or CSV (`text/csv`) whose first line names the columns `phone`, `reason`, `sender`, `category`, `text`; only `phone` is
/// needed. Good rows are taken, wrong ones reported. Sending it again changes nothing.
#[utoipa::path(post, path = "/v1/suppressions/import", tag = "Suppressions", operation_id = "importSuppressions",
    request_body(content((ImportBody = "application/json", example = json!({"entries": [{"phone": "+4915112345678", "reason": "opt_out"}]})), (String = "text/csv"))),
    responses((status = 200, body = ImportReport)))]
pub async fn import(
    State(app): State<App>,
    caller: Can<SuppressionsManage>,
    Rows(rows): Rows,
) -> Result<Json<ImportReport>, Problem> {
    let list = List { account: caller.account, settings: &caller.info.settings, source: Source::Import };
    take(&app, list, &rows).await
}

/// Import a list for the platform.
#[utoipa::path(post, path = "/v1/admin/suppressions/import", tag = "Platform", operation_id = "importPlatformSuppressions",
    request_body(content((ImportBody = "application/json", example = json!({"entries": [{"phone": "+4915112345678", "reason": "dnd"}]})), (String = "text/csv"))),
    responses((status = 200, body = ImportReport)))]
pub async fn platform_import(
    State(app): State<App>,
    caller: Can<Operate>,
    Rows(rows): Rows,
) -> Result<Json<ImportReport>, Problem> {
    let settings: &Settings = &caller.info.settings;
    take(&app, List { account: AccountNo::PLATFORM, settings, source: Source::Import }, &rows).await
}

/// Export the list.
///
/// All entries that hold, as CSV, newest first; what `POST /v1/suppressions/import` takes, and three columns more.
#[utoipa::path(get, path = "/v1/suppressions/export", tag = "Suppressions", operation_id = "exportSuppressions",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>, caller: Can<SuppressionsManage>) -> Response {
    give(&app, caller.account)
}

/// Export the platform's list.
#[utoipa::path(get, path = "/v1/admin/suppressions/export", tag = "Platform", operation_id = "exportPlatformSuppressions",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn platform_export(State(app): State<App>, _: Can<Operate>) -> Response {
    give(&app, AccountNo::PLATFORM)
}

fn give(app: &App, account: AccountNo) -> Response {
    let db = app.db.clone();
    streamed("suppressions", COLUMNS.map(str::to_owned).to_vec(), move |before| {
        let db = db.clone();
        async move {
            let page = suppression::list(&db, account, Filter::default(), before, EXPORT_PAGE).await?;
            Ok((page.iter().map(|s| record(s, account)).collect(), page.last().map(|s| s.id)))
        }
    })
}

fn record(s: &Suppression, account: AccountNo) -> [String; 8] {
    [
        s.phone.map(|digits| phone(digits).to_string()).unwrap_or_default(),
        s.reason.as_str().into(),
        s.scope.sender.clone().unwrap_or_default(),
        s.scope.category.map(Category::as_str).unwrap_or_default().into(),
        plain(s.text.as_deref().unwrap_or_default()),
        s.scope.as_str(account == AccountNo::PLATFORM).into(),
        s.source.as_str().into(),
        rfc3339(s.id.millis()),
    ]
}
