//! From operations to octets, appended to a buffer that many PDUs share.

use crate::command::CommandId;
use crate::pdu::{
    Address, AlertNotification, Bind, CancelSm, DataSm, Destination, Pdu, QuerySmResp, ReplaceSm, ShortMessage,
    SubmitMulti, SubmitMultiResp,
};
use crate::status::CommandStatus;
use bytes::{BufMut, BytesMut};

/// A field that cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than the field can hold.
    #[error("{field} is {length} octets long; {max} fit")]
    TooLong {
        /// The field, as the specification spells it.
        field: &'static str,
        /// Octets given.
        length: usize,
        /// Octets that fit.
        max: usize,
    },
    /// A NUL inside a string that a NUL ends.
    #[error("{field} contains a NUL octet")]
    Nul {
        /// The field, as the specification spells it.
        field: &'static str,
    },
}

/// Octets a message id may have. The specification says 64; some message centres go beyond and want it back whole.
const MESSAGE_ID_MAX: usize = 254;
/// Octets of credentials. The specification says 15 and 8; carriers hand out longer ones and expect them in full.
const CREDENTIAL_MAX: usize = 64;

/// The four fields every PDU begins with (§3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets of the whole PDU, header included.
    pub length: u32,
    /// The operation.
    pub command: CommandId,
    /// 0 in requests.
    pub status: CommandStatus,
    /// Ties a response to its request.
    pub sequence: u32,
}

impl Header {
    /// Octets of a header.
    pub const LENGTH: usize = 16;

    /// Reads a header.
    #[must_use]
    pub fn decode(octets: &[u8; Self::LENGTH]) -> Self {
        let word = |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self { length: word(0), command: CommandId(word(4)), status: CommandStatus(word(8)), sequence: word(12) }
    }
}

/// Appends one PDU: the header, what `body` writes, and the length once it is known. On an error `out` is as it was before.
///
/// # Errors
/// Those of `body`.
pub fn frame(
    out: &mut BytesMut,
    command: CommandId,
    status: CommandStatus,
    sequence: u32,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.reserve(256);
    out.put_u32(0);
    out.put_u32(command.0);
    out.put_u32(status.0);
    out.put_u32(sequence);
    if let Err(error) = body(out) {
        out.truncate(start);
        return Err(error);
    }
    let length =
        u32::try_from(out.len() - start).expect("fields are bounded, optional parameters by memory far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Appends a PDU without a body, such as enquire_link or generic_nack.
pub fn bare(out: &mut BytesMut, command: CommandId, status: CommandStatus, sequence: u32) {
    out.put_u32(16);
    out.put_u32(command.0);
    out.put_u32(status.0);
    out.put_u32(sequence);
}

fn c_string(out: &mut BytesMut, field: &'static str, value: &[u8], max: usize) -> Result<(), EncodeError> {
    if value.len() > max {
        return Err(EncodeError::TooLong { field, length: value.len(), max });
    }
    if value.contains(&0) {
        return Err(EncodeError::Nul { field });
    }
    out.put_slice(value);
    out.put_u8(0);
    Ok(())
}

fn address<B: AsRef<[u8]>>(
    out: &mut BytesMut,
    field: &'static str,
    address: &Address<B>,
    max: usize,
) -> Result<(), EncodeError> {
    out.put_u8(address.ton);
    out.put_u8(address.npi);
    c_string(out, field, address.addr.as_ref(), max)
}

fn short_message(out: &mut BytesMut, text: &[u8]) -> Result<(), EncodeError> {
    let length = u8::try_from(text.len()).map_err(|_| EncodeError::TooLong {
        field: "short_message",
        length: text.len(),
        max: 255,
    })?;
    out.put_u8(length);
    out.put_slice(text);
    Ok(())
}

impl<B: AsRef<[u8]>> ShortMessage<B> {
    /// Appends the body of submit_sm or deliver_sm.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        c_string(out, "service_type", self.service_type.as_ref(), 5)?;
        address(out, "source_addr", &self.source, 20)?;
        address(out, "destination_addr", &self.destination, 20)?;
        self.encode_tail(out)
    }

    fn encode_tail(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_slice(&[self.esm_class, self.protocol_id, self.priority_flag]);
        c_string(out, "schedule_delivery_time", self.schedule_delivery_time.as_ref(), 16)?;
        c_string(out, "validity_period", self.validity_period.as_ref(), 16)?;
        out.put_slice(&[self.registered_delivery, self.replace_if_present, self.data_coding, self.sm_default_msg_id]);
        short_message(out, self.short_message.as_ref())?;
        out.put_slice(self.tlvs.0.as_ref());
        Ok(())
    }
}

impl<B: AsRef<[u8]>> Pdu<B> {
    /// Appends the whole PDU to `out`. On an error `out` is as it was before.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn encode(&self, status: CommandStatus, sequence: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        frame(out, self.command(), status, sequence, |out| self.encode_body(out))
    }

    pub(crate) fn encode_body(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::SubmitSm(message) | Self::DeliverSm(message) => message.encode(out),
            Self::SubmitSmResp(resp) | Self::DeliverSmResp(resp) | Self::DataSmResp(resp) => {
                c_string(out, "message_id", resp.message_id.as_ref(), MESSAGE_ID_MAX)?;
                out.put_slice(resp.tlvs.0.as_ref());
                Ok(())
            }
            Self::DataSm(data) => encode_data(data, out),
            Self::Bind(_, bind) => encode_bind(bind, out),
            Self::BindResp(_, resp) => {
                c_string(out, "system_id", resp.system_id.as_ref(), CREDENTIAL_MAX)?;
                out.put_slice(resp.tlvs.0.as_ref());
                Ok(())
            }
            Self::Outbind(outbind) => {
                c_string(out, "system_id", outbind.system_id.as_ref(), CREDENTIAL_MAX)?;
                c_string(out, "password", outbind.password.as_ref(), CREDENTIAL_MAX)
            }
            Self::SubmitMulti(multi) => encode_multi(multi, out),
            Self::SubmitMultiResp(resp) => encode_multi_resp(resp, out),
            Self::QuerySm(query) => {
                c_string(out, "message_id", query.message_id.as_ref(), MESSAGE_ID_MAX)?;
                address(out, "source_addr", &query.source, 20)
            }
            Self::QuerySmResp(resp) => encode_query_resp(resp, out),
            Self::CancelSm(cancel) => encode_cancel(cancel, out),
            Self::ReplaceSm(replace) => encode_replace(replace, out),
            Self::AlertNotification(alert) => encode_alert(alert, out),
            Self::Unbind
            | Self::UnbindResp
            | Self::GenericNack
            | Self::CancelSmResp
            | Self::ReplaceSmResp
            | Self::EnquireLink
            | Self::EnquireLinkResp => Ok(()),
        }
    }
}

fn encode_bind<B: AsRef<[u8]>>(bind: &Bind<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "system_id", bind.system_id.as_ref(), CREDENTIAL_MAX)?;
    c_string(out, "password", bind.password.as_ref(), CREDENTIAL_MAX)?;
    c_string(out, "system_type", bind.system_type.as_ref(), 12)?;
    out.put_slice(&[bind.interface_version, bind.addr_ton, bind.addr_npi]);
    c_string(out, "address_range", bind.address_range.as_ref(), 40)
}

fn encode_data<B: AsRef<[u8]>>(data: &DataSm<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "service_type", data.service_type.as_ref(), 5)?;
    address(out, "source_addr", &data.source, 64)?;
    address(out, "destination_addr", &data.destination, 64)?;
    out.put_slice(&[data.esm_class, data.registered_delivery, data.data_coding]);
    out.put_slice(data.tlvs.0.as_ref());
    Ok(())
}

fn encode_multi<B: AsRef<[u8]>>(multi: &SubmitMulti<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "service_type", multi.message.service_type.as_ref(), 5)?;
    address(out, "source_addr", &multi.message.source, 20)?;
    let length = multi.destinations.len();
    let count =
        u8::try_from(length).map_err(|_| EncodeError::TooLong { field: "number_of_dests", length, max: 255 })?;
    out.put_u8(count);
    for destination in &multi.destinations {
        match destination {
            Destination::Address(to) => {
                out.put_u8(1);
                address(out, "destination_addr", to, 20)?;
            }
            Destination::List(name) => {
                out.put_u8(2);
                c_string(out, "dl_name", name.as_ref(), 20)?;
            }
        }
    }
    multi.message.encode_tail(out)
}

fn encode_multi_resp<B: AsRef<[u8]>>(resp: &SubmitMultiResp<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "message_id", resp.message_id.as_ref(), MESSAGE_ID_MAX)?;
    let length = resp.unsuccess.len();
    let count = u8::try_from(length).map_err(|_| EncodeError::TooLong { field: "no_unsuccess", length, max: 255 })?;
    out.put_u8(count);
    for (to, status) in &resp.unsuccess {
        address(out, "destination_addr", to, 20)?;
        out.put_u32(status.0);
    }
    out.put_slice(resp.tlvs.0.as_ref());
    Ok(())
}

fn encode_query_resp<B: AsRef<[u8]>>(resp: &QuerySmResp<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "message_id", resp.message_id.as_ref(), MESSAGE_ID_MAX)?;
    c_string(out, "final_date", resp.final_date.as_ref(), 16)?;
    out.put_slice(&[resp.message_state, resp.error_code]);
    Ok(())
}

fn encode_cancel<B: AsRef<[u8]>>(cancel: &CancelSm<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "service_type", cancel.service_type.as_ref(), 5)?;
    c_string(out, "message_id", cancel.message_id.as_ref(), MESSAGE_ID_MAX)?;
    address(out, "source_addr", &cancel.source, 20)?;
    address(out, "destination_addr", &cancel.destination, 20)
}

fn encode_replace<B: AsRef<[u8]>>(replace: &ReplaceSm<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    c_string(out, "message_id", replace.message_id.as_ref(), MESSAGE_ID_MAX)?;
    address(out, "source_addr", &replace.source, 20)?;
    c_string(out, "schedule_delivery_time", replace.schedule_delivery_time.as_ref(), 16)?;
    c_string(out, "validity_period", replace.validity_period.as_ref(), 16)?;
    out.put_slice(&[replace.registered_delivery, replace.sm_default_msg_id]);
    short_message(out, replace.short_message.as_ref())?;
    out.put_slice(replace.tlvs.0.as_ref());
    Ok(())
}

fn encode_alert<B: AsRef<[u8]>>(alert: &AlertNotification<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    address(out, "source_addr", &alert.source, 64)?;
    address(out, "esme_addr", &alert.esme, 64)?;
    out.put_slice(alert.tlvs.0.as_ref());
    Ok(())
}
