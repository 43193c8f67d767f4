//! Suggested audiences: contacts that behave alike, found by clustering what happened with them, and told as a filter that anybody can read.
//!
//! k-means over four figures of each contact, from a seed, so that the same figures give the same answer. It is written out here: the crates that
//! have it bring a library of matrices and some fifty others, for what is a page.
//!
//! A cluster is a cloud, a segment is a rule. What is suggested is the rule: the bounds that the cluster, or nine tenths of it, keeps in each figure
//! that tells it from the others. Who counts it or saves it gets exactly whom it says.

use serde_json::{Value, json};

use crate::segment::DAYS_MAX;

/// Days over which messages and answers are counted.
pub const WINDOW_DAYS: u32 = 90;
/// Fewer contacts with activity are too few to say anything about.
pub const CONTACTS_MIN: usize = 20;
/// The most clusters looked for.
const CLUSTERS_MAX: usize = 5;
/// One cluster more must explain so much of how contacts differ at all, or it is not made.
const GAIN_MIN: f64 = 0.05;
const ROUNDS_MAX: usize = 50;
const TRIES: usize = 8;
/// Figures of a contact.
const FIGURES: usize = 4;
/// The share of a cluster left out on each side of its bounds, percent.
const TAIL: usize = 5;

/// What happened with one contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Days since a message reached it; `None` if none did within [`DAYS_MAX`].
    pub quiet_days: Option<u32>,
    /// Messages that reached it within [`WINDOW_DAYS`].
    pub delivered: u32,
    /// Messages from it within [`WINDOW_DAYS`].
    pub replied: u32,
    /// Messages that did not reach it within [`WINDOW_DAYS`].
    pub failed: u32,
}

/// An audience that stands out.
#[derive(Clone, PartialEq, Debug)]
pub struct Suggestion {
    /// What it might be called.
    pub name: &'static str,
    /// Who is in it, in words.
    pub description: String,
    /// What it is good for.
    pub suited_for: &'static str,
    /// The filter, as segments have them.
    pub filter: Value,
}

/// Those who were never written to, as far back as is known.
pub fn unwritten() -> Suggestion {
    Suggestion {
        name: "New faces",
        description: "No message was sent to them within a year".to_owned(),
        suited_for: "A welcome, to those who asked for it.",
        filter: json!({"not": {"activity": "sent", "within_days": DAYS_MAX}}),
    }
}

/// One figure of a contact as whole numbers, in the order of the clouds.
fn raw(f: &Figures) -> [u32; FIGURES] {
    [f.quiet_days.unwrap_or(DAYS_MAX + 1), f.delivered, f.replied, f.failed]
}

/// Many is not twice as far from few as few is from none: counts by their logarithm.
fn scaled(f: &Figures) -> [f64; FIGURES] {
    raw(f).map(|n| f64::from(n).ln_1p())
}

/// The audiences that stand out among contacts with activity; none if there are fewer than [`CONTACTS_MIN`], or if all are alike.
pub fn suggest(contacts: &[Figures], seed: u64) -> Vec<Suggestion> {
    if contacts.len() < CONTACTS_MIN {
        return Vec::new();
    }
    let points = standardised(contacts);
    let mut best = cluster(&points, 1, seed);
    let whole = best.1;
    for k in 2..=CLUSTERS_MAX {
        let next = cluster(&points, k, seed);
        if best.1 - next.1 < whole * GAIN_MIN || whole == 0.0 {
            break;
        }
        best = next;
    }
    let of = best.0;
    let clusters = of.iter().max().map_or(0, |most| most + 1);
    let mut found: Vec<Suggestion> = Vec::new();
    for k in (0..clusters).filter(|_| clusters > 1) {
        let (members, strangers): (Vec<_>, Vec<_>) = contacts.iter().zip(&of).partition(|(_, at)| **at == k);
        let figures = |of: Vec<(&Figures, _)>| of.into_iter().map(|(f, _)| *f).collect::<Vec<_>>();
        let told = told(&figures(members), &figures(strangers), contacts);
        found.extend(told.filter(|one| !found.iter().any(|other| other.filter == one.filter)));
    }
    found
}

/// Each figure with mean 0 and deviation 1, so that none counts for more than another.
fn standardised(contacts: &[Figures]) -> Vec<[f64; FIGURES]> {
    let mut points: Vec<_> = contacts.iter().map(scaled).collect();
    let n = points.len() as f64;
    for i in 0..FIGURES {
        let mean = points.iter().map(|p| p[i]).sum::<f64>() / n;
        let deviation = (points.iter().map(|p| (p[i] - mean).powi(2)).sum::<f64>() / n).sqrt();
        for p in &mut points {
            p[i] = if deviation > 0.0 { (p[i] - mean) / deviation } else { 0.0 };
        }
    }
    points
}

fn distance(a: &[f64; FIGURES], b: &[f64; FIGURES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The nearest of some centres, and how far it is (squared).
fn nearest(p: &[f64; FIGURES], centres: &[[f64; FIGURES]]) -> (usize, f64) {
    let all = centres.iter().enumerate().map(|(i, centre)| (i, distance(p, centre)));
    all.min_by(|a, b| a.1.total_cmp(&b.1)).expect("there is a centre")
}

/// The best of several k-means: one alone may begin badly and stay so.
fn cluster(points: &[[f64; FIGURES]], k: usize, seed: u64) -> (Vec<usize>, f64) {
    let mut random = SplitMix(seed);
    let tries = (0..TRIES).map(|_| cluster_once(points, k, &mut random));
    tries.min_by(|a, b| a.1.total_cmp(&b.1)).expect("it is tried")
}

/// k-means, begun by k-means++: the cluster of each point, and the sum of squared distances from their centres.
fn cluster_once(points: &[[f64; FIGURES]], k: usize, random: &mut SplitMix) -> (Vec<usize>, f64) {
    let mut centres = vec![points[random.below(points.len())]];
    while centres.len() < k {
        let far: Vec<_> = points.iter().map(|p| nearest(p, &centres).1).collect();
        let mut left = random.unit() * far.iter().sum::<f64>();
        let next = far.iter().position(|d| {
            left -= d;
            left < 0.0
        });
        // All points stand on a centre: there are no more clusters than that.
        let Some(next) = next else { break };
        centres.push(points[next]);
    }
    let mut of = vec![usize::MAX; points.len()];
    for _ in 0..ROUNDS_MAX {
        let now: Vec<_> = points.iter().map(|p| nearest(p, &centres).0).collect();
        if now == of {
            break;
        }
        of = now;
        for (i, centre) in centres.iter_mut().enumerate() {
            let members: Vec<_> = points.iter().zip(&of).filter(|(_, at)| **at == i).map(|(p, _)| p).collect();
            if !members.is_empty() {
                *centre = std::array::from_fn(|f| members.iter().map(|p| p[f]).sum::<f64>() / members.len() as f64);
            }
        }
    }
    let sum = points.iter().map(|p| nearest(p, &centres).1).sum();
    (of, sum)
}

/// SplitMix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Bounds of one figure that the members keep and that some stranger does not. The ends of a cluster are left out where more strangers stand
/// than members.
fn bounds(figure: usize, members: &[Figures], strangers: &[Figures]) -> [Option<u32>; 2] {
    let mut of: Vec<_> = members.iter().map(|f| raw(f)[figure]).collect();
    of.sort_unstable();
    let tail = of.len() * TAIL / 100;
    let (least, most) = (of[0], of[of.len() - 1]);
    let (low, high) = (of[tail], of[of.len() - 1 - tail]);
    let strange = |within: &dyn Fn(u32) -> bool| strangers.iter().filter(|f| within(raw(f)[figure])).count();
    let low = if strange(&|n| (least..low).contains(&n)) > tail { low } else { least };
    let high = if strange(&|n| n > high && n <= most) > tail { high } else { most };
    [Some(low).filter(|low| strange(&|n| n < *low) > 0), Some(high).filter(|high| strange(&|n| n > *high) > 0)]
}

/// A cluster as a suggestion; `None` if no figure tells it from the others.
fn told(members: &[Figures], strangers: &[Figures], all: &[Figures]) -> Option<Suggestion> {
    if members.is_empty() {
        return None;
    }
    let mut filters = Vec::new();
    let mut words = Vec::new();
    let [soonest, latest] = bounds(0, members, strangers);
    let within =
        |what: &str, days: u32, at_least: u32| json!({"activity": what, "within_days": days, "at_least": at_least});
    // A filter reaches back one day at least, so today and yesterday are one.
    if let Some(days) = soonest.filter(|days| *days > 1) {
        filters.push(json!({ "not": within("delivered", days - 1, 1) }));
        words.push(match days > DAYS_MAX {
            true => "no message reached them within a year".to_owned(),
            false => format!("no message reached them for {days} days"),
        });
    }
    if let Some(days) = latest {
        let days = days.clamp(1, DAYS_MAX);
        filters.push(within("delivered", days, 1));
        words.push(format!("a message reached them within {days} days"));
    }
    for (figure, what, noun) in
        [(1, "delivered", "delivered"), (2, "replied", "from them"), (3, "failed", "not delivered")]
    {
        let [low, high] = bounds(figure, members, strangers);
        if let Some(low) = low {
            filters.push(within(what, WINDOW_DAYS, low));
            words.push(format!("{low} messages or more {noun} in {WINDOW_DAYS} days"));
        }
        if let Some(high) = high {
            filters.push(json!({ "not": within(what, WINDOW_DAYS, high + 1) }));
            words.push(match high {
                0 => format!("no messages {noun} in {WINDOW_DAYS} days"),
                most => format!("at most {most} messages {noun} in {WINDOW_DAYS} days"),
            });
        }
    }
    if filters.is_empty() {
        return None;
    }
    let (name, suited_for) = called(members, all);
    let mut description = words.join("; ");
    description[..1].make_ascii_uppercase();
    Some(Suggestion { name, description, suited_for, filter: json!({ "all": filters }) })
}

/// What a cluster is called, by how its middle stands to that of all.
fn called(members: &[Figures], all: &[Figures]) -> (&'static str, &'static str) {
    let mean =
        |of: &[Figures], figure: usize| of.iter().map(|f| f64::from(raw(f)[figure])).sum::<f64>() / of.len() as f64;
    let [quiet, delivered, replied, failed] = std::array::from_fn(|figure| mean(members, figure));
    let [all_quiet, all_delivered, all_replied, all_failed]: [f64; FIGURES] =
        std::array::from_fn(|figure| mean(all, figure));
    match () {
        () if failed > all_failed && failed > delivered => {
            ("Hard to reach", "Look into these numbers, or leave them out: what does not arrive helps nobody.")
        }
        () if replied > all_replied && replied >= 1.0 => {
            ("They answer", "Ask them for a review, a choice, a date: they write back.")
        }
        () if quiet > all_quiet => ("Gone quiet", "Win them back with one good reason; then let them be."),
        () if delivered > all_delivered => {
            ("Regulars", "Tell them first what is new. They hear from you already: not more often.")
        }
        () => ("Now and then", "A reminder with a reason to come."),
    }
}

#[cfg(test)]
mod tests;
