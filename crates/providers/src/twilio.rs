//! Twilio Programmable Messaging, API version 2010-04-01.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::error_code::{ErrorCode, ReceiptState, SendError, SendErrorKind};
use carillon_domain::media::{Carries, MediaKind};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::field::{Credentials, Field, Kind};
use crate::wire::{basic, by_status, hex, json, parameters, phone, post_form, refused, same, unsupported};
use crate::{Accepted, Callback, CallbackError, Content, Heard, Inbound, Outbound, Receipt, Request, Response};

pub(crate) const FIELDS: &[Field] = &[
    Field::text("account_sid", "Account SID", "Begins with AC; on the first page of Twilio's console.").required(),
    Field::secret_of("auth_token", "Auth token", "Beside the account SID. Callbacks are signed with it.").required(),
    Field::text(
        "api_key_sid",
        "API key SID",
        "Begins with SK; if given, requests use this key instead of the auth token.",
    ),
    Field::secret_of("api_key_secret", "API key secret", "The secret of that key."),
    Field::text(
        "messaging_service_sid",
        "Messaging service SID",
        "Begins with MG; sends from its pool where a message names no sender.",
    ),
    Field::text("base_url", "Base URL", "Another address of the API, e.g. https://api.dublin.ie1.twilio.com.")
        .kind(Kind::Url),
];

/// Up to ten `MediaUrl`, of 5 MB together (twilio.com/docs/messaging/api/message-resource); WebP is for WhatsApp alone
/// (twilio.com/docs/messaging/guides/accepted-mime-types).
pub(crate) const CARRIES: Carries = Carries {
    files: 10,
    kinds: &[
        MediaKind::Jpeg,
        MediaKind::Png,
        MediaKind::Gif,
        MediaKind::Mp4,
        MediaKind::ThreeGp,
        MediaKind::Vcard,
        MediaKind::Pdf,
    ],
};

/// Twilio's longest validity, seconds; messages are tried no longer there.
const VALIDITY_MAX_S: u32 = 36_000;

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    let Content::Text(text) = message.content else { return Err(unsupported("twilio", "binary messages")) };
    if message.flash {
        return Err(unsupported("twilio", "flash messages"));
    }
    let to = message.to.to_string();
    let validity = message.validity_s.clamp(1, VALIDITY_MAX_S).to_string();
    let mut pairs = vec![("To", to.as_str())];
    match (message.from, credentials.given("messaging_service_sid")) {
        (Some(from), _) => pairs.push(("From", from)),
        (None, Some(service)) => pairs.push(("MessagingServiceSid", service)),
        (None, None) => {
            let carrier = "twilio: neither a sender nor a messaging service";
            return Err(refused(SendErrorKind::FailOver, ErrorCode::SenderRejected, carrier));
        }
    }
    if !text.is_empty() {
        pairs.push(("Body", text));
    }
    pairs.extend(message.media.iter().map(|file| ("MediaUrl", file.url.as_str())));
    pairs.push(("ValidityPeriod", &validity));
    pairs.extend(message.callback_url.map(|url| ("StatusCallback", url)));
    let base = credentials.given("base_url").unwrap_or("https://api.twilio.com").trim_end_matches('/');
    let sid = credentials.get("account_sid");
    let mut request = post_form(format!("{base}/2010-04-01/Accounts/{sid}/Messages.json"), pairs);
    let (user, password) = match credentials.given("api_key_sid") {
        Some(key) => (key, credentials.get("api_key_secret")),
        None => (sid, credentials.get("auth_token")),
    };
    request.headers.push(("authorization".to_owned(), basic(user, password)));
    Ok(request)
}

pub(crate) fn response(answer: &Response<'_>, _: &Credentials) -> Result<Accepted, SendError> {
    let body = json(answer.body).unwrap_or(Value::Null);
    let number = |name: &str| body.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    if !matches!(answer.status, 200 | 201) {
        return Err(number("code").and_then(by_code).unwrap_or_else(|| by_status("twilio", answer.status)));
    }
    if let (Some("failed"), Some(code)) = (body["status"].as_str(), number("error_code")) {
        let error = failure(&code.to_string());
        return Err(refused(SendErrorKind::Permanent, error, format!("twilio {code}")));
    }
    match body["sid"].as_str() {
        Some(sid) => Ok(Accepted::Message(sid.to_owned())),
        None => Err(SendError::unknown(format!("twilio http {} without a sid", answer.status))),
    }
}

/// What an error of the request means; twilio.com/docs/api/errors.
#[rustfmt::skip]
fn by_code(code: u32) -> Option<SendError> {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Throttled};
    let (kind, error) = match code {
        20003 | 20404 => (ConnectionFatal, E::CarrierCredentials),
        20005 => (ConnectionFatal, E::CarrierAccount),
        14107 | 20429 | 21611 => (Throttled, E::CarrierCongested),
        21211 => (Permanent, E::InvalidNumber),
        21212 | 21603 | 21606 | 21659 | 21660 | 21703 | 21705 => (FailOver, E::SenderRejected),
        21408 | 21608 => (FailOver, E::BlockedByCarrier),
        21610 => (Permanent, E::BlockedByRecipient),
        21612 => (FailOver, E::CarrierRejected),
        21614 => (Permanent, E::NotMobile),
        21617 => (Permanent, E::MessageTooLong),
        12300 | 21623 => (FailOver, E::Unsupported), // files of another type, or too many: elsewhere they go as links
        20422 | 21602 | 21604 | 21619 | 21620 => (Permanent, E::MessageInvalid),
        21609 => (FailOver, E::CarrierError), // our callback address: a matter of the connection
        30002 | 30037 => (FailOver, E::CarrierAccount),
        _ => return None,
    };
    Some(refused(kind, error, format!("twilio {code}")))
}

/// What `ErrorCode` of a receipt means (twilio.com/docs/api/errors/30001 and on). Twilio splits its codes now and then: one we do not know is a failure without a reason.
fn failure(code: &str) -> ErrorCode {
    use ErrorCode as E;
    match code {
        "30001" | "30017" | "30022" | "30023" | "30027" => E::CarrierCongested,
        "30002" | "30037" => E::CarrierAccount,
        "30003" => E::AbsentSubscriber,
        "30004" | "30450" => E::BlockedByCarrier,
        "30005" => E::UnknownSubscriber,
        "30006" => E::NotMobile,
        "30007" | "30038" | "30039" => E::ContentFiltered,
        "30009" | "30018" => E::MessageInvalid,
        "30010" => E::CarrierRejected,
        "12300" | "30011" => E::Unsupported,
        "30012" | "30036" => E::Expired,
        "30019" | "63034" => E::MessageTooLong,
        "30024" | "30032" | "30033" | "30034" | "30035" => E::SenderRejected,
        "21610" => E::BlockedByRecipient,
        _ => E::Undeliverable,
    }
}

pub(crate) fn heard(callback: &Callback<'_>, credentials: &Credentials) -> Result<Heard, CallbackError> {
    verify(callback, credentials.get("auth_token"))?;
    let parameters = parameters(callback);
    let get = |name: &str| parameters.get(name).map_or("", String::as_str);
    let id = Some(get("MessageSid")).filter(|id| !id.is_empty()).unwrap_or(get("SmsSid")).to_owned();
    if id.is_empty() {
        return Err(CallbackError::Malformed("no MessageSid"));
    }
    let status = Some(get("MessageStatus")).filter(|s| !s.is_empty()).unwrap_or(get("SmsStatus"));
    // An inbound message has a status too, `received`, and a body, which may be empty beside media.
    if status == "received" || (status.is_empty() && parameters.contains_key("Body")) {
        let inbound = Inbound {
            id,
            from: get("From").to_owned(),
            to: get("To").to_owned(),
            text: get("Body").to_owned(),
            part: None,
            media: media(&parameters),
        };
        return Ok(Heard { receipts: Vec::new(), inbound: vec![inbound] });
    }
    let error = get("ErrorCode");
    let state = match status {
        "delivered" | "read" => ReceiptState::Delivered,
        "undelivered" | "failed" => ReceiptState::Failed(failure(error)),
        "canceled" => ReceiptState::Failed(ErrorCode::Canceled),
        _ => ReceiptState::Interim,
    };
    let carrier = if error.is_empty() { format!("twilio {status}") } else { format!("twilio {status} {error}") };
    let receipt = Receipt { id, to: phone(get("To")), state, carrier };
    Ok(Heard { receipts: vec![receipt], inbound: Vec::new() })
}

fn media(parameters: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let count = parameters.get("NumMedia").and_then(|n| n.parse().ok()).unwrap_or(0).min(10);
    let of = |name: &str, i: u32| parameters.get(&format!("{name}{i}")).cloned();
    (0..count).filter_map(|i| Some((of("MediaUrl", i)?, of("MediaContentType", i).unwrap_or_default()))).collect()
}

/// `X-Twilio-Signature`: HMAC-SHA1 of the address and the sorted parameters, in base64. The sender writes the port or leaves it out
/// as it likes, so both are good.
fn verify(callback: &Callback<'_>, token: &str) -> Result<(), CallbackError> {
    let given = callback.header("x-twilio-signature").ok_or(CallbackError::Unsigned)?;
    if token.is_empty() {
        return Err(CallbackError::Unsigned);
    }
    let sha = form_urlencoded::parse(callback.url.split_once('?').map_or("", |(_, query)| query).as_bytes())
        .find(|(name, _)| name == "bodySHA256")
        .map(|(_, value)| value.into_owned());
    let signed = match sha {
        Some(sha) if same(&hex(&Sha256::digest(callback.body)), &sha) => String::new(),
        Some(_) => return Err(CallbackError::Forged),
        None => {
            let pairs: BTreeSet<_> = form_urlencoded::parse(callback.body).collect();
            pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect()
        }
    };
    let good = addresses(callback.url).iter().any(|url| {
        let mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
        let mac = mac.chain_update(url.as_bytes()).chain_update(signed.as_bytes()).finalize();
        same(&STANDARD.encode(mac.into_bytes()), given)
    });
    if good { Ok(()) } else { Err(CallbackError::Forged) }
}

/// The address without and with its port.
fn addresses(url: &str) -> [String; 2] {
    let Some((scheme, rest)) = url.split_once("://") else { return [url.to_owned(), url.to_owned()] };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    };
    let port = if host.len() > bare.len() {
        &host[bare.len()..]
    } else if scheme == "http" {
        ":80"
    } else {
        ":443"
    };
    [format!("{scheme}://{bare}{path}"), format!("{scheme}://{bare}{port}{path}")]
}

#[cfg(test)]
#[path = "twilio/tests.rs"]
mod tests;
