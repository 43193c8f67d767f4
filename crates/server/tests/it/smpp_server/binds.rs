//! Who may bind, and what binding allows.

use std::time::Duration;

use carillon_domain::account::Status;
use carillon_domain::smpp::CREDENTIAL_NO_MAX;
use carillon_smpp::{BindKind, ClientTls, CommandStatus, Event, Pdu, connect};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{Client, Credential, Smpp, number, sm};

#[tokio::test]
async fn who_may() {
    let s = Smpp::start().await;
    let right = s.credential(json!({"max_binds": 2, "allowed_addresses": ["127.0.0.1"]})).await;
    let elsewhere = s.credential(json!({"allowed_addresses": ["192.0.2.0/24", "::1"]})).await;
    let disabled = s.credential(json!({"enabled": false})).await;
    let wrong = Credential { password: "xxxxxxxx".into(), ..right.clone() };
    let unknown = Credential { system_id: "nobody".into(), ..right.clone() };
    let rows = [
        (&right, CommandStatus::ROK),
        (&wrong, CommandStatus::RINVPASWD),
        (&unknown, CommandStatus::RINVSYSID),
        (&elsewhere, CommandStatus::RBINDFAIL),
        (&disabled, CommandStatus::RBINDFAIL),
        (&right, CommandStatus::ROK),
    ];
    for (credential, status) in rows {
        assert_eq!(s.refusal(credential).await, status, "{credential:?}");
    }
    let (first, _second) = (s.bind(&right, BindKind::Receiver).await, s.bind(&right, BindKind::Transmitter).await);
    assert_eq!(s.refusal(&right).await, CommandStatus::RALYBND);
    first.session.unbind().await;
    s.until("there is a place again", async || s.refusal(&right).await == CommandStatus::ROK).await;
}

/// Wrong passwords lock their address; the right one does not help any more, and is no failure either.
#[tokio::test]
async fn guessing_is_locked() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let wrong = Credential { password: "guess".into(), ..credential.clone() };
    let after = s.t.app.config.auth.lockout_after;
    for _ in 0..after {
        assert_eq!(s.refusal(&wrong).await, CommandStatus::RINVPASWD);
    }
    assert_eq!(s.refusal(&credential).await, CommandStatus::RBINDFAIL);
    assert_eq!(s.refusal(&wrong).await, CommandStatus::RBINDFAIL);
    s.t.app.clock.advance(Duration::from_secs(s.t.app.config.auth.lockout_first_s.into()));
    assert_eq!(s.refusal(&credential).await, CommandStatus::ROK);
    assert_eq!(s.refusal(&wrong).await, CommandStatus::RINVPASWD, "the count began anew");
}

#[tokio::test]
async fn a_closed_account_cannot_bind_and_a_suspended_one_cannot_send() {
    let s = Smpp::start().await;
    let (_, operator) = s.t.operator().await;
    let credential = s.credential(json!({})).await;
    let path = format!("/v1/admin/accounts/{}", s.account.id);
    s.t.call("PATCH", &path, &operator, Some(json!({"status": "suspended"}))).await;
    assert_eq!(s.t.app.account(s.account.no).await.unwrap().status, Status::Suspended);
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    assert_eq!(client.submit(&sm(&number(1), b"hello")).await, Err(CommandStatus(0x403)));
    s.t.call("PATCH", &path, &operator, Some(json!({"status": "closed"}))).await;
    assert_eq!(client.submit(&sm(&number(1), b"hello")).await, Err(CommandStatus::RSUBMITFAIL));
    assert_eq!(s.refusal(&credential).await, CommandStatus::RBINDFAIL);
}

#[tokio::test]
async fn each_kind_of_bind_does_its_own() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut receiver = s.bind(&credential, BindKind::Receiver).await;
    assert_eq!(receiver.submit(&sm(&number(1), b"hello")).await, Err(CommandStatus::RINVBNDSTS));
    let mut transmitter = s.bind(&credential, BindKind::Transmitter).await;
    let id = transmitter.submit(&sm(&number(1), b"hello")).await.unwrap();
    assert_eq!(receiver.receipt().await, (id, "DELIVRD".into()), "the receipt goes to the one that receives");
    assert!(transmitter.is_quiet().await);
    let (status, _) = transmitter.ask(&Pdu::<Vec<u8>>::EnquireLink).await;
    assert_eq!(status, CommandStatus::ROK);
}

#[tokio::test]
async fn whoever_does_not_bind_in_time_is_cut_off() {
    let s = Smpp::with(|c| c.smpp_server.bind_timeout_s = 1).await;
    let mut socket = tokio::net::TcpStream::connect(s.running.address.unwrap()).await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(super::PATIENCE, socket.read_to_end(&mut rest)).await;
    assert_eq!((closed.expect("it is closed").unwrap_or(0), rest.len()), (0, 0));
}

#[tokio::test]
async fn a_session_without_messages_is_unbound_if_the_settings_say_so() {
    let s = Smpp::with(|c| c.smpp_server.inactivity_s = 1).await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    assert!(matches!(client.next().await, Event::Closed { .. }));
}

/// An orderly end: what was handed in is answered, then the session is unbound.
#[tokio::test]
async fn the_end_of_the_server_is_told() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({})).await;
    let mut client = s.bind(&credential, BindKind::Transceiver).await;
    client.session.submit(&sm(&number(1), b"hello"), 7).unwrap();
    s.until("it is taken", async || {
        !s.t.get("/v1/messages", &s.key).await.json()["data"].as_array().unwrap().is_empty()
    })
    .await;
    s.t.app.shutdown.cancel();
    let mut answered = false;
    loop {
        match client.next().await {
            Event::SubmitResp { token: 7, result: Ok(_), .. } => answered = true,
            Event::Closed { reason, .. } => {
                assert_eq!(reason, carillon_smpp::CloseReason::PeerUnbound);
                break;
            }
            _ => {}
        }
    }
    assert!(answered);
}

#[tokio::test]
async fn with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let s = Smpp::with(|c| {
        c.smpp_server.tls_listen = "127.0.0.1:0".into();
        (c.smpp_server.tls_certificate, c.smpp_server.tls_key) = (chain, key);
    })
    .await;
    let credential = s.credential(json!({})).await;
    let roots = carillon_smpp::tls::client(certified.cert.pem().as_bytes(), None).unwrap();
    let mut config = s.config(&credential, BindKind::Transceiver);
    config.port = s.running.tls_address.unwrap().port();
    config.tls = Some(ClientTls { config: roots, server_name: Some("localhost".into()) });
    let mut client = Client::new(connect(&config).await.unwrap());
    let id = client.submit(&sm(&number(1), b"hello")).await.unwrap();
    assert_eq!(client.receipt().await.0, id);
    // Without TLS nobody gets in by that port.
    config.tls = None;
    config.connect_timeout = Duration::from_millis(500);
    assert!(connect(&config).await.is_err());
    assert!(i32::from(CREDENTIAL_NO_MAX) << 16 < 1 << 29, "the mark leaves room for what else stands there");
}
