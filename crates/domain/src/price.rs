//! What a part costs: a base price, an express surcharge, and rates by longest prefix of the number, an account's own first.

use std::collections::HashMap;

use crate::id::AccountNo;
use crate::message::Lane;
use crate::money::Money;
use crate::route::prefix;

/// One row of a price list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Whose list; the platform's is everybody's.
    pub account: AccountNo,
    /// Leading digits of the number, country code first; empty is everywhere.
    pub prefix: String,
    /// The lane it is for; `None` is any.
    pub lane: Option<Lane>,
    /// Price of one part.
    pub price: Money,
}

/// All prices, in memory; rebuilt when a rate changes.
#[derive(Clone, Debug)]
pub struct PriceBook {
    base: Money,
    express_surcharge: Money,
    rates: HashMap<(AccountNo, Option<Lane>, u64), Money>,
    prefix_digits_max: u32,
}

impl PriceBook {
    /// Of a flat price, the surcharge of the express lane, and rates (those whose prefix is not digits are left out).
    pub fn new(base: Money, express_surcharge: Money, rates: impl IntoIterator<Item = Rate>) -> PriceBook {
        let mut book = PriceBook { base, express_surcharge, rates: HashMap::new(), prefix_digits_max: 0 };
        for rate in rates {
            if let Some(key) = prefix::key(&rate.prefix) {
                book.prefix_digits_max = book.prefix_digits_max.max(rate.prefix.len() as u32);
                book.rates.insert((rate.account, rate.lane, key), rate.price);
            }
        }
        book
    }

    /// The price of one part to `digits` (E.164 without +). An account's own rates win over the platform's, a longer prefix over a shorter,
    /// a rate for the lane over one for any; the surcharge comes on top unless the rate is the express lane's own.
    pub fn part(&self, account: AccountNo, lane: Lane, digits: u64) -> Money {
        let surcharge = if lane == Lane::Express { self.express_surcharge } else { Money::ZERO };
        if self.rates.is_empty() {
            return self.base + surcharge;
        }
        for owner in [account, AccountNo::PLATFORM] {
            for key in prefix::heads(digits, self.prefix_digits_max) {
                if let Some(price) = self.rates.get(&(owner, Some(lane), key)) {
                    return *price;
                }
                if let Some(price) = self.rates.get(&(owner, None, key)) {
                    return *price + surcharge;
                }
            }
        }
        self.base + surcharge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_the_nearest_list_wins() {
        let rate = |no, prefix: &str, lane, price| Rate {
            account: AccountNo(no),
            prefix: prefix.into(),
            lane,
            price: Money(price),
        };
        let flat = PriceBook::new(Money(50), Money(20), []);
        let book = PriceBook::new(
            Money(50),
            Money(20),
            [
                rate(0, "49", None, 70),
                rate(0, "4915", None, 80),
                rate(0, "49", Some(Lane::Express), 75),
                rate(7, "", None, 10),
                rate(7, "491", Some(Lane::Otp), 5),
                rate(0, "4x", None, 1),
            ],
        );
        let rows = [
            (&flat, 1, Lane::Normal, 4_915_112_345_678, 50),
            (&flat, 1, Lane::Express, 4_915_112_345_678, 70),
            (&book, 1, Lane::Normal, 4_915_112_345_678, 80),
            (&book, 1, Lane::Express, 4_915_112_345_678, 100),
            (&book, 1, Lane::Express, 4_930_123, 75),
            (&book, 1, Lane::Normal, 4_930_123, 70),
            (&book, 1, Lane::Normal, 15_005_550_006, 50),
            (&book, 7, Lane::Normal, 4_915_112_345_678, 10),
            (&book, 7, Lane::Otp, 4_915_112_345_678, 5),
            (&book, 7, Lane::Express, 15_005_550_006, 30),
        ];
        for (i, (book, account, lane, digits, price)) in rows.into_iter().enumerate() {
            assert_eq!(book.part(AccountNo(account), lane, digits), Money(price), "row {i}");
        }
    }
}
