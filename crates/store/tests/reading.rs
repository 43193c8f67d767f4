//! What is read of messages and batches, on both databases: nobody else's, nothing half loaded, and never more than a bounded search.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;

use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::{Category, Flags, Lane, State};
use carillon_domain::money::Money;
use carillon_store::account::{self, NewAccount, StartingCredit};
use carillon_store::hot::{Extra, Hot, IntakeRequest, NewBatch, NewMessage, Step, Totals, Verdict};
use carillon_store::message::{self, Filter, SCAN_MAX};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, StoreError, batch};

const NOW: i64 = 1_795_262_400_000;

fn text(index: u32) -> NewMessage {
    NewMessage {
        index,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: Flags::default(),
        encoding: 0,
        parts: 1,
        phone: 4_915_110_000_000 + u64::from(index),
        phone_tag: i64::from(index),
        country: None,
        sender: Some("Shop".into()),
        body: Arc::from("hello"),
        own_body: true,
        otp_code: None,
        unit_price: Money(1),
        reference: None,
        due_at: None,
        expires_at: NOW + 1_000,
        extra: None,
    }
}

async fn store(hot: &mut Hot, account: AccountNo, step: Step, messages: Vec<NewMessage>) -> MessageId {
    let request = IntakeRequest { account, key: None, step, messages };
    match &hot.commit_intake(&[request], NOW).await.unwrap()[0] {
        Verdict::Accepted { first, .. } => *first,
        other => panic!("{other:?}"),
    }
}

fn batch_of(id: BatchId) -> NewBatch {
    NewBatch {
        id,
        body: Some("to all".into()),
        client_ref: None,
        tags: None,
        partial: true,
        refusals: vec![(3, "phone_empty")],
    }
}

async fn opened(db: &Db, name: &str) -> AccountNo {
    let credit = StartingCredit { amount: Money::from_cents(100), counter: 2, note: "start", actor: "test" };
    let new = NewAccount {
        id: None,
        counter: 1,
        name,
        currency: "USD",
        settings: Settings::default(),
        owner: None,
        credit: Some(credit),
        now: NOW,
    };
    account::create(db, &new).await.unwrap().no
}

async fn contract(db: Db) {
    db.migrate().await.unwrap();
    let (a, b) = (opened(&db, "a").await, opened(&db, "b").await);
    let mut hot = Hot::open(&db, 1).await.unwrap();
    let extra = Extra { client_ref: Some("r1".into()), tags: Some(r#"["x\"y","Z"]"#.into()), ..Extra::default() };
    let labelled = NewMessage { extra: Some(Box::new(extra)), otp_code: Some("123".into()), ..text(0) };
    let first = store(&mut hot, a, Step::Message, vec![labelled]).await;

    let read = message::by_id(&db, a, first).await.unwrap();
    assert_eq!((read.state, read.phone, &*read.body), (State::Queued, 4_915_110_000_000, "hello"));
    assert_eq!((read.otp_code.as_deref(), read.client_ref.as_deref()), (Some("123"), Some("r1")));
    assert!(matches!(message::by_id(&db, b, first).await, Err(StoreError::NotFound)), "it is another account's");
    assert!(message::attempts(&db, a, first).await.unwrap().is_empty());

    let many = (1..=SCAN_MAX + 50).map(text).collect();
    store(&mut hot, a, Step::Message, many).await;
    let rows: &[(Filter<'_>, usize)] = &[
        (Filter { client_ref: Some("r1"), ..Filter::default() }, 1),
        (Filter { tag: Some("x\"y"), ..Filter::default() }, 1),
        (Filter { tag: Some("Z"), ..Filter::default() }, 1),
        (Filter { tag: Some("z"), ..Filter::default() }, 0),
        (Filter { phone_tag: Some(7), ..Filter::default() }, 1),
        (Filter { state: Some(State::Delivered), ..Filter::default() }, 0),
        (Filter { lane: Some(Lane::Otp), ..Filter::default() }, 0),
    ];
    for (filter, expected) in rows {
        let (mut found, mut before, mut pages) = (0, None, 0);
        loop {
            let page = message::list(&db, a, filter, before, 10).await.unwrap();
            found += page.rows.len();
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((found, pages), (*expected, 2), "{filter:?}: two searches of at most {SCAN_MAX} rows");
    }
    let page = message::list(&db, a, &Filter::default(), None, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (10, page.rows.last().map(|m| m.id)));
    let none = Filter { until: Some(NOW), ..Filter::default() };
    assert!(message::list(&db, a, &none, None, 10).await.unwrap().rows.is_empty());

    let id = BatchId::new(NOW, 9, b);
    let totals = Totals { messages: 1, parts: 1, held: Money(1) };
    store(&mut hot, b, Step::Open(batch_of(id), totals), Vec::new()).await;
    let inside = store(&mut hot, b, Step::Chunk(id), vec![NewMessage { own_body: false, ..text(5) }]).await;
    assert!(!batch::by_id(&db, b, id).await.unwrap().accepted);
    assert!(matches!(message::by_id(&db, b, inside).await, Err(StoreError::NotFound)), "not before the batch is whole");
    assert!(message::list(&db, b, &Filter::default(), None, 10).await.unwrap().rows.is_empty());
    store(&mut hot, b, Step::Seal(id), Vec::new()).await;
    let whole = batch::by_id(&db, b, id).await.unwrap();
    assert_eq!((whole.accepted, whole.total, whole.queued, whole.held), (true, 1, 1, Money(1)));
    assert_eq!(whole.refusals, [(3, "phone_empty".to_owned())]);
    let read = message::by_id(&db, b, inside).await.unwrap();
    assert_eq!((&*read.body, read.batch), ("to all", Some(id)), "the shared text");
    assert!(matches!(batch::by_id(&db, a, id).await, Err(StoreError::NotFound)));
    let listed = batch::list(&db, b, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|b| b.id).collect::<Vec<_>>(), [id]);
    assert!(batch::list(&db, b, Some(id), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    contract(Db::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    contract(Db::open(&TestPostgres::start().fresh_database().await).await.unwrap()).await;
}
