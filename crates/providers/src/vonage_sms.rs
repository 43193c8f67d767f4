//! Vonage (Nexmo) SMS API: a form goes out, one answer per part comes back, always with HTTP 200.

use std::collections::BTreeMap;

use carillon_domain::encoding::{Encoding, Shift};
use carillon_domain::error_code::{ErrorCode, ReceiptState, SendError, SendErrorKind};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::field::{Credentials, Field, Kind};
use crate::wire::{
    basic, by_status, hex, json, parameters, phone, post_form, refused, same, scalar, unsupported, without_plus,
};
use crate::{
    Accepted, Callback, CallbackError, Content, Heard, Inbound, InboundPart, Outbound, Receipt, Request, Response,
    template, vonage,
};

pub(crate) const FIELDS: &[Field] = &[
    vonage::API_KEY,
    vonage::API_SECRET,
    Field::secret_of(
        "signature_secret",
        "Signature secret",
        "Under API settings. Callbacks are believed only if signed with it; Vonage's support turns signing on.",
    )
    .required(),
    Field::text(
        "signature_method",
        "Signature method",
        "As the account is set at Vonage; md5hash is Vonage's first setting.",
    )
    .kind(Kind::Choice(&["md5hash", "md5", "sha1", "sha256", "sha512"]))
    .required(),
    vonage::ENTITY,
    template::FIELD,
    Field::text("base_url", "Base URL", "Another address of the API, if not https://rest.nexmo.com.").kind(Kind::Url),
];

/// The longest callback address Vonage takes with a message.
const CALLBACK_MAX: usize = 100;

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    if !message.media.is_empty() {
        return Err(unsupported("vonage", "media by the SMS API"));
    }
    let Some(from) = message.from.map(without_plus) else {
        return Err(refused(SendErrorKind::FailOver, ErrorCode::SenderRejected, "vonage: a sender is required"));
    };
    let to = message.to.digits().to_string();
    let ttl = (u64::from(message.validity_s) * 1000).clamp(20_000, 604_800_000).to_string();
    let binary;
    let mut pairs = vec![("from", from), ("to", &to)];
    match message.content {
        Content::Text(text) => {
            let plain = message.encoding == Encoding::Gsm7(Shift::NONE);
            pairs.extend([("type", if plain { "text" } else { "unicode" }), ("text", text)]);
            if let Some(entity) = credentials.given("dlt_entity_id") {
                pairs.push(("entity-id", entity));
                pairs.extend(template::find(credentials, text).map(|found| ("content-id", found.id)));
            }
        }
        Content::Binary(_) if message.parts > 1 => {
            return Err(unsupported("vonage", "binary messages of several parts"));
        }
        Content::Binary(octets) => {
            binary = hex(octets);
            pairs.extend([("type", "binary"), ("body", binary.as_str())]);
        }
    }
    if message.flash {
        pairs.push(("message-class", "0"));
    }
    pairs.extend([("ttl", ttl.as_str()), ("status-report-req", "1"), ("client-ref", message.id)]);
    pairs.extend(message.callback_url.filter(|url| url.len() <= CALLBACK_MAX).map(|url| ("callback", url)));
    let base = credentials.given("base_url").unwrap_or("https://rest.nexmo.com").trim_end_matches('/');
    let mut request = post_form(format!("{base}/sms/json"), pairs);
    let authorization = basic(credentials.get("api_key"), credentials.get("api_secret"));
    request.headers.push(("authorization".to_owned(), authorization));
    Ok(request)
}

pub(crate) fn response(answer: &Response<'_>, _: &Credentials) -> Result<Accepted, SendError> {
    if answer.status != 200 {
        return Err(by_status("vonage", answer.status));
    }
    let body = json(answer.body).unwrap_or(Value::Null);
    let entries = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let parts: Vec<_> = entries.iter().map(entry).collect();
    match parts.first() {
        None => Err(SendError::unknown("vonage: an answer without messages")),
        Some(Err(error)) if parts.iter().all(Result::is_err) => Err(error.clone()),
        Some(_) => Ok(Accepted::Parts(parts)),
    }
}

fn entry(entry: &Value) -> Result<String, SendError> {
    let status = entry.get("status").and_then(scalar).unwrap_or_default();
    match (status.as_str(), entry.get("message-id").and_then(Value::as_str)) {
        ("0", Some(id)) => Ok(id.to_owned()),
        ("0" | "", _) => Err(SendError::unknown("vonage: accepted without an id")),
        _ => Err(by_code(&status)),
    }
}

/// `status` of a message in the answer (developer.vonage.com/en/api-errors/sms).
fn by_code(status: &str) -> SendError {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    let (kind, code) = match status {
        "1" | "10" => (Throttled, E::CarrierCongested),
        "4" | "14" | "32" => (ConnectionFatal, E::CarrierCredentials),
        "5" => (Temporary { tries: 3 }, E::CarrierError),
        "6" => (FailOver, E::CarrierRejected),
        "7" => (FailOver, E::BlockedByCarrier),
        "8" | "11" => (ConnectionFatal, E::CarrierAccount),
        "9" => (FailOver, E::CarrierAccount),
        "12" => (Permanent, E::MessageTooLong),
        "15" => (FailOver, E::SenderRejected),
        "22" | "29" => (FailOver, E::BlockedByCarrier),
        "23" => (FailOver, E::CarrierError),
        "33" => (Permanent, E::UnknownSubscriber),
        "2" | "3" => (Permanent, E::MessageInvalid),
        _ => (Permanent, E::CarrierRejected),
    };
    refused(kind, code, format!("vonage {status}"))
}

pub(crate) fn heard(callback: &Callback<'_>, credentials: &Credentials) -> Result<Heard, CallbackError> {
    let parameters = parameters(callback);
    verify(&parameters, credentials)?;
    let get = |name: &str| parameters.get(name).map_or("", String::as_str);
    let id = get("messageId").to_owned();
    if id.is_empty() {
        return Err(CallbackError::Malformed("no messageId"));
    }
    if !parameters.contains_key("status") {
        let text = if get("text").is_empty() { get("data") } else { get("text") };
        let inbound = Inbound {
            id,
            from: get("msisdn").to_owned(),
            to: get("to").to_owned(),
            text: text.to_owned(),
            part: place(&parameters),
            media: Vec::new(),
        };
        return Ok(Heard { receipts: Vec::new(), inbound: vec![inbound] });
    }
    let (status, err) = (get("status"), get("err-code"));
    let failed = |otherwise| ReceiptState::Failed(err.parse().ok().and_then(vonage::failure).unwrap_or(otherwise));
    let state = match status {
        "delivered" => ReceiptState::Delivered,
        "expired" => ReceiptState::Failed(ErrorCode::Expired),
        "failed" => failed(ErrorCode::Undeliverable),
        "rejected" => failed(ErrorCode::CarrierRejected),
        "unknown" => ReceiptState::Unknown,
        _ => ReceiptState::Interim,
    };
    let receipt =
        Receipt { id, to: phone(get("msisdn")), state, carrier: format!("vonage {status} {err}").trim().to_owned() };
    Ok(Heard { receipts: vec![receipt], inbound: Vec::new() })
}

fn place(parameters: &BTreeMap<String, String>) -> Option<InboundPart> {
    let number = |name: &str| parameters.get(name)?.parse::<u32>().ok();
    if parameters.get("concat")? != "true" {
        return None;
    }
    let part = InboundPart {
        // Eight or sixteen bits on the wire; what is longer is the carrier's own and only has to be the same for all parts.
        reference: number("concat-ref")? as u16,
        total: u8::try_from(number("concat-total")?).ok()?,
        index: u8::try_from(number("concat-part")?).ok()?,
    };
    // Impossible numbers: what came is shown as it is.
    (part.index > 0 && part.index <= part.total).then_some(part)
}

/// `sig` over all other parameters in order of name, each as `&name=value`, with `&` and `=` in values replaced by `_`.
fn verify(parameters: &BTreeMap<String, String>, credentials: &Credentials) -> Result<(), CallbackError> {
    let secret = credentials.given("signature_secret").ok_or(CallbackError::Unsigned)?;
    let given = parameters.get("sig").filter(|sig| !sig.is_empty()).ok_or(CallbackError::Unsigned)?;
    let text: String = parameters
        .iter()
        .filter(|(name, _)| *name != "sig")
        .map(|(name, value)| format!("&{name}={}", value.replace(['&', '='], "_")))
        .collect();
    let ours = match credentials.get("signature_method") {
        "md5hash" => hex(&Md5::digest(format!("{text}{secret}"))),
        "md5" => sign::<Hmac<Md5>>(secret, &text),
        "sha1" => sign::<Hmac<Sha1>>(secret, &text),
        "sha256" => sign::<Hmac<Sha256>>(secret, &text),
        "sha512" => sign::<Hmac<Sha512>>(secret, &text),
        _ => return Err(CallbackError::Unsigned),
    };
    if same(&ours, &given.to_ascii_lowercase()) { Ok(()) } else { Err(CallbackError::Forged) }
}

fn sign<M: Mac + KeyInit>(secret: &str, text: &str) -> String {
    let mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    hex(&mac.chain_update(text.as_bytes()).finalize().into_bytes())
}

#[cfg(test)]
#[path = "vonage_sms/tests.rs"]
mod tests;
