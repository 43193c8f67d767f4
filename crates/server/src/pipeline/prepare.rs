//! From what a caller wrote to what the store takes: numbers parsed, text planned, everything priced; or every mistake at once.
//!
//! Pure: the instant and the randomness are handed in. `content` checks what all recipients share, once; `recipient` and
//! `Content::message` are what a batch does for each of its numbers.

mod attached;
mod origin;
mod personal;
mod references;
pub mod shorten;
mod timing;
mod way;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::account::{OtpSuccess, Settings};
use carillon_domain::encoding::{self, Encoding, EncodingError, Language, Options, Plan};
use carillon_domain::id::AccountNo;
use carillon_domain::media::Mms;
use carillon_domain::message::{Category, Flags, Lane};
use carillon_domain::phone::{Country, Parsed, Phone, PhoneError, Strictness};
use carillon_domain::quiet::Window;
use carillon_domain::sender::policy::{CountryRules, SenderSet};
use carillon_domain::template::Template;
use carillon_store::hot::{Extra, NewMessage};
use serde::Deserialize;
use serde::de::IntoDeserializer;

use super::{Suppressed, Terms};
use crate::config;
use crate::notify::guard::Guard;

pub use attached::Attached;
pub use origin::Origin;
pub use personal::Own;
pub use references::References;
use shorten::Short;
pub use shorten::Shortener;
pub use timing::{Placed, When};
use way::Way;

/// Shortest and longest validity, seconds.
const VALIDITY_S: std::ops::RangeInclusive<i64> = 60..=7 * 86_400;
/// How far ahead a message may be scheduled, milliseconds.
const SCHEDULE_AHEAD_MS: i64 = 366 * 86_400_000;
/// How far back `scheduled_at` may lie and still mean "at once": clocks differ and requests wait. Milliseconds.
const SCHEDULE_BACK_MS: i64 = 600_000;
/// Lengths of what callers add, in characters.
const CLIENT_REF_MAX: usize = 64;
const TAGS_MAX: usize = 10;
const TAG_MAX: usize = 40;
/// Lengths of a one-time code that the caller made.
const GIVEN_CODE: std::ops::RangeInclusive<usize> = 3..=32;
/// Where the code goes in an OTP's text.
pub const CODE_MARK: &str = "{code}";
/// The text of a one-time code without one.
pub const OTP_TEXT: &str = "Your code is {code}";

/// What is to be sent, as written; everything but to whom.
#[derive(Clone, Debug, Default)]
pub struct Draft<'a> {
    /// What it is to be from.
    pub from: Option<&'a str>,
    /// The text.
    pub text: Option<&'a str>,
    /// Or octets, as base64.
    pub data: Option<&'a str>,
    /// Whether the octets are one part that the sender cut: a user data header, then text in this encoding.
    pub own_part: Option<Encoding>,
    /// Whether it is a one-time code.
    pub otp: bool,
    /// A code the caller made.
    pub otp_code: Option<&'a str>,
    /// Whether it pays to overtake.
    pub express: bool,
    /// Whether it is shown at once and not kept.
    pub flash: bool,
    /// `transactional` or `promotional`.
    pub category: Option<&'a str>,
    /// Whether it answers a word such as STOP, which an opt-out does not hold back. No caller can ask for it.
    pub answer: bool,
    /// A language whose GSM-7 tables may be used.
    pub language: Option<&'a str>,
    /// Instead of the account's setting.
    pub transliterate: Option<bool>,
    /// How long it is tried, seconds.
    pub validity_s: Option<i64>,
    /// When it is to be sent: RFC 3339, or a local time without offset if one of the two below says whose.
    pub scheduled_at: Option<&'a str>,
    /// Name of the time zone of `scheduled_at`.
    pub time_zone: Option<&'a str>,
    /// Whether `scheduled_at` is in the time of each recipient.
    pub local_time: bool,
    /// Hours of the recipient in which alone it may go.
    pub send_window: Option<&'a Window>,
    /// `keep` or `ignore`.
    pub quiet_hours: Option<&'a str>,
    /// Whether short links take the places of its web addresses.
    pub shorten_links: bool,
    /// The caller's own name for it.
    pub client_ref: Option<&'a str>,
    /// The caller's labels.
    pub tags: Vec<&'a str>,
    /// Where its events go.
    pub callback_url: Option<&'a str>,
    /// Files that go with it; `None` without.
    pub media: Option<&'a [Attached]>,
    /// Whether it is one of many (the lane).
    pub bulk: bool,
}

/// What a draft is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Who sends.
    pub account: AccountNo,
    /// How the account's messages are taken.
    pub settings: &'a Settings,
    /// What it may send as.
    pub senders: &'a SenderSet,
    /// What countries demand of senders; `None` leaves `from` free.
    pub countries: Option<&'a CountryRules>,
    /// What messages cost, and whose connections they can take.
    pub terms: &'a Terms,
    /// How one-time codes are made, and their deadline.
    pub otp: &'a config::Otp,
    /// Keys `phone_tag`.
    pub phone_key: &'a [u8; 16],
    /// Who must not be written to.
    pub suppressed: &'a Suppressed,
    /// References of concatenation.
    pub references: &'a References,
    /// What short links are made with.
    pub shortener: Shortener<'a>,
    /// Where events may go.
    pub callbacks: Guard,
    /// Unix milliseconds.
    pub now: i64,
}

/// One thing that is wrong with a draft.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The field, as the API names it.
    pub field: &'static str,
    /// Which element, of a list.
    pub index: Option<usize>,
    /// Which member of that element.
    pub member: Option<&'static str>,
    /// A code of the API's registry (a test there compares).
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: Cow<'static, str>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Mistake {
    /// At a field as a whole.
    pub fn new(field: &'static str, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Mistake {
        Mistake { field, index: None, member: None, code, detail: detail.into(), suggestion: None }
    }

    /// A number that was refused; with its place, in a list.
    pub fn phone(e: PhoneError, index: Option<usize>) -> Mistake {
        let detail = match &e.suggestion {
            Some(number) => format!("{}; did you mean {number}?", e.reason).into(),
            None => Cow::from(e.reason.to_string()),
        };
        Mistake { field: "to", index, member: None, code: e.reason.code(), detail, suggestion: e.suggestion }
    }

    /// In a member of its element, unless it names one itself.
    #[must_use]
    pub fn inside(mut self, member: &'static str) -> Mistake {
        self.member.get_or_insert(member);
        self
    }
}

/// A draft that was taken: what all its recipients share.
#[derive(Clone, Debug)]
pub struct Content {
    /// Priority class.
    pub lane: Lane,
    /// What it is for.
    pub category: Category,
    /// Its properties.
    pub flags: Flags,
    /// How it is written and cut; of a text with places to fill in: without them.
    pub plan: Plan,
    /// What it is from.
    pub origin: Origin,
    /// Its text (of octets: base64), with its places unfilled.
    pub body: Arc<str>,
    /// The text taken apart, if it has places for each recipient's own words.
    pub template: Option<Template>,
    /// How a text may be written.
    pub options: Options,
    /// Whether short links take the places of its web addresses.
    pub short: Option<Short>,
    /// The one-time code inside it.
    pub otp_code: Option<Arc<str>>,
    /// When it is to be sent.
    pub when: When,
    /// The rare members.
    pub extra: Option<Box<Extra>>,
    /// Its files.
    pub mms: Option<Arc<Mms>>,
}

impl Content {
    /// The message to one recipient, priced. Refused if it cannot be from its sender there.
    pub fn message(&self, rules: &Rules<'_>, to: Parsed, index: u32, own_body: bool) -> Result<NewMessage, Mistake> {
        let phone = to.phone;
        let phone_tag = phone.tag(rules.phone_key);
        let sender = self.origin.in_country(rules, to.country)?;
        let way = Way::of(self, rules, &to, sender.as_deref())?;
        let parts = way.parts(self.plan.parts);
        let placed = self.when.placed(rules, &to)?;
        let mut message = NewMessage {
            index,
            lane: self.lane,
            category: self.category,
            flags: self.flags.with(Flags::OWN_CARRIER, way.own).with(placed.flags, true),
            encoding: self.plan.encoding.number(),
            parts,
            phone: phone.digits(),
            phone_tag,
            country: to.country,
            sender,
            body: self.body.clone(),
            own_body,
            otp_code: self.otp_code.clone(),
            unit_price: way.unit_price,
            reference: (parts > 1).then(|| rules.references.next(phone_tag)),
            due_at: placed.due_at,
            expires_at: placed.expires_at,
            extra: way.extra(self),
        };
        // A text with places to fill in has its addresses once they are filled.
        if let (Some(short), None) = (&self.short, &self.template) {
            short.put_into(&mut message, rules, rules.account);
        }
        Ok(message)
    }
}

/// Reads one recipient by the account's settings.
pub fn recipient(text: &str, settings: &Settings) -> Result<Parsed, PhoneError> {
    let strictness = if settings.lenient { Strictness::Lenient } else { Strictness::Strict };
    let country = settings.default_country.as_deref().and_then(Country::parse);
    Phone::parse(text, country, strictness)
}

/// Collects mistakes while the good fields go on.
struct Judge(Vec<Mistake>);

impl Judge {
    fn refuse(&mut self, field: &'static str, code: &'static str, detail: impl Into<Cow<'static, str>>) {
        self.0.push(Mistake::new(field, code, detail));
    }

    /// The value, or `None` and a mistake.
    fn take<T>(&mut self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.0.push(mistake)).ok()
    }
}

/// Checks everything but the recipients. `below(n)` is a random number under `n`, every one as likely (it makes the one-time code).
pub fn content(
    draft: &Draft<'_>,
    rules: &Rules<'_>,
    below: &mut dyn FnMut(u32) -> u32,
) -> Result<Content, Vec<Mistake>> {
    let mut judge = Judge(Vec::new());
    combinations(draft, &mut judge);
    let origin = judge.take(Origin::of(draft.from, rules));
    let category = judge.take(category(draft)).unwrap_or(Category::Transactional);
    let otp_code = if draft.otp { judge.take(otp_code(draft.otp_code, rules.otp, below)) } else { None };
    let body = judge.take(body(draft, rules, otp_code.as_deref()));
    let options = judge.take(options(draft, rules.settings));
    let template = body.as_deref().and_then(|body| judge.take(personal::template(draft, body))).flatten();
    let short = judge.take(shorten::of(draft, rules)).flatten();
    let planned = body.as_deref().and_then(|body| judge.take(planned(body, template.as_ref(), short.as_ref())));
    let plan = planned.zip(options.as_ref()).and_then(|(text, options)| judge.take(plan(draft, &text, options)));
    let when = When::of(draft, rules, category).map_err(|mistakes| judge.0.extend(mistakes)).ok();
    judge.take(attached::check(draft, when.as_ref().map(|when| when.expires_at)));
    let extra = extra(draft, rules.callbacks, &mut judge);
    let (Some(origin), Some(body), Some(plan), Some(options), Some(when), true) =
        (origin, body, plan, options, when, judge.0.is_empty())
    else {
        return Err(judge.0);
    };
    let lane = match draft {
        Draft { otp: true, .. } => Lane::Otp,
        Draft { express: true, .. } => Lane::Express,
        Draft { bulk: true, .. } => Lane::Bulk,
        _ => Lane::Normal,
    };
    let flags = Flags::default()
        .with(Flags::FLASH, draft.flash)
        .with(Flags::EXPRESS, lane == Lane::Express)
        .with(Flags::OTP, draft.otp)
        .with(Flags::PAY_ON_ACCEPT, draft.otp && rules.settings.otp_success == OtpSuccess::Carrier)
        .with(Flags::EVENTS, draft.callback_url.is_some())
        .with(Flags::BINARY, draft.data.is_some())
        .with(Flags::HEADER, draft.own_part.is_some())
        .with(Flags::TRANSLITERATE, template.is_none() && plan.replaced > 0)
        .with(Flags::PROMOTIONAL, category == Category::Promotional)
        .with(Flags::ANSWER, draft.answer);
    Ok(Content {
        lane,
        category,
        flags,
        plan,
        origin,
        body: body.into(),
        template,
        options,
        short,
        otp_code: otp_code.map(Arc::from),
        when,
        extra,
        mms: attached::mms(draft, rules),
    })
}

/// Fields that exclude one another. An OTP goes before express anyway, so `express` with it adds nothing and costs nothing.
fn combinations(draft: &Draft<'_>, judge: &mut Judge) {
    let rules = [
        (draft.otp && draft.data.is_some(), "data", "a one-time code is text: leave `data` or `otp` out"),
        (draft.otp && draft.scheduled_at.is_some(), "scheduled_at", "a one-time code is sent at once"),
        (draft.otp && draft.send_window.is_some(), "send_window", "a one-time code is sent at once"),
        (draft.otp && draft.validity_s.is_some(), "validity_s", "a one-time code has the server's deadline"),
        (!draft.otp && draft.otp_code.is_some(), "otp_code", "only with `\"otp\": true`"),
        (draft.data.is_some() && draft.text.is_some(), "data", "send `text` or `data`, not both"),
        (draft.otp && draft.media.is_some(), "media", "a one-time code is text alone"),
        (draft.data.is_some() && draft.media.is_some(), "media", "send `media` or `data`, not both"),
        (draft.data.is_some() && draft.language.is_some(), "language", "octets have no language"),
    ];
    for (wrong, field, detail) in rules {
        if wrong {
            judge.refuse(field, "conflicting_fields", detail);
        }
    }
}

fn category(draft: &Draft<'_>) -> Result<Category, Mistake> {
    match (draft.category, draft.otp) {
        (None | Some("otp"), true) => Ok(Category::Otp),
        (None | Some("transactional"), false) => Ok(Category::Transactional),
        (Some("promotional"), false) => Ok(Category::Promotional),
        (Some("transactional" | "promotional"), true) => {
            Err(Mistake::new("category", "conflicting_fields", "a one-time code has the category `otp`"))
        }
        _ => Err(Mistake::new(
            "category",
            "invalid_value",
            "`transactional` or `promotional`; `otp` comes with `\"otp\": true`",
        )),
    }
}

fn otp_code(given: Option<&str>, otp: &config::Otp, below: &mut dyn FnMut(u32) -> u32) -> Result<String, Mistake> {
    let Some(code) = given else {
        let alphabet = otp.alphabet.as_bytes();
        let pick = |_| char::from(alphabet[below(alphabet.len() as u32) as usize]);
        return Ok((0..otp.length).map(pick).collect());
    };
    if !GIVEN_CODE.contains(&code.chars().count()) || !code.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Mistake::new(
            "otp_code",
            "invalid_value",
            "3 to 32 letters, digits and signs of ASCII, without spaces",
        ));
    }
    Ok(code.to_owned())
}

/// The text with the code in it; or the octets as base64.
fn body<'a>(draft: &Draft<'a>, rules: &Rules<'_>, code: Option<&str>) -> Result<Cow<'a, str>, Mistake> {
    if let (Some(files), None, false) = (draft.media, draft.data, draft.text == Some("")) {
        return Ok(attached::text(draft.text, files, rules).into());
    }
    let text = match (draft.text, draft.data, draft.otp) {
        (None, Some(data), _) => return Ok(Cow::Borrowed(data)),
        (Some(text), _, _) => text,
        (None, None, true) => OTP_TEXT,
        (None, None, false) => return Err(Mistake::new("text", "missing_field", "add the text to send")),
    };
    if text.is_empty() {
        return Err(Mistake::new("text", "too_short", "the text is empty"));
    }
    let Some(code) = code else { return Ok(Cow::Borrowed(text)) };
    if text.contains(CODE_MARK) {
        return Ok(Cow::Owned(text.replace(CODE_MARK, code)));
    }
    if draft.otp_code.is_some_and(|given| text.contains(given)) {
        return Ok(Cow::Borrowed(text));
    }
    Err(Mistake::new("text", "otp_code_missing", "write {code} where the code belongs, or leave `text` out"))
}

fn options(draft: &Draft<'_>, settings: &Settings) -> Result<Options, Mistake> {
    let known =
        |name: &str| Language::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(name)).ok();
    let language = match draft.language {
        None => None,
        Some(name) => Some(known(name).ok_or_else(|| {
            Mistake::new(
                "language",
                "invalid_value",
                "one of turkish, spanish, portuguese, bengali, gujarati, hindi, kannada, malayalam, oriya, punjabi, tamil, telugu, urdu",
            )
        })?),
    };
    Ok(Options {
        parts_max: settings.parts_max.max(1),
        transliterate: draft.transliterate.unwrap_or(settings.transliterate),
        language,
    })
}

/// What is planned of a text: without what recipients fill in, and with links as they will be.
fn planned<'a>(body: &'a str, template: Option<&Template>, short: Option<&Short>) -> Result<Cow<'a, str>, Mistake> {
    let text = template.map_or(Cow::Borrowed(body), |template| template.fixed().into());
    match short {
        // Whole addresses may come of what is filled in: they are looked at then.
        Some(_) if template.is_some() => Ok(text),
        Some(short) => short.sample(&text).map(Cow::Owned),
        None => Ok(text),
    }
}

fn plan(draft: &Draft<'_>, body: &str, options: &Options) -> Result<Plan, Mistake> {
    if let Some(encoding) = draft.own_part {
        // Whether it fits a part is the sender's face to check, which knows the header.
        return Ok(Plan { encoding, parts: 1, units: body.len() as u32, replaced: 0 });
    }
    let binary = draft.data.is_some() && draft.text.is_none();
    let field = if binary { "data" } else { "text" };
    let planned = if binary {
        let octets = STANDARD.decode(body).map_err(|_| {
            Mistake::new("data", "invalid_value", "octets as base64 with padding (RFC 4648 §4), for example 3q2+7w==")
        })?;
        if octets.is_empty() {
            return Err(Mistake::new("data", "too_short", "there are no octets"));
        }
        encoding::plan_binary(octets.len(), options)
    } else {
        encoding::plan(body, options)
    };
    planned.map_err(|e| match e {
        EncodingError::TooLong { parts, parts_max } => Mistake::new(
            field,
            "too_long",
            format!("this makes {parts} parts, more than the {parts_max} your account allows: shorten it, or raise the setting `parts_max`"),
        ),
        EncodingError::NotInAlphabet(_) => Mistake::new(field, "invalid_value", e.to_string()),
    })
}

fn extra(draft: &Draft<'_>, callbacks: Guard, judge: &mut Judge) -> Option<Box<Extra>> {
    if draft.client_ref.is_none() && draft.tags.is_empty() && draft.callback_url.is_none() {
        return None;
    }
    if let Some(text) = draft.client_ref
        && let Err(detail) = label(text, CLIENT_REF_MAX)
    {
        judge.refuse("client_ref", detail.0, detail.1);
    }
    if draft.tags.len() > TAGS_MAX {
        judge.refuse("tags", "too_long", "at most 10 tags");
    }
    for (i, tag) in draft.tags.iter().enumerate() {
        if let Err((code, detail)) = label(tag, TAG_MAX) {
            judge.0.push(Mistake { index: Some(i), ..Mistake::new("tags", code, detail) });
        }
    }
    if let Some(url) = draft.callback_url
        && let Err(refused) = callbacks.check(url)
    {
        judge.refuse("callback_url", "invalid_value", refused.to_string());
    }
    Some(Box::new(Extra {
        client_ref: draft.client_ref.map(str::to_owned),
        tags: (!draft.tags.is_empty()).then(|| serde_json::to_string(&draft.tags).expect("texts are JSON")),
        callback_url: draft.callback_url.map(str::to_owned),
        ..Extra::default()
    }))
}

/// A name of the caller's: 1 to `max` characters that can be seen.
fn label(text: &str, max: usize) -> Result<(), (&'static str, String)> {
    if text.is_empty() {
        return Err(("too_short", "it is empty".into()));
    }
    if text.chars().count() > max {
        return Err(("too_long", format!("at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(("invalid_value", "no control characters".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
