//! Texts with places for each recipient's own words: `Hello {{name|default("friend")}}`.
//!
//! It is a part of the language of Jinja: places with filters, and `{% if %}`. Each text that is taken means the same there; the rest of that
//! language is refused rather than sent as it stands. There are no loops, no calls and nothing that makes a text of two: filling one in takes
//! a time and a room that grow with the text and its words alone. All words are texts, so that a comparison with a number, or a
//! condition that is no condition, would be true by accident: such are refused where the text is read, with what to write instead.

mod parse;

use std::borrow::Cow;
use std::collections::BTreeSet;

pub use parse::TemplateError;

/// The longest name of a variable, in characters.
pub const NAME_MAX: usize = 64;

/// A text taken apart once, to be filled in many times.
#[derive(Clone, PartialEq, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, PartialEq, Debug)]
enum Piece {
    /// As it stands.
    Fixed(Box<str>),
    /// A name with a fallback or none: nearly all places there are.
    Variable { name: Box<str>, fallback: Option<Box<str>> },
    /// Anything else that is shown.
    Shown(Expr),
    /// The first of these that holds, or what is behind `else`.
    If { cases: Vec<(Expr, Vec<Piece>)>, otherwise: Vec<Piece> },
}

#[derive(Clone, PartialEq, Debug)]
enum Expr {
    Name(Box<str>),
    Text(Box<str>),
    Number(f64),
    Filtered(Box<Expr>, Filter),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compared(Box<Expr>, Comparison, Box<Expr>),
    Defined(Box<str>),
}

#[derive(Clone, PartialEq, Debug)]
enum Filter {
    Default(Box<Expr>),
    Upper,
    Lower,
    Title,
    Capitalize,
    Trim,
    /// Characters at most, the dots at the end among them.
    Truncate(usize),
    /// Pattern of `strftime`.
    Date(Box<str>),
    Int,
    Float,
    Length,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

enum Value<'v> {
    Text(Cow<'v, str>),
    Number(f64),
    Truth(bool),
}

impl<'v> Value<'v> {
    fn text(self) -> Cow<'v, str> {
        match self {
            Value::Text(text) => text,
            Value::Number(n) => n.to_string().into(),
            Value::Truth(truth) => (if truth { "true" } else { "false" }).into(),
        }
    }
}

impl Template {
    /// Whether a text has places to fill in at all.
    pub fn is_in(text: &str) -> bool {
        text.contains("{{") || text.contains("{%")
    }

    /// Takes a text apart.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        parse::template(text).map(Template)
    }

    /// The text with every place filled in; `value` knows what a recipient has for a name. `Err` names what it has not and what has no
    /// fallback.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, &str> {
        let mut out = String::new();
        // Its words need not live as long as this text does: the shorter of both lives counts within.
        fill(&self.0, &|name: &str| value(name), &mut out)?;
        Ok(out)
    }

    /// All names that a recipient has not and would need, in order of the text.
    pub fn missing<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Vec<&str> {
        let mut missing: Vec<&str> = Vec::new();
        // Each round finds one more, and there are no more than the text names.
        while let Err(name) = self.fill(|name| value(name).or(missing.contains(&name).then_some(""))) {
            missing.push(name);
        }
        missing
    }

    /// All names in it.
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.0.iter().for_each(|piece| piece.names(&mut names));
        names
    }

    /// The text without anything filled in: about the least that any recipient gets.
    pub fn fixed(&self) -> String {
        let fixed = self.0.iter().map(|piece| match piece {
            Piece::Fixed(text) => &**text,
            _ => "",
        });
        fixed.collect()
    }
}

impl Piece {
    fn names<'t>(&'t self, names: &mut BTreeSet<&'t str>) {
        match self {
            Piece::Fixed(_) => {}
            Piece::Variable { name, .. } => {
                names.insert(name);
            }
            Piece::Shown(expr) => expr.names(names),
            Piece::If { cases, otherwise } => {
                for (condition, pieces) in cases {
                    condition.names(names);
                    pieces.iter().for_each(|piece| piece.names(names));
                }
                otherwise.iter().for_each(|piece| piece.names(names));
            }
        }
    }
}

impl Expr {
    fn names<'t>(&'t self, names: &mut BTreeSet<&'t str>) {
        match self {
            Expr::Name(name) | Expr::Defined(name) => {
                names.insert(name);
            }
            Expr::Text(_) | Expr::Number(_) => {}
            Expr::Not(inner) => inner.names(names),
            Expr::Filtered(inner, filter) => {
                inner.names(names);
                if let Filter::Default(fallback) = filter {
                    fallback.names(names);
                }
            }
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compared(a, _, b) => {
                a.names(names);
                b.names(names);
            }
        }
    }

    fn value<'v, 't: 'v>(&'t self, own: &impl Fn(&str) -> Option<&'v str>) -> Result<Value<'v>, &'t str> {
        Ok(match self {
            Expr::Name(name) => Value::Text(own(name).ok_or(&**name)?.into()),
            Expr::Text(text) => Value::Text((&**text).into()),
            Expr::Number(n) => Value::Number(*n),
            Expr::Filtered(inner, Filter::Default(fallback)) => match inner.value(own) {
                Ok(value) => value,
                Err(_) => fallback.value(own)?,
            },
            Expr::Filtered(inner, filter) => filter.apply(inner.value(own)?),
            Expr::Not(inner) => Value::Truth(!inner.holds(own)?),
            Expr::And(a, b) => Value::Truth(a.holds(own)? && b.holds(own)?),
            Expr::Or(a, b) => Value::Truth(a.holds(own)? || b.holds(own)?),
            Expr::Compared(a, how, b) => Value::Truth(how.holds(a.value(own)?, b.value(own)?)),
            Expr::Defined(name) => Value::Truth(own(name).is_some()),
        })
    }

    fn holds<'v, 't: 'v>(&'t self, own: &impl Fn(&str) -> Option<&'v str>) -> Result<bool, &'t str> {
        // Nothing but a truth stands where one is asked for: `parse` has seen to it.
        Ok(matches!(self.value(own)?, Value::Truth(true)))
    }
}

impl Comparison {
    fn holds(self, a: Value<'_>, b: Value<'_>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (&a, &b) {
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
            _ => None,
        };
        let (a, b) = (a.text(), b.text());
        let order = order.unwrap_or_else(|| a.cmp(&b));
        match self {
            Comparison::Equal => order == Equal,
            Comparison::Unequal => order != Equal,
            Comparison::Less => order == Less,
            Comparison::LessOrEqual => order != Greater,
            Comparison::Greater => order == Greater,
            Comparison::GreaterOrEqual => order != Less,
            Comparison::In => b.contains(&*a),
            Comparison::NotIn => !b.contains(&*a),
        }
    }
}

impl Filter {
    fn apply<'v>(&self, value: Value<'v>) -> Value<'v> {
        let number = |value: Value<'v>| match value {
            Value::Number(n) => n,
            // As Jinja has it: what is no number is 0.
            other => other.text().trim().parse::<f64>().ok().filter(|n| n.is_finite()).unwrap_or_default(),
        };
        match self {
            Filter::Int => return Value::Number(number(value).trunc()),
            Filter::Float => return Value::Number(number(value)),
            Filter::Length => return Value::Number(value.text().chars().count() as f64),
            _ => {}
        }
        let text = value.text();
        Value::Text(match self {
            Filter::Upper => text.to_uppercase().into(),
            Filter::Lower => text.to_lowercase().into(),
            Filter::Title => title(&text).into(),
            Filter::Capitalize => capitalized(&text).into(),
            Filter::Trim => text.trim().to_owned().into(),
            Filter::Truncate(max) if text.chars().count() > *max => {
                let kept: String = text.chars().take(max.saturating_sub(3)).collect();
                format!("{}...", kept.trim_end()).into()
            }
            Filter::Date(pattern) => match dated(&text, pattern) {
                Some(shown) => shown.into(),
                None => text,
            },
            _ => text,
        })
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + &letters.as_str().to_lowercase()
}

/// Each word with a capital; words end at whitespace and at `-`.
fn title(text: &str) -> String {
    text.split_inclusive(|c: char| c.is_whitespace() || c == '-').map(capitalized).collect()
}

/// A day, or a moment, by a pattern; what is neither stays as it stands.
fn dated(text: &str, pattern: &str) -> Option<String> {
    let text = text.trim();
    let at = match text.parse::<jiff::civil::DateTime>() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::civil::Date>().ok()?.to_datetime(jiff::civil::Time::midnight()),
    };
    jiff::fmt::strtime::format(pattern, at).ok()
}

fn fill<'v, 't: 'v>(
    pieces: &'t [Piece],
    own: &impl Fn(&str) -> Option<&'v str>,
    out: &mut String,
) -> Result<(), &'t str> {
    for piece in pieces {
        match piece {
            Piece::Fixed(text) => out.push_str(text),
            Piece::Variable { name, fallback } => out.push_str(own(name).or(fallback.as_deref()).ok_or(&**name)?),
            Piece::Shown(expr) => out.push_str(&expr.value(own)?.text()),
            Piece::If { cases, otherwise } => {
                let mut chosen = otherwise;
                for (condition, pieces) in cases {
                    if condition.holds(own)? {
                        chosen = pieces;
                        break;
                    }
                }
                fill(chosen, own, out)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
