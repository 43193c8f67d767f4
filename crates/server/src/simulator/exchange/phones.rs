//! Messages from phones: what people write goes to any client that receives, again until it is acknowledged.

use std::collections::VecDeque;

use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{Address, DeliverSm};
use rustc_hash::FxHashMap;

use super::Exchange;

/// One deliver_sm as a phone's message centre would write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Who writes: digits, or a name.
    pub from: String,
    /// To which number.
    pub to: String,
    /// 0x40 with a header in `short_message`.
    pub esm_class: u8,
    /// How it is coded.
    pub data_coding: u8,
    /// What it says; empty if `tlvs` hold it.
    pub short_message: Vec<u8>,
    /// Optional parameters, as they go.
    pub tlvs: Vec<u8>,
}

/// What phones wrote and nobody has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Phones {
    waiting: VecDeque<Written>,
    in_flight: FxHashMap<u64, Written>,
}

impl Phones {
    /// Whether a deliver_sm is a phone's.
    pub(super) fn knows(&self, token: u64) -> bool {
        self.in_flight.contains_key(&token)
    }

    /// A link was lost with these unanswered: the next has them again, first.
    pub(super) fn lost(&mut self, tokens: &[u64]) {
        for token in tokens.iter().rev() {
            if let Some(written) = self.in_flight.remove(token) {
                self.waiting.push_front(written);
            }
        }
    }
}

impl Exchange {
    /// A phone writes.
    pub(in crate::simulator) fn write(&mut self, written: Written) {
        self.phones.waiting.push_back(written);
        self.drain_phones();
    }

    /// A client answered a phone's message; one that it refused comes again with the next that is written, or at its next bind.
    pub(super) fn phone_answered(&mut self, token: u64, taken: bool) {
        match self.phones.in_flight.remove(&token) {
            Some(_) if taken => self.totals.phones += 1,
            Some(written) => self.phones.waiting.push_back(written),
            None => {}
        }
    }

    pub(super) fn drain_phones(&mut self) {
        while let Some(written) = self.phones.waiting.pop_front() {
            let mut receivers = self.systems.iter().flat_map(|system| &system.receivers);
            let open = |bind: &&u32| self.binds.get(bind).is_some_and(|bound| bound.session.free_slots() > 0);
            let Some(bound) = receivers.find(open).and_then(|bind| self.binds.get(bind)) else {
                return self.phones.waiting.push_front(written);
            };
            let digits = |address: &str| address.bytes().all(|b| b.is_ascii_digit());
            let address = |text: &'_ str| -> (u8, u8) { if digits(text) { (1, 1) } else { (5, 0) } };
            let ((source_ton, source_npi), (ton, npi)) = (address(&written.from), address(&written.to));
            let sm = DeliverSm {
                source: Address { ton: source_ton, npi: source_npi, addr: written.from.as_bytes() },
                destination: Address { ton, npi, addr: written.to.as_bytes() },
                esm_class: written.esm_class,
                data_coding: written.data_coding,
                short_message: &written.short_message[..],
                tlvs: Tlvs(&written.tlvs[..]),
                ..DeliverSm::default()
            };
            if bound.session.deliver(&sm, self.next_token).is_err() {
                return self.phones.waiting.push_front(written);
            }
            self.phones.in_flight.insert(self.next_token, written);
            self.next_token += 1;
        }
    }
}
