//! How a text becomes parts: which encoding it gets, how many parts that makes (the unit of price), where it is cut, and
//! the octets of each part. 3GPP TS 23.038 (alphabets) and TS 23.040 §9.2.3.24 (the user data header).
//!
//! ```text
//! plan(text, options) ─> Plan { encoding, parts, … }          at intake, priced by it
//! segments(text, encoding, parts) ─> &str …                   at dispatch, cut again the same way
//! encode_part(segment, encoding, alphabet, udh.len()) ─> octets,  with udh(reference, total, index, shift) before them
//! ```

mod gsm7;
mod national;
mod national_tables;
mod octets;
mod split;
mod translit;

pub use gsm7::{pack, unpack};
pub use national::{Language, Shift};
pub use octets::{Alphabet, Flash, Udh, binary_segments, data_coding, decode, encode_part, recode_part, udh};
pub use split::{Segments, segments};

/// Octets of user data in one part, header included (TS 23.040 §9.2.3.24).
pub const PART_OCTETS: usize = 140;
/// Parts a concatenated message can have at most: its count is one octet.
pub const PARTS_MAX: u8 = 255;
/// Parts we take by default.
pub const PARTS_DEFAULT_MAX: u8 = 10;

/// What the units of a message are and how many fit a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// GSM 7-bit; units are septets. Signs that its tables lack are written with plainer ones (`translit`).
    Gsm7(Shift),
    /// UTF-16 big-endian (UCS-2 with surrogates); units are 16 bits.
    Ucs2,
    /// Octets as given.
    Binary,
}

/// What the planner may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most parts the message may have, 1 to 255.
    pub parts_max: u8,
    /// Spell typographic signs with plainer ones if that alone makes the text GSM-7.
    pub transliterate: bool,
    /// Tables that the route is known to carry.
    pub language: Option<Language>,
}

impl Default for Options {
    fn default() -> Self {
        Self { parts_max: PARTS_DEFAULT_MAX, transliterate: false, language: None }
    }
}

/// How a message will be sent. Price and cuts follow from it; it is made once, at acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The encoding of all parts.
    pub encoding: Encoding,
    /// Parts, at least 1.
    pub parts: u8,
    /// Units of the encoding: septets, 16-bit units or octets, without headers.
    pub units: u32,
    /// Characters written otherwise than given (transliterated).
    pub replaced: u32,
}

/// Why a text has no plan or a part no octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// More parts than allowed.
    #[error("the text makes {parts} parts, more than the {parts_max} allowed")]
    TooLong {
        /// What it would make.
        parts: u32,
        /// What the options allow.
        parts_max: u8,
    },
    /// The connection's alphabet cannot carry a character that the message's encoding has.
    #[error("the connection's alphabet has no {0:?}")]
    NotInAlphabet(char),
}

impl Plan {
    /// The text of each part, in order; see [`segments`].
    pub fn part_texts<'a>(&self, text: &'a str) -> Segments<'a> {
        segments(text, self.encoding, self.parts)
    }
}

impl Encoding {
    /// The number that is stored: the kind in the lowest four bits, the languages of the tables in the next two fours.
    pub const fn number(self) -> i16 {
        const fn language(language: Option<Language>) -> i16 {
            match language {
                None => 0,
                Some(language) => language.identifier() as i16,
            }
        }
        match self {
            Self::Gsm7(shift) => language(shift.single) << 4 | language(shift.locking) << 8,
            Self::Ucs2 => 1,
            Self::Binary => 2,
        }
    }

    /// The encoding of a stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        let language = |bits: i16| match bits & 0xF {
            0 => Some(None),
            identifier => Language::from_identifier(identifier as u8).map(Some),
        };
        match number {
            1 => Some(Self::Ucs2),
            2 => Some(Self::Binary),
            shift if shift & 0xF == 0 && (0..0x1000).contains(&shift) => {
                Some(Self::Gsm7(Shift { single: language(shift >> 4)?, locking: language(shift >> 8)? }))
            }
            _ => None,
        }
    }

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gsm7(_) => "gsm7",
            Self::Ucs2 => "ucs2",
            Self::Binary => "binary",
        }
    }

    /// Units that fit a part, alone or as one of several (with a 16-bit reference in the header): 160 and 152 septets,
    /// 70 and 66 16-bit units, 140 and 133 octets; fewer septets where the header names a language.
    pub const fn capacity(self, concatenated: bool) -> u32 {
        let shift = match self {
            Self::Gsm7(shift) => shift,
            Self::Ucs2 | Self::Binary => Shift::NONE,
        };
        let octets = (PART_OCTETS - octets::header_octets(concatenated, shift)) as u32;
        match self {
            Self::Gsm7(_) => octets * 8 / 7,
            Self::Ucs2 => octets / 2,
            Self::Binary => octets,
        }
    }

    /// Units of one character, with the replacement that GSM-7 may need; `None` if it cannot be written.
    fn units(self, c: char) -> Option<u32> {
        match self {
            Self::Gsm7(shift) => shift.place(c).map(gsm7::Place::septets).or_else(|| replaced_septets(c, shift)),
            Self::Ucs2 => Some(c.len_utf16() as u32),
            Self::Binary => Some(c.len_utf8() as u32),
        }
    }
}

fn replaced_septets(c: char, shift: Shift) -> Option<u32> {
    translit::replacement(c)?.chars().try_fold(0, |total, c| Some(total + shift.place(c)?.septets()))
}

/// The cheapest way to send a text that changes it least: GSM-7 as it is; with the language's tables; with signs
/// replaced; both; else UCS-2 with the text untouched. An empty text is one part.
pub fn plan(text: &str, options: &Options) -> Result<Plan, EncodingError> {
    if let Some(units) = gsm7::count(text) {
        return finish(text, Encoding::Gsm7(Shift::NONE), units, 0, options);
    }
    let with_language = || options.language.and_then(|language| count_language(text, language, false));
    let replaced = || options.transliterate.then(|| count(text, Shift::NONE, true)).flatten();
    let both = || options.language.filter(|_| options.transliterate).and_then(|l| count_language(text, l, true));
    if let Some(counted) = with_language().or_else(replaced).or_else(both) {
        return finish(text, Encoding::Gsm7(counted.shift), counted.septets, counted.replaced, options);
    }
    finish(text, Encoding::Ucs2, text.chars().map(|c| c.len_utf16() as u32).sum(), 0, options)
}

/// The plan of a binary message of so many octets.
pub fn plan_binary(octets: usize, options: &Options) -> Result<Plan, EncodingError> {
    let units = u32::try_from(octets).unwrap_or(u32::MAX);
    let parts = match units <= Encoding::Binary.capacity(false) {
        true => 1,
        false => units.div_ceil(Encoding::Binary.capacity(true)),
    };
    within(parts, options).map(|parts| Plan { encoding: Encoding::Binary, parts, units, replaced: 0 })
}

fn finish(text: &str, encoding: Encoding, units: u32, replaced: u32, options: &Options) -> Result<Plan, EncodingError> {
    within(parts(text, encoding, units), options).map(|parts| Plan { encoding, parts, units, replaced })
}

fn parts(text: &str, encoding: Encoding, units: u32) -> u32 {
    if units <= encoding.capacity(false) { 1 } else { split::count(text, encoding) }
}

fn within(parts: u32, options: &Options) -> Result<u8, EncodingError> {
    u8::try_from(parts)
        .ok()
        .filter(|parts| *parts <= options.parts_max)
        .ok_or(EncodingError::TooLong { parts, parts_max: options.parts_max })
}

/// A text counted in GSM-7 with the tables of `shift`.
struct Counted {
    shift: Shift,
    septets: u32,
    replaced: u32,
}

fn count(text: &str, shift: Shift, transliterate: bool) -> Option<Counted> {
    let mut counted = Counted { shift, septets: 0, replaced: 0 };
    for c in text.chars() {
        match shift.place(c) {
            Some(place) => counted.septets += place.septets(),
            None if transliterate => {
                counted.septets += replaced_septets(c, shift)?;
                counted.replaced += 1;
            }
            None => return None,
        }
    }
    Some(counted)
}

/// The language's tables that need the fewest parts; among equals the plainest, which more handsets know.
fn count_language(text: &str, language: Language, transliterate: bool) -> Option<Counted> {
    Shift::candidates(language)
        .filter_map(|shift| count(text, shift, transliterate))
        .min_by_key(|counted| parts(text, Encoding::Gsm7(counted.shift), counted.septets))
}

#[cfg(test)]
mod tests;
