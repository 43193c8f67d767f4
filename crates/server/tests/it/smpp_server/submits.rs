//! What is submitted, what becomes of it, and every refusal.

use carillon_smpp::pdu::{CancelSm, DataSm, Destination, QuerySm, SubmitMulti};
use carillon_smpp::tlv::{self, Tag, Tlvs};
use carillon_smpp::{Address, BindKind, CommandStatus, Event, Limits, Pdu, SubmitSm};
use serde_json::json;

use super::{Client, Smpp, number, sm};

#[tokio::test]
async fn a_message_as_the_api_shows_it() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"express": true, "default_sender": "Default"})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let to = number(1);
    let plain = sm(&to, b"hello \x00");
    let long = [b'a'; 200];
    let rows: Vec<(&str, SubmitSm<&[u8]>, serde_json::Value)> = vec![
        ("plain", plain, json!({"text": "hello @", "from": "Shop", "lane": "normal", "parts": 1, "encoding": "gsm7"})),
        (
            "UCS-2",
            SubmitSm { data_coding: 8, short_message: b"\x04\x1f", ..plain },
            json!({"text": "П", "encoding": "ucs2"}),
        ),
        (
            "Latin-1",
            SubmitSm { data_coding: 3, short_message: b"\xe9", ..plain },
            json!({"text": "é", "encoding": "gsm7"}),
        ),
        (
            "binary",
            SubmitSm { data_coding: 4, short_message: b"\x01\xff", ..plain },
            json!({"data": "Af8=", "encoding": "binary"}),
        ),
        ("flash", SubmitSm { data_coding: 0x10, ..plain }, json!({"flash": true})),
        ("express", SubmitSm { priority_flag: 2, ..plain }, json!({"lane": "express"})),
        ("long", SubmitSm { short_message: &long, ..plain }, json!({"parts": 2})),
        (
            "own sender",
            SubmitSm { source: Address { ton: 1, npi: 1, addr: b"4915112345678" }, ..plain },
            json!({"from": "+4915112345678"}),
        ),
        ("no sender", SubmitSm { source: Address { ton: 0, npi: 0, addr: b"" }, ..plain }, json!({"from": "Default"})),
        (
            "scheduled",
            SubmitSm { schedule_delivery_time: b"000001000000000R", ..plain },
            json!({"status": "scheduled", "scheduled_at": "2026-11-22T12:00:00.000Z"}),
        ),
        (
            "validity",
            SubmitSm { validity_period: b"000000010000000R", ..plain },
            json!({"expires_at": "2026-11-21T13:00:00.000Z"}),
        ),
        (
            "own part",
            SubmitSm { esm_class: 0x40, short_message: b"\x05\x00\x03\x2a\x02\x01part", ..plain },
            json!({"parts": 1, "encoding": "gsm7", "data": "BQADKgIBcGFydA=="}),
        ),
    ];
    for (what, sm, expected) in rows {
        let id = client.submit(&sm).await.unwrap_or_else(|status| panic!("{what}: {status}"));
        let message = s.message(&id).await;
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&message[field], value, "{what}: {field}: {message}");
        }
        assert_eq!(message["to"], format!("+{to}"));
    }
    let mut tlvs = Vec::new();
    tlv::push(&mut tlvs, Tag::MESSAGE_PAYLOAD, &[b'b'; 400]);
    tlv::push(&mut tlvs, Tag::USER_MESSAGE_REFERENCE, &[2, 1]);
    let id = client.submit(&SubmitSm { short_message: &b""[..], tlvs: Tlvs(&tlvs[..]), ..plain }).await.unwrap();
    let message = s.message(&id).await;
    assert_eq!((&message["parts"], &message["client_ref"]), (&json!(3), &json!("umr:513")));
}

#[tokio::test]
async fn refused() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transmitter).await;
    let to = number(1);
    let plain = sm(&to, b"hello");
    let to_address = |ton, addr: &'static [u8]| Address { ton, npi: 1, addr };
    let from = |ton, addr: &'static [u8]| Address { ton, npi: 0, addr };
    let too_long = [&b"\x05\x00\x03\x01\x02\x01"[..], &[b'a'; 154]].concat();
    let rows: Vec<(&str, SubmitSm<&[u8]>, CommandStatus)> = vec![
        ("no such number", SubmitSm { destination: to_address(1, b"4915"), ..plain }, CommandStatus::RINVDSTADR),
        ("no number", SubmitSm { destination: to_address(1, b"Shop"), ..plain }, CommandStatus::RINVDSTADR),
        (
            "national without a country",
            SubmitSm { destination: to_address(2, b"015112345678"), ..plain },
            CommandStatus::RINVDSTADR,
        ),
        ("to a name", SubmitSm { destination: to_address(5, b"Shop"), ..plain }, CommandStatus::RINVDSTTON),
        (
            "numbering plan",
            SubmitSm { destination: Address { ton: 1, npi: 8, addr: to.as_bytes() }, ..plain },
            CommandStatus::RINVDSTNPI,
        ),
        ("sender", SubmitSm { source: from(5, b"Much too long"), ..plain }, CommandStatus::RINVSRCADR),
        ("coding", SubmitSm { data_coding: 6, ..plain }, CommandStatus::RINVDCS),
        ("no text", SubmitSm { short_message: b"", ..plain }, CommandStatus::RINVMSGLEN),
        ("long part", SubmitSm { esm_class: 0x40, short_message: &too_long, ..plain }, CommandStatus::RINVMSGLEN),
        ("replace", SubmitSm { replace_if_present: 1, ..plain }, CommandStatus::RINVSUBREP),
        ("schedule", SubmitSm { schedule_delivery_time: b"xxxxxxxxxxxxxxxx", ..plain }, CommandStatus::RINVSCHED),
        (
            "two years ahead",
            SubmitSm { schedule_delivery_time: b"020000000000000R", ..plain },
            CommandStatus::RINVSCHED,
        ),
        ("validity", SubmitSm { validity_period: b"000000000000000R", ..plain }, CommandStatus::RINVEXPIRY),
        ("service type", SubmitSm { service_type: b"toolong", ..plain }, CommandStatus::RINVSERTYP),
    ];
    for (what, sm, status) in rows {
        if what == "service type" {
            assert!(client.session.submit(&sm, 0).is_err(), "our own client refuses it");
            continue;
        }
        assert_eq!(client.submit(&sm).await, Err(status), "{what}");
    }
    let mut tlvs = Vec::new();
    tlv::push(&mut tlvs, Tag::MESSAGE_PAYLOAD, &[b'b'; 2_000]);
    let too_many_parts = SubmitSm { short_message: &b""[..], tlvs: Tlvs(&tlvs[..]), ..plain };
    assert_eq!(client.submit(&too_many_parts).await, Err(CommandStatus::RINVMSGLEN));
    assert_eq!(s.t.get("/v1/messages", &s.key).await.json()["data"], json!([]), "and nothing was stored");
}

/// Many at once: each answered, in order, with ids that follow one another; as many as the money lasts.
#[tokio::test]
async fn many_at_once_and_the_end_of_the_money() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"window": 1000})).await;
    let mut client = s.bind(&credential, BindKind::Transmitter).await;
    // 10,000 cents, 5 a part: 2,000 of 2,500.
    let (mut sent, mut ids, mut short) = (0, Vec::new(), 0);
    while ids.len() + short < 2_500 {
        while sent < 2_500 && client.session.free_slots() > 0 {
            let to = number(sent);
            client.session.submit(&SubmitSm { registered_delivery: 0, ..sm(&to, b"hello") }, sent as u64).unwrap();
            sent += 1;
        }
        let Event::SubmitResp { token, result, .. } = client.next().await else { continue };
        assert_eq!(token as usize, ids.len() + short, "in order");
        match result {
            Ok(id) => ids.push(id),
            Err(status) => {
                assert_eq!(status, CommandStatus(0x401));
                short += 1;
            }
        }
    }
    assert_eq!((ids.len(), short), (2_000, 500));
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    let me = s.t.get("/v1/me", &s.key).await.json();
    assert_eq!(me["balance"]["available"], "0.00");
}

/// The clock stands still: exactly a second's worth passes.
#[tokio::test]
async fn no_more_than_the_rate() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"rate": 20})).await;
    let mut client = s.bind(&credential, BindKind::Transmitter).await;
    let mut passed = 0;
    for i in 0..50 {
        match client.submit(&sm(&number(i), b"hello")).await {
            Ok(_) => passed += 1,
            Err(status) => assert_eq!(status, CommandStatus::RTHROTTLED),
        }
    }
    assert_eq!(passed, 20);
    s.t.app.clock.advance(std::time::Duration::from_millis(500));
    for i in 0..12 {
        passed += usize::from(client.submit(&sm(&number(i), b"hello")).await.is_ok());
    }
    assert_eq!(passed, 30);
}

#[tokio::test]
async fn data_sm_and_submit_multi() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let to = number(1);
    let mut tlvs = Vec::new();
    tlv::push(&mut tlvs, Tag::MESSAGE_PAYLOAD, b"by another operation");
    let data = DataSm {
        source: Address { ton: 5, npi: 0, addr: &b"Shop"[..] },
        destination: Address { ton: 1, npi: 1, addr: to.as_bytes() },
        registered_delivery: 1,
        tlvs: Tlvs(&tlvs[..]),
        ..DataSm::default()
    };
    let (status, pdu) = client.ask(&Pdu::DataSm(data)).await;
    let Pdu::DataSmResp(resp) = pdu else { panic!("{pdu:?}") };
    let id = String::from_utf8(resp.message_id.to_vec()).unwrap();
    assert_eq!((status, &s.message(&id).await["text"]), (CommandStatus::ROK, &json!("by another operation")));
    assert_eq!(client.receipt().await.0, id);

    let address = |addr: &'static [u8]| Destination::Address(Address { ton: 1, npi: 1, addr });
    let multi = SubmitMulti {
        destinations: vec![
            address(b"4915110000001"),
            address(b"4915"),
            Destination::List(b"friends"),
            address(b"4915110000002"),
        ],
        message: sm("", b"to many"),
    };
    let (status, pdu) = client.ask(&Pdu::SubmitMulti(multi)).await;
    let Pdu::SubmitMultiResp(resp) = pdu else { panic!("{pdu:?}") };
    let unsuccess: Vec<_> = resp.unsuccess.iter().map(|(a, status)| (a.text().into_owned(), *status)).collect();
    assert_eq!(status, CommandStatus::ROK);
    assert_eq!(
        unsuccess,
        [("4915".to_owned(), CommandStatus::RINVDSTADR), ("friends".to_owned(), CommandStatus::RINVDLNAME)]
    );
    // Each destination has its receipt, under the id that was answered.
    let id = String::from_utf8(resp.message_id.to_vec()).unwrap();
    let mut told = Vec::new();
    for _ in 0..2 {
        let (to, sm) = client.delivery().await;
        client.session.respond_deliver(to, CommandStatus::ROK);
        told.push((carillon_smpp::Receipt::of(&sm).unwrap().id.into_owned(), sm.source.text().into_owned()));
    }
    told.sort();
    assert_eq!(told, [(id.clone(), "4915110000001".to_owned()), (id.clone(), "4915110000002".to_owned())]);
    let batch = s.t.get(&format!("/v1/batches/{id}"), &s.key).await.json();
    assert_eq!(batch["total"], 2, "{batch}");

    let none = SubmitMulti { destinations: vec![address(b"4915")], message: sm("", b"to nobody") };
    assert_eq!(client.ask(&Pdu::SubmitMulti(none)).await.0, CommandStatus::RINVDSTADR);
    let nobody = SubmitMulti { destinations: Vec::new(), message: sm("", b"to nobody") };
    assert_eq!(client.ask(&Pdu::SubmitMulti(nobody)).await.0, CommandStatus::RINVNUMDESTS);
}

#[tokio::test]
async fn query_and_cancel() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let to = number(1);
    let scheduled = SubmitSm { schedule_delivery_time: &b"000001000000000R"[..], ..sm(&to, b"later") };
    let id = client.submit(&scheduled).await.unwrap();
    let from = |addr: &'static str| Address { ton: 5, npi: 0, addr: addr.as_bytes() };
    let query = |source| Pdu::QuerySm(QuerySm { message_id: id.as_bytes(), source });
    let state = |pdu: Pdu| match pdu {
        Pdu::QuerySmResp(resp) => (resp.message_state, resp.final_date.is_empty()),
        other => panic!("{other:?}"),
    };
    let (status, pdu) = client.ask(&query(from("Shop"))).await;
    assert_eq!((status, state(pdu)), (CommandStatus::ROK, (1, true)));
    assert_eq!(client.ask(&query(from("Else"))).await.0, CommandStatus::RQUERYFAIL);

    let cancel =
        |id: &'static str, source| Pdu::CancelSm(CancelSm { message_id: id.as_bytes(), source, ..CancelSm::default() });
    let kept: &'static str = Box::leak(id.clone().into_boxed_str());
    assert_eq!(client.ask(&cancel(kept, from("Else"))).await.0, CommandStatus::RCANCELFAIL);
    assert_eq!(client.ask(&cancel(kept, from("Shop"))).await.0, CommandStatus::ROK);
    assert_eq!(client.receipt().await, (id.clone(), "DELETED".into()));
    assert_eq!(client.ask(&cancel(kept, from(""))).await.0, CommandStatus::ROK, "once more is the same");
    let (status, pdu) = client.ask(&query(from(""))).await;
    assert_eq!((status, state(pdu)), (CommandStatus::ROK, (4, false)));

    for unknown in ["", "nonsense", "msg_01h455vb4pex5vsknk084sn02q"] {
        let query = Pdu::QuerySm(QuerySm { message_id: unknown.as_bytes(), source: from("") });
        assert_eq!(client.ask(&query).await.0, CommandStatus::RINVMSGID, "{unknown}");
    }
    assert_eq!(client.ask(&cancel("", from("Shop"))).await.0, CommandStatus::RCANCELFAIL);
    let sent = client.submit(&sm(&to, b"now")).await.unwrap();
    assert_eq!(client.receipt().await.0, sent);
    let sent: &'static str = Box::leak(sent.into_boxed_str());
    assert_eq!(client.ask(&cancel(sent, from(""))).await.0, CommandStatus::RCANCELFAIL);
}

/// The parts a customer cut reach the carrier octet for octet.
#[tokio::test]
async fn own_parts_reach_the_carrier_unchanged() {
    let (s, carrier) = Smpp::with_carrier().await;
    let bound = carrier.accept().await.unwrap().bind_request().await.unwrap();
    let mut carrier = Client::new(bound.accept(Limits::default()).await.unwrap());
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    let mut sar = Vec::new();
    tlv::push(&mut sar, Tag::SAR_MSG_REF_NUM, &[0x12, 0x34]);
    tlv::push(&mut sar, Tag::SAR_TOTAL_SEGMENTS, &[2]);
    tlv::push(&mut sar, Tag::SAR_SEGMENT_SEQNUM, &[1]);
    let to = number(1);
    let part = |data_coding, text| SubmitSm { esm_class: 0x40, data_coding, ..sm(&to, text) };
    let rows: [(SubmitSm<&[u8]>, &[u8]); 4] = [
        (part(0, b"\x05\x00\x03\x2a\x02\x01septets \x00"), b"\x05\x00\x03\x2a\x02\x01septets \x00"),
        (part(8, b"\x05\x00\x03\x2a\x02\x02\x04\x1f"), b"\x05\x00\x03\x2a\x02\x02\x04\x1f"),
        (part(4, b"\x06\x05\x04\x0b\x84\x23\xf0\x01\xff"), b"\x06\x05\x04\x0b\x84\x23\xf0\x01\xff"),
        (SubmitSm { tlvs: Tlvs(&sar), ..sm(&to, b"by SAR") }, b"\x06\x08\x04\x12\x34\x02\x01by SAR"),
    ];
    for (i, (sm, octets)) in rows.into_iter().enumerate() {
        client.submit(&sm).await.unwrap();
        let Event::Submit { to: reply, sm: seen } = carrier.next().await else { panic!("a submit") };
        carrier.session.respond_submit(reply, Ok(i.to_string().as_bytes())).unwrap();
        assert_eq!((&seen.short_message[..], seen.esm_class, seen.data_coding), (octets, 0x40, sm.data_coding));
    }
}
