//! Verifying that somebody holds a phone number: the life of one verification, and the rules that keep others from making
//! money with codes that nobody asked for (SMS pumping).
//!
//! Pure: whether a code is right, what time it is, and how much was sent before are handed in.

use serde::{Deserialize, Serialize};

use crate::limit::Limit;
use crate::phone::{Country, Phone};

/// Where a verification stands. All but `Pending` are final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum State {
    /// The code may be checked.
    Pending = 0,
    /// The right code was given.
    Approved = 1,
    /// Ended by the caller.
    Canceled = 2,
    /// Its time was over first.
    Expired = 3,
    /// Too many wrong codes.
    MaxAttemptsReached = 4,
    /// No carrier took the code.
    Failed = 5,
}

impl State {
    /// Every state, by number.
    pub const ALL: [State; 6] =
        [State::Pending, State::Approved, State::Canceled, State::Expired, State::MaxAttemptsReached, State::Failed];

    /// As it is stored.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// From its column.
    pub fn from_number(number: i16) -> Option<State> {
        State::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Approved => "approved",
            State::Canceled => "canceled",
            State::Expired => "expired",
            State::MaxAttemptsReached => "max_attempts_reached",
            State::Failed => "failed",
        }
    }
}

/// Everything of a verification that events change, and the bounds it was made with. Instants are Unix milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// As stored; `state_at` says what it is now.
    pub state: State,
    /// Codes checked, the right one too.
    pub attempts: u16,
    /// How many there may be.
    pub attempts_max: u16,
    /// Codes sent, the first too.
    pub sends: u16,
    /// How many there may be.
    pub sends_max: u16,
    /// When the last was sent.
    pub sent_at: i64,
    /// How long after it the next may be, milliseconds.
    pub resend_after: i64,
    /// When it is over.
    pub expires_at: i64,
    /// When it reached its final state.
    pub ended_at: Option<i64>,
}

/// What a check did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// The code was right: approved, once.
    Approved,
    /// It was wrong; how many more may be tried, 0 when that was the last.
    Wrong(u16),
    /// It had ended before; nothing was counted.
    Ended(State),
}

/// Why no other code is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoResend {
    /// So many milliseconds too early.
    TooSoon(i64),
    /// As many were sent as may be.
    TooMany,
    /// It has ended.
    Ended(State),
}

impl Progress {
    /// Where it stands at `now`.
    pub fn state_at(&self, now: i64) -> State {
        if self.state == State::Pending && self.expires_at <= now { State::Expired } else { self.state }
    }

    /// Makes durable that its time is over; whether that was news.
    pub fn expire(&mut self, now: i64) -> bool {
        let over = self.state == State::Pending && self.expires_at <= now;
        if over {
            self.end(State::Expired, self.expires_at);
        }
        over
    }

    /// One check of a code that is `right` or not.
    pub fn check(&mut self, right: bool, now: i64) -> Checked {
        self.expire(now);
        if self.state != State::Pending {
            return Checked::Ended(self.state);
        }
        self.attempts += 1;
        if right {
            self.end(State::Approved, now);
            return Checked::Approved;
        }
        let left = self.attempts_max.saturating_sub(self.attempts);
        if left == 0 {
            self.end(State::MaxAttemptsReached, now);
        }
        Checked::Wrong(left)
    }

    /// One more code is to be sent.
    pub fn resend(&mut self, now: i64) -> Result<(), NoResend> {
        self.expire(now);
        if self.state != State::Pending {
            return Err(NoResend::Ended(self.state));
        }
        if self.sends >= self.sends_max {
            return Err(NoResend::TooMany);
        }
        let early = self.sent_at.saturating_add(self.resend_after).saturating_sub(now);
        if early > 0 {
            return Err(NoResend::TooSoon(early));
        }
        self.sends += 1;
        self.sent_at = now;
        Ok(())
    }

    /// The caller ends it. Canceling twice is the same as once; what ended otherwise stays as it is.
    pub fn cancel(&mut self, now: i64) -> Result<(), State> {
        self.expire(now);
        match self.state {
            State::Pending => {
                self.end(State::Canceled, now);
                Ok(())
            }
            State::Canceled => Ok(()),
            other => Err(other),
        }
    }

    /// No carrier took its code. That ends it if it was the only one.
    pub fn send_failed(&mut self, now: i64) {
        if self.state == State::Pending && self.sends == 1 {
            self.end(State::Failed, now);
        }
    }

    fn end(&mut self, state: State, at: i64) {
        (self.state, self.ended_at) = (state, Some(at));
    }
}

/// What a code sent counts against.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i16)]
pub enum Cap {
    /// The number, in an hour.
    NumberHour = 0,
    /// The number, in a day.
    NumberDay = 1,
    /// The block of numbers it is in, in an hour.
    PrefixHour = 2,
    /// The block, in a day.
    PrefixDay = 3,
    /// The address of the person who asks, in an hour.
    AddressHour = 4,
    /// The address, in a day.
    AddressDay = 5,
    /// The account, in an hour.
    AccountHour = 6,
    /// The account, in a day.
    AccountDay = 7,
}

/// Why a code is not sent: the rules against pumping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The country is not on the list.
    Country,
    /// A cap is reached; so many milliseconds until one more may go.
    Cap(Cap, u64),
    /// Too few of the last codes to the block of numbers were ever given back.
    PrefixConversion,
    /// Too few of the last codes to the country were ever given back.
    CountryConversion,
}

impl Refusal {
    /// Its name in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Country => "country",
            Refusal::Cap(Cap::NumberHour | Cap::NumberDay, _) => "number",
            Refusal::Cap(Cap::PrefixHour | Cap::PrefixDay, _) => "prefix",
            Refusal::Cap(Cap::AddressHour | Cap::AddressDay, _) => "address",
            Refusal::Cap(Cap::AccountHour | Cap::AccountDay, _) => "account",
            Refusal::PrefixConversion | Refusal::CountryConversion => "conversion",
        }
    }
}

const HOUR_MS: u64 = 3_600_000;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The rules of an account: the platform's, with the account's own where it has them. Of every cap and sample 0 means none.
        #[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Rules { $($(#[$doc])* pub $name: $type,)* }

        /// What an account has chosen; the platform's rule holds for the rest.
        #[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct OwnRules {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl Rules {
            /// These, but for what the account has chosen.
            pub fn with(&self, own: &OwnRules) -> Rules {
                Rules { $($name: own.$name.clone().unwrap_or_else(|| self.$name.clone()),)* }
            }
        }
    };
}

rules! {
    /// Characters of a code that is made.
    length: u8,
    /// Life of a verification, seconds.
    expires_s: u32,
    /// Codes that may be checked.
    attempts_max: u16,
    /// Codes that may be sent, the first too.
    sends_max: u16,
    /// Time between two of them, seconds.
    resend_after_s: u32,
    /// Countries that codes may go to; none listed = all.
    countries: Vec<Country>,
    /// Codes to one number.
    number_per_hour: u32,
    /// Codes to one number.
    number_per_day: u32,
    /// Codes to one block of numbers.
    prefix_per_hour: u32,
    /// Codes to one block of numbers.
    prefix_per_day: u32,
    /// Codes asked for from one address.
    address_per_hour: u32,
    /// Codes asked for from one address.
    address_per_day: u32,
    /// Codes in all.
    account_per_hour: u32,
    /// Codes in all.
    account_per_day: u32,
    /// How many of a hundred codes must come back.
    conversion_min_percent: u8,
    /// Of how many codes to a block of numbers that is taken.
    conversion_prefix_sample: u32,
    /// Of how many codes to a country.
    conversion_country_sample: u32,
}

/// Lengths of a code, made or given.
pub const LENGTH: std::ops::RangeInclusive<u8> = 4..=10;
/// Lives a verification may have, seconds.
pub const EXPIRES_S: std::ops::RangeInclusive<u32> = 60..=86_400;
/// A sample is read at every code.
const SAMPLE_MAX: u32 = 1_000;

impl Rules {
    /// What cannot be: each field and what it may be.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let rules = [
            (LENGTH.contains(&self.length), "length", "4 to 10"),
            (EXPIRES_S.contains(&self.expires_s), "expires_s", "60 to 86400"),
            ((1..=20).contains(&self.attempts_max), "attempts_max", "1 to 20"),
            ((1..=20).contains(&self.sends_max), "sends_max", "1 to 20"),
            (self.resend_after_s <= 3_600, "resend_after_s", "0 to 3600"),
            (self.countries.len() <= 300, "countries", "at most 300 countries"),
            (self.conversion_min_percent <= 100, "conversion_min_percent", "0 to 100"),
            (self.conversion_prefix_sample <= SAMPLE_MAX, "conversion_prefix_sample", "0 to 1000"),
            (self.conversion_country_sample <= SAMPLE_MAX, "conversion_country_sample", "0 to 1000"),
        ];
        rules.into_iter().filter(|(fine, ..)| !fine).map(|(_, field, may)| (field, may)).collect()
    }

    /// The limit of a cap, in milliseconds; `None` where there is none.
    pub fn limit(&self, cap: Cap) -> Option<Limit> {
        let (count, hours) = match cap {
            Cap::NumberHour => (self.number_per_hour, 1),
            Cap::NumberDay => (self.number_per_day, 24),
            Cap::PrefixHour => (self.prefix_per_hour, 1),
            Cap::PrefixDay => (self.prefix_per_day, 24),
            Cap::AddressHour => (self.address_per_hour, 1),
            Cap::AddressDay => (self.address_per_day, 24),
            Cap::AccountHour => (self.account_per_hour, 1),
            Cap::AccountDay => (self.account_per_day, 24),
        };
        Limit::new(count, hours * HOUR_MS)
    }

    /// The caps a code counts against and the key of each, in the order that every sender takes them.
    pub fn caps(&self, to: &Destination, address: Option<i64>) -> Vec<(Cap, i64, Limit)> {
        let keys = [
            (Cap::NumberHour, Some(to.phone_tag)),
            (Cap::NumberDay, Some(to.phone_tag)),
            (Cap::PrefixHour, Some(to.prefix)),
            (Cap::PrefixDay, Some(to.prefix)),
            (Cap::AddressHour, address),
            (Cap::AddressDay, address),
            (Cap::AccountHour, Some(0)),
            (Cap::AccountDay, Some(0)),
        ];
        keys.into_iter().filter_map(|(cap, key)| Some((cap, key?, self.limit(cap)?))).collect()
    }

    /// Whether codes may go to the country.
    pub fn country(&self, country: Option<Country>) -> Result<(), Refusal> {
        let listed = self.countries.is_empty() || country.is_some_and(|c| self.countries.contains(&c));
        if listed { Ok(()) } else { Err(Refusal::Country) }
    }

    /// Whether enough of the last `sample` codes were given back. Fewer than the sample say nothing yet.
    pub fn converts(&self, seen: u64, approved: u64, sample: u32) -> bool {
        sample == 0 || seen < u64::from(sample) || approved * 100 >= u64::from(self.conversion_min_percent) * seen
    }
}

/// Codes of this long ago and less are looked at for conversion, so that a block that was refused is tried again: milliseconds.
pub const WINDOW_MS: i64 = 86_400_000;
/// So long a code may be on its way back before it counts as not given back: milliseconds.
pub const GRACE_MS: i64 = 180_000;

/// Where a code goes, as the rules see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// The block of numbers it is in: its first digits.
    pub prefix: i64,
    /// Its country, if it has one.
    pub country: Option<Country>,
}

/// Digits of a block: pumped numbers come in blocks of ten thousand and fewer, rented together.
const PREFIX_DIGITS: u32 = 7;

/// The first seven digits of a number, country code included.
pub fn prefix(phone: Phone) -> i64 {
    let mut digits = phone.digits();
    while digits >= 10u64.pow(PREFIX_DIGITS) {
        digits /= 10;
    }
    digits as i64
}

#[cfg(test)]
mod tests;
