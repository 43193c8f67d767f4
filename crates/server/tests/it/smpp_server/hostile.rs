//! Octets that are no SMPP, or nearly: nothing panics, and others are served.

use carillon_smpp::{BindKind, CommandStatus, Pdu};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Credential, Smpp, number, sm};

/// Octets of a bind with the right password.
fn bind(credential: &Credential) -> bytes::BytesMut {
    let bind = carillon_smpp::pdu::Bind {
        system_id: credential.system_id.as_bytes(),
        password: credential.password.as_bytes(),
        interface_version: 0x34,
        ..Default::default()
    };
    let mut out = bytes::BytesMut::new();
    Pdu::Bind(BindKind::Transceiver, bind).encode(CommandStatus::ROK, 1, &mut out).unwrap();
    out
}

/// Sends octets and reads until the server closes, or has answered all it will.
async fn throw(s: &Smpp, octets: &[u8]) {
    let mut socket = TcpStream::connect(s.running.address.unwrap()).await.unwrap();
    // The server may have closed before it was all sent, as it should.
    let _ = socket.write_all(octets).await;
    let _ = socket.shutdown().await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(super::PATIENCE, socket.read_to_end(&mut rest)).await.expect("it closes");
}

#[tokio::test]
async fn noise_before_and_after_the_bind() {
    let s = Smpp::start().await;
    let credential = s.credential(json!({"max_binds": 32})).await;
    let mut random = StdRng::seed_from_u64(7);
    let to = number(1);
    let mut valid = bytes::BytesMut::new();
    for (sequence, pdu) in [
        Pdu::SubmitSm(sm(&to, b"hello")),
        Pdu::SubmitMulti(carillon_smpp::pdu::SubmitMulti {
            destinations: vec![carillon_smpp::pdu::Destination::Address(sm(&to, b"").destination)],
            message: sm("", b"many"),
        }),
        Pdu::QuerySm(carillon_smpp::pdu::QuerySm { message_id: b"x", ..Default::default() }),
        Pdu::CancelSm(carillon_smpp::pdu::CancelSm { message_id: b"x", ..Default::default() }),
        Pdu::EnquireLink,
        Pdu::DeliverSm(sm(&to, b"wrong way")),
        Pdu::GenericNack,
        Pdu::UnbindResp,
    ]
    .into_iter()
    .enumerate()
    {
        pdu.encode(CommandStatus::ROK, sequence as u32 + 2, &mut valid).unwrap();
    }
    for round in 0..150 {
        let mut octets = if round % 3 == 0 { bytes::BytesMut::new() } else { bind(&credential) };
        match round % 3 {
            0 => octets.extend((0..random.random_range(0..400)).map(|_| random.random::<u8>())),
            _ => {
                let mut changed = valid.to_vec();
                for _ in 0..random.random_range(1..8) {
                    let at = random.random_range(0..changed.len());
                    changed[at] = random.random();
                }
                if round % 3 == 2 {
                    changed.truncate(random.random_range(0..changed.len()));
                }
                octets.extend_from_slice(&changed);
            }
        }
        throw(&s, &octets).await;
    }
    // A claim of more than anybody sends, and one of less than a header.
    for length in [u32::MAX, 17 * 1024, 15, 0] {
        let mut octets = bind(&credential);
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(&[0; 12]);
        throw(&s, &octets).await;
    }
    s.until("their places are free", async || {
        s.t.get(&format!("/v1/smpp-credentials/{}", credential.id), &s.key).await.json()["bound"] == 0
    })
    .await;
    let mut client = s.bind(&credential, BindKind::Transmitter).await;
    client.submit(&sm(&to, b"still here")).await.unwrap();
}
