//! The whole world against another implementation of libphonenumber's rules, the `phonenumber` crate.
//!
//! For every region and kind of number: the example number, and numbers made of it by other last digits, one digit more
//! and one less. Both must agree on whether it is valid, and on its country.

use rlibphonenumber::PhoneNumberFormat::E164;
use rlibphonenumber::PhoneNumberType::{
    FixedLine, Mobile, Pager, PersonalNumber, PremiumRate, SharedCost, TollFree, UAN, VoIP, VoiceMail,
};

use super::*;

/// Where they are known to differ: our verdict, theirs (a country, `none` for valid without one, `invalid`, `*` for any
/// country), and why.
const KNOWN: &[(&str, &str, &str)] = &[
    ("BY", "invalid", "it drops the 8 of +375 80… as a national prefix"),
    ("LT", "invalid", "it drops the 8 of +370 80… as a national prefix"),
    ("RU", "invalid", "it drops the 8 of +7 80… as a national prefix"),
    ("IT", "none", "it loses the leading 0 when it looks for the country among those of +39"),
    ("VA", "none", "it loses the leading 0 when it looks for the country among those of +39"),
    ("AC", "invalid", "its metadata is older, with other ranges for Ascension"),
    ("invalid", "*", "it does not compare the length with those of the kind, so one digit off may pass"),
];

#[test]
fn agrees_with_another_implementation() {
    let numbers = numbers();
    let mut valid = 0;
    let mut known = 0;
    for number in &numbers {
        let ours = Phone::parse(number, None, Strictness::Strict).ok();
        valid += usize::from(ours.is_some());
        let ours = verdict(ours.map(|parsed| parsed.country.map(|country| country.to_string())));
        let theirs = verdict(other(number));
        if ours == theirs {
            continue;
        }
        let listed = |(we, they, _): &(&str, &str, &str)| *we == ours && (*they == theirs || *they == "*");
        assert!(KNOWN.iter().any(listed), "{number}: {ours} here, {theirs} there");
        known += 1;
    }
    assert!(numbers.len() > 5_000 && valid > 2_000, "{} asked, {valid} valid", numbers.len());
    assert!(known * 50 < numbers.len(), "{known} of {} differ: more than the known ones", numbers.len());
}

fn verdict(answer: Option<Option<String>>) -> String {
    match answer {
        None => "invalid".to_owned(),
        Some(None) => "none".to_owned(),
        Some(Some(country)) => country,
    }
}

/// The other's verdict: valid as it stands (not by leaving out a prefix), and the country.
fn other(number: &str) -> Option<Option<String>> {
    let parsed = phonenumber::parse(None, number).ok()?;
    let same = parsed.format().mode(phonenumber::Mode::E164).to_string() == number;
    (same && parsed.is_valid()).then(|| parsed.country().id().map(|id| id.as_ref().to_owned()))
}

fn numbers() -> Vec<String> {
    let kinds = [FixedLine, Mobile, TollFree, PremiumRate, SharedCost, VoIP, PersonalNumber, Pager, UAN, VoiceMail];
    let mut regions: Vec<Region> = PHONE_NUMBER_UTIL.get_supported_regions().collect();
    regions.sort_unstable();
    let examples = regions.into_iter().flat_map(|region| {
        kinds
            .into_iter()
            .filter_map(move |kind| PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind).ok())
    });
    let mut numbers: Vec<String> = examples
        .map(|example| PHONE_NUMBER_UTIL.format(&example, E164).into_owned())
        .enumerate()
        .flat_map(|(at, example)| variants(&example, at as u64))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The example; the same with other last digits, four ways; one digit more; one less.
fn variants(example: &str, at: u64) -> Vec<String> {
    let head = &example[..example.len() - 4];
    let other = |step: u64| format!("{head}{:04}", (at * 7_919 + step * 2_473) % 10_000);
    let mut variants: Vec<String> = (1..=4).map(other).collect();
    variants.extend([example.to_owned(), format!("{example}0"), example[..example.len() - 1].to_owned()]);
    variants
}
