//! Which time zones a phone number may be in: by the code of its area where a country has several zones and its mobile numbers keep such
//! codes, else all of its country.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::tz::{self, TimeZone, TimeZoneDatabase};

use crate::phone::{Country, Phone};

/// A time zone by its name in the tz database (`Europe/Berlin`); the machine's own data come first, those in the program after them.
pub fn zone(name: &str) -> Option<TimeZone> {
    tz::db().get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

/// The time zones a number may be in, at least one. A number of no country (+800, satellites) is taken to be in UTC.
pub fn zones(phone: Phone, country: Option<Country>) -> &'static [TimeZone] {
    let places = &*PLACES;
    let area = matches!(phone.country_code(), 1 | 55).then(|| places.areas.get(&four(phone.digits()))).flatten();
    let country = || places.countries.get(country?.as_str());
    area.or_else(country).map_or(&places.nowhere, Vec::as_slice)
}

/// The first four digits: country code and area code, where areas count.
fn four(mut digits: u64) -> u64 {
    while digits > 9_999 {
        digits /= 10;
    }
    digits
}

struct Places {
    countries: HashMap<&'static str, Vec<TimeZone>>,
    areas: HashMap<u64, Vec<TimeZone>>,
    nowhere: [TimeZone; 1],
}

static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let lines = |text: &'static str| text.lines().filter(|line| !line.starts_with('#')).map(str::split_whitespace);
    let known = |name| zone(name).expect("a test looks every zone of the lists up");
    let mut countries: HashMap<&str, Vec<TimeZone>> = HashMap::new();
    for mut words in lines(include_str!("countries.txt")) {
        let country = words.next().expect("a test reads the list");
        countries.insert(country, words.map(known).collect());
    }
    let mut areas: HashMap<u64, Vec<TimeZone>> = HashMap::new();
    for mut words in lines(include_str!("areas.txt")) {
        let zone = known(words.next().expect("a test reads the list"));
        let code = words.next().expect("a test reads the list");
        for area in words {
            let digits = format!("{code}{area}").parse().expect("a test reads the list");
            areas.entry(digits).or_default().push(zone.clone());
        }
    }
    Places { countries, areas, nowhere: [TimeZone::UTC] }
});
