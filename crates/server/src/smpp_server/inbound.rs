//! A message from a phone as deliver_sm, in the form its credential asks for: whole, or in parts as handsets send them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::encoding::{self, Alphabet, Encoding, Options, PARTS_MAX, Shift};
use carillon_domain::smpp::{CredentialSettings, InboundForm};
use carillon_smpp::content::{Concat, Part, UserData};
use carillon_smpp::values;
use carillon_store::smpp_delivery::Inbound;
use uuid::Uuid;

use super::render::{Addressed, Piece, address};
use crate::inbound::peer::as_sender;

/// Octets that a short_message takes (SMPP 3.4 §5.2.21).
const SHORT_MESSAGE_MAX: usize = 254;
/// Characters of an address (§5.2.8), and what stands for one that is not ASCII.
const ADDRESS_MAX: usize = 20;

/// The pieces of a message; none if the credential wants none. `in_parts`: some of those who take it know no optional parameters, so long
/// ones go in parts whatever the settings say.
pub(super) fn pieces(m: &Inbound, settings: &CredentialSettings, in_parts: bool) -> Vec<Piece> {
    let whole = match settings.inbound {
        InboundForm::None => return Vec::new(),
        InboundForm::Udh => false,
        InboundForm::Payload => !in_parts,
    };
    let written = write(m, settings.alphabet.into());
    let (source, destination) = (who(&m.peer), address(&as_sender(&m.number)).unwrap_or_default());
    let piece = |data: UserData| Piece {
        source: source.clone(),
        destination: destination.clone(),
        esm_class: data.esm_class,
        data_coding: written.data_coding,
        short_message: data.short_message,
        tlvs: data.tlvs,
    };
    if whole {
        let (mut data, octets) = (UserData::default(), written.parts.concat());
        if octets.len() > SHORT_MESSAGE_MAX {
            data.set_payload(&octets, false);
        } else {
            data.short_message = octets;
        }
        return vec![piece(data)];
    }
    // Nothing numbers more parts than an octet holds; no carrier brings so many.
    let total = u8::try_from(written.parts.len()).unwrap_or(PARTS_MAX);
    let reference = reference(m.id);
    let part = |(index, octets): (u8, &Vec<u8>)| {
        let mut data = UserData::default();
        let part = Part { reference, total, index };
        data.set_part(Concat::Udh16, part, octets, false)
            .expect("the index is within the total, and there is no header");
        piece(data)
    };
    (1..=total).zip(&written.parts).map(part).collect()
}

/// Ties the parts together: the same each time they are sent, another for the next message. The counter's low bits stand there in an id.
fn reference(id: Uuid) -> u16 {
    (id.as_u128() >> 32) as u16
}

/// Who wrote: a number, a short code, or whatever the carrier called it.
fn who(peer: &str) -> Addressed {
    address(peer).unwrap_or_else(|| {
        let ascii = peer.chars().take(ADDRESS_MAX).map(|c| if c.is_ascii() { c } else { '?' }).collect::<String>();
        let digits = ascii.bytes().all(|b| b.is_ascii_digit());
        (if digits { 0 } else { values::TON_ALPHANUMERIC }, 0, ascii.into())
    })
}

struct Written {
    data_coding: u8,
    /// Octets of each part; put together they are the message.
    parts: Vec<Vec<u8>>,
}

/// In the customer's own alphabet where that holds every character, else in UCS-2.
fn write(m: &Inbound, alphabet: Alphabet) -> Written {
    if m.is_binary {
        let octets = STANDARD.decode(&m.body).unwrap_or_default();
        let parts = encoding::binary_segments(&octets).map(<[u8]>::to_vec).collect();
        return Written { data_coding: values::CODING_BINARY, parts };
    }
    let gsm = Encoding::Gsm7(Shift::NONE);
    if alphabet == Alphabet::Gsm7 {
        let options = Options { parts_max: PARTS_MAX, ..Options::default() };
        if let Some(plan) = encoding::plan(&m.body, &options).ok().filter(|plan| plan.encoding == gsm) {
            return Written { data_coding: values::CODING_DEFAULT, parts: encode(&m.body, gsm, plan.parts) };
        }
    } else if let Some(octets) = narrow(&m.body, alphabet) {
        let parts = encoding::binary_segments(&octets).map(<[u8]>::to_vec).collect();
        return Written { data_coding: values::CODING_DEFAULT, parts };
    }
    let units = m.body.encode_utf16().count();
    let parts = if units <= Encoding::Ucs2.capacity(false) as usize { 1 } else { 2 };
    Written { data_coding: values::CODING_UCS2, parts: encode(&m.body, Encoding::Ucs2, parts) }
}

/// `parts`: whether it is one.
fn encode(text: &str, encoding: Encoding, parts: u8) -> Vec<Vec<u8>> {
    let part = |part| encoding::encode_part(part, encoding, Alphabet::Gsm7, 0).expect("a septet or a unit holds it");
    encoding::segments(text, encoding, parts).map(part).collect()
}

/// An octet for each character, if all have one.
fn narrow(text: &str, alphabet: Alphabet) -> Option<Vec<u8>> {
    let last = if alphabet == Alphabet::Latin1 { 0xFF } else { 0x7F };
    text.chars().map(|c| u8::try_from(u32::from(c)).ok().filter(|octet| *octet <= last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::smpp::DefaultAlphabet;
    use carillon_smpp::content::part_of;
    use carillon_smpp::tlv::Tag;

    fn inbound(body: &str) -> Inbound {
        Inbound {
            id: Uuid::from_u128(0xABCD << 32),
            number: "4915735983801".into(),
            peer: "+4915112345678".into(),
            body: body.into(),
            is_binary: false,
        }
    }

    fn settings(alphabet: DefaultAlphabet, inbound: InboundForm) -> CredentialSettings {
        CredentialSettings { alphabet, inbound, ..CredentialSettings::default() }
    }

    /// What a customer reads out of the pieces.
    fn read(pieces: &[Piece], alphabet: DefaultAlphabet) -> String {
        let mut octets = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let sm = piece.deliver_sm();
            let (part, text_at) = part_of(&sm);
            let expected =
                (pieces.len() > 1).then_some(Part { reference: 0xABCD, total: pieces.len() as u8, index: i as u8 + 1 });
            assert_eq!(part, expected);
            octets.extend_from_slice(&sm.content()[text_at..]);
        }
        let alphabet = if pieces[0].deliver_sm().data_coding == 8 { Alphabet::Ucs2 } else { alphabet.into() };
        encoding::decode(&octets, alphabet, Shift::NONE, 0)
    }

    #[test]
    fn how_texts_are_written() {
        use DefaultAlphabet::{Ascii, Gsm7, Latin1};
        // Text, alphabet, data_coding, octets of each part without its header.
        let rows: [(&str, DefaultAlphabet, u8, &[usize]); 13] = [
            ("", Gsm7, 0, &[0]),
            ("hello", Gsm7, 0, &[5]),
            ("5 €", Gsm7, 0, &[4]),
            ("ça va", Gsm7, 8, &[10]),
            ("ça va", Latin1, 0, &[5]),
            ("ça va", Ascii, 8, &[10]),
            ("5 €", Latin1, 8, &[6]),
            ("سلام", Gsm7, 8, &[8]),
            (&"a".repeat(160), Gsm7, 0, &[160]),
            (&"a".repeat(161), Gsm7, 0, &[152, 9]),
            (&"a".repeat(141), Ascii, 0, &[133, 8]),
            (&"س".repeat(70), Gsm7, 8, &[140]),
            (&"س".repeat(71), Gsm7, 8, &[132, 10]),
        ];
        for (text, alphabet, data_coding, lengths) in rows {
            let pieces = pieces(&inbound(text), &settings(alphabet, InboundForm::Udh), false);
            let shapes: Vec<_> = pieces
                .iter()
                .map(|p| (p.data_coding, p.short_message.len() - if p.esm_class == 0 { 0 } else { 7 }))
                .collect();
            assert_eq!(shapes, lengths.iter().map(|l| (data_coding, *l)).collect::<Vec<_>>(), "{text} {alphabet:?}");
            assert_eq!(read(&pieces, alphabet), text);
        }
    }

    #[test]
    fn whole_in_parts_or_not_at_all() {
        let (long, alphabet) = ("a".repeat(300), DefaultAlphabet::Gsm7);
        let payload = settings(alphabet, InboundForm::Payload);
        let whole = pieces(&inbound(&long), &payload, false);
        assert_eq!((whole.len(), whole[0].short_message.len()), (1, 0));
        assert_eq!(whole[0].deliver_sm().tlvs.get(Tag::MESSAGE_PAYLOAD), Some(long.as_bytes()));
        assert_eq!(read(&whole, alphabet), long);
        assert_eq!(pieces(&inbound(&long), &payload, true).len(), 2, "nobody there knows message_payload");
        let fits = pieces(&inbound(&long[..254]), &payload, false);
        assert_eq!((fits.len(), fits[0].short_message.len(), fits[0].tlvs.len()), (1, 254, 0));
        assert!(pieces(&inbound(&long), &settings(alphabet, InboundForm::None), false).is_empty());
        let octets = Inbound { body: STANDARD.encode([7; 141]), is_binary: true, ..inbound("") };
        let parts = pieces(&octets, &settings(alphabet, InboundForm::Udh), false);
        assert_eq!(
            parts.iter().map(|p| (p.data_coding, p.short_message.len())).collect::<Vec<_>>(),
            [(4, 140), (4, 15)]
        );
    }

    #[test]
    fn who_wrote_and_to_what() {
        let rows = [
            ("+4915112345678", "4915735983801", (1, "4915112345678"), (1, "4915735983801")),
            ("22333", "1001", (3, "22333"), (3, "1001")),
            ("Info", "1001", (5, "Info"), (3, "1001")),
            ("A bank with a näme of many letters", "1001", (5, "A bank with a n?me o"), (3, "1001")),
            ("22", "1001", (0, "22"), (3, "1001")),
        ];
        for (peer, number, source, destination) in rows {
            let m = Inbound { peer: peer.into(), number: number.into(), ..inbound("hello") };
            let pieces = pieces(&m, &CredentialSettings::default(), false);
            let sm = pieces[0].deliver_sm();
            let address = |a: &carillon_smpp::Address<&[u8]>| (a.ton, String::from_utf8_lossy(a.addr).into_owned());
            assert_eq!(address(&sm.source), (source.0, source.1.to_owned()));
            assert_eq!(address(&sm.destination), (destination.0, destination.1.to_owned()));
            assert_eq!((sm.esm_class, sm.registered_delivery), (0, 0));
        }
    }
}
