//! One contract for payments and for what merchants say of themselves, run on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, EntryId};
use carillon_domain::money::Money;
use carillon_store::account::{self, NewAccount, StartingCredit};
use carillon_store::ledger::{self, Entry, EntryKind};
use carillon_store::testing::both;
use carillon_store::{Db, StoreError, merchant, payment};

const SANDBOX: i16 = 1;
const ANOTHER: i16 = 2;

/// An account that begins with one unit of money.
async fn opened(db: &Db, counter: u64) -> AccountNo {
    let credit = StartingCredit { amount: Money::from_cents(100), counter, note: "start", actor: "test" };
    let settings = Settings::default();
    let new = NewAccount {
        id: None,
        counter,
        name: "A",
        currency: "USD",
        settings,
        owner: None,
        credit: Some(credit),
        now: 1_000,
    };
    account::create(db, &new).await.unwrap().no
}

fn entry(account: AccountNo, counter: u64, cents: i64) -> Entry {
    let id = EntryId::new(2_000, counter, account);
    let (note, actor) = (format!("note {counter}"), format!("actor {counter}"));
    Entry { id, kind: EntryKind::TopUp, amount: Money::from_cents(cents), note, actor, created_at: 2_000 }
}

async fn available(db: &Db, account: AccountNo) -> Money {
    ledger::balance(db, account).await.unwrap().available
}

async fn assert_adds_up(db: &Db) {
    let mut differences = Vec::new();
    ledger::verify(db, |d| differences.push(d)).await.unwrap();
    assert_eq!(differences, []);
}

#[tokio::test]
async fn a_payment_is_credited_once_and_to_one() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let (a, b) = (opened(&db, 1).await, opened(&db, 2).await);
        let first = entry(a, 10, 2_500);
        assert_eq!(payment::credit(&db, a, SANDBOX, "pay_1", first.clone()).await.unwrap(), first);
        // Told again: by the entry it has, whatever is told; of another account: not at all.
        for again in [entry(a, 11, 2_500), entry(a, 12, 1)] {
            assert_eq!(payment::credit(&db, a, SANDBOX, "pay_1", again).await.unwrap(), first);
        }
        let theirs = payment::credit(&db, b, SANDBOX, "pay_1", entry(b, 13, 2_500)).await.unwrap_err();
        assert!(matches!(theirs, StoreError::Taken("payment")), "{theirs}");
        assert_eq!(
            (available(&db, a).await, available(&db, b).await),
            (Money::from_cents(2_600), Money::from_cents(100))
        );
        assert_eq!(ledger::list(&db, a, None, 9).await.unwrap().len(), 2);
        // Ids are the gateway's own, letter by letter.
        for (counter, gateway, id) in [(20, SANDBOX, "pay_2"), (21, SANDBOX, "PAY_1"), (22, ANOTHER, "pay_1")] {
            let new = entry(b, counter, 50);
            assert_eq!(payment::credit(&db, b, gateway, id, new.clone()).await.unwrap(), new, "{gateway} {id}");
        }
        assert_eq!(available(&db, b).await, Money::from_cents(250));
        assert_adds_up(&db).await;
    }
}

/// Nobody's payment is not kept: it can still be credited to somebody.
#[tokio::test]
async fn a_payment_of_no_account_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let nobody = AccountNo(9);
        let refused = payment::credit(&db, nobody, SANDBOX, "pay_1", entry(nobody, 10, 50)).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotFound), "{refused}");
        let a = opened(&db, 1).await;
        payment::credit(&db, a, SANDBOX, "pay_1", entry(a, 11, 50)).await.unwrap();
        assert_eq!(available(&db, a).await, Money::from_cents(150));
        assert_adds_up(&db).await;
    }
}

/// Two accounts tell the same five payments, each four times at once: each payment is one account's, once.
#[tokio::test]
async fn payments_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let accounts = [opened(&db, 1).await, opened(&db, 2).await];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40u64 {
            let (db, account) = (db.clone(), accounts[n as usize % 2]);
            tasks.spawn(async move {
                let id = format!("pay_{}", n / 2 % 5);
                let new = entry(account, 100 + n, 50);
                match payment::credit(&db, account, SANDBOX, &id, new.clone()).await {
                    Ok(credited) => usize::from(credited == new),
                    Err(StoreError::Taken("payment")) => 0,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 5, "payments that were new to somebody");
        let [a, b] = accounts;
        assert_eq!(available(&db, a).await + available(&db, b).await, Money::from_cents(2 * 100 + 5 * 50));
        assert_adds_up(&db).await;
    }
}

#[tokio::test]
async fn merchants_have_a_number() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let (a, b) = (opened(&db, 1).await, opened(&db, 2).await);
        assert_eq!(merchant::phone(&db, a).await.unwrap(), None);
        for digits in [4_915_112_345_671, 447_400_123_456] {
            merchant::put_phone(&db, a, digits).await.unwrap();
            assert_eq!(merchant::phone(&db, a).await.unwrap(), Some(digits));
        }
        assert_eq!(merchant::phone(&db, b).await.unwrap(), None);
    }
}
