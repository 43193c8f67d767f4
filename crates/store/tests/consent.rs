//! Consent on both databases: records appended once, states that follow, questions that are asked within bounds.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::consent::{Detail, Source, Status};
use carillon_domain::id::{AccountNo, ConsentId};
use carillon_domain::message::Category;
use carillon_store::Db;
use carillon_store::consent::{self, Filter, NewConsent, NotAsked, Patience, State};
use carillon_store::testing::both;

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);
const NOW: i64 = 1_795_262_400_000;
const DAY: i64 = 86_400_000;

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        test(db.clone()).await;
        db.close().await;
    }
}

fn says(account: AccountNo, n: u64, phone_tag: i64, category: Category, status: Status, source: Source) -> NewConsent {
    NewConsent {
        id: ConsentId::new(NOW, n, account),
        phone: 4_915_100_000_000 + phone_tag as u64,
        phone_tag,
        category,
        status,
        source,
        captured_at: NOW - 7,
        detail: Detail { keyword: Some(format!("word {n}")), ..Detail::default() },
        origin: None,
    }
}

async fn stands(db: &Db, account: AccountNo, tag: i64) -> Vec<(Category, Status, Source, i64)> {
    let mut states = consent::states(db, account, &[tag]).await.unwrap();
    states.sort_by_key(|s| s.category);
    states.into_iter().map(|s| (s.category, s.status, s.source, s.since)).collect()
}

#[tokio::test]
async fn records_are_appended_and_come_to_a_state() {
    use Category::{Promotional, Transactional};
    on_both(async |db| {
        let first = [
            says(A, 1, 10, Promotional, Status::OptedIn, Source::Form),
            says(A, 2, 10, Transactional, Status::OptedIn, Source::Form),
            says(A, 3, 20, Promotional, Status::OptedIn, Source::Import),
            says(A, 4, 10, Promotional, Status::OptedOut, Source::Keyword),
        ];
        let states = consent::append(&db, A, &first, NOW).await.unwrap();
        assert_eq!(states.len(), 3, "one for each number and category");
        // The same once more, and what nobody but the person could lift.
        consent::append(&db, A, &first[3..], NOW + 1).await.unwrap();
        consent::append(&db, A, &[says(A, 5, 10, Promotional, Status::OptedIn, Source::Api)], NOW + 2).await.unwrap();
        consent::append(&db, B, &[says(B, 1, 10, Promotional, Status::Confirmed, Source::Api)], NOW).await.unwrap();
        let expected = [
            (Transactional, Status::OptedIn, Source::Form, NOW),
            (Promotional, Status::OptedOut, Source::Keyword, NOW),
        ];
        assert_eq!(stands(&db, A, 10).await, expected);
        assert_eq!(stands(&db, B, 10).await, [(Promotional, Status::Confirmed, Source::Api, NOW)]);
        assert_eq!(stands(&db, A, 30).await, []);

        let of = |phone_tag, category| Filter { phone_tag, category };
        let all = consent::list(&db, A, of(Some(10), Some(Promotional)), None, 10).await.unwrap();
        let ids: Vec<_> = all.iter().map(|c| (c.id, c.previous)).collect();
        let id = |n| ConsentId::new(NOW, n, A);
        assert_eq!(ids, [(id(5), Some(id(4))), (id(4), Some(id(1))), (id(1), None)]);
        assert_eq!(
            (all[1].captured_at, all[1].phone, all[1].detail.keyword.as_deref()),
            (NOW - 7, 4_915_100_000_010, Some("word 4"))
        );
        assert_eq!(consent::list(&db, A, of(None, None), Some(id(3)), 10).await.unwrap().len(), 2);
        assert_eq!(consent::list(&db, A, of(Some(20), Some(Transactional)), None, 10).await.unwrap(), []);

        let mut after = (AccountNo::PLATFORM, i64::MIN, i16::MIN);
        let mut walked = Vec::new();
        while let (page, Some(next)) = consent::states_after(&db, after, 1).await.unwrap() {
            walked.extend(page.into_iter().map(|s| (s.account, s.phone_tag, s.category)));
            after = next;
        }
        assert_eq!(walked, [(A, 10, Transactional), (A, 10, Promotional), (A, 20, Promotional), (B, 10, Promotional)]);
        let (changed, last) = consent::changed_after(&db, (NOW + 2, AccountNo::PLATFORM, i64::MIN), 9).await.unwrap();
        let tags: Vec<_> = changed.iter().map(|s: &State| (s.account, s.phone_tag, s.category)).collect();
        assert_eq!((tags, last), (vec![(A, 10, Promotional)], Some((NOW + 2, A, 10))));
    })
    .await;
}

#[tokio::test]
async fn a_person_is_asked_within_bounds() {
    on_both(async |db| {
        let patience = Patience { times: 2, within: 30 * DAY };
        let ask =
            async |tag, now| consent::ask(&db, A, tag, Category::Promotional, now + DAY, patience, now).await.unwrap();
        let waits = async |tag| consent::states(&db, A, &[tag]).await.unwrap().first().map(|s| s.asked_until);
        assert_eq!(ask(1, NOW).await, Ok(()));
        assert_eq!(ask(1, NOW + 1).await, Err(NotAsked::Waiting(NOW + DAY)));
        consent::not_asked(&db, A, 1, Category::Promotional, NOW + 2).await.unwrap();
        assert_eq!(waits(1).await, None, "nothing is left of a question that was not sent");
        assert_eq!(ask(1, NOW + 3).await, Ok(()));
        consent::append(&db, A, &[says(A, 1, 1, Category::Promotional, Status::Pending, Source::DoubleOptIn)], NOW + 3)
            .await
            .unwrap();
        assert_eq!(waits(1).await, Some(Some(NOW + 3 + DAY)), "the record of the question ends no wait");
        assert_eq!(consent::stop_waiting(&db, NOW + DAY, 9).await.unwrap(), 0);
        assert_eq!(consent::stop_waiting(&db, NOW + 2 * DAY, 9).await.unwrap(), 1);
        assert_eq!(waits(1).await, Some(None));
        assert_eq!(ask(1, NOW + 2 * DAY).await, Ok(()));
        assert_eq!(ask(1, NOW + 4 * DAY).await, Err(NotAsked::TooOften));
        assert_eq!(ask(1, NOW + 40 * DAY).await, Ok(()), "after a while again");
        let answer = says(A, 2, 1, Category::Promotional, Status::Confirmed, Source::DoubleOptIn);
        let states = consent::append(&db, A, &[answer], NOW + 41 * DAY).await.unwrap();
        assert_eq!((states[0].status, states[0].asked_until), (Status::Confirmed, None));
        assert_eq!(ask(1, NOW + 90 * DAY).await, Err(NotAsked::Confirmed));
        consent::append(&db, A, &[says(A, 3, 2, Category::Promotional, Status::OptedOut, Source::Page)], NOW)
            .await
            .unwrap();
        assert_eq!(ask(2, NOW).await, Err(NotAsked::OptedOut));
    })
    .await;
}
