//! When somebody may be written to, by the clock on their own wall: hours of a week in the time zones a phone number may be in. Pure: the
//! instant is passed in.
//!
//! A number tells its country, and of some countries its area (`zones`). Where several zones are left, an instant must be allowed in all
//! of them. What countries allow for advertising is in `hours`.

mod hours;
mod zones;

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

pub use hours::customary;
pub use zones::{zone, zones};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How far ahead an allowed instant is looked for: a week and a day, since each day of the week comes up in it, twice for zones that never
/// agree on the first.
const SEARCH: i64 = 15 * 86_400_000;

/// A minute of the day, written `09:00`; `24:00` is its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minute(u16);

/// A text that is no minute of the day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a time of day as HH:MM, 00:00 to 24:00")]
pub struct MinuteError;

impl TryFrom<String> for Minute {
    type Error = MinuteError;
    fn try_from(text: String) -> Result<Self, MinuteError> {
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let two = |part: &str| digits(part).then(|| part.parse::<u16>().ok()).flatten();
        let (hours, minutes) = text.split_once(':').ok_or(MinuteError)?;
        let (hours, minutes) = two(hours).zip(two(minutes)).ok_or(MinuteError)?;
        let whole = hours * 60 + minutes;
        if minutes < 60 && whole <= DAY { Ok(Minute(whole)) } else { Err(MinuteError) }
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> String {
        minute.to_string()
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A day of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const ALL_DAYS: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

/// Hours of some days, as people write them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its first minute.
    pub from: Minute,
    /// The first minute after it.
    pub to: Minute,
    /// Its days; all if left out.
    #[serde(default = "all_days")]
    pub days: Vec<Day>,
}

fn all_days() -> Vec<Day> {
    ALL_DAYS.to_vec()
}

impl Window {
    /// As hours of a week; `None` if it holds no minute.
    pub fn week(&self) -> Option<Week> {
        let mut week = Week([(0, 0); 7]);
        for day in &self.days {
            week.0[*day as usize] = (self.from.0, self.to.0);
        }
        (self.from < self.to && !self.days.is_empty()).then_some(week)
    }
}

/// How an account keeps quiet hours for promotional messages.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuietHours {
    /// As is customary in the recipient's country.
    #[default]
    Country,
    /// Hours of its own instead, in the recipient's time.
    Own(Window),
    /// Not at all.
    Off,
}

/// Hours in which one may be written to, for each day from Monday: the first minute and the first after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Week([(u16, u16); 7]);

impl Week {
    /// Any time.
    pub const ALWAYS: Week = Week([(0, DAY); 7]);

    /// The same whole hours every day.
    const fn daily(from: u16, to: u16) -> Week {
        Week([(from * 60, to * 60); 7])
    }

    /// With other whole hours on one day.
    const fn on(mut self, day: Day, from: u16, to: u16) -> Week {
        self.0[day as usize] = (from * 60, to * 60);
        self
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Week) -> Week {
        let mut both = self;
        for (mine, theirs) in both.0.iter_mut().zip(other.0) {
            *mine = (mine.0.max(theirs.0), mine.1.min(theirs.1));
        }
        both
    }

    fn of(self, date: Date) -> (u16, u16) {
        self.0[date.weekday().to_monday_zero_offset() as usize]
    }

    /// Whether a local time is in it.
    fn allows(self, at: DateTime) -> bool {
        let (from, to) = self.of(at.date());
        (from..to).contains(&minute(at.time()))
    }

    /// The first local time in it at or after that one, if the clock just went on.
    fn first(self, at: DateTime) -> Option<DateTime> {
        if self.allows(at) {
            return Some(at);
        }
        (0..=7).find_map(|days: i64| {
            let date = at.date().checked_add(days.days()).ok()?;
            let (from, to) = self.of(date);
            let later = days > 0 || minute(at.time()) < from;
            (from < to && later).then(|| date.at((from / 60) as i8, (from % 60) as i8, 0, 0))
        })
    }
}

fn minute(time: Time) -> u16 {
    time.hour() as u16 * 60 + time.minute() as u16
}

/// The first instant, not before the wanted one, that a week allows in every one of these zones (Unix milliseconds). `None` if there is none
/// within a fortnight: the zones are too far apart for so few hours.
pub fn next(wanted: i64, zones: &[TimeZone], week: Week) -> Option<i64> {
    if week == Week::ALWAYS {
        return Some(wanted);
    }
    let mut at = Timestamp::from_millisecond(wanted).ok()?;
    // Each step goes to where one zone opens; when none has to step any more, all are open.
    while at.as_millisecond() - wanted <= SEARCH {
        let opens = zones.iter().try_fold(at, |at, zone| opening(at, zone, week))?;
        if opens == at {
            return Some(at.as_millisecond());
        }
        at = opens;
    }
    None
}

/// The first instant at or after one that a week allows in a zone. Its clock may be put on or back meanwhile: what lies between two such
/// changes is reckoned with one offset.
fn opening(from: Timestamp, zone: &TimeZone, week: Week) -> Option<Timestamp> {
    let mut at = from;
    loop {
        let offset = zone.to_offset(at);
        let local = offset.to_datetime(at);
        let first = week.first(local)?;
        if first == local {
            return Some(at);
        }
        let opens = offset.to_timestamp(first).ok()?;
        match zone.following(at).next() {
            Some(change) if change.timestamp() <= opens => at = change.timestamp(),
            _ => return Some(opens),
        }
    }
}

/// A local time as an instant (Unix milliseconds): the last at which it is that time in any of these zones, so that it is nowhere earlier. One that the clock
/// skips is read as if it had gone on, one that comes twice is the first.
pub fn at_local(local: DateTime, zones: &[TimeZone]) -> Option<i64> {
    let instant = |zone: &TimeZone| zone.to_ambiguous_timestamp(local).compatible().ok();
    zones.iter().filter_map(instant).max().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests;
