//! Messages from phones on their way to customers' binds: kept until they are taken, in order, in the form the customer asks for.

use carillon_domain::encoding::{Alphabet, Shift, decode};
use carillon_smpp::content::part_of;
use carillon_smpp::tlv::Tag;
use carillon_smpp::{BindKind, CommandStatus, DeliverSm, connect};
use carillon_store::smpp_delivery;
use serde_json::json;

use super::{Client, Smpp};

const OWN: &str = "4915735983801";
const PEER: &str = "+4915112345678";

/// The text of a message, or of one part, as the customer reads it; of octets, their number.
fn text_of(sm: &DeliverSm) -> String {
    let (_, text_at) = part_of(sm);
    let alphabet = match sm.data_coding {
        0 => Alphabet::Gsm7,
        8 => Alphabet::Ucs2,
        other => panic!("data_coding {other}"),
    };
    decode(&sm.content()[text_at..], alphabet, Shift::NONE, 0)
}

impl Client {
    /// The next message from a phone, taken.
    async fn heard(&mut self) -> String {
        let (to, sm) = self.delivery().await;
        self.session.respond_deliver(to, CommandStatus::ROK);
        text_of(&sm)
    }
}

impl Smpp {
    async fn waiting(&self, credential: u16) -> usize {
        smpp_delivery::oldest(&self.t.app.db, self.account.no, credential, 1_000).await.unwrap().len()
    }
}

#[tokio::test]
async fn kept_while_nobody_is_bound_and_told_in_order() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 4})).await;
    s.own_number(OWN).await;
    let expected: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
    for text in &expected[..20] {
        s.write(PEER, OWN, text).await;
    }
    // A transmitter is not who they wait for.
    let mut sender = s.bind(&credential, BindKind::Transmitter).await;
    assert!(sender.is_quiet().await);
    let mut first = s.bind(&credential, BindKind::Receiver).await;
    for text in &expected[..3] {
        assert_eq!(first.heard().await, *text);
    }
    // Taken but not acknowledged when the link breaks.
    assert_eq!(text_of(&first.delivery().await.1), expected[3]);
    first.session.close();
    for text in &expected[20..] {
        s.write(PEER, OWN, text).await;
    }
    let mut second = s.bind(&credential, BindKind::Transceiver).await;
    let mut heard = Vec::new();
    while heard.last() != expected.last() {
        heard.push(second.heard().await);
    }
    // An acknowledgement that the broken link swallowed makes one come again.
    let from = 30 - heard.len();
    assert!(from <= 3, "{heard:?}");
    assert_eq!(heard, expected[from..]);
    s.until("nothing waits", async || s.waiting(1).await == 0).await;
    assert!(second.is_quiet().await);
    s.write(PEER, OWN, "while bound").await;
    assert_eq!(second.heard().await, "while bound");
}

#[tokio::test]
async fn in_the_form_that_is_asked_for() {
    let s = Smpp::start().await;
    s.own_number(OWN).await;
    let udh = s.credential(json!({})).await;
    let payload = s.credential(json!({"inbound": "payload"})).await;
    let none = s.credential(json!({"inbound": "none"})).await;
    let mut parts = s.bind(&udh, BindKind::Receiver).await;
    let mut whole = s.bind(&payload, BindKind::Transceiver).await;
    let mut deaf = s.bind(&none, BindKind::Transceiver).await;
    let long = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ".repeat(6);
    let unicode = "سلام، میز برای ساعت هشت خالی است؟ ".repeat(4);
    for (text, data_coding, count) in [("Is a table free?", 0, 1), (&*long, 0, 3), (&*unicode, 8, 3)] {
        s.write(PEER, OWN, text).await;
        let (mut read, mut seen) = (String::new(), Vec::new());
        for _ in 0..count {
            let (to, sm) = parts.delivery().await;
            parts.session.respond_deliver(to, CommandStatus::ROK);
            let address = |a: &carillon_smpp::Address| (a.ton, a.npi, a.text().into_owned());
            assert_eq!(address(&sm.source), (1, 1, PEER[1..].to_owned()));
            assert_eq!(address(&sm.destination), (1, 1, OWN.to_owned()));
            assert_eq!((sm.data_coding, sm.esm_class), (data_coding, if count > 1 { 0x40 } else { 0 }));
            assert!(carillon_smpp::Receipt::of(&sm).is_none());
            read += &text_of(&sm);
            seen.extend(part_of(&sm).0.map(|p| (p.reference, p.total, p.index)));
        }
        assert_eq!(read, text);
        if count > 1 {
            let reference = seen[0].0;
            assert_eq!(seen, (1..=count).map(|i| (reference, count, i)).collect::<Vec<_>>());
        }
        let (to, sm) = whole.delivery().await;
        whole.session.respond_deliver(to, CommandStatus::ROK);
        assert_eq!((text_of(&sm), part_of(&sm).0, sm.data_coding), (text.to_owned(), None, data_coding));
        assert_eq!(sm.tlvs.get(Tag::MESSAGE_PAYLOAD).is_some(), sm.short_message.is_empty());
    }
    assert!(deaf.is_quiet().await);
    // One who binds as of SMPP 3.3 knows no message_payload, whatever the settings say.
    whole.session.unbind().await;
    let old = carillon_smpp::ClientConfig { interface_version: 0x33, ..s.config(&payload, BindKind::Receiver) };
    let mut old = Client::new(connect(&old).await.unwrap());
    let long = format!("Again: {long}");
    s.write(PEER, OWN, &long).await;
    let mut read = String::new();
    for _ in 0..3 {
        let (to, sm) = old.delivery().await;
        old.session.respond_deliver(to, CommandStatus::ROK);
        assert!(sm.tlvs.0.is_empty());
        read += &text_of(&sm);
    }
    assert_eq!(read, long);
}

/// Each account's messages go to its own credentials, and to all of those.
#[tokio::test]
async fn to_whose_number_it_is() {
    let s = Smpp::start().await;
    s.own_number(OWN).await;
    let credential = s.credential(json!({})).await;
    let also = s.credential(json!({})).await;
    let (_, stranger) = s.t.account("stranger").await;
    let made = s.t.post("/v1/smpp-credentials", &stranger, json!({"name": "theirs", "rate": 0})).await.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let theirs = super::Credential { id: text("id"), system_id: text("system_id"), password: text("password") };
    let mut mine = s.bind(&credential, BindKind::Transceiver).await;
    let mut also_mine = s.bind(&also, BindKind::Transceiver).await;
    let mut other = s.bind(&theirs, BindKind::Transceiver).await;
    s.write("22333", OWN, "hello").await;
    for client in [&mut mine, &mut also_mine] {
        let (to, sm) = client.delivery().await;
        client.session.respond_deliver(to, CommandStatus::ROK);
        assert_eq!((text_of(&sm), sm.source.ton, sm.source.text().into_owned()), ("hello".into(), 3, "22333".into()));
    }
    // To a number of nobody's.
    s.write(PEER, "4915735983899", "hello").await;
    assert!(other.is_quiet().await && mine.is_quiet().await);
}
