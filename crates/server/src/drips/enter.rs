//! Who enters a drip by themselves: contacts with its label, or in its segment, that never were in it. Looked for once a minute.

use carillon_domain::drip::{Entry, HeldUp, Position, State};
use carillon_domain::segment::{Condition, Filter};
use carillon_store::drip::{self, Drip};
use carillon_store::{StoreError, drip_enrollment, segment};

use super::{EVERY_MS, PAGE};
use crate::app::App;
use crate::runner::{Trouble, stops};

/// Lets everybody enter whom the drip's entry finds now; or notes all as passed over who were there before it.
pub(super) async fn run(app: &App, d: &Drip) -> Result<(), Trouble> {
    let account = d.id.account();
    let again = app.clock.now_ms() + EVERY_MS;
    let filter = match &d.entry {
        None => return Ok(drip::look_again(&app.db, d, None, true, d.held_up).await?),
        Some(Entry::Tag(tag)) => Filter::Is(Condition::Tag(tag.clone())),
        Some(Entry::Segment(id)) => match segment::resolve(&app.db, account, *id, app.clock.now_ms()).await {
            Ok(Ok(filter)) => filter,
            Ok(Err(_)) | Err(StoreError::NotFound) => {
                tracing::info!(drip = %d.id, segment = %id, "the segment that drip {} is entered by cannot be read", d.id);
                return Ok(drip::look_again(&app.db, d, Some(again), false, Some(HeldUp::EntryOutdated)).await?);
            }
            Err(error) => return Err(error.into()),
        },
    };
    loop {
        if stops(app) || drip::by_id(&app.db, account, d.id).await?.state != State::Active {
            return Ok(());
        }
        let now = app.clock.now_ms();
        let first = Position::before(0, &d.sequence.steps, now).map_or(now, |at| at.due_at);
        let found = drip_enrollment::enroll_contacts(&app.db, d.id, &filter, d.passing, first, PAGE, now).await?;
        if found < u64::from(PAGE) {
            let held_up = d.held_up.filter(|why| *why != HeldUp::EntryOutdated);
            return Ok(drip::look_again(&app.db, d, Some(again), true, held_up).await?);
        }
    }
}
