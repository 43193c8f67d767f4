//! What must hold whatever happens (DESIGN §4, §5), checked as it happens and on what the store holds at the end.

use std::collections::{BTreeMap, BTreeSet};

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Lane, State};
use carillon_store::{Db, ledger};
use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

use crate::pipeline::queue::Job;

/// What came of a submit, as far as the link heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Nothing,
    Accepted,
    Refused,
    Unknown,
}

/// The last submit of a part.
struct Submit {
    life: usize,
    carrier: usize,
    heard: Heard,
}

/// What was told about a request; requests are told apart by their text.
#[derive(Default, Debug)]
pub(super) struct Asked {
    /// Messages it has.
    pub(super) messages: u32,
    /// Whether it is loaded in steps: what comes between them overtakes it.
    pub(super) large: bool,
    /// Whether it may be taken in part.
    pub(super) partial: bool,
    /// How often it was asked for.
    pub(super) asked: u32,
    /// How often it was refused, with the word that nothing was stored.
    pub(super) refused: u32,
    /// Of an answer that it was taken: how many, and the first message or the batch.
    pub(super) taken: Option<(u32, Uuid)>,
}

/// Why nothing of a message may be submitted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Canceled,
    CodeFailed,
}

/// How much happened.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    /// Messages by final state.
    pub(super) states: [u64; 10],
    pub(super) submits: u64,
    /// Submits made again because an outcome stayed unknown.
    pub(super) resent: u64,
    /// Submits made again because the process died.
    pub(super) doubled: u64,
    pub(super) died: u64,
    /// One-time codes said to be sent, and said to have failed.
    pub(super) codes: (u64, u64),
    pub(super) canceled: u64,
    pub(super) replayed: u64,
    pub(super) refused: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.states.iter_mut().zip(other.states).for_each(|(sum, n)| *sum += n);
        self.submits += other.submits;
        self.resent += other.resent;
        self.doubled += other.doubled;
        self.died += other.died;
        self.codes = (self.codes.0 + other.codes.0, self.codes.1 + other.codes.1);
        self.canceled += other.canceled;
        self.replayed += other.replayed;
        self.refused += other.refused;
    }

    /// A simulation in which nothing happens shows nothing.
    pub(super) fn is_rich(&self) -> bool {
        let ends = [State::Sent, State::Delivered, State::Undelivered, State::Failed, State::Expired, State::Canceled];
        let (sent, failed) = self.codes;
        let counts = [self.resent, self.doubled, self.died, sent, failed, self.canceled, self.replayed, self.refused];
        ends.iter().all(|state| self.states[*state as usize] > 0) && counts.iter().all(|n| *n > 0)
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Laws {
    /// Counts the lives of the process.
    pub(super) life: usize,
    /// Whether submits and answers are told, for the reader of a failure.
    pub(super) aloud: bool,
    /// Whether order is to be kept: nothing is retried, nothing dies.
    pub(super) orderly: bool,
    /// Whether the clock was ever set.
    pub(super) clock_set: bool,
    otp_deadline: i64,
    resend: Vec<bool>,
    pub(super) asked: BTreeMap<u32, Asked>,
    pub(super) codes: BTreeMap<MessageId, bool>,
    submits: FxHashMap<(MessageId, u8), Submit>,
    ended: FxHashMap<MessageId, Ended>,
    /// Messages handed over again because a life of the process ended, by life.
    twice: BTreeMap<usize, BTreeSet<MessageId>>,
    order: FxHashMap<(AccountNo, Lane), MessageId>,
    delivered: FxHashSet<MessageId>,
    pub(super) tally: Tally,
}

impl Laws {
    pub(super) fn new(orderly: bool, otp_deadline: i64, resend: Vec<bool>) -> Laws {
        Laws { orderly, otp_deadline, resend, ..Laws::default() }
    }

    pub(super) fn submitted(&mut self, job: &Job, part: u8, carrier: usize, now: u64, wall: i64) {
        let m = &job.message;
        let id = m.id;
        if self.aloud {
            eprintln!("{now}: {id} part {part} to {carrier}, attempt {}, {:?}", m.attempts, m.parts);
        }
        assert_eq!(self.ended.get(&id), None, "{id} was submitted after its end was confirmed");
        assert!(wall < m.expires_at, "{id} was submitted after its validity");
        if m.lane == Lane::Otp {
            assert!(job.deadline.is_some_and(|at| now < at), "{id}, a one-time code, was submitted after its deadline");
            let age = wall - id.millis();
            assert!(self.clock_set || age < self.otp_deadline, "{id}, a one-time code, was submitted {age} ms old");
        }
        let submit = Submit { life: self.life, carrier, heard: Heard::Nothing };
        self.tally.submits += 1;
        let again = self.submits.insert((id, part), submit);
        if let Some(before) = again {
            let allowed = match before.heard {
                Heard::Refused => true,
                Heard::Unknown if self.resend[before.carrier] && m.lane != Lane::Otp => {
                    self.tally.resent += 1;
                    true
                }
                _ => {
                    self.tally.doubled += 1;
                    self.twice.entry(before.life).or_default().insert(id);
                    // Where nothing is to arrive twice, not even then: it was claimed before it was handed over.
                    before.life < self.life && self.resend[before.carrier]
                }
            };
            let again = format!("{} to {carrier}, before to {} in life {}", self.life, before.carrier, before.life);
            assert!(
                allowed,
                "{id} ({:?}, part {part}) was submitted again after {:?}, in life {again}",
                m.lane, before.heard
            );
        } else if part == 0 && self.orderly && job.span.is_some() && !self.asked[&label_of(job)].large {
            let last = self.order.insert((id.account(), m.lane), id);
            assert!(last.is_none_or(|last| last < id), "{id} was overtaken by {last:?}");
        }
    }

    pub(super) fn heard(&mut self, id: MessageId, part: u8, heard: Heard) {
        if self.aloud {
            eprintln!("{id} part {part}: {heard:?}");
        }
        self.submits.get_mut(&(id, part)).expect("what is answered was submitted").heard = heard;
    }

    /// A carrier has a receipt for it that says so.
    pub(super) fn delivered(&mut self, id: MessageId) {
        self.delivered.insert(id);
    }

    pub(super) fn ended(&mut self, id: MessageId, why: Ended) {
        self.ended.insert(id, why);
        self.tally.canceled += u64::from(why == Ended::Canceled);
    }

    /// available + held + spent are the entries, held and spent the messages', batches' totals their messages'.
    pub(super) async fn check_ledger(&self, db: &Db) {
        let mut differences = Vec::new();
        ledger::verify(db, |d| differences.push(d)).await.unwrap();
        assert_eq!(differences, [], "the ledger does not add up");
    }

    /// For each life of the process that ended, at most what was in doubt is sent twice.
    pub(super) fn check_twice(&self, in_doubt: i64) {
        for (life, twice) in &self.twice {
            assert!(twice.len() as i64 <= in_doubt, "{} messages sent twice when life {life} ended", twice.len());
        }
    }

    /// What the store holds once the world is calm and all is over.
    pub(super) async fn check_end(&mut self, path: &std::path::Path) {
        let mut db = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        let open: Vec<(Uuid,)> =
            sqlx::query_as("SELECT id FROM message WHERE final_at IS NULL").fetch_all(&mut db).await.unwrap();
        let open: Vec<_> = open.into_iter().map(|(id,)| MessageId(id)).collect();
        assert_eq!(open, [], "messages are open");
        let left: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM due_span), (SELECT COUNT(*) FROM due_at),
                    (SELECT COUNT(*) FROM unknown_attempt WHERE decide_at IS NOT NULL), (SELECT COUNT(*) FROM batch WHERE state = 0),
                    (SELECT COUNT(*) FROM claim)",
        )
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!(left, (0, 0, 0, 0, 0), "spans, due rows, undecided attempts, loading batches, claims are left");
        let rows: Vec<Stored> = sqlx::query_as(
            "SELECT m.id, m.state, m.lane, m.parts, m.held, m.captured, m.unit_price, m.batch_id,
                    CAST(SUBSTR(COALESCE(m.body, b.body), 2) AS TEXT)
             FROM message m LEFT JOIN batch b ON b.account_no = m.account_no AND b.id = m.batch_id",
        )
        .fetch_all(&mut db)
        .await
        .unwrap();
        let mut stored: BTreeMap<u32, Vec<&Stored>> = BTreeMap::new();
        for row in &rows {
            self.check_message(row);
            self.tally.states[row.1 as usize] += 1;
            stored.entry(row.8.parse().unwrap()).or_default().push(row);
        }
        for (label, asked) in &self.asked {
            check_request(*label, asked, stored.get(label).map_or(&[], Vec::as_slice));
        }
        db.close().await.unwrap();
    }

    fn check_message(&self, row: &Stored) {
        let (id, state) = (MessageId(row.0), State::from_number(row.1).unwrap());
        let (parts, held, captured, price) = (row.3, row.4, row.5, row.6);
        let whole = parts * price;
        let told = format!("{id} is {}, held {held}, captured {captured} of {whole}", state.as_str());
        assert_eq!(held, 0, "{told}");
        assert!((0..=whole).contains(&captured), "{told}");
        match state {
            // Where carriers reuse ids and numbers are shared, a receipt may be another's.
            State::Delivered => assert!(captured == whole && (!self.orderly || self.delivered.contains(&id)), "{told}"),
            State::Sent => assert_eq!(captured, whole, "{told}"),
            State::Undelivered => {}
            State::Failed | State::Expired | State::Canceled => assert_eq!(captured, 0, "{told}"),
            State::Scheduled | State::Queued | State::Rejected | State::Received => panic!("{told}"),
        }
        if self.ended.get(&id) == Some(&Ended::Canceled) {
            assert_eq!(state, State::Canceled, "{told}, and its cancel was confirmed");
        }
        match self.codes.get(&id) {
            Some(true) => assert!(
                matches!(state, State::Sent | State::Delivered | State::Undelivered),
                "{told}; a code said to be sent"
            ),
            Some(false) if parts == 1 => assert_eq!(captured, 0, "{told}; a code said to have failed"),
            _ => {}
        }
    }
}

fn label_of(job: &Job) -> u32 {
    job.message.body.parse().expect("requests are told apart by their text")
}

/// id, state, lane, parts, held, captured, price of a part, batch, text
type Stored = (Uuid, i16, i16, i64, i64, i64, i64, Option<Uuid>, String);

fn check_request(label: u32, asked: &Asked, stored: &[&Stored]) {
    let count = stored.len() as u32;
    let told = format!("request {label}: {asked:?}, {count} stored");
    assert!(count <= asked.messages, "{told}");
    assert!(asked.partial || count == 0 || count == asked.messages, "{told}: neither whole nor not at all");
    if let Some((taken, resource)) = asked.taken {
        assert_eq!(count, taken, "{told}");
        assert!(stored.iter().all(|row| row.0 == resource || resource.is_nil() || taken > 1), "{told}");
    }
    assert!(asked.taken.is_some() || asked.refused < asked.asked || count == 0, "{told}: refused, and stored");
}
