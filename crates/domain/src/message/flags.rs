//! What a message is, one bit each.

use super::Category;

/// Yes/no properties of a message, one bit each (the `flags` column).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub i32);

impl Flags {
    /// Shown at once, not stored by the handset (class 0).
    pub const FLASH: Flags = Flags(1);
    /// Carries the express surcharge.
    pub const EXPRESS: Flags = Flags(2);
    /// Is a one-time code with a deadline.
    pub const OTP: Flags = Flags(4);
    /// Paid when the carrier takes it, not when the handset has it.
    pub const PAY_ON_ACCEPT: Flags = Flags(8);
    /// Someone wants to be told of its transitions.
    pub const EVENTS: Flags = Flags(16);
    /// Its body is nobody's to read but the recipient's: shown to no reader, erased once its fate is known.
    pub const SECRET: Flags = Flags(32);
    /// Its body is octets, not text.
    pub const BINARY: Flags = Flags(64);
    /// It was split by the rules with transliteration.
    pub const TRANSLITERATE: Flags = Flags(128);
    /// Its octets (`BINARY`) begin with a user data header of the sender's own; what follows is in the message's encoding. Bits 14 to 30
    /// are `smpp::SmppOrigin`'s.
    pub const HEADER: Flags = Flags(1 << 12);
    /// It is advertising: its category, where only the flags go with it.
    pub const PROMOTIONAL: Flags = Flags(2048);
    /// It went out with its files as they are, as one MMS, rather than as text with links; or it is about to.
    pub const MMS: Flags = Flags(256);
    /// It goes by carriers that its account brought, and is priced for that: the platform's do not take it.
    pub const OWN_CARRIER: Flags = Flags(512);
    /// It answers a word such as STOP or HELP: an opt-out does not hold it back.
    pub const ANSWER: Flags = Flags(1024);
    /// Its sender is a number of the account's that phones can write to. An index of the database names this number.
    pub const TWO_WAY: Flags = Flags(8192);

    /// It keeps the quiet hours of its recipient's country: no try falls into them.
    pub const QUIET: Flags = Flags(i32::MIN);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// What it is for, as the flags tell it.
    pub fn category(self) -> Category {
        if self.has(Flags::OTP) {
            Category::Otp
        } else if self.has(Flags::PROMOTIONAL) {
            Category::Promotional
        } else {
            Category::Transactional
        }
    }

    /// With those of `other` if `yes`.
    pub fn with(self, other: Flags, yes: bool) -> Flags {
        if yes { Flags(self.0 | other.0) } else { self }
    }
}
