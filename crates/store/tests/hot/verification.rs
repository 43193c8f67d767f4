//! What jobs do behind verifications: end them in time, erase the codes a crash left behind, forget caps that regained everything.

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EventId, VerificationId};
use carillon_domain::message::{Flags, Lane};
use carillon_domain::verification::{Cap, Destination, Progress, Refusal, Rules, State};
use carillon_store::event::NewEvent;
use carillon_store::hot::PartResult;
use carillon_store::message;
use carillon_store::verification::{self, Begun, Verification, sweep};

use crate::settle::outcome;
use crate::world::{NOON, World, message, on_both};

fn begun(account: AccountNo, n: u64, at: i64) -> Verification {
    Verification {
        id: VerificationId::new(at, n, account),
        phone: 4_915_112_345_678,
        destination: Destination { phone_tag: n as i64, prefix: 4_915_112, country: None },
        sender: None,
        template: "{code}".into(),
        code_mac: vec![1; 32],
        given: true,
        generation: 0,
        length: 6,
        progress: Progress {
            state: State::Pending,
            attempts: 0,
            attempts_max: 5,
            sends: 1,
            sends_max: 5,
            sent_at: at,
            resend_after: 30_000,
            expires_at: at + 600_000,
            ended_at: None,
        },
        sending_since: Some(at),
        messages: Vec::new(),
        address_tag: None,
        client_ref: None,
        metadata: None,
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
        number_per_hour: 0,
        number_per_day: 0,
        prefix_per_hour: 3,
        prefix_per_day: 0,
        address_per_hour: 0,
        address_per_day: 0,
        account_per_hour: 0,
        account_per_day: 0,
        conversion_min_percent: 0,
        conversion_prefix_sample: 0,
        conversion_country_sample: 0,
    }
}

fn ended(account: AccountNo, id: VerificationId, state: State) -> NewEvent {
    let detail = Some(format!("{{\"status\":\"{}\"}}", state.as_str()));
    let event = EventId::new(id.millis(), id.0.as_u128() as u64 >> 32, account);
    NewEvent { id: event, kind: EventKind::VerificationFailed, subject: Some(id.0), detail, at: id.millis() }
}

#[tokio::test]
async fn they_end_in_time_in_bites() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        for n in 0..3 {
            let v = begun(a, n, NOON + n as i64);
            assert_eq!(verification::begin(&w.db, a, &v, &rules(), None, w.now).await.unwrap(), Begun::Begun);
            assert_eq!(verification::by_id(&w.db, a, v.id).await.unwrap(), v, "read as written");
        }
        let mut bites = Vec::new();
        for now in [NOON + 599_999, NOON + 600_001, NOON + 600_001, NOON + 700_000] {
            bites.push(sweep::expire(&w.db, now, 1, &ended).await.unwrap());
        }
        assert_eq!(bites, [0, 1, 1, 1]);
        assert_eq!(w.count("event").await, 3, "each end is told");
        let all = verification::list(&w.db, a, None, None, 9).await.unwrap();
        let ends: Vec<_> = all.iter().map(|v| (v.progress.state, v.progress.ended_at.unwrap() - NOON)).collect();
        assert_eq!(ends, [600_002, 600_001, 600_000].map(|at| (State::Expired, at)));
    })
    .await;
}

#[tokio::test]
async fn a_code_whose_fate_is_known_is_erased() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let v = begun(a, 1, NOON);
        verification::begin(&w.db, a, &v, &rules(), None, w.now).await.unwrap();
        let mut m = message(1, 1);
        (m.lane, m.flags, m.otp_code) = (Lane::Otp, Flags::SECRET.with(Flags::OTP, true), Some("4711".into()));
        let id = w.take(a, m).await;
        let after = verification::sent(&w.db, a, v.id, id, false, NOON, &ended).await.unwrap();
        assert_eq!((after.messages, after.sending_since), (vec![id], None));
        let left = "SELECT CAST(LENGTH(body) AS BIGINT), CAST(LENGTH(otp_code) AS BIGINT) FROM message";
        assert_eq!(w.numbers(left).await, [[Some(1), None]], "nothing but the scheme");
    })
    .await;
}

#[tokio::test]
async fn codes_a_crash_left_behind_are_erased_and_others_stay() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let secret = |phone| {
            let mut m = message(phone, 1);
            (m.lane, m.flags) = (Lane::Otp, Flags::SECRET.with(Flags::OTP, true));
            m
        };
        // Sent, still waiting, and one that is no code.
        let sent = w.take(a, secret(1)).await;
        let waiting = w.take(a, secret(2)).await;
        let plain = w.take(a, message(3, 1)).await;
        for (id, phone) in [(sent, 1), (plain, 3)] {
            let yes = PartResult::Accepted { carrier_id: format!("c{phone}"), receipts: true };
            w.settle(&[outcome(id, phone, 1, 0, NOON, yes)]).await;
        }
        let v = begun(a, 1, NOON);
        verification::begin(&w.db, a, &v, &rules(), None, w.now).await.unwrap();
        assert_eq!(sweep::erase_left(&w.db, NOON, 9).await.unwrap(), 0, "it may still be on its way");
        assert_eq!(sweep::erase_left(&w.db, NOON + 1, 9).await.unwrap(), 1);
        assert_eq!(sweep::erase_left(&w.db, NOON + 1, 9).await.unwrap(), 0);
        for (id, octets) in [(sent, 1), (waiting, 6), (plain, 6)] {
            let sql = format!("SELECT CAST(LENGTH(body) AS BIGINT) FROM message WHERE id = {}", w.literal(id.0));
            assert_eq!(w.numbers(&sql).await, [[Some(octets)]], "{id}");
        }
        for (id, shown) in [(sent, ""), (waiting, ""), (plain, "Hello")] {
            assert_eq!(&*message::by_id(&w.db, a, id).await.unwrap().body, shown, "a code is shown to no reader");
        }
    })
    .await;
}

#[tokio::test]
async fn caps_are_given_back_and_forgotten() {
    on_both(async |w: &mut World| {
        let (a, rules) = (w.account(0).await, rules());
        let full = Begun::Refused(Refusal::Cap(Cap::PrefixHour, 1_200_000));
        let mut seen = Vec::new();
        for n in 0..4 {
            seen.push(verification::begin(&w.db, a, &begun(a, n, NOON), &rules, None, NOON).await.unwrap());
        }
        assert_eq!(seen, [Begun::Begun, Begun::Begun, Begun::Begun, full.clone()]);
        verification::undo(&w.db, a, &begun(a, 2, NOON), &rules).await.unwrap();
        for expected in [Begun::Begun, full] {
            assert_eq!(verification::begin(&w.db, a, &begun(a, 5, NOON), &rules, None, NOON).await.unwrap(), expected);
        }
        assert_eq!(w.count("verification").await, 3);
        assert_eq!(sweep::delete_caps(&w.db, NOON + 3_599_999, 9).await.unwrap(), 0);
        assert_eq!(sweep::delete_caps(&w.db, NOON + 3_600_000, 9).await.unwrap(), 1);
        assert_eq!(w.count("verification_cap").await, 0);
    })
    .await;
}
