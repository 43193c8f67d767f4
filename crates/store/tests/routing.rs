//! Connections, routes, rates, ranges and limits, on both databases; and what the migration makes of connections that stood there before.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::id::{AccountNo, ConnectionId, RouteId, compose};
use carillon_domain::money::Money;
use carillon_store::connection::{self, Change, NewConnection};
use carillon_store::route::{self, Route};
use carillon_store::testing::TestPostgres;
use carillon_store::throughput::{self, Throughput};
use carillon_store::{Db, StoreError, carrier_rate, number_range};

const SHOP: AccountNo = AccountNo(7);

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

fn id(counter: u64, account: AccountNo) -> ConnectionId {
    ConnectionId::new(1_000, counter, account)
}

fn new(account: AccountNo, counter: u64, name: &str) -> NewConnection<'_> {
    NewConnection {
        id: id(counter, account),
        account,
        name,
        kind: "smpp",
        settings: "{}",
        secrets: Some(b"sealed"),
        enabled: true,
        now: 1_000,
        most: 3,
    }
}

#[tokio::test]
async fn connections_keep_their_number_for_ever() {
    on_both(async |db| {
        let numbers = [
            connection::number(&db, "acme").await.unwrap(),
            connection::number(&db, "sandbox").await.unwrap(),
            connection::number(&db, "acme").await.unwrap(),
        ];
        assert_eq!(numbers, [1, 2, 1]);
        let of_api = connection::create(&db, &new(AccountNo::PLATFORM, 1, "acme")).await.unwrap();
        assert_eq!((of_api.no, of_api.created_at, of_api.enabled), (3, 1_000, true));
        assert_eq!(connection::number(&db, "acme").await.unwrap(), 1, "the file's is its own");

        let shops = connection::create(&db, &new(SHOP, 2, "acme")).await.unwrap();
        assert_eq!(shops.no, 4);
        let again = connection::create(&db, &new(SHOP, 3, "acme")).await.unwrap_err();
        assert!(matches!(again, StoreError::Taken("connection name")), "{again}");
        connection::delete(&db, SHOP, shops.id, 2_000).await.unwrap();
        assert!(matches!(connection::delete(&db, SHOP, shops.id, 2_000).await, Err(StoreError::NotFound)));
        assert!(matches!(connection::by_id(&db, SHOP, shops.id).await, Err(StoreError::NotFound)));
        assert_eq!(
            connection::create(&db, &new(SHOP, 4, "acme")).await.unwrap().no,
            5,
            "the name is free, the number is not"
        );

        for (counter, name) in [(5, "b"), (6, "c")] {
            connection::create(&db, &new(SHOP, counter, name)).await.unwrap();
        }
        let refused = connection::create(&db, &new(SHOP, 7, "d")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Taken("connections")), "{refused}");

        let names = async |account, before| {
            let rows = connection::list(&db, account, before, 2).await.unwrap();
            rows.into_iter().map(|c| c.name).collect::<Vec<_>>()
        };
        assert_eq!(names(SHOP, None).await, ["c", "b"]);
        assert_eq!(names(SHOP, Some(id(5, SHOP))).await, ["acme"]);
        assert_eq!(names(AccountNo(8), None).await, [""; 0]);
        assert_eq!(connection::all(&db).await.unwrap().iter().map(|c| c.no).collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7]);
    })
    .await;
}

#[tokio::test]
async fn connections_are_changed_by_their_owner_only() {
    on_both(async |db| {
        connection::number(&db, "file").await.unwrap();
        let file = ConnectionId(compose(0, 1, AccountNo::PLATFORM));
        let made = connection::create(&db, &new(SHOP, 1, "a")).await.unwrap();
        let off = Change { enabled: Some(false), ..Change::default() };
        for (account, id) in [(AccountNo::PLATFORM, made.id), (AccountNo(8), made.id), (AccountNo::PLATFORM, file)] {
            assert!(matches!(connection::change(&db, account, id, &off, 2_000).await, Err(StoreError::NotFound)));
            assert!(matches!(connection::delete(&db, account, id, 2_000).await, Err(StoreError::NotFound)));
        }
        let kept = connection::change(&db, SHOP, made.id, &off, 2_000).await.unwrap();
        assert_eq!(kept, connection::Connection { enabled: false, updated_at: 2_000, ..made.clone() });
        let settings = Change { name: Some("z"), settings: Some(("{\"rate\":5}", None)), ..Change::default() };
        let changed = connection::change(&db, SHOP, made.id, &settings, 3_000).await.unwrap();
        assert_eq!((&*changed.name, changed.settings.as_deref(), changed.secrets), ("z", Some("{\"rate\":5}"), None));
        connection::create(&db, &new(SHOP, 2, "a")).await.unwrap();
        let back = Change { name: Some("a"), ..Change::default() };
        let taken = connection::change(&db, SHOP, made.id, &back, 4_000).await.unwrap_err();
        assert!(matches!(taken, StoreError::Taken("connection name")), "{taken}");
        assert_eq!(connection::by_id(&db, AccountNo::PLATFORM, file).await.unwrap().settings, None);
    })
    .await;
}

fn rule(account: AccountNo, counter: u64, rank: i32) -> Route {
    Route {
        id: RouteId::new(1_000, counter, account),
        account,
        name: format!("r{counter}"),
        rank,
        enabled: true,
        conditions: "{}".into(),
        groups: "[]".into(),
        reroute: false,
        created_at: 1_000,
        updated_at: 1_000,
    }
}

#[tokio::test]
async fn routes() {
    on_both(async |db| {
        let (a, b, other) = (rule(SHOP, 1, 5), rule(SHOP, 2, -5), rule(AccountNo::PLATFORM, 3, 0));
        for r in [&a, &b, &other] {
            route::create(&db, r, 2).await.unwrap();
        }
        assert!(matches!(route::create(&db, &rule(SHOP, 4, 0), 2).await, Err(StoreError::Taken("routes"))));
        assert_eq!(route::list(&db, SHOP, None, 9).await.unwrap(), [b.clone(), a.clone()]);
        assert_eq!(route::list(&db, SHOP, Some(b.id), 9).await.unwrap(), std::slice::from_ref(&a));
        let off = Route { enabled: false, reroute: true, name: "off".into(), updated_at: 2_000, ..b.clone() };
        route::change(&db, &off).await.unwrap();
        assert_eq!(route::by_id(&db, SHOP, b.id).await.unwrap(), off);
        assert_eq!(route::enabled(&db).await.unwrap(), [a.clone(), other.clone()]);
        let foreign = Route { account: AccountNo(8), ..a.clone() };
        assert!(matches!(route::change(&db, &foreign).await, Err(StoreError::NotFound)));
        assert!(matches!(route::delete(&db, AccountNo(8), a.id).await, Err(StoreError::NotFound)));
        route::delete(&db, SHOP, a.id).await.unwrap();
        assert!(matches!(route::by_id(&db, SHOP, a.id).await, Err(StoreError::NotFound)));
        assert_eq!(route::enabled(&db).await.unwrap(), [other]);
    })
    .await;
}

#[tokio::test]
async fn rates_ranges_and_limits() {
    on_both(async |db| {
        let line = |prefix: &str, micros| (prefix.to_owned(), Money(micros));
        carrier_rate::set(&db, 1, "49", Money(70_000)).await.unwrap();
        carrier_rate::set(&db, 1, "49", Money(80_000)).await.unwrap();
        carrier_rate::set(&db, 1, "", Money(10_000)).await.unwrap();
        carrier_rate::set(&db, 2, "1", Money(5_000)).await.unwrap();
        assert_eq!(carrier_rate::list(&db, 1, None, 9).await.unwrap(), [line("", 10_000), line("49", 80_000)]);
        assert_eq!(carrier_rate::list(&db, 1, Some(""), 9).await.unwrap(), [line("49", 80_000)]);
        carrier_rate::delete(&db, 1, "").await.unwrap();
        assert!(matches!(carrier_rate::delete(&db, 1, "").await, Err(StoreError::NotFound)));

        let many: Vec<_> = (0..9_000).map(|i| line(&format!("{}", 100_000 + i), i)).collect();
        carrier_rate::replace(&db, 1, &many).await.unwrap();
        assert_eq!(carrier_rate::list(&db, 1, None, 10_000).await.unwrap(), many, "nothing else is left");
        let twice = [line("1", 1), line("1", 2)];
        assert!(matches!(carrier_rate::replace(&db, 1, &twice).await, Err(StoreError::Taken(_))));
        assert_eq!(carrier_rate::all(&db).await.unwrap().len(), 9_001, "all or nothing");

        let ranges: Vec<_> = (0..9_000u32).map(|i| (format!("{}", 100_000 + i), 26_201)).collect();
        number_range::replace(&db, &ranges).await.unwrap();
        assert_eq!(number_range::all(&db).await.unwrap(), ranges);
        number_range::replace(&db, &[]).await.unwrap();
        assert_eq!(number_range::all(&db).await.unwrap(), []);

        let limit =
            |sender: &str, parts_per_second| Throughput { account: SHOP, sender: sender.into(), parts_per_second };
        for l in [limit("Shop", 1), limit("", 50), limit("Shop", 2)] {
            throughput::set(&db, &l).await.unwrap();
        }
        assert_eq!(throughput::list(&db, SHOP).await.unwrap(), [limit("", 50), limit("Shop", 2)]);
        assert_eq!(throughput::list(&db, AccountNo(8)).await.unwrap(), []);
        throughput::delete(&db, SHOP, "").await.unwrap();
        assert!(matches!(throughput::delete(&db, SHOP, "").await, Err(StoreError::NotFound)));
        assert_eq!(throughput::all(&db).await.unwrap(), [limit("Shop", 2)]);
    })
    .await;
}

/// Whatever is changed, other processes can see that something was.
#[tokio::test]
async fn every_change_is_counted() {
    on_both(async |db| {
        let mut last = route::version(&db).await.unwrap();
        let made = connection::create(&db, &new(SHOP, 1, "a")).await.unwrap();
        let mut counted = async |what: &str| {
            let now = route::version(&db).await.unwrap();
            assert!(now > last, "{what}");
            last = now;
        };
        counted("create").await;
        connection::number(&db, "f").await.unwrap();
        counted("a connection of the file that is new").await;
        connection::change(&db, SHOP, made.id, &Change::default(), 1).await.unwrap();
        counted("change").await;
        connection::delete(&db, SHOP, made.id, 1).await.unwrap();
        counted("delete").await;
        let r = rule(SHOP, 1, 1);
        route::create(&db, &r, 9).await.unwrap();
        counted("create route").await;
        route::change(&db, &r).await.unwrap();
        counted("change route").await;
        route::delete(&db, SHOP, r.id).await.unwrap();
        counted("delete route").await;
        carrier_rate::replace(&db, 1, &[]).await.unwrap();
        counted("rates").await;
        number_range::replace(&db, &[]).await.unwrap();
        counted("ranges").await;
        throughput::set(&db, &Throughput { account: SHOP, sender: String::new(), parts_per_second: 1 }).await.unwrap();
        counted("throughput").await;
        connection::number(&db, "f").await.unwrap();
        assert_eq!(route::version(&db).await.unwrap(), last, "one that was known changes nothing");
    })
    .await;
}

/// Two nodes start at once, and people add connections meanwhile: numbers are given out once.
#[tokio::test]
async fn numbers_are_given_out_once() {
    on_both(async |db| {
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..8u64 {
            let db = db.clone();
            tasks.spawn(async move {
                if i % 2 == 0 {
                    connection::number(&db, &format!("f{}", i % 4)).await.unwrap()
                } else {
                    let name = format!("a{i}");
                    connection::create(&db, &NewConnection { most: 99, ..new(SHOP, i, &name) }).await.unwrap().no
                }
            });
        }
        let mut numbers = tasks.join_all().await;
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    })
    .await;
}

#[tokio::test]
async fn the_id_of_a_connection_of_the_file_is_made_of_its_number() {
    on_both(async |db| {
        let no = connection::number(&db, "f").await.unwrap();
        let id = ConnectionId(compose(0, no as u64, AccountNo::PLATFORM));
        assert_eq!(connection::by_id(&db, AccountNo::PLATFORM, id).await.unwrap().no, no);
        // What the migration writes for rows that stood there before.
        assert_eq!(id.0.simple().to_string(), format!("0000000000007000{:08x}00000000", 0x8000_0000u32 + 1));
    })
    .await;
}
