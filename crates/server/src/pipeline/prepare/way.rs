//! Which way a message can go, as far as its price hangs on it: by the platform's carriers or by those its account brought, as an MMS or as text.

use std::sync::Arc;

use carillon_domain::media::Mms;
use carillon_domain::money::Money;
use carillon_domain::phone::Parsed;
use carillon_domain::route::Facts;
use carillon_store::hot::Extra;

use super::{Content, Mistake, Rules, attached};

/// See the module.
pub(super) struct Way {
    /// Whether it goes by carriers of its account's own; then no other takes it.
    pub(super) own: bool,
    /// Price of a part; of the whole, if it goes as an MMS or not at all.
    pub(super) unit_price: Money,
    /// Its files, if a connection that it can take takes them.
    mms: Option<Arc<Mms>>,
    /// Price of the whole as an MMS, where it may go as text as well.
    mms_price: Option<Money>,
}

impl Way {
    /// Of a message to that number.
    pub(super) fn of(content: &Content, rules: &Rules<'_>, to: &Parsed, sender: Option<&str>) -> Result<Way, Mistake> {
        let (prices, book, digits) = (&rules.terms.prices, &rules.terms.book, to.phone.digits());
        let part = || prices.part(rules.account, content.lane, digits);
        if content.mms.is_none() && !book.has_own(rules.account) {
            return Ok(Way { own: false, unit_price: part(), mms: None, mms_price: None });
        }
        let tags = content.extra.as_deref().and_then(|e| e.tags.as_deref());
        let tags: Vec<String> = tags.and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default();
        let facts = Facts {
            account: rules.account,
            digits,
            country: to.country,
            sender,
            lane: content.lane,
            own: false,
            tags: &tags,
            now_ms: content.when.due_at.unwrap_or(rules.now),
            random: 0,
        };
        let own = book.brings_own(&facts);
        let facts = Facts { own, ..facts };
        let fee = || rules.settings.own_carrier_fee.unwrap_or(prices.own_carrier());
        let unit_price = if own { fee() } else { part() };
        let Some(mms) = &content.mms else { return Ok(Way { own, unit_price, mms: None, mms_price: None }) };
        let taken = book.takes_files(&facts, mms).then(|| mms.clone());
        let mms_price = if own { fee() } else { prices.mms(rules.account, content.lane, digits) };
        match (taken, mms.links) {
            (None, false) => Err(attached::unavailable()),
            (None, true) => Ok(Way { own, unit_price, mms: None, mms_price: None }),
            (mms, true) => Ok(Way { own, unit_price, mms, mms_price: Some(mms_price) }),
            (mms, false) => Ok(Way { own, unit_price: mms_price, mms, mms_price: None }),
        }
    }

    /// How many parts it is priced by: an MMS that is never a text is one.
    pub(super) fn parts(&self, text: u8) -> u8 {
        if self.mms.as_ref().is_some_and(|mms| !mms.links) { 1 } else { text }
    }

    /// The rare members of the message.
    pub(super) fn extra(self, content: &Content) -> Option<Box<Extra>> {
        if self.mms.is_none() {
            return content.extra.clone();
        }
        let extra = content.extra.as_deref().cloned().unwrap_or_default();
        Some(Box::new(Extra { mms: self.mms, mms_price: self.mms_price, ..extra }))
    }
}
