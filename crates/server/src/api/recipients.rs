//! Who a batch goes to: phone numbers as they are, or objects with a recipient's own words; and what became of each.
//!
//! A list of plain numbers is read without copying and pays nothing for what objects can say.

use std::borrow::Cow;
use std::fmt;

use carillon_store::hot::NewMessage;
use rustc_hash::FxHashSet;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::error::Code;
use super::sending::{self, ERRORS_MAX, Sending, Text, To};
use crate::pipeline::prepare::{self, Content, Mistake, Own, Rules};

/// Recipients of one request.
const RECIPIENTS_MAX: usize = 100_000;
/// Variables of one recipient.
const VARIABLES_MAX: usize = 50;
/// Places of repeated numbers that an answer lists.
const DUPLICATES_SHOWN: usize = 100;

/// One element of `to`: a phone number, or an object with exactly one of `phone`, `contact`, `group`, `segment` and `tag`.
// For the documentation alone: `Recipient` reads it.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes what `Recipient` reads")]
pub enum RecipientBody {
    /// A phone number.
    Phone(String),
    /// A recipient, or many at once.
    Object(RecipientObject),
}

/// A recipient with what is its own; or a name for many (contacts, groups, segments and tags are refused as
/// `recipient_kind_unavailable` for now).
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `Recipient` reads")]
pub struct RecipientObject {
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// Texts and numbers for the places of `text`, by name; at most 50.
    #[schema(value_type = Option<Object>, example = json!({"name": "Ada"}))]
    variables: Option<()>,
    /// Your own name for this message, instead of the batch's.
    client_ref: Option<String>,
    /// Id of a contact.
    contact: Option<String>,
    /// Id of a group.
    group: Option<String>,
    /// Id of a segment.
    segment: Option<String>,
    /// A label: every contact that has it.
    tag: Option<String>,
}

/// One element of `to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipient<'a> {
    /// A phone number alone.
    Phone(Text<'a>),
    /// More than that; behind a pointer, so that lists of numbers stay small.
    Object(Box<Object<'a>>),
}

/// What an element says beyond a number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object<'a> {
    #[serde(borrow)]
    phone: Option<Text<'a>>,
    #[serde(borrow)]
    variables: Option<Variables<'a>>,
    #[serde(borrow)]
    client_ref: Option<Text<'a>>,
    #[serde(borrow)]
    contact: Option<Text<'a>>,
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    segment: Option<Text<'a>>,
    #[serde(borrow)]
    tag: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Recipient<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct RecipientVisitor;
        impl<'de> Visitor<'de> for RecipientVisitor {
            type Value = Recipient<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a phone number as a string, or an object such as {\"phone\": …, \"variables\": {…}}")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Recipient<'de>, E> {
                Ok(Recipient::Phone(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Recipient<'de>, E> {
                Ok(Recipient::Phone(text.to_owned().into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Recipient<'de>, A::Error> {
                let object = Object::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Recipient::Object(Box::new(object)))
            }
        }
        d.deserialize_any(RecipientVisitor)
    }
}

/// A recipient's own words by name; few, so a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variables<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Variables<'_> {
    /// The value of a name.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value.as_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Variables<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct VariablesVisitor;
        impl<'de> Visitor<'de> for VariablesVisitor {
            type Value = Variables<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts and numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables<'de>, A::Error> {
                let mut all = Variables::default();
                while let Some((name, Value(value))) = map.next_entry::<Text<'de>, Value<'de>>()? {
                    if all.0.len() == VARIABLES_MAX {
                        return Err(A::Error::custom("at most 50 variables for one recipient"));
                    }
                    if all.get(name.as_str()).is_some() {
                        return Err(A::Error::custom(format_args!("duplicate field `{}`", name.as_str())));
                    }
                    all.0.push((name, value));
                }
                Ok(all)
            }
        }
        d.deserialize_map(VariablesVisitor)
    }
}

/// A text, or a number as it is written shortest.
struct Value<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value(text.to_owned().into()))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Value<'de>, E> {
                Ok(Value(n.to_string().into()))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Value<'de>, E> {
                Ok(Value(n.to_string().into()))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Value<'de>, E> {
                Ok(Value(n.to_string().into()))
            }
        }
        d.deserialize_any(ValueVisitor)
    }
}

impl<'a> Object<'a> {
    /// The phone number it is about, or why it is not one recipient.
    fn phone(&self, index: usize) -> Result<&Text<'a>, Mistake> {
        let refuse =
            |code, detail: Cow<'static, str>| Mistake { index: Some(index), ..Mistake::new("to", code, detail) };
        let kinds = [
            ("phone", &self.phone),
            ("contact", &self.contact),
            ("group", &self.group),
            ("segment", &self.segment),
            ("tag", &self.tag),
        ];
        let mut given = kinds.into_iter().filter_map(|(kind, value)| Some((kind, value.as_ref()?)));
        match (given.next(), given.next()) {
            (None, _) => Err(refuse("missing_field", "name a `phone`".into())),
            (Some((kind, _)), Some((other, _))) => {
                Err(refuse("conflicting_fields", format!("`{kind}` and `{other}` are two recipients").into()))
            }
            (Some(("phone", phone)), None) => Ok(phone),
            (Some((kind, _)), None) => {
                let detail = format!("recipients by `{kind}` are not available on this server");
                Err(refuse(Code::RecipientKindUnavailable.as_str(), detail.into()))
            }
        }
    }
}

/// The list of recipients, if it is one.
pub(super) fn many<'a, 'b>(sending: &'b Sending<'a>, mistakes: &mut Vec<Mistake>) -> Option<&'b [Recipient<'a>]> {
    let mut refuse = |code, detail: &'static str| {
        mistakes.push(Mistake::new("to", code, detail));
        None
    };
    match &sending.to {
        None => refuse("missing_field", "add the phone numbers"),
        Some(To::One(_)) => refuse("wrong_type", "an array of phone numbers; one goes to POST /v1/messages"),
        Some(To::Many(list)) if list.is_empty() => refuse("too_short", "the list is empty"),
        Some(To::Many(list)) if list.len() > RECIPIENTS_MAX => {
            refuse("too_long", "at most 100,000 numbers in one request")
        }
        Some(To::Many(list)) => Some(list),
    }
}

/// What became of a list of recipients.
#[derive(Default)]
pub(super) struct Recipients {
    pub(super) messages: Vec<NewMessage>,
    /// Places that get no message, and why; duplicates too.
    pub(super) refusals: Vec<(u32, &'static str)>,
    /// The first of those that are wrong, explained.
    pub(super) wrong: Vec<Mistake>,
}

impl Recipients {
    /// Makes the message of each recipient; a number that comes again gets no second one.
    pub(super) fn of(to: &[Recipient<'_>], content: &Content, rules: &Rules<'_>) -> Recipients {
        let mut seen = FxHashSet::with_capacity_and_hasher(to.len(), Default::default());
        let mut found = Recipients { messages: Vec::with_capacity(to.len()), ..Recipients::default() };
        for (index, recipient) in to.iter().enumerate() {
            let made = match recipient {
                Recipient::Phone(text) => one(index, text, &Own::NOTHING, content, rules, &mut seen),
                Recipient::Object(object) => object.phone(index).and_then(|phone| {
                    let value = |name: &str| object.variables.as_ref()?.get(name);
                    let own = Own { value: &value, client_ref: object.client_ref.as_ref().map(Text::as_str) };
                    one(index, phone, &own, content, rules, &mut seen).map_err(|m| m.inside("phone"))
                }),
            };
            match made {
                Ok(Some(message)) => found.messages.push(message),
                Ok(None) => found.refusals.push((index as u32, Code::DuplicateRecipient.as_str())),
                Err(mistake) => {
                    found.refusals.push((index as u32, mistake.code));
                    if found.wrong.len() < ERRORS_MAX {
                        found.wrong.push(mistake);
                    }
                }
            }
        }
        found
    }
}

/// One message; `None` if its number has one already.
fn one(
    index: usize,
    text: &Text<'_>,
    own: &Own<'_>,
    content: &Content,
    rules: &Rules<'_>,
    seen: &mut FxHashSet<u64>,
) -> Result<Option<NewMessage>, Mistake> {
    let to = prepare::recipient(text.as_str(), rules.settings).map_err(|e| Mistake::phone(e, Some(index)))?;
    if seen.contains(&to.phone.digits()) {
        return Ok(None);
    }
    // One that cannot be made does not stand in the way of a later one to the same number.
    let message = content.message_of(rules, to, index as u32, own)?;
    seen.insert(to.phone.digits());
    if rules.suppressed.holds_new(rules.account, &message) {
        return Err(sending::suppressed(Some(index)));
    }
    Ok(Some(message))
}

/// Numbers that stood in the list more than once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Duplicates {
    /// How many elements got no message of their own.
    pub count: usize,
    /// The places in `to` of the first hundred of them, from 0.
    pub indices: Vec<u32>,
}

impl Duplicates {
    /// Of refusals with these codes; the others are left.
    pub(super) fn of<C: AsRef<str>>(refusals: &[(u32, C)]) -> Duplicates {
        let repeated = || refusals.iter().filter(|(_, code)| code.as_ref() == Code::DuplicateRecipient.as_str());
        Duplicates {
            count: repeated().count(),
            indices: repeated().take(DUPLICATES_SHOWN).map(|(index, _)| *index).collect(),
        }
    }
}
