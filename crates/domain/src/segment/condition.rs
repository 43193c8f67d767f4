//! What a filter says of one contact: each kind of condition, and which operators a value of which kind has.

use serde_json::{Map, Value};

use super::{
    Activity, Condition, DAY_MS, DAYS_MAX, Filter, Order, Reader, Refusal, Scalar, Subject, TEXT_MAX, Test, VALUES_MAX,
    day_of,
};
use crate::consent::Status;
use crate::contact::{AttributeKind, EXTERNAL_ID_MAX, GroupKind};
use crate::message::Category;

/// How often something can be asked to have happened.
const TIMES_MAX: u32 = 10_000;
/// The furthest `last_days` and `next_days` reach.
const REACH_MAX: u32 = 36_500;

/// What values are compared as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
    Date,
    Instant,
}

impl Kind {
    fn ops(self) -> &'static str {
        match self {
            Kind::Text => "eq, ne, in, contains, starts_with and exists",
            Kind::Number => "eq, ne, in, lt, lte, gt, gte and exists",
            Kind::Boolean => "eq, ne and exists",
            Kind::Date => "eq, ne, in, lt, lte, gt, gte, last_days, next_days and exists",
            Kind::Instant => "lt, lte, gt, gte and last_days",
        }
    }

    fn has(self, op: &str) -> bool {
        self.ops().split([',', ' ']).filter(|word| *word != "and").any(|known| known == op)
    }

    fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::Boolean => "true or false",
            Kind::Date => "a date as YYYY-MM-DD",
            Kind::Instant => "an instant as 2026-11-21T12:00:00Z, or a date for its midnight in UTC",
        }
    }
}

impl From<AttributeKind> for Kind {
    fn from(kind: AttributeKind) -> Kind {
        match kind {
            AttributeKind::Text => Kind::Text,
            AttributeKind::Number => Kind::Number,
            AttributeKind::Boolean => Kind::Boolean,
            AttributeKind::Date => Kind::Date,
        }
    }
}

impl Reader<'_> {
    /// One condition; `kind` is the member that says which, and stands at `inner`.
    pub(super) fn condition(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        at: &str,
        inner: &str,
    ) -> Option<Filter> {
        let of = &object[kind];
        match kind {
            "attribute" | "field" => {
                self.only(object, at, &[kind, "op", "value"]);
                let (subject, compared) = self.subject(kind, of, inner)?;
                self.test(subject, compared, object, at)
            }
            "activity" => {
                self.only(object, at, &["activity", "within_days", "at_least"]);
                self.activity(object, at).map(Filter::Is)
            }
            "consent" => {
                self.only(object, at, &["consent", "category"]);
                self.consent(object, at).map(Filter::Is)
            }
            "suppressed" => {
                self.only(object, at, &["suppressed"]);
                let suppressed = Filter::Is(Condition::Suppressed);
                match of {
                    Value::Bool(true) => Some(suppressed),
                    Value::Bool(false) => Some(Filter::Not(Box::new(suppressed))),
                    _ => self.refuse(inner, Refusal::Type("true or false")),
                }
            }
            "group" => {
                self.only(object, at, &["group"]);
                self.group(of, inner).map(Filter::Is)
            }
            _ => {
                self.only(object, at, &["tag"]);
                self.tag(of, inner).map(Filter::Is)
            }
        }
    }

    fn subject(&mut self, kind: &str, of: &Value, at: &str) -> Option<(Subject, Kind)> {
        let name = self.text(of, at, TEXT_MAX)?;
        if kind == "attribute" {
            return match self.declared.get(&name) {
                Some(kind) => Some((Subject::Attribute(name, *kind), Kind::from(*kind))),
                None => self.refuse(at, Refusal::Undeclared),
            };
        }
        match name.as_str() {
            "name" => Some((Subject::Name, Kind::Text)),
            "status" => Some((Subject::Status, Kind::Text)),
            "external_id" => Some((Subject::ExternalId, Kind::Text)),
            "created_at" => Some((Subject::CreatedAt, Kind::Instant)),
            "changed_at" => Some((Subject::ChangedAt, Kind::Instant)),
            _ => self.refuse(at, Refusal::OneOf("name, status, external_id, created_at and changed_at")),
        }
    }

    fn test(&mut self, subject: Subject, kind: Kind, object: &Map<String, Value>, at: &str) -> Option<Filter> {
        let (op_at, value_at) = (format!("{at}/op"), format!("{at}/value"));
        let op = match object.get("op") {
            None => return self.refuse(op_at, Refusal::Missing),
            Some(Value::String(op)) if kind.has(op) => op.as_str(),
            Some(_) => return self.refuse(op_at, Refusal::OneOf(kind.ops())),
        };
        let is = |test| Filter::Is(Condition::Value(subject.clone(), test));
        if op == "exists" {
            return match object.get("value") {
                None | Some(Value::Bool(true)) => Some(is(Test::Exists)),
                Some(Value::Bool(false)) => Some(Filter::Not(Box::new(is(Test::Exists)))),
                Some(_) => self.refuse(value_at, Refusal::Type("true or false")),
            };
        }
        let Some(value) = object.get("value") else { return self.refuse(value_at, Refusal::Missing) };
        let fold = |text: String| if subject == Subject::Name { text.to_lowercase() } else { text };
        let scalar = |scalar| match scalar {
            Scalar::Text(text) => Scalar::Text(fold(text)),
            other => other,
        };
        let order = match op {
            "lt" => Some(Order::Lt),
            "lte" => Some(Order::Lte),
            "gt" => Some(Order::Gt),
            "gte" => Some(Order::Gte),
            _ => None,
        };
        match op {
            "last_days" | "next_days" => {
                let days = self.count(value, &value_at, REACH_MAX, "days, 1 to 36,500")?;
                let [from, to] = self.reach(kind, op == "last_days", days);
                Some(Filter::All(vec![
                    is(Test::Compare(Order::Gte, from)),
                    is(Test::Compare(if kind == Kind::Instant { Order::Lt } else { Order::Lte }, to)),
                ]))
            }
            "contains" => self.text(value, &value_at, TEXT_MAX).map(|text| is(Test::Contains(fold(text)))),
            "starts_with" => self.text(value, &value_at, TEXT_MAX).map(|text| is(Test::StartsWith(fold(text)))),
            "in" => self.values(kind, value, &value_at).map(|all| is(Test::In(all.into_iter().map(scalar).collect()))),
            "eq" => self.scalar(kind, value, &value_at).map(|one| is(Test::In(vec![scalar(one)]))),
            "ne" => {
                let equal = self.scalar(kind, value, &value_at).map(|one| is(Test::In(vec![scalar(one)])))?;
                Some(Filter::Not(Box::new(equal)))
            }
            _ => {
                let order = order.expect("of the operators that some kind has these are left");
                self.scalar(kind, value, &value_at).map(|one| is(Test::Compare(order, one)))
            }
        }
    }

    /// The bounds of so many days back or on from today, today counted in: dates, both within; instants, the second past the end.
    fn reach(&self, kind: Kind, back: bool, days: u32) -> [Scalar; 2] {
        let (today, days) = (day_of(self.now), i32::try_from(days).expect("at most 36,500"));
        let [from, to] = if back { [today.saturating_sub(days), today] } else { [today, today.saturating_add(days)] };
        let date = |day: i32| {
            let day = jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(day));
            Scalar::Text(day.to_string())
        };
        match kind {
            Kind::Instant => [Scalar::Instant(i64::from(from) * DAY_MS), Scalar::Instant(i64::from(to + 1) * DAY_MS)],
            _ => [date(from), date(to)],
        }
    }

    fn values(&mut self, kind: Kind, value: &Value, at: &str) -> Option<Vec<Scalar>> {
        match value {
            Value::Array(list) if list.is_empty() => self.refuse(at, Refusal::Empty),
            Value::Array(list) if list.len() > VALUES_MAX => self.refuse(at, Refusal::Long(VALUES_MAX)),
            Value::Array(list) => {
                let read: Vec<_> =
                    list.iter().enumerate().map(|(i, v)| self.scalar(kind, v, &format!("{at}/{i}"))).collect();
                read.into_iter().collect()
            }
            _ => self.refuse(at, Refusal::Type("an array of values")),
        }
    }

    fn scalar(&mut self, kind: Kind, value: &Value, at: &str) -> Option<Scalar> {
        let read = match (kind, value) {
            (Kind::Text, Value::String(_)) => return self.text(value, at, TEXT_MAX).map(Scalar::Text),
            (Kind::Number, Value::Number(n)) => n.as_f64().filter(|n| n.is_finite()).map(Scalar::Number),
            (Kind::Boolean, Value::Bool(b)) => Some(Scalar::Boolean(*b)),
            (Kind::Date, Value::String(text)) => date(text).map(|_| Scalar::Text(text.clone())),
            (Kind::Instant, Value::String(text)) => instant(text).map(Scalar::Instant),
            _ => None,
        };
        match read {
            Some(scalar) => Some(scalar),
            None => self.refuse(at, Refusal::Type(kind.expected())),
        }
    }

    fn group(&mut self, of: &Value, at: &str) -> Option<Condition> {
        const EITHER: Refusal =
            Refusal::Type("the id of a group, or {\"external_id\": your own id, \"kind\": \"course\"}");
        match of {
            Value::String(text) => match text.parse() {
                Ok(id) => Some(Condition::Group(id)),
                Err(_) => self.refuse(at, EITHER),
            },
            Value::Object(named) => {
                self.only(named, at, &["external_id", "kind"]);
                let external_id = match named.get("external_id") {
                    Some(id) => self.text(id, &format!("{at}/external_id"), EXTERNAL_ID_MAX)?,
                    None => return self.refuse(format!("{at}/external_id"), Refusal::Missing),
                };
                let kind = match named.get("kind") {
                    None => None,
                    Some(kind) => match kind.as_str().and_then(GroupKind::from_name) {
                        Some(kind) => Some(kind),
                        None => return self.refuse(format!("{at}/kind"), Refusal::OneOf("list and course")),
                    },
                };
                Some(Condition::GroupNamed { external_id, kind })
            }
            _ => self.refuse(at, EITHER),
        }
    }

    fn consent(&mut self, object: &Map<String, Value>, at: &str) -> Option<Condition> {
        let Some(status) = object["consent"].as_str().and_then(Status::from_name) else {
            let known = "opted_out, pending, opted_in and confirmed";
            return self.refuse(format!("{at}/consent"), Refusal::OneOf(known));
        };
        let category = match object.get("category") {
            None => Some(Category::Promotional),
            Some(name) => name.as_str().and_then(Category::from_name).filter(|category| *category != Category::Otp),
        };
        match category {
            Some(category) => Some(Condition::Consent(category, status)),
            None => self.refuse(format!("{at}/category"), Refusal::OneOf("promotional and transactional")),
        }
    }

    fn activity(&mut self, object: &Map<String, Value>, at: &str) -> Option<Condition> {
        let what = object["activity"].as_str().and_then(Activity::from_name);
        let Some(what) = what else {
            return self
                .refuse(format!("{at}/activity"), Refusal::OneOf("delivered, failed, sent, replied and clicked"));
        };
        let days_at = format!("{at}/within_days");
        let Some(days) = object.get("within_days") else { return self.refuse(days_at, Refusal::Missing) };
        let days = self.count(days, &days_at, DAYS_MAX, "days, 1 to 366")?;
        let at_least = match object.get("at_least") {
            None => 1,
            Some(n) => self.count(n, &format!("{at}/at_least"), TIMES_MAX, "a whole number, 1 to 10,000")?,
        };
        let since_day = day_of(self.now).saturating_sub(i32::try_from(days).expect("at most 366"));
        Some(Condition::Activity { what, since_day, at_least })
    }
}

/// As attributes have them.
fn date(text: &str) -> Option<jiff::civil::Date> {
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

fn instant(text: &str) -> Option<i64> {
    let midnight = date(text).map(|day| format!("{day}T00:00:00Z"));
    let instant: jiff::Timestamp = midnight.as_deref().unwrap_or(text).parse().ok()?;
    Some(instant.as_millisecond())
}
