//! What customers who bind by SMPP are to us: the settings of a credential, and the mark it leaves on its messages.
//!
//! The mark is part of the message's `Flags`, so that messages of other faces pay nothing for it and those of SMPP no column:
//! bits 16 to 28 are the credential's number within its account (0: not by SMPP), bits 14 and 15 the receipts asked for, bits 29 and 30 the
//! alphabet it was written in, which a replace_sm is written in, too, and does not say.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::encoding::Alphabet;
use crate::message::{Flags, State};

/// The highest number a credential can have within its account: 13 bits.
pub const CREDENTIAL_NO_MAX: u16 = 0x1FFF;

const CREDENTIAL_SHIFT: u32 = 16;
const RECEIPTS_SHIFT: u32 = 14;
const ALPHABET_SHIFT: u32 = 29;
/// By their two bits; octets have a flag of their own.
const ALPHABETS: [Alphabet; 4] = [Alphabet::Gsm7, Alphabet::Ascii, Alphabet::Latin1, Alphabet::Ucs2];

/// Which final states a customer wants a receipt of (`registered_delivery`, SMPP 3.4 §5.2.17).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReceiptsWanted {
    /// None.
    #[default]
    None = 0,
    /// Every final state.
    Every = 1,
    /// Failures alone.
    Failures = 2,
    /// Deliveries alone (SMPP 5.0 §4.7.21).
    Deliveries = 3,
}

impl ReceiptsWanted {
    /// From the two low bits of `registered_delivery`.
    pub const fn from_bits(bits: u8) -> ReceiptsWanted {
        match bits & 3 {
            0 => ReceiptsWanted::None,
            1 => ReceiptsWanted::Every,
            2 => ReceiptsWanted::Failures,
            _ => ReceiptsWanted::Deliveries,
        }
    }

    /// Whether a message that ended in this state is told of.
    pub fn tells(self, end: State) -> bool {
        let success = matches!(end, State::Delivered | State::Sent);
        match self {
            ReceiptsWanted::None => false,
            ReceiptsWanted::Every => true,
            ReceiptsWanted::Failures => !success,
            ReceiptsWanted::Deliveries => success,
        }
    }
}

/// Which credential a message came by, and what is to be told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmppOrigin {
    /// The credential's number within its account, 1 to [`CREDENTIAL_NO_MAX`].
    pub credential: u16,
    /// The receipts asked for.
    pub receipts: ReceiptsWanted,
    /// What the customer wrote its text in: GSM-7, ASCII, Latin-1 or UCS-2 (GSM-7 of what is no text).
    pub alphabet: Alphabet,
}

impl SmppOrigin {
    /// The mark that flags carry, if they carry one.
    pub const fn of(flags: Flags) -> Option<SmppOrigin> {
        let credential = (flags.0 >> CREDENTIAL_SHIFT) as u16 & CREDENTIAL_NO_MAX;
        if credential == 0 {
            return None;
        }
        Some(SmppOrigin {
            credential,
            receipts: ReceiptsWanted::from_bits((flags.0 >> RECEIPTS_SHIFT) as u8),
            alphabet: ALPHABETS[(flags.0 >> ALPHABET_SHIFT) as usize & 3],
        })
    }

    /// Flags with this mark.
    pub fn mark(self, flags: Flags) -> Flags {
        let alphabet = ALPHABETS.iter().position(|a| *a == self.alphabet).unwrap_or(0) as i32;
        let bits = i32::from(self.credential & CREDENTIAL_NO_MAX) << CREDENTIAL_SHIFT
            | (self.receipts as i32) << RECEIPTS_SHIFT
            | alphabet << ALPHABET_SHIFT;
        Flags(flags.0 | bits)
    }
}

/// How long inbound messages are handed to a customer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundForm {
    /// Not at all: they are read by webhook or API.
    None,
    /// Parts with a user data header, as handsets send them.
    #[default]
    Udh,
    /// Whole, in `message_payload` where `short_message` is too short.
    Payload,
}

/// What `data_coding` 0 means to a customer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultAlphabet {
    /// A GSM-7 septet in each octet.
    #[default]
    Gsm7,
    /// ISO 8859-1.
    Latin1,
    /// ASCII.
    Ascii,
}

impl From<DefaultAlphabet> for Alphabet {
    fn from(alphabet: DefaultAlphabet) -> Alphabet {
        match alphabet {
            DefaultAlphabet::Gsm7 => Alphabet::Gsm7,
            DefaultAlphabet::Latin1 => Alphabet::Latin1,
            DefaultAlphabet::Ascii => Alphabet::Ascii,
        }
    }
}

/// Settings of a credential, stored as JSON; a missing member has its default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialSettings {
    /// From where it may bind; anywhere if empty.
    pub allowed_addresses: Vec<AddressRange>,
    /// Sessions at once.
    pub max_binds: u16,
    /// Requests unanswered at once, a session, each way.
    pub window: u16,
    /// Parts a second over all its sessions, and deliveries a second the other way; 0 is no limit.
    pub rate: u32,
    /// Sender of messages that name none, before the account's.
    pub default_sender: Option<String>,
    /// Whether `priority_flag` 1 to 3 buys the express lane; otherwise it is passed over.
    pub express: bool,
    /// What `data_coding` 0 means.
    pub alphabet: DefaultAlphabet,
    /// How inbound messages are handed over.
    pub inbound: InboundForm,
}

impl Default for CredentialSettings {
    fn default() -> CredentialSettings {
        CredentialSettings {
            allowed_addresses: Vec::new(),
            max_binds: 4,
            window: 100,
            rate: 100,
            default_sender: None,
            express: false,
            alphabet: DefaultAlphabet::Gsm7,
            inbound: InboundForm::Udh,
        }
    }
}

impl CredentialSettings {
    /// Whether it may bind from there.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allowed_addresses.is_empty() || self.allowed_addresses.iter().any(|range| range.contains(address))
    }
}

/// A block of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address (RFC 4632).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressRangeError {
    /// Neither an address nor one with a prefix length.
    #[error("an address or block such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
    Shape,
    /// Bits beyond the prefix are set: one of the two is a slip.
    #[error("bits beyond the prefix length are set: correct the address or the length")]
    HostBits,
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl AddressRange {
    /// Whether an address lies in it. An IPv4 address written as IPv6 (`::ffff:192.0.2.7`) is the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let ((base, width), (other, other_width)) = (bits(self.base), bits(address.to_canonical()));
        width == other_width && (self.prefix == 0 || (base ^ other) >> (128 - u32::from(self.prefix)) == 0)
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;
    fn from_str(text: &str) -> Result<AddressRange, AddressRangeError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr = address.parse().map_err(|_| AddressRangeError::Shape)?;
        let (all, width) = bits(base);
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|p| *p <= width).ok_or(AddressRangeError::Shape)?
            }
            Some(_) => return Err(AddressRangeError::Shape),
        };
        if prefix < 128 && all << prefix != 0 {
            return Err(AddressRangeError::HostBits);
        }
        Ok(AddressRange { base, prefix })
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressRangeError;
    fn try_from(text: String) -> Result<AddressRange, AddressRangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> String {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.base).1 {
            return write!(f, "{}", self.base);
        }
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_inside_and_outside() {
        let rows = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::/0", "2001:db8::1", true),
        ];
        for (range, address, inside) in rows {
            let parsed: AddressRange = range.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), inside, "{address} in {range}");
            assert_eq!(parsed.to_string(), range);
        }
        for (text, error) in [
            ("", AddressRangeError::Shape),
            ("192.0.2.0/33", AddressRangeError::Shape),
            ("192.0.2.0/", AddressRangeError::Shape),
            ("192.0.2.0/+8", AddressRangeError::Shape),
            ("192.0.2", AddressRangeError::Shape),
            ("example.com", AddressRangeError::Shape),
            ("192.0.2.7/24", AddressRangeError::HostBits),
            ("2001:db8::1/64", AddressRangeError::HostBits),
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_told() {
        use ReceiptsWanted::{Deliveries, Every, Failures, None};
        let rows = [
            (State::Delivered, [false, true, false, true]),
            (State::Sent, [false, true, false, true]),
            (State::Undelivered, [false, true, true, false]),
            (State::Expired, [false, true, true, false]),
            (State::Canceled, [false, true, true, false]),
        ];
        for (state, expected) in rows {
            assert_eq!([None, Every, Failures, Deliveries].map(|w| w.tells(state)), expected, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn a_mark_reads_back_and_leaves_the_other_flags(no in 1u16..=CREDENTIAL_NO_MAX, receipts in 0u8..4, alphabet in 0usize..4, other in 0i32..(1 << 14)) {
            let origin = SmppOrigin { credential: no, receipts: ReceiptsWanted::from_bits(receipts), alphabet: ALPHABETS[alphabet] };
            let marked = origin.mark(Flags(other));
            prop_assert_eq!(SmppOrigin::of(marked), Some(origin));
            prop_assert_eq!(marked.0 & 0x3FFF, other);
            prop_assert!(marked.0 >= 0 && SmppOrigin::of(Flags(other)).is_none());
        }
    }
}
