//! Any octets as a received message: the receipt, the part and the times in it are read without a panic.
#![no_main]

use carillon_smpp::content::part_of;
use carillon_smpp::message_id::{IdRule, convert};
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{Receipt, ShortMessage, time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((&[esm_class, cut], rest)) = octets.split_first_chunk::<2>() else { return };
    let (short_message, tlvs) = rest.split_at(usize::from(cut).min(rest.len()));
    let message = ShortMessage { esm_class, short_message, tlvs: Tlvs(tlvs), ..ShortMessage::default() };
    if let Some(receipt) = Receipt::of(&message) {
        for rule in [IdRule::AsIs, IdRule::HexToDec, IdRule::DecToHex] {
            let _ = convert(rule, &receipt.id);
        }
    }
    let (_, at) = part_of(&message);
    let _ = &message.content()[at..];
    let _ = time::parse(short_message);
});
