//! What settle does with a receipt: finds what it is about, or parks it.

use carillon_domain::id::MessageId;
use carillon_domain::message::{Event, PartState, State};

use super::items::{Attempted, Receipt, ReceiptKind, Scope, Settled};
use super::matching::{Found, find_ref, find_sibling, find_unknown};
use super::settle::{AttemptRow, CarrierRef, OpenRef, Plan, Read, Remembered, Row, both};

impl<'a> Plan<'a> {
    pub(super) fn receipt(&mut self, receipt: &'a Receipt, read: &mut Read<'a>, now: i64) -> Settled {
        if receipt.kind == ReceiptKind::Interim {
            return Settled::default();
        }
        if receipt.kind == ReceiptKind::Unknown {
            return self.doubted(receipt, read, now);
        }
        let found = find_ref(receipt, read).map(Found::Ref).or_else(|| find_unknown(receipt, read).map(Found::Unknown));
        let Some(found) = found else {
            self.parked_new.push(receipt);
            return Settled { parked: true, ..Settled::default() };
        };
        let first = self.answered_for(found);
        let mut settled = self.report(receipt, &first, read, now);
        while receipt.scope == Scope::Message
            && let Some(next) = find_sibling(receipt, &first, read)
        {
            let next = self.answered_for(next);
            settled = both(settled, self.report(receipt, &next, read, now));
        }
        settled
    }

    /// What was said of a message by our own id. The carriers' ids of its parts stay until they are swept: what they bring later changes nothing.
    pub(super) fn reported(&mut self, id: MessageId, failed: Option<i16>, read: &mut Read<'a>, now: i64) -> Settled {
        let with_carrier = |row: &&Row| row.progress.state == State::Sent && !row.progress.closed;
        let Some(row) = read.rows.get(&id).filter(with_carrier) else { return Settled::default() };
        let parts = row.progress.parts.as_slice().len() as u8;
        let mut settled = self.current(read, id, false);
        for part in 0..parts {
            let event = failed.map_or(Event::Delivered { part }, |error| Event::Failed { part, error });
            settled = both(settled, self.apply(read, id, event, now));
        }
        settled
    }

    /// The carrier's id stays: a better receipt may come. One that is about nothing here is not kept.
    fn doubted(&mut self, receipt: &'a Receipt, read: &mut Read<'a>, now: i64) -> Settled {
        let Some(found) = find_ref(receipt, read) else { return Settled::default() };
        let CarrierRef { id, part, attempt, .. } = found.reference;
        read.refs.entry((receipt.connection, receipt.carrier_id.as_str())).or_default().push(found);
        let Some(row) = read.rows.get_mut(&id) else { return Settled::default() };
        if row.tried_again(attempt) {
            return self.current(read, id, false);
        }
        let settled = self.apply(read, id, Event::Doubted { part }, now);
        if let Some(row) = read.rows.get_mut(&id).filter(|_| settled.changed) {
            row.carrier_error = receipt.carrier_error.clone();
        }
        settled
    }

    /// What a receipt is about waits for none any more.
    fn answered_for(&mut self, found: Found<'a>) -> Attempted {
        match found {
            Found::Unknown(unknown) => {
                self.unknown_gone.push(unknown);
                unknown
            }
            Found::Ref(OpenRef { reference: r, fresh }) => {
                match fresh {
                    Some(place) => self.refs_new[place] = None,
                    None => self.refs_gone.push(r),
                }
                let CarrierRef { connection, phone_tag, id, part, attempt, .. } = r;
                Attempted { connection, phone_tag, id, part, attempt }
            }
        }
    }

    /// What a receipt does to the message it was found to be about.
    pub(super) fn report(&mut self, receipt: &Receipt, about: &Attempted, read: &mut Read<'a>, now: i64) -> Settled {
        let Attempted { id, part, attempt, .. } = *about;
        let Some(row) = read.rows.get_mut(&id) else { return Settled::default() };
        let event = match receipt.kind {
            ReceiptKind::Interim | ReceiptKind::Unknown => return Settled::default(),
            ReceiptKind::Delivered => Event::Delivered { part },
            ReceiptKind::Failed { error } => Event::Failed { part, error },
        };
        if let Event::Failed { error, .. } = event
            && !row.progress.closed
        {
            // Another attempt is open, or to be made: that one decides.
            if row.tried_again(attempt) || row.part_is(part, PartState::Pending) {
                let (connection, result, carrier_error) =
                    (receipt.connection, Remembered::Failed, receipt.carrier_error.clone());
                self.attempts.push(AttemptRow {
                    id,
                    attempt,
                    part,
                    connection,
                    result,
                    error: Some(error),
                    carrier_error,
                    at: now,
                });
                return self.current(read, id, false);
            }
            row.carrier_error = receipt.carrier_error.clone();
            if receipt.reroute && row.may_reroute(part) {
                row.connection = Some(receipt.connection);
                let (connection, result, carrier_error) =
                    (receipt.connection, Remembered::Failed, receipt.carrier_error.clone());
                self.attempts.push(AttemptRow {
                    id,
                    attempt,
                    part,
                    connection,
                    result,
                    error: Some(error),
                    carrier_error,
                    at: now,
                });
                let settled = self.apply(read, id, Event::Reroute { part, error }, now);
                if settled.changed {
                    self.put_due(read, id, now);
                }
                return settled;
            }
        }
        row.connection.get_or_insert(receipt.connection);
        self.apply(read, id, event, now)
    }
}
