//! Recipients as merchants write them: an array of numbers, or the text of a CSV file.

use serde::Deserialize;
use serde_json::{Value, json};

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
    /// A number in each line; or a first line that names the columns, one of them `phone`, the others words of the text.
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
    let malformed = |e: csv::Error| Code::MalformedCsv.at("#/recipients", e.to_string());
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = reader.records().peekable();
    let names: Option<Vec<String>> = match records.peek() {
        Some(Ok(first)) if first.iter().any(|cell| cell.eq_ignore_ascii_case(PHONE)) => {
            Some(first.iter().map(str::to_lowercase).collect())
        }
        _ => None,
    };
    let records = records.skip(usize::from(names.is_some()));
    let names = names.unwrap_or_else(|| vec![PHONE.to_owned()]);
    let mut people = Vec::new();
    for record in records {
        let record = record.map_err(malformed)?;
        let mut cells: serde_json::Map<String, Value> = names
            .iter()
            .zip(record.iter())
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(n, c)| (n.clone(), c.into()))
            .collect();
        let phone = cells.remove(PHONE).unwrap_or_else(|| "".into());
        people.push(if cells.is_empty() { phone } else { json!({"phone": phone, "variables": cells}) });
        if people.len() > PEOPLE_MAX {
            break;
        }
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
            ("+491511,ignored\r\n\r\n+491512", json!(["+491511", "+491512"])),
            ("Phone\n+491511", json!(["+491511"])),
            (
                "name,phone\nAda, +491511\n,+491512",
                json!([{"phone": "+491511", "variables": {"name": "Ada"}}, "+491512"]),
            ),
            ("phone,name\n,Ada", json!([{"phone": "", "variables": {"name": "Ada"}}])),
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
        ] {
            assert_eq!(given.translated().unwrap_err().errors[0].code, code);
        }
    }
}
