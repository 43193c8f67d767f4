//! Messages from phones: what a carrier's coding means, and how the parts of a long one become a text again.

use crate::encoding::{Alphabet, Language, Shift, decode};

/// What stands in a text where a part never came.
pub const GAP: &str = "[…]";

/// How the octets of a piece are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writing {
    /// UTF-8, from a provider that decodes itself.
    Text,
    /// By an alphabet, with the national tables its header names.
    Coded(Alphabet, Shift),
}

impl Writing {
    /// The number that is stored: the alphabet, and four bits for each language.
    pub fn number(self) -> i16 {
        let language = |l: Option<Language>| l.map_or(0, |l| i16::from(l.identifier()));
        match self {
            Writing::Text => 0,
            Writing::Coded(alphabet, shift) => {
                let kind = match alphabet {
                    Alphabet::Gsm7 => 1,
                    Alphabet::Gsm7Packed => 2,
                    Alphabet::Latin1 => 3,
                    Alphabet::Ascii => 4,
                    Alphabet::Ucs2 => 5,
                    Alphabet::Octets => 6,
                };
                kind | language(shift.single) << 4 | language(shift.locking) << 8
            }
        }
    }

    /// From its number; one that nobody wrote is read as octets.
    pub fn from_number(number: i16) -> Writing {
        let language = |bits: i16| Language::from_identifier((bits & 0xF) as u8);
        let alphabet = match number & 0xF {
            0 => return Writing::Text,
            1 => Alphabet::Gsm7,
            2 => Alphabet::Gsm7Packed,
            3 => Alphabet::Latin1,
            4 => Alphabet::Ascii,
            5 => Alphabet::Ucs2,
            _ => Alphabet::Octets,
        };
        Writing::Coded(alphabet, Shift { single: language(number >> 4), locking: language(number >> 8) })
    }
}

/// The alphabet of a `data_coding` (SMPP 3.4 §5.2.19, TS 23.038 §4); 0 is what the carrier means by it. What we cannot read is octets.
pub fn alphabet_of(data_coding: u8, carrier: Alphabet) -> Alphabet {
    match data_coding {
        0 => carrier,
        1 => Alphabet::Ascii,
        3 => Alphabet::Latin1,
        8 => Alphabet::Ucs2,
        // The general group, and message class: bits 3 and 2 name the alphabet.
        0x10..=0x3F | 0xF0..=0xFF => match (data_coding >> 2 & 0b11, data_coding >= 0xF0) {
            (0b00, _) | (0b10, true) => carrier,
            (0b10, false) => Alphabet::Ucs2,
            _ => Alphabet::Octets,
        },
        _ => Alphabet::Octets,
    }
}

/// The national tables that a user data header names (TS 23.040 §9.2.3.24.15 and .16); `header` with its length octet.
pub fn shift_of(header: &[u8]) -> Shift {
    let mut shift = Shift::NONE;
    let mut elements = header.get(1..).unwrap_or_default();
    while let [id, length, rest @ ..] = elements {
        let Some((value, after)) = rest.split_at_checked(usize::from(*length)) else { break };
        match (id, value) {
            (0x24, [language]) => shift.single = Language::from_identifier(*language),
            (0x25, [language]) => shift.locking = Language::from_identifier(*language),
            _ => {}
        }
        elements = after;
    }
    shift
}

/// One part of a message, or all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// From 1.
    pub index: u8,
    /// What came, without its header.
    pub octets: Vec<u8>,
    /// How to read it.
    pub writing: Writing,
}

/// What a person wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A text.
    Text(String),
    /// Octets that are none.
    Octets(Vec<u8>),
}

/// A message put together again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    /// What it says.
    pub body: Body,
    /// The parts that never came, from 1.
    pub missing: Vec<u8>,
}

/// Joins pieces of a message of `total` parts, in order, with gaps marked. Neighbours written alike are read as one: handsets cut between the
/// halves of a character.
pub fn join(total: u8, pieces: &[Piece]) -> Whole {
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|p| p.index);
    sorted.dedup_by_key(|p| p.index);
    let missing: Vec<u8> = (1..=total.max(1)).filter(|i| sorted.iter().all(|p| p.index != *i)).collect();
    let octets = |p: &&Piece| matches!(p.writing, Writing::Coded(Alphabet::Octets, _));
    if !sorted.is_empty() && sorted.iter().all(octets) {
        return Whole { body: Body::Octets(sorted.iter().flat_map(|p| p.octets.clone()).collect()), missing };
    }
    let (mut text, mut run, mut last) = (String::new(), Vec::new(), None::<&Piece>);
    for piece in sorted {
        let after = last.map_or(1, |l| l.index.saturating_add(1));
        let gap = piece.index > after;
        if let Some(before) = last.filter(|l| gap || l.writing != piece.writing) {
            text += &read(&std::mem::take(&mut run), before.writing);
        }
        if gap {
            text += GAP;
        }
        run.extend_from_slice(&piece.octets);
        last = Some(piece);
    }
    if let Some(before) = last {
        text += &read(&run, before.writing);
    }
    if last.is_none_or(|l| l.index < total) {
        text += GAP;
    }
    // Databases and JSON alike take no NUL in a text.
    Whole { body: Body::Text(text.replace('\0', "")), missing }
}

fn read(octets: &[u8], writing: Writing) -> String {
    match writing {
        Writing::Text => String::from_utf8_lossy(octets).into_owned(),
        Writing::Coded(alphabet, shift) => decode(octets, alphabet, shift, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Alphabet::*;

    #[test]
    fn what_a_data_coding_means() {
        let rows = [
            (0x00, Gsm7),
            (0x01, Ascii),
            (0x02, Octets),
            (0x03, Latin1),
            (0x04, Octets),
            (0x08, Ucs2),
            (0x10, Gsm7),
            (0x14, Octets),
            (0x18, Ucs2),
            (0xF0, Gsm7),
            (0xF4, Octets),
            (0xF1, Gsm7),
            (0x05, Octets),
            (0x0E, Octets),
            (0x80, Octets),
        ];
        for (data_coding, expected) in rows {
            assert_eq!(alphabet_of(data_coding, Gsm7), expected, "{data_coding:#x}");
        }
        assert_eq!(alphabet_of(0, Latin1), Latin1);
        assert_eq!(alphabet_of(0xF1, Latin1), Latin1);
    }

    #[test]
    fn national_tables_of_a_header() {
        let turkish = Language::from_identifier(1);
        for (header, single, locking) in [
            (&[][..], None, None),
            (&[0][..], None, None),
            (&[3, 0x24, 1, 1], turkish, None),
            (&[9, 0x08, 4, 0, 7, 2, 1, 0x25, 1, 1], None, turkish),
            (&[3, 0x24, 1, 99], None, None),
            (&[3, 0x24, 9, 1], None, None),
        ] {
            assert_eq!(shift_of(header), Shift { single, locking }, "{header:?}");
        }
    }

    fn coded(index: u8, octets: &[u8], alphabet: Alphabet) -> Piece {
        Piece { index, octets: octets.to_vec(), writing: Writing::Coded(alphabet, Shift::NONE) }
    }

    #[test]
    fn parts_become_a_text() {
        let [a, b, c] = [(1, "one "), (2, "two "), (3, "three")].map(|(i, t)| coded(i, t.as_bytes(), Latin1));
        let text = |t: &str| Body::Text(t.into());
        let rows: Vec<(u8, Vec<Piece>, Body, Vec<u8>)> = vec![
            (1, vec![a.clone()], text("one "), vec![]),
            (3, vec![c.clone(), a.clone(), b.clone(), a.clone()], text("one two three"), vec![]),
            (3, vec![a.clone(), c.clone()], text("one […]three"), vec![2]),
            (3, vec![b.clone()], text("[…]two […]"), vec![1, 3]),
            (4, vec![a.clone(), b], text("one two […]"), vec![3, 4]),
            // Half an emoji in each.
            (2, vec![coded(2, &[0xDE, 0x00], Ucs2), coded(1, &[0xD8, 0x3D], Ucs2)], text("😀"), vec![]),
            // An escape at the end of one part, its sign at the head of the next.
            (2, vec![coded(1, &[0x1B], Gsm7), coded(2, &[0x65], Gsm7)], text("€"), vec![]),
            (2, vec![a, coded(2, &[0x06, 0x33], Ucs2)], text("one س"), vec![]),
            (2, vec![coded(1, &[1, 0], Octets), coded(2, &[255], Octets)], Body::Octets(vec![1, 0, 255]), vec![]),
        ];
        for (total, pieces, body, missing) in rows {
            assert_eq!(join(total, &pieces), Whole { body, missing }, "{pieces:?}");
        }
    }

    #[test]
    fn numbers_come_back() {
        let shift = Shift { single: Language::from_identifier(1), locking: Language::from_identifier(13) };
        for alphabet in [Gsm7, Gsm7Packed, Latin1, Ascii, Ucs2, Octets] {
            for writing in [Writing::Text, Writing::Coded(alphabet, shift), Writing::Coded(alphabet, Shift::NONE)] {
                assert_eq!(Writing::from_number(writing.number()), writing);
            }
        }
    }
}
