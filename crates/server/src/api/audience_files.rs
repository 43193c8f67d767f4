//! Uploaded files of people to write to: CSV with a column of numbers; every other column is a word for the text, by its name.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use carillon_domain::account::Settings;
use carillon_domain::campaign::Words;
use carillon_domain::contact::line;
use carillon_domain::id::{AudienceFileId, TypeId};
use carillon_domain::template::NAME_MAX;
use carillon_store::audience_file::{self as store, AudienceFile, FileRow};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::campaign_audience::WORD_MAX;
use super::csv_table::Csv;
use super::error::{Code, Problem};
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::campaigns::{self, audience};
use crate::clock::rfc3339;

/// Rows of a file, its columns, and files of an account.
const ROWS_MAX: u32 = 1_000_000;
const COLUMNS_MAX: usize = 51;
const FILES_MAX: u32 = 200;
/// Bad rows that are shown.
const SHOWN: u32 = 100;
/// Length of its name, characters.
const FILE_NAME_MAX: usize = 200;

/// How to read an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// What to call it; at most 200 characters.
    name: Option<String>,
    /// The column of the numbers, by its name in the first line; `phone` if not given.
    phone: Option<String>,
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AudienceFile)]
pub struct FileView {
    #[schema(value_type = String, example = "aud_01h455vb4pex5vsknk084sn02q")]
    id: AudienceFileId,
    #[schema(example = "guests.csv")]
    name: String,
    /// What a text can name, by the first line of the file: small letters, digits and `_`.
    #[schema(example = json!(["first_name", "table"]))]
    variables: Vec<String>,
    /// Rows in it, bad ones too.
    rows: u32,
    /// Rows whose number cannot be one; a campaign leaves them out.
    bad: u32,
    /// The first hundred of them; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<Vec<BadRow>>,
    /// RFC 3339.
    created_at: String,
}

/// A row that cannot be written to.
#[derive(Debug, Serialize, ToSchema)]
pub struct BadRow {
    /// In the file, from 1.
    line: u32,
    /// What stands there.
    phone: String,
    /// Why it is no number: a code of `/docs/problems`.
    #[schema(example = "phone_too_short")]
    code: String,
}

fn view(f: AudienceFile, bad_rows: Option<Vec<BadRow>>) -> FileView {
    let created_at = rfc3339(f.created_at);
    FileView { id: f.id, name: f.name, variables: f.columns, rows: f.rows, bad: f.bad, bad_rows, created_at }
}

async fn whole(app: &App, f: AudienceFile) -> Result<FileView, Problem> {
    let bad = match f.bad {
        0 => Vec::new(),
        _ => store::rows(&app.db, f.id.account(), f.id, true, 0, SHOWN).await?,
    };
    let row = |r: FileRow| r.to.err().map(|(given, code)| BadRow { line: r.line, phone: given.to_string(), code });
    Ok(view(f, Some(bad.into_iter().filter_map(row).collect())))
}

/// Upload people to write to.
///
/// CSV in UTF-8, its first line naming the columns, commas or semicolons between them; at most 16 MiB and 1,000,000 rows. Rows whose number cannot be
/// one are told by line, and left out by campaigns. Files are kept for 90 days.
#[utoipa::path(post, path = "/v1/audience-files", tag = "Campaigns", operation_id = "uploadAudienceFile", params(UploadQuery),
    request_body(content = String, content_type = "text/csv", example = "phone,first_name\n+4915112345678,Ada\n"),
    responses((status = 201, body = FileView), (status = 400, body = super::error::ProblemBody), (status = 413, body = super::error::ProblemBody)))]
pub async fn upload(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Query(query): Query<UploadQuery>,
    Csv(body): Csv,
) -> Result<(StatusCode, Json<FileView>), Problem> {
    let name = query.name.unwrap_or_else(|| "audience".into());
    if let Err(why) = line(&name, FILE_NAME_MAX) {
        return Err(Problem::from(Code::InvalidQuery).and(super::contacts::code(why), "?name", why.to_string()));
    }
    let header = Header::read(&body, query.phone.as_deref().unwrap_or("phone"))?;
    if store::list(&app.db, caller.account, None, FILES_MAX).await?.len() >= FILES_MAX as usize {
        return Err(Code::LimitReached.with("at most 200 files: delete those that are not needed"));
    }
    let now = app.clock.now_ms();
    let file = AudienceFile {
        id: AudienceFileId::new(now, app.ids.next(), caller.account),
        name,
        columns: header.variables().map(str::to_owned).collect(),
        rows: 0,
        bad: 0,
        created_at: now,
    };
    let settings = caller.info.settings.clone();
    // Whoever hangs up must not leave half a file.
    let kept = tokio::spawn(keep(app.clone(), file, header, settings, body));
    let file = kept.await.map_err(|_| Code::Internal)??;
    Ok((StatusCode::CREATED, Json(whole(&app, file).await?)))
}

/// Writes the rows while they are read; what cannot be read to its end is not kept.
async fn keep(
    app: App,
    mut file: AudienceFile,
    header: Header,
    settings: Settings,
    body: Bytes,
) -> Result<AudienceFile, Problem> {
    let account = file.id.account();
    store::begin(&app.db, &file).await?;
    let (out, mut pages) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || header.rows(&body, &settings, &out));
    let mut stored = Ok(());
    while let Some(page) = pages.recv().await {
        file.rows += page.len() as u32;
        file.bad += page.iter().filter(|row: &&FileRow| row.to.is_err()).count() as u32;
        stored = store::write(&app.db, account, file.id, &page).await;
        if stored.is_err() {
            break;
        }
    }
    drop(pages);
    let read = reading.await.map_err(|_| Code::Internal)?;
    let nobody = || Err(Code::MalformedCsv.with("no row has a number that can be written to"));
    let done = read.and(stored.map_err(Problem::from)).and_then(|()| match file.bad == file.rows {
        true => nobody(),
        false => Ok(()),
    });
    if let Err(problem) = done {
        // If this fails too, the sweep takes it away: it was never complete.
        while store::forget(&app.db, account, file.id, SHOWN * 10).await.is_ok_and(|gone| gone > 0) {}
        let _ = store::delete(&app.db, account, file.id).await;
        return Err(problem);
    }
    store::complete(&app.db, account, file.id, file.rows, file.bad).await?;
    Ok(file)
}

/// The first line: which column is what.
pub(crate) struct Header {
    pub(crate) delimiter: u8,
    pub(crate) phone: usize,
    /// Names of all columns; empty of the one with the numbers.
    pub(crate) names: Vec<String>,
}

/// A name as a text can say it: `First Name` is `first_name`.
pub(crate) fn plain(name: &str) -> String {
    let mut plain: String =
        name.trim().to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    plain = plain.trim_matches('_').to_owned();
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("_{plain}") } else { plain }
}

/// Without the mark that some programs begin a file with.
pub(crate) fn text_of(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

impl Header {
    pub(crate) fn read(body: &[u8], phone: &str) -> Result<Header, Problem> {
        let body = text_of(body);
        let first = body.split(|b| *b == b'\n').next().unwrap_or_default();
        let delimiter = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
        let malformed = |e: csv::Error| Code::MalformedCsv.with(e.to_string());
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(body);
        let given = reader.headers().map_err(malformed)?;
        if given.len() > COLUMNS_MAX {
            return Err(Code::MalformedCsv.with("at most 51 columns"));
        }
        let mut names: Vec<String> = given.iter().map(plain).collect();
        let wanted = plain(phone);
        let Some(phone) = names.iter().position(|name| *name == wanted) else {
            let detail = format!("no column is called `{wanted}`: say which has the numbers with ?phone=");
            return Err(Code::MalformedCsv.with(detail));
        };
        names[phone].clear();
        for (place, name) in names.iter().enumerate().filter(|(place, _)| *place != phone) {
            let twice = names[..place].contains(name);
            if name.is_empty() || twice || name.len() > NAME_MAX {
                let why =
                    if twice { "there is another of this name" } else { "it needs a name of letters, digits and _" };
                return Err(Code::MalformedCsv.with(format!("column {}: {why}", place + 1)));
            }
        }
        Ok(Header { delimiter, phone, names })
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| !name.is_empty()).map(String::as_str)
    }

    /// Reads all rows and hands them on, page by page. Stops when nobody takes them any more.
    fn rows(&self, body: &[u8], settings: &Settings, out: &mpsc::Sender<Vec<FileRow>>) -> Result<(), Problem> {
        let malformed = |e: csv::Error| Code::MalformedCsv.with(e.to_string());
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(text_of(body));
        let (mut page, mut count) = (Vec::with_capacity(store::ROWS), 0);
        for record in reader.records() {
            let record = record.map_err(malformed)?;
            count += 1;
            if count > ROWS_MAX {
                return Err(Code::PayloadTooLarge.with("at most 1,000,000 rows"));
            }
            let line = record.position().map_or(0, csv::Position::line) as u32;
            let mut words = Words::new();
            for (name, cell) in self.names.iter().zip(record.iter()) {
                if cell.chars().count() > WORD_MAX {
                    return Err(Code::MalformedCsv.with(format!("line {line}: a cell has more than 1,000 characters")));
                }
                // What is empty is not known: a fallback stands in for it.
                if !name.is_empty() && !cell.is_empty() {
                    words.insert(name.clone(), cell.to_owned());
                }
            }
            let to = audience::number(record.get(self.phone).unwrap_or_default(), settings);
            let to = to.map(|phone| phone.digits()).map_err(|(given, code)| (Arc::from(given), code.to_owned()));
            page.push(FileRow { line, to, words });
            if page.len() == store::ROWS && out.blocking_send(std::mem::take(&mut page)).is_err() {
                return Ok(());
            }
        }
        if !page.is_empty() {
            let _ = out.blocking_send(page);
        }
        Ok(())
    }
}

/// List uploaded files, newest first.
#[utoipa::path(get, path = "/v1/audience-files", tag = "Campaigns", operation_id = "listAudienceFiles", params(ListQuery),
    responses((status = 200, body = Paged<FileView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<FileView>>, Problem> {
    let window = Window::open(&app, caller.account, "audience-files", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(AudienceFileId::from_uuid);
    let rows = store::list(&app.db, caller.account, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |f| f.id.0, |f| view(f, None))))
}

/// Read an uploaded file: what it has, and which rows are bad.
#[utoipa::path(get, path = "/v1/audience-files/{id}", tag = "Campaigns", operation_id = "getAudienceFile", params(("id" = String, Path)),
    responses((status = 200, body = FileView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<AudienceFileId>,
) -> Result<Json<FileView>, Problem> {
    let file = store::by_id(&app.db, caller.account, id).await?;
    Ok(Json(whole(&app, file).await?))
}

/// Delete an uploaded file.
///
/// Campaigns that have begun with it have its people already; one that has not fails with `audience_gone`.
#[utoipa::path(delete, path = "/v1/audience-files/{id}", tag = "Campaigns", operation_id = "deleteAudienceFile", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<AudienceFileId>,
) -> Result<StatusCode, Problem> {
    campaigns::delete_file(&app, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
