//! What the writer does when PostgreSQL falls silent, though no connection is closed: tested by a proxy that swallows what passes. And which of
//! its ways requests go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carillon_domain::id::AccountNo;
use carillon_domain::message::{Category, Flags, Lane};
use carillon_domain::money::Money;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Writer;
use crate::account::{self, NewAccount, StartingCredit};
use crate::hot::{IdSource, IdempotencyKey, IntakeRequest, NewMessage, Step, Verdict};
use crate::testing::TestPostgres;
use crate::{Db, StoreError};

/// Stands in the message whose way is watched.
const MARK: &str = "the message after which nothing is heard";
const NOW: i64 = 1_700_000_000_000;

#[derive(Clone, Copy, PartialEq)]
enum Swallows {
    /// The message itself and all that follows it: COMMIT never arrives.
    Questions,
    /// What the server says from then on: COMMIT arrives, its answer does not.
    Answers,
}

/// Lies between the writer and the server. Answers with its port, and with whether it still waits for the mark.
async fn proxy(server: String, swallows: Swallows) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(AtomicBool::new(true));
    let armed_too = armed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let silent = Arc::new(AtomicBool::new(false));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let questions = silent.clone();
            let armed = armed_too.clone();
            tokio::spawn(pass(from_client, to_server, move |bytes| {
                let marked = bytes.windows(MARK.len()).any(|w| w == MARK.as_bytes());
                if marked && armed.swap(false, Ordering::AcqRel) {
                    questions.store(true, Ordering::Release);
                }
                swallows == Swallows::Answers || !questions.load(Ordering::Acquire)
            }));
            tokio::spawn(pass(from_server, to_client, move |_| !silent.load(Ordering::Acquire)));
        }
    });
    (port, armed)
}

/// Both ends stay open, whatever is swallowed.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if passes(&buffer[..count]) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    if passes(&[]) {
        let _ = to.shutdown().await;
    } else {
        std::future::pending().await
    }
}

fn request(account: AccountNo, body: &str) -> IntakeRequest {
    let message = NewMessage {
        index: 0,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: Flags::default(),
        encoding: 0,
        parts: 1,
        phone: 491_511_234_567,
        phone_tag: 7,
        country: None,
        sender: None,
        body: body.into(),
        own_body: true,
        otp_code: None,
        unit_price: Money(5),
        reference: None,
        due_at: None,
        expires_at: NOW + 1000,
        extra: None,
    };
    IntakeRequest { account, key: None, step: Step::Message, messages: vec![message] }
}

/// The ways a request goes: as one statement, as one behind locks, as one behind a COPY, and as all others.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Plain,
    Keyed,
    Large,
    Scheduled,
}

const WAYS: [Way; 4] = [Way::Plain, Way::Keyed, Way::Large, Way::Scheduled];

impl Way {
    /// The n-th request that goes so.
    fn request(self, account: AccountNo, body: &str, n: u8) -> IntakeRequest {
        let mut request = request(account, body);
        match self {
            Way::Plain => {}
            Way::Keyed => request.key = Some(IdempotencyKey { key: [n; 16], fingerprint: [n; 16] }),
            // Too many for a statement, at the price of one. The last COPY brings the mark.
            Way::Large => {
                let free = NewMessage { unit_price: Money::ZERO, body: "Free".into(), ..request.messages[0].clone() };
                request.messages.splice(..0, std::iter::repeat_n(free, 299));
            }
            Way::Scheduled => request.messages[0].due_at = Some(NOW + 500),
        }
        request
    }
}

/// A writer behind a proxy, an account with money for four messages, one of which is taken, and a look at its balance.
async fn behind(swallows: Swallows, way: Way) -> (Writer, AccountNo, Db, Arc<AtomicBool>) {
    let url = TestPostgres::start().fresh_database().await;
    let db = Db::open(&url).await.unwrap();
    db.migrate().await.unwrap();
    let account = account(&db, 1, 20).await;
    let address = url.split(['@', '/']).find(|part| part.contains("127.0.0.1:")).unwrap().to_owned();
    let (port, armed) = proxy(address.clone(), swallows).await;
    let Db::Postgres(pool) = Db::open(&url.replace(&address, &format!("127.0.0.1:{port}"))).await.unwrap() else {
        panic!("the URL is of PostgreSQL");
    };
    let mut writer = Writer::open(&pool, IdSource::new(1)).await.unwrap();
    // One that is heard, so that all there is to prepare is prepared.
    assert!(accepted(&writer.commit(&[], &[], &[way.request(account, "First", 1)], NOW).await.unwrap().1));
    writer.patience = Duration::from_secs(2);
    (writer, account, db, armed)
}

/// An account with so much money.
async fn account(db: &Db, counter: u64, money: i64) -> AccountNo {
    let credit = StartingCredit { amount: Money(money), counter: counter + 1, note: "", actor: "test" };
    let new = NewAccount {
        id: None,
        counter,
        name: "A",
        currency: "USD",
        settings: Default::default(),
        owner: None,
        credit: Some(credit),
        now: NOW,
    };
    account::create(db, &new).await.unwrap().no
}

async fn money(db: &Db, account: AccountNo) -> (i64, i64) {
    let balance = crate::ledger::balance(db, account).await.unwrap();
    (balance.available.0, balance.held.0)
}

fn accepted(verdicts: &[Verdict]) -> bool {
    matches!(verdicts, [Verdict::Accepted { count: 1 | 300, .. }])
}

#[tokio::test]
async fn silence_before_commit_is_an_error_and_frees_what_was_locked() {
    for way in WAYS {
        let (mut writer, account, db, armed) = behind(Swallows::Questions, way).await;
        let request = [way.request(account, MARK, 2)];
        let refused = writer.commit(&[], &[], &request, NOW).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{way:?}: {refused:?}");
        assert!(!armed.load(Ordering::Acquire), "the proxy has seen the message");
        assert_eq!(money(&db, account).await, (15, 5), "{way:?}");
        // The session that was given up may still hold the account on the server, until the next one ends it.
        assert!(accepted(&writer.commit(&[], &[], &request, NOW).await.unwrap().1), "{way:?}");
        assert_eq!(money(&db, account).await, (10, 10), "{way:?}");
    }
}

#[tokio::test]
async fn silence_after_commit_is_asked_about_and_answered_once() {
    for way in WAYS {
        let (mut writer, account, db, armed) = behind(Swallows::Answers, way).await;
        for (n, left) in [(2, (10, 10)), (3, (5, 15))] {
            let request = [way.request(account, MARK, n)];
            assert!(accepted(&writer.commit(&[], &[], &request, NOW).await.unwrap().1), "{way:?}");
            assert!(!armed.load(Ordering::Acquire), "the proxy has seen the message");
            assert_eq!(money(&db, account).await, left, "{way:?}");
        }
    }
}

/// What was refused as one statement goes the other way, and leaves nothing behind; its account goes there at once for a while.
#[tokio::test]
async fn what_does_not_fit_is_told_by_the_other_way() {
    let url = TestPostgres::start().fresh_database().await;
    let db = Db::open(&url).await.unwrap();
    db.migrate().await.unwrap();
    let (rich, poor) = (account(&db, 1, 100).await, account(&db, 3, 7).await);
    let Db::Postgres(pool) = &db else { panic!("the URL is of PostgreSQL") };
    let mut writer = Writer::open(pool, IdSource::new(1)).await.unwrap();
    // at (ms), requests, verdicts, how many accounts are refused then, money of both then
    let (plain, keyed) = (|account| request(account, "A"), |account, n| Way::Keyed.request(account, "A", n));
    let rows: [(i64, Vec<IntakeRequest>, &str, usize, [i64; 2]); 8] = [
        (0, vec![plain(rich), plain(poor)], "taken, taken", 0, [95, 2]),
        (1, vec![plain(rich), plain(poor)], "taken, short 2 of 5", 1, [90, 2]),
        (2, vec![plain(rich)], "taken", 1, [85, 2]),
        (3, vec![plain(AccountNo(999))], "no account", 2, [85, 2]),
        (2000, vec![keyed(rich, 1), keyed(rich, 1)], "taken, replayed", 2, [80, 2]),
        (2001, vec![keyed(rich, 1), keyed(rich, 2)], "replayed, taken", 1, [75, 2]),
        (86_400_000, vec![keyed(rich, 2)], "replayed", 1, [75, 2]),
        (3 * 86_400_000, vec![keyed(rich, 2)], "taken", 1, [70, 2]),
    ];
    for (at, requests, expected, refused, left) in rows {
        let verdicts = writer.commit(&[], &[], &requests, NOW + at).await.unwrap().1;
        let said: Vec<String> = verdicts.iter().map(said).collect();
        assert_eq!(said.join(", "), expected, "at {at}");
        assert_eq!(writer.refused.len(), refused, "at {at}");
        assert_eq!([money(&db, rich).await.0, money(&db, poor).await.0], left, "at {at}");
    }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted { count: 1, .. } => "taken".into(),
        Verdict::Replayed { .. } => "replayed".into(),
        Verdict::Short { needed, available } => format!("short {} of {}", available.0, needed.0),
        Verdict::NoAccount => "no account".into(),
        other => panic!("{other:?}"),
    }
}
