//! Which connections a message takes: tables, and what must hold of every order.

use std::collections::HashMap;

use proptest::prelude::{any as anything, prop, prop_assert_eq, proptest};

use super::*;

#[derive(Default)]
struct Table {
    cost: HashMap<ConnectionNo, i64>,
    delivery: HashMap<ConnectionNo, u16>,
}

impl Measured for Table {
    fn cost(&self, connection: ConnectionNo, _: u64) -> Option<Money> {
        self.cost.get(&connection).map(|c| Money(*c))
    }
    fn delivery(&self, connection: ConnectionNo) -> Option<u16> {
        self.delivery.get(&connection).copied()
    }
}

const PLATFORM: AccountNo = AccountNo::PLATFORM;
const SHOP: AccountNo = AccountNo(7);
const BANK: AccountNo = AccountNo(8);

fn facts(account: AccountNo) -> Facts<'static> {
    Facts {
        account,
        digits: 4_915_112_345_678,
        country: Country::parse("DE"),
        sender: None,
        lane: Lane::Normal,
        own: account == SHOP,
        tags: &[],
        now_ms: 0,
        random: 1,
    }
}

fn group(strategy: Strategy, members: &[(ConnectionNo, u16)]) -> Group {
    Group {
        strategy,
        members: members
            .iter()
            .map(|(connection, weight)| Member { connection: *connection, weight: *weight })
            .collect(),
    }
}

fn route(account: AccountNo, rank: i32, conditions: Conditions, groups: Vec<Group>) -> Route {
    let id = RouteId::new(1, rank as u64, account);
    Route { id, account, name: format!("{rank}"), rank, conditions, groups, reroute: false }
}

/// Connections 1 to 4 are the platform's, 9 is the shop's.
fn book(routes: Vec<Route>) -> Book {
    let mut operators = PrefixMap::default();
    operators.insert("49151", 26_201);
    Book::new(routes, &[(PLATFORM, 1), (PLATFORM, 2), (PLATFORM, 3), (PLATFORM, 4), (SHOP, 9)], operators)
}

#[test]
fn the_first_route_that_fits_decides() {
    let to = |no| vec![group(Strategy::Priority, &[(no, 1)])];
    let always = Hours::new(jiff::tz::TimeZone::UTC, ["thu"], "00:00", "24:00").unwrap();
    let never = Hours::new(jiff::tz::TimeZone::UTC, ["fri"], "00:00", "24:00").unwrap();
    let c = Conditions::default;
    // conditions -> whether a German number of the bank's, from ACME, tagged `vip`, normal lane, on Thursday 1970-01-01 fits
    let rows = [
        (c(), None),
        (Conditions { accounts: vec![BANK, SHOP], ..c() }, None),
        (Conditions { accounts: vec![SHOP], ..c() }, Some(Mismatch::Account)),
        (Conditions { prefixes: vec![1, 4_915], ..c() }, None),
        (Conditions { prefixes: vec![1, 4_916], ..c() }, Some(Mismatch::Prefix)),
        (Conditions { countries: vec![Country::parse("DE").unwrap()], ..c() }, None),
        (Conditions { countries: vec![Country::parse("FR").unwrap()], ..c() }, Some(Mismatch::Country)),
        (Conditions { operators: vec![26_201], ..c() }, None),
        (Conditions { operators: vec![26_202], ..c() }, Some(Mismatch::Operator)),
        (Conditions { senders: vec!["acme".into()], ..c() }, None),
        (Conditions { senders: vec!["Other".into()], ..c() }, Some(Mismatch::Sender)),
        (Conditions { lanes: vec![Lane::Otp, Lane::Normal], ..c() }, None),
        (Conditions { lanes: vec![Lane::Otp], ..c() }, Some(Mismatch::Lane)),
        (Conditions { tags: vec!["x".into(), "vip".into()], ..c() }, None),
        (Conditions { tags: vec!["x".into()], ..c() }, Some(Mismatch::Tag)),
        (Conditions { hours: Some(always), ..c() }, None),
        (Conditions { hours: Some(never), ..c() }, Some(Mismatch::Hours)),
    ];
    let tags = ["vip".to_owned()];
    let facts = Facts { sender: Some("ACME"), tags: &tags, ..facts(BANK) };
    for (i, (conditions, mismatch)) in rows.into_iter().enumerate() {
        let book = book(vec![route(PLATFORM, 1, conditions, to(3)), route(PLATFORM, 2, c(), to(2))]);
        let expected: &[i32] = if mismatch.is_none() { &[3] } else { &[2] };
        assert_eq!(book.order(&facts, &Table::default()).as_slice(), expected, "row {i}");
        let passed: Vec<_> = book.passed_over(&facts).into_iter().map(|(_, why)| why).collect();
        assert_eq!(passed, mismatch.into_iter().collect::<Vec<_>>(), "row {i}");
    }
}

#[test]
fn whose_routes_and_connections_count() {
    let own = route(SHOP, 50, Conditions::default(), vec![group(Strategy::Priority, &[(9, 1)])]);
    let platform = route(PLATFORM, 1, Conditions::default(), vec![group(Strategy::Priority, &[(2, 1), (9, 1)])]);
    let thief = route(
        SHOP,
        1,
        Conditions { lanes: vec![Lane::Otp], ..Conditions::default() },
        vec![group(Strategy::Priority, &[(1, 1)])],
    );
    let all = || vec![platform.clone(), own.clone(), thief.clone()];
    let otp = Facts { lane: Lane::Otp, ..facts(SHOP) };
    let rows: [(&str, Vec<Route>, Facts<'_>, &[i32]); 6] = [
        ("no route, no connection of its own", vec![], facts(BANK), &[1, 2, 3, 4]),
        ("no route, a connection of its own", vec![], facts(SHOP), &[9]),
        ("its own route before the platform's", all(), facts(SHOP), &[9]),
        ("nobody else takes an account's connection", all(), facts(BANK), &[2]),
        ("no account's route takes the platform's connection", all(), otp, &[9]),
        (
            "a route to what is gone does not count",
            vec![route(PLATFORM, 1, Conditions::default(), vec![group(Strategy::Priority, &[(77, 1)])])],
            facts(BANK),
            &[1, 2, 3, 4],
        ),
    ];
    for (what, routes, facts, expected) in rows {
        assert_eq!(book(routes).order(&facts, &Table::default()).as_slice(), expected, "{what}");
    }
}

#[test]
fn whose_connections_a_message_takes_is_decided_once_and_holds() {
    let night = || Hours::new(jiff::tz::TimeZone::UTC, ["fri"], "00:00", "24:00").unwrap();
    let to = |no| vec![group(Strategy::Priority, &[(no, 1)])];
    let by_night = || route(SHOP, 1, Conditions { hours: Some(night()), ..Conditions::default() }, to(9));
    let platform = || route(PLATFORM, 1, Conditions::default(), to(2));
    let day = 86_400_000;
    // routes, whose message, and when (1970-01-01 is a Thursday) -> whether its own side; what it takes on either side then
    let rows: [(Vec<Route>, AccountNo, i64, bool, &[i32], &[i32]); 6] = [
        (vec![], SHOP, 0, true, &[9], &[1, 2, 3, 4]),
        (vec![], BANK, 0, false, &[], &[1, 2, 3, 4]),
        (vec![platform()], SHOP, 0, false, &[9], &[2]),
        (vec![platform(), by_night()], SHOP, 0, false, &[9], &[2]),
        (vec![platform(), by_night()], SHOP, day, true, &[9], &[2]),
        (vec![platform(), by_night()], BANK, day, false, &[], &[2]),
    ];
    for (i, (routes, account, now_ms, own, on_own, on_platform)) in rows.into_iter().enumerate() {
        let book = book(routes);
        let facts = |own| Facts { now_ms, own, ..facts(account) };
        assert_eq!(book.brings_own(&facts(false)), own, "row {i}");
        assert_eq!(book.order(&facts(true), &Table::default()).as_slice(), on_own, "row {i}");
        assert_eq!(book.order(&facts(false), &Table::default()).as_slice(), on_platform, "row {i}");
    }
}

#[test]
fn files_go_where_some_connection_takes_so_many() {
    let picky = route(
        PLATFORM,
        1,
        Conditions { lanes: vec![Lane::Otp], ..Conditions::default() },
        vec![group(Strategy::Weighted, &[(2, 1), (3, 1)]), group(Strategy::Priority, &[(4, 1)])],
    );
    let carries = |files| Carries { files, kinds: &[] };
    let many = |no, files| (no, carries(files));
    let book = book(vec![picky]).with_files([many(1, 0), many(3, 1), many(4, 10), many(9, 1)]);
    let otp = Facts { lane: Lane::Otp, ..facts(BANK) };
    let rows = [
        (facts(BANK), 10, true),
        (facts(BANK), 11, false),
        (facts(SHOP), 1, true),
        (facts(SHOP), 2, false),
        (otp, 2, true),
        (otp, 11, false),
    ];
    for (i, (facts, files, takes)) in rows.into_iter().enumerate() {
        let mms = Mms { files: vec![crate::media::MessageFile::elsewhere("https://a/b"); files], links: true };
        assert_eq!(book.takes_files(&facts, &mms), takes, "row {i}");
    }
    assert_eq!([1, 3, 4].map(|no| book.carries(no).files), [0, 1, 10]);
}

#[test]
fn groups_stand_in_order_and_strategies_order_their_members() {
    let table = Table {
        cost: HashMap::from([(1, 30), (2, 10), (3, 20)]),
        delivery: HashMap::from([(1, 900), (2, 990), (3, 950)]),
    };
    let all = [(1, 1), (2, 1), (3, 1), (4, 1)];
    let rows: [(Vec<Group>, &[i32]); 4] = [
        (vec![group(Strategy::Priority, &[(3, 1), (1, 1)]), group(Strategy::Priority, &[(1, 1), (2, 1)])], &[3, 1, 2]),
        (vec![group(Strategy::LeastCost, &all)], &[2, 3, 1, 4]),
        (vec![group(Strategy::BestDelivery, &all)], &[4, 2, 3, 1]),
        (
            vec![group(Strategy::Weighted, &[(1, 0), (2, 5)]), group(Strategy::LeastCost, &[(4, 1), (3, 1)])],
            &[2, 1, 3, 4],
        ),
    ];
    for (i, (groups, expected)) in rows.into_iter().enumerate() {
        let book = book(vec![route(PLATFORM, 1, Conditions::default(), groups)]);
        assert_eq!(book.order(&facts(BANK), &table).as_slice(), expected, "row {i}");
    }
}

#[test]
fn weights_are_shares_and_the_best_leaves_one_in_twenty_to_others() {
    let of = |strategy, members: &[(ConnectionNo, u16)]| {
        let table = Table { delivery: HashMap::from([(1, 990), (2, 500), (3, 400)]), ..Table::default() };
        let book = book(vec![route(PLATFORM, 1, Conditions::default(), vec![group(strategy, members)])]);
        let mut firsts: HashMap<i32, u32> = HashMap::new();
        for i in 0..60_000u32 {
            let random = i.wrapping_mul(2_654_435_761);
            *firsts.entry(book.order(&Facts { random, ..facts(BANK) }, &table)[0]).or_default() += 1;
        }
        move |no| f64::from(firsts.get(&no).copied().unwrap_or(0)) / 60_000.0
    };
    let weighted = of(Strategy::Weighted, &[(1, 3), (2, 1), (3, 2), (4, 0)]);
    for (no, share) in [(1, 0.5), (2, 1.0 / 6.0), (3, 1.0 / 3.0), (4, 0.0)] {
        assert!((weighted(no) - share).abs() < 0.02, "{no}: {}", weighted(no));
    }
    let best = of(Strategy::BestDelivery, &[(1, 1), (2, 1), (3, 1)]);
    for (no, share) in [(1, 0.95), (2, 0.025), (3, 0.025)] {
        assert!((best(no) - share).abs() < 0.01, "{no}: {}", best(no));
    }
}

proptest! {
    #[test]
    fn every_member_stands_in_the_order_once(
        groups in prop::collection::vec((0u8..4, prop::collection::vec((1i32..5, 0u16..4), 1..6)), 1..4), random in anything::<u32>()
    ) {
        let strategies = [Strategy::Priority, Strategy::Weighted, Strategy::LeastCost, Strategy::BestDelivery];
        let groups: Vec<Group> = groups.iter().map(|(s, members)| group(strategies[usize::from(*s)], members)).collect();
        let mut named: Vec<i32> = groups.iter().flat_map(|g| g.members.iter().map(|m| m.connection)).collect();
        let book = book(vec![route(PLATFORM, 1, Conditions::default(), groups)]);
        let mut order = book.order(&Facts { random, ..facts(BANK) }, &Table::default()).to_vec();
        order.sort_unstable();
        named.sort_unstable();
        named.dedup();
        prop_assert_eq!(order, named);
    }
}
