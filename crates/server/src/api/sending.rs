//! The body of whatever sends: read once, borrowing from the request's bytes, refused with every mistake it has.
//!
//! One shape serves messages, batches and estimates; each endpoint refuses the fields that are not its own with a word on
//! where they belong.

use std::borrow::Cow;
use std::fmt;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use carillon_domain::money::Money;
use carillon_domain::quiet::Window;
use carillon_store::hot::Verdict;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::{Code, FieldError, Problem};
use super::extract::{begins_object, body_of, check_content_type, classify, parse_json, pointer};
use super::recipients::Recipient;
use crate::app::App;
use crate::pipeline::prepare::{self, Attached, Content, Draft, Mistake, Rules};
use crate::pipeline::{Hold, SubmitError};

/// Text of the body, copied only where an escape forces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Text<'a> {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(TextVisitor)
    }
}

/// One number or many recipients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum To<'a> {
    /// As a string.
    One(Text<'a>),
    /// As an array.
    Many(Vec<Recipient<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for To<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ToVisitor;
        impl<'de> Visitor<'de> for ToVisitor {
            type Value = To<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a phone number as a string, or an array of recipients")
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<To<'de>, E> {
                TextVisitor.visit_borrowed_str(text).map(To::One)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<To<'de>, E> {
                TextVisitor.visit_str(text).map(To::One)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<To<'de>, A::Error> {
                let mut many = Vec::new();
                while let Some(recipient) = list.next_element()? {
                    many.push(recipient);
                }
                Ok(To::Many(many))
            }
        }
        d.deserialize_any(ToVisitor)
    }
}

/// What can be said about sending; null is the same as leaving out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sending<'a> {
    #[serde(borrow)]
    client_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) to: Option<To<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    otp: Option<bool>,
    #[serde(borrow)]
    otp_code: Option<Text<'a>>,
    express: Option<bool>,
    flash: Option<bool>,
    #[serde(borrow)]
    category: Option<Text<'a>>,
    #[serde(borrow)]
    language: Option<Text<'a>>,
    transliterate: Option<bool>,
    validity_s: Option<i64>,
    #[serde(borrow)]
    scheduled_at: Option<Text<'a>>,
    #[serde(borrow)]
    time_zone: Option<Text<'a>>,
    local_time: Option<bool>,
    send_window: Option<Window>,
    #[serde(borrow)]
    quiet_hours: Option<Text<'a>>,
    shorten_links: Option<bool>,
    #[serde(borrow)]
    client_ref: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    callback_url: Option<Text<'a>>,
    pub(super) partial: Option<bool>,
    #[serde(borrow)]
    pub(super) media: Option<Vec<Text<'a>>>,
    /// What `media` names, once found (`attach`).
    #[serde(skip)]
    pub(super) attached: Vec<Attached>,
}

impl<'a> Sending<'a> {
    /// Reads a body; all members of a wrong type or name are told at once.
    pub fn read(bytes: &'a [u8]) -> Result<Sending<'a>, Problem> {
        match serde_json::from_slice(bytes) {
            Ok(sending) if begins_object(bytes) => Ok(sending),
            _ => Err(explain(bytes)),
        }
    }

    /// The account it names, in open mode.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_ref().map(Text::as_str)
    }

    /// Whether it is a one-time code.
    pub fn is_otp(&self) -> bool {
        self.otp == Some(true)
    }

    /// As the pipeline judges it.
    pub fn draft(&self, bulk: bool) -> Draft<'_> {
        fn of<'b>(field: &'b Option<Text<'_>>) -> Option<&'b str> {
            field.as_ref().map(Text::as_str)
        }
        Draft {
            from: of(&self.from),
            text: of(&self.text),
            data: of(&self.data),
            own_part: None,
            otp: self.is_otp(),
            otp_code: of(&self.otp_code),
            express: self.express == Some(true),
            flash: self.flash == Some(true),
            category: of(&self.category),
            answer: false,
            language: of(&self.language),
            transliterate: self.transliterate,
            validity_s: self.validity_s,
            scheduled_at: of(&self.scheduled_at),
            time_zone: of(&self.time_zone),
            local_time: self.local_time == Some(true),
            send_window: self.send_window.as_ref(),
            quiet_hours: of(&self.quiet_hours),
            shorten_links: self.shorten_links == Some(true),
            client_ref: of(&self.client_ref),
            tags: self.tags.iter().flatten().map(Text::as_str).collect(),
            callback_url: of(&self.callback_url),
            media: self.media.is_some().then_some(&self.attached[..]),
            bulk,
        }
    }

    /// Fields of a batch that this is not, if it is for one recipient; or of a message, if for many.
    pub fn foreign(&self, bulk: bool) -> Vec<Mistake> {
        let rules = [
            (!bulk && self.partial.is_some(), "partial", "only batches can be taken in part: POST /v1/batches"),
            (bulk && self.is_otp(), "otp", "one-time codes go one by one: POST /v1/messages"),
            (self.media.is_some() && self.attached.is_empty(), "media", "this endpoint takes no files"),
        ];
        rules
            .into_iter()
            .filter(|(wrong, ..)| *wrong)
            .map(|(_, field, why)| Mistake::new(field, "unknown_field", why))
            .collect()
    }
}

/// Checks everything but the recipients; further mistakes are added to those found before.
pub fn content(sending: &Sending<'_>, bulk: bool, rules: &Rules<'_>, found: &mut Vec<Mistake>) -> Option<Content> {
    found.extend(sending.foreign(bulk));
    let checked = prepare::content(&sending.draft(bulk), rules, &mut |below| rand::random_range(0..below));
    checked.map_err(|mistakes| found.extend(mistakes)).ok()
}

/// A recipient who must not be written to; with its place, in a list.
pub fn held(hold: Hold, index: Option<usize>) -> Mistake {
    let (code, detail) = match hold {
        Hold::Suppressed => {
            let detail = "this number is on the suppression list: GET /v1/suppressions?phone= says why and since when";
            (Code::Suppressed, detail)
        }
        Hold::NoConsent => {
            let detail = "the account's promotional messages need this number's consent: GET /v1/consents?phone= says what is recorded";
            (Code::NoConsent, detail)
        }
    };
    Mistake { index, ..Mistake::new("to", code.as_str(), detail) }
}

impl From<Vec<Mistake>> for Problem {
    fn from(mistakes: Vec<Mistake>) -> Problem {
        // A request with nothing wrong but whom it writes to is well formed, and forbidden.
        let all = |codes: &[Code]| mistakes.iter().all(|m| codes.iter().any(|code| m.code == code.as_str()));
        let code = match () {
            () if all(&[Code::Suppressed]) => Code::Suppressed,
            () if all(&[Code::NoConsent]) => Code::NoConsent,
            () if all(&[Code::Suppressed, Code::NoConsent]) => Code::Suppressed,
            () => Code::InvalidRequest,
        };
        let errors = mistakes.into_iter().map(|m| FieldError {
            pointer: match (m.index, m.member) {
                (Some(index), Some(member)) => format!("#/{}/{index}/{member}", m.field).into(),
                (Some(index), None) => format!("#/{}/{index}", m.field).into(),
                (None, _) => format!("#/{}", m.field).into(),
            },
            code: m.code,
            detail: m.detail,
            suggestion: m.suggestion,
        });
        Problem { errors: errors.collect(), ..code.into() }
    }
}

impl From<SubmitError> for Problem {
    fn from(e: SubmitError) -> Problem {
        match e {
            SubmitError::Busy => Code::Busy.into(),
            SubmitError::Unavailable(why) => {
                tracing::error!(error = why, "the database cannot take messages");
                Code::StoreUnavailable.into()
            }
            SubmitError::Suppressed => vec![held(Hold::Suppressed, None)].into(),
            SubmitError::NoConsent => vec![held(Hold::NoConsent, None)].into(),
            SubmitError::Poisoned => Code::Internal.with("this request could not be stored; others are not affected"),
        }
    }
}

/// What a verdict other than `Accepted` or `Replayed` is answered with.
pub fn refusal(verdict: &Verdict, currency: &str) -> Problem {
    match verdict {
        Verdict::Short { needed, available } => {
            let detail = format!("this needs {needed} {currency}, and {available} {currency} is available");
            Code::InsufficientCredit
                .with(detail)
                .member("needed", needed.to_string())
                .member("available", available.to_string())
                .member("currency", currency)
        }
        Verdict::KeyReused => Code::IdempotencyMismatch.into(),
        Verdict::NoAccount => Code::NotFound.with("there is no such account any more"),
        Verdict::Accepted { .. } | Verdict::Replayed { .. } | Verdict::Stale => Code::Internal.into(),
    }
}

/// Money as a decimal string.
#[derive(Clone, Copy, Debug)]
pub struct Decimal(pub Money);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

/// An amount with its currency.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct Amount<'a> {
    /// Decimal.
    #[schema(value_type = String, example = "0.05")]
    pub amount: Decimal,
    /// ISO 4217.
    #[schema(value_type = String, example = "USD")]
    pub currency: &'a str,
}

impl<'a> Amount<'a> {
    /// Of money.
    pub fn of(amount: Money, currency: &'a str) -> Amount<'a> {
        Amount { amount: Decimal(amount), currency }
    }
}

/// The raw octets of a JSON body: those of a batch (`true`) may be larger.
#[derive(Clone, Debug)]
pub struct Raw<const LARGE: bool>(pub Bytes);

impl<const LARGE: bool> FromRequest<App> for Raw<LARGE> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        let server = &app.config.server;
        let max = if LARGE { server.batch_body_max } else { server.body_max };
        body_of(request, app, max).await.map(Raw)
    }
}

/// A JSON answer with its status.
pub fn answer<T: Serialize>(status: StatusCode, body: &T) -> axum::response::Response {
    let json = serde_json::to_vec(body).expect("answers are plain data");
    (status, [(axum::http::header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// The members of an object in order, repeated ones too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        d.deserialize_map(MembersVisitor)
    }
}

/// At most so many mistakes are told.
pub const ERRORS_MAX: usize = 100;

/// Reads once more, member by member; the good case does not pay for it.
fn explain(bytes: &[u8]) -> Problem {
    let members = match parse_json::<Members>(bytes) {
        Ok(Members(members)) => members,
        Err(problem) => return problem,
    };
    let mut problem = Problem::from(Code::InvalidRequest);
    let mut seen = std::collections::HashSet::new();
    for (name, value) in members {
        if problem.errors.len() == ERRORS_MAX {
            break;
        }
        if !seen.insert(name.clone()) {
            let at = format!("#/{}", name.replace('~', "~0").replace('/', "~1"));
            problem = problem.and(Code::DuplicateField, at, format!("`{name}` stands there twice"));
            continue;
        }
        let alone = Value::Object(Map::from_iter([(name, value)]));
        if let Err(e) = serde_path_to_error::deserialize::<_, Sending<'_>>(&alone) {
            let message = e.inner().to_string();
            let (code, field) = classify(&message);
            problem = problem.and(code, pointer(e.path(), field), message.clone());
        }
    }
    if problem.errors.is_empty() { Code::MalformedJson.with("the body cannot be read") } else { problem }
}
