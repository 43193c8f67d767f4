//! Limits of requests: by key, by account, by address. `domain::limit` decides; here is what it remembers, in memory, bounded.
//!
//! A request passes at most three: its address before anything else, then its key and its account once they are known. What was decided is
//! left with the request's task, so that `finish` can write the headers of the IETF draft (RateLimit, RateLimit-Policy) without a look-up.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use carillon_domain::account::{Settings, Tier};
use carillon_domain::limit::{Decision, Limit};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::address::Client;
use super::{Actor, Caller};
use crate::api::error::{Code, Problem};
use crate::config;

/// Whose requests are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// All of an address.
    Address,
    /// Registering, signing in and refreshing, of an address.
    SignIn,
    /// All of a key.
    Key,
    /// All of an account.
    Account,
    /// Verifications begun, sent again and checked, of an account.
    Verification,
}

impl Class {
    /// Its name in headers and refusals.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Address => "address",
            Class::SignIn => "sign-in",
            Class::Key => "key",
            Class::Account => "account",
            Class::Verification => "verification",
        }
    }
}

const SHARDS: usize = 64;
const SECOND: u64 = 1_000_000_000;

/// A limit for each tier.
#[derive(Clone, Copy, Debug)]
struct Tiers([Option<Limit>; 3]);

impl Tiers {
    fn of(self, tier: Tier) -> Option<Limit> {
        self.0[tier as usize]
    }
}

/// The limits in force and what was used of them.
pub struct Limits {
    /// By the keyed hash of class and name: until when, in nanoseconds of the monotonic clock, it is spent.
    shards: Vec<Mutex<FxHashMap<u64, u64>>>,
    shard_max: usize,
    hasher: RandomState,
    burst_s: u32,
    exempt: Vec<super::address::Network>,
    address: Option<Limit>,
    sign_in: Option<Limit>,
    key: Tiers,
    account: Tiers,
    verification: Tiers,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits(..)")
    }
}

fn rate(per_s: u32, burst_s: u32) -> Option<Limit> {
    Limit::new(per_s.saturating_mul(burst_s), u64::from(burst_s) * SECOND)
}

impl Limits {
    /// As configured; nothing is spent.
    pub fn new(c: &config::Limits) -> Limits {
        let tiers = |regular, premium, vip| Tiers([regular, premium, vip].map(|per_s| rate(per_s, c.burst_s)));
        Limits {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: (c.memory_max / SHARDS).max(2),
            hasher: RandomState::new(),
            burst_s: c.burst_s,
            exempt: c.exempt.clone(),
            address: rate(c.address, c.burst_s),
            sign_in: Limit::new(c.sign_in_per_min, 60 * SECOND),
            key: tiers(c.key_regular, c.key_premium, c.key_vip),
            account: tiers(c.account_regular, c.account_premium, c.account_vip),
            verification: tiers(c.verification_regular, c.verification_premium, c.verification_vip),
        }
    }

    /// Whether no limit binds the client: one of the networks so configured, without a proxy between.
    pub fn exempts(&self, client: &Client) -> bool {
        client.direct && self.exempt.iter().any(|network| network.contains(client.address))
    }

    /// Counts a request of an address; `now` is the monotonic clock's.
    pub fn by_address(&self, class: Class, address: IpAddr, now: Duration) -> Result<(), Problem> {
        let limit = if class == Class::SignIn { self.sign_in } else { self.address };
        // A person has a whole /64 of IPv6.
        let name = match address.to_canonical() {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) | 1 << 127,
            IpAddr::V6(v6) => u128::from(v6) >> 64,
        };
        self.count(class, name, limit, now)
    }

    /// Counts a request of a caller against its key's and its account's limits.
    pub fn by_caller(&self, caller: &Caller, now: Duration) -> Result<(), Problem> {
        let (tier, own) = (caller.info.tier, self.own(&caller.info.settings, |own| own.requests_per_s));
        if let Actor::Key(id) = caller.actor {
            self.count(Class::Key, id.0.as_u128(), own.unwrap_or_else(|| self.key.of(tier)), now)?;
        }
        self.count(Class::Account, caller.account.0.into(), own.unwrap_or_else(|| self.account.of(tier)), now)
    }

    /// Counts a request of the stricter class of verifications.
    pub fn by_verifier(&self, caller: &Caller, now: Duration) -> Result<(), Problem> {
        let own = self.own(&caller.info.settings, |own| own.verifications_per_s);
        let limit = own.unwrap_or_else(|| self.verification.of(caller.info.tier));
        self.count(Class::Verification, caller.account.0.into(), limit, now)
    }

    /// The limit the operator gave the account; `Some(None)` is none at all.
    fn own(
        &self,
        settings: &Settings,
        which: impl Fn(&carillon_domain::account::OwnLimits) -> Option<u32>,
    ) -> Option<Option<Limit>> {
        which(&settings.limits).map(|per_s| rate(per_s, self.burst_s))
    }

    fn count(&self, class: Class, name: u128, limit: Option<Limit>, now: Duration) -> Result<(), Problem> {
        let Some(limit) = limit.filter(|_| !seen().exempt) else { return Ok(()) };
        let now = now.as_nanos() as u64;
        let key = self.hasher.hash_one((class, name));
        let mut shard = self.shards[key as usize % SHARDS].lock();
        if shard.len() >= self.shard_max && !shard.contains_key(&key) {
            make_room(&mut shard, self.shard_max, now);
        }
        let spent = shard.entry(key).or_insert(0);
        let decision = limit.decide(*spent, now);
        if let Decision::Pass { spent_until, .. } = decision {
            *spent = spent_until;
        }
        drop(shard);
        match decision {
            Decision::Pass { spent_until, remaining } => {
                note(Standing { class, limit, remaining, reset: spent_until - now });
                Ok(())
            }
            Decision::Refuse { wait } => {
                let standing = Standing { class, limit, remaining: 0, reset: wait };
                note(standing);
                metrics::counter!("carillon_rate_limited_total", "limit" => class.as_str()).increment(1);
                Err(refusal(&standing))
            }
        }
    }
}

/// Drops what has regained everything, for it is as if never seen; if that is not enough, the half that has spent least.
fn make_room(shard: &mut FxHashMap<u64, u64>, max: usize, now: u64) {
    shard.retain(|_, until| *until > now);
    if shard.len() >= max {
        let mut all: Vec<u64> = shard.values().copied().collect();
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable(middle);
        let median = *median;
        // Equal ones may all go: what is left is under the bound in any case.
        shard.retain(|_, until| *until > median);
    }
}

/// Whole seconds to wait. Intervals are rounded up to nanoseconds; those few more are no second more.
fn seconds(nanos: u64) -> u64 {
    nanos.saturating_sub(1_000).div_ceil(SECOND).max(1)
}

fn refusal(s: &Standing) -> Problem {
    let wait = u32::try_from(seconds(s.reset)).unwrap_or(u32::MAX);
    Code::RateLimited
        .with(format!(
            "more than {} requests in {} s of this {}",
            s.limit.count(),
            seconds(s.limit.window()),
            match s.class {
                Class::SignIn => "address, to sign in",
                Class::Verification => "account, about verifications",
                other => other.as_str(),
            }
        ))
        .member("violated-policies", serde_json::json!([s.class.as_str()]))
        .retry_after(wait)
}

/// How a request stands with a limit it passed, or did not.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    class: Class,
    limit: Limit,
    remaining: u32,
    /// Until all is regained; of a refused request until one may pass. Nanoseconds.
    reset: u64,
}

impl Standing {
    /// Writes the headers of draft-ietf-httpapi-ratelimit-headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        use std::io::Write;
        let mut put = |name: &'static str, args: std::fmt::Arguments<'_>| {
            let mut text = std::io::Cursor::new([0u8; 96]);
            let whole = text.write_fmt(args).is_ok();
            let written = text.position() as usize;
            if let Some(value) = HeaderValue::from_bytes(&text.get_ref()[..written]).ok().filter(|_| whole) {
                headers.insert(name, value);
            }
        };
        let name = self.class.as_str();
        let (count, window) = (self.limit.count(), seconds(self.limit.window()));
        put("ratelimit-policy", format_args!("\"{name}\";q={count};w={window}"));
        put("ratelimit", format_args!("\"{name}\";r={};t={}", self.remaining, seconds(self.reset)));
    }
}

/// What is known of the limits of the request that a task is answering.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// No limit binds it.
    pub exempt: bool,
    /// The limit that leaves the fewest.
    pub tightest: Option<Standing>,
}

tokio::task_local! {
    static SEEN: Cell<Seen>;
}

fn seen() -> Seen {
    SEEN.try_with(Cell::get).unwrap_or_default()
}

fn note(standing: Standing) {
    // Outside a request nobody asks.
    let _ = SEEN.try_with(|cell| {
        let mut seen = cell.get();
        if seen.tightest.is_none_or(|t| standing.remaining <= t.remaining) {
            seen.tightest = Some(standing);
            cell.set(seen);
        }
    });
}

/// Answers a request while its limits are noted; the answer and what was noted.
pub async fn noting<T>(exempt: bool, answer: impl Future<Output = T>) -> (T, Option<Standing>) {
    let noted = async {
        let answer = answer.await;
        (answer, seen().tightest)
    };
    SEEN.scope(Cell::new(Seen { exempt, tightest: None }), noted).await
}

#[cfg(test)]
mod tests;
