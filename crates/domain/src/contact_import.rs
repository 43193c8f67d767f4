//! A table of people and what becomes of its rows: which column means what, and what a row says of one contact, or all that is wrong with it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::consent::{Detail, Status};
use crate::contact::{AttributeKind, Changes, Declared, Refusal, line};
use crate::id::GroupId;
use crate::message::{Category, numbered};
use crate::phone::{Country, Phone, PhoneError, Strictness};

/// Columns of a table.
pub const COLUMNS_MAX: usize = 200;
/// Characters of a cell that a report of mistakes repeats.
pub const SHOWN_MAX: usize = 200;

numbered! {
    /// What becomes of a contact that the number has already.
    Policy: i16 {
        /// What the row says is set; an empty cell says nothing.
        Update = 0 "update",
        /// It stays as it is.
        Skip = 1 "skip",
        /// What the row says is set where nothing was known.
        FillEmpty = 2 "fill_empty",
    }
}

/// What a column holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The number.
    Phone,
    /// The name.
    Name,
    /// The account's own id.
    ExternalId,
    /// Where they stand.
    Status,
    /// Tags, with `;`, `,` or `|` between them.
    Tags,
    /// A group they are in: its id, or the account's own id of it.
    Group,
    /// Whether they agreed.
    Consent,
    /// When they did.
    ConsentAt,
    /// A declared attribute.
    Attribute(String),
}

impl Target {
    /// Its name in the API.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Target::Phone => "phone".into(),
            Target::Name => "name".into(),
            Target::ExternalId => "external_id".into(),
            Target::Status => "status".into(),
            Target::Tags => "tags".into(),
            Target::Group => "group".into(),
            Target::Consent => "consent".into(),
            Target::ConsentAt => "consent_at".into(),
            Target::Attribute(name) => format!("attribute:{name}").into(),
        }
    }

    /// From its name in the API.
    pub fn from_name(text: &str) -> Option<Target> {
        Some(match text {
            "phone" => Target::Phone,
            "name" => Target::Name,
            "external_id" => Target::ExternalId,
            "status" => Target::Status,
            "tags" => Target::Tags,
            "group" => Target::Group,
            "consent" => Target::Consent,
            "consent_at" => Target::ConsentAt,
            other => Target::Attribute(other.strip_prefix("attribute:")?.to_owned()),
        })
    }

    /// What a column of this heading probably holds.
    pub fn suggested(heading: &str, declared: &Declared) -> Option<Target> {
        let plain: String = heading.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let known: [(&[&str], Target); 8] = [
            (&PHONE_HEADINGS, Target::Phone),
            (&["name", "fullname", "firstname", "vorname", "nombre", "nom", "contact", "customer"], Target::Name),
            (&["externalid", "customerid", "kundennummer", "memberid", "userid", "reference"], Target::ExternalId),
            (&["status", "state"], Target::Status),
            (&["tags", "tag", "labels", "label"], Target::Tags),
            (&["group", "list", "course", "segment"], Target::Group),
            (&["consent", "optin", "subscribed", "agreed"], Target::Consent),
            (&["consentat", "consentdate", "optindate", "optinat", "subscribedat"], Target::ConsentAt),
        ];
        let own = declared.keys().find(|name| name.replace('_', "") == plain);
        own.map(|name| Target::Attribute(name.clone()))
            .or_else(|| known.into_iter().find(|(words, _)| words.contains(&plain.as_str())).map(|(_, target)| target))
    }
}

/// Headings of columns of numbers, in the languages that spreadsheets come in.
const PHONE_HEADINGS: [&str; 18] = [
    "phone",
    "phonenumber",
    "mobile",
    "mobilephone",
    "mobilenumber",
    "cell",
    "cellphone",
    "telephone",
    "tel",
    "msisdn",
    "number",
    "telefon",
    "telefonnummer",
    "handy",
    "handynummer",
    "telefono",
    "movil",
    "telephoneportable",
];

impl TryFrom<String> for Target {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Target, &'static str> {
        Target::from_name(&text).ok_or(
            "phone, name, external_id, status, tags, group, consent, consent_at, or attribute: and the name of an attribute",
        )
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.name().into_owned()
    }
}

/// What is recorded of agreement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Agreement {
    /// To which messages.
    pub promotional: bool,
    /// What is said of all of them.
    pub detail: Detail,
}

impl Agreement {
    /// To which messages.
    pub fn category(&self) -> Category {
        if self.promotional { Category::Promotional } else { Category::Transactional }
    }
}

/// How a table is taken.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What each column holds; `None` is passed over.
    pub columns: Vec<Option<Target>>,
    /// Completes national numbers.
    pub country: Option<Country>,
    /// Whether numbers are checked by their shape only.
    pub lenient: bool,
    /// What becomes of contacts that are there, by its name.
    pub policy: String,
    /// Everybody comes into it.
    pub group: Option<GroupId>,
    /// Everybody gets them.
    pub tags: Vec<String>,
    /// What is recorded of agreement: of the rows whose cell says so, or of all where no column does.
    pub consent: Option<Agreement>,
}

/// What a row says.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The number.
    pub phone: Phone,
    /// What is said of who has it; checked.
    pub changes: Changes,
    /// A group, as its cell names it.
    pub group: Option<String>,
    /// Whether they agreed, and when, Unix milliseconds; `None` if the row does not say.
    pub consent: Option<(Status, Option<i64>)>,
}

/// Why a cell is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// It is no number.
    #[error("{}", .0.reason)]
    Phone(PhoneError),
    /// It is nothing that a contact can have.
    #[error("{0}")]
    Contact(Refusal),
    /// It names no group.
    #[error("the account has no group of this id or external_id")]
    Group,
    /// It is neither yes nor no.
    #[error("write yes or no (opted_in or opted_out)")]
    Consent,
    /// It is no time.
    #[error("write a day, 2026-11-21, or an instant, 2026-11-21T12:00:00Z")]
    Time,
    /// The number stands in a row before.
    #[error("this number stands in a row before, which counts")]
    Duplicate,
}

impl Why {
    /// The code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Why::Phone(e) => e.reason.code(),
            Why::Contact(Refusal::Long(_) | Refusal::Attributes | Refusal::AttributesLong | Refusal::Tags) => {
                "too_long"
            }
            Why::Contact(Refusal::Empty) => "too_short",
            Why::Contact(Refusal::Undeclared) => "unknown_field",
            Why::Contact(Refusal::Kind(_)) => "wrong_type",
            Why::Contact(Refusal::ExternalIdTaken) => "id_taken",
            Why::Group => "not_found",
            Why::Contact(Refusal::Control | Refusal::AttributeName) | Why::Consent | Why::Time => "invalid_value",
            Why::Duplicate => "duplicate_recipient",
        }
    }

    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Why::Phone(e) => e.suggestion.as_deref(),
            _ => None,
        }
    }
}

/// Something wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    /// Which column, from 0.
    pub column: usize,
    /// Why.
    pub why: Why,
}

/// A cell as it was before an export protected spreadsheets from it, without space around it.
pub fn cell(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@']) => rest,
        _ => text,
    }
}

impl Plan {
    /// The column of a target; the first if there are several.
    pub fn column(&self, target: &Target) -> Option<usize> {
        self.columns.iter().position(|column| column.as_ref() == Some(target))
    }

    /// By which rules numbers are read.
    fn strictness(&self) -> Strictness {
        if self.lenient { Strictness::Lenient } else { Strictness::Strict }
    }

    /// The number alone, as `read` reads it.
    pub fn phone(&self, text: &str) -> Result<Phone, PhoneError> {
        Phone::parse(cell(text), self.country, self.strictness()).map(|parsed| parsed.phone)
    }

    /// What a row says; cells that are not there are empty. All that is wrong with it, if anything is.
    pub fn read<'a>(&self, declared: &Declared, text: impl Fn(usize) -> &'a str) -> Result<Row, Vec<Bad>> {
        let mut bad = Vec::new();
        let mut changes = Changes { more_tags: self.tags.clone(), ..Changes::default() };
        let (mut phone, mut group, mut agreed, mut at) = (None, None, None, None);
        for (column, target) in self.columns.iter().enumerate() {
            let Some(target) = target else { continue };
            let text = cell(text(column));
            let wrong = |why| Bad { column, why };
            if *target == Target::Phone {
                match self.phone(text) {
                    Ok(read) => phone = Some(read),
                    Err(e) => bad.push(wrong(Why::Phone(e))),
                }
                continue;
            }
            if text.is_empty() {
                continue;
            }
            let before = (changes.clone(), bad.len());
            match target {
                Target::Phone => {}
                Target::Name => changes.name = Some(text.to_owned()),
                Target::ExternalId => changes.external_id = Some(Some(text.to_owned())),
                Target::Status => changes.status = Some(text.to_owned()),
                Target::Tags => changes.more_tags.extend(words(text).map(str::to_owned)),
                Target::Group => group = Some(text.to_owned()),
                Target::Consent => match agreement(text) {
                    Some(status) => agreed = Some(status),
                    None => bad.push(wrong(Why::Consent)),
                },
                Target::ConsentAt => match instant(text) {
                    Some(ms) => at = Some(ms),
                    None => bad.push(wrong(Why::Time)),
                },
                Target::Attribute(name) => match attribute(declared, name, text) {
                    Ok(value) => drop(changes.attributes.insert(name.clone(), Some(value))),
                    Err(why) => bad.push(wrong(Why::Contact(why))),
                },
            }
            // What this cell brought is judged by itself, so that the report names its column.
            if bad.len() == before.1
                && let Err(why) = judged(&changes, target)
            {
                changes = before.0;
                bad.push(wrong(Why::Contact(why)));
            }
        }
        let by_all = self.consent.is_some() && self.column(&Target::Consent).is_none();
        let consent = agreed.or(by_all.then_some(Status::OptedIn)).map(|status| (status, at));
        match phone {
            Some(phone) if bad.is_empty() => Ok(Row { phone, changes, group, consent }),
            _ => Err(bad),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([';', ',', '|']).map(str::trim).filter(|word| !word.is_empty())
}

fn attribute(declared: &Declared, name: &str, text: &str) -> Result<crate::contact::Value, Refusal> {
    let kind: AttributeKind = *declared.get(name).ok_or(Refusal::Undeclared)?;
    kind.read(text)
}

fn judged(changes: &Changes, target: &Target) -> Result<(), Refusal> {
    use crate::contact::{EXTERNAL_ID_MAX, NAME_MAX, TAG_MAX};
    match target {
        Target::Name => line(changes.name.as_deref().unwrap_or_default(), NAME_MAX),
        Target::ExternalId => {
            line(changes.external_id.iter().flatten().next().map_or("", String::as_str), EXTERNAL_ID_MAX)
        }
        Target::Status => line(changes.status.as_deref().unwrap_or_default(), TAG_MAX),
        Target::Tags => changes.more_tags.iter().try_for_each(|tag| line(tag, TAG_MAX)),
        _ => Ok(()),
    }
}

/// Whether a cell says that somebody agreed.
fn agreement(text: &str) -> Option<Status> {
    match text.to_lowercase().as_str() {
        "yes" | "y" | "true" | "1" | "x" | "opted_in" | "subscribed" | "ja" | "si" | "sí" | "oui" => {
            Some(Status::OptedIn)
        }
        "no" | "n" | "false" | "0" | "opted_out" | "unsubscribed" | "nein" | "non" => Some(Status::OptedOut),
        _ => None,
    }
}

/// An instant, or the beginning of a day (UTC), Unix milliseconds.
fn instant(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let day = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok()).flatten()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(columns: &[&str]) -> Plan {
        Plan {
            columns: columns.iter().map(|name| Target::from_name(name)).collect(),
            country: Country::parse("DE"),
            lenient: false,
            policy: Policy::Update.as_str().to_owned(),
            group: None,
            tags: vec!["autumn".into()],
            consent: None,
        }
    }

    #[test]
    fn rows_and_what_they_say() {
        let declared = Declared::from([("age".into(), AttributeKind::Number), ("born".into(), AttributeKind::Date)]);
        let plan = plan(&[
            "phone",
            "name",
            "external_id",
            "status",
            "tags",
            "attribute:age",
            "attribute:born",
            "consent",
            "consent_at",
            "group",
        ]);
        // cells with | between them -> what is said, or columns and codes
        let rows: &[(&str, Result<&str, &str>)] = &[
            ("0151 12345678|Ada", Ok("+4915112345678 Some(\"Ada\") None None [\"autumn\"] []")),
            ("'+4915112345678|'=Ada|c1", Ok("+4915112345678 Some(\"=Ada\") Some(Some(\"c1\")) None [\"autumn\"] []")),
            (
                "+4915112345678||||a; b ,c|7",
                Ok("+4915112345678 None None None [\"autumn\", \"a\", \"b\", \"c\"] [\"age\"]"),
            ),
            (
                "+4915112345678|||paid|||1990-05-01",
                Ok("+4915112345678 None None Some(\"paid\") [\"autumn\"] [\"born\"]"),
            ),
            ("", Err("0 phone_empty")),
            ("nobody|Ada||||x|soon", Err("0 phone_not_a_number, 5 wrong_type, 6 wrong_type")),
            ("+49015112345678", Err("0 phone_trunk_prefix")),
            ("+4915112345678|a\u{7}b", Err("1 invalid_value")),
            ("+4915112345678|||||||perhaps|once", Err("7 invalid_value, 8 invalid_value")),
        ];
        for (text, expected) in rows {
            let cells: Vec<&str> = text.split('|').collect();
            let read = plan.read(&declared, |column| cells.get(column).copied().unwrap_or(""));
            let shown = read
                .map(|r| {
                    let c = r.changes;
                    let names: Vec<_> = c.attributes.keys().collect();
                    format!("{} {:?} {:?} {:?} {:?} {names:?}", r.phone, c.name, c.external_id, c.status, c.more_tags)
                })
                .map_err(|bad| {
                    bad.iter().map(|b| format!("{} {}", b.column, b.why.code())).collect::<Vec<_>>().join(", ")
                });
            assert_eq!(shown.as_deref().map_err(String::as_str), *expected, "{text}");
        }
        let long = plan.read(&declared, |column| {
            if column == 4 { "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" } else { "015112345678" }
        });
        assert_eq!(long.unwrap_err().iter().find(|b| b.column == 4).map(|b| b.why.code()), Some("too_long"));
    }

    #[test]
    fn agreement_by_cell_or_by_all() {
        let declared = Declared::new();
        let agreed = |plan: &Plan, cells: [&'static str; 3]| plan.read(&declared, |c| cells[c]).map(|row| row.consent);
        let with_column = plan(&["phone", "consent", "consent_at"]);
        let rows = [
            ("yes", "2026-11-21", Some((Status::OptedIn, Some(1_795_219_200_000)))),
            ("Nein", "", Some((Status::OptedOut, None))),
            ("", "2026-11-21T12:00:00Z", None),
        ];
        for (cell, at, expected) in rows {
            assert_eq!(agreed(&with_column, ["+4915112345678", cell, at]), Ok(expected), "{cell}");
        }
        let agreement = Agreement { promotional: true, detail: Detail::default() };
        let by_all = Plan { consent: Some(agreement), ..plan(&["phone", "", ""]) };
        assert_eq!(agreed(&by_all, ["+4915112345678", "", ""]), Ok(Some((Status::OptedIn, None))));
    }

    #[test]
    fn headings_and_what_they_suggest() {
        let declared = Declared::from([("home_town".into(), AttributeKind::Text)]);
        for (heading, expected) in [
            ("Phone Number", Some(Target::Phone)),
            ("Handynummer", Some(Target::Phone)),
            ("teléfono", None),
            ("Full name", Some(Target::Name)),
            ("Home Town", Some(Target::Attribute("home_town".into()))),
            ("opt-in", Some(Target::Consent)),
            ("Shoe size", None),
        ] {
            assert_eq!(Target::suggested(heading, &declared), expected, "{heading}");
        }
        for name in ["phone", "consent_at", "attribute:city"] {
            assert_eq!(Target::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Target::from_name("city"), None);
    }
}
