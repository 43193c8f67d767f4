//! Writes the audience of a run before anything of it is sent: one row for each number, so that each is in it once.

use std::collections::BTreeSet;

use carillon_domain::campaign::{Reason, State};
use carillon_domain::id::BatchId;
use carillon_domain::template::Template;
use carillon_store::campaign::{self, Campaign};
use carillon_store::campaign_run::{self, NewRecipient};

use super::audience::{self, AudienceError, PEOPLE_MAX, Person, Place};
use super::{ab_test, fail};
use crate::app::App;
use crate::runner::{Trouble, stops};

/// Goes on with it; whether all of it is written.
pub(super) async fn run(app: &App, c: &Campaign, id: BatchId) -> Result<bool, Trouble> {
    let account = c.id.account();
    let run = campaign_run::by_id(&app.db, account, id).await?;
    let Some(mut place) = run.place else { return Ok(true) };
    let known = app.account(account).await?;
    let contents = c.content.variants();
    let texts = contents.iter().filter_map(|variant| variant.text.as_deref()).filter(|text| Template::is_in(text));
    let templates: Vec<Template> = texts.filter_map(|text| Template::parse(text).ok()).collect();
    let names: BTreeSet<&str> = templates.iter().flat_map(Template::names).collect();
    let mut read = u64::from(run.total) + u64::from(run.duplicates);
    for variant in campaign_run::variants(&app.db, c.id, c.runs).await? {
        read += u64::from(variant.total) + u64::from(variant.duplicates);
    }
    loop {
        if stops(app) || campaign::state(&app.db, account, c.id).await? != State::Running {
            return Ok(false);
        }
        let at = Place::from_text(&place)?;
        let (people, next) = match audience::page(app, account, &known.settings, &c.audience, &at).await {
            Ok(page) => page,
            Err(AudienceError::Gone(entry)) => {
                tracing::info!(campaign = %c.id, entry, "an entry of the audience of campaign {} is gone", c.id);
                return fail(app, c, Reason::AudienceGone).await.map(|()| false);
            }
            Err(AudienceError::Unread(entry, why)) => {
                tracing::info!(campaign = %c.id, entry, %why, "a source of campaign {} could not be read: {why}", c.id);
                return fail(app, c, Reason::SourceFailed).await.map(|()| false);
            }
            Err(AudienceError::Store(error)) => return Err(error.into()),
        };
        read += people.len() as u64;
        if read > u64::from(PEOPLE_MAX) {
            return fail(app, c, Reason::AudienceTooLarge).await.map(|()| false);
        }
        let rows: Vec<NewRecipient> = people.into_iter().map(|person| recipient(app, person.only(&names))).collect();
        let rows = ab_test::split(app, c, id, rows).await?;
        let next = next.map(|next| next.to_text());
        if !campaign_run::write_audience(&app.db, account, id, &rows, &place, next.as_deref()).await? {
            // Another process writes it.
            return Ok(false);
        }
        match next {
            Some(next) => place = next,
            None if read == 0 => return fail(app, c, Reason::AudienceEmpty).await.map(|()| false),
            None => return Ok(true),
        }
    }
}

fn recipient(app: &App, person: Person) -> NewRecipient {
    NewRecipient { phone_tag: person.tag(app), to: person.to.map(|phone| phone.digits()), words: person.words }
}
