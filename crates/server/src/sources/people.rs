//! Rows as people: which column is the number, and which are words of texts.

use std::collections::{BTreeMap, BTreeSet};

use carillon_store::source::Row;
use serde_json::Value;

use super::{Columns, Failure};

/// Columns that a failure lists.
const SHOWN: usize = 20;

/// Somebody a source has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The number as it stands there; may be empty, or no number.
    pub phone: String,
    /// Words for the places of a text, by name.
    pub words: BTreeMap<String, String>,
}

/// Each row by its columns. A column that no row has is a mistake; where a row lacks a value there is none.
pub(super) fn of_rows(rows: &[Row], columns: &Columns) -> Result<Vec<Person>, Failure> {
    let words = || {
        let name = columns.name.iter().map(|column| ("name", column));
        name.chain(columns.attributes.iter().map(|(word, column)| (word.as_str(), column)))
    };
    for column in words().map(|(_, column)| column).chain([&columns.phone]) {
        if !rows.is_empty() && !rows.iter().any(|row| row.contains_key(column)) {
            let there: BTreeSet<_> = rows.iter().take(SHOWN).flat_map(|row| row.keys()).map(String::as_str).collect();
            let there = there.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
            return Err(Failure::Column { column: column.clone(), there });
        }
    }
    let person = |(i, row): (usize, &Row)| {
        let cell = |column: &String| match row.get(column) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err(Failure::Row { row: i + 1, why: format!("`{column}` is neither a text nor a number") })
            }
            Some(plain) => Ok(plain.to_string()),
        };
        let mut known = BTreeMap::new();
        for (word, column) in words() {
            let text = cell(column)?;
            if !text.is_empty() {
                known.insert(word.to_owned(), text);
            }
        }
        Ok(Person { phone: cell(&columns.phone)?, words: known })
    };
    rows.iter().enumerate().map(person).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_who_they_are() {
        let columns = Columns {
            phone: "tel".into(),
            name: Some("first".into()),
            attributes: [("city".to_owned(), "town".to_owned())].into(),
        };
        let rows = |json: &str| serde_json::from_str::<Vec<Row>>(json).unwrap();
        let person = |phone: &str, words: &[(&str, &str)]| Person {
            phone: phone.into(),
            words: words.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        };
        let of = r#"[{"tel": 4915112345678, "first": "Ada", "town": null, "other": {}}, {"first": "", "town": true}]"#;
        let found = of_rows(&rows(of), &columns).unwrap();
        assert_eq!(found, [person("4915112345678", &[("name", "Ada")]), person("", &[("city", "true")])]);
        assert_eq!(of_rows(&[], &columns), Ok(vec![]));
        let table = [
            (r#"[{"phone": "1", "first": "", "town": ""}]"#, "there is no column `tel`; there are: first, phone, town"),
            (r#"[{"tel": "1", "first": ""}]"#, "there is no column `town`; there are: first, tel"),
            (r#"[{"tel": "1", "first": "", "town": []}]"#, "row 1: `town` is neither a text nor a number"),
        ];
        for (json, expected) in table {
            assert_eq!(of_rows(&rows(json), &columns).unwrap_err().to_string(), expected, "{json}");
        }
    }
}
