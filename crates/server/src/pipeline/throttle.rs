//! How fast accounts and senders may go, whatever the connections could take: parts a second, exactly (B3, B7).

use carillon_domain::account::Tier;
use carillon_domain::id::AccountNo;
use carillon_domain::rate::Rate;
use carillon_store::throughput::Throughput;
use rustc_hash::FxHashMap;

use super::queue::Job;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    accounts: FxHashMap<AccountNo, Rate>,
    senders: FxHashMap<(AccountNo, String), (u32, Rate)>,
    /// Of accounts that have no rate of their own, by tier; 0 is no limit.
    tiers: [u32; 3],
    set: Vec<Throughput>,
}

impl Throttle {
    /// Other rates. What was sent a moment ago under a rate that stays the same still counts.
    pub(super) fn set(&mut self, set: Vec<Throughput>, tiers: [u32; 3]) {
        if self.set == set && self.tiers == tiers {
            return;
        }
        let (mut accounts, mut senders) = (std::mem::take(&mut self.accounts), std::mem::take(&mut self.senders));
        let kept =
            |old: Option<Rate>, limit: u32| old.filter(|r| r.limit() == limit).unwrap_or_else(|| Rate::new(limit));
        for (flow, t) in (1u32..).zip(&set) {
            if t.sender.is_empty() {
                let old = accounts.remove(&t.account);
                self.accounts.insert(t.account, kept(old, t.parts_per_second));
            } else {
                let key = (t.account, t.sender.clone());
                let old = senders.remove(&key).map(|(_, rate)| rate);
                self.senders.insert(key, (flow, kept(old, t.parts_per_second)));
            }
        }
        (self.set, self.tiers) = (set, tiers);
    }

    /// Whether nobody is bound by anything.
    pub(super) fn is_idle(&self) -> bool {
        self.set.is_empty() && self.tiers == [0; 3]
    }

    /// Names the turns of a sender with a rate of its own; 0 if it has none.
    pub(super) fn flow(&self, job: &Job) -> u32 {
        let sender = job.message.sender.as_deref();
        let found = sender.filter(|_| !self.senders.is_empty());
        let found = found.and_then(|s| self.senders.get(&(job.message.id.account(), s.to_owned())));
        found.map_or(0, |(flow, _)| *flow)
    }

    /// Whether a message may go now; if so, its parts count.
    pub(super) fn may_go(&mut self, job: &Job, now_ms: u64) -> bool {
        let (account, cost) = (job.message.id.account(), job.cost() as u64);
        let tier = [Tier::Regular, Tier::Premium, Tier::Vip].into_iter().position(|t| t.weight() == job.weight);
        let limit = self.tiers[tier.unwrap_or(0)];
        let of_account = match self.accounts.get_mut(&account) {
            Some(rate) => Some(rate),
            None if limit > 0 => Some(self.accounts.entry(account).or_insert_with(|| Rate::new(limit))),
            None => None,
        };
        let key = job.message.sender.as_deref().filter(|_| job.sender_flow > 0).map(|s| (account, s.to_owned()));
        let of_sender = key.and_then(|key| self.senders.get_mut(&key)).map(|(_, rate)| rate);
        let mut rates: Vec<&mut Rate> = of_account.into_iter().chain(of_sender).collect();
        let free = rates.iter_mut().all(|rate| rate.available(now_ms) > 0);
        if free {
            rates.iter_mut().for_each(|rate| rate.take(now_ms, cost));
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::queue::tests::job;
    use carillon_domain::message::Lane;

    #[test]
    fn an_account_its_sender_and_its_tier_are_bound_each_by_its_own() {
        let set = |account, sender: &str, parts_per_second| Throughput {
            account: AccountNo(account),
            sender: sender.into(),
            parts_per_second,
        };
        let mut throttle = Throttle::default();
        assert!(throttle.is_idle());
        throttle.set(vec![set(1, "", 100), set(1, "+1555", 10), set(2, "", 20_000)], [50, 0, 0]);
        // account, sender, weight of its tier -> parts in ten seconds of a millisecond each
        let rows = [
            (1, None, 1, 1_000),
            (1, Some("+1555"), 1, 100),
            (2, None, 1, 10_000),
            (3, None, 1, 500),
            (3, None, 8, 10_000),
        ];
        for (account, sender, weight, expected) in rows {
            let mut throttle = Throttle::default();
            throttle.set(vec![set(1, "", 100), set(1, "+1555", 10), set(2, "", 20_000)], [50, 0, 0]);
            let mut went = 0;
            for now in 0..10_000 {
                let mut job = job(account, Lane::Normal, now, 1, weight);
                job.message.sender = sender.map(Into::into);
                job.sender_flow = throttle.flow(&job);
                went += u64::from(throttle.may_go(&job, now));
            }
            assert!(went <= expected && went * 100 >= expected * 98, "{account} {sender:?}: {went}");
        }
    }
}
