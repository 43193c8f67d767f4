//! Bodies and streams as carriers and careless clients really send them: what is forgiven, and the status for what is not.

use bytes::Bytes;
use carillon_smpp::frame::{Frame, Framer};
use carillon_smpp::pdu::{MessageResp, QuerySmResp};
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{CommandId, CommandStatus, Pdu};

/// The fields of a submit_sm up to sm_length, with what is given in place of the addresses and times.
fn submit(source: &[u8], destination: &[u8], validity: &[u8], tail: &[u8]) -> Vec<u8> {
    [b"\0\x01\x01", source, b"\x01\x01", destination, b"\0\0\0\0", validity, b"\0\0\0\0", tail].concat()
}

#[test]
fn bodies_that_cannot_be_read_name_the_status_to_answer() {
    use CommandId as C;
    use CommandStatus as S;
    let table: [(&str, CommandId, Vec<u8>, CommandStatus); 18] = [
        ("nothing", C::SUBMIT_SM, vec![], S::RINVSERTYP),
        ("service type without end", C::SUBMIT_SM, b"WAP".to_vec(), S::RINVSERTYP),
        ("ends after service type", C::SUBMIT_SM, b"\0".to_vec(), S::RINVCMDLEN),
        ("source without end", C::SUBMIT_SM, b"\0\x01\x01123".to_vec(), S::RINVSRCADR),
        ("destination without end", C::SUBMIT_SM, b"\0\x01\x01123\0\x01\x01456".to_vec(), S::RINVDSTADR),
        ("ends after addresses", C::SUBMIT_SM, b"\0\x01\x01123\0\x01\x01456\0".to_vec(), S::RINVCMDLEN),
        ("schedule without end", C::SUBMIT_SM, b"\0\x01\x01123\0\x01\x01456\0\0\0\x002611".to_vec(), S::RINVSCHED),
        ("validity without end", C::SUBMIT_SM, b"\0\x01\x01123\0\x01\x01456\0\0\0\0\x002611".to_vec(), S::RINVEXPIRY),
        ("no sm_length", C::SUBMIT_SM, submit(b"1\0", b"2\0", b"\0", b""), S::RINVCMDLEN),
        ("sm_length too long", C::SUBMIT_SM, submit(b"1\0", b"2\0", b"\0", b"\x05hell"), S::RINVMSGLEN),
        ("deliver_sm: the same", C::DELIVER_SM, submit(b"1\0", b"2\0", b"\0", b"\xFFhell"), S::RINVMSGLEN),
        ("bind without password", C::BIND_TRANSCEIVER, b"user\0".to_vec(), S::RINVPASWD),
        ("bind without system id", C::BIND_RECEIVER, b"user".to_vec(), S::RINVSYSID),
        ("unknown destination flag", C::SUBMIT_MULTI, b"\0\x01\x011\0\x01\x03".to_vec(), S::RINVDESTFLAG),
        ("fewer destinations than said", C::SUBMIT_MULTI, b"\0\x01\x011\0\x02\x02list\0".to_vec(), S::RINVCMDLEN),
        ("query without id", C::QUERY_SM, b"12".to_vec(), S::RINVMSGID),
        ("broadcast_sm of 5.0", CommandId(0x111), b"\0".to_vec(), S::RINVCMDID),
        ("no such operation", CommandId(0x7777), vec![], S::RINVCMDID),
    ];
    for (name, command, body, status) in table {
        assert_eq!(Pdu::decode(command, &Bytes::from(body)).map_err(|error| error.status), Err(status), "{name}");
    }
}

#[test]
fn faults_that_leave_the_meaning_clear_are_forgiven() {
    let resp = |message_id: &'static [u8], tlvs: &'static [u8]| MessageResp {
        message_id: Bytes::from_static(message_id),
        tlvs: Tlvs(Bytes::from_static(tlvs)),
    };
    let table: [(&str, CommandId, &'static [u8], Pdu); 7] = [
        ("submit_sm_resp without body", CommandId::SUBMIT_SM_RESP, b"", Pdu::SubmitSmResp(resp(b"", b""))),
        ("id without NUL", CommandId::SUBMIT_SM_RESP, b"12", Pdu::SubmitSmResp(resp(b"12", b""))),
        ("id beyond 64 octets", CommandId::SUBMIT_SM_RESP, &[b'7'; 80], Pdu::SubmitSmResp(resp(&[b'7'; 80], b""))),
        ("deliver_sm_resp without body", CommandId::DELIVER_SM_RESP, b"", Pdu::DeliverSmResp(resp(b"", b""))),
        ("deliver_sm_resp with an id", CommandId::DELIVER_SM_RESP, b"9\0", Pdu::DeliverSmResp(resp(b"9", b""))),
        ("query_sm_resp without body", CommandId::QUERY_SM_RESP, b"", Pdu::QuerySmResp(QuerySmResp::default())),
        ("enquire_link with a body", CommandId::ENQUIRE_LINK, b"junk", Pdu::EnquireLink),
    ];
    for (name, command, body, pdu) in table {
        assert_eq!(Pdu::decode(command, &Bytes::from_static(body)), Ok(pdu), "{name}");
    }
}

#[test]
fn a_receipt_is_not_lost_over_its_neighbours() {
    let long = [&[b'1'; 40][..], b"\0"].concat();
    let table: [(&str, Vec<u8>, &[u8]); 6] = [
        ("address beyond 20 octets", submit(&long, b"2\0", b"\0", b"\x02hi"), b"hi"),
        ("short validity", submit(b"1\0", b"2\0", b"24\0", b"\x02hi"), b"hi"),
        ("parameter cut off", submit(b"1\0", b"2\0", b"\0", b"\x02hi\x04\x27\0\x01"), b"hi"),
        ("half a tag after the text", submit(b"1\0", b"2\0", b"\0", b"\x02hi\0"), b"hi"),
        ("payload with NULs", submit(b"1\0", b"2\0", b"\0", b"\0\x04\x24\0\x03h\0i"), b"h\0i"),
        ("unknown parameter first", submit(b"1\0", b"2\0", b"\0", b"\0\x14\x01\0\x01x\x04\x24\0\x02hi"), b"hi"),
    ];
    for (name, body, content) in table {
        let Ok(Pdu::DeliverSm(sm)) = Pdu::decode(CommandId::DELIVER_SM, &Bytes::from(body)) else {
            panic!("{name}: not read");
        };
        assert_eq!(sm.content(), content, "{name}");
    }
}

#[test]
fn lengths_that_lie_are_skipped_or_end_the_stream() {
    const ENQUIRE: [u8; 16] = [0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 9];
    let header = |length: u32| [&length.to_be_bytes()[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7]].concat();
    let oversized = [header(100), vec![0xAA; 84], ENQUIRE.to_vec()].concat();
    let table: [(&str, Vec<u8>, &str); 6] = [
        ("whole", ENQUIRE.to_vec(), "pdu9 "),
        ("not whole yet", ENQUIRE[..15].to_vec(), ""),
        ("oversized is skipped, the next is read", oversized, "big7 pdu9 "),
        ("below 16", [ENQUIRE.to_vec(), header(15), ENQUIRE.to_vec()].concat(), "pdu9 bad7 "),
        ("below 16, nothing more", vec![0, 0, 0, 4], "bad0 "),
        ("absurd", header(0x4745_5420), "bad7 "),
    ];
    for (name, stream, wanted) in table {
        for step in [1, 7, stream.len()] {
            let mut framer = Framer::new(64);
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                framer.buffer().extend_from_slice(piece);
                framer.drain(&mut frames);
                if matches!(frames.last(), Some(Frame::Garbage(_))) {
                    break;
                }
            }
            let seen: String = frames
                .iter()
                .map(|frame| match frame {
                    Frame::Pdu(header, _) => format!("pdu{} ", header.sequence),
                    Frame::Oversized(header) => format!("big{} ", header.sequence),
                    // How much of the header was there depends on the cut.
                    Frame::Garbage(header) if step < 16 => {
                        format!("bad{} ", if name.contains("nothing") { 0 } else { header.sequence.max(7) })
                    }
                    Frame::Garbage(header) => format!("bad{} ", header.sequence),
                })
                .collect();
            assert_eq!(seen, wanted, "{name}, {step} at a time");
        }
    }
}
