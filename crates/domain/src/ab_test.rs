//! A/B tests of campaigns: who of an audience is in the test and in which part of it, and what its numbers say.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

use crate::campaign::Content;
use crate::id::CampaignId;
use crate::message::numbered;

/// How many variants a test has at least.
pub const VARIANTS_MIN: usize = 2;
/// And at most.
pub const VARIANTS_MAX: usize = 5;
/// Quantile of the normal distribution that 95 % lie within, on both sides.
const Z_95: f64 = 1.959_964;
/// A difference is told from chance where chance makes one so large less often than this.
const SIGNIFICANT: f64 = 0.05;
/// Below so many expected of either outcome the normal distribution is no measure.
const EXPECTED_MIN: f64 = 5.0;

numbered! {
    /// What makes a variant better.
    Metric: i16 {
        /// More of its messages arrive.
        Delivered = 0 "delivered",
        /// More of its recipients answer, stops aside.
        Replied = 1 "replied",
        /// More of its recipients open a link.
        Clicked = 2 "clicked",
    }
}

numbered! {
    /// Who chose the winner.
    Chooser: i16 {
        /// The numbers did.
        Numbers = 0 "numbers",
        /// Somebody did.
        Person = 1 "person",
    }
}

/// What one part of the test is sent; what it does not say is as the campaign says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Variant {
    /// The text with its places.
    pub text: Option<String>,
    /// What it is from.
    pub from: Option<String>,
}

/// A test, as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AbTest {
    /// 2 to 5.
    pub variants: Vec<Variant>,
    /// Percent of the audience that is in the test, 1 to 99.
    pub share: u8,
    /// `Metric::as_str`.
    pub metric: String,
    /// From the last message of the test to the decision, seconds.
    pub decide_after_s: u32,
    /// Whether a person decides where the numbers do not; else the leading one wins.
    pub ask: bool,
}

impl AbTest {
    /// What makes a variant better; deliveries, if a newer version wrote what this one does not know.
    pub fn metric(&self) -> Metric {
        Metric::from_name(&self.metric).unwrap_or(Metric::Delivered)
    }
}

impl Content {
    /// What a variant's recipients get; without a test, and beyond its variants, the campaign's own.
    pub fn of_variant(&self, variant: usize) -> Content {
        let mut content = Content { ab_test: None, ..self.clone() };
        if let Some(v) = self.ab_test.as_ref().and_then(|test| test.variants.get(variant)) {
            content.text = v.text.clone().or(content.text);
            content.from = v.from.clone().or(content.from);
        }
        content
    }

    /// All that it sends: one for each variant, or the one.
    pub fn variants(&self) -> Vec<Content> {
        let count = self.ab_test.as_ref().map_or(1, |test| test.variants.len());
        (0..count).map(|variant| self.of_variant(variant)).collect()
    }
}

/// What a variant is called: A, B and so on.
pub fn letter(variant: usize) -> char {
    char::from(b'A' + (variant % 26) as u8)
}

/// Which variant of a campaign's test a number is in, if it is in it: always the same. With a larger share all that were in it still are,
/// each in its variant.
pub fn variant_of(campaign: CampaignId, phone_tag: i64, share: u8, variants: usize) -> Option<usize> {
    let (high, low) = campaign.0.as_u64_pair();
    let mut hasher = SipHasher24::new_with_keys(high, low);
    hasher.write(&phone_tag.to_be_bytes());
    let hash = hasher.finish();
    // Two halves that know nothing of each other: one says whether, the other which.
    let (whether, which) = (hash >> 32, hash & 0xffff_ffff);
    (whether * 100 < u64::from(share) << 32).then(|| ((which * variants as u64) >> 32) as usize)
}

/// What became of a variant's messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Messages that were handed in.
    pub messages: u64,
    /// Of them, those that arrived.
    pub delivered: u64,
    /// Recipients who answered, stops aside.
    pub replied: u64,
    /// Recipients who opened a link.
    pub clicked: u64,
}

impl Counts {
    /// How many of how many succeeded.
    pub fn of(&self, metric: Metric) -> (u64, u64) {
        let succeeded = match metric {
            Metric::Delivered => self.delivered,
            Metric::Replied => self.replied,
            Metric::Clicked => self.clicked,
        };
        (succeeded.min(self.messages), self.messages)
    }
}

/// What the numbers say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Finding {
    /// The variant with the highest rate; of equals the first.
    pub leading: usize,
    /// How often chance alone would set it so far apart from the closest other, corrected for the number of comparisons; `None` where there are too
    /// few to say.
    pub p_value: Option<f64>,
}

impl Finding {
    /// Whether the leading one is told from chance.
    pub fn significant(&self) -> bool {
        self.p_value.is_some_and(|p| p < SIGNIFICANT)
    }
}

/// Compares variants, each (succeeded, of all). The leading one is found by looking, so that every pair counts as a comparison (Bonferroni).
pub fn compare(counts: &[(u64, u64)]) -> Finding {
    // Of two fractions the larger, without rounding; of equals the first.
    let larger = |a: (u64, u64), b: (u64, u64)| {
        u128::from(a.0) * u128::from(b.1.max(1)) > u128::from(b.0) * u128::from(a.1.max(1))
    };
    let leading = (1..counts.len()).fold(0, |best, i| if larger(counts[i], counts[best]) { i } else { best });
    let pairs = (counts.len() * counts.len().saturating_sub(1) / 2) as f64;
    let others = counts.iter().enumerate().filter(|(i, _)| *i != leading);
    let values: Option<Vec<f64>> = others.map(|(_, other)| two_proportions(counts[leading], *other)).collect();
    let highest = values.and_then(|values| values.into_iter().reduce(f64::max));
    Finding { leading, p_value: highest.map(|p| (p * pairs).min(1.0)) }
}

/// Two-sided p-value of the pooled two-proportion z-test; `None` where there are too few to say.
pub fn two_proportions(a: (u64, u64), b: (u64, u64)) -> Option<f64> {
    let [(x, n), (y, m)] = [a, b].map(|(x, n)| (x as f64, n as f64));
    let pooled = (x + y) / (n + m);
    let expected = n.min(m) * pooled.min(1.0 - pooled);
    // Not a number, without any messages, is too few too.
    if !matches!(expected.partial_cmp(&EXPECTED_MIN), Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)) {
        return None;
    }
    let z = (x / n - y / m) / (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    Some(beyond(z.abs()))
}

/// The part of the normal distribution that lies farther out than `z` on both sides: Abramowitz and Stegun 7.1.26, within 1.5e-7.
fn beyond(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let factors = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    factors.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}

/// The interval that holds the true rate with 95 % confidence (Wilson); from 0 to 1 where there is nothing to go by.
pub fn wilson((succeeded, of): (u64, u64)) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (of as f64, Z_95 * Z_95);
    let rate = succeeded as f64 / n;
    let middle = (rate + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = Z_95 / (1.0 + z2 / n) * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    ((middle - reach).max(0.0), (middle + reach).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountNo;
    use proptest::prelude::*;

    fn campaign(n: u64) -> CampaignId {
        CampaignId::new(1_795_262_400_000, n, AccountNo(7))
    }

    proptest! {
        #[test]
        fn who_is_in_it_stays_so(n: u64, tag: i64, share in 1u8..=99, more in 1u8..=99, variants in 2usize..=5) {
            let found = variant_of(campaign(n), tag, share, variants);
            prop_assert_eq!(found, variant_of(campaign(n), tag, share, variants));
            prop_assert!(found.is_none_or(|v| v < variants));
            if let (Some(_), true) = (found, more >= share) {
                prop_assert_eq!(found, variant_of(campaign(n), tag, more, variants));
            }
        }

        #[test]
        fn rates_lie_within_their_intervals(of in 1u64..1_000_000, part in 0u64..=1_000) {
            let succeeded = of * part / 1_000;
            let (low, high) = wilson((succeeded, of));
            let rate = succeeded as f64 / of as f64;
            prop_assert!(0.0 <= low && low <= rate + 1e-9 && rate <= high + 1e-9 && high <= 1.0);
        }

        #[test]
        fn chances_are_chances(counts in proptest::collection::vec((0u64..5_000, 0u64..5_000), 2..=5)) {
            let counts: Vec<_> = counts.into_iter().map(|(x, more)| (x, x + more)).collect();
            let found = compare(&counts);
            prop_assert!(found.leading < counts.len());
            prop_assert!(found.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)), "{:?}", found);
        }
    }

    /// Shares sum up: of 100,000 numbers about the share is in the test, and each variant has about its part of it.
    #[test]
    fn shares_are_about_as_large_as_they_say() {
        for (share, variants) in [(1, 2), (20, 2), (20, 5), (50, 3), (99, 4)] {
            let mut parts = vec![0usize; variants];
            let members = (0..100_000).filter_map(|tag| variant_of(campaign(1), tag, share, variants));
            members.for_each(|v| parts[v] += 1);
            let each = 1_000 * usize::from(share) / variants;
            for part in parts {
                assert!(
                    part.abs_diff(each) < 5 * (each as f64).sqrt() as usize,
                    "{share} % in {variants}: {part}, not {each}"
                );
            }
        }
    }

    /// Values of R: prop.test(c(x, y), c(n, m), correct = FALSE).
    #[test]
    fn p_values_as_the_tables_have_them() {
        for (a, b, expected) in [
            ((60, 100), (40, 100), Some(0.004_678)),
            ((55, 100), (45, 100), Some(0.157_299)),
            ((50, 100), (50, 100), Some(1.0)),
            ((4, 10), (1, 10), None),
            ((0, 100), (0, 100), None),
            ((0, 0), (5, 10), None),
        ] {
            match (two_proportions(a, b), expected) {
                (Some(p), Some(expected)) => assert!((p - expected).abs() < 1e-5, "{a:?} {b:?}: {p}"),
                (found, expected) => assert_eq!(found, expected, "{a:?} {b:?}"),
            }
        }
    }

    #[test]
    fn intervals_as_the_tables_have_them() {
        for (counts, low, high) in
            [((0, 0), 0.0, 1.0), ((0, 10), 0.0, 0.277_5), ((5, 10), 0.236_6, 0.763_4), ((98, 100), 0.930_0, 0.994_5)]
        {
            let found = wilson(counts);
            assert!((found.0 - low).abs() < 1e-4 && (found.1 - high).abs() < 1e-4, "{counts:?}: {found:?}");
        }
    }

    /// The same two rates are a clear difference of two, and none of five: there were ten pairs to find one in.
    #[test]
    fn who_leads_and_whether_it_is_told_from_chance() {
        let rows: [(&[(u64, u64)], usize, bool); 7] = [
            (&[(60, 100), (40, 100)], 0, true),
            (&[(40, 100), (60, 100)], 1, true),
            (&[(40, 100), (60, 100), (40, 100), (40, 100), (40, 100)], 1, true),
            (&[(42, 100), (58, 100)], 1, true),
            (&[(42, 100), (58, 100), (42, 100), (42, 100), (42, 100)], 1, false),
            (&[(5, 10), (5, 10)], 0, false),
            (&[(0, 0), (0, 0), (0, 0)], 0, false),
        ];
        for (counts, leading, significant) in rows {
            let found = compare(counts);
            assert_eq!((found.leading, found.significant()), (leading, significant), "{counts:?}: {found:?}");
        }
    }

    #[test]
    fn a_variant_says_what_it_says_and_the_campaign_the_rest() {
        let variants =
            vec![Variant { text: Some("B".into()), from: None }, Variant { text: None, from: Some("Shop".into()) }];
        let test = AbTest { variants, share: 20, metric: "replied".into(), decide_after_s: 3_600, ask: false };
        let content = Content { text: Some("A".into()), ab_test: Some(test), ..Content::default() };
        let said: Vec<_> = content.variants().into_iter().map(|c| (c.text, c.from, c.ab_test)).collect();
        assert_eq!(said, [(Some("B".into()), None, None), (Some("A".into()), Some("Shop".into()), None)]);
        assert_eq!((letter(0), letter(4)), ('A', 'E'));
    }
}
