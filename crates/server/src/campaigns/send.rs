//! Hands a run's recipients in, some at a time: their messages, their hold and the run's new place are one commit. It keeps to the campaign's pace,
//! and never far ahead of the carriers, so that a pause is one, and money is held as it is needed.

use std::time::Duration;

use carillon_domain::account::Status;
use carillon_domain::campaign::{Action, Reason, State};
use carillon_domain::id::BatchId;
use carillon_domain::money::Money;
use carillon_domain::phone::{Parsed, Phone};
use carillon_store::campaign::{self, Campaign, Shift};
use carillon_store::campaign_run::{self, Run, Waiting};
use carillon_store::hot::{IntakeRequest, NewMessage, RunStep, Step, Verdict};
use carillon_store::{batch, ledger};

use super::ab_test::{self, Next};
use super::{CREDIT_EVERY_MS, event_of, next_time, report, shift, told};
use crate::app::App;
use crate::pipeline::SubmitError;
use crate::pipeline::prepare::{Content, Own, Rules};
use crate::runner::{Trouble, stops};

/// Messages of a commit.
const CHUNK: u32 = 500;
/// Messages of a run that wait for carriers at most, those with times of their own aside.
const AHEAD_MAX: i64 = 20_000;
/// Until it is looked again whether carriers have caught up, or the server has room.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Of a recipient that nothing can be stored for.
const UNSTORABLE: &str = "internal";

/// Goes on with a run whose audience is written, to its end or to what holds it up; whether to its end.
pub(super) async fn run(app: &App, c: &Campaign, id: BatchId) -> Result<bool, Trouble> {
    let account = c.id.account();
    let mut most = CHUNK;
    let mut pace = Pace { rate: None, next: app.clock.monotonic() };
    loop {
        let (state, rate) = campaign::standing(&app.db, account, c.id).await?;
        if state != State::Running || stops(app) {
            return Ok(false);
        }
        pace.rate = rate;
        // Read anew each time: what became of the step before is known here and nowhere else.
        let run = campaign_run::by_id(&app.db, account, id).await?;
        let known = app.account(account).await?;
        if known.status != Status::Active {
            return pause(app, c, Reason::AccountSuspended, None).await.map(|()| false);
        }
        if ahead(app, &run).await? >= AHEAD_MAX {
            rest(app, LOOK_AGAIN).await;
            continue;
        }
        let waiting = campaign_run::waiting(&app.db, account, id, run.cursor, pace.share(most)).await?;
        if waiting.is_empty() {
            return Ok(true);
        }
        let now = app.clock.now_ms();
        let terms = app.pipeline.terms();
        let rules = app.rules_of(account, &known, &terms, now);
        let chunk = match super::content(&c.content, run.local_at.as_deref(), &rules) {
            Ok(content) => Chunk::of(&content, &rules, &waiting),
            Err(mistakes) => {
                let codes: Vec<&str> = mistakes.iter().map(|m| m.code).collect();
                tracing::info!(campaign = %c.id, ?codes, "campaign {} is not taken any more", c.id);
                return pause(app, c, Reason::ContentRefused, None).await.map(|()| false);
            }
        };
        match hand_in(app, &run, chunk).await {
            Ok(Done::Taken(count)) => {
                most = CHUNK;
                pace.took(app, count).await;
            }
            Ok(Done::Short) => {
                let again = now + CREDIT_EVERY_MS;
                return pause(app, c, Reason::InsufficientCredit, Some(again)).await.map(|()| false);
            }
            Ok(Done::Elsewhere) => return Ok(false),
            Err(SubmitError::Busy) => rest(app, LOOK_AGAIN).await,
            // One of them cannot be stored: found by halves, the others go.
            Err(SubmitError::Poisoned) if most > 1 => most /= 2,
            Err(SubmitError::Poisoned) => {
                let tags = waiting.iter().map(|w| (w.phone_tag, UNSTORABLE)).collect();
                hand_in(app, &run, Chunk { messages: Vec::new(), skipped: tags, to: last(&waiting) }).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn last(waiting: &[Waiting]) -> i64 {
    waiting.last().map_or(campaign_run::BEGIN, |w| w.phone_tag)
}

async fn rest(app: &App, pause: Duration) {
    app.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
}

/// Messages of the run that wait for a carrier now.
async fn ahead(app: &App, run: &Run) -> Result<i64, Trouble> {
    let totals = batch::by_id(&app.db, run.id.account(), run.id).await?;
    Ok(i64::from(totals.queued) - i64::from(run.deferred))
}

/// Messages that go in together.
struct Chunk {
    messages: Vec<NewMessage>,
    /// Who gets none, and why.
    skipped: Vec<(i64, &'static str)>,
    /// The last of both.
    to: i64,
}

impl Chunk {
    fn of(content: &Content, rules: &Rules<'_>, waiting: &[Waiting]) -> Chunk {
        let mut chunk = Chunk { messages: Vec::with_capacity(waiting.len()), skipped: Vec::new(), to: last(waiting) };
        for (index, w) in waiting.iter().enumerate() {
            match message(content, rules, w, index as u32) {
                Ok(message) => chunk.messages.push(message),
                Err(code) => chunk.skipped.push((w.phone_tag, code)),
            }
        }
        // Those of one step have all times of their own, or none has.
        if chunk.messages.iter().any(|m| m.due_at.is_some()) {
            chunk.messages.iter_mut().for_each(|m| {
                m.due_at.get_or_insert(rules.now);
            });
        }
        chunk
    }

    /// As much of it, in order, as an amount covers.
    fn cut(&self, run: &Run, available: Money) -> Option<Chunk> {
        let mut left = available;
        let covered = self.messages.iter().take_while(|m| {
            left -= m.held();
            left >= Money::ZERO
        });
        let messages: Vec<NewMessage> = covered.cloned().collect();
        let first_left = self.messages.get(messages.len())?.phone_tag;
        let skipped: Vec<_> = self.skipped.iter().copied().filter(|(tag, _)| *tag < first_left).collect();
        let to = messages.iter().map(|m| m.phone_tag).chain(skipped.iter().map(|(tag, _)| *tag)).max();
        to.filter(|to| *to > run.cursor).map(|to| Chunk { messages, skipped, to })
    }
}

fn message(content: &Content, rules: &Rules<'_>, w: &Waiting, index: u32) -> Result<NewMessage, &'static str> {
    let phone = Phone::from_digits(w.phone).expect("only parsed numbers are stored");
    let value = |name: &str| w.words.get(name).map(String::as_str);
    let own = Own { value: &value, client_ref: None };
    let to = Parsed { phone, country: phone.country() };
    let message = content.message_of(rules, to, index, &own).map_err(|mistake| mistake.code)?;
    match rules.suppressed.hold_new(rules.account, &message) {
        Some(hold) => Err(hold.as_str()),
        None => Ok(message),
    }
}

enum Done {
    /// So many messages.
    Taken(usize),
    /// The money covers not even the next.
    Short,
    /// The run is elsewhere by now, or held up.
    Elsewhere,
}

/// Stores a chunk, or as much of it as the money lasts for.
async fn hand_in(app: &App, run: &Run, mut chunk: Chunk) -> Result<Done, SubmitError> {
    loop {
        let step = RunStep { run: run.id, from: run.cursor, to: chunk.to, skipped: chunk.skipped.clone() };
        let messages = chunk.messages.clone();
        let request = IntakeRequest { account: run.id.account(), key: None, step: Step::Run(step), messages };
        match app.pipeline.submit(request).await? {
            Verdict::Accepted { count, .. } => return Ok(Done::Taken(count as usize)),
            Verdict::Short { available, .. } => match chunk.cut(run, available) {
                Some(less) => chunk = less,
                None => return Ok(Done::Short),
            },
            _ => return Ok(Done::Elsewhere),
        }
    }
}

/// How fast it may go.
struct Pace {
    /// Messages a second.
    rate: Option<u32>,
    /// When the next may go, of the monotonic clock.
    next: Duration,
}

impl Pace {
    /// How many of `most` may go at once: about a quarter of a second.
    fn share(&self, most: u32) -> u32 {
        self.rate.map_or(most, |rate| most.min(rate.div_ceil(4)).max(1))
    }

    /// Waits until what was taken has had its time.
    async fn took(&mut self, app: &App, count: usize) {
        let Some(rate) = self.rate else { return };
        let now = app.clock.monotonic();
        // Time that was lost is not made up for.
        self.next = self.next.max(now) + Duration::from_secs_f64(count as f64 / f64::from(rate));
        rest(app, self.next.saturating_sub(now)).await;
    }
}

async fn pause(app: &App, c: &Campaign, reason: Reason, look_at: Option<i64>) -> Result<(), Trouble> {
    shift(app, c, Action::Pause, Some(reason), look_at).await.map(drop)
}

/// All is handed in: it ends, or waits for its next time.
pub(super) async fn finish(app: &App, c: &Campaign) -> Result<(), Trouble> {
    let now = app.clock.now_ms();
    let next = next_time(c, now);
    let action = if next.is_some() { Action::Repeat } else { Action::Finish };
    let Some(to) = c.state.after(action) else { return Ok(()) };
    let event = event_of(app, c.id, action);
    let shift = Shift { from: c.state, to, reason: None, look_at: next, event: event.as_ref(), mails: &[], now };
    let report_at = (!c.content.report_to.is_empty()).then_some(now + report::AFTER_MS);
    if campaign_run::end(&app.db, c.id.account(), c.id, Some(&shift), report_at, now).await? {
        told(app, c.id, to, None);
    }
    Ok(())
}

/// Lets a campaign that was paused for want of money go on, if the money now covers its next message.
pub(super) async fn retry(app: &App, c: &Campaign, id: BatchId) -> Result<(), Trouble> {
    let (account, now) = (c.id.account(), app.clock.now_ms());
    let (content, id) = match ab_test::next(app, c, id).await? {
        Next::Variant(content, variant) => (content, variant),
        Next::Rest(content) => (content, id),
        // It needs none before it is decided.
        Next::Undecided(_) => return shift(app, c, Action::Resume, None, Some(now)).await.map(drop),
    };
    let run = campaign_run::by_id(&app.db, account, id).await?;
    let waiting = campaign_run::waiting(&app.db, account, id, run.cursor, 1).await?;
    let known = app.account(account).await?;
    let terms = app.pipeline.terms();
    let rules = app.rules_of(account, &known, &terms, now);
    let needed = match (super::content(&content, run.local_at.as_deref(), &rules), waiting.first()) {
        (Ok(content), Some(w)) => message(&content, &rules, w, 0).map_or(Money::ZERO, |m| m.held()),
        // Whatever is in the way now: going on says what it is.
        _ => Money::ZERO,
    };
    if ledger::balance(&app.db, account).await?.available >= needed {
        shift(app, c, Action::Resume, None, Some(now)).await.map(drop)
    } else {
        Ok(campaign::look_again(&app.db, account, c.id, Some(now + CREDIT_EVERY_MS)).await?)
    }
}
