//! What a message is from: an alphanumeric name, a short code or a long code, told apart by how it is written, with the
//! SMPP type of number that goes with each. Whether an account may use a sender is decided in `policy`.

pub mod policy;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::phone::Phone;

/// GSM allows eleven characters in an alphanumeric address (3GPP TS 23.040 §9.1.2.5).
const NAME_CHARACTERS_MAX: usize = 11;
/// Signs allowed in names beside letters and digits: those that all carriers pass.
const NAME_SIGNS: &[char] = &[' ', '.', '-', '_', '&', '+', '\''];
/// Digits of a short code.
const SHORT_CODE_DIGITS: std::ops::RangeInclusive<usize> = 3..=8;

/// A sender as it is shown on the handset. Its text is one of: 1 to 11 letters, digits and signs with a letter among
/// them; 3 to 8 digits; `+` and a phone number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sender {
    text: Box<str>,
    kind: SenderKind,
}

/// The three kinds of sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderKind {
    /// A name: cannot be answered.
    Alphanumeric,
    /// A number of 3 to 8 digits, valid in one country.
    ShortCode,
    /// A phone number, E.164.
    LongCode,
}

/// Why a text is no sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// Nothing there.
    #[error("the sender is empty")]
    Empty,
    /// A name of more than 11 characters.
    #[error("a sender name has at most 11 characters")]
    TooLong,
    /// A character that carriers do not pass.
    #[error("a sender name cannot contain {0:?}: use letters, digits, space and . - _ & + '")]
    Character(char),
    /// A name cannot begin or end with a space.
    #[error("a sender name cannot begin or end with a space")]
    OuterSpace,
    /// Digits and signs alone: neither a name nor a number.
    #[error("a sender name needs a letter; a phone number needs + and the country code")]
    NoLetter,
    /// Digits alone, too few or too many for a short code.
    #[error("a short code has 3 to 8 digits; a phone number needs + and the country code")]
    ShortCodeLength,
    /// `+` and digits that are no E.164 number.
    #[error("a long code is + and 7 to 15 digits with the country code")]
    LongCode,
}

impl SenderError {
    /// The stable code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "sender_empty",
            Self::TooLong => "sender_too_long",
            Self::Character(_) => "sender_character",
            Self::OuterSpace => "sender_outer_space",
            Self::NoLetter => "sender_no_letter",
            Self::ShortCodeLength => "sender_short_code_length",
            Self::LongCode => "sender_long_code",
        }
    }
}

impl Sender {
    /// The sender as written; long codes as `+` and digits.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its kind.
    pub const fn kind(&self) -> SenderKind {
        self.kind
    }

    /// A number that phones write to, given as digits alone: a short code, or a long one.
    pub fn of_number(digits: &str) -> Option<Sender> {
        let long = digits.len() > *SHORT_CODE_DIGITS.end();
        if long { format!("+{digits}").parse().ok() } else { digits.parse().ok() }
    }

    /// As an SMPP source address: without the `+`.
    pub fn address(&self) -> &str {
        self.text.strip_prefix('+').filter(|_| self.kind == SenderKind::LongCode).unwrap_or(&self.text)
    }
}

impl SenderKind {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alphanumeric => "alphanumeric",
            Self::ShortCode => "short_code",
            Self::LongCode => "long_code",
        }
    }

    /// SMPP type of number (SMPP 3.4 §5.2.5). Carriers differ over short codes (3 or 0): a connection may override it.
    pub const fn ton(self) -> u8 {
        match self {
            Self::LongCode => 1,
            Self::ShortCode => 3,
            Self::Alphanumeric => 5,
        }
    }

    /// SMPP numbering plan indicator (SMPP 3.4 §5.2.6).
    pub const fn npi(self) -> u8 {
        match self {
            Self::LongCode => 1,
            Self::ShortCode | Self::Alphanumeric => 0,
        }
    }
}

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, SenderError> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() {
            return Err(SenderError::Empty);
        }
        let kind = if text.strip_prefix('+').is_some_and(digits) {
            text.parse::<Phone>().map_err(|_| SenderError::LongCode)?;
            SenderKind::LongCode
        } else if digits(text) {
            SHORT_CODE_DIGITS.contains(&text.len()).then_some(()).ok_or(SenderError::ShortCodeLength)?;
            SenderKind::ShortCode
        } else {
            check_name(text)?;
            SenderKind::Alphanumeric
        };
        Ok(Self { text: text.into(), kind })
    }
}

fn check_name(text: &str) -> Result<(), SenderError> {
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !NAME_SIGNS.contains(c)) {
        return Err(SenderError::Character(c));
    }
    if text.len() > NAME_CHARACTERS_MAX {
        return Err(SenderError::TooLong);
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(SenderError::OuterSpace);
    }
    text.bytes().any(|byte| byte.is_ascii_alphabetic()).then_some(()).ok_or(SenderError::NoLetter)
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Sender {
    type Error = SenderError;
    fn try_from(text: String) -> Result<Self, SenderError> {
        text.parse()
    }
}

impl From<Sender> for String {
    fn from(sender: Sender) -> Self {
        sender.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        use SenderKind::{Alphanumeric, LongCode, ShortCode};
        let table = [
            // text, kind, ton, npi, address
            ("SENDER", Alphanumeric, 5, 0, "SENDER"),
            ("BANK", Alphanumeric, 5, 0, "BANK"),
            ("URGENT", Alphanumeric, 5, 0, "URGENT"),
            ("TEST", Alphanumeric, 5, 0, "TEST"),
            ("A", Alphanumeric, 5, 0, "A"),
            ("Joe's & Co.", Alphanumeric, 5, 0, "Joe's & Co."),
            ("123 Taxi", Alphanumeric, 5, 0, "123 Taxi"),
            ("+A", Alphanumeric, 5, 0, "+A"),
            ("123", ShortCode, 3, 0, "123"),
            ("12345678", ShortCode, 3, 0, "12345678"),
            ("+4915112345678", LongCode, 1, 1, "4915112345678"),
            ("+1234567890", LongCode, 1, 1, "1234567890"),
        ];
        for (text, kind, ton, npi, address) in table {
            let sender: Sender = text.parse().expect(text);
            assert_eq!((sender.kind(), sender.kind().ton(), sender.kind().npi()), (kind, ton, npi), "{text}");
            assert_eq!((sender.as_str(), sender.address()), (text, address));
        }
    }

    #[test]
    fn refused() {
        let table = [
            ("", SenderError::Empty),
            ("ABCDEFGHIJKL", SenderError::TooLong),
            ("Café", SenderError::Character('é')),
            ("A\0B", SenderError::Character('\0')),
            ("A\nB", SenderError::Character('\n')),
            ("<script>", SenderError::Character('<')),
            (" BANK", SenderError::OuterSpace),
            ("BANK ", SenderError::OuterSpace),
            ("12-34", SenderError::NoLetter),
            ("+", SenderError::NoLetter),
            ("12", SenderError::ShortCodeLength),
            ("123456789", SenderError::ShortCodeLength),
            ("+123456", SenderError::LongCode),
            ("+0123456789", SenderError::LongCode),
            ("+1234567890123456", SenderError::LongCode),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Sender>(), Err(error), "{text:?}");
        }
    }
}
