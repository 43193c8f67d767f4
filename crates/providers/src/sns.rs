//! AWS SNS: `Publish` to a phone number by the Query API, signed with Signature Version 4. SNS calls nobody back: its delivery log comes
//! through the forwarder in `deploy/sns-forwarder`, guarded by the secret in the callback address.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::error_code::{ErrorCode, ReceiptState, SendError, SendErrorKind};
use carillon_domain::message::Category;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::field::{Credentials, Field, Kind};
use crate::sigv4::{self, Keys};
use crate::wire::{by_status, hex, json, phone, post_form, refused, scalar, unsupported};
use crate::{Accepted, Callback, CallbackError, Content, Heard, Outbound, Receipt, Request, Response, template};

pub(crate) const FIELDS: &[Field] = &[
    Field::text("access_key_id", "Access key id", "Of an IAM user that may sns:Publish, and nothing more.").required(),
    Field::secret_of("secret_access_key", "Secret access key", "The secret of that key.").required(),
    Field::text("region", "Region", "Where SMS is enabled for the account, e.g. eu-central-1.")
        .kind(Kind::Checked(region))
        .required(),
    Field::text("max_price", "Highest price", "In US dollars per message, e.g. 0.50; AWS refuses what costs more.")
        .kind(Kind::Checked(price)),
    Field::text("dlt_entity_id", "DLT entity id", "India: your Principal Entity id. Templates are found by the text."),
    template::FIELD,
    Field::text("base_url", "Base URL", "Another address of the API, e.g. a VPC endpoint.").kind(Kind::Url),
];

/// Octets SNS takes in one message.
const OCTETS_MAX: usize = 1600;

fn region(value: &str) -> Result<(), String> {
    let good = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err("a region such as eu-central-1".to_owned()) }
}

fn price(value: &str) -> Result<(), String> {
    let good = value.bytes().all(|b| b.is_ascii_digit() || b == b'.') && value.bytes().any(|b| b.is_ascii_digit());
    if good { Ok(()) } else { Err("US dollars, such as 0.50".to_owned()) }
}

pub(crate) fn request(message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
    let Content::Text(text) = message.content else { return Err(unsupported("sns", "binary messages")) };
    if message.flash || !message.media.is_empty() {
        return Err(unsupported("sns", "flash messages and media"));
    }
    if text.len() > OCTETS_MAX {
        let carrier = format!("sns: more than {OCTETS_MAX} octets");
        return Err(refused(SendErrorKind::FailOver, ErrorCode::MessageTooLong, carrier));
    }
    let kind = if message.category == Category::Promotional { "Promotional" } else { "Transactional" };
    let mut attributes = vec![("AWS.SNS.SMS.SMSType", "String", kind.to_owned())];
    match message.from {
        Some(from) if is_sender_id(from) => attributes.push(("AWS.SNS.SMS.SenderID", "String", from.to_owned())),
        Some(from) => attributes.push(("AWS.MM.SMS.OriginationNumber", "String", from.to_owned())),
        None => {}
    }
    if let Some(price) = credentials.given("max_price") {
        attributes.push(("AWS.SNS.SMS.MaxPrice", "Number", price.to_owned()));
    }
    if let Some(entity) = credentials.given("dlt_entity_id") {
        attributes.push(("AWS.MM.SMS.EntityId", "String", entity.to_owned()));
        let found = template::find(credentials, text).map(|found| found.id.to_owned());
        attributes.extend(found.map(|id| ("AWS.MM.SMS.TemplateId", "String", id)));
    }
    let mut pairs = vec![
        ("Action".to_owned(), "Publish".to_owned()),
        ("Version".to_owned(), "2010-03-31".to_owned()),
        ("PhoneNumber".to_owned(), message.to.to_string()),
        ("Message".to_owned(), text.to_owned()),
    ];
    for (i, (name, kind, value)) in attributes.into_iter().enumerate() {
        let entry = format!("MessageAttributes.entry.{}", i + 1);
        pairs.push((format!("{entry}.Name"), name.to_owned()));
        pairs.push((format!("{entry}.Value.DataType"), kind.to_owned()));
        pairs.push((format!("{entry}.Value.StringValue"), value));
    }
    let region = credentials.get("region");
    let base = match credentials.given("base_url") {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("https://sns.{region}.amazonaws.com"),
    };
    let mut request = post_form(format!("{base}/"), pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    sign(&mut request, "sns", credentials, message.now_ms);
    Ok(request)
}

/// What AWS calls a sender id: 1 to 11 letters and digits, one letter at least, hyphens inside.
fn is_sender_id(from: &str) -> bool {
    let good = from.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    good && from.len() <= 11 && from.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Signs a request as it stands.
fn sign(request: &mut Request, service: &str, credentials: &Credentials, now_ms: i64) {
    let keys = Keys {
        access_key_id: credentials.get("access_key_id"),
        secret_access_key: credentials.get("secret_access_key"),
        region: credentials.get("region"),
        service,
    };
    let method = format!("{:?}", request.method).to_ascii_uppercase();
    let payload = hex(&Sha256::digest(&request.body));
    sigv4::sign(&method, &request.url, &mut request.headers, &payload, &keys, now_ms);
}

pub(crate) fn response(answer: &Response<'_>, _: &Credentials) -> Result<Accepted, SendError> {
    let body = String::from_utf8_lossy(answer.body);
    if answer.status == 200 {
        return match element(&body, "MessageId") {
            Some(id) => Ok(Accepted::Message(id.to_owned())),
            None => Err(SendError::unknown("sns http 200 without a MessageId")),
        };
    }
    let known = element(&body, "Code").and_then(|code| by_code(code, element(&body, "Message").unwrap_or_default()));
    Err(known.unwrap_or_else(|| by_status("sns", answer.status)))
}

/// The text of the first element of this name. AWS's answers are of one fixed shape, and what is looked for needs no unescaping.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

/// The errors of `Publish` and those common to all of AWS.
fn by_code(code: &str, message: &str) -> Option<SendError> {
    use ErrorCode as E;
    use SendErrorKind::{ConnectionFatal, FailOver, Permanent, Temporary, Throttled};
    let (kind, error) = match code {
        "Throttled" | "Throttling" | "ThrottlingException" | "ThrottledException" | "TooManyRequestsException" => {
            (Throttled, E::CarrierCongested)
        }
        "AuthorizationError"
        | "AccessDenied"
        | "AccessDeniedException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "NotAuthorized"
        | "InvalidSecurity"
        | "ExpiredToken"
        | "RequestExpired" => (ConnectionFatal, E::CarrierCredentials),
        "OptInRequired" | "UserError" => (ConnectionFatal, E::CarrierAccount),
        "OptedOut" => (Permanent, E::BlockedByRecipient),
        "InvalidParameter" | "InvalidParameterValue" | "ParameterValueInvalid" if message.contains("PhoneNumber") => {
            (Permanent, E::InvalidNumber)
        }
        "InvalidParameter" | "InvalidParameterValue" | "ParameterValueInvalid" if message.contains("Origination") => {
            (FailOver, E::SenderRejected)
        }
        "InvalidParameter"
        | "InvalidParameterValue"
        | "ParameterValueInvalid"
        | "ValidationError"
        | "ValidationException" => (Permanent, E::MessageInvalid),
        "InternalError" | "InternalFailure" => (Temporary { tries: 3 }, E::CarrierError),
        "ServiceUnavailable" => (Temporary { tries: 3 }, E::CarrierUnavailable),
        "NotFound" | "InvalidAction" | "MissingAction" | "EndpointDisabled" => (FailOver, E::CarrierError),
        _ => return None,
    };
    Some(refused(kind, error, format!("sns {code}")))
}

/// Events a batch may unpack to, octets: AWS sends at most six megabytes to a subscription.
const UNPACKED_MAX: u64 = 8 << 20;

/// One event of the delivery log, or a batch as CloudWatch hands it to a subscription: `{"awslogs":{"data": base64 of gzip}}`.
pub(crate) fn heard(callback: &Callback<'_>, _: &Credentials) -> Result<Heard, CallbackError> {
    let body = json(callback.body).ok_or(CallbackError::Malformed("no JSON"))?;
    let Some(data) = body["awslogs"]["data"].as_str() else {
        let receipt = receipt(&body).ok_or(CallbackError::Malformed("no event of the delivery log"))?;
        return Ok(Heard { receipts: vec![receipt], inbound: Vec::new() });
    };
    let packed = STANDARD.decode(data).map_err(|_| CallbackError::Malformed("awslogs.data is no base64"))?;
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX + 1).read_to_end(&mut unpacked);
    if read.is_err() || unpacked.len() as u64 > UNPACKED_MAX {
        return Err(CallbackError::Malformed("awslogs.data is no gzip, or of more than 8 MiB"));
    }
    let batch = json(&unpacked).ok_or(CallbackError::Malformed("awslogs.data holds no JSON"))?;
    // AWS asks once in a while whether anyone listens (CONTROL_MESSAGE); those events are none.
    let events = batch["logEvents"].as_array().map_or(&[][..], Vec::as_slice);
    let events = events.iter().filter_map(|event| receipt(&json(event["message"].as_str()?.as_bytes())?));
    Ok(Heard { receipts: events.collect(), inbound: Vec::new() })
}

fn receipt(event: &Value) -> Option<Receipt> {
    let id = event["notification"]["messageId"].as_str()?.to_owned();
    let delivery = &event["delivery"];
    let said = delivery["providerResponse"].as_str().unwrap_or_default();
    let state = match event.get("status").and_then(scalar)?.as_str() {
        "SUCCESS" => ReceiptState::Delivered,
        "FAILURE" => ReceiptState::Failed(failure(said)),
        _ => ReceiptState::Interim,
    };
    let to = delivery["destination"].as_str().and_then(phone);
    Some(Receipt { id, to, state, carrier: crate::wire::words(&format!("sns {said}")) })
}

/// The reasons AWS lists (SNS developer guide, SMS delivery failure reasons).
fn failure(said: &str) -> ErrorCode {
    match said {
        "Blocked as spam by phone carrier" => ErrorCode::ContentFiltered,
        "Destination is on a blocked list" | "Phone carrier has blocked this message" => ErrorCode::BlockedByCarrier,
        "Invalid phone number" => ErrorCode::InvalidNumber,
        "Message body is invalid" => ErrorCode::MessageInvalid,
        "Phone carrier is currently unreachable/unavailable" => ErrorCode::CarrierUnavailable,
        "Phone has blocked SMS" | "Phone is on a blocked list" | "Phone number is opted out" => {
            ErrorCode::BlockedByRecipient
        }
        "Phone is currently unreachable/unavailable" => ErrorCode::AbsentSubscriber,
        "This delivery would exceed max price" => ErrorCode::CarrierAccount,
        _ => ErrorCode::Undeliverable,
    }
}

#[cfg(test)]
#[path = "sns/tests.rs"]
mod tests;
