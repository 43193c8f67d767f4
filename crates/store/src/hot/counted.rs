//! What commits of the hot path count: which cell of `usage` a message stands in.

use carillon_domain::id::MessageId;
use carillon_domain::message::State;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::settle::Row;
use crate::usage::{Cell, End, Sums, Tally};

impl Row {
    /// Remembers as what it counts already: something may still be learned of a message that has ended.
    pub(crate) fn with_count(mut self, id: MessageId) -> Row {
        self.counted = self.end(id);
        self
    }

    /// As what it counts, once it has ended.
    fn end(&self, id: MessageId) -> Option<(Cell, Sums)> {
        let end = End {
            batch: self.batch,
            country: self.country,
            connection: self.connection,
            state: self.progress.state,
            error: self.progress.error,
            parts: self.progress.parts.as_slice().len() as i64,
            captured: self.progress.captured.0,
            sent_at: self.sent_at,
            final_at: self.final_at?,
        };
        Some(end.counted(id))
    }
}

impl Tally {
    /// A message that was stored, or (`-1`) erased with a batch that never came to be.
    pub(crate) fn accepted(&mut self, id: MessageId, batch: Option<Uuid>, country: i16, messages: i64) {
        self.add(Cell::accepted(id, batch, country), Sums { messages, ..Sums::default() });
    }

    /// Messages that have ended, or of whose end something changed.
    pub(crate) fn settled(&mut self, rows: &FxHashMap<MessageId, Row>) {
        for (id, row) in rows.iter().filter(|(_, row)| row.dirty && row.final_at.is_some()) {
            debug_assert!(
                row.progress.closed && row.progress.state != State::Queued,
                "what has a final time is closed"
            );
            let now = row.end(*id);
            if now == row.counted {
                continue;
            }
            if let Some((cell, sums)) = row.counted {
                self.add(cell, -sums);
            }
            if let Some((cell, sums)) = now {
                self.add(cell, sums);
            }
        }
    }
}
