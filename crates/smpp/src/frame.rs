//! Cuts a byte stream into PDUs: all whole ones of a read at once, none ever reading beyond its own length.

use crate::encode::Header;
use bytes::{Buf, Bytes, BytesMut};

/// Largest PDU read unless configured otherwise: a full message_payload of 64 KiB less a little.
pub const PDU_MAX_DEFAULT: u32 = 64 * 1024;
/// Beyond this a length is taken for garbage rather than for a large PDU worth skipping.
const SKIP_MAX: u32 = 16 * 1024 * 1024;

/// What the stream held next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole PDU.
    Pdu(Header, Bytes),
    /// A PDU larger than allowed: its body is skipped as it arrives, and the session goes on. Answer generic_nack with RINVCMDLEN.
    Oversized(Header),
    /// A length that cannot be one (below 16, or absurd): where the next PDU begins is unknown, so the session is over.
    Garbage(Header),
}

/// Collects octets and yields frames.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Octets of an oversized PDU still to come.
    skip: usize,
    pdu_max: u32,
}

impl Framer {
    /// A framer that accepts PDUs of up to `pdu_max` octets.
    #[must_use]
    pub fn new(pdu_max: u32) -> Self {
        Self { buffer: BytesMut::new(), skip: 0, pdu_max }
    }

    /// Changes the largest PDU accepted from here on.
    pub fn set_pdu_max(&mut self, pdu_max: u32) {
        self.pdu_max = pdu_max;
    }

    /// Where to read the next octets into: at least 16 KiB free at its end.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(16 * 1024);
        &mut self.buffer
    }

    /// Appends every whole frame received so far to `out`.
    pub fn drain(&mut self, out: &mut Vec<Frame>) {
        loop {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
            let (whole, stop) = self.whole();
            if whole > 0 {
                // One shared chunk for all PDUs of this read, so that the fields of each are slices and not copies.
                split(&self.buffer.split_to(whole).freeze(), out);
            }
            match stop {
                None => return,
                Some(Frame::Oversized(header)) => {
                    self.skip = header.length as usize;
                    out.push(Frame::Oversized(header));
                }
                Some(garbage) => {
                    self.buffer.clear();
                    out.push(garbage);
                    return;
                }
            }
        }
    }

    /// How many octets at the front are whole PDUs, and the frame that cannot be one, if that is what follows.
    fn whole(&self) -> (usize, Option<Frame>) {
        let mut end = 0;
        while let Some(header) = begun(&self.buffer[end..]) {
            if header.length < 16 || header.length > self.pdu_max.max(SKIP_MAX) {
                return (end, Some(Frame::Garbage(header)));
            }
            if header.length > self.pdu_max {
                if self.buffer.len() - end < Header::LENGTH {
                    break;
                }
                return (end, Some(Frame::Oversized(header)));
            }
            let length = header.length as usize;
            if self.buffer.len() - end < length {
                break;
            }
            end += length;
        }
        (end, None)
    }
}

/// The header of a PDU whose length at least has arrived; what has not is zero. A wrong length must show at once: whoever sent
/// it may send nothing more.
fn begun(octets: &[u8]) -> Option<Header> {
    let arrived = octets.len().min(Header::LENGTH);
    let mut header = [0; Header::LENGTH];
    header[..arrived].copy_from_slice(&octets[..arrived]);
    (arrived >= 4).then(|| Header::decode(&header))
}

/// Cuts a chunk made of whole PDUs.
fn split(chunk: &Bytes, out: &mut Vec<Frame>) {
    let mut at = 0;
    while let Some(octets) = chunk[at..].first_chunk::<{ Header::LENGTH }>() {
        let header = Header::decode(octets);
        let end = at + header.length as usize;
        out.push(Frame::Pdu(header, chunk.slice(at + Header::LENGTH..end)));
        at = end;
    }
}
