//! Tables of people: uploaded as CSV, looked at, and taken in as contacts, with a report of each row that is wrong.

mod plan;
mod preview;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use carillon_domain::contact_import::Plan;
use carillon_domain::id::{ContactImportId, TypeId};
use carillon_store::contact_import::{self as store, Import};
use serde::Serialize;
use utoipa::ToSchema;

use super::csv_table::{is_csv, plain, streamed};
use super::error::{Code, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::imports::{self, ImportError};

pub use plan::{__path_start, ConsentBody, StartBody, start};
pub use preview::{__path_preview, ColumnView, PreviewView, RowView, preview};

/// Mistakes read at a time.
const PAGE: u32 = 1_000;

/// An import.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImport)]
pub struct ImportView {
    #[schema(value_type = String, example = "imp_01h455vb4pex5vsknk084sn02q")]
    id: ContactImportId,
    /// `uploaded`, `running`, `finished`, `canceled` or `failed` (`failure` says why). What was taken stays.
    #[schema(example = "running")]
    status: &'static str,
    file: FileView,
    /// What became of the rows so far.
    rows: RowsView,
    /// How much of the file was read, 0 to 100.
    #[schema(example = 42)]
    percent: u8,
    /// How it is taken, as it was started; null before.
    #[schema(value_type = Option<Object>)]
    plan: Option<serde_json::Value>,
    failure: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    started_at: Option<String>,
    /// RFC 3339.
    ended_at: Option<String>,
}

/// What the file was found to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImportFile)]
pub struct FileView {
    /// Octets.
    #[schema(example = 61004211)]
    size: i64,
    /// `utf-8`, `utf-16le`, `utf-16be` or `windows-1252`.
    #[schema(example = "utf-8")]
    charset: &'static str,
    /// What stands between two cells: a comma, a semicolon, a tabulator or |.
    #[schema(example = ";")]
    delimiter: String,
}

/// What became of rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImportRows)]
pub struct RowsView {
    read: i64,
    /// Contacts made.
    created: i64,
    /// Contacts changed.
    updated: i64,
    /// Contacts that were there and stayed as they are.
    unchanged: i64,
    /// Rows whose number stands in a row before, which counts.
    duplicates: i64,
    /// Rows that are wrong: `GET …/errors` lists them, and the duplicates.
    bad: i64,
}

fn view(i: Import) -> ImportView {
    let plan = i.plan.as_deref().and_then(|plan| serde_json::from_str::<Plan>(plan).ok());
    ImportView {
        id: i.id,
        status: i.status.as_str(),
        file: FileView { size: i.octets, charset: i.charset.as_str(), delimiter: char::from(i.delimiter).to_string() },
        rows: RowsView {
            read: i.counts.read,
            created: i.counts.created,
            updated: i.counts.updated,
            unchanged: i.counts.kept,
            duplicates: i.counts.repeated,
            bad: i.counts.bad,
        },
        percent: (i.read_to.min(i.octets) * 100).checked_div(i.octets).map_or(0, |percent| percent as u8),
        plan: plan.map(|plan| plan::shown(&plan)),
        failure: i.failure,
        created_at: rfc3339(i.id.millis()),
        started_at: i.started_at.map(rfc3339),
        ended_at: i.ended_at.map(rfc3339),
    }
}

impl From<ImportError> for Problem {
    fn from(e: ImportError) -> Problem {
        match e {
            ImportError::TooLarge(_) => Code::PayloadTooLarge.with(e.to_string()),
            ImportError::CutOff => Code::RequestTimeout.with(e.to_string()),
            ImportError::Unreadable(imports::Unreadable::Io(_)) | ImportError::Disk(_) => {
                tracing::error!(error = %e, "the folder of imports cannot be used: {e}");
                Code::StoreUnavailable.into()
            }
            ImportError::Unreadable(e) => Code::MalformedCsv.with(e.to_string()),
            ImportError::TooMany => Code::LimitReached.with("an account has at most 20 imports that have not ended"),
            ImportError::Store(e) => e.into(),
        }
    }
}

/// A body of `text/csv`, not read yet.
#[derive(Debug)]
pub struct CsvFile(Body);

impl FromRequest<App> for CsvFile {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        if !is_csv(request.headers()) {
            return Err(Code::UnsupportedMediaType.with("send the file as the body, with `Content-Type: text/csv`"));
        }
        Ok(CsvFile(request.into_body()))
    }
}

/// Upload a table of contacts.
///
/// The body is the CSV file itself; its first line names the columns. Encoding and delimiter are found out. Nothing is taken in before `start`.
#[utoipa::path(post, path = "/v1/contact-imports", tag = "Contacts", operation_id = "uploadContactImport",
    request_body(content = String, content_type = "text/csv", example = "phone,name\n+4915112345678,Ada Lovelace\n"),
    responses((status = 201, body = ImportView), (status = 413, body = super::error::ProblemBody)))]
pub async fn upload(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    CsvFile(body): CsvFile,
) -> Result<(StatusCode, Json<ImportView>), Problem> {
    let import = imports::keep(&app, caller.account, body).await?;
    Ok((StatusCode::CREATED, Json(view(import))))
}

/// List imports, newest first.
#[utoipa::path(get, path = "/v1/contact-imports", tag = "Contacts", operation_id = "listContactImports", params(ListQuery),
    responses((status = 200, body = Paged<ImportView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<ImportView>>, Problem> {
    let window = Window::open(&app, caller.account, "contact-imports", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(ContactImportId::from_uuid);
    let rows = store::list(&app.db, caller.account, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |i| i.id.0, view)))
}

/// Read how far an import has come.
#[utoipa::path(get, path = "/v1/contact-imports/{id}", tag = "Contacts", operation_id = "getContactImport", params(("id" = String, Path)),
    responses((status = 200, body = ImportView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<ContactImportId>,
) -> Result<Json<ImportView>, Problem> {
    Ok(Json(view(store::by_id(&app.db, caller.account, id).await?)))
}

/// End an import.
///
/// What was taken in stays. 409 if it has ended.
#[utoipa::path(post, path = "/v1/contact-imports/{id}/cancel", tag = "Contacts", operation_id = "cancelContactImport",
    params(("id" = String, Path)), responses((status = 200, body = ImportView), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<ContactImportId>,
) -> Result<Json<ImportView>, Problem> {
    if !store::cancel(&app.db, caller.account, id, app.clock.now_ms()).await? {
        return Err(Code::ImportNotWaiting.into());
    }
    Ok(Json(view(store::by_id(&app.db, caller.account, id).await?)))
}

/// Download what is wrong with the rows.
///
/// As CSV, in the order of the file: line, column, what stands there, why it is not taken, and what was probably meant.
#[utoipa::path(get, path = "/v1/contact-imports/{id}/errors", tag = "Contacts", operation_id = "downloadContactImportErrors",
    params(("id" = String, Path)), responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn errors(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<ContactImportId>,
) -> Result<Response, Problem> {
    let account = caller.account;
    store::by_id(&app.db, account, id).await?;
    let columns = ["line", "column", "value", "code", "reason", "suggestion"].map(str::to_owned).to_vec();
    Ok(streamed("errors", columns, move |after| {
        let app = app.clone();
        async move {
            let page = store::errors(&app.db, account, id, after.unwrap_or((0, -1)), PAGE).await?;
            let next = page.last().map(|e| (e.row, e.place));
            let record = |e: store::BadCell| {
                let suggestion = e.suggestion.unwrap_or_default();
                [e.line.to_string(), plain(&e.heading), plain(&e.value), e.code, e.detail, suggestion]
            };
            Ok((page.into_iter().map(record).collect(), next))
        }
    }))
}
