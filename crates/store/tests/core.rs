//! One contract for accounts, people, sessions, keys, prices and the ledger, run on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::account::{Settings, Status, Tier};
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountId, AccountNo, ApiKeyId, EntryId, EventId, MediaId, SenderId, SessionId, UserId};
use carillon_domain::media::MediaKind;
use carillon_domain::money::Money;
use carillon_domain::permission::{Role, Scopes};
use carillon_domain::phone::Country;
use carillon_domain::sender::policy::{CountryRule, SenderSet, Standing};
use carillon_store::account::{self, Account, NewAccount, NewOwner, StartingCredit};
use carillon_store::api_key::{self, ApiKey};
use carillon_store::event::NewEvent;
use carillon_store::ledger::{self, Balance, Entry, EntryError, EntryKind};
use carillon_store::media::{self, Media};
use carillon_store::rate::{self, Rate};
use carillon_store::sender::{self, Sender};
use carillon_store::session::{self, Rotation, Session};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, StoreError, platform, user};

/// Runs one test on a fresh database of each kind.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Db::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.unwrap();
    let postgres = Db::open(&TestPostgres::start().fresh_database().await).await.unwrap();
    for db in [sqlite, postgres] {
        db.migrate().await.unwrap();
        test(db.clone()).await;
        db.close().await;
    }
}

fn plain(name: &str) -> NewAccount<'_> {
    NewAccount {
        id: None,
        counter: 1,
        name,
        currency: "USD",
        settings: Settings::default(),
        owner: None,
        credit: None,
        now: 1_000,
    }
}

async fn opened(db: &Db, cents: i64) -> Account {
    let credit = StartingCredit { amount: Money::from_cents(cents), counter: 2, note: "start", actor: "test" };
    account::create(db, &NewAccount { credit: (cents > 0).then_some(credit), ..plain("A") }).await.unwrap()
}

#[tokio::test]
async fn accounts() {
    on_both(async |db| {
        let first = opened(&db, 500).await;
        assert_eq!((first.no, first.status, first.tier), (AccountNo(1), Status::Active, Tier::Regular));
        assert_eq!(first.id.account(), first.no);
        let given = AccountId("550e8400-e29b-41d4-a716-446655440000".parse().unwrap());
        let second = account::create(&db, &NewAccount { id: Some(given), ..plain("B") }).await.unwrap();
        assert_eq!((second.no, second.id), (AccountNo(2), given));
        let again = account::create(&db, &NewAccount { id: Some(given), ..plain("C") }).await.unwrap_err();
        assert!(matches!(again, StoreError::Taken("account id")), "{again}");

        assert_eq!(account::by_id(&db, given).await.unwrap(), second);
        assert_eq!(account::by_no(&db, first.no).await.unwrap(), first);
        assert!(matches!(account::by_no(&db, AccountNo(9)).await, Err(StoreError::NotFound)));
        assert_eq!(account::list(&db, AccountNo(0), 1).await.unwrap(), std::slice::from_ref(&first));
        assert_eq!(account::list(&db, AccountNo(1), 9).await.unwrap(), [second]);

        let settings = Settings { lenient: true, default_country: Some("DE".into()), ..Settings::default() };
        let changed = account::change(&db, first.no, None, Some(Status::Suspended), Some(Tier::Vip), Some(&settings))
            .await
            .unwrap();
        let expected = Account { status: Status::Suspended, tier: Tier::Vip, settings, ..first.clone() };
        assert_eq!(changed, expected);
        let renamed = account::change(&db, first.no, Some("Z"), None, None, None).await.unwrap();
        assert_eq!(renamed, Account { name: "Z".into(), ..expected });
        assert!(matches!(account::change(&db, AccountNo(9), None, None, None, None).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn many_accounts_at_once_have_numbers_of_their_own() {
    on_both(async |db| {
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..6 {
            let db = db.clone();
            tasks.spawn(async move {
                account::create(&db, &NewAccount { counter: 100 + i, ..plain("N") }).await.unwrap().no.0
            });
        }
        let mut numbers = tasks.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    })
    .await;
}

fn entry(account: AccountNo, counter: u64, kind: EntryKind, cents: i64) -> Entry {
    let id = EntryId::new(2_000, counter, account);
    Entry { id, kind, amount: Money::from_cents(cents), note: "n".into(), actor: "a".into(), created_at: 2_000 }
}

#[tokio::test]
async fn the_ledger_and_the_balance_move_together_and_never_below_zero() {
    on_both(async |db| {
        let a = opened(&db, 500).await;
        let cents =
            |available: i64| Balance { available: Money::from_cents(available), held: Money::ZERO, spent: Money::ZERO };
        let up = entry(a.no, 10, EntryKind::TopUp, 250);
        assert_eq!(ledger::add(&db, a.no, &up).await.unwrap(), cents(750));
        let down = entry(a.no, 11, EntryKind::Adjustment, -750);
        assert_eq!(ledger::add(&db, a.no, &down).await.unwrap(), cents(0));
        let refused = ledger::add(&db, a.no, &entry(a.no, 12, EntryKind::Adjustment, -1)).await.unwrap_err();
        assert!(matches!(refused, EntryError::Insufficient { available: Money::ZERO }), "{refused}");
        let nobody = ledger::add(&db, AccountNo(9), &entry(AccountNo(9), 13, EntryKind::TopUp, 1)).await.unwrap_err();
        assert!(matches!(nobody, EntryError::Store(StoreError::NotFound)), "{nobody}");

        let newest_first = ledger::list(&db, a.no, None, 2).await.unwrap();
        assert_eq!(newest_first, [down, up.clone()]);
        let rest = ledger::list(&db, a.no, Some(up.id), 9).await.unwrap();
        assert_eq!(rest.iter().map(|e| e.amount).collect::<Vec<_>>(), [Money::from_cents(500)]);
        assert_eq!(ledger::list(&db, AccountNo(9), None, 9).await.unwrap(), []);
        assert_eq!(ledger::balance(&db, a.no).await.unwrap(), cents(0));
    })
    .await;
}

/// Ten take 100 of 500 at once: five succeed.
#[tokio::test]
async fn concurrent_withdrawals_stop_at_zero() {
    on_both(async |db| {
        let a = opened(&db, 500).await;
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..10 {
            let db = db.clone();
            let entry = entry(a.no, 100 + i, EntryKind::Adjustment, -100);
            tasks.spawn(async move { ledger::add(&db, AccountNo(1), &entry).await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|taken| *taken).count(), 5);
        assert_eq!(ledger::balance(&db, a.no).await.unwrap().available, Money::ZERO);
        assert_eq!(differences(&db).await, [""; 0]);
    })
    .await;
}

async fn differences(db: &Db) -> Vec<String> {
    let mut found = Vec::new();
    ledger::verify(db, |d| {
        found.push(format!(
            "{}{}: {} {}",
            d.what,
            if d.batch.is_some() { " (batch)" } else { "" },
            d.recorded,
            d.computed
        ))
    })
    .await
    .unwrap();
    found
}

/// Runs a statement that no function of the store would.
async fn tamper(db: &Db, sql: &'static str) {
    use sqlx::Executor;
    match db {
        Db::Sqlite(s) => {
            let mut c =
                <sqlx::SqliteConnection as sqlx::Connection>::connect(&format!("sqlite:{}", s.path().display()))
                    .await
                    .unwrap();
            c.execute(sql).await.unwrap();
        }
        Db::Postgres(p) => {
            p.execute(sql).await.unwrap();
        }
    }
}

#[tokio::test]
async fn verify_finds_what_does_not_add_up() {
    on_both(async |db| {
        opened(&db, 500).await;
        assert_eq!(differences(&db).await, [""; 0]);
        assert_eq!(ledger::verify(&db, |_| {}).await.unwrap(), 1);
        let rows: &[(&'static str, &[&str])] = &[
            (
                "UPDATE balance SET available = available - 7",
                &["available + held + spent against the entries: 4999993 5000000"],
            ),
            ("UPDATE balance SET held = held + 7", &["held against the open messages: 7 0"]),
            (
                "UPDATE balance SET held = held - 7, spent = spent + 7",
                &["spent against the captured of the messages: 7 0"],
            ),
            ("UPDATE balance SET spent = spent - 7, available = available + 7", &[]),
        ];
        for (sql, expected) in rows {
            tamper(&db, sql).await;
            assert_eq!(differences(&db).await, *expected, "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn people() {
    on_both(async |db| {
        let id = UserId::new(1, 5, AccountNo(0));
        let owner = NewOwner {
            id,
            email: "ada@example.com",
            name: "Ada",
            password_hash: "h",
            operator: true,
            verification: None,
        };
        let a = account::create(&db, &NewAccount { owner: Some(owner.clone()), ..plain("A") }).await.unwrap();
        let same = NewOwner { id: UserId::new(1, 6, AccountNo(0)), ..owner };
        let taken = account::create(&db, &NewAccount { owner: Some(same), ..plain("B") }).await.unwrap_err();
        assert!(matches!(taken, StoreError::Taken("email")), "{taken}");
        assert_eq!(account::list(&db, AccountNo(0), 9).await.unwrap().len(), 1, "nothing is left of the refused one");

        let ada = user::by_email(&db, "ada@example.com").await.unwrap().unwrap();
        assert_eq!((ada.id, ada.operator, ada.failures, ada.locked_until), (id, true, 0, None));
        assert!(user::by_email(&db, "bob@example.com").await.unwrap().is_none());
        assert!(user::attempt(&db, id, 0, None).await.unwrap());
        assert!(!user::attempt(&db, id, 0, None).await.unwrap(), "somebody came between");
        assert!(user::attempt(&db, id, 1, Some(99)).await.unwrap());
        let ada = user::by_id(&db, id).await.unwrap();
        assert_eq!((ada.failures, ada.locked_until), (2, Some(99)));
        user::signed_in(&db, id).await.unwrap();
        let ada = user::by_id(&db, id).await.unwrap();
        assert_eq!((ada.failures, ada.locked_until), (0, None));

        let b = account::create(&db, &NewAccount { now: 2_000, ..plain("B") }).await.unwrap();
        user::join(&db, b.no, id, Role::Viewer, 2_000).await.unwrap();
        user::join(&db, b.no, id, Role::Member, 3_000).await.unwrap();
        assert_eq!(user::memberships(&db, id).await.unwrap(), [(a.no, Role::Owner), (b.no, Role::Member)]);
        assert_eq!(user::role(&db, b.no, id).await.unwrap(), Some(Role::Member));
        assert_eq!(user::role(&db, AccountNo(9), id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn sessions() {
    on_both(async |db| {
        let (account, user) = (AccountNo(1), UserId::new(1, 1, AccountNo(0)));
        let make = |counter, expires_at| Session {
            id: SessionId::new(1, counter, account),
            user,
            account,
            refresh_hash: vec![1; 32],
            address: "::1".into(),
            agent: "t".into(),
            created_at: 1,
            used_at: 1,
            expires_at,
            revoked_at: None,
        };
        let (a, b, old) = (make(1, 1_000), make(2, 1_000), make(3, 10));
        for s in [&a, &b, &old] {
            session::create(&db, s).await.unwrap();
        }
        let ids =
            async |now| session::list(&db, account, user, now).await.unwrap().iter().map(|s| s.id).collect::<Vec<_>>();
        assert_eq!(ids(50).await, [b.id, a.id]);

        let (one, two) = ([1u8; 32], [2u8; 32]);
        let done = session::rotate(&db, a.id, &one, &two, 60, 2_000).await.unwrap();
        assert!(
            matches!(&done, Rotation::Done(s) if s.refresh_hash == two && s.expires_at == 2_000 && s.used_at == 60),
            "{done:?}"
        );
        let reused = session::rotate(&db, a.id, &one, &two, 70, 2_000).await.unwrap();
        assert!(matches!(reused, Rotation::Reused(id) if id == a.id), "{reused:?}");
        let gone = session::rotate(&db, a.id, &two, &one, 80, 2_000).await.unwrap();
        assert!(matches!(gone, Rotation::Gone), "its thief and its owner are both out: {gone:?}");
        let late = session::rotate(&db, old.id, &one, &two, 80, 2_000).await.unwrap();
        assert!(matches!(late, Rotation::Gone), "{late:?}");
        assert_eq!(ids(80).await, [b.id]);

        let stranger = UserId::new(1, 2, AccountNo(0));
        assert!(matches!(session::revoke(&db, account, stranger, b.id, 90).await, Err(StoreError::NotFound)));
        assert!(matches!(session::revoke(&db, AccountNo(2), user, b.id, 90).await, Err(StoreError::NotFound)));
        session::revoke(&db, account, user, b.id, 90).await.unwrap();
        assert!(matches!(session::revoke(&db, account, user, b.id, 95).await, Err(StoreError::NotFound)));
        assert_eq!(session::by_id(&db, b.id).await.unwrap().unwrap().revoked_at, Some(90));
    })
    .await;
}

#[tokio::test]
async fn api_keys() {
    on_both(async |db| {
        let account = AccountNo(1);
        let make = |counter: u64| ApiKey {
            id: ApiKeyId::new(1, counter, account),
            account,
            key_id: format!("k{counter}"),
            secret_hash: vec![7; 32],
            hint: "abcd".into(),
            name: "n".into(),
            scopes: Scopes::account_all(),
            created_at: 1,
            expires_at: Some(9),
            revoked_at: None,
            used_at: None,
        };
        for i in 1..=3 {
            api_key::create(&db, &make(i)).await.unwrap();
        }
        assert!(matches!(api_key::create(&db, &make(3)).await, Err(StoreError::Taken(_))));
        let found = api_key::by_key_id(&db, "k2").await.unwrap().unwrap();
        assert_eq!((found.id, found.scopes, found.expires_at), (make(2).id, Scopes::account_all(), Some(9)));
        assert!(api_key::by_key_id(&db, "k9").await.unwrap().is_none());
        let ids = |keys: Vec<ApiKey>| keys.into_iter().map(|k| k.key_id).collect::<Vec<_>>();
        assert_eq!(ids(api_key::list(&db, account, None, 2).await.unwrap()), ["k3", "k2"]);
        assert_eq!(ids(api_key::list(&db, account, Some(make(2).id), 2).await.unwrap()), ["k1"]);
        assert_eq!(ids(api_key::list(&db, AccountNo(2), None, 2).await.unwrap()), [""; 0]);
        assert!(matches!(api_key::by_id(&db, AccountNo(2), make(1).id).await, Err(StoreError::NotFound)));
        assert!(matches!(api_key::revoke(&db, AccountNo(2), make(1).id, 5).await, Err(StoreError::NotFound)));
        api_key::touch(&db, account, make(1).id, 4).await.unwrap();
        api_key::revoke(&db, account, make(1).id, 5).await.unwrap();
        let twice = api_key::revoke(&db, account, make(1).id, 6).await.unwrap();
        assert_eq!((twice.revoked_at, twice.used_at), (Some(5), Some(4)));
    })
    .await;
}

#[tokio::test]
async fn prices() {
    on_both(async |db| {
        let line = |account, prefix: &str, lane, micros| Rate {
            account: AccountNo(account),
            prefix: prefix.into(),
            lane,
            price: Money(micros),
        };
        let lines = [line(0, "", -1, 50), line(0, "49", 2, 70), line(3, "", -1, 40)];
        for l in &lines {
            rate::set(&db, &Rate { price: Money(1), ..l.clone() }).await.unwrap();
            rate::set(&db, l).await.unwrap();
        }
        assert_eq!(rate::all(&db).await.unwrap(), lines);
        assert_eq!(rate::everywhere(&db, AccountNo(3), 2).await.unwrap(), Some(Money(40)));
        assert_eq!(rate::everywhere(&db, AccountNo(4), 2).await.unwrap(), Some(Money(50)));
        rate::delete(&db, AccountNo(0), "49", 2).await.unwrap();
        assert!(matches!(rate::delete(&db, AccountNo(0), "49", 2).await, Err(StoreError::NotFound)));
        rate::delete(&db, AccountNo(0), "", -1).await.unwrap();
        assert_eq!(rate::everywhere(&db, AccountNo(4), 2).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_made_once() {
    on_both(async |db| {
        assert_eq!(platform::get_or_set(&db, "s", b"one").await.unwrap(), b"one");
        assert_eq!(platform::get_or_set(&db, "s", b"two").await.unwrap(), b"one");
    })
    .await;
}

#[tokio::test]
async fn senders_and_the_rules_of_countries() {
    on_both(async |db| {
        let (a, b) = (opened(&db, 0).await.no, opened(&db, 0).await.no);
        let countries = |list: &[&str]| list.iter().filter_map(|c| Country::parse(c)).collect::<Vec<_>>();
        let new = |counter, text: &str, list: &[&str]| Sender {
            id: SenderId::new(1_000, counter, a),
            sender: text.parse().unwrap(),
            countries: countries(list),
            use_case: "x".into(),
            status: sender::Status::Pending,
            reason: None,
            default: false,
            created_at: 1_000,
            decided_at: None,
        };
        let (shop, laden, kiosk) = (new(1, "Shop", &[]), new(2, "Laden", &["AT", "DE"]), new(3, "Kiosk", &["DE"]));
        for s in [&shop, &laden, &kiosk] {
            sender::create(&db, a, s).await.unwrap();
        }
        let twice = sender::create(&db, a, &new(4, "Shop", &[])).await.unwrap_err();
        assert!(matches!(twice, StoreError::Taken(_)), "{twice}");
        assert_eq!(sender::approved(&db, a).await.unwrap(), SenderSet::default());

        let event = |at| NewEvent {
            id: EventId::new(at, at as u64, a),
            kind: EventKind::SenderApproved,
            subject: None,
            detail: None,
            at,
        };
        let decision = |at, status| sender::Decision { status, reason: None, countries: None, event: event(at) };
        let yes = sender::Status::Approved;
        let done = sender::decide(&db, a, shop.id, &decision(2_000, yes)).await.unwrap();
        assert_eq!((done.status, done.countries.len(), done.decided_at), (sender::Status::Approved, 0, Some(2_000)));
        let list = countries(&["DE"]);
        for (at, id) in [(2_001, laden.id), (2_002, kiosk.id)] {
            let narrow = sender::Decision { countries: Some(&list), ..decision(at, yes) };
            sender::decide(&db, a, id, &narrow).await.unwrap();
        }
        let foreign = sender::decide(&db, b, shop.id, &decision(1, yes)).await.unwrap_err();
        assert!(matches!(foreign, StoreError::NotFound));
        let told = carillon_store::event::waiting(&db, a, 10).await.unwrap();
        assert_eq!(told.iter().map(|e| e.at).collect::<Vec<_>>(), [2_000, 2_001, 2_002], "one for each decision");

        let defaults = async || {
            let all = sender::list(&db, a, None, 10).await.unwrap();
            all.iter().filter(|s| s.default).map(|s| s.sender.as_str().to_owned()).collect::<Vec<_>>()
        };
        for id in [shop.id, laden.id, kiosk.id] {
            sender::set_default(&db, a, id, true).await.unwrap();
        }
        assert_eq!(defaults().await, ["Kiosk", "Shop"]);
        let no = sender::Decision { reason: Some("no"), ..decision(3_000, sender::Status::Rejected) };
        let out = sender::decide(&db, a, kiosk.id, &no).await.unwrap();
        assert_eq!((out.default, out.reason.as_deref()), (false, Some("no")));
        assert_eq!(sender::approved(&db, a).await.unwrap().find("Laden").unwrap().countries, countries(&["DE"]));
        let seen = async |status, after| {
            let rows = sender::of_all(&db, status, after, 2).await.unwrap();
            rows.iter().map(|s| s.id).collect::<Vec<_>>()
        };
        assert_eq!(seen(None, None).await, [shop.id, laden.id]);
        assert_eq!(seen(None, Some(laden.id)).await, [kiosk.id]);
        assert_eq!(seen(Some(sender::Status::Rejected), None).await, [kiosk.id]);
        sender::delete(&db, a, shop.id).await.unwrap();
        assert!(matches!(sender::delete(&db, b, laden.id).await.unwrap_err(), StoreError::NotFound));

        let seeded = sender::rules(&db).await.unwrap();
        let us = seeded.iter().find(|r| r.rule.country.as_str() == "US").unwrap();
        assert_eq!((us.rule.names, us.rule.numbers), (Standing::Refused, Standing::Registered));
        let changed = sender::RuleRow {
            rule: CountryRule { replacement: Some("12345".parse().unwrap()), ..us.rule.clone() },
            note: "x".into(),
        };
        sender::set_rule(&db, &changed).await.unwrap();
        let now = sender::rules(&db).await.unwrap();
        let us = now.iter().find(|r| r.rule.country.as_str() == "US").unwrap();
        assert_eq!((us.rule.clone(), us.note.as_str(), now.len()), (changed.rule, "x", seeded.len()));
        sender::delete_rule(&db, us.rule.country).await.unwrap();
        assert!(matches!(sender::delete_rule(&db, us.rule.country).await.unwrap_err(), StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn media_and_the_octets_they_share() {
    on_both(async |db| {
        let (a, b) = (opened(&db, 0).await.no, opened(&db, 0).await.no);
        let new = |account, counter: u64, octet: u8, expires_at| Media {
            id: MediaId::new(1_000, counter, account),
            token: format!("token{counter}"),
            kind: MediaKind::Png,
            size: 40,
            digest: [octet; 32],
            created_at: 1_000,
            expires_at,
            deleted_at: None,
        };
        let (one, same, theirs) = (new(a, 1, 7, 5_000), new(a, 2, 7, 6_000), new(b, 3, 7, 7_000));
        assert!(media::create(&db, a, &one, 80).await.unwrap());
        assert!(media::create(&db, a, &same, 80).await.unwrap());
        assert!(!media::create(&db, a, &new(a, 4, 8, 5_000), 119).await.unwrap(), "it would be more than it may have");
        assert!(media::create(&db, b, &theirs, 80).await.unwrap());
        let found = media::by_token(&db, "token3").await.unwrap();
        assert_eq!((found.id, found.kind, found.size, found.digest), (theirs.id, MediaKind::Png, 40, [7; 32]));
        assert!(matches!(media::by_id(&db, b, one.id).await.unwrap_err(), StoreError::NotFound));
        let listed =
            async |now| media::list(&db, a, None, now, 10).await.unwrap().iter().map(|m| m.id).collect::<Vec<_>>();
        assert_eq!((listed(4_999).await, listed(5_000).await), (vec![same.id, one.id], vec![same.id]));
        let expired = media::expired(&db, 6_000, 10).await.unwrap();
        assert_eq!(expired.iter().map(|m| m.id).collect::<Vec<_>>(), [one.id, same.id]);

        assert_eq!(media::delete(&db, a, one.id, 8_000).await.unwrap(), None, "others need the octets");
        assert!(matches!(media::delete(&db, a, one.id, 8_000).await.unwrap_err(), StoreError::NotFound));
        assert!(matches!(media::delete(&db, b, same.id, 8_000).await.unwrap_err(), StoreError::NotFound));
        assert_eq!(media::delete(&db, a, same.id, 8_000).await.unwrap(), None);
        assert_eq!(media::delete(&db, b, theirs.id, 9_000).await.unwrap(), Some([7; 32]));
        assert!(media::create(&db, a, &new(a, 4, 8, 5_000), 40).await.unwrap(), "what is gone does not count");
        assert_eq!(media::forget(&db, 9_000, 10).await.unwrap(), 2);
        assert!(matches!(media::by_token(&db, "token1").await.unwrap_err(), StoreError::NotFound));
        assert_eq!(media::by_token(&db, "token3").await.unwrap().deleted_at, Some(9_000));
    })
    .await;
}
