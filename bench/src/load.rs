//! Drives connections by a plan and tallies the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{BenchError, Connection, Histogram, Kind, Target, Template};

/// When the next request is due.
#[derive(Debug, Clone)]
pub enum Pace {
    /// As soon as the last one is answered: as fast as the server goes.
    Closed,
    /// At so many requests a second whatever the answers; latency counts from when a request was due, so that a
    /// stalled server cannot hide behind requests that were never sent.
    Rate(f64),
    /// Each connection is a user who pauses after each answer; how many are active follows the stages.
    Users {
        /// Ramps, one after another.
        stages: Vec<Stage>,
        /// Pause after an answer.
        think: Duration,
    },
}

/// A ramp from the users of the stage before (at first none) to `users`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// How long it takes.
    pub lasts: Duration,
    /// Active users at its end.
    pub users: usize,
}

/// A template and its share of the requests.
#[derive(Debug, Clone)]
pub struct Share {
    /// What is sent.
    pub template: Template,
    /// Of 100 requests; the shares of a plan add up to 100.
    pub percent: u64,
}

/// A load: what, how fast, how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// When requests are due.
    pub pace: Pace,
    /// No request starts after this time.
    pub lasts: Duration,
    /// Nor after so many requests.
    pub limit: Option<u64>,
    /// First number to write to, so that two loads of one run need not share recipients.
    pub first_ticket: u64,
    /// What is sent.
    pub shares: Vec<Share>,
}

/// What came of the requests of one kind.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// How often each status was answered.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests whose connection broke or whose answer could not be read.
    pub broken: u64,
    /// Latencies of the successful ones.
    pub latency: Histogram,
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By kind of request.
    pub kinds: BTreeMap<Kind, Answers>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// The first answer that was no success, to see why.
    pub first_failure: Option<String>,
}

impl Tally {
    /// Messages in requests answered with success.
    pub fn accepted(&self) -> u64 {
        self.kinds.iter().map(|(kind, answers)| kind.messages() * answers.latency.count()).sum()
    }

    /// Requests that were not answered with success.
    pub fn failed(&self) -> u64 {
        self.kinds
            .values()
            .map(|answers| answers.statuses.values().sum::<u64>() + answers.broken - answers.latency.count())
            .sum()
    }

    /// Messages accepted per second.
    pub fn rate(&self) -> f64 {
        self.accepted() as f64 / self.elapsed.as_secs_f64()
    }

    /// Latencies of all successful requests.
    pub fn latency(&self) -> Histogram {
        let mut all = Histogram::default();
        self.kinds.values().for_each(|answers| all.merge(&answers.latency));
        all
    }

    fn merge(&mut self, other: Tally) {
        for (kind, theirs) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            theirs.statuses.iter().for_each(|(status, count)| *mine.statuses.entry(*status).or_default() += count);
            mine.broken += theirs.broken;
            mine.latency.merge(&theirs.latency);
        }
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

/// Carries the plan out.
///
/// # Errors
/// When the server does not accept the first connection of each worker; what happens later is counted.
pub async fn drive(target: &Target, plan: Plan) -> Result<Tally, BenchError> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(Connection::open(target).await?);
    }
    let start = Instant::now();
    let shared = Arc::new(Shared { start, end: start + plan.lasts, tickets: AtomicU64::new(0), plan });
    let mut workers = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let (target, shared) = (target.clone(), Arc::clone(&shared));
        let worker = Worker { index, target, connection: Some(connection), shared, tally: Tally::default() };
        workers.spawn(worker.run());
    }
    let mut tally = Tally::default();
    while let Some(finished) = workers.join_next().await {
        tally.merge(finished.map_err(std::io::Error::other)?);
    }
    tally.elapsed = start.elapsed();
    Ok(tally)
}

struct Shared {
    start: Instant,
    end: Instant,
    tickets: AtomicU64,
    plan: Plan,
}

struct Worker {
    index: usize,
    target: Target,
    connection: Option<Connection>,
    shared: Arc<Shared>,
    tally: Tally,
}

impl Worker {
    async fn run(mut self) -> Tally {
        let mut shares = self.shared.plan.shares.clone();
        // Answers are kept beside the shares while measuring: no look-up on the way of each request.
        let mut answers = vec![Answers::default(); shares.len()];
        let pause = if let Pace::Users { think, .. } = self.shared.plan.pace { think } else { Duration::ZERO };
        while let Some((ticket, due)) = self.next().await {
            let chosen = choose(&shares, ticket);
            let template = &mut shares[chosen].template;
            let request = template.numbered(self.shared.plan.first_ticket + ticket);
            match self.exchange(request).await {
                Ok(status) => {
                    *answers[chosen].statuses.entry(status).or_default() += 1;
                    if template.kind.accepts(status) {
                        answers[chosen].latency.record(due.elapsed());
                    }
                }
                Err(error) => {
                    answers[chosen].broken += 1;
                    self.tally.first_failure.get_or_insert_with(|| error.to_string());
                }
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        for (share, answers) in shares.into_iter().zip(answers) {
            let kinds = BTreeMap::from([(share.template.kind, answers)]);
            self.tally.merge(Tally { kinds, ..Tally::default() });
        }
        self.tally
    }

    /// Waits until this worker's next request is due; `None` when the load is over.
    async fn next(&self) -> Option<(u64, Instant)> {
        let Shared { start, end, tickets, plan } = &*self.shared;
        if let Pace::Users { stages, .. } = &plan.pace {
            while self.index >= users_at(stages, start.elapsed()) && Instant::now() < *end {
                sleep(Duration::from_millis(100)).await; // an idle user looks again
            }
        }
        let ticket = tickets.fetch_add(1, Ordering::Relaxed);
        let due = match plan.pace {
            Pace::Rate(per_second) => *start + Duration::from_secs_f64(ticket as f64 / per_second),
            Pace::Closed | Pace::Users { .. } => Instant::now(),
        };
        if due >= *end || plan.limit.is_some_and(|limit| ticket >= limit) {
            return None;
        }
        if matches!(plan.pace, Pace::Rate(_)) {
            sleep_until(due).await;
        }
        Some((ticket, due))
    }

    /// One request; a connection that broke before is opened anew.
    async fn exchange(&mut self, request: &[u8]) -> Result<u16, BenchError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.target).await?,
        };
        let answer = connection.exchange(request).await?;
        if answer.status >= 300 && self.tally.first_failure.is_none() {
            let body = String::from_utf8_lossy(connection.body()).into_owned();
            self.tally.first_failure = Some(format!("{}: {body}", answer.status));
        }
        if !answer.closing {
            self.connection = Some(connection);
        }
        Ok(answer.status)
    }
}

/// Which share the ticket falls to: of any 100 tickets in a row, each share gets its percentage, spread out (37 has no
/// factor in common with 100, so the steps visit every place).
fn choose(shares: &[Share], ticket: u64) -> usize {
    let mut place = ticket * 37 % 100;
    for (index, share) in shares.iter().enumerate() {
        if place < share.percent {
            return index;
        }
        place -= share.percent;
    }
    shares.len() - 1
}

/// Active users at that time, on the straight line between the ends of the stages.
fn users_at(stages: &[Stage], elapsed: Duration) -> usize {
    let (mut before, mut since) = (0.0, elapsed.as_secs_f64());
    for stage in stages {
        let (lasts, users) = (stage.lasts.as_secs_f64(), stage.users as f64);
        if since < lasts {
            return (before + (users - before) * since / lasts).round() as usize;
        }
        (before, since) = (users, since - lasts);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_ramp_between_stages() {
        let stage = |seconds, users| Stage { lasts: Duration::from_secs(seconds), users };
        let stages = [stage(10, 100), stage(20, 100), stage(10, 0)];
        for (seconds, users) in [(0, 0), (5, 50), (10, 100), (29, 100), (35, 50), (39, 10), (40, 0), (100, 0)] {
            assert_eq!(users_at(&stages, Duration::from_secs(seconds)), users, "after {seconds} s");
        }
        assert_eq!(users_at(&[stage(0, 7), stage(10, 7)], Duration::ZERO), 7, "a stage of no length is a step");
    }

    #[test]
    fn shares_are_exact_over_a_hundred_tickets() {
        let target = Target::new("http://h:1", "").unwrap();
        let shares = [(Kind::Normal, 80), (Kind::Express, 15), (Kind::Otp, 5)]
            .map(|(kind, percent)| Share { template: Template::new(&target, kind, "x"), percent });
        let mut counts = [0; 3];
        (500..600).for_each(|ticket| counts[choose(&shares, ticket)] += 1);
        assert_eq!(counts, [80, 15, 5]);
    }
}
