//! Whom a campaign goes to, as callers write it and as it is shown.

use std::collections::BTreeMap;
use std::fmt;

use carillon_domain::campaign::{Entry, Words};
use carillon_domain::contact::{TAG_MAX, line};
use carillon_domain::id::{AccountNo, AudienceFileId, ContactId, GroupId, SegmentId, SourceId};
use carillon_domain::template::NAME_MAX;
use carillon_store::{StoreError, audience_file, contact, contact_group, segment, source};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use crate::app::App;

/// Entries of an audience.
const ENTRIES_MAX: usize = 10_000;
/// Those of them that name something: each is looked up.
const NAMED_MAX: usize = 200;
/// Variables of one number.
const VARIABLES_MAX: usize = 50;
/// Length of what is written as a number, and of a variable, characters.
const PHONE_MAX: usize = 64;
pub(super) const WORD_MAX: usize = 1_000;

/// Whom it goes to: a number, or an object with one of the members.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct EntryBody {
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// Beside `phone`: texts and numbers for the places of the text; at most 50.
    #[schema(value_type = Option<Object>, example = json!({"name": "Ada"}))]
    variables: Option<BTreeMap<String, Value>>,
    /// Id of a contact.
    contact: Option<String>,
    /// Id of a group.
    group: Option<String>,
    /// Id of a segment.
    segment: Option<String>,
    /// A label: every contact that has it.
    tag: Option<String>,
    /// Id of a source, read when the campaign begins.
    source: Option<String>,
    /// Id of an uploaded file.
    file: Option<String>,
    /// `true`: all contacts.
    everybody: Option<bool>,
}

impl<'de> Deserialize<'de> for EntryBody {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<EntryBody, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = EntryBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a phone number as a string, or an object such as {\"group\": …}")
            }
            fn visit_str<E>(self, text: &str) -> Result<EntryBody, E> {
                Ok(EntryBody { phone: Some(text.to_owned()), ..EntryBody::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EntryBody, A::Error> {
                // The derived one, of the members.
                EntryBody::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        d.deserialize_any(EntryVisitor)
    }
}

/// An entry as it is shown: one member says whom it is about.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = AudienceEntry)]
pub struct EntryView {
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Words::is_empty")]
    #[schema(value_type = Object)]
    variables: Words,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    contact: Option<ContactId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    group: Option<GroupId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    segment: Option<SegmentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    source: Option<SourceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    file: Option<AudienceFileId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    everybody: Option<bool>,
}

impl EntryView {
    /// Of an entry.
    pub(super) fn of(entry: Entry) -> EntryView {
        let none = EntryView::default();
        match entry {
            Entry::Phone(phone, variables) => EntryView { phone: Some(phone), variables, ..none },
            Entry::Contact(id) => EntryView { contact: Some(id), ..none },
            Entry::Group(id) => EntryView { group: Some(id), ..none },
            Entry::Segment(id) => EntryView { segment: Some(id), ..none },
            Entry::Tag(tag) => EntryView { tag: Some(tag), ..none },
            Entry::Source(id) => EntryView { source: Some(id), ..none },
            Entry::File(id) => EntryView { file: Some(id), ..none },
            Entry::Everybody => EntryView { everybody: Some(true), ..none },
        }
    }
}

/// Why something is no entry: the member it is about, a code, and what to do.
pub(super) type Wrong = (&'static str, Code, String);

impl EntryBody {
    fn entry(self) -> Result<Entry, Wrong> {
        let everybody = self.everybody.map(|yes| if yes { "true" } else { "false" }.to_owned());
        let kinds = [
            ("phone", self.phone),
            ("contact", self.contact),
            ("group", self.group),
            ("segment", self.segment),
            ("tag", self.tag),
            ("source", self.source),
            ("file", self.file),
            ("everybody", everybody),
        ];
        let mut given = kinds.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
        let (kind, value) = match (given.next(), given.next()) {
            (Some(one), None) => one,
            (None, _) => {
                let detail = "name a `phone`, `contact`, `group`, `segment`, `tag`, `source`, `file` or `everybody`";
                return Err(("", Code::MissingField, detail.into()));
            }
            (Some((a, _)), Some((b, _))) => {
                return Err(("", Code::ConflictingFields, format!("`{a}` and `{b}` are two entries")));
            }
        };
        if self.variables.is_some() && kind != "phone" {
            return Err(("variables", Code::ConflictingFields, "variables stand beside a `phone`".into()));
        }
        let id = |e: carillon_domain::id::IdError| (kind, Code::InvalidId, e.to_string());
        match kind {
            "phone" if value.chars().count() > PHONE_MAX => {
                Err((kind, Code::TooLong, format!("at most {PHONE_MAX} characters")))
            }
            "phone" => Ok(Entry::Phone(value, words(self.variables.unwrap_or_default())?)),
            "contact" => value.parse().map(Entry::Contact).map_err(id),
            "group" => value.parse().map(Entry::Group).map_err(id),
            "segment" => value.parse().map(Entry::Segment).map_err(id),
            "source" => value.parse().map(Entry::Source).map_err(id),
            "file" => value.parse().map(Entry::File).map_err(id),
            "tag" => match line(&value, TAG_MAX) {
                Ok(()) => Ok(Entry::Tag(value)),
                Err(_) => Err((kind, Code::InvalidValue, "a tag is 1 to 40 characters".into())),
            },
            _ if value == "true" => Ok(Entry::Everybody),
            _ => Err((kind, Code::InvalidValue, "true, or left out".into())),
        }
    }
}

/// Variables as they are kept.
pub(super) fn words(variables: BTreeMap<String, Value>) -> Result<Words, Wrong> {
    let refuse = |code, detail: &str| Err(("variables", code, detail.to_owned()));
    if variables.len() > VARIABLES_MAX {
        return refuse(Code::TooLong, "at most 50 variables for one number");
    }
    let mut words = Words::new();
    for (name, value) in variables {
        let word = match value {
            Value::String(text) => text,
            Value::Number(n) => n.to_string(),
            _ => return refuse(Code::WrongType, "variables are texts and numbers"),
        };
        if name.chars().count() > NAME_MAX || word.chars().count() > WORD_MAX {
            return refuse(Code::TooLong, "names have at most 64 characters, and what they stand for 1,000");
        }
        words.insert(name, word);
    }
    Ok(words)
}

/// What was written, as entries; or all that is wrong with it. What it names must be there. `field` is where it stands in the body.
pub(super) async fn entries(
    app: &App,
    account: AccountNo,
    written: Vec<EntryBody>,
    field: &str,
) -> Result<Result<Vec<Entry>, Problem>, Problem> {
    if written.len() > ENTRIES_MAX {
        let detail = "at most 10,000 entries: upload more as a file, POST /v1/audience-files";
        return Ok(Err(Code::TooLong.at(format!("#/{field}"), detail)));
    }
    let mut problem = Problem::from(Code::InvalidRequest);
    let (mut entries, mut named) = (Vec::with_capacity(written.len()), 0);
    for (index, body) in written.into_iter().enumerate() {
        if problem.errors.len() >= super::sending::ERRORS_MAX {
            break;
        }
        let at = |member: &str| match member {
            "" => format!("#/{field}/{index}"),
            member => format!("#/{field}/{index}/{member}"),
        };
        let entry = match body.entry() {
            Ok(entry) => entry,
            Err((member, code, detail)) => {
                problem = problem.and(code, at(member), detail);
                continue;
            }
        };
        let (kind, found) = match &entry {
            Entry::Contact(id) => ("contact", contact::by_id(&app.db, account, *id).await.map(drop)),
            Entry::Group(id) => ("group", contact_group::by_id(&app.db, account, *id).await.map(drop)),
            Entry::Segment(id) => ("segment", segment::by_id(&app.db, account, *id).await.map(drop)),
            Entry::Source(id) => ("source", source::by_id(&app.db, account, *id).await.map(drop)),
            Entry::File(id) => ("file", audience_file::by_id(&app.db, account, *id).await.map(drop)),
            Entry::Phone(..) | Entry::Tag(_) | Entry::Everybody => ("", Ok(())),
        };
        named += usize::from(!kind.is_empty());
        if named > NAMED_MAX {
            let detail = "at most 200 contacts, groups, segments, sources and files: put contacts into a group";
            return Ok(Err(Code::TooLong.at(format!("#/{field}"), detail)));
        }
        match found {
            Ok(()) => entries.push(entry),
            Err(StoreError::NotFound) => {
                problem = problem.and(Code::NotFound, at(kind), format!("there is no such {kind}"))
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if problem.errors.is_empty() { Ok(entries) } else { Err(problem) })
}
