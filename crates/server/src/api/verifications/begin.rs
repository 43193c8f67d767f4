//! From what a caller wrote to a verification and the message that carries its code; or every mistake at once. Touches nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use carillon_domain::id::VerificationId;
use carillon_domain::message::Flags;
use carillon_domain::phone::Parsed;
use carillon_domain::verification::{Destination, EXPIRES_S, LENGTH, Progress, Rules, State, prefix};
use carillon_store::hot::NewMessage;
use carillon_store::verification::Verification;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::error::{Code, Problem};
use super::ResendBody;
use crate::access::{Caller, code};
use crate::app::App;
use crate::pipeline::prepare::{self, CODE_MARK, Draft, Mistake, OTP_TEXT};

const BRAND_MARK: &str = "{brand}";
const BRAND_TEXT: &str = "Your {brand} code is {code}";
const BRAND_MAX: usize = 40;
const METADATA_MAX: usize = 20;
const METADATA_BYTES: usize = 2_048;

/// A verification to begin; null is the same as leaving out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVerificationBody {
    /// The phone number: + and country code; or national, with the account's `default_country`.
    #[schema(example = "+4915112345678")]
    to: String,
    /// `sms`, the only one there is.
    #[schema(example = "sms")]
    channel: Option<String>,
    /// What the message is from; the account's `default_sender` if not given.
    from: Option<String>,
    /// The text, with `{code}` where the code belongs and `{brand}` where the brand does.
    #[schema(example = "{code} is your code for Shop")]
    text: Option<String>,
    /// Your name, 1 to 40 characters, for the text.
    #[schema(example = "Shop")]
    brand: Option<String>,
    /// A code of yours, 4 to 10 letters, digits and signs; made for you if not given.
    code: Option<String>,
    /// Characters of the code that is made, 4 to 10.
    #[schema(minimum = 4, maximum = 10)]
    length: Option<u8>,
    /// How long it may be checked, 60 to 86400 seconds.
    #[schema(minimum = 60, maximum = 86400)]
    expires_in_s: Option<u32>,
    /// The address of the person who asks, for the caps: IPv4 or IPv6. Kept as a hash.
    #[schema(example = "203.0.113.7")]
    end_user_ip: Option<String>,
    /// Your own name for it, at most 64 characters.
    client_ref: Option<String>,
    /// Up to 20 texts of yours by name, 2048 bytes in all; shown with it.
    metadata: Option<BTreeMap<String, String>>,
}

/// Checks a body; the verification and its first message.
pub(super) fn prepared(
    app: &App,
    caller: &Caller,
    rules: &Rules,
    body: NewVerificationBody,
) -> Result<(Verification, NewMessage), Problem> {
    let mut mistakes = Vec::new();
    let parsed =
        prepare::recipient(&body.to, &caller.info.settings).map_err(|e| mistakes.push(Mistake::phone(e, None))).ok();
    let mut refuse = |field, code, why: &'static str| mistakes.push(Mistake::new(field, code, why));
    if body.channel.as_deref().is_some_and(|channel| channel != "sms") {
        refuse("channel", "invalid_value", "`sms`");
    }
    let length = body.length.unwrap_or(rules.length);
    if !LENGTH.contains(&length) {
        refuse("length", "invalid_value", "4 to 10");
    }
    if body.length.is_some() && body.code.is_some() {
        refuse("length", "conflicting_fields", "a code of yours has its own length");
    }
    if body.code.as_deref().is_some_and(|code| !fine_code(code)) {
        refuse("code", "invalid_value", CODE_SHAPE);
    }
    let expires_s = body.expires_in_s.unwrap_or(rules.expires_s);
    if !EXPIRES_S.contains(&expires_s) {
        refuse("expires_in_s", "invalid_value", "60 to 86400");
    }
    let address = body.end_user_ip.as_deref().map(str::parse::<IpAddr>);
    if matches!(address, Some(Err(_))) {
        refuse("end_user_ip", "invalid_value", "an IPv4 or IPv6 address, such as 203.0.113.7");
    }
    let many = body.metadata.as_ref().is_some_and(|m| m.len() > METADATA_MAX);
    let metadata = body.metadata.map(|m| serde_json::to_string(&m).expect("texts are JSON"));
    if many || metadata.as_ref().is_some_and(|json| json.len() > METADATA_BYTES) {
        refuse("metadata", "too_long", "at most 20 members and 2048 bytes");
    }
    let template = template(body.text.as_deref(), body.brand.as_deref(), &mut mistakes);
    let now = app.clock.now_ms();
    let id = VerificationId::new(now, app.ids.next(), caller.account);
    let key = &app.secrets.code_key;
    let made = || code::make(key, id, 0, length.into(), &app.config.otp.alphabet);
    let given = body.code.is_some();
    let code = body
        .code
        .filter(|c| fine_code(c))
        .unwrap_or_else(|| if LENGTH.contains(&length) { made() } else { "0000".into() });
    let message = message(app, caller, &template, &code, body.from.as_deref(), body.client_ref.as_deref(), parsed, now);
    let (parsed, message) = match (parsed, message) {
        (Some(parsed), Ok(message)) if mistakes.is_empty() => (parsed, message),
        (_, message) => {
            mistakes.extend(message.err().into_iter().flatten());
            return Err(mistakes.into());
        }
    };
    let tag = message.phone_tag;
    let v = Verification {
        id,
        phone: parsed.phone.digits(),
        destination: Destination { phone_tag: tag, prefix: prefix(parsed.phone), country: parsed.country },
        sender: message.sender.as_deref().map(str::to_owned),
        template: template.into(),
        code_mac: code::hash(key, id, &code),
        given,
        generation: 0,
        length: length.into(),
        progress: Progress {
            state: State::Pending,
            attempts: 0,
            attempts_max: rules.attempts_max,
            sends: 1,
            sends_max: rules.sends_max,
            sent_at: now,
            resend_after: i64::from(rules.resend_after_s) * 1_000,
            expires_at: now + i64::from(expires_s) * 1_000,
            ended_at: None,
        },
        sending_since: Some(now),
        messages: Vec::new(),
        address_tag: address.and_then(Result::ok).map(|ip| code::address_tag(key, ip)),
        client_ref: body.client_ref,
        metadata,
    };
    Ok((v, message))
}

const CODE_SHAPE: &str = "4 to 10 letters, digits and signs of ASCII, without spaces";

fn fine_code(code: &str) -> bool {
    LENGTH.contains(&u8::try_from(code.len()).unwrap_or(u8::MAX)) && code.bytes().all(|b| b.is_ascii_graphic())
}

/// The text with the brand in it and `{code}` still to be replaced.
fn template(text: Option<&str>, brand: Option<&str>, mistakes: &mut Vec<Mistake>) -> String {
    if let Some(brand) = brand
        && (brand.trim().is_empty()
            || brand.chars().count() > BRAND_MAX
            || brand.chars().any(|c| c.is_control() || c == '{' || c == '}'))
    {
        mistakes.push(Mistake::new("brand", "invalid_value", "1 to 40 characters that can be seen, without braces"));
    }
    let text = text.unwrap_or(if brand.is_some() { BRAND_TEXT } else { OTP_TEXT });
    if text.contains(BRAND_MARK) && brand.is_none() {
        mistakes.push(Mistake::new("brand", "missing_field", "the text speaks of {brand}"));
    }
    if !text.contains(CODE_MARK) {
        mistakes.push(Mistake::new(
            "text",
            "otp_code_missing",
            "write {code} where the code belongs, or leave `text` out",
        ));
    }
    text.replace(BRAND_MARK, brand.unwrap_or(""))
}

/// The message that carries a code: a one-time code in all but that nobody is shown it. Without a number it is only checked.
#[expect(clippy::too_many_arguments, reason = "what a message is made of")]
fn message(
    app: &App,
    caller: &Caller,
    template: &str,
    code: &str,
    from: Option<&str>,
    client_ref: Option<&str>,
    to: Option<Parsed>,
    now: i64,
) -> Result<NewMessage, Vec<Mistake>> {
    let draft = Draft { from, text: Some(template), otp: true, otp_code: Some(code), client_ref, ..Draft::default() };
    let terms = app.pipeline.terms();
    let rules = app.rules(caller, &terms, now);
    let content = prepare::content(&draft, &rules, &mut |_| 0)?;
    let to = to.ok_or_else(Vec::new)?;
    let mut message = content.message(&rules, to, 0, true).map_err(|mistake| vec![mistake])?;
    message.otp_code = None;
    message.flags = message.flags.with(Flags::SECRET, true);
    Ok(message)
}

/// One more code of a verification.
pub(super) struct Again {
    pub(super) message: NewMessage,
    pub(super) code_mac: Vec<u8>,
    pub(super) generation: i16,
}

/// Checks a request for one more code: the same one, or another.
pub(super) fn again(
    app: &App,
    caller: &Caller,
    v: &Verification,
    body: ResendBody,
    now: i64,
) -> Result<Again, Problem> {
    let key = &app.secrets.code_key;
    let make = |generation| code::make(key, v.id, generation, v.length as usize, &app.config.otp.alphabet);
    let mut generation = v.generation;
    let another = body.new_code == Some(true);
    let code = match (body.code, v.given) {
        (Some(_), false) => {
            return Err(Code::ConflictingFields
                .at("#/code", "the first code was made here: leave it out, or ask for `new_code`"));
        }
        (None, true) => {
            return Err(Code::MissingField
                .at("#/code", "the first code was yours, and only its hash is kept: give it again, or another"));
        }
        (Some(_), true) if another => {
            return Err(Code::ConflictingFields
                .at("#/new_code", "codes of this verification are yours: give another in `code`"));
        }
        (Some(given), true) if fine_code(&given) => given,
        (Some(_), true) => return Err(Code::InvalidValue.at("#/code", CODE_SHAPE)),
        (None, false) => {
            // Codes are made of another alphabet since: the same one cannot be made again.
            if another || !code::matches(key, v.id, &make(generation), &v.code_mac) {
                generation += 1;
            }
            make(generation)
        }
    };
    let to = Some(Parsed { phone: super::phone(v.phone), country: v.destination.country });
    let made = message(app, caller, &v.template, &code, v.sender.as_deref(), v.client_ref.as_deref(), to, now);
    Ok(Again { message: made.map_err(Problem::from)?, code_mac: code::hash(key, v.id, &code), generation })
}
