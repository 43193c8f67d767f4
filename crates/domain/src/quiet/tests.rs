//! Hours, zones, and the days on which clocks change.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;

use super::*;
use crate::phone::{Phone, Strictness};

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn shown(millis: i64) -> String {
    Timestamp::from_millisecond(millis).unwrap().to_string()
}

fn named(names: &[&str]) -> Vec<TimeZone> {
    names.iter().map(|name| TimeZoneDatabase::bundled().get(name).unwrap()).collect()
}

fn by_number(wanted: &str, number: &str) -> String {
    let to = Phone::parse(number, None, Strictness::Lenient).unwrap();
    let next = next(at(wanted), zones(to.phone, to.country), customary(to.phone, to.country));
    next.map_or("never".into(), shown)
}

/// 2026-11-21 is a Saturday.
#[test]
fn the_next_allowed_instant_by_number() {
    #[rustfmt::skip]
    let rows = [
        // Germany, UTC+1: 9 to 20.
        ("2026-11-21T12:00:00Z", "+4915112345678", "2026-11-21T12:00:00Z"),
        ("2026-11-21T18:59:59.999Z", "+4915112345678", "2026-11-21T18:59:59.999Z"),
        ("2026-11-21T19:00:00Z", "+4915112345678", "2026-11-22T08:00:00Z"),
        ("2026-11-22T03:00:00Z", "+4915112345678", "2026-11-22T08:00:00Z"),
        // New York, UTC-5: 8 to 21. Los Angeles, UTC-8. Miami: to 20. Dallas: Sundays from noon.
        ("2026-11-21T12:00:00Z", "+12125550123", "2026-11-21T13:00:00Z"),
        ("2026-11-21T12:00:00Z", "+12135550123", "2026-11-21T16:00:00Z"),
        ("2026-11-22T01:30:00Z", "+12125550123", "2026-11-22T01:30:00Z"),
        ("2026-11-22T01:30:00Z", "+13055550123", "2026-11-22T13:00:00Z"),
        ("2026-11-22T14:00:00Z", "+12145550123", "2026-11-22T18:00:00Z"),
        // Two zones in one area code: open when both are (El Centro is in no list: all of the country, Hawaii last).
        ("2026-11-21T12:00:00Z", "+18505550123", "2026-11-21T14:00:00Z"),
        ("2026-11-21T12:00:00Z", "+15005550103", "2026-11-21T18:00:00Z"),
        // India, UTC+5:30: 10 to 21. Nepal, UTC+5:45.
        ("2026-11-21T02:00:00Z", "+919876543210", "2026-11-21T04:30:00Z"),
        ("2026-11-21T02:00:00Z", "+9779841234567", "2026-11-21T03:15:00Z"),
        // The extremes: Line Islands are UTC+14 and the Gilberts UTC+12, Samoa UTC-11, Baker Island's zone (UTC-12) has no phones.
        ("2026-11-21T12:00:00Z", "+68672001234", "2026-11-21T21:00:00Z"),
        ("2026-11-21T12:00:00Z", "+16846331234", "2026-11-21T20:00:00Z"),
        // France: Saturday to 19, Sunday not at all.
        ("2026-11-21T17:59:00Z", "+33612345678", "2026-11-21T17:59:00Z"),
        ("2026-11-21T18:00:00Z", "+33612345678", "2026-11-23T08:00:00Z"),
        // Russia: eleven hours of zones leave one.
        ("2026-11-21T12:00:00Z", "+79161234567", "2026-11-22T07:00:00Z"),
        ("2026-11-22T07:59:00Z", "+79161234567", "2026-11-22T07:59:00Z"),
        // Brazil by area: Manaus (UTC-4) and the coast (UTC-3).
        ("2026-11-21T12:00:00Z", "+5592991234567", "2026-11-21T13:00:00Z"),
        ("2026-11-21T12:00:00Z", "+5511991234567", "2026-11-21T12:00:00Z"),
        // Of no country: UTC.
        ("2026-11-21T05:00:00Z", "+80012345678", "2026-11-21T09:00:00Z"),
    ];
    for (wanted, number, expected) in rows {
        assert_eq!(by_number(wanted, number), expected, "{number} at {wanted}");
    }
}

/// Clocks in Berlin: on at 2:00 of 2027-03-28, back at 3:00 of 2027-10-31. In Beirut they go on at midnight.
#[test]
fn days_on_which_clocks_change() {
    let daily = |from: &str, to: &str| window(from, to, &ALL_DAYS).week().unwrap();
    #[rustfmt::skip]
    let rows = [
        ("Europe/Berlin", "09:00", "20:00", "2027-03-27T20:00:00Z", "2027-03-28T07:00:00Z"),
        ("Europe/Berlin", "09:00", "20:00", "2027-10-30T20:00:00Z", "2027-10-31T08:00:00Z"),
        // From half past two, which there is not: from three.
        ("Europe/Berlin", "02:30", "20:00", "2027-03-28T00:00:00Z", "2027-03-28T01:00:00Z"),
        // From half past two, which there is twice: from the first; closed at half past two, and open once more when it is two again.
        ("Europe/Berlin", "02:30", "20:00", "2027-10-30T22:00:00Z", "2027-10-31T00:30:00Z"),
        ("Europe/Berlin", "00:00", "02:30", "2027-10-31T00:45:00Z", "2027-10-31T01:00:00Z"),
        ("Asia/Beirut", "00:00", "10:00", "2027-03-27T20:00:00Z", "2027-03-27T22:00:00Z"),
        ("Pacific/Apia", "09:00", "20:00", "2026-11-21T12:00:00Z", "2026-11-21T20:00:00Z"),
        ("Etc/GMT+12", "09:00", "20:00", "2026-11-21T12:00:00Z", "2026-11-21T21:00:00Z"),
        ("Pacific/Kiritimati", "09:00", "20:00", "2026-11-21T12:00:00Z", "2026-11-21T19:00:00Z"),
        ("Australia/Lord_Howe", "09:00", "20:00", "2026-11-21T12:00:00Z", "2026-11-21T22:00:00Z"),
    ];
    for (zone, from, to, wanted, expected) in rows {
        let found = next(at(wanted), &named(&[zone]), daily(from, to)).map(shown);
        assert_eq!(found.as_deref(), Some(expected), "{zone} {from} at {wanted}");
    }
    let far_apart = named(&["Asia/Kamchatka", "Europe/Kaliningrad"]);
    assert_eq!(next(at("2026-11-21T12:00:00Z"), &far_apart, daily("10:00", "12:00")), None);
}

#[test]
fn a_local_time_as_an_instant() {
    #[rustfmt::skip]
    let rows: &[(&str, &[&str], &str)] = &[
        ("2027-01-31T08:00:00", &["Europe/Berlin"], "2027-01-31T07:00:00Z"),
        ("2027-03-28T02:30:00", &["Europe/Berlin"], "2027-03-28T01:30:00Z"),
        ("2027-10-31T02:30:00", &["Europe/Berlin"], "2027-10-31T00:30:00Z"),
        ("2027-01-31T08:00:00", &["Asia/Kathmandu"], "2027-01-31T02:15:00Z"),
        ("2027-01-31T08:00:00", &["America/New_York", "America/Chicago"], "2027-01-31T14:00:00Z"),
        ("2027-01-31T08:00:00", &["Pacific/Kiritimati"], "2027-01-30T18:00:00Z"),
    ];
    for (local, zones, expected) in rows {
        let found = at_local(local.parse::<DateTime>().unwrap(), &named(zones)).map(shown);
        assert_eq!(found.as_deref(), Some(*expected), "{local} in {zones:?}");
    }
}

fn window(from: &str, to: &str, days: &[Day]) -> Window {
    let minute = |text: &str| Minute::try_from(text.to_owned()).unwrap();
    Window { from: minute(from), to: minute(to), days: days.to_vec() }
}

#[test]
fn windows_that_are_none_and_minutes_that_are_none() {
    assert_eq!(window("09:00", "24:00", &[Day::Sat]).week().map(|w| w.0[5]), Some((540, 1_440)));
    assert_eq!(window("20:00", "09:00", &ALL_DAYS).week(), None);
    assert_eq!(window("09:00", "09:00", &ALL_DAYS).week(), None);
    assert_eq!(window("09:00", "20:00", &[]).week(), None);
    for wrong in ["", "9:00", "09:60", "24:01", "25:00", "09-00", "+9:00", "09:00:00", "aa:bb"] {
        assert_eq!(Minute::try_from(wrong.to_owned()), Err(MinuteError), "{wrong}");
    }
    assert_eq!(Minute::try_from("24:00".to_owned()).unwrap().to_string(), "24:00");
}

/// Every country whose numbers the library knows has a line, and every zone of the lists is in the data that the program carries.
#[test]
fn the_lists_are_whole() {
    let bundled = TimeZoneDatabase::bundled();
    let mut countries = 0;
    for line in include_str!("countries.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        assert!(crate::phone::Country::parse(words.next().unwrap()).is_some(), "{line}");
        assert!(words.clone().count() > 0 && words.all(|name| bundled.get(name).is_ok()), "{line}");
        countries += 1;
    }
    assert!(countries > 240);
    for line in include_str!("areas.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(bundled.get(words[0]).is_ok() && words.len() > 2, "{line}");
        assert!(words[2..].iter().all(|area| format!("{}{area}", words[1]).len() == 4), "{line}");
    }
}

const SOME: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Honolulu",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "America/Santiago",
];

proptest! {
    /// What is found is allowed and not earlier than wanted; and a moment before it is not allowed, unless it is what was wanted.
    #[test]
    fn the_first_allowed_instant_is_found(
        wanted in 1_790_000_000_000i64..1_990_000_000_000, first in 0usize..8, second in 0usize..8, from in 0u16..1_380, length in 60u16..1_440,
        days in prop::collection::vec(0usize..7, 1..7),
    ) {
        let zones = named(&[SOME[first], SOME[second]]);
        let days: Vec<Day> = days.into_iter().map(|day| ALL_DAYS[day]).collect();
        let week = Window { from: Minute(from), to: Minute((from + length).min(DAY)), days }.week().unwrap();
        let allowed = |millis: i64| {
            let at = Timestamp::from_millisecond(millis).unwrap();
            zones.iter().all(|zone| week.allows(zone.to_datetime(at)))
        };
        match next(wanted, &zones, week) {
            Some(found) => {
                prop_assert!(found >= wanted && allowed(found));
                prop_assert!(found == wanted || !allowed(found - 1));
                // Nothing between was passed over.
                let step = ((found - wanted) / 500).max(1);
                prop_assert!((wanted..found).step_by(step as usize).all(|between| !allowed(between)));
            }
            None => prop_assert!((0..15 * 24 * 6).all(|step| !allowed(wanted + step * 600_000))),
        }
    }
}
