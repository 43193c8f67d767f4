//! Routes as the API and the store write them, read into the rules of the domain with every mistake they have.

use std::collections::HashMap;

use carillon_domain::id::{AccountId, AccountNo};
use carillon_domain::message::Lane;
use carillon_domain::phone::Country;
use carillon_domain::route::{Conditions, ConnectionNo, Group, Hours, Member, Strategy};
use carillon_store::route;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a route asks and where it leads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// What a message must be like.
    pub conditions: ConditionsShape,
    /// Where it goes.
    pub groups: Vec<GroupShape>,
}

/// What a message must be like: of each list given one entry must fit, and all lists must. Empty = every message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = RouteConditions)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionsShape {
    /// Ids of accounts; operators only.
    #[schema(value_type = Vec<String>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountId>,
    /// How the number begins: digits, country code first.
    #[schema(example = json!(["4915", "4916"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The number's country, ISO 3166-1.
    #[schema(example = json!(["DE", "AT"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// The number's operator by the table of number ranges: MCC and MNC, 5 or 6 digits.
    #[schema(example = json!(["26201"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
    /// What it is from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<String>,
    /// `otp`, `express`, `normal`, `bulk`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<String>,
    /// One of its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursShape>,
}

/// Hours of the week.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RouteHours)]
#[serde(deny_unknown_fields)]
pub struct HoursShape {
    /// IANA name.
    #[schema(example = "Europe/Berlin")]
    pub zone: String,
    /// `mon` to `sun`; all of them if not given.
    #[serde(default = "every_day")]
    pub days: Vec<String>,
    /// `HH:MM`.
    #[schema(example = "08:00")]
    pub from: String,
    /// `HH:MM`, `24:00` for the day's end; not after `from`: over midnight.
    #[schema(example = "20:00")]
    pub to: String,
}

fn every_day() -> Vec<String> {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(str::to_owned).to_vec()
}

/// Connections that stand beside one another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RouteGroup)]
#[serde(deny_unknown_fields)]
pub struct GroupShape {
    /// `priority` (as they stand), `weighted`, `least_cost` or `best_delivery`.
    #[schema(value_type = String, example = "priority")]
    #[serde(default = "priority")]
    pub strategy: Strategy,
    /// At least one.
    pub members: Vec<MemberShape>,
}

fn priority() -> Strategy {
    Strategy::Priority
}

/// A connection in a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RouteMember)]
#[serde(deny_unknown_fields)]
pub struct MemberShape {
    /// Its id; on the way in its name is taken too.
    #[schema(example = "con_01kah3g2m8fcmrpj4q6x3d9s7v")]
    pub connection: String,
    /// Its share where the strategy is weighted, 0 to 1000.
    #[serde(default = "one")]
    #[schema(example = 1)]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

/// A mistake and its place, as a JSON pointer in a URI fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Such as `#/conditions/lanes/0`.
    pub pointer: String,
    /// What to write instead.
    pub why: String,
}

const ENTRIES_MAX: usize = 500;
const GROUPS_MAX: usize = 8;
const MEMBERS_MAX: usize = 16;
const WEIGHT_MAX: u16 = 1_000;
/// The longest name of a sender or tag.
const TEXT_MAX: usize = 64;

/// Gathers mistakes.
#[derive(Default)]
struct Reader(Vec<Wrong>);

impl Reader {
    fn wrong(&mut self, pointer: impl Into<String>, why: impl Into<String>) {
        self.0.push(Wrong { pointer: pointer.into(), why: why.into() });
    }

    /// Reads each entry of a condition's list; what cannot be is named by its place.
    fn list<T, U>(&mut self, name: &str, entries: &[T], why: &str, read: impl Fn(&T) -> Option<U>) -> Vec<U> {
        if entries.len() > ENTRIES_MAX {
            self.wrong(format!("#/conditions/{name}"), format!("at most {ENTRIES_MAX} entries"));
            return Vec::new();
        }
        let mut taken = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            match read(entry) {
                Some(value) => taken.push(value),
                None => self.wrong(format!("#/conditions/{name}/{i}"), why),
            }
        }
        taken
    }

    fn conditions(&mut self, c: &ConditionsShape, accounts: &HashMap<AccountId, AccountNo>) -> Conditions {
        let text = |t: &String| {
            let fine = !t.is_empty() && t.chars().count() <= TEXT_MAX && !t.chars().any(char::is_control);
            fine.then(|| t.clone())
        };
        let seen = "1 to 64 characters that can be seen";
        Conditions {
            accounts: self.list("accounts", &c.accounts, "there is no such account", |id| accounts.get(id).copied()),
            prefixes: self.list("prefixes", &c.prefixes, "1 to 15 digits, country code first", |p| prefix(p)),
            countries: self.list("countries", &c.countries, "two letters, such as DE", |t| Country::parse(t)),
            operators: self.list("operators", &c.operators, "MCC and MNC, 5 or 6 digits", |o| operator(o)),
            senders: self.list("senders", &c.senders, seen, text),
            lanes: self.list("lanes", &c.lanes, "otp, express, normal or bulk", |t| Lane::from_name(t)),
            tags: self.list("tags", &c.tags, seen, text),
            hours: c.hours.as_ref().and_then(|h| self.hours(h)),
        }
    }

    fn hours(&mut self, h: &HoursShape) -> Option<Hours> {
        let Ok(zone) = TimeZone::get(&h.zone) else {
            self.wrong("#/conditions/hours/zone", "the IANA name of a time zone, such as Europe/Berlin");
            return None;
        };
        match Hours::new(zone, h.days.iter().map(String::as_str), &h.from, &h.to) {
            Ok(hours) => Some(hours),
            Err(e) => {
                self.wrong("#/conditions/hours", e.to_string());
                None
            }
        }
    }

    fn groups(&mut self, groups: &[GroupShape], number: impl Fn(&str) -> Option<ConnectionNo>) -> Vec<Group> {
        if !(1..=GROUPS_MAX).contains(&groups.len()) {
            self.wrong("#/groups", format!("1 to {GROUPS_MAX} groups"));
        }
        groups.iter().enumerate().map(|(i, group)| self.group(i, group, &number)).collect()
    }

    fn group(&mut self, i: usize, group: &GroupShape, number: &impl Fn(&str) -> Option<ConnectionNo>) -> Group {
        if !(1..=MEMBERS_MAX).contains(&group.members.len()) {
            self.wrong(format!("#/groups/{i}/members"), format!("1 to {MEMBERS_MAX} members"));
        }
        if group.strategy == Strategy::Weighted && group.members.iter().all(|m| m.weight == 0) {
            self.wrong(format!("#/groups/{i}/members"), "one weight at least is more than 0");
        }
        let mut members: Vec<Member> = Vec::with_capacity(group.members.len());
        for (j, member) in group.members.iter().enumerate() {
            let at = |field: &str| format!("#/groups/{i}/members/{j}/{field}");
            if member.weight > WEIGHT_MAX {
                self.wrong(at("weight"), format!("0 to {WEIGHT_MAX}"));
            }
            match number(&member.connection) {
                None => self.wrong(at("connection"), "no connection of yours has this id or name"),
                Some(no) if no >= 0 && members.iter().any(|m| m.connection == no) => {
                    self.wrong(at("connection"), "it stands in this group before");
                }
                Some(connection) => members.push(Member { connection, weight: member.weight }),
            }
        }
        Group { strategy: group.strategy, members }
    }
}

/// Digits that do not begin with 0: no country code does.
fn prefix(text: &str) -> Option<u64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

/// An operator's MCC and MNC as a number; `None` if the text is not 5 or 6 digits.
pub fn operator(text: &str) -> Option<u32> {
    let plain = (5..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl Shape {
    /// As the store has it.
    pub fn stored(row: &route::Route) -> Result<Shape, serde_json::Error> {
        Ok(Shape { conditions: serde_json::from_str(&row.conditions)?, groups: serde_json::from_str(&row.groups)? })
    }

    /// The rules, or every mistake. `accounts` knows the numbers of those that stand in the conditions, `number` the connections that may be
    /// named.
    pub fn read(
        &self,
        accounts: &HashMap<AccountId, AccountNo>,
        number: impl Fn(&str) -> Option<ConnectionNo>,
    ) -> Result<(Conditions, Vec<Group>), Vec<Wrong>> {
        let mut reader = Reader::default();
        let conditions = reader.conditions(&self.conditions, accounts);
        let groups = reader.groups(&self.groups, number);
        if reader.0.is_empty() { Ok((conditions, groups)) } else { Err(reader.0) }
    }
}
