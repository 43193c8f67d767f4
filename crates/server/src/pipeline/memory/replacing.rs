//! Messages whose text is being replaced: taken out of the queues while the store decides, and told to a feed that read them before.

use std::sync::Arc;

use carillon_domain::id::MessageId;
use carillon_domain::message::{Flags, Parts};
use carillon_store::hot::NewMessage;
use rustc_hash::FxHashMap;

use super::Memory;
use crate::pipeline::queue::Job;

/// What of a message another text changes.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct NewText {
    flags: Flags,
    encoding: i16,
    parts: u8,
    body: Arc<str>,
    reference: Option<u16>,
    expires_at: i64,
    due_at: Option<i64>,
}

impl From<&NewMessage> for NewText {
    fn from(m: &NewMessage) -> NewText {
        let NewMessage { flags, encoding, parts, reference, expires_at, due_at, .. } = *m;
        NewText { flags, encoding, parts, body: m.body.clone(), reference, expires_at, due_at }
    }
}

impl NewText {
    fn put_into(&self, job: &mut Job) {
        job.message.flags = self.flags;
        job.message.encoding = self.encoding;
        job.message.parts = Parts::pending(self.parts);
        job.message.body = self.body.clone();
        job.message.reference = self.reference;
        job.message.expires_at = self.expires_at;
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// The store decides.
    open: bool,
    /// The message meanwhile, if it was here or a feed has brought it since.
    job: Option<Box<Job>>,
    /// What it was replaced by last, and until when (monotonic milliseconds) a feed may still bring it as it was.
    done: Option<(NewText, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replacing(FxHashMap<MessageId, Entry>);

/// What is to be done with a replacement.
#[derive(Debug)]
pub(in crate::pipeline) enum Decided {
    /// It is durable.
    Replaced(NewText),
    /// Nothing changed.
    Kept,
    /// The message has ended, or is a carrier's: it does not wait any more.
    Gone,
}

impl Memory {
    /// Keeps a message from being sent until `end_replacing`. False if a carrier has had it, or it is being replaced already.
    pub(in crate::pipeline) fn begin_replacing(&mut self, id: MessageId) -> bool {
        let asked = self.replacing.0.get(&id).is_some_and(|entry| entry.open);
        if asked || self.in_flight.contains(&id) || self.delayed.iter().any(|d| d.job.message.id == id) {
            return false;
        }
        let queued = self.lines.iter_mut().find_map(|l| l.queue.remove(id));
        let job = queued.or_else(|| {
            let place = self.unroutable.iter().position(|j| j.message.id == id)?;
            Some(self.unroutable.swap_remove(place))
        });
        match job {
            Some(job) if job.message.attempts > 0 => {
                self.route(job);
                false
            }
            job => {
                let entry = self.replacing.0.entry(id).or_default();
                (entry.open, entry.job) = (true, job);
                true
            }
        }
    }

    /// The message waits again, behind those of its lane; unless somebody has withdrawn it meanwhile. Whether its (account, lane) has more in
    /// the store to bring in now.
    pub(in crate::pipeline) fn end_replacing(&mut self, id: MessageId, decided: Decided, until: u64) -> bool {
        let Some(entry) = self.replacing.0.get_mut(&id) else { return false };
        entry.open = false;
        let job = entry.job.take();
        let gone = matches!(decided, Decided::Gone) || self.withdrawn.contains_key(&id);
        let replaced = match decided {
            Decided::Replaced(new) => entry.done.insert((new, until)).0.due_at.is_some(),
            Decided::Kept | Decided::Gone => false,
        };
        if entry.done.is_none() {
            self.replacing.0.remove(&id);
        }
        match job {
            // One with a time of its own is read again, at the time it has now.
            Some(job) if gone || (replaced && self.from_due.contains(&id)) => self.leave(&job),
            Some(mut job) => {
                self.renew(&mut job);
                self.route(job);
                false
            }
            None => false,
        }
    }

    /// Only what no carrier has had can be replaced: a message that was tried was read after it.
    fn renew(&mut self, job: &mut Job) {
        let id = job.message.id;
        let done = self.replacing.0.get(&id).and_then(|entry| entry.done.as_ref());
        let Some((new, _)) = done.filter(|_| job.message.attempts == 0) else { return };
        new.put_into(job);
        if new.parts > 1 {
            self.several.insert(id);
        } else {
            self.several.remove(&id);
        }
    }

    /// A message enters: with its new text if it was replaced since it was read. `None` if it is kept until that is decided.
    pub(super) fn entered(&mut self, mut job: Box<Job>) -> Option<Box<Job>> {
        match self.replacing.0.get_mut(&job.message.id) {
            None => return Some(job),
            Some(entry) if entry.open => {
                entry.job = Some(job);
                return None;
            }
            Some(_) => self.renew(&mut job),
        }
        Some(job)
    }

    /// Whether a due row that was read is one that a replacement took away.
    pub(super) fn was_rescheduled(&self, job: &Job, due_at: i64) -> bool {
        let done = self.replacing.0.get(&job.message.id).and_then(|entry| entry.done.as_ref());
        done.and_then(|(new, _)| new.due_at).is_some_and(|new| job.message.attempts == 0 && new != due_at)
    }

    /// Forgets replacements that no feed can still have missed.
    pub(super) fn forget_replaced(&mut self, now: u64) {
        self.replacing.0.retain(|_, entry| entry.open || entry.done.as_ref().is_some_and(|(_, until)| *until > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::memory::Unfed;
    use crate::pipeline::queue::tests::job;
    use carillon_domain::id::AccountNo;
    use carillon_domain::message::Lane;
    use carillon_store::hot::SpanKey;

    const UNTIL: u64 = 1_000;

    fn text(body: &str, parts: u8, due_at: Option<i64>) -> Decided {
        let (flags, encoding, reference) = (Flags::default(), 0, None);
        Decided::Replaced(NewText { flags, encoding, parts, body: body.into(), reference, expires_at: 9, due_at })
    }

    /// Nothing is routed, so all that waits is here.
    fn waiting(memory: &Memory) -> Vec<(&str, usize)> {
        memory.unroutable.iter().map(|j| (&*j.message.body, j.message.parts.as_slice().len())).collect()
    }

    fn one() -> (Memory, SpanKey, MessageId) {
        let mut memory = Memory::new(100, 100);
        let id = job(1, Lane::Normal, 1, 1, 1).message.id;
        let span = SpanKey { first: id };
        memory.accept(span, Lane::Normal, 1, |_| Box::new(Job { span: Some(span), ..*job(1, Lane::Normal, 1, 1, 1) }));
        (memory, span, id)
    }

    #[test]
    fn what_waits_is_replaced_in_its_place() {
        let (mut memory, _, id) = one();
        assert!(memory.begin_replacing(id));
        assert!(!memory.begin_replacing(id), "one after the other");
        assert!(waiting(&memory).is_empty());
        memory.end_replacing(id, text("other", 3, None), UNTIL);
        assert_eq!(waiting(&memory), [("other", 3)]);
        assert!(memory.begin_replacing(id));
        memory.end_replacing(id, Decided::Kept, UNTIL);
        assert_eq!(waiting(&memory), [("other", 3)]);
        memory.forget_replaced(UNTIL);
        assert!(memory.replacing.0.is_empty());
    }

    #[test]
    fn what_ended_or_was_withdrawn_meanwhile_is_not_offered_again() {
        for withdrawn in [false, true] {
            let (mut memory, span, id) = one();
            assert!(memory.begin_replacing(id));
            if withdrawn {
                memory.withdraw(id, UNTIL);
            }
            memory.end_replacing(id, if withdrawn { text("other", 1, None) } else { Decided::Gone }, UNTIL);
            assert!(waiting(&memory).is_empty() && memory.total() == 0);
            assert_eq!(memory.finished, [span]);
        }
    }

    #[test]
    fn what_a_carrier_has_had_is_not_replaced() {
        let (mut memory, _, id) = one();
        memory.unroutable[0].message.attempts = 1;
        assert!(!memory.begin_replacing(id));
        assert_eq!(waiting(&memory).len(), 1);
        memory.in_flight.insert(id);
        assert!(!memory.begin_replacing(id));
    }

    /// A feed that read the row before it was replaced brings it before, while and after that is decided.
    #[test]
    fn a_feed_that_read_the_old_text_brings_the_new() {
        let key = (AccountNo(1), Lane::Normal);
        let first = job(1, Lane::Normal, 1, 1, 1).message.id;
        for (decided, expected) in [(text("other", 1, None), "other"), (Decided::Kept, "x")] {
            for while_open in [true, false] {
                let mut memory = Memory::new(100, 100);
                let span = SpanKey { first };
                memory.add_span(span, Lane::Normal, 1);
                let read = || vec![Box::new(Job { span: Some(span), ..*job(1, Lane::Normal, 1, 1, 1) })];
                let unfed = Unfed { span, from: 0, to: 1 };
                let decided = match &decided {
                    Decided::Replaced(new) => Decided::Replaced(new.clone()),
                    _ => Decided::Kept,
                };
                assert!(memory.begin_replacing(first));
                if while_open {
                    memory.feed(key, unfed, read());
                    assert!(waiting(&memory).is_empty());
                }
                memory.end_replacing(first, decided, UNTIL);
                if !while_open {
                    memory.feed(key, unfed, read());
                }
                assert_eq!((waiting(&memory), memory.total()), (vec![(expected, 1)], 1), "{while_open}");
            }
        }
    }

    #[test]
    fn what_got_another_time_is_read_again_then() {
        let mut memory = Memory::new(100, 100);
        let read = || job(1, Lane::Normal, 1, 1, 1);
        let id = read().message.id;
        assert!(memory.feed_due(read(), 5));
        assert!(memory.begin_replacing(id));
        memory.end_replacing(id, text("other", 1, Some(50)), UNTIL);
        assert_eq!((waiting(&memory).len(), memory.total()), (0, 0));
        memory.begin_due();
        assert!(!memory.feed_due(read(), 5), "the row of before");
        assert!(memory.feed_due(read(), 50));
        assert_eq!(waiting(&memory), [("other", 1)]);
        // Tried in vain, it has another row: that is read as it is.
        let tried = memory.unroutable.pop().unwrap();
        memory.leave(&tried);
        memory.begin_due();
        let mut again = read();
        (again.message.attempts, again.message.body) = (1, "fresh".into());
        assert!(memory.feed_due(again, 60));
        assert_eq!(waiting(&memory), [("fresh", 1)]);
    }
}
