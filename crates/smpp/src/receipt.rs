//! Delivery receipts: what became of a message, from the optional parameters where they are, and from the text in its many dialects.
//!
//! The text of SMPP 3.4 appendix B is a suggestion, and carriers vary it: keys in any order and case, `submitdate` in one word, states of other than
//! seven letters, seconds or no seconds, parts missing. So keys are searched for, and nothing is required but that it is a receipt at all.

use crate::pdu::ShortMessage;
use crate::time::unix_millis;
use crate::tlv::Tag;
use crate::values::{ESM_INTERMEDIATE, ESM_RECEIPT, ESM_TYPE_MASK};
use std::borrow::Cow;

/// What a message centre says a message has come to (message_state, §5.2.28, and `stat:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not sent on yet (5.0).
    Scheduled,
    /// On its way.
    Enroute,
    /// Delivered.
    Delivered,
    /// Its validity ran out.
    Expired,
    /// Deleted by the message centre.
    Deleted,
    /// Cannot be delivered.
    Undeliverable,
    /// Taken by someone for the recipient; in practice an interim state.
    Accepted,
    /// The message centre does not know.
    Unknown,
    /// Refused.
    Rejected,
    /// Dropped on purpose, for accounting only (5.0).
    Skipped,
}

impl State {
    /// From message_state; `None` for values no specification lists.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Scheduled,
            1 => Self::Enroute,
            2 => Self::Delivered,
            3 => Self::Expired,
            4 => Self::Deleted,
            5 => Self::Undeliverable,
            6 => Self::Accepted,
            7 => Self::Unknown,
            8 => Self::Rejected,
            9 => Self::Skipped,
            _ => return None,
        })
    }

    /// The value of message_state.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The seven letters of `stat:`.
    #[must_use]
    pub const fn stat(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDLD",
            Self::Enroute => "ENROUTE",
            Self::Delivered => "DELIVRD",
            Self::Expired => "EXPIRED",
            Self::Deleted => "DELETED",
            Self::Undeliverable => "UNDELIV",
            Self::Accepted => "ACCEPTD",
            Self::Unknown => "UNKNOWN",
            Self::Rejected => "REJECTD",
            Self::Skipped => "SKIPPED",
        }
    }

    /// From `stat:`, by how it begins, in any case; `None` for words not known, which is to be treated as not final.
    #[must_use]
    pub fn from_stat(stat: &str) -> Option<Self> {
        const WORDS: [(&str, State); 16] = [
            ("DELIV", State::Delivered),
            ("DLVRD", State::Delivered),
            ("UNDEL", State::Undeliverable),
            ("FAIL", State::Undeliverable),
            ("ERROR", State::Undeliverable),
            ("EXPIR", State::Expired),
            ("DELET", State::Deleted),
            ("CANCEL", State::Deleted),
            ("REJ", State::Rejected),
            ("BLOCK", State::Rejected),
            ("ACCEP", State::Accepted),
            ("ENROUTE", State::Enroute),
            ("BUFF", State::Enroute),
            ("SCHED", State::Scheduled),
            ("SKIP", State::Skipped),
            ("UNKN", State::Unknown),
        ];
        let begins = |word: &str| stat.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        WORDS.iter().find(|(word, _)| begins(word)).map(|(_, state)| *state)
    }
}

/// A receipt. Everything but the state may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// The message centre's id, not yet converted (see [`crate::message_id`]); empty where there is none.
    pub id: Cow<'a, str>,
    /// `None` where neither a known state nor a known word is there: treat it as not final.
    pub state: Option<State>,
    /// The word after `stat:` as it came; empty where there is none.
    pub stat: Cow<'a, str>,
    /// The code after `err:` as it came, digits or not.
    pub err: Option<Cow<'a, str>>,
    /// network_error_code: which kind of network, and its code.
    pub network_error: Option<(u8, u16)>,
    /// Messages submitted, after `sub:`.
    pub submitted: Option<u32>,
    /// Messages delivered, after `dlvrd:`.
    pub delivered: Option<u32>,
    /// When the message was taken, in milliseconds since 1970 on the carrier's own clock, whose zone the text does not say.
    pub submit_date: Option<i64>,
    /// When it became final, as [`Receipt::submit_date`].
    pub done_date: Option<i64>,
    /// The beginning of the message.
    pub text: Cow<'a, str>,
    /// Whether this is a notification on the way and not the end.
    pub intermediate: bool,
}

impl<'a> Receipt<'a> {
    /// The receipt this message is, or `None` where it is a message. `esm_class` decides; without its mark a message is a receipt only when it has
    /// receipted_message_id, or its text is one beyond doubt (begins with `id:`, has `stat:` with a known word).
    #[must_use]
    pub fn of<B: AsRef<[u8]>>(message: &'a ShortMessage<B>) -> Option<Self> {
        let kind = message.esm_class & ESM_TYPE_MASK;
        let marked = kind == ESM_RECEIPT || kind & ESM_INTERMEDIATE != 0;
        let tlvs = &message.tlvs;
        let id = tlvs.get_c_string(Tag::RECEIPTED_MESSAGE_ID);
        if !marked && id.is_none() && !begins_with_id(message.content()) {
            return None;
        }
        let mut receipt = Self::parse(message.content());
        if !marked && id.is_none() && receipt.state.is_none() {
            return None;
        }
        receipt.intermediate = kind & ESM_INTERMEDIATE != 0;
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            receipt.id = String::from_utf8_lossy(id);
        }
        if let Some(state) = tlvs.get_u8(Tag::MESSAGE_STATE).and_then(State::from_code) {
            receipt.state = Some(state);
        }
        if let Some(&[network, high, low]) = tlvs.get(Tag::NETWORK_ERROR_CODE) {
            receipt.network_error = Some((network, u16::from_be_bytes([high, low])));
        }
        Some(receipt)
    }

    /// Reads the text alone. What is not there stays empty; the first of two equal keys counts.
    #[must_use]
    pub fn parse(content: &'a [u8]) -> Self {
        let mut receipt = Self::default();
        let mut seen = [false; KEYS.len()];
        let mut next = next_key(content, 0);
        while let Some((key, _, value_at)) = next {
            // The text is the sender's own words: a `stat:` in it must not count once the carrier's has been seen.
            let is_last = matches!(key, Key::Text) && seen[Key::Stat as usize];
            next = if is_last { None } else { next_key(content, value_at) };
            let end = next.map_or(content.len(), |(_, key_at, _)| key_at);
            if !std::mem::replace(&mut seen[key as usize], true) {
                receipt.set(key, &content[value_at..end]);
            }
        }
        receipt
    }

    fn set(&mut self, key: Key, value: &'a [u8]) {
        let word = value.trim_ascii().split(|octet| octet.is_ascii_whitespace() || b",;".contains(octet)).next();
        let word = word.unwrap_or_default();
        let number = || std::str::from_utf8(word).ok()?.parse().ok();
        match key {
            Key::Id => self.id = String::from_utf8_lossy(word),
            Key::Stat => {
                self.stat = String::from_utf8_lossy(word);
                self.state = State::from_stat(&self.stat);
            }
            Key::Err => self.err = (!word.is_empty()).then(|| String::from_utf8_lossy(word)),
            Key::Sub => self.submitted = number(),
            Key::Dlvrd => self.delivered = number(),
            Key::SubmitDate => self.submit_date = date(word),
            Key::DoneDate => self.done_date = date(word),
            Key::Text => self.text = String::from_utf8_lossy(value.trim_ascii()),
        }
    }
}

/// The keys of a receipt's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Sub,
    Dlvrd,
    SubmitDate,
    DoneDate,
    Stat,
    Err,
    Text,
}

/// Each key as its letters alone; blanks, `_` and `-` inside it in the text do not count.
const KEYS: [(&[u8], Key); 8] = [
    (b"id", Key::Id),
    (b"sub", Key::Sub),
    (b"dlvrd", Key::Dlvrd),
    (b"submitdate", Key::SubmitDate),
    (b"donedate", Key::DoneDate),
    (b"stat", Key::Stat),
    (b"err", Key::Err),
    (b"text", Key::Text),
];

/// Whether a text might be a receipt though nothing says so.
fn begins_with_id(content: &[u8]) -> bool {
    matches!(next_key(content, 0), Some((Key::Id, at, _)) if content[..at].trim_ascii().is_empty())
}

/// The first key at or after `from`: which, where it begins, and where its value begins.
fn next_key(content: &[u8], from: usize) -> Option<(Key, usize, usize)> {
    let mut at = from;
    while let Some(found) = content.get(at..)?.iter().position(|&octet| octet == b':') {
        let colon = at + found;
        if let Some((key, begin)) = key_before(content, from, colon) {
            return Some((key, begin, colon + 1));
        }
        at = colon + 1;
    }
    None
}

/// The key that ends at `colon`, beginning at a word's start not before `from`.
fn key_before(content: &[u8], from: usize, colon: usize) -> Option<(Key, usize)> {
    KEYS.iter().find_map(|&(letters, key)| {
        let mut at = colon;
        for &letter in letters.iter().rev() {
            // Only the two keys of two words may be written apart.
            while at > from && at < colon && letters.len() > 5 && b" _-".contains(&content[at - 1]) {
                at -= 1;
            }
            if at == from || !content[at - 1].eq_ignore_ascii_case(&letter) {
                return None;
            }
            at -= 1;
        }
        let starts_word = at == 0 || !content[at - 1].is_ascii_alphanumeric();
        starts_word.then_some((key, at))
    })
}

/// `YYMMDDhhmm`, `YYMMDDhhmmss` or `YYYYMMDDhhmmss` as milliseconds since 1970.
fn date(word: &[u8]) -> Option<i64> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = word.split_at_checked(if word.len() == 14 { 4 } else { 2 })?;
    if !matches!((word.len(), rest.len()), (10, 8) | (12, 10) | (14, 10)) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    let mut parts = [number(year), 0, 0, 0, 0, 0];
    for (part, digits) in parts[1..].iter_mut().zip(rest.chunks(2)) {
        *part = number(digits);
    }
    unix_millis(parts)
}
