//! Who is in an audience, page by page: the one place where an entry of it becomes people. Where the next page begins can be written down,
//! and gone on from after a restart.

use std::collections::BTreeSet;

use carillon_domain::account::Settings;
use carillon_domain::campaign::{Entry, Words};
use carillon_domain::id::AccountNo;
use carillon_domain::phone::Phone;
use carillon_store::contact::{self, Contact, Filter};
use carillon_store::{StoreError, audience_file, contact_group, segment, source};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::consents;
use crate::pipeline::prepare::{self, Mistake};
use crate::sources;

/// People of a page at most.
const PAGE: usize = 1_000;
/// People of a campaign.
pub const PEOPLE_MAX: u32 = 2_000_000;

/// Where the next page begins.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The entry it is in.
    entry: usize,
    /// Of those within it, the last that was read: the id of a contact, the line of a file.
    after: Option<String>,
}

impl Place {
    /// As it is written down.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a number and a text are JSON")
    }

    /// What `to_text` wrote.
    pub fn from_text(text: &str) -> Result<Place, StoreError> {
        serde_json::from_str(text).map_err(|e| StoreError::Broken(format!("place of a run: {e}")))
    }

    fn next(&self) -> Place {
        Place { entry: self.entry + 1, after: None }
    }
}

/// Somebody in an audience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// Their number; or what was written, and why it is none.
    pub to: Result<Phone, (String, &'static str)>,
    /// What they are called and so on, by name.
    pub words: Words,
}

impl Person {
    /// Names the person among those of a run: the tag of the number, or a hash of what was written instead.
    pub fn tag(&self, app: &App) -> i64 {
        match &self.to {
            Ok(phone) => phone.tag(&app.secrets.phone_key),
            Err((given, _)) => {
                let hash = Sha256::new().chain_update(app.secrets.phone_key).chain_update(given).finalize();
                i64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 octets"))
            }
        }
    }

    /// A contact, with what is known of it as words.
    pub fn contact(app: &App, c: Contact) -> Person {
        let phone = Phone::from_digits(c.phone).expect("only parsed numbers are stored");
        let mut words = c.profile.words();
        if let Some(url) = consents::page_url(app, c.id.account(), phone) {
            words.entry("preferences_url".to_owned()).or_insert(url);
        }
        Person { to: Ok(phone), words }
    }

    /// With the words that a text names, and no others.
    pub fn only(mut self, names: &BTreeSet<&str>) -> Person {
        self.words.retain(|name, _| names.contains(name.as_str()));
        self
    }
}

/// Why an audience cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    /// What the entry at this place names is not there.
    #[error("what entry {0} of the audience names is not there")]
    Gone(usize),
    /// The source at this place could not be read, and why.
    #[error("entry {0} of the audience could not be read: {1}")]
    Unread(usize, sources::Failure),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a number as it was written.
pub fn number(text: &str, settings: &Settings) -> Result<Phone, (String, &'static str)> {
    let parsed = prepare::recipient(text, settings);
    parsed.map(|to| to.phone).map_err(|e| (text.to_owned(), Mistake::phone(e, None).code))
}

/// The people at a place, and the place behind them; `None` at the end.
pub async fn page(
    app: &App,
    account: AccountNo,
    settings: &Settings,
    audience: &[Entry],
    place: &Place,
) -> Result<(Vec<Person>, Option<Place>), AudienceError> {
    let Some(entry) = audience.get(place.entry) else { return Ok((Vec::new(), None)) };
    let gone = |error| match error {
        StoreError::NotFound => AudienceError::Gone(place.entry),
        error => error.into(),
    };
    let filter = match entry {
        Entry::Phone(..) => {
            let numbers = audience[place.entry..].iter().take(PAGE).map_while(|entry| match entry {
                Entry::Phone(text, words) => Some(Person { to: number(text, settings), words: words.clone() }),
                _ => None,
            });
            let people: Vec<Person> = numbers.collect();
            let next = Place { entry: place.entry + people.len(), after: None };
            return Ok((people, Some(next)));
        }
        Entry::Contact(id) => {
            let contact = contact::by_id(&app.db, account, *id).await.map_err(gone)?;
            return Ok((vec![Person::contact(app, contact)], Some(place.next())));
        }
        Entry::File(id) => {
            audience_file::by_id(&app.db, account, *id).await.map_err(gone)?;
            let after = place.after.as_deref().and_then(|line| line.parse().ok()).unwrap_or(0);
            let rows = audience_file::rows(&app.db, account, *id, false, after, PAGE as u32).await?;
            let next = match rows.last() {
                Some(last) => Place { after: Some(last.line.to_string()), ..place.clone() },
                None => place.next(),
            };
            let person = |row: audience_file::FileRow| {
                let to = match row.to {
                    Ok(digits) => Ok(Phone::from_digits(digits).expect("only parsed numbers are stored")),
                    // Judged anew, so that its code is one of ours.
                    Err((given, _)) => number(&given, settings),
                };
                Person { to, words: row.words }
            };
            return Ok((rows.into_iter().map(person).collect(), Some(next)));
        }
        Entry::Source(id) => {
            let source = source::by_id(&app.db, account, *id).await.map_err(gone)?;
            // All of it is one page: read again it might be another.
            let rows = sources::read(app, &source, None).await.map_err(|error| match error {
                sources::Failure::Busy => StoreError::Unavailable(error.to_string()).into(),
                error => AudienceError::Unread(place.entry, error),
            })?;
            let person = |row: sources::Person| Person { to: number(&row.phone, settings), words: row.words };
            return Ok((rows.into_iter().map(person).collect(), Some(place.next())));
        }
        Entry::Segment(id) => {
            let found = segment::resolve(&app.db, account, *id, app.clock.now_ms()).await.map_err(gone)?;
            let filter = found.map_err(|_| AudienceError::Gone(place.entry))?;
            return contacts(app, account, Filter { segment: Some(&filter), ..Filter::default() }, place).await;
        }
        Entry::Group(id) => {
            contact_group::by_id(&app.db, account, *id).await.map_err(gone)?;
            Filter { group: Some(*id), ..Filter::default() }
        }
        Entry::Tag(tag) => Filter { tag: Some(tag), ..Filter::default() },
        Entry::Everybody => Filter::default(),
    };
    contacts(app, account, filter, place).await
}

async fn contacts(
    app: &App,
    account: AccountNo,
    filter: Filter<'_>,
    place: &Place,
) -> Result<(Vec<Person>, Option<Place>), AudienceError> {
    let before = place.after.as_deref().and_then(|id| id.parse().ok());
    let contacts = contact::list(&app.db, account, filter, before, PAGE as u32).await?;
    let next = match contacts.last() {
        Some(last) => Place { after: Some(last.id.to_string()), ..place.clone() },
        None => place.next(),
    };
    Ok((contacts.into_iter().map(|c| Person::contact(app, c)).collect(), Some(next)))
}
