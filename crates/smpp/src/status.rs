//! `command_status`: what a response says of its request (SMPP 3.4 §5.1.3, with the additions of 5.0).

use std::fmt;

/// A `command_status` value. Any 32-bit value is legal on the wire: vendors use 0x400 upwards, so unknown ones are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandStatus(
    /// The value on the wire.
    pub u32,
);

macro_rules! statuses {
    ($($name:ident = $value:literal, $what:literal;)*) => {
        impl CommandStatus {
            $(#[doc = $what] pub const $name: Self = Self($value);)*

            /// The specification's name without its `ESME_` prefix, or `None` for a value it does not list.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

statuses! {
    ROK = 0x00, "No error.";
    RINVMSGLEN = 0x01, "Message length is invalid.";
    RINVCMDLEN = 0x02, "Command length is invalid.";
    RINVCMDID = 0x03, "Command id is invalid.";
    RINVBNDSTS = 0x04, "Wrong bind status for this command.";
    RALYBND = 0x05, "Already bound.";
    RINVPRTFLG = 0x06, "Invalid priority flag.";
    RINVREGDLVFLG = 0x07, "Invalid registered_delivery flag.";
    RSYSERR = 0x08, "System error of the message centre.";
    RINVSRCADR = 0x0A, "Invalid source address.";
    RINVDSTADR = 0x0B, "Invalid destination address.";
    RINVMSGID = 0x0C, "Message id is invalid.";
    RBINDFAIL = 0x0D, "Bind failed.";
    RINVPASWD = 0x0E, "Invalid password.";
    RINVSYSID = 0x0F, "Invalid system id.";
    RCANCELFAIL = 0x11, "cancel_sm failed.";
    RREPLACEFAIL = 0x13, "replace_sm failed.";
    RMSGQFUL = 0x14, "Message queue full.";
    RINVSERTYP = 0x15, "Invalid service type.";
    RINVNUMDESTS = 0x33, "Invalid number of destinations.";
    RINVDLNAME = 0x34, "Invalid distribution list name.";
    RINVDESTFLAG = 0x40, "Invalid destination flag (submit_multi).";
    RINVSUBREP = 0x42, "Submit with replace is not supported here.";
    RINVESMCLASS = 0x43, "Invalid esm_class.";
    RCNTSUBDL = 0x44, "Cannot submit to this distribution list.";
    RSUBMITFAIL = 0x45, "Submit failed.";
    RINVSRCTON = 0x48, "Invalid source TON.";
    RINVSRCNPI = 0x49, "Invalid source NPI.";
    RINVDSTTON = 0x50, "Invalid destination TON.";
    RINVDSTNPI = 0x51, "Invalid destination NPI.";
    RINVSYSTYP = 0x53, "Invalid system_type.";
    RINVREPFLAG = 0x54, "Invalid replace_if_present flag.";
    RINVNUMMSGS = 0x55, "Invalid number of messages.";
    RTHROTTLED = 0x58, "Throttled: the sender has exceeded its rate.";
    RINVSCHED = 0x61, "Invalid scheduled delivery time.";
    RINVEXPIRY = 0x62, "Invalid validity period.";
    RINVDFTMSGID = 0x63, "Predefined message is invalid or not found.";
    RX_T_APPN = 0x64, "Receiver: temporary application error; send again later.";
    RX_P_APPN = 0x65, "Receiver: permanent application error.";
    RX_R_APPN = 0x66, "Receiver: the message is rejected.";
    RQUERYFAIL = 0x67, "query_sm failed.";
    RINVOPTPARSTREAM = 0xC0, "The optional parameters cannot be read.";
    ROPTPARNOTALLWD = 0xC1, "Optional parameter not allowed.";
    RINVPARLEN = 0xC2, "Invalid parameter length.";
    RMISSINGOPTPARAM = 0xC3, "An expected optional parameter is missing.";
    RINVOPTPARAMVAL = 0xC4, "Invalid optional parameter value.";
    RDELIVERYFAILURE = 0xFE, "Delivery failure (data_sm_resp).";
    RUNKNOWNERR = 0xFF, "Unknown error.";
    RSERTYPUNAUTH = 0x100, "Not authorised for this service type (5.0).";
    RPROHIBITED = 0x101, "Prohibited from this operation (5.0).";
    RSERTYPUNAVAIL = 0x102, "Service type unavailable (5.0).";
    RSERTYPDENIED = 0x103, "Service type denied (5.0).";
    RINVDCS = 0x104, "Invalid data coding scheme (5.0).";
    RINVSRCADDRSUBUNIT = 0x105, "Invalid source address subunit (5.0).";
    RINVDSTADDRSUBUNIT = 0x106, "Invalid destination address subunit (5.0).";
}

impl CommandStatus {
    /// Whether the request was accepted.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:08X})", self.0),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
