//! Tables of submitted messages: what each becomes, or the status that refuses it.

use carillon_smpp::tlv::{self, Tlvs};

use super::*;

const NOW: i64 = 1_795_249_815_500; // 2026-11-21T08:30:15.5Z

fn sm<'a>() -> SubmitSm<&'a [u8]> {
    SubmitSm { short_message: b"hello", ..SubmitSm::default() }
}

fn read(sm: &SubmitSm<&[u8]>) -> Result<Reading, CommandStatus> {
    message(sm, &CredentialSettings::default(), NOW)
}

fn text(text: &str) -> Result<Reading, CommandStatus> {
    Ok(Reading { text: Some(text.into()), ..Reading::default() })
}

#[test]
fn texts_by_data_coding() {
    use Alphabet::{Ascii, Gsm7, Latin1, Ucs2};
    let rows: &[(u8, &[u8], &str, bool, Alphabet)] = &[
        (0x00, b"hi \x00\x02\x1b\x65", "hi @$€", false, Gsm7),
        (0x01, b"hi @$", "hi @$", false, Ascii),
        (0x03, b"caf\xe9", "café", false, Latin1),
        (0x08, b"\x04\x1f\xd8\x3d\xde\x00", "П😀", false, Ucs2),
        (0x10, b"now", "now", true, Gsm7),
        (0x11, b"later", "later", false, Gsm7),
        (0x18, b"\x00h", "h", true, Ucs2),
        (0xF0, b"now", "now", true, Gsm7),
        (0xF1, b"later", "later", false, Gsm7),
    ];
    for (data_coding, octets, expected, flash, alphabet) in rows {
        let reading = read(&SubmitSm { data_coding: *data_coding, short_message: *octets, ..sm() });
        let expected =
            Reading { alphabet: *alphabet, text: Some((*expected).into()), flash: *flash, ..Reading::default() };
        assert_eq!(reading, Ok(expected), "{data_coding:#04x}");
    }
    for data_coding in [0x02, 0x04, 0x15, 0xF5] {
        let reading = read(&SubmitSm { data_coding, short_message: b"\x01\xff", ..sm() }).unwrap();
        assert_eq!((reading.data.as_deref(), reading.text), (Some("Af8="), None), "{data_coding:#04x}");
    }
    for data_coding in [0x05, 0x06, 0x07, 0x0E, 0x12, 0x20, 0x40, 0xC0, 0xD0, 0xE0, 0xF2, 0xF6, 0xF8] {
        assert_eq!(read(&SubmitSm { data_coding, ..sm() }), Err(CommandStatus::RINVDCS), "{data_coding:#04x}");
    }
    let latin = CredentialSettings { alphabet: carillon_domain::smpp::DefaultAlphabet::Latin1, ..Default::default() };
    assert_eq!(
        message(&SubmitSm { short_message: &b"\xe9@"[..], ..sm() }, &latin, NOW),
        text("é@").map(|r| Reading { alphabet: Latin1, ..r })
    );
}

#[test]
fn refused() {
    let payload = {
        let mut tlvs = Vec::new();
        tlv::push(&mut tlvs, Tag::MESSAGE_PAYLOAD, b"more");
        tlvs
    };
    let rows: &[(&str, SubmitSm<&[u8]>, CommandStatus)] = &[
        ("no text", SubmitSm { short_message: b"", ..sm() }, CommandStatus::RINVMSGLEN),
        ("two texts", SubmitSm { tlvs: Tlvs(&payload), ..sm() }, CommandStatus::RINVMSGLEN),
        ("half a character", SubmitSm { data_coding: 8, ..sm() }, CommandStatus::RINVMSGLEN),
        ("a receipt", SubmitSm { esm_class: 0x04, ..sm() }, CommandStatus::RINVESMCLASS),
        (
            "a header that is none",
            SubmitSm { esm_class: 0x40, short_message: b"\x10\x00", ..sm() },
            CommandStatus::RINVESMCLASS,
        ),
        ("replace", SubmitSm { replace_if_present: 1, ..sm() }, CommandStatus::RINVSUBREP),
        ("replace what", SubmitSm { replace_if_present: 2, ..sm() }, CommandStatus::RINVREPFLAG),
        ("canned", SubmitSm { sm_default_msg_id: 1, ..sm() }, CommandStatus::RINVDFTMSGID),
        ("priority", SubmitSm { priority_flag: 4, ..sm() }, CommandStatus::RINVPRTFLG),
        ("schedule", SubmitSm { schedule_delivery_time: b"261321000000000+", ..sm() }, CommandStatus::RINVSCHED),
        ("validity", SubmitSm { validity_period: b"nonsense0000000+", ..sm() }, CommandStatus::RINVEXPIRY),
        ("past validity", SubmitSm { validity_period: b"261121083000000+", ..sm() }, CommandStatus::RINVEXPIRY),
        ("no validity", SubmitSm { validity_period: b"000000000000000R", ..sm() }, CommandStatus::RINVEXPIRY),
    ];
    for (what, sm, status) in rows {
        assert_eq!(read(sm), Err(*status), "{what}");
    }
}

#[test]
fn times() {
    let rows: &[(&[u8], &[u8], Option<&str>, Option<i64>)] = &[
        (b"", b"", None, None),
        (b"", b"000000010000000R", None, Some(3_600)),
        (b"", b"000000000010000R", None, Some(60)),
        (b"", b"010000000000000R", None, Some(604_800)),
        (b"", b"261121093015000+", None, Some(3_599)),
        (b"", b"261121103015508+", None, Some(60)),
        (b"000001000000000R", b"000002000000000R", Some("2026-11-22T08:30:15.500Z"), Some(86_400)),
        (b"261122083015500+", b"", Some("2026-11-22T08:30:15.500Z"), None),
        (b"261120083015500+", b"", None, None),
    ];
    for (schedule, validity, scheduled_at, validity_s) in rows {
        let reading = read(&SubmitSm { schedule_delivery_time: *schedule, validity_period: *validity, ..sm() });
        let got = reading.as_ref().map(|r| (r.scheduled_at.as_deref(), r.validity_s));
        if *validity == b"261121103015508+" {
            // Half a second from now, in another zone: it is past.
            assert_eq!(got, Err(&CommandStatus::RINVEXPIRY));
            continue;
        }
        assert_eq!(got, Ok((*scheduled_at, *validity_s)), "{schedule:?} {validity:?}");
    }
}

/// Parts that the customer cut: octets of header and text, and the encoding of the text.
#[test]
fn parts_go_on_as_they_came() {
    let gsm = Encoding::Gsm7(Shift::NONE);
    let udh = b"\x05\x00\x03\x2a\x02\x01";
    let with = |text: &[u8]| [&udh[..], text].concat();
    let full = with(&[b'a'; 153]);
    let wide = with(&[b'a'; 134]);
    let rows: &[(u8, Vec<u8>, Result<Encoding, CommandStatus>)] = &[
        (0, with(b"part one "), Ok(gsm)),
        (0, full.clone(), Ok(gsm)),
        (0, with(&[b'a'; 154]), Err(CommandStatus::RINVMSGLEN)),
        (8, with(b"\x04\x1f"), Ok(Encoding::Ucs2)),
        (8, wide.clone(), Ok(Encoding::Ucs2)),
        (8, with(&[b'a'; 136]), Err(CommandStatus::RINVMSGLEN)),
        (8, with(b"\x04"), Err(CommandStatus::RINVMSGLEN)),
        (4, wide, Ok(Encoding::Binary)),
        (4, with(&[0; 135]), Err(CommandStatus::RINVMSGLEN)),
        (4, b"\x06\x05\x04\x0b\x84\x23\xf0push".to_vec(), Ok(Encoding::Binary)),
    ];
    for (data_coding, octets, expected) in rows {
        let reading =
            read(&SubmitSm { esm_class: 0x43, data_coding: *data_coding, short_message: octets.as_slice(), ..sm() });
        let expected = expected.map(|encoding| Reading {
            data: Some(STANDARD.encode(octets)),
            own_part: Some(encoding),
            alphabet: coding(*data_coding, Alphabet::Gsm7).unwrap().0,
            ..Reading::default()
        });
        assert_eq!(reading, expected, "{data_coding} {}", octets.len());
    }
    // Latin-1 is held as septets, or as UCS-2 where those lack a character.
    for (octets, header_and, encoding) in
        [(&b"\xe9@"[..], &b"\x05\x00"[..], gsm), (b"\xe7", b"\x00\xe7", Encoding::Ucs2)]
    {
        let octets = with(octets);
        let sm = SubmitSm { esm_class: 0x40, data_coding: 3, short_message: octets.as_slice(), ..sm() };
        let reading = read(&sm).unwrap();
        assert_eq!((reading.own_part, reading.data), (Some(encoding), Some(STANDARD.encode(with(header_and)))));
    }
}

#[test]
fn sar_becomes_a_header() {
    let sar = |reference: u16, total: u8, index: u8| {
        let mut tlvs = Vec::new();
        tlv::push(&mut tlvs, Tag::SAR_MSG_REF_NUM, &reference.to_be_bytes());
        tlv::push(&mut tlvs, Tag::SAR_TOTAL_SEGMENTS, &[total]);
        tlv::push(&mut tlvs, Tag::SAR_SEGMENT_SEQNUM, &[index]);
        tlvs
    };
    let rows: &[(Vec<u8>, &[u8], Option<&[u8]>)] = &[
        (sar(0x1234, 3, 2), b"hello", Some(b"\x06\x08\x04\x12\x34\x03\x02hello")),
        (sar(0x1234, 1, 1), b"hello", Some(b"\x06\x08\x04\x12\x34\x01\x01hello")),
        // Impossible numbers: TS 23.040 has them ignored.
        (sar(0x1234, 2, 3), b"hello", None),
    ];
    for (tlvs, text, expected) in rows {
        let reading = read(&SubmitSm { tlvs: Tlvs(tlvs.as_slice()), short_message: *text, ..sm() }).unwrap();
        assert_eq!(reading.data, expected.map(|octets| STANDARD.encode(octets)), "{tlvs:?}");
    }
    // 153 septets fit beside six octets of header, not beside seven.
    let reading = read(&SubmitSm { tlvs: Tlvs(&sar(0x1234, 2, 1)), short_message: &[b'a'; 153], ..sm() }).unwrap();
    let octets = [&b"\x05\x00\x03\x34\x02\x01"[..], &[b'a'; 153]].concat();
    assert_eq!(reading.data, Some(STANDARD.encode(octets)));
}

#[test]
fn addresses() {
    let destinations: &[(u8, u8, &str, Result<&str, CommandStatus>)] = &[
        (1, 1, "4915112345678", Ok("+4915112345678")),
        (0, 0, "4915112345678", Ok("+4915112345678")),
        (0, 1, "+4915112345678", Ok("+4915112345678")),
        (0, 1, "004915112345678", Ok("+4915112345678")),
        (2, 1, "015112345678", Ok("015112345678")),
        (1, 1, "", Err(CommandStatus::RINVDSTADR)),
        (5, 0, "Shop", Err(CommandStatus::RINVDSTTON)),
        (1, 8, "4915112345678", Err(CommandStatus::RINVDSTNPI)),
    ];
    for (ton, npi, addr, expected) in destinations {
        let address = Address { ton: *ton, npi: *npi, addr: addr.as_bytes() };
        assert_eq!(destination(&address), expected.map(str::to_owned), "{ton} {npi} {addr}");
    }
    let sources: &[(u8, &str, Option<&str>)] = &[
        (5, "Carillon", Some("Carillon")),
        (1, "4915112345678", Some("+4915112345678")),
        (0, "4915112345678", Some("+4915112345678")),
        (3, "12345", Some("12345")),
        (0, "12345", Some("12345")),
        (0, "", None),
    ];
    for (ton, addr, expected) in sources {
        let address = Address { ton: *ton, npi: 1, addr: addr.as_bytes() };
        assert_eq!(source(&address), expected.map(str::to_owned), "{ton} {addr}");
    }
    let settings = CredentialSettings { default_sender: Some("Bank".into()), express: true, ..Default::default() };
    let reading = message(&SubmitSm { priority_flag: 1, ..sm() }, &settings, NOW).unwrap();
    assert_eq!((reading.from.as_deref(), reading.express), (Some("Bank"), true));
    assert!(!read(&SubmitSm { priority_flag: 3, ..sm() }).unwrap().express, "only where the credential buys it");
}
