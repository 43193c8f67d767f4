//! Plans checked by eye, then against a slow model that knows nothing of the code.

use proptest::prelude::*;

use super::*;

/// `encoding parts units replaced`, as a line.
fn show(text: &str, options: &Options) -> String {
    match plan(text, options) {
        Err(error) => error.to_string(),
        Ok(plan) => {
            let encoding = match plan.encoding {
                Encoding::Gsm7(Shift::NONE) => "gsm7".to_owned(),
                Encoding::Gsm7(shift) => format!("gsm7 single={:?} locking={:?}", shift.single, shift.locking),
                Encoding::Ucs2 => "ucs2".to_owned(),
                Encoding::Binary => "binary".to_owned(),
            };
            format!("{encoding} {} {} {}", plan.parts, plan.units, plan.replaced)
        }
    }
}

const TRANSLITERATE: Options = Options { parts_max: 10, transliterate: true, language: None };

fn language(language: Language) -> Options {
    Options { language: Some(language), ..Options::default() }
}

#[test]
fn plans() {
    let x = |count| "x".repeat(count);
    let table: &[(String, Options, &str)] = &[
        // text, options, encoding parts units replaced
        (x(0), Options::default(), "gsm7 1 0 0"),
        (x(160), Options::default(), "gsm7 1 160 0"),
        (x(161), Options::default(), "gsm7 2 161 0"),
        (x(304), Options::default(), "gsm7 2 304 0"),
        (x(305), Options::default(), "gsm7 3 305 0"),
        (x(1520), Options::default(), "gsm7 10 1520 0"),
        (x(1521), Options::default(), "the text makes 11 parts, more than the 10 allowed"),
        (x(161), Options { parts_max: 1, ..Options::default() }, "the text makes 2 parts, more than the 1 allowed"),
        ("€".repeat(80), Options::default(), "gsm7 1 160 0"),
        ("€".repeat(81), Options::default(), "gsm7 2 162 0"),
        // 151 septets, then pairs: the first part stays one short.
        (x(151) + &"€".repeat(77), Options::default(), "gsm7 3 305 0"),
        ("äöüßñ€ ΔΩ".to_owned(), Options::default(), "gsm7 1 10 0"),
        ("سلام".to_owned(), Options::default(), "ucs2 1 4 0"),
        ("س".repeat(70), Options::default(), "ucs2 1 70 0"),
        ("س".repeat(71), Options::default(), "ucs2 2 71 0"),
        ("س".repeat(133), Options::default(), "ucs2 3 133 0"),
        ("😀".repeat(35), Options::default(), "ucs2 1 70 0"),
        ("😀".repeat(36), Options::default(), "ucs2 2 72 0"),
        // 65 units, then pairs: no half of one fills the 66th.
        ("س".repeat(65) + &"😀".repeat(34), Options::default(), "ucs2 3 133 0"),
        ("it’s".to_owned(), Options::default(), "ucs2 1 4 0"),
        ("it’s".to_owned(), TRANSLITERATE, "gsm7 1 4 1"),
        ("“wait…”".to_owned(), TRANSLITERATE, "gsm7 1 9 3"),
        ("it’s 中".to_owned(), TRANSLITERATE, "ucs2 1 6 0"),
        ("façade".to_owned(), TRANSLITERATE, "ucs2 1 6 0"),
        ("işte".to_owned(), Options::default(), "ucs2 1 4 0"),
        ("işte".to_owned(), language(Language::Turkish), "gsm7 single=Some(Turkish) locking=None 1 5 0"),
        ("şğı".repeat(25), language(Language::Turkish), "gsm7 single=Some(Turkish) locking=None 1 150 0"),
        ("şğı".repeat(30), language(Language::Turkish), "gsm7 single=None locking=Some(Turkish) 1 90 0"),
        ("mañana, acción".to_owned(), language(Language::Spanish), "gsm7 single=Some(Spanish) locking=None 1 15 0"),
        ("नमस्ते।".to_owned(), language(Language::Hindi), "gsm7 single=Some(Hindi) locking=Some(Hindi) 1 8 0"),
        ("plain".to_owned(), language(Language::Turkish), "gsm7 1 5 0"),
        ("中".to_owned(), language(Language::Turkish), "ucs2 1 1 0"),
        (
            "işte “o”".to_owned(),
            Options { transliterate: true, ..language(Language::Turkish) },
            "gsm7 single=Some(Turkish) locking=None 1 9 2",
        ),
    ];
    for (text, options, expected) in table {
        assert_eq!(show(text, options), *expected, "{text:?}");
    }
}

#[test]
fn capacities() {
    let single = Shift { single: Some(Language::Turkish), locking: None };
    let both = Shift { single: Some(Language::Turkish), locking: Some(Language::Turkish) };
    let table = [
        // encoding, alone, as one of several
        (Encoding::Gsm7(Shift::NONE), 160, 152),
        (Encoding::Gsm7(single), 155, 148),
        (Encoding::Gsm7(both), 152, 145),
        (Encoding::Ucs2, 70, 66),
        (Encoding::Binary, 140, 133),
    ];
    for (encoding, alone, one_of_several) in table {
        assert_eq!((encoding.capacity(false), encoding.capacity(true)), (alone, one_of_several), "{encoding:?}");
    }
}

#[test]
fn stored_numbers() {
    let turkish = Some(Language::Turkish);
    let table = [
        (Encoding::Gsm7(Shift::NONE), 0, "gsm7"),
        (Encoding::Ucs2, 1, "ucs2"),
        (Encoding::Binary, 2, "binary"),
        (Encoding::Gsm7(Shift { single: turkish, locking: None }), 0x010, "gsm7"),
        (Encoding::Gsm7(Shift { single: None, locking: turkish }), 0x100, "gsm7"),
        (Encoding::Gsm7(Shift { single: Some(Language::Urdu), locking: turkish }), 0x1D0, "gsm7"),
    ];
    for (encoding, number, name) in table {
        assert_eq!((encoding.number(), encoding.name()), (number, name));
        assert_eq!(Encoding::from_number(number), Some(encoding));
    }
    for number in [-1, 3, 0x011, 0x0E0, 0xF00, 0x1000, i16::MAX, i16::MIN] {
        assert_eq!(Encoding::from_number(number), None, "{number:#x}");
    }
}

#[test]
fn headers() {
    let turkish = Shift { single: Some(Language::Turkish), locking: Some(Language::Turkish) };
    assert!(udh(7, 1, 1, Shift::NONE).is_empty());
    assert_eq!(*udh(0x1234, 3, 2, Shift::NONE), [6, 8, 4, 0x12, 0x34, 3, 2]);
    assert_eq!(*udh(7, 1, 1, Shift { locking: None, ..turkish }), [3, 0x24, 1, 1]);
    assert_eq!(*udh(7, 2, 1, turkish), [12, 8, 4, 0, 7, 2, 1, 0x24, 1, 1, 0x25, 1, 1]);
}

#[test]
fn octets_of_each_alphabet() {
    let gsm7 = Encoding::Gsm7(Shift::NONE);
    type Case = (&'static str, Encoding, Alphabet, Result<&'static [u8], EncodingError>);
    let table: &[Case] = &[
        ("a@€", gsm7, Alphabet::Gsm7, Ok(&[0x61, 0x00, 0x1B, 0x65])),
        ("hellohello", gsm7, Alphabet::Gsm7Packed, Ok(&[0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37])),
        ("aé’", gsm7, Alphabet::Latin1, Ok(&[0x61, 0xE9, 0x27])),
        ("aé", gsm7, Alphabet::Ascii, Err(EncodingError::NotInAlphabet('é'))),
        ("€", gsm7, Alphabet::Latin1, Err(EncodingError::NotInAlphabet('€'))),
        ("a’", gsm7, Alphabet::Ucs2, Ok(&[0x00, 0x61, 0x20, 0x19])),
        ("a😀", Encoding::Ucs2, Alphabet::Gsm7, Ok(&[0x00, 0x61, 0xD8, 0x3D, 0xDE, 0x00])),
        ("it’s…", gsm7, Alphabet::Gsm7, Ok(b"it's...")),
    ];
    for (text, encoding, alphabet, expected) in table {
        let octets = encode_part(text, *encoding, *alphabet, 0);
        assert_eq!(octets.as_deref(), expected.as_ref().map(|octets| *octets), "{text:?} {alphabet:?}");
    }
}

#[test]
fn data_codings() {
    let table = [
        // alphabet, plain, flash, flash as message class
        (Alphabet::Gsm7, 0x00, 0x10, 0xF0),
        (Alphabet::Gsm7Packed, 0x00, 0x10, 0xF0),
        (Alphabet::Ascii, 0x01, 0x10, 0xF0),
        (Alphabet::Latin1, 0x03, 0x10, 0xF0),
        (Alphabet::Octets, 0x04, 0x14, 0xF4),
        (Alphabet::Ucs2, 0x08, 0x18, 0x18),
    ];
    for (alphabet, plain, general, class) in table {
        let flash = |flash| data_coding(alphabet, flash);
        let got = (flash(None), flash(Some(Flash::General)), flash(Some(Flash::MessageClass)));
        assert_eq!(got, (plain, general, class), "{alphabet:?}");
    }
}

#[test]
fn binary_messages() {
    for (octets, parts) in [(0, 1), (140, 1), (141, 2), (266, 2), (267, 3), (1330, 10)] {
        assert_eq!(plan_binary(octets, &Options::default()).map(|plan| plan.parts), Ok(parts), "{octets}");
        let data = vec![7; octets];
        let cut: Vec<&[u8]> = binary_segments(&data).collect();
        assert_eq!((cut.len(), cut.concat()), (usize::from(parts), data), "{octets}");
    }
    assert!(plan_binary(1331, &Options::default()).is_err());
}

/// The slow model: each character's units by searching the alphabet as a string, then filling parts one by one.
fn model(text: &str) -> (bool, u32, u32) {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                         ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENDED: &str = "\x0C^{}\\[~]|€";
    let gsm7 = text.chars().all(|c| BASIC.contains(c) || EXTENDED.contains(c));
    let units: Vec<u32> = match gsm7 {
        true => text.chars().map(|c| if BASIC.contains(c) { 1 } else { 2 }).collect(),
        false => text.chars().map(|c| if (c as u32) > 0xFFFF { 2 } else { 1 }).collect(),
    };
    let (alone, several) = if gsm7 { (160, 152) } else { (70, 66) };
    let total = units.iter().sum();
    if total <= alone {
        return (gsm7, total, 1);
    }
    let (mut parts, mut filled) = (1, 0);
    for unit in units {
        if filled + unit > several {
            parts += 1;
            filled = 0;
        }
        filled += unit;
    }
    (gsm7, total, parts)
}

/// Texts of every kind: plain, with the extension, Greek and accents, other scripts, emoji, and any characters at all.
fn texts() -> impl Strategy<Value = String> {
    let plain = "[a-zA-Z0-9 .,!?]{0,400}";
    let extended = "[a-z€\\[\\]{}|~^\\\\]{0,400}";
    let gsm7 = "[a-z@£¥èéùÇØΔΦΓÆßÉ¤¡ÄÖÑÜ§¿€\n\r]{0,400}";
    let other = "[a-zşğıçсм中文😀🎉’“…\u{A0}]{0,300}";
    prop_oneof![plain, extended, gsm7, other, "\\PC{0,200}"]
}

proptest! {
    #[test]
    fn the_count_is_that_of_the_model(text in texts()) {
        let options = Options { parts_max: PARTS_MAX, ..Options::default() };
        let plan = plan(&text, &options).expect("short enough");
        let gsm7 = plan.encoding == Encoding::Gsm7(Shift::NONE);
        prop_assert_eq!((gsm7, plan.units, u32::from(plan.parts)), model(&text));
    }

    #[test]
    fn parts_are_the_text_and_each_fits_and_reads_back(
        text in texts(), transliterate in any::<bool>(), language in prop::option::of(prop::sample::select(&Language::ALL[..])),
    ) {
        let options = Options { parts_max: PARTS_MAX, transliterate, language };
        let plan = plan(&text, &options).expect("short enough");
        let parts: Vec<&str> = plan.part_texts(&text).collect();
        prop_assert_eq!(parts.len(), usize::from(plan.parts));
        prop_assert_eq!(parts.concat(), text.clone());
        let shift = match plan.encoding { Encoding::Gsm7(shift) => shift, _ => Shift::NONE };
        for alphabet in [Alphabet::Gsm7, Alphabet::Gsm7Packed] {
            let mut read = String::new();
            for (index, part) in parts.iter().enumerate() {
                let header = udh(9, plan.parts, index as u8 + 1, shift);
                let octets = encode_part(part, plan.encoding, alphabet, header.len()).expect("GSM-7 or UCS-2");
                let alphabet = plan.encoding.alphabet(alphabet);
                let unpacked = alphabet == Alphabet::Gsm7;
                prop_assert!(unpacked || octets.len() + header.len() <= PART_OCTETS);
                prop_assert!(!unpacked || octets.len() as u32 <= plan.encoding.capacity(plan.parts > 1));
                prop_assert!(octets.last() != Some(&0x1B) || !unpacked, "an escape pair was cut");
                read += &decode(&octets, alphabet, shift, header.len());
            }
            let sent: String = match plan.replaced {
                0 => text.clone(),
                _ => text.chars().map(|c| written(c, shift)).collect(),
            };
            // Packed, a last carriage return cannot be told from padding.
            let same = read == sent || alphabet == Alphabet::Gsm7Packed && read.replace('\r', "") == sent.replace('\r', "");
            prop_assert!(same, "{:?} became {:?}", sent, read);
        }
    }

    #[test]
    fn any_octets_decode(octets in prop::collection::vec(any::<u8>(), 0..300), header in 0_usize..14) {
        let alphabets = [Alphabet::Gsm7, Alphabet::Gsm7Packed, Alphabet::Latin1, Alphabet::Ascii, Alphabet::Ucs2, Alphabet::Octets];
        for alphabet in alphabets {
            for shift in Language::ALL.into_iter().flat_map(Shift::candidates).chain([Shift::NONE]) {
                decode(&octets, alphabet, shift, header);
            }
        }
    }
}

fn written(c: char, shift: Shift) -> String {
    match shift.place(c) {
        Some(_) => c.to_string(),
        None => translit::replacement(c).unwrap_or("?").to_owned(),
    }
}
