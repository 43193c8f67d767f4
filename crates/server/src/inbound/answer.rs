//! What a message from a phone does by itself: STOP puts a number on the list, START lifts that, HELP and keywords are answered.
//!
//! Each is written with its message as still to be done, and everything here can be done twice: the list takes an entry once, and the
//! answer carries an idempotency key. So a crash in between repeats, and doubles nothing.

use std::time::Duration;

use carillon_domain::account::{Status, StopScope};
use carillon_domain::consent::{self, CATEGORIES};
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, ConversationId, InboundId, MessageId, SuppressionId};
use carillon_domain::keyword::Action;
use carillon_domain::suppression::{Reason, Scope, Source};
use carillon_store::hot::{IdempotencyKey, IntakeRequest, Step, Verdict};
use carillon_store::inbound_message::{self, InboundMessage};
use carillon_store::suppression::{self, Ended, Filter, NewSuppression};
use carillon_store::{StoreError, conversation, keyword_rule};
use sha2::{Digest, Sha256};

use super::peer;
use crate::access::Caller;
use crate::app::App;
use crate::consents;
use crate::drips;
use crate::pipeline::SubmitError;
use crate::pipeline::prepare::{self, Draft};

/// Messages looked at together.
const PAGE: u32 = 100;
/// What could not be done is tried again after this; and what other processes stored is looked for.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A repeated STOP is confirmed once in this, milliseconds.
const CONFIRM_EVERY_MS: i64 = 86_400_000;
/// Answers are counted over this, milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// Characters of what was written that an entry of the list keeps.
const TEXT_MAX: usize = 500;

/// Why something is to be done again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Submit(#[from] SubmitError),
}

pub(super) async fn run(app: App) {
    loop {
        // Of several processes one answers: two would judge the same message by what the other had half done.
        let done = if app.notify.leads() { once(&app).await } else { Ok(0) };
        match done {
            Ok(0) => {
                // Timed out or not, there may be something.
                let _ = tokio::time::timeout(AGAIN_AFTER, app.pipeline.answers_due().notified()).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what messages from phones ask for waits: {error}");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn once(app: &App) -> Result<usize, Trouble> {
    let due = inbound_message::undone(&app.db, PAGE).await?;
    for id in &due {
        let account = id.account();
        let answer = act(app, account, *id).await?;
        inbound_message::done(&app.db, account, *id, answer).await?;
    }
    Ok(due.len())
}

/// Does what a message asks for; the message that answered it, if one did.
async fn act(app: &App, account: AccountNo, id: InboundId) -> Result<Option<MessageId>, Trouble> {
    let m = inbound_message::by_id(&app.db, account, id).await?;
    drips::written(app, &m).await?;
    // A closed account answers nothing; its list is nobody's any more.
    let Ok(caller) = app.open_caller(account).await else { return Ok(None) };
    let Some(conversation) = m.conversation else { return Ok(None) };
    let settings = &caller.info.settings;
    let own = |text: &Option<String>, standard: &str| Some(text.clone().unwrap_or_else(|| standard.to_owned()));
    let text = match m.action {
        Action::None => None,
        Action::Stop => {
            let confirm = stop(app, &caller, &m).await? || !confirmed(app, account, conversation).await?;
            own(&settings.opt_out_text, OPT_OUT_TEXT).filter(|_| confirm)
        }
        Action::Start => {
            let lifted = start(app, account, &m).await?;
            own(&settings.opt_in_text, OPT_IN_TEXT).filter(|_| lifted)
        }
        Action::Help => own(&settings.help_text, &format!("{}: {HELP_TEXT}", caller.info.name)),
        Action::Rule => match m.rule {
            // The rule may be gone by now.
            Some(rule) => keyword_rule::by_id(&app.db, account, rule).await.ok().map(|r| r.reply),
            None => None,
        },
    };
    match text {
        Some(text) if may_answer(app, &caller, &m, conversation).await? => {
            send(app, &caller, &m, conversation, &text).await
        }
        _ => Ok(None),
    }
}

const OPT_OUT_TEXT: &str = "You will receive no more messages from us. Reply START to receive them again.";
const OPT_IN_TEXT: &str = "You will receive our messages again. Reply STOP to end them, HELP for help.";
const HELP_TEXT: &str = "reply STOP to receive no more messages, START to receive them again.";

/// Puts the number on the account's list. Whether it was not there.
async fn stop(app: &App, caller: &Caller, m: &InboundMessage) -> Result<bool, Trouble> {
    let Some(phone) = peer::phone(&m.peer) else { return Ok(false) };
    let sender = (caller.info.settings.stop_scope == StopScope::Sender).then(|| peer::as_sender(&m.number));
    let entry = NewSuppression {
        id: SuppressionId::new(app.clock.now_ms(), app.ids.next(), caller.account),
        phone: phone.digits(),
        phone_tag: m.peer_tag,
        reason: Reason::OptOut,
        scope: Scope { sender, category: None },
        source: Source::Keyword,
        text: Some(m.body.chars().take(TEXT_MAX).collect()),
        origin: Some(m.id),
    };
    let told = |id: SuppressionId| app.event(caller.account, EventKind::OptOutCreated, Some(id.0), None);
    let now = app.clock.now_ms();
    let added = app.pipeline.suppressed().open(&app.db, caller.account, &[entry], now, Some(&told)).await?;
    let Some((id, fresh)) = added.first().copied() else { return Ok(false) };
    app.notify.wake();
    // A stop of one sender alone takes back no consent to the others.
    if caller.info.settings.stop_scope == StopScope::Account {
        drips::stopped(app, m).await?;
        let refused = CATEGORIES.map(|category| (category, consent::Status::OptedOut, consent::Source::Keyword));
        consents::by_keyword(app, caller.account, m, &refused).await?;
    }
    // Made by this very message: before a crash, perhaps.
    Ok(fresh || suppression::by_id(&app.db, caller.account, id).await?.origin == Some(m.id))
}

/// Lifts what a stop of theirs did, and takes the answer to the question whether they agree. Whether there was any of the two.
async fn start(app: &App, account: AccountNo, m: &InboundMessage) -> Result<bool, Trouble> {
    let asked = consents::asked(app, account, m.peer_tag).await?;
    let lifted = lift(app, account, m).await?;
    let agrees = |category| match asked.contains(&category) {
        true => Some((category, consent::Status::Confirmed, consent::Source::DoubleOptIn)),
        false => lifted.then_some((category, consent::Status::OptedIn, consent::Source::Keyword)),
    };
    let says: Vec<_> = CATEGORIES.into_iter().filter_map(agrees).collect();
    consents::by_keyword(app, account, m, &says).await?;
    Ok(!says.is_empty())
}

async fn lift(app: &App, account: AccountNo, m: &InboundMessage) -> Result<bool, Trouble> {
    let sender = peer::as_sender(&m.number);
    let now = app.clock.now_ms();
    let text: String = m.body.chars().take(TEXT_MAX).collect();
    let told = |id: SuppressionId| app.event(account, EventKind::OptOutRemoved, Some(id.0), None);
    let ended = suppression::end_by_keyword(&app.db, account, m.peer_tag, &sender, &text, now, &told).await?;
    app.pipeline.suppressed().reread(&app.db, account, m.peer_tag).await?;
    app.notify.wake();
    if ended > 0 {
        return Ok(true);
    }
    // Ended by this very message: before a crash, perhaps.
    let filter = Filter { phone_tag: Some(m.peer_tag), reason: Some(Reason::OptOut), ended: true };
    let entries = suppression::list(&app.db, account, filter, None, PAGE).await?;
    let by_it = |e: &Ended| e.source == Source::Keyword && e.at >= m.id.millis();
    Ok(entries.iter().filter_map(|entry| entry.ended.as_ref()).any(by_it))
}

/// Whether a STOP of this conversation was confirmed within a day.
async fn confirmed(app: &App, account: AccountNo, conversation: ConversationId) -> Result<bool, Trouble> {
    let since = InboundId::new(app.clock.now_ms() - CONFIRM_EVERY_MS, 0, account);
    let answers = inbound_message::answered(&app.db, account, conversation, since).await?;
    Ok(answers.iter().any(|(_, action)| *action == Action::Stop))
}

/// Machines answer machines for ever: none of ours, no short code, no name is answered, and nobody more than so often in an hour.
async fn may_answer(
    app: &App,
    caller: &Caller,
    m: &InboundMessage,
    conversation: ConversationId,
) -> Result<bool, Trouble> {
    if caller.info.status != Status::Active
        || peer::phone(&m.peer).is_none()
        || app.pipeline.own_numbers().is_own(&m.peer)
    {
        return Ok(false);
    }
    let since = InboundId::new(app.clock.now_ms() - HOUR_MS, 0, caller.account);
    let answers = inbound_message::answered(&app.db, caller.account, conversation, since).await?;
    Ok(answers.len() < app.config.inbound.answers_per_hour as usize)
}

/// Sends an answer as any message of the account, once.
async fn send(
    app: &App,
    caller: &Caller,
    m: &InboundMessage,
    conversation: ConversationId,
    text: &str,
) -> Result<Option<MessageId>, Trouble> {
    let draft = Draft { answer: m.action != Action::Rule, ..Draft::default() };
    let hash = Sha256::digest(format!("answer to {}", m.id));
    let half = |i: usize| hash[i * 16..(i + 1) * 16].try_into().expect("a hash has 32 octets");
    let key = IdempotencyKey { key: half(0), fingerprint: half(1) };
    let id = match reply(app, caller, &m.number, &m.peer, Draft { text: Some(text), ..draft }, Some(key)).await {
        Ok(Verdict::Accepted { first, .. }) => first,
        Ok(Verdict::Replayed { resource }) => MessageId(resource),
        Ok(verdict) => {
            tracing::warn!(message = %m.id, ?verdict, "{} was not answered", m.id);
            return Ok(None);
        }
        Err(Refused::Submit(SubmitError::Suppressed | SubmitError::NoConsent | SubmitError::Poisoned))
        | Err(Refused::Wrong(_)) => {
            return Ok(None);
        }
        Err(Refused::Submit(other)) => return Err(other.into()),
    };
    conversation::touch(&app.db, caller.account, conversation, id).await?;
    Ok(Some(id))
}

/// Why an answer was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It cannot be sent as it is.
    Wrong(Vec<prepare::Mistake>),
    /// It could not be stored, or must not be.
    Submit(SubmitError),
}

/// Sends a text from an own number to who wrote to it. The number is the account's, so it needs nobody's approval as a sender.
pub(crate) async fn reply(
    app: &App,
    caller: &Caller,
    number: &str,
    peer: &str,
    draft: Draft<'_>,
    key: Option<IdempotencyKey>,
) -> Result<Verdict, Refused> {
    let terms = app.pipeline.terms();
    let rules = prepare::Rules { countries: None, ..app.rules(caller, &terms, app.clock.now_ms()) };
    let from = peer::as_sender(number);
    let draft = Draft { from: Some(&from), ..draft };
    let wrong = |mistake| Refused::Wrong(vec![mistake]);
    let lenient = carillon_domain::account::Settings { lenient: true, ..rules.settings.clone() };
    let to = prepare::recipient(peer, &lenient).map_err(|e| wrong(prepare::Mistake::phone(e, None)))?;
    let content =
        prepare::content(&draft, &rules, &mut |below| rand::random_range(0..below)).map_err(Refused::Wrong)?;
    let message = content.message(&rules, to, 0, true).map_err(wrong)?;
    let request = IntakeRequest { account: caller.account, key, step: Step::Message, messages: vec![message] };
    app.pipeline.submit(request).await.map_err(Refused::Submit)
}
