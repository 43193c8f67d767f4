//! In what a text file is written, told from its octets alone, and how it is read piece by piece.
//!
//! Spreadsheets save UTF-8 with or without a mark, UTF-16, or the old code page of Western Windows. A file that is UTF-8 from end to end is
//! UTF-8: other text is so by chance about never. Windows-1252 is what remains; every file can be read as it.

use crate::message::numbered;

numbered! {
    /// How characters are written as octets.
    Charset: i16 {
        /// UTF-8, with or without a byte order mark.
        Utf8 = 0 "utf-8",
        /// UTF-16, little end first.
        Utf16Le = 1 "utf-16le",
        /// UTF-16, big end first.
        Utf16Be = 2 "utf-16be",
        /// Windows-1252, and so Latin-1 where that has letters.
        Windows1252 = 3 "windows-1252",
    }
}

/// Octets at the beginning that are looked at for UTF-16 without a mark.
const LOOKED_AT: usize = 4_096;
/// What stands for octets that mean nothing.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;
const MARK: char = '\u{feff}';

/// The characters of Windows-1252 from 0x80 to 0x9F; the five octets it leaves open are control characters, as in Latin-1.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Watches a file go by, and then tells in what it is written.
#[derive(Clone, Debug, Default)]
pub struct Sniffer {
    head: Vec<u8>,
    /// The beginning of a character that the next piece goes on with.
    open: Vec<u8>,
    not_utf8: bool,
}

impl Sniffer {
    /// The next octets.
    pub fn see(&mut self, octets: &[u8]) {
        let room = LOOKED_AT.saturating_sub(self.head.len()).min(octets.len());
        self.head.extend_from_slice(&octets[..room]);
        if self.not_utf8 {
            return;
        }
        let joined = [&self.open, octets].concat();
        self.open.clear();
        if let Err(e) = std::str::from_utf8(&joined) {
            match e.error_len() {
                None => self.open = joined[e.valid_up_to()..].to_vec(),
                Some(_) => self.not_utf8 = true,
            }
        }
    }

    /// In what all that was seen is written.
    pub fn told(&self) -> Charset {
        match self.head.as_slice() {
            [0xFF, 0xFE, ..] => return Charset::Utf16Le,
            [0xFE, 0xFF, ..] => return Charset::Utf16Be,
            _ => {}
        }
        // Text of Western letters has a zero in half of its octets; no other encoding has any.
        let zeros = |first: usize| self.head.iter().skip(first).step_by(2).filter(|octet| **octet == 0).count();
        let [even, odd] = [zeros(0), zeros(1)];
        match () {
            () if odd > even && odd * 4 > self.head.len() => Charset::Utf16Le,
            () if even > odd && even * 4 > self.head.len() => Charset::Utf16Be,
            () if self.not_utf8 || !self.open.is_empty() => Charset::Windows1252,
            () => Charset::Utf8,
        }
    }
}

/// Reads a file piece by piece; what means nothing becomes U+FFFD.
#[derive(Clone, Debug)]
pub struct Decoder {
    charset: Charset,
    /// The beginning of a character that the next piece goes on with.
    open: Vec<u8>,
    begun: bool,
}

impl Decoder {
    /// Of a file from its beginning.
    pub fn new(charset: Charset) -> Decoder {
        Decoder { charset, open: Vec::new(), begun: false }
    }

    /// Appends what the next octets say. The mark at the beginning of a file says nothing.
    pub fn read(&mut self, octets: &[u8], out: &mut String) {
        let start = out.len();
        let joined = [&self.open, octets].concat();
        self.open.clear();
        match self.charset {
            Charset::Utf8 => self.utf8(&joined, out),
            Charset::Utf16Le => self.utf16(&joined, u16::from_le_bytes, out),
            Charset::Utf16Be => self.utf16(&joined, u16::from_be_bytes, out),
            Charset::Windows1252 => out.extend(joined.iter().map(|octet| match octet {
                0x80..=0x9F => WINDOWS_1252[usize::from(octet - 0x80)],
                other => char::from(*other),
            })),
        }
        if !self.begun && out.len() > start {
            self.begun = true;
            if out[start..].starts_with(MARK) {
                out.replace_range(start..start + MARK.len_utf8(), "");
            }
        }
    }

    /// The file has ended: half a character at its end means nothing.
    pub fn end(&mut self, out: &mut String) {
        if !self.open.is_empty() {
            self.open.clear();
            out.push(REPLACEMENT);
        }
    }

    fn utf8(&mut self, mut rest: &[u8], out: &mut String) {
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => return out.push_str(text),
                Err(e) => {
                    let (good, after) = rest.split_at(e.valid_up_to());
                    out.push_str(std::str::from_utf8(good).expect("it is valid up to there"));
                    let Some(bad) = e.error_len() else {
                        self.open = after.to_vec();
                        return;
                    };
                    out.push(REPLACEMENT);
                    rest = &after[bad..];
                }
            }
        }
    }

    fn utf16(&mut self, octets: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) {
        let (pairs, odd) = octets.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        // The first half of a pair of surrogates waits for the second.
        if units.last().is_some_and(|last| (0xD800..0xDC00).contains(last)) {
            units.pop();
            self.open.extend_from_slice(&pairs[units.len()]);
        }
        self.open.extend_from_slice(odd);
        out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(REPLACEMENT)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, charset: Charset, mark: bool) -> Vec<u8> {
        let text = if mark { format!("{MARK}{text}") } else { text.to_owned() };
        match charset {
            Charset::Utf8 => text.into_bytes(),
            Charset::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Charset::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Charset::Windows1252 => text
                .chars()
                .map(|c| match WINDOWS_1252.iter().position(|known| *known == c) {
                    Some(place) => 0x80 + place as u8,
                    None => c as u8,
                })
                .collect(),
        }
    }

    fn told(octets: &[u8], piece: usize) -> Charset {
        let mut sniffer = Sniffer::default();
        octets.chunks(piece).for_each(|piece| sniffer.see(piece));
        sniffer.told()
    }

    fn read(octets: &[u8], charset: Charset, piece: usize) -> String {
        let (mut decoder, mut out) = (Decoder::new(charset), String::new());
        octets.chunks(piece).for_each(|piece| decoder.read(piece, &mut out));
        decoder.end(&mut out);
        out
    }

    #[test]
    fn files_and_what_they_are_written_in() {
        use Charset::*;
        let rows: &[(&[u8], Charset, &str)] = &[
            (b"", Utf8, ""),
            (b"phone,name\n", Utf8, "phone,name\n"),
            ("\u{feff}Zoë".as_bytes(), Utf8, "Zoë"),
            ("Zoë 🍕".as_bytes(), Utf8, "Zoë 🍕"),
            (b"Zo\xEB, \x80 5", Windows1252, "Zoë, € 5"),
            (b"Stra\xDFe", Windows1252, "Straße"),
            (b"cut short \xC3", Windows1252, "cut short Ã"),
            (b"\xFF\xFEZ\0o\0\xEB\0", Utf16Le, "Zoë"),
            (b"\xFE\xFF\0Z\0o\0\xEB", Utf16Be, "Zoë"),
            (b"p\0h\0o\0n\0e\0", Utf16Le, "phone"),
            (b"\0p\0h\0o\0n\0e", Utf16Be, "phone"),
            (b"\xFF\xFE=\xD8U\xDE\x01", Utf16Le, "🙕\u{fffd}"),
        ];
        for (octets, charset, text) in rows {
            for piece in [1, 2, 3, 64] {
                assert_eq!(told(octets, piece), *charset, "{octets:?}");
                assert_eq!(read(octets, *charset, piece), *text, "{octets:?} by {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[a-zA-Z0-9 äöüßéë€“,;\n]{1,80}", kind in 0usize..4, mark: bool, piece in 1usize..9) {
            let charset = Charset::ALL[kind];
            let mark = mark && charset != Charset::Windows1252;
            let octets = written(&text, charset, mark);
            prop_assert_eq!(read(&octets, charset, piece), text.clone());
            if mark {
                prop_assert_eq!(told(&octets, piece), charset);
            }
        }

        #[test]
        fn no_octets_are_too_strange(octets: Vec<u8>, kind in 0usize..4, piece in 1usize..9) {
            let charset = Charset::ALL[kind];
            prop_assert_eq!(read(&octets, charset, piece), read(&octets, charset, octets.len().max(1)));
            told(&octets, piece);
        }
    }
}
