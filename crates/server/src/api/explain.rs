//! Which connection a message would take, and why: asked of the routes in force, as messages are.

use std::collections::HashMap;

use axum::extract::State;
use carillon_domain::id::{AccountId, AccountNo, ConnectionId, RouteId};
use carillon_domain::message::Lane;
use carillon_domain::price::PriceBook;
use carillon_domain::route::{ConnectionNo, Facts};
use carillon_domain::sender::Sender;
use carillon_store::account::{self, Account};
use carillon_store::connection::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::carriers::Manager;
use super::connections::{States, states, usable};
use super::error::{Code, Problem};
use super::extract::Json;
use crate::app::App;
use crate::pipeline::LineState;
use crate::pipeline::prepare::recipient;
use crate::routing::explain::{Explained, Named, explain as ask};

/// A message as it would be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The number written to.
    #[schema(example = "+4915112345678")]
    to: String,
    /// What it is from; the account's default sender if not given.
    from: Option<String>,
    /// `otp`, `express`, `normal` (if not given) or `bulk`.
    lane: Option<String>,
    /// As in a message: the same as `lane: express`.
    #[serde(default)]
    express: bool,
    /// As in a message: the same as `lane: otp`.
    #[serde(default)]
    otp: bool,
    /// Its tags.
    #[serde(default)]
    tags: Vec<String>,
    /// Whose it would be, for operators; the caller's own if not given.
    #[schema(value_type = Option<String>)]
    account: Option<AccountId>,
    /// When it would go, RFC 3339; now if not given.
    at: Option<String>,
}

/// Where it would go, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The number, E.164.
    #[schema(example = "+4915112345678")]
    to: String,
    /// Its country.
    #[schema(example = "DE")]
    country: Option<String>,
    /// Its operator by the table of number ranges: MCC and MNC.
    #[schema(example = "26201")]
    operator: Option<String>,
    /// Its lane.
    #[schema(example = "normal")]
    lane: &'static str,
    /// Routes that come before the one that decides, and why they do not fit.
    passed_over: Vec<PassedOver>,
    /// The route that decides; null: none fits, and the account's own connections are tried in order, or the platform's if it has none.
    route: Option<RouteName>,
    /// Whether it goes on to the next connection when a carrier that took it reports that it failed.
    reroute: bool,
    /// The connections it may take, in the order it would try them.
    candidates: Vec<CandidateView>,
    /// The others that might have been meant, and why not.
    rejected: Vec<Rejected>,
    /// What it would cost.
    price: PriceNow,
    /// The name of the connection it would take now; null: none is there, it would wait.
    #[schema(example = "acme")]
    takes: Option<String>,
}

/// What a message would cost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedPrice)]
pub struct PriceNow {
    /// `price_list`, or `own_carrier_fee`: it goes by connections of the account's own, at the platform's fee.
    #[schema(example = "price_list")]
    basis: &'static str,
    /// Of a part, decimal.
    #[schema(example = "0.05")]
    per_part: String,
    /// Of a whole MMS, decimal: where a candidate takes its files.
    #[schema(example = "0.15")]
    per_mms: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
}

impl PriceNow {
    fn of(prices: &PriceBook, account: &Account, lane: Lane, digits: u64, own: bool) -> PriceNow {
        let fee = account.settings.own_carrier_fee.unwrap_or(prices.own_carrier());
        let listed = || (prices.part(account.no, lane, digits), prices.mms(account.no, lane, digits));
        let (part, mms) = if own { (fee, fee) } else { listed() };
        PriceNow {
            basis: if own { "own_carrier_fee" } else { "price_list" },
            per_part: part.to_string(),
            per_mms: mms.to_string(),
            currency: account.currency.clone(),
        }
    }
}

/// A route that does not fit.
#[derive(Debug, Serialize, ToSchema)]
pub struct PassedOver {
    /// Which.
    #[serde(flatten)]
    route: RouteName,
    /// The condition that does not fit: `account`, `prefix`, `country`, `operator`, `sender`, `lane`, `tag`, `hours`; or `connections`: none
    /// of those it names is in use.
    #[schema(example = "country")]
    reason: &'static str,
}

/// A route by its names.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteName {
    /// Null if it is the platform's and the caller no operator.
    #[schema(value_type = Option<String>)]
    id: Option<RouteId>,
    /// `platform` or `account`.
    owner: &'static str,
    /// Null if it is the platform's and the caller no operator.
    name: Option<String>,
    /// The lowest that fits counts.
    rank: Option<i32>,
}

/// A connection that may be taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandidateView {
    /// Null if it is the platform's and the caller no operator.
    #[schema(value_type = Option<String>)]
    connection: Option<ConnectionId>,
    /// Its name.
    name: String,
    /// `up`, `down` (no session is bound) or `resting` (the carrier kept failing).
    #[schema(example = "up")]
    state: &'static str,
    /// Of a part to this number, by its rate table; null without a line, or if it is not the caller's.
    #[schema(example = "0.0075")]
    cost: Option<String>,
    /// Delivered of a thousand over the last hour; null if too few were sent to say, or if it is not the caller's.
    #[schema(example = 981)]
    delivered_per_mille: Option<u16>,
    /// How many files it takes with a message, as an MMS; to others they go as links.
    #[schema(example = 10)]
    mms_files: u8,
}

/// A connection that is not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rejected {
    /// Which.
    #[schema(value_type = String)]
    connection: ConnectionId,
    /// Its name.
    name: String,
    /// `disabled`; `idle_sandbox`: a sandbox counts only where there is no carrier; `not_running`: it cannot be started, the log says why;
    /// `not_in_route`: the route that decides does not name it; `own_first`: the account has connections of its own.
    #[schema(example = "not_in_route")]
    reason: &'static str,
}

/// Explain which connection a message would take.
///
/// Nothing is sent. Weighted groups draw anew with each question, as they do with each message.
#[utoipa::path(post, path = "/v1/routes/explain", tag = "Carriers", operation_id = "explainRoute", request_body = Question,
    responses((status = 200, body = Explanation)))]
pub async fn explain(
    State(app): State<App>,
    manager: Manager,
    Json(question): Json<Question>,
) -> Result<Json<Explanation>, Problem> {
    let account = asked_account(&app, &manager, question.account).await?;
    let phone = recipient(&question.to, &account.settings)
        .map_err(|e| Code::InvalidValue.at("#/to", e.reason.to_string()))?
        .phone;
    let lane = lane(&question)?;
    let sender = sender(&question, &account)?;
    let now_ms = question.at.as_deref().map(instant).transpose()?.unwrap_or_else(|| app.clock.now_ms());
    let facts = Facts {
        account: account.no,
        digits: phone.digits(),
        country: phone.country(),
        sender: sender.as_deref(),
        lane,
        own: false,
        tags: &question.tags,
        now_ms,
        random: rand::random(),
    };
    let explained = app.pipeline.with_routes(|book, measured| ask(book, measured, &facts));
    let price = PriceNow::of(&app.pipeline.terms().prices, &account, lane, phone.digits(), explained.own);
    let mut rows = usable(&app, AccountNo::PLATFORM).await?;
    rows.extend(usable(&app, account.no).await?);
    let seen = Seen {
        rows: rows.into_values().map(|row| (row.no, row)).collect(),
        states: states(&app),
        operates: manager.operates(),
    };
    let country = phone.country().map(|c| c.to_string());
    Ok(Json(seen.explanation(phone.to_string(), country, lane, account.no, explained, price)))
}

async fn asked_account(app: &App, manager: &Manager, named: Option<AccountId>) -> Result<Account, Problem> {
    match named {
        Some(id) if id != manager.0.info.id && manager.operates() => Ok(account::by_id(&app.db, id).await?),
        Some(id) if id != manager.0.info.id => Err(Code::Forbidden.with("only operators name another account")),
        _ => Ok((**manager.0.info).clone()),
    }
}

fn lane(question: &Question) -> Result<Lane, Problem> {
    let named = match &question.lane {
        Some(text) => Some(
            Lane::from_name(text)
                .ok_or_else(|| Code::InvalidValue.at("#/lane", "`otp`, `express`, `normal` or `bulk`"))?,
        ),
        None => None,
    };
    let meant = [named, question.express.then_some(Lane::Express), question.otp.then_some(Lane::Otp)];
    let mut meant = meant.into_iter().flatten();
    let first = meant.next().unwrap_or(Lane::Normal);
    if meant.any(|other| other != first) {
        return Err(Code::ConflictingFields.at("#/lane", "`lane`, `express` and `otp` say different things"));
    }
    Ok(first)
}

fn sender(question: &Question, account: &Account) -> Result<Option<String>, Problem> {
    let text = question.from.as_ref().or(account.settings.default_sender.as_ref());
    let read = |text: &String| text.parse::<Sender>().map(|s| s.as_str().to_owned());
    text.map(read).transpose().map_err(|e| Code::InvalidValue.at("#/from", e.to_string()))
}

fn instant(text: &str) -> Result<i64, Problem> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| Code::InvalidValue.at("#/at", "an RFC 3339 instant such as 2027-01-31T00:00:00Z"))?;
    Ok(at.as_millisecond())
}

/// What there is to be shown, and to whom.
struct Seen {
    rows: HashMap<ConnectionNo, Connection>,
    states: States,
    operates: bool,
}

impl Seen {
    fn explanation(
        &self,
        to: String,
        country: Option<String>,
        lane: Lane,
        account: AccountNo,
        explained: Explained,
        price: PriceNow,
    ) -> Explanation {
        let up = |no: &ConnectionNo| self.states.get(no).is_some_and(|s| s.state == LineState::Up);
        let order: Vec<ConnectionNo> = explained.candidates.iter().map(|c| c.no).collect();
        let taken = order.iter().find(|no| up(no)).or(order.first());
        // What it is, is the operator's business.
        let shown = |route: &Named| self.operates || route.account != AccountNo::PLATFORM;
        Explanation {
            to,
            country,
            operator: explained.operator.map(|operator| format!("{operator:05}")),
            lane: lane.as_str(),
            passed_over: explained
                .passed_over
                .iter()
                .filter(|(route, _)| shown(route) && [AccountNo::PLATFORM, account].contains(&route.account))
                .map(|(route, why)| PassedOver { route: self.name(route), reason: why.as_str() })
                .collect(),
            rejected: self.rejected(account, &explained, &order),
            price,
            takes: taken.and_then(|no| self.rows.get(no)).map(|row| row.name.clone()),
            reroute: explained.reroute,
            candidates: explained.candidates.iter().filter_map(|c| self.candidate(c)).collect(),
            route: explained.route.map(|route| self.name(&route)),
        }
    }

    fn name(&self, route: &Named) -> RouteName {
        let platform = route.account == AccountNo::PLATFORM;
        let shown = self.operates || !platform;
        RouteName {
            id: shown.then_some(route.id),
            owner: if platform { "platform" } else { "account" },
            name: shown.then(|| route.name.clone()),
            rank: shown.then_some(route.rank),
        }
    }

    fn candidate(&self, c: &crate::routing::explain::Candidate) -> Option<CandidateView> {
        let row = self.rows.get(&c.no)?;
        let shown = self.operates || row.account != AccountNo::PLATFORM;
        Some(CandidateView {
            connection: shown.then_some(row.id),
            name: row.name.clone(),
            state: self.states.get(&c.no).map_or("down", |s| s.state.as_str()),
            cost: c.cost.filter(|_| shown).map(|cost| cost.to_string()),
            delivered_per_mille: c.delivery.filter(|_| shown),
            mms_files: c.files,
        })
    }

    /// The account's own, and for operators the platform's, that the message would not take at all.
    fn rejected(&self, account: AccountNo, explained: &Explained, order: &[ConnectionNo]) -> Vec<Rejected> {
        let shown = |row: &&Connection| !order.contains(&row.no) && (self.operates || row.account == account);
        let mut rows: Vec<_> = self.rows.values().filter(shown).collect();
        rows.sort_by_key(|row| row.no);
        let reject = |row: &Connection| Rejected {
            connection: row.id,
            name: row.name.clone(),
            reason: match (self.states.contains_key(&row.no), &explained.route) {
                _ if !row.enabled => "disabled",
                (false, _) if row.kind == "sandbox" || row.settings.is_none() => "idle_sandbox",
                (false, _) => "not_running",
                (true, Some(_)) => "not_in_route",
                (true, None) => "own_first",
            },
        };
        rows.into_iter().map(reject).collect()
    }
}
