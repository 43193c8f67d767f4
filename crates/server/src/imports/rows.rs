//! A file read row by row: decoded on the way, its columns named apart, and no row larger than memory should hold.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carillon_domain::charset::{Charset, Decoder};
use carillon_domain::contact_import::COLUMNS_MAX;
use csv::StringRecord;

/// Octets read from the disk at once.
const PIECE: usize = 64 * 1024;
/// The most one row may have: a quote that never ends would else take in the rest of the file. Octets.
const ROW_MAX: u64 = 1 << 20;
/// Characters of a column's name.
const HEADING_MAX: usize = 100;

/// Why a file is no table.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Nothing, or nothing but empty lines.
    #[error("the file is empty; its first line names the columns")]
    Empty,
    /// More columns than can be meant.
    #[error("more than {COLUMNS_MAX} columns")]
    Columns,
    /// A row that never ends.
    #[error("line {0}: a row of more than a megabyte; is a quote never closed?")]
    Endless(u64),
    /// The disk.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Rows, and how far they were read.
#[derive(Debug)]
pub struct Rows {
    reader: csv::Reader<Decoded>,
    columns: Vec<String>,
    /// Where the last row began, from 1.
    line: u64,
    /// Octets handed to the reader since a row began.
    handed: Arc<AtomicU64>,
    /// Octets of the file that were read.
    read: Arc<AtomicU64>,
}

impl Rows {
    /// From the beginning; the heading is read.
    pub fn open(path: &Path, charset: Charset, delimiter: u8) -> Result<Rows, Unreadable> {
        let (handed, read) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let decoded = Decoded {
            file: File::open(path)?,
            decoder: Decoder::new(charset),
            piece: vec![0; PIECE],
            text: String::new(),
            at: 0,
            after_return: false,
            ended: false,
            handed: handed.clone(),
            read: read.clone(),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .buffer_capacity(PIECE)
            .from_reader(decoded);
        let mut rows = Rows { reader, columns: Vec::new(), line: 0, handed, read };
        let mut heading = StringRecord::new();
        if !rows.next(&mut heading)? {
            return Err(Unreadable::Empty);
        }
        if heading.len() > COLUMNS_MAX {
            return Err(Unreadable::Columns);
        }
        rows.columns = named(&heading);
        Ok(rows)
    }

    /// The columns' names, each different.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row; false at the end.
    pub fn next(&mut self, record: &mut StringRecord) -> Result<bool, Unreadable> {
        self.handed.store(0, Ordering::Relaxed);
        let line = self.reader.position().line();
        let more = self.reader.read_record(record).map_err(|e| match e.into_kind() {
            csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::InvalidData => Unreadable::Endless(line),
            csv::ErrorKind::Io(e) => e.into(),
            // Rows may have any length, and what was decoded is UTF-8.
            other => io::Error::other(format!("{other:?}")).into(),
        })?;
        // The record's own position is that of empty lines before it.
        let inside: usize = record.iter().map(|cell| cell.matches('\n').count()).sum();
        self.line = self.reader.position().line().saturating_sub(1 + inside as u64);
        Ok(more)
    }

    /// Where the last row began in the file, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// About how many octets of the file were read.
    pub fn read_to(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// Names of columns as they can be told: in one line, never empty, none twice.
fn named(heading: &StringRecord) -> Vec<String> {
    let mut seen = HashSet::new();
    let name = |(place, text): (usize, &str)| {
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(HEADING_MAX).collect();
        let text = if text.is_empty() { format!("column {}", place + 1) } else { text };
        let mut name = text.clone();
        for n in 2.. {
            if seen.insert(name.clone()) {
                break;
            }
            name = format!("{text} ({n})");
        }
        name
    };
    heading.iter().enumerate().map(name).collect()
}

/// A file as UTF-8, piece by piece, each line of it ended by a line feed.
#[derive(Debug)]
struct Decoded {
    file: File,
    decoder: Decoder,
    piece: Vec<u8>,
    text: String,
    at: usize,
    after_return: bool,
    ended: bool,
    handed: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.ended {
            self.text.clear();
            self.at = 0;
            match self.file.read(&mut self.piece)? {
                0 => {
                    self.ended = true;
                    self.decoder.end(&mut self.text);
                    self.text.push('\n');
                }
                n => {
                    self.read.fetch_add(n as u64, Ordering::Relaxed);
                    self.decoder.read(&self.piece[..n], &mut self.text);
                    self.end_lines();
                }
            }
        }
        let count = out.len().min(self.text.len() - self.at);
        out[..count].copy_from_slice(&self.text.as_bytes()[self.at..self.at + count]);
        self.at += count;
        if self.handed.fetch_add(count as u64, Ordering::Relaxed) > ROW_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

impl Decoded {
    /// Lines end with CR LF, LF, or CR alone; a piece may end between the two.
    fn end_lines(&mut self) {
        if self.text.is_empty() {
            return;
        }
        if self.after_return && self.text.starts_with('\n') {
            self.text.remove(0);
        }
        self.after_return = self.text.ends_with('\r');
        if self.text.contains('\r') {
            self.text = self.text.replace("\r\n", "\n").replace('\r', "\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], charset: Charset) -> Result<(Vec<String>, Vec<(u64, Vec<String>)>), Unreadable> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path, charset, b',')?;
        let (mut record, mut found) = (StringRecord::new(), Vec::new());
        while rows.next(&mut record)? {
            found.push((rows.line(), record.iter().map(str::to_owned).collect()));
        }
        assert_eq!(rows.read_to(), text.len() as u64);
        Ok((rows.columns().to_vec(), found))
    }

    #[test]
    fn rows_with_their_lines() {
        let (columns, rows) =
            all(b"phone,,phone, a\x07b\r\n1,2\n\n\"x\ny\",\"a\"\"b\"\n3,4,5,6,7", Charset::Utf8).unwrap();
        assert_eq!(columns, ["phone", "column 2", "phone (2)", "ab"]);
        let row = |line, cells: &[&str]| (line, cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        assert_eq!(rows, [row(2, &["1", "2"]), row(4, &["x\ny", "a\"b"]), row(6, &["3", "4", "5", "6", "7"])]);
    }

    #[test]
    fn lines_end_as_they_like() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("a{end}{}{end}\"x{end}y\"{end}z", "1".repeat(PIECE - 2));
            let (_, rows) = all(text.as_bytes(), Charset::Utf8).unwrap();
            let lines: Vec<_> = rows.iter().map(|(line, cells)| (*line, cells[0].len())).collect();
            assert_eq!(lines, [(2, PIECE - 2), (3, 3), (5, 1)], "{end:?}");
        }
    }

    #[test]
    fn files_that_are_no_tables() {
        assert!(matches!(all(b"", Charset::Utf8), Err(Unreadable::Empty)));
        let wide = ",".repeat(COLUMNS_MAX);
        assert!(matches!(all(wide.as_bytes(), Charset::Utf8), Err(Unreadable::Columns)));
        let endless = format!("phone\n1\n\"{}", "x\n".repeat(2_000_000));
        assert!(matches!(all(endless.as_bytes(), Charset::Utf8), Err(Unreadable::Endless(3))));
        let long = format!("phone\n\"{}\"\n{}", "x".repeat(900_000), "1\n".repeat(1_000_000));
        assert_eq!(all(long.as_bytes(), Charset::Windows1252).unwrap().1.len(), 1_000_001);
    }
}
