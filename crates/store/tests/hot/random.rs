//! Both databases decide alike, whatever comes, and money and usage add up.

use std::cell::RefCell;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Lane, State};
use carillon_domain::phone::Country;
use carillon_store::hot::{
    Attempted, IdempotencyKey, IntakeRequest, NewMessage, PartResult, ReceiptKind, SettleItem, Step, Verdict,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::settle::{CONNECTION, outcome, receipt};
use crate::world::{World, message};

#[derive(Clone, Debug)]
struct Request {
    account: usize,
    messages: u32,
    parts: u8,
    batch: Option<bool>,
    scheduled: bool,
    lane: u8,
    flags: i32,
    key: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
struct Happening {
    message: usize,
    what: u8,
    attempt: u8,
    part: u8,
    carrier_id: u8,
    tag: u8,
}

#[derive(Clone, Debug)]
enum Commit {
    Intake(Vec<Request>),
    Settle(Vec<Happening>),
}

fn requests() -> impl Strategy<Value = Request> {
    let key = prop::option::of((0u8..3, 0u8..2));
    let batch = prop::option::of(any::<bool>());
    (0usize..3, 1u32..4, 1u8..3, batch, any::<bool>(), 0u8..4, 0i32..4, key).prop_map(
        |(account, messages, parts, batch, scheduled, lane, flags, key)| {
            let flags = (flags & 1) * Flags::EVENTS.0 + (flags >> 1) * Flags::PAY_ON_ACCEPT.0;
            let messages = if batch.is_some() { messages } else { 1 };
            Request { account, messages, parts, batch, scheduled, lane, flags, key }
        },
    )
}

fn happenings() -> impl Strategy<Value = Happening> {
    (any::<prop::sample::Index>(), 0u8..14, 1u8..4, 0u8..2, 0u8..4, 0u8..3).prop_map(
        |(message, what, attempt, part, carrier_id, tag)| Happening {
            message: message.index(12),
            what,
            attempt,
            part,
            carrier_id,
            tag,
        },
    )
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let intake = prop::collection::vec(requests(), 1..5).prop_map(Commit::Intake);
    let settle = prop::collection::vec(happenings(), 1..8).prop_map(Commit::Settle);
    let rest = prop::collection::vec(prop_oneof![1 => intake, 4 => settle], 4..16);
    (prop::collection::vec(requests(), 3..6), rest).prop_map(|(first, mut rest)| {
        rest.insert(0, Commit::Intake(first));
        rest
    })
}

fn request(w: &mut World, accounts: &[AccountNo], r: &Request) -> IntakeRequest {
    let account = accounts[r.account];
    let new = |i| NewMessage {
        index: i,
        lane: Lane::ALL[usize::from(r.lane)],
        flags: Flags(r.flags),
        due_at: r.scheduled.then_some(w.now + 5),
        country: ["DE", "US"].get(i as usize).and_then(|text| Country::parse(text)),
        ..message(u64::from(account.0 * 10 + i), r.parts)
    };
    let messages = (0..r.messages).map(new).collect();
    let step = r.batch.map_or(Step::Message, |partial| Step::Batch(w.batch(account, partial)));
    let key = r.key.map(|(key, body)| IdempotencyKey { key: [key; 16], fingerprint: [body; 16] });
    IntakeRequest { account, key, step, messages }
}

fn item(h: &Happening, known: &[(MessageId, i64)], now: i64) -> SettleItem {
    let (id, phone_tag) = known[h.message % known.len()];
    let carrier_id = format!("{}/{}", id.account().0, h.carrier_id);
    let out = |result| outcome(id, phone_tag, h.attempt, h.part, now, result);
    let tag = [None, Some(phone_tag), Some(phone_tag + 1)][usize::from(h.tag)];
    let report = |kind| SettleItem::Receipt(receipt(carrier_id.clone(), tag, kind, now));
    let attempt = Attempted { connection: CONNECTION, phone_tag, id, part: h.part, attempt: h.attempt };
    let (error, carrier_error) = (401, "no".to_owned());
    match h.what {
        0..=2 => out(PartResult::Accepted { carrier_id, receipts: h.tag < 2 }),
        3 | 4 => out(PartResult::Unknown { submitted_at: now, decide_at: now + 1 }),
        5 => out(PartResult::Retry { due_at: now + i64::from(h.carrier_id), error, carrier_error }),
        6 => out(PartResult::FailOver { error, carrier_error }),
        7 => out(PartResult::Refused { error, carrier_error }),
        8 | 9 => report(ReceiptKind::Delivered),
        10 => report(ReceiptKind::Failed { error: 103 }),
        11 => SettleItem::Decide { attempt, resend: h.tag > 0, error },
        12 if h.tag > 0 => SettleItem::Due { id },
        12 => SettleItem::End { id, state: State::Canceled, error: 502, unknown_too: h.carrier_id > 1 },
        _ => SettleItem::Close { id },
    }
}

/// Everything there is to see after a run.
async fn run(w: &mut World, commits: &[Commit]) -> Vec<String> {
    let accounts = [w.account(0).await, w.account(23).await, w.account(10_000).await];
    let mut known: Vec<(MessageId, i64)> = Vec::new();
    let mut seen = Vec::new();
    for commit in commits {
        w.now += 1;
        match commit {
            Commit::Intake(requests) => {
                let requests: Vec<_> = requests.iter().map(|r| request(w, &accounts, r)).collect();
                let verdicts = w.intake(&requests).await;
                for (request, verdict) in requests.iter().zip(&verdicts) {
                    if let Verdict::Accepted { first, count, .. } = verdict {
                        known.extend((0..*count).map(|i| (first.nth(i), request.messages[i as usize].phone_tag)));
                    }
                }
                seen.push(format!("{verdicts:?}"));
            }
            Commit::Settle(happenings) if !known.is_empty() => {
                let items: Vec<_> = happenings.iter().map(|h| item(h, &known, w.now)).collect();
                seen.push(format!("{:?}", w.settle(&items).await));
            }
            Commit::Settle(_) => {}
        }
        if seen.len().is_multiple_of(3) {
            carillon_store::usage::fold(&w.db).await.unwrap();
        }
    }
    for (id, _) in &known {
        seen.push(w.show(*id).await);
    }
    for table in ["carrier_ref", "unknown_attempt", "parked_receipt", "attempt", "due_at", "due_span", "event"] {
        seen.push(format!("{table}: {}", w.count(table).await));
    }
    for account in accounts {
        seen.push(w.money(account).await);
    }
    w.verify(&format!("{commits:?}")).await;
    seen
}

#[test]
fn both_databases_decide_alike() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worlds = RefCell::new(runtime.block_on(World::both()));
    // Each case begins with new accounts in the same two databases. After a failure these differ for good: nothing to shrink with.
    let mut runner =
        TestRunner::new(Config { cases: 48, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let all = runner.run(&commits(), |commits| {
        let [sqlite, postgres] = &mut *worlds.borrow_mut();
        let left = runtime.block_on(run(sqlite, &commits));
        let right = runtime.block_on(run(postgres, &commits));
        prop_assert_eq!(left, right);
        Ok(())
    });
    all.unwrap();
}
