//! Which connections a message would take, and why: the same book that messages are routed with, asked aloud.

use carillon_domain::id::{AccountNo, RouteId};
use carillon_domain::money::Money;
use carillon_domain::route::{Book, ConnectionNo, Facts, Measured, Mismatch, Route};

/// What the book says of a message.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The number's operator by the table of number ranges.
    pub operator: Option<u32>,
    /// Routes that stand before the one that decides, and why they do not fit.
    pub passed_over: Vec<(Named, Mismatch)>,
    /// The route that decides; without one, connections are tried in the order they were made.
    pub route: Option<Named>,
    /// Whether it goes by connections of the account's own, at the platform's fee.
    pub own: bool,
    /// Whether a message reported as failed goes on to the next connection.
    pub reroute: bool,
    /// In the order they would be tried.
    pub candidates: Vec<Candidate>,
}

/// A route by its names.
#[derive(Clone, Debug)]
pub struct Named {
    /// Which.
    pub id: RouteId,
    /// Whose.
    pub account: AccountNo,
    /// For people.
    pub name: String,
    /// The lowest that fits counts.
    pub rank: i32,
}

/// A connection to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub no: ConnectionNo,
    /// What a part to this number costs there.
    pub cost: Option<Money>,
    /// Delivered of a thousand, of late.
    pub delivery: Option<u16>,
    /// How many files it takes with a message, as an MMS.
    pub files: u8,
}

fn named(route: &Route) -> Named {
    Named { id: route.id, account: route.account, name: route.name.clone(), rank: route.rank }
}

/// Asks the book of a message as if it were accepted now: whose connections it takes is told by the book, too.
pub fn explain(book: &Book, measured: &(impl Measured + ?Sized), facts: &Facts<'_>) -> Explained {
    let facts = &Facts { own: book.brings_own(facts), ..*facts };
    // Without a route that decides all of them were passed over.
    let passed_over = book.passed_over(facts).into_iter().map(|(route, why)| (named(route), why)).collect();
    let candidate = |no| Candidate {
        no,
        cost: measured.cost(no, facts.digits),
        delivery: measured.delivery(no),
        files: book.carries(no).files,
    };
    Explained {
        operator: book.operator(facts.digits),
        passed_over,
        route: book.route(facts).map(named),
        own: facts.own,
        reroute: book.reroutes(facts),
        candidates: book.order(facts, measured).into_iter().map(candidate).collect(),
    }
}
