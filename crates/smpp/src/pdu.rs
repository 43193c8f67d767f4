//! The operations of SMPP 3.4 §4 as plain values.
//!
//! This crate has its own codec because the ready one (rusmpp 0.4) does not hold up to carriers' real traffic: its decoders are
//! not confined to the PDU they read, so an address longer than the specification allows, a short validity period, or a
//! submit_sm_resp whose id lacks its NUL eats octets of the next PDU and the session is lost; it does not tell which
//! field is wrong, so no proper status can be answered; and a truncated optional parameter costs the whole receipt.
//! (Its speed would do: 0.6 µs for one submit_sm both ways.)
//!
//! Each value is generic over how it holds its octets: `Bytes` slices of the read buffer when decoded (no copy; holding
//! one keeps its whole read buffer, at most 64 KiB, alive), `&[u8]` when built to be sent (no allocation). Numbers of the specification's lists
//! are plain integers, so unknown ones survive; the names of the known ones are in [`crate::values`].

use crate::command::{BindKind, CommandId};
use crate::status::CommandStatus;
use crate::tlv::{Tag, Tlvs};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// An address with its type of number and numbering plan (§5.2.5-5.2.9).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address<B = Bytes> {
    /// Type of number: 1 international, 5 alphanumeric.
    pub ton: u8,
    /// Numbering plan: 1 ISDN.
    pub npi: u8,
    /// Up to 20 octets.
    pub addr: B,
}

impl<B: AsRef<[u8]>> Address<B> {
    /// The address as text; octets that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.addr.as_ref())
    }
}

/// bind_transceiver, bind_transmitter, bind_receiver (§4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Bind<B = Bytes> {
    /// Who binds.
    pub system_id: B,
    /// The shared secret.
    pub password: B,
    /// The kind of client, where the carrier wants it.
    pub system_type: B,
    /// 0x34 for 3.4, 0x50 for 5.0.
    pub interface_version: u8,
    /// The addresses served: type of number.
    pub addr_ton: u8,
    /// The addresses served: numbering plan.
    pub addr_npi: u8,
    /// The addresses served: a pattern, mostly empty.
    pub address_range: B,
}

/// bind_*_resp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindResp<B = Bytes> {
    /// Who answers.
    pub system_id: B,
    /// May hold sc_interface_version.
    pub tlvs: Tlvs<B>,
}

/// outbind (§4.1.7): the message centre asks the client to bind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Outbind<B = Bytes> {
    /// Who asks.
    pub system_id: B,
    /// The shared secret.
    pub password: B,
}

/// submit_sm (§4.4) and deliver_sm (§4.6), whose layouts are one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ShortMessage<B = Bytes> {
    /// Up to 5 octets.
    pub service_type: B,
    /// The sender.
    pub source: Address<B>,
    /// The recipient.
    pub destination: Address<B>,
    /// Mode, type and features: see [`crate::values`].
    pub esm_class: u8,
    /// TP-PID for GSM.
    pub protocol_id: u8,
    /// 0 to 3.
    pub priority_flag: u8,
    /// Empty, or 16 octets: see [`crate::time`].
    pub schedule_delivery_time: B,
    /// Empty, or 16 octets: see [`crate::time`].
    pub validity_period: B,
    /// Which receipts are wanted.
    pub registered_delivery: u8,
    /// 1: replace an earlier message with the same addresses and service type.
    pub replace_if_present: u8,
    /// The coding of the text; its meaning is the carrier's where it is 0.
    pub data_coding: u8,
    /// A canned message of the carrier; 0 for none.
    pub sm_default_msg_id: u8,
    /// Up to 254 octets (255 in 5.0); empty when message_payload is used.
    pub short_message: B,
    /// The optional parameters.
    pub tlvs: Tlvs<B>,
}

/// A message on its way to the carrier.
pub type SubmitSm<B = Bytes> = ShortMessage<B>;
/// A message or a receipt on its way to the client.
pub type DeliverSm<B = Bytes> = ShortMessage<B>;

impl<B: AsRef<[u8]>> ShortMessage<B> {
    /// The user data wherever it is: `short_message`, or the message_payload parameter when that is empty. A user data header is still in front.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        match self.short_message.as_ref() {
            [] => self.tlvs.get(Tag::MESSAGE_PAYLOAD).unwrap_or_default(),
            text => text,
        }
    }
}

/// submit_sm_resp, deliver_sm_resp and data_sm_resp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageResp<B = Bytes> {
    /// The message centre's id; empty in deliver_sm_resp, and where the status refuses.
    pub message_id: B,
    /// The optional parameters.
    pub tlvs: Tlvs<B>,
}

/// data_sm (§4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSm<B = Bytes> {
    /// Up to 5 octets.
    pub service_type: B,
    /// The sender.
    pub source: Address<B>,
    /// The recipient.
    pub destination: Address<B>,
    /// As in [`ShortMessage`].
    pub esm_class: u8,
    /// As in [`ShortMessage`].
    pub registered_delivery: u8,
    /// As in [`ShortMessage`].
    pub data_coding: u8,
    /// The text is in message_payload.
    pub tlvs: Tlvs<B>,
}

impl<B> From<DataSm<B>> for ShortMessage<B>
where
    B: Default,
{
    /// The same message in the other form, so that one path can handle both.
    fn from(data: DataSm<B>) -> Self {
        Self {
            service_type: data.service_type,
            source: data.source,
            destination: data.destination,
            esm_class: data.esm_class,
            registered_delivery: data.registered_delivery,
            data_coding: data.data_coding,
            tlvs: data.tlvs,
            ..Self::default()
        }
    }
}

/// Where submit_multi is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<B = Bytes> {
    /// dest_flag 1: one address.
    Address(Address<B>),
    /// dest_flag 2: a list kept by the message centre.
    List(B),
}

/// submit_multi (§4.5).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SubmitMulti<B = Bytes> {
    /// 1 to 254 destinations.
    pub destinations: Vec<Destination<B>>,
    /// Everything else; its own `destination` is unused.
    pub message: ShortMessage<B>,
}

/// submit_multi_resp (§4.5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmitMultiResp<B = Bytes> {
    /// The message centre's id.
    pub message_id: B,
    /// The destinations refused, each with its reason.
    pub unsuccess: Vec<(Address<B>, CommandStatus)>,
    /// The optional parameters.
    pub tlvs: Tlvs<B>,
}

/// query_sm (§4.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuerySm<B = Bytes> {
    /// The id of submit_sm_resp.
    pub message_id: B,
    /// Must be the original's.
    pub source: Address<B>,
}

/// query_sm_resp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuerySmResp<B = Bytes> {
    /// The id asked for.
    pub message_id: B,
    /// When it became final; empty before.
    pub final_date: B,
    /// See [`crate::receipt::State`].
    pub message_state: u8,
    /// A network's code where delivery failed.
    pub error_code: u8,
}

/// cancel_sm (§4.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelSm<B = Bytes> {
    /// Narrows a cancel by addresses.
    pub service_type: B,
    /// The id of submit_sm_resp; empty to cancel by addresses.
    pub message_id: B,
    /// Must be the original's.
    pub source: Address<B>,
    /// Used when the id is empty.
    pub destination: Address<B>,
}

/// replace_sm (§4.10).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplaceSm<B = Bytes> {
    /// The id of submit_sm_resp.
    pub message_id: B,
    /// Must be the original's.
    pub source: Address<B>,
    /// Empty to keep the original's.
    pub schedule_delivery_time: B,
    /// Empty to keep the original's.
    pub validity_period: B,
    /// Which receipts are wanted.
    pub registered_delivery: u8,
    /// A canned message of the carrier; 0 for none.
    pub sm_default_msg_id: u8,
    /// The new text.
    pub short_message: B,
    /// The optional parameters (5.0).
    pub tlvs: Tlvs<B>,
}

/// alert_notification (§4.12): a handset has become reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertNotification<B = Bytes> {
    /// The handset (up to 64 octets).
    pub source: Address<B>,
    /// The client that asked (up to 64 octets).
    pub esme: Address<B>,
    /// May hold ms_availability_status.
    pub tlvs: Tlvs<B>,
}

/// Any operation of SMPP 3.4.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is named after its operation and documented on its content")]
pub enum Pdu<B = Bytes> {
    Bind(BindKind, Bind<B>),
    BindResp(BindKind, BindResp<B>),
    Outbind(Outbind<B>),
    Unbind,
    UnbindResp,
    GenericNack,
    SubmitSm(SubmitSm<B>),
    SubmitSmResp(MessageResp<B>),
    SubmitMulti(SubmitMulti<B>),
    SubmitMultiResp(SubmitMultiResp<B>),
    DeliverSm(DeliverSm<B>),
    DeliverSmResp(MessageResp<B>),
    DataSm(DataSm<B>),
    DataSmResp(MessageResp<B>),
    QuerySm(QuerySm<B>),
    QuerySmResp(QuerySmResp<B>),
    CancelSm(CancelSm<B>),
    CancelSmResp,
    ReplaceSm(ReplaceSm<B>),
    ReplaceSmResp,
    EnquireLink,
    EnquireLinkResp,
    AlertNotification(AlertNotification<B>),
}

impl<B> Pdu<B> {
    /// The id this operation has on the wire.
    #[must_use]
    pub const fn command(&self) -> CommandId {
        match self {
            Self::Bind(kind, _) => kind.command(),
            Self::BindResp(kind, _) => kind.command().response(),
            Self::Outbind(_) => CommandId::OUTBIND,
            Self::Unbind => CommandId::UNBIND,
            Self::UnbindResp => CommandId::UNBIND_RESP,
            Self::GenericNack => CommandId::GENERIC_NACK,
            Self::SubmitSm(_) => CommandId::SUBMIT_SM,
            Self::SubmitSmResp(_) => CommandId::SUBMIT_SM_RESP,
            Self::SubmitMulti(_) => CommandId::SUBMIT_MULTI,
            Self::SubmitMultiResp(_) => CommandId::SUBMIT_MULTI_RESP,
            Self::DeliverSm(_) => CommandId::DELIVER_SM,
            Self::DeliverSmResp(_) => CommandId::DELIVER_SM_RESP,
            Self::DataSm(_) => CommandId::DATA_SM,
            Self::DataSmResp(_) => CommandId::DATA_SM_RESP,
            Self::QuerySm(_) => CommandId::QUERY_SM,
            Self::QuerySmResp(_) => CommandId::QUERY_SM_RESP,
            Self::CancelSm(_) => CommandId::CANCEL_SM,
            Self::CancelSmResp => CommandId::CANCEL_SM_RESP,
            Self::ReplaceSm(_) => CommandId::REPLACE_SM,
            Self::ReplaceSmResp => CommandId::REPLACE_SM_RESP,
            Self::EnquireLink => CommandId::ENQUIRE_LINK,
            Self::EnquireLinkResp => CommandId::ENQUIRE_LINK_RESP,
            Self::AlertNotification(_) => CommandId::ALERT_NOTIFICATION,
        }
    }
}

// Debug is written by hand where a derived one would put a password, a number or a message body into a log.

impl<B> fmt::Debug for Address<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("ton", &self.ton).field("npi", &self.npi).finish_non_exhaustive()
    }
}

impl<B: fmt::Debug> fmt::Debug for Bind<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind")
            .field("system_id", &self.system_id)
            .field("interface_version", &self.interface_version)
            .finish_non_exhaustive()
    }
}

impl<B: fmt::Debug> fmt::Debug for Outbind<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbind").field("system_id", &self.system_id).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for ShortMessage<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortMessage")
            .field("esm_class", &self.esm_class)
            .field("data_coding", &self.data_coding)
            .field("registered_delivery", &self.registered_delivery)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for SubmitMulti<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.destinations.len();
        f.debug_struct("SubmitMulti").field("destinations", &count).field("message", &self.message).finish()
    }
}

impl<B: fmt::Debug> fmt::Debug for ReplaceSm<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplaceSm").field("message_id", &self.message_id).finish_non_exhaustive()
    }
}
