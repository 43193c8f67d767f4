//! Tables as CSV: of two columns, read whole with every bad row named, and written; longer ones streamed out.

use std::io;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carillon_store::StoreError;
use http_body_util::channel::{Channel, Sender};

use super::error::{Code, Problem};
use super::extract::{body_of, media_type};
use crate::app::App;

/// Bad rows that are listed; of more only the number is told.
const LISTED_MAX: usize = 100;

/// A body of `text/csv`, as large as a batch's may be.
#[derive(Clone, Debug)]
pub struct Csv(pub Bytes);

impl FromRequest<App> for Csv {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_csv(request.headers()) {
            return Err(Code::UnsupportedMediaType.with("send `Content-Type: text/csv`"));
        }
        body_of(request, app, app.config.server.batch_body_max).await.map(Csv)
    }
}

/// Whether a body is said to be CSV.
pub(super) fn is_csv(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case("text/csv")
}

/// Makes a row of its two columns, or says what is wrong with it.
type ReadRow<T> = fn(&str, &str) -> Result<T, &'static str>;

impl Csv {
    /// Reads the table, off the threads that answer requests.
    pub(super) async fn rows<T: Send + 'static>(
        self,
        columns: [&'static str; 2],
        rows_max: usize,
        row: ReadRow<T>,
    ) -> Result<Vec<(String, T)>, Problem> {
        let reading = tokio::task::spawn_blocking(move || read(&self.0, columns, rows_max, row));
        reading.await.map_err(|_| Code::Internal)?
    }
}

/// Reads rows of two columns under a first line that names them. Each first column once. Bad rows are listed by their line, all of them up to a bound, and then nothing is taken.
fn read<T>(body: &[u8], columns: [&str; 2], rows_max: usize, row: ReadRow<T>) -> Result<Vec<(String, T)>, Problem> {
    let malformed = |e: csv::Error| Code::MalformedCsv.with(e.to_string());
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(body);
    let named: Vec<_> = reader.headers().map_err(malformed)?.iter().map(str::to_owned).collect();
    let [Some(first), Some(second)] = columns.map(|column| named.iter().position(|name| name == column)) else {
        return Err(Code::MalformedCsv.with(format!("the first line is `{},{}`", columns[0], columns[1])));
    };
    let (mut rows, mut seen, mut bad) = (Vec::new(), std::collections::HashSet::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let line = record.position().map_or(0, csv::Position::line);
        if rows.len() + bad.len() >= rows_max {
            return Err(Code::PayloadTooLarge.with(format!("at most {rows_max} rows")));
        }
        let (Some(a), Some(b)) = (record.get(first), record.get(second)) else {
            bad.push((line, "a column is missing"));
            continue;
        };
        match row(a, b) {
            Ok(_) if !seen.insert(a.to_owned()) => bad.push((line, "this prefix stands in the table before")),
            Ok(value) => rows.push((a.to_owned(), value)),
            Err(why) => bad.push((line, why)),
        }
    }
    if bad.is_empty() {
        return Ok(rows);
    }
    let detail = format!("{} of {} rows are not acceptable; nothing was changed", bad.len(), rows.len() + bad.len());
    let problem = Code::InvalidRequest.with(detail);
    Err(bad
        .into_iter()
        .take(LISTED_MAX)
        .fold(problem, |problem, (line, why)| problem.and(Code::InvalidValue, format!("line {line}"), why)))
}

/// A table as CSV, to be saved under `name`.
pub(super) fn answer(name: &str, columns: [&str; 2], rows: impl Iterator<Item = (String, String)>) -> Response {
    // Digits and decimals: nothing that would have to be quoted.
    let mut text = format!("{},{}\r\n", columns[0], columns[1]);
    rows.for_each(|(a, b)| text.extend([&a, ",", &b, "\r\n"]));
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (headers, text).into_response()
}

/// A table that is longer than memory should hold, to be saved under `name`. `page` reads the rows behind a place, and the place behind
/// those; without one the table is at its end.
pub(super) fn streamed<R, P, F>(
    name: &str,
    columns: Vec<String>,
    page: impl FnMut(Option<P>) -> F + Send + 'static,
) -> Response
where
    R: IntoIterator<Item = String> + Send,
    P: Send + 'static,
    F: Future<Output = Result<(Vec<R>, Option<P>), StoreError>> + Send,
{
    let (mut out, body) = Channel::new(2);
    tokio::spawn(async move {
        if let Err(error) = write(columns, page, &mut out).await {
            // Aborted, so that the caller does not take what came for all of it.
            tracing::warn!(%error, "an export was cut off: {error}");
            out.abort(error);
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (headers, Body::new(body)).into_response()
}

async fn write<R, P, F>(
    columns: Vec<String>,
    mut page: impl FnMut(Option<P>) -> F,
    out: &mut Sender<Bytes, io::Error>,
) -> io::Result<()>
where
    R: IntoIterator<Item = String>,
    F: Future<Output = Result<(Vec<R>, Option<P>), StoreError>>,
{
    let mut heading = Some(columns);
    let mut after = None;
    loop {
        let (rows, next) = page(after).await.map_err(io::Error::other)?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        if let Some(names) = heading.take() {
            writer.write_record(names)?;
        }
        for row in rows {
            writer.write_record(row.into_iter().collect::<Vec<_>>())?;
        }
        let bytes = writer.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
        if !bytes.is_empty() && out.send_data(bytes.into()).await.is_err() {
            // The caller hung up.
            return Ok(());
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// What strangers wrote: a spreadsheet must not take it for a formula.
pub(super) fn plain(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_are_taken_and_refused() {
        let table = |text: &str| {
            read(text.as_bytes(), ["prefix", "price"], 3, |a, b| {
                if a.is_empty() { Err("no prefix") } else { b.parse::<u8>().map_err(|_| "no price") }
            })
            .map(|rows| rows.len())
            .map_err(|p| (p.code, p.errors.into_iter().map(|e| e.pointer.into_owned()).collect::<Vec<_>>()))
        };
        let rows: &[(&str, Result<usize, (Code, &[&str])>)] = &[
            ("prefix,price\n49,1\n1,2\n", Ok(2)),
            ("prefix,price\r\n49,1\r\n", Ok(1)),
            ("price, prefix ,note\n1, 49,x\n", Ok(1)),
            ("prefix,price\n", Ok(0)),
            ("prefix;price\n49;1\n", Err((Code::MalformedCsv, &[]))),
            ("", Err((Code::MalformedCsv, &[]))),
            ("prefix,price\n\"49\n", Err((Code::InvalidRequest, &["line 2"]))),
            ("prefix,price\n49,1\n,1\n1,x\n", Err((Code::InvalidRequest, &["line 3", "line 4"]))),
            ("prefix,price\n49,1\n49,2\n5\n", Err((Code::InvalidRequest, &["line 3", "line 4"]))),
            ("prefix,price\n1,1\n2,1\n3,1\n4,1\n", Err((Code::PayloadTooLarge, &[]))),
        ];
        for (text, expected) in rows {
            let expected = (*expected).map_err(|(code, lines)| (code, lines.iter().map(|l| (*l).to_owned()).collect()));
            assert_eq!(table(text), expected, "{text:?}");
        }
        assert_eq!(table("prefix,price\n\u{fffd},1\n"), Ok(1));
        let not_text = read(b"prefix,price\n\xff,1\n", ["prefix", "price"], 3, |_, _| Ok(())).unwrap_err();
        assert_eq!(not_text.code, Code::MalformedCsv);
    }
}
