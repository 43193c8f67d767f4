//! Any carrier with an HTTP API, described by settings alone: a request with placeholders, how success is told, and which fields of a
//! callback mean what. It signs nothing it hears: the callback address holds the secret.

mod placeholders;

use std::collections::BTreeMap;

use carillon_domain::error_code::{self, ErrorCode, ReceiptState, SendError, SendErrorKind};
use carillon_domain::media::{Carries, MediaKind};
use serde_json::Value;

use crate::field::{Credentials, Field, Kind};
use crate::wire::{by_status, json, parameters, phone, refused, scalar, unsupported, words};
use crate::{Accepted, Callback, CallbackError, Content, Heard, Inbound, Method, Outbound, Receipt, Request, Response};
use placeholders::{Escape, fill};

#[rustfmt::skip]
pub(crate) const FIELDS: &[Field] = &[
    Field::text("method", "Method", "How the request is made; POST if nothing is chosen.").kind(Kind::Choice(&["GET", "POST", "PUT"])),
    Field::text("url", "URL", "With placeholders, e.g. https://sms.example/send?to={to_digits}&text={text}. Values are escaped.").kind(Kind::Checked(check_url)).required(),
    Field::text("headers", "Headers", "One in a line, e.g. Authorization: {basic}.").kind(Kind::Checked(check_headers)),
    Field::text("form", "Form body", "One parameter in a line, e.g. to={to}. Give this, JSON or XML, or none of them.").kind(Kind::Checked(check_form)),
    Field::text("json", "JSON body", "With placeholders inside quotes, e.g. {\"to\":\"{to}\",\"text\":\"{text}\"}.").kind(Kind::Checked(check_json)),
    Field::text("xml", "XML body", "With placeholders, e.g. <to>{to}</to>.").kind(Kind::Checked(placeholders::check)),
    Field::text("username", "User name", "For the placeholders {username} and {basic}."),
    Field::secret_of("password", "Password or token", "For the placeholders {password} and {basic}."),
    Field::text("success_pointer", "Success: where", "JSON pointer to what tells success, e.g. /status. Empty: an HTTP status of 2xx is success."),
    Field::text("success_values", "Success: values", "What stands there then, separated by commas, e.g. ok, queued."),
    Field::text("success_prefix", "Success: first text", "For answers that are no JSON: what they begin with, e.g. OK."),
    Field::text("id_pointer", "Message id: where", "JSON pointer to the carrier's id, e.g. /messages/0/id."),
    Field::text("id_after", "Message id: after", "For answers that are no JSON: the text before the id, e.g. ID:."),
    Field::text("error_pointer", "Error: where", "JSON pointer to the carrier's error code. Empty: the errors below are beginnings of the answer's text."),
    Field::text("errors", "Errors", "One in a line: what stands there = what to do and its code, e.g. 22 = permanent invalid_number. To do: throttled, temporary, failover, permanent, fatal.").kind(Kind::Checked(check_errors)),
    Field::text("receipts_at", "Receipts: where", "JSON pointer to a list of receipts in one callback. Empty: a callback is one receipt."),
    Field::text("receipt_id", "Receipt: message id", "Name of the parameter (or JSON pointer) with the id the answer gave."),
    Field::text("receipt_to", "Receipt: number", "Name of the parameter with the destination."),
    Field::text("receipt_status", "Receipt: status", "Name of the parameter with the status."),
    Field::text("receipt_error", "Receipt: error", "Name of the parameter with the carrier's error code."),
    Field::text("statuses", "Statuses", "One in a line: the carrier's status = delivered, interim, unknown or failed with a code, e.g. 5 = failed absent_subscriber. Words of SMPP (DELIVRD) are known.").kind(Kind::Checked(check_statuses)),
    Field::text("inbound_from", "Inbound: from", "Name of the parameter with the phone that wrote; empty if nothing comes in."),
    Field::text("inbound_to", "Inbound: to", "Name of the parameter with the number of yours."),
    Field::text("inbound_text", "Inbound: text", "Name of the parameter with the text."),
    Field::text("inbound_id", "Inbound: id", "Name of the parameter with the carrier's id of it."),
];

/// As many files as a placeholder of the request has room for.
pub(crate) fn carries(credentials: &Credentials) -> Carries {
    let asked = ["url", "headers", "form", "json", "xml"].into_iter().map(|field| credentials.get(field));
    let most = asked.map(placeholders::files).max().unwrap_or(0);
    if most == 0 { Carries::NOTHING } else { Carries { files: most, kinds: &MediaKind::ALL } }
}

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    if matches!(message.content, Content::Binary(_)) {
        return Err(unsupported("http", "binary messages"));
    }
    if message.media.len() > usize::from(carries(credentials).files) {
        return Err(unsupported("http", "place for so many files"));
    }
    let fill = |template: &str, escape| fill(template, escape, message, credentials);
    let unfit = |what: &str| refused(SendErrorKind::FailOver, ErrorCode::CarrierError, format!("http: {what}"));
    let mut headers = Vec::new();
    for (name, value) in pairs(credentials.get("headers"), ':') {
        headers.push((name.to_ascii_lowercase(), fill(value, Escape::Header)));
    }
    let (kind, body) = if let Some(form) = credentials.given("form") {
        let lines =
            pairs(form, '=').map(|(name, value)| format!("{}={}", placeholders::url(name), fill(value, Escape::Url)));
        ("application/x-www-form-urlencoded", lines.collect::<Vec<_>>().join("&"))
    } else if let Some(json) = credentials.given("json") {
        ("application/json", fill(json, Escape::Json))
    } else {
        ("text/xml; charset=utf-8", fill(credentials.get("xml"), Escape::Xml))
    };
    if !body.is_empty() && headers.iter().all(|(name, _)| name != "content-type") {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    let method = match credentials.get("method") {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "" | "POST" => Method::Post,
        _ => return Err(unfit("the method is none")),
    };
    Ok(Request { method, url: fill(credentials.get("url"), Escape::Url), headers, body: body.into_bytes() })
}

pub(crate) fn response(answer: &Response<'_>, credentials: &Credentials) -> Result<Accepted, SendError> {
    let text = String::from_utf8_lossy(answer.body);
    let text = text.trim();
    let json = json(answer.body);
    let at = |name: &str| json.as_ref()?.pointer(credentials.given(name)?).and_then(scalar);
    if let Some(error) = listed(credentials, at("error_pointer").as_deref(), text) {
        return Err(error);
    }
    if !(200..300).contains(&answer.status) {
        return Err(by_status("http", answer.status));
    }
    let refusal = || refused(SendErrorKind::Permanent, ErrorCode::CarrierRejected, words(&format!("http {text}")));
    if credentials.given("success_pointer").is_some() {
        match at("success_pointer") {
            // Promised to be there: without it nobody knows what the carrier did.
            None => return Err(SendError::unknown(format!("http {} without what tells success", answer.status))),
            Some(value) if credentials.get("success_values").split(',').any(|good| good.trim() == value) => {}
            Some(_) => return Err(refusal()),
        }
    }
    if credentials.given("success_prefix").is_some_and(|prefix| !text.starts_with(prefix)) {
        return Err(refusal());
    }
    let after = || {
        let (_, rest) = text.split_once(credentials.given("id_after")?)?;
        let id = rest.trim_start().split(|c: char| c.is_whitespace() || c == ',' || c == ';').next()?;
        Some(id.to_owned())
    };
    let asked = credentials.given("id_pointer").is_some() || credentials.given("id_after").is_some();
    match at("id_pointer").or_else(after).filter(|id| !id.is_empty()) {
        Some(id) => Ok(Accepted::Message(id)),
        None if asked => Err(SendError::unknown(format!("http {} without a message id", answer.status))),
        // A carrier that gives none: it was taken, and no receipt will find it.
        None => Ok(Accepted::Message(String::new())),
    }
}

/// The error of the table for what stands at the pointer, or for what the text begins with.
fn listed(credentials: &Credentials, code: Option<&str>, text: &str) -> Option<SendError> {
    let pointed = credentials.given("error_pointer").is_some();
    let fits = |key: &str| if pointed { code == Some(key) } else { text.starts_with(key) };
    let (key, (kind, error)) = pairs(credentials.get("errors"), '=')
        .find(|(key, _)| fits(key))
        .and_then(|(key, what)| Some((key, error_of(what)?)))?;
    Some(refused(kind, error, words(&format!("http {key}"))))
}

fn error_of(what: &str) -> Option<(SendErrorKind, ErrorCode)> {
    let mut words = what.split_whitespace();
    let kind = match words.next()? {
        "throttled" => SendErrorKind::Throttled,
        "temporary" => SendErrorKind::Temporary { tries: 3 },
        "failover" => SendErrorKind::FailOver,
        "permanent" => SendErrorKind::Permanent,
        "fatal" => SendErrorKind::ConnectionFatal,
        _ => return None,
    };
    let code = words.next()?.parse().ok()?;
    words.next().is_none().then_some((kind, code))
}

pub(crate) fn heard(callback: &Callback<'_>, credentials: &Credentials) -> Result<Heard, CallbackError> {
    let parameters = parameters(callback);
    let body = json(callback.body).unwrap_or(Value::Null);
    let mut heard = Heard::default();
    match credentials.given("receipts_at").map(|pointer| body.pointer(pointer)) {
        Some(Some(Value::Array(items))) => {
            heard.receipts.extend(items.iter().filter_map(|item| receipt(credentials, &BTreeMap::new(), item)))
        }
        Some(Some(item)) => heard.receipts.extend(receipt(credentials, &parameters, item)),
        _ => heard.receipts.extend(receipt(credentials, &parameters, &body)),
    }
    if heard.receipts.is_empty() {
        heard.inbound.extend(inbound(credentials, &parameters, &body));
    }
    if heard == Heard::default() {
        Err(CallbackError::Malformed("none of the fields of the settings"))
    } else {
        Ok(heard)
    }
}

/// The value of the parameter that a setting names, by its name or by a JSON pointer.
fn named(
    credentials: &Credentials,
    setting: &str,
    parameters: &BTreeMap<String, String>,
    body: &Value,
) -> Option<String> {
    let name = credentials.given(setting)?;
    let value = if name.starts_with('/') { body.pointer(name) } else { body.get(name) };
    value.and_then(scalar).or_else(|| parameters.get(name).cloned()).filter(|value| !value.is_empty())
}

fn receipt(credentials: &Credentials, parameters: &BTreeMap<String, String>, body: &Value) -> Option<Receipt> {
    let get = |setting| named(credentials, setting, parameters, body);
    let (id, status) = (get("receipt_id")?, get("receipt_status")?);
    let error = get("receipt_error").unwrap_or_default();
    let listed = pairs(credentials.get("statuses"), '=').find(|(key, _)| key.eq_ignore_ascii_case(&status));
    let state = match listed.and_then(|(_, what)| status_of(what)) {
        Some(state) => state,
        None => error_code::from_smpp_stat(&status, &error, None),
    };
    let to = get("receipt_to").and_then(|to| phone(&to));
    Some(Receipt { id, to, state, carrier: words(&format!("http {status} {error}")) })
}

fn status_of(what: &str) -> Option<ReceiptState> {
    let mut words = what.split_whitespace();
    let state = match (words.next()?, words.next()) {
        ("delivered", None) => ReceiptState::Delivered,
        ("interim", None) => ReceiptState::Interim,
        ("unknown", None) => ReceiptState::Unknown,
        ("failed", None) => ReceiptState::Failed(ErrorCode::Undeliverable),
        ("failed", Some(code)) => ReceiptState::Failed(code.parse().ok()?),
        _ => return None,
    };
    words.next().is_none().then_some(state)
}

fn inbound(credentials: &Credentials, parameters: &BTreeMap<String, String>, body: &Value) -> Option<Inbound> {
    let get = |setting| named(credentials, setting, parameters, body);
    Some(Inbound {
        from: get("inbound_from")?,
        to: get("inbound_to")?,
        text: get("inbound_text").unwrap_or_default(),
        id: get("inbound_id").unwrap_or_default(),
        part: None,
        media: Vec::new(),
    })
}

/// Lines of a name, a separator and a value; spaces around both do not count, empty lines neither.
fn pairs(lines: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(move |line| line.split_once(separator)).map(|(name, value)| (name.trim(), value.trim()))
}

fn check_lines(lines: &str, separator: char, good: impl Fn(&str, &str) -> Result<(), String>) -> Result<(), String> {
    for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair = line.split_once(separator).filter(|(name, _)| !name.trim().is_empty());
        let (name, value) = pair.ok_or_else(|| format!("line {}: a name, {separator} and a value", number + 1))?;
        good(name.trim(), value.trim()).map_err(|what| format!("line {}: {what}", number + 1))?;
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), String> {
    placeholders::check(url)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        // What a message says must not choose whom we talk to.
        Some(host) if host.contains('{') => Err("no placeholder in the host".to_owned()),
        Some(host) if !host.is_empty() && !url.contains(|c: char| c.is_whitespace() || c.is_control()) => Ok(()),
        _ => Err("an address that begins with https:// (or http://), without spaces".to_owned()),
    }
}

fn check_headers(lines: &str) -> Result<(), String> {
    check_lines(lines, ':', |name, value| {
        placeholders::check(value)?;
        let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let reserved = ["host", "content-length", "transfer-encoding", "connection"];
        match name.to_ascii_lowercase() {
            name if !good || reserved.contains(&name.as_str()) => Err(format!("{name} cannot be set")),
            _ if value.bytes().any(|b| b < b' ' || b == 0x7F) => Err("no control characters".to_owned()),
            _ => Ok(()),
        }
    })
}

fn check_form(lines: &str) -> Result<(), String> {
    check_lines(lines, '=', |_, value| placeholders::check(value))
}

fn check_json(template: &str) -> Result<(), String> {
    placeholders::check(template)?;
    let sample = placeholders::sample(template);
    serde_json::from_str::<Value>(&sample).map(|_| ()).map_err(|e| format!("no JSON once filled in: {e}"))
}

fn check_errors(lines: &str) -> Result<(), String> {
    check_lines(lines, '=', |_, what| {
        let help = "throttled, temporary, failover, permanent or fatal, and a code of the catalogue";
        error_of(what).map(|_| ()).ok_or_else(|| help.to_owned())
    })
}

fn check_statuses(lines: &str) -> Result<(), String> {
    check_lines(lines, '=', |_, what| {
        let help = "delivered, interim, unknown, failed, or failed and a code of the catalogue";
        status_of(what).map(|_| ()).ok_or_else(|| help.to_owned())
    })
}

#[cfg(test)]
mod tests;
