//! What the codec and a session cost: `cargo run --release -p carillon-smpp --example codec_cost`.
//!
//! A round is what one message takes: submit_sm, its response, the receipt by deliver_sm, its response, each encoded and decoded once, so twice
//! what one side pays. The loopback figure is both sides, sockets and tasks included.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for a person to read")]

use bytes::BytesMut;
use carillon_smpp::encode::Header;
use carillon_smpp::frame::{Frame, Framer};
use carillon_smpp::pdu::MessageResp;
use carillon_smpp::receipt::Receipt;
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::{
    Address, ClientConfig, CommandStatus, DeliverSm, Event, Limits, Listener, Pdu, ServerConfig, SubmitSm, connect,
};
use std::hint::black_box;
use tokio::time::Instant;

const TEXT: &[u8] = &[b'a'; 120];
const RECEIPT: &[u8] =
    b"id:01234567 sub:001 dlvrd:001 submit date:2611210829 done date:2611210830 stat:DELIVRD err:000 text:";

fn submit() -> SubmitSm<&'static [u8]> {
    SubmitSm {
        source: Address { ton: 5, npi: 0, addr: b"Carillon" },
        destination: Address { ton: 1, npi: 1, addr: b"4915112345678" },
        registered_delivery: 1,
        short_message: TEXT,
        ..SubmitSm::default()
    }
}

fn receipt() -> DeliverSm<&'static [u8]> {
    let tlvs = Tlvs(&b"\0\x1e\0\x0901234567\0\x04\x27\0\x01\x02"[..]);
    DeliverSm { esm_class: 4, short_message: RECEIPT, tlvs, ..submit() }
}

fn codec_round(rounds: u32) {
    let ok = CommandStatus::ROK;
    let resp = MessageResp { message_id: &b"01234567"[..], tlvs: Tlvs(&b""[..]) };
    let pdus = [
        Pdu::SubmitSm(submit()),
        Pdu::SubmitSmResp(resp),
        Pdu::DeliverSm(receipt()),
        Pdu::DeliverSmResp(MessageResp::default()),
    ];
    let (mut framer, mut frames) = (Framer::new(65_536), Vec::new());
    let mut wire = BytesMut::new();
    let start = Instant::now();
    for round in 0..rounds {
        for pdu in &pdus {
            pdu.encode(ok, round + 1, &mut wire).unwrap();
        }
        if round % 32 == 31 {
            framer.buffer().extend_from_slice(&wire);
            wire.clear();
            framer.drain(&mut frames);
            for frame in frames.drain(..) {
                let Frame::Pdu(Header { command, .. }, body) = frame else {
                    unreachable!("only whole PDUs were written")
                };
                let pdu = Pdu::decode(command, &body).unwrap();
                if let Pdu::DeliverSm(sm) = &pdu {
                    black_box(Receipt::of(sm));
                }
                black_box(pdu);
            }
        }
    }
    println!(
        "codec: {} ns a round (4 PDUs written and read, 1 receipt parsed)",
        start.elapsed().as_nanos() / u128::from(rounds)
    );
}

async fn loopback(messages: u64) {
    let limits = Limits { window: 1000, ..Limits::default() };
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), ServerConfig::default()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server_limits = limits.clone();
    let server = tokio::spawn(async move {
        let request = listener.accept().await.unwrap().bind_request().await.unwrap();
        let (session, mut events) = request.accept(server_limits).await.unwrap();
        let (mut batch, mut owed) = (Vec::new(), 0_u64);
        while events.recv_many(&mut batch).await {
            for event in batch.drain(..) {
                if let Event::Submit { to, sm } = event {
                    black_box(sm);
                    session.respond_submit(to, Ok(b"01234567")).unwrap();
                    owed += 1;
                }
            }
            while owed > 0 && session.deliver(&receipt(), 0).is_ok() {
                owed -= 1;
            }
        }
    });
    let (session, mut events) = connect(&ClientConfig { port, limits, ..ClientConfig::default() }).await.unwrap();
    let (mut sent, mut receipts, mut batch) = (0, 0, Vec::new());
    let start = Instant::now();
    while receipts < messages {
        while sent < messages && session.submit(&submit(), sent).is_ok() {
            sent += 1;
        }
        events.recv_many(&mut batch).await;
        for event in batch.drain(..) {
            if let Event::Deliver { to, sm } = event {
                black_box(Receipt::of(&sm));
                session.respond_deliver(to, CommandStatus::ROK);
                receipts += 1;
            }
        }
    }
    let wall = start.elapsed();
    println!("loopback, one thread: {} ns a message, both sides and sockets", wall.as_nanos() / u128::from(messages));
    session.unbind().await;
    server.await.unwrap();
}

fn main() {
    codec_round(100_000);
    codec_round(1_000_000);
    // One thread, so that wall time is CPU time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(loopback(500_000));
}
