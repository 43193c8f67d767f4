//! Every operation of SMPP 3.4: exact octets for the main ones, and decode(encode(x)) == x for all.

use bytes::{Bytes, BytesMut};
use carillon_smpp::decode::check_submit;
use carillon_smpp::encode::{EncodeError, Header};
use carillon_smpp::frame::{Frame, Framer};
use carillon_smpp::pdu::{
    AlertNotification, Bind, BindResp, CancelSm, DataSm, Destination, MessageResp, Outbind, QuerySm, QuerySmResp,
    ReplaceSm, SubmitMulti, SubmitMultiResp,
};
use carillon_smpp::tlv::{self, Tag, Tlvs};
use carillon_smpp::{Address, BindKind, CommandId, CommandStatus, Pdu, ShortMessage};
use proptest::prelude::*;

fn encoded<B: AsRef<[u8]>>(pdu: &Pdu<B>, status: CommandStatus, sequence: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    pdu.encode(status, sequence, &mut out).unwrap();
    out.to_vec()
}

/// Hexadecimal digits and blanks; `'…'` is ASCII.
fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, piece) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            out.extend_from_slice(piece.as_bytes());
        } else {
            let digits: Vec<u32> = piece.chars().filter_map(|c| c.to_digit(16)).collect();
            out.extend(digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()));
        }
    }
    out
}

fn address(ton: u8, npi: u8, addr: &str) -> Address<&[u8]> {
    Address { ton, npi, addr: addr.as_bytes() }
}

#[test]
fn main_operations_have_exactly_these_octets() {
    let ok = CommandStatus::ROK;
    let submit = ShortMessage {
        source: address(5, 0, "Carillon"),
        destination: address(1, 1, "4915112345678"),
        esm_class: 3,
        validity_period: b"000003000000000R".as_slice(),
        registered_delivery: 1,
        short_message: b"hello",
        tlvs: Tlvs(&[0x02, 0x04, 0, 2, 0x12, 0x34]),
        ..ShortMessage::default()
    };
    let bind = Bind {
        system_id: b"user".as_slice(),
        password: b"secret",
        system_type: b"",
        interface_version: 0x34,
        addr_ton: 1,
        addr_npi: 1,
        address_range: b"",
    };
    let table: [(&str, Pdu<&[u8]>, CommandStatus, u32); 10] = [
        ("00000010 00000015 00000000 00000001", Pdu::EnquireLink, ok, 1),
        ("00000010 80000015 00000000 00000001", Pdu::EnquireLinkResp, ok, 1),
        ("00000010 80000000 00000003 00000000", Pdu::GenericNack, CommandStatus::RINVCMDID, 0),
        ("00000010 00000006 00000000 7FFFFFFF", Pdu::Unbind, ok, 0x7FFF_FFFF),
        (
            "00000021 00000009 00000000 00000001 'user'00 'secret'00 00 34 01 01 00",
            Pdu::Bind(BindKind::Transceiver, bind),
            ok,
            1,
        ),
        (
            "0000001A 80000009 00000000 00000001 'SMSC'00 0210 0001 34",
            Pdu::BindResp(BindKind::Transceiver, BindResp { system_id: b"SMSC", tlvs: Tlvs(&[2, 0x10, 0, 1, 0x34]) }),
            ok,
            1,
        ),
        (
            "00000051 00000004 00000000 00000002 00 0500'Carillon'00 0101'4915112345678'00 03 00 00 00 '000003000000000R'00 01 00 00 00 05'hello' 0204 0002 1234",
            Pdu::SubmitSm(submit),
            ok,
            2,
        ),
        (
            "00000014 80000004 00000000 00000002 '1f2'00",
            Pdu::SubmitSmResp(MessageResp { message_id: b"1f2", tlvs: Tlvs(&[]) }),
            ok,
            2,
        ),
        (
            "00000011 80000005 00000064 00000003 00",
            Pdu::DeliverSmResp(MessageResp::default()),
            CommandStatus::RX_T_APPN,
            3,
        ),
        (
            "00000016 80000003 00000000 00000004 '12'00 00 01 00 ",
            Pdu::QuerySmResp(QuerySmResp { message_id: b"12", final_date: b"", message_state: 1, error_code: 0 }),
            ok,
            4,
        ),
    ];
    for (wanted, pdu, status, sequence) in table {
        assert_eq!(encoded(&pdu, status, sequence), octets(wanted), "{pdu:?}");
    }
}

#[test]
fn fields_that_do_not_fit_are_refused_and_leave_nothing_behind() {
    let long = [b'1'; 300];
    let message = |change: fn(&mut ShortMessage<&'static [u8]>)| {
        let mut message = ShortMessage::default();
        change(&mut message);
        Pdu::SubmitSm(message)
    };
    let too_long = |field, length, max| EncodeError::TooLong { field, length, max };
    let table: [(Pdu<&[u8]>, EncodeError); 7] = [
        (message(|m| m.source.addr = b"123456789012345678901"), too_long("source_addr", 21, 20)),
        (message(|m| m.destination.addr = b"123456789012345678901"), too_long("destination_addr", 21, 20)),
        (message(|m| m.service_type = b"123456"), too_long("service_type", 6, 5)),
        (message(|m| m.validity_period = b"000003000000000RR"), too_long("validity_period", 17, 16)),
        (message(|m| m.short_message = &[0; 256]), too_long("short_message", 256, 255)),
        (message(|m| m.destination.addr = b"12\0"), EncodeError::Nul { field: "destination_addr" }),
        (Pdu::SubmitSmResp(MessageResp { message_id: &long, tlvs: Tlvs(&[]) }), too_long("message_id", 300, 254)),
    ];
    for (pdu, error) in table {
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(pdu.encode(CommandStatus::ROK, 1, &mut out), Err(error));
        assert_eq!(&out[..], b"before");
    }
}

#[test]
fn a_submit_is_checked_field_by_field() {
    let table: [(fn(&mut ShortMessage<&'static [u8]>), Option<CommandStatus>); 8] = [
        (|_| {}, None),
        (|m| m.validity_period = b"000003000000000R", None),
        (|m| m.service_type = b"123456", Some(CommandStatus::RINVSERTYP)),
        (|m| m.source.addr = b"123456789012345678901", Some(CommandStatus::RINVSRCADR)),
        (|m| m.destination.addr = b"123456789012345678901", Some(CommandStatus::RINVDSTADR)),
        (|m| m.schedule_delivery_time = b"24", Some(CommandStatus::RINVSCHED)),
        (|m| m.validity_period = b"24", Some(CommandStatus::RINVEXPIRY)),
        (|m| m.tlvs = Tlvs(&[4, 0x24, 0, 9, 1]), Some(CommandStatus::RINVOPTPARSTREAM)),
    ];
    for (change, status) in table {
        let mut message = ShortMessage::default();
        change(&mut message);
        assert_eq!(check_submit(&message).err().map(|error| error.status), status);
    }
}

#[test]
fn parameters_are_found_and_unknown_ones_survive() {
    let mut raw = Vec::new();
    tlv::push(&mut raw, Tag(0x1403), b"vendor");
    tlv::push(&mut raw, Tag::RECEIPTED_MESSAGE_ID, b"4f2a\0");
    tlv::push(&mut raw, Tag::MESSAGE_STATE, &[2]);
    tlv::push(&mut raw, Tag::SAR_MSG_REF_NUM, &[1, 2]);
    tlv::push(&mut raw, Tag::MESSAGE_PAYLOAD, b"a\0b");
    let tlvs = Tlvs(raw);
    assert!(tlvs.is_whole());
    assert_eq!(tlvs.iter().count(), 5);
    assert_eq!(tlvs.get(Tag(0x1403)), Some(&b"vendor"[..]));
    assert_eq!(tlvs.get_c_string(Tag::RECEIPTED_MESSAGE_ID), Some(&b"4f2a"[..]));
    assert_eq!(tlvs.get_u8(Tag::MESSAGE_STATE), Some(2));
    assert_eq!((tlvs.get_u8(Tag::SAR_MSG_REF_NUM), tlvs.get_u16(Tag::SAR_MSG_REF_NUM)), (None, Some(0x0102)));
    assert_eq!(tlvs.get(Tag::MESSAGE_PAYLOAD), Some(&b"a\0b"[..]));
    let cut = Tlvs(&tlvs.0[..tlvs.0.len() - 1]);
    assert!(!cut.is_whole());
    assert_eq!(cut.iter().count(), 4);
}

/// A C-octet string of up to `max` octets: anything but NUL.
fn text(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1_u8.., 0..=max).prop_map(Bytes::from)
}

fn any_address(max: usize) -> impl Strategy<Value = Address> {
    (any::<u8>(), any::<u8>(), text(max)).prop_map(|(ton, npi, addr)| Address { ton, npi, addr })
}

fn tlvs() -> impl Strategy<Value = Tlvs> {
    prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..5).prop_map(|parameters| {
        let mut raw = Vec::new();
        parameters.iter().for_each(|(tag, value)| tlv::push(&mut raw, Tag(*tag), value));
        Tlvs(Bytes::from(raw))
    })
}

fn octets_up_to(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = ShortMessage> {
    let ends = (text(5), any_address(20), any_address(20), text(16), text(16), octets_up_to(255), tlvs());
    (ends, any::<[u8; 7]>()).prop_map(
        |((service_type, source, destination, schedule, validity, short_message, tlvs), n)| ShortMessage {
            service_type,
            source,
            destination,
            esm_class: n[0],
            protocol_id: n[1],
            priority_flag: n[2],
            schedule_delivery_time: schedule,
            validity_period: validity,
            registered_delivery: n[3],
            replace_if_present: n[4],
            data_coding: n[5],
            sm_default_msg_id: n[6],
            short_message,
            tlvs,
        },
    )
}

fn kind() -> impl Strategy<Value = BindKind> {
    prop_oneof![Just(BindKind::Transceiver), Just(BindKind::Transmitter), Just(BindKind::Receiver)]
}

fn message_resp() -> impl Strategy<Value = MessageResp> {
    (text(64), tlvs()).prop_map(|(message_id, tlvs)| MessageResp { message_id, tlvs })
}

fn binding() -> impl Strategy<Value = Pdu> {
    let bind = (text(15), text(8), text(12), any::<[u8; 3]>(), text(40)).prop_map(
        |(system_id, password, system_type, n, range)| Bind {
            system_id,
            password,
            system_type,
            interface_version: n[0],
            addr_ton: n[1],
            addr_npi: n[2],
            address_range: range,
        },
    );
    prop_oneof![
        (kind(), bind).prop_map(|(kind, bind)| Pdu::Bind(kind, bind)),
        (kind(), text(15), tlvs())
            .prop_map(|(kind, system_id, tlvs)| Pdu::BindResp(kind, BindResp { system_id, tlvs })),
        (text(15), text(8)).prop_map(|(system_id, password)| Pdu::Outbind(Outbind { system_id, password })),
        prop_oneof![
            Just(Pdu::Unbind),
            Just(Pdu::UnbindResp),
            Just(Pdu::GenericNack),
            Just(Pdu::EnquireLink),
            Just(Pdu::EnquireLinkResp),
            Just(Pdu::CancelSmResp),
            Just(Pdu::ReplaceSmResp)
        ],
    ]
}

fn submitting() -> impl Strategy<Value = Pdu> {
    let to = prop_oneof![any_address(20).prop_map(Destination::Address), text(20).prop_map(Destination::List)];
    let multi = (prop::collection::vec(to, 0..=255), message()).prop_map(|(destinations, mut message)| {
        message.destination = Address::default();
        Pdu::SubmitMulti(SubmitMulti { destinations, message })
    });
    let unsuccess = prop::collection::vec((any_address(20), any::<u32>().prop_map(CommandStatus)), 0..9);
    let multi_resp = (text(64), unsuccess, tlvs()).prop_map(|(message_id, unsuccess, tlvs)| {
        Pdu::SubmitMultiResp(SubmitMultiResp { message_id, unsuccess, tlvs })
    });
    let data = (text(5), any_address(64), any_address(64), any::<[u8; 3]>(), tlvs()).prop_map(
        |(service_type, source, destination, n, tlvs)| {
            Pdu::DataSm(DataSm {
                service_type,
                source,
                destination,
                esm_class: n[0],
                registered_delivery: n[1],
                data_coding: n[2],
                tlvs,
            })
        },
    );
    prop_oneof![
        message().prop_map(Pdu::SubmitSm),
        message().prop_map(Pdu::DeliverSm),
        message_resp().prop_map(Pdu::SubmitSmResp),
        message_resp().prop_map(Pdu::DeliverSmResp),
        message_resp().prop_map(Pdu::DataSmResp),
        multi,
        multi_resp,
        data,
    ]
}

fn managing() -> impl Strategy<Value = Pdu> {
    let query_resp = (text(64), text(16), any::<[u8; 2]>()).prop_map(|(message_id, final_date, n)| {
        Pdu::QuerySmResp(QuerySmResp { message_id, final_date, message_state: n[0], error_code: n[1] })
    });
    let cancel = (text(5), text(64), any_address(20), any_address(20)).prop_map(
        |(service_type, message_id, source, destination)| {
            Pdu::CancelSm(CancelSm { service_type, message_id, source, destination })
        },
    );
    let replace = (text(64), any_address(20), text(16), text(16), any::<[u8; 2]>(), octets_up_to(255), tlvs())
        .prop_map(|(message_id, source, schedule, validity, n, short_message, tlvs)| {
            Pdu::ReplaceSm(ReplaceSm {
                message_id,
                source,
                schedule_delivery_time: schedule,
                validity_period: validity,
                registered_delivery: n[0],
                sm_default_msg_id: n[1],
                short_message,
                tlvs,
            })
        });
    prop_oneof![
        (text(64), any_address(20)).prop_map(|(message_id, source)| Pdu::QuerySm(QuerySm { message_id, source })),
        query_resp,
        cancel,
        replace,
        (any_address(64), any_address(64), tlvs())
            .prop_map(|(source, esme, tlvs)| Pdu::AlertNotification(AlertNotification { source, esme, tlvs })),
    ]
}

proptest! {
    #[test]
    fn every_operation_survives_the_wire(
        pdu in prop_oneof![binding(), submitting(), managing()],
        status in any::<u32>().prop_map(CommandStatus),
        sequence: u32,
    ) {
        let octets = encoded(&pdu, status, sequence);
        let header = Header::decode(octets.first_chunk().unwrap());
        let length = u32::try_from(octets.len()).unwrap();
        prop_assert_eq!(header, Header { length, command: pdu.command(), status, sequence });
        prop_assert_eq!(Pdu::decode(header.command, &Bytes::from(octets).slice(16..)), Ok(pdu));
    }

    #[test]
    fn no_body_makes_the_decoder_panic(command in prop_oneof![0_u32..0x110, 0x8000_0000_u32..0x8000_0110], body: Vec<u8>) {
        let body = Bytes::from(body);
        if let Ok(pdu) = Pdu::decode(CommandId(command), &body) {
            // Whatever could be read has a Debug form and, if it fits the specification, an encoding.
            let _ = format!("{pdu:?}");
            let _ = pdu.encode(CommandStatus::ROK, 1, &mut BytesMut::new());
        }
    }

    #[test]
    fn a_cut_or_spoilt_pdu_never_makes_the_decoder_panic(
        pdu in prop_oneof![binding(), submitting(), managing()],
        keep: prop::sample::Index,
        spoil: prop::sample::Index,
        with: u8,
    ) {
        let mut octets = encoded(&pdu, CommandStatus::ROK, 1);
        let at = spoil.index(octets.len());
        octets[at] = with;
        octets.truncate(16 + keep.index(octets.len() - 15));
        let _ = Pdu::decode(pdu.command(), &Bytes::from(octets).slice(16..));
    }

    #[test]
    fn frames_are_the_same_however_the_stream_is_cut(
        pdus in prop::collection::vec(prop_oneof![binding(), submitting(), managing()], 1..6),
        cuts in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let stream: Vec<u8> = pdus.iter().flat_map(|pdu| encoded(pdu, CommandStatus::ROK, 7)).collect();
        let mut framer = Framer::new(64 * 1024);
        let (mut frames, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            framer.buffer().extend_from_slice(now);
            framer.drain(&mut frames);
            rest = later;
        }
        let read: Vec<_> = frames
            .iter()
            .map(|frame| match frame {
                Frame::Pdu(header, body) => Pdu::decode(header.command, body).ok(),
                _ => None,
            })
            .collect();
        prop_assert_eq!(read, pdus.into_iter().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn no_stream_makes_the_framer_panic_or_keep_more_than_it_got(octets: Vec<u8>) {
        let mut framer = Framer::new(64);
        let mut frames = Vec::new();
        framer.buffer().extend_from_slice(&octets);
        framer.drain(&mut frames);
        prop_assert!(frames.len() <= octets.len() / 4);
    }
}
