//! What phones write, on both databases: stored once, put together, in conversations; own numbers as senders; keyword rules. And on
//! PostgreSQL two processes that take the same at once.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, ConversationId, EventId, InboundId, InboundNumberId, KeywordRuleId, MessageId};
use carillon_domain::inbound::{Body, Piece, Whole, Writing};
use carillon_domain::keyword::{Action, Match};
use carillon_domain::sender::policy::CountryRules;
use carillon_store::event::{self, NewEvent};
use carillon_store::inbound::{self, Arrival, Judged, Patience};
use carillon_store::inbound_message::{self, Filter};
use carillon_store::inbound_number::{self, InboundNumber};
use carillon_store::keyword_rule::{self, KeywordRule};
use carillon_store::lead::Lead;
use carillon_store::testing::{TestPostgres, both};
use carillon_store::{Db, StoreError, conversation, sender};
use uuid::Uuid;

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);
const NOW: i64 = 1_795_262_400_000;
const OWN: &str = "4915735983801";
const PATIENCE: Patience = Patience { parts: 1_000, repeats: 86_400_000 };

/// Runs one test on a fresh database of each kind.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        test(db.clone()).await;
        db.close().await;
    }
}

/// A text of the n-th phone, which came so many milliseconds after noon.
fn text(n: i64, text: &str, after: i64) -> Arrival {
    Arrival {
        connection: 1,
        account: A,
        number: OWN.into(),
        peer: format!("+49151100000{n:02}"),
        peer_tag: n,
        part: None,
        piece: Piece { index: 1, octets: text.into(), writing: Writing::Text },
        carrier_at: None,
        fingerprint: n * 1_000 + after,
        repeats_until: i64::MAX,
        at: NOW + after,
    }
}

/// One part of a long text.
fn part(n: i64, reference: u16, total: u8, index: u8, words: &str, after: i64) -> Arrival {
    let piece = Piece { index, octets: words.into(), writing: Writing::Text };
    Arrival { part: Some((reference, total)), piece, ..text(n, "", after) }
}

/// Every text that asks is answered.
fn judge(account: AccountNo, _: &str, _: &str, whole: Whole) -> Judged {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let Body::Text(body) = whole.body else { panic!("only texts are written here") };
    let id = InboundId::new(NOW, counter, account);
    let event = EventId::new(NOW, counter, account);
    let event = NewEvent { id: event, kind: EventKind::MessageReceived, subject: Some(id.0), detail: None, at: NOW };
    Judged {
        id,
        conversation: ConversationId::new(NOW, counter, account),
        action: if body.contains('?') { Action::Rule } else { Action::None },
        body,
        is_binary: false,
        rule: None,
        event: (account != AccountNo::PLATFORM).then_some(event),
    }
}

async fn take(db: &Db, arrivals: &[Arrival]) -> Vec<InboundId> {
    let now = arrivals.last().map_or(NOW, |a| a.at);
    inbound::receive(db, arrivals, PATIENCE, now, &judge).await.unwrap().messages
}

/// Texts of an account with their missing parts, oldest first.
async fn shown(db: &Db, account: AccountNo) -> Vec<(String, Vec<u8>)> {
    let rows = inbound_message::list(db, account, Filter::default(), None, 100).await.unwrap();
    rows.into_iter().rev().map(|m| (m.body, m.missing)).collect()
}

fn whole(text: &str) -> (String, Vec<u8>) {
    (text.to_owned(), Vec::new())
}

#[tokio::test]
async fn messages_are_stored_once_with_conversation_and_event() {
    on_both(async |db| {
        let first = take(&db, &[text(1, "hello", 0), text(2, "who is this?", 1)]).await;
        assert_eq!(take(&db, &[text(1, "hello", 0)]).await, [], "it came again");
        let other = Arrival { account: B, connection: 2, ..text(1, "hello", 0) };
        let nobodys = Arrival { account: AccountNo::PLATFORM, connection: 3, ..text(1, "STOP?", 0) };
        take(&db, &[other, nobodys]).await;
        // What was acknowledged before the link was there is another message; the same carrier's id is not.
        let said_again = Arrival { repeats_until: NOW - 1, at: NOW + 500, ..text(1, "hello", 0) };
        assert_eq!(take(&db, &[said_again]).await.len(), 1);

        assert_eq!(shown(&db, A).await, [whole("hello"), whole("who is this?"), whole("hello")]);
        assert_eq!((shown(&db, B).await.len(), shown(&db, AccountNo::PLATFORM).await), (1, vec![whole("STOP?")]));
        let told: Vec<_> = event::waiting(&db, AccountNo::PLATFORM, 10).await.unwrap();
        assert_eq!(told.iter().map(|e| e.id.account()).collect::<Vec<_>>(), [A, A, A, B], "nobody's is told to nobody");

        let read = inbound_message::by_id(&db, A, first[0]).await.unwrap();
        assert_eq!((read.peer.as_str(), read.number.as_str(), read.parts), ("+4915110000001", OWN, 1));
        assert!(matches!(inbound_message::by_id(&db, B, first[0]).await, Err(StoreError::NotFound)));
        for (filter, count) in [
            (Filter { peer_tag: Some(1), ..Filter::default() }, 2),
            (Filter { peer_tag: Some(9), ..Filter::default() }, 0),
            (Filter { number: Some(OWN), ..Filter::default() }, 3),
            (Filter { number: Some("22333"), ..Filter::default() }, 0),
            (Filter { conversation: read.conversation, ..Filter::default() }, 2),
        ] {
            assert_eq!(inbound_message::list(&db, A, filter, None, 10).await.unwrap().len(), count, "{filter:?}");
        }
        assert_eq!(inbound::forget_seen(&db, NOW + 1_000, 2).await.unwrap(), 2, "in bites");
        assert_eq!(inbound::forget_seen(&db, NOW + 1_000, 10).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn parts_are_put_together() {
    on_both(async |db| {
        let rows: &[(&[Arrival], &[(&str, &[u8])])] = &[
            (&[part(1, 7, 3, 3, "three", 0), part(1, 7, 3, 1, "one ", 1)], &[]),
            // Another phone, number of parts or reference is another message.
            (&[part(2, 7, 3, 2, "x", 2), part(1, 7, 2, 2, "y", 3), part(1, 8, 3, 2, "z", 4)], &[]),
            (&[part(1, 7, 3, 2, "two ", 5)], &[("one two three", &[])]),
            // A part again, by another carrier's id: passed over.
            (&[part(3, 1, 2, 1, "a", 6), part(3, 1, 2, 1, "a", 7)], &[]),
            // The reference used anew: what waits is shown with its gap.
            (&[part(3, 1, 2, 1, "b", 8)], &[("a[…]", &[2])]),
            (&[part(3, 1, 2, 2, "c", 9)], &[("bc", &[])]),
            // Waited for too long.
            (&[part(4, 1, 2, 1, "old ", 10), part(4, 1, 2, 2, "new", 1_010)], &[("old […]", &[2])]),
        ];
        let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
        for (arrivals, became) in rows {
            take(&db, arrivals).await;
            expected.extend(became.iter().map(|(text, missing)| ((*text).to_owned(), missing.to_vec())));
            assert_eq!(shown(&db, A).await, expected, "{arrivals:?}");
        }
        let none = inbound::give_up_waiting(&db, NOW, &|_, _| A, &judge).await.unwrap();
        assert_eq!(none.messages, [], "nothing is so old");
        let owner = |number: &str, connection| {
            assert_eq!((number, connection), (OWN, 1));
            B
        };
        let given_up = inbound::give_up_waiting(&db, NOW + 2_000, &owner, &judge).await.unwrap();
        let gone = shown(&db, B).await;
        assert_eq!((given_up.messages.len(), gone.len()), (4, 4), "to whoever owns the number then: {gone:?}");
        assert!(gone.iter().all(|(_, missing)| !missing.is_empty()));
        assert_eq!(inbound::give_up_waiting(&db, NOW + 2_000, &owner, &judge).await.unwrap().messages, []);
    })
    .await;
}

#[tokio::test]
async fn conversations() {
    on_both(async |db| {
        take(&db, &[text(1, "a", 0), text(2, "b", 1), text(1, "c", 2)]).await;
        take(&db, &[Arrival { account: B, connection: 2, ..text(1, "d", 3) }]).await;
        let list = async |unread| {
            let rows = conversation::list(&db, A, unread, None, 10).await.unwrap();
            rows.into_iter().map(|c| (c.peer_tag, c.received, c.unread)).collect::<Vec<_>>()
        };
        assert_eq!(list(false).await, [(1, 2, 2), (2, 1, 1)], "the latest first");
        let all = conversation::list(&db, A, false, None, 10).await.unwrap();
        let (first, second) = (all[0].clone(), all[1].clone());
        assert_eq!((first.peer.as_str(), first.number.as_str(), first.sent), ("+4915110000001", OWN, 0));
        conversation::mark_read(&db, A, first.id).await.unwrap();
        assert_eq!((list(true).await, list(false).await.len()), (vec![(2, 1, 1)], 2));
        // An answer brings it to the front, an older one does not bring it back.
        let answer = MessageId::new(NOW + 1, 0, A);
        conversation::touch(&db, A, second.id, answer).await.unwrap();
        conversation::touch(&db, A, second.id, MessageId(Uuid::nil())).await.unwrap();
        assert_eq!(list(false).await, [(2, 1, 1), (1, 2, 0)]);
        let page = conversation::list(&db, A, false, Some(answer.0), 10).await.unwrap();
        assert_eq!(page.iter().map(|c| c.id).collect::<Vec<_>>(), [first.id]);
        take(&db, &[text(1, "e", 4)]).await;
        assert_eq!(conversation::by_id(&db, A, first.id).await.unwrap().unread, 1);
        for foreign in [first.id, second.id] {
            assert!(matches!(conversation::by_id(&db, B, foreign).await, Err(StoreError::NotFound)));
            assert!(matches!(conversation::mark_read(&db, B, foreign).await, Err(StoreError::NotFound)));
        }
        assert!(conversation::sent(&db, A, &first, None, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_asks_is_due_until_it_is_answered() {
    on_both(async |db| {
        let ids = take(&db, &[text(1, "a?", 0), text(2, "b", 1), text(1, "c?", 2)]).await;
        assert_eq!(inbound_message::undone(&db, 10).await.unwrap(), [ids[0], ids[2]]);
        assert_eq!(inbound_message::undone(&db, 1).await.unwrap(), [ids[0]]);
        let of = inbound_message::by_id(&db, A, ids[0]).await.unwrap().conversation.unwrap();
        let answer = MessageId::new(NOW, 7, A);
        inbound_message::done(&db, B, ids[0], None).await.unwrap();
        assert_eq!(inbound_message::undone(&db, 10).await.unwrap().len(), 2, "it is not the other's to do");
        inbound_message::done(&db, A, ids[0], Some(answer)).await.unwrap();
        inbound_message::done(&db, A, ids[2], None).await.unwrap();
        assert_eq!(inbound_message::undone(&db, 10).await.unwrap(), []);
        assert_eq!(inbound_message::by_id(&db, A, ids[0]).await.unwrap().answer, Some(answer));
        let since = |at| InboundId::new(at, 0, AccountNo::PLATFORM);
        let answered = async |at| inbound_message::answered(&db, A, of, since(at)).await.unwrap();
        assert_eq!((answered(NOW).await, answered(NOW + 1).await), (vec![(ids[0], Action::Rule)], vec![]));
    })
    .await;
}

#[tokio::test]
async fn own_numbers_are_senders() {
    on_both(async |db| {
        let number = |n: u64, number: &str, connection, account| InboundNumber {
            id: InboundNumberId::new(NOW, n, AccountNo::PLATFORM),
            number: number.into(),
            connection,
            account,
            created_at: NOW,
        };
        let long = number(1, OWN, 0, A);
        for n in [&long, &number(2, "22333", 4, A), &number(3, "22333", 5, B), &number(4, OWN, 6, A)] {
            inbound_number::create(&db, n).await.unwrap();
        }
        let taken = inbound_number::create(&db, &number(5, OWN, 0, B)).await;
        assert!(matches!(taken, Err(StoreError::Taken(_))));
        let listed = async |account| {
            let rows = inbound_number::list(&db, account, None, 10).await.unwrap();
            rows.into_iter().map(|n| (n.number, n.connection)).collect::<Vec<_>>()
        };
        assert_eq!(listed(Some(B)).await, [("22333".to_owned(), 5)]);
        assert_eq!(listed(None).await.len(), 4);
        assert_eq!(inbound_number::by_id(&db, long.id).await.unwrap(), long);

        let may = async |account, text: &str| {
            let set = sender::approved(&db, account).await.unwrap();
            set.resolve(&text.into(), None, &CountryRules::default()).is_ok()
        };
        let own = format!("+{OWN}");
        assert_eq!(
            [may(A, &own).await, may(A, "22333").await, may(B, &own).await, may(B, "22333").await],
            [true, true, false, true]
        );
        assert!(sender::approved(&db, A).await.unwrap().find(&own).unwrap().owned, "so registered wherever it matters");
        inbound_number::delete(&db, long.id).await.unwrap();
        assert!(matches!(inbound_number::delete(&db, long.id).await, Err(StoreError::NotFound)));
        assert!(may(A, &own).await, "it still comes by the other connection");
        inbound_number::delete(&db, number(4, OWN, 6, A).id).await.unwrap();
        assert!(!may(A, &own).await);
    })
    .await;
}

#[tokio::test]
async fn keyword_rules() {
    on_both(async |db| {
        let rule = |n: u64, account, keyword: &str| KeywordRule {
            id: KeywordRuleId::new(NOW, n, account),
            keyword: keyword.into(),
            how: Match::Prefix,
            number: (n == 2).then(|| OWN.into()),
            reply: "Today: lasagne".into(),
            created_at: NOW,
        };
        let (first, second, foreign) = (rule(1, A, "Menü"), rule(2, A, "card"), rule(3, B, "menu"));
        for (account, r) in [(A, &second), (A, &first), (B, &foreign)] {
            keyword_rule::put(&db, account, r).await.unwrap();
        }
        assert_eq!(keyword_rule::list(&db, A).await.unwrap(), [first.clone(), second.clone()], "oldest first");
        let changed = KeywordRule { how: Match::Exact, number: None, reply: "x".into(), ..second.clone() };
        keyword_rule::put(&db, A, &changed).await.unwrap();
        assert_eq!(keyword_rule::by_id(&db, A, second.id).await.unwrap(), changed);
        assert!(matches!(keyword_rule::by_id(&db, B, second.id).await, Err(StoreError::NotFound)));
        assert!(matches!(keyword_rule::delete(&db, B, second.id).await, Err(StoreError::NotFound)));
        keyword_rule::delete(&db, A, second.id).await.unwrap();
        assert_eq!(keyword_rule::list(&db, A).await.unwrap(), [first]);
        assert_eq!(keyword_rule::list(&db, B).await.unwrap(), [foreign]);
    })
    .await;
}

/// Two processes on one PostgreSQL: each has sessions to the same carrier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_take_the_same_at_once() {
    let url = TestPostgres::start().fresh_database().await;
    let (one, two) = (Db::open(&url).await.unwrap(), Db::open(&url).await.unwrap());
    one.migrate().await.unwrap();
    for n in 0..20 {
        // A message that both got, and the two halves of another.
        let by_one = [text(n, "both", 0), part(n, 1, 2, 1, "half ", 1)];
        let by_two = [part(n, 1, 2, 2, "and half", 2), text(n, "both", 0)];
        tokio::join!(take(&one, &by_one), take(&two, &by_two));
    }
    let mut texts: Vec<String> = shown(&one, A).await.into_iter().map(|(text, _)| text).collect();
    texts.sort();
    let mut expected = vec!["both".to_owned(); 20];
    expected.extend(vec!["half and half".to_owned(); 20]);
    assert_eq!(texts, expected);

    for n in 0..50 {
        take(&one, &[part(n, 9, 2, 1, "alone", 10)]).await;
    }
    let give_up =
        async |db: &Db| inbound::give_up_waiting(db, NOW + 500, &|_, _| B, &judge).await.unwrap().messages.len();
    let (a, b) = tokio::join!(give_up(&one), give_up(&two));
    assert_eq!((a + b, shown(&two, B).await.len()), (50, 50), "each is given up once");
}

#[tokio::test]
async fn one_process_leads() {
    on_both(async |db| {
        let mut first = Lead::take(&db).await.unwrap().expect("it is free");
        assert!(first.holds().await);
        if let Db::Postgres(_) = db {
            assert!(Lead::take(&db).await.unwrap().is_none(), "it is taken");
            first.leave().await;
            let mut second = Lead::take(&db).await.unwrap().expect("it is free again");
            // As when the database is restarted, or the connection lost.
            let Db::Postgres(pool) = &db else { unreachable!() };
            let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            sqlx::query(end).execute(pool).await.unwrap();
            assert!(!second.holds().await);
            assert!(Lead::take(&db).await.unwrap().is_some());
        }
    })
    .await;
}
