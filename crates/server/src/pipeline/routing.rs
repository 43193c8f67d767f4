//! Where messages go at the moment: the book of routes, over the lines there are, with what was measured of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::message::Flags;
use carillon_domain::money::Money;
use carillon_domain::phone::Phone;
use carillon_domain::route::{Book, ConnectionNo, Facts, Measured, PrefixMap};
use rustc_hash::FxHashMap;

use super::queue::Job;

/// What carriers charge, by connection and prefix.
pub type Costs = HashMap<ConnectionNo, PrefixMap<Money>>;

/// Delivered and failed of one connection, in slices of an hour.
#[derive(Debug, Default)]
struct Window {
    slices: [(u32, u32); SLICES],
    /// Number of the newest slice since 1970.
    newest: i64,
}

const SLICES: usize = 12;
const SLICE_MS: i64 = 300_000;
/// Fewer ends than this say nothing.
const ENOUGH: u32 = 50;

impl Window {
    fn slice(&mut self, now_ms: i64) -> &mut (u32, u32) {
        let number = now_ms.div_euclid(SLICE_MS);
        let passed = (number - self.newest).clamp(0, SLICES as i64);
        for i in 0..passed {
            self.slices[(number - i).rem_euclid(SLICES as i64) as usize] = (0, 0);
        }
        self.newest = self.newest.max(number);
        &mut self.slices[self.newest.rem_euclid(SLICES as i64) as usize]
    }

    fn share(&self) -> Option<u16> {
        let (good, bad) = self.slices.iter().fold((0, 0), |(g, b), slice| (g + slice.0, b + slice.1));
        (good + bad >= ENOUGH).then(|| (u64::from(good) * 1_000 / u64::from(good + bad)) as u16)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Routing {
    book: Arc<Book>,
    costs: Costs,
    delivery: FxHashMap<ConnectionNo, Window>,
    /// The line each connection has now.
    lines: FxHashMap<ConnectionNo, usize>,
    /// Lines of the platform's connections in order, for books that say no more.
    plain: Vec<usize>,
    /// Unix milliseconds, a moment ago: what hours are asked with.
    pub(super) now_ms: i64,
}

impl Measured for Routing {
    fn cost(&self, connection: ConnectionNo, digits: u64) -> Option<Money> {
        self.costs.get(&connection)?.longest(digits).copied()
    }

    fn delivery(&self, connection: ConnectionNo) -> Option<u16> {
        self.delivery.get(&connection)?.share()
    }
}

impl Routing {
    /// Other routes, or other lines for their connections.
    pub(super) fn set(&mut self, book: Arc<Book>, costs: Costs, lines: FxHashMap<ConnectionNo, usize>) {
        self.plain = book.platform().iter().filter_map(|no| lines.get(no).copied()).collect();
        (self.book, self.costs, self.lines) = (book, costs, lines);
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// The line a connection has now.
    pub(super) fn line(&self, connection: ConnectionNo) -> Option<usize> {
        self.lines.get(&connection).copied()
    }

    /// The lines a message may take, in order.
    pub(super) fn order(&self, job: &Job) -> Cow<'_, [usize]> {
        if self.book.is_plain() && !job.message.flags.has(Flags::OWN_CARRIER) {
            return Cow::Borrowed(&self.plain);
        }
        let order = self.with_facts(job, |facts| self.book.order(facts, self));
        Cow::Owned(order.iter().filter_map(|no| self.line(*no)).collect())
    }

    /// Whether any route sends messages on that are reported as failed.
    pub(super) fn any_reroutes(&self) -> bool {
        self.book.any_reroutes()
    }

    /// Of a message that was reported as failed and waits to be routed once more: its error, if its route does not say so or nothing else is
    /// left to try.
    pub(super) fn failed_for_good(&self, job: &Job) -> Option<i16> {
        let unknown = ErrorCode::OutcomeUnknown.number();
        // Only a report leaves its error on a message of one part that waits.
        let error = job.message.error.filter(|e| *e != unknown && job.message.parts.as_slice().len() == 1)?;
        let wanted = self.with_facts(job, |facts| self.book.reroutes(facts));
        let another =
            || self.with_facts(job, |facts| self.book.order(facts, self)).iter().any(|no| !job.tried.contains(no));
        (!wanted || !another()).then_some(error)
    }

    fn with_facts<T>(&self, job: &Job, then: impl FnOnce(&Facts<'_>) -> T) -> T {
        let m = &job.message;
        let country = || Phone::from_digits(m.phone).and_then(Phone::country);
        let tags: Vec<String> = match &m.tags {
            Some(tags) if self.book.asks_tags() => serde_json::from_str(tags).unwrap_or_default(),
            _ => Vec::new(),
        };
        then(&Facts {
            account: m.id.account(),
            digits: m.phone,
            country: if self.book.asks_country() { country() } else { None },
            sender: m.sender.as_deref(),
            lane: m.lane,
            own: m.flags.has(Flags::OWN_CARRIER),
            tags: &tags,
            now_ms: self.now_ms,
            random: job.jitter(),
        })
    }

    /// A receipt said how a message of that connection ended.
    pub(super) fn ended(&mut self, connection: ConnectionNo, delivered: bool) {
        let slice = self.delivery.entry(connection).or_default().slice(self.now_ms);
        if delivered { slice.0 += 1 } else { slice.1 += 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_last_hour_and_of_enough() {
        let mut window = Window::default();
        let noon = 1_795_262_400_000;
        for i in 0..49 {
            window.slice(noon).0 += u32::from(i % 2 == 0);
            window.slice(noon).1 += u32::from(i % 2 == 1);
        }
        assert_eq!(window.share(), None);
        window.slice(noon + SLICE_MS).0 += 1;
        assert_eq!(window.share(), Some(520));
        window.slice(noon + 11 * SLICE_MS).0 += 74;
        assert_eq!(window.share(), Some(806), "the first slice is still within the hour");
        window.slice(noon + 12 * SLICE_MS);
        assert_eq!(window.share(), Some(1_000));
        window.slice(noon + 99 * SLICE_MS);
        assert_eq!(window.share(), None);
        window.slice(noon).0 += 50;
        assert_eq!(window.share(), Some(1_000), "a clock set back counts in the newest slice");
    }
}
