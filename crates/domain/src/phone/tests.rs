//! Phone numbers accepted and refused, as a table; then the whole world against another implementation.

use proptest::prelude::*;

use super::*;

const STRICT: Strictness = Strictness::Strict;
const LENIENT: Strictness = Strictness::Lenient;

/// `+49… DE` or `code` or `code -> suggestion`.
fn show(input: &str, default: &str, strictness: Strictness) -> String {
    match Phone::parse(input, Country::parse(default), strictness) {
        Ok(Parsed { phone, country: Some(country) }) => format!("{phone} {country}"),
        Ok(Parsed { phone, country: None }) => phone.to_string(),
        Err(PhoneError { reason, suggestion: None }) => reason.code().to_owned(),
        Err(PhoneError { reason, suggestion: Some(suggestion) }) => format!("{} -> {suggestion}", reason.code()),
    }
}

#[test]
fn strict_accepts_and_refuses() {
    let table: &[(&str, &str, &str)] = &[
        // input, default country, result
        ("+4915112345678", "", "+4915112345678 DE"),
        ("+49 151 1234-5678", "", "+4915112345678 DE"),
        ("\u{a0}+49\u{a0}(151)\u{202f}12.34/5678 ", "", "+4915112345678 DE"),
        ("\u{202a}+4915112345678\u{202c}", "", "+4915112345678 DE"),
        ("+٤٩١٥١١٢٣٤٥٦٧٨", "", "+4915112345678 DE"),
        ("＋４９１５１１２３４５６７８", "", "+4915112345678 DE"),
        ("+98 ۹۱۲ ۳۴۵ ۶۷۸۹", "", "+989123456789 IR"),
        ("+12125550123", "", "+12125550123 US"),
        ("+14165550123", "", "+14165550123 CA"),
        ("+390612345678", "", "+390612345678 IT"),
        ("+37847812345", "", "phone_invalid_for_country"),
        ("+80012345678", "", "+80012345678"),
        ("+77011234567", "", "+77011234567 KZ"),
        ("01511 2345678", "DE", "+4915112345678 DE"),
        ("1511 2345678", "de", "+4915112345678 DE"),
        ("004915112345678", "DE", "+4915112345678 DE"),
        ("4915112345678", "DE", "+4915112345678 DE"),
        ("(212) 555-0123", "US", "+12125550123 US"),
        ("07400 123456", "GB", "+447400123456 GB"),
        ("06 1234 5678", "IT", "+390612345678 IT"),
        ("4021", "NU", "+6834021 NU"),
        // refused, with what was meant
        ("4915112345678", "", "phone_missing_country -> +4915112345678"),
        ("004915112345678", "", "phone_missing_country -> +4915112345678"),
        ("00 49 151 12345678", "US", "phone_missing_country -> +4915112345678"),
        ("01511 2345678", "", "phone_missing_country"),
        ("+4401234567890", "", "phone_trunk_prefix -> +441234567890"),
        ("+44 (0)7400 123456", "", "phone_trunk_prefix -> +447400123456"),
        ("+49 0151 12345678", "", "phone_trunk_prefix -> +4915112345678"),
        ("+004915112345678", "", "phone_unknown_country_code -> +4915112345678"),
        ("++4915112345678", "", "phone_not_a_number -> +4915112345678"),
        ("+49_151_12345678", "", "phone_not_a_number -> +4915112345678"),
        ("'+4915112345678'", "", "phone_not_a_number -> +4915112345678"),
        // refused
        ("", "", "phone_empty"),
        (" \u{a0}\u{200b}", "DE", "phone_empty"),
        ("+", "", "phone_not_a_number"),
        ("hello", "DE", "phone_not_a_number"),
        ("+1800FLOWERS", "", "phone_not_a_number"),
        ("+49151123x45678", "", "phone_not_a_number"),
        ("+999123456789", "", "phone_unknown_country_code"),
        ("+210123456789", "", "phone_unknown_country_code"),
        ("+1234567890", "", "phone_too_short"),
        ("+1-555-0123", "", "phone_too_short"),
        ("+49", "", "phone_too_short"),
        ("+4", "", "phone_too_short"),
        ("+4915", "", "phone_too_short"),
        ("+1212555012345", "", "phone_too_long"),
        ("+4915112345678901234", "", "phone_too_long"),
        ("+491511234567890123456789", "", "phone_too_long"),
        ("+11112223333", "", "phone_invalid_for_country"),
        ("+15555550123", "", "phone_invalid_for_country"),
        ("12345", "", "phone_short_code"),
        ("110", "DE", "phone_short_code"),
        ("123456", "US", "phone_short_code"),
        ("123456789012345", "US", "phone_too_long"),
        ("5551234", "US", "phone_too_short"),
    ];
    let mut wrong = Vec::new();
    for (input, default, expected) in table {
        let got = show(input, default, STRICT);
        if got != *expected {
            wrong.push(format!("{input:?} in {default:?}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(show(&"+49 151 12345678".repeat(10), "", STRICT), "phone_too_long");
}

#[test]
fn lenient_asks_only_for_the_shape() {
    let table: &[(&str, &str, &str)] = &[
        ("+1234567890", "", "+1234567890"),
        ("+1-555-0123", "", "+15550123"),
        ("+4915112345678", "", "+4915112345678 DE"),
        ("+999123456789", "", "+999123456789"),
        ("+1234567", "", "+1234567"),
        ("+123456789012345", "", "+123456789012345"),
        ("01511 2345678", "DE", "+4915112345678 DE"),
        ("5550123456", "US", "+15550123456"),
        ("+123456", "", "phone_too_short"),
        ("+1234567890123456", "", "phone_too_long"),
        ("+0123456789", "", "phone_unknown_country_code"),
        ("1234567890", "", "phone_missing_country"),
        ("12345", "US", "phone_short_code"),
        ("abc", "", "phone_not_a_number"),
        ("", "", "phone_empty"),
    ];
    for (input, default, expected) in table {
        assert_eq!(show(input, default, LENIENT), *expected, "{input:?} in {default:?}");
    }
}

#[test]
fn country_codes_are_those_of_the_library() {
    let known: Vec<i32> = PHONE_NUMBER_UTIL.get_supported_calling_codes().collect();
    assert!(known.len() > 200);
    for code in known {
        let phone = Phone::from_digits(code as u64 * 100_000_000 + 1).expect("nine digits or more");
        assert_eq!(i32::from(phone.country_code()), code);
        assert_eq!(phone.national(), (1, 7), "+{code}");
    }
}

#[test]
fn digits_and_text_come_back() {
    let phone = Phone::from_digits(4_915_112_345_678).expect("shape");
    assert_eq!(phone.to_string(), "+4915112345678");
    assert_eq!("+4915112345678".parse(), Ok(phone));
    for digits in [0, 999_999, 1_000_000_000_000_000, u64::MAX] {
        assert_eq!(Phone::from_digits(digits), None);
    }
    assert_eq!(Country::parse("de").expect("letters").as_str(), "DE");
    for text in ["", "D", "DEU", "D1", "Ä"] {
        assert_eq!(Country::parse(text), None);
    }
}

proptest! {
    /// What is accepted is a number that reads back as itself, and what is suggested is valid.
    #[test]
    fn any_input_is_answered(
        input in prop_oneof!["\\PC{0,70}", "[+0-9 ()./-]{0,24}", "(\\+|00)?(1|7|33|39|44|49|54|98|7|86)0?[0-9]{4,12}"],
        home in prop::option::of(prop::sample::select(&["DE", "US", "GB", "IT", "IR", "AR", "QQ"][..])),
        lenient in any::<bool>(),
    ) {
        let strictness = if lenient { LENIENT } else { STRICT };
        match Phone::parse(&input, home.and_then(Country::parse), strictness) {
            Ok(Parsed { phone, .. }) => {
                let again = Phone::parse(&phone.to_string(), None, strictness);
                prop_assert_eq!(again.map(|parsed| parsed.phone), Ok(phone));
            }
            Err(PhoneError { suggestion: Some(suggestion), .. }) => {
                prop_assert!(Phone::parse(&suggestion, None, STRICT).is_ok(), "{suggestion}");
                prop_assert_ne!(input, suggestion);
            }
            Err(_) => {}
        }
    }
}

/// The vector of eight octets in the appendix of the SipHash paper (Aumasson and Bernstein, 2012): 0x0001020304050607 happens to have
/// the shape of a number.
#[test]
fn a_tag_is_siphash_2_4_of_eight_octets() {
    let phone = Phone::from_digits(0x0001_0203_0405_0607).unwrap();
    let key = std::array::from_fn(|i| i as u8);
    assert_eq!(phone.tag(&key), 0x93f5_f579_9a93_2462_u64 as i64);
    assert_ne!(phone.tag(&[0; 16]), phone.tag(&key));
}
