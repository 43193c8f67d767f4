//! The suppression list on both databases: opened once, never overwritten, ended once, followed by other processes.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EventId, SuppressionId};
use carillon_domain::suppression::{Blocks, Reason, Scope, Source};
use carillon_store::event::{self, Content, NewEvent};
use carillon_store::suppression::{self, Filter, NewSuppression};
use carillon_store::testing::both;
use carillon_store::{Db, StoreError};
use uuid::Uuid;

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);

/// Runs one test on a fresh database of each kind.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        test(db.clone()).await;
        db.close().await;
    }
}

/// The event of an entry that is lifted.
fn told(id: SuppressionId) -> NewEvent {
    let event = EventId::new(20, id.0.as_u128() as u64, id.account());
    NewEvent { id: event, kind: EventKind::OptOutRemoved, subject: Some(id.0), detail: None, at: 20 }
}

fn entry(account: AccountNo, n: u64, sender: Option<&str>, source: Source) -> NewSuppression {
    NewSuppression {
        id: SuppressionId::new(1_000 + n as i64, n, account),
        phone: 4_915_112_345_678,
        phone_tag: 77,
        reason: Reason::OptOut,
        scope: Scope { sender: sender.map(str::to_owned), category: None },
        source,
        text: Some("STOP".into()),
        origin: None,
    }
}

#[tokio::test]
async fn entries_are_opened_and_ended_and_never_changed() {
    on_both(async |db| {
        let first = entry(A, 1, None, Source::Api);
        assert_eq!(suppression::add(&db, A, std::slice::from_ref(&first), 10, None).await.unwrap(), [(first.id, true)]);
        let again = NewSuppression { text: Some("other".into()), ..entry(A, 2, None, Source::Import) };
        assert_eq!(
            suppression::add(&db, A, &[again], 20, None).await.unwrap(),
            [(first.id, false)],
            "it stands already"
        );
        let kept = suppression::by_id(&db, A, first.id).await.unwrap();
        assert_eq!((kept.source, kept.text.as_deref(), kept.phone), (Source::Api, Some("STOP"), Some(first.phone)));

        assert!(matches!(suppression::end(&db, B, first.id, Source::Api, None, 30).await, Err(StoreError::NotFound)));
        assert_eq!(suppression::end(&db, A, first.id, Source::Api, Some("asked"), 30).await.unwrap(), 77);
        suppression::end(&db, A, first.id, Source::Operator, None, 40).await.unwrap();
        let ended = suppression::by_id(&db, A, first.id).await.unwrap().ended.unwrap();
        assert_eq!(
            (ended.at, ended.source, ended.text.as_deref()),
            (30, Source::Api, Some("asked")),
            "the first end stays"
        );

        let next = entry(A, 3, None, Source::Keyword);
        assert_eq!(suppression::add(&db, A, std::slice::from_ref(&next), 50, None).await.unwrap(), [(next.id, true)]);
        let ids = async |account, ended| {
            let filter = Filter { ended, ..Filter::default() };
            let rows = suppression::list(&db, account, filter, None, 10).await.unwrap();
            rows.iter().map(|s| s.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(A, false).await, [next.id]);
        assert_eq!(ids(A, true).await, [next.id, first.id], "history is kept, newest first");
        assert_eq!(ids(B, true).await, []);
        let only = |phone_tag, reason| Filter { phone_tag, reason, ended: true };
        for (filter, expected) in [
            (only(Some(77), None), 2),
            (only(Some(78), None), 0),
            (only(None, Some(Reason::OptOut)), 2),
            (only(None, Some(Reason::Dnd)), 0),
        ] {
            assert_eq!(suppression::list(&db, A, filter, None, 10).await.unwrap().len(), expected, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn start_lifts_what_stop_made_and_nothing_else() {
    on_both(async |db| {
        let blocked = NewSuppression { reason: Reason::Blocked, ..entry(A, 4, None, Source::Keyword) };
        let rows = [
            (entry(A, 1, None, Source::Keyword), true),
            (entry(A, 2, Some("22333"), Source::Keyword), true),
            (entry(A, 3, Some("Shop"), Source::Keyword), false),
            (blocked, false),
            (
                NewSuppression {
                    scope: Scope { sender: Some("44555".into()), category: None },
                    ..entry(A, 5, None, Source::Api)
                },
                false,
            ),
        ];
        for (entry, _) in &rows {
            suppression::add(&db, A, std::slice::from_ref(entry), 10, None).await.unwrap();
        }
        suppression::add(&db, B, &[entry(B, 6, None, Source::Keyword)], 10, None).await.unwrap();
        assert_eq!(suppression::end_by_keyword(&db, A, 77, "22333", "START", 20, &told).await.unwrap(), 2);
        let mut subjects: Vec<_> = event::waiting(&db, A, 10).await.unwrap().into_iter().map(|e| e.content).collect();
        subjects.sort_by_key(|content| format!("{content:?}"));
        let lifted =
            |e: &NewSuppression| Content::Other { kind: EventKind::OptOutRemoved, subject: Some(e.id.0), detail: None };
        assert_eq!(subjects, [lifted(&rows[0].0), lifted(&rows[1].0)], "each is told of, with what it was");
        for (entry, ended) in rows {
            let now = suppression::by_id(&db, A, entry.id).await.unwrap();
            assert_eq!(now.ended.is_some(), ended, "{entry:?}");
        }
        assert_eq!(
            suppression::list(&db, B, Filter::default(), None, 10).await.unwrap().len(),
            1,
            "another account's stays"
        );
        // An entry that did not come by keyword stands in the way of none that does: it is the same entry.
        assert_eq!(suppression::end_by_keyword(&db, A, 77, "22333", "START", 30, &told).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn other_processes_follow() {
    on_both(async |db| {
        let one = entry(A, 1, None, Source::Api);
        let two = entry(B, 2, Some("Shop"), Source::Api);
        suppression::add(&db, A, std::slice::from_ref(&one), 10, None).await.unwrap();
        suppression::add(&db, B, std::slice::from_ref(&two), 20, None).await.unwrap();
        let (open, next) = suppression::open_after(&db, (AccountNo(0), SuppressionId(Uuid::nil())), 10).await.unwrap();
        assert_eq!(open.iter().map(|h| (h.account, &*h.sender)).collect::<Vec<_>>(), [(A, ""), (B, "Shop")]);
        assert_eq!(next, Some((B, two.id)));
        suppression::end(&db, A, one.id, Source::Api, None, 30).await.unwrap();
        let start = (11, AccountNo(0), SuppressionId(Uuid::nil()));
        let (changed, last) = suppression::changed_after(&db, start, 10).await.unwrap();
        assert_eq!(changed.iter().map(|h| h.account).collect::<Vec<_>>(), [B, A], "oldest change first");
        assert_eq!(changed[1].blocks, Blocks::NONE, "it ended");
        assert_eq!(last, Some((30, A, one.id)));
        assert_eq!(suppression::changed_after(&db, last.unwrap(), 10).await.unwrap().1, None);
        let all = suppression::of_number(&db, B, 77).await.unwrap();
        assert_eq!(all.iter().map(|h| h.blocks).collect::<Vec<_>>(), [Blocks::of(Reason::OptOut, None)]);
    })
    .await;
}
