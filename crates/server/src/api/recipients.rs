//! Who a batch goes to: phone numbers as they are, objects with a recipient's own words, contacts by name, group, segment and tag, what a source
//! has; and what became of each.
//!
//! A list of plain numbers is read without copying and pays nothing for what objects can say.

use std::borrow::Cow;
use std::fmt;

use carillon_domain::contact::{TAG_MAX, line};
use carillon_domain::id::{SegmentId, SourceId};
use carillon_domain::phone::Parsed;
use carillon_store::contact::{self, Contact, Filter};
use carillon_store::hot::NewMessage;
use carillon_store::{StoreError, contact_group, segment, source};
use rustc_hash::FxHashSet;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::messages::phone;
use super::sending::{self, ERRORS_MAX, Sending, Text, To};
use crate::app::App;
use crate::consents;
use crate::pipeline::prepare::{self, Content, Mistake, Own, Rules};
use crate::sources;

/// Recipients of one request.
const RECIPIENTS_MAX: usize = 100_000;
/// Variables of one recipient.
const VARIABLES_MAX: usize = 50;
/// Places of repeated numbers that an answer lists.
const DUPLICATES_SHOWN: usize = 100;

/// One element of `to`: a phone number, or an object with exactly one of `phone`, `contact`, `group`, `segment`, `tag`, `status` and `source`.
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

/// A recipient with what is its own; or a name for many, whose own words are their contacts' name, `external_id`, `status` and attributes, or a
/// source's columns.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `Recipient` reads")]
pub struct RecipientObject {
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// Texts and numbers for the places of `text`, by name; at most 50. They come before what a contact has.
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
    /// Every contact of this status.
    status: Option<String>,
    /// Id of a source: every row it has.
    source: Option<String>,
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
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
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

/// Whom an object is about.
enum Whom<'b> {
    Phone(&'b str),
    Contact(&'b str),
    Group(&'b str),
    Segment(&'b str),
    Tag(&'b str),
    Status(&'b str),
    Source(&'b str),
}

impl Object<'_> {
    /// Whom it is about, or why it is no recipient.
    fn whom(&self, index: usize) -> Result<Whom<'_>, Mistake> {
        let refuse =
            |code, detail: Cow<'static, str>| Mistake { index: Some(index), ..Mistake::new("to", code, detail) };
        let kinds = [
            ("phone", &self.phone),
            ("contact", &self.contact),
            ("group", &self.group),
            ("segment", &self.segment),
            ("tag", &self.tag),
            ("status", &self.status),
            ("source", &self.source),
        ];
        let mut given = kinds.into_iter().filter_map(|(kind, value)| Some((kind, value.as_ref()?.as_str())));
        match (given.next(), given.next()) {
            (None, _) => {
                let detail = "name a `phone`, `contact`, `group`, `segment`, `tag`, `status` or `source`";
                Err(refuse("missing_field", detail.into()))
            }
            (Some((kind, _)), Some((other, _))) => {
                Err(refuse("conflicting_fields", format!("`{kind}` and `{other}` are two recipients").into()))
            }
            (Some(("phone", phone)), None) => Ok(Whom::Phone(phone)),
            (Some(("contact", id)), None) => Ok(Whom::Contact(id)),
            (Some(("group", id)), None) => Ok(Whom::Group(id)),
            (Some(("segment", id)), None) => Ok(Whom::Segment(id)),
            (Some(("tag", tag)), None) => Ok(Whom::Tag(tag)),
            (Some(("status", status)), None) => Ok(Whom::Status(status)),
            (Some((_, id)), None) => Ok(Whom::Source(id)),
        }
    }

    /// Its own word for a name.
    fn word(&self, name: &str) -> Option<&str> {
        self.variables.as_ref()?.get(name)
    }

    fn client_ref(&self) -> Option<&str> {
        self.client_ref.as_ref().map(Text::as_str)
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

/// Contacts read at a time.
const PAGE: u32 = 1_000;

/// Makes the message of each recipient; a number that comes again gets no second one.
pub(super) struct Gathering<'a> {
    app: &'a App,
    content: &'a Content,
    rules: &'a Rules<'a>,
    seen: FxHashSet<u64>,
    found: Recipients,
}

impl<'a> Gathering<'a> {
    /// Of everybody in a list, contacts as they are now.
    pub(super) async fn of(
        app: &'a App,
        to: &[Recipient<'_>],
        content: &'a Content,
        rules: &'a Rules<'a>,
    ) -> Result<Recipients, Problem> {
        let seen = FxHashSet::with_capacity_and_hasher(to.len(), Default::default());
        let found = Recipients { messages: Vec::with_capacity(to.len()), ..Recipients::default() };
        let mut gathering = Gathering { app, content, rules, seen, found };
        for (index, recipient) in to.iter().enumerate() {
            match recipient {
                Recipient::Phone(text) => {
                    let made = gathering.number(index, text.as_str(), &Own::NOTHING);
                    gathering.note(index, made);
                }
                Recipient::Object(object) => gathering.object(index, object).await?,
            }
        }
        if gathering.found.messages.is_empty() && gathering.found.refusals.is_empty() {
            gathering.found.wrong.push(Mistake::new("to", Code::TooShort.as_str(), "there is nobody in it"));
        }
        Ok(gathering.found)
    }

    async fn object(&mut self, index: usize, object: &Object<'_>) -> Result<(), Problem> {
        let made = match object.whom(index) {
            Err(mistake) => Err(mistake),
            Ok(Whom::Phone(text)) => {
                let value = |name: &str| object.word(name);
                let own = Own { value: &value, client_ref: object.client_ref() };
                self.number(index, text, &own).map_err(|m| m.inside("phone"))
            }
            Ok(Whom::Contact(text)) => match text.parse() {
                Err(_) => Err(refused(index, "contact", Code::InvalidId, "this is not the id of a contact")),
                Ok(id) => match contact::by_id(&self.app.db, self.rules.account, id).await {
                    Ok(contact) => self.contact(index, "contact", &contact, object),
                    Err(StoreError::NotFound) => {
                        Err(refused(index, "contact", Code::NotFound, "there is no such contact"))
                    }
                    Err(error) => return Err(error.into()),
                },
            },
            Ok(many) => match self.many(index, many, object).await? {
                None => return Ok(()),
                Some(mistake) => Err(mistake),
            },
        };
        self.note(index, made);
        Ok(())
    }

    /// Everybody that one name stands for; or why it stands for nobody.
    async fn many(&mut self, index: usize, whom: Whom<'_>, object: &Object<'_>) -> Result<Option<Mistake>, Problem> {
        let (db, account) = (&self.app.db, self.rules.account);
        let no = |member, code, detail| Ok(Some(refused(index, member, code, detail)));
        let (member, filter) = match &whom {
            Whom::Group(text) => match text.parse() {
                Err(_) => return no("group", Code::InvalidId, "this is not the id of a group"),
                Ok(id) => match contact_group::by_id(db, account, id).await {
                    Ok(_) => ("group", Filter { group: Some(id), ..Filter::default() }),
                    Err(StoreError::NotFound) => return no("group", Code::NotFound, "there is no such group"),
                    Err(error) => return Err(error.into()),
                },
            },
            Whom::Segment(text) => {
                let Ok(id) = text.parse::<SegmentId>() else {
                    return no("segment", Code::InvalidId, "this is not the id of a segment");
                };
                let filter = match segment::resolve(db, account, id, self.rules.now).await {
                    Ok(Ok(filter)) => filter,
                    Ok(Err(_)) => return no("segment", Code::SegmentOutdated, Code::SegmentOutdated.remedy()),
                    Err(StoreError::NotFound) => return no("segment", Code::NotFound, "there is no such segment"),
                    Err(error) => return Err(error.into()),
                };
                let filter = Filter { segment: Some(&filter), ..Filter::default() };
                return self.contacts(index, "segment", filter, object).await.map(|()| None);
            }
            Whom::Tag(tag) => match line(tag, TAG_MAX) {
                Err(_) => return no("tag", Code::InvalidValue, "a tag is 1 to 40 characters"),
                Ok(()) => ("tag", Filter { tag: Some(tag), ..Filter::default() }),
            },
            Whom::Status(status) => match line(status, TAG_MAX) {
                Err(_) => return no("status", Code::InvalidValue, "a status is 1 to 40 characters"),
                Ok(()) => ("status", Filter { status: Some(status), ..Filter::default() }),
            },
            Whom::Source(text) => {
                let Ok(id) = text.parse::<SourceId>() else {
                    return no("source", Code::InvalidId, "this is not the id of a source");
                };
                return match source::by_id(db, account, id).await {
                    Ok(source) => self.source(index, &source, object).await.map(|()| None),
                    Err(StoreError::NotFound) => no("source", Code::NotFound, "there is no such source"),
                    Err(error) => Err(error.into()),
                };
            }
            Whom::Phone(_) | Whom::Contact(_) => return Ok(None),
        };
        self.contacts(index, member, filter, object).await.map(|()| None)
    }

    /// Each row of a source, read now.
    async fn source(&mut self, index: usize, source: &source::Source, object: &Object<'_>) -> Result<(), Problem> {
        let people = sources::read(self.app, source, None).await.map_err(|e| {
            Problem::from(Code::SourceFailed).and(Code::SourceFailed, format!("#/to/{index}/source"), e.to_string())
        })?;
        for (row, person) in people.iter().enumerate() {
            self.room(index, "source")?;
            let value = |name: &str| object.word(name).or_else(|| person.words.get(name).map(String::as_str));
            let own = Own { value: &value, client_ref: object.client_ref() };
            let made = self.number(index, &person.phone, &own).map_err(|m| Mistake {
                member: Some("source"),
                detail: format!("row {}: {}", row + 1, m.detail).into(),
                ..m
            });
            self.note(index, made);
        }
        Ok(())
    }

    /// Whether one more is not too many.
    fn room(&self, index: usize, member: &'static str) -> Result<(), Problem> {
        if self.found.messages.len() + self.found.refusals.len() < RECIPIENTS_MAX {
            return Ok(());
        }
        Err(Code::TooLong.at(format!("#/to/{index}/{member}"), "more than 100,000 recipients in all"))
    }

    /// Each contact that a filter finds, newest first, page by page.
    async fn contacts(
        &mut self,
        index: usize,
        member: &'static str,
        filter: Filter<'_>,
        object: &Object<'_>,
    ) -> Result<(), Problem> {
        let mut before = None;
        loop {
            let page = contact::list(&self.app.db, self.rules.account, filter, before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.id);
            for contact in &page {
                self.room(index, member)?;
                let made = self.contact(index, member, contact, object);
                self.note(index, made);
            }
        }
    }

    /// A contact's message; a mistake names the contact, since its place may stand for many.
    fn contact(
        &mut self,
        index: usize,
        member: &'static str,
        contact: &Contact,
        object: &Object<'_>,
    ) -> Result<Option<NewMessage>, Mistake> {
        let mut words = self.content.template.as_ref().map(|_| contact.profile.words()).unwrap_or_default();
        if self.content.template.is_some()
            && let Some(url) = consents::page_url(self.app, self.rules.account, phone(contact.phone))
        {
            words.entry("preferences_url".to_owned()).or_insert(url);
        }
        let value = |name: &str| object.word(name).or_else(|| words.get(name).map(String::as_str));
        let own = Own { value: &value, client_ref: object.client_ref() };
        let phone = phone(contact.phone);
        let to = Parsed { phone, country: phone.country() };
        self.message(index, to, &own).map_err(|m| Mistake {
            member: Some(member),
            detail: format!("{}: {}", contact.id, m.detail).into(),
            ..m
        })
    }

    fn number(&mut self, index: usize, text: &str, own: &Own<'_>) -> Result<Option<NewMessage>, Mistake> {
        let to = prepare::recipient(text, self.rules.settings).map_err(|e| Mistake::phone(e, Some(index)))?;
        self.message(index, to, own)
    }

    /// One message; `None` if its number has one already.
    fn message(&mut self, index: usize, to: Parsed, own: &Own<'_>) -> Result<Option<NewMessage>, Mistake> {
        let digits = to.phone.digits();
        if self.seen.contains(&digits) {
            return Ok(None);
        }
        // One that cannot be made does not stand in the way of a later one to the same number.
        let message = self.content.message_of(self.rules, to, index as u32, own)?;
        self.seen.insert(digits);
        if let Some(hold) = self.rules.suppressed.hold_new(self.rules.account, &message) {
            return Err(sending::held(hold, Some(index)));
        }
        Ok(Some(message))
    }

    fn note(&mut self, index: usize, made: Result<Option<NewMessage>, Mistake>) {
        let found = &mut self.found;
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
}

/// An element that stands for nobody.
fn refused(index: usize, member: &'static str, code: Code, detail: &'static str) -> Mistake {
    Mistake { index: Some(index), ..Mistake::new("to", code.as_str(), detail) }.inside(member)
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
