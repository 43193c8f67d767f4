//! Which connections a message may take, and in which order (B2): rules of operators, and of accounts that bring carriers of their own.
//!
//! A route has conditions and groups of connections. The first route that fits decides, an account's own before the platform's, lower rank
//! first. Its groups are tried in order; within a group its strategy orders the members. So "round robin over two carriers, and a third if both
//! fail" is a weighted group of two followed by a group of one. What no route fits takes the account's own connections, or if it has none
//! the platform's.
//!
//! Whose connections a message takes is decided once, when it is accepted (`Book::brings_own`), because its price hangs on it; from then on only
//! routes and connections of that side count for it.

mod hours;
pub(crate) mod prefix;

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::id::{AccountNo, RouteId};
use crate::media::{Carries, Mms};
use crate::message::Lane;
use crate::money::Money;
use crate::phone::Country;

pub use hours::{Hours, HoursError};
pub use prefix::PrefixMap;

/// The number of a connection in the store.
pub type ConnectionNo = i32;

/// How the members of a group are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// As they stand.
    Priority,
    /// By chance, as often as their weights say.
    Weighted,
    /// The cheapest by the connections' rate tables first; those without a rate last.
    LeastCost,
    /// The best share of delivered messages first, as measured over the last hour; one message in twenty tries another, so that it stays measured.
    BestDelivery,
}

/// A connection in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Which.
    pub connection: ConnectionNo,
    /// Its share where the strategy is weighted; 0 is never first.
    pub weight: u16,
}

/// Connections that stand beside one another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// How they are ordered.
    pub strategy: Strategy,
    /// At least one.
    pub members: Vec<Member>,
}

/// What a message must be like. An empty list asks nothing; of a list one entry must fit, and all lists must.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// Who sends it.
    pub accounts: Vec<AccountNo>,
    /// How the number begins, country code first.
    pub prefixes: Vec<u64>,
    /// The number's country.
    pub countries: Vec<Country>,
    /// The number's operator by the table of number ranges: MCC and MNC as digits, such as 26201.
    pub operators: Vec<u32>,
    /// What it is from.
    pub senders: Vec<String>,
    /// Its priority class.
    pub lanes: Vec<Lane>,
    /// One of its tags.
    pub tags: Vec<String>,
    /// When it is to go.
    pub hours: Option<Hours>,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Which.
    pub id: RouteId,
    /// Whose; the platform's are everybody's.
    pub account: AccountNo,
    /// For people.
    pub name: String,
    /// The lowest that fits counts.
    pub rank: i32,
    /// What it is for.
    pub conditions: Conditions,
    /// Tried in order.
    pub groups: Vec<Group>,
    /// Whether a message that a carrier took and then reported as failed goes to the next connection.
    pub reroute: bool,
}

/// What is known of a message when it is routed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who sends it.
    pub account: AccountNo,
    /// E.164 without +.
    pub digits: u64,
    /// The number's country; asked for only if `Book::asks_country`.
    pub country: Option<Country>,
    /// What it is from.
    pub sender: Option<&'a str>,
    /// Its priority class.
    pub lane: Lane,
    /// Whether it goes by connections of its account's own, or else by the platform's.
    pub own: bool,
    /// Its tags; asked for only if `Book::asks_tags`.
    pub tags: &'a [String],
    /// Unix milliseconds.
    pub now_ms: i64,
    /// Any 32 bits that differ from message to message and from try to try.
    pub random: u32,
}

/// Why a route does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// It is for other accounts.
    Account,
    /// It is for other numbers.
    Prefix,
    /// It is for other countries.
    Country,
    /// It is for other operators.
    Operator,
    /// It is for other senders.
    Sender,
    /// It is for other lanes.
    Lane,
    /// It asks for another tag.
    Tag,
    /// It is for other hours.
    Hours,
    /// All connections it names are gone, disabled, or not its owner's.
    Connections,
}

impl Mismatch {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Mismatch::Account => "account",
            Mismatch::Prefix => "prefix",
            Mismatch::Country => "country",
            Mismatch::Operator => "operator",
            Mismatch::Sender => "sender",
            Mismatch::Lane => "lane",
            Mismatch::Tag => "tag",
            Mismatch::Hours => "hours",
            Mismatch::Connections => "connections",
        }
    }
}

/// What the order of a group may depend on, beside the message.
pub trait Measured {
    /// What a part to these digits costs on a connection.
    fn cost(&self, connection: ConnectionNo, digits: u64) -> Option<Money>;
    /// Delivered of a thousand, of late; `None` if too few were sent to say.
    fn delivery(&self, connection: ConnectionNo) -> Option<u16>;
}

/// The connections to try, in order, each once.
pub type Order = SmallVec<[ConnectionNo; 8]>;

/// All routes in force.
#[derive(Clone, Debug, Default)]
pub struct Book {
    routes: Vec<Route>,
    own: Vec<(AccountNo, ConnectionNo)>,
    /// Who has any of these.
    owners: BTreeSet<AccountNo>,
    platform: Vec<ConnectionNo>,
    operators: PrefixMap<u32>,
    /// What files connections take with a message, of those that take any.
    carries: Vec<(ConnectionNo, Carries)>,
}

/// One message in so many tries another than the best.
const EXPLORE: u32 = 20;

impl Book {
    /// Of routes in any order, the connections that are in use with their owners, in the order they are tried where no route fits, and the
    /// number ranges of operators. Connections that a route names and that are not in use, or not the route owner's to use, are left out of it.
    pub fn new(mut routes: Vec<Route>, connections: &[(AccountNo, ConnectionNo)], operators: PrefixMap<u32>) -> Book {
        for route in &mut routes {
            let owner = route.account;
            let usable = |m: &Member| connections.contains(&(owner, m.connection));
            route.groups.iter_mut().for_each(|g| g.members.retain(usable));
            route.groups.retain(|g| !g.members.is_empty());
        }
        // An account's own first, so that the first that fits is the one.
        routes.sort_by_key(|r| (r.account == AccountNo::PLATFORM, r.rank, r.id));
        let platform = |(owner, no): &(AccountNo, ConnectionNo)| (*owner == AccountNo::PLATFORM).then_some(*no);
        let own: Vec<_> = connections.iter().copied().filter(|(owner, _)| *owner != AccountNo::PLATFORM).collect();
        Book {
            routes,
            owners: own.iter().map(|(owner, _)| *owner).collect(),
            own,
            platform: connections.iter().filter_map(platform).collect(),
            operators,
            carries: Vec::new(),
        }
    }

    /// With what files connections take with a message; those not named take none.
    #[must_use]
    pub fn with_files(self, carries: impl IntoIterator<Item = (ConnectionNo, Carries)>) -> Book {
        Book { carries: carries.into_iter().filter(|(_, carries)| carries.files > 0).collect(), ..self }
    }

    /// Whether an account has connections of its own.
    pub fn has_own(&self, account: AccountNo) -> bool {
        self.owners.contains(&account)
    }

    /// What files a connection takes with a message.
    pub fn carries(&self, connection: ConnectionNo) -> Carries {
        self.carries.iter().find(|(no, _)| *no == connection).map_or(Carries::NOTHING, |(_, carries)| *carries)
    }

    /// Whether one of the connections that a message may take takes these files with it.
    pub fn takes_files(&self, facts: &Facts<'_>, mms: &Mms) -> bool {
        let fits = |no: ConnectionNo| self.carries(no).all(mms);
        !self.carries.is_empty()
            && match self.route(facts) {
                Some(route) => route.groups.iter().flat_map(|g| &g.members).any(|m| fits(m.connection)),
                None => self.unrouted(facts.account, facts.own).into_iter().any(fits),
            }
    }

    /// Whether every message takes the platform's connections in their order.
    pub fn is_plain(&self) -> bool {
        self.routes.is_empty() && self.own.is_empty()
    }

    /// The platform's connections in the order they are tried where nothing else is said.
    pub fn platform(&self) -> &[ConnectionNo] {
        &self.platform
    }

    /// Whether any route asks for the country.
    pub fn asks_country(&self) -> bool {
        self.routes.iter().any(|r| !r.conditions.countries.is_empty())
    }

    /// Whether any route asks for tags.
    pub fn asks_tags(&self) -> bool {
        self.routes.iter().any(|r| !r.conditions.tags.is_empty())
    }

    /// The route that decides, if one of the message's side fits.
    pub fn route(&self, facts: &Facts<'_>) -> Option<&Route> {
        self.routes
            .iter()
            .find(|r| (r.account != AccountNo::PLATFORM) == facts.own && self.mismatch(r, facts).is_none())
    }

    /// Those that stand before the one that decides, with why they do not fit.
    pub fn passed_over(&self, facts: &Facts<'_>) -> Vec<(&Route, Mismatch)> {
        self.routes.iter().map_while(|r| Some((r, self.mismatch(r, facts)?))).collect()
    }

    /// Whether any route sends failed messages on.
    pub fn any_reroutes(&self) -> bool {
        self.routes.iter().any(|r| r.reroute)
    }

    /// Whether a connection's failed receipt sends a message of this kind to the next.
    pub fn reroutes(&self, facts: &Facts<'_>) -> bool {
        self.route(facts).is_some_and(|r| r.reroute)
    }

    /// Whether a connection is in use.
    pub fn uses(&self, connection: ConnectionNo) -> bool {
        self.platform.contains(&connection) || self.own.iter().any(|(_, no)| *no == connection)
    }

    /// The operator a number belongs to by the number ranges: its MCC and MNC.
    pub fn operator(&self, digits: u64) -> Option<u32> {
        self.operators.longest(digits).copied()
    }

    /// The connections to try, in order.
    pub fn order(&self, facts: &Facts<'_>, measured: &(impl Measured + ?Sized)) -> Order {
        match self.route(facts) {
            Some(route) => {
                route.groups.iter().fold(Order::new(), |order, group| arrange(order, group, facts, measured))
            }
            None => self.unrouted(facts.account, facts.own),
        }
    }

    /// The order where no route fits: the account's own connections, or the platform's.
    fn unrouted(&self, account: AccountNo, own: bool) -> Order {
        if !own {
            return Order::from_slice(&self.platform);
        }
        self.own.iter().filter(|(owner, _)| *owner == account).map(|(_, no)| *no).collect()
    }

    /// Whether a message takes connections of the account's own: a route of the account's own fits, or none of the platform's does and the
    /// account has any. `Facts::own` does not matter here.
    pub fn brings_own(&self, facts: &Facts<'_>) -> bool {
        if !self.has_own(facts.account) {
            return false;
        }
        let fitting = self.routes.iter().find(|r| self.mismatch(r, facts).is_none());
        fitting.is_none_or(|route| route.account != AccountNo::PLATFORM)
    }

    fn mismatch(&self, route: &Route, facts: &Facts<'_>) -> Option<Mismatch> {
        let c = &route.conditions;
        let whose = [AccountNo::PLATFORM, facts.account].contains(&route.account);
        let tests = [
            (whose && any(&c.accounts, |a| *a == facts.account), Mismatch::Account),
            (any(&c.lanes, |l| *l == facts.lane), Mismatch::Lane),
            (any(&c.prefixes, |p| prefix::begins(facts.digits, *p)), Mismatch::Prefix),
            (any(&c.senders, |s| facts.sender.is_some_and(|from| same_sender(from, s))), Mismatch::Sender),
            (any(&c.countries, |c| facts.country == Some(*c)), Mismatch::Country),
            (any(&c.operators, |o| self.operator(facts.digits) == Some(*o)), Mismatch::Operator),
            (any(&c.tags, |t| facts.tags.contains(t)), Mismatch::Tag),
            (c.hours.as_ref().is_none_or(|h| h.contain(facts.now_ms)), Mismatch::Hours),
            (!route.groups.is_empty(), Mismatch::Connections),
        ];
        tests.into_iter().find(|(fits, _)| !fits).map(|(_, mismatch)| mismatch)
    }
}

fn any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(fits)
}

/// Names differ by case only to people; numbers are written with + or without.
fn same_sender(a: &str, b: &str) -> bool {
    a.trim_start_matches('+').eq_ignore_ascii_case(b.trim_start_matches('+'))
}

/// Adds a group's members to the order.
fn arrange(mut order: Order, group: &Group, facts: &Facts<'_>, measured: &(impl Measured + ?Sized)) -> Order {
    let mut members: SmallVec<[Member; 8]> =
        group.members.iter().copied().filter(|m| !order.contains(&m.connection)).collect();
    match group.strategy {
        Strategy::Priority => {}
        Strategy::Weighted => shuffle(&mut members, facts.random),
        Strategy::LeastCost => {
            members.sort_by_key(|m| measured.cost(m.connection, facts.digits).map_or(i64::MAX, |cost| cost.0));
        }
        Strategy::BestDelivery => {
            // What has not been measured is believed to be good until it is.
            members.sort_by_key(|m| std::cmp::Reverse(measured.delivery(m.connection).unwrap_or(1_000)));
            if members.len() > 1 && facts.random.is_multiple_of(EXPLORE) {
                let other = 1 + (facts.random / EXPLORE) as usize % (members.len() - 1);
                members[..=other].rotate_right(1);
            }
        }
    }
    for member in members {
        if !order.contains(&member.connection) {
            order.push(member.connection);
        }
    }
    order
}

/// Each place is drawn from those left, by weight.
fn shuffle(members: &mut [Member], random: u32) {
    let mut bits = u64::from(random).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for place in 0..members.len().saturating_sub(1) {
        let left = &mut members[place..];
        let total: u64 = left.iter().map(|m| u64::from(m.weight)).sum();
        if total == 0 {
            return;
        }
        bits ^= bits >> 29;
        bits = bits.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits ^= bits >> 32;
        let mut drawn = ((bits & 0xFFFF_FFFF) * total) >> 32;
        let lot = left.iter().position(|m| {
            let hit = drawn < u64::from(m.weight);
            drawn = drawn.saturating_sub(u64::from(m.weight));
            hit
        });
        left[..=lot.unwrap_or(0)].rotate_right(1);
    }
}

#[cfg(test)]
mod tests;
