//! The outbox: what settle writes for accounts that subscribe, and that a row is fanned out once, whole or in bits.

use carillon_domain::event::{EventKind, Kinds};
use carillon_domain::id::{AccountNo, EndpointId, EventId};
use carillon_domain::message::{Flags, State};
use carillon_store::delivery::NewDelivery;
use carillon_store::event::{self, Content, FanOut, NewEvent, Transition};
use carillon_store::hot::{Extra, NewMessage, SettleItem};
use carillon_store::webhook::{self, Endpoint, EndpointStatus};

use crate::settle::{Do, item};
use crate::world::{World, message, on_both};

pub(crate) fn endpoint(account: AccountNo, counter: u64, kinds: Kinds) -> Endpoint {
    Endpoint {
        id: EndpointId::new(1_000, counter, account),
        account,
        url: "https://example.com/".into(),
        description: String::new(),
        kinds,
        status: EndpointStatus::Enabled,
        status_at: 1_000,
        secret: b"sealed".to_vec(),
        previous: None,
        accepted_at: None,
        created_at: 1_000,
    }
}

#[tokio::test]
async fn transitions_that_an_account_watches_are_recorded() {
    on_both(async |w: &mut World| {
        let (a, b) = (w.account(100).await, w.account(100).await);
        let only = Kinds::NONE.with(EventKind::MessageDelivered);
        webhook::create(&w.db, &endpoint(a, 1, only)).await.unwrap();
        let all = webhook::all(&w.db).await.unwrap();
        assert_eq!(all, [endpoint(a, 1, only)], "as it was stored");
        w.hot.watched().set(webhook::watched(&all));
        let url = Some("https://example.com/own".to_owned());
        let extra = Some(Box::new(Extra { callback_url: url.clone(), ..Extra::default() }));
        let asks = NewMessage { flags: Flags::EVENTS, extra, ..message(3, 1) };
        let (one, two, asks) = (w.take(a, message(1, 1)).await, w.take(b, message(2, 1)).await, w.take(a, asks).await);
        let now = w.now;
        let both = |id, phone, name: &'static str| {
            [item(Do::Yes(1, 0, name), phone, id, now), item(Do::Got(name), phone, id, now)]
        };
        let items: Vec<SettleItem> = [both(one, 1, "a"), both(two, 2, "b"), both(asks, 3, "c")].concat();
        let settled = w.settle(&items).await;
        assert_eq!(settled.iter().map(|s| s.told).collect::<Vec<_>>(), [false, true, false, false, true, true]);

        let waiting = event::waiting(&w.db, AccountNo::PLATFORM, 10).await.unwrap();
        let t = |message, state, own| Transition { message, state, own };
        let expected = [t(asks, State::Sent, true), t(one, State::Delivered, false), t(asks, State::Delivered, true)];
        assert_eq!(waiting.len(), 1, "nobody watches the other account");
        assert_eq!(waiting[0].content, Content::Transitions(expected.into()));
        assert_eq!((waiting[0].id.account(), waiting[0].taken, waiting[0].at), (a, 0, now));
        let wishes = event::wishes(&w.db, a, &[one, asks]).await.unwrap();
        assert_eq!((wishes[&one].callback_url.clone(), wishes[&asks].callback_url.clone()), (None, url));
    })
    .await;
}

#[tokio::test]
async fn a_row_is_fanned_out_once_whoever_comes() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let event = NewEvent {
            id: EventId::new(w.now, 5, a),
            kind: EventKind::WebhookDisabled,
            subject: None,
            detail: Some("{\"limit\":\"1.00\"}".into()),
            at: w.now,
        };
        event::publish(&w.db, std::slice::from_ref(&event)).await.unwrap();
        let waiting = event::waiting(&w.db, AccountNo::PLATFORM, 10).await.unwrap();
        let (kind, detail) = (EventKind::WebhookDisabled, event.detail.clone());
        assert_eq!(waiting[0].content, Content::Other { kind, subject: None, detail: detail.clone() });
        let to = |counter| {
            let endpoint = EndpointId::new(1_000, counter, a);
            let (event, queue, detail) = (event.id, endpoint.0, detail.clone());
            NewDelivery { endpoint, event, queue, kind, subject: None, detail, event_at: 1, missed: counter == 2 }
        };
        let step = |taken, up_to, counter| {
            let deliveries = (0..counter).map(to).collect();
            FanOut { event: event.id, taken, up_to, deliveries }
        };
        // A bit of it; the same again by somebody who read it before; then the rest, with one that is there already.
        for (step, mine, deliveries, rows) in [
            (step(0, Some(1), 1), 1, 1, 1),
            (step(0, None, 3), 0, 1, 1),
            (step(1, None, 3), 1, 3, 0),
            (step(1, None, 4), 0, 3, 0),
        ] {
            assert_eq!(event::fan_out(&w.db, &[step]).await.unwrap(), mine);
            assert_eq!((w.count("webhook_delivery").await, w.count("event").await), (deliveries, rows));
        }
        let states = w.numbers("SELECT CAST(state AS BIGINT) FROM webhook_delivery ORDER BY endpoint_id").await;
        assert_eq!(states, [[Some(0)], [Some(0)], [Some(3)]], "one endpoint was disabled");
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_is_disabled_once_and_its_account_hears_it() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let e = endpoint(a, 1, Kinds::ALL);
        webhook::create(&w.db, &e).await.unwrap();
        let told = |counter| NewEvent {
            id: EventId::new(w.now, counter, a),
            kind: EventKind::WebhookDisabled,
            subject: Some(e.id.0),
            detail: None,
            at: w.now,
        };
        for (counter, done) in [(1, true), (2, false)] {
            let disabled = webhook::disable(&w.db, a, e.id, EndpointStatus::Gone, &told(counter), &[]).await.unwrap();
            assert_eq!((disabled, w.count("event").await), (done, 1));
        }
        let all = webhook::all(&w.db).await.unwrap();
        assert_eq!((all[0].status, all[0].status_at), (EndpointStatus::Gone, w.now));
        let foreign = webhook::disable(&w.db, AccountNo(99), e.id, EndpointStatus::Gone, &told(3), &[]).await.unwrap();
        assert!(!foreign);
    })
    .await;
}
