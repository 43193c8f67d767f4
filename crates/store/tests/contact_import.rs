//! Imports on both databases: rows taken once each, by policy, with their tags, groups, mistakes and consent, and how far it has come.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::charset::Charset;
use carillon_domain::consent::{Detail, Source, Status as Stands};
use carillon_domain::contact::{Changes, GroupKind, Value, Wrong};
use carillon_domain::contact_import::Policy;
use carillon_domain::id::{AccountNo, ConsentId, ContactId, ContactImportId, GroupId};
use carillon_domain::message::Category;
use carillon_store::consent::{self, NewConsent};
use carillon_store::contact::{self, Filter, NewContact};
use carillon_store::contact_group::{self, Group};
use carillon_store::contact_import::{self as store, BadCell, Chunk, Counts, Import, Item, Status, Taken};
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

fn import(n: u64) -> Import {
    Import {
        id: ContactImportId::new(NOW, n, A),
        status: Status::Uploaded,
        octets: 1_000,
        charset: Charset::Utf8,
        delimiter: b';',
        plan: None,
        counts: Counts::default(),
        read_to: 0,
        failure: None,
        started_at: None,
        ended_at: None,
    }
}

/// A running import.
async fn begun(db: &Db, n: u64) -> ContactImportId {
    let import = import(n);
    assert!(store::create(db, A, &import, 9).await.unwrap());
    assert!(store::start(db, A, import.id, "{}", NOW).await.unwrap());
    import.id
}

/// A row of the n-th number.
fn item(row: i64, n: u64, name: &str, external_id: Option<&str>, tags: &[&str]) -> Item {
    let changes = Changes {
        name: (!name.is_empty()).then(|| name.to_owned()),
        external_id: external_id.map(|id| Some(id.to_owned())),
        attributes: [("n".to_owned(), Some(Value::Integer(row)))].into(),
        more_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Changes::default()
    };
    let id = ContactId::new(NOW, 100 + row as u64, A);
    let contact = NewContact { id, phone: 4_915_100_000_000 + n, phone_tag: n as i64, changes };
    Item { row, line: row + 1, contact, groups: Vec::new(), consent: None }
}

fn bad(row: i64, place: i16, detail: &str) -> BadCell {
    BadCell {
        row,
        place,
        line: row + 1,
        heading: "phone".into(),
        value: "nobody".into(),
        code: "x".into(),
        detail: detail.into(),
        suggestion: (place == 0).then(|| "+491".into()),
    }
}

fn explain(item: &Item, wrong: &Wrong) -> BadCell {
    bad(item.row, 0, &wrong.why.to_string())
}

async fn take(db: &Db, id: ContactImportId, from: i64, items: &[Item], errors: &[BadCell], policy: Policy) -> Taken {
    let to = from + (items.len() + errors.len()) as i64;
    let others = (0, errors.len() as i64);
    let chunk = Chunk { from, to, read_to: to * 10, items, errors, others, policy };
    store::take(db, A, id, &chunk, &explain, NOW + 1).await.unwrap()
}

/// Name, `external_id`, the attribute `n`, and tags of the n-th number's contact.
async fn known(db: &Db, n: i64) -> (String, Option<String>, String, Vec<String>) {
    let found = contact::list(db, A, Filter { phone_tag: Some(n), ..Filter::default() }, None, 2).await.unwrap();
    let [c] = &found[..] else { panic!("one contact has the number {n}: {found:?}") };
    let p = &c.profile;
    let n = p.attributes.get("n").map(Value::shown).unwrap_or_default();
    (p.name.clone(), p.external_id.clone(), n, p.tags.iter().cloned().collect())
}

#[tokio::test]
async fn rows_are_taken_by_policy() {
    on_both(async |db| {
        let first =
            [item(1, 1, "Ada", Some("a"), &["vip", "x"]), item(2, 2, "", None, &[]), item(3, 3, "Cid", Some("a"), &[])];
        let one = begun(&db, 1).await;
        let taken = take(&db, one, 0, &first, &[bad(4, 0, "no number"), bad(4, 1, "no name")], Policy::Update).await;
        assert_eq!(taken, Taken::Written(vec![]));
        assert_eq!(take(&db, one, 0, &first, &[], Policy::Update).await, Taken::Stopped, "not a second time");
        let counts = store::by_id(&db, A, one).await.unwrap().counts;
        assert_eq!(counts, Counts { read: 5, created: 2, updated: 0, kept: 0, repeated: 0, bad: 3 });
        assert_eq!(known(&db, 1).await, ("Ada".into(), Some("a".into()), "1".into(), vec!["vip".into(), "x".into()]));
        let errors = store::errors(&db, A, one, (0, -1), 10).await.unwrap();
        let errors: Vec<_> =
            errors.iter().map(|e| (e.row, e.place, e.detail.as_str(), e.suggestion.is_some())).collect();
        let clash = "another contact has this external_id";
        assert_eq!(errors, [(3, 0, clash, true), (4, 0, "no number", true), (4, 1, "no name", false)]);
        let rest = store::errors(&db, A, one, (4, 0), 10).await.unwrap();
        assert_eq!(rest, [bad(4, 1, "no name")]);

        // Row 8 says what is known already.
        let again = [item(6, 1, "Eve", None, &["y"]), item(7, 2, "Bob", None, &[]), item(8, 4, "Dan", None, &[])];
        let rows: [(Policy, [i64; 3], (&str, &str), (&str, &str)); 3] = [
            (Policy::Skip, [1, 0, 2], ("Ada", "1"), ("", "2")),
            (Policy::FillEmpty, [0, 2, 1], ("Ada", "1"), ("Bob", "2")),
            (Policy::Update, [0, 2, 1], ("Eve", "6"), ("Bob", "7")),
        ];
        for (n, (policy, counts, ada, bob)) in (2..).zip(rows) {
            let id = begun(&db, n).await;
            take(&db, id, 0, &again, &[], policy).await;
            let c = store::by_id(&db, A, id).await.unwrap().counts;
            assert_eq!([c.created, c.updated, c.kept], counts, "{policy:?}");
            for (number, (name, n)) in [(1, ada), (2, bob)] {
                let found = known(&db, number).await;
                assert_eq!((found.0.as_str(), found.2.as_str()), (name, n), "{policy:?} {number}");
            }
        }
        assert_eq!(known(&db, 1).await.3, ["vip", "x", "y"], "tags are added");
        assert_eq!(contact::list(&db, B, Filter::default(), None, 10).await.unwrap(), [], "nobody else's");
    })
    .await;
}

#[tokio::test]
async fn groups_and_consent_come_with_the_rows() {
    on_both(async |db| {
        let group = |n| Group {
            id: GroupId::new(NOW, n, A),
            kind: GroupKind::List,
            name: "g".into(),
            external_id: None,
            members: 0,
            created_at: NOW,
        };
        let (here, gone) = (group(1), group(2));
        contact_group::put(&db, A, &here).await.unwrap();
        let agreed = |n: u64, status| NewConsent {
            id: ConsentId::new(NOW, n, A),
            phone: 4_915_100_000_000 + n,
            phone_tag: n as i64,
            category: Category::Promotional,
            status,
            source: Source::Import,
            captured_at: NOW - 5,
            detail: Detail { text_version: Some("v1".into()), ..Detail::default() },
            origin: None,
        };
        let items: Vec<Item> = (1..=1_200)
            .map(|n| {
                let consent = (n <= 3).then(|| agreed(n, if n == 3 { Stands::OptedOut } else { Stands::OptedIn }));
                Item { groups: vec![here.id, gone.id], consent, ..item(n as i64, n, "Ada", None, &["t"]) }
            })
            .collect();
        let id = begun(&db, 1).await;
        let Taken::Written(states) = take(&db, id, 0, &items, &[], Policy::Update).await else {
            panic!("it is written")
        };
        assert_eq!(states.len(), 3);
        assert_eq!(contact_group::by_id(&db, A, here.id).await.unwrap().members, 1_200);
        let mut counts = consent::of_group(&db, A, here.id, Category::Promotional).await.unwrap();
        counts.sort();
        assert_eq!(counts, [(Stands::OptedOut, 1), (Stands::OptedIn, 2)]);
        let filter = consent::Filter { phone_tag: Some(1), ..consent::Filter::default() };
        let records = consent::list(&db, A, filter, None, 10).await.unwrap();
        let [record] = &records[..] else { panic!("one record") };
        assert_eq!((record.captured_at, record.detail.text_version.as_deref()), (NOW - 5, Some("v1")));
        assert_eq!(contact_group::list(&db, A, contact_group::Filter::default(), None, 9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_life_of_an_import() {
    on_both(async |db| {
        for n in 1..=2 {
            assert!(store::create(&db, A, &import(n), 2).await.unwrap());
        }
        assert!(!store::create(&db, A, &import(3), 2).await.unwrap(), "too many wait");
        let [one, two] = [1, 2].map(|n| import(n).id);
        assert!(matches!(store::by_id(&db, B, one).await, Err(StoreError::NotFound)));
        assert!(matches!(store::start(&db, B, one, "{}", NOW).await, Err(StoreError::NotFound)));
        assert!(store::start(&db, A, one, "{\"a\":1}", NOW).await.unwrap());
        assert!(!store::start(&db, A, one, "{}", NOW).await.unwrap());
        assert_eq!(store::running(&db, 9).await.unwrap(), [one]);
        take(&db, one, 0, &[item(1, 1, "", None, &[])], &[bad(2, 0, "x"), bad(3, 0, "x")], Policy::Update).await;
        assert!(store::cancel(&db, A, one, NOW).await.unwrap() && !store::cancel(&db, A, one, NOW).await.unwrap());
        assert_eq!(take(&db, one, 3, &[item(4, 2, "", None, &[])], &[], Policy::Update).await, Taken::Stopped);
        assert!(!store::finish(&db, A, one, None, NOW).await.unwrap(), "it was canceled");
        assert!(store::start(&db, A, two, "{}", NOW).await.unwrap());
        assert!(store::finish(&db, A, two, Some("line 7"), NOW + 9).await.unwrap());
        let failed = store::by_id(&db, A, two).await.unwrap();
        assert_eq!(
            (failed.status, failed.failure.as_deref(), failed.ended_at),
            (Status::Failed, Some("line 7"), Some(NOW + 9))
        );
        assert_eq!(store::list(&db, A, None, 9).await.unwrap().iter().map(|i| i.id).collect::<Vec<_>>(), [two, one]);
        let nil = (AccountNo::PLATFORM, ContactImportId::new(0, 0, AccountNo::PLATFORM));
        assert_eq!(store::older(&db, nil, NOW).await.unwrap(), None);
        assert_eq!(store::older(&db, nil, NOW + 1).await.unwrap(), Some(one));
        let mut gone = Vec::new();
        while let n @ 1.. = store::forget(&db, A, one, 1).await.unwrap() {
            gone.push(n);
        }
        assert_eq!(gone, [1, 1, 1], "two mistakes and the import");
        assert_eq!(store::older(&db, nil, NOW + 1).await.unwrap(), Some(two));
    })
    .await;
}
