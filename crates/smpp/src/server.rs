//! The server (SMSC): accepts connections, lets the caller judge each bind, and hands over a session.
//!
//! ```text
//! Listener::accept -> Incoming::bind_request -> BindRequest::accept -> (Session, Events)
//!                                               BindRequest::refuse
//! ```
//! [`Listener::accept`] only takes the connection; the rest belongs in a task of its own, so that a slow peer delays nobody.

use crate::command::{BindKind, CommandId};
use crate::encode::{EncodeError, bare};
use crate::frame::{Frame, Framer};
use crate::link::{Link, Role, Stream, refuse};
use crate::pdu::{Bind, BindResp, Pdu};
use crate::session::{Events, Limits, Session};
use crate::status::CommandStatus;
use crate::tlv::{self, Tag, Tlvs};
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls};

/// PDUs a peer may send before its bind; then it is cut off.
const UNBOUND_MAX: usize = 16;

/// What holds for all connections of a listener.
#[derive(Clone)]
pub struct ServerConfig {
    /// `None` for plain TCP; see [`crate::tls::server`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// From the connection to its bind, TLS included.
    pub bind_timeout: Duration,
    /// The name given in bind_resp.
    pub system_id: String,
    /// Octets of the largest PDU accepted before the bind; after it [`Limits::pdu_max`] holds.
    pub pdu_max: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            bind_timeout: Duration::from_secs(30),
            system_id: "SMSC".to_owned(),
            pdu_max: crate::frame::PDU_MAX_DEFAULT,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("tls", &self.tls.is_some())
            .field("bind_timeout", &self.bind_timeout)
            .field("system_id", &self.system_id)
            .finish_non_exhaustive()
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    config: Arc<ServerConfig>,
}

impl Listener {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn bind(address: SocketAddr, config: ServerConfig) -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(address).await?, config: Arc::new(config) })
    }

    /// The address listened on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection. Cancel safe.
    ///
    /// # Errors
    /// Those of the operating system; too many open files among them, so wait a moment before trying again.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let (tcp, peer) = self.tcp.accept().await?;
        Ok(Incoming { tcp, peer, config: Arc::clone(&self.config) })
    }
}

/// Why a connection has not come to a bind, or not to a session.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No bind within the bind timeout.
    #[error("no bind in time")]
    Timeout,
    /// The peer closed, unbound, sent too much else, or what cannot be read.
    #[error("the peer ended the connection before a bind")]
    Ended,
    /// The bind itself was malformed; it has been answered with this status.
    #[error("the bind is malformed: {0}")]
    Malformed(CommandStatus),
    /// Our `system_id` cannot be put on the wire.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

/// A connection that has not bound.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
}

impl Incoming {
    /// Where it comes from.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Waits for the bind. What else is asked meanwhile is refused with RINVBNDSTS.
    ///
    /// # Errors
    /// [`BindError`]; the connection is closed then.
    pub async fn bind_request(self) -> Result<BindRequest, BindError> {
        let patience = self.config.bind_timeout;
        tokio::time::timeout(patience, self.await_bind()).await.map_err(|_| BindError::Timeout)?
    }

    async fn await_bind(self) -> Result<BindRequest, BindError> {
        self.tcp.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.config.tls {
            None => Box::new(self.tcp),
            Some(tls) => Box::new(TlsAcceptor::from(Arc::clone(tls)).accept(self.tcp).await?),
        };
        let mut framer = Framer::new(self.config.pdu_max);
        let (mut frames, mut out, mut seen) = (Vec::new(), BytesMut::new(), 0);
        loop {
            if stream.read_buf(framer.buffer()).await? == 0 {
                return Err(BindError::Ended);
            }
            framer.drain(&mut frames);
            seen += frames.len();
            let mut received = std::mem::take(&mut frames).into_iter();
            let verdict = before_bind(&mut received, &mut out);
            stream.write_all_buf(&mut out).await?;
            stream.flush().await?;
            if let Some((kind, sequence, bind)) = verdict? {
                let (peer, config) = (self.peer, self.config);
                return Ok(BindRequest {
                    kind,
                    bind,
                    peer,
                    sequence,
                    stream,
                    framer,
                    early: received.collect(),
                    config,
                });
            }
            if seen > UNBOUND_MAX {
                return Err(BindError::Ended);
            }
        }
    }
}

/// Handles frames until one is a bind.
fn before_bind(
    frames: &mut impl Iterator<Item = Frame>,
    out: &mut BytesMut,
) -> Result<Option<(BindKind, u32, Bind)>, BindError> {
    for frame in frames {
        let (header, body) = match frame {
            Frame::Pdu(header, body) => (header, body),
            Frame::Oversized(header) | Frame::Garbage(header) => {
                bare(out, CommandId::GENERIC_NACK, CommandStatus::RINVCMDLEN, header.sequence);
                return Err(BindError::Ended);
            }
        };
        if header.command.is_response() {
            continue;
        }
        match Pdu::decode(header.command, &body) {
            Ok(Pdu::Bind(kind, bind)) => return Ok(Some((kind, header.sequence, bind))),
            Ok(Pdu::EnquireLink) => {
                bare(out, CommandId::ENQUIRE_LINK_RESP, CommandStatus::ROK, header.sequence);
            }
            Ok(Pdu::Unbind) => {
                bare(out, CommandId::UNBIND_RESP, CommandStatus::ROK, header.sequence);
                return Err(BindError::Ended);
            }
            Ok(_) => refuse(out, &header, CommandStatus::RINVBNDSTS),
            Err(error) => {
                refuse(out, &header, error.status);
                let binds = [CommandId::BIND_TRANSCEIVER, CommandId::BIND_TRANSMITTER, CommandId::BIND_RECEIVER];
                if binds.contains(&header.command) {
                    return Err(BindError::Malformed(error.status));
                }
            }
        }
    }
    Ok(None)
}

/// A bind waiting for the caller's verdict.
pub struct BindRequest {
    /// What is asked for.
    pub kind: BindKind,
    /// Who asks, with which password.
    pub bind: Bind,
    /// Where it comes from.
    pub peer: SocketAddr,
    sequence: u32,
    stream: Box<dyn Stream>,
    framer: Framer,
    early: Vec<Frame>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for BindRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindRequest")
            .field("kind", &self.kind)
            .field("bind", &self.bind)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl BindRequest {
    /// Answers yes and starts the session.
    ///
    /// # Errors
    /// [`BindError::Invalid`] when our `system_id` does not fit, [`BindError::Io`] when the connection failed.
    pub async fn accept(mut self, limits: Limits) -> Result<(Session, Events), BindError> {
        let mut tlvs = Vec::new();
        // A 3.3 client does not know optional parameters and must not be sent any (§3.4).
        if self.bind.interface_version >= crate::values::VERSION_3_4 {
            tlv::push(&mut tlvs, Tag::SC_INTERFACE_VERSION, &[crate::values::VERSION_3_4]);
        }
        let resp = BindResp { system_id: self.config.system_id.as_bytes(), tlvs: Tlvs(&tlvs[..]) };
        let mut out = BytesMut::new();
        Pdu::BindResp(self.kind, resp).encode(CommandStatus::ROK, self.sequence, &mut out)?;
        self.stream.write_all_buf(&mut out).await?;
        self.stream.flush().await?;
        self.framer.set_pdu_max(limits.pdu_max);
        let (session, events) = Session::new(limits, 1);
        let shared = Arc::clone(&session.shared);
        let link = Link { shared, role: Role::Server(self.kind), framer: self.framer, early: self.early };
        tokio::spawn(link.run(self.stream));
        Ok((session, events))
    }

    /// Answers no and closes the connection.
    ///
    /// # Errors
    /// When the connection failed first, which changes nothing.
    pub async fn refuse(mut self, status: CommandStatus) -> io::Result<()> {
        let mut out = BytesMut::new();
        bare(&mut out, self.kind.command().response(), status, self.sequence);
        self.stream.write_all_buf(&mut out).await?;
        self.stream.shutdown().await
    }
}
