//! One attempt to deliver one webhook: signed, sent, and what the receiver said.

use axum::http::{HeaderMap, header};
use carillon_domain::webhook::{Answer, RETRY_AFTER_MAX_S};
use serde::{Deserialize, Serialize};

use super::guard::{self, Outbound};
use super::sign::{self, Secret};
use crate::clock::{Clock, rfc3339};

/// Of an answer no more is read.
const BODY_MAX: usize = 64 * 1024;
/// Of an answer no more is kept.
const SNIPPET_MAX: usize = 512;
/// Attempts a delivery remembers.
const LOG_MAX: usize = 12;

/// What is to be sent, and where to.
#[derive(Debug)]
pub struct Parcel {
    /// `webhook-id`.
    pub id: String,
    /// Where to.
    pub url: String,
    /// What it is signed with.
    pub secrets: Vec<Secret>,
    /// JSON.
    pub body: String,
}

/// A line of a delivery's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Line {
    /// When the attempt was made, RFC 3339.
    pub at: String,
    /// The HTTP status; null without an answer.
    pub status: Option<u16>,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// The beginning of what was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// Sends it once.
pub async fn attempt(outbound: &Outbound, clock: &Clock, parcel: Parcel) -> (Answer, Line) {
    let (now, started) = (clock.now_ms(), clock.monotonic());
    let (answer, response) = match exchange(outbound, now, parcel).await {
        Ok((answer, snippet)) => (answer, Ok(snippet)),
        Err(error) => (Answer::default(), Err(error)),
    };
    let duration_ms = clock.monotonic().saturating_sub(started).as_millis() as u64;
    let (response, error) = match response {
        Ok(snippet) => (Some(snippet).filter(|text| !text.is_empty()), None),
        Err(error) => (None, Some(error)),
    };
    (answer, Line { at: rfc3339(now), status: answer.status, error, duration_ms, response })
}

async fn exchange(outbound: &Outbound, now: i64, parcel: Parcel) -> Result<(Answer, String), String> {
    let at = now / 1_000;
    let signature = sign::header(&parcel.secrets, &parcel.id, at, parcel.body.as_bytes());
    let request = outbound
        .post(&parcel.url)
        .map_err(|refused| format!("refused: {refused}"))?
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", &parcel.id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body(parcel.body);
    let mut response = request.send().await.map_err(|e| guard::explain(&e))?;
    let answer =
        Answer { status: Some(response.status().as_u16()), retry_after_s: retry_after(response.headers(), now) };
    let mut read = 0;
    let mut start = Vec::new();
    // A status is an answer even if its body never ends.
    while read < BODY_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
        start.extend_from_slice(&chunk[..chunk.len().min(SNIPPET_MAX - start.len())]);
    }
    Ok((answer, snippet(&start)))
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<u32> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.min(RETRY_AFTER_MAX_S.into()) as u32);
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some((at - now).clamp(0, i64::from(RETRY_AFTER_MAX_S) * 1_000).div_euclid(1_000) as u32)
}

/// The beginning of an answer, as text that can be shown anywhere.
fn snippet(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The log with one more line. The first attempt stays: it says since when it fails.
pub fn log_with(log: Option<&str>, line: Line) -> (String, Vec<Line>) {
    let mut lines = read_log(log);
    lines.push(line);
    if lines.len() > LOG_MAX {
        lines.drain(1..lines.len() - LOG_MAX + 1);
    }
    (serde_json::to_string(&lines).expect("a log is plain data"), lines)
}

/// The lines of a delivery's log.
pub fn read_log(log: Option<&str>) -> Vec<Line> {
    log.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_receiver_asks_to_wait() {
        let now = 1_795_262_400_000; // 2026-11-21T12:00:00Z
        for (text, expected) in [
            ("60", Some(60)),
            (" 0 ", Some(0)),
            ("99999999999", Some(86_400)),
            ("-1", None),
            ("soon", None),
            ("Sat, 21 Nov 2026 12:01:30 GMT", Some(90)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("Mon, 21 Nov 2033 12:00:00 GMT", Some(86_400)),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
    }

    #[test]
    fn a_log_keeps_its_first_line_and_the_last() {
        let line = |n: u64| Line { at: String::new(), status: None, error: None, duration_ms: n, response: None };
        let mut log = None;
        for n in 0..20 {
            log = Some(log_with(log.as_deref(), line(n)).0);
        }
        let kept: Vec<u64> = read_log(log.as_deref()).iter().map(|l| l.duration_ms).collect();
        assert_eq!(kept, [0, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(snippet(b" a\x00b\r\nc\xff "), "a b \nc\u{fffd}");
    }
}
