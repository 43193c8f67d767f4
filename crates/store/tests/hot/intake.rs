//! What is taken, what is refused, and what stands in the store then.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::media::{MessageFile, Mms};
use carillon_domain::message::{Category, Flags, Lane};
use carillon_domain::money::Money;
use carillon_domain::phone::Country;
use carillon_store::hot::{Extra, IntakeRequest, NewMessage, SpanKey, Step, Totals, Verdict};

use crate::world::{NOON, PRICE, World, keyed, message, on_both, one, said, shared};

async fn verdicts(w: &mut World, requests: &[IntakeRequest]) -> Vec<String> {
    w.intake(requests).await.iter().map(said).collect()
}

#[tokio::test]
async fn money_decides_in_order_of_arrival_to_the_micro_unit() {
    on_both(async |w: &mut World| {
        // credit, parts of each request in one commit, verdicts, money then
        let rows: &[(i64, &[u8], &[&str], &str)] = &[
            (5, &[1], &["accepted 1"], "0/5/0"),
            (4, &[1], &["short: 4 of 5"], "4/0/0"),
            (10, &[1, 1, 1], &["accepted 1", "accepted 1", "short: 0 of 5"], "0/10/0"),
            (14, &[1, 3, 1], &["accepted 1", "short: 9 of 15", "accepted 1"], "4/10/0"),
            (15, &[3], &["accepted 1"], "0/15/0"),
            (0, &[1], &["short: 0 of 5"], "0/0/0"),
        ];
        for (credit, parts, expected, money) in rows {
            let a = w.account(*credit).await;
            let requests: Vec<_> = parts.iter().map(|p| one(a, message(1, *p))).collect();
            assert_eq!(verdicts(w, &requests).await, *expected, "{credit} for {parts:?}");
            assert_eq!(w.money(a).await, *money, "{credit} for {parts:?}");
        }
        assert_eq!(verdicts(w, &[one(AccountNo(999), message(1, 1))]).await, ["no account"]);
        let free = NewMessage { unit_price: Money::ZERO, ..message(1, 1) };
        let a = w.account(0).await;
        assert_eq!(verdicts(w, &[one(a, free)]).await, ["accepted 1"]);
    })
    .await;
}

/// More than leaves for PostgreSQL in one piece, and the first that its connection is asked.
#[tokio::test]
async fn a_commit_may_be_large() {
    on_both(async |w: &mut World| {
        let a = w.account(100_000).await;
        let batch = w.batch(a, false);
        let request = IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(5000) };
        assert_eq!(verdicts(w, &[request]).await, ["accepted 5000"]);
        assert_eq!(w.count("message").await, 5000);
        assert_eq!(w.money(a).await, "75000/25000/0");
    })
    .await;
}

/// PostgreSQL gets few messages by a statement and many by COPY.
#[tokio::test]
async fn a_row_is_the_same_whichever_way_it_was_stored() {
    on_both(async |w: &mut World| {
        let a = w.account(100_000).await;
        let mms = Mms { files: vec![MessageFile::elsewhere("https://a.example/b.png")], links: true };
        let extra = Extra {
            client_ref: Some("c".into()),
            tags: Some(r#"["t"]"#.into()),
            callback_url: Some("https://a.example/c".into()),
            mms: Some(Arc::new(mms)),
            mms_price: Some(Money(12)),
            links: Vec::new(),
        };
        let full = NewMessage {
            category: Category::Promotional,
            flags: Flags::EVENTS,
            encoding: 1,
            country: Country::parse("DE"),
            sender: Some("Shop".into()),
            otp_code: Some("1234".into()),
            reference: Some(7),
            extra: Some(Box::new(extra)),
            ..message(1, 3)
        };
        for (variant, one_of_it) in [(1, message(1, 1)), (2, full)] {
            for count in [1, 300] {
                let messages = vec![one_of_it.clone(); count];
                let request = IntakeRequest { account: a, key: None, step: Step::Message, messages };
                assert_eq!(verdicts(w, &[request]).await, [format!("accepted {count}")]);
            }
            let columns = "account_no, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body, otp_code,
                unit_price, held, captured, attempts, reference, due_at, expires_at, client_ref, tags, callback_url, media, mms_price, country";
            assert_eq!(w.count(&format!("(SELECT DISTINCT {columns} FROM message) AS rows")).await, variant);
        }
    })
    .await;
}

#[tokio::test]
async fn batches_are_taken_whole_or_in_part() {
    on_both(async |w: &mut World| {
        // credit, partial, recipients, verdict
        let rows = [
            (15, false, 3, "accepted 3"),
            (14, false, 3, "short: 14 of 15"),
            (14, true, 3, "accepted 2, not 1 opted_out, 2 insufficient_credit"),
            (4, true, 3, "short: 4 of 15"),
            (0, true, 0, "accepted 0, not 1 opted_out"),
        ];
        for (credit, partial, recipients, expected) in rows {
            let a = w.account(credit).await;
            let mut batch = w.batch(a, partial);
            if partial {
                batch.refusals = vec![(1, "opted_out")];
            }
            let request =
                IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(recipients) };
            assert_eq!(verdicts(w, &[request]).await, [expected]);
            let taken = if expected.starts_with("short") { 0 } else { expected[9..10].parse().unwrap() };
            assert_eq!(w.count(&format!("message WHERE account_no = {}", a.0)).await, taken, "{expected}");
        }
        assert_eq!(w.count("batch").await, 3);
        assert_eq!(w.count("batch WHERE refusals IS NOT NULL").await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_key_makes_one_message() {
    on_both(async |w: &mut World| {
        let a = w.account(10).await;
        let other = w.account(10).await;
        let (hello, key, body) = (message(1, 1), 1, 1);
        let requests = [
            keyed(a, hello.clone(), key, body),
            keyed(a, hello.clone(), key, body),
            keyed(a, hello.clone(), key, 2),
            keyed(other, hello.clone(), key, body),
        ];
        let first = w.intake(&requests).await;
        assert_eq!(first.iter().map(said).collect::<Vec<_>>(), ["accepted 1", "replayed", "key reused", "accepted 1"]);
        let Verdict::Accepted { first: id, .. } = first[0] else { panic!() };
        let replayed = Verdict::Replayed { resource: id.0 };
        assert_eq!(first[1], replayed);
        assert_eq!(w.money(a).await, "5/5/0");

        let again = [keyed(a, hello.clone(), key, body), keyed(a, hello.clone(), key, 2)];
        assert_eq!(w.intake(&again).await, [replayed.clone(), Verdict::KeyReused], "in another commit");
        w.reopen().await;
        assert_eq!(w.intake(&again).await, [replayed.clone(), Verdict::KeyReused], "after a restart");
        w.now = NOON + 86_400_000;
        assert_eq!(w.intake(&again).await, [replayed, Verdict::KeyReused], "a day later");
        w.now = NOON + 2 * 86_400_000;
        assert_eq!(verdicts(w, &again).await, ["accepted 1", "key reused"], "two days later");

        // What was refused for want of money uses no key.
        assert_eq!(verdicts(w, &[keyed(a, hello.clone(), 7, 1)]).await, ["short: 0 of 5"]);
        assert_eq!(w.count("message").await, 3);
        let b = w.account(5).await;
        let (long, short) = (keyed(b, message(1, 2), 3, 1), keyed(b, message(1, 1), 3, 2));
        assert_eq!(verdicts(w, &[long, short]).await, ["short: 5 of 10", "accepted 1"]);
    })
    .await;
}

#[tokio::test]
async fn ids_of_an_account_and_lane_are_consecutive() {
    on_both(async |w: &mut World| {
        let (a, b) = (w.account(100).await, w.account(100).await);
        let of = |lane| NewMessage { lane, ..message(1, 1) };
        let later = NewMessage { due_at: Some(w.now + 1000), ..message(1, 1) };
        let batch = w.batch(a, false);
        let requests = [
            one(a, of(Lane::Normal)),
            one(a, of(Lane::Otp)),
            one(b, of(Lane::Normal)),
            IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(3) },
            one(a, of(Lane::Normal)),
            one(a, later),
        ];
        let got: Vec<_> = w
            .intake(&requests)
            .await
            .into_iter()
            .map(|v| match v {
                Verdict::Accepted { first, span, .. } => (first, span),
                other => panic!("{other:?}"),
            })
            .collect();
        let start = got[1].0;
        // In order of lane: otp, normal, bulk, then what has a time of its own.
        let places: Vec<Option<u64>> = got.iter().map(|(first, _)| first.place_after(start)).collect();
        assert_eq!(places, [Some(1), Some(0), None, Some(3), Some(2), Some(6)]);
        let key = |first: MessageId| Some(SpanKey { first });
        let spans: Vec<_> = got.iter().map(|(_, span)| *span).collect();
        assert_eq!(spans, [key(got[0].0), key(start), key(got[2].0), key(got[3].0), key(got[0].0), None]);

        let due: Vec<_> = w.reader.spans().await.unwrap().iter().map(|s| (s.key.first, s.lane, s.count)).collect();
        let mut expected = vec![
            (start, Lane::Otp, 1),
            (got[0].0, Lane::Normal, 2),
            (got[2].0, Lane::Normal, 1),
            (got[3].0, Lane::Bulk, 3),
        ];
        expected.sort();
        assert_eq!(due, expected);
        assert_eq!(w.count("due_at").await, 1);
        assert_eq!(w.show(got[5].0).await, "scheduled, held 5, paid 0, code -");
        // The next commit of the same millisecond goes on behind.
        assert!(w.take(a, of(Lane::Otp)).await > got[5].0);
    })
    .await;
}

async fn open_batch(w: &mut World, a: AccountNo, of: u32) -> carillon_domain::id::BatchId {
    let batch = w.batch(a, false);
    let id = batch.id;
    let totals = Totals { messages: of, parts: u64::from(of), held: Money(PRICE * i64::from(of)) };
    let open = IntakeRequest { account: a, key: None, step: Step::Open(batch, totals), messages: Vec::new() };
    assert_eq!(verdicts(w, &[open]).await, ["accepted 0"]);
    id
}

#[tokio::test]
async fn large_batches_are_loaded_in_chunks() {
    on_both(async |w: &mut World| {
        let a = w.account(20).await;
        let id = open_batch(w, a, 4).await;
        assert_eq!(w.money(a).await, "0/20/0");
        w.verify("opened").await;
        for chunk in shared(4).chunks(2) {
            let request = IntakeRequest { account: a, key: None, step: Step::Chunk(id), messages: chunk.to_vec() };
            assert_eq!(verdicts(w, &[request]).await, ["accepted 2"]);
            w.verify("a chunk").await;
        }
        let seal = IntakeRequest { account: a, key: None, step: Step::Seal(id), messages: Vec::new() };
        assert_eq!(verdicts(w, &[seal]).await, ["accepted 0"]);
        assert_eq!(w.hot.discard_loading().await.unwrap(), 0);
        assert_eq!((w.count("message").await, w.count("batch WHERE state = 1").await), (4, 1));
    })
    .await;
}

#[tokio::test]
async fn half_loaded_batches_are_erased_at_start() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let kept = w.take(a, message(1, 1)).await;
        let id = open_batch(w, a, 6).await;
        // A chunk, a foreign message of the same commit, and a scheduled chunk. The clock steps back meanwhile.
        w.now -= 60_000;
        let chunk = |messages| IntakeRequest { account: a, key: None, step: Step::Chunk(id), messages };
        let foreign = NewMessage { lane: Lane::Bulk, ..message(2, 1) };
        let later = shared(2).into_iter().map(|m| NewMessage { due_at: Some(NOON + 9), ..m }).collect();
        let got = w.intake(&[chunk(shared(2)), one(a, foreign), chunk(later)]).await;
        let Verdict::Accepted { first: foreign, span: Some(span), .. } = got[1] else { panic!() };
        w.intake(&[chunk(shared(1))]).await;
        // A chunk is a span by itself: it waits for its batch alone.
        assert_eq!((w.money(a).await, w.count("due_span").await), ("60/40/0".into(), 4));

        w.reopen().await;
        assert_eq!(w.hot.discard_loading().await.unwrap(), 1);
        assert_eq!(w.money(a).await, "90/10/0");
        let rows = [("message", 2), ("due_span", 2), ("due_at", 0), ("batch", 0)];
        for (table, expected) in rows {
            assert_eq!(w.count(table).await, expected, "{table}");
        }
        assert_eq!(w.show(kept).await, "queued, held 5, paid 0, code -");
        let left = w.reader.span_messages(span, 0, 3).await.unwrap();
        assert_eq!(left.iter().map(|m| m.id).collect::<Vec<_>>(), [foreign]);
    })
    .await;
}

#[tokio::test]
async fn a_large_batch_that_cannot_be_completed_is_taken_back_at_once() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let kept = w.take(a, message(1, 1)).await;
        let failed = open_batch(w, a, 4).await;
        let bare = |step| IntakeRequest { account: a, key: None, step, messages: Vec::new() };
        let chunk = |id, messages| IntakeRequest { account: a, key: None, step: Step::Chunk(id), messages };
        w.intake(&[chunk(failed, shared(2))]).await;
        let whole = open_batch(w, a, 2).await;
        w.intake(&[chunk(whole, shared(2))]).await;
        assert_eq!((w.money(a).await, w.count("due_span").await), ("65/35/0".into(), 3));

        assert_eq!(verdicts(w, &[bare(Step::Discard(failed)), bare(Step::Seal(whole))]).await, ["accepted 0"; 2]);
        assert_eq!(w.money(a).await, "85/15/0");
        let rows = [("message", 3), ("due_span", 2), ("batch", 1)];
        for (table, expected) in rows {
            assert_eq!(w.count(table).await, expected, "{table}");
        }
        assert_eq!(w.show(kept).await, "queued, held 5, paid 0, code -");
        // What is accepted, or gone already, stays as it is.
        assert_eq!(verdicts(w, &[bare(Step::Discard(whole)), bare(Step::Discard(failed))]).await, ["accepted 0"; 2]);
        assert_eq!((w.money(a).await, w.count("message").await), ("85/15/0".into(), 3));
    })
    .await;
}
