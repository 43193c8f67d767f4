//! A submitted message as the API would have it: text from its octets by `data_coding`, times, sender, and parts that the customer cut.
//!
//! A message with a user data header, or with SAR parameters, is one part of a longer one: it goes on as it is, one message of one part, since
//! the customer cut it and each part has its own answer and receipt. A message without goes the way of the API's: cut and counted by us.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::encoding::{self, Alphabet, Encoding, PART_OCTETS, Shift};
use carillon_domain::message::Flags;
use carillon_domain::smpp::CredentialSettings;
use carillon_smpp::content::part_of;
use carillon_smpp::pdu::{Address, ReplaceSm};
use carillon_smpp::time::{self, SmppTime};
use carillon_smpp::tlv::{Tag, Tlvs};
use carillon_smpp::{CommandStatus, SubmitSm, values};
use carillon_store::message::Message;

use super::render::REFERENCE_PREFIX;
use crate::clock::rfc3339;
use crate::pipeline::prepare::Draft;

/// Shortest and longest validity taken, seconds; what lies outside is moved to the nearer end.
const VALIDITY_S: (i64, i64) = (60, 7 * 86_400);
/// `esm_class`: user data header indicator, and the bits of the message's type, which a submit has not.
const TYPE_BITS: u8 = values::ESM_TYPE_MASK;

/// What a message says, whoever it is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    from: Option<String>,
    text: Option<String>,
    /// Base64.
    data: Option<String>,
    own_part: Option<Encoding>,
    /// What the text was written in.
    pub(super) alphabet: Alphabet,
    flash: bool,
    express: bool,
    validity_s: Option<i64>,
    scheduled_at: Option<String>,
    client_ref: Option<String>,
}

impl Reading {
    /// As the pipeline judges it.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            from: self.from.as_deref(),
            text: self.text.as_deref(),
            data: self.data.as_deref(),
            own_part: self.own_part,
            flash: self.flash,
            express: self.express,
            validity_s: self.validity_s,
            scheduled_at: self.scheduled_at.as_deref(),
            client_ref: self.client_ref.as_deref(),
            ..Draft::default()
        }
    }
}

/// What `data_coding` says of the octets: their alphabet, and whether they are shown at once (class 0). `None` for what we do not carry:
/// other alphabets, classes for the SIM, message waiting indications (SMPP 3.4 §5.2.19, TS 23.038 §4).
fn coding(data_coding: u8, default: Alphabet) -> Option<(Alphabet, bool)> {
    let flash = |class: u8| match class & 3 {
        0 => Some(true),
        1 | 3 => Some(false),
        _ => None,
    };
    Some(match data_coding {
        0x00 => (default, false),
        0x01 => (Alphabet::Ascii, false),
        0x02 | 0x04 => (Alphabet::Octets, false),
        0x03 => (Alphabet::Latin1, false),
        0x08 => (Alphabet::Ucs2, false),
        0x10..=0x13 => (default, flash(data_coding)?),
        0x14..=0x17 => (Alphabet::Octets, flash(data_coding)?),
        0x18..=0x1B => (Alphabet::Ucs2, flash(data_coding)?),
        0xF0..=0xF3 => (default, flash(data_coding)?),
        0xF4..=0xF7 => (Alphabet::Octets, flash(data_coding)?),
        _ => return None,
    })
}

/// Reads a message. The destination is read by `destination`.
///
/// # Errors
/// The status to answer.
pub(super) fn message<B: AsRef<[u8]>>(
    sm: &SubmitSm<B>,
    settings: &CredentialSettings,
    now: i64,
) -> Result<Reading, CommandStatus> {
    if sm.esm_class & TYPE_BITS != 0 {
        return Err(CommandStatus::RINVESMCLASS);
    }
    if sm.replace_if_present > 1 {
        return Err(CommandStatus::RINVREPFLAG);
    }
    if sm.replace_if_present == 1 {
        return Err(CommandStatus::RINVSUBREP);
    }
    if sm.sm_default_msg_id != 0 {
        return Err(CommandStatus::RINVDFTMSGID);
    }
    if sm.priority_flag > 3 {
        return Err(CommandStatus::RINVPRTFLG);
    }
    if !sm.short_message.as_ref().is_empty() && sm.tlvs.get(Tag::MESSAGE_PAYLOAD).is_some() {
        return Err(CommandStatus::RINVMSGLEN);
    }
    let (alphabet, flash) = coding(sm.data_coding, settings.alphabet.into()).ok_or(CommandStatus::RINVDCS)?;
    let scheduled = moment(sm.schedule_delivery_time.as_ref(), now).ok_or(CommandStatus::RINVSCHED)?;
    let expires = moment(sm.validity_period.as_ref(), now).ok_or(CommandStatus::RINVEXPIRY)?;
    let reference = sm.tlvs.get_u16(Tag::USER_MESSAGE_REFERENCE);
    let mut reading = Reading {
        from: source(&sm.source).or_else(|| settings.default_sender.clone()),
        alphabet,
        flash,
        express: settings.express && sm.priority_flag > 0,
        validity_s: expires.map(|at| validity(at, scheduled.unwrap_or(now))).transpose()?,
        scheduled_at: scheduled.filter(|at| *at > now).map(rfc3339),
        client_ref: reference.map(|reference| format!("{REFERENCE_PREFIX}{reference}")),
        ..Reading::default()
    };
    content(sm, alphabet, &mut reading)?;
    Ok(reading)
}

/// Reads what takes the place of a message that was written in that alphabet, which replace_sm does not say (§4.10). Also the instant it is to
/// be sent at, if that is to change.
///
/// # Errors
/// The status to answer.
pub(super) fn replacement(
    sm: &ReplaceSm,
    m: &Message,
    alphabet: Alphabet,
    settings: &CredentialSettings,
    now: i64,
) -> Result<(Reading, Option<i64>), CommandStatus> {
    if sm.sm_default_msg_id != 0 {
        return Err(CommandStatus::RINVDFTMSGID);
    }
    let scheduled = moment(&sm.schedule_delivery_time, now).ok_or(CommandStatus::RINVSCHED)?;
    let expires = moment(&sm.validity_period, now).ok_or(CommandStatus::RINVEXPIRY)?;
    let due = scheduled.or(m.due_at).unwrap_or(now).max(now);
    let mut reading = Reading {
        from: if sm.source.addr.is_empty() { settings.default_sender.clone() } else { m.sender.clone() },
        flash: m.flags.has(Flags::FLASH),
        express: m.flags.has(Flags::EXPRESS),
        validity_s: expires.map(|at| validity(at, due)).transpose()?,
        scheduled_at: scheduled.filter(|at| *at > now).map(rfc3339),
        ..Reading::default()
    };
    let sm: SubmitSm<&[u8]> =
        SubmitSm { short_message: &sm.short_message, tlvs: Tlvs(sm.tlvs.0.as_ref()), ..SubmitSm::default() };
    let octets = m.flags.has(Flags::BINARY);
    content(&sm, if octets { Alphabet::Octets } else { alphabet }, &mut reading)?;
    Ok((reading, scheduled.map(|at| at.max(now))))
}

/// The instant a time names, Unix milliseconds; `Some(None)` for an empty one, `None` for what cannot be read.
fn moment(text: &[u8], now: i64) -> Option<Option<i64>> {
    if text.is_empty() {
        return Some(None);
    }
    Some(Some(match time::parse(text)? {
        SmppTime::Absolute(at) => at,
        SmppTime::Relative(after) => now.saturating_add(i64::try_from(after.as_millis()).ok()?),
    }))
}

/// Validity counts from when the message is due.
fn validity(expires: i64, due: i64) -> Result<i64, CommandStatus> {
    if expires <= due {
        return Err(CommandStatus::RINVEXPIRY);
    }
    Ok(((expires - due) / 1_000).clamp(VALIDITY_S.0, VALIDITY_S.1))
}

fn content<B: AsRef<[u8]>>(sm: &SubmitSm<B>, alphabet: Alphabet, reading: &mut Reading) -> Result<(), CommandStatus> {
    let octets = sm.content();
    if octets.is_empty()
        || (alphabet == Alphabet::Ucs2 && !octets.len().is_multiple_of(2) && sm.esm_class & values::ESM_UDHI == 0)
    {
        return Err(CommandStatus::RINVMSGLEN);
    }
    let (part, text_at) = part_of(sm);
    if sm.esm_class & values::ESM_UDHI != 0 {
        if text_at == 0 {
            // It says that there is a header, and there is none.
            return Err(CommandStatus::RINVESMCLASS);
        }
        return own_part(&octets[..text_at], &octets[text_at..], alphabet, reading);
    }
    if let Some(part) = part {
        let [high, low] = part.reference.to_be_bytes();
        let wide = [6, 0x08, 4, high, low, part.total, part.index];
        // The customer cut for a header of six octets: then the low octet of the reference must do.
        return own_part(&wide, octets, alphabet, reading)
            .or_else(|_| own_part(&[5, 0x00, 3, low, part.total, part.index], octets, alphabet, reading));
    }
    match alphabet {
        Alphabet::Octets => reading.data = Some(STANDARD.encode(octets)),
        alphabet => reading.text = Some(encoding::decode(octets, alphabet, Shift::NONE, 0)),
    }
    Ok(())
}

/// A part with a header in front: held with GSM-7 as a septet in each octet, which links write as their carrier takes it.
fn own_part(header: &[u8], text: &[u8], alphabet: Alphabet, reading: &mut Reading) -> Result<(), CommandStatus> {
    let room = PART_OCTETS.checked_sub(header.len()).ok_or(CommandStatus::RINVMSGLEN)?;
    let narrow;
    let (encoding, text, octets) = match alphabet {
        Alphabet::Octets => (Encoding::Binary, text, text.len()),
        Alphabet::Ucs2 => (Encoding::Ucs2, text, text.len()),
        Alphabet::Gsm7 | Alphabet::Gsm7Packed => (Encoding::Gsm7(Shift::NONE), text, (text.len() * 7).div_ceil(8)),
        Alphabet::Latin1 | Alphabet::Ascii => {
            let characters = encoding::decode(text, alphabet, Shift::NONE, 0);
            let gsm = Encoding::Gsm7(Shift::NONE);
            // What GSM-7 lacks makes the part UCS-2, and it must fit as that.
            let as_gsm = encoding::plan(&characters, &encoding::Options::default()).is_ok_and(|p| p.encoding == gsm);
            let encoding = if as_gsm { gsm } else { Encoding::Ucs2 };
            narrow = encoding::encode_part(&characters, encoding, Alphabet::Gsm7, 0)
                .map_err(|_| CommandStatus::RSUBMITFAIL)?;
            let octets = if as_gsm { (narrow.len() * 7).div_ceil(8) } else { narrow.len() };
            (encoding, &narrow[..], octets)
        }
    };
    if octets > room || (encoding == Encoding::Ucs2 && !text.len().is_multiple_of(2)) {
        return Err(CommandStatus::RINVMSGLEN);
    }
    reading.data = Some(STANDARD.encode([header, text].concat()));
    reading.own_part = Some(encoding);
    Ok(())
}

fn text<B: AsRef<[u8]>>(address: &Address<B>) -> String {
    // Addresses are octets of ASCII; some write names in Latin-1.
    address.addr.as_ref().iter().copied().map(char::from).collect()
}

/// The source address as a sender; `None` where there is none.
fn source<B: AsRef<[u8]>>(address: &Address<B>) -> Option<String> {
    let text = text(address);
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match address.ton {
        _ if text.is_empty() => None,
        values::TON_INTERNATIONAL if digits => Some(format!("+{text}")),
        // Too long for a short code: a phone number, whatever its type says.
        ton if digits && ton != values::TON_ALPHANUMERIC && text.len() > 8 => Some(format!("+{text}")),
        _ => Some(text),
    }
}

/// The destination as the API takes numbers: with + where it is international, which unknown types are taken for.
///
/// # Errors
/// The status to answer.
pub(super) fn destination<B: AsRef<[u8]>>(address: &Address<B>) -> Result<String, CommandStatus> {
    let text = text(address);
    if text.is_empty() {
        return Err(CommandStatus::RINVDSTADR);
    }
    if address.npi > values::NPI_ISDN {
        return Err(CommandStatus::RINVDSTNPI);
    }
    match address.ton {
        0 | values::TON_INTERNATIONAL if text.starts_with('+') => Ok(text),
        0 | values::TON_INTERNATIONAL => Ok(format!("+{}", text.strip_prefix("00").unwrap_or(&text))),
        2 => Ok(text),
        _ => Err(CommandStatus::RINVDSTTON),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
