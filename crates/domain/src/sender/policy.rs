//! Which senders an account may use, and where: its own approved ones, and what countries demand. Whether any of it binds is a
//! setting of the server; which sender stands in when a message names none holds always.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use super::{Sender, SenderKind};
use crate::phone::Country;

/// A sender that an account may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approved {
    /// Its text.
    pub sender: Arc<str>,
    /// Its kind.
    pub kind: SenderKind,
    /// Where it may be used and is registered; empty is everywhere, registered nowhere.
    pub countries: Vec<Country>,
    /// Whether it stands in, there, for messages that name none.
    pub default: bool,
    /// A number that is the account's own: registered wherever it matters.
    pub owned: bool,
}

impl Approved {
    fn covers(&self, country: Option<Country>) -> bool {
        self.countries.is_empty() || country.is_some_and(|c| self.countries.contains(&c))
    }

    fn registered(&self, country: Country) -> bool {
        self.owned || self.countries.contains(&country)
    }
}

/// The senders an account may use; few, so a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SenderSet(Vec<Approved>);

/// What a country does with a kind of sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(i16)]
pub enum Standing {
    /// Passes it.
    #[default]
    Free = 0,
    /// Passes what was registered there.
    Registered = 1,
    /// Does not pass it.
    Refused = 2,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 3] = [Standing::Free, Standing::Registered, Standing::Refused];

    /// From its column; an unknown number is read as the strictest.
    pub fn from_i16(n: i16) -> Standing {
        match n {
            0 => Standing::Free,
            1 => Standing::Registered,
            _ => Standing::Refused,
        }
    }

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Free => "free",
            Standing::Registered => "registered",
            Standing::Refused => "refused",
        }
    }
}

impl FromStr for Standing {
    type Err = ();
    fn from_str(text: &str) -> Result<Standing, ()> {
        Standing::ALL.into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

/// What a country demands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CountryRule {
    /// Which country.
    pub country: Country,
    /// Of alphanumeric names.
    pub names: Standing,
    /// Of short codes and phone numbers.
    pub numbers: Standing,
    /// What goes out instead of a sender that does not pass; `None` refuses the message.
    pub replacement: Option<Sender>,
}

/// What all countries demand; those not listed demand nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CountryRules(HashMap<Country, CountryRule>);

impl FromIterator<CountryRule> for CountryRules {
    fn from_iter<I: IntoIterator<Item = CountryRule>>(rules: I) -> Self {
        CountryRules(rules.into_iter().map(|rule| (rule.country, rule)).collect())
    }
}

/// Why a message cannot be from a sender.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SenderRefusal {
    /// It is none of the account's approved senders.
    #[error("`{0}` is not an approved sender of this account: request it with POST /v1/senders")]
    NotApproved(Arc<str>),
    /// It does not pass in the recipient's country, and nothing stands in for it.
    #[error("`{sender}` cannot be used in {country}: {why}")]
    NotInCountry {
        /// Which sender.
        sender: Arc<str>,
        /// Where.
        country: Country,
        /// What the country, or the approval, demands.
        why: &'static str,
    },
}

impl SenderRefusal {
    /// The stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotApproved(_) => "sender_not_approved",
            Self::NotInCountry { .. } => "sender_not_allowed_in_country",
        }
    }
}

impl SenderSet {
    /// Of an account's approved senders.
    pub fn new(senders: Vec<Approved>) -> SenderSet {
        SenderSet(senders)
    }

    /// Whether a message without a sender gets one that hangs on its country.
    pub fn has_defaults(&self) -> bool {
        self.0.iter().any(|a| a.default)
    }

    /// The approved sender of that text.
    pub fn find(&self, text: &str) -> Option<&Approved> {
        self.0.iter().find(|a| &*a.sender == text)
    }

    /// What stands in for messages to a country that name none: the default of that country, else the one for everywhere.
    pub fn default_for(&self, country: Option<Country>) -> Option<&Approved> {
        let defaults = || self.0.iter().filter(|a| a.default && a.covers(country));
        defaults().find(|a| !a.countries.is_empty()).or_else(|| defaults().next())
    }

    /// What a message that names this sender goes out as, where only approved senders may be used.
    pub fn resolve(
        &self,
        sender: &Arc<str>,
        country: Option<Country>,
        rules: &CountryRules,
    ) -> Result<Arc<str>, SenderRefusal> {
        let approved = self.find(sender).ok_or_else(|| SenderRefusal::NotApproved(sender.clone()))?;
        let Some(country) = country else { return Ok(sender.clone()) };
        let rule = rules.0.get(&country);
        let standing = rule.map_or(Standing::Free, |rule| match approved.kind {
            SenderKind::Alphanumeric => rule.names,
            SenderKind::ShortCode | SenderKind::LongCode => rule.numbers,
        });
        let why = match standing {
            _ if !approved.covers(Some(country)) => "it is approved for other countries",
            Standing::Refused => "carriers there do not pass senders of its kind",
            Standing::Registered if !approved.registered(country) => "it has to be registered there",
            Standing::Free | Standing::Registered => return Ok(sender.clone()),
        };
        match rule.and_then(|rule| rule.replacement.as_ref()) {
            Some(replacement) => Ok(replacement.as_str().into()),
            None => Err(SenderRefusal::NotInCountry { sender: sender.clone(), country, why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(text: &str) -> Country {
        Country::parse(text).expect(text)
    }

    fn approved(text: &str, countries: &[&str], default: bool) -> Approved {
        let sender: Sender = text.parse().expect(text);
        let countries = countries.iter().map(|c| country(c)).collect();
        Approved { sender: sender.as_str().into(), kind: sender.kind(), countries, default, owned: false }
    }

    #[test]
    fn what_a_message_goes_out_as() {
        let owned = Approved { owned: true, ..approved("+12025550123", &[], false) };
        let set = SenderSet::new(vec![
            approved("Shop", &[], true),
            approved("Laden", &["DE", "SG"], true),
            approved("+447400123456", &[], false),
            owned,
        ]);
        let rule = |text: &str, names, numbers, replacement: Option<&str>| CountryRule {
            country: country(text),
            names,
            numbers,
            replacement: replacement.map(|r| r.parse().expect(r)),
        };
        use Standing::{Free, Refused, Registered};
        let rules: CountryRules = [
            rule("US", Refused, Registered, None),
            rule("AR", Refused, Free, Some("12345")),
            rule("SG", Registered, Free, None),
        ]
        .into_iter()
        .collect();
        let rows = [
            ("Shop", "GB", Ok("Shop")),
            ("Shop", "US", Err("sender_not_allowed_in_country")),
            ("Shop", "AR", Ok("12345")),
            ("Shop", "SG", Err("sender_not_allowed_in_country")),
            ("Laden", "SG", Ok("Laden")),
            ("Laden", "GB", Err("sender_not_allowed_in_country")),
            ("+447400123456", "US", Err("sender_not_allowed_in_country")),
            ("+447400123456", "AR", Ok("+447400123456")),
            ("+12025550123", "US", Ok("+12025550123")),
            ("Other", "GB", Err("sender_not_approved")),
            ("shop", "GB", Err("sender_not_approved")),
        ];
        for (sender, to, expected) in rows {
            let got = set.resolve(&sender.into(), Some(country(to)), &rules);
            assert_eq!(got.as_deref().map_err(|e| e.code()), expected, "{sender} to {to}");
        }
        assert_eq!(set.resolve(&"Shop".into(), None, &rules).as_deref(), Ok("Shop"), "+800 and the like");
        let default = |c: Option<&str>| set.default_for(c.map(country)).map(|a| &*a.sender);
        assert_eq!(
            [default(Some("DE")), default(Some("GB")), default(None)],
            [Some("Laden"), Some("Shop"), Some("Shop")]
        );
        assert!(SenderSet::default().default_for(Some(country("DE"))).is_none());
    }
}
