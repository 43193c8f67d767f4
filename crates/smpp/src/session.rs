//! A bound session as its user sees it: [`Session`] to send, [`Events`] to receive, both in batches and without a task or an
//! allocation per message. The task that owns the socket is in `link`.

use crate::command::CommandId;
use crate::encode::{EncodeError, bare, frame};
use crate::pdu::{AlertNotification, DeliverSm, MessageResp, Pdu, SubmitSm};
use crate::status::CommandStatus;
use crate::window::Window;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The bounds of one session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests that may be unanswered at once.
    pub window: usize,
    /// How long an answer may take. Checked at quarters of it, so that up to a quarter may come on top.
    pub response_timeout: Duration,
    /// After this long without an octet from the peer, enquire_link is sent.
    pub enquire_link: Duration,
    /// Events held for a user that does not fetch them, before reading from the socket stops.
    pub inbox: usize,
    /// Octets of the largest PDU accepted.
    pub pdu_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 10,
            response_timeout: Duration::from_secs(30),
            enquire_link: Duration::from_secs(30),
            inbox: 8192,
            pdu_max: crate::frame::PDU_MAX_DEFAULT,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// [`Session::unbind`] or [`Session::close`], or [`Events`] was dropped.
    #[error("closed from this side")]
    Local,
    /// The peer sent unbind.
    #[error("the peer unbound")]
    PeerUnbound,
    /// The peer closed the connection without unbind.
    #[error("the peer closed the connection")]
    Eof,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(std::io::ErrorKind),
    /// The peer did not answer enquire_link.
    #[error("the peer did not answer enquire_link")]
    Silent,
    /// The peer sent a command_length that cannot be one, so that its PDUs can no longer be told apart.
    #[error("the peer's stream cannot be read: command_length {0}")]
    Garbage(u32),
}

/// Names a request of the peer's for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The request's sequence number.
    pub seq: u32,
    /// The request's operation.
    pub command: CommandId,
}

/// What happened on a session.
#[derive(Debug)]
pub enum Event {
    /// submit_sm was answered: the message id, or the status that refuses it.
    SubmitResp {
        /// As given to [`Session::submit`].
        token: u64,
        /// The id may be empty where the peer sent none.
        result: Result<Bytes, CommandStatus>,
        /// Whether [`Event::NoAnswer`] was given for it before.
        late: bool,
    },
    /// deliver_sm was answered.
    DeliverResp {
        /// As given to [`Session::deliver`].
        token: u64,
        /// What the peer made of it.
        status: CommandStatus,
        /// Whether [`Event::NoAnswer`] was given for it before.
        late: bool,
    },
    /// Any other request was answered.
    Response {
        /// As given to [`Session::request`].
        token: u64,
        /// What the peer made of it.
        status: CommandStatus,
        /// The response itself; [`Pdu::GenericNack`] where that was the answer.
        pdu: Pdu,
        /// Whether [`Event::NoAnswer`] was given for it before.
        late: bool,
    },
    /// No answer in time, or one that cannot be read: whether the peer took the request is unknown. Its slot is free again.
    NoAnswer {
        /// As given with the request.
        token: u64,
    },
    /// Client: a message or receipt, by deliver_sm or data_sm, to be acknowledged with [`Session::respond_deliver`] once it is safe.
    Deliver {
        /// Ties the response to it.
        to: ReplyTo,
        /// The message.
        sm: DeliverSm,
    },
    /// Server: a message to be answered with [`Session::respond_submit`].
    Submit {
        /// Ties the response to it.
        to: ReplyTo,
        /// The message.
        sm: SubmitSm,
    },
    /// Server: data_sm, submit_multi, query_sm, cancel_sm or replace_sm, to be answered with [`Session::respond`] or [`Session::refuse`].
    Request {
        /// Ties the response to it.
        to: ReplyTo,
        /// The request.
        pdu: Pdu,
    },
    /// Client: a handset has become reachable.
    Alert(AlertNotification),
    /// A generic_nack that names no request of ours: some request was not understood.
    Nack {
        /// As it came, mostly 0.
        seq: u32,
        /// What the peer did not like.
        status: CommandStatus,
    },
    /// The session is over; always the last event.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Tokens of the requests whose outcome is unknown, oldest first.
        unanswered: Vec<u64>,
    },
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As many requests as allowed are unanswered; a slot is free when an answer, [`Event::NoAnswer`] or the end comes.
    #[error("the window is full")]
    Full,
    /// The session is over or unbinding.
    #[error("the session is closed")]
    Closed,
    /// A field cannot be put on the wire.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// unbind is sent; the instant is when waiting for its answer ends.
    Unbinding(Instant),
    /// The user wants the end now.
    Closing,
    Closed,
}

/// What the user's handles and the link's task share for sending.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) phase: Phase,
    /// Whole PDUs the task has not taken yet.
    pub(crate) buffer: BytesMut,
    pub(crate) window: Window,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) events: Vec<Event>,
    pub(crate) closed: bool,
}

pub(crate) struct Shared {
    outbound: Mutex<Outbound>,
    inbox: Mutex<Inbox>,
    /// Wakes the link: there is something to write, the inbox has room again, or the end is wanted.
    pub(crate) wake: Notify,
    /// Wakes the user: there are events.
    pub(crate) arrived: Notify,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) limits: Limits,
}

impl Shared {
    /// A panic while the lock was held leaves at worst a cut PDU, which the peer refuses: not worth a second panic.
    pub(crate) fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side of a bound session; clones are cheap and share it. Nothing here waits for the network: PDUs are encoded into a
/// buffer that the link writes in as few calls as it can.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("free_slots", &self.free_slots()).finish_non_exhaustive()
    }
}

impl Session {
    /// The two ends of a session whose bind has used the sequence numbers below `first`.
    pub(crate) fn new(limits: Limits, first: u32) -> (Self, Events) {
        let outbound = Outbound {
            phase: Phase::Open,
            buffer: BytesMut::new(),
            window: Window::new(limits.window, limits.response_timeout, first),
        };
        let shared = Arc::new(Shared {
            outbound: Mutex::new(outbound),
            inbox: Mutex::default(),
            wake: Notify::new(),
            arrived: Notify::new(),
            closed: watch::Sender::new(false),
            limits,
        });
        (Self { shared: Arc::clone(&shared) }, Events { shared })
    }

    /// Requests that can be sent now.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.shared.outbound().window.free()
    }

    /// Whether requests can still be sent, slots permitting.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.outbound().phase == Phase::Open
    }

    /// Client: sends submit_sm. [`Event::SubmitResp`], [`Event::NoAnswer`] or [`Event::Closed`] will name the token, exactly one of them
    /// unless a late answer follows [`Event::NoAnswer`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn submit<B: AsRef<[u8]>>(&self, sm: &SubmitSm<B>, token: u64) -> Result<(), SendError> {
        self.send(CommandId::SUBMIT_SM, token, |out| sm.encode(out))
    }

    /// Server: sends deliver_sm. [`Event::DeliverResp`], [`Event::NoAnswer`] or [`Event::Closed`] will name the token.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn deliver<B: AsRef<[u8]>>(&self, sm: &DeliverSm<B>, token: u64) -> Result<(), SendError> {
        self.send(CommandId::DELIVER_SM, token, |out| sm.encode(out))
    }

    /// Sends any request that has a response: data_sm, query_sm, cancel_sm, replace_sm, submit_multi. [`Event::Response`],
    /// [`Event::NoAnswer`] or [`Event::Closed`] will name the token.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn request<B: AsRef<[u8]>>(&self, pdu: &Pdu<B>, token: u64) -> Result<(), SendError> {
        self.send(pdu.command(), token, |out| pdu.encode_body(out))
    }

    fn send(
        &self,
        command: CommandId,
        token: u64,
        body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), SendError> {
        let now = Instant::now();
        let mut outbound = self.shared.outbound();
        if outbound.phase != Phase::Open {
            return Err(SendError::Closed);
        }
        if outbound.window.free() == 0 {
            return Err(SendError::Full);
        }
        let sequence = outbound.window.sequence();
        self.write(&mut outbound, |out| frame(out, command, CommandStatus::ROK, sequence, body))?;
        outbound.window.open(sequence, command, token, now);
        Ok(())
    }

    /// Lets `encode` append to the shared buffer, and wakes the link if it had nothing to write.
    fn write<E>(&self, outbound: &mut Outbound, encode: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<(), E> {
        let idle = outbound.buffer.is_empty();
        encode(&mut outbound.buffer)?;
        if idle {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Client: answers [`Event::Deliver`]. Does nothing once the session is over: the peer will send the message again.
    pub fn respond_deliver(&self, to: ReplyTo, status: CommandStatus) {
        self.answer(|out| {
            respond_empty(out, to, status);
            Ok(())
        })
        .expect("an empty id fits");
    }

    /// Server: answers [`Event::Submit`] with the message id, or with the status that refuses it.
    ///
    /// # Errors
    /// [`EncodeError`] when the id does not fit; nothing was sent then.
    pub fn respond_submit(&self, to: ReplyTo, result: Result<&[u8], CommandStatus>) -> Result<(), EncodeError> {
        match result {
            Ok(message_id) => {
                let resp = MessageResp { message_id, ..MessageResp::default() };
                self.respond(to, CommandStatus::ROK, &Pdu::SubmitSmResp(resp))
            }
            Err(status) => {
                self.refuse(to, status);
                Ok(())
            }
        }
    }

    /// Answers a request with a response that has content.
    ///
    /// # Errors
    /// [`EncodeError`] when a field does not fit; nothing was sent then.
    pub fn respond<B: AsRef<[u8]>>(
        &self,
        to: ReplyTo,
        status: CommandStatus,
        response: &Pdu<B>,
    ) -> Result<(), EncodeError> {
        self.answer(|out| response.encode(status, to.seq, out))
    }

    /// Answers a request with a status and no content, as the specification has it for refusals.
    pub fn refuse(&self, to: ReplyTo, status: CommandStatus) {
        self.respond_deliver(to, status);
    }

    fn answer(&self, encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        let mut outbound = self.shared.outbound();
        match outbound.phase {
            Phase::Closed => Ok(()),
            _ => self.write(&mut outbound, encode),
        }
    }

    /// Ends the session in order: no more requests, unbind, and the end when the peer agrees or the response timeout is over. Answers that
    /// still come meanwhile are events as ever; to lose none, wait for the window to empty first. Returns when it is over.
    pub async fn unbind(&self) {
        {
            let mut outbound = self.shared.outbound();
            if outbound.phase == Phase::Open {
                outbound.phase = Phase::Unbinding(Instant::now() + self.shared.limits.response_timeout);
                let sequence = outbound.window.sequence();
                bare(&mut outbound.buffer, CommandId::UNBIND, CommandStatus::ROK, sequence);
                self.shared.wake.notify_one();
            }
        }
        self.closed().await;
    }

    /// Drops the connection at once, without unbind.
    pub fn close(&self) {
        let mut outbound = self.shared.outbound();
        if outbound.phase != Phase::Closed {
            outbound.phase = Phase::Closing;
            self.shared.wake.notify_one();
        }
    }

    /// Returns when the session is over, for whatever reason.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        closed.wait_for(|closed| *closed).await.expect("the sender is in self");
    }
}

/// Appends a response without content. deliver_sm_resp carries an unused, empty message_id whatever its status (§4.6.2), and so does a
/// data_sm_resp that accepts.
pub(crate) fn respond_empty(out: &mut BytesMut, to: ReplyTo, status: CommandStatus) {
    let with_id = to.command == CommandId::DELIVER_SM || (to.command == CommandId::DATA_SM && status.is_ok());
    let body = |out: &mut BytesMut| {
        if with_id {
            out.put_u8(0);
        }
        Ok(())
    };
    frame(out, to.command.response(), status, to.seq, body).expect("an empty id fits");
}

/// The receiving side of a bound session. Dropping it ends the session.
pub struct Events {
    shared: Arc<Shared>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Appends everything that has happened to `out`, waiting until there is something. `false` once [`Event::Closed`] has been
    /// handed over, and nothing more will come. Cancel safe.
    pub async fn recv_many(&mut self, out: &mut Vec<Event>) -> bool {
        loop {
            if let Some(more) = self.try_recv_many(out) {
                return more;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// As [`Events::recv_many`], but `None` where that would wait.
    pub fn try_recv_many(&mut self, out: &mut Vec<Event>) -> Option<bool> {
        let mut inbox = self.shared.inbox();
        if inbox.events.is_empty() {
            return inbox.closed.then_some(false);
        }
        if inbox.events.len() >= self.shared.limits.inbox {
            self.shared.wake.notify_one();
        }
        if out.is_empty() {
            std::mem::swap(out, &mut inbox.events);
        } else {
            out.append(&mut inbox.events);
        }
        Some(true)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        Session { shared: Arc::clone(&self.shared) }.close();
    }
}
