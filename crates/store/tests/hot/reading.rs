//! What is due is read back as it was put, and nothing else.

use std::time::Duration;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{PartState, State};
use carillon_store::hot::{IntakeRequest, NewMessage, PartResult, SettleItem, SpanKey, Step, Verdict};
use carillon_store::testing::TestPostgres;

use crate::settle::outcome;
use crate::world::{NOON, World, message, on_both, one, shared};

#[tokio::test]
async fn a_span_gives_what_is_still_queued() {
    on_both(async |w: &mut World| {
        let a = w.account(1000).await;
        let batch = w.batch(a, false);
        let request = IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(6) };
        let Verdict::Accepted { first, span: Some(span), .. } = w.intake(&[request]).await[0] else { panic!() };
        let yes = PartResult::Accepted { carrier_id: "a".into(), receipts: true };
        let retry = PartResult::Retry { due_at: NOON + 5, error: 401, carrier_error: "busy".into() };
        let end = SettleItem::End { id: first.nth(4), state: State::Canceled, error: 502, unknown_too: false };
        w.settle(&[outcome(first.nth(1), 1, 1, 0, NOON, yes), outcome(first.nth(2), 1, 1, 0, NOON, retry), end]).await;
        // from, to, places found
        for (from, to, expected) in
            [(0, 6, vec![0, 3, 5]), (0, 0, vec![]), (1, 4, vec![3]), (5, 9, vec![5]), (3, 2, vec![])]
        {
            let found = w.reader.span_messages(span, from, to).await.unwrap();
            let places: Vec<_> = found.iter().map(|m| m.id.place_after(first).unwrap()).collect();
            assert_eq!(places, expected, "{from}..{to}");
        }
        let m = &w.reader.span_messages(span, 0, 1).await.unwrap()[0];
        let expected = shared(1)[0].queued(first);
        assert_eq!(format!("{m:?}"), format!("{expected:?}"));
        assert_eq!(w.reader.spans().await.unwrap().len(), 1);
        w.spans_done(&[span, SpanKey { first: MessageId::new(1, 1, a) }]).await;
        assert!(w.reader.spans().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn parts_and_attempts_are_read_back() {
    on_both(async |w: &mut World| {
        let a = w.account(1000).await;
        let long = NewMessage { expires_at: NOON + 77, ..message(4_915_112_345_678, 2) };
        let id = w.take(a, long).await;
        let yes = PartResult::Accepted { carrier_id: "a".into(), receipts: true };
        w.settle(&[outcome(id, 1, 3, 1, NOON, yes)]).await;
        let m = w.reader.span_messages(SpanKey { first: id }, 0, 1).await.unwrap().remove(0);
        assert_eq!(m.parts.as_slice(), [PartState::Pending, PartState::Accepted]);
        let got = (m.phone, m.attempts, m.reference, m.expires_at, &*m.body, m.sender.as_deref());
        assert_eq!(got, (4_915_112_345_678, 3, Some(9), NOON + 77, "Hello", Some("Shop")));
    })
    .await;
}

#[tokio::test]
async fn what_has_its_own_time_is_read_in_its_order() {
    on_both(async |w: &mut World| {
        let (a, b) = (w.account(1000).await, w.account(1000).await);
        let at = |due| NewMessage { due_at: Some(NOON + due), ..message(1, 1) };
        let verdicts =
            w.intake(&[one(b, at(2)), one(a, at(3)), one(b, at(1)), one(a, at(2)), one(a, at(2)), one(a, at(9))]).await;
        let id = |i: usize| match &verdicts[i] {
            Verdict::Accepted { first, span: None, .. } => *first,
            other => panic!("{other:?}"),
        };
        let order = [(1, id(2)), (2, id(3)), (2, id(4)), (2, id(0)), (3, id(1))];
        for limit in [1, 2, 10] {
            let mut after = (i64::MIN, AccountNo(0), MessageId(uuid::Uuid::nil()));
            let mut found = Vec::new();
            loop {
                let page = w.reader.due_messages(after, NOON + 8, limit).await.unwrap();
                let Some((due, last)) = page.last() else { break };
                after = (*due, last.id.account(), last.id);
                found.extend(page.iter().map(|(due, m)| (due - NOON, m.id)));
            }
            assert_eq!(found, order, "pages of {limit}");
        }
        w.settle(&[SettleItem::Due { id: id(2) }]).await;
        assert_eq!(w.show(id(2)).await, "queued, held 5, paid 0, code -");
        assert_eq!(w.count("due_at").await, 6, "it keeps its row until it is sent");
        let yes = PartResult::Accepted { carrier_id: "a".into(), receipts: true };
        w.settle(&[outcome(id(2), 1, 1, 0, NOON, yes)]).await;
        assert_eq!(w.count("due_at").await, 5);
    })
    .await;
}

/// On PostgreSQL a statement's plan is made while tables are empty, and kept.
#[tokio::test]
async fn reading_what_is_due_looks_at_nothing_else() {
    let mut w = World::open(Some(TestPostgres::start().fresh_database().await)).await;
    let a = w.account(100_000).await;
    let start = (i64::MIN, AccountNo(0), MessageId(uuid::Uuid::nil()));
    for _ in 0..20 {
        assert!(w.reader.due_messages(start, NOON, 10).await.unwrap().is_empty());
        assert!(w.reader.span_messages(SpanKey { first: MessageId::new(1, 1, a) }, 0, 9).await.unwrap().is_empty());
    }
    let batch = w.batch(a, false);
    let request = IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(3_000) };
    let Verdict::Accepted { span: Some(span), .. } = w.intake(&[request]).await[0] else { panic!() };
    let scheduled = one(a, NewMessage { due_at: Some(NOON), ..message(1, 1) });
    w.intake(&vec![scheduled; 200]).await;
    for from in 0..10 {
        assert_eq!(w.reader.span_messages(span, from, from + 3).await.unwrap().len(), 3);
    }
    let (mut after, mut pages) = (start, 0);
    while let Some((due, last)) = w.reader.due_messages(after, NOON, 10).await.unwrap().last() {
        after = (*due, last.id.account(), last.id);
        pages += 1;
    }
    assert_eq!(pages, 20);
    // What a session counted is known once it has ended.
    w.reopen().await;
    let reading = "pg_stat_activity WHERE datname = current_database() AND query LIKE '%FROM due_at d%' AND pid <> pg_backend_pid()";
    let ended = async {
        while w.count(reading).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("a reader that is dropped ends its session");
    let sql = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'message'";
    assert_eq!(w.numbers(sql).await, [[Some(0), Some(10 * 3 + 200)]]);
}
