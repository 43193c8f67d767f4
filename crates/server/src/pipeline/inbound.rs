//! Where links and callbacks hand in what phones wrote, and whose the numbers are that they wrote to.

use std::collections::VecDeque;

use carillon_domain::encoding::{self, Alphabet};
use carillon_domain::id::AccountNo;
use carillon_domain::inbound::{Writing, alphabet_of, shift_of};
use carillon_smpp::content::part_of;
use carillon_smpp::{CommandStatus, DeliverSm, ReplyTo, Session};
use carillon_store::inbound_number::InboundNumber;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use super::{Pipeline, SubmitError};

/// Messages from phones that may wait for a commit; more are left to their carriers.
const WAITING_MAX: usize = 10_000;

/// A message from a phone, or a part of one, as a carrier gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inbound {
    /// Number of the connection in the store.
    pub connection: i32,
    /// The carrier's id, if it gives one: the same one is the same message.
    pub carrier_id: Option<String>,
    /// Who wrote: digits, + and digits, or a name.
    pub from: String,
    /// What they wrote to.
    pub to: String,
    /// Of a part: the reference, how many there are, and which it is, from 1.
    pub part: Option<(u16, u8, u8)>,
    /// What it holds, without its header.
    pub octets: Vec<u8>,
    /// How to read it.
    pub writing: Writing,
    /// When the carrier had it, Unix milliseconds.
    pub carrier_at: Option<i64>,
    /// Without a carrier's id: what came until then may not have been acknowledged, Unix milliseconds.
    pub repeats_until: i64,
}

impl Inbound {
    /// A text that a provider decoded.
    pub fn text(
        connection: i32,
        carrier_id: Option<String>,
        from: String,
        to: String,
        text: &str,
        repeats_until: i64,
    ) -> Inbound {
        let (octets, writing) = (text.as_bytes().to_vec(), Writing::Text);
        Inbound { connection, carrier_id, from, to, part: None, octets, writing, carrier_at: None, repeats_until }
    }

    /// A deliver_sm that is no receipt (SMPP 3.4 §4.6). `alphabet` is what the carrier means by data_coding 0.
    pub fn of_sm(connection: i32, sm: &DeliverSm, alphabet: Alphabet, repeats_until: i64) -> Inbound {
        let (part, text_at) = part_of(sm);
        let (header, octets) = sm.content().split_at(text_at);
        let (alphabet, shift) = (alphabet_of(sm.data_coding, alphabet), shift_of(header));
        // Packed septets begin where the header ends: they cannot be joined unread.
        let (octets, writing) = if alphabet == Alphabet::Gsm7Packed {
            (encoding::decode(octets, alphabet, shift, header.len()).into_bytes(), Writing::Text)
        } else {
            (octets.to_vec(), Writing::Coded(alphabet, shift))
        };
        let source = sm.source.text();
        let international = sm.source.ton == 1 && !source.starts_with('+');
        Inbound {
            connection,
            carrier_id: None,
            from: if international { format!("+{source}") } else { source.into_owned() },
            to: sm.destination.text().into_owned(),
            part: part.map(|p| (p.reference, p.total, p.index)),
            octets,
            writing,
            carrier_at: None,
            repeats_until,
        }
    }
}

/// Who is told when a message is durable, or that it could not be taken.
pub enum Ack {
    /// A carrier, over its session.
    Session(Session, ReplyTo),
    /// Somebody who waits.
    Waiter(oneshot::Sender<bool>),
}

impl Ack {
    /// It is durable (or was before); or the carrier is to try again.
    pub fn tell(self, taken: bool) {
        match self {
            Ack::Session(session, to) => {
                session.respond_deliver(to, if taken { CommandStatus::ROK } else { CommandStatus::RX_T_APPN });
            }
            // Who hung up asks again.
            Ack::Waiter(waiter) => drop(waiter.send(taken)),
        }
    }
}

/// A message from a phone, who waits for it to be durable, and when it came, Unix milliseconds.
pub type Arrived = (Inbound, Ack, i64);

/// What waits to be stored.
pub(super) struct Waiting {
    queue: Mutex<VecDeque<Arrived>>,
    arrived: Notify,
    /// When this process began, Unix milliseconds.
    began: i64,
    /// When a session of a connection last began or ended, Unix milliseconds.
    links: Mutex<FxHashMap<i32, i64>>,
}

impl Waiting {
    pub(super) fn new(began: i64) -> Waiting {
        Waiting { queue: Mutex::default(), arrived: Notify::new(), began, links: Mutex::default() }
    }
}

/// Numbers that phones can write to, and whose they are.
#[derive(Debug, Default)]
pub struct OwnNumbers(RwLock<FxHashMap<String, SmallVec<[(i32, AccountNo); 1]>>>);

impl OwnNumbers {
    /// Replaces them all.
    pub fn set(&self, all: &[InboundNumber]) {
        let mut numbers: FxHashMap<String, SmallVec<[(i32, AccountNo); 1]>> = FxHashMap::default();
        for n in all {
            numbers.entry(n.number.clone()).or_default().push((n.connection, n.account));
        }
        *self.0.write() = numbers;
    }

    /// Whose a number (digits) is on a connection: of one that is given for that connection alone before one for any.
    pub fn owner(&self, number: &str, connection: i32) -> Option<AccountNo> {
        let numbers = self.0.read();
        let owners = numbers.get(number)?;
        let of = |wanted: i32| owners.iter().find(|(no, _)| *no == wanted).map(|(_, account)| *account);
        of(connection).or_else(|| of(0))
    }

    /// Whether a sender is a number of the account's that can be answered.
    pub fn answers(&self, account: AccountNo, sender: &str) -> bool {
        let numbers = self.0.read();
        !numbers.is_empty()
            && numbers.get(sender.trim_start_matches('+')).is_some_and(|o| o.iter().any(|(_, owner)| *owner == account))
    }

    /// Whether it is anybody's.
    pub fn is_own(&self, peer: &str) -> bool {
        self.0.read().contains_key(peer.trim_start_matches('+'))
    }
}

impl Pipeline {
    /// Hands in what a phone wrote; `ack` hears of it once it is durable.
    pub fn inbound(&self, inbound: Inbound, ack: Ack) {
        let mut queue = self.0.inbound.queue.lock();
        if queue.len() >= WAITING_MAX {
            drop(queue);
            return ack.tell(false);
        }
        queue.push_back((inbound, ack, self.0.clock.now_ms()));
        drop(queue);
        self.0.inbound.arrived.notify_one();
    }

    /// The same for who can wait: a callback is answered after this.
    pub async fn take_inbound(&self, inbound: Inbound) -> Result<(), SubmitError> {
        let (tell, told) = oneshot::channel();
        self.inbound(inbound, Ack::Waiter(tell));
        match told.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SubmitError::Busy),
            Err(_) => Err(SubmitError::Unavailable("the server is stopping".into())),
        }
    }

    /// A session of a connection began or ended: what was stored before may not have been acknowledged.
    pub fn link_changed(&self, connection: i32) {
        self.0.inbound.links.lock().insert(connection, self.0.clock.now_ms());
    }

    /// Until when what a connection gave may come again, Unix milliseconds: one that has no sessions was told of all that was stored since this
    /// process began.
    pub fn repeats_until(&self, connection: i32) -> i64 {
        self.0.inbound.links.lock().get(&connection).copied().unwrap_or(self.0.inbound.began)
    }

    /// What waits to be stored, at most `max`; none if something else woke it.
    pub async fn inbound_waiting(&self, max: usize) -> Vec<Arrived> {
        if self.0.inbound.queue.lock().is_empty() {
            self.0.inbound.arrived.notified().await;
        }
        let mut queue = self.0.inbound.queue.lock();
        let count = queue.len().min(max);
        queue.drain(..count).collect()
    }

    /// Numbers that phones can write to.
    pub fn own_numbers(&self) -> &OwnNumbers {
        &self.0.own_numbers
    }
}
