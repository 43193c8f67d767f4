//! `schedule_delivery_time`, `validity_period` and `final_date` (SMPP 3.4 §7.1.1): `YYMMDDhhmmsstnnp`.

use std::time::Duration;

/// A time of a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmppTime {
    /// Milliseconds since 1970 UTC, to a tenth of a second.
    Absolute(i64),
    /// From when the message centre takes the message.
    Relative(Duration),
}

const DAY: u64 = 86_400;

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of the year.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Milliseconds since 1970 of a civil time in UTC, `None` where it is not one. Two-digit years are of this century.
pub(crate) fn unix_millis(parts: [u32; 6]) -> Option<i64> {
    let [year, month, day, hour, minute, second] = parts.map(i64::from);
    let year = if year < 100 { year + 2000 } else { year };
    let days = days_from_civil(year, month, day);
    let real = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    // 60 is a leap second, which some clocks do write.
    let timely = hour < 24 && minute < 60 && second <= 60;
    (real && timely).then(|| (days * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

/// The absolute form in UTC. Times outside the century 2000-2099 come out as its nearest end, since the form has two digits for the year.
#[must_use]
pub fn absolute(unix_millis: i64) -> [u8; 16] {
    // 2000-01-01 and 2099-12-31T23:59:59.9.
    let tenths = unix_millis.clamp(946_684_800_000, 4_102_444_799_900) / 100;
    let (seconds, tenth) = (tenths.div_euclid(10), tenths.rem_euclid(10));
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    sixteen([year - 2000, month, day, hour, minute, second], tenth, b"00+")
}

/// The relative form, rounded up to a second: days up to 30 are given as days, beyond that in months of 30 and years of 365 days, up to 99 years.
#[must_use]
pub fn relative(from_now: Duration) -> [u8; 16] {
    let seconds = from_now.as_secs().saturating_add(u64::from(from_now.subsec_nanos() > 0)).min(99 * 365 * DAY);
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (years, days) = (days / 365, days % 365);
    let parts = [years, days / 30, days % 30, second / 3600, second / 60 % 60, second % 60];
    sixteen(parts.map(|part| i64::try_from(part).expect("each is below 100")), 0, b"00R")
}

fn sixteen(parts: [i64; 6], tenth: i64, tail: &[u8; 3]) -> [u8; 16] {
    let mut out = [b'0'; 16];
    let digit = |value: i64| b'0' + u8::try_from(value.rem_euclid(10)).expect("one digit");
    for (at, part) in parts.into_iter().enumerate() {
        out[2 * at] = digit(part / 10);
        out[2 * at + 1] = digit(part);
    }
    out[12] = digit(tenth);
    out[13..].copy_from_slice(tail);
    out
}

/// Reads either form; `None` for anything else. In the relative form months have 30 days and years 365.
#[must_use]
pub fn parse(text: &[u8]) -> Option<SmppTime> {
    let text: &[u8; 16] = text.try_into().ok()?;
    if !text[..15].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |at: usize| u32::from(text[at] - b'0') * 10 + u32::from(text[at + 1] - b'0');
    let parts = [two(0), two(2), two(4), two(6), two(8), two(10)];
    let tenths = i64::from(text[12] - b'0');
    let quarters = i64::from(two(13));
    match text[15] {
        b'R' => {
            let [years, months, days, hours, minutes, seconds] = parts.map(u64::from);
            let days = years * 365 + months * 30 + days;
            Some(SmppTime::Relative(Duration::from_secs(days * DAY + hours * 3600 + minutes * 60 + seconds)))
        }
        sign @ (b'+' | b'-') if quarters <= 48 => {
            // The text is local time, this many quarter hours ahead of or behind UTC.
            let ahead = if sign == b'+' { quarters } else { -quarters };
            Some(SmppTime::Absolute(unix_millis(parts)? + tenths * 100 - ahead * 900_000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_as_the_specification_shows() {
        let table: [(&str, [u8; 16]); 6] = [
            ("261121083015500+", *b"2611210830155000"),
            ("000003000000000R", relative(Duration::from_secs(3 * DAY))),
            ("000000000005000R", relative(Duration::from_millis(4001))),
            ("000209000000000R", relative(Duration::from_secs(69 * DAY))),
            ("000101000000000+", absolute(0)),
            ("991231235959900+", absolute(i64::MAX)),
        ];
        for (text, octets) in &table[1..] {
            assert_eq!(std::str::from_utf8(octets), Ok(*text));
        }
        assert_eq!(std::str::from_utf8(&absolute(1_795_249_815_500)), Ok("261121083015500+"));
    }

    #[test]
    fn times_are_read_in_any_zone_and_refused_when_impossible() {
        let table = [
            ("261121083015500+", Some(SmppTime::Absolute(1_795_249_815_500))),
            ("261121103015508+", Some(SmppTime::Absolute(1_795_249_815_500))),
            ("261121063015508-", Some(SmppTime::Absolute(1_795_249_815_500))),
            ("000003000000000R", Some(SmppTime::Relative(Duration::from_secs(3 * DAY)))),
            ("020610233429000R", Some(SmppTime::Relative(Duration::from_secs(920 * DAY + 84_869)))),
            ("260229000000000+", None),
            ("261321000000000+", None),
            ("261121250000000+", None),
            ("261121083015549+", None),
            ("261121083015500*", None),
            ("26112108301550+", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text.as_bytes()), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(tenths in 9_466_848_000_i64..41_024_447_999, seconds in 0..99 * 365 * DAY) {
            prop_assert_eq!(parse(&absolute(tenths * 100)), Some(SmppTime::Absolute(tenths * 100)));
            let span = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&relative(span)), Some(SmppTime::Relative(span)));
        }

        #[test]
        fn no_octets_make_it_panic(octets: [u8; 16]) {
            let _ = parse(&octets);
        }
    }
}
