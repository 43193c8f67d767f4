//! Long messages: one part's user data in each of the ways carriers take it.

use crate::tlv::{self, Tag};
use crate::values::ESM_UDHI;

/// How the parts of a message are tied together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Concat {
    /// A user data header with an 8-bit reference (TS 23.040 §9.2.3.24.1): 6 octets.
    Udh8,
    /// A user data header with a 16-bit reference (§9.2.3.24.8): 7 octets.
    Udh16,
    /// The optional parameters sar_msg_ref_num, sar_total_segments and sar_segment_seqnum.
    Sar,
}

/// Which part of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The same for all parts of a message; only its low octet is used with [`Concat::Udh8`].
    pub reference: u16,
    /// How many parts there are. With 1 nothing is added.
    pub total: u8,
    /// From 1.
    pub index: u8,
}

/// The user data of one part, in buffers that can serve one message after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserData {
    /// For `short_message`.
    pub short_message: Vec<u8>,
    /// For `tlvs`.
    pub tlvs: Vec<u8>,
    /// To be or-ed into `esm_class`.
    pub esm_class: u8,
}

/// Why a part cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// `index` is 0 or beyond `total`.
    #[error("part {index} of {total} does not exist")]
    NoSuchPart {
        /// As given.
        index: u8,
        /// As given.
        total: u8,
    },
    /// The octets are said to begin with a user data header and do not, or it has no room for one more element.
    #[error("the user data header is malformed or full")]
    Header,
}

impl UserData {
    /// Sets this to one part. `octets` are the part's characters in the connection's coding, preceded by a user data header when `has_header` (a
    /// national table, say), into which the concatenation is then put. Whether it fits (254 octets in SMPP 3.4, 140 on GSM) is the caller's to know.
    ///
    /// # Errors
    /// [`PartError`]; the content is unspecified then.
    pub fn set_part(&mut self, concat: Concat, part: Part, octets: &[u8], has_header: bool) -> Result<(), PartError> {
        let Part { reference, total, index } = part;
        if index == 0 || index > total {
            return Err(PartError::NoSuchPart { index, total });
        }
        self.clear();
        let [high, low] = reference.to_be_bytes();
        let element: &[u8] = match concat {
            _ if total == 1 => &[],
            Concat::Udh8 => &[0x00, 3, low, total, index],
            Concat::Udh16 => &[0x08, 4, high, low, total, index],
            Concat::Sar => {
                tlv::push(&mut self.tlvs, Tag::SAR_MSG_REF_NUM, &[high, low]);
                tlv::push(&mut self.tlvs, Tag::SAR_TOTAL_SEGMENTS, &[total]);
                tlv::push(&mut self.tlvs, Tag::SAR_SEGMENT_SEQNUM, &[index]);
                &[]
            }
        };
        let (header, text) = if has_header { split_header(octets)? } else { (&[][..], octets) };
        let length = element.len() + header.len();
        if length > 0 {
            self.short_message.push(u8::try_from(length).map_err(|_| PartError::Header)?);
            self.short_message.extend_from_slice(element);
            self.short_message.extend_from_slice(header);
            self.esm_class = ESM_UDHI;
        }
        self.short_message.extend_from_slice(text);
        Ok(())
    }

    /// Sets this to a whole message in message_payload, which the carrier cuts itself.
    pub fn set_payload(&mut self, octets: &[u8], has_header: bool) {
        self.clear();
        tlv::push(&mut self.tlvs, Tag::MESSAGE_PAYLOAD, octets);
        self.esm_class = if has_header { ESM_UDHI } else { 0 };
    }

    fn clear(&mut self) {
        self.short_message.clear();
        self.tlvs.clear();
        self.esm_class = 0;
    }
}

/// The elements of a user data header without its length octet, and what follows it.
fn split_header(octets: &[u8]) -> Result<(&[u8], &[u8]), PartError> {
    let (&length, rest) = octets.split_first().ok_or(PartError::Header)?;
    rest.split_at_checked(usize::from(length)).ok_or(PartError::Header)
}

/// Which part a received message is, from its header or its SAR parameters; `None` where it stands alone. The text follows at the offset given
/// (0 without a header).
#[must_use]
pub fn part_of<B: AsRef<[u8]>>(message: &crate::pdu::ShortMessage<B>) -> (Option<Part>, usize) {
    let (mut part, mut text_at) = (None, 0);
    if message.esm_class & ESM_UDHI != 0
        && let Ok((header, text)) = split_header(message.content())
    {
        part = part_in_header(header);
        text_at = message.content().len() - text.len();
    }
    let tlvs = &message.tlvs;
    let sar = || {
        let reference = tlvs.get_u16(Tag::SAR_MSG_REF_NUM)?;
        let total = tlvs.get_u8(Tag::SAR_TOTAL_SEGMENTS)?;
        valid(Part { reference, total, index: tlvs.get_u8(Tag::SAR_SEGMENT_SEQNUM)? })
    };
    (part.or_else(sar), text_at)
}

fn part_in_header(mut elements: &[u8]) -> Option<Part> {
    while let [id, length, rest @ ..] = elements {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        match (id, value) {
            (0x00, &[low, total, index]) => return valid(Part { reference: u16::from(low), total, index }),
            (0x08, &[high, low, total, index]) => {
                return valid(Part { reference: u16::from_be_bytes([high, low]), total, index });
            }
            _ => elements = after,
        }
    }
    None
}

/// TS 23.040: an element with impossible numbers is to be ignored.
fn valid(part: Part) -> Option<Part> {
    (part.index > 0 && part.index <= part.total).then_some(part)
}
