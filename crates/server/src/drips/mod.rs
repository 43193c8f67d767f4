//! Drips on their way. Of several processes on one database the one that has the lead looks after those that have something due: people enter
//! (`enter`), and who is due gets their step, in waves (`wave`). Where each step of that stands is in rows, so that any process can go on where
//! another was killed.

mod enter;
mod wave;

use std::time::Duration;

use carillon_domain::drip::{ExitReason, State};
use carillon_domain::id::{BatchId, DripId};
use carillon_domain::keyword::Action;
use carillon_store::drip::{self, Drip};
use carillon_store::drip_enrollment::{self, Leave};
use carillon_store::inbound_message::InboundMessage;
use carillon_store::{StoreError, drip_wave};

use crate::app::App;
use crate::runner::{self, Trouble, stops};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(500);
/// Drips under way at a time.
const AT_ONCE: u32 = 1_000;
/// People of a wave.
const WAVE: u32 = 500;
/// Between two looks at what holds a drip up, and at who enters it by themselves, milliseconds.
const EVERY_MS: i64 = 60_000;
/// Rows one transaction changes of many.
const PAGE: u32 = 1_000;

/// Starts it; it ends with the app's shutdown.
pub fn start(app: &App) {
    let due = |app: App| async move { drip::due(&app.db, app.clock.now_ms(), AT_ONCE).await };
    runner::start(app, "drip", TICK, due, |app, id| async move { go_on(&app, id).await });
}

/// Does all there is to do with a drip now.
async fn go_on(app: &App, id: DripId) -> Result<(), Trouble> {
    let account = id.account();
    while !stops(app) {
        // Read anew each time: it may be paused or changed between two waves.
        let d = match drip::by_id(&app.db, account, id).await {
            Ok(d) => d,
            Err(StoreError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = app.clock.now_ms();
        if d.look_at.is_some_and(|at| at <= now) && d.state == State::Active {
            enter::run(app, &d).await?;
        }
        let wave = match drip_wave::open_of(&app.db, account, id).await? {
            Some(wave) if wave.look_at > now => return Ok(()),
            Some(wave) => Some(wave),
            None => {
                let wave = BatchId::new(now, app.ids.next(), account);
                drip_wave::claim(&app.db, id, wave, now, WAVE).await?
            }
        };
        match wave {
            Some(wave) => wave::run(app, &d, wave).await?,
            None if d.state == State::Archived => return empty(app, &d).await,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Nobody is in a drip that has ended.
async fn empty(app: &App, d: &Drip) -> Result<(), Trouble> {
    while !stops(app) {
        let now = app.clock.now_ms();
        if drip_enrollment::empty(&app.db, d.id.account(), d.id, now, PAGE).await? == 0 {
            drip::look_again(&app.db, d, None, false, None).await?;
            return Ok(());
        }
    }
    Ok(())
}

/// Takes a drip away in a state that nobody enters it in, and first who was in it; whether its state was still that.
pub async fn delete(app: &App, id: DripId, state: State) -> Result<bool, StoreError> {
    if state == State::Archived {
        while drip_enrollment::delete(&app.db, id.account(), id, PAGE).await? > 0 {}
    }
    drip::delete(&app.db, id.account(), id, state).await
}

/// A phone has written: who has it leaves the drips that are left by writing. Done again it does nothing.
pub async fn written(app: &App, m: &InboundMessage) -> Result<(), StoreError> {
    let reason = if m.action == Action::Stop { ExitReason::Stopped } else { ExitReason::Replied };
    leave(app, m, Leave::OnReply, reason).await
}

/// A phone has written that it wants no more messages of the account: who has it leaves all drips.
pub async fn stopped(app: &App, m: &InboundMessage) -> Result<(), StoreError> {
    leave(app, m, Leave::All, ExitReason::Stopped).await
}

async fn leave(app: &App, m: &InboundMessage, which: Leave, reason: ExitReason) -> Result<(), StoreError> {
    let (account, now) = (m.id.account(), app.clock.now_ms());
    // Who enters after they wrote has not written since.
    drip_enrollment::leave(&app.db, account, which, &[m.peer_tag], reason, m.id.millis(), now).await.map(drop)
}
