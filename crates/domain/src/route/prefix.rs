//! Tables by the leading digits of a number: the longest prefix counts.

use std::collections::HashMap;

/// Values by leading digits (country code first); the empty prefix is everywhere.
#[derive(Clone, Debug)]
pub struct PrefixMap<T> {
    values: HashMap<u64, T>,
    digits_max: u32,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        PrefixMap { values: HashMap::new(), digits_max: 0 }
    }
}

/// A prefix as a number: told apart from its leading zeros by a 1 in front (`1` + digits). None if it is not up to 15 digits.
pub(crate) fn key(prefix: &str) -> Option<u64> {
    (prefix.len() <= 15 && prefix.bytes().all(|b| b.is_ascii_digit()))
        .then(|| format!("1{prefix}").parse().expect("at most 16 digits fit"))
}

/// The prefixes of a number, from the longest of `digits_max` down to the empty one, as `key` writes them.
pub(crate) fn heads(digits: u64, digits_max: u32) -> impl Iterator<Item = u64> {
    let length = length(digits);
    (0..=digits_max.min(length)).rev().map(move |taken| digits / 10u64.pow(length - taken) + 10u64.pow(taken))
}

fn length(digits: u64) -> u32 {
    digits.checked_ilog10().map_or(0, |n| n + 1)
}

impl<T> PrefixMap<T> {
    /// Sets a prefix's value. False if it is not up to 15 digits.
    pub fn insert(&mut self, prefix: &str, value: T) -> bool {
        let Some(key) = key(prefix) else { return false };
        self.digits_max = self.digits_max.max(prefix.len() as u32);
        self.values.insert(key, value);
        true
    }

    /// The value of the longest prefix of `digits`.
    pub fn longest(&self, digits: u64) -> Option<&T> {
        if self.values.is_empty() {
            return None;
        }
        heads(digits, self.digits_max).find_map(|head| self.values.get(&head))
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Whether `digits` begins with `prefix` (which has no leading zero: country codes have none).
pub(super) fn begins(digits: u64, prefix: u64) -> bool {
    let (length, taken) = (length(digits), length(prefix));
    taken <= length && digits / 10u64.pow(length - taken) == prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let mut map = PrefixMap::default();
        assert!(["", "49", "4915", "1", "1500"].iter().all(|p| map.insert(p, *p)));
        assert!(!map.insert("4x", "4x") && !map.insert("1234567890123456", "long") && map.len() == 5);
        for (digits, expected) in
            [(4_915_112_345_678, "4915"), (4_930_123, "49"), (15_005_550_006, "1500"), (12, "1"), (33, "")]
        {
            assert_eq!(map.longest(digits), Some(&expected), "{digits}");
        }
        assert_eq!(PrefixMap::<u8>::default().longest(49), None);
        assert!(begins(4_915, 49) && begins(49, 49) && !begins(4, 49) && !begins(15, 49));
    }
}
