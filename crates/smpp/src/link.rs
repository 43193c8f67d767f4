//! The one task that owns a session's socket: reads and answers, writes what has gathered, and watches the clock.

use crate::command::{BindKind, CommandId};
use crate::encode::{Header, bare};
use crate::frame::{Frame, Framer};
use crate::pdu::Pdu;
use crate::session::{CloseReason, Event, Outbound, Phase, ReplyTo, Shared, respond_empty};
use crate::status::CommandStatus;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior};

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Octets waiting to be written beyond which nothing more is read: a peer that asks and never listens must not fill our memory.
const BACKLOG_MAX: usize = 4 * 1024 * 1024;
/// How long the last octets (unbind_resp, a nack) may take to leave.
const LINGER: Duration = Duration::from_secs(1);

/// Which end of the session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server(BindKind),
}

impl Role {
    /// Whether the peer may send this request to us now.
    fn allows(self, command: CommandId) -> bool {
        match self {
            Self::Client => [CommandId::DELIVER_SM, CommandId::DATA_SM].contains(&command),
            Self::Server(kind) => {
                let requests = [
                    CommandId::SUBMIT_SM,
                    CommandId::DATA_SM,
                    CommandId::SUBMIT_MULTI,
                    CommandId::QUERY_SM,
                    CommandId::CANCEL_SM,
                    CommandId::REPLACE_SM,
                ];
                kind.transmits() && requests.contains(&command)
            }
        }
    }
}

pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    pub(crate) role: Role,
    pub(crate) framer: Framer,
    /// Frames received while binding that are for the bound session.
    pub(crate) early: Vec<Frame>,
}

impl Link {
    /// Serves the session until it ends, and tells the user.
    pub(crate) async fn run(mut self, stream: Box<dyn Stream>) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut writing = BytesMut::new();
        let reason = self.serve(&mut reader, &mut writer, &mut writing).await;
        let (mut last, unanswered) = {
            let mut outbound = self.shared.outbound();
            outbound.phase = Phase::Closed;
            (std::mem::take(&mut outbound.buffer), outbound.window.abandon())
        };
        self.hand_over(&mut vec![Event::Closed { reason, unanswered }], true);
        self.shared.closed.send_replace(true);
        let goodbye = async {
            writer.write_all_buf(&mut writing).await?;
            writer.write_all_buf(&mut last).await?;
            writer.shutdown().await
        };
        // The session is over whether or not the peer hears it.
        let _ = tokio::time::timeout(LINGER, goodbye).await;
    }

    async fn serve(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        writing: &mut BytesMut,
    ) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        let mut pulse = Pulse::new(&shared);
        let mut timer = tokio::time::interval(pulse.period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let mut frames = std::mem::take(&mut self.early);
        if let Err(reason) = self.receive(&mut frames, &mut batch) {
            return reason;
        }
        let mut flush = false;
        loop {
            let backlog = {
                let mut outbound = shared.outbound();
                if outbound.phase == Phase::Closing {
                    return CloseReason::Local;
                }
                if writing.is_empty() {
                    std::mem::swap(writing, &mut outbound.buffer);
                }
                writing.len() + outbound.buffer.len()
            };
            pulse.reading = backlog < BACKLOG_MAX && shared.inbox().events.len() < shared.limits.inbox;
            let outcome = tokio::select! {
                biased;
                written = write_some(writer, writing, &mut flush), if flush || !writing.is_empty() => written,
                read = reader.read_buf(self.framer.buffer()), if pulse.reading => match read {
                    Ok(0) => return CloseReason::Eof,
                    Ok(_) => {
                        pulse.heard();
                        self.framer.drain(&mut frames);
                        if let Err(reason) = self.receive(&mut frames, &mut batch) {
                            return reason;
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                () = shared.wake.notified() => Ok(()),
                now = timer.tick() => {
                    if let Err(reason) = self.tick(&mut pulse, now, &mut batch) {
                        return reason;
                    }
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                return CloseReason::Io(error.kind());
            }
        }
    }

    /// Gives events to the user, all at once.
    fn hand_over(&self, batch: &mut Vec<Event>, closed: bool) {
        if batch.is_empty() {
            return;
        }
        let mut inbox = self.shared.inbox();
        inbox.closed |= closed;
        inbox.events.append(batch);
        drop(inbox);
        self.shared.arrived.notify_one();
    }

    /// Handles all frames of one read; `Err` when the session is over.
    fn receive(&self, frames: &mut Vec<Frame>, batch: &mut Vec<Event>) -> Result<(), CloseReason> {
        let mut outbound = self.shared.outbound();
        let result = frames.drain(..).try_for_each(|frame| match frame {
            Frame::Pdu(header, body) if header.command.is_response() => {
                on_response(&mut outbound, &header, &body, batch)
            }
            Frame::Pdu(header, body) => self.on_request(&mut outbound, &header, &body, batch),
            Frame::Oversized(header) => {
                on_oversized(&mut outbound, &header, batch);
                Ok(())
            }
            Frame::Garbage(header) => {
                bare(&mut outbound.buffer, CommandId::GENERIC_NACK, CommandStatus::RINVCMDLEN, header.sequence);
                Err(CloseReason::Garbage(header.length))
            }
        });
        drop(outbound);
        self.hand_over(batch, false);
        result
    }

    fn on_request(
        &self,
        outbound: &mut Outbound,
        header: &Header,
        body: &Bytes,
        batch: &mut Vec<Event>,
    ) -> Result<(), CloseReason> {
        let seq = header.sequence;
        let to = ReplyTo { seq, command: header.command };
        let pdu = match Pdu::decode(header.command, body) {
            Ok(pdu) => pdu,
            Err(error) => {
                refuse(&mut outbound.buffer, header, error.status);
                return Ok(());
            }
        };
        match pdu {
            Pdu::EnquireLink => bare(&mut outbound.buffer, CommandId::ENQUIRE_LINK_RESP, CommandStatus::ROK, seq),
            Pdu::Unbind => {
                bare(&mut outbound.buffer, CommandId::UNBIND_RESP, CommandStatus::ROK, seq);
                return Err(CloseReason::PeerUnbound);
            }
            Pdu::Bind(..) if self.role != Role::Client => refuse(&mut outbound.buffer, header, CommandStatus::RALYBND),
            Pdu::AlertNotification(alert) if self.role == Role::Client => batch.push(Event::Alert(alert)),
            // Neither has a response (§4.1.7, §4.12), and on a bound session neither says anything to this end.
            Pdu::AlertNotification(_) | Pdu::Outbind(_) => {}
            _ if !self.role.allows(header.command) => refuse(&mut outbound.buffer, header, CommandStatus::RINVBNDSTS),
            Pdu::DeliverSm(sm) => batch.push(Event::Deliver { to, sm }),
            Pdu::DataSm(data) if self.role == Role::Client => batch.push(Event::Deliver { to, sm: data.into() }),
            Pdu::SubmitSm(sm) => match crate::decode::check_submit(&sm) {
                Ok(()) => batch.push(Event::Submit { to, sm }),
                Err(error) => refuse(&mut outbound.buffer, header, error.status),
            },
            pdu => batch.push(Event::Request { to, pdu }),
        }
        Ok(())
    }

    /// Gives up what is overdue, and sees whether the peer is alive.
    fn tick(&self, pulse: &mut Pulse, now: Instant, batch: &mut Vec<Event>) -> Result<(), CloseReason> {
        let mut outbound = self.shared.outbound();
        outbound.window.expire(now, |token| batch.push(Event::NoAnswer { token }));
        let result = match outbound.phase {
            Phase::Unbinding(deadline) if now >= deadline => Err(CloseReason::Local),
            _ => pulse.beat(now, &mut outbound),
        };
        drop(outbound);
        self.hand_over(batch, false);
        result
    }
}

/// Writes what can be written in one call, or flushes (which matters to TLS) when all is written. Cancel safe.
async fn write_some(
    writer: &mut (impl AsyncWrite + Unpin),
    writing: &mut BytesMut,
    flush: &mut bool,
) -> std::io::Result<()> {
    if writing.is_empty() {
        writer.flush().await?;
        *flush = false;
    } else {
        writer.write_buf(writing).await?;
        *flush = true;
    }
    Ok(())
}

/// Answers a request that is not taken: with its own response, or with generic_nack where it has none.
pub(crate) fn refuse(out: &mut BytesMut, header: &Header, status: CommandStatus) {
    let without_response = [CommandId::ALERT_NOTIFICATION, CommandId::OUTBIND].contains(&header.command);
    if without_response || header.command.name().is_none() {
        bare(out, CommandId::GENERIC_NACK, status, header.sequence);
    } else {
        respond_empty(out, ReplyTo { seq: header.sequence, command: header.command }, status);
    }
}

/// A request too large to read is refused; a response too large to read leaves its request's outcome unknown.
fn on_oversized(outbound: &mut Outbound, header: &Header, batch: &mut Vec<Event>) {
    if !header.command.is_response() {
        bare(&mut outbound.buffer, CommandId::GENERIC_NACK, CommandStatus::RINVCMDLEN, header.sequence);
    } else if let Some(answered) = outbound.window.answer(header.sequence, header.command) {
        batch.push(Event::NoAnswer { token: answered.token });
    }
}

fn on_response(
    outbound: &mut Outbound,
    header: &Header,
    body: &Bytes,
    batch: &mut Vec<Event>,
) -> Result<(), CloseReason> {
    let status = header.status;
    let Some(answered) = outbound.window.answer(header.sequence, header.command) else {
        return match (header.command, outbound.phase) {
            (CommandId::UNBIND_RESP | CommandId::GENERIC_NACK, Phase::Unbinding(_)) => Err(CloseReason::Local),
            (CommandId::GENERIC_NACK, _) => {
                batch.push(Event::Nack { seq: header.sequence, status });
                Ok(())
            }
            // enquire_link_resp has done its work by arriving; other answers nobody waits for mean nothing.
            _ => Ok(()),
        };
    };
    let (token, late) = (answered.token, answered.late);
    batch.push(match (answered.command, Pdu::decode(header.command, body)) {
        (CommandId::SUBMIT_SM, Ok(Pdu::SubmitSmResp(resp))) if status.is_ok() => {
            Event::SubmitResp { token, result: Ok(resp.message_id), late }
        }
        // A nack that says OK is nonsense, but whatever it is, it is not an acceptance.
        (CommandId::SUBMIT_SM, _) if status.is_ok() => {
            Event::SubmitResp { token, result: Err(CommandStatus::RUNKNOWNERR), late }
        }
        (CommandId::SUBMIT_SM, _) => Event::SubmitResp { token, result: Err(status), late },
        (CommandId::DELIVER_SM, _) => Event::DeliverResp { token, status, late },
        (_, Ok(pdu)) => Event::Response { token, status, pdu, late },
        (_, Err(_)) => Event::NoAnswer { token },
    });
    Ok(())
}

/// Whether the peer is still there.
struct Pulse {
    /// How often to look.
    period: Duration,
    enquire_after: Duration,
    answer_within: Duration,
    last_heard: Instant,
    /// When enquire_link was sent, until something is heard.
    asked: Option<Instant>,
    /// While we do not read, the peer cannot be heard and is not to blame for it.
    reading: bool,
}

impl Pulse {
    fn new(shared: &Shared) -> Self {
        let limits = &shared.limits;
        let finest = limits.response_timeout.min(limits.enquire_link) / 4;
        Self {
            period: finest.clamp(Duration::from_millis(5), Duration::from_secs(1)),
            enquire_after: limits.enquire_link,
            answer_within: limits.response_timeout,
            last_heard: Instant::now(),
            asked: None,
            reading: true,
        }
    }

    /// Any octet proves life, not only the answer to enquire_link.
    fn heard(&mut self) {
        self.last_heard = Instant::now();
        self.asked = None;
    }

    fn beat(&mut self, now: Instant, outbound: &mut Outbound) -> Result<(), CloseReason> {
        if !self.reading {
            self.heard();
            return Ok(());
        }
        match self.asked {
            Some(asked) if now.duration_since(asked) >= self.answer_within => Err(CloseReason::Silent),
            None if now.duration_since(self.last_heard) >= self.enquire_after => {
                let sequence = outbound.window.sequence();
                bare(&mut outbound.buffer, CommandId::ENQUIRE_LINK, CommandStatus::ROK, sequence);
                self.asked = Some(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
