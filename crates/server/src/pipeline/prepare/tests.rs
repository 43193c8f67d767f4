//! Tables of drafts: what they become, and what is refused.

use super::*;
use carillon_domain::money::Money;
use carillon_domain::price::PriceBook;

const NOW: i64 = 1_795_250_000_000; // 2026-11-21T08:33:20Z

/// Judges a draft by the defaults; random numbers are 7, 8, 9, 0, …
fn judge_by(settings: &Settings, draft: &Draft<'_>) -> Result<Content, Vec<Mistake>> {
    let prices = PriceBook::new(Money::from_cents(5), Money::from_cents(2), []);
    let terms = Terms { prices, book: Arc::default() };
    let (references, suppressed) = (References::new(|| 0), Suppressed::default());
    let config = crate::config::defaults();
    let rules = Rules {
        account: AccountNo(1),
        settings,
        senders: &SenderSet::default(),
        countries: None,
        terms: &terms,
        otp: &config.otp,
        phone_key: &[0; 16],
        suppressed: &suppressed,
        references: &references,
        shortener: Shortener { public_url: "", ids: &crate::app::Ids::random(), random: || 0 },
        callbacks: Guard::STRICT,
        now: NOW,
    };
    let mut next = 6;
    content(draft, &rules, &mut |below| {
        next += 1;
        next % below
    })
}

fn judge(draft: &Draft<'_>) -> Result<Content, Vec<Mistake>> {
    judge_by(&Settings::default(), draft)
}

const HELLO: Draft<'static> = Draft {
    from: None,
    text: Some("hello"),
    data: None,
    own_part: None,
    otp: false,
    otp_code: None,
    express: false,
    flash: false,
    category: None,
    answer: false,
    language: None,
    transliterate: None,
    validity_s: None,
    scheduled_at: None,
    time_zone: None,
    local_time: false,
    send_window: None,
    quiet_hours: None,
    shorten_links: false,
    client_ref: None,
    tags: Vec::new(),
    callback_url: None,
    media: None,
    bulk: false,
};

#[test]
fn lanes_and_prices_follow_from_what_is_asked() {
    let rows = [
        (HELLO, Lane::Normal, Flags(0), 50_000),
        (Draft { bulk: true, ..HELLO }, Lane::Bulk, Flags(0), 50_000),
        (Draft { express: true, ..HELLO }, Lane::Express, Flags::EXPRESS, 70_000),
        (Draft { express: true, bulk: true, ..HELLO }, Lane::Express, Flags::EXPRESS, 70_000),
        (Draft { otp: true, text: None, ..HELLO }, Lane::Otp, Flags(4 | 8), 50_000),
        (Draft { otp: true, express: true, text: None, ..HELLO }, Lane::Otp, Flags(4 | 8), 50_000),
        (Draft { flash: true, ..HELLO }, Lane::Normal, Flags::FLASH, 50_000),
        (Draft { callback_url: Some("https://a.example/x"), ..HELLO }, Lane::Normal, Flags::EVENTS, 50_000),
        (Draft { text: None, data: Some("3q2+7w=="), ..HELLO }, Lane::Normal, Flags::BINARY, 50_000),
    ];
    let prices = PriceBook::new(Money::from_cents(5), Money::from_cents(2), []);
    for (i, (draft, lane, flags, price)) in rows.into_iter().enumerate() {
        let made = judge(&draft).unwrap();
        assert_eq!((made.lane, made.flags), (lane, flags), "row {i}");
        assert_eq!(prices.part(AccountNo(1), made.lane, 4_915_112_345_678), Money(price), "row {i}");
    }
}

#[test]
fn codes_stand_where_the_text_says() {
    let otp = Draft { otp: true, text: None, ..HELLO };
    let rows = [
        (otp.clone(), "Your code is 789012", "789012"),
        (Draft { text: Some("{code} is yours, {code}"), ..otp.clone() }, "789012 is yours, 789012", "789012"),
        (Draft { otp_code: Some("A-1b"), ..otp.clone() }, "Your code is A-1b", "A-1b"),
        (Draft { otp_code: Some("A-1b"), text: Some("Enter A-1b."), ..otp.clone() }, "Enter A-1b.", "A-1b"),
    ];
    for (draft, body, code) in rows {
        let made = judge(&draft).unwrap();
        assert_eq!((&*made.body, made.otp_code.as_deref()), (body, Some(code)));
        assert_eq!((made.category, made.when.expires_at), (Category::Otp, NOW + 5_000));
    }
}

#[test]
fn times_count_from_the_due_time() {
    let hours48 = 48 * 3_600_000;
    let rows = [
        (HELLO, None, NOW + hours48),
        (Draft { validity_s: Some(60), ..HELLO }, None, NOW + 60_000),
        (Draft { scheduled_at: Some("2026-11-21T09:33:20+01:00"), ..HELLO }, None, NOW + hours48),
        (Draft { scheduled_at: Some("2026-11-21T08:30:00Z"), ..HELLO }, None, NOW + hours48),
        (
            Draft { scheduled_at: Some("2026-11-21T10:33:20+01:00"), validity_s: Some(604_800), ..HELLO },
            Some(NOW + 3_600_000),
            NOW + 3_600_000 + 604_800_000,
        ),
    ];
    for (i, (draft, due_at, expires_at)) in rows.into_iter().enumerate() {
        let made = judge(&draft).unwrap();
        assert_eq!((made.when.due_at, made.when.expires_at), (due_at, expires_at), "row {i}");
    }
}

#[test]
fn drafts_that_are_refused_and_why() {
    let otp = Draft { otp: true, text: None, ..HELLO };
    let (long, url) = ("x".repeat(1_521), format!("https://a.example/{}", "x".repeat(500)));
    let tags = vec!["t"; 11];
    let rows: Vec<(Draft<'_>, &[(&str, &str)])> = vec![
        (Draft { text: None, ..HELLO }, &[("text", "missing_field")]),
        (Draft { text: Some(""), ..HELLO }, &[("text", "too_short")]),
        (Draft { text: Some(&long), ..HELLO }, &[("text", "too_long")]),
        (Draft { data: Some("3q2+7w=="), ..HELLO }, &[("data", "conflicting_fields")]),
        (Draft { text: None, data: Some("3q2+7w"), ..HELLO }, &[("data", "invalid_value")]),
        (Draft { text: None, data: Some(""), ..HELLO }, &[("data", "too_short")]),
        (Draft { from: Some(""), ..HELLO }, &[("from", "sender_empty")]),
        (Draft { from: Some("TwelveLetters"), ..HELLO }, &[("from", "sender_too_long")]),
        (Draft { category: Some("spam"), ..HELLO }, &[("category", "invalid_value")]),
        (Draft { category: Some("otp"), ..HELLO }, &[("category", "invalid_value")]),
        (Draft { category: Some("promotional"), ..otp.clone() }, &[("category", "conflicting_fields")]),
        (Draft { language: Some("klingon"), ..HELLO }, &[("language", "invalid_value")]),
        (Draft { validity_s: Some(59), ..HELLO }, &[("validity_s", "invalid_value")]),
        (Draft { validity_s: Some(604_801), ..HELLO }, &[("validity_s", "invalid_value")]),
        (Draft { scheduled_at: Some("tomorrow"), ..HELLO }, &[("scheduled_at", "invalid_value")]),
        (Draft { scheduled_at: Some("2026-11-21T10:00:00"), ..HELLO }, &[("scheduled_at", "invalid_value")]),
        (Draft { scheduled_at: Some("2026-11-21T08:00:00Z"), ..HELLO }, &[("scheduled_at", "invalid_value")]),
        (Draft { scheduled_at: Some("2027-12-21T08:00:00Z"), ..HELLO }, &[("scheduled_at", "invalid_value")]),
        (Draft { client_ref: Some(&long[..65]), ..HELLO }, &[("client_ref", "too_long")]),
        (Draft { client_ref: Some("a\0b"), ..HELLO }, &[("client_ref", "invalid_value")]),
        (Draft { tags, ..HELLO }, &[("tags", "too_long")]),
        (Draft { tags: vec!["ok", ""], ..HELLO }, &[("tags", "too_short")]),
        (Draft { callback_url: Some("ftp://a.example"), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { callback_url: Some("https://u:p@a.example"), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { callback_url: Some("http://a.example/x"), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { callback_url: Some("https://10.0.0.1/x"), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { callback_url: Some("/hook"), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { callback_url: Some(&url), ..HELLO }, &[("callback_url", "invalid_value")]),
        (Draft { otp_code: Some("1234"), ..HELLO }, &[("otp_code", "conflicting_fields")]),
        (Draft { otp_code: Some("12"), ..otp.clone() }, &[("otp_code", "invalid_value")]),
        (Draft { otp_code: Some("12 34"), ..otp.clone() }, &[("otp_code", "invalid_value")]),
        (Draft { text: Some("hello"), ..otp.clone() }, &[("text", "otp_code_missing")]),
        (Draft { text: Some("hello"), otp_code: Some("1234"), ..otp.clone() }, &[("text", "otp_code_missing")]),
        (Draft { validity_s: Some(60), ..otp.clone() }, &[("validity_s", "conflicting_fields")]),
        (Draft { scheduled_at: Some("2026-12-01T00:00:00Z"), ..otp }, &[("scheduled_at", "conflicting_fields")]),
        (
            Draft { from: Some("Ж"), text: None, validity_s: Some(0), category: Some(""), ..HELLO },
            &[
                ("from", "sender_character"),
                ("category", "invalid_value"),
                ("text", "missing_field"),
                ("validity_s", "invalid_value"),
            ],
        ),
    ];
    for (i, (draft, expected)) in rows.into_iter().enumerate() {
        let mistakes = judge(&draft).unwrap_err();
        let found: Vec<_> = mistakes.iter().map(|m| (m.field, m.code)).collect();
        assert_eq!(found, expected, "row {i}");
    }
}

#[test]
fn settings_decide_what_the_request_leaves_open() {
    let settings = Settings {
        default_sender: Some("Shop".into()),
        default_country: Some("DE".into()),
        transliterate: true,
        parts_max: 1,
        otp_success: OtpSuccess::Handset,
        validity_s: 3_600,
        ..Settings::default()
    };
    let made = judge_by(&settings, &Draft { text: Some("“hi”"), ..HELLO }).unwrap();
    assert_eq!((made.origin.sender(), made.plan.replaced), (Some("Shop"), 2));
    assert_eq!((made.flags, made.when.expires_at), (Flags::TRANSLITERATE, NOW + 3_600_000));
    let own =
        judge_by(&settings, &Draft { from: Some("Other"), transliterate: Some(false), text: Some("“hi”"), ..HELLO })
            .unwrap();
    assert_eq!((own.origin.sender(), own.plan.encoding), (Some("Other"), encoding::Encoding::Ucs2));
    let otp = judge_by(&settings, &Draft { otp: true, text: None, ..HELLO }).unwrap();
    assert_eq!(otp.flags, Flags::OTP);
    assert_eq!(judge_by(&settings, &Draft { text: Some(&"x".repeat(161)), ..HELLO }).unwrap_err()[0].code, "too_long");
    assert_eq!(recipient("0151 12345678", &settings).unwrap().phone.digits(), 4_915_112_345_678);
    let lost = recipient("+49 0151 12345678", &Settings::default()).unwrap_err();
    assert_eq!(Mistake::phone(lost, Some(3)).suggestion.as_deref(), Some("+4915112345678"));
}

#[test]
fn every_code_is_in_the_registry() {
    use carillon_domain::phone::PhoneReason as P;
    use carillon_domain::sender::SenderError as S;
    let phones = [
        P::Empty,
        P::NotANumber,
        P::MissingCountry,
        P::UnknownCountryCode,
        P::TooShort,
        P::TooLong,
        P::WrongLength,
        P::TrunkPrefix,
        P::ShortCode,
        P::InvalidForCountry,
    ];
    let senders =
        [S::Empty, S::TooLong, S::Character('x'), S::OuterSpace, S::NoLetter, S::ShortCodeLength, S::LongCode];
    let own = [
        "missing_field",
        "too_short",
        "too_long",
        "invalid_value",
        "conflicting_fields",
        "otp_code_missing",
        "wrong_type",
        "unknown_field",
        "duplicate_recipient",
        "insufficient_credit",
    ];
    let codes = phones.map(P::code).into_iter().chain(senders.map(|s| s.code())).chain(own);
    for code in codes {
        assert!(crate::api::error::Code::ALL.iter().any(|c| c.as_str() == code), "{code}");
    }
}
