//! Sessions with a peer that misbehaves: each row of the conformance list, from both ends.

use crate::peer::{Raw, anywhere, client_and_raw, config, impatient, raw_and_server};
use carillon_smpp::pdu::{Bind, DataSm, MessageResp};
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{
    BindError, BindKind, CloseReason, CommandId, CommandStatus, ConnectError, DeliverSm, Event, Limits, Listener, Pdu,
    ServerConfig, SubmitSm, connect,
};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const OK: CommandStatus = CommandStatus::ROK;

fn pdu(command: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let words = [length, command, status, sequence].map(u32::to_be_bytes);
    [words.as_flattened(), body].concat()
}

#[tokio::test]
async fn a_client_hears_every_kind_of_answer_and_stays_bound() {
    type Wanted = fn(&Event) -> bool;
    let table: [(&str, fn(u32) -> Vec<u8>, Wanted); 9] = [
        (
            "accepted",
            |seq| pdu(0x8000_0004, 0, seq, b"id\0"),
            |e| matches!(e, Event::SubmitResp { result: Ok(id), .. } if &id[..] == b"id"),
        ),
        (
            "accepted without NUL",
            |seq| pdu(0x8000_0004, 0, seq, b"id"),
            |e| matches!(e, Event::SubmitResp { result: Ok(id), .. } if &id[..] == b"id"),
        ),
        (
            "accepted without id",
            |seq| pdu(0x8000_0004, 0, seq, b""),
            |e| matches!(e, Event::SubmitResp { result: Ok(id), .. } if id.is_empty()),
        ),
        (
            "refused without body",
            |seq| pdu(0x8000_0004, 0x58, seq, b""),
            |e| matches!(e, Event::SubmitResp { result: Err(CommandStatus::RTHROTTLED), .. }),
        ),
        (
            "refused with body and vendor parameter",
            |seq| pdu(0x8000_0004, 0x45, seq, b"\0\x14\x01\0\x01x"),
            |e| matches!(e, Event::SubmitResp { result: Err(CommandStatus::RSUBMITFAIL), .. }),
        ),
        (
            "unknown status",
            |seq| pdu(0x8000_0004, 34, seq, b""),
            |e| matches!(e, Event::SubmitResp { result: Err(CommandStatus(34)), .. }),
        ),
        (
            "generic_nack with its number",
            |seq| pdu(0x8000_0000, 3, seq, b""),
            |e| matches!(e, Event::SubmitResp { result: Err(CommandStatus::RINVCMDID), .. }),
        ),
        (
            "generic_nack that says OK",
            |seq| pdu(0x8000_0000, 0, seq, b""),
            |e| matches!(e, Event::SubmitResp { result: Err(CommandStatus::RUNKNOWNERR), .. }),
        ),
        (
            "response of another kind first",
            |seq| [pdu(0x8000_0005, 0, seq, b"\0"), pdu(0x8000_0004, 0, seq, b"id\0")].concat(),
            |e| matches!(e, Event::SubmitResp { result: Ok(_), .. }),
        ),
    ];
    let (mut client, mut raw) = client_and_raw(Limits::default()).await;
    for (name, answer, wanted) in table {
        client.session.submit(&SubmitSm::<&[u8]>::default(), 1).unwrap();
        let (header, _) = raw.next().await.unwrap();
        raw.send(&answer(header.sequence)).await;
        let event = client.next().await;
        assert!(wanted(&event), "{name}: {event:?}");
    }
    assert_eq!(client.session.free_slots(), Limits::default().window);
}

#[tokio::test]
async fn a_client_answers_what_a_carrier_should_not_send_and_stays_bound() {
    let cut_deliver = b"\0\x01\x01123\0\x01\x01456\0\x04\0\0\0\0\0\0\0\0\xFFshort";
    let table: [(&str, Vec<u8>, Option<(CommandId, CommandStatus)>); 9] = [
        (
            "unknown operation",
            pdu(0x0000_7777, 0, 9, b"xyz"),
            Some((CommandId::GENERIC_NACK, CommandStatus::RINVCMDID)),
        ),
        ("unknown response", pdu(0x8000_7777, 0, 9, b"xyz"), None),
        ("answer to nothing", pdu(0x8000_0004, 0, 9, b"id\0"), None),
        (
            "malformed deliver_sm",
            pdu(5, 0, 9, cut_deliver),
            Some((CommandId::DELIVER_SM_RESP, CommandStatus::RINVMSGLEN)),
        ),
        ("malformed data_sm", pdu(0x103, 0, 9, b"\0\x01"), Some((CommandId::DATA_SM_RESP, CommandStatus::RINVCMDLEN))),
        (
            "submit_sm to a client",
            pdu(4, 0, 9, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            Some((CommandId::SUBMIT_SM_RESP, CommandStatus::RINVBNDSTS)),
        ),
        ("outbind", pdu(0xB, 0, 9, b"a\0b\0"), None),
        ("enquire_link", pdu(0x15, 0, 9, b""), Some((CommandId::ENQUIRE_LINK_RESP, OK))),
        ("oversized", pdu(5, 0, 9, &[0; 70_000]), Some((CommandId::GENERIC_NACK, CommandStatus::RINVCMDLEN))),
    ];
    let (client, mut raw) = client_and_raw(Limits::default()).await;
    for (name, octets, wanted) in table {
        raw.send(&octets).await;
        if let Some((command, status)) = wanted {
            assert_eq!(raw.next_header().await, Some((command, status, 9)), "{name}");
        }
        raw.send(&pdu(0x15, 0, 77, b"")).await;
        assert_eq!(raw.next_header().await, Some((CommandId::ENQUIRE_LINK_RESP, OK, 77)), "after {name}");
    }
    assert!(client.session.is_open());
}

#[tokio::test]
async fn a_server_answers_what_a_client_should_not_send_and_stays_bound() {
    let submit = b"\0\x01\x011\0\x01\x012\0\0\0\0\0\0\0\0\0\0\x02hi";
    let table: [(&str, CommandId, Vec<u8>, (CommandId, CommandStatus)); 8] = [
        (
            "bound twice",
            CommandId::BIND_TRANSCEIVER,
            pdu(2, 0, 9, b"a\0b\0\0\x34\0\0\0"),
            (CommandId::BIND_TRANSMITTER_RESP, CommandStatus::RALYBND),
        ),
        (
            "submit_sm on a receiver",
            CommandId::BIND_RECEIVER,
            pdu(4, 0, 9, submit),
            (CommandId::SUBMIT_SM_RESP, CommandStatus::RINVBNDSTS),
        ),
        (
            "query_sm on a receiver",
            CommandId::BIND_RECEIVER,
            pdu(3, 0, 9, b"1\0\0\0\0"),
            (CommandId::QUERY_SM_RESP, CommandStatus::RINVBNDSTS),
        ),
        (
            "deliver_sm to a server",
            CommandId::BIND_TRANSCEIVER,
            pdu(5, 0, 9, submit),
            (CommandId::DELIVER_SM_RESP, CommandStatus::RINVBNDSTS),
        ),
        (
            "address too long",
            CommandId::BIND_TRANSMITTER,
            pdu(4, 0, 9, b"\0\x01\x011\0\x01\x01123456789012345678901\0\0\0\0\0\0\0\0\0\0\x02hi"),
            (CommandId::SUBMIT_SM_RESP, CommandStatus::RINVDSTADR),
        ),
        (
            "validity too short",
            CommandId::BIND_TRANSMITTER,
            pdu(4, 0, 9, b"\0\x01\x011\0\x01\x012\0\0\0\0\x0024\0\0\0\0\0\x02hi"),
            (CommandId::SUBMIT_SM_RESP, CommandStatus::RINVEXPIRY),
        ),
        (
            "parameter cut off",
            CommandId::BIND_TRANSMITTER,
            pdu(4, 0, 9, &[&submit[..], b"\x04\x24\0"].concat()),
            (CommandId::SUBMIT_SM_RESP, CommandStatus::RINVOPTPARSTREAM),
        ),
        (
            "unknown operation",
            CommandId::BIND_TRANSCEIVER,
            pdu(0x112, 0, 9, b""),
            (CommandId::GENERIC_NACK, CommandStatus::RINVCMDID),
        ),
    ];
    for (name, bind, octets, (command, status)) in table {
        let (mut raw, server) = raw_and_server(bind, Limits::default()).await;
        raw.send(&octets).await;
        assert_eq!(raw.next_header().await, Some((command, status, 9)), "{name}");
        assert!(server.session.is_open(), "{name}");
    }
}

#[tokio::test]
async fn an_impossible_length_ends_the_session_with_a_nack() {
    for length in [4_u32, 15, 0x4745_5420] {
        let (mut client, mut raw) = client_and_raw(Limits::default()).await;
        client.session.submit(&SubmitSm::<&[u8]>::default(), 3).unwrap();
        raw.next().await.unwrap();
        raw.send(&[&length.to_be_bytes()[..], &[0; 12]].concat()).await;
        assert_eq!(raw.next_header().await, Some((CommandId::GENERIC_NACK, CommandStatus::RINVCMDLEN, 0)));
        assert_eq!(raw.next_header().await, None);
        let Event::Closed { reason, unanswered } = client.next().await else { panic!() };
        assert_eq!((reason, unanswered), (CloseReason::Garbage(length), vec![3]));
    }
}

#[tokio::test]
async fn a_nack_without_number_is_told_and_the_request_waits_on() {
    let (mut client, mut raw) = client_and_raw(Limits { window: 2, ..impatient() }).await;
    client.session.submit(&SubmitSm::<&[u8]>::default(), 3).unwrap();
    raw.next().await.unwrap();
    raw.send(&pdu(0x8000_0000, 2, 0, b"")).await;
    let Event::Nack { seq: 0, status: CommandStatus::RINVCMDLEN } = client.next().await else { panic!() };
    let Event::NoAnswer { token: 3 } = client.next().await else { panic!() };
}

#[tokio::test]
async fn an_answer_too_large_to_read_leaves_the_outcome_unknown() {
    let (mut client, mut raw) = client_and_raw(Limits::default()).await;
    client.session.submit(&SubmitSm::<&[u8]>::default(), 3).unwrap();
    let (header, _) = raw.next().await.unwrap();
    raw.send(&pdu(0x8000_0004, 0, header.sequence, &[b'1'; 70_000])).await;
    let Event::NoAnswer { token: 3 } = client.next().await else { panic!() };
}

#[tokio::test]
async fn unbind_instead_of_an_answer_leaves_the_outcome_unknown() {
    let (mut client, mut raw) = client_and_raw(Limits::default()).await;
    client.session.submit(&SubmitSm::<&[u8]>::default(), 3).unwrap();
    raw.next().await.unwrap();
    raw.send(&pdu(6, 0, 50, b"")).await;
    assert_eq!(raw.next_header().await, Some((CommandId::UNBIND_RESP, OK, 50)));
    let Event::Closed { reason: CloseReason::PeerUnbound, unanswered } = client.next().await else { panic!() };
    assert_eq!(unanswered, [3]);
}

#[tokio::test]
async fn an_idle_peer_is_kept_while_it_answers_enquire_link_and_left_when_it_does_not() {
    let limits = Limits {
        enquire_link: Duration::from_millis(10),
        response_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let (mut client, mut raw) = client_and_raw(limits).await;
    for _ in 0..3 {
        let (command, _, sequence) = raw.next_header().await.unwrap();
        assert_eq!(command, CommandId::ENQUIRE_LINK);
        raw.send_pdu(&Pdu::EnquireLinkResp, OK, sequence).await;
    }
    assert_eq!(raw.next_header().await.map(|(command, ..)| command), Some(CommandId::ENQUIRE_LINK));
    let Event::Closed { reason: CloseReason::Silent, .. } = client.next().await else { panic!() };
    assert_eq!(raw.next_header().await, None);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_unbind_is_left_after_a_while() {
    let (mut client, mut raw) = client_and_raw(impatient()).await;
    client.session.unbind().await;
    let Event::Closed { reason: CloseReason::Local, .. } = client.next().await else { panic!() };
    assert_eq!(raw.next_header().await.map(|(command, ..)| command), Some(CommandId::UNBIND));
}

#[tokio::test]
async fn what_comes_before_bind_resp_is_kept_for_the_session() {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let config = config(listener.local_addr().unwrap(), Limits::default());
    let serving = async {
        let mut raw = Raw::new(listener.accept().await.unwrap().0);
        raw.next().await.unwrap();
        raw.send_pdu(&Pdu::DeliverSm(DeliverSm { short_message: b"early", ..DeliverSm::default() }), OK, 1).await;
        raw.send_pdu(&Pdu::EnquireLink, OK, 2).await;
        assert_eq!(raw.next_header().await, Some((CommandId::ENQUIRE_LINK_RESP, OK, 2)));
        raw.send(&pdu(0x8000_0009, 0, 1, b"")).await;
        raw.send_pdu(&Pdu::DataSm(DataSm { tlvs: Tlvs(b"\x04\x24\0\x04then"), ..DataSm::default() }), OK, 3).await;
        raw
    };
    let (client, mut raw) = tokio::join!(connect(&config), serving);
    let mut client = crate::peer::End::new(client.unwrap());
    for (text, sequence, resp) in
        [(&b"early"[..], 1, CommandId::DELIVER_SM_RESP), (b"then", 3, CommandId::DATA_SM_RESP)]
    {
        let Event::Deliver { to, sm } = client.next().await else { panic!() };
        assert_eq!(sm.content(), text);
        client.session.respond_deliver(to, OK);
        assert_eq!(raw.next_header().await, Some((resp, OK, sequence)));
    }
}

#[tokio::test]
async fn a_bind_that_is_not_accepted_is_an_error_of_its_kind() {
    type Wanted = fn(&ConnectError) -> bool;
    let table: [(&str, Vec<u8>, Wanted); 6] = [
        ("refused", pdu(0x8000_0009, 0xE, 1, b""), |e| matches!(e, ConnectError::Refused(CommandStatus::RINVPASWD))),
        ("refused with a body", pdu(0x8000_0009, 5, 1, b"SMSC\0"), |e| {
            matches!(e, ConnectError::Refused(CommandStatus::RALYBND))
        }),
        ("nacked", pdu(0x8000_0000, 3, 1, b""), |e| matches!(e, ConnectError::Refused(CommandStatus::RINVCMDID))),
        ("unbound", pdu(6, 0, 1, b""), |e| matches!(e, ConnectError::Ended)),
        ("not SMPP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), |e| matches!(e, ConnectError::Ended)),
        ("closed", vec![], |e| matches!(e, ConnectError::Ended)),
    ];
    for (name, answer, wanted) in table {
        let listener = TcpListener::bind(anywhere()).await.unwrap();
        let config = config(listener.local_addr().unwrap(), Limits::default());
        let serving = async {
            let mut raw = Raw::new(listener.accept().await.unwrap().0);
            raw.next().await.unwrap();
            raw.send(&answer).await;
        };
        let (client, ()) = tokio::join!(connect(&config), serving);
        let error = client.err().unwrap();
        assert!(wanted(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_carrier_that_is_not_there_or_says_nothing_is_an_error() {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let mut config = config(listener.local_addr().unwrap(), Limits::default());
    config.connect_timeout = Duration::from_millis(30);
    assert!(matches!(connect(&config).await, Err(ConnectError::Timeout)));
    drop(listener);
    assert!(matches!(connect(&config).await, Err(ConnectError::Io(_))));
    config.system_id = "x".repeat(65);
    assert!(connect(&config).await.is_err());
}

#[tokio::test]
async fn a_server_refuses_binds_and_what_comes_before_them() {
    let listener = Listener::bind(anywhere(), ServerConfig::default()).await.unwrap();
    let mut raw = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    let incoming = listener.accept().await.unwrap();
    let serving = tokio::spawn(incoming.bind_request());
    raw.send(&pdu(0x15, 0, 1, b"")).await;
    raw.send(&pdu(0x103, 0, 2, b"\0\0\0\0\0\0\0\0\0\0")).await;
    raw.send(&pdu(0x77, 0, 3, b"")).await;
    let bind = Bind { system_id: &b"user"[..], password: b"wrong", ..Bind::default() };
    raw.send_pdu(&Pdu::Bind(BindKind::Receiver, bind), OK, 4).await;
    assert_eq!(raw.next_header().await, Some((CommandId::ENQUIRE_LINK_RESP, OK, 1)));
    assert_eq!(raw.next_header().await, Some((CommandId::DATA_SM_RESP, CommandStatus::RINVBNDSTS, 2)));
    assert_eq!(raw.next_header().await, Some((CommandId::GENERIC_NACK, CommandStatus::RINVCMDID, 3)));
    let request = serving.await.unwrap().unwrap();
    assert_eq!((request.kind, &request.bind.password[..]), (BindKind::Receiver, &b"wrong"[..]));
    request.refuse(CommandStatus::RINVPASWD).await.unwrap();
    assert_eq!(raw.next_header().await, Some((CommandId::BIND_RECEIVER_RESP, CommandStatus::RINVPASWD, 4)));
    assert_eq!(raw.next_header().await, None);
}

#[tokio::test]
async fn connections_that_never_come_to_a_bind_are_closed() {
    type Wanted = fn(&BindError) -> bool;
    let table: [(&str, Vec<u8>, Wanted); 5] = [
        ("silent", vec![], |e| matches!(e, BindError::Timeout)),
        ("malformed bind", pdu(9, 0, 1, b"user"), |e| matches!(e, BindError::Malformed(CommandStatus::RINVSYSID))),
        ("unbind", pdu(6, 0, 1, b""), |e| matches!(e, BindError::Ended)),
        ("not SMPP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), |e| matches!(e, BindError::Ended)),
        ("too much else", pdu(0x15, 0, 1, b"").repeat(17), |e| matches!(e, BindError::Ended)),
    ];
    let server = ServerConfig { bind_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let listener = Listener::bind(anywhere(), server).await.unwrap();
    for (name, octets, wanted) in table {
        let mut raw = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        raw.send(&octets).await;
        let error = listener.accept().await.unwrap().bind_request().await.err().unwrap();
        assert!(wanted(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_user_that_does_not_listen_stops_the_reading_and_not_the_session() {
    let limits = Limits { inbox: 4, ..Limits::default() };
    let (mut client, mut raw) = client_and_raw(limits).await;
    for sequence in 1..=1000 {
        raw.send_pdu(&Pdu::DeliverSm(DeliverSm { short_message: &[0; 200], ..DeliverSm::default() }), OK, sequence)
            .await;
    }
    for wanted in 1..=1000 {
        let Event::Deliver { to, .. } = client.next().await else { panic!() };
        assert_eq!(to.seq, wanted);
    }
    raw.send_pdu(&Pdu::SubmitSmResp(MessageResp::default()), OK, 5).await;
    assert!(client.session.is_open());
}

#[tokio::test]
async fn dropping_the_events_ends_the_session() {
    let (client, mut raw) = client_and_raw(Limits::default()).await;
    let session = client.session.clone();
    drop(client);
    session.closed().await;
    assert_eq!(raw.next_header().await, None);
}
