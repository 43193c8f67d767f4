//! The ways carriers write receipts and message ids.

use std::io::Write;

use carillon_smpp::receipt::State;
use carillon_smpp::tlv::{self, Tag};

/// One carrier's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// The text of SMPP 3.4 appendix B; ids are ten decimal digits everywhere.
    #[default]
    Standard,
    /// No text: receipted_message_id, message_state and network_error_code.
    Tlvs,
    /// The id is hexadecimal in the answer to the submit and decimal in the receipt.
    HexIds,
    /// The id is decimal in the answer to the submit and hexadecimal in the receipt.
    DecimalIds,
    /// `submitdate` and `donedate` as one word, to the day only, which no parser can date.
    ShortDates,
    /// Dates to the second.
    LongDates,
    /// Keys and states in lower case, states as whole words.
    LowerCase,
    /// The id and the state, nothing else.
    MissingFields,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) id: u64,
    pub(super) state: State,
    pub(super) err: &'static str,
    /// Unix milliseconds.
    pub(super) submitted: i64,
    /// Unix milliseconds.
    pub(super) done: i64,
}

impl Dialect {
    /// Sets `out` to the id as the answer to the submit has it.
    pub(super) fn write_answer_id(self, id: u64, out: &mut Vec<u8>) {
        out.clear();
        write_id(self == Self::HexIds, id, out);
    }

    /// Reads an id as [`Dialect::write_answer_id`] writes it.
    pub(super) fn read_answer_id(self, id: &[u8]) -> Option<u64> {
        let radix = if self == Self::HexIds { 16 } else { 10 };
        u64::from_str_radix(std::str::from_utf8(id).ok()?, radix).ok()
    }

    /// Sets `text` and `tlvs` to a receipt's short_message and optional parameters.
    pub(super) fn write_receipt(self, facts: &Facts, text: &mut Vec<u8>, tlvs: &mut Vec<u8>) {
        text.clear();
        tlvs.clear();
        if self == Self::Tlvs {
            write_id(false, facts.id, text);
            text.push(0);
            tlv::push(tlvs, Tag::RECEIPTED_MESSAGE_ID, text);
            tlv::push(tlvs, Tag::MESSAGE_STATE, &[facts.state.code()]);
            let [high, low] = facts.err.parse::<u16>().unwrap_or(0).to_be_bytes();
            tlv::push(tlvs, Tag::NETWORK_ERROR_CODE, &[3, high, low]);
            text.clear();
            return;
        }
        let delivered = u8::from(facts.state == State::Delivered);
        let err = facts.err;
        let (digits, stat) = match self {
            Self::ShortDates => (6, facts.state.stat()),
            Self::LongDates => (12, facts.state.stat()),
            Self::LowerCase => (10, long_word(facts.state)),
            _ => (10, facts.state.stat()),
        };
        let (submitted, done) = (date(facts.submitted), date(facts.done));
        let submitted = std::str::from_utf8(&submitted[..digits]).expect("a date is digits");
        let done = std::str::from_utf8(&done[..digits]).expect("a date is digits");
        text.extend_from_slice(b"id:");
        write_id(self == Self::DecimalIds, facts.id, text);
        match self {
            Self::MissingFields => write!(text, " stat:{stat}"),
            Self::ShortDates => {
                write!(
                    text,
                    " sub:1 dlvrd:{delivered} submitdate:{submitted} donedate:{done} stat:{stat} err:{err} Text:"
                )
            }
            _ => write!(
                text,
                " sub:001 dlvrd:00{delivered} submit date:{submitted} done date:{done} stat:{stat} err:{err} text:"
            ),
        }
        .expect("writing to memory does not fail");
    }
}

fn write_id(hexadecimal: bool, id: u64, out: &mut Vec<u8>) {
    if hexadecimal { write!(out, "{id:x}") } else { write!(out, "{id:010}") }.expect("writing to memory does not fail");
}

/// `YYMMDDhhmmss…`.
fn date(ms: i64) -> [u8; 16] {
    carillon_smpp::time::absolute(ms)
}

fn long_word(state: State) -> &'static str {
    match state {
        State::Delivered => "delivered",
        State::Undeliverable => "undeliverable",
        State::Expired => "expired",
        State::Deleted => "deleted",
        State::Accepted => "accepted",
        State::Rejected => "rejected",
        State::Enroute => "enroute",
        State::Scheduled => "scheduled",
        State::Skipped => "skipped",
        State::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_smpp::message_id::{IdRule, convert};
    use carillon_smpp::tlv::Tlvs;
    use carillon_smpp::{Receipt, ShortMessage};

    /// 2026-11-21 08:30:15 UTC.
    const TIME: i64 = 1_795_249_815_000;

    #[test]
    fn every_dialect_reads_as_the_same_receipt() {
        let to_minute = Some(TIME - 15_000);
        let table = [
            (
                Dialect::Standard,
                "id:0000020266 sub:001 dlvrd:000 submit date:2611210830 done date:2611210830 stat:UNDELIV err:027 text:",
                to_minute,
            ),
            (Dialect::Tlvs, "", None),
            (
                Dialect::HexIds,
                "id:0000020266 sub:001 dlvrd:000 submit date:2611210830 done date:2611210830 stat:UNDELIV err:027 text:",
                to_minute,
            ),
            (
                Dialect::DecimalIds,
                "id:4f2a sub:001 dlvrd:000 submit date:2611210830 done date:2611210830 stat:UNDELIV err:027 text:",
                to_minute,
            ),
            (
                Dialect::ShortDates,
                "id:0000020266 sub:1 dlvrd:0 submitdate:261121 donedate:261121 stat:UNDELIV err:027 Text:",
                None,
            ),
            (
                Dialect::LongDates,
                "id:0000020266 sub:001 dlvrd:000 submit date:261121083015 done date:261121083015 stat:UNDELIV err:027 text:",
                Some(TIME),
            ),
            (
                Dialect::LowerCase,
                "id:0000020266 sub:001 dlvrd:000 submit date:2611210830 done date:2611210830 stat:undeliverable err:027 text:",
                to_minute,
            ),
            (Dialect::MissingFields, "id:0000020266 stat:UNDELIV", None),
        ];
        let facts = Facts { id: 20_266, state: State::Undeliverable, err: "027", submitted: TIME, done: TIME };
        let (mut text, mut tlvs, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        for (dialect, wanted, done) in table {
            dialect.write_receipt(&facts, &mut text, &mut tlvs);
            assert_eq!(String::from_utf8_lossy(&text), wanted, "{dialect:?}");
            let sm = ShortMessage {
                esm_class: 4,
                short_message: &text[..],
                tlvs: Tlvs(&tlvs[..]),
                ..ShortMessage::default()
            };
            let receipt = Receipt::of(&sm).unwrap();
            assert_eq!((receipt.state, receipt.done_date), (Some(State::Undeliverable), done), "{dialect:?}");
            dialect.write_answer_id(facts.id, &mut answer);
            assert_eq!(dialect.read_answer_id(&answer), Some(facts.id));
            let answer = std::str::from_utf8(&answer).unwrap();
            // As a connection's settings would have it: bring both to decimal digits.
            let (from_answer, from_receipt) = match dialect {
                Dialect::HexIds => (IdRule::HexToDec, IdRule::AsIs),
                Dialect::DecimalIds => (IdRule::AsIs, IdRule::HexToDec),
                _ => (IdRule::AsIs, IdRule::AsIs),
            };
            let (a, b) = (convert(from_answer, answer), convert(from_receipt, &receipt.id));
            assert_eq!(a.trim_start_matches('0'), b.trim_start_matches('0'), "{dialect:?}");
        }
    }
}
