//! The GSM 7-bit default alphabet and its extension (3GPP TS 23.038 §6.2.1), and packing septets into octets (§6.1.2.1).

use super::national::Shift;

/// Escape to the extension or single shift table: the next septet is looked up there.
pub(super) const ESCAPE: u8 = 0x1B;
/// Carriage return, which fills an octet that would otherwise read as a trailing `@`.
const CARRIAGE_RETURN: u8 = 0x0D;

/// Table 6.2.1 by septet; the escape stands for itself.
#[rustfmt::skip]
pub(super) const DEFAULT: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å',
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\x1B', 'Æ', 'æ', 'ß', 'É',
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§',
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// Table 6.2.1.1: what the default extension adds.
pub(super) const EXTENSION: [(u8, char); 10] = [
    (0x0A, '\x0C'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// Where a character stands: a septet, in the main table or behind the escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Main(u8),
    Escaped(u8),
}

impl Place {
    /// Septets it takes.
    pub(super) const fn septets(self) -> u32 {
        match self {
            Self::Main(_) => 1,
            Self::Escaped(_) => 2,
        }
    }
}

/// Place of each U+0000..U+00FF in the default tables.
const LATIN_PLACES: [Option<Place>; 256] = {
    let mut places = [None; 256];
    let mut at = 0;
    while at < 128 {
        if (DEFAULT[at] as usize) < 256 && at != ESCAPE as usize {
            places[DEFAULT[at] as usize] = Some(Place::Main(at as u8));
        }
        at += 1;
    }
    let mut at = 0;
    while at < EXTENSION.len() {
        if (EXTENSION[at].1 as usize) < 256 {
            places[EXTENSION[at].1 as usize] = Some(Place::Escaped(EXTENSION[at].0));
        }
        at += 1;
    }
    places
};

/// The place of a character in the default tables.
pub(super) fn place(c: char) -> Option<Place> {
    if (c as usize) < LATIN_PLACES.len() {
        return LATIN_PLACES[c as usize];
    }
    match c {
        '€' => Some(Place::Escaped(0x65)),
        'Α'..='Ω' => DEFAULT.iter().position(|&known| known == c).map(|at| Place::Main(at as u8)),
        _ => None,
    }
}

/// Whether every octet is ASCII that takes one septet. Written without branches, so that it runs over many octets at a
/// time: nearly every text passes here, and then its length is its count.
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, &octet| {
        let capital_sign_or_digit = octet.wrapping_sub(b' ') <= b'Z' - b' ';
        let small = octet.wrapping_sub(b'a') <= b'z' - b'a';
        plain & (capital_sign_or_digit | small | (octet == b'_') | (octet == b'\n') | (octet == b'\r'))
    })
}

/// The septet of an octet that [`is_plain`]: itself, but for three.
pub(super) const fn plain_septet(octet: u8) -> u8 {
    match octet {
        b'@' => 0x00,
        b'$' => 0x02,
        b'_' => 0x11,
        same => same,
    }
}

/// Septets of the whole text in the default tables; `None` if a character is in neither. No allocation; this is run for
/// every message, and for nearly all of them it is the whole of planning.
pub(super) fn count(text: &str) -> Option<u32> {
    if is_plain(text.as_bytes()) {
        return u32::try_from(text.len()).ok();
    }
    text.chars().try_fold(0, |total, c| Some(total + place(c)?.septets()))
}

/// Text from septets, one in each octet. An escape before a septet that its table lacks shows the main table's
/// character, two escapes or one at the end a space (§6.2.1.1).
pub(super) fn decode(septets: &[u8], shift: Shift) -> String {
    let mut text = String::with_capacity(septets.len());
    let mut septets = septets.iter().map(|septet| septet & 0x7F);
    while let Some(septet) = septets.next() {
        if septet != ESCAPE {
            text.push(shift.main(septet).unwrap_or(' '));
            continue;
        }
        let shown = match septets.next() {
            None | Some(ESCAPE) => ' ',
            Some(next) => shift.escaped(next).or_else(|| shift.main(next)).unwrap_or(' '),
        };
        text.push(shown);
    }
    text
}

/// Packs septets, the first in the lowest bits. `header_octets` is the user data header before them: the text begins at
/// the next septet boundary after it, and those fill bits lead the result. Seven bits left over would read as `@`; they
/// become a carriage return, as §6.1.2.3.1 has it.
pub fn pack(septets: &[u8], header_octets: usize) -> Vec<u8> {
    let fill_bits = (7 - header_octets * 8 % 7) % 7;
    let bits = fill_bits + septets.len() * 7;
    let spare = (8 - bits % 8) % 8 == 7;
    let mut octets = vec![0; bits.div_ceil(8)];
    let padding = spare.then_some(CARRIAGE_RETURN);
    for (at, septet) in septets.iter().copied().chain(padding).enumerate() {
        let bit = fill_bits + at * 7;
        let wide = u16::from(septet & 0x7F) << (bit % 8);
        octets[bit / 8] |= wide as u8;
        if wide > 0xFF {
            octets[bit / 8 + 1] |= (wide >> 8) as u8;
        }
    }
    octets
}

/// The septets packed by [`pack`] after a header of so many octets. A carriage return that ends exactly at the last
/// octet is taken for the padding it nearly always is.
pub fn unpack(octets: &[u8], header_octets: usize) -> Vec<u8> {
    let fill_bits = (7 - header_octets * 8 % 7) % 7;
    let count = (octets.len() * 8).saturating_sub(fill_bits) / 7;
    let mut septets: Vec<u8> = (0..count)
        .map(|at| {
            let bit = fill_bits + at * 7;
            let low = u16::from(octets[bit / 8]);
            let high = octets.get(bit / 8 + 1).copied().map_or(0, u16::from);
            ((low | high << 8) >> (bit % 8)) as u8 & 0x7F
        })
        .collect();
    let full = (fill_bits + count * 7).is_multiple_of(8);
    if full && septets.last() == Some(&CARRIAGE_RETURN) {
        septets.pop();
    }
    septets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_tables_is_found_where_it_stands() {
        for (septet, c) in DEFAULT.into_iter().enumerate().filter(|(septet, _)| *septet != ESCAPE as usize) {
            assert_eq!(place(c), Some(Place::Main(septet as u8)), "{c:?}");
        }
        for (septet, c) in EXTENSION {
            assert_eq!(place(c), Some(Place::Escaped(septet)), "{c:?}");
        }
        for c in ['ç', '`', '\t', '\x1B', '\0', 'Α', 'Ϊ', '’', 'ş', '中', '😀'] {
            assert_eq!(place(c), None, "{c:?}");
        }
    }

    #[test]
    fn plain_is_what_takes_one_septet_of_ascii() {
        for octet in 0..=u8::MAX {
            let septet = char::from(octet).is_ascii().then(|| place(char::from(octet))).flatten();
            let plain = is_plain(&[octet]).then(|| Place::Main(plain_septet(octet)));
            assert_eq!(plain, septet.filter(|place| matches!(place, Place::Main(_))), "{octet:#x}");
        }
    }

    #[test]
    fn known_septets() {
        let table: &[(char, u8)] = &[
            ('@', 0x00),
            ('$', 0x02),
            ('_', 0x11),
            ('¡', 0x40),
            ('§', 0x5F),
            ('¿', 0x60),
            ('à', 0x7F),
            ('Ω', 0x15),
            ('A', 0x41),
            ('z', 0x7A),
        ];
        for (c, septet) in table {
            assert_eq!(place(*c), Some(Place::Main(*septet)), "{c:?}");
        }
    }

    #[test]
    fn packing_is_that_of_the_standard() {
        // The well-known example, and the seven spare bits of a seventh septet.
        assert_eq!(pack(b"hellohello", 0), [0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37]);
        assert_eq!(pack(b"1234567", 0).last(), Some(&0x1A));
        assert_eq!(unpack(&pack(b"1234567", 0), 0), b"1234567");
        // After a header of 6 octets the text begins one bit later (48 bits are 6 septets and 6 bits).
        assert_eq!(pack(&[0x7F], 6), [0xFE]);
        // After one of 7 octets it begins at once (56 bits are 8 septets).
        assert_eq!(pack(&[0x7F], 7), [0x7F]);
    }

    proptest::proptest! {
        #[test]
        fn unpacking_gives_back_what_was_packed(
            septets in proptest::collection::vec(0_u8..128, 0..200), header in 0_usize..14,
        ) {
            let mut expected = septets.clone();
            let packed = pack(&septets, header);
            let fill_bits = (7 - header * 8 % 7) % 7;
            if (fill_bits + septets.len() * 7) % 8 == 0 && expected.last() == Some(&CARRIAGE_RETURN) {
                expected.pop();
            }
            proptest::prop_assert_eq!(unpack(&packed, header), expected);
        }
    }
}
