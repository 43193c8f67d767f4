//! A/B tests on their way: which of a campaign's runs is handed in next, and the decision between its variants. The variants go first; the rest
//! waits for the decision, which is written once.

use carillon_domain::ab_test::{AbTest, Chooser, Counts, Finding, compare, variant_of};
use carillon_domain::campaign::{Action, Content, Reason, State};
use carillon_domain::id::BatchId;
use carillon_store::StoreError;
use carillon_store::ab_test::{self, Decided, Decision};
use carillon_store::campaign::{Campaign, Shift};
use carillon_store::campaign_run::{self, NewRecipient};

use super::{content, shift, told};
use crate::app::App;
use crate::pipeline::prepare::Mistake;
use crate::runner::Trouble;

/// What a campaign hands in next.
pub(super) enum Next {
    /// The run of a variant.
    Variant(Content, BatchId),
    /// The run of all, or of all but the test.
    Rest(Content),
    /// Nothing: its test is not decided.
    Undecided(AbTest),
}

/// See [`Next`].
pub(super) async fn next(app: &App, c: &Campaign, run: BatchId) -> Result<Next, StoreError> {
    let Some(test) = &c.content.ab_test else { return Ok(Next::Rest(c.content.clone())) };
    let variants = campaign_run::variants(&app.db, c.id, c.runs).await?;
    if variants.is_empty() {
        // It was launched in the moment before the test was added: all are in the one run.
        return Ok(Next::Rest(c.content.of_variant(0)));
    }
    for variant in variants {
        if let (Some(place), None) = (variant.variant, variant.ended_at) {
            return Ok(Next::Variant(c.content.of_variant(place), variant.id));
        }
    }
    Ok(match ab_test::standing(&app.db, c.id.account(), run).await?.decided {
        Some(decided) => Next::Rest(c.content.of_variant(decided.winner)),
        None => Next::Undecided(test.clone()),
    })
}

/// The rows of an audience by the run each goes to: those in the test to that of their variant, all others to that of the rest.
pub(super) async fn split(
    app: &App,
    c: &Campaign,
    run: BatchId,
    rows: Vec<NewRecipient>,
) -> Result<Vec<(BatchId, Vec<NewRecipient>)>, StoreError> {
    let Some(test) = &c.content.ab_test else { return Ok(vec![(run, rows)]) };
    let variants = campaign_run::variants(&app.db, c.id, c.runs).await?;
    let mut parts: Vec<(BatchId, Vec<NewRecipient>)> = variants.iter().map(|v| (v.id, Vec::new())).collect();
    parts.push((run, Vec::new()));
    let rest = variants.len();
    for row in rows {
        let variant = match row.to {
            Ok(_) => variant_of(c.id, row.phone_tag, test.share, variants.len()),
            // What is no number is nobody to try anything on.
            Err(_) => None,
        };
        parts[variant.unwrap_or(rest)].1.push(row);
    }
    Ok(parts)
}

/// The numbers of each variant so far.
pub async fn counts(app: &App, c: &Campaign) -> Result<Vec<Counts>, StoreError> {
    let mut counts = Vec::new();
    for run in campaign_run::variants(&app.db, c.id, c.runs).await? {
        counts.push(ab_test::counts(&app.db, &run).await?);
    }
    Ok(counts)
}

/// What numbers say by the test's metric.
pub fn finding(test: &AbTest, counts: &[Counts]) -> Finding {
    let metric = test.metric();
    compare(&counts.iter().map(|c| c.of(metric)).collect::<Vec<_>>())
}

/// All of the test is handed in: waits for its time, and then decides, or has a person decide.
pub(super) async fn attend(app: &App, c: &Campaign, run: BatchId, test: &AbTest) -> Result<(), Trouble> {
    let (account, now) = (c.id.account(), app.clock.now_ms());
    let at = ab_test::standing(&app.db, account, run).await?.decide_at;
    if at.is_none_or(|at| now < at) {
        ab_test::wait(&app.db, c.id, run, now + i64::from(test.decide_after_s) * 1_000).await?;
        return Ok(());
    }
    let counts = counts(app, c).await?;
    let finding = finding(test, &counts);
    if test.ask && !finding.significant() {
        return shift(app, c, Action::Pause, Some(Reason::Undecided), None).await.map(drop);
    }
    match decide(app, c, run, finding.leading, Chooser::Numbers, counts).await {
        Ok(_) => Ok(()),
        Err(NotDecided::Wrong(mistakes)) => {
            let codes: Vec<&str> = mistakes.iter().map(|m| m.code).collect();
            tracing::info!(campaign = %c.id, ?codes, "campaign {} is not taken any more", c.id);
            shift(app, c, Action::Pause, Some(Reason::ContentRefused), None).await.map(drop)
        }
        Err(NotDecided::Store(error)) => Err(error.into()),
    }
}

/// Why a test was not decided.
#[derive(Debug)]
pub enum NotDecided {
    /// What the rest would be sent is not taken.
    Wrong(Vec<Mistake>),
    /// The database.
    Store(StoreError),
}

impl From<StoreError> for NotDecided {
    fn from(error: StoreError) -> NotDecided {
        NotDecided::Store(error)
    }
}

/// Writes which variant the rest gets, and lets a campaign that waits for it go on. Whether nobody had decided before.
pub async fn decide(
    app: &App,
    c: &Campaign,
    run: BatchId,
    winner: usize,
    by: Chooser,
    found: Vec<Counts>,
) -> Result<bool, NotDecided> {
    let (account, now) = (c.id.account(), app.clock.now_ms());
    let known = app.account(account).await?;
    let terms = app.pipeline.terms();
    let rules = app.rules_of(account, &known, &terms, now);
    let content = content(&c.content.of_variant(winner), None, &rules).map_err(NotDecided::Wrong)?;
    let waits = c.state == State::Paused && c.reason == Some(Reason::Undecided);
    let goes_on = Shift {
        from: State::Paused,
        to: State::Running,
        reason: None,
        look_at: Some(now),
        event: None,
        mails: &[],
        now,
    };
    let decided = Decided { winner, by, at: now, found };
    let shift = waits.then_some(&goes_on);
    let decision = Decision { campaign: c.id, run, decided: &decided, body: &content.body, shift };
    let mine = ab_test::decide(&app.db, &decision).await?;
    if mine {
        tracing::info!(campaign = %c.id, winner, by = by.as_str(), "the test of campaign {} is decided", c.id);
        if waits {
            told(app, c.id, State::Running, None);
        }
    }
    Ok(mine)
}
