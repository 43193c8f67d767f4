//! A source that answers GET with JSON.

use std::time::Duration;

use carillon_store::source::Row;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde_json::Value;

use super::{Failure, Http, OCTETS_MAX, Settings};
use crate::app::App;
use crate::notify::guard::explain;

/// The rows of its answer. The secret is the header `Authorization`.
pub(super) async fn rows(
    app: &App,
    settings: &Settings,
    of: &Http,
    secret: Option<&[u8]>,
) -> Result<Vec<Row>, Failure> {
    let request = app.notify.outbound.get(&of.url).map_err(|e| Failure::Address(e.to_string()))?;
    let mut request =
        request.timeout(Duration::from_secs(settings.timeout_s.into())).header(ACCEPT, "application/json");
    if let Some(secret) = secret {
        let mut value = HeaderValue::from_bytes(secret).map_err(|_| Failure::Sealed)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let failed = |e: reqwest::Error| Failure::Http(explain(&e));
    let mut answer = request.send().await.map_err(failed)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(Failure::Http(format!("the server answered {}", answer.status().as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > OCTETS_MAX {
            return Err(Failure::Http(format!("the answer is longer than {OCTETS_MAX} octets")));
        }
        body.extend_from_slice(&chunk);
    }
    read(&body, &of.rows_at, settings.rows_max)
}

fn read(body: &[u8], rows_at: &str, rows_max: usize) -> Result<Vec<Row>, Failure> {
    let mut answer: Value =
        serde_json::from_slice(body).map_err(|e| Failure::Http(format!("the answer is not JSON: {e}")))?;
    let place = if rows_at.is_empty() { "the answer".to_owned() } else { format!("`{rows_at}`") };
    let Some(Value::Array(rows)) = answer.pointer_mut(rows_at).map(Value::take) else {
        return Err(Failure::Http(format!("{place} is not an array")));
    };
    if rows.len() > rows_max {
        return Err(Failure::Http(format!("{place} has more than {rows_max} rows")));
    }
    let each = rows.into_iter().enumerate().map(|(i, row)| match row {
        Value::Object(row) => Ok(row),
        _ => Err(Failure::Row { row: i + 1, why: "not an object".into() }),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_what_is_wrong_with_them() {
        let rows = [
            (r#"[{"a": 1}, {}]"#, "", Ok(2)),
            (r#"{"data": {"items": [{}]}}"#, "/data/items", Ok(1)),
            ("[{},{},{},{}]", "", Err("the answer has more than 3 rows")),
            (r#"{"data": 5}"#, "/data", Err("`/data` is not an array")),
            (r#"{"data": 5}"#, "/rows", Err("`/rows` is not an array")),
            ("[{}, 5]", "", Err("row 2: not an object")),
            ("[{}", "", Err("the answer is not JSON: EOF while parsing a list at line 1 column 3")),
        ];
        for (body, at, expected) in rows {
            let found = read(body.as_bytes(), at, 3).map(|rows| rows.len()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{body} {at}");
        }
    }
}
