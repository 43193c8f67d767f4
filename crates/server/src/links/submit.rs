//! A message as submit_sm: addresses, coding and parts by the connection's settings (SMPP 3.4 §4.4.1).

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use carillon_domain::encoding::{self, Alphabet, Encoding, Flash, Shift};
use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::message::Flags;
use carillon_domain::sender::Sender;
use carillon_smpp::content::{Concat, Part, UserData};
use carillon_smpp::pdu::Address;
use carillon_smpp::tlv::Tlvs;
use carillon_smpp::values::REGISTERED_FINAL;
use carillon_smpp::{Session, SubmitSm};
use carillon_store::hot::QueuedMessage;

use crate::config::{self, Connection};

/// Buffers that serve one message after the other.
#[derive(Default)]
pub(super) struct Submitter {
    user_data: UserData,
}

/// Why a part was not handed to the session.
pub(super) enum NotSent {
    /// The session is full or over: nothing was sent.
    Session,
    /// This connection cannot carry the message; another may.
    Unfit(SendError),
}

fn unfit(kind: SendErrorKind, code: ErrorCode, why: impl Into<String>) -> NotSent {
    NotSent::Unfit(SendError { kind, code, carrier: why.into() })
}

/// What the connection means by GSM-7.
pub(super) fn alphabet(settings: &Connection) -> Alphabet {
    match settings.alphabet {
        config::Alphabet::Gsm7 => Alphabet::Gsm7,
        config::Alphabet::Gsm7Packed => Alphabet::Gsm7Packed,
        config::Alphabet::Latin1 => Alphabet::Latin1,
        config::Alphabet::Ascii => Alphabet::Ascii,
    }
}

impl Submitter {
    /// Hands the parts with these indexes to the session, each under `token(index)`. What went is told by the count.
    pub(super) fn send(
        &mut self,
        session: &Session,
        settings: &Connection,
        message: &QueuedMessage,
        parts: &[u8],
        now_ms: i64,
        token: impl Fn(u8) -> u64,
    ) -> (usize, Result<(), NotSent>) {
        let Some(encoding) = Encoding::from_number(message.encoding) else {
            let why = "the message's encoding is unknown to this version";
            return (0, Err(unfit(SendErrorKind::Permanent, ErrorCode::MessageInvalid, why)));
        };
        let texts = match texts(message, encoding) {
            Ok(texts) => texts,
            Err(e) => return (0, Err(e)),
        };
        for (sent, index) in parts.iter().enumerate() {
            let Some(text) = texts.get(usize::from(*index)) else {
                return (
                    sent,
                    Err(unfit(
                        SendErrorKind::Permanent,
                        ErrorCode::MessageInvalid,
                        "the message has fewer parts than its row says",
                    )),
                );
            };
            if let Err(e) = self.part(session, settings, message, encoding, text, *index, now_ms, token(*index)) {
                return (sent, Err(e));
            }
        }
        (parts.len(), Ok(()))
    }

    #[expect(clippy::too_many_arguments, reason = "one call site; each is a different thing")]
    fn part(
        &mut self,
        session: &Session,
        settings: &Connection,
        message: &QueuedMessage,
        encoding: Encoding,
        text: &PartText<'_>,
        index: u8,
        now_ms: i64,
        token: u64,
    ) -> Result<(), NotSent> {
        let total = message.parts.as_slice().len() as u8;
        let shift = match encoding {
            Encoding::Gsm7(shift) => shift,
            _ => Shift::NONE,
        };
        let gsm = alphabet(settings);
        let reference = message.reference.unwrap_or_default();
        // Packed septets begin behind the whole header, so its length must be known first.
        let header = encoding::udh(reference, total, index + 1, shift);
        let octets: Cow<'_, [u8]> = match text {
            PartText::Octets(octets) => Cow::Borrowed(octets),
            PartText::WithHeader(octets) => with_own_header(octets, encoding, gsm)?.into(),
            PartText::Text(text) => encoding::encode_part(text, encoding, gsm, header.len())
                .map_err(|e| unfit(SendErrorKind::FailOver, ErrorCode::MessageInvalid, e.to_string()))?
                .into(),
        };
        let national = encoding::udh(0, 1, 1, shift);
        let with_national: Vec<u8>;
        let octets: &[u8] = if national.is_empty() {
            &octets
        } else {
            with_national = [&national[..], &octets[..]].concat();
            &with_national
        };
        let concat = if settings.concat == config::Concat::Sar { Concat::Sar } else { Concat::Udh16 };
        let part = Part { reference, total, index: index + 1 };
        let has_header = !national.is_empty() || matches!(text, PartText::WithHeader(_));
        self.user_data
            .set_part(concat, part, octets, has_header)
            .map_err(|e| unfit(SendErrorKind::Permanent, ErrorCode::MessageInvalid, e.to_string()))?;
        if settings.concat == config::Concat::Payload && self.user_data.short_message.len() > 140 {
            let whole = std::mem::take(&mut self.user_data.short_message);
            self.user_data.set_payload(&whole, has_header);
        }
        let flash = message.flags.has(Flags::FLASH).then_some(Flash::General);
        let mut data_coding = encoding::data_coding(encoding.alphabet(gsm), flash);
        if encoding == Encoding::Ucs2 && flash.is_none() {
            data_coding = settings.data_coding_ucs2;
        }
        let destination = message.phone.to_string();
        let sender = sender_address(message.sender.as_deref());
        let (ton, npi) = sender.as_ref().map_or((0, 0), |s| (s.kind().ton(), s.kind().npi()));
        let validity = relative_validity(message.expires_at - now_ms);
        let sm = SubmitSm::<&[u8]> {
            service_type: b"",
            source: Address {
                ton: u8::try_from(settings.source_ton).unwrap_or(ton),
                npi: u8::try_from(settings.source_npi).unwrap_or(npi),
                addr: sender.as_ref().map_or(b"".as_slice(), |s| s.address().as_bytes()),
            },
            destination: Address { ton: settings.dest_ton, npi: settings.dest_npi, addr: destination.as_bytes() },
            esm_class: self.user_data.esm_class,
            protocol_id: 0,
            priority_flag: 0,
            schedule_delivery_time: b"",
            validity_period: &validity,
            registered_delivery: if settings.receipts { REGISTERED_FINAL } else { 0 },
            replace_if_present: 0,
            data_coding,
            sm_default_msg_id: 0,
            short_message: &self.user_data.short_message,
            tlvs: Tlvs(&self.user_data.tlvs),
        };
        match session.submit(&sm, token) {
            Ok(()) => Ok(()),
            Err(carillon_smpp::SendError::Full | carillon_smpp::SendError::Closed) => Err(NotSent::Session),
            Err(carillon_smpp::SendError::Invalid(e)) => {
                Err(unfit(SendErrorKind::Permanent, ErrorCode::MessageInvalid, e.to_string()))
            }
        }
    }
}

enum PartText<'a> {
    Text(&'a str),
    Octets(Vec<u8>),
    /// A part that its sender cut: a header of its own, then octets in the message's encoding.
    WithHeader(Vec<u8>),
}

/// The sender's header as it came, and what follows as this connection takes it.
fn with_own_header(octets: &[u8], encoding: Encoding, gsm: Alphabet) -> Result<Vec<u8>, NotSent> {
    let length = octets.first().map_or(0, |length| usize::from(*length) + 1);
    let Some((header, rest)) = octets.split_at_checked(length) else {
        return Err(unfit(SendErrorKind::Permanent, ErrorCode::MessageInvalid, "its header is longer than it is"));
    };
    let rest = encoding::recode_part(rest, encoding, gsm, header.len())
        .map_err(|e| unfit(SendErrorKind::FailOver, ErrorCode::MessageInvalid, e.to_string()))?;
    Ok([header, &rest].concat())
}

/// The message cut into its parts, as it was at acceptance.
fn texts(message: &QueuedMessage, encoding: Encoding) -> Result<Vec<PartText<'_>>, NotSent> {
    if message.mms.as_ref().is_some_and(|mms| !mms.links) {
        return Err(NotSent::Unfit(super::takes_no_files()));
    }
    let parts = message.parts.as_slice().len() as u8;
    if message.flags.has(Flags::BINARY) {
        let octets = base64::engine::general_purpose::STANDARD
            .decode(message.body.as_bytes())
            .map_err(|e| unfit(SendErrorKind::Permanent, ErrorCode::MessageInvalid, e.to_string()))?;
        if message.flags.has(Flags::HEADER) {
            return Ok(vec![PartText::WithHeader(octets)]);
        }
        return Ok(encoding::binary_segments(&octets).map(|s| PartText::Octets(s.to_vec())).collect());
    }
    if parts == 1 {
        return Ok(vec![PartText::Text(&message.body)]);
    }
    Ok(encoding::segments(&message.body, encoding, parts).map(PartText::Text).collect())
}

fn sender_address(sender: Option<&str>) -> Option<Sender> {
    sender.and_then(|s| s.parse().ok())
}

/// The rest of the validity as SMPP writes it, up to the 63 weeks carriers know as the most; without its terminating NUL.
fn relative_validity(left_ms: i64) -> [u8; 16] {
    let left = Duration::from_millis(left_ms.clamp(60_000, 63 * 7 * 86_400_000) as u64);
    carillon_smpp::time::relative(left)
}
