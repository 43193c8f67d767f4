//! National languages of the GSM 7-bit alphabet (3GPP TS 23.038 §6.2.1.2 and Annex A): a *single shift* table replaces
//! the extension (two septets a character), a *locking shift* table the alphabet itself. Few carriers pass them, so they
//! are used only where an account or a route asks for a language.

use serde::{Deserialize, Serialize};

use super::gsm7::{self, Place};
use super::national_tables as tables;

/// A language with tables of its own, by its National Language Identifier (§6.2.1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Language {
    Turkish = 1,
    Spanish = 2,
    Portuguese = 3,
    Bengali = 4,
    Gujarati = 5,
    Hindi = 6,
    Kannada = 7,
    Malayalam = 8,
    Oriya = 9,
    Punjabi = 10,
    Tamil = 11,
    Telugu = 12,
    Urdu = 13,
}

impl Language {
    /// All of them, in order of identifier.
    pub const ALL: [Self; 13] = [
        Self::Turkish,
        Self::Spanish,
        Self::Portuguese,
        Self::Bengali,
        Self::Gujarati,
        Self::Hindi,
        Self::Kannada,
        Self::Malayalam,
        Self::Oriya,
        Self::Punjabi,
        Self::Tamil,
        Self::Telugu,
        Self::Urdu,
    ];

    /// The octet in the header that names it.
    pub const fn identifier(self) -> u8 {
        self as u8
    }

    /// The language of an identifier; unknown ones are to be read as the default alphabet.
    pub fn from_identifier(identifier: u8) -> Option<Self> {
        Self::ALL.get(usize::from(identifier).checked_sub(1)?).copied()
    }

    fn single(self) -> [tables::Runs; 2] {
        match self {
            Self::Turkish => [tables::DEFAULT_EXTENSION, tables::TURKISH_SINGLE],
            Self::Spanish => [tables::DEFAULT_EXTENSION, tables::SPANISH_SINGLE],
            Self::Portuguese => [tables::DEFAULT_EXTENSION, tables::PORTUGUESE_SINGLE],
            Self::Bengali => [tables::COMMON_EXTENSION, tables::BENGALI_SINGLE],
            Self::Gujarati => [tables::COMMON_EXTENSION, tables::GUJARATI_SINGLE],
            Self::Hindi => [tables::COMMON_EXTENSION, tables::HINDI_SINGLE],
            Self::Kannada => [tables::COMMON_EXTENSION, tables::KANNADA_SINGLE],
            Self::Malayalam => [tables::COMMON_EXTENSION, tables::MALAYALAM_SINGLE],
            Self::Oriya => [tables::COMMON_EXTENSION, tables::ORIYA_SINGLE],
            Self::Punjabi => [tables::COMMON_EXTENSION, tables::PUNJABI_SINGLE],
            Self::Tamil => [tables::COMMON_EXTENSION, tables::TAMIL_SINGLE],
            Self::Telugu => [tables::COMMON_EXTENSION, tables::TELUGU_SINGLE],
            Self::Urdu => [tables::COMMON_EXTENSION, tables::URDU_SINGLE],
        }
    }

    fn locking(self) -> Option<&'static tables::Locking> {
        Some(match self {
            Self::Turkish => &tables::TURKISH_LOCKING,
            Self::Spanish => return None,
            Self::Portuguese => &tables::PORTUGUESE_LOCKING,
            Self::Bengali => &tables::BENGALI_LOCKING,
            Self::Gujarati => &tables::GUJARATI_LOCKING,
            Self::Hindi => &tables::HINDI_LOCKING,
            Self::Kannada => &tables::KANNADA_LOCKING,
            Self::Malayalam => &tables::MALAYALAM_LOCKING,
            Self::Oriya => &tables::ORIYA_LOCKING,
            Self::Punjabi => &tables::PUNJABI_LOCKING,
            Self::Tamil => &tables::TAMIL_LOCKING,
            Self::Telugu => &tables::TELUGU_LOCKING,
            Self::Urdu => &tables::URDU_LOCKING,
        })
    }
}

/// Which tables a GSM-7 message uses in place of the default ones, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shift {
    /// The language of the extension table (information element 0x24).
    pub single: Option<Language>,
    /// The language of the main table (information element 0x25).
    pub locking: Option<Language>,
}

impl Shift {
    /// The default alphabet and extension: no header.
    pub const NONE: Self = Self { single: None, locking: None };

    /// The ways to write a language, the plainest first.
    pub(super) fn candidates(language: Language) -> impl Iterator<Item = Self> {
        let single = Self { single: Some(language), locking: None };
        let locking = Self { single: None, locking: Some(language) };
        let both = Self { single: Some(language), locking: Some(language) };
        let has_locking = language.locking().is_some();
        [Some(single), has_locking.then_some(locking), has_locking.then_some(both)].into_iter().flatten()
    }

    /// Information elements in the header.
    pub(super) const fn elements(self) -> usize {
        self.single.is_some() as usize + self.locking.is_some() as usize
    }

    pub(super) fn place(self, c: char) -> Option<Place> {
        if self == Self::NONE {
            return gsm7::place(c);
        }
        let main = match self.locking.and_then(Language::locking) {
            None => gsm7::place(c).filter(|place| matches!(place, Place::Main(_))),
            Some(table) => code_unit(c).and_then(|unit| table.iter().position(|&known| known == unit)).map(main_place),
        };
        main.or_else(|| self.escaped_place(c))
    }

    fn escaped_place(self, c: char) -> Option<Place> {
        let Some(language) = self.single else {
            return gsm7::EXTENSION.iter().find(|(_, known)| *known == c).map(|(septet, _)| Place::Escaped(*septet));
        };
        let unit = code_unit(c)?;
        language.single().into_iter().flatten().find_map(|(first, units)| {
            let at = units.iter().position(|&known| known == unit)?;
            Some(Place::Escaped(first + at as u8))
        })
    }

    /// The character of a septet in the main table.
    pub(super) fn main(self, septet: u8) -> Option<char> {
        match self.locking.and_then(Language::locking) {
            None => Some(gsm7::DEFAULT[usize::from(septet)]),
            Some(table) => known_char(table[usize::from(septet)]),
        }
    }

    /// The character of a septet behind the escape.
    pub(super) fn escaped(self, septet: u8) -> Option<char> {
        let Some(language) = self.single else {
            return gsm7::EXTENSION.iter().find(|(known, _)| *known == septet).map(|(_, c)| *c);
        };
        // A language's own entries stand over those it shares.
        language.single().into_iter().rev().flatten().find_map(|(first, units)| {
            let unit = units.get(usize::from(septet.checked_sub(*first)?))?;
            known_char(*unit)
        })
    }
}

fn main_place(septet: usize) -> Place {
    Place::Main(septet as u8)
}

/// The tables hold nothing beyond the basic plane, and 0 for a hole.
fn code_unit(c: char) -> Option<u16> {
    u16::try_from(c as u32).ok().filter(|unit| *unit != 0)
}

fn known_char(unit: u16) -> Option<char> {
    if unit == 0 { None } else { char::from_u32(u32::from(unit)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back() {
        for language in Language::ALL {
            assert_eq!(Language::from_identifier(language.identifier()), Some(language));
        }
        assert_eq!(Language::from_identifier(0), None);
        assert_eq!(Language::from_identifier(14), None);
    }

    #[test]
    fn every_table_reads_back_what_it_writes() {
        for shift in Language::ALL.into_iter().flat_map(Shift::candidates) {
            for septet in (0..128).filter(|septet| *septet != gsm7::ESCAPE) {
                for c in [shift.main(septet), shift.escaped(septet)].into_iter().flatten() {
                    let shown = match shift.place(c).expect("a character of the table has a place") {
                        Place::Main(septet) => shift.main(septet),
                        Place::Escaped(septet) => shift.escaped(septet),
                    };
                    assert_eq!(shown, Some(c), "{shift:?} {septet:#x}");
                }
            }
        }
    }

    #[test]
    fn alphabets_of_the_languages() {
        // Letters with the septets of Annex A: locking table, single shift table.
        let table: &[(Language, char, Option<u8>, Option<u8>)] = &[
            (Language::Turkish, 'ş', Some(0x1D), Some(0x73)),
            (Language::Turkish, 'Ğ', Some(0x0B), Some(0x47)),
            (Language::Turkish, 'ğ', Some(0x0C), Some(0x67)),
            (Language::Turkish, 'ı', Some(0x07), Some(0x69)),
            (Language::Turkish, 'İ', Some(0x40), Some(0x49)),
            (Language::Turkish, 'ç', Some(0x60), Some(0x63)),
            (Language::Turkish, '€', Some(0x04), Some(0x65)),
            (Language::Spanish, 'ç', None, Some(0x09)),
            (Language::Spanish, 'á', None, Some(0x61)),
            (Language::Spanish, 'Í', None, Some(0x49)),
            (Language::Spanish, 'ó', None, Some(0x6F)),
            (Language::Spanish, 'ú', None, Some(0x75)),
            (Language::Portuguese, 'ã', Some(0x7B), Some(0x7B)),
            (Language::Portuguese, 'õ', Some(0x7C), Some(0x7C)),
            (Language::Portuguese, 'ê', Some(0x04), Some(0x05)),
            (Language::Portuguese, 'ç', Some(0x09), Some(0x09)),
            (Language::Portuguese, 'Ó', Some(0x19), Some(0x4F)),
            (Language::Portuguese, '`', Some(0x7D), None),
            (Language::Portuguese, '∞', Some(0x15), None),
            (Language::Bengali, 'ক', Some(0x15), None),
            (Language::Gujarati, 'ક', Some(0x15), None),
            (Language::Hindi, 'अ', Some(0x03), None),
            (Language::Hindi, 'क', Some(0x15), None),
            (Language::Hindi, '।', None, Some(0x19)),
            (Language::Hindi, '०', None, Some(0x1C)),
            (Language::Kannada, 'ಡ', Some(0x24), None),
            (Language::Malayalam, 'അ', Some(0x03), None),
            (Language::Oriya, 'ଅ', Some(0x03), None),
            (Language::Punjabi, 'ਅ', Some(0x03), None),
            (Language::Tamil, 'அ', Some(0x03), None),
            (Language::Tamil, '௮', None, Some(0x24)),
            (Language::Telugu, 'అ', Some(0x03), None),
            (Language::Telugu, '€', None, Some(0x65)),
            (Language::Urdu, 'ا', Some(0x00), None),
            (Language::Urdu, 'ے', Some(0x5B), None),
            (Language::Urdu, '۰', None, Some(0x1C)),
        ];
        for &(language, c, locking, single) in table {
            let locked = Shift { single: None, locking: Some(language) }.place(c);
            assert_eq!(locked.filter(|place| matches!(place, Place::Main(_))), locking.map(Place::Main), "{c} locking");
            let shifted = Shift { single: Some(language), locking: None }.escaped_place(c);
            assert_eq!(shifted, single.map(Place::Escaped), "{c} single");
        }
    }
}
