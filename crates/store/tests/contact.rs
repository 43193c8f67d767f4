//! Contacts, groups and attributes on both databases: one contact for a number, found by what is known of it, changed whole or not at all.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::future::Future;

use carillon_domain::contact::{AttributeKind, Changes, GroupKind, Refusal, Value};
use carillon_domain::id::{AccountNo, ContactId, GroupId};
use carillon_store::contact::{self, Filter, NewContact, Put};
use carillon_store::contact_group::{self, Group};
use carillon_store::testing::both;
use carillon_store::{Db, StoreError};

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);
const NOW: i64 = 1_795_262_400_000;

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        test(db.clone()).await;
        db.close().await;
    }
}

fn id(account: AccountNo, n: u64) -> ContactId {
    ContactId::new(NOW, n, account)
}

fn changes(name: &str, external_id: Option<&str>, tags: &[&str]) -> Changes {
    Changes {
        name: Some(name.into()),
        external_id: external_id.map(|id| Some(id.into())),
        more_tags: tags.iter().map(|tag| (*tag).into()).collect(),
        ..Changes::default()
    }
}

/// The n-th contact of an account, with the n-th number.
fn person(account: AccountNo, n: u64, changes: Changes) -> NewContact {
    NewContact { id: id(account, n), phone: 4_915_100_000_000 + n, phone_tag: n as i64, changes }
}

async fn found(db: &Db, filter: Filter<'_>) -> Vec<String> {
    let rows = contact::list(db, A, filter, None, 100).await.unwrap();
    rows.into_iter().map(|c| c.profile.name).collect()
}

#[tokio::test]
async fn one_contact_for_a_number() {
    on_both(async |db| {
        let people = [
            person(A, 1, changes("Ada", Some("x1"), &["vip", "old"])),
            person(A, 2, changes("Bob", None, &[])),
            person(A, 3, changes("Cid", Some("x1"), &["vip"])),
            person(A, 2, Changes { status: Some("paid".into()), ..changes("Bea", None, &["new"]) }),
        ];
        let done = contact::put(&db, A, &people, false, NOW).await.unwrap();
        let done: Vec<_> = done.into_iter().map(|put| put.map_err(|w| w.why)).collect();
        assert_eq!(
            done,
            [
                Ok(Put::Made(id(A, 1))),
                Ok(Put::Made(id(A, 2))),
                Err(Refusal::ExternalIdTaken),
                Ok(Put::Changed(id(A, 2)))
            ]
        );
        let kept = contact::put(&db, A, &[person(A, 1, changes("Other", None, &["x"]))], true, NOW + 1).await.unwrap();
        assert_eq!(kept, [Ok(Put::Kept(id(A, 1)))]);
        let same = person(B, 1, changes("Theirs", Some("x1"), &["vip"]));
        assert_eq!(contact::put(&db, B, &[same], false, NOW).await.unwrap(), [Ok(Put::Made(id(B, 1)))]);

        let ada = contact::by_id(&db, A, id(A, 1)).await.unwrap();
        assert_eq!(
            (ada.phone, ada.profile.name.as_str(), ada.profile.status.as_str()),
            (4_915_100_000_001, "Ada", "new")
        );
        assert_eq!(ada.profile.tags.iter().collect::<Vec<_>>(), ["old", "vip"]);
        assert!(matches!(contact::by_id(&db, B, id(A, 1)).await, Err(StoreError::NotFound)));
        for (filter, expected) in [
            (Filter::default(), vec!["Bea", "Ada"]),
            (Filter { name: Some("aD"), ..Filter::default() }, vec!["Ada"]),
            (Filter { name: Some("da"), ..Filter::default() }, vec![]),
            (Filter { phone_tag: Some(2), ..Filter::default() }, vec!["Bea"]),
            (Filter { tag: Some("vip"), ..Filter::default() }, vec!["Ada"]),
            (Filter { tag: Some("vip"), status: Some("paid"), ..Filter::default() }, vec![]),
            (Filter { external_id: Some("x1"), ..Filter::default() }, vec!["Ada"]),
            (Filter { status: Some("paid"), ..Filter::default() }, vec!["Bea"]),
        ] {
            assert_eq!(found(&db, filter).await, expected, "{filter:?}");
        }
        let first = contact::list(&db, A, Filter::default(), None, 1).await.unwrap();
        let rest = contact::list(&db, A, Filter::default(), Some(first[0].id), 9).await.unwrap();
        assert_eq!((first.len(), rest.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn changes_are_whole_or_nothing() {
    on_both(async |db| {
        let people = [person(A, 1, changes("Ada", Some("x1"), &["vip"])), person(A, 2, changes("Bob", None, &[]))];
        contact::put(&db, A, &people, false, NOW).await.unwrap();
        let before = contact::by_id(&db, A, id(A, 2)).await.unwrap();
        let clash = contact::change(&db, A, id(A, 2), Some((1, 1)), &changes("Z", None, &["t"]), NOW + 1).await;
        assert!(matches!(clash, Err(StoreError::Taken("contact phone"))), "{clash:?}");
        let clash = contact::change(&db, A, id(A, 2), None, &changes("Z", Some("x1"), &["t"]), NOW + 1).await;
        assert_eq!(clash.unwrap().unwrap_err().why, Refusal::ExternalIdTaken);
        let crowd: Vec<String> = (0..51).map(|i| format!("t{i}")).collect();
        let crowd = Changes { tags: Some(crowd), ..Changes::default() };
        assert_eq!(contact::change(&db, A, id(A, 2), None, &crowd, NOW).await.unwrap().unwrap_err().why, Refusal::Tags);
        let theirs = contact::change(&db, B, id(A, 2), None, &changes("Z", None, &[]), NOW).await;
        assert!(matches!(theirs, Err(StoreError::NotFound)));
        assert_eq!(contact::by_id(&db, A, id(A, 2)).await.unwrap(), before);

        let swap = Changes { tags: Some(vec!["a".into(), "b".into()]), external_id: Some(None), ..Changes::default() };
        contact::change(&db, A, id(A, 1), Some((49_151, 77)), &swap, NOW + 5).await.unwrap().unwrap();
        let ada = contact::by_id(&db, A, id(A, 1)).await.unwrap();
        assert_eq!((ada.phone, ada.profile.external_id, ada.created_at, ada.changed_at), (49_151, None, NOW, NOW + 5));
        assert_eq!(ada.profile.tags.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found(&db, Filter { tag: Some("vip"), ..Filter::default() }).await, [""; 0]);
        assert_eq!(found(&db, Filter { phone_tag: Some(77), ..Filter::default() }).await, ["Ada"]);

        assert!(matches!(contact::delete(&db, B, id(A, 1)).await, Err(StoreError::NotFound)));
        contact::delete(&db, A, id(A, 1)).await.unwrap();
        assert_eq!(found(&db, Filter { tag: Some("a"), ..Filter::default() }).await, [""; 0]);
        assert!(matches!(contact::delete(&db, A, id(A, 1)).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn groups_and_who_is_in_them() {
    on_both(async |db| {
        let people = [1, 2, 3].map(|n| person(A, n, changes(&format!("P{n}"), None, &[])));
        contact::put(&db, A, &people, false, NOW).await.unwrap();
        let group = |n: u64, kind, external_id: Option<&str>| Group {
            id: GroupId::new(NOW, n, A),
            kind,
            name: format!("G{n}"),
            external_id: external_id.map(str::to_owned),
            members: 0,
            created_at: NOW,
        };
        let (list, course) = (group(1, GroupKind::List, Some("7")), group(2, GroupKind::Course, Some("7")));
        contact_group::put(&db, A, &list).await.unwrap();
        contact_group::put(&db, A, &course).await.unwrap();
        let clash = contact_group::put(&db, A, &group(3, GroupKind::Course, Some("7"))).await;
        assert!(matches!(clash, Err(StoreError::Taken(_))), "{clash:?}");

        contact_group::change_members(&db, A, list.id, &[id(A, 1), id(A, 2)], &[]).await.unwrap();
        contact_group::change_members(&db, A, list.id, &[id(A, 2), id(A, 3)], &[id(A, 1)]).await.unwrap();
        let unknown = contact_group::change_members(&db, A, list.id, &[id(A, 1), id(A, 9)], &[]).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
        let theirs = contact_group::change_members(&db, B, list.id, &[], &[id(A, 2)]).await;
        assert!(matches!(theirs, Err(StoreError::NotFound)));
        assert_eq!(found(&db, Filter { group: Some(list.id), ..Filter::default() }).await, ["P3", "P2"]);
        let of = |filter| contact_group::list(&db, A, filter, None, 9);
        let with = of(contact_group::Filter { contact: Some(id(A, 3)), ..Default::default() }).await.unwrap();
        assert_eq!(with, [Group { members: 2, ..list.clone() }]);
        let courses =
            of(contact_group::Filter { kind: Some(GroupKind::Course), external_id: Some("7"), contact: None });
        assert_eq!(courses.await.unwrap(), [course]);

        contact::delete(&db, A, id(A, 3)).await.unwrap();
        assert_eq!(contact_group::by_id(&db, A, list.id).await.unwrap().members, 1);
        assert!(matches!(contact_group::delete(&db, B, list.id).await, Err(StoreError::NotFound)));
        contact_group::delete(&db, A, list.id).await.unwrap();
        assert_eq!(found(&db, Filter { group: Some(list.id), ..Filter::default() }).await, [""; 0]);
        assert_eq!(found(&db, Filter::default()).await, ["P2", "P1"], "contacts stay");
    })
    .await;
}

#[tokio::test]
async fn attributes_are_declared_once_and_go_with_their_values() {
    on_both(async |db| {
        for (name, kind, expected) in [
            ("city", AttributeKind::Text, AttributeKind::Text),
            ("city", AttributeKind::Number, AttributeKind::Text),
            ("age", AttributeKind::Number, AttributeKind::Number),
        ] {
            assert_eq!(contact_group::declare(&db, A, name, kind).await.unwrap(), expected, "{name}");
        }
        assert_eq!(contact_group::declared(&db, B).await.unwrap(), BTreeMap::new());
        let attributes = [("city".into(), Some(Value::Text("Bonn".into()))), ("age".into(), Some(Value::Integer(36)))];
        let known = Changes { attributes: attributes.into(), ..Changes::default() };
        for account in [A, B] {
            contact::put(&db, account, &[person(account, 1, known.clone())], false, NOW).await.unwrap();
        }
        contact_group::undeclare(&db, A, "city").await.unwrap();
        contact_group::undeclare(&db, A, "city").await.unwrap();
        let left = contact::by_id(&db, A, id(A, 1)).await.unwrap().profile.attributes;
        assert_eq!(left, BTreeMap::from([("age".to_owned(), Value::Integer(36))]));
        assert_eq!(contact::by_id(&db, B, id(B, 1)).await.unwrap().profile.attributes.len(), 2);
        assert_eq!(contact_group::declared(&db, A).await.unwrap().into_keys().collect::<Vec<_>>(), ["age"]);
    })
    .await;
}
