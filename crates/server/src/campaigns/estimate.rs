//! What a campaign would be: everybody in its audience, once, as they would be written to now. Nothing is stored, held or sent.

use std::collections::BTreeMap;

use carillon_domain::campaign::{Content, Entry};
use carillon_domain::id::AccountNo;
use carillon_domain::money::Money;
use carillon_domain::phone::Parsed;
use carillon_store::{StoreError, throughput};
use rustc_hash::FxHashSet;

use super::audience::{self, AudienceError, PEOPLE_MAX, Person, Place};
use crate::access::Known;
use crate::app::App;
use crate::pipeline::prepare::{self, Mistake, Own, Rules};
use crate::sources::Failure;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Estimate {
    /// People who would be written to.
    pub recipients: u64,
    /// Numbers that come again.
    pub duplicates: u64,
    /// People who would be left out, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Of those who lack words: how many lack which.
    pub missing: BTreeMap<String, u64>,
    /// Parts of all messages.
    pub parts: u64,
    /// Messages of each number of parts.
    pub by_parts: BTreeMap<u8, u64>,
    /// Messages by the number of their encoding.
    pub by_encoding: BTreeMap<i16, u64>,
    /// Messages by the price of a part.
    pub by_price: BTreeMap<Money, u64>,
    /// The most that all can cost.
    pub total: Money,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoEstimate {
    /// What it would send is not taken.
    Wrong(Vec<Mistake>),
    /// What an entry names is not there.
    Gone(usize),
    /// The source at this place could not be read, and why.
    Unread(usize, Failure),
    /// More people than a campaign may have.
    TooLarge,
    /// The database.
    Store(StoreError),
}

impl From<AudienceError> for NoEstimate {
    fn from(error: AudienceError) -> NoEstimate {
        match error {
            AudienceError::Gone(entry) => NoEstimate::Gone(entry),
            AudienceError::Unread(entry, why) => NoEstimate::Unread(entry, why),
            AudienceError::Store(error) => NoEstimate::Store(error),
        }
    }
}

/// Walks an audience.
pub async fn of(
    app: &App,
    account: AccountNo,
    known: &Known,
    content: &Content,
    audience: &[Entry],
) -> Result<Estimate, NoEstimate> {
    let terms = app.pipeline.terms();
    let rules = app.rules_of(account, known, &terms, app.clock.now_ms());
    let content = super::content(content, None, &rules).map_err(NoEstimate::Wrong)?;
    let mut estimate = Estimate::default();
    let mut seen: FxHashSet<i64> = FxHashSet::default();
    let mut place = Place::default();
    loop {
        let (people, next) = audience::page(app, account, &known.settings, audience, &place).await?;
        for person in people {
            match seen.insert(person.tag(app)) {
                true => estimate.add(&content, &rules, &person),
                false => estimate.duplicates += 1,
            }
        }
        if seen.len() > PEOPLE_MAX as usize {
            return Err(NoEstimate::TooLarge);
        }
        match next {
            Some(next) => place = next,
            None => return Ok(estimate),
        }
        // A long walk leaves room for others.
        tokio::task::yield_now().await;
    }
}

impl Estimate {
    fn add(&mut self, content: &prepare::Content, rules: &Rules<'_>, person: &Person) {
        let value = |name: &str| person.words.get(name).map(String::as_str);
        let own = Own { value: &value, client_ref: None };
        let made = match &person.to {
            Ok(phone) => {
                let to = Parsed { phone: *phone, country: phone.country() };
                content.message_of(rules, to, 0, &own).map_err(|mistake| mistake.code)
            }
            Err((_, code)) => Err(*code),
        };
        let made = made.and_then(|message| match rules.suppressed.hold_new(rules.account, &message) {
            Some(hold) => Err(hold.as_str()),
            None => Ok(message),
        });
        match made {
            Ok(message) => {
                self.recipients += 1;
                self.parts += u64::from(message.parts);
                self.total += message.held();
                *self.by_parts.entry(message.parts).or_default() += 1;
                *self.by_encoding.entry(message.encoding).or_default() += 1;
                *self.by_price.entry(message.unit_price).or_default() += 1;
            }
            Err(code) => {
                *self.skipped.entry(code).or_default() += 1;
                if code == "missing_variable" {
                    for name in content.template.iter().flat_map(|template| template.missing(value)) {
                        *self.missing.entry(name.to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }

    /// How long handing it over would take at least, seconds: by the campaign's pace and the account's rate. `None` if neither is set.
    pub async fn duration_s(
        &self,
        app: &App,
        account: AccountNo,
        known: &Known,
        pace: Option<u32>,
    ) -> Result<Option<u64>, StoreError> {
        let own = throughput::list(&app.db, account).await?.into_iter().find(|t| t.sender.is_empty());
        let tiers = &app.config.throughput;
        let by_tier = match known.tier {
            carillon_domain::account::Tier::Regular => tiers.regular,
            carillon_domain::account::Tier::Premium => tiers.premium,
            carillon_domain::account::Tier::Vip => tiers.vip,
        };
        let rate = own.map_or(by_tier, |t| t.parts_per_second);
        let by_rate = (rate > 0).then(|| self.parts.div_ceil(u64::from(rate)));
        let by_pace = pace.map(|pace| self.recipients.div_ceil(u64::from(pace.max(1))));
        Ok(by_rate.into_iter().chain(by_pace).max())
    }
}
