//! Sessions as they should go: our client against our server over loopback TCP.

use crate::peer::{End, anywhere, impatient, pair};
use carillon_smpp::pdu::{CancelSm, QuerySm, QuerySmResp};
use carillon_smpp::{
    Address, ClientTls, CloseReason, CommandStatus, DeliverSm, Event, Limits, Listener, Pdu, SendError, ServerConfig,
    SubmitSm, connect,
};

fn message(text: &[u8]) -> SubmitSm<&[u8]> {
    SubmitSm {
        source: Address { ton: 5, npi: 0, addr: b"Carillon" },
        destination: Address { ton: 1, npi: 1, addr: b"4915112345678" },
        short_message: text,
        ..SubmitSm::default()
    }
}

fn window(size: usize) -> Limits {
    Limits { window: size, ..Limits::default() }
}

#[tokio::test]
async fn a_message_its_answer_its_receipt_and_the_end() {
    let (mut client, mut server) = pair(window(10), window(10)).await;
    client.session.submit(&message(b"hello"), 42).unwrap();
    let Event::Submit { to, sm } = server.next().await else { panic!() };
    assert_eq!((sm.content(), &*sm.destination.text()), (&b"hello"[..], "4915112345678"));
    server.session.respond_submit(to, Ok(b"id-1")).unwrap();
    let receipt = DeliverSm { esm_class: 4, short_message: &b"id:id-1 stat:DELIVRD"[..], ..DeliverSm::default() };
    server.session.deliver(&receipt, 7).unwrap();
    let Event::SubmitResp { token: 42, result: Ok(id), late: false } = client.next().await else { panic!() };
    assert_eq!(&id[..], b"id-1");
    let Event::Deliver { to, sm } = client.next().await else { panic!() };
    assert_eq!(sm.content(), b"id:id-1 stat:DELIVRD");
    client.session.respond_deliver(to, CommandStatus::ROK);
    let Event::DeliverResp { token: 7, status: CommandStatus::ROK, late: false } = server.next().await else {
        panic!()
    };
    client.session.unbind().await;
    let Event::Closed { reason: CloseReason::Local, unanswered } = client.next().await else { panic!() };
    assert!(unanswered.is_empty());
    let Event::Closed { reason: CloseReason::PeerUnbound, .. } = server.next().await else { panic!() };
    assert_eq!(client.session.submit(&message(b"late"), 43), Err(SendError::Closed));
}

#[tokio::test]
async fn the_window_bounds_what_is_unanswered_and_answers_may_come_in_any_order() {
    let (mut client, mut server) = pair(window(3), window(10)).await;
    for token in 1..=3 {
        client.session.submit(&message(&[b'0' + u8::try_from(token).unwrap()]), token).unwrap();
    }
    assert_eq!((client.session.free_slots(), client.session.submit(&message(b"4"), 4)), (0, Err(SendError::Full)));
    let mut submits = Vec::new();
    for _ in 0..3 {
        let Event::Submit { to, sm } = server.next().await else { panic!() };
        submits.push((to, sm.content().to_vec()));
    }
    for (to, id) in submits.iter().rev() {
        server.session.respond_submit(*to, Ok(id)).unwrap();
    }
    for wanted in [3, 2, 1] {
        let Event::SubmitResp { token, result: Ok(id), late: false } = client.next().await else { panic!() };
        assert_eq!((token, id[0]), (wanted, b'0' + u8::try_from(wanted).unwrap()));
    }
    assert_eq!(client.session.free_slots(), 3);
}

#[tokio::test]
async fn refusals_come_with_their_status() {
    let (mut client, mut server) = pair(window(10), window(10)).await;
    let table = [CommandStatus::RTHROTTLED, CommandStatus::RINVDSTADR, CommandStatus(0x0400)];
    for (token, status) in (0..).zip(table) {
        client.session.submit(&message(b"x"), token).unwrap();
        let Event::Submit { to, .. } = server.next().await else { panic!() };
        server.session.respond_submit(to, Err(status)).unwrap();
        let Event::SubmitResp { token: answered, result: Err(refused), .. } = client.next().await else { panic!() };
        assert_eq!((answered, refused), (token, status));
    }
}

#[tokio::test]
async fn no_answer_frees_the_slot_and_a_late_answer_is_still_heard() {
    let (mut client, mut server) = pair(Limits { window: 1, ..impatient() }, window(10)).await;
    client.session.submit(&message(b"x"), 9).unwrap();
    let Event::Submit { to, .. } = server.next().await else { panic!() };
    let Event::NoAnswer { token: 9 } = client.next().await else { panic!() };
    assert_eq!(client.session.free_slots(), 1);
    server.session.respond_submit(to, Ok(b"id")).unwrap();
    let Event::SubmitResp { token: 9, result: Ok(_), late: true } = client.next().await else { panic!() };
}

#[tokio::test]
async fn a_lost_link_names_what_is_unanswered() {
    let (mut client, mut server) = pair(window(10), window(10)).await;
    for token in [5, 6, 7] {
        client.session.submit(&message(b"x"), token).unwrap();
    }
    let Event::Submit { .. } = server.next().await else { panic!() };
    let Event::Submit { to, .. } = server.next().await else { panic!() };
    server.session.respond_submit(to, Ok(b"id")).unwrap();
    let Event::SubmitResp { token: 6, .. } = client.next().await else { panic!() };
    server.session.close();
    let Event::Closed { reason: CloseReason::Eof | CloseReason::Io(_), unanswered } = client.next().await else {
        panic!()
    };
    assert_eq!(unanswered, [5, 7]);
}

#[tokio::test]
async fn a_deliver_may_be_acknowledged_late_while_others_pass() {
    let (mut client, mut server) = pair(window(10), window(2)).await;
    let deliver = DeliverSm { short_message: &b"x"[..], ..DeliverSm::default() };
    server.session.deliver(&deliver, 1).unwrap();
    let Event::Deliver { to: first, .. } = client.next().await else { panic!() };
    server.session.deliver(&deliver, 2).unwrap();
    assert_eq!(server.session.deliver(&deliver, 3), Err(SendError::Full));
    let Event::Deliver { to: second, .. } = client.next().await else { panic!() };
    client.session.respond_deliver(second, CommandStatus::ROK);
    let Event::DeliverResp { token: 2, .. } = server.next().await else { panic!() };
    client.session.respond_deliver(first, CommandStatus::RX_T_APPN);
    let Event::DeliverResp { token: 1, status: CommandStatus::RX_T_APPN, .. } = server.next().await else { panic!() };
}

#[tokio::test]
async fn other_requests_carry_their_own_answers() {
    let (mut client, mut server) = pair(window(10), window(10)).await;
    let query = Pdu::QuerySm(QuerySm { message_id: &b"id"[..], source: Address::default() });
    client.session.request(&query, 1).unwrap();
    let Event::Request { to, pdu: Pdu::QuerySm(asked) } = server.next().await else { panic!() };
    assert_eq!(&asked.message_id[..], b"id");
    let answer = QuerySmResp { message_id: &b"id"[..], final_date: b"", message_state: 2, error_code: 0 };
    server.session.respond(to, CommandStatus::ROK, &Pdu::QuerySmResp(answer)).unwrap();
    let Event::Response { token: 1, pdu: Pdu::QuerySmResp(found), .. } = client.next().await else { panic!() };
    assert_eq!(found.message_state, 2);
    client.session.request(&Pdu::CancelSm(CancelSm::<&[u8]>::default()), 2).unwrap();
    let Event::Request { to, pdu: Pdu::CancelSm(_) } = server.next().await else { panic!() };
    server.session.refuse(to, CommandStatus::RCANCELFAIL);
    let Event::Response { token: 2, status: CommandStatus::RCANCELFAIL, .. } = client.next().await else { panic!() };
}

#[tokio::test]
async fn thousands_pass_in_batches() {
    const COUNT: u64 = 20_000;
    let (mut client, mut server) = pair(window(500), window(500)).await;
    let serving = tokio::spawn(async move {
        for _ in 0..COUNT {
            let Event::Submit { to, sm } = server.next().await else { panic!() };
            server.session.respond_submit(to, Ok(sm.content())).unwrap();
        }
        server
    });
    let (mut sent, mut answered) = (0, 0);
    while answered < COUNT {
        while sent < COUNT && client.session.submit(&message(sent.to_string().as_bytes()), sent).is_ok() {
            sent += 1;
        }
        let Event::SubmitResp { token, result: Ok(id), .. } = client.next().await else { panic!() };
        assert_eq!(token.to_string().as_bytes(), &id[..]);
        answered += 1;
    }
    let _server = serving.await.unwrap();
    assert_eq!(client.session.free_slots(), 500);
}

#[tokio::test]
async fn a_session_over_tls_and_only_with_the_right_certificate() {
    let issued = rcgen::generate_simple_self_signed(["smsc.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["smsc.example".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let identity = carillon_smpp::tls::Identity { chain_pem: certificate.as_bytes(), key_pem: key.as_bytes() };
    let listener = Listener::bind(
        anywhere(),
        ServerConfig { tls: Some(carillon_smpp::tls::server(identity).unwrap()), ..ServerConfig::default() },
    )
    .await
    .unwrap();
    let trusting = |roots: &str, name: &str| ClientTls {
        config: carillon_smpp::tls::client(roots.as_bytes(), None).unwrap(),
        server_name: Some(name.to_owned()),
    };
    let with = |tls| carillon_smpp::ClientConfig {
        tls: Some(tls),
        ..crate::peer::config(listener.local_addr().unwrap(), Limits::default())
    };
    for tls in [trusting(&other.cert.pem(), "smsc.example"), trusting(&certificate, "other.example")] {
        let config = with(tls);
        let serving = async { listener.accept().await.unwrap().bind_request().await };
        let (client, server) = tokio::join!(connect(&config), serving);
        assert!(client.is_err() && server.is_err());
    }
    let config = with(trusting(&certificate, "smsc.example"));
    let serving =
        async { listener.accept().await.unwrap().bind_request().await.unwrap().accept(Limits::default()).await };
    let (client, server) = tokio::join!(connect(&config), serving);
    let (mut client, mut server) = (End::new(client.unwrap()), End::new(server.unwrap()));
    client.session.submit(&message(b"secret"), 1).unwrap();
    let Event::Submit { to, sm } = server.next().await else { panic!() };
    assert_eq!(sm.content(), b"secret");
    server.session.respond_submit(to, Ok(b"id")).unwrap();
    let Event::SubmitResp { token: 1, .. } = client.next().await else { panic!() };
    client.session.unbind().await;
    let Event::Closed { reason: CloseReason::PeerUnbound, .. } = server.next().await else { panic!() };
}
