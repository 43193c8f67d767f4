//! The far end of a session in tests: our own server or client, or a raw socket that says what it likes.

use bytes::{Bytes, BytesMut};
use carillon_smpp::encode::Header;
use carillon_smpp::frame::{Frame, Framer};
use carillon_smpp::{
    ClientConfig, CommandId, CommandStatus, Event, Events, Limits, Listener, Pdu, ServerConfig, Session, connect,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Any free port of this machine.
pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client's configuration for a server at this address.
pub(crate) fn config(address: SocketAddr, limits: Limits) -> ClientConfig {
    ClientConfig {
        host: address.ip().to_string(),
        port: address.port(),
        system_id: "user".to_owned(),
        password: "secret".to_owned(),
        limits,
        ..ClientConfig::default()
    }
}

/// Bounds under which a test that waits for a timeout waits for a moment.
pub(crate) fn impatient() -> Limits {
    Limits { response_timeout: Duration::from_millis(40), enquire_link: Duration::from_secs(60), ..Limits::default() }
}

/// A session and what has happened on it.
pub(crate) struct End {
    pub(crate) session: Session,
    events: Events,
    waiting: std::collections::VecDeque<Event>,
}

impl End {
    pub(crate) fn new((session, events): (Session, Events)) -> Self {
        Self { session, events, waiting: std::collections::VecDeque::new() }
    }

    /// The next event; panics after [`Event::Closed`].
    pub(crate) async fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            let mut batch = Vec::new();
            assert!(self.events.recv_many(&mut batch).await, "the session is over");
            self.waiting.extend(batch);
        }
        self.waiting.pop_front().unwrap()
    }
}

/// A client bound to our own server.
pub(crate) async fn pair(client: Limits, server: Limits) -> (End, End) {
    let listener = Listener::bind(anywhere(), ServerConfig::default()).await.unwrap();
    let config = config(listener.local_addr().unwrap(), client);
    let serving = async {
        let request = listener.accept().await.unwrap().bind_request().await.unwrap();
        assert_eq!((&request.bind.system_id[..], &request.bind.password[..]), (&b"user"[..], &b"secret"[..]));
        request.accept(server).await.unwrap()
    };
    let (client, server) = tokio::join!(connect(&config), serving);
    (End::new(client.unwrap()), End::new(server))
}

/// A socket that speaks PDUs and has no manners of its own.
pub(crate) struct Raw {
    tcp: TcpStream,
    framer: Framer,
    frames: std::collections::VecDeque<Frame>,
}

impl Raw {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { tcp, framer: Framer::new(1 << 20), frames: std::collections::VecDeque::new() }
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.tcp.write_all(octets).await.unwrap();
    }

    pub(crate) async fn send_pdu(&mut self, pdu: &Pdu<&[u8]>, status: CommandStatus, sequence: u32) {
        let mut out = BytesMut::new();
        pdu.encode(status, sequence, &mut out).unwrap();
        self.send(&out).await;
    }

    /// The next PDU, or `None` when the peer has closed.
    pub(crate) async fn next(&mut self) -> Option<(Header, Bytes)> {
        loop {
            match self.frames.pop_front() {
                Some(Frame::Pdu(header, body)) => return Some((header, body)),
                Some(other) => panic!("{other:?}"),
                None => {
                    if self.tcp.read_buf(self.framer.buffer()).await.unwrap_or(0) == 0 {
                        return None;
                    }
                    let mut frames = Vec::new();
                    self.framer.drain(&mut frames);
                    self.frames.extend(frames);
                }
            }
        }
    }

    /// The next PDU's operation, status and sequence number.
    pub(crate) async fn next_header(&mut self) -> Option<(CommandId, CommandStatus, u32)> {
        self.next().await.map(|(header, _)| (header.command, header.status, header.sequence))
    }
}

/// A client bound to a raw server, which has answered the bind.
pub(crate) async fn client_and_raw(limits: Limits) -> (End, Raw) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let config = config(listener.local_addr().unwrap(), limits);
    let serving = async {
        let mut raw = Raw::new(listener.accept().await.unwrap().0);
        let (header, _) = raw.next().await.unwrap();
        assert_eq!(header.command, CommandId::BIND_TRANSCEIVER);
        raw.send(&[0, 0, 0, 17, 0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0]).await;
        raw
    };
    let (client, raw) = tokio::join!(connect(&config), serving);
    (End::new(client.unwrap()), raw)
}

/// A raw client that has bound to our server with this kind of bind request.
pub(crate) async fn raw_and_server(bind: CommandId, limits: Limits) -> (Raw, End) {
    let listener = Listener::bind(anywhere(), ServerConfig::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let binding = async {
        let mut raw = Raw::new(TcpStream::connect(address).await.unwrap());
        let mut request = vec![0, 0, 0, 23];
        request.extend(bind.0.to_be_bytes());
        request.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\x34\0\0\0");
        raw.send(&request).await;
        assert_eq!(raw.next_header().await, Some((bind.response(), CommandStatus::ROK, 1)));
        raw
    };
    let serving =
        async { listener.accept().await.unwrap().bind_request().await.unwrap().accept(limits).await.unwrap() };
    let (raw, server) = tokio::join!(binding, serving);
    (raw, End::new(server))
}
