//! Hours of the week in a time zone.

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

/// From one time of day to another on some days; over midnight if the end is not after the beginning, and then of the day it began on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hours {
    zone: TimeZone,
    /// Monday is bit 0.
    days: u8,
    from: Time,
    to: Time,
}

/// Why hours cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HoursError {
    /// Not `HH:MM` of a day (24:00 is its end).
    #[error("a time of day is written HH:MM, from 00:00 to 24:00")]
    Time,
    /// Not `mon` to `sun`.
    #[error("days are mon, tue, wed, thu, fri, sat and sun, at least one")]
    Day,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn time(text: &str) -> Result<Time, HoursError> {
    let (hour, minute) = text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2).ok_or(HoursError::Time)?;
    let (hour, minute) = (hour.parse().map_err(|_| HoursError::Time)?, minute.parse().map_err(|_| HoursError::Time)?);
    if (hour, minute) == (24, 0) {
        return Ok(Time::midnight());
    }
    Time::new(hour, minute, 0, 0).map_err(|_| HoursError::Time)
}

impl Hours {
    /// Of a zone that was looked up before, days by name and times as `HH:MM`.
    pub fn new<'a>(
        zone: TimeZone,
        days: impl IntoIterator<Item = &'a str>,
        from: &str,
        to: &str,
    ) -> Result<Hours, HoursError> {
        let bits = days.into_iter().try_fold(0u8, |bits, day| {
            let place = DAYS.iter().position(|d| *d == day).ok_or(HoursError::Day)?;
            Ok(bits | 1 << place)
        })?;
        if bits == 0 {
            return Err(HoursError::Day);
        }
        Ok(Hours { zone, days: bits, from: time(from)?, to: time(to)? })
    }

    /// Whether an instant (Unix milliseconds) is within.
    pub fn contain(&self, now_ms: i64) -> bool {
        let Ok(instant) = Timestamp::from_millisecond(now_ms) else { return false };
        let local = instant.to_zoned(self.zone.clone());
        let (now, today) = (local.time(), local.weekday());
        let on = |day: Weekday| self.days & 1 << day.to_monday_zero_offset() != 0;
        if self.from < self.to {
            return on(today) && self.from <= now && now < self.to;
        }
        (on(today) && now >= self.from) || (on(today.previous()) && now < self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_follow_the_zone_and_pass_midnight() {
        let zone = |offset| TimeZone::fixed(jiff::tz::offset(offset));
        let hours =
            |offset, days: &[&'static str], from, to| Hours::new(zone(offset), days.iter().copied(), from, to).unwrap();
        // Friday 2026-11-20, 23:30 UTC.
        let friday_night = 1_795_217_400_000;
        let rows = [
            (hours(0, &["fri"], "09:00", "24:00"), true),
            (hours(0, &["fri"], "09:00", "23:30"), false),
            (hours(1, &["fri"], "09:00", "24:00"), false),
            (hours(1, &["sat"], "00:00", "09:00"), true),
            (hours(1, &["fri"], "22:00", "06:00"), true),
            (hours(1, &["sat"], "22:00", "06:00"), false),
            (hours(-3, &["fri"], "20:00", "21:00"), true),
            (hours(0, &DAYS, "00:00", "24:00"), true),
        ];
        for (i, (hours, within)) in rows.into_iter().enumerate() {
            assert_eq!(hours.contain(friday_night), within, "row {i}");
        }
        let refused = [
            (vec!["fri"], "9:00", "10:00", HoursError::Time),
            (vec!["fri"], "09:00", "24:01", HoursError::Time),
            (vec!["Fri"], "09:00", "10:00", HoursError::Day),
            (vec![], "09:00", "10:00", HoursError::Day),
        ];
        for (days, from, to, error) in refused {
            assert_eq!(Hours::new(zone(0), days, from, to), Err(error));
        }
    }
}
