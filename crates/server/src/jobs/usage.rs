//! Adds up what commits counted, and mails saved reports when it is their time. Of several processes on one database the one with the lead does.

use std::time::Duration;

use carillon_domain::report::day_date;
use carillon_store::email::{EmailKind, NewEmail};
use carillon_store::report::{self, Report};
use carillon_store::{StoreError, account, usage, user};

use crate::app::App;
use crate::campaigns;
use crate::notify::email::USEFUL_MS;
use crate::reporting::{self, Question, ReportError, Table};

/// Seldom enough that messages of many accounts fall together, often enough that reports are of now.
const EVERY: Duration = Duration::from_secs(3);
/// Reports read at a time.
const AT_ONCE: u32 = 20;
/// Octets of a table that is mailed: larger ones are to be fetched.
const CSV_MAX: usize = 2 * 1024 * 1024;

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if !app.notify.leads() {
            continue;
        }
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "usage is added up later: {error}");
        }
    }
}

/// One round: all that was counted so far, and all reports that are due by the app's clock.
pub async fn once(app: &App) -> Result<(), StoreError> {
    while usage::fold(&app.db).await? > 0 {}
    campaigns::report::mail_due(app).await?;
    loop {
        let due = report::due(&app.db, app.clock.now_ms(), AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        for report in &due {
            mail(app, report).await?;
        }
    }
}

/// Has one report mailed, and moves it to its next time from now: what was missed while nothing ran is mailed once.
async fn mail(app: &App, report: &Report) -> Result<(), StoreError> {
    let now = app.clock.now_ms();
    // Seen from when it was due, so that a late one has the days it should have.
    let question = Question::of(&report.definition, report.next_at.unwrap_or(now));
    let mails = match reporting::run(&app.db, report.id.account(), &question).await {
        Ok(table) => letters(app, report, &question, &table).await?,
        Err(ReportError::Store(error)) => return Err(error),
        Err(why) => {
            tracing::warn!(report = %report.id, "a report was not mailed: {why}");
            Vec::new()
        }
    };
    if report::mailed(&app.db, report, report.definition.next_at(now), &mails, now).await? {
        app.email.wake();
    }
    Ok(())
}

/// A mail to each of its recipients who is of the account still.
async fn letters(
    app: &App,
    report: &Report,
    question: &Question<'_>,
    table: &Table,
) -> Result<Vec<NewEmail>, StoreError> {
    let owner = report.id.account();
    let to = report.definition.schedule.as_ref().map_or(&[][..], |schedule| &schedule.to);
    let to = user::confirmed(&app.db, owner, to).await?;
    let about = account::by_no(&app.db, owner).await?;
    let mut summary = table.summary(&about.currency);
    let mut csv = String::from_utf8(table.csv()).expect("CSV of texts is text");
    if csv.len() > CSV_MAX {
        summary.push_str(". The table is too long for a mail: GET /v1/reports/{id}/run has all of it");
        csv = format!("{}\r\n", table.columns.join(","));
    }
    let (from, until) = (day_date(question.days.0).to_string(), day_date(question.days.1).to_string());
    let (id, file) = (report.id.to_string(), format!("report-{until}.csv"));
    let mut mails = Vec::with_capacity(to.len());
    for (recipient, name) in &to {
        let words = [
            ("name", name.as_str()),
            ("report", &report.name),
            ("account", &about.name),
            ("from", &from),
            ("to", &until),
            ("summary", &summary),
            ("id", &id),
            ("file", &file),
            ("csv", &csv),
        ];
        mails.extend(app.email_to(owner, EmailKind::Report, recipient, &words, app.clock.now_ms() + USEFUL_MS));
    }
    Ok(mails)
}
