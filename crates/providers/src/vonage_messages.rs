//! Vonage Messages API, version 1: SMS and MMS as JSON. Callbacks carry a JWT over their body.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use carillon_domain::encoding::{Encoding, Shift};
use carillon_domain::error_code::{ErrorCode, ReceiptState, SendError, SendErrorKind};
use carillon_domain::media::{Carries, MediaKind, MessageFile};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::field::{Credentials, Field, Kind};
use crate::wire::{
    basic, by_status, hex, json, object, phone, post_json, quoted, refused, same, scalar, unsupported, without_plus,
};
use crate::{
    Accepted, Callback, CallbackError, Content, Heard, Inbound, Outbound, Receipt, Request, Response, template, vonage,
};

pub(crate) const FIELDS: &[Field] = &[
    vonage::API_KEY,
    vonage::API_SECRET,
    Field::secret_of(
        "signature_secret",
        "Signature secret",
        "Under API settings. Callbacks are believed only if signed with it.",
    )
    .required(),
    vonage::ENTITY,
    template::FIELD,
    Field::text("base_url", "Base URL", "Another address of the API, if not https://api.nexmo.com.").kind(Kind::Url),
];

/// developer.vonage.com/en/messages/concepts/mms: one file by its type, several as `content`; how many is not said. Types of files:
/// developer.vonage.com/en/blog/what-can-i-do-with-mms.
pub(crate) const CARRIES: Carries = Carries {
    files: 10,
    kinds: &[MediaKind::Jpeg, MediaKind::Png, MediaKind::Gif, MediaKind::Mp4, MediaKind::Vcard, MediaKind::Pdf],
};

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    let Content::Text(text) = message.content else { return Err(unsupported("vonage", "binary by the Messages API")) };
    if message.flash {
        return Err(unsupported("vonage", "flash messages by the Messages API"));
    }
    let Some(from) = message.from.map(without_plus) else {
        return Err(refused(SendErrorKind::FailOver, ErrorCode::SenderRejected, "vonage: a sender is required"));
    };
    let mut members = Vec::with_capacity(9);
    match message.media {
        [_, ..] => {
            members.extend(files(message.media, text));
            members.push(("channel", quoted("mms")));
            members.push(("ttl", message.validity_s.clamp(300, 259_200).to_string()));
        }
        [] => {
            members.extend([("message_type", quoted("text")), ("text", quoted(text)), ("channel", quoted("sms"))]);
            members.push(("ttl", message.validity_s.clamp(20, 604_800).to_string()));
            let plain = message.encoding == Encoding::Gsm7(Shift::NONE);
            let mut sms = vec![("encoding_type", quoted(if plain { "text" } else { "unicode" }))];
            if let Some(entity) = credentials.given("dlt_entity_id") {
                sms.push(("entity_id", quoted(entity)));
                sms.extend(template::find(credentials, text).map(|found| ("content_id", quoted(found.id))));
            }
            members.push(("sms", object(sms)));
        }
    }
    members.extend([("to", quoted(&message.to.digits().to_string())), ("from", quoted(from))]);
    members.push(("client_ref", quoted(message.id)));
    if let Some(url) = message.callback_url {
        members.extend([("webhook_url", quoted(url)), ("webhook_version", quoted("v1"))]);
    }
    let base = credentials.given("base_url").unwrap_or("https://api.nexmo.com").trim_end_matches('/');
    let mut request = post_json(format!("{base}/v1/messages"), object(members));
    let authorization = basic(credentials.get("api_key"), credentials.get("api_secret"));
    request.headers.push(("authorization".to_owned(), authorization));
    request.headers.push(("accept".to_owned(), "application/json".to_owned()));
    Ok(request)
}

/// One file under its own name, several in a list; the text is the caption of the first.
fn files(files: &[MessageFile], text: &str) -> [(&'static str, String); 2] {
    let word = |file: &MessageFile| file.kind.map_or("file", MediaKind::word);
    let caption = |first: bool| (first && !text.is_empty()).then(|| ("caption", quoted(text)));
    if let [file] = files {
        let members = [("url", quoted(&file.url))].into_iter().chain(caption(true));
        return [("message_type", quoted(word(file))), (word(file), object(members))];
    }
    let item = |(place, file): (usize, &MessageFile)| {
        let members = [("type", quoted(word(file))), ("url", quoted(&file.url))].into_iter().chain(caption(place == 0));
        object(members)
    };
    let items: Vec<String> = files.iter().enumerate().map(item).collect();
    [("message_type", quoted("content")), ("content", format!("[{}]", items.join(",")))]
}

pub(crate) fn response(answer: &Response<'_>, _: &Credentials) -> Result<Accepted, SendError> {
    let body = json(answer.body).unwrap_or(Value::Null);
    if !matches!(answer.status, 200..=202) {
        return Err(number(&body).and_then(by_code).unwrap_or_else(|| by_status("vonage", answer.status)));
    }
    match body["message_uuid"].as_str() {
        Some(id) => Ok(Accepted::Message(id.to_owned())),
        None => Err(SendError::unknown(format!("vonage http {} without a message_uuid", answer.status))),
    }
}

/// The number of an error: its `title` in callbacks, the end of `type` (…/api-errors/messages#1120) everywhere.
fn number(error: &Value) -> Option<u32> {
    let title = error.get("title").and_then(scalar).and_then(|title| title.parse().ok());
    title.or_else(|| error.get("type")?.as_str()?.rsplit_once('#')?.1.parse().ok())
}

/// developer.vonage.com/api-errors/messages.
#[rustfmt::skip]
fn by_code(code: u32) -> Option<SendError> {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    let (kind, error) = match code {
        1000 => (Throttled, E::CarrierCongested),
        1010 | 1020 | 1021 | 1130 => (Permanent, E::MessageInvalid),
        1022 => (FailOver, E::TemplateUnknown),
        1030 | 1100 => (Temporary { tries: 3 }, E::CarrierError),
        1040 => (FailOver, E::CarrierRejected),
        1050 => (FailOver, E::BlockedByCarrier),
        1060 | 1080 => (ConnectionFatal, E::CarrierAccount),
        1070 => (FailOver, E::CarrierAccount),
        1090 => (Permanent, E::MessageTooLong),
        1120 | 1420 => (FailOver, E::SenderRejected),
        1160 => (FailOver, E::BlockedByCarrier),
        1170 | 1240 | 1430 => (Permanent, E::InvalidNumber),
        1180 => (Permanent, E::AbsentSubscriber),
        1190 => (Permanent, E::UnknownSubscriber),
        1200 | 1250 | 1260 | 1300 => (FailOver, E::Undeliverable),
        1210 | 1480 | 1482 => (Permanent, E::ContentFiltered),
        1220 => (Permanent, E::HandsetBusy),
        1230 => (FailOver, E::CarrierError),
        1270 | 1280 | 1470 | 1472 | 1483 => (FailOver, E::BlockedByCarrier),
        1290 => (FailOver, E::CarrierAccount),
        1481 => (FailOver, E::SenderRejected),
        _ => return None,
    };
    Some(refused(kind, error, format!("vonage {code}")))
}

pub(crate) fn heard(callback: &Callback<'_>, credentials: &Credentials) -> Result<Heard, CallbackError> {
    verify(callback, credentials)?;
    let body = json(callback.body).unwrap_or(Value::Null);
    let get = |name: &str| body.get(name).and_then(scalar).unwrap_or_default();
    let id = get("message_uuid");
    if id.is_empty() {
        return Err(CallbackError::Malformed("no message_uuid"));
    }
    let status = get("status");
    if status.is_empty() {
        let media = ["image", "video", "audio", "file", "vcard"];
        let media =
            media.iter().filter_map(|kind| Some((body.get(*kind)?["url"].as_str()?.to_owned(), (*kind).to_owned())));
        let caption = || body["image"]["caption"].as_str().unwrap_or_default().to_owned();
        let text = Some(get("text")).filter(|text| !text.is_empty()).unwrap_or_else(caption);
        let inbound = Inbound { id, from: get("from"), to: get("to"), text, part: None, media: media.collect() };
        return Ok(Heard { receipts: Vec::new(), inbound: vec![inbound] });
    }
    let error = number(&body["error"]);
    let failed = |otherwise| ReceiptState::Failed(error.and_then(by_code).map_or(otherwise, |error| error.code));
    let state = match status.as_str() {
        "delivered" | "read" => ReceiptState::Delivered,
        "rejected" => failed(ErrorCode::CarrierRejected),
        "undeliverable" => failed(ErrorCode::Undeliverable),
        _ => ReceiptState::Interim,
    };
    let carrier = error.map_or_else(|| format!("vonage {status}"), |error| format!("vonage {status} {error}"));
    let receipt = Receipt { id, to: phone(&get("to")), state, carrier };
    Ok(Heard { receipts: vec![receipt], inbound: Vec::new() })
}

/// `Authorization: Bearer` with a JWT (RFC 7519, HS256 and nothing else) of the account's signature secret, which names the body by
/// its SHA-256.
fn verify(callback: &Callback<'_>, credentials: &Credentials) -> Result<(), CallbackError> {
    let secret = credentials.given("signature_secret").ok_or(CallbackError::Unsigned)?;
    let header = callback.header("authorization").ok_or(CallbackError::Unsigned)?;
    let token = header.strip_prefix("Bearer ").ok_or(CallbackError::Unsigned)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(CallbackError::Forged)?;
    let (head, claims) = signed.split_once('.').ok_or(CallbackError::Forged)?;
    let signature = decoded(signature)?;
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(signed.as_bytes()).verify_slice(&signature).map_err(|_| CallbackError::Forged)?;
    let head = json(&decoded(head)?).unwrap_or(Value::Null);
    let claims = json(&decoded(claims)?).unwrap_or(Value::Null);
    if head["alg"] != "HS256" || claims["api_key"] != *credentials.get("api_key") {
        return Err(CallbackError::Forged);
    }
    // Without it the token would be good for any body.
    let hash = claims["payload_hash"].as_str().ok_or(CallbackError::Forged)?;
    if same(&hex(&Sha256::digest(callback.body)), &hash.to_ascii_lowercase()) {
        Ok(())
    } else {
        Err(CallbackError::Forged)
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, CallbackError> {
    URL_SAFE_NO_PAD.decode(part).or_else(|_| URL_SAFE.decode(part)).map_err(|_| CallbackError::Forged)
}

#[cfg(test)]
#[path = "vonage_messages/tests.rs"]
mod tests;
