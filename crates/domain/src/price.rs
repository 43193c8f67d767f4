//! What a part costs: a base price, an express surcharge, and rates by longest prefix of the number, an account's own first. And what an
//! MMS costs, which is one message whatever it holds; and a part by a carrier that the account brought.

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
    /// What it is the price of.
    pub of: Priced,
    /// The price.
    pub price: Money,
}

/// What a rate is the price of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Priced {
    /// A part in any lane.
    Part,
    /// A part in this lane.
    PartIn(Lane),
    /// A whole message with its files.
    Mms,
}

impl Priced {
    /// Its number in the store; parts in any lane are -1, and lanes have their own.
    pub fn number(self) -> i16 {
        match self {
            Priced::Part => -1,
            Priced::PartIn(lane) => lane.number(),
            Priced::Mms => 100,
        }
    }

    /// From its number in the store.
    pub fn from_number(number: i16) -> Option<Priced> {
        match number {
            -1 => Some(Priced::Part),
            100 => Some(Priced::Mms),
            lane => Lane::from_number(lane).map(Priced::PartIn),
        }
    }
}

/// All prices, in memory; rebuilt when a rate changes.
#[derive(Clone, Debug)]
pub struct PriceBook {
    base: Money,
    express_surcharge: Money,
    mms: Money,
    own_carrier: Money,
    rates: HashMap<(AccountNo, Priced, u64), Money>,
    prefix_digits_max: u32,
}

impl PriceBook {
    /// Of a flat price, the surcharge of the express lane, and rates (those whose prefix is not digits are left out).
    pub fn new(base: Money, express_surcharge: Money, rates: impl IntoIterator<Item = Rate>) -> PriceBook {
        let (mms, own_carrier) = (base, Money::ZERO);
        let mut book =
            PriceBook { base, express_surcharge, mms, own_carrier, rates: HashMap::new(), prefix_digits_max: 0 };
        for rate in rates {
            if let Some(key) = prefix::key(&rate.prefix) {
                book.prefix_digits_max = book.prefix_digits_max.max(rate.prefix.len() as u32);
                book.rates.insert((rate.account, rate.of, key), rate.price);
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
                if let Some(price) = self.rates.get(&(owner, Priced::PartIn(lane), key)) {
                    return *price;
                }
                if let Some(price) = self.rates.get(&(owner, Priced::Part, key)) {
                    return *price + surcharge;
                }
            }
        }
        self.base + surcharge
    }

    /// With a price of an MMS where no rate says otherwise (without: that of a part), and a fee for each part by a carrier of the account's own
    /// (without: none).
    #[must_use]
    pub fn with_flat(self, mms: Money, own_carrier: Money) -> PriceBook {
        PriceBook { mms, own_carrier, ..self }
    }

    /// The price of a whole MMS to `digits`, whatever it holds: rates as for parts; the express surcharge comes on top, once.
    pub fn mms(&self, account: AccountNo, lane: Lane, digits: u64) -> Money {
        let surcharge = if lane == Lane::Express { self.express_surcharge } else { Money::ZERO };
        let listed = [account, AccountNo::PLATFORM].into_iter().find_map(|owner| {
            let mut heads = prefix::heads(digits, self.prefix_digits_max);
            heads.find_map(|key| self.rates.get(&(owner, Priced::Mms, key)))
        });
        *listed.unwrap_or(&self.mms) + surcharge
    }

    /// The platform's fee for a part, or for an MMS, by a carrier of the account's own, where the account has no fee of its own.
    pub fn own_carrier(&self) -> Money {
        self.own_carrier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_the_nearest_list_wins() {
        let of = |lane: Option<Lane>| lane.map_or(Priced::Part, Priced::PartIn);
        let rate = |no, prefix: &str, lane, price| Rate {
            account: AccountNo(no),
            prefix: prefix.into(),
            of: of(lane),
            price: Money(price),
        };
        let mms = |no, prefix: &str, price| Rate { of: Priced::Mms, ..rate(no, prefix, None, price) };
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
                mms(0, "", 400),
                mms(0, "4915", 300),
                mms(7, "49", 200),
            ],
        )
        .with_flat(Money(500), Money(3));
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
        let rows = [
            (flat.clone(), 1, Lane::Normal, 4_915_112_345_678, 50),
            (flat.with_flat(Money(500), Money::ZERO), 1, Lane::Express, 4_915_112_345_678, 520),
            (book.clone(), 1, Lane::Normal, 15_005_550_006, 400),
            (book.clone(), 1, Lane::Express, 4_915_112_345_678, 320),
            (book.clone(), 7, Lane::Normal, 4_915_112_345_678, 200),
            (book, 7, Lane::Normal, 15_005_550_006, 400),
        ];
        for (i, (book, account, lane, digits, price)) in rows.into_iter().enumerate() {
            assert_eq!(book.mms(AccountNo(account), lane, digits), Money(price), "MMS, row {i}");
        }
        for of in [Priced::Part, Priced::PartIn(Lane::Otp), Priced::PartIn(Lane::Bulk), Priced::Mms] {
            assert_eq!(Priced::from_number(of.number()), Some(of));
        }
        assert_eq!(Priced::from_number(99), None);
    }
}
