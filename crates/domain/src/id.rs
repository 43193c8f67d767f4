//! Identifiers: UUIDv7 (RFC 9562) shown as TypeIDs (`msg_01h…`), whose last 32 bits are the number of the owning account.
//!
//! Layout: 48 bits of Unix milliseconds, version 7, 12 high bits of a counter, variant, 30 low bits of the counter, 32 bits of
//! account number. So an id alone names its account, ids sort by time, and the ids a writer hands out one after another for an
//! account are consecutive: a span of them is a first id and a count.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The integer number of an account; part of every key and of every id it owns. 0 is the platform itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AccountNo(pub u32);

impl AccountNo {
    /// The platform: what belongs to no account.
    pub const PLATFORM: AccountNo = AccountNo(0);

    /// As the databases store it.
    pub fn as_i64(self) -> i64 {
        i64::from(self.0)
    }

    /// From a database column; numbers outside 32 bits do not occur there.
    pub fn from_i64(no: i64) -> AccountNo {
        AccountNo(u32::try_from(no).expect("account numbers are given out by us, within 32 bits"))
    }
}

/// Why a text is no identifier of the kind asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdError {
    /// It begins with another kind's prefix.
    #[error("this is not an id of this kind: expected the prefix `{expected}_`")]
    Prefix {
        /// The prefix the kind has.
        expected: &'static str,
    },
    /// It is neither 26 characters of base32 nor a UUID.
    #[error("an id is its prefix and 26 characters of 0-9 and a-z (without i, l, o, u), or a bare UUID")]
    Shape,
}

const COUNTER_LOW_BITS: u32 = 30;
/// The counter has 42 bits; more wraps round.
const COUNTER_MASK: u64 = (1 << 42) - 1;

/// Builds the UUIDv7 of DESIGN §3 from its three numbers.
pub fn compose(millis: i64, counter: u64, account: AccountNo) -> Uuid {
    let millis = (millis.max(0) as u64) & ((1 << 48) - 1);
    let counter = counter & COUNTER_MASK;
    let high = (millis << 16) | 0x7000 | (counter >> COUNTER_LOW_BITS);
    let low = (0b10 << 62) | ((counter & ((1 << COUNTER_LOW_BITS) - 1)) << 32) | u64::from(account.0);
    Uuid::from_u64_pair(high, low)
}

fn counter_of(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    ((high & 0xfff) << COUNTER_LOW_BITS) | ((low >> 32) & ((1 << COUNTER_LOW_BITS) - 1))
}

fn millis_of(id: Uuid) -> i64 {
    (id.as_u64_pair().0 >> 16) as i64
}

/// What every kind of identifier can do; implemented by the `ids!` list below only.
pub trait TypeId: Copy {
    /// The prefix before the underscore.
    const PREFIX: &'static str;
    /// Wraps a UUID read from a column.
    fn from_uuid(id: Uuid) -> Self;
    /// The bare UUID.
    fn uuid(self) -> Uuid;
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn write_base32(id: Uuid, f: &mut fmt::Formatter<'_>, prefix: &str) -> fmt::Result {
    let value = id.as_u128();
    let mut text = [0u8; 26];
    for (i, c) in text.iter_mut().enumerate() {
        *c = ALPHABET[((value >> (5 * (25 - i))) & 31) as usize];
    }
    f.write_str(prefix)?;
    f.write_str("_")?;
    f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, IdError> {
    if let Some((head, tail)) = text.rsplit_once('_') {
        if head != prefix {
            return Err(IdError::Prefix { expected: prefix });
        }
        let tail = tail.as_bytes();
        if tail.len() != 26 || tail[0] > b'7' {
            return Err(IdError::Shape);
        }
        let mut value = 0u128;
        for c in tail {
            let digit = ALPHABET.iter().position(|a| a == c).ok_or(IdError::Shape)?;
            value = (value << 5) | digit as u128;
        }
        return Ok(Uuid::from_u128(value));
    }
    Uuid::try_parse(text).map_err(|_| IdError::Shape)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id at `millis` (Unix milliseconds) with a counter that no other id of that millisecond has.
            pub fn new(millis: i64, counter: u64, account: AccountNo) -> Self {
                Self(compose(millis, counter, account))
            }
            /// The account that owns it.
            pub fn account(self) -> AccountNo {
                AccountNo(self.0.as_u64_pair().1 as u32)
            }
            /// When it was made, Unix milliseconds.
            pub fn millis(self) -> i64 {
                millis_of(self.0)
            }
            /// The id `i` places further in the same span.
            pub fn nth(self, i: u32) -> Self {
                Self(compose(self.millis(), counter_of(self.0) + u64::from(i), self.account()))
            }
            /// How many places `self` stands after `first` in the same span; `None` if it is not of that span's millisecond or account.
            pub fn place_after(self, first: Self) -> Option<u64> {
                (self.millis() == first.millis() && self.account() == first.account())
                    .then(|| counter_of(self.0).checked_sub(counter_of(first.0))).flatten()
            }
        }
        impl TypeId for $name {
            const PREFIX: &'static str = $prefix;
            fn from_uuid(id: Uuid) -> Self { Self(id) }
            fn uuid(self) -> Uuid { self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write_base32(self.0, f, $prefix) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write_base32(self.0, f, $prefix) }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { parse(text, $prefix).map(Self) }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An account (tenant). Seed 1's `client_id` is the bare UUID of one.
    AccountId = "acc";
    /// A person who signs in.
    UserId = "usr";
    /// A signed-in session of a user.
    SessionId = "ses";
    /// An API key (the id of its row, not the key).
    ApiKeyId = "key";
    /// One text to one phone number.
    MessageId = "msg";
    /// One request with many recipients.
    BatchId = "bat";
    /// A movement of money from outside or by hand.
    EntryId = "ent";
    /// A sender that an account asked for.
    SenderId = "snd";
    /// A picture, video or card to be sent.
    MediaId = "med";
    /// A verification of a phone number.
    VerificationId = "vrf";
    /// A row of the event outbox.
    EventId = "evt";
    /// A webhook endpoint.
    EndpointId = "whe";
    /// One configured instance of a provider.
    ConnectionId = "con";
    /// A rule that picks connections.
    RouteId = "rte";
    /// What a customer binds with by SMPP.
    SmppCredentialId = "smp";
    /// An entry of the suppression list.
    SuppressionId = "sup";
    /// A number that phones can write to.
    InboundNumberId = "inn";
    /// A message from a phone.
    InboundId = "inb";
    /// What one own number and one who writes to it have said.
    ConversationId = "cnv";
    /// What answers a keyword.
    KeywordRuleId = "kwr";
    /// A person who can be written to.
    ContactId = "ctc";
    /// A named set of contacts.
    GroupId = "grp";
    /// A short link in a message.
    ShortLinkId = "lnk";
    /// That somebody opened one.
    ClickId = "clk";
    /// A saved filter over contacts.
    SegmentId = "seg";
    /// An account's own database or program that recipients are read from.
    SourceId = "src";
    /// A table of contacts that was uploaded.
    ContactImportId = "imp";
    /// A record of consent.
    ConsentId = "cns";
    /// A mail to a person.
    EmailId = "eml";
    /// A planned send to an audience.
    CampaignId = "cmp";
    /// An uploaded file of people to write to.
    AudienceFileId = "aud";
    /// A text that is kept to be sent again.
    TemplateId = "tpl";
    /// A saved report.
    ReportId = "rpt";
    /// A sequence of texts that each person gets step by step.
    DripId = "drp";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_ids_and_texts_that_are_not() {
        let id = MessageId::new(1_700_000_000_000, 5, AccountNo(7));
        let shown = id.to_string();
        assert_eq!(shown.len(), 4 + 26);
        let foreign = shown.replace("msg_", "bat_");
        let bare = id.0.to_string();
        let rows: &[(&str, Result<MessageId, IdError>)] = &[
            (&shown, Ok(id)),
            (&bare, Ok(id)),
            (&foreign, Err(IdError::Prefix { expected: "msg" })),
            ("msg_", Err(IdError::Shape)),
            ("msg_81h455vb4pex5vsknk084sn02q", Err(IdError::Shape)),
            ("msg_01h455vb4pex5vsknk084sn02u", Err(IdError::Shape)),
            ("", Err(IdError::Shape)),
            ("550e8400-e29b-41d4-a716", Err(IdError::Shape)),
        ];
        for (text, expected) in rows {
            assert_eq!(&text.parse::<MessageId>(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_gives_back_what_it_was_made_of(ms in 0i64..(1 << 47), counter in 0u64..(1 << 41), no: u32, i in 0u32..1_000_000) {
            let first = MessageId::new(ms, counter, AccountNo(no));
            let later = first.nth(i);
            prop_assert_eq!(first.0.get_version_num(), 7);
            prop_assert_eq!((later.millis(), later.account()), (ms, AccountNo(no)));
            prop_assert_eq!(later.place_after(first), Some(u64::from(i)));
            prop_assert!(i == 0 || later > first);
            prop_assert_eq!(later.to_string().parse::<MessageId>(), Ok(later));
        }
    }
}
