//! Optional parameters (tag, length, value; SMPP 3.4 §5.3), kept as they came and searched when asked: no allocation, and unknown tags survive.

use bytes::{BufMut, Bytes};
use std::fmt;

/// A tag of an optional parameter; vendors use 0x1400..=0x3FFF.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(
    /// The value on the wire.
    pub u16,
);

macro_rules! tags {
    ($($name:ident = $value:literal;)*) => {
        impl Tag {
            $(#[doc = concat!("`", stringify!($name), "`, in the specification's spelling in lower case.")] pub const $name: Self = Self($value);)*
        }
    };
}

tags! {
    ADDITIONAL_STATUS_INFO_TEXT = 0x001D;
    RECEIPTED_MESSAGE_ID = 0x001E;
    PAYLOAD_TYPE = 0x0019;
    PRIVACY_INDICATOR = 0x0201;
    USER_MESSAGE_REFERENCE = 0x0204;
    USER_RESPONSE_CODE = 0x0205;
    SOURCE_PORT = 0x020A;
    DESTINATION_PORT = 0x020B;
    SAR_MSG_REF_NUM = 0x020C;
    LANGUAGE_INDICATOR = 0x020D;
    SAR_TOTAL_SEGMENTS = 0x020E;
    SAR_SEGMENT_SEQNUM = 0x020F;
    SC_INTERFACE_VERSION = 0x0210;
    MS_MSG_WAIT_FACILITIES = 0x0030;
    MS_AVAILABILITY_STATUS = 0x0422;
    NETWORK_ERROR_CODE = 0x0423;
    MESSAGE_PAYLOAD = 0x0424;
    DELIVERY_FAILURE_REASON = 0x0425;
    MORE_MESSAGES_TO_SEND = 0x0426;
    MESSAGE_STATE = 0x0427;
    CONGESTION_STATE = 0x0428;
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

/// The optional parameters of one PDU, in wire form.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tlvs<B = Bytes>(
    /// The octets after the mandatory fields.
    pub B,
);

impl<B: AsRef<[u8]>> Tlvs<B> {
    /// The parameters in wire order. Ends silently where the octets stop being whole parameters: see [`Tlvs::is_whole`].
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: self.0.as_ref() }
    }

    /// The value of the first parameter with this tag.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// The value of a one-octet parameter; `None` too when its length is not 1.
    #[must_use]
    pub fn get_u8(&self, tag: Tag) -> Option<u8> {
        match self.get(tag)? {
            [value] => Some(*value),
            _ => None,
        }
    }

    /// The value of a two-octet parameter; `None` too when its length is not 2.
    #[must_use]
    pub fn get_u16(&self, tag: Tag) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(tag)?.try_into().ok()?))
    }

    /// The value of a C-octet parameter without its NUL, which some senders leave out.
    #[must_use]
    pub fn get_c_string(&self, tag: Tag) -> Option<&[u8]> {
        let value = self.get(tag)?;
        Some(&value[..value.iter().position(|&octet| octet == 0).unwrap_or(value.len())])
    }

    /// Whether the octets are nothing but whole parameters.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut parameters = self.iter();
        parameters.by_ref().for_each(drop);
        parameters.rest.is_empty()
    }
}

/// Appends one parameter in wire form. A value longer than a parameter can carry (65,535 octets) is cut; nothing legal is that long.
pub fn push(out: &mut impl BufMut, tag: Tag, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.put_u16(tag.0);
    out.put_u16(length);
    out.put_slice(&value[..usize::from(length)]);
}

/// Walks the parameters of a [`Tlvs`].
#[derive(Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Tag, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, after) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, rest) = after.split_at_checked(length)?;
        self.rest = rest;
        Some((Tag(u16::from_be_bytes([head[0], head[1]])), value))
    }
}

impl<B> fmt::Debug for Tlvs<B> {
    /// Nothing of the values: a payload is a message body, which does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tlvs(..)")
    }
}
