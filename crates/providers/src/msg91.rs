//! MSG91, API v5: it sends registered templates only, so a text must fit one of those in the settings. One-time codes with a template
//! whose variable is `OTP` go by the OTP API, all else by flows.

use std::collections::BTreeMap;

use carillon_domain::error_code::{ErrorCode, ReceiptState, SendError, SendErrorKind};
use carillon_domain::message::Category;
use serde_json::Value;

use crate::field::{Credentials, Field, Kind};
use crate::wire::{
    by_status, form, json, object, parameters, phone, post_json, quoted, refused, scalar, unsupported, words,
};
use crate::{
    Accepted, Callback, CallbackError, Content, Heard, Inbound, Outbound, Receipt, Request, Response, template,
};

pub(crate) const FIELDS: &[Field] = &[
    Field::secret_of("authkey", "Authkey", "MSG91's panel, under Authkey. Allow this server's address there.")
        .required(),
    template::FIELD.required(),
    Field::text("sender", "Sender id", "Six letters (the DLT header); used where a message names no sender."),
    Field::text("base_url", "Base URL", "Another address of the API, if not https://control.msg91.com.")
        .kind(Kind::Url),
];

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    let Content::Text(text) = message.content else { return Err(unsupported("msg91", "binary messages")) };
    if message.flash || !message.media.is_empty() {
        return Err(unsupported("msg91", "flash messages and media"));
    }
    let Some(found) = template::find(credentials, text) else {
        let carrier = "msg91: the text fits no template of the connection";
        return Err(refused(SendErrorKind::FailOver, ErrorCode::TemplateUnknown, carrier));
    };
    let base = credentials.given("base_url").unwrap_or("https://control.msg91.com").trim_end_matches('/');
    let mobile = message.to.digits().to_string();
    let sender = message.from.or_else(|| credentials.given("sender"));
    // Codes there are numbers of four to nine digits, and one of another length than four says so (world.msg91.com/apidoc/otp/otp.php; npmjs.com,
    // sendotp); others go as text.
    let is_code = |code: &&str| (4..=9).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit());
    let code = found.variables.iter().find(|(name, _)| *name == "OTP").map(|(_, code)| *code).filter(is_code);
    let mut request = match code {
        Some(code) if message.category == Category::Otp => {
            let minutes = (message.validity_s / 60).max(1).to_string();
            let length = code.len().to_string();
            let mut query = vec![
                ("template_id", found.id),
                ("mobile", &mobile),
                ("otp", code),
                ("otp_length", &length),
                ("otp_expiry", &minutes),
            ];
            query.extend(sender.map(|sender| ("sender", sender)));
            let others = found.variables.iter().filter(|(name, _)| *name != "OTP");
            let body = object(others.map(|(name, value)| (*name, quoted(value))));
            post_json(format!("{base}/api/v5/otp?{}", form(query)), body)
        }
        _ => {
            let mut recipient = vec![("mobiles", quoted(&mobile))];
            recipient.extend(found.variables.iter().map(|(name, value)| (*name, quoted(value))));
            recipient.push(("clientid", quoted(message.id)));
            let mut members = vec![("template_id", quoted(found.id)), ("short_url", quoted("0"))];
            members.extend(sender.map(|sender| ("sender", quoted(sender))));
            members.push(("recipients", format!("[{}]", object(recipient))));
            post_json(format!("{base}/api/v5/flow"), object(members))
        }
    };
    request.headers.push(("authkey".to_owned(), credentials.get("authkey").to_owned()));
    Ok(request)
}

pub(crate) fn response(answer: &Response<'_>, _: &Credentials) -> Result<Accepted, SendError> {
    let Some(Value::Object(body)) = json(answer.body) else {
        let unread = SendError::unknown(format!("msg91 http {} without JSON", answer.status));
        return Err(if answer.status < 300 { unread } else { by_status("msg91", answer.status) });
    };
    let get = |name: &str| body.get(name).and_then(scalar).unwrap_or_default();
    // An error may come with HTTP 200: `type` counts.
    match get("type").as_str() {
        "success" => {
            let id = Some(get("request_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| get("message"));
            if id.is_empty() {
                Err(SendError::unknown("msg91: success without a request id"))
            } else {
                Ok(Accepted::Message(id))
            }
        }
        "error" => Err(error(answer.status, &get("code"), &get("message"))),
        _ if answer.status < 300 => Err(SendError::unknown("msg91: an answer of no known type")),
        _ => Err(by_status("msg91", answer.status)),
    }
}

/// MSG91's codes where it gives one, else the words of its message.
fn error(status: u16, code: &str, message: &str) -> SendError {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Throttled};
    let lower = message.to_ascii_lowercase();
    let says = |some: &[&str]| some.iter().any(|text| lower.contains(text));
    let (kind, error) = match code {
        "101" | "202" => (Permanent, E::InvalidNumber),
        "103" | "203" => (FailOver, E::SenderRejected),
        "106" | "201" | "207" | "208" | "418" => (ConnectionFatal, E::CarrierCredentials),
        "301" => (FailOver, E::CarrierAccount),
        "302" | "303" => (ConnectionFatal, E::CarrierAccount),
        "306" => (FailOver, E::BlockedByCarrier),
        "310" => (Permanent, E::MessageTooLong),
        "311" => (Permanent, E::ContentFiltered),
        "211" | "400" if says(&["template", "flow"]) => (FailOver, E::TemplateUnknown),
        _ if status == 429 || says(&["too many", "rate limit", "limit exceeded"]) => (Throttled, E::CarrierCongested),
        _ if says(&["auth", "ip not whitelisted", "unauthorized"]) => (ConnectionFatal, E::CarrierCredentials),
        _ if says(&["template", "flow id", "flow_id", "dlt"]) => (FailOver, E::TemplateUnknown),
        _ if says(&["balance", "credit", "wallet"]) => (FailOver, E::CarrierAccount),
        _ if says(&["sender"]) => (FailOver, E::SenderRejected),
        _ if says(&["mobile", "number", "recipient"]) => (Permanent, E::InvalidNumber),
        _ if status >= 500 => return by_status("msg91", status),
        _ => (Permanent, E::CarrierRejected),
    };
    refused(kind, error, words(&format!("msg91 {code} {message}")))
}

/// Reports: a form with `data` holding JSON (v2), or JSON of one report or several (v3 and templates of the customer's own, which use
/// these names). MSG91 does not sign: the callback address holds the secret.
pub(crate) fn heard(callback: &Callback<'_>, _: &Credentials) -> Result<Heard, CallbackError> {
    let form = parameters(callback);
    let batches = form.get("data").and_then(|data| json(data.as_bytes())).or_else(|| json(callback.body));
    let batches = match batches {
        Some(Value::Array(batches)) => batches,
        Some(Value::Object(batch)) => vec![Value::Object(batch)],
        _ if form.contains_key("requestId") || form.contains_key("message") => vec![members(&form)],
        _ => return Err(CallbackError::Malformed("no report")),
    };
    let mut heard = Heard::default();
    for batch in &batches {
        match batch["report"].as_array() {
            Some(reports) => heard.receipts.extend(reports.iter().filter_map(|report| receipt(batch, report))),
            None if batch.get("status").is_some() => heard.receipts.extend(receipt(batch, batch)),
            None => heard.inbound.extend(inbound(batch)),
        }
    }
    if heard == Heard::default() { Err(CallbackError::Malformed("no report with a request id")) } else { Ok(heard) }
}

fn members(form: &BTreeMap<String, String>) -> Value {
    form.iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn first(values: &[&Value], names: &[&str]) -> Option<String> {
    let of = |name: &&str| values.iter().find_map(|value| value.get(*name).and_then(scalar));
    names.iter().find_map(of).filter(|text| !text.is_empty())
}

fn receipt(batch: &Value, report: &Value) -> Option<Receipt> {
    let both = [report, batch];
    let id = first(&both, &["requestId", "request_id"])?;
    let status = first(&[report], &["status"]).unwrap_or_default();
    let reason = first(&[report], &["failedReason", "failureReason", "desc"]).unwrap_or_default();
    let state = match status.to_ascii_lowercase().as_str() {
        "1" | "delivered" => ReceiptState::Delivered,
        "2" | "failed" => ReceiptState::Failed(reason_of(&reason)),
        "9" | "ndnc" => ReceiptState::Failed(ErrorCode::BlockedByRecipient),
        "16" | "25" | "rejected" => ReceiptState::Failed(ErrorCode::CarrierRejected),
        "17" | "blocked" => ReceiptState::Failed(ErrorCode::BlockedByCarrier),
        _ => ReceiptState::Interim,
    };
    let to = first(&[report], &["number", "telNum", "mobile"]).and_then(|number| phone(&number));
    Some(Receipt { id, to, state, carrier: words(&format!("msg91 {status} {reason}")) })
}

fn reason_of(reason: &str) -> ErrorCode {
    let reason = reason.to_ascii_lowercase();
    match () {
        () if reason.contains("absent") => ErrorCode::AbsentSubscriber,
        () if reason.contains("template") => ErrorCode::TemplateUnknown,
        () if reason.contains("expired") => ErrorCode::Expired,
        () if reason.contains("memory") => ErrorCode::HandsetFull,
        () if reason.contains("unknown subscriber") || reason.contains("invalid") => ErrorCode::UnknownSubscriber,
        () => ErrorCode::Undeliverable,
    }
}

fn inbound(message: &Value) -> Option<Inbound> {
    let of = |names: &[&str]| first(&[message], names);
    Some(Inbound {
        id: of(&["UUID", "uuid", "CRQID", "requestId", "id"])?,
        from: of(&["mobile", "sender", "number", "telNum"])?,
        to: of(&["receiver", "longcode", "shortcode", "to"])?,
        text: of(&["message", "content", "text"]).unwrap_or_default(),
        part: None,
        media: Vec::new(),
    })
}

#[cfg(test)]
#[path = "msg91/tests.rs"]
mod tests;
