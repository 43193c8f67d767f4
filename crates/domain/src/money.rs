//! Money: whole micro-units of an account's currency (1 cent = 10,000). No floats anywhere near it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};

/// An amount in micro-units (a millionth of the currency's unit).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Money(pub i64);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// From whole cents.
    pub const fn from_cents(cents: i64) -> Money {
        Money(cents * 10_000)
    }

    /// Reads a decimal such as `12.5` or `-0.000001`: at most six places and within ±9 trillion units.
    pub fn parse(text: &str) -> Option<Money> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 12
            || fraction.len() > 6
            || !plain(whole)
            || !plain(fraction)
            || digits.ends_with('.')
        {
            return None;
        }
        let micros = whole.parse::<i64>().ok()? * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().ok()?;
        Some(Money(if negative { -micros } else { micros }))
    }
}

/// The decimal with at least two places and no useless zeros: `0.05`, `12.00`, `0.0075`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let six = format!("{fraction:06}");
        let places = six.trim_end_matches('0').len().max(2);
        write!(f, "{}{whole}.{}", if self.0 < 0 { "-" } else { "" }, &six[..places])
    }
}

impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}
impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        self.0 += other.0;
    }
}
impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}
impl SubAssign for Money {
    fn sub_assign(&mut self, other: Money) {
        self.0 -= other.0;
    }
}
impl Mul<i64> for Money {
    type Output = Money;
    fn mul(self, times: i64) -> Money {
        Money(self.0 * times)
    }
}
impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_as_people_read_them() {
        for (micros, text) in [
            (50_000, "0.05"),
            (12_000_000, "12.00"),
            (7_500, "0.0075"),
            (-1, "-0.000001"),
            (0, "0.00"),
            (1_234_560_000, "1234.56"),
        ] {
            assert_eq!(Money(micros).to_string(), text);
            assert_eq!(Money::parse(text), Some(Money(micros)), "{text}");
        }
        for bad in ["", "-", ".5", "1.", "1.0000001", "1e3", "1,5", "٣", "9999999999999", "+1", "--1"] {
            assert_eq!(Money::parse(bad), None, "{bad}");
        }
        assert_eq!(Money::from_cents(5) * 3, Money(150_000));
    }
}
