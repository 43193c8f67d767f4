//! Counts that pass, memory that is bounded, and what a look costs.

use super::*;

fn limits(change: impl FnOnce(&mut config::Limits)) -> Limits {
    let mut c = config::defaults().limits;
    change(&mut c);
    Limits::new(&c)
}

fn address(n: u32) -> IpAddr {
    IpAddr::from(n.to_be_bytes())
}

#[test]
fn so_many_pass_and_then_one_each_interval() {
    let limits = limits(|c| (c.address, c.burst_s) = (5, 2));
    let pass = |who, now| limits.by_address(Class::Address, address(who), Duration::from_nanos(now)).is_ok();
    assert_eq!((0..30).filter(|_| pass(1, 0)).count(), 10);
    assert!(pass(2, 0), "another address is another");
    assert_eq!((0..30).filter(|_| pass(1, SECOND / 5)).count(), 1);
    assert_eq!((0..30).filter(|_| pass(1, 100 * SECOND)).count(), 10);
    let network = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, n, 0, 0, 1]);
    let v6 = (0..30).filter(|n| limits.by_address(Class::Address, network(*n), Duration::ZERO).is_ok()).count();
    assert_eq!(v6, 10, "a /64 is one");
}

/// However many addresses come, memory has its bound, and who has spent most is forgotten last.
#[test]
fn memory_is_bounded() {
    let limits = limits(|c| (c.address, c.burst_s, c.memory_max) = (5, 2, 6_400));
    let pass = |who, now| limits.by_address(Class::Address, address(who), Duration::from_nanos(now)).is_ok();
    assert_eq!((0..20).filter(|_| pass(0, 0)).count(), 10);
    for who in 1..100_000 {
        assert!(pass(who, 1));
    }
    let held: usize = limits.shards.iter().map(|s| s.lock().len()).sum();
    assert!(held <= 6_400, "{held}");
    assert!(!pass(0, 2), "it is remembered that this one has nothing left");
}

#[test]
fn a_tie_leaves_room_too() {
    let mut shard: FxHashMap<u64, u64> = (0..10).map(|n| (n, 7)).collect();
    make_room(&mut shard, 10, 0);
    assert!(shard.len() < 10);
}

#[tokio::test]
async fn the_tightest_limit_is_the_one_that_is_told() {
    let limits = limits(|c| (c.address, c.burst_s, c.sign_in_per_min) = (100, 1, 3));
    let ask = async || {
        let both = async {
            limits.by_address(Class::Address, address(9), Duration::ZERO)?;
            limits.by_address(Class::SignIn, address(9), Duration::ZERO)
        };
        let (answer, standing) = noting(false, both).await;
        let mut headers = HeaderMap::new();
        standing.unwrap().write(&mut headers);
        let text = |name| headers[name].to_str().unwrap().to_owned();
        (answer.map_err(|p: Problem| (p.code, p.retry_after)), text("ratelimit-policy"), text("ratelimit"))
    };
    let rows = [(Ok(()), 2, 20), (Ok(()), 1, 40), (Ok(()), 0, 60), (Err((Code::RateLimited, Some(20))), 0, 20)];
    for (answer, remaining, reset) in rows {
        let told = format!("\"sign-in\";r={remaining};t={reset}");
        assert_eq!(ask().await, (answer, "\"sign-in\";q=3;w=60".to_owned(), told));
    }
    let exempt = noting(true, async { limits.by_address(Class::SignIn, address(9), Duration::ZERO) }).await;
    assert!(exempt.0.is_ok() && exempt.1.is_none());
}

/// Not a test of speed (nothing is asserted): `cargo test --release -- --ignored --nocapture cost` prints what the three looks of a request cost.
#[test]
#[ignore = "prints a measurement"]
fn cost() {
    let limits = limits(|c| (c.address, c.key_regular, c.account_regular) = (1_000_000, 1_000_000, 1_000_000));
    const ROUNDS: u32 = 1_000_000;
    let clock = crate::clock::Clock::system();
    for accounts in [1u128, 10_000] {
        let begin = clock.monotonic();
        for i in 0..ROUNDS {
            let (now, who) = (u64::from(i) * 1_000, u128::from(i) % accounts);
            for (class, limit) in
                [(Class::Address, limits.address), (Class::Key, limits.key.0[0]), (Class::Account, limits.account.0[0])]
            {
                let _ = limits.count(class, who, limit, Duration::from_nanos(now));
            }
        }
        println!("{accounts} accounts: {:?} a request", (clock.monotonic() - begin) / ROUNDS);
    }
}
