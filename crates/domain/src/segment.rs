//! Segments: filters over contacts, written as JSON, read and checked here. What they ask of the database is the store's (`store::segment`).
//!
//! A filter is an object: `all`, `any` and `not` put others together; the rest say something of one contact. Each is read with the attributes the
//! account has declared and with the instant it is for, so that what comes out holds bounds and no "30 days ago". Anything that is not known of
//! a contact fails its test, and so passes under `not`.

mod condition;

use serde_json::{Map, Value};

use crate::consent;
use crate::contact::{AttributeKind, Declared, GroupKind, TAG_MAX, line};
use crate::id::GroupId;
use crate::message::{Category, numbered};

/// How deep filters stand in one another.
pub const DEPTH_MAX: usize = 8;
/// Conditions of one filter, `all`, `any` and `not` counted too.
pub const CONDITIONS_MAX: usize = 100;
/// Values of one `in`.
pub const VALUES_MAX: usize = 100;
/// Characters of a text that is compared with.
pub const TEXT_MAX: usize = 200;
/// How far back activity can be asked for.
pub const DAYS_MAX: u32 = 366;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

numbered! {
    /// What happened between an account and a contact.
    Activity: i16 {
        /// A message reached the phone.
        Delivered = 0 "delivered",
        /// A message did not.
        Failed = 1 "failed",
        /// A message was handed to a carrier.
        Sent = 2 "sent",
        /// The phone wrote.
        Replied = 3 "replied",
        /// The person opened a short link for the first time.
        Clicked = 4 "clicked",
    }
}

/// Which contacts.
#[derive(Clone, PartialEq, Debug)]
pub enum Filter {
    /// Those that pass every one.
    All(Vec<Filter>),
    /// Those that pass one at least.
    Any(Vec<Filter>),
    /// Those that do not pass it.
    Not(Box<Filter>),
    /// Those of whom it is true.
    Is(Condition),
}

/// Something that is true of a contact or not.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// Something known of it passes a test.
    Value(Subject, Test),
    /// It has a label.
    Tag(String),
    /// It is in a group.
    Group(GroupId),
    /// It is in a group that the account knows by an id of its own.
    GroupNamed {
        /// The account's own id.
        external_id: String,
        /// Only a group of this kind.
        kind: Option<GroupKind>,
    },
    /// Its number stands on the account's suppression list or the platform's.
    Suppressed,
    /// That is what is recorded of whether they agreed to messages of a category.
    Consent(Category, consent::Status),
    /// So much happened, so lately.
    Activity {
        /// What.
        what: Activity,
        /// On this day (of 1970, UTC) or later.
        since_day: i32,
        /// So often.
        at_least: u32,
    },
}

/// What a test looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The name in lower case; empty is unknown.
    Name,
    /// Where they stand.
    Status,
    /// The account's own id.
    ExternalId,
    /// When it was made, Unix milliseconds.
    CreatedAt,
    /// When it was changed, Unix milliseconds.
    ChangedAt,
    /// A declared attribute.
    Attribute(String, AttributeKind),
}

/// What is asked of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// That it is known.
    Exists,
    /// That it is one of these.
    In(Vec<Scalar>),
    /// That it has this within it.
    Contains(String),
    /// That it begins so.
    StartsWith(String),
    /// How it stands to this.
    Compare(Order, Scalar),
}

/// How two values stand to one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Less.
    Lt,
    /// Less or the same.
    Lte,
    /// Greater.
    Gt,
    /// Greater or the same.
    Gte,
}

/// A value that is compared with.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar {
    /// A text, or a date as `YYYY-MM-DD`.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Unix milliseconds.
    Instant(i64),
}

/// Why a filter is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not an object.
    #[error("a filter is an object, such as {{\"tag\": \"regular\"}}")]
    Object,
    /// It says nothing, or two things.
    #[error(
        "a filter has exactly one of all, any, not, attribute, field, tag, group, suppressed, consent and activity"
    )]
    Which,
    /// Not a member of this condition.
    #[error("this condition has no such member")]
    Unknown,
    /// A member that is needed.
    #[error("add it")]
    Missing,
    /// Another type than needed.
    #[error("{0}")]
    Type(&'static str),
    /// None of what is allowed.
    #[error("one of {0}")]
    OneOf(&'static str),
    /// An attribute that the account has not.
    #[error("the account has no such attribute; declare it first: PUT /v1/contact-attributes/{{name}}")]
    Undeclared,
    /// A text that is too long, or a list.
    #[error("at most {0}")]
    Long(usize),
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A character nobody can see.
    #[error("a control character stands in it")]
    Control,
    /// Filters in filters in filters.
    #[error("filters stand at most {DEPTH_MAX} deep in one another")]
    Deep,
    /// Too much in all.
    #[error("a filter has at most {CONDITIONS_MAX} conditions")]
    Conditions,
}

/// A refusal and what it is about, as a JSON pointer from the filter on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Such as `/all/1/value`.
    pub pointer: String,
    /// Why.
    pub why: Refusal,
}

/// Reads a filter, for the instant `now` (Unix milliseconds); or all that is wrong with it.
pub fn read(filter: &Value, declared: &Declared, now: i64) -> Result<Filter, Vec<Wrong>> {
    let mut reader = Reader { declared, now, conditions: 0, wrong: Vec::new() };
    match reader.filter(filter, "", 1) {
        Some(filter) if reader.wrong.is_empty() => Ok(filter),
        _ => Err(reader.wrong),
    }
}

/// The day of an instant, from 1970, UTC.
pub fn day_of(ms: i64) -> i32 {
    i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

/// What is known while one filter is read. A part that is wrong is noted and read as `None`.
struct Reader<'a> {
    declared: &'a Declared,
    now: i64,
    conditions: usize,
    wrong: Vec<Wrong>,
}

/// The members that say what an object is.
const KINDS: [&str; 10] =
    ["all", "any", "not", "attribute", "field", "tag", "group", "suppressed", "consent", "activity"];

impl Reader<'_> {
    fn refuse<T>(&mut self, at: impl Into<String>, why: Refusal) -> Option<T> {
        self.wrong.push(Wrong { pointer: at.into(), why });
        None
    }

    fn filter(&mut self, value: &Value, at: &str, depth: usize) -> Option<Filter> {
        let Value::Object(object) = value else { return self.refuse(at, Refusal::Object) };
        self.conditions += 1;
        if depth > DEPTH_MAX {
            return self.refuse(at, Refusal::Deep);
        }
        if self.conditions > CONDITIONS_MAX {
            // Said once: the rest is not looked at.
            return if self.conditions == CONDITIONS_MAX + 1 { self.refuse(at, Refusal::Conditions) } else { None };
        }
        let mut said = KINDS.iter().filter(|kind| object.contains_key(**kind));
        let (Some(kind), None) = (said.next(), said.next()) else { return self.refuse(at, Refusal::Which) };
        let inner = format!("{at}/{kind}");
        let of = &object[*kind];
        match *kind {
            "all" => self.several(object, of, at, &inner, depth).map(Filter::All),
            "any" => self.several(object, of, at, &inner, depth).map(Filter::Any),
            "not" => {
                self.only(object, at, &["not"]);
                self.filter(of, &inner, depth + 1).map(|filter| Filter::Not(Box::new(filter)))
            }
            _ => self.condition(kind, object, at, &inner),
        }
    }

    fn several(
        &mut self,
        object: &Map<String, Value>,
        of: &Value,
        at: &str,
        inner: &str,
        depth: usize,
    ) -> Option<Vec<Filter>> {
        self.only(object, at, &["all", "any"]);
        match of {
            Value::Array(list) if list.is_empty() => self.refuse(inner, Refusal::Empty),
            Value::Array(list) => {
                let read: Vec<_> =
                    list.iter().enumerate().map(|(i, f)| self.filter(f, &format!("{inner}/{i}"), depth + 1)).collect();
                read.into_iter().collect()
            }
            _ => self.refuse(inner, Refusal::Type("an array of filters")),
        }
    }

    /// Notes members that are none of these.
    fn only(&mut self, object: &Map<String, Value>, at: &str, known: &[&str]) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let name = name.replace('~', "~0").replace('/', "~1");
            self.refuse::<()>(format!("{at}/{name}"), Refusal::Unknown);
        }
    }

    /// A text of one line.
    fn text(&mut self, value: &Value, at: &str, max: usize) -> Option<String> {
        use crate::contact::Refusal as Of;
        let Value::String(text) = value else { return self.refuse(at, Refusal::Type("a text")) };
        match line(text, max) {
            Ok(()) => Some(text.clone()),
            Err(Of::Empty) => self.refuse(at, Refusal::Empty),
            Err(Of::Long(_)) => self.refuse(at, Refusal::Long(max)),
            Err(_) => self.refuse(at, Refusal::Control),
        }
    }

    /// A whole number from `least` to `most`.
    fn count(&mut self, value: &Value, at: &str, most: u32, expected: &'static str) -> Option<u32> {
        match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if (1..=most).contains(&n) => Some(n),
            _ => self.refuse(at, Refusal::Type(expected)),
        }
    }

    fn tag(&mut self, value: &Value, at: &str) -> Option<Condition> {
        self.text(value, at, TAG_MAX).map(Condition::Tag)
    }
}

#[cfg(test)]
mod tests;
