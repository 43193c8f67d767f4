//! What a provider wants to be told: the fields of its settings form, and the values given.

use std::collections::BTreeMap;
use std::fmt;

/// One setting of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// Its name in the form.
    pub label: &'static str,
    /// What may stand in it.
    pub kind: Kind,
    /// Whether it must be given.
    pub required: bool,
    /// What it is and where to find it.
    pub help: &'static str,
}

/// What may stand in a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A line of text.
    Text,
    /// A line of text that is never shown again.
    Secret,
    /// An address that begins with http:// or https://.
    Url,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Text that its provider reads, of several lines perhaps; the function says what is wrong with it.
    Checked(fn(&str) -> Result<(), String>),
}

impl Field {
    /// Whether its value must never be shown.
    pub const fn secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    pub(crate) const fn text(name: &'static str, label: &'static str, help: &'static str) -> Field {
        Field { name, label, kind: Kind::Text, required: false, help }
    }

    pub(crate) const fn secret_of(name: &'static str, label: &'static str, help: &'static str) -> Field {
        Field { name, label, kind: Kind::Secret, required: false, help }
    }

    pub(crate) const fn kind(mut self, kind: Kind) -> Field {
        self.kind = kind;
        self
    }

    pub(crate) const fn required(mut self) -> Field {
        self.required = true;
        self
    }
}

/// The settings of one connection, by name. `Debug` shows names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials(BTreeMap<String, String>);

impl Credentials {
    /// The value of a setting; empty if it was not given.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The value of a setting, if it was given and is not empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Credentials {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A setting that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting's name.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

pub(crate) fn check(fields: &[Field], credentials: &Credentials) -> Vec<Mistake> {
    let known = |name: &str| fields.iter().any(|field| field.name == name);
    let unknown = credentials.iter().filter(|(name, _)| !known(name));
    let unknown = unknown.map(|(name, _)| (name, "this provider has no such setting".to_owned()));
    let wrong = fields.iter().filter_map(|field| {
        let value = credentials.get(field.name);
        let result = if value.is_empty() { missing(field) } else { fits(field.kind, value) };
        result.err().map(|message| (field.name, message))
    });
    unknown.chain(wrong).map(|(field, message)| Mistake { field: field.to_owned(), message }).collect()
}

fn missing(field: &Field) -> Result<(), String> {
    if field.required { Err("this setting is required".to_owned()) } else { Ok(()) }
}

fn fits(kind: Kind, value: &str) -> Result<(), String> {
    match kind {
        Kind::Text | Kind::Secret if value.chars().any(char::is_control) => {
            Err("one line, without control characters".to_owned())
        }
        Kind::Url if !is_url(value) => Err("an address that begins with https:// (or http://)".to_owned()),
        Kind::Choice(values) if !values.contains(&value) => Err(format!("one of {}", values.join(", "))),
        Kind::Checked(check) => check(value),
        _ => Ok(()),
    }
}

fn is_url(value: &str) -> bool {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Provider;

    #[test]
    fn names_are_unique_and_every_field_explains_itself() {
        for provider in Provider::ALL {
            assert_eq!(Provider::from_name(provider.name()), Some(*provider));
            for (i, field) in provider.fields().iter().enumerate() {
                assert!(provider.fields()[..i].iter().all(|other| other.name != field.name), "{}", field.name);
                assert!(!field.label.is_empty() && !field.help.is_empty(), "{}", field.name);
            }
        }
        assert_eq!(Provider::from_name("smpp"), None);
    }

    #[test]
    fn what_is_missing_unknown_or_malformed_is_named() {
        let table: &[(&[(&str, &str)], &[&str])] = &[
            (&[("account_sid", "AC1"), ("auth_token", "t")], &[]),
            (&[("account_sid", "AC1")], &["auth_token"]),
            (&[("account_sid", "AC1"), ("auth_token", "")], &["auth_token"]),
            (&[("account_sid", "AC1"), ("auth_token", "t\n")], &["auth_token"]),
            (&[("account_sid", "AC1"), ("auth_token", "t"), ("colour", "red")], &["colour"]),
            (&[("account_sid", "AC1"), ("auth_token", "t"), ("base_url", "ftp://x")], &["base_url"]),
            (&[("account_sid", "AC1"), ("auth_token", "t"), ("base_url", "https://x y")], &["base_url"]),
        ];
        for (given, wrong) in table {
            let mistakes = Provider::Twilio.check(&given.iter().copied().collect());
            assert_eq!(mistakes.iter().map(|m| m.field.as_str()).collect::<Vec<_>>(), *wrong, "{given:?}");
        }
        let credentials: Credentials = [("auth_token", "s3cret")].into_iter().collect();
        assert_eq!(format!("{credentials:?}"), r#"{"auth_token"}"#);
    }
}
