//! The life of a verification and the rules against pumping, as tables; and that no order of events breaks the bounds.

use proptest::prelude::*;

use super::*;
use crate::phone::Strictness;

fn fresh() -> Progress {
    Progress {
        state: State::Pending,
        attempts: 0,
        attempts_max: 3,
        sends: 1,
        sends_max: 3,
        sent_at: 1_000,
        resend_after: 30_000,
        expires_at: 601_000,
        ended_at: None,
    }
}

fn rules() -> Rules {
    Rules {
        length: 6,
        expires_s: 600,
        attempts_max: 5,
        sends_max: 5,
        resend_after_s: 30,
        countries: Vec::new(),
        number_per_hour: 5,
        number_per_day: 10,
        prefix_per_hour: 0,
        prefix_per_day: 0,
        address_per_hour: 7,
        address_per_day: 0,
        account_per_hour: 0,
        account_per_day: 9,
        conversion_min_percent: 10,
        conversion_prefix_sample: 20,
        conversion_country_sample: 0,
    }
}

#[test]
fn checks() {
    use Checked::*;
    // When, whether right, what is answered, and where it then stands.
    let lives: &[&[(i64, bool, Checked, State)]] = &[
        &[
            (2_000, true, Approved, State::Approved),
            (2_001, true, Ended(State::Approved), State::Approved),
            (2_002, false, Ended(State::Approved), State::Approved),
        ],
        &[
            (2_000, false, Wrong(2), State::Pending),
            (2_001, false, Wrong(1), State::Pending),
            (2_002, true, Approved, State::Approved),
        ],
        &[
            (2_000, false, Wrong(2), State::Pending),
            (2_000, false, Wrong(1), State::Pending),
            (2_000, false, Wrong(0), State::MaxAttemptsReached),
            (2_000, true, Ended(State::MaxAttemptsReached), State::MaxAttemptsReached),
        ],
        &[(600_999, true, Approved, State::Approved)],
        &[(601_000, true, Ended(State::Expired), State::Expired)],
    ];
    for life in lives {
        let mut v = fresh();
        for (now, right, expected, state) in *life {
            assert_eq!((v.check(*right, *now), v.state), (*expected, *state), "{life:?} at {now}");
            assert_eq!(v.ended_at.is_some(), v.state != State::Pending);
        }
    }
}

#[test]
fn sends() {
    let mut v = fresh();
    let rows = [
        (1_000, Err(NoResend::TooSoon(30_000))),
        (30_999, Err(NoResend::TooSoon(1))),
        (31_000, Ok(())),
        (31_000, Err(NoResend::TooSoon(30_000))),
        (61_000, Ok(())),
        (500_000, Err(NoResend::TooMany)),
        (601_000, Err(NoResend::Ended(State::Expired))),
    ];
    for (now, expected) in rows {
        assert_eq!(v.resend(now), expected, "at {now}");
    }
    let mut alone = fresh();
    alone.send_failed(2_000);
    assert_eq!((alone.state, alone.ended_at), (State::Failed, Some(2_000)));
    let mut second = Progress { sends: 2, ..fresh() };
    second.send_failed(2_000);
    assert_eq!(second.state, State::Pending, "the first code may have arrived");
    let mut approved = fresh();
    approved.check(true, 1_500);
    approved.send_failed(2_000);
    assert_eq!(approved.state, State::Approved);
}

#[test]
fn cancels() {
    let mut v = fresh();
    assert_eq!((v.cancel(2_000), v.cancel(3_000), v.ended_at), (Ok(()), Ok(()), Some(2_000)));
    assert_eq!(fresh().cancel(601_000), Err(State::Expired));
    assert_eq!((fresh().state_at(600_999), fresh().state_at(601_000)), (State::Pending, State::Expired));
}

proptest! {
    /// Whatever happens in whatever order: it ends once, within its bounds, and what ended stays.
    #[test]
    fn no_order_of_events_breaks_the_bounds(events in prop::collection::vec((0u8..5, 0i64..40_000), 0..60)) {
        let (mut v, mut now) = (fresh(), 1_000);
        for (event, step) in events {
            now += step;
            let before = v.clone();
            match event {
                0 => { v.check(true, now); }
                1 => { v.check(false, now); }
                2 => { let _ = v.resend(now); }
                3 => { let _ = v.cancel(now); }
                _ => v.send_failed(now),
            }
            prop_assert!(v.attempts <= v.attempts_max && v.sends <= v.sends_max);
            prop_assert_eq!(v.state == State::Pending, v.ended_at.is_none());
            prop_assert!(v.state != State::Approved || before.state == State::Approved || before.expires_at > now);
            if before.state != State::Pending {
                prop_assert_eq!(&v, &before);
            }
            if v.sends > before.sends {
                prop_assert!(v.sent_at - before.sent_at >= v.resend_after);
            }
        }
    }
}

#[test]
fn what_a_code_counts_against() {
    let to = Destination { phone_tag: 77, prefix: 4_915_112, country: None };
    let names =
        |address| rules().caps(&to, address).into_iter().map(|(cap, key, l)| (cap, key, l.count())).collect::<Vec<_>>();
    let without = [(Cap::NumberHour, 77, 5), (Cap::NumberDay, 77, 10), (Cap::AccountDay, 0, 9)];
    assert_eq!(names(None), without);
    let with = [(Cap::NumberHour, 77, 5), (Cap::NumberDay, 77, 10), (Cap::AddressHour, 3, 7), (Cap::AccountDay, 0, 9)];
    assert_eq!(names(Some(3)), with);
    for (number, block) in [("+4915112345678", 4_915_112), ("+15005550001", 1_500_555), ("+1234567", 1_234_567)] {
        assert_eq!(prefix(Phone::parse(number, None, Strictness::Lenient).unwrap().phone), block, "{number}");
    }
}

#[test]
fn countries_and_conversion() {
    let country = |text: &str| Country::parse(text);
    let own =
        OwnRules { countries: Some(country("DE").into_iter().chain(country("FR")).collect()), ..OwnRules::default() };
    let listed = rules().with(&own);
    assert_eq!((listed.number_per_day, listed.countries.len()), (10, 2), "the rest is the platform's");
    let rows = [(country("DE"), Ok(())), (country("US"), Err(Refusal::Country)), (None, Err(Refusal::Country))];
    for (of, expected) in rows {
        assert_eq!(listed.country(of), expected, "{of:?}");
    }
    assert_eq!(rules().country(None), Ok(()));
    // Seen, approved, sample.
    let rows = [(19, 0, 20, true), (20, 0, 20, false), (20, 1, 20, false), (20, 2, 20, true), (1_000, 0, 0, true)];
    for (seen, approved, sample, fine) in rows {
        assert_eq!(rules().converts(seen, approved, sample), fine, "{approved} of {seen}");
    }
    assert_eq!(rules().mistakes(), []);
    let wrong = Rules { length: 3, attempts_max: 0, ..rules() };
    assert_eq!(wrong.mistakes().iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["length", "attempts_max"]);
}
