//! Refusals: one registry of codes, one shape (RFC 9457 `application/problem+json`).
//!
//! To add a code, add one entry to the `codes!` list below: its name in Rust, the stable text clients see, the HTTP status,
//! whether the same request may succeed later (`retry` or `final`), a title, and what the caller should do. The documentation
//! page `/docs/problems` and the OpenAPI document are rendered from the list. Never rename or reuse a code.
//!
//! To refuse, return `Err(Code::X.into())`, or `Code::X.with("what is wrong with this very request")`, or for a field
//! `Code::X.at("#/to", "why")`. The body is rendered by `finish` in `api/mod.rs`, which knows the request's id.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carillon_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $retry:ident, $title:literal, $remedy:literal;)*) => {
        /// What kind of refusal it is; stable, listed at `/docs/problems`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the title in the list says what each is")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code there is, in the order of the list.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            /// The stable text clients compare with.
            pub fn as_str(self) -> &'static str { match self { $(Code::$name => $code,)* } }
            /// The HTTP status it is answered with.
            pub fn status(self) -> StatusCode {
                StatusCode::from_u16(match self { $(Code::$name => $status,)* }).expect("the list holds HTTP statuses")
            }
            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool { match self { $(Code::$name => codes!(@ $retry),)* } }
            /// One line for people.
            pub fn title(self) -> &'static str { match self { $(Code::$name => $title,)* } }
            /// What the caller should do.
            pub fn remedy(self) -> &'static str { match self { $(Code::$name => $remedy,)* } }
        }
    };
    (@ retry) => { true };
    (@ final) => { false };
}

codes! {
    // The request as a whole.
    MalformedCsv = "malformed_csv", 400, final, "The body is not CSV", "Send RFC 4180 in UTF-8, its first line naming the columns.";
    MalformedJson = "malformed_json", 400, final, "The body is not JSON", "Send one complete JSON value in UTF-8.";
    InvalidRequest = "invalid_request", 400, final, "Some fields are not acceptable", "Correct each field listed in `errors` and send again.";
    InvalidQuery = "invalid_query", 400, final, "The query string is not acceptable", "Correct or remove the parameters listed in `errors`.";
    InvalidCursor = "invalid_cursor", 400, final, "The cursor is not one of this list", "Use `next_cursor` of the previous page with the same filters, or start without a cursor.";
    InvalidId = "invalid_id", 400, final, "The id has the wrong shape", "Use an id as this API showed it.";
    UnsupportedMediaType = "unsupported_media_type", 415, final, "The body has the wrong content type", "Send `Content-Type: application/json`.";
    PayloadTooLarge = "payload_too_large", 413, final, "The body is too large", "Split the request; the limit stands in `detail`.";
    RequestTimeout = "request_timeout", 408, retry, "The body did not come in time", "Send it without pauses, or split it.";
    RateLimited = "rate_limited", 429, retry, "Too many requests", "Wait as long as `Retry-After` says; the RateLimit headers tell what is left.";
    NotFound = "not_found", 404, final, "There is nothing here", "Check the path and the id; what belongs to another account is not shown.";
    MethodNotAllowed = "method_not_allowed", 405, final, "The path does not take this method", "Use one of the methods in the `Allow` header.";
    // One field (in `errors[].code`; as a code of its own never).
    UnknownField = "unknown_field", 400, final, "A field this endpoint does not have", "Check the spelling, or leave it out.";
    DuplicateField = "duplicate_field", 400, final, "A field given twice", "Give it once.";
    MissingField = "missing_field", 400, final, "A required field is missing", "Add it.";
    WrongType = "wrong_type", 400, final, "A field of the wrong type", "Send the type the documentation names.";
    InvalidValue = "invalid_value", 400, final, "A value outside what is allowed", "Choose one the documentation allows.";
    TooLong = "too_long", 400, final, "A value that is too long", "Shorten it.";
    TooShort = "too_short", 400, final, "A value that is too short", "Lengthen it.";
    ConflictingFields = "conflicting_fields", 400, final, "Fields that exclude one another", "Leave one of them out.";
    OtpCodeMissing = "otp_code_missing", 400, final, "The text does not hold the one-time code", "Write {code} where it belongs, or leave `text` out.";
    DuplicateRecipient = "duplicate_recipient", 400, final, "A number that stands in the list before", "Nothing: the number gets one message.";
    MissingVariable = "missing_variable", 400, final, "A recipient lacks a word for a place in the text", "Give it in `variables`, or write a fallback: {{name|default(\"friend\")}}.";
    QuietHours = "quiet_hours", 400, final, "The message may not go in its time", "Raise `validity_s`, widen `send_window`, or send it later; the account's setting `quiet_hours` says what is kept.";
    LocalTimePast = "local_time_past", 400, final, "It is past that time where the recipient is", "Choose a later `scheduled_at`, or leave the recipient out.";
    InvalidLink = "invalid_link", 400, final, "A web address in the text cannot be shortened", "Correct it, or leave `shorten_links` out.";
    LinksUnavailable = "links_unavailable", 400, final, "There is no address for short links", "Set the account's `link_domain`, or have the operator set `server.public_url`.";
    InvalidTemplate = "invalid_template", 400, final, "A place in the text cannot be read", "Write {{name}} or {{name|default(\"friend\")}}; `detail` says what else can stand there.";
    // A phone number (in `errors[].code`).
    PhoneEmpty = "phone_empty", 400, final, "The phone number is empty", "Write it with + and the country code.";
    PhoneNotANumber = "phone_not_a_number", 400, final, "This is not a phone number", "Write it with + and digits, such as +4915112345678.";
    PhoneMissingCountry = "phone_missing_country", 400, final, "The number has no country code", "Write it with + and the country code, or set the account's `default_country`.";
    PhoneUnknownCountryCode = "phone_unknown_country_code", 400, final, "No country has this country code", "Check the digits after the +.";
    PhoneTooShort = "phone_too_short", 400, final, "The number has too few digits", "Check it with the recipient.";
    PhoneTooLong = "phone_too_long", 400, final, "The number has too many digits", "Check it with the recipient.";
    PhoneWrongLength = "phone_wrong_length", 400, final, "The number's length is not used in its country", "Check it with the recipient.";
    PhoneTrunkPrefix = "phone_trunk_prefix", 400, final, "A national prefix stands after the country code", "Leave it out: `suggestion` holds the number that was probably meant.";
    PhoneShortCode = "phone_short_code", 400, final, "Short codes cannot be written to", "Use a full phone number.";
    PhoneInvalidForCountry = "phone_invalid_for_country", 400, final, "No such number is in use in its country", "Check it with the recipient; the account setting `lenient` accepts any number of the right shape.";
    // A sender (in `errors[].code`).
    SenderEmpty = "sender_empty", 400, final, "The sender is empty", "Name one, or leave `from` out.";
    SenderTooLong = "sender_too_long", 400, final, "A sender name has at most 11 characters", "Shorten it.";
    SenderCharacter = "sender_character", 400, final, "A character that senders cannot have", "Use letters, digits, space and . - _ & + '.";
    SenderOuterSpace = "sender_outer_space", 400, final, "A sender that begins or ends with a space", "Remove the space.";
    SenderNoLetter = "sender_no_letter", 400, final, "A sender name without a letter", "Add a letter, or write a phone number with +.";
    SenderShortCodeLength = "sender_short_code_length", 400, final, "A short code has 3 to 8 digits", "Check it, or write a phone number with +.";
    SenderLongCode = "sender_long_code", 400, final, "The sender is no phone number", "Write + and 7 to 15 digits with the country code.";
    // Files.
    MediaGone = "media_gone", 410, final, "The file is gone", "It has expired or was deleted: upload it again.";
    RangeNotSatisfiable = "range_not_satisfiable", 416, final, "The file ends before the range begins", "Ask for octets below the size in `Content-Range`.";
    MediaUnavailable = "media_unavailable", 400, final, "Files uploaded here have no public address", "The operator sets `server.public_url`; addresses elsewhere with https:// work anyway.";
    MediaFull = "media_full", 409, final, "The account's files take up as much as they may", "Delete files that are not needed, or wait until they expire.";
    MmsUnavailable = "mms_unavailable", 400, final, "No carrier here takes files with a message", "Leave `media` out, or set the account's `mms_fallback` to `link`.";
    SenderNotApproved = "sender_not_approved", 400, final, "The sender is none of the account's approved ones", "Request it with POST /v1/senders, or name an approved one.";
    SenderNotAllowedInCountry = "sender_not_allowed_in_country", 400, final, "The sender cannot be used in the recipient's country", "Name one that is approved for that country, such as a number of it.";
    SenderExists = "sender_exists", 409, final, "The account has asked for this sender before", "Read it in the list of senders; delete it to ask anew.";
    TooManySenders = "too_many_senders", 409, final, "The account has as many senders as it may", "Delete one that is not needed.";
    SenderNotDefault = "sender_not_default", 409, final, "Only an approved sender can stand in for others", "Wait for its approval.";
    // Who asks.
    Unauthenticated = "unauthenticated", 401, final, "No valid credential", "Send `Authorization: Bearer <API key or access token>`, or `X-Api-Key`.";
    InvalidCredential = "invalid_credential", 401, final, "The credential is not valid", "Check it for missing characters; make a new key or sign in again.";
    ExpiredCredential = "expired_credential", 401, final, "The credential has expired", "Refresh the access token, or make a new key.";
    RevokedCredential = "revoked_credential", 401, final, "The credential was revoked", "Make a new key, or sign in again.";
    WrongPassword = "wrong_password", 401, final, "Email or password is wrong", "Check both; after repeated failures signing in is locked for a while.";
    LockedOut = "locked_out", 429, retry, "Too many failures to sign in", "Wait as long as `Retry-After` says.";
    Busy = "busy", 503, retry, "The server is working at its limit", "Try again after `Retry-After` seconds.";
    Forbidden = "forbidden", 403, final, "The credential may not do this", "Use one with the scope named in `detail`.";
    ClientMismatch = "client_mismatch", 403, final, "`client_id` names another account", "Leave `client_id` out, or use a credential of that account.";
    AccountSuspended = "account_suspended", 403, final, "The account is suspended", "It can read, not send; ask the operator.";
    AccountClosed = "account_closed", 403, final, "The account is closed", "Ask the operator.";
    Suppressed = "suppressed", 403, final, "The number is on the suppression list", "Do not write to it; the list says why. An entry made by mistake can be ended: DELETE /v1/suppressions/{id}.";
    NoConsent = "no_consent", 403, final, "The number has not agreed to this", "Ask for consent first: POST /v1/contacts/{id}/double-opt-in; or record what you have: POST /v1/consents. docs/CONSENT.md says what is needed.";
    ConsentAsked = "consent_asked", 409, final, "The person was asked already", "Wait for the answer; who does not answer is asked three times in thirty days at most.";
    ConsentConfirmed = "consent_confirmed", 409, final, "The person agreed and confirmed it", "Nothing: they can be written to.";
    // Accounts and access.
    EmailTaken = "email_taken", 409, final, "The email address has a user already", "Sign in, or use another address.";
    IdTaken = "id_taken", 409, final, "The id is in use", "Choose another, or leave it out.";
    NameTaken = "name_taken", 409, final, "The name is in use", "Choose another.";
    SegmentOutdated = "segment_outdated", 409, final, "The segment names an attribute that was taken away", "Change the segment's filter, or declare the attribute again.";
    SourceFailed = "source_failed", 502, retry, "The source could not be read", "`detail` says why; POST /v1/sources/{id}/test shows what it has.";
    ContactExists = "contact_exists", 409, final, "Another contact has this number", "Change that one: GET /v1/contacts?phone= finds it.";
    ImportNotWaiting = "import_not_waiting", 409, final, "The import was started, or has ended", "Read its `status`; upload the file again to take it in again.";
    LimitReached = "limit_reached", 409, final, "There are as many as there may be", "Delete one that is not needed, or ask the operator.";
    ConfiguredInFile = "configured_in_file", 409, final, "It stands in the configuration file", "Change it there and start the server again.";
    WeakPassword = "weak_password", 400, final, "The password is too easy to guess", "Use at least 10 characters, and not the email address.";
    ScopeNotHeld = "scope_not_held", 403, final, "A key cannot have more scopes than its maker", "Ask for fewer scopes, or use a stronger credential.";
    InvalidClientId = "invalid_client_id", 400, final, "`client_id` is not a UUID", "Send the UUID of the account, such as 550e8400-e29b-41d4-a716-446655440000.";
    RegistrationClosed = "registration_closed", 403, final, "Registration is closed on this server", "Ask the operator for an account.";
    // Money.
    InsufficientCredit = "insufficient_credit", 402, final, "The balance does not cover this", "Top up, or send less: `needed` and `available` say how much.";
    PaymentDeclined = "payment_declined", 402, final, "The payment was declined", "Nothing was credited: pay in another way.";
    InvalidAmount = "invalid_amount", 400, final, "The amount is not acceptable", "Send a decimal string such as \"12.50\", at most six places.";
    // What became of it.
    OtpFailed = "otp_failed", 503, retry, "The one-time code could not be sent", "Let the user ask for a new code; nothing was charged. `failure` says why.";
    TooLateToCancel = "too_late_to_cancel", 409, final, "The message cannot be canceled any more", "A carrier has it, or it has ended: read its `status`.";
    NotEditable = "not_editable", 409, final, "It cannot be changed any more", "Only what waits for its time can: read its `status`, or cancel it and send another.";
    BatchLoading = "batch_loading", 409, retry, "The batch is still being stored", "Wait until its `status` is `accepted`.";
    // Campaigns.
    CampaignState = "campaign_state", 409, final, "The campaign's state does not allow this", "`status` says what it is: see docs/CAMPAIGNS.md for what can be done then.";
    DripState = "drip_state", 409, final, "The drip's state does not allow this", "`status` says what it is: see docs/DRIPS.md for what can be done then.";
    // Reports.
    ReportTooLarge = "report_too_large", 400, final, "The report has too many rows", "Ask for fewer days or groups.";
    // Verifying numbers.
    VerificationEnded = "verification_ended", 409, final, "The verification has ended", "`status` says how; begin a new one.";
    VerificationResendTooSoon = "verification_resend_too_soon", 429, retry, "The last code was sent a moment ago", "Wait as long as `Retry-After` says.";
    VerificationResendLimit = "verification_resend_limit", 409, final, "No more codes are sent for this verification", "Begin a new one.";
    VerificationCountryNotAllowed = "verification_country_not_allowed", 403, final, "Codes are not sent to this country", "Add it to `verification.countries` of the account's settings if you have users there.";
    VerificationCapNumber = "verification_cap_number", 429, retry, "Too many codes to this number", "Wait as long as `Retry-After` says.";
    VerificationCapPrefix = "verification_cap_prefix", 429, retry, "Too many codes to this block of numbers", "Look whether these are people; if so, raise `verification.prefix_per_hour` or `prefix_per_day`.";
    VerificationCapAddress = "verification_cap_address", 429, retry, "Too many codes asked for from this address", "Look whether this is a person; wait as long as `Retry-After` says.";
    VerificationCapAccount = "verification_cap_account", 429, retry, "Too many codes of this account", "Wait as long as `Retry-After` says, or raise `verification.account_per_hour` or `account_per_day`.";
    VerificationConversionLow = "verification_conversion_low", 429, retry, "Too few codes to these numbers ever come back", "This looks like pumping. If it is not: report codes back with `check`, or lower `verification.conversion_min_percent`.";
    // Webhooks.
    EndpointLimit = "endpoint_limit", 409, final, "The account has as many webhook endpoints as it may", "Delete one, or give one more events.";
    EndpointDisabled = "endpoint_disabled", 409, final, "The webhook endpoint is disabled", "Enable it first: PATCH it with `status: enabled`.";
    // Repeating.
    IdempotencyInFlight = "idempotency_in_flight", 409, retry, "The first request with this Idempotency-Key is still running", "Wait a second and send the same request again.";
    IdempotencyMismatch = "idempotency_mismatch", 422, final, "The Idempotency-Key was used with another body", "Use a new key for a new request.";
    IdempotencyKeyRequired = "idempotency_key_required", 400, final, "The header Idempotency-Key is missing", "Send one that is this launch's alone: a repeated request then launches once.";
    InvalidIdempotencyKey = "invalid_idempotency_key", 400, final, "The Idempotency-Key is not acceptable", "Send 1 to 255 printable ASCII characters.";
    // Ours.
    StoreUnavailable = "store_unavailable", 503, retry, "The database cannot take this now", "Nothing was changed; try again after `Retry-After` seconds.";
    NotReady = "not_ready", 503, retry, "The server is not ready", "Wait until `/ready` answers 200.";
    Internal = "internal", 500, retry, "Something went wrong on our side", "Try again; if it stays, report the `request_id`.";
}

impl Code {
    /// A refusal whose `detail` says what is wrong with this very request.
    pub fn with(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { detail: Some(detail.into()), ..Problem::from(self) }
    }

    /// A refusal of the request because of one field: the problem is `invalid_request`, the field's code is this one.
    pub fn at(self, pointer: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::from(Code::InvalidRequest).and(self, pointer, detail)
    }
}

/// One refused field.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) as a URI fragment: `#/to`; for a query parameter its name after `?`.
    #[schema(example = "#/to")]
    pub pointer: Cow<'static, str>,
    /// A code of the registry.
    #[schema(example = "invalid_value")]
    pub code: &'static str,
    /// What is wrong with it.
    pub detail: Cow<'static, str>,
    /// What was probably meant, if that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "+4915112345678")]
    pub suggestion: Option<String>,
}

/// A refusal on its way out. Cheap to make; rendered once by `finish`.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which refusal.
    pub code: Code,
    /// What is wrong with this very request; the title when `None`.
    pub detail: Option<Cow<'static, str>>,
    /// Refused fields.
    pub errors: Vec<FieldError>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// Members of its own, such as seed 1's `error`.
    pub extra: Vec<(&'static str, serde_json::Value)>,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        let retry_after = matches!(
            code,
            Code::Busy | Code::StoreUnavailable | Code::NotReady | Code::IdempotencyInFlight | Code::BatchLoading
        )
        .then_some(1);
        Problem { code, detail: None, errors: Vec::new(), retry_after, extra: Vec::new() }
    }
}

/// What the database says, as callers may see it: details of ours go to the log only.
impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Problem {
        match e {
            StoreError::NotFound => Code::NotFound.into(),
            StoreError::Taken("contact phone") => Code::ContactExists.into(),
            StoreError::Taken("connection name") => Code::NameTaken.into(),
            StoreError::Taken("template name") => Code::NameTaken.into(),
            StoreError::Taken("connections" | "routes" | "templates" | "drips") => Code::LimitReached.into(),
            StoreError::Taken(_) => Code::IdTaken.into(),
            StoreError::Unavailable(why) => {
                tracing::error!(error = why, "the database cannot take work");
                Code::StoreUnavailable.into()
            }
            StoreError::Broken(why) => {
                tracing::error!(error = why, "the database gave an answer that makes no sense");
                Code::Internal.into()
            }
        }
    }
}

impl Problem {
    /// With one more refused field.
    #[must_use]
    pub fn and(
        mut self,
        code: Code,
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Problem {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            code: code.as_str(),
            detail: detail.into(),
            suggestion: None,
        });
        self
    }

    /// With a `Retry-After` of so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after = Some(seconds);
        self
    }

    /// With a member of its own in the body.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Problem {
        self.extra.push((name, value.into()));
        self
    }

    /// The JSON body.
    pub fn to_json(&self, request_id: &str) -> serde_json::Value {
        let detail = self.detail.as_deref().or_else(|| self.errors.first().map(|e| &*e.detail));
        let mut body = serde_json::json!({
            "type": format!("/docs/problems#{}", self.code.as_str()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": detail.unwrap_or(self.code.remedy()),
            "code": self.code.as_str(),
            "retryable": self.code.retryable(),
            "request_id": request_id,
        });
        let members = body.as_object_mut().expect("made as an object above");
        if !self.errors.is_empty() {
            members.insert("errors".into(), serde_json::json!(self.errors));
        }
        for (name, value) in &self.extra {
            members.insert((*name).into(), value.clone());
        }
        body
    }

    /// The answer with its body, for `finish`.
    pub fn render(&self, request_id: &str) -> Response {
        let mut response = (self.code.status(), self.to_json(request_id).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"carillon\""));
        }
        response
    }
}

/// Leaves the problem in the response's extensions: only `finish` knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

/// The body of every refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the code is explained.
    #[schema(example = "/docs/problems#insufficient_credit")]
    pub r#type: String,
    /// One line for people; the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    #[schema(example = 402)]
    pub status: u16,
    /// What is wrong with this very request.
    pub detail: String,
    /// The stable code.
    #[schema(example = "insufficient_credit")]
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Also in the header `Request-Id`.
    pub request_id: String,
    /// The refused fields, if fields were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_have_sane_statuses() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.title().len() < 80 && code.remedy().ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn a_problem_as_the_caller_sees_it() {
        let body = Code::InvalidValue.at("#/to", "too few digits").member("error", "no").to_json("r1");
        assert_eq!(body["code"], "invalid_request");
        assert_eq!(body["detail"], "too few digits");
        assert_eq!(body["errors"][0]["pointer"], "#/to");
        assert_eq!(body["errors"][0]["code"], "invalid_value");
        assert_eq!((&body["error"], &body["request_id"]), (&"no".into(), &"r1".into()));
    }
}
