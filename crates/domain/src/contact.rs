//! People who can be written to: what an account knows of each, the rules it keeps to, and how a change is applied.
//!
//! Custom attributes are declared per account with a kind, so that later a filter knows what it compares and an import what it reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::message::numbered;
use crate::template;

/// Attributes of one contact.
pub const ATTRIBUTES_MAX: usize = 50;
/// Octets of all names and values of one contact.
pub const ATTRIBUTES_OCTETS: usize = 4_096;
/// Tags of one contact.
pub const TAGS_MAX: usize = 50;
/// Characters of a tag and of a status.
pub const TAG_MAX: usize = 40;
/// Characters of a name.
pub const NAME_MAX: usize = 200;
/// Characters of the account's own id of a contact or group.
pub const EXTERNAL_ID_MAX: usize = 64;
/// What a contact is until somebody says otherwise.
pub const STATUS_DEFAULT: &str = "new";

/// What a text of a batch may call a contact by, beside its attributes; no attribute can have such a name.
const BUILT_IN: &[&str] = &["phone", "name", "external_id", "status", "tags", "id"];

numbered! {
    /// What values an attribute has.
    AttributeKind: i16 {
        /// Any text.
        Text = 0 "text",
        /// A number.
        Number = 1 "number",
        /// True or false.
        Boolean = 2 "boolean",
        /// A day, `YYYY-MM-DD`.
        Date = 3 "date",
    }
}

numbered! {
    /// What a group is.
    GroupKind: i16 {
        /// A list of contacts.
        List = 0 "list",
        /// A course, and its participants.
        Course = 1 "course",
    }
}

/// The attributes an account has declared.
pub type Declared = BTreeMap<String, AttributeKind>;

/// The value of an attribute, as JSON has it; a date is a text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text or a date.
    Text(String),
}

impl Value {
    /// What a text that names the attribute reads.
    pub fn shown(&self) -> String {
        match self {
            Value::Boolean(b) => b.to_string(),
            Value::Integer(n) => n.to_string(),
            Value::Number(n) => n.to_string(),
            Value::Text(text) => text.clone(),
        }
    }

    fn octets(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            _ => 8,
        }
    }
}

/// Why something of a contact is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Longer than it may be.
    #[error("at most {0} characters")]
    Long(usize),
    /// Nothing but space, where there must be something.
    #[error("it is empty; leave it out instead")]
    Empty,
    /// A character nobody can see.
    #[error("a control character stands in it")]
    Control,
    /// No name of an attribute.
    #[error(
        "the name of an attribute is 1 to 64 letters (a-z), digits and _, and none of phone, name, external_id, status, tags and id"
    )]
    AttributeName,
    /// An attribute that the account has not.
    #[error("the account has no such attribute; declare it first: PUT /v1/contact-attributes/{{name}}")]
    Undeclared,
    /// A value of another kind than declared.
    #[error("this attribute was declared as {}", .0.as_str())]
    Kind(AttributeKind),
    /// Too many attributes.
    #[error("a contact has at most {ATTRIBUTES_MAX} attributes")]
    Attributes,
    /// Too much in all attributes together.
    #[error("all attributes of a contact together have at most {ATTRIBUTES_OCTETS} octets")]
    AttributesLong,
    /// Too many tags.
    #[error("a contact has at most {TAGS_MAX} tags")]
    Tags,
    /// The account's own id is another contact's.
    #[error("another contact has this external_id")]
    ExternalIdTaken,
}

/// A refusal and the member it is about, as a JSON pointer without `#`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Such as `/tags/3`.
    pub pointer: String,
    /// Why.
    pub why: Refusal,
}

fn wrong(pointer: impl Into<String>, why: Refusal) -> Wrong {
    Wrong { pointer: pointer.into(), why }
}

/// Whether a text is one line of at most so many characters.
pub fn line(text: &str, max: usize) -> Result<(), Refusal> {
    match text {
        _ if text.trim().is_empty() => Err(Refusal::Empty),
        _ if text.chars().count() > max => Err(Refusal::Long(max)),
        _ if text.chars().any(char::is_control) => Err(Refusal::Control),
        _ => Ok(()),
    }
}

impl AttributeKind {
    /// Whether a name can be an attribute's: one that a text can name too.
    pub fn check_name(name: &str) -> Result<(), Refusal> {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.len() <= template::NAME_MAX;
        if plain && !BUILT_IN.contains(&name) { Ok(()) } else { Err(Refusal::AttributeName) }
    }

    /// Whether a value is of this kind.
    pub fn check(self, value: &Value) -> Result<(), Refusal> {
        let fits = match (self, value) {
            (AttributeKind::Text, Value::Text(text)) => {
                return if text.contains('\0') { Err(Refusal::Control) } else { Ok(()) };
            }
            (AttributeKind::Boolean, Value::Boolean(_)) | (AttributeKind::Number, Value::Integer(_)) => true,
            (AttributeKind::Number, Value::Number(n)) => n.is_finite(),
            (AttributeKind::Date, Value::Text(text)) => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            _ => false,
        };
        if fits { Ok(()) } else { Err(Refusal::Kind(self)) }
    }

    /// A value of this kind from a text, as in a cell of a table.
    pub fn read(self, text: &str) -> Result<Value, Refusal> {
        let value = match self {
            AttributeKind::Text | AttributeKind::Date => Value::Text(text.to_owned()),
            AttributeKind::Number => match text.parse() {
                Ok(whole) => Value::Integer(whole),
                Err(_) => Value::Number(text.parse().map_err(|_| Refusal::Kind(self))?),
            },
            AttributeKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Value::Boolean(true),
                "false" | "no" | "0" => Value::Boolean(false),
                _ => return Err(Refusal::Kind(self)),
            },
        };
        self.check(&value).map(|()| value)
    }
}

/// What an account knows of a person, beside the number.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// What they are called; may be empty.
    pub name: String,
    /// The account's own id of them, one contact's alone.
    pub external_id: Option<String>,
    /// Where they stand, in the account's own words.
    pub status: String,
    /// Declared attributes and their values.
    pub attributes: BTreeMap<String, Value>,
    /// Labels.
    pub tags: BTreeSet<String>,
}

impl Default for Profile {
    fn default() -> Profile {
        let status = STATUS_DEFAULT.to_owned();
        Profile { name: String::new(), external_id: None, status, attributes: BTreeMap::new(), tags: BTreeSet::new() }
    }
}

impl Profile {
    /// What a text that names it reads, by name; without what is empty.
    pub fn words(&self) -> BTreeMap<String, String> {
        let built_in =
            [("name", Some(&self.name)), ("external_id", self.external_id.as_ref()), ("status", Some(&self.status))];
        let built_in = built_in.into_iter().filter_map(|(name, word)| Some((name.to_owned(), word?.clone())));
        let attributes = self.attributes.iter().map(|(name, value)| (name.clone(), value.shown()));
        built_in.chain(attributes).filter(|(_, word)| !word.is_empty()).collect()
    }
}

/// What is to be changed of a profile; what is not named stays.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Changes {
    /// Another name.
    pub name: Option<String>,
    /// Another id of the account's own, or none.
    pub external_id: Option<Option<String>>,
    /// Another status.
    pub status: Option<String>,
    /// Attributes to be set, or taken away.
    pub attributes: BTreeMap<String, Option<Value>>,
    /// These tags instead of all there were.
    pub tags: Option<Vec<String>>,
    /// These tags too.
    pub more_tags: Vec<String>,
}

impl Changes {
    /// All that is wrong with it, whatever it is applied to.
    pub fn check(&self, declared: &Declared) -> Vec<Wrong> {
        let mut all = Vec::new();
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            all.extend(line(name, NAME_MAX).err().map(|why| wrong("/name", why)));
        }
        if let Some(Some(id)) = &self.external_id {
            all.extend(line(id, EXTERNAL_ID_MAX).err().map(|why| wrong("/external_id", why)));
        }
        if let Some(status) = &self.status {
            all.extend(line(status, TAG_MAX).err().map(|why| wrong("/status", why)));
        }
        for (place, tag) in self.tags.iter().flatten().chain(&self.more_tags).enumerate() {
            all.extend(line(tag, TAG_MAX).err().map(|why| wrong(format!("/tags/{place}"), why)));
        }
        for (name, value) in &self.attributes {
            let checked = match (declared.get(name), value) {
                (None, _) => Err(Refusal::Undeclared),
                (Some(kind), Some(value)) => kind.check(value),
                (Some(_), None) => Ok(()),
            };
            let at = || format!("/attributes/{}", name.replace('~', "~0").replace('/', "~1"));
            all.extend(checked.err().map(|why| wrong(at(), why)));
        }
        all
    }

    /// Only what says something of which the profile knows nothing; tags are added all the same.
    #[must_use]
    pub fn filling(mut self, profile: &Profile) -> Changes {
        self.name = self.name.filter(|_| profile.name.is_empty());
        self.external_id = self.external_id.filter(|_| profile.external_id.is_none());
        self.status = self.status.filter(|_| profile.status == STATUS_DEFAULT);
        self.attributes.retain(|name, _| !profile.attributes.contains_key(name));
        self
    }

    /// The profile after the change; refused if there would be too much in it.
    pub fn applied(&self, mut to: Profile) -> Result<Profile, Wrong> {
        if let Some(name) = &self.name {
            to.name.clone_from(name);
        }
        if let Some(id) = &self.external_id {
            to.external_id.clone_from(id);
        }
        if let Some(status) = &self.status {
            to.status.clone_from(status);
        }
        if let Some(tags) = &self.tags {
            to.tags = tags.iter().cloned().collect();
        }
        to.tags.extend(self.more_tags.iter().cloned());
        for (name, value) in &self.attributes {
            match value {
                Some(value) => to.attributes.insert(name.clone(), value.clone()),
                None => to.attributes.remove(name),
            };
        }
        let octets: usize = to.attributes.iter().map(|(name, value)| name.len() + value.octets()).sum();
        match () {
            () if to.tags.len() > TAGS_MAX => Err(wrong("/tags", Refusal::Tags)),
            () if to.attributes.len() > ATTRIBUTES_MAX => Err(wrong("/attributes", Refusal::Attributes)),
            () if octets > ATTRIBUTES_OCTETS => Err(wrong("/attributes", Refusal::AttributesLong)),
            () => Ok(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_the_kinds_they_are_of() {
        let text = |t: &str| Value::Text(t.into());
        let rows = [
            (text("a"), [true, false, false, false]),
            (text("2026-11-21"), [true, false, false, true]),
            (text("2026-02-30"), [true, false, false, false]),
            (text("2026-11-21T00:00:00"), [true, false, false, false]),
            (Value::Integer(5), [false, true, false, false]),
            (Value::Number(0.5), [false, true, false, false]),
            (Value::Number(f64::NAN), [false, false, false, false]),
            (Value::Boolean(true), [false, false, true, false]),
            (text("a\0"), [false, false, false, false]),
        ];
        for (value, expected) in rows {
            let kinds = [AttributeKind::Text, AttributeKind::Number, AttributeKind::Boolean, AttributeKind::Date];
            assert_eq!(kinds.map(|kind| kind.check(&value).is_ok()), expected, "{value:?}");
        }
    }

    #[test]
    fn cells_of_a_table() {
        let rows = [
            (AttributeKind::Number, "12", Ok(Value::Integer(12))),
            (AttributeKind::Number, "1.5", Ok(Value::Number(1.5))),
            (AttributeKind::Number, "inf", Err(Refusal::Kind(AttributeKind::Number))),
            (AttributeKind::Number, "x", Err(Refusal::Kind(AttributeKind::Number))),
            (AttributeKind::Boolean, "Yes", Ok(Value::Boolean(true))),
            (AttributeKind::Boolean, "maybe", Err(Refusal::Kind(AttributeKind::Boolean))),
            (AttributeKind::Date, "2026-11-21", Ok(Value::Text("2026-11-21".into()))),
            (AttributeKind::Date, "21.11.2026", Err(Refusal::Kind(AttributeKind::Date))),
        ];
        for (kind, text, expected) in rows {
            assert_eq!(kind.read(text), expected, "{kind:?} {text}");
        }
    }

    #[test]
    fn names_of_attributes() {
        let longest = "a".repeat(64);
        for good in ["city", "_x", "a1", &longest] {
            assert_eq!(AttributeKind::check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "1a", "City", "a b", "a-b", "phone", "name", "ü", &"a".repeat(65)] {
            assert_eq!(AttributeKind::check_name(bad), Err(Refusal::AttributeName), "{bad}");
        }
    }

    #[test]
    fn changes_are_checked_and_applied() {
        let declared = Declared::from([("city".into(), AttributeKind::Text), ("age".into(), AttributeKind::Number)]);
        let long = "x".repeat(41);
        let changes = Changes {
            name: Some("a\nb".into()),
            external_id: Some(Some(" ".into())),
            status: Some(String::new()),
            attributes: [
                ("age", Some(Value::Text("1".into()))),
                ("shoe/size", Some(Value::Integer(1))),
                ("city", None),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            tags: Some(vec![long]),
            ..Changes::default()
        };
        let found: Vec<_> = changes.check(&declared).into_iter().map(|w| (w.pointer, w.why)).collect();
        let expected = [
            ("/name", Refusal::Control),
            ("/external_id", Refusal::Empty),
            ("/status", Refusal::Empty),
            ("/tags/0", Refusal::Long(40)),
            ("/attributes/age", Refusal::Kind(AttributeKind::Number)),
            ("/attributes/shoe~1size", Refusal::Undeclared),
        ];
        assert_eq!(found, expected.map(|(pointer, why)| (pointer.to_owned(), why)));

        let tagged = |n: usize| Changes { more_tags: (0..n).map(|i| format!("t{i}")).collect(), ..Changes::default() };
        assert_eq!(tagged(50).applied(Profile::default()).map(|p| p.tags.len()), Ok(50));
        assert_eq!(tagged(51).applied(Profile::default()), Err(wrong("/tags", Refusal::Tags)));
        let wide = |n: usize, octets: usize| Changes {
            attributes: (0..n).map(|i| (format!("a{i:02}"), Some(Value::Text("x".repeat(octets))))).collect(),
            ..Changes::default()
        };
        assert!(wide(50, 1).applied(Profile::default()).is_ok());
        assert_eq!(wide(51, 1).applied(Profile::default()), Err(wrong("/attributes", Refusal::Attributes)));
        assert!(wide(1, 4_093).applied(Profile::default()).is_ok());
        assert_eq!(wide(1, 4_094).applied(Profile::default()), Err(wrong("/attributes", Refusal::AttributesLong)));
        let first = wide(2, 1).applied(Profile::default()).unwrap();
        let more = Changes { name: Some("Ada".into()), status: Some("paid".into()), ..wide(3, 2) };
        let known = Profile { name: "Bob".into(), ..first.clone() };
        let filled = more.filling(&known).applied(known).unwrap();
        assert_eq!((filled.name.as_str(), filled.status.as_str()), ("Bob", "paid"));
        assert_eq!(filled.attributes.values().map(Value::shown).collect::<Vec<_>>(), ["x", "x", "xx"]);
        let gone = Changes { attributes: [("a00".to_owned(), None)].into(), ..Changes::default() };
        assert_eq!(gone.applied(first).unwrap().attributes.keys().collect::<Vec<_>>(), ["a01"]);
    }
}
