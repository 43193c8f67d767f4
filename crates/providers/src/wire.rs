//! How HTTP carriers write things: forms, JSON, signatures, numbers; and what a bare HTTP status means.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::phone::Phone;
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::{Callback, Method, Request};

/// A submit that a carrier refused; `carrier` are its own words without numbers of people.
pub(crate) fn refused(kind: SendErrorKind, code: ErrorCode, carrier: impl Into<String>) -> SendError {
    SendError { kind, code, carrier: carrier.into() }
}

/// This provider cannot carry the message; another may.
pub(crate) fn unsupported(provider: &str, what: &str) -> SendError {
    refused(SendErrorKind::FailOver, ErrorCode::Unsupported, format!("{provider}: no {what}"))
}

/// What an HTTP status means when the body says no more.
pub(crate) fn by_status(provider: &str, status: u16) -> SendError {
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    let carrier = format!("{provider} http {status}");
    match status {
        401 | 403 => refused(ConnectionFatal, ErrorCode::CarrierCredentials, carrier),
        402 => refused(FailOver, ErrorCode::CarrierAccount, carrier),
        // A wrong address or method, or a redirect, which is never followed: the connection is set up wrongly.
        300..=399 | 404 | 405 | 410 => refused(FailOver, ErrorCode::CarrierError, carrier),
        413 => refused(Permanent, ErrorCode::MessageTooLong, carrier),
        429 => refused(Throttled, ErrorCode::CarrierCongested, carrier),
        400..=499 => refused(Permanent, ErrorCode::CarrierRejected, carrier),
        // A gateway in between gave up: what stands behind it may have the message.
        502 | 504 => SendError::unknown(carrier),
        503 => refused(Temporary { tries: 3 }, ErrorCode::CarrierUnavailable, carrier),
        500..=599 => refused(Temporary { tries: 3 }, ErrorCode::CarrierError, carrier),
        _ => SendError::unknown(carrier),
    }
}

/// A form as browsers send it.
pub(crate) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A POST of a form.
pub(crate) fn post_form<'a>(url: String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request {
    let headers = vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
    Request { method: Method::Post, url, headers, body: form(pairs).into_bytes() }
}

/// A POST of JSON.
pub(crate) fn post_json(url: String, body: String) -> Request {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Request { method: Method::Post, url, headers, body: body.into_bytes() }
}

/// A JSON object of members whose values are JSON already, in the order given: requests are the same to the byte each time.
pub(crate) fn object<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The value of an `authorization` header (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The parameters of a callback: its query, and its body as a form or as the members of a JSON object, whichever it is.
/// A name given twice keeps its last value.
pub(crate) fn parameters(callback: &Callback<'_>) -> BTreeMap<String, String> {
    let query = callback.url.split_once('?').map_or("", |(_, query)| query);
    let mut out: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    match json(callback.body) {
        Some(Value::Object(members)) => {
            out.extend(members.iter().filter_map(|(name, value)| Some((name.clone(), scalar(value)?))));
        }
        _ => out.extend(form_urlencoded::parse(callback.body).into_owned()),
    }
    out
}

/// The body as JSON, if it is.
pub(crate) fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// Text, a number or a truth as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Octets in lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(ours: &str, theirs: &str) -> bool {
    ours.as_bytes().ct_eq(theirs.as_bytes()).into()
}

/// A number as carriers write it: with or without `+` or `00`.
pub(crate) fn phone(text: &str) -> Option<Phone> {
    let digits = text.trim().trim_start_matches('+').trim_start_matches("00");
    digits.parse().ok().and_then(Phone::from_digits)
}

/// A sender as these carriers want it: numbers without `+`.
pub(crate) fn without_plus(sender: &str) -> &str {
    match sender.strip_prefix('+') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        _ => sender,
    }
}

/// A carrier's own words for the history: one short line, long runs of digits (numbers of people) left out.
pub(crate) fn words(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let letters = word.chars().any(|c| c.is_ascii_alphabetic());
        let shown = if digits >= 7 && !letters { "…" } else { word };
        if out.len() + shown.len() > 100 {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_without_words() {
        use ErrorCode as E;
        use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled, Unknown};
        let table = [
            (302, FailOver, E::CarrierError),
            (400, Permanent, E::CarrierRejected),
            (401, ConnectionFatal, E::CarrierCredentials),
            (402, FailOver, E::CarrierAccount),
            (403, ConnectionFatal, E::CarrierCredentials),
            (404, FailOver, E::CarrierError),
            (413, Permanent, E::MessageTooLong),
            (418, Permanent, E::CarrierRejected),
            (429, Throttled, E::CarrierCongested),
            (500, Temporary { tries: 3 }, E::CarrierError),
            (502, Unknown, E::OutcomeUnknown),
            (503, Temporary { tries: 3 }, E::CarrierUnavailable),
            (504, Unknown, E::OutcomeUnknown),
            (204, Unknown, E::OutcomeUnknown),
            (700, Unknown, E::OutcomeUnknown),
        ];
        for (status, kind, code) in table {
            let error = by_status("x", status);
            assert_eq!((error.kind, error.code), (kind, code), "{status}");
        }
    }

    #[test]
    fn words_name_nobody() {
        for (said, kept) in [
            ("Invalid number +1 415-555-2671", "Invalid number +1 …"),
            ("The 'To' number +14155552671 is not valid.", "The 'To' number … is not valid."),
            ("error 21211\nline two", "error 21211 line two"),
        ] {
            assert_eq!(words(said), kept);
        }
        assert!(words(&"word ".repeat(100)).len() <= 100);
    }

    #[test]
    fn parameters_come_from_query_form_and_json() {
        let table: &[(&str, &str, &[(&str, &str)])] = &[
            ("https://h/p?a=1&b=%2B2", "", &[("a", "1"), ("b", "+2")]),
            ("https://h/p?a=1", "a=2&c=x+y", &[("a", "2"), ("c", "x y")]),
            ("https://h/p?a=1", r#"{"c":3,"d":true,"e":[1]}"#, &[("a", "1"), ("c", "3"), ("d", "true")]),
            ("https://h/p", "", &[]),
        ];
        for (url, body, expected) in table {
            let got = parameters(&Callback { url, headers: &[], body: body.as_bytes() });
            let expected: BTreeMap<_, _> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(got, expected, "{url} {body}");
        }
    }
}
