//! From octets to operations, tolerant of what carriers really send.
//!
//! A body fails to decode only where its fields cannot be told apart. Fields over the specification's length are read as they
//! are (the server's [`check_submit`] refuses them, the client does not lose a receipt over them), a string that ends with
//! its PDU needs no NUL, a response may lack its body, and broken optional parameters cost only themselves.

use crate::command::{BindKind, CommandId};
use crate::pdu::{
    Address, AlertNotification, Bind, BindResp, CancelSm, DataSm, Destination, MessageResp, Outbind, Pdu, QuerySm,
    QuerySmResp, ReplaceSm, ShortMessage, SubmitMulti, SubmitMultiResp,
};
use crate::status::CommandStatus;
use crate::tlv::Tlvs;
use bytes::Bytes;

/// What is wrong with a PDU's body, and the status its response must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is malformed: {status}")]
pub struct BodyError {
    /// The status to answer with.
    pub status: CommandStatus,
    /// The field, as the specification spells it.
    pub field: &'static str,
}

const fn wrong(status: CommandStatus, field: &'static str) -> BodyError {
    BodyError { status, field }
}

/// Reads fields off the front of a body.
struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.body[self.at..]
    }

    /// A C-octet string without its NUL; a missing NUL is forgiven at the end of the body only where something was sent.
    fn c_string(&mut self, status: CommandStatus, field: &'static str) -> Result<Bytes, BodyError> {
        let end = self.rest().iter().position(|&octet| octet == 0).ok_or(wrong(status, field))?;
        Ok(self.take(end, 1))
    }

    /// The string a response ends with, for which no fault is worth losing the answer.
    fn last_c_string(&mut self) -> Bytes {
        let rest = self.rest();
        match rest.iter().position(|&octet| octet == 0) {
            Some(end) => self.take(end, 1),
            None => self.take(rest.len(), 0),
        }
    }

    /// `length` octets, which must be there, then `skip` more.
    fn take(&mut self, length: usize, skip: usize) -> Bytes {
        let octets = self.body.slice(self.at..self.at + length);
        self.at += length + skip;
        octets
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, BodyError> {
        let octet = *self.rest().first().ok_or(wrong(CommandStatus::RINVCMDLEN, field))?;
        self.at += 1;
        Ok(octet)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, BodyError> {
        let octets = *self.rest().first_chunk::<4>().ok_or(wrong(CommandStatus::RINVCMDLEN, field))?;
        self.at += 4;
        Ok(u32::from_be_bytes(octets))
    }

    fn address(&mut self, status: CommandStatus, field: &'static str) -> Result<Address, BodyError> {
        Ok(Address { ton: self.u8(field)?, npi: self.u8(field)?, addr: self.c_string(status, field)? })
    }

    fn source(&mut self) -> Result<Address, BodyError> {
        self.address(CommandStatus::RINVSRCADR, "source_addr")
    }

    fn destination(&mut self) -> Result<Address, BodyError> {
        self.address(CommandStatus::RINVDSTADR, "destination_addr")
    }

    fn short_message(&mut self) -> Result<Bytes, BodyError> {
        let length = usize::from(self.u8("sm_length")?);
        if self.rest().len() < length {
            return Err(wrong(CommandStatus::RINVMSGLEN, "sm_length"));
        }
        Ok(self.take(length, 0))
    }

    fn tlvs(&mut self) -> Tlvs {
        Tlvs(self.take(self.rest().len(), 0))
    }
}

impl Pdu {
    /// Decodes the body (what follows the 16 octets of the header) of a PDU with this id.
    ///
    /// # Errors
    /// [`BodyError`] with the status to answer: `RINVCMDID` where the id is not one of SMPP 3.4's (answer with generic_nack),
    /// otherwise the status for the field (answer with the operation's own response).
    pub fn decode(command: CommandId, body: &Bytes) -> Result<Self, BodyError> {
        let mut reader = Reader { body, at: 0 };
        let r = &mut reader;
        Ok(match command {
            CommandId::SUBMIT_SM => Self::SubmitSm(message(r)?),
            CommandId::SUBMIT_SM_RESP => Self::SubmitSmResp(message_resp(r)),
            CommandId::DELIVER_SM => Self::DeliverSm(message(r)?),
            CommandId::DELIVER_SM_RESP => Self::DeliverSmResp(message_resp(r)),
            CommandId::ENQUIRE_LINK => Self::EnquireLink,
            CommandId::ENQUIRE_LINK_RESP => Self::EnquireLinkResp,
            CommandId::DATA_SM => Self::DataSm(data(r)?),
            CommandId::DATA_SM_RESP => Self::DataSmResp(message_resp(r)),
            CommandId::BIND_TRANSCEIVER => Self::Bind(BindKind::Transceiver, bind(r)?),
            CommandId::BIND_TRANSMITTER => Self::Bind(BindKind::Transmitter, bind(r)?),
            CommandId::BIND_RECEIVER => Self::Bind(BindKind::Receiver, bind(r)?),
            CommandId::BIND_TRANSCEIVER_RESP => Self::BindResp(BindKind::Transceiver, bind_resp(r)),
            CommandId::BIND_TRANSMITTER_RESP => Self::BindResp(BindKind::Transmitter, bind_resp(r)),
            CommandId::BIND_RECEIVER_RESP => Self::BindResp(BindKind::Receiver, bind_resp(r)),
            CommandId::OUTBIND => Self::Outbind(Outbind {
                system_id: r.c_string(CommandStatus::RINVSYSID, "system_id")?,
                password: r.c_string(CommandStatus::RINVPASWD, "password")?,
            }),
            CommandId::UNBIND => Self::Unbind,
            CommandId::UNBIND_RESP => Self::UnbindResp,
            CommandId::GENERIC_NACK => Self::GenericNack,
            CommandId::SUBMIT_MULTI => Self::SubmitMulti(submit_multi(r)?),
            CommandId::SUBMIT_MULTI_RESP => Self::SubmitMultiResp(submit_multi_resp(r)?),
            CommandId::QUERY_SM => Self::QuerySm(QuerySm {
                message_id: r.c_string(CommandStatus::RINVMSGID, "message_id")?,
                source: r.source()?,
            }),
            CommandId::QUERY_SM_RESP if r.rest().is_empty() => Self::QuerySmResp(QuerySmResp::default()),
            CommandId::QUERY_SM_RESP => Self::QuerySmResp(QuerySmResp {
                message_id: r.c_string(CommandStatus::RINVMSGID, "message_id")?,
                final_date: r.c_string(CommandStatus::RUNKNOWNERR, "final_date")?,
                message_state: r.u8("message_state")?,
                error_code: r.u8("error_code")?,
            }),
            CommandId::CANCEL_SM => Self::CancelSm(CancelSm {
                service_type: r.c_string(CommandStatus::RINVSERTYP, "service_type")?,
                message_id: r.c_string(CommandStatus::RINVMSGID, "message_id")?,
                source: r.source()?,
                destination: r.destination()?,
            }),
            CommandId::CANCEL_SM_RESP => Self::CancelSmResp,
            CommandId::REPLACE_SM => Self::ReplaceSm(replace(r)?),
            CommandId::REPLACE_SM_RESP => Self::ReplaceSmResp,
            CommandId::ALERT_NOTIFICATION => Self::AlertNotification(AlertNotification {
                source: r.source()?,
                esme: r.address(CommandStatus::RINVDSTADR, "esme_addr")?,
                tlvs: r.tlvs(),
            }),
            _ => return Err(wrong(CommandStatus::RINVCMDID, "command_id")),
        })
    }
}

fn bind(r: &mut Reader<'_>) -> Result<Bind, BodyError> {
    Ok(Bind {
        system_id: r.c_string(CommandStatus::RINVSYSID, "system_id")?,
        password: r.c_string(CommandStatus::RINVPASWD, "password")?,
        system_type: r.c_string(CommandStatus::RINVSYSTYP, "system_type")?,
        interface_version: r.u8("interface_version")?,
        addr_ton: r.u8("addr_ton")?,
        addr_npi: r.u8("addr_npi")?,
        address_range: r.last_c_string(),
    })
}

fn bind_resp(r: &mut Reader<'_>) -> BindResp {
    BindResp { system_id: r.last_c_string(), tlvs: r.tlvs() }
}

fn message_resp(r: &mut Reader<'_>) -> MessageResp {
    MessageResp { message_id: r.last_c_string(), tlvs: r.tlvs() }
}

fn message(r: &mut Reader<'_>) -> Result<ShortMessage, BodyError> {
    let service_type = r.c_string(CommandStatus::RINVSERTYP, "service_type")?;
    let source = r.source()?;
    let destination = r.destination()?;
    message_tail(r, ShortMessage { service_type, source, destination, ..ShortMessage::default() })
}

/// What submit_sm, deliver_sm and submit_multi have in common after the destinations.
fn message_tail(r: &mut Reader<'_>, head: ShortMessage) -> Result<ShortMessage, BodyError> {
    Ok(ShortMessage {
        esm_class: r.u8("esm_class")?,
        protocol_id: r.u8("protocol_id")?,
        priority_flag: r.u8("priority_flag")?,
        schedule_delivery_time: r.c_string(CommandStatus::RINVSCHED, "schedule_delivery_time")?,
        validity_period: r.c_string(CommandStatus::RINVEXPIRY, "validity_period")?,
        registered_delivery: r.u8("registered_delivery")?,
        replace_if_present: r.u8("replace_if_present_flag")?,
        data_coding: r.u8("data_coding")?,
        sm_default_msg_id: r.u8("sm_default_msg_id")?,
        short_message: r.short_message()?,
        tlvs: r.tlvs(),
        ..head
    })
}

fn data(r: &mut Reader<'_>) -> Result<DataSm, BodyError> {
    Ok(DataSm {
        service_type: r.c_string(CommandStatus::RINVSERTYP, "service_type")?,
        source: r.source()?,
        destination: r.destination()?,
        esm_class: r.u8("esm_class")?,
        registered_delivery: r.u8("registered_delivery")?,
        data_coding: r.u8("data_coding")?,
        tlvs: r.tlvs(),
    })
}

fn submit_multi(r: &mut Reader<'_>) -> Result<SubmitMulti, BodyError> {
    let service_type = r.c_string(CommandStatus::RINVSERTYP, "service_type")?;
    let source = r.source()?;
    let count = r.u8("number_of_dests")?;
    let mut destinations = Vec::new();
    for _ in 0..count {
        destinations.push(match r.u8("dest_flag")? {
            1 => Destination::Address(r.destination()?),
            2 => Destination::List(r.c_string(CommandStatus::RINVDLNAME, "dl_name")?),
            _ => return Err(wrong(CommandStatus::RINVDESTFLAG, "dest_flag")),
        });
    }
    let message = message_tail(r, ShortMessage { service_type, source, ..ShortMessage::default() })?;
    Ok(SubmitMulti { destinations, message })
}

fn submit_multi_resp(r: &mut Reader<'_>) -> Result<SubmitMultiResp, BodyError> {
    let message_id = r.last_c_string();
    let mut unsuccess = Vec::new();
    if !r.rest().is_empty() {
        for _ in 0..r.u8("no_unsuccess")? {
            unsuccess.push((r.destination()?, CommandStatus(r.u32("error_status_code")?)));
        }
    }
    Ok(SubmitMultiResp { message_id, unsuccess, tlvs: r.tlvs() })
}

fn replace(r: &mut Reader<'_>) -> Result<ReplaceSm, BodyError> {
    Ok(ReplaceSm {
        message_id: r.c_string(CommandStatus::RINVMSGID, "message_id")?,
        source: r.source()?,
        schedule_delivery_time: r.c_string(CommandStatus::RINVSCHED, "schedule_delivery_time")?,
        validity_period: r.c_string(CommandStatus::RINVEXPIRY, "validity_period")?,
        registered_delivery: r.u8("registered_delivery")?,
        sm_default_msg_id: r.u8("sm_default_msg_id")?,
        short_message: r.short_message()?,
        tlvs: r.tlvs(),
    })
}

/// What the specification asks of a submitted message beyond being readable: field lengths and whole optional parameters.
///
/// # Errors
/// The first field that is wrong, with the status to answer.
pub fn check_submit<B: AsRef<[u8]>>(message: &ShortMessage<B>) -> Result<(), BodyError> {
    let time_is_wrong = |time: &B| !matches!(time.as_ref().len(), 0 | 16);
    if message.service_type.as_ref().len() > 5 {
        return Err(wrong(CommandStatus::RINVSERTYP, "service_type"));
    }
    if message.source.addr.as_ref().len() > 20 {
        return Err(wrong(CommandStatus::RINVSRCADR, "source_addr"));
    }
    if message.destination.addr.as_ref().len() > 20 {
        return Err(wrong(CommandStatus::RINVDSTADR, "destination_addr"));
    }
    if time_is_wrong(&message.schedule_delivery_time) {
        return Err(wrong(CommandStatus::RINVSCHED, "schedule_delivery_time"));
    }
    if time_is_wrong(&message.validity_period) {
        return Err(wrong(CommandStatus::RINVEXPIRY, "validity_period"));
    }
    if !message.tlvs.is_whole() {
        return Err(wrong(CommandStatus::RINVOPTPARSTREAM, "optional parameters"));
    }
    Ok(())
}
