//! What commits count, how it is read, and that it can be counted anew. That it is what the messages say is verified after every test.

use carillon_domain::id::BatchId;
use carillon_domain::message::State;
use carillon_domain::phone::Country;
use carillon_domain::report::Dimension;
use carillon_store::hot::{IntakeRequest, PartResult, ReceiptKind, SettleItem, Step};
use carillon_store::usage::{self, Filter, Group};

use crate::settle::{CONNECTION, outcome, receipt};
use crate::world::{ALL_DAYS, World, message, on_both, one, shared};

const GERMAN: u64 = 4_915_112_345_678;
const AMERICAN: u64 = 12_015_550_123;

/// A group for the eye: what it is of, and its sums.
fn shown(group: &Group) -> String {
    let (k, t) = (&group.key, &group.totals);
    let key = [
        k.country.map(|n| Country::from_number(n).map_or("-".to_owned(), |c| c.to_string())),
        k.connection.map(|n| format!("connection {n}")),
        k.state.map(|n| State::from_number(n).unwrap().as_str().to_owned()),
        k.error.map(|n| format!("code {n}")),
        k.batch.map(|b| if b.is_some() { "a batch" } else { "no batch" }.to_owned()),
    ];
    let key: Vec<String> = key.into_iter().flatten().collect();
    let (ended, cost) = (t.ended(), t.cost.0);
    format!(
        "{}: {} accepted, {ended} ended, {} delivered, {} parts, {cost}",
        key.join(" "),
        t.accepted,
        t.delivered,
        t.parts
    )
}

/// Five messages of 20 part prices: one delivered in 1.5 s, one refused, one canceled, one on its way, and one in a batch.
async fn five(w: &mut World) -> carillon_domain::id::AccountNo {
    let a = w.account(100).await;
    let delivered = w.take(a, message(GERMAN, 2)).await;
    let refused = w.take(a, message(GERMAN + 1, 1)).await;
    let canceled = w.take(a, message(AMERICAN, 1)).await;
    let sent = w.take(a, message(AMERICAN + 1, 1)).await;
    let step = Step::Batch(w.batch(a, false));
    w.intake(&[IntakeRequest { account: a, key: None, step, messages: shared(1) }]).await;
    let accept = |id, tag: u64, part| {
        let carrier_id = format!("{tag}/{part}");
        outcome(id, tag as i64, 1, part, w.now, PartResult::Accepted { carrier_id, receipts: true })
    };
    let no = PartResult::Refused { error: 401, carrier_error: "no".into() };
    let items = [
        accept(delivered, GERMAN, 0),
        accept(delivered, GERMAN, 1),
        accept(sent, AMERICAN + 1, 0),
        outcome(refused, GERMAN as i64 + 1, 1, 0, w.now, no),
        SettleItem::End { id: canceled, state: State::Canceled, error: 502, unknown_too: false },
    ];
    w.settle(&items).await;
    w.now += 1_500;
    let report = |part| {
        let (id, tag) = (format!("{GERMAN}/{part}"), Some(GERMAN as i64));
        SettleItem::Receipt(receipt(id, tag, ReceiptKind::Delivered, w.now))
    };
    w.settle(&[report(0), report(1)]).await;
    a
}

#[tokio::test]
async fn what_became_of_messages_by_group() {
    use Dimension::{Batch, Connection, Country as ByCountry, Error, Status};
    on_both(async |w: &mut World| {
        let a = five(w).await;
        let b = w.account(100).await;
        w.take(b, message(GERMAN, 1)).await;
        assert!(
            usage::totals(&w.db, a, ALL_DAYS, &Filter::default(), &[]).await.unwrap().unwrap().is_empty(),
            "not yet"
        );
        assert!(usage::fold(&w.db).await.unwrap() > 0);
        assert_eq!(usage::fold(&w.db).await.unwrap(), 0);
        let germany = vec![Country::parse("DE").unwrap().number()];
        let only = |countries: &[i16]| Filter { countries: countries.to_vec(), ..Filter::default() };
        let failed = Filter { states: vec![State::Failed.number()], ..Filter::default() };
        let connection = format!("connection {CONNECTION}");
        let rows: &[(Filter, &[Dimension], &[&str])] = &[
            (Filter::default(), &[], &[": 5 accepted, 3 ended, 1 delivered, 4 parts, 10"]),
            (
                Filter::default(),
                &[ByCountry],
                &[
                    "DE: 3 accepted, 2 ended, 1 delivered, 3 parts, 10",
                    "US: 2 accepted, 1 ended, 0 delivered, 1 parts, 0",
                ],
            ),
            (only(&germany), &[], &[": 3 accepted, 2 ended, 1 delivered, 3 parts, 10"]),
            (
                Filter::default(),
                &[Batch],
                &[
                    "no batch: 4 accepted, 3 ended, 1 delivered, 4 parts, 10",
                    "a batch: 1 accepted, 0 ended, 0 delivered, 0 parts, 0",
                ],
            ),
            (
                Filter::default(),
                &[Status, Error],
                &[
                    "delivered code 0: 0 accepted, 1 ended, 1 delivered, 2 parts, 10",
                    "failed code 401: 0 accepted, 1 ended, 0 delivered, 1 parts, 0",
                    "canceled code 502: 0 accepted, 1 ended, 0 delivered, 1 parts, 0",
                ],
            ),
            (failed, &[Connection], &[&format!("{connection}: 0 accepted, 1 ended, 0 delivered, 1 parts, 0")]),
            (only(&[0]), &[], &[]),
        ];
        for (filter, by, expected) in rows {
            let groups = usage::totals(&w.db, a, ALL_DAYS, filter, by).await.unwrap().unwrap();
            assert_eq!(groups.iter().map(shown).collect::<Vec<_>>(), *expected, "{by:?}");
        }
        let groups = usage::totals(&w.db, a, ALL_DAYS, &Filter::default(), &[Batch]).await.unwrap().unwrap();
        let batch = groups.iter().find_map(|group| group.key.batch.flatten()).unwrap();
        let of = |account| {
            let filter = Filter { batches: vec![batch, BatchId::new(w.now, 99, account)], ..Filter::default() };
            let db = w.db.clone();
            async move { usage::totals(&db, account, ALL_DAYS, &filter, &[]).await.unwrap().unwrap() }
        };
        assert_eq!(
            of(a).await.iter().map(shown).collect::<Vec<_>>(),
            [": 1 accepted, 0 ended, 0 delivered, 0 parts, 0"]
        );
        assert!(of(b).await.is_empty(), "another account's batch");
        let day = (w.now / 86_400_000) as i32;
        for (days, accepted) in [((day, day), 5), ((day - 9, day - 1), 0), ((day + 1, day + 9), 0)] {
            let groups = usage::totals(&w.db, a, days, &Filter::default(), &[Dimension::Day]).await.unwrap().unwrap();
            assert_eq!(groups.iter().map(|g| g.totals.accepted).sum::<i64>(), accepted, "{days:?}");
            assert!(groups.iter().all(|g| g.key.day == Some(day)));
        }
        let all = usage::totals(&w.db, a, ALL_DAYS, &Filter::default(), &[]).await.unwrap().unwrap();
        let speeds = all[0].totals.speeds;
        assert_eq!((speeds.0[10], speeds.0.iter().sum::<i64>()), (1, 1), "1,500 ms");
        let hours = usage::hours(&w.db, a, 0, i32::MAX).await.unwrap();
        let hours: Vec<_> = hours.iter().map(|h| (h.hour, h.accepted, h.ended, h.delivered)).collect();
        assert_eq!(hours, [((w.now / 3_600_000) as i32, 5, 3, 1)]);
    })
    .await;
}

/// Two that add up at once add each row once.
#[tokio::test]
async fn the_log_is_added_once() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        for _ in 0..5 {
            w.intake(&[one(a, message(GERMAN, 1))]).await;
        }
        let (left, right) = tokio::join!(usage::fold(&w.db), usage::fold(&w.db));
        assert_eq!(left.unwrap() + right.unwrap(), 5);
        assert_eq!(w.count("usage_log").await, 0);
    })
    .await;
}

#[tokio::test]
async fn usage_is_counted_anew_from_the_messages() {
    on_both(async |w: &mut World| {
        let a = five(w).await;
        while usage::fold(&w.db).await.unwrap() > 0 {}
        // As after an upgrade from a version that did not count; one that counted wrong; and one day of several.
        let day = (w.now / 86_400_000) as i32;
        for (spoil, days) in [
            ("DELETE FROM usage_day WHERE account_no > 0", ALL_DAYS),
            ("DELETE FROM usage_hour WHERE account_no > 0", ALL_DAYS),
            ("UPDATE usage_day SET messages = messages + 1 WHERE state = 3", (day, day)),
        ] {
            w.numbers(spoil).await;
            w.take(a, message(AMERICAN, 1)).await; // in the log still
            let mut differences = 0;
            usage::verify(&w.db, days, |_| differences += 1).await.unwrap();
            assert!(differences > 0, "{spoil}");
            assert!(usage::rebuild(&w.db, days).await.unwrap() >= 1);
            w.verify(spoil).await;
        }
        // Another day's counts stay.
        let before = w.numbers("SELECT messages, parts, captured FROM usage_day ORDER BY state, country").await;
        usage::rebuild(&w.db, (day + 1, day + 2)).await.unwrap();
        assert_eq!(w.numbers("SELECT messages, parts, captured FROM usage_day ORDER BY state, country").await, before);
    })
    .await;
}
