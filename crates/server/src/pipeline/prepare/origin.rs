//! What a message is from: the sender it names, or the one that stands in; and where approval counts, whether it may be used there.

use std::sync::Arc;

use carillon_domain::phone::Country;
use carillon_domain::sender::Sender;
use carillon_domain::sender::policy::SenderRefusal;

use super::{Mistake, Rules};

/// What the messages of a request are from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    sender: Option<Arc<str>>,
    /// Whether the request names it.
    named: bool,
    /// Whether it hangs on the recipient's country: otherwise nothing is looked up for each.
    by_country: bool,
}

impl Origin {
    /// Of the sender a request names, if it names one.
    pub(super) fn of(from: Option<&str>, rules: &Rules<'_>) -> Result<Origin, Mistake> {
        let text = from.or(rules.settings.default_sender.as_deref());
        let sender = match text.map(str::parse::<Sender>).transpose() {
            Ok(sender) => sender.map(|s| Arc::from(s.as_str())),
            Err(e) => return Err(Mistake::new("from", e.code(), e.to_string())),
        };
        if rules.countries.is_some()
            && let (Some(sender), Some(_)) = (&sender, from)
            && rules.senders.find(sender).is_none()
        {
            return Err(refused(&SenderRefusal::NotApproved(sender.clone())));
        }
        let by_country = rules.countries.is_some() || (from.is_none() && rules.senders.has_defaults());
        Ok(Origin { sender, named: from.is_some(), by_country })
    }

    /// The sender named, else the account's setting.
    pub fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// The sender of a message to that country.
    pub(super) fn in_country(&self, rules: &Rules<'_>, country: Option<Country>) -> Result<Option<Arc<str>>, Mistake> {
        if !self.by_country {
            return Ok(self.sender.clone());
        }
        let standing_in = || rules.senders.default_for(country).map(|a| a.sender.clone());
        let sender = if self.named { None } else { standing_in() }.or_else(|| self.sender.clone());
        match (sender, rules.countries) {
            (Some(sender), Some(demands)) => {
                rules.senders.resolve(&sender, country, demands).map(Some).map_err(|e| refused(&e))
            }
            (sender, _) => Ok(sender),
        }
    }
}

fn refused(e: &SenderRefusal) -> Mistake {
    Mistake::new("from", e.code(), e.to_string())
}
