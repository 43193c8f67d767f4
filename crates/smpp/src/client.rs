//! The client (ESME): connects, binds, and hands over a session. Reconnecting is the caller's, with [`crate::backoff::Backoff`].

use crate::command::{BindKind, CommandId};
use crate::encode::{EncodeError, bare};
use crate::frame::{Frame, Framer};
use crate::link::{Link, Role, Stream, refuse};
use crate::pdu::{Bind, Pdu};
use crate::session::{Events, Limits, Session};
use crate::status::CommandStatus;
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls;

/// Frames for the bound session that may come before bind_resp; more are not kept (a peer that is not bound has nothing to say).
const EARLY_MAX: usize = 64;

/// How to encrypt a connection.
#[derive(Clone)]
pub struct ClientTls {
    /// Roots of trust and, where the carrier wants one, our certificate: see [`crate::tls::client`].
    pub config: Arc<rustls::ClientConfig>,
    /// The name the carrier's certificate must bear; `None` for the host connected to.
    pub server_name: Option<String>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Where to connect and as whom.
#[derive(Clone)]
pub struct ClientConfig {
    /// Name or address.
    pub host: String,
    /// 2775 by convention, 3550 with TLS.
    pub port: u16,
    /// `None` for plain TCP.
    pub tls: Option<ClientTls>,
    /// Given by the carrier.
    pub system_id: String,
    /// Given by the carrier.
    pub password: String,
    /// Given by the carrier; mostly empty.
    pub system_type: String,
    /// Which way the session carries messages.
    pub bind: BindKind,
    /// See [`crate::values::VERSION_3_4`].
    pub interface_version: u8,
    /// The addresses served: type of number.
    pub addr_ton: u8,
    /// The addresses served: numbering plan.
    pub addr_npi: u8,
    /// The addresses served: a pattern; mostly empty.
    pub address_range: String,
    /// From the first SYN to bind_resp.
    pub connect_timeout: Duration,
    /// Bounds of the session.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 2775,
            tls: None,
            system_id: String::new(),
            password: String::new(),
            system_type: String::new(),
            bind: BindKind::Transceiver,
            interface_version: crate::values::VERSION_3_4,
            addr_ton: 0,
            addr_npi: 0,
            address_range: String::new(),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("system_id", &self.system_id)
            .field("bind", &self.bind)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection could not be made, or failed before bind_resp.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// No bind_resp within the connect timeout.
    #[error("no answer to the bind in time")]
    Timeout,
    /// The carrier's name cannot be one a certificate bears.
    #[error("not a server name: {0}")]
    ServerName(String),
    /// The carrier refused the bind.
    #[error("the bind was refused: {0}")]
    Refused(CommandStatus),
    /// The carrier closed, unbound, or sent what cannot be read instead of answering the bind.
    #[error("the peer ended the connection during the bind")]
    Ended,
    /// A credential cannot be put on the wire.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

/// Connects and binds.
///
/// # Errors
/// [`ConnectError`]; the connection is closed then.
pub async fn connect(config: &ClientConfig) -> Result<(Session, Events), ConnectError> {
    tokio::time::timeout(config.connect_timeout, connect_and_bind(config)).await.map_err(|_| ConnectError::Timeout)?
}

async fn connect_and_bind(config: &ClientConfig) -> Result<(Session, Events), ConnectError> {
    let tcp = TcpStream::connect((config.host.as_str(), config.port)).await?;
    // Small PDUs both ways: with Nagle's algorithm each waits for the peer's delayed acknowledgement.
    tcp.set_nodelay(true)?;
    let mut stream: Box<dyn Stream> = match &config.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let name = tls.server_name.clone().unwrap_or_else(|| config.host.clone());
            let server_name = rustls::pki_types::ServerName::try_from(name.clone());
            let server_name = server_name.map_err(|_| ConnectError::ServerName(name))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
            Box::new(connector.connect(server_name, tcp).await?)
        }
    };
    let (framer, early) = bind(config, &mut stream).await?;
    let (session, events) = Session::new(config.limits.clone(), 2);
    let link = Link { shared: Arc::clone(&session.shared), role: Role::Client, framer, early };
    tokio::spawn(link.run(stream));
    Ok((session, events))
}

/// Binds with sequence number 1. Returns the framer with what it still holds, and the frames that are for the bound session: some carriers send
/// deliver_sm before bind_resp, and a receipt is not to be lost over that.
async fn bind(config: &ClientConfig, stream: &mut Box<dyn Stream>) -> Result<(Framer, Vec<Frame>), ConnectError> {
    let request = Bind {
        system_id: config.system_id.as_bytes(),
        password: config.password.as_bytes(),
        system_type: config.system_type.as_bytes(),
        interface_version: config.interface_version,
        addr_ton: config.addr_ton,
        addr_npi: config.addr_npi,
        address_range: config.address_range.as_bytes(),
    };
    let mut out = BytesMut::new();
    Pdu::Bind(config.bind, request).encode(CommandStatus::ROK, 1, &mut out)?;
    let mut framer = Framer::new(config.limits.pdu_max);
    let (mut frames, mut early, mut bound) = (Vec::new(), Vec::new(), false);
    while !bound {
        stream.write_all_buf(&mut out).await?;
        stream.flush().await?;
        if stream.read_buf(framer.buffer()).await? == 0 {
            return Err(ConnectError::Ended);
        }
        framer.drain(&mut frames);
        for frame in frames.drain(..) {
            match frame {
                frame if bound => early.push(frame),
                Frame::Pdu(header, _) if is_bind_answer(header.command) => {
                    if !header.status.is_ok() || header.command == CommandId::GENERIC_NACK {
                        return Err(ConnectError::Refused(header.status));
                    }
                    bound = true;
                }
                Frame::Pdu(header, _) if header.command == CommandId::ENQUIRE_LINK => {
                    bare(&mut out, CommandId::ENQUIRE_LINK_RESP, CommandStatus::ROK, header.sequence);
                }
                Frame::Pdu(header, _) if header.command == CommandId::UNBIND => return Err(ConnectError::Ended),
                Frame::Pdu(header, _) if !header.command.is_response() && early.len() >= EARLY_MAX => {
                    refuse(&mut out, &header, CommandStatus::RINVBNDSTS);
                }
                Frame::Garbage(_) => return Err(ConnectError::Ended),
                frame => early.push(frame),
            }
        }
    }
    stream.write_all_buf(&mut out).await?;
    Ok((framer, early))
}

fn is_bind_answer(command: CommandId) -> bool {
    [
        CommandId::BIND_TRANSCEIVER_RESP,
        CommandId::BIND_TRANSMITTER_RESP,
        CommandId::BIND_RECEIVER_RESP,
        CommandId::GENERIC_NACK,
    ]
    .contains(&command)
}
