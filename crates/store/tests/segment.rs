//! Segments on both databases: each condition finds whom it says, nothing a customer writes is read as SQL, and one account's are not another's.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::contact::{AttributeKind, Changes, GroupKind, Value};
use carillon_domain::id::{AccountNo, ContactId, GroupId, SegmentId, SuppressionId};
use carillon_domain::segment::{self, Condition, DAY_MS, Subject, Test};
use carillon_domain::suppression::{Reason, Scope, Source};
use carillon_store::contact::{self, Filter, NewContact};
use carillon_store::contact_group::{self, Group};
use carillon_store::segment::{self as store, Segment};
use carillon_store::suppression::{self, NewSuppression};
use carillon_store::testing::both;
use carillon_store::{Db, StoreError};
use serde_json::{Value as Json, json};

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);
/// 2026-11-21T12:00:00Z.
const NOW: i64 = 1_795_262_400_000;

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        test(db.clone()).await;
        db.close().await;
    }
}

/// The n-th contact of an account, made n days ago.
fn person(account: AccountNo, n: u64, name: &str, status: &str, tags: &[&str], attributes: Json) -> NewContact {
    let attributes = attributes.as_object().unwrap().iter();
    let attributes =
        attributes.map(|(name, value)| (name.clone(), serde_json::from_value::<Value>(value.clone()).ok()));
    NewContact {
        id: ContactId::new(NOW, n, account),
        phone: 4_915_100_000_000 + n,
        phone_tag: n as i64,
        changes: Changes {
            name: Some(name.into()),
            external_id: Some((n == 1).then(|| "x1".to_owned())),
            status: Some(status.into()),
            attributes: attributes.collect(),
            more_tags: tags.iter().map(|tag| (*tag).into()).collect(),
            ..Changes::default()
        },
    }
}

async fn stage(db: &Db) {
    for (name, kind) in [
        ("city", AttributeKind::Text),
        ("points", AttributeKind::Number),
        ("member", AttributeKind::Boolean),
        ("born", AttributeKind::Date),
    ] {
        contact_group::declare(db, A, name, kind).await.unwrap();
    }
    let people = [
        person(
            A,
            1,
            "Ada",
            "new",
            &["vip"],
            json!({"city": "Bonn", "points": 5, "member": true, "born": "1990-11-25"}),
        ),
        person(A, 2, "Bob", "paid", &["vip", "old"], json!({"city": "Köln", "points": 7.5, "member": false})),
        person(A, 3, "Çelik", "new", &[], json!({"city": "O'Hara', 1) --", "points": -1, "born": "2026-11-30"})),
        person(A, 4, "", "lost", &["100%"], json!({})),
    ];
    for (n, one) in people.into_iter().enumerate() {
        contact::put(db, A, &[one], false, NOW - n as i64 * DAY_MS).await.unwrap()[0].clone().unwrap();
    }
    let theirs = person(B, 1, "Theirs", "new", &["vip"], json!({"city": "Bonn"}));
    contact::put(db, B, &[theirs], false, NOW).await.unwrap()[0].clone().unwrap();
    let group = Group {
        id: GroupId::new(NOW, 1, A),
        kind: GroupKind::Course,
        name: "Rust".into(),
        external_id: Some("course_123".into()),
        members: 0,
        created_at: NOW,
    };
    contact_group::put(db, A, &group).await.unwrap();
    let members = [1, 3].map(|n| ContactId::new(NOW, n, A));
    contact_group::change_members(db, A, group.id, &members, &[]).await.unwrap();
}

async fn read(db: &Db, filter: &Json) -> segment::Filter {
    let declared = contact_group::declared(db, A).await.unwrap();
    segment::read(filter, &declared, NOW).unwrap()
}

/// Numbers of the contacts found, in order of their making.
async fn found(db: &Db, filter: &segment::Filter) -> Vec<u64> {
    let rows = contact::list(db, A, Filter { segment: Some(filter), ..Filter::default() }, None, 100).await.unwrap();
    assert_eq!(contact::count(db, A, filter).await.unwrap(), rows.len() as i64, "{filter:?}");
    rows.iter().rev().map(|c| c.phone - 4_915_100_000_000).collect()
}

#[tokio::test]
async fn each_condition_finds_whom_it_says() {
    on_both(async |db| {
        stage(&db).await;
        for (n, account) in [(2, A), (4, AccountNo::PLATFORM)] {
            let new = NewSuppression {
                id: SuppressionId::new(NOW, n, account),
                phone: 4_915_100_000_000 + n,
                phone_tag: n as i64,
                reason: Reason::OptOut,
                scope: Scope::default(),
                source: Source::Api,
                text: None,
                origin: None,
            };
            suppression::add(&db, account, &[new], NOW, None).await.unwrap();
        }
        let group = GroupId::new(NOW, 1, A).to_string();
        let rows: Vec<(Json, &[u64])> = vec![
            (json!({"tag": "vip"}), &[1, 2]),
            (json!({"tag": "100%"}), &[4]),
            (json!({"not": {"tag": "vip"}}), &[3, 4]),
            (json!({"group": group}), &[1, 3]),
            (json!({"group": {"external_id": "course_123"}}), &[1, 3]),
            (json!({"group": {"external_id": "course_123", "kind": "list"}}), &[]),
            (json!({"field": "status", "op": "eq", "value": "new"}), &[1, 3]),
            (json!({"field": "status", "op": "in", "value": ["paid", "lost"]}), &[2, 4]),
            (json!({"field": "name", "op": "starts_with", "value": "çE"}), &[3]),
            (json!({"field": "name", "op": "exists"}), &[1, 2, 3]),
            (json!({"field": "external_id", "op": "eq", "value": "x1"}), &[1]),
            (json!({"field": "external_id", "op": "ne", "value": "x1"}), &[2, 3, 4]),
            (json!({"field": "created_at", "op": "last_days", "value": 1}), &[1, 2]),
            (json!({"field": "created_at", "op": "lt", "value": "2026-11-20"}), &[3, 4]),
            (json!({"attribute": "city", "op": "eq", "value": "Bonn"}), &[1]),
            (json!({"attribute": "city", "op": "ne", "value": "Bonn"}), &[2, 3, 4]),
            (json!({"attribute": "city", "op": "contains", "value": "ö"}), &[2]),
            (json!({"attribute": "city", "op": "contains", "value": "%"}), &[]),
            (json!({"attribute": "city", "op": "starts_with", "value": "O'"}), &[3]),
            (json!({"attribute": "city", "op": "exists", "value": false}), &[4]),
            (json!({"attribute": "points", "op": "gte", "value": 5}), &[1, 2]),
            (json!({"attribute": "points", "op": "lt", "value": 7.5}), &[1, 3]),
            (json!({"attribute": "points", "op": "in", "value": [7.5, -1]}), &[2, 3]),
            (json!({"attribute": "member", "op": "eq", "value": false}), &[2]),
            (json!({"attribute": "member", "op": "ne", "value": true}), &[2, 3, 4]),
            (json!({"attribute": "born", "op": "lt", "value": "2000-01-01"}), &[1]),
            (json!({"attribute": "born", "op": "next_days", "value": 9}), &[3]),
            (json!({"suppressed": true}), &[2, 4]),
            (json!({"suppressed": false}), &[1, 3]),
            (json!({"activity": "sent", "within_days": 30}), &[]),
            (json!({"not": {"activity": "sent", "within_days": 30}}), &[1, 2, 3, 4]),
            (
                json!({"all": [{"any": [{"tag": "vip"}, {"tag": "100%"}]}, {"not": {"field": "status", "op": "eq", "value": "paid"}}]}),
                &[1, 4],
            ),
            // What is written as SQL is compared as text.
            (json!({"attribute": "city", "op": "eq", "value": "' OR 1=1 --"}), &[]),
            (json!({"attribute": "city", "op": "eq", "value": "O'Hara', 1) --"}), &[3]),
            (json!({"tag": "'; DROP TABLE contact; --"}), &[]),
            (json!({"group": {"external_id": "x' OR 'a'='a"}}), &[]),
        ];
        for (filter, expected) in rows {
            assert_eq!(found(&db, &read(&db, &filter).await).await, expected, "{filter}");
        }
        // Not even the name of an attribute stands in the text, were one to get past the reader.
        for name in ["city') = 'Bonn' OR 1=1 --", "city\" OR 1=1 --", "$", "a.b", "x]"] {
            let subject = Subject::Attribute(name.into(), AttributeKind::Text);
            let filter = segment::Filter::Is(Condition::Value(subject, Test::Contains("a".into())));
            let filter = Filter { segment: Some(&filter), ..Filter::default() };
            // A path that JSON does not have may be refused by the database; nobody is found by it.
            let rows = contact::list(&db, A, filter, None, 100).await;
            assert!(rows.is_err() || rows.unwrap().is_empty(), "{name}");
        }
        assert_eq!(contact::list(&db, B, Filter::default(), None, 9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn pages_and_other_filters_hold_beside_a_segment() {
    on_both(async |db| {
        stage(&db).await;
        let filter =
            read(&db, &json!({"any": [{"tag": "vip"}, {"attribute": "points", "op": "lt", "value": 0}]})).await;
        let of = |tag| Filter { segment: Some(&filter), tag, ..Filter::default() };
        let (mut before, mut pages) = (None, Vec::new());
        while let Some(page) = contact::list(&db, A, of(None), before, 1).await.unwrap().pop() {
            before = Some(page.id);
            pages.push(page.phone - 4_915_100_000_000);
        }
        assert_eq!(pages, [3, 2, 1]);
        let both = contact::list(&db, A, of(Some("old")), None, 9).await.unwrap();
        assert_eq!(both.iter().map(|c| c.profile.name.as_str()).collect::<Vec<_>>(), ["Bob"]);
    })
    .await;
}

#[tokio::test]
async fn the_life_of_a_segment() {
    on_both(async |db| {
        stage(&db).await;
        let id = SegmentId::new(NOW, 1, A);
        let filter = json!({"attribute": "city", "op": "eq", "value": "Bonn"});
        let segment = Segment { id, name: "Bonn".into(), filter: filter.to_string(), created_at: NOW, changed_at: NOW };
        store::put(&db, A, &segment).await.unwrap();
        let changed = Segment { name: "In Bonn".into(), changed_at: NOW + 1, ..segment };
        store::put(&db, A, &changed).await.unwrap();
        assert_eq!(store::by_id(&db, A, id).await.unwrap(), changed);
        assert_eq!(store::list(&db, A, None, 9).await.unwrap(), [changed]);
        assert_eq!(store::list(&db, B, None, 9).await.unwrap(), []);
        let resolved = store::resolve(&db, A, id, NOW).await.unwrap().unwrap();
        assert_eq!(found(&db, &resolved).await, [1]);
        contact_group::undeclare(&db, A, "city").await.unwrap();
        let wrong = store::resolve(&db, A, id, NOW).await.unwrap().unwrap_err();
        assert_eq!(wrong[0].pointer, "/attribute", "an attribute that is gone finds nobody, and says so");
        assert!(matches!(store::delete(&db, B, id).await, Err(StoreError::NotFound)));
        store::delete(&db, A, id).await.unwrap();
        assert!(matches!(store::resolve(&db, A, id, NOW).await, Err(StoreError::NotFound)));
    })
    .await;
}
