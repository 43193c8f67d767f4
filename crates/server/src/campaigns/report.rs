//! What became of a run, mailed to those who asked for it, once most receipts, clicks and answers have come. The mails and that they were written
//! are one transaction.

use carillon_domain::id::BatchId;
use carillon_domain::report::{Dimension, Measure};
use carillon_store::campaign::{self, Campaign};
use carillon_store::campaign_run::{self, Run};
use carillon_store::email::{EmailKind, NewEmail};
use carillon_store::{StoreError, account, user};

use crate::app::App;
use crate::notify::email::USEFUL_MS;
use crate::reporting::{self, Question, ReportError};

/// From the end of a run to its report, milliseconds.
pub(super) const AFTER_MS: i64 = 86_400_000;
/// Runs read at a time.
const AT_ONCE: u32 = 20;
/// What the mail says; the table has the ends.
const MEASURES: [Measure; 9] = [
    Measure::Accepted,
    Measure::Delivered,
    Measure::DeliveryRate,
    Measure::Clicked,
    Measure::ClickRate,
    Measure::Replied,
    Measure::ReplyRate,
    Measure::Parts,
    Measure::Cost,
];

/// Writes the mails of all runs whose report is due by the app's clock.
pub async fn mail_due(app: &App) -> Result<(), StoreError> {
    loop {
        let due = campaign_run::reports_due(&app.db, app.clock.now_ms(), AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        for id in due {
            let mails = mails(app, id).await?;
            if campaign_run::reported(&app.db, id, &mails).await? {
                app.email.wake();
            }
        }
    }
}

async fn mails(app: &App, id: BatchId) -> Result<Vec<NewEmail>, StoreError> {
    let run = campaign_run::by_id(&app.db, id.account(), id).await?;
    let c = campaign::by_id(&app.db, id.account(), run.campaign).await?;
    // Who has left the account, or whose address is another by now, gets nothing.
    let to = user::confirmed(&app.db, id.account(), &c.content.report_to).await?;
    if to.is_empty() {
        return Ok(Vec::new());
    }
    letters(app, &c, &run, &to).await
}

async fn letters(app: &App, c: &Campaign, run: &Run, to: &[(String, String)]) -> Result<Vec<NewEmail>, StoreError> {
    let owner = run.id.account();
    let variants = campaign_run::variants(&app.db, c.id, run.number).await?;
    let runs = || std::iter::once(run).chain(&variants);
    let filters: Vec<_> = runs().map(|run| (Dimension::Batch, run.id.to_string())).collect();
    let ask = async |group_by: &[Dimension], measures: &[Measure]| {
        // Accepted while the run was under way.
        let day = |ms: i64| (ms / 86_400_000) as i32;
        let days = (day(run.started_at), day(run.ended_at.unwrap_or_else(|| app.clock.now_ms())));
        let question = Question { days, group_by, measures, filters: &filters };
        reporting::run(&app.db, owner, &question).await.map_err(|error| match error {
            ReportError::Store(error) => error,
            ReportError::TooLarge | ReportError::Filter(..) => StoreError::Broken(error.to_string()),
        })
    };
    let sums = ask(&[], &MEASURES).await?;
    let ends = ask(&[Dimension::Status, Dimension::Error], &[Measure::Ended, Measure::Parts, Measure::Cost]).await?;
    let about = account::by_no(&app.db, owner).await?;
    let (recipients, skipped) = runs().fold((0, 0), |(all, left), run| (all + run.total, left + run.skipped));
    let (summary, id) = (sums.summary(&about.currency), c.id.to_string());
    let people = format!("recipients: {recipients}; left out: {skipped}");
    let csv = String::from_utf8(ends.csv()).expect("CSV of texts is text");
    let mut mails = Vec::with_capacity(to.len());
    for (recipient, name) in to {
        let words = [
            ("name", name.as_str()),
            ("campaign", &c.name),
            ("account", &about.name),
            ("people", &people),
            ("summary", &summary),
            ("id", &id),
            ("file", "campaign.csv"),
            ("csv", &csv),
        ];
        mails.extend(app.email_to(owner, EmailKind::CampaignReport, recipient, &words, app.clock.now_ms() + USEFUL_MS));
    }
    Ok(mails)
}
