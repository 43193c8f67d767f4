//! replace_sm: what waits gets another text, priced again; what cannot be replaced stays as it is.

use std::time::Duration;

use carillon_smpp::pdu::{CancelSm, ReplaceSm};
use carillon_smpp::{Address, BindKind, CommandStatus, Event, Limits, Pdu, SubmitSm};
use serde_json::{Value, json};

use super::{Client, Credential, Smpp, number, sm};

const SHOP: Address<&[u8]> = Address { ton: 5, npi: 0, addr: b"Shop" };
const TOMORROW: &[u8] = b"000001000000000R";

impl Client {
    async fn replace(&mut self, sm: ReplaceSm<&[u8]>) -> CommandStatus {
        self.ask(&Pdu::ReplaceSm(sm)).await.0
    }
}

fn with<'a>(id: &'a str, text: &'a [u8]) -> ReplaceSm<&'a [u8]> {
    ReplaceSm {
        message_id: id.as_bytes(),
        source: SHOP,
        registered_delivery: 1,
        short_message: text,
        ..ReplaceSm::default()
    }
}

fn later(to: &str) -> SubmitSm<&[u8]> {
    SubmitSm { schedule_delivery_time: TOMORROW, ..sm(to, b"later") }
}

impl Smpp {
    /// What is free and what is held, as the account sees it.
    async fn money(&self) -> (Value, Value) {
        let balance = self.t.get("/v1/me", &self.key).await.json()["balance"].clone();
        (balance["available"].clone(), balance["held"].clone())
    }
}

#[tokio::test]
async fn a_scheduled_message_gets_another_text_price_and_time() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let to = number(1);
    let id = client.submit(&SubmitSm { registered_delivery: 0, ..later(&to) }).await.unwrap();
    assert_eq!(s.money().await, (json!("99.95"), json!("0.05")));

    let long = [b'a'; 200];
    assert_eq!(client.replace(with(&id, &long)).await, CommandStatus::ROK);
    let m = s.message(&id).await;
    assert_eq!((&m["text"], &m["parts"], &m["price"]["held"]), (&json!("a".repeat(200)), &json!(2), &json!("0.10")));
    assert_eq!((&m["status"], &m["scheduled_at"]), (&json!("scheduled"), &json!("2026-11-22T12:00:00.000Z")));
    assert_eq!(s.money().await, (json!("99.90"), json!("0.10")));

    let sooner = ReplaceSm {
        schedule_delivery_time: &b"000000010000000R"[..],
        validity_period: &b"000000020000000R"[..],
        ..with(&id, b"soon \x00")
    };
    assert_eq!(client.replace(sooner).await, CommandStatus::ROK);
    let m = s.message(&id).await;
    assert_eq!((&m["text"], &m["parts"], &m["price"]["held"]), (&json!("soon @"), &json!(1), &json!("0.05")));
    let times = [&m["scheduled_at"], &m["expires_at"]];
    assert_eq!(times, [&json!("2026-11-21T13:00:00.000Z"), &json!("2026-11-21T14:00:00.000Z")]);
    assert_eq!(s.money().await, (json!("99.95"), json!("0.05")));

    s.t.app.clock.advance(Duration::from_secs(3_600));
    assert_eq!(client.receipt().await, (id.clone(), "DELIVRD".into()), "asked for by the replacement");
    let m = s.message(&id).await;
    assert_eq!((&m["text"], &m["status"]), (&json!("soon @"), &json!("delivered")));
    assert_eq!(s.money().await, (json!("99.95"), json!("0.00")));
    assert_eq!(client.replace(with(&id, b"too late")).await, CommandStatus::RREPLACEFAIL);
}

#[tokio::test]
async fn refused_and_unchanged() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"default_sender": "Default"})).await;
    let other = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let mut stranger = s.bind(&other, BindKind::Transceiver).await;
    let to = number(1);
    let id = client.submit(&later(&to)).await.unwrap();
    let part = SubmitSm { esm_class: 0x40, short_message: &b"\x05\x00\x03\x2a\x02\x01part"[..], ..later(&to) };
    let part = client.submit(&part).await.unwrap();
    let canceled = client.submit(&later(&to)).await.unwrap();
    let cancel = CancelSm { message_id: canceled.as_bytes(), source: SHOP, ..CancelSm::default() };
    assert_eq!(client.ask(&Pdu::CancelSm(cancel)).await.0, CommandStatus::ROK);
    let plain = with(&id, b"other");
    let rows: [(&str, ReplaceSm<&[u8]>, CommandStatus); 11] = [
        ("no such message", with("msg_01h455vb4pex5vsknk084sn02q", b"other"), CommandStatus::RINVMSGID),
        (
            "not its sender",
            ReplaceSm { source: Address { addr: b"Else", ..SHOP }, ..plain },
            CommandStatus::RREPLACEFAIL,
        ),
        ("no sender", ReplaceSm { source: Address { addr: b"", ..SHOP }, ..plain }, CommandStatus::RREPLACEFAIL),
        ("a canned text", ReplaceSm { sm_default_msg_id: 1, ..plain }, CommandStatus::RINVDFTMSGID),
        ("no text", with(&id, b""), CommandStatus::RINVMSGLEN),
        ("no time", ReplaceSm { schedule_delivery_time: b"soon", ..plain }, CommandStatus::RINVSCHED),
        ("no validity", ReplaceSm { validity_period: b"long", ..plain }, CommandStatus::RINVEXPIRY),
        (
            "over before it begins",
            ReplaceSm { validity_period: b"000000010000000R", ..plain },
            CommandStatus::RINVEXPIRY,
        ),
        (
            "begins when it is over",
            ReplaceSm { schedule_delivery_time: b"000020000000000R", ..plain },
            CommandStatus::RINVEXPIRY,
        ),
        ("a part the customer cut", with(&part, b"other"), CommandStatus::RREPLACEFAIL),
        ("canceled", with(&canceled, b"other"), CommandStatus::RREPLACEFAIL),
    ];
    let before = s.message(&id).await;
    for (what, sm, status) in rows {
        assert_eq!(client.replace(sm).await, status, "{what}");
        assert_eq!(s.message(&id).await, before, "{what}");
    }
    assert_eq!(stranger.replace(plain).await, CommandStatus::RREPLACEFAIL, "another credential's");

    // All but a cent is gone: what costs no more is taken, what costs more is not.
    s.spend_all_but_a_cent().await;
    assert_eq!(client.replace(with(&id, &[b'a'; 200])).await, CommandStatus(0x401));
    assert_eq!(s.message(&id).await, before);
    assert_eq!(client.replace(plain).await, CommandStatus::ROK);
    assert_eq!(s.message(&id).await["text"], "other");

    // What was sent without a sender is replaced without one.
    let nobody = Address { ton: 0, npi: 0, addr: &b""[..] };
    s.top_up().await;
    let id = client.submit(&SubmitSm { source: nobody, ..later(&to) }).await.unwrap();
    assert_eq!(client.replace(ReplaceSm { source: nobody, ..with(&id, b"other") }).await, CommandStatus::ROK);
    assert_eq!(s.message(&id).await["from"], "Default");
}

impl Smpp {
    async fn adjust(&self, amount: carillon_domain::money::Money) {
        let entry = carillon_store::ledger::Entry {
            id: carillon_domain::id::EntryId::new(crate::app::NOON, self.t.app.ids.next(), self.account.no),
            kind: carillon_store::ledger::EntryKind::Adjustment,
            amount,
            note: "test".into(),
            actor: "test".into(),
            created_at: crate::app::NOON,
        };
        carillon_store::ledger::add(&self.t.app.db, self.account.no, &entry).await.unwrap();
    }

    async fn spend_all_but_a_cent(&self) {
        let balance = carillon_store::ledger::balance(&self.t.app.db, self.account.no).await.unwrap();
        self.adjust(carillon_domain::money::Money::from_cents(1) - balance.available).await;
    }

    async fn top_up(&self) {
        self.adjust(carillon_domain::money::Money::from_cents(1_000)).await;
    }
}

/// Messages that wait for their carrier: the one that is replaced reaches it with the new text alone, in whatever alphabet it was written.
#[tokio::test]
async fn what_waits_for_its_carrier_reaches_it_as_replaced() {
    let (s, carrier) = Smpp::with_carrier().await;
    let credential: Credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let to = number(1);
    let in_ucs2 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let rows = [
        (0, b"first".to_vec(), b"FIRST \x00".to_vec(), "FIRST @"),
        // Held as GSM-7, which is enough for it; written in UCS-2 all the same.
        (8, in_ucs2("second"), in_ucs2("второе"), "второе"),
        (3, b"third".to_vec(), b"troisi\xe8me".to_vec(), "troisième"),
        (4, vec![1, 2], vec![3, 0xFF], "A/8="),
    ];
    let mut ids = Vec::new();
    for (data_coding, text, _, _) in &rows {
        ids.push(client.submit(&SubmitSm { data_coding: *data_coding, ..sm(&to, text) }).await.unwrap());
    }
    let kept = client.submit(&sm(&to, b"kept")).await.unwrap();
    let tomorrow = ReplaceSm { schedule_delivery_time: TOMORROW, ..with(&kept, b"other") };
    assert_eq!(client.replace(tomorrow).await, CommandStatus::RREPLACEFAIL, "it waits for no time");
    for (id, (_, _, text, shown)) in ids.iter().zip(&rows) {
        assert_eq!(client.replace(with(id, text)).await, CommandStatus::ROK, "{shown}");
        let m = s.message(id).await;
        assert_eq!(m[if m["text"].is_null() { "data" } else { "text" }], *shown, "{m}");
    }
    let bound = carrier.accept().await.unwrap().bind_request().await.unwrap();
    let mut carrier = Client::new(bound.accept(Limits::default()).await.unwrap());
    let mut seen = Vec::new();
    for i in 0..5 {
        let Event::Submit { to: reply, sm } = carrier.next().await else { panic!("a submit") };
        carrier.session.respond_submit(reply, Ok(format!("{i}").as_bytes())).unwrap();
        seen.push((sm.data_coding, sm.short_message.to_vec()));
    }
    seen.sort();
    let mut expected = [
        (0, b"kept".to_vec()),
        (0, b"FIRST \x00".to_vec()),
        (8, in_ucs2("второе")),
        (0, b"troisi\x04me".to_vec()),
        (4, vec![3, 0xFF]),
    ];
    expected.sort();
    assert_eq!(seen, expected);
    for id in &ids {
        s.until("it is sent", async || s.message(id).await["status"] == "sent").await;
        assert_eq!(client.replace(with(id, b"too late")).await, CommandStatus::RREPLACEFAIL);
    }
}
