//! Any octets as a stream: every PDU that can be read, and fits the specification, must be written and read back the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use carillon_smpp::frame::{Frame, Framer};
use carillon_smpp::{CommandStatus, Pdu};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut framer = Framer::new(64 * 1024);
    let mut frames = Vec::new();
    framer.buffer().extend_from_slice(octets);
    framer.drain(&mut frames);
    for frame in frames {
        let Frame::Pdu(header, body) = frame else { continue };
        let Ok(pdu) = Pdu::decode(header.command, &body) else { continue };
        let mut again = BytesMut::new();
        if pdu.encode(CommandStatus::ROK, header.sequence, &mut again).is_ok() {
            let body = Bytes::copy_from_slice(&again[16..]);
            assert_eq!(Pdu::decode(header.command, &body), Ok(pdu));
        }
    }
});
