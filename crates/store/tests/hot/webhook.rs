//! Endpoints and their deliveries: what is sent next, what became of it, and what is sent again.

use carillon_domain::event::{EventKind, Kinds};
use carillon_domain::id::{AccountNo, EndpointId, EventId};
use carillon_store::StoreError;
use carillon_store::delivery::{self, Attempted, Delivery, DeliveryState, NewDelivery, Queue, Range};
use carillon_store::event::{self, FanOut, NewEvent};
use carillon_store::webhook::{self, Change, EndpointStatus};
use uuid::Uuid;

use crate::outbox::endpoint;
use crate::world::{World, on_both};

/// Events of the account at 1000, 2000 and so on, each for every endpoint; the last of them missed.
async fn deliver(w: &mut World, a: AccountNo, endpoints: &[EndpointId], count: u64) -> Vec<EventId> {
    let ids: Vec<EventId> = (1..=count).map(|n| EventId::new(n as i64 * 1_000, n, a)).collect();
    for (n, id) in ids.iter().enumerate() {
        let event =
            NewEvent { id: *id, kind: EventKind::WebhookDisabled, subject: None, detail: None, at: id.millis() };
        event::publish(&w.db, &[event]).await.unwrap();
        let to = |endpoint: &EndpointId| NewDelivery {
            endpoint: *endpoint,
            event: *id,
            queue: endpoint.0,
            kind: EventKind::WebhookDisabled,
            subject: Some(Uuid::from_u128(n as u128)),
            detail: Some("{}".into()),
            event_at: id.millis(),
            missed: n + 1 == count as usize,
        };
        let deliveries = endpoints.iter().map(to).collect();
        let step = FanOut { event: *id, taken: 0, up_to: None, deliveries };
        assert_eq!(event::fan_out(&w.db, &[step]).await.unwrap(), 1);
    }
    ids
}

fn events(rows: &[Delivery]) -> Vec<EventId> {
    rows.iter().map(|d| d.event).collect()
}

fn became(endpoint: EndpointId, event: EventId, state: DeliveryState, due_at: i64) -> Attempted {
    Attempted { endpoint, event, state, attempts: 1, due_at, log: "[1]".into() }
}

#[tokio::test]
async fn what_is_sent_next_and_what_became_of_it() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let (one, two) = (EndpointId::new(1, 1, a), EndpointId::new(1, 2, a));
        let ids = deliver(w, a, &[one, two], 5).await;
        let mut queues = delivery::queues(&w.db).await.unwrap();
        queues.sort_by_key(|q| q.id);
        let queue = |endpoint: EndpointId| Queue { id: endpoint.0, account: a, endpoint, due_at: 1_000 };
        assert_eq!(queues, [queue(one), queue(two)]);
        assert_eq!(events(&delivery::next(&w.db, one.0, 3).await.unwrap()), ids[..3], "oldest first");
        let rows = [
            became(one, ids[0], DeliveryState::Pending, 9_000),
            became(one, ids[1], DeliveryState::Delivered, 2_000),
            became(one, ids[2], DeliveryState::Failed, 3_000),
        ];
        delivery::record(&w.db, &rows, &[]).await.unwrap();
        let next = delivery::next(&w.db, one.0, 9).await.unwrap();
        assert_eq!(events(&next), [ids[3], ids[0]], "what waits longer comes later; the missed one does not come");
        assert_eq!((next[1].attempts, next[1].log.as_deref(), next[1].due_at), (1, Some("[1]"), 9_000));
        assert_eq!(delivery::next(&w.db, two.0, 9).await.unwrap().len(), 4, "the other's are as they were");
        let states = |rows: Vec<Delivery>| rows.iter().map(|d| d.state.as_str()).collect::<Vec<_>>();
        let all = delivery::list(&w.db, a, one, None, None, 9).await.unwrap();
        assert_eq!(states(all), ["missed", "pending", "failed", "delivered", "pending"], "newest first");
        let failed = delivery::list(&w.db, a, one, Some(DeliveryState::Failed), None, 9).await.unwrap();
        assert_eq!(events(&failed), [ids[2]]);
        let page = delivery::list(&w.db, a, one, None, Some(ids[3]), 2).await.unwrap();
        assert_eq!(events(&page), [ids[2], ids[1]]);
        assert_eq!(delivery::list(&w.db, AccountNo(99), one, None, None, 9).await.unwrap(), []);
        delivery::shelve(&w.db, a, two).await.unwrap();
        assert_eq!(delivery::next(&w.db, two.0, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_again() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let one = EndpointId::new(1, 1, a);
        let ids = deliver(w, a, &[one], 6).await;
        let row = |n: usize, state| became(one, ids[n], state, 1);
        let rows = [row(0, DeliveryState::Failed), row(1, DeliveryState::Delivered), row(2, DeliveryState::Failed)];
        delivery::record(&w.db, &rows, &[]).await.unwrap();
        let again = delivery::again(&w.db, a, one, ids[1], 7_000).await.unwrap();
        assert_eq!((again.state, again.attempts, again.due_at), (DeliveryState::Pending, 0, 7_000));
        let foreign = delivery::again(&w.db, AccountNo(99), one, ids[1], 7_000).await;
        assert!(matches!(foreign, Err(StoreError::NotFound)));
        delivery::record(&w.db, &[row(1, DeliveryState::Delivered)], &[]).await.unwrap();
        // The failed ones of a span, in bites of one; then all; the account must be right.
        let range = |from, to, only_failed| Range { from, to, only_failed };
        let first = delivery::replay(&w.db, a, one, range(1_000, 6_000, true), None, 1, 8_000).await.unwrap();
        assert_eq!(first, (1, Some(ids[0])));
        let second = delivery::replay(&w.db, a, one, range(1_000, 6_000, true), first.1, 1, 8_000).await.unwrap();
        assert_eq!(second, (1, Some(ids[2])));
        let third = delivery::replay(&w.db, a, one, range(1_000, 6_000, true), second.1, 1, 8_000).await.unwrap();
        assert_eq!(third, (0, None), "the missed one is not within");
        assert_eq!(
            delivery::replay(&w.db, AccountNo(99), one, range(0, 9_000, false), None, 9, 8_000).await.unwrap(),
            (0, None)
        );
        assert_eq!(
            delivery::replay(&w.db, a, one, range(2_000, 9_000, false), None, 9, 8_000).await.unwrap(),
            (2, None)
        );
        assert_eq!(delivery::next(&w.db, one.0, 9).await.unwrap().len(), 6, "all of them");
    })
    .await;
}

#[tokio::test]
async fn what_is_forgotten() {
    on_both(async |w: &mut World| {
        let (a, b) = (w.account(100).await, w.account(100).await);
        let (one, two) = (EndpointId::new(1, 1, a), EndpointId::new(1, 1, b));
        let ids = deliver(w, a, &[one], 4).await;
        deliver(w, b, &[two], 1).await;
        let nil = EndpointId(Uuid::nil());
        let mut at = (AccountNo::PLATFORM, nil);
        let mut seen = Vec::new();
        while let Some(next) = delivery::endpoint_after(&w.db, at.0, at.1).await.unwrap() {
            at = next;
            seen.push(next);
        }
        assert_eq!(seen, [(a, one), (b, two)]);
        let done: Vec<Attempted> = ids[..2].iter().map(|id| became(one, *id, DeliveryState::Delivered, 1)).collect();
        delivery::record(&w.db, &done, &[]).await.unwrap();
        for (before, limit, gone) in [(1_000, 9, 0), (9_000, 1, 1), (9_000, 9, 2), (9_000, 9, 0)] {
            assert_eq!(delivery::forget(&w.db, a, one, before, limit).await.unwrap(), gone, "before {before}");
        }
        assert_eq!(delivery::next(&w.db, one.0, 9).await.unwrap().len(), 1, "what is pending stays");
    })
    .await;
}

#[tokio::test]
async fn endpoints_change() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let e = endpoint(a, 1, Kinds::ALL);
        let callbacks = webhook::Endpoint { id: EndpointId(Uuid::nil()), ..endpoint(a, 2, Kinds::ALL) };
        for new in [&e, &callbacks] {
            webhook::create(&w.db, new).await.unwrap();
        }
        assert!(matches!(webhook::create(&w.db, &callbacks).await, Err(StoreError::Taken(_))));
        assert_eq!(webhook::list(&w.db, a, None, 9).await.unwrap(), std::slice::from_ref(&e), "callbacks are none");
        assert_eq!(webhook::by_id(&w.db, a, e.id).await.unwrap(), e);
        for (account, id) in [(AccountNo(99), e.id), (a, callbacks.id)] {
            assert!(matches!(webhook::by_id(&w.db, account, id).await, Err(StoreError::NotFound)));
            assert!(matches!(webhook::delete(&w.db, account, id).await, Err(StoreError::NotFound)));
        }
        deliver(w, a, &[e.id], 2).await;
        let only = Kinds::NONE.with(EventKind::MessageSent);
        let change = Change { kinds: Some(only), ..Change::default() };
        let changed = webhook::change(&w.db, a, e.id, &change, 5_000).await.unwrap();
        assert_eq!((changed.kinds, changed.url.clone(), changed.status_at), (only, e.url.clone(), 1_000));
        assert_eq!(delivery::next(&w.db, e.id.0, 9).await.unwrap().len(), 1);
        let off =
            Change { status: Some(EndpointStatus::Disabled), url: Some("https://b/".into()), ..Change::default() };
        let changed = webhook::change(&w.db, a, e.id, &off, 5_000).await.unwrap();
        assert_eq!(
            (changed.status, changed.status_at, changed.url.as_str()),
            (EndpointStatus::Disabled, 5_000, "https://b/")
        );
        assert_eq!(delivery::next(&w.db, e.id.0, 9).await.unwrap(), [], "what waited is put aside");
        assert!(matches!(webhook::change(&w.db, AccountNo(99), e.id, &off, 1).await, Err(StoreError::NotFound)));
        let rotated = webhook::rotate(&w.db, a, e.id, b"new", 9_000).await.unwrap();
        assert_eq!((rotated.secret, rotated.previous), (b"new".to_vec(), Some((e.secret.clone(), 9_000))));
        let took = became(e.id, EventId::new(1_000, 1, a), DeliveryState::Delivered, 1);
        delivery::record(&w.db, &[took], &[(e.id, 6_000)]).await.unwrap();
        assert_eq!(webhook::by_id(&w.db, a, e.id).await.unwrap().accepted_at, Some(6_000));
        webhook::delete(&w.db, a, e.id).await.unwrap();
        assert_eq!(webhook::list(&w.db, a, None, 9).await.unwrap(), []);
        assert_eq!(
            webhook::watched(&webhook::all(&w.db).await.unwrap()).len(),
            0,
            "callbacks are watched message by message"
        );
    })
    .await;
}
