//! Parts of long messages, in each of the ways carriers take them.

use carillon_smpp::ShortMessage;
use carillon_smpp::content::{Concat, Part, PartError, UserData, part_of};
use carillon_smpp::tlv::Tlvs;
use proptest::prelude::*;

const PART: Part = Part { reference: 0x1234, total: 3, index: 2 };
const ALONE: Part = Part { reference: 0x1234, total: 1, index: 1 };

#[test]
fn parts_have_exactly_these_octets() {
    let sar = b"\x02\x0C\0\x02\x12\x34\x02\x0E\0\x01\x03\x02\x0F\0\x01\x02";
    let turkish = b"\x03\x24\x01\x01hi";
    let table: [(Concat, Part, &[u8], bool, &[u8], &[u8], u8); 9] = [
        (Concat::Udh8, PART, b"hi", false, b"\x05\0\x03\x34\x03\x02hi", b"", 0x40),
        (Concat::Udh16, PART, b"hi", false, b"\x06\x08\x04\x12\x34\x03\x02hi", b"", 0x40),
        (Concat::Sar, PART, b"hi", false, b"hi", sar, 0),
        (Concat::Udh8, ALONE, b"hi", false, b"hi", b"", 0),
        (Concat::Sar, ALONE, b"hi", false, b"hi", b"", 0),
        (Concat::Udh16, ALONE, turkish, true, turkish, b"", 0x40),
        (Concat::Udh8, PART, turkish, true, b"\x08\0\x03\x34\x03\x02\x24\x01\x01hi", b"", 0x40),
        (Concat::Udh16, PART, turkish, true, b"\x09\x08\x04\x12\x34\x03\x02\x24\x01\x01hi", b"", 0x40),
        (Concat::Sar, PART, turkish, true, turkish, sar, 0x40),
    ];
    let mut data = UserData::default();
    for (concat, part, octets, has_header, short_message, tlvs, esm_class) in table {
        data.set_part(concat, part, octets, has_header).unwrap();
        let wanted = UserData { short_message: short_message.to_vec(), tlvs: tlvs.to_vec(), esm_class };
        assert_eq!(data, wanted, "{concat:?} {part:?}");
    }
    data.set_payload(b"long", false);
    let wanted = UserData { short_message: vec![], tlvs: b"\x04\x24\0\x04long".to_vec(), esm_class: 0 };
    assert_eq!(data, wanted);
}

#[test]
fn parts_that_cannot_be_are_refused() {
    let full = [[255].as_slice(), &[0; 255]].concat();
    let table: [(Part, &[u8], bool, PartError); 5] = [
        (Part { index: 0, ..PART }, b"", false, PartError::NoSuchPart { index: 0, total: 3 }),
        (Part { index: 4, ..PART }, b"", false, PartError::NoSuchPart { index: 4, total: 3 }),
        (PART, b"", true, PartError::Header),
        (PART, b"\x05abcd", true, PartError::Header),
        (PART, &full, true, PartError::Header),
    ];
    for (part, octets, has_header, error) in table {
        assert_eq!(UserData::default().set_part(Concat::Udh8, part, octets, has_header), Err(error));
    }
}

#[test]
fn impossible_parts_are_taken_for_whole_messages() {
    let table: [(u8, &[u8], (Option<Part>, usize)); 6] = [
        (0x40, b"\x05\0\x03\x34\x03\x02hi", (Some(Part { reference: 0x34, ..PART }), 6)),
        (0x40, b"\x05\0\x03\x34\x03\x04hi", (None, 6)),
        (0x40, b"\x05\0\x03\x34\0\0hi", (None, 6)),
        (0x40, b"\x05\0\x09\x34\x03\x02hi", (None, 6)),
        (0x40, b"\x09hi", (None, 0)),
        (0, b"\x05\0\x03\x34\x03\x02hi", (None, 0)),
    ];
    for (esm_class, short_message, wanted) in table {
        let message = ShortMessage { esm_class, short_message, ..ShortMessage::default() };
        assert_eq!(part_of(&message), wanted, "{short_message:?}");
    }
}

proptest! {
    #[test]
    fn a_part_is_found_again(
        concat in prop_oneof![Just(Concat::Udh8), Just(Concat::Udh16), Just(Concat::Sar)],
        (total, index) in (2_u8..=255).prop_flat_map(|total| (Just(total), 1..=total)),
        reference: u16,
        text: [u8; 20],
        shifted: bool,
    ) {
        let octets = if shifted { [&b"\x03\x24\x01\x01"[..], &text].concat() } else { text.to_vec() };
        let mut data = UserData::default();
        data.set_part(concat, Part { reference, total, index }, &octets, shifted).unwrap();
        let message = ShortMessage {
            esm_class: data.esm_class,
            short_message: &data.short_message[..],
            tlvs: Tlvs(&data.tlvs[..]),
            ..ShortMessage::default()
        };
        let (part, at) = part_of(&message);
        let reference = if concat == Concat::Udh8 { reference & 0xFF } else { reference };
        prop_assert_eq!(part, Some(Part { reference, total, index }));
        prop_assert_eq!(&message.content()[at..], text);
    }

    #[test]
    fn no_octets_make_it_panic(esm_class: u8, short_message: Vec<u8>, tlvs: Vec<u8>) {
        let message = ShortMessage { esm_class, short_message: &short_message[..], tlvs: Tlvs(&tlvs[..]), ..ShortMessage::default() };
        let (_, at) = part_of(&message);
        let _ = &message.content()[at..];
    }
}
