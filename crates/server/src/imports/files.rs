//! An upload on its way to the disk: never whole in memory, watched as it goes by, and only kept if it is a table.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use carillon_domain::charset::{Charset, Sniffer};
use carillon_domain::id::{AccountNo, ContactImportId};
use carillon_store::contact_import::{self as store, Counts, Import, Status};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use super::{ImportError, Rows, Unreadable};
use crate::app::App;

/// Imports of an account that were uploaded and have not ended.
const WAITING_MAX: i64 = 20;
/// What may stand between two cells, the likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";
/// Rows that are looked at for what stands between cells.
const LOOKED_AT: usize = 50;

/// What a file was found to be.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    /// Octets.
    pub octets: u64,
    /// In what it is written.
    pub charset: Charset,
    /// What stands between two cells.
    pub delimiter: u8,
}

/// Keeps a file for an account, if it is a table with a heading.
pub async fn keep(app: &App, account: AccountNo, body: Body) -> Result<Import, ImportError> {
    let id = ContactImportId::new(app.clock.now_ms(), app.ids.next(), account);
    let path = app.imports.path(id);
    let kept = async {
        let upload = write(app, &path, body).await?;
        let import = Import {
            id,
            status: Status::Uploaded,
            octets: upload.octets as i64,
            charset: upload.charset,
            delimiter: upload.delimiter,
            plan: None,
            counts: Counts::default(),
            read_to: 0,
            failure: None,
            started_at: None,
            ended_at: None,
        };
        // The file first: a row without one could never be read.
        if store::create(&app.db, account, &import, WAITING_MAX).await? {
            Ok(import)
        } else {
            Err(ImportError::TooMany)
        }
    };
    let kept = kept.await;
    if kept.is_err() {
        // What cannot be taken away now the sweep finds.
        let _ = tokio::fs::remove_file(&path).await;
    }
    kept
}

async fn write(app: &App, path: &Path, mut body: Body) -> Result<Upload, ImportError> {
    let max = app.config.imports.file_max;
    let patience = Duration::from_secs(app.config.server.body_timeout_s.into());
    let mut file = tokio::io::BufWriter::with_capacity(256 * 1024, create(path).await?);
    let (mut sniffer, mut octets) = (Sniffer::default(), 0u64);
    loop {
        // A file may take long; a pause may not.
        let frame = match tokio::time::timeout(patience, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => return Err(ImportError::CutOff),
        };
        let Ok(piece) = frame.into_data() else { continue };
        octets += piece.len() as u64;
        if octets > max {
            return Err(ImportError::TooLarge(max));
        }
        sniffer.see(&piece);
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    file.into_inner().sync_all().await?;
    let (charset, path) = (sniffer.told(), path.to_owned());
    let delimiter =
        tokio::task::spawn_blocking(move || delimiter(&path, charset)).await.map_err(io::Error::other)??;
    Ok(Upload { octets, charset, delimiter })
}

async fn create(path: &Path) -> io::Result<tokio::fs::File> {
    let folder = path.parent().expect("a file's path was joined to its folder");
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder).await?;
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await
}

/// What cuts most of the first rows into as many cells as the heading has; a table of one column has commas.
fn delimiter(path: &Path, charset: Charset) -> Result<u8, Unreadable> {
    let mut best = (0, b',');
    for candidate in DELIMITERS {
        // A quote that never ends by one delimiter may be none by another.
        let Ok(mut rows) = Rows::open(path, charset, candidate) else { continue };
        let columns = rows.columns().len();
        let mut alike = 1;
        let mut record = csv::StringRecord::new();
        while alike < LOOKED_AT && rows.next(&mut record).is_ok_and(|more| more) {
            alike += usize::from(record.len() == columns);
        }
        let score = if columns > 1 { alike * 1_000 + columns } else { 0 };
        if score > best.0 {
            best = (score, candidate);
        }
    }
    // By itself it must be a table: what is wrong with it is told now, not when it runs.
    Rows::open(path, charset, best.1).map(|_| best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_cells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let rows = [
            ("phone,name\n1,a\n", Some(b',')),
            ("phone;name\n1;a, b\n2;c\n", Some(b';')),
            ("phone\tname\n1\ta\n", Some(b'\t')),
            ("a|b|c\n1|2|3\n", Some(b'|')),
            ("phone\n1\n2\n", Some(b',')),
            ("name;note\n\"a;b\";\"x, y\"\n", Some(b';')),
            ("", None),
            ("\n\n", None),
        ];
        for (text, expected) in rows {
            std::fs::write(&path, text).unwrap();
            assert_eq!(delimiter(&path, Charset::Utf8).ok(), expected, "{text:?}");
        }
    }
}
