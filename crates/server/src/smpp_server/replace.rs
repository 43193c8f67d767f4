//! replace_sm (SMPP 3.4 §4.10): another text, and perhaps other times, for a message that no carrier has had.

use carillon_domain::account::{Settings, Status};
use carillon_domain::message::{Flags, State};
use carillon_domain::smpp::{CredentialSettings, ReceiptsWanted, SmppOrigin};
use carillon_smpp::pdu::ReplaceSm;
use carillon_smpp::{CommandStatus, values};
use carillon_store::hot::NewMessage;
use carillon_store::message::Message;

use super::lines::Line;
use super::read;
use super::requests::{find, is_sender};
use super::status::{self, INSUFFICIENT_CREDIT, SUSPENDED};
use crate::app::App;
use crate::pipeline::ReplaceOutcome;
use crate::pipeline::prepare::{self, Rules};

/// What a message keeps that its text does not decide.
const KEPT: i32 = Flags::EVENTS.0 | Flags::TWO_WAY.0;

/// Replaces a message of this credential, or refuses: nothing changed then.
pub(super) async fn replace(app: &App, line: &Line, sm: &ReplaceSm) -> Result<(), CommandStatus> {
    let failed = CommandStatus::RREPLACEFAIL;
    let m = find(app, line.account, &sm.message_id, failed).await?;
    // How its octets are to be read is known of this credential's own messages alone.
    let origin = SmppOrigin::of(m.flags).filter(|origin| origin.credential == line.credential).ok_or(failed)?;
    let waits = matches!(m.state, State::Scheduled | State::Queued) && m.attempts == 0;
    if !waits || m.batch.is_some() || m.flags.has(Flags::HEADER) || !is_sender(&m, &sm.source) {
        return Err(failed);
    }
    let account = app.account(line.account).await.map_err(|_| CommandStatus::RSYSERR)?;
    match account.status {
        Status::Active => {}
        Status::Suspended => return Err(SUSPENDED),
        Status::Closed => return Err(failed),
    }
    let terms = app.pipeline.terms();
    let rules = app.rules_of(line.account, &account, &terms, app.clock.now_ms());
    let new = prepared(sm, &m, origin, &line.settings(), &rules)?;
    match app.pipeline.replace(&app.db, &m, &new).await {
        Ok(ReplaceOutcome::Replaced) => Ok(()),
        Ok(ReplaceOutcome::TooLate) => Err(failed),
        Ok(ReplaceOutcome::Short) => Err(INSUFFICIENT_CREDIT),
        Err(error) => {
            tracing::error!(%error, "a message could not be replaced: {error}");
            Err(CommandStatus::RSYSERR)
        }
    }
}

/// The message as it would be taken now, priced.
fn prepared(
    sm: &ReplaceSm,
    m: &Message,
    origin: SmppOrigin,
    settings: &CredentialSettings,
    rules: &Rules<'_>,
) -> Result<NewMessage, CommandStatus> {
    let failed = CommandStatus::RREPLACEFAIL;
    let (reading, scheduled) = read::replacement(sm, m, origin.alphabet, settings, rules.now)?;
    if scheduled.is_some() && m.state != State::Scheduled {
        // It stands in a queue: its time has come.
        return Err(failed);
    }
    let content = prepare::content(&reading.draft(), rules, &mut |below| rand::random_range(0..below));
    let content = content.map_err(|mistakes| mistakes.first().map_or(failed, status::of_mistake))?;
    // It was judged when it was taken.
    let lenient = Settings { lenient: true, ..rules.settings.clone() };
    let to = prepare::recipient(&format!("+{}", m.phone), &lenient).map_err(|_| failed)?;
    let mut new = content.message(rules, to, 0, true).map_err(|mistake| status::of_mistake(&mistake))?;
    if rules.suppressed.hold_new(rules.account, &new).is_some() {
        return Err(status::SUPPRESSED);
    }
    if new.lane != m.lane || new.sender.as_deref() != m.sender.as_deref() {
        return Err(failed);
    }
    new.due_at = scheduled.or(m.due_at);
    if sm.validity_period.is_empty() {
        new.expires_at = m.expires_at;
    }
    if new.expires_at <= new.due_at.unwrap_or(rules.now) {
        return Err(CommandStatus::RINVEXPIRY);
    }
    let receipts = ReceiptsWanted::from_bits(sm.registered_delivery & values::REGISTERED_MASK);
    new.flags = SmppOrigin { receipts, ..origin }.mark(Flags(new.flags.0 | m.flags.0 & KEPT));
    Ok(new)
}
