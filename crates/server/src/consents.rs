//! What follows from what people agree to and refuse: records, the suppression list, the question whether they agree, and its answer; and the
//! links to their own pages.
//!
//! A refusal is an entry of the suppression list, too: there it is asked about by every message already. Nobody but the person lifts what the
//! person refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_domain::consent::{CATEGORIES, Detail, Source, Status};
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, ConsentId, SuppressionId};
use carillon_domain::message::Category;
use carillon_domain::phone::Phone;
use carillon_domain::suppression::{self, Reason, Scope};
use carillon_store::StoreError;
use carillon_store::consent::{self, NewConsent, State};
use carillon_store::inbound_message::InboundMessage;
use carillon_store::suppression::{Filter, NewSuppression};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::inbound::peer;

/// Entries of one number that are looked at.
const PAGE: u32 = 100;

/// Appends records of an account, and lets the suppression list follow. A refusal counts before it is recorded, an agreement after.
pub async fn record(app: &App, account: AccountNo, records: &[NewConsent]) -> Result<Vec<State>, StoreError> {
    hold_back(app, account, records.iter()).await?;
    let states = consent::append(&app.db, account, records, app.clock.now_ms()).await?;
    app.pipeline.suppressed().consents().set(&states);
    for record in records.iter().filter(|r| matches!(r.status, Status::OptedIn | Status::Confirmed)) {
        release(app, account, record).await?;
    }
    Ok(states)
}

/// Puts on the list who refused a category. What a word such as STOP did stands there already.
pub async fn hold_back(
    app: &App,
    account: AccountNo,
    records: impl Iterator<Item = &NewConsent>,
) -> Result<(), StoreError> {
    let (now, list) = (app.clock.now_ms(), app.pipeline.suppressed());
    let refused = records.filter(|r| r.status == Status::OptedOut && r.source != Source::Keyword);
    let entry = |r: &NewConsent| NewSuppression {
        id: SuppressionId::new(now, app.ids.next(), account),
        phone: r.phone,
        phone_tag: r.phone_tag,
        reason: Reason::OptOut,
        scope: Scope { sender: None, category: Some(r.category) },
        source: match r.source {
            Source::Page => suppression::Source::Page,
            Source::Import => suppression::Source::Import,
            _ => suppression::Source::Api,
        },
        text: None,
        origin: None,
    };
    let entries: Vec<_> = refused.map(entry).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let told = |id: SuppressionId| app.event(account, EventKind::OptOutCreated, Some(id.0), None);
    list.open(&app.db, account, &entries, now, Some(&told)).await?;
    app.notify.wake();
    Ok(())
}

/// Ends what stands on the list of a category: what the person did if it is the person who agrees, else only what the account recorded.
async fn release(app: &App, account: AccountNo, record: &NewConsent) -> Result<(), StoreError> {
    use suppression::Source as By;
    let filter = Filter { phone_tag: Some(record.phone_tag), reason: Some(Reason::OptOut), ended: false };
    let entries = carillon_store::suppression::list(&app.db, account, filter, None, PAGE).await?;
    let person = record.source.is_the_person();
    let ends = |source: By| person || matches!(source, By::Api | By::Import);
    let mut ended = false;
    for entry in entries {
        let of_it = entry.scope.sender.is_none() && entry.scope.category == Some(record.category);
        if of_it && ends(entry.source) {
            let by = if record.source == Source::Page { By::Page } else { By::Api };
            let now = app.clock.now_ms();
            carillon_store::suppression::end(&app.db, account, entry.id, by, None, now).await?;
            ended = true;
        }
    }
    if ended {
        app.pipeline.suppressed().reread(&app.db, account, record.phone_tag).await?;
    }
    Ok(())
}

/// A person chose on their page, for every category: what they refused by a word such as STOP is split into what they still refuse.
pub async fn choose(app: &App, account: AccountNo, choices: &[NewConsent]) -> Result<(), StoreError> {
    record(app, account, choices).await?;
    let Some(first) = choices.first().filter(|_| choices.len() == CATEGORIES.len()) else { return Ok(()) };
    if choices.iter().all(|c| c.status == Status::OptedOut) {
        return Ok(());
    }
    // Those of single categories stand by now: what is lifted leaves no gap.
    let filter = Filter { phone_tag: Some(first.phone_tag), reason: Some(Reason::OptOut), ended: false };
    for entry in carillon_store::suppression::list(&app.db, account, filter, None, PAGE).await? {
        if entry.scope == Scope::default() && entry.source == suppression::Source::Keyword {
            let (by, now) = (suppression::Source::Page, app.clock.now_ms());
            carillon_store::suppression::end(&app.db, account, entry.id, by, None, now).await?;
        }
    }
    app.pipeline.suppressed().reread(&app.db, account, first.phone_tag).await
}

/// Records what a person wrote, once however often it is done: STOP refuses every category, START agrees to those given.
pub async fn by_keyword(
    app: &App,
    account: AccountNo,
    m: &InboundMessage,
    says: &[(Category, Status, Source)],
) -> Result<(), StoreError> {
    let Some(phone) = peer::phone(&m.peer) else { return Ok(()) };
    let record = |(category, status, source): &(Category, Status, Source)| {
        let hash = Sha256::digest(format!("consent {} {}", m.id, category.as_str()));
        let counter = u64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 octets"));
        NewConsent {
            id: ConsentId::new(m.id.millis(), counter, account),
            phone: phone.digits(),
            phone_tag: m.peer_tag,
            category: *category,
            status: *status,
            source: *source,
            captured_at: m.id.millis(),
            detail: Detail { keyword: Some(m.body.chars().take(500).collect()), ..Detail::default() },
            origin: Some(m.id.0),
        }
    };
    let records: Vec<_> = says.iter().map(record).collect();
    super::consents::record(app, account, &records).await.map(drop)
}

/// Categories for which a person was asked whether they agree, and whose time is not over.
pub async fn asked(app: &App, account: AccountNo, phone_tag: i64) -> Result<Vec<Category>, StoreError> {
    let now = app.clock.now_ms();
    let states = consent::states(&app.db, account, &[phone_tag]).await?;
    Ok(states.into_iter().filter(|s| s.asked_until.is_some_and(|until| until > now)).map(|s| s.category).collect())
}

const MAC_LEN: usize = 12;

fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The secret of a person's own page: of one account and one number, which it names only to us. It cannot be guessed (96 bits), and tells
/// nothing: the number is sealed by what proves it (a synthetic IV, as in RFC 5297).
pub fn page_token(key: &[u8; 32], account: AccountNo, phone: Phone) -> String {
    let digits = phone.digits().to_be_bytes();
    let proof = &keyed(key, &[b"page", &account.0.to_be_bytes(), &digits])[..MAC_LEN];
    let pad = keyed(key, &[b"seal", proof]);
    let sealed: Vec<u8> = account.0.to_be_bytes().into_iter().chain(digits).zip(pad).map(|(a, b)| a ^ b).collect();
    URL_SAFE_NO_PAD.encode([proof, &sealed].concat())
}

/// Whose page a token opens.
pub fn page_of(key: &[u8; 32], token: &str) -> Option<(AccountNo, Phone)> {
    let octets: [u8; MAC_LEN + 12] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (proof, sealed) = octets.split_at(MAC_LEN);
    let pad = keyed(key, &[b"seal", proof]);
    let open: Vec<u8> = sealed.iter().zip(pad).map(|(a, b)| a ^ b).collect();
    let (account, digits) = open.split_at(4);
    let account = AccountNo(u32::from_be_bytes(account.try_into().ok()?));
    let phone = Phone::from_digits(u64::from_be_bytes(digits.try_into().ok()?))?;
    // All of it is compared, in time that does not tell where it differs.
    let same: bool = subtle::ConstantTimeEq::ct_eq(page_token(key, account, phone).as_bytes(), token.as_bytes()).into();
    same.then_some((account, phone))
}

/// The address of a person's own page, if the server has a public one.
pub fn page_url(app: &App, account: AccountNo, phone: Phone) -> Option<String> {
    let base = app.config.server.public_url.trim_end_matches('/');
    (!base.is_empty()).then(|| format!("{base}/p/{}", page_token(&app.secrets.preference_key, account, phone)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_page_and_no_changed_one_does() {
        let (key, phone) = ([7; 32], Phone::from_digits(4_915_112_345_678).unwrap());
        let token = page_token(&key, AccountNo(3), phone);
        assert_eq!(token.len(), 32);
        assert_eq!(page_of(&key, &token), Some((AccountNo(3), phone)));
        assert_eq!(page_of(&[8; 32], &token), None, "of another server");
        assert_ne!(page_token(&key, AccountNo(4), phone), token);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(page_of(&key, std::str::from_utf8(&changed).unwrap()), None, "{place}");
        }
        for text in ["", "A", &token[1..], &format!("{token}A"), &format!("{token}="), &"A".repeat(32)] {
            assert_eq!(page_of(&key, text), None, "{text}");
        }
    }
}
