//! Names for the numbers callers set and test most (SMPP 3.4 §5.2). Fields stay plain integers, so that values not listed here pass through.

/// `interface_version` of SMPP 3.4.
pub const VERSION_3_4: u8 = 0x34;
/// `interface_version` of SMPP 5.0.
pub const VERSION_5_0: u8 = 0x50;

/// `esm_class`: store and forward.
pub const ESM_STORE_AND_FORWARD: u8 = 0x03;
/// `esm_class` of deliver_sm: bits that hold the message type.
pub const ESM_TYPE_MASK: u8 = 0x3C;
/// `esm_class` of deliver_sm: a delivery receipt.
pub const ESM_RECEIPT: u8 = 0x04;
/// `esm_class` of deliver_sm: an intermediate notification.
pub const ESM_INTERMEDIATE: u8 = 0x20;
/// `esm_class`: the user data begins with a header (UDHI).
pub const ESM_UDHI: u8 = 0x40;

/// `registered_delivery`: bits that say which final receipt is wanted.
pub const REGISTERED_MASK: u8 = 0x03;
/// `registered_delivery`: a receipt for every final state.
pub const REGISTERED_FINAL: u8 = 0x01;
/// `registered_delivery`: a receipt for failure only.
pub const REGISTERED_FAILURE: u8 = 0x02;
/// `registered_delivery`: a receipt for success only (5.0).
pub const REGISTERED_SUCCESS: u8 = 0x03;
/// `registered_delivery`: intermediate notifications too.
pub const REGISTERED_INTERMEDIATE: u8 = 0x10;

/// `data_coding`: the carrier's default alphabet.
pub const CODING_DEFAULT: u8 = 0x00;
/// `data_coding`: ASCII (IA5).
pub const CODING_ASCII: u8 = 0x01;
/// `data_coding`: Latin-1.
pub const CODING_LATIN1: u8 = 0x03;
/// `data_coding`: octets.
pub const CODING_BINARY: u8 = 0x04;
/// `data_coding`: UCS-2, big endian.
pub const CODING_UCS2: u8 = 0x08;

/// Type of number: international.
pub const TON_INTERNATIONAL: u8 = 1;
/// Type of number: network specific, used by many carriers for short codes.
pub const TON_NETWORK: u8 = 3;
/// Type of number: alphanumeric.
pub const TON_ALPHANUMERIC: u8 = 5;
/// Numbering plan: ISDN (E.163, E.164).
pub const NPI_ISDN: u8 = 1;
