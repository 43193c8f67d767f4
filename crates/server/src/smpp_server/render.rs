//! What a customer is handed, as deliver_sm: receipts in the form of SMPP 3.4 appendix B; of messages from phones see `inbound`.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{BatchId, MessageId};
use carillon_domain::message::State;
use carillon_domain::sender::Sender;
use carillon_domain::smpp::CredentialSettings;
use carillon_smpp::pdu::Address;
use carillon_smpp::receipt;
use carillon_smpp::tlv::{self, Tag, Tlvs};
use carillon_smpp::{DeliverSm, time, values};
use carillon_store::smpp_delivery::{Content, Delivery, Ended};

use super::inbound;

/// How user_message_reference is kept with a message: as the caller's own name for it.
pub(super) const REFERENCE_PREFIX: &str = "umr:";

/// TON, NPI and the address itself.
pub(super) type Addressed = (u8, u8, Box<str>);

/// One deliver_sm, without its sequence number.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    pub(super) source: Addressed,
    pub(super) destination: Addressed,
    pub(super) esm_class: u8,
    pub(super) data_coding: u8,
    pub(super) short_message: Vec<u8>,
    pub(super) tlvs: Vec<u8>,
}

impl Piece {
    /// Whether what it says is in an optional parameter alone.
    pub(super) fn is_payload(&self) -> bool {
        self.short_message.is_empty() && !self.tlvs.is_empty()
    }

    pub(super) fn deliver_sm(&self) -> DeliverSm<&[u8]> {
        fn address((ton, npi, addr): &Addressed) -> Address<&[u8]> {
            Address { ton: *ton, npi: *npi, addr: addr.as_bytes() }
        }
        DeliverSm {
            source: address(&self.source),
            destination: address(&self.destination),
            esm_class: self.esm_class,
            data_coding: self.data_coding,
            short_message: &self.short_message,
            tlvs: Tlvs(&self.tlvs),
            ..DeliverSm::default()
        }
    }
}

/// The pieces of a delivery; none where there is nothing (left) to tell. `in_parts`: see `inbound::pieces`.
pub(super) fn pieces(settings: &CredentialSettings, delivery: &Delivery, in_parts: bool) -> Vec<Piece> {
    match &delivery.content {
        Content::Receipt(Some(ended)) => vec![receipt(ended)],
        Content::Inbound(Some(message)) => inbound::pieces(message, settings, in_parts),
        Content::Receipt(None) | Content::Inbound(None) => Vec::new(),
    }
}

/// A number as an address.
fn number(digits: u64) -> Addressed {
    (values::TON_INTERNATIONAL, values::NPI_ISDN, digits.to_string().into())
}

/// A name, a short code, or + and a number, as an address; `None` of what is no sender.
pub(super) fn address(sender: &str) -> Option<Addressed> {
    let sender: Sender = sender.parse().ok()?;
    Some((sender.kind().ton(), sender.kind().npi(), sender.address().into()))
}

/// How an end is told (message_state, §5.2.28). A message that closed as sent has no receipt of the carrier's: it was accepted, no more
/// is known.
pub(super) fn state_of(end: State) -> receipt::State {
    match end {
        State::Delivered => receipt::State::Delivered,
        State::Sent => receipt::State::Accepted,
        State::Undelivered | State::Failed => receipt::State::Undeliverable,
        State::Expired => receipt::State::Expired,
        State::Canceled => receipt::State::Deleted,
        State::Rejected => receipt::State::Rejected,
        State::Scheduled | State::Queued => receipt::State::Enroute,
        State::Received => receipt::State::Unknown,
    }
}

/// `YYMMDDhhmm`, UTC.
fn minute(at: i64) -> String {
    String::from_utf8_lossy(&time::absolute(at)[..10]).into_owned()
}

/// A receipt goes back: from the recipient to the sender.
fn receipt(ended: &Ended) -> Piece {
    let id = if ended.batch { BatchId(ended.id).to_string() } else { MessageId(ended.id).to_string() };
    let state = state_of(ended.state);
    let delivered = u8::from(ended.state == State::Delivered);
    let error = ended.error.filter(|_| delivered == 0).and_then(ErrorCode::from_number).map_or(0, ErrorCode::number);
    let text = format!(
        "id:{id} sub:001 dlvrd:{delivered:03} submit date:{} done date:{} stat:{} err:{error:03} text:",
        minute(ended.accepted_at),
        minute(ended.final_at),
        state.stat(),
    );
    let mut tlvs = Vec::with_capacity(64);
    tlv::push(&mut tlvs, Tag::RECEIPTED_MESSAGE_ID, format!("{id}\0").as_bytes());
    tlv::push(&mut tlvs, Tag::MESSAGE_STATE, &[state.code()]);
    let reference =
        ended.client_ref.as_deref().and_then(|text| text.strip_prefix(REFERENCE_PREFIX)?.parse::<u16>().ok());
    if let Some(reference) = reference {
        tlv::push(&mut tlvs, Tag::USER_MESSAGE_REFERENCE, &reference.to_be_bytes());
    }
    Piece {
        source: number(ended.phone),
        destination: ended.sender.as_deref().and_then(address).unwrap_or_default(),
        esm_class: values::ESM_RECEIPT,
        data_coding: values::CODING_DEFAULT,
        short_message: text.into_bytes(),
        tlvs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::message::Flags;
    use uuid::Uuid;

    fn ended(state: State, error: Option<i16>) -> Ended {
        Ended {
            id: Uuid::nil(),
            batch: false,
            state,
            flags: Flags::default(),
            phone: 4_915_112_345_678,
            sender: Some("Carillon".into()),
            accepted_at: 1_795_249_815_500,
            final_at: 1_795_249_905_500,
            error,
            client_ref: Some("umr:513".into()),
        }
    }

    #[test]
    fn receipts_as_they_are_told() {
        let rows = [
            (State::Delivered, Some(601), "dlvrd:001", "stat:DELIVRD err:000", 2),
            (State::Sent, None, "dlvrd:000", "stat:ACCEPTD err:000", 6),
            (State::Undelivered, Some(103), "dlvrd:000", "stat:UNDELIV err:103", 5),
            (State::Failed, Some(406), "dlvrd:000", "stat:UNDELIV err:406", 5),
            (State::Expired, Some(501), "dlvrd:000", "stat:EXPIRED err:501", 3),
            (State::Canceled, Some(502), "dlvrd:000", "stat:DELETED err:502", 4),
            (State::Rejected, Some(701), "dlvrd:000", "stat:REJECTD err:701", 8),
        ];
        for (state, error, count, stat, code) in rows {
            let piece = receipt(&ended(state, error));
            let text = String::from_utf8(piece.short_message.clone()).unwrap();
            let id = "msg_00000000000000000000000000";
            let expected = format!("id:{id} sub:001 {count} submit date:2611210830 done date:2611210831 {stat} text:");
            assert_eq!(text, expected);
            let sm = piece.deliver_sm();
            assert_eq!((sm.esm_class, sm.source.ton, sm.destination.ton), (4, 1, 5));
            assert_eq!((sm.source.addr, sm.destination.addr), (&b"4915112345678"[..], &b"Carillon"[..]));
            assert_eq!(sm.tlvs.get_c_string(Tag::RECEIPTED_MESSAGE_ID), Some(id.as_bytes()));
            assert_eq!(sm.tlvs.get_u8(Tag::MESSAGE_STATE), Some(code));
            assert_eq!(sm.tlvs.get_u16(Tag::USER_MESSAGE_REFERENCE), Some(513));
            let read = carillon_smpp::Receipt::of(&sm).unwrap();
            assert_eq!((read.state, &*read.id), (Some(state_of(state)), id));
        }
    }
}
