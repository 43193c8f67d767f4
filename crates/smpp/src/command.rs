//! `command_id`: which operation a PDU is (SMPP 3.4 §5.1.2.1).

use std::fmt;

/// A `command_id` value; unknown ones are kept as they came. A response has its request's id with the top bit set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(
    /// The value on the wire.
    pub u32,
);

/// The bit that makes a request's id its response's.
const RESPONSE: u32 = 0x8000_0000;

macro_rules! commands {
    ($($name:ident = $value:literal;)*) => {
        impl CommandId {
            $(#[doc = concat!("`", stringify!($name), "`, in the specification's spelling in lower case.")] pub const $name: Self = Self($value);)*

            /// The specification's name in upper case, or `None` for an id it does not list.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

commands! {
    GENERIC_NACK = 0x8000_0000;
    BIND_RECEIVER = 0x0000_0001;
    BIND_RECEIVER_RESP = 0x8000_0001;
    BIND_TRANSMITTER = 0x0000_0002;
    BIND_TRANSMITTER_RESP = 0x8000_0002;
    QUERY_SM = 0x0000_0003;
    QUERY_SM_RESP = 0x8000_0003;
    SUBMIT_SM = 0x0000_0004;
    SUBMIT_SM_RESP = 0x8000_0004;
    DELIVER_SM = 0x0000_0005;
    DELIVER_SM_RESP = 0x8000_0005;
    UNBIND = 0x0000_0006;
    UNBIND_RESP = 0x8000_0006;
    REPLACE_SM = 0x0000_0007;
    REPLACE_SM_RESP = 0x8000_0007;
    CANCEL_SM = 0x0000_0008;
    CANCEL_SM_RESP = 0x8000_0008;
    BIND_TRANSCEIVER = 0x0000_0009;
    BIND_TRANSCEIVER_RESP = 0x8000_0009;
    OUTBIND = 0x0000_000B;
    ENQUIRE_LINK = 0x0000_0015;
    ENQUIRE_LINK_RESP = 0x8000_0015;
    SUBMIT_MULTI = 0x0000_0021;
    SUBMIT_MULTI_RESP = 0x8000_0021;
    ALERT_NOTIFICATION = 0x0000_0102;
    DATA_SM = 0x0000_0103;
    DATA_SM_RESP = 0x8000_0103;
}

impl CommandId {
    /// Whether this answers a request.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & RESPONSE != 0
    }

    /// The id of the response to this request.
    #[must_use]
    pub const fn response(self) -> Self {
        Self(self.0 | RESPONSE)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

/// Which way a bound session carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindKind {
    /// The client submits and receives.
    Transceiver,
    /// The client only submits; receipts come over another bind.
    Transmitter,
    /// The client only receives.
    Receiver,
}

impl BindKind {
    /// The id of the bind request of this kind.
    #[must_use]
    pub const fn command(self) -> CommandId {
        match self {
            Self::Transceiver => CommandId::BIND_TRANSCEIVER,
            Self::Transmitter => CommandId::BIND_TRANSMITTER,
            Self::Receiver => CommandId::BIND_RECEIVER,
        }
    }

    /// Whether the client may submit.
    #[must_use]
    pub const fn transmits(self) -> bool {
        !matches!(self, Self::Receiver)
    }

    /// Whether the client may be sent deliver_sm.
    #[must_use]
    pub const fn receives(self) -> bool {
        !matches!(self, Self::Transmitter)
    }
}
