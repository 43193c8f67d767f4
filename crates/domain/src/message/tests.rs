//! What becomes of messages: tables, and what must hold of every order of events.

use super::*;
use proptest::prelude::*;

const A: Event = Event::Accepted { part: 0, receipts: true };
const A0: Event = Event::Accepted { part: 0, receipts: false };
const U: Event = Event::Unknown { part: 0, error: 9 };
const R: Event = Event::Refused { part: 0, error: 3 };
const S: Event = Event::Resend { part: 0 };
const G: Event = Event::Reroute { part: 0, error: 5 };
const D: Event = Event::Delivered { part: 0 };
const F: Event = Event::Failed { part: 0, error: 4 };
const A1: Event = Event::Accepted { part: 1, receipts: true };
const D1: Event = Event::Delivered { part: 1 };
const F1: Event = Event::Failed { part: 1, error: 4 };
const R1: Event = Event::Refused { part: 1, error: 3 };
const CANCEL: Event = Event::End { state: State::Canceled, error: 7, unknown_too: false };
const DEADLINE: Event = Event::End { state: State::Failed, error: 8, unknown_too: true };
const CLOSE: Event = Event::Close;
const Q: Event = Event::Doubted { part: 0 };
const UNSURE: Option<i16> = Some(ErrorCode::ReceiptUnknown as i16);
const PARTLY: Option<i16> = Some(ErrorCode::PartiallyDelivered as i16);

/// parts, pays on acceptance, events -> state, closed, held, captured (in prices of a part), error
type Row = (u8, bool, &'static [Event], State, bool, i64, i64, Option<i16>);

#[test]
fn what_becomes_of_a_message() {
    use State::*;
    let rows: &[Row] = &[
        (1, false, &[A], Sent, false, 1, 0, None),
        (1, false, &[A, D], Delivered, true, 0, 1, None),
        (1, false, &[A, D, D, F], Delivered, true, 0, 1, None),
        (1, false, &[D, A], Delivered, true, 0, 1, None),
        (1, false, &[A, F], Undelivered, true, 0, 0, Some(4)),
        (1, false, &[A, F, D], Undelivered, true, 0, 0, Some(4)),
        (1, false, &[R], Failed, true, 0, 0, Some(3)),
        (1, false, &[R, A, D], Failed, true, 0, 0, Some(3)),
        (1, false, &[A0], Sent, true, 0, 1, None),
        (1, false, &[CANCEL], Canceled, true, 0, 0, Some(7)),
        (1, false, &[A, CANCEL], Sent, false, 1, 0, None),
        (1, false, &[U], Sent, false, 1, 0, Some(9)),
        (1, false, &[U, CANCEL], Sent, false, 1, 0, Some(9)),
        (1, false, &[U, D], Delivered, true, 0, 1, None),
        (1, false, &[U, S], Queued, false, 1, 0, Some(9)),
        (1, false, &[U, S, A, D], Delivered, true, 0, 1, None),
        (1, false, &[A, G], Queued, false, 1, 0, Some(5)),
        (1, false, &[A, G, A, D], Delivered, true, 0, 1, None),
        (1, false, &[A, G, CANCEL], Canceled, true, 0, 0, Some(7)),
        (1, false, &[A, D, G], Delivered, true, 0, 1, None),
        (1, false, &[U, S, D, A], Delivered, true, 0, 1, None),
        (1, false, &[U, DEADLINE], Failed, true, 0, 0, Some(8)),
        (1, false, &[DEADLINE, A, D], Failed, true, 0, 0, Some(8)),
        (1, false, &[A, DEADLINE, D], Undelivered, true, 0, 0, Some(8)),
        (1, true, &[A, DEADLINE], Sent, false, 0, 1, None),
        (2, true, &[A, DEADLINE], Sent, false, 0, 1, Some(8)),
        (1, false, &[A, CLOSE], Sent, true, 0, 1, None),
        (1, false, &[A, CLOSE, F], Sent, true, 0, 1, None),
        (1, false, &[U, CLOSE], Undelivered, true, 0, 0, Some(9)),
        (1, false, &[A, Q], Sent, false, 1, 0, UNSURE),
        (1, false, &[A, Q, D], Delivered, true, 0, 1, None),
        (1, false, &[A, Q, F], Undelivered, true, 0, 0, Some(4)),
        (1, false, &[A, Q, CLOSE], Undelivered, true, 0, 0, UNSURE),
        (1, true, &[A, Q, CLOSE], Undelivered, true, 0, 1, UNSURE),
        (1, false, &[Q, A], Sent, false, 1, 0, None),
        (1, false, &[U, Q], Sent, false, 1, 0, Some(9)),
        (2, false, &[A, Q, A1, CLOSE], Undelivered, true, 0, 0, UNSURE),
        (2, false, &[A, A1, Q, D1, CLOSE], Undelivered, true, 0, 1, UNSURE),
        (1, true, &[A], Sent, false, 0, 1, None),
        (1, true, &[A, D], Delivered, true, 0, 1, None),
        (1, true, &[A, F], Undelivered, true, 0, 1, Some(4)),
        (1, true, &[R], Failed, true, 0, 0, Some(3)),
        (2, false, &[A], Queued, false, 2, 0, None),
        (2, false, &[A, A1], Sent, false, 2, 0, None),
        (2, false, &[A, A1, D1], Sent, false, 1, 1, None),
        (2, false, &[A, A1, D1, D1, D], Delivered, true, 0, 2, None),
        (2, false, &[A, A1, D1, F], Undelivered, true, 0, 1, PARTLY),
        (2, false, &[A, R1], Sent, false, 1, 0, Some(3)),
        (2, false, &[A, R1, D], Undelivered, true, 0, 1, PARTLY),
        (2, false, &[A, CANCEL], Sent, false, 1, 0, Some(7)),
        (2, false, &[A, A1, F1, CLOSE], Undelivered, true, 0, 1, Some(4)),
        (2, true, &[A, A1, F1, D], Undelivered, true, 0, 2, PARTLY),
        (2, false, &[D, Event::Delivered { part: 9 }], Queued, false, 1, 1, None),
    ];
    for (i, (parts, pays, events, state, closed, held, captured, error)) in rows.iter().enumerate() {
        let mut p = Progress::accepted(Queued, Flags::default().with(Flags::PAY_ON_ACCEPT, *pays), *parts, Money(50));
        for e in *events {
            p.apply(*e);
        }
        let got = (p.state, p.closed, p.held.0 / 50, p.captured.0 / 50, p.error);
        assert_eq!(got, (*state, *closed, *held, *captured, *error), "row {i}: {events:?}");
    }
    let mut later = Progress::accepted(Scheduled, Flags::default(), 1, Money(50));
    assert!(later.apply(Event::Due).changed && later.state == Queued);
    let mut withdrawn = Progress::accepted(Scheduled, Flags::default(), 1, Money(50));
    assert_eq!(withdrawn.apply(CANCEL), Effect { capture: Money(0), release: Money(50), changed: true });
}

/// Parts, price of a part and of an MMS, and how it went at each event -> held at first, captured and released in the end.
#[test]
fn an_mms_has_one_price_and_its_links_have_their_parts() {
    let rows: &[(u8, i64, i64, &[(bool, Event)], i64, i64, i64)] = &[
        (1, 50, 200, &[(true, A), (true, D)], 200, 200, 0),
        (1, 50, 200, &[(false, A), (false, D)], 200, 50, 150),
        (3, 50, 100, &[(false, A), (false, A1), (false, D), (false, D1)], 150, 100, 0),
        (2, 50, 99, &[(true, A), (true, A1), (true, D), (true, D1)], 100, 99, 1),
        (2, 50, 99, &[(true, A), (true, A1), (true, D), (true, F1)], 100, 49, 51),
        (1, 50, 200, &[(true, A0)], 200, 200, 0),
        (1, 50, 200, &[(true, U), (true, S), (false, A), (false, D)], 200, 50, 150),
        (1, 50, 200, &[(false, A), (false, G), (true, A), (true, D)], 200, 200, 0),
        (1, 50, 200, &[(true, A), (true, F)], 200, 0, 200),
        (2, 50, 20, &[(false, CANCEL)], 100, 0, 100),
    ];
    for (i, (parts, unit, mms, events, hold, captured, released)) in rows.iter().enumerate() {
        let mut p = Progress::accepted(State::Queued, Flags::default(), *parts, Money(*unit));
        p.mms_price = Some(Money(*mms));
        p.held = p.held.max(Money(*mms));
        assert_eq!(p.held, Money(*hold), "row {i}");
        let mut back = Money::ZERO;
        for (as_mms, event) in *events {
            p.goes_as(0, *as_mms);
            back += p.apply(*event).release;
        }
        assert_eq!((p.captured.0, back.0), (*captured, *released), "row {i}: {events:?}");
        assert_eq!(p.held + p.captured + back, Money(*hold), "row {i}");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    (0u8..11, 0u8..3, any::<bool>()).prop_map(|(kind, part, flag)| match kind {
        0 => Event::Accepted { part, receipts: flag },
        1 => Event::Unknown { part, error: 9 },
        2 => Event::Refused { part, error: 3 },
        3 if flag => Event::Reroute { part, error: 5 },
        3 => Event::Resend { part },
        4 | 5 => Event::Delivered { part },
        6 => Event::Failed { part, error: 4 },
        7 => Event::End { state: State::Expired, error: 6, unknown_too: flag },
        8 => Event::Due,
        9 => Event::Doubted { part },
        _ => Event::Close,
    })
}

proptest! {
    #[test]
    fn any_order_of_events_ends_once_and_never_makes_or_loses_money(
        parts in 1u8..4, pays: bool, price in 0i64..1000, mms in proptest::option::of(0i64..2000),
        events in prop::collection::vec((any_event(), any::<bool>()), 0..40)
    ) {
        let mut p = Progress::accepted(State::Queued, Flags::default().with(Flags::PAY_ON_ACCEPT, pays), parts, Money(price));
        p.mms_price = mms.map(Money);
        p.held = p.held.max(p.mms_price.unwrap_or_default());
        let total = p.held;
        let (mut captured, mut released) = (Money::ZERO, Money::ZERO);
        for (e, as_mms) in events {
            if !p.closed {
                p.goes_as(0, as_mms);
            }
            let before = p.clone();
            let effect = p.apply(e);
            prop_assert!(effect.capture.0 >= 0 && effect.release.0 >= 0);
            prop_assert!(!before.closed || p == before, "a closed message changed");
            captured += effect.capture;
            released += effect.release;
            prop_assert_eq!(p.captured, captured);
            prop_assert_eq!(p.held + captured + released, total);
            prop_assert!(!p.closed || p.held == Money::ZERO);
        }
    }
}
