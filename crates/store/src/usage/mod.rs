//! Usage of accounts, counted by the transactions that store and end messages. Each commit of the hot path writes what it counted as one row of
//! `usage_log` (`Tally`), whatever number of accounts it is about; `fold` adds these rows up in `usage_day` and `usage_hour`, `read` reads
//! those, and `check` compares them with the messages themselves.
//!
//! A message is counted twice: in the cell of what was accepted, and, once nothing more becomes of it, in the cell of its end.

mod check;
mod fold;
mod read;

use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::State;
use carillon_domain::usage::speed;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::StoreError;

pub use check::{Difference, rebuild, verify};
pub use fold::fold;
pub use read::{Filter, GROUPS_MAX, Group, Hour, Key, connections, hours, totals};

/// Value of the `state` column for what was accepted.
pub(crate) const ACCEPTED: i16 = -1;
const HOURS: i32 = 24;

/// What messages have in common that are counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Cell {
    pub(crate) account: AccountNo,
    /// Of acceptance, hours since 1970.
    pub(crate) hour: i32,
    /// Nil: none.
    pub(crate) batch: Uuid,
    pub(crate) country: i16,
    pub(crate) connection: i32,
    pub(crate) state: i16,
    pub(crate) error: i16,
    pub(crate) speed: i16,
}

impl Cell {
    pub(crate) fn accepted(id: MessageId, batch: Option<Uuid>, country: i16) -> Cell {
        let (account, hour) = (id.account(), (id.millis() / 3_600_000) as i32);
        let batch = batch.unwrap_or_default();
        Cell { account, hour, batch, country, connection: 0, state: ACCEPTED, error: 0, speed: -1 }
    }
}

/// What is counted in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) messages: i64,
    /// Of messages that have ended.
    pub(crate) parts: i64,
    /// Micro-units.
    pub(crate) captured: i64,
}

impl std::ops::Neg for Sums {
    type Output = Sums;
    fn neg(self) -> Sums {
        Sums { messages: -self.messages, parts: -self.parts, captured: -self.captured }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Sums) {
        self.messages += more.messages;
        self.parts += more.parts;
        self.captured += more.captured;
    }
}

/// The columns of a message that has ended by which it is counted.
pub(crate) struct End {
    pub(crate) batch: Option<Uuid>,
    pub(crate) country: i16,
    pub(crate) connection: Option<i32>,
    pub(crate) state: State,
    pub(crate) error: Option<i16>,
    pub(crate) parts: i64,
    pub(crate) captured: i64,
    pub(crate) sent_at: Option<i64>,
    pub(crate) final_at: i64,
}

impl End {
    pub(crate) fn counted(&self, id: MessageId) -> (Cell, Sums) {
        let took = self.sent_at.map_or(0, |sent_at| self.final_at - sent_at);
        let cell = Cell {
            connection: self.connection.unwrap_or(0),
            state: self.state.number(),
            error: self.error.unwrap_or(0),
            speed: if self.state == State::Delivered { speed(took) } else { -1 },
            ..Cell::accepted(id, self.batch, self.country)
        };
        (cell, Sums { messages: 1, parts: self.parts, captured: self.captured })
    }
}

/// What one commit counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(FxHashMap<Cell, Sums>);

/// The first byte of a row of `usage_log`: how the rest is to be read.
const SCHEME: u8 = 0;
/// Octets of a cell with its sums: account, hour, batch, country, connection, state, error, speed, messages, parts, captured; big-endian.
const ENTRY: usize = 4 + 4 + 16 + 2 + 4 + 2 + 2 + 2 + 8 + 8 + 8;

impl Tally {
    pub(crate) fn add(&mut self, cell: Cell, sums: Sums) {
        *self.0.entry(cell).or_default() += sums;
    }

    /// As a row of `usage_log`; `None` of nothing.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let counted = self.0.iter().filter(|(_, sums)| **sums != Sums::default());
        let mut bytes = Vec::with_capacity(1 + self.0.len() * ENTRY);
        bytes.push(SCHEME);
        for (cell, sums) in counted {
            bytes.extend_from_slice(&cell.account.0.to_be_bytes());
            bytes.extend_from_slice(&cell.hour.to_be_bytes());
            bytes.extend_from_slice(cell.batch.as_bytes());
            bytes.extend_from_slice(&cell.country.to_be_bytes());
            bytes.extend_from_slice(&cell.connection.to_be_bytes());
            for small in [cell.state, cell.error, cell.speed] {
                bytes.extend_from_slice(&small.to_be_bytes());
            }
            for sum in [sums.messages, sums.parts, sums.captured] {
                bytes.extend_from_slice(&sum.to_be_bytes());
            }
        }
        (bytes.len() > 1).then_some(bytes)
    }

    /// Adds a row of `usage_log`.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let broken =
            || StoreError::Broken("a row of usage_log of an unknown scheme: written by a newer version?".into());
        let [SCHEME, entries @ ..] = bytes else { return Err(broken()) };
        if !entries.len().is_multiple_of(ENTRY) {
            return Err(broken());
        }
        for entry in entries.chunks_exact(ENTRY) {
            let mut rest = entry;
            let cell = Cell {
                account: AccountNo(u32::from_be_bytes(take(&mut rest))),
                hour: i32::from_be_bytes(take(&mut rest)),
                batch: Uuid::from_bytes(take(&mut rest)),
                country: i16::from_be_bytes(take(&mut rest)),
                connection: i32::from_be_bytes(take(&mut rest)),
                state: i16::from_be_bytes(take(&mut rest)),
                error: i16::from_be_bytes(take(&mut rest)),
                speed: i16::from_be_bytes(take(&mut rest)),
            };
            let mut next = || i64::from_be_bytes(take(&mut rest));
            self.add(cell, Sums { messages: next(), parts: next(), captured: next() });
        }
        Ok(())
    }

    /// By day: cells without their hours.
    fn days(&self) -> std::collections::BTreeMap<Cell, Sums> {
        let mut days = std::collections::BTreeMap::<Cell, Sums>::new();
        for (cell, sums) in &self.0 {
            *days.entry(Cell { hour: cell.hour.div_euclid(HOURS) * HOURS, ..*cell }).or_default() += *sums;
        }
        days.retain(|_, sums| *sums != Sums::default());
        days
    }

    /// By account and hour: accepted, ended, delivered.
    fn hours(&self) -> std::collections::BTreeMap<(AccountNo, i32), [i64; 3]> {
        let mut hours = std::collections::BTreeMap::<(AccountNo, i32), [i64; 3]>::new();
        for (cell, sums) in &self.0 {
            let [accepted, ended, delivered] = hours.entry((cell.account, cell.hour)).or_default();
            *(if cell.state == ACCEPTED { accepted } else { ended }) += sums.messages;
            *delivered += if cell.state == State::Delivered.number() { sums.messages } else { 0 };
        }
        hours.retain(|_, counts| *counts != [0; 3]);
        hours
    }
}

/// The next octets of an entry, whose length was checked.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("an entry has all its octets");
    *rest = tail;
    *head
}

/// The batch a cell belongs to.
fn batch_of(id: Uuid) -> Option<BatchId> {
    (!id.is_nil()).then_some(BatchId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = (Cell, Sums)> {
        let key =
            (any::<u32>(), any::<i32>(), any::<u128>(), any::<i16>(), any::<i32>(), -1i16..9, any::<i16>(), -1i16..32);
        (key, any::<[i64; 3]>()).prop_map(|((no, hour, batch, country, connection, state, error, speed), sums)| {
            let (account, batch) = (AccountNo(no), Uuid::from_u128(batch));
            let cell = Cell { account, hour, batch, country, connection, state, error, speed };
            (cell, Sums { messages: sums[0], parts: sums[1], captured: sums[2] })
        })
    }

    proptest! {
        #[test]
        fn what_was_counted_is_read_back(counted in prop::collection::hash_map(0u8..9, cells(), 0..20)) {
            let mut tally = Tally::default();
            for (cell, sums) in counted.values().filter(|(_, sums)| *sums != Sums::default()) {
                tally.0.insert(*cell, *sums);
            }
            let mut back = Tally::default();
            if let Some(bytes) = tally.bytes() {
                back.add_bytes(&bytes).unwrap();
            }
            prop_assert_eq!(back.0, tally.0);
        }
    }

    #[test]
    fn rows_that_are_not_ours() {
        for bytes in [&[][..], &[1], &[0, 1, 2], &[1; 1 + ENTRY]] {
            assert!(Tally::default().add_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert!(Tally::default().add_bytes(&[0]).is_ok());
        assert_eq!(Tally::default().bytes(), None);
    }
}
