//! The octets of a part: user data header, text in the connection's alphabet, and `data_coding`; and back.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::gsm7::{self, ESCAPE, Place};
use super::national::Shift;
use super::{Encoding, EncodingError, translit};

/// What the octets of a part mean. A connection's setting says which of the first four its carrier takes for GSM-7
/// messages (SMPP's "SMSC default alphabet" is a different one at different carriers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// One GSM-7 septet in each octet: what nearly all carriers take.
    #[default]
    Gsm7,
    /// GSM-7 septets packed, eight in seven octets.
    Gsm7Packed,
    /// ISO 8859-1.
    Latin1,
    /// ASCII (IA5).
    Ascii,
    /// UTF-16 big-endian.
    Ucs2,
    /// Octets without meaning to the carrier.
    Octets,
}

/// How class 0 ("flash": shown at once, not kept) is written in `data_coding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flash {
    /// TS 23.038 general group: 0x10, 0x14, 0x18.
    #[default]
    General,
    /// Data coding/message class group: 0xF0, 0xF4. It has no UCS-2, which stays 0x18.
    MessageClass,
}

impl Encoding {
    /// The alphabet of this encoding's octets on a connection whose GSM-7 alphabet is `connection`.
    pub const fn alphabet(self, connection: Alphabet) -> Alphabet {
        match self {
            Self::Gsm7(_) => connection,
            Self::Ucs2 => Alphabet::Ucs2,
            Self::Binary => Alphabet::Octets,
        }
    }
}

/// SMPP `data_coding` of an alphabet (SMPP 3.4 §5.2.19). GSM-7 is 0, the carrier's default; a carrier that means Latin-1
/// or ASCII by 0 needs it overridden in the connection's settings.
pub const fn data_coding(alphabet: Alphabet, flash: Option<Flash>) -> u8 {
    match (alphabet, flash) {
        (Alphabet::Gsm7 | Alphabet::Gsm7Packed, None) => 0x00,
        (Alphabet::Ascii, None) => 0x01,
        (Alphabet::Latin1, None) => 0x03,
        (Alphabet::Octets, None) => 0x04,
        (Alphabet::Ucs2, None) => 0x08,
        (Alphabet::Ucs2, Some(_)) => 0x18,
        (Alphabet::Octets, Some(Flash::General)) => 0x14,
        (Alphabet::Octets, Some(Flash::MessageClass)) => 0xF4,
        (_, Some(Flash::General)) => 0x10,
        (_, Some(Flash::MessageClass)) => 0xF0,
    }
}

/// Octets of the header, its own length octet included; 0 without any element.
pub(super) const fn header_octets(concatenated: bool, shift: Shift) -> usize {
    let elements = if concatenated { 6 } else { 0 } + 3 * shift.elements();
    if elements == 0 { 0 } else { elements + 1 }
}

/// A user data header (TS 23.040 §9.2.3.24), its length octet first. Empty if the part needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udh {
    octets: [u8; 13],
    len: u8,
}

impl Deref for Udh {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

/// The header of part `index` (from 1) of `total`: concatenation with a 16-bit reference (element 0x08) if there are
/// several, and the languages of the tables (0x24, 0x25). A header that is not empty goes with `esm_class` 0x40.
pub fn udh(reference: u16, total: u8, index: u8, shift: Shift) -> Udh {
    let mut udh = Udh { octets: [0; 13], len: 1 };
    let mut add = |octets: &[u8]| {
        let at = usize::from(udh.len);
        udh.octets[at..at + octets.len()].copy_from_slice(octets);
        udh.len += octets.len() as u8;
    };
    if total > 1 {
        let [high, low] = reference.to_be_bytes();
        add(&[0x08, 4, high, low, total, index]);
    }
    if let Some(language) = shift.single {
        add(&[0x24, 1, language.identifier()]);
    }
    if let Some(language) = shift.locking {
        add(&[0x25, 1, language.identifier()]);
    }
    udh.octets[0] = udh.len - 1;
    if udh.octets[0] == 0 {
        udh.len = 0;
    }
    udh
}

/// The octets of one part's text, without its header. `connection` is the connection's alphabet for GSM-7 texts; a
/// `header_octets` other than 0 shifts packed septets to their boundary. Fails only where an alphabet that is not
/// GSM-7 lacks a character: another connection can carry it.
pub fn encode_part(
    part: &str,
    encoding: Encoding,
    connection: Alphabet,
    header_octets: usize,
) -> Result<Vec<u8>, EncodingError> {
    let shift = match encoding {
        Encoding::Gsm7(shift) => shift,
        Encoding::Ucs2 | Encoding::Binary => Shift::NONE,
    };
    Ok(match encoding.alphabet(connection) {
        Alphabet::Gsm7 => septets(part, shift),
        Alphabet::Gsm7Packed => gsm7::pack(&septets(part, shift), header_octets),
        Alphabet::Latin1 => narrow(part, 0xFF)?,
        Alphabet::Ascii => narrow(part, 0x7F)?,
        Alphabet::Ucs2 => utf16(part),
        Alphabet::Octets => part.as_bytes().to_vec(),
    })
}

/// The octets of a binary message, cut into its parts.
pub fn binary_segments(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let single = octets.len() <= Encoding::Binary.capacity(false) as usize;
    let size = if single { octets.len().max(1) } else { Encoding::Binary.capacity(true) as usize };
    let empty = octets.is_empty().then_some(octets);
    empty.into_iter().chain(octets.chunks(size))
}

/// The text of a part that came in, without its header. Nothing fails: what has no meaning is shown as U+FFFD or space.
pub fn decode(octets: &[u8], alphabet: Alphabet, shift: Shift, header_octets: usize) -> String {
    match alphabet {
        Alphabet::Gsm7 => gsm7::decode(octets, shift),
        Alphabet::Gsm7Packed => gsm7::decode(&gsm7::unpack(octets, header_octets), shift),
        Alphabet::Latin1 => octets.iter().copied().map(char::from).collect(),
        Alphabet::Ascii => octets.iter().map(|&o| if o.is_ascii() { char::from(o) } else { '\u{FFFD}' }).collect(),
        Alphabet::Ucs2 => {
            let units = octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            char::decode_utf16(units).map(|c| c.unwrap_or('\u{FFFD}')).collect()
        }
        Alphabet::Octets => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// The octets behind a user data header of the sender's own, as the connection takes them: GSM-7 is held a septet in each octet, and leaves in
/// the connection's alphabet. Fails as `encode_part` does.
pub fn recode_part(
    octets: &[u8],
    encoding: Encoding,
    connection: Alphabet,
    header_octets: usize,
) -> Result<Vec<u8>, EncodingError> {
    match encoding.alphabet(connection) {
        Alphabet::Gsm7Packed => Ok(gsm7::pack(octets, header_octets)),
        narrow @ (Alphabet::Latin1 | Alphabet::Ascii) => {
            let shift = if let Encoding::Gsm7(shift) = encoding { shift } else { Shift::NONE };
            encode_part(&gsm7::decode(octets, shift), encoding, narrow, header_octets)
        }
        Alphabet::Gsm7 | Alphabet::Ucs2 | Alphabet::Octets => Ok(octets.to_vec()),
    }
}

/// Septets of a text, signs replaced where the tables lack them, `?` for what a plan would not have let through.
fn septets(text: &str, shift: Shift) -> Vec<u8> {
    if shift == Shift::NONE && gsm7::is_plain(text.as_bytes()) {
        return text.bytes().map(gsm7::plain_septet).collect();
    }
    let mut septets = Vec::with_capacity(text.len() + 8);
    let mut push = |place| match place {
        Place::Main(septet) => septets.push(septet),
        Place::Escaped(septet) => septets.extend([ESCAPE, septet]),
    };
    for c in text.chars() {
        match shift.place(c) {
            Some(place) => push(place),
            None => translit::replacement(c)
                .unwrap_or("?")
                .chars()
                .for_each(|c| push(shift.place(c).unwrap_or(Place::Main(b'?')))),
        }
    }
    septets
}

fn utf16(text: &str) -> Vec<u8> {
    // At most two octets for each of UTF-8's.
    let mut octets = Vec::with_capacity(text.len() * 2);
    for unit in text.encode_utf16() {
        octets.extend_from_slice(&unit.to_be_bytes());
    }
    octets
}

/// One octet a character, up to `last`, signs replaced where that helps.
fn narrow(text: &str, last: u32) -> Result<Vec<u8>, EncodingError> {
    let mut octets = Vec::with_capacity(text.len());
    for c in text.chars() {
        if c as u32 <= last {
            octets.push(c as u8);
            continue;
        }
        let plain = translit::replacement(c).ok_or(EncodingError::NotInAlphabet(c))?;
        octets.extend_from_slice(plain.as_bytes());
    }
    Ok(octets)
}
