//! What customers ask of messages they sent: query_sm and cancel_sm (SMPP 3.4 §4.8 and §4.9); of replace_sm see `replace`.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::sender::Sender;
use carillon_smpp::pdu::{Address, CancelSm, QuerySm, QuerySmResp};
use carillon_smpp::{CommandStatus, Pdu, ReplyTo, Session, time};
use carillon_store::StoreError;
use carillon_store::message::{self, Message};

use super::lines::Line;
use super::render::state_of;
use super::replace;
use crate::app::App;
use crate::pipeline::CancelOutcome;

/// Answers a request that is no submit.
pub(super) async fn answer(app: &App, line: &Line, session: &Session, to: ReplyTo, pdu: &Pdu) {
    let account = line.account;
    let refused = match pdu {
        Pdu::QuerySm(query) => match self::query(app, account, query).await {
            Ok(answer) => {
                let written = session.respond(to, CommandStatus::ROK, &Pdu::QuerySmResp(answer));
                written.expect("an id that came in a PDU fits one");
                return;
            }
            Err(status) => status,
        },
        Pdu::CancelSm(cancel) => self::cancel(app, account, cancel).await.err().unwrap_or(CommandStatus::ROK),
        Pdu::ReplaceSm(sm) => replace::replace(app, line, sm).await.err().unwrap_or(CommandStatus::ROK),
        _ => CommandStatus::RINVCMDID,
    };
    session.refuse(to, refused);
}

async fn query(app: &App, account: AccountNo, query: &QuerySm) -> Result<QuerySmResp, CommandStatus> {
    let m = find(app, account, &query.message_id, CommandStatus::RQUERYFAIL).await?;
    if !is_sender(&m, &query.source) {
        return Err(CommandStatus::RQUERYFAIL);
    }
    let ended = m.final_at.is_some();
    let state = if ended { m.state } else { carillon_domain::message::State::Queued };
    let error = m.error.filter(|_| ended).and_then(ErrorCode::from_number).map_or(0, |code| short(code.number()));
    Ok(QuerySmResp {
        message_id: query.message_id.clone(),
        final_date: m.final_at.map_or_else(Default::default, |at| bytes::Bytes::copy_from_slice(&time::absolute(at))),
        message_state: state_of(state).code(),
        error_code: error,
    })
}

/// Our three-digit codes in one octet: 406 is 46. The last digits of no two of a hundred agree (a test counts).
fn short(number: i16) -> u8 {
    (number / 100 * 10 + number % 100) as u8
}

async fn cancel(app: &App, account: AccountNo, cancel: &CancelSm) -> Result<(), CommandStatus> {
    if cancel.message_id.is_empty() {
        // By addresses: too much would be caught by it.
        return Err(CommandStatus::RCANCELFAIL);
    }
    let m = find(app, account, &cancel.message_id, CommandStatus::RCANCELFAIL).await?;
    if !is_sender(&m, &cancel.source) {
        return Err(CommandStatus::RCANCELFAIL);
    }
    if m.state == carillon_domain::message::State::Canceled {
        return Ok(());
    }
    if m.final_at.is_some() {
        return Err(CommandStatus::RCANCELFAIL);
    }
    match app.pipeline.cancel(m.id).await {
        Ok(CancelOutcome::Canceled) => Ok(()),
        Ok(CancelOutcome::TooLate) => Err(CommandStatus::RCANCELFAIL),
        Ok(CancelOutcome::Unknown) => Err(CommandStatus::RINVMSGID),
        Err(_) => Err(CommandStatus::RSYSERR),
    }
}

pub(super) async fn find(
    app: &App,
    account: AccountNo,
    id: &[u8],
    failed: CommandStatus,
) -> Result<Message, CommandStatus> {
    let id: MessageId = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).ok_or(CommandStatus::RINVMSGID)?;
    match message::by_id(&app.db, account, id).await {
        Ok(m) => Ok(m),
        Err(StoreError::NotFound) => Err(CommandStatus::RINVMSGID),
        Err(error) => {
            tracing::error!(%error, "a message could not be read for an SMPP customer: {error}");
            Err(failed)
        }
    }
}

/// Whether the address is what the message was from; an empty one is not asked about.
pub(super) fn is_sender(m: &Message, source: &Address) -> bool {
    let sender = m.sender.as_deref().and_then(|text| text.parse::<Sender>().ok());
    source.addr.is_empty()
        || sender.is_some_and(|s| [s.address(), s.as_str()].map(str::as_bytes).contains(&&source.addr[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_an_octet_of_its_own() {
        let mut seen = std::collections::HashMap::new();
        for entry in carillon_domain::error_code::CATALOGUE {
            let number = entry.code.number();
            assert!(number < 2_600 && number % 100 < 10, "{number} does not fit");
            assert_eq!(seen.insert(short(number), entry.name), None, "{}", entry.name);
        }
        assert_eq!((short(406), short(101)), (46, 11));
    }
}
