//! Reports: what is measured, by what it is grouped, over which days, and when it is mailed.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::usage::Totals;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }
        impl $name {
            /// All of them, in the order of columns.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// Its name in the API.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text,)* } }
            /// From its name in the API.
            pub fn from_name(text: &str) -> Option<$name> { match text { $($text => Some($name::$variant),)* _ => None } }
        }
    };
}

named! {
    /// What messages are grouped by.
    Dimension {
        /// The day of their acceptance, UTC.
        Day = "day",
        /// The country of their number.
        Country = "country",
        /// The connection that took them last.
        Connection = "connection",
        /// What they came to.
        Status = "status",
        /// Why they did not arrive.
        Error = "error",
        /// Their batch.
        Batch = "batch",
    }
}

impl Dimension {
    /// Whether only messages that have ended have it.
    pub fn is_of_ends(self) -> bool {
        matches!(self, Dimension::Connection | Dimension::Status | Dimension::Error)
    }
}

named! {
    /// What is told of a group.
    Measure {
        /// Messages accepted.
        Accepted = "accepted",
        /// Messages of which nothing more becomes.
        Ended = "ended",
        /// The handset has them.
        Delivered = "delivered",
        /// A carrier has them, and no receipt came or none was to be had.
        Sent = "sent",
        /// A carrier took them and they did not arrive.
        Undelivered = "undelivered",
        /// No carrier took them.
        Failed = "failed",
        /// Their validity ended first.
        Expired = "expired",
        /// Withdrawn.
        Canceled = "canceled",
        /// Refused by a rule after acceptance.
        Rejected = "rejected",
        /// Parts of those that have ended.
        Parts = "parts",
        /// What those that have ended cost.
        Cost = "cost",
        /// Delivered of a hundred that have ended and were not canceled.
        DeliveryRate = "delivery_rate",
        /// Half of those delivered took no longer from the carrier's acceptance to its receipt, milliseconds.
        P50 = "p50_ms",
        /// Ninety of a hundred.
        P90 = "p90_ms",
        /// Ninety-nine of a hundred.
        P99 = "p99_ms",
    }
}

/// What a measure is of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// There is none: nothing was delivered, or nothing has ended.
    None,
    /// Messages, parts or milliseconds.
    Count(i64),
    /// Money of the account's currency.
    Amount(Money),
    /// Of a thousand.
    Permille(i64),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::None => Ok(()),
            Value::Count(n) => n.fmt(f),
            Value::Amount(money) => money.fmt(f),
            Value::Permille(n) => write!(f, "{}.{}", n / 10, n % 10),
        }
    }
}

impl Measure {
    /// Its value. Where the groups are of what has ended, `of_ends`, there is nothing accepted to tell of.
    pub fn of(self, t: &Totals, of_ends: bool) -> Value {
        let time = |percent| t.speeds.percentile(percent).map_or(Value::None, Value::Count);
        match self {
            Measure::Accepted if of_ends => Value::None,
            Measure::Accepted => Value::Count(t.accepted),
            Measure::Ended => Value::Count(t.ended()),
            Measure::Delivered => Value::Count(t.delivered),
            Measure::Sent => Value::Count(t.sent),
            Measure::Undelivered => Value::Count(t.undelivered),
            Measure::Failed => Value::Count(t.failed),
            Measure::Expired => Value::Count(t.expired),
            Measure::Canceled => Value::Count(t.canceled),
            Measure::Rejected => Value::Count(t.rejected),
            Measure::Parts => Value::Count(t.parts),
            Measure::Cost => Value::Amount(t.cost),
            Measure::DeliveryRate => t.delivered_permille().map_or(Value::None, Value::Permille),
            Measure::P50 => time(50),
            Measure::P90 => time(90),
            Measure::P99 => time(99),
        }
    }
}

named! {
    /// Which days a saved report is of, as seen from the day it is run.
    Period {
        /// The day it is run.
        Today = "today",
        /// The day before.
        Yesterday = "yesterday",
        /// The seven days before.
        Last7Days = "last_7_days",
        /// The thirty days before.
        Last30Days = "last_30_days",
        /// Monday to the day it is run.
        ThisWeek = "this_week",
        /// Monday to Sunday of the week before.
        LastWeek = "last_week",
        /// The first of the month to the day it is run.
        ThisMonth = "this_month",
        /// The month before.
        LastMonth = "last_month",
        /// The first of January to the day it is run.
        ThisYear = "this_year",
        /// The year before.
        LastYear = "last_year",
    }
}

impl Period {
    /// Its first and last day.
    pub fn days(self, today: Date) -> (Date, Date) {
        let back = |days: i64| today.saturating_sub(days.days());
        let monday = back(i64::from(today.weekday().to_monday_zero_offset()));
        let month = today.first_of_month();
        match self {
            Period::Today => (today, today),
            Period::Yesterday => (back(1), back(1)),
            Period::Last7Days => (back(7), back(1)),
            Period::Last30Days => (back(30), back(1)),
            Period::ThisWeek => (monday, today),
            Period::LastWeek => (monday.saturating_sub(7.days()), monday.saturating_sub(1.day())),
            Period::ThisMonth => (month, today),
            Period::LastMonth => (month.saturating_sub(1.month()), month.saturating_sub(1.day())),
            Period::ThisYear => (today.first_of_year(), today),
            Period::LastYear => {
                let year = today.first_of_year();
                (year.saturating_sub(1.year()), year.saturating_sub(1.day()))
            }
        }
    }
}

/// The number of a day: days since 1970.
pub fn day_number(date: Date) -> i32 {
    date.duration_since(Date::constant(1970, 1, 1)).as_hours().div_euclid(24) as i32
}

/// The date of a day's number; days out of the calendar do not occur.
pub fn day_date(number: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(i64::from(number).days())
}

/// How often a report is mailed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// Each day.
    Day,
    /// Each week, on a day from 1 (Monday) to 7.
    Week(i8),
    /// Each month, on a day from 1 to 28.
    Month(i8),
}

/// When a report is mailed, and to whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// How often.
    pub every: Every,
    /// The hour of the day, 0 to 23.
    pub hour: i8,
    /// Addresses of people of the account.
    pub to: Vec<String>,
}

impl Schedule {
    /// The first time after an instant (Unix milliseconds), in a time zone. An hour that a day does not have is the one after it, of one that it
    /// has twice the first.
    pub fn next_at(&self, zone: &TimeZone, after_ms: i64) -> Option<i64> {
        let after = Timestamp::from_millisecond(after_ms).ok()?;
        let today = after.to_zoned(zone.clone()).date();
        // Two months hold each day of a month up to the 28th behind today.
        (0..62i64).find_map(|ahead| {
            let date = today.checked_add(ahead.days()).ok()?;
            let fits = match self.every {
                Every::Day => true,
                Every::Week(day) => Weekday::from_monday_one_offset(day).is_ok_and(|day| date.weekday() == day),
                Every::Month(day) => date.day() == day,
            };
            let at = date.at(self.hour, 0, 0, 0).to_zoned(zone.clone()).ok()?.timestamp();
            (fits && at > after).then(|| at.as_millisecond())
        })
    }
}

/// What a saved report asks, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Definition {
    /// Its columns of numbers, in order.
    pub measures: Vec<Measure>,
    /// Its rows, in order.
    pub group_by: Vec<Dimension>,
    /// Conditions as they were written: dimension and value; of one dimension any holds, of several all do.
    pub filters: Vec<(Dimension, String)>,
    /// Its days.
    pub period: Period,
    /// The time zone (IANA) of "today" and of the schedule's hour. Days themselves are days of UTC.
    pub time_zone: String,
    /// When it is mailed.
    pub schedule: Option<Schedule>,
}

impl Definition {
    /// Its time zone, if this machine knows it.
    pub fn zone(&self) -> Option<TimeZone> {
        TimeZone::get(&self.time_zone).ok()
    }

    /// The days it is of at an instant (Unix milliseconds), as numbers.
    pub fn days(&self, now_ms: i64) -> (i32, i32) {
        let zone = self.zone().unwrap_or(TimeZone::UTC);
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let (from, to) = self.period.days(now.to_zoned(zone).date());
        (day_number(from), day_number(to))
    }

    /// When it is mailed next after an instant, Unix milliseconds.
    pub fn next_at(&self, after_ms: i64) -> Option<i64> {
        self.schedule.as_ref()?.next_at(&self.zone()?, after_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_seen_from_a_day() {
        let saturday = Date::constant(2026, 11, 21);
        let monday = Date::constant(2024, 3, 4);
        let rows = [
            (Period::Today, saturday, "2026-11-21", "2026-11-21"),
            (Period::Yesterday, saturday, "2026-11-20", "2026-11-20"),
            (Period::Last7Days, saturday, "2026-11-14", "2026-11-20"),
            (Period::Last30Days, saturday, "2026-10-22", "2026-11-20"),
            (Period::ThisWeek, saturday, "2026-11-16", "2026-11-21"),
            (Period::LastWeek, saturday, "2026-11-09", "2026-11-15"),
            (Period::ThisWeek, monday, "2024-03-04", "2024-03-04"),
            (Period::ThisMonth, saturday, "2026-11-01", "2026-11-21"),
            (Period::LastMonth, saturday, "2026-10-01", "2026-10-31"),
            (Period::LastMonth, monday, "2024-02-01", "2024-02-29"),
            (Period::ThisYear, saturday, "2026-01-01", "2026-11-21"),
            (Period::LastYear, saturday, "2025-01-01", "2025-12-31"),
        ];
        for (period, today, from, to) in rows {
            let (first, last) = period.days(today);
            assert_eq!((first.to_string(), last.to_string()), (from.into(), to.into()), "{period:?} from {today}");
        }
        for date in [saturday, monday, Date::constant(1970, 1, 1), Date::constant(1969, 12, 31)] {
            assert_eq!(day_date(day_number(date)), date);
        }
        assert_eq!(day_number(Date::constant(2023, 11, 14)), 19_675);
    }

    #[test]
    fn when_a_report_is_mailed_next() {
        let rows = [
            // Clocks go back at 03:00 on 25 October 2026 and forth at 02:00 on 28 March 2027.
            (Every::Day, 8, "2026-10-24T06:00:00Z", "2026-10-25T07:00:00Z"),
            (Every::Day, 8, "2026-10-24T05:59:59Z", "2026-10-24T06:00:00Z"),
            (Every::Day, 2, "2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z"),
            (Every::Day, 2, "2027-03-27T12:00:00Z", "2027-03-28T01:00:00Z"),
            (Every::Week(1), 0, "2026-11-21T12:00:00Z", "2026-11-22T23:00:00Z"),
            (Every::Week(6), 13, "2026-11-21T12:00:00Z", "2026-11-28T12:00:00Z"),
            (Every::Month(28), 9, "2026-01-28T08:00:00Z", "2026-02-28T08:00:00Z"),
            (Every::Month(1), 9, "2026-12-01T08:00:01Z", "2027-01-01T08:00:00Z"),
        ];
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (every, hour, after, next) in rows {
            let schedule = Schedule { every, hour, to: Vec::new() };
            assert_eq!(schedule.next_at(&zone, ms(after)), Some(ms(next)), "{every:?} at {hour} after {after}");
        }
    }

    #[test]
    fn measures_of_a_group() {
        let mut t = Totals { accepted: 9, ..Totals::default() };
        t.end(3, 10, 5, 6, 300_000);
        t.end(5, -1, 2, 2, 0);
        t.end(7, -1, 1, 1, 0);
        let shown: Vec<String> = Measure::ALL.iter().map(|m| m.of(&t, false).to_string()).collect();
        let expected = ["9", "8", "5", "0", "0", "2", "0", "1", "0", "9", "0.30", "71.4", "1432", "1842", "1842"];
        assert_eq!(shown, expected);
        assert_eq!(Measure::Accepted.of(&t, true), Value::None);
        assert_eq!(Measure::DeliveryRate.of(&Totals::default(), false).to_string(), "");
    }
}
