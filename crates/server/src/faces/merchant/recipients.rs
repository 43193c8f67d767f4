//! Recipients as merchants write them: an array of numbers, or the text of a CSV file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::audience_files::{Header, plain, text_of};
use crate::api::error::{Code, Problem};

/// People of one request; longer lists are uploaded as audience files.
const PEOPLE_MAX: usize = 10_000;
/// The column of numbers, if a table names its columns.
const PHONE: &str = "phone";

/// One of both.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an array of phone numbers, or a text of CSV")]
pub(super) enum Recipients {
    /// Each a number.
    Numbers(Vec<String>),
    /// A number in each line; or a first line that names the columns, as in audience files: one is `phone`, the others are words of the text.
    Csv(String),
}

impl Recipients {
    /// As batches and campaigns have them.
    pub(super) fn translated(self) -> Result<Vec<Value>, Problem> {
        let people = match self {
            Recipients::Numbers(numbers) => numbers.into_iter().map(Value::from).collect(),
            Recipients::Csv(text) => rows(&text)?,
        };
        match people.len() {
            0 => Err(Code::TooShort.at("#/recipients", "there is nobody in it")),
            n if n > PEOPLE_MAX => {
                Err(Code::TooLong.at("#/recipients", "at most 10,000 people: upload more with POST /v1/audience-files"))
            }
            _ => Ok(people),
        }
    }
}

fn rows(text: &str) -> Result<Vec<Value>, Problem> {
    let malformed = |detail: String| Code::MalformedCsv.at("#/recipients", detail);
    let first = text.lines().next().unwrap_or_default();
    let named = first.split([',', ';']).any(|cell| plain(cell) == PHONE);
    let header = match named {
        true => Header::read(text.as_bytes(), PHONE)
            .map_err(|p| malformed(p.detail.map_or_else(|| p.code.title().to_owned(), Cow::into_owned)))?,
        false => Header { delimiter: b',', phone: 0, names: vec![String::new()] },
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(header.delimiter)
        .trim(csv::Trim::All)
        .has_headers(named)
        .flexible(true)
        .from_reader(text_of(text.as_bytes()));
    let mut people = Vec::new();
    for record in reader.records().take(PEOPLE_MAX + 1) {
        let record = record.map_err(|e| malformed(e.to_string()))?;
        if record.len() > header.names.len() {
            let line = record.position().map_or(0, csv::Position::line);
            let detail = "more cells than columns; name the columns in the first line, one of them `phone`";
            return Err(malformed(format!("line {line}: {detail}")));
        }
        // What is empty is not known: a fallback stands in for it.
        let words = header.names.iter().zip(&record).filter(|(name, cell)| !name.is_empty() && !cell.is_empty());
        let words: serde_json::Map<String, Value> = words.map(|(name, cell)| (name.clone(), cell.into())).collect();
        let phone = record.get(header.phone).unwrap_or_default();
        people.push(if words.is_empty() { phone.into() } else { json!({"phone": phone, "variables": words}) });
    }
    Ok(people)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_whom_they_name() {
        let rows = [
            ("+491511\n+491512\n", json!(["+491511", "+491512"])),
            ("+491511\r\n\r\n+491512", json!(["+491511", "+491512"])),
            ("\u{feff}Phone\n+491511", json!(["+491511"])),
            (
                "name,phone\nAda, +491511\n,+491512",
                json!([{"phone": "+491511", "variables": {"name": "Ada"}}, "+491512"]),
            ),
            ("phone,name\n,Ada", json!([{"phone": "", "variables": {"name": "Ada"}}])),
            (
                "\"First Name\";\"phone\"\nAda;+491511",
                json!([{"phone": "+491511", "variables": {"first_name": "Ada"}}]),
            ),
            ("\"+49 1511\"", json!(["+49 1511"])),
        ];
        for (text, expected) in rows {
            assert_eq!(json!(Recipients::Csv(text.into()).translated().unwrap()), expected, "{text}");
        }
        for (given, code) in [
            (Recipients::Csv(String::new()), "too_short"),
            (Recipients::Csv("phone\n".into()), "too_short"),
            (Recipients::Numbers(vec![]), "too_short"),
            (Recipients::Csv("1\n".repeat(10_001)), "too_long"),
            (Recipients::Numbers(vec!["1".into(); 10_001]), "too_long"),
            (Recipients::Csv("+491511,Ada".into()), "malformed_csv"),
            (Recipients::Csv("name,number\nAda,+491511".into()), "malformed_csv"),
            (Recipients::Csv("phone,name,Name\n+491511,Ada,Bob".into()), "malformed_csv"),
            (Recipients::Csv("phone,name\n+491511,Ada,Bob".into()), "malformed_csv"),
        ] {
            assert_eq!(given.translated().unwrap_err().errors[0].code, code);
        }
    }
}
