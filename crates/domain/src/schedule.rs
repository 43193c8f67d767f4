//! When a campaign begins: once at a local time, or again and again by a rule (RFC 5545 §3.3.10, the part of it that plans of people need).
//!
//! Times are local: "Fridays at six" stays at six when the clocks change. A time that a change of the clocks leaves out is as much later as they
//! were put forward; of one that there is twice, the first counts.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;

/// Days that are looked at for the next time: some 27 years.
const DAYS_MAX: i32 = 10_000;

/// When it begins for the first time, and when again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// The first time, local.
    pub at: DateTime,
    /// Whose local time.
    pub zone: TimeZone,
    /// When again.
    pub repeat: Option<Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Every {
    Day,
    Week,
    Month,
    Year,
}

/// A rule of repetition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    every: Every,
    interval: i32,
    /// Days of the week; of a month perhaps only the n-th of them, from its end if negative.
    days: Vec<(Option<i8>, Weekday)>,
    /// Days of the month, from its end if negative.
    month_days: Vec<i8>,
    count: Option<u32>,
    until: Option<Until>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    Day(Date),
    Instant(i64),
}

/// Why a text is no rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuleError {
    /// Not `NAME=value` with `;` between, or a name twice.
    #[error("a rule is written like FREQ=WEEKLY;BYDAY=MO,TH (RFC 5545)")]
    Shape,
    /// A frequency there is not.
    #[error("FREQ is DAILY, WEEKLY, MONTHLY or YEARLY")]
    Frequency,
    /// A part of rules that is not taken.
    #[error("`{0}` is not taken here: FREQ, INTERVAL, BYDAY, BYMONTHDAY, COUNT and UNTIL are")]
    Part(String),
    /// A value a part cannot have.
    #[error("the value of `{0}` is not one it can have with this FREQ")]
    Value(&'static str),
}

const DAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

fn day(text: &str) -> Option<(Option<i8>, Weekday)> {
    let (number, name) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let weekday = DAYS.iter().find(|(known, _)| *known == name)?.1;
    let nth = match number {
        "" => None,
        _ => Some(number.parse::<i8>().ok().filter(|n| (-5..=5).contains(n) && *n != 0)?),
    };
    Some((nth, weekday))
}

fn until(text: &str) -> Option<Until> {
    match text.len() {
        8 => Date::strptime("%Y%m%d", text).ok().map(Until::Day),
        _ => {
            let at = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
            Some(Until::Instant(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()))
        }
    }
}

impl std::str::FromStr for Rule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let mut every = None;
        let mut rule =
            Rule { every: Every::Day, interval: 1, days: Vec::new(), month_days: Vec::new(), count: None, until: None };
        let mut seen = Vec::new();
        for part in text.strip_prefix("RRULE:").unwrap_or(text).split(';') {
            let (name, value) = part.split_once('=').ok_or(RuleError::Shape)?;
            if seen.contains(&name) {
                return Err(RuleError::Shape);
            }
            seen.push(name);
            match name {
                "FREQ" => {
                    every = Some(match value {
                        "DAILY" => Every::Day,
                        "WEEKLY" => Every::Week,
                        "MONTHLY" => Every::Month,
                        "YEARLY" => Every::Year,
                        _ => return Err(RuleError::Frequency),
                    });
                }
                "INTERVAL" => {
                    let interval = value.parse().ok().filter(|n| (1..=366).contains(n));
                    rule.interval = interval.ok_or(RuleError::Value("INTERVAL"))?;
                }
                "BYDAY" => {
                    let days = value.split(',').map(day).collect::<Option<Vec<_>>>();
                    rule.days = days.filter(|days| days.len() <= 35).ok_or(RuleError::Value("BYDAY"))?;
                }
                "BYMONTHDAY" => {
                    let number = |text: &str| text.parse::<i8>().ok().filter(|n| (-31..=31).contains(n) && *n != 0);
                    let days = value.split(',').map(number).collect::<Option<Vec<_>>>();
                    rule.month_days = days.filter(|days| days.len() <= 62).ok_or(RuleError::Value("BYMONTHDAY"))?;
                }
                "COUNT" => {
                    let count = value.parse().ok().filter(|n| (1..=10_000).contains(n));
                    rule.count = Some(count.ok_or(RuleError::Value("COUNT"))?);
                }
                "UNTIL" => rule.until = Some(until(value).ok_or(RuleError::Value("UNTIL"))?),
                // The week begins on Monday here too.
                "WKST" if value == "MO" => {}
                _ => return Err(RuleError::Part(name.chars().take(20).collect())),
            }
        }
        rule.every = every.ok_or(RuleError::Frequency)?;
        let nth = rule.days.iter().any(|(nth, _)| nth.is_some());
        match rule.every {
            _ if rule.count.is_some() && rule.until.is_some() => Err(RuleError::Value("UNTIL")),
            Every::Day | Every::Week if nth => Err(RuleError::Value("BYDAY")),
            Every::Week if !rule.month_days.is_empty() => Err(RuleError::Value("BYMONTHDAY")),
            Every::Year if !rule.days.is_empty() => Err(RuleError::Value("BYDAY")),
            Every::Year if !rule.month_days.is_empty() => Err(RuleError::Value("BYMONTHDAY")),
            _ => Ok(rule),
        }
    }
}

impl Rule {
    /// Whether a day is one of its days, counted from the first.
    fn has(&self, first: Date, day: Date) -> bool {
        let months = |d: Date| i32::from(d.year()) * 12 + i32::from(d.month());
        let periods = match self.every {
            Every::Day => days_between(first, day),
            Every::Week => days_between(monday(first), monday(day)) / 7,
            Every::Month => months(day) - months(first),
            Every::Year => i32::from(day.year()) - i32::from(first.year()),
        };
        if periods % self.interval != 0 {
            return false;
        }
        let by_day = self.days.is_empty() || self.days.iter().any(|(nth, weekday)| is_nth(day, *nth, *weekday));
        let by_month_day = self.month_days.is_empty() || self.month_days.iter().any(|n| is_month_day(day, *n));
        by_day
            && by_month_day
            && match self.every {
                Every::Day => true,
                Every::Week => !self.days.is_empty() || day.weekday() == first.weekday(),
                Every::Month => !self.days.is_empty() || !self.month_days.is_empty() || day.day() == first.day(),
                Every::Year => (day.month(), day.day()) == (first.month(), first.day()),
            }
    }
}

fn monday(day: Date) -> Date {
    let back = i64::from(day.weekday().to_monday_zero_offset());
    day.checked_sub(jiff::Span::new().days(back)).unwrap_or(day)
}

fn days_between(from: Date, to: Date) -> i32 {
    // Days are the largest unit unless others are asked for.
    from.until(to).map_or(0, |span| span.get_days())
}

fn is_nth(day: Date, nth: Option<i8>, weekday: Weekday) -> bool {
    let from_start = (day.day() - 1) / 7 + 1;
    let from_end = (day.days_in_month() - day.day()) / 7 + 1;
    day.weekday() == weekday && nth.is_none_or(|n| n == from_start || n == -from_end)
}

fn is_month_day(day: Date, n: i8) -> bool {
    n == day.day() || n == day.day() - day.days_in_month() - 1
}

impl Schedule {
    fn instant(&self, day: Date) -> Option<i64> {
        let local = day.to_datetime(self.at.time());
        self.zone.to_ambiguous_zoned(local).compatible().ok().map(|at| at.timestamp().as_millisecond())
    }

    /// The first time, Unix milliseconds. `None` if the calendar does not reach so far.
    pub fn first(&self) -> Option<i64> {
        self.instant(self.at.date())
    }

    /// The next time after an instant, both Unix milliseconds; times that passed meanwhile are left out. `None` if there is none.
    pub fn next_after(&self, now: i64) -> Option<i64> {
        let rule = self.repeat.as_ref()?;
        let first = self.at.date();
        let mut times = 0;
        let mut day = first;
        for n in 0..DAYS_MAX {
            // The first time is one whatever the rule says (RFC 5545 §3.8.5.3).
            if n == 0 || rule.has(first, day) {
                times += 1;
                let at = self.instant(day)?;
                let over = match rule.until {
                    Some(Until::Day(last)) => day > last,
                    Some(Until::Instant(last)) => at > last,
                    None => false,
                };
                if over || rule.count.is_some_and(|count| times > count) {
                    return None;
                }
                if at > now {
                    return Some(at);
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(at: &str, zone: &str, rule: &str) -> Schedule {
        let repeat = (!rule.is_empty()).then(|| rule.parse().unwrap());
        Schedule { at: at.parse().unwrap(), zone: TimeZone::get(zone).unwrap(), repeat }
    }

    fn shown(ms: i64) -> String {
        jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    fn times(s: &Schedule, many: usize) -> Vec<String> {
        let mut all: Vec<i64> = s.first().into_iter().collect();
        while let Some(next) = all.last().and_then(|last| s.next_after(*last)).filter(|_| all.len() < many) {
            all.push(next);
        }
        all.into_iter().map(shown).collect()
    }

    #[test]
    fn rules_and_their_times() {
        let rows: &[(&str, &str, &str, &[&str])] = &[
            ("2026-12-01T18:00:00", "Europe/Berlin", "", &["2026-12-01T17:00:00Z"]),
            // The clocks go forward on 2027-03-28: six in the evening stays six.
            (
                "2027-03-26T18:00:00",
                "Europe/Berlin",
                "FREQ=DAILY;COUNT=4",
                &["2027-03-26T17:00:00Z", "2027-03-27T17:00:00Z", "2027-03-28T16:00:00Z", "2027-03-29T16:00:00Z"],
            ),
            // 02:30 is left out that night.
            (
                "2027-03-27T02:30:00",
                "Europe/Berlin",
                "FREQ=DAILY;COUNT=3",
                &["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z"],
            ),
            // And on 2026-10-25 there are two: the first counts, and once.
            (
                "2026-10-24T02:30:00",
                "Europe/Berlin",
                "FREQ=DAILY;COUNT=3",
                &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            (
                "2026-12-01T10:00:00",
                "America/New_York",
                "FREQ=WEEKLY;BYDAY=TU,FR;UNTIL=20261211",
                &["2026-12-01T15:00:00Z", "2026-12-04T15:00:00Z", "2026-12-08T15:00:00Z", "2026-12-11T15:00:00Z"],
            ),
            (
                "2026-12-01T10:00:00",
                "UTC",
                "FREQ=WEEKLY;INTERVAL=2;UNTIL=20261229T095959Z",
                &["2026-12-01T10:00:00Z", "2026-12-15T10:00:00Z"],
            ),
            (
                "2026-12-01T10:00:00",
                "UTC",
                "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=4",
                &["2026-12-01T10:00:00Z", "2026-12-31T10:00:00Z", "2027-01-31T10:00:00Z", "2027-02-28T10:00:00Z"],
            ),
            (
                "2026-12-07T10:00:00",
                "UTC",
                "FREQ=MONTHLY;BYDAY=1MO,-1FR;COUNT=4",
                &["2026-12-07T10:00:00Z", "2026-12-25T10:00:00Z", "2027-01-04T10:00:00Z", "2027-01-29T10:00:00Z"],
            ),
            (
                "2027-01-31T10:00:00",
                "UTC",
                "FREQ=MONTHLY;COUNT=3",
                &["2027-01-31T10:00:00Z", "2027-03-31T10:00:00Z", "2027-05-31T10:00:00Z"],
            ),
            ("2028-02-29T10:00:00", "UTC", "FREQ=YEARLY;COUNT=2", &["2028-02-29T10:00:00Z", "2032-02-29T10:00:00Z"]),
        ];
        for (at, zone, rule, expected) in rows {
            assert_eq!(times(&schedule(at, zone, rule), 10), *expected, "{at} {zone} {rule}");
        }
    }

    #[test]
    fn times_that_passed_are_left_out() {
        let s = schedule("2026-12-01T10:00:00", "UTC", "FREQ=DAILY;COUNT=10");
        let late = "2026-12-08T11:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(s.next_after(late).map(shown).as_deref(), Some("2026-12-09T10:00:00Z"));
        assert_eq!(s.next_after(late + 3 * 86_400_000), None, "and they count");
    }

    #[test]
    fn rules_that_are_refused() {
        use RuleError::{Frequency, Part, Shape, Value};
        for (text, error) in [
            ("", Shape),
            ("weekly", Shape),
            ("FREQ=DAILY;FREQ=DAILY", Shape),
            ("FREQ=DAILY;", Shape),
            ("FREQ=HOURLY", Frequency),
            ("BYDAY=MO", Frequency),
            ("FREQ=DAILY;BYHOUR=3", Part("BYHOUR".into())),
            ("FREQ=DAILY;WKST=SU", Part("WKST".into())),
            ("FREQ=DAILY;INTERVAL=0", Value("INTERVAL")),
            ("FREQ=DAILY;INTERVAL=367", Value("INTERVAL")),
            ("FREQ=WEEKLY;BYDAY=XX", Value("BYDAY")),
            ("FREQ=WEEKLY;BYDAY=é", Value("BYDAY")),
            ("FREQ=WEEKLY;BYDAY=1MO", Value("BYDAY")),
            ("FREQ=MONTHLY;BYDAY=6MO", Value("BYDAY")),
            ("FREQ=MONTHLY;BYMONTHDAY=0", Value("BYMONTHDAY")),
            ("FREQ=WEEKLY;BYMONTHDAY=1", Value("BYMONTHDAY")),
            ("FREQ=YEARLY;BYDAY=MO", Value("BYDAY")),
            ("FREQ=DAILY;COUNT=0", Value("COUNT")),
            ("FREQ=DAILY;UNTIL=2026-12-01", Value("UNTIL")),
            ("FREQ=DAILY;COUNT=1;UNTIL=20261201", Value("UNTIL")),
        ] {
            assert_eq!(text.parse::<Rule>(), Err(error), "{text}");
        }
    }
}
