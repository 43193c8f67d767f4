//! One wave: its people get their step, or not, and go on. Its messages are a batch of the wave's id, which the database stores once; beside them stands
//! who got none and why. So whatever ends in between, what became of each can be read, and nobody gets a step twice.

use carillon_domain::account::Status;
use carillon_domain::campaign::Words;
use carillon_domain::drip::{CREDIT, Facts, HeldUp, Moves, Next, State, Step, next};
use carillon_domain::id::BatchId;
use carillon_domain::phone::{Parsed, Phone};
use carillon_domain::segment;
use carillon_store::contact::{self, Contact};
use carillon_store::drip::Drip;
use carillon_store::drip_wave::{self, Advance, Member, Wave};
use carillon_store::hot::Step as Asked;
use carillon_store::hot::{IntakeRequest, NewBatch, NewMessage, Verdict};
use carillon_store::{StoreError, batch, contact_group};
use rustc_hash::{FxHashMap, FxHashSet};

use super::EVERY_MS;
use crate::app::App;
use crate::campaigns;
use crate::campaigns::audience::Person;
use crate::pipeline::SubmitError;
use crate::pipeline::prepare::{Content, Own, Rules};
use crate::runner::Trouble;

/// Of somebody for whom nothing can be stored.
const UNSTORABLE: &str = "internal";
/// Until it is tried again where the server has no room, milliseconds.
const BUSY_MS: i64 = 1_000;

/// Why each place of a wave that has no message has none.
type Codes<C> = Vec<(u32, C)>;

/// Goes on with it: to its end, or to what holds it up.
pub(super) async fn run(app: &App, d: &Drip, wave: Wave) -> Result<(), Trouble> {
    let account = wave.id.account();
    let now = app.clock.now_ms();
    let members = drip_wave::members(&app.db, &wave).await?;
    match batch::by_id(&app.db, account, wave.id).await {
        Ok(done) => return end(app, d, &wave, &members, &done.refusals, true).await,
        Err(StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    match d.state {
        State::Active => {}
        // Its people are let go, and leave with the others.
        State::Archived => {
            let all: Codes<&str> = (0..members.len() as u32).map(|index| (index, CREDIT)).collect();
            return end(app, d, &wave, &members, &all, false).await;
        }
        State::Draft | State::Paused => return Ok(drip_wave::wait(&app.db, &wave, now + EVERY_MS, None).await?),
    }
    let known = app.account(account).await?;
    if known.status != Status::Active {
        return hold_up(app, &wave, HeldUp::AccountSuspended).await;
    }
    let facts = match People::of(app, d, &wave, &members).await? {
        Some(people) => people,
        None => return hold_up(app, &wave, HeldUp::ConditionOutdated).await,
    };
    let terms = app.pipeline.terms();
    let rules = app.rules_of(account, &known, &terms, now);
    let (batch, messages) = match made(app, d, &wave, &members, facts, &rules) {
        Ok(made) => made,
        Err(codes) => {
            tracing::info!(drip = %d.id, ?codes, "step {} of drip {} is not taken any more", wave.step + 1, d.id);
            return hold_up(app, &wave, HeldUp::ContentRefused).await;
        }
    };
    if messages.is_empty() {
        return end(app, d, &wave, &members, &batch.refusals, false).await;
    }
    let places: Vec<usize> = messages.iter().map(|m| m.index as usize).collect();
    let request = IntakeRequest { account, key: None, step: Asked::Batch(batch.clone()), messages };
    match app.pipeline.submit(request).await {
        Ok(Verdict::Accepted { refusals, .. }) => end(app, d, &wave, &members, &refusals, true).await,
        Ok(Verdict::Short { .. }) => hold_up(app, &wave, HeldUp::InsufficientCredit).await,
        Ok(_) => Ok(drip_wave::wait(&app.db, &wave, now + EVERY_MS, None).await?),
        Err(SubmitError::Busy) => Ok(drip_wave::wait(&app.db, &wave, now + BUSY_MS, None).await?),
        Err(SubmitError::Poisoned) => poisoned(app, d, &wave, &members, batch, &places).await,
        Err(error) => Err(error.into()),
    }
}

/// One of its messages cannot be stored: it is found by halves, and the others go. Or all are stored by now, by another process.
async fn poisoned(
    app: &App,
    d: &Drip,
    wave: &Wave,
    members: &[Member],
    mut batch: NewBatch,
    places: &[usize],
) -> Result<(), Trouble> {
    match batch::by_id(&app.db, wave.id.account(), wave.id).await {
        // The next look finds it.
        Ok(_) => return Ok(()),
        Err(StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    if let [place] = places {
        batch.refusals.push((*place as u32, UNSTORABLE));
        return end(app, d, wave, members, &batch.refusals, false).await;
    }
    let half: Vec<i64> = places[places.len() / 2..].iter().map(|place| members[*place].phone_tag).collect();
    let into = BatchId::new(app.clock.now_ms(), app.ids.next(), wave.id.account());
    Ok(drip_wave::split(&app.db, wave, &half, into).await?)
}

/// What is known of the people of a wave.
struct People {
    contacts: FxHashMap<u64, Contact>,
    /// Whom the step's condition finds; `None`: it has none.
    fitting: Option<FxHashSet<u64>>,
}

impl People {
    /// `None` if the condition of the step cannot be read any more.
    async fn of(app: &App, d: &Drip, wave: &Wave, members: &[Member]) -> Result<Option<People>, StoreError> {
        let account = wave.id.account();
        let tags: Vec<i64> = members.iter().filter(|m| !m.left).map(|m| m.phone_tag).collect();
        let fitting = match d.sequence.steps.get(wave.step).and_then(|step| step.condition.as_ref()) {
            None => None,
            Some(condition) => {
                let declared = contact_group::declared(&app.db, account).await?;
                let Ok(filter) = segment::read(condition, &declared, app.clock.now_ms()) else { return Ok(None) };
                let found = contact::by_tags(&app.db, account, &tags, Some(&filter)).await?;
                Some(found.into_iter().map(|c| c.phone).collect())
            }
        };
        let contacts = contact::by_tags(&app.db, account, &tags, None).await?;
        Ok(Some(People { contacts: contacts.into_iter().map(|c| (c.phone, c)).collect(), fitting }))
    }

    fn facts(&self, d: &Drip, m: &Member) -> Facts {
        let contact = self.contacts.get(&m.phone);
        let has_goal = |tag: &String| contact.is_some_and(|c| c.profile.tags.contains(tag));
        Facts {
            left: m.left,
            goal: d.sequence.goal_tag.as_ref().is_some_and(has_goal),
            gone: m.by_contact && contact.is_none(),
            fits: self.fitting.as_ref().is_none_or(|fitting| fitting.contains(&m.phone)),
        }
    }

    /// Their own words first, then those of the contact.
    fn words(&mut self, app: &App, m: &Member) -> Words {
        let contact = self.contacts.remove(&m.phone);
        let mut words = contact.map(|c| Person::contact(app, c).words).unwrap_or_default();
        words.extend(m.words.clone());
        words
    }
}

/// The messages of a wave, and its batch with who gets none and why; or the codes of what is wrong with what the step sends.
fn made(
    app: &App,
    d: &Drip,
    wave: &Wave,
    members: &[Member],
    mut people: People,
    rules: &Rules<'_>,
) -> Result<(NewBatch, Vec<NewMessage>), Vec<&'static str>> {
    let steps: &[Step] = &d.sequence.steps;
    let content = match steps.get(wave.step) {
        None => None,
        Some(step) => {
            let judged = campaigns::content(&d.sequence.content_of(step), None, rules);
            Some(judged.map_err(|mistakes| mistakes.iter().map(|m| m.code).collect::<Vec<_>>())?)
        }
    };
    let mut batch = NewBatch {
        id: wave.id,
        body: content.as_ref().map(|c| c.body.clone()),
        client_ref: None,
        tags: content.as_ref().and_then(|c| c.extra.as_ref()?.tags.clone()),
        // As many as the money lasts for; the others come to it again.
        partial: true,
        refusals: Vec::new(),
    };
    let mut messages = Vec::with_capacity(members.len());
    for (index, m) in members.iter().enumerate() {
        let index = index as u32;
        let made = match (next(wave.step, steps, people.facts(d, m)), &content) {
            (Next::Send, Some(content)) => message(content, rules, m, &people.words(app, m), index),
            (other, _) => Err(other.code().unwrap_or(UNSTORABLE)),
        };
        match made {
            Ok(message) => messages.push(message),
            Err(code) => batch.refusals.push((index, code)),
        }
    }
    Ok((batch, messages))
}

fn message(
    content: &Content,
    rules: &Rules<'_>,
    m: &Member,
    words: &Words,
    index: u32,
) -> Result<NewMessage, &'static str> {
    let phone = Phone::from_digits(m.phone).expect("only parsed numbers are stored");
    let value = |name: &str| words.get(name).map(String::as_str);
    let to = Parsed { phone, country: phone.country() };
    let own = Own { value: &value, client_ref: None };
    let message = content.message_of(rules, to, index, &own).map_err(|mistake| mistake.code)?;
    match rules.suppressed.hold_new(rules.account, &message) {
        Some(hold) => Err(hold.as_str()),
        None => Ok(message),
    }
}

/// Its people go on.
async fn end<C: AsRef<str>>(
    app: &App,
    d: &Drip,
    wave: &Wave,
    members: &[Member],
    codes: &Codes<C>,
    sent: bool,
) -> Result<(), Trouble> {
    let now = app.clock.now_ms();
    let codes: FxHashMap<u32, &str> = codes.iter().map(|(index, code)| (*index, code.as_ref())).collect();
    let told = members.iter().zip(0u32..).map(|(m, index)| (m.phone_tag, codes.get(&index).copied()));
    let moves = Moves::of(told, wave.step, &d.sequence.steps, now);
    let short = sent && !moves.again.is_empty();
    let held_up = short.then_some(HeldUp::InsufficientCredit);
    let advance = Advance { moves: &moves, again_at: now + EVERY_MS, sent, held_up, now };
    if drip_wave::advance(&app.db, wave, &advance).await? {
        metrics::counter!("carillon_drip_waves_total").increment(1);
    }
    Ok(())
}

/// The wave waits, and its drip says why.
async fn hold_up(app: &App, wave: &Wave, why: HeldUp) -> Result<(), Trouble> {
    let at = app.clock.now_ms() + EVERY_MS;
    tracing::info!(drip = %wave.drip, why = why.as_str(), "drip {} is held up: {}", wave.drip, why.as_str());
    Ok(drip_wave::wait(&app.db, wave, at, Some(why)).await?)
}
