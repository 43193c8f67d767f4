//! SMPP 3.4 (5.0 tolerant) sessions over a codec; knows nothing of Carillon.
//!
//! From the wire upwards:
//! - [`frame`] cuts a stream into PDUs; [`pdu`] says what they are, [`decode`] and [`encode`] turn them from and into octets, with
//!   [`command`], [`status`], [`tlv`] and [`values`] for the numbers;
//! - [`client`] and [`server`] make a [`Session`] and its [`Events`]: windows, timeouts, enquire_link, one task per connection;
//! - [`receipt`] reads delivery receipts in their dialects, [`message_id`] their ids, [`content`] builds long messages, [`time`] writes and reads
//!   times, [`backoff`] says when to connect again.

pub mod backoff;
pub mod client;
pub mod command;
pub mod content;
pub mod decode;
pub mod encode;
pub mod frame;
mod link;
pub mod message_id;
pub mod pdu;
pub mod receipt;
pub mod server;
pub mod session;
pub mod status;
pub mod time;
pub mod tls;
pub mod tlv;
pub mod values;
mod window;

pub use backoff::Backoff;
pub use client::{ClientConfig, ClientTls, ConnectError, connect};
pub use command::{BindKind, CommandId};
pub use pdu::{Address, DeliverSm, Pdu, ShortMessage, SubmitSm};
pub use receipt::Receipt;
pub use server::{BindError, BindRequest, Incoming, Listener, ServerConfig};
pub use session::{CloseReason, Event, Events, Limits, ReplyTo, SendError, Session};
pub use status::CommandStatus;
