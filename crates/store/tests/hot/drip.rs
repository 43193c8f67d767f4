//! Drips: who is in one gets each step in one wave, whatever ends between taking it, handing it in and going on; and who left stays out.

use std::collections::BTreeMap;

use carillon_domain::campaign::Words;
use carillon_domain::contact::Changes;
use carillon_domain::drip::{Entry, ExitReason, HeldUp, Moves, Position, Sequence, State, Step};
use carillon_domain::id::{AccountNo, BatchId, ContactId, DripId};
use carillon_domain::segment::{Condition, Filter};
use carillon_store::contact::{self, NewContact};
use carillon_store::drip::{self, Drip, Shift};
use carillon_store::drip_enrollment::{self as people, Leave, NewEnrollment, Which};
use carillon_store::drip_wave::{self, Advance, Wave};
use carillon_store::hot::{IntakeRequest, NewBatch, Step as Asked};
use carillon_store::{StoreError, batch};

use crate::world::{World, on_both, said, shared};

const MINUTE: i64 = 60_000;

fn step(n: u32) -> Step {
    Step { delay_s: 60, text: format!("text {n}"), from: None, condition: None }
}

fn draft(w: &World, account: AccountNo, n: u64, on_reply: bool) -> Drip {
    Drip {
        id: DripId::new(w.now, n, account),
        name: "Welcome".into(),
        state: State::Draft,
        sequence: Sequence { steps: (0..2).map(step).collect(), ..Sequence::default() },
        entry: Some(Entry::Tag("new".into())),
        on_reply,
        passing: false,
        look_at: None,
        held_up: None,
        created_at: w.now,
        changed_at: w.now,
    }
}

async fn shift(w: &World, id: DripId, from: State, to: State) -> bool {
    let shift = Shift { from, to, passing: None, look_at: None, now: w.now };
    drip::shift(&w.db, id.account(), id, shift).await.unwrap()
}

async fn active(w: &World, account: AccountNo, n: u64, on_reply: bool) -> Drip {
    let d = draft(w, account, n, on_reply);
    drip::create(&w.db, &d, 10).await.unwrap();
    assert!(shift(w, d.id, State::Draft, State::Active).await);
    d
}

/// Those with these tags, whose numbers are the ones of `shared`.
fn persons(tags: std::ops::Range<i64>) -> Vec<NewEnrollment> {
    let person = |n| NewEnrollment {
        phone_tag: 4_915_100_000_000 + n,
        phone: 4_915_100_000_000 + n as u64,
        words: Words::from([("name".to_owned(), format!("n{n}"))]),
        by_contact: false,
    };
    tags.map(person).collect()
}

fn tag(n: i64) -> i64 {
    4_915_100_000_000 + n
}

async fn enroll(w: &World, d: &Drip, tags: std::ops::Range<i64>, again: bool) -> Option<u64> {
    let account = d.id.account();
    people::enroll(&w.db, account, d.id, &persons(tags), w.now + MINUTE, again, w.now).await.unwrap()
}

async fn claim(w: &World, d: &Drip, n: u64, limit: u32) -> Option<Wave> {
    drip_wave::claim(&w.db, d.id, BatchId::new(w.now, n, d.id.account()), w.now, limit).await.unwrap()
}

fn handed_in(wave: &Wave, count: u32) -> IntakeRequest {
    let batch = NewBatch {
        id: wave.id,
        body: Some("Shared".into()),
        client_ref: None,
        tags: None,
        partial: true,
        refusals: Vec::new(),
    };
    IntakeRequest { account: wave.id.account(), key: None, step: Asked::Batch(batch), messages: shared(count) }
}

async fn advance(w: &World, wave: &Wave, moves: &Moves, sent: bool) -> bool {
    let to = Advance { moves, again_at: w.now + MINUTE, sent, held_up: None, now: w.now };
    drip_wave::advance(&w.db, wave, &to).await.unwrap()
}

/// Everybody, for the eye: step and when it is due, or why they left; `~` while they are in a wave.
async fn all(w: &World, d: &Drip) -> Vec<String> {
    let rows = people::list(&w.db, d.id.account(), d.id, Which::default(), i64::MIN, 100).await.unwrap();
    let shown = |e: &people::Enrollment| match e.reason {
        Some(reason) => reason.as_str().to_owned(),
        None => format!("{} in {}", e.step, (e.next_at - w.now) / 1_000),
    };
    rows.iter().map(shown).collect()
}

#[tokio::test]
async fn a_number_enters_once_and_only_what_is_open() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let d = draft(w, a, 1, true);
        drip::create(&w.db, &d, 1).await.unwrap();
        assert_eq!(drip::by_id(&w.db, a, d.id).await.unwrap(), d);
        let second = draft(w, a, 2, true);
        assert!(matches!(drip::create(&w.db, &second, 1).await, Err(StoreError::Taken("drips"))));
        assert_eq!(enroll(w, &d, 0..2, false).await, None, "nobody enters a draft");
        assert!(shift(w, d.id, State::Draft, State::Active).await);
        assert!(!shift(w, d.id, State::Draft, State::Active).await, "it is no draft any more");
        assert_eq!(enroll(w, &d, 0..1_500, false).await, Some(1_500));
        assert_eq!(enroll(w, &d, 1_499..1_502, false).await, Some(2));
        assert_eq!(enroll(w, &d, 0..10, true).await, Some(0), "who is in it does not begin anew");
        let leave = Leave::One(d.id);
        let (tags, now) = ([tag(3), tag(4), tag(9_000)], w.now);
        assert_eq!(
            people::leave(&w.db, a, leave, &tags, ExitReason::Goal, now - 1, now).await.unwrap(),
            0,
            "entered later"
        );
        assert_eq!(people::leave(&w.db, a, leave, &tags, ExitReason::Goal, now, now).await.unwrap(), 2);
        assert_eq!(people::leave(&w.db, a, leave, &tags, ExitReason::Removed, now, now).await.unwrap(), 0, "they left");
        assert_eq!(enroll(w, &d, 3..5, false).await, Some(0));
        assert_eq!(enroll(w, &d, 3..4, true).await, Some(1));
        let counts = people::counts(&w.db, a, d.id).await.unwrap();
        let counts: BTreeMap<_, _> = counts.into_iter().map(|(step, why, n)| ((step, why), n)).collect();
        assert_eq!(counts, BTreeMap::from([((0, None), 1_501), ((0, Some(ExitReason::Goal)), 1)]));
        let which = |reason| Which { reason, ..Which::default() };
        let gone = people::list(&w.db, a, d.id, which(Some(ExitReason::Goal)), i64::MIN, 10).await.unwrap();
        assert_eq!((gone[0].phone_tag, gone[0].phone, gone[0].ended_at), (tag(4), Some(tag(4) as u64), Some(now)));
        // What is forgotten of who left is the number; they stay out.
        assert_eq!(people::forget(&w.db, now, 10).await.unwrap(), 0);
        assert_eq!(people::forget(&w.db, now + 1, 10).await.unwrap(), 1);
        assert_eq!(people::forget(&w.db, now + 1, 10).await.unwrap(), 0);
        let gone = people::list(&w.db, a, d.id, which(Some(ExitReason::Goal)), i64::MIN, 10).await.unwrap();
        assert_eq!((gone.len(), gone[0].phone), (1, None));
        assert_eq!(enroll(w, &d, 4..5, false).await, Some(0));
        let other = w.account(0).await;
        assert!(matches!(drip::by_id(&w.db, other, d.id).await, Err(StoreError::NotFound)));
        assert_eq!(people::list(&w.db, other, d.id, Which::default(), i64::MIN, 10).await.unwrap(), []);
        assert_eq!(people::leave(&w.db, other, Leave::All, &[tag(0)], ExitReason::Stopped, now, now).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_wave_is_taken_handed_in_and_ended_once_each() {
    on_both(async |w: &mut World| {
        let a = w.account(1_000).await;
        let d = active(w, a, 1, true).await;
        enroll(w, &d, 0..5, false).await;
        assert_eq!(claim(w, &d, 1, 10).await, None, "nothing is due");
        assert!(drip::due(&w.db, w.now, 10).await.unwrap().is_empty());
        w.now += MINUTE;
        assert_eq!(drip::due(&w.db, w.now, 10).await.unwrap(), [d.id]);
        let wave = claim(w, &d, 1, 4).await.unwrap();
        assert_eq!((wave.step, drip_wave::open_of(&w.db, a, d.id).await.unwrap()), (0, Some(wave)));
        let other = claim(w, &d, 2, 10).await.unwrap();
        assert_eq!(drip_wave::members(&w.db, &other).await.unwrap().len(), 1, "who is in one wave is in no other");
        assert_eq!(claim(w, &d, 3, 10).await, None);
        let members = drip_wave::members(&w.db, &wave).await.unwrap();
        assert_eq!((members.len(), members[0].words["name"].as_str(), members[0].left), (4, "n0", false));
        // One of them writes now: their place stays, and they do not go on.
        people::leave(&w.db, a, Leave::OnReply, &[tag(1)], ExitReason::Replied, w.now, w.now).await.unwrap();
        assert_eq!(enroll(w, &d, 1..2, true).await, Some(0), "nor begin anew before it is over");
        let members = drip_wave::members(&w.db, &wave).await.unwrap();
        assert_eq!(members.iter().map(|m| m.left).collect::<Vec<_>>(), [false, true, false, false]);
        // A crash here leaves the wave without its batch: it is handed in again, and stored once.
        let request = handed_in(&wave, 4);
        assert_eq!(w.intake(std::slice::from_ref(&request)).await.iter().map(said).collect::<Vec<_>>(), ["accepted 4"]);
        w.reopen().await;
        assert!(w.hot.commit_intake(&[request], w.now).await.is_err(), "there is a batch of that id");
        assert_eq!(batch::by_id(&w.db, a, wave.id).await.unwrap().total, 4);
        assert_eq!(w.count("message").await, 4);
        let moves = Moves {
            exits: BTreeMap::from([(ExitReason::Suppressed, vec![tag(0)]), (ExitReason::Goal, vec![tag(1)])]),
            again: vec![tag(2)],
            skipped: BTreeMap::from([("missing_variable".to_owned(), 1)]),
            on: Some(Position { step: 1, due_at: w.now + 2 * MINUTE }),
        };
        assert!(advance(w, &wave, &moves, true).await);
        assert!(!advance(w, &wave, &moves, true).await, "it is over");
        assert!(advance(w, &other, &Moves::default(), false).await);
        assert_eq!(all(w, &d).await, ["suppressed", "replied", "0 in 60", "1 in 120", "finished"]);
        assert_eq!(drip_wave::open_of(&w.db, a, d.id).await.unwrap(), None);
        assert_eq!(w.count("drip_wave").await, 1, "of the one without messages nothing is kept");
        assert_eq!(drip_wave::skipped(&w.db, a, d.id).await.unwrap(), [(0, "missing_variable".to_owned(), 1)]);
        let totals = drip_wave::totals(&w.db, a, d.id).await.unwrap();
        assert_eq!(
            (totals.len(), totals[0].step, totals[0].messages, totals[0].queued, totals[0].held().0),
            (1, 0, 4, 4, 20)
        );
        // Each comes to their next step when it is due, and those of one step alone.
        w.now += 2 * MINUTE;
        let next = claim(w, &d, 4, 10).await.unwrap();
        assert_eq!((next.step, drip_wave::members(&w.db, &next).await.unwrap().len()), (0, 1), "longest due");
        let next = claim(w, &d, 5, 10).await.unwrap();
        assert_eq!((next.step, drip_wave::members(&w.db, &next).await.unwrap()[0].phone_tag), (1, tag(3)));
    })
    .await;
}

#[tokio::test]
async fn a_wave_waits_is_split_and_belongs_to_what_is_active() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let d = active(w, a, 1, true).await;
        enroll(w, &d, 0..4, false).await;
        w.now += MINUTE;
        assert!(shift(w, d.id, State::Active, State::Paused).await);
        assert_eq!(claim(w, &d, 1, 10).await, None, "it is paused");
        assert!(drip::due(&w.db, w.now, 10).await.unwrap().is_empty());
        assert!(shift(w, d.id, State::Paused, State::Active).await);
        let wave = claim(w, &d, 1, 10).await.unwrap();
        drip_wave::wait(&w.db, &wave, w.now + MINUTE, Some(HeldUp::InsufficientCredit)).await.unwrap();
        assert_eq!(drip::by_id(&w.db, a, d.id).await.unwrap().held_up, Some(HeldUp::InsufficientCredit));
        enroll(w, &d, 10..11, false).await;
        assert!(drip::due(&w.db, w.now, 10).await.unwrap().is_empty(), "others wait with it");
        // What is begun again is looked at again at once.
        assert!(
            shift(w, d.id, State::Active, State::Paused).await && shift(w, d.id, State::Paused, State::Active).await
        );
        let read = drip::by_id(&w.db, a, d.id).await.unwrap();
        assert_eq!((read.held_up, drip_wave::open_of(&w.db, a, d.id).await.unwrap().unwrap().look_at), (None, w.now));
        let into = BatchId::new(w.now, 7, a);
        drip_wave::split(&w.db, &wave, &[tag(2), tag(3)], into).await.unwrap();
        let half = Wave { id: into, look_at: w.now, ..wave };
        for (wave, expected) in [(&wave, [tag(0), tag(1)]), (&half, [tag(2), tag(3)])] {
            let tags: Vec<_> = drip_wave::members(&w.db, wave).await.unwrap().iter().map(|m| m.phone_tag).collect();
            assert_eq!(tags, expected);
        }
        assert!(shift(w, d.id, State::Active, State::Archived).await);
        assert_eq!(enroll(w, &d, 20..21, false).await, None);
        assert_eq!(people::empty(&w.db, a, d.id, w.now, 10).await.unwrap(), 1, "those of waves wait for their end");
        for wave in [&wave, &half] {
            let again = drip_wave::members(&w.db, wave).await.unwrap().iter().map(|m| m.phone_tag).collect();
            assert!(advance(w, wave, &Moves { again, ..Moves::default() }, false).await);
        }
        assert_eq!(people::empty(&w.db, a, d.id, w.now, 10).await.unwrap(), 4);
        assert_eq!(all(w, &d).await, ["archived"; 5]);
        while people::delete(&w.db, a, d.id, 2).await.unwrap() > 0 {}
        assert!(!drip::delete(&w.db, a, d.id, State::Draft).await.unwrap());
        assert!(drip::delete(&w.db, a, d.id, State::Archived).await.unwrap());
        assert_eq!(w.count("drip_enrollment").await + w.count("drip_wave").await, 0);
    })
    .await;
}

#[tokio::test]
async fn contacts_enter_by_a_filter_and_who_was_there_may_be_passed_over() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let d = active(w, a, 1, true).await;
        let quiet = active(w, a, 2, false).await;
        let put = async |tags: std::ops::Range<u64>| {
            let person = |n| NewContact {
                id: ContactId::new(NOW, n, a),
                phone: 4_915_100_000_000 + n,
                phone_tag: tag(n as i64),
                changes: Changes { more_tags: ["new".to_owned()].into(), ..Changes::default() },
            };
            let people: Vec<_> = tags.map(person).collect();
            contact::put(&w.db, a, &people, false, NOW).await.unwrap();
        };
        const NOW: i64 = crate::world::NOON;
        put(0..5).await;
        let filter = Filter::Is(Condition::Tag("new".into()));
        let enter = async |d: &Drip, passed, limit| {
            people::enroll_contacts(&w.db, d.id, &filter, passed, w.now + MINUTE, limit, w.now).await.unwrap()
        };
        assert_eq!(enter(&d, true, 3).await, 3);
        assert_eq!(enter(&d, true, 3).await, 2);
        assert_eq!(enter(&d, true, 3).await, 0);
        put(5..7).await;
        assert_eq!(enter(&d, false, 10).await, 2);
        assert_eq!(enter(&quiet, false, 10).await, 7);
        assert_eq!(all(w, &d).await[3..], ["passed_over", "passed_over", "0 in 60", "0 in 60"]);
        // Who writes leaves what is left by writing; who wants nothing more leaves all.
        let leave = async |which, n, why| people::leave(&w.db, a, which, &[tag(n)], why, w.now, w.now).await.unwrap();
        assert_eq!(leave(Leave::OnReply, 5, ExitReason::Replied).await, 1);
        assert_eq!(leave(Leave::All, 5, ExitReason::Stopped).await, 1);
        assert_eq!(leave(Leave::All, 6, ExitReason::Stopped).await, 2);
        assert_eq!(all(w, &quiet).await[4..], ["0 in 60", "stopped", "stopped"]);
        let found = contact::by_tags(&w.db, a, &[tag(1), tag(6), tag(9)], Some(&filter)).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(contact::by_tags(&w.db, a, &[], None).await.unwrap(), []);
        assert_eq!(contact::by_tags(&w.db, AccountNo(77), &[tag(1)], None).await.unwrap(), []);
    })
    .await;
}
