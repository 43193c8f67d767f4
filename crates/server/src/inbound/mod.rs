//! Messages from phones: stored with all others of the moment, acknowledged after the commit, and then answered if a word in them asks for it.
//!
//! `pipeline::inbound` is where links and callbacks hand them in. One task stores; what a message does (`domain::keyword`) is decided as
//! it becomes whole, and written with it, so that a crash forgets neither (`answer`).

mod answer;
pub mod peer;

pub(crate) use answer::{Refused, reply};

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, ConversationId, InboundId, KeywordRuleId};
use carillon_domain::inbound::{Body, Piece, Whole};
use carillon_domain::keyword::{self, Action, Match, Rule};
use carillon_domain::message::Flags;
use carillon_store::inbound::{self, Arrival, Judged, Patience, Stored};
use carillon_store::{StoreError, inbound_number, keyword_rule};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::pipeline::{Arrived, Inbound};

/// Messages of one commit.
const COMMIT_MAX: usize = 200;
/// How often parts that wait in vain, and answers that could not be given, are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A carrier that repeats what was not acknowledged does so within this, milliseconds.
const REPEATS_MS: i64 = 86_400_000;
/// Numbers read at a time.
const PAGE: u32 = 1_000;

/// Starts storing; it ends with the app's shutdown. What is not stored then is not acknowledged, and comes again.
pub fn start(app: &App) {
    let shutdown = app.shutdown.clone();
    tokio::spawn(shutdown.run_until_cancelled_owned(run(app.clone())));
    let shutdown = app.shutdown.clone();
    tokio::spawn(shutdown.run_until_cancelled_owned(answer::run(app.clone())));
}

async fn run(app: App) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            batch = app.pipeline.inbound_waiting(COMMIT_MAX) => take(&app, batch).await,
            _ = look.tick() => {
                if let Err(error) = give_up_waiting(&app).await {
                    tracing::warn!(%error, "parts that wait in vain could not be looked for: {error}");
                }
            }
        }
    }
}

/// Reads again whose numbers there are.
pub async fn reload_numbers(app: &App) -> Result<(), StoreError> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = inbound_number::list(&app.db, None, before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        all.extend(page);
    }
    app.pipeline.own_numbers().set(&all);
    Ok(())
}

async fn take(app: &App, batch: Vec<Arrived>) {
    if batch.is_empty() {
        return;
    }
    let (arrivals, acks): (Vec<_>, Vec<_>) = batch.into_iter().map(|(i, ack, at)| (arrival(app, i, at), ack)).unzip();
    let taken = match store(app, &arrivals).await {
        Ok(stored) => {
            metrics::counter!("carillon_inbound_total").increment(stored.messages.len() as u64);
            true
        }
        Err(error) => {
            tracing::error!(%error, "messages from phones were left to their carriers: {error}");
            false
        }
    };
    acks.into_iter().for_each(|ack| ack.tell(taken));
}

async fn store(app: &App, arrivals: &[Arrival]) -> Result<Stored, StoreError> {
    let rules = rules(app, arrivals.iter().map(|a| a.account)).await?;
    let patience = Patience { parts: i64::from(app.config.inbound.parts_wait_s) * 1_000, repeats: REPEATS_MS };
    let judge = |account, number: &str, peer: &str, whole| judge(app, &rules, account, number, peer, whole);
    let stored = inbound::receive(&app.db, arrivals, patience, app.clock.now_ms(), &judge).await?;
    told(app, &stored);
    Ok(stored)
}

async fn give_up_waiting(app: &App) -> Result<(), StoreError> {
    let before = app.clock.now_ms() - i64::from(app.config.inbound.parts_wait_s) * 1_000;
    let owner = |number: &str, connection| owner(app, number, connection);
    // A message with a gap is no keyword: it needs no rules.
    let none = HashMap::new();
    let judge = |account, number: &str, peer: &str, whole| judge(app, &none, account, number, peer, whole);
    told(app, &inbound::give_up_waiting(&app.db, before, &owner, &judge).await?);
    Ok(())
}

fn told(app: &App, stored: &Stored) {
    if !stored.messages.is_empty() {
        app.notify.wake();
        app.pipeline.answers_due().notify_one();
    }
    for (account, credential) in &stored.owed {
        app.smpp.more(*account, *credential);
    }
}

fn owner(app: &App, number: &str, connection: i32) -> AccountNo {
    app.pipeline.own_numbers().owner(number, connection).unwrap_or(AccountNo::PLATFORM)
}

type Rules = HashMap<AccountNo, Vec<Rule<KeywordRuleId>>>;

/// The keyword rules of all accounts concerned.
async fn rules(app: &App, accounts: impl Iterator<Item = AccountNo>) -> Result<Rules, StoreError> {
    let mut all = Rules::new();
    for account in accounts.filter(|a| *a != AccountNo::PLATFORM) {
        if let std::collections::hash_map::Entry::Vacant(entry) = all.entry(account) {
            let rules = keyword_rule::list(&app.db, account).await?;
            let rule = |r: keyword_rule::KeywordRule| Rule {
                id: r.id,
                keyword: keyword::plain(&r.keyword),
                how: r.how,
                number: r.number,
            };
            entry.insert(rules.into_iter().map(rule).collect());
        }
    }
    Ok(all)
}

/// What is to be stored of a whole message.
fn judge(app: &App, rules: &Rules, account: AccountNo, number: &str, peer: &str, whole: Whole) -> Judged {
    let now = app.clock.now_ms();
    let id = InboundId::new(now, app.ids.next(), account);
    let stopped = || {
        let (tag, list) = (peer::tag(peer, &app.secrets.phone_key), app.pipeline.suppressed());
        list.holds(account, tag, Some(&peer::as_sender(number)), Flags::default())
            || list.consents().asked(account, tag)
    };
    let (body, is_binary, action, rule) = match whole.body {
        Body::Octets(octets) => (STANDARD.encode(octets), true, Action::None, None),
        Body::Text(text) => {
            let none = Vec::new();
            let (action, rule) = decide(&text, number, rules.get(&account).unwrap_or(&none), stopped);
            (text, false, if account == AccountNo::PLATFORM { Action::None } else { action }, rule)
        }
    };
    let event = app.event(account, EventKind::MessageReceived, Some(id.0), None);
    Judged {
        id,
        conversation: ConversationId::new(now, app.ids.next(), account),
        body,
        is_binary,
        action,
        rule,
        event: (account != AccountNo::PLATFORM).then_some(event),
    }
}

/// STOP always stops. The other built-in words give way to an account's own exact rule, but START does not while there is a stop to lift, or
/// a question to answer:
/// "yes" may answer a question.
fn decide(
    text: &str,
    number: &str,
    rules: &[Rule<KeywordRuleId>],
    stopped: impl FnOnce() -> bool,
) -> (Action, Option<KeywordRuleId>) {
    let rule = keyword::choose(rules, text, number);
    let exact = rule.filter(|r| r.how == Match::Exact);
    match keyword::built_in(text) {
        Action::Stop => (Action::Stop, None),
        Action::Help if exact.is_none() => (Action::Help, None),
        Action::Start if exact.is_none() || stopped() => (Action::Start, None),
        _ => rule.map_or((Action::None, None), |r| (Action::Rule, Some(r.id))),
    }
}

fn arrival(app: &App, i: Inbound, at: i64) -> Arrival {
    let number: String = i.to.chars().filter(char::is_ascii_digit).collect();
    let number = number.strip_prefix("00").map(str::to_owned).unwrap_or(number);
    let peer = peer::name(&i.from);
    let mut hash = Sha256::new();
    match &i.carrier_id {
        Some(id) => hash.update(format!("id\0{id}\0{:?}", i.part)),
        None => {
            hash.update(format!("sm\0{peer}\0{number}\0{:?}\0{}\0", i.part, i.writing.number()));
            hash.update(&i.octets);
        }
    }
    let fingerprint = i64::from_be_bytes(hash.finalize()[..8].try_into().expect("a hash has 32 octets"));
    Arrival {
        connection: i.connection,
        account: owner(app, &number, i.connection),
        number,
        peer_tag: peer::tag(&peer, &app.secrets.phone_key),
        peer,
        part: i.part.map(|(reference, total, _)| (reference, total)),
        piece: Piece { index: i.part.map_or(1, |(_, _, index)| index), octets: i.octets, writing: i.writing },
        carrier_at: i.carrier_at,
        fingerprint,
        // Carriers' ids are not used twice in a day.
        repeats_until: if i.carrier_id.is_some() { i64::MAX } else { i.repeats_until },
        at,
    }
}
