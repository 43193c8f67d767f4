//! What Vonage's two APIs share: why a message was not delivered.

use carillon_domain::error_code::ErrorCode;

use crate::field::Field;

pub(crate) const API_KEY: Field =
    Field::text("api_key", "API key", "On the first page of Vonage's dashboard, under API settings.").required();
pub(crate) const API_SECRET: Field = Field::secret_of("api_secret", "API secret", "Beside the API key.").required();
pub(crate) const ENTITY: Field =
    Field::text("dlt_entity_id", "DLT entity id", "India: your Principal Entity id. Templates are found by the text.");

/// `err-code` of a delivery receipt (developer.vonage.com, SMS delivery receipts).
pub(crate) fn failure(err: u32) -> Option<ErrorCode> {
    use ErrorCode as E;
    Some(match err {
        2 => E::AbsentSubscriber,
        3 => E::UnknownSubscriber,
        4 => E::BlockedByRecipient,
        6 | 50 | 52 => E::ContentFiltered,
        7 => E::HandsetBusy,
        8 => E::CarrierError,
        9 => E::InvalidNumber,
        10 => E::MessageInvalid,
        5 | 11 | 12 => E::Undeliverable,
        13 | 14 | 53 | 54 => E::BlockedByCarrier,
        15 | 16 => E::CarrierAccount,
        51 => E::SenderRejected,
        _ => return None,
    })
}
