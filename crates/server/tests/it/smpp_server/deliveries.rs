//! Receipts on their way back: kept until they are taken, in order, sent again until they are.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use carillon_domain::encoding::Alphabet;
use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::MessageId;
use carillon_domain::message::{Category, Flags, Lane, State};
use carillon_domain::money::Money;
use carillon_domain::smpp::{ReceiptsWanted, SmppOrigin};
use carillon_smpp::{Address, BindKind, CommandStatus, Event, SubmitSm};
use carillon_store::hot::{Hot, IntakeRequest, NewMessage, SettleItem, Step, Verdict};
use carillon_store::smpp_delivery;
use serde_json::json;

use super::{Client, Credential, Smpp, number, sm};

impl Smpp {
    /// Rows that wait for the account's first credential.
    async fn owed(&self) -> usize {
        smpp_delivery::oldest(&self.t.app.db, self.account.no, 1, 1_000_000).await.unwrap().len()
    }

    /// Submits so many with a receipt wanted and nobody to take it; their ids in order.
    async fn submitted(&self, credential: &Credential, count: usize) -> Vec<String> {
        let mut client = self.bind(credential, BindKind::Transmitter).await;
        let (mut sent, mut ids) = (0, Vec::new());
        while ids.len() < count {
            while sent < count && client.session.free_slots() > 0 {
                client.session.submit(&sm(&number(sent), b"hello"), 0).unwrap();
                sent += 1;
            }
            if let Event::SubmitResp { result, .. } = client.next().await {
                ids.push(String::from_utf8(result.unwrap().to_vec()).unwrap());
            }
        }
        client.session.unbind().await;
        self.until("all have ended", async || self.owed().await == count).await;
        ids
    }
}

/// `registered_delivery` and the end of the message decide whether there is a receipt.
#[tokio::test]
async fn which_are_wanted() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    // 15005550103 fails, by the sandbox's rules.
    let (good, bad) = (number(1), "15005550103".to_owned());
    let rows = [
        (0, &good, None),
        (1, &good, Some("DELIVRD")),
        (2, &good, None),
        (3, &good, Some("DELIVRD")),
        (0x11, &good, Some("DELIVRD")),
        (0, &bad, None),
        (1, &bad, Some("UNDELIV")),
        (2, &bad, Some("UNDELIV")),
        (3, &bad, None),
    ];
    for (registered_delivery, to, expected) in rows {
        let id = client.submit(&SubmitSm { registered_delivery, ..sm(to, b"hello") }).await.unwrap();
        let Some(stat) = expected else {
            s.until("it has ended", async || s.message(&id).await["final_at"] != json!(null)).await;
            assert!(client.is_quiet().await, "{registered_delivery} {to}");
            continue;
        };
        let (reply, sm) = client.delivery().await;
        client.session.respond_deliver(reply, CommandStatus::ROK);
        let receipt = carillon_smpp::Receipt::of(&sm).unwrap();
        assert_eq!((&*receipt.id, &*receipt.stat), (&*id, stat), "{registered_delivery} {to}");
        assert_eq!((sm.source.text(), sm.destination.text()), (to.as_str().into(), "Shop".into()));
        assert_eq!(sm.esm_class, 0x04);
    }
    s.until("nothing is owed", async || s.owed().await == 0).await;
}

#[tokio::test]
async fn kept_while_nobody_is_bound_and_told_in_order() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 10})).await;
    let ids: HashSet<String> = s.submitted(&credential, 300).await.into_iter().collect();
    let order: Vec<String> = ended_in_order(&s).await;
    let mut client = s.bind(&credential, BindKind::Receiver).await;
    let mut told = Vec::new();
    for _ in 0..300 {
        told.push(client.receipt().await.0);
    }
    assert_eq!(told, order);
    assert_eq!(told.into_iter().collect::<HashSet<_>>(), ids);
    s.until("nothing is owed", async || s.owed().await == 0).await;
    assert!(client.is_quiet().await);
}

async fn ended_in_order(s: &Smpp) -> Vec<String> {
    let rows = smpp_delivery::oldest(&s.t.app.db, s.account.no, 1, 1_000_000).await.unwrap();
    let id = |d: smpp_delivery::Delivery| match d.content {
        smpp_delivery::Content::Receipt(Some(ended)) => carillon_domain::id::MessageId(ended.id).to_string(),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(id).collect()
}

/// Not acknowledged, refused, or acknowledged too late to hear of: sent again, to whoever is bound.
#[tokio::test]
async fn sent_again_until_taken() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 4})).await;
    s.submitted(&credential, 6).await;
    let order = ended_in_order(&s).await;
    let mut first = s.bind(&credential, BindKind::Receiver).await;
    let mut unacknowledged = Vec::new();
    for _ in 0..4 {
        unacknowledged.push(id_of(&first.delivery().await.1));
    }
    assert_eq!(unacknowledged, order[..4], "a window of them, in order");
    assert!(first.is_quiet_bound().await, "and no more");
    first.session.close();
    let mut second = s.bind(&credential, BindKind::Transceiver).await;
    let (to, sm) = second.delivery().await;
    assert_eq!(id_of(&sm), order[0]);
    second.session.respond_deliver(to, CommandStatus::RX_T_APPN);
    let mut told = Vec::new();
    while told.len() < 6 {
        told.push(second.receipt().await.0);
    }
    // The one that was refused comes by itself after a pause, the others as they were.
    assert_eq!(told[..5], order[1..]);
    assert_eq!(told[5], order[0]);
    s.until("nothing is owed", async || s.owed().await == 0).await;
}

fn id_of(sm: &carillon_smpp::DeliverSm) -> String {
    carillon_smpp::Receipt::of(sm).unwrap().id.into_owned()
}

impl Client {
    /// As `is_quiet`, of a session that cannot ask questions: its enquire_link comes back alone.
    async fn is_quiet_bound(&mut self) -> bool {
        self.session.request(&carillon_smpp::Pdu::<Vec<u8>>::EnquireLink, 99).unwrap();
        loop {
            match self.next().await {
                Event::Response { token: 99, .. } => return true,
                Event::Deliver { .. } => return false,
                _ => {}
            }
        }
    }
}

/// Writes receipts as settle does, without carriers, which would take longer than the test: so many messages that ended at once. Their ids
/// in the order of their receipts.
async fn owe(s: &Smpp, count: u32) -> Vec<String> {
    let now = s.t.app.clock.now_ms();
    let origin = SmppOrigin { credential: 1, receipts: ReceiptsWanted::Every, alphabet: Alphabet::Gsm7 };
    let message = |n: u32| NewMessage {
        index: 0,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: origin.mark(Flags::default()),
        encoding: 0,
        parts: 1,
        phone: 4_915_110_000_000 + u64::from(n),
        phone_tag: i64::from(n),
        country: None,
        sender: Some("Shop".into()),
        body: "hello".into(),
        own_body: true,
        otp_code: None,
        unit_price: Money::ZERO,
        reference: None,
        due_at: None,
        expires_at: now + 3_600_000,
        extra: None,
    };
    // A writer of its own: the server's would send them.
    let mut hot = Hot::open(&s.t.app.db, 7).await.unwrap();
    let mut ids: Vec<MessageId> = Vec::new();
    while (ids.len() as u32) < count {
        let messages: Vec<NewMessage> = (0..count.min(10_000)).map(message).collect();
        let request = IntakeRequest { account: s.account.no, key: None, step: Step::Message, messages };
        let Verdict::Accepted { first, count, .. } = hot.commit_intake(&[request], now).await.unwrap()[0] else {
            panic!("they cost nothing")
        };
        let error = ErrorCode::Canceled.number();
        let end = |id| SettleItem::End { id, state: State::Canceled, error, unknown_too: false };
        let ended: Vec<SettleItem> = (0..count).map(|i| end(first.nth(i))).collect();
        hot.commit_settle(&ended, &[], now).await.unwrap();
        ids.extend((0..count).map(|i| first.nth(i)));
    }
    ids.iter().map(MessageId::to_string).collect()
}

/// The bind comes and goes while 100,000 receipts stream; every one is taken, and the oldest that was not taken comes first each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_bind_loses_none() {
    const COUNT: usize = 100_000;
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 50, "max_binds": 8})).await;
    let order = owe(&s, COUNT as u32).await;
    assert_eq!(s.owed().await, COUNT);
    let place: HashMap<&str, usize> = order.iter().enumerate().map(|(i, id)| (&**id, i)).collect();
    let mut taken = vec![false; COUNT];
    let (mut left, mut binds, mut again) = (COUNT, 0, 0);
    while left > 0 {
        binds += 1;
        let mut client = s.bind(&credential, BindKind::Receiver).await;
        let (mut here, mut last) = (0, None);
        let oldest = taken.iter().position(|taken| !taken).unwrap();
        // Some are acknowledged, then the link is gone with a window of others on its way.
        while here < 100 * binds && left > 0 {
            let Event::Deliver { to, sm } = client.next().await else { continue };
            let at = place[&*id_of(&sm)];
            client.session.respond_deliver(to, CommandStatus::ROK);
            assert!(last.replace(at) < Some(at), "in order on bind {binds}");
            assert!(here > 0 || at <= oldest, "the oldest first on bind {binds}");
            let new = !std::mem::replace(&mut taken[at], true);
            (left, again) = (left - usize::from(new), again + usize::from(!new));
            here += 1;
        }
        if binds % 2 == 0 {
            client.session.close()
        } else {
            client.session.unbind().await
        }
        // What is on its way over a link that is not known to be dead cannot come first on the next.
        s.until("the end of the link is seen", async || s.t.app.smpp.bound(s.account.no, 1) == 0).await;
    }
    // What was acknowledged on a link that broke may come once more: a window of each at most.
    assert!(binds > 40 && again <= 50 * binds, "{again} came again over {binds} binds");
    let mut last = s.bind(&credential, BindKind::Receiver).await;
    // What was acknowledged on a link that broke may come once more.
    s.until("nothing is owed", async || {
        while let Some(Event::Deliver { to, .. }) = last.waiting_event() {
            last.session.respond_deliver(to, CommandStatus::ROK);
        }
        s.owed().await == 0
    })
    .await;
}

/// However much waits, a bind is handed so many in any second as its credential takes, spread over it.
#[tokio::test]
async fn no_faster_than_its_rate_after_an_absence() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"rate": 20, "window": 100})).await;
    let order = owe(&s, 30).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let mut told = vec![client.receipt().await.0, client.receipt().await.0];
    assert!(client.is_quiet().await, "no more while the clock stands");
    for _ in 0..18 {
        s.t.app.clock.advance(Duration::from_millis(50));
        told.push(client.receipt().await.0);
        assert!(client.is_quiet().await, "one in a twentieth of a second");
    }
    s.t.app.clock.advance(Duration::from_millis(50));
    assert!(client.is_quiet().await, "twenty in this second");
    s.t.app.clock.advance(Duration::from_millis(70));
    told.extend([client.receipt().await.0, client.receipt().await.0]);
    assert_eq!(told, order[..22]);
}

impl Client {
    fn waiting_event(&mut self) -> Option<Event> {
        let mut batch = Vec::new();
        let _ = self.events.try_recv_many(&mut batch);
        self.waiting.extend(batch);
        self.waiting.pop_front()
    }
}

/// Two binds that receive share the work, and each receipt is told once.
#[tokio::test]
async fn several_receivers_share() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 5})).await;
    let mut one = s.bind(&credential, BindKind::Receiver).await;
    let mut other = s.bind(&credential, BindKind::Receiver).await;
    let mut sender = s.bind(&credential, BindKind::Transmitter).await;
    let mut ids = HashSet::new();
    for i in 0..10 {
        ids.insert(sender.submit(&sm(&number(i), b"hello")).await.unwrap());
    }
    let mut told = HashSet::new();
    for _ in 0..5 {
        assert!(told.insert(id_of(&one.delivery().await.1)));
        assert!(told.insert(id_of(&other.delivery().await.1)));
    }
    assert_eq!(told, ids);
}

/// Another account's receipts go to another account.
#[tokio::test]
async fn each_to_its_own() {
    let s = Smpp::start().await;
    let mine = s.credential(json!({})).await;
    let also_mine = s.credential(json!({})).await;
    let mut sender = s.bind(&mine, BindKind::Transceiver).await;
    let mut other = s.bind(&also_mine, BindKind::Transceiver).await;
    let to = number(1);
    let numeric = SubmitSm { source: Address { ton: 3, npi: 0, addr: &b"12345"[..] }, ..sm(&to, b"hello") };
    let id = sender.submit(&numeric).await.unwrap();
    let (_, sm) = sender.delivery().await;
    assert_eq!((id_of(&sm), sm.destination.ton, sm.destination.text().into_owned()), (id, 3, "12345".into()));
    assert!(other.is_quiet().await);
    let older = carillon_store::smpp_delivery::delete_older;
    assert_eq!(older(&s.t.app.db, crate::app::NOON, 100).await.unwrap(), 0);
    assert_eq!(older(&s.t.app.db, crate::app::NOON + 1_000, 100).await.unwrap(), 1, "nobody came for it in its time");
}
