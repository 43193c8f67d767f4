//! Campaigns on their way. Of several processes on one database the one that has the lead looks after those that are due: it begins them at their
//! time, writes their audience (`expand`), hands it in (`send`), and lets them go on after a pause for want of money. Each of these steps is
//! written with where it stands, so that any process can go on where another was killed.

pub mod ab_test;
pub mod audience;
pub mod estimate;
mod expand;
pub mod report;
mod send;

use std::time::Duration;

use carillon_domain::account::Status;
use carillon_domain::campaign::{Action, Content, Reason, State};
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, BatchId, CampaignId};
use carillon_domain::schedule::Schedule;
use carillon_store::campaign::{self, Campaign, Plan, Shift};
use carillon_store::campaign_run::{self, Launched, NewRun};
use carillon_store::email::{EmailKind, NewEmail};
use carillon_store::hot::IdempotencyKey;
use carillon_store::{StoreError, message, user};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::notify::email::{USEFUL_MS, for_people};
use crate::pipeline::prepare::{self, Draft, Mistake, Rules};
use crate::runner::{self, Trouble};
use ab_test::Next;
use audience::Place;

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(200);
/// Campaigns under way at a time.
const AT_ONCE: u32 = 1_000;
/// One that is so late is not begun any more, milliseconds.
const LATE_MS: i64 = 86_400_000;
/// Between two looks whether the money lasts again, milliseconds.
const CREDIT_EVERY_MS: i64 = 60_000;
/// Messages withdrawn in one go.
const PAGE: u32 = 5_000;

/// Starts it; it ends with the app's shutdown.
pub fn start(app: &App) {
    let due = |app: App| async move { campaign::due(&app.db, app.clock.now_ms(), AT_ONCE).await };
    runner::start(app, "campaign", TICK, due, |app, id| async move { go_on(&app, id).await });
}

async fn go_on(app: &App, id: CampaignId) -> Result<(), Trouble> {
    match campaign::by_id(&app.db, id.account(), id).await {
        Ok(c) => step(app, c).await,
        Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What there is to do with one that is due.
async fn step(app: &App, c: Campaign) -> Result<(), Trouble> {
    let account = c.id.account();
    match (c.state, c.run) {
        (State::Scheduled, _) => begin(app, &c).await,
        (State::Running, Some(run)) => match expand::run(app, &c, run).await? {
            true => hand_in(app, c, run).await,
            false => Ok(()),
        },
        (State::Paused, Some(run)) if c.reason == Some(Reason::InsufficientCredit) => send::retry(app, &c, run).await,
        (State::Canceled, Some(run)) => withdraw(app, &c, run).await,
        _ => Ok(campaign::look_again(&app.db, account, c.id, None).await?),
    }
}

/// Hands in what there is: all of it, or the variants of its test and then, once it is decided, the rest.
async fn hand_in(app: &App, c: Campaign, rest: BatchId) -> Result<(), Trouble> {
    loop {
        let (content, run) = match ab_test::next(app, &c, rest).await? {
            Next::Variant(content, run) => (content, run),
            Next::Rest(content) => (content, rest),
            Next::Undecided(test) => return ab_test::attend(app, &c, rest, &test).await,
        };
        let part = Campaign { content, ..c.clone() };
        match (send::run(app, &part, run).await?, run == rest) {
            (false, _) => return Ok(()),
            (true, true) => return send::finish(app, &c).await,
            (true, false) => {
                campaign_run::end_variant(&app.db, c.id.account(), run, app.clock.now_ms()).await?;
            }
        }
    }
}

/// Begins a campaign whose time came.
async fn begin(app: &App, c: &Campaign) -> Result<(), Trouble> {
    let now = app.clock.now_ms();
    if c.look_at.is_some_and(|at| now - at > LATE_MS) {
        // One that comes again has not failed: it waits for its next time.
        return match next_time(c, now) {
            Some(next) => Ok(campaign::look_again(&app.db, c.id.account(), c.id, Some(next)).await?),
            None => fail(app, c, Reason::TooLate).await,
        };
    }
    // The runner came to it when the first clock on earth showed its time.
    let local = c.plan.as_ref().filter(|plan| plan.local_time).zip(c.look_at);
    let local_at =
        local.and_then(|(_, at)| Some(jiff::Timestamp::from_millisecond(at).ok()?.to_zoned(first_clock()?).datetime()));
    match launch(app, c, local_at, None).await {
        Ok(_) => Ok(()),
        Err(NotLaunched::Suspended) => fail(app, c, Reason::AccountSuspended).await,
        Err(NotLaunched::Wrong(mistakes)) => {
            let codes: Vec<&str> = mistakes.iter().map(|m| m.code).collect();
            tracing::info!(campaign = %c.id, ?codes, "campaign {} is not taken any more", c.id);
            fail(app, c, Reason::ContentRefused).await
        }
        Err(NotLaunched::Store(error)) => Err(error.into()),
    }
}

async fn fail(app: &App, c: &Campaign, reason: Reason) -> Result<(), Trouble> {
    shift(app, c, Action::Fail, Some(reason), None).await.map(drop)
}

/// Gives a campaign the state an action leads to, and tells of it; whether it still had the state that was seen.
async fn shift(
    app: &App,
    c: &Campaign,
    action: Action,
    reason: Option<Reason>,
    look_at: Option<i64>,
) -> Result<bool, Trouble> {
    let Some(to) = c.state.after(action) else { return Ok(false) };
    let (event, now) = (event_of(app, c.id, action), app.clock.now_ms());
    let mails = match reason {
        Some(Reason::InsufficientCredit) => mails(app, c, now).await?,
        _ => Vec::new(),
    };
    let shift = Shift { from: c.state, to, reason, look_at, event: event.as_ref(), mails: &mails, now };
    let account = c.id.account();
    let done = match c.run.filter(|_| to.ended()) {
        Some(_) => campaign_run::end(&app.db, account, c.id, Some(&shift), None, now).await?,
        None => campaign::shift(&app.db, account, c.id, &shift).await?,
    };
    if done {
        told(app, c.id, to, reason);
        app.email.wake();
    }
    Ok(done)
}

/// What the account's owners are told of a campaign that ran out of money, if mail is on.
async fn mails(app: &App, c: &Campaign, now: i64) -> Result<Vec<NewEmail>, StoreError> {
    if !app.config.email.is_on() {
        return Ok(Vec::new());
    }
    let account = app.account(c.id.account()).await?;
    let (id, at) = (c.id.to_string(), for_people(now));
    let owners = user::owners(&app.db, c.id.account()).await?;
    let mail = |(address, name): &(String, String)| {
        let words =
            [("name", name.as_str()), ("campaign", &c.name), ("id", &id), ("account", &account.name), ("at", &at)];
        app.email_to(c.id.account(), EmailKind::CampaignPaused, address, &words, now + USEFUL_MS)
    };
    Ok(owners.iter().filter_map(mail).collect())
}

/// After a shift was written.
pub fn told(app: &App, id: CampaignId, to: State, reason: Option<Reason>) {
    app.notify.wake();
    let reason = reason.map_or("", Reason::as_str);
    tracing::info!(campaign = %id, state = to.as_str(), reason, "campaign {id} is {}", to.as_str());
    metrics::counter!("carillon_campaigns_total", "state" => to.as_str()).increment(1);
}

/// What is told of an action.
pub fn event_of(app: &App, id: CampaignId, action: Action) -> Option<carillon_store::event::NewEvent> {
    let kind = match action {
        Action::Launch => EventKind::CampaignStarted,
        Action::Pause => EventKind::CampaignPaused,
        Action::Finish => EventKind::CampaignFinished,
        Action::Fail => EventKind::CampaignFailed,
        _ => return None,
    };
    Some(app.event(id.account(), kind, Some(id.0), None))
}

/// Why a launch was not tried.
#[derive(Debug)]
pub enum NotLaunched {
    /// The account may not send.
    Suspended,
    /// What it would send is not taken.
    Wrong(Vec<Mistake>),
    /// The database.
    Store(StoreError),
}

impl From<StoreError> for NotLaunched {
    fn from(error: StoreError) -> NotLaunched {
        NotLaunched::Store(error)
    }
}

/// Begins a run of a campaign, whose state allows it. With `local_at` each of its messages goes at that time where its recipient is.
pub async fn launch(
    app: &App,
    c: &Campaign,
    local_at: Option<DateTime>,
    key: Option<IdempotencyKey>,
) -> Result<Launched, NotLaunched> {
    let (account, now) = (c.id.account(), app.clock.now_ms());
    let Some(to) = c.state.after(Action::Launch) else { return Ok(Launched::Lost) };
    let known = app.account(account).await?;
    if known.status != Status::Active {
        return Err(NotLaunched::Suspended);
    }
    let terms = app.pipeline.terms();
    let rules = app.rules_of(account, &known, &terms, now);
    let judged = c.content.variants().into_iter().map(|variant| content(&variant, None, &rules));
    let contents = judged.collect::<Result<Vec<_>, _>>().map_err(NotLaunched::Wrong)?;
    let variants = match c.content.ab_test {
        Some(_) => contents.iter().map(|v| (BatchId::new(now, app.ids.next(), account), v.body.clone())).collect(),
        None => Vec::new(),
    };
    // Of a test, until it is decided, the first variant stands for the rest.
    let content = &contents[0];
    let run = NewRun {
        id: BatchId::new(now, app.ids.next(), account),
        campaign: c.id,
        number: c.runs + 1,
        local_at: local_at.map(|at| at.to_string()),
        place: Place::default().to_text(),
        body: content.body.clone(),
        tags: content.extra.as_ref().and_then(|e| e.tags.clone()),
        variants,
    };
    let event = event_of(app, c.id, Action::Launch);
    let shift = Shift { from: c.state, to, reason: None, look_at: Some(now), event: event.as_ref(), mails: &[], now };
    let launched = campaign_run::launch(&app.db, account, &run, &shift, key).await?;
    if launched == Launched::Launched {
        told(app, c.id, to, None);
    }
    Ok(launched)
}

/// What a campaign sends, judged by the rules of the moment. `local_at` is when, where each recipient is.
pub fn content(content: &Content, local_at: Option<&str>, rules: &Rules<'_>) -> Result<prepare::Content, Vec<Mistake>> {
    let draft = Draft { scheduled_at: local_at, local_time: local_at.is_some(), ..draft(content) };
    prepare::content(&draft, rules, &mut |below| rand::random_range(0..below))
}

/// As the pipeline judges it.
pub fn draft(c: &Content) -> Draft<'_> {
    Draft {
        from: c.from.as_deref(),
        text: c.text.as_deref(),
        flash: c.flash,
        category: Some(c.category.as_deref().unwrap_or("promotional")),
        language: c.language.as_deref(),
        transliterate: c.transliterate,
        validity_s: c.validity_s,
        send_window: c.send_window.as_ref(),
        shorten_links: c.shorten_links,
        tags: c.tags.iter().map(String::as_str).collect(),
        callback_url: c.callback_url.as_deref(),
        bulk: true,
        ..Draft::default()
    }
}

/// Where each day begins.
const FIRST_CLOCK: &str = "Pacific/Kiritimati";

fn first_clock() -> Option<TimeZone> {
    TimeZone::get(FIRST_CLOCK).ok()
}

/// The schedule a plan means, of one by local time when the first clock on earth shows it; `None` if it was written by a newer version, or its zone is no more.
pub fn schedule_of(plan: &Plan) -> Option<Schedule> {
    Some(Schedule {
        at: plan.at.parse().ok()?,
        zone: if plan.local_time { first_clock()? } else { TimeZone::get(&plan.time_zone).ok()? },
        repeat: plan.repeat.as_deref().map(str::parse).transpose().ok()?,
    })
}

/// When it begins again after an instant, if it does.
fn next_time(c: &Campaign, now: i64) -> Option<i64> {
    schedule_of(c.plan.as_ref()?)?.next_after(now)
}

/// Withdraws what no carrier has of a campaign that was canceled, and closes its runs. May be done again: after a crash the runner does.
async fn withdraw(app: &App, c: &Campaign, run: BatchId) -> Result<(), Trouble> {
    let account = c.id.account();
    let variants = campaign_run::variants(&app.db, c.id, c.runs).await?;
    for run in variants.iter().map(|v| v.id).chain([run]) {
        let mut after = None;
        loop {
            let page = message::open_of_batch(&app.db, account, run, after, PAGE).await?;
            app.pipeline.cancel_all(page.open).await?;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    campaign_run::end(&app.db, account, c.id, None, None, app.clock.now_ms()).await?;
    Ok(campaign::look_again(&app.db, account, c.id, None).await?)
}

/// Takes rows away that nobody asks for any more: recipients of runs that ended before `runs_before`, and files from before `files_before`; both
/// Unix milliseconds. Files whose upload was cut off go after a day.
pub async fn sweep(app: &App, runs_before: i64, files_before: i64) -> Result<(), StoreError> {
    const ROWS: u32 = 500;
    use carillon_store::audience_file;
    while let Some((account, run)) = campaign_run::ended_before(&app.db, runs_before).await? {
        while campaign_run::forget(&app.db, account, run, ROWS).await? > 0 {}
    }
    let cut_off = app.clock.now_ms() - LATE_MS;
    for (before, unready) in [(files_before, false), (cut_off, true)] {
        while let Some((account, file)) = audience_file::begun_before(&app.db, before, unready).await? {
            while audience_file::forget(&app.db, account, file, ROWS).await? > 0 {}
            match audience_file::delete(&app.db, account, file).await {
                Ok(()) | Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Takes the file of an account away, and its rows.
pub async fn delete_file(
    app: &App,
    account: AccountNo,
    id: carillon_domain::id::AudienceFileId,
) -> Result<(), StoreError> {
    use carillon_store::audience_file;
    audience_file::by_id(&app.db, account, id).await?;
    while audience_file::forget(&app.db, account, id, PAGE).await? > 0 {}
    audience_file::delete(&app.db, account, id).await
}
