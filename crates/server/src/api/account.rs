//! The caller's own account and its settings.

use axum::extract::State;
use carillon_domain::account::{MmsFallback, OtpSuccess, Settings, Status, StopScope, Tier};
use carillon_domain::consent::Needed;
use carillon_domain::id::AccountId;
use carillon_domain::phone::Country;
use carillon_domain::quiet::QuietHours;
use carillon_domain::sender::Sender;
use carillon_domain::verification::{OwnRules, Rules};
use carillon_store::account::{self, Account};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::name;
use super::error::{Code, Problem};
use super::extract::{AccountRead, AccountWrite, Can, Json, given};
use crate::app::App;
use crate::clock::rfc3339;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountView {
    /// Its id; a bare UUID is taken too.
    #[schema(value_type = String)]
    id: AccountId,
    /// What people call it.
    name: String,
    /// `active`, `suspended` (reads, does not send) or `closed`.
    #[schema(value_type = String, example = "active")]
    status: Status,
    /// `regular`, `premium` or `vip`.
    #[schema(value_type = String, example = "regular")]
    tier: Tier,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// How its messages are taken.
    #[schema(value_type = SettingsView)]
    settings: Settings,
    /// RFC 3339.
    created_at: String,
}

impl AccountView {
    pub(super) fn of(a: &Account) -> AccountView {
        AccountView {
            id: a.id,
            name: a.name.clone(),
            status: a.status,
            tier: a.tier,
            currency: a.currency.clone(),
            settings: a.settings.clone(),
            created_at: rfc3339(a.created_at),
        }
    }
}

/// Characters of what answers STOP, START and HELP.
const ANSWER_MAX: usize = 320;

/// Settings of an account; for the documentation.
#[derive(ToSchema)]
#[schema(as = Settings)]
#[allow(dead_code, reason = "describes domain::account::Settings, which knows nothing of OpenAPI")]
pub struct SettingsView {
    /// Two-letter country that completes national numbers.
    #[schema(example = "DE")]
    default_country: Option<String>,
    /// Check numbers by their E.164 shape only.
    lenient: bool,
    /// Whether the answer to an OTP request shows the code.
    otp_return_code: bool,
    /// `carrier`: success when the carrier takes it; `handset`: when the handset confirms it.
    #[schema(example = "carrier")]
    otp_success: String,
    /// Replace characters outside GSM-7 when that makes the whole text GSM-7.
    transliterate: bool,
    /// The most parts of one message, 1 to 255.
    parts_max: u8,
    /// Used when a message names none.
    default_sender: Option<String>,
    /// How long an undelivered message is tried, seconds: 60 to 604800.
    validity_s: u32,
    /// Rules of its own for verifications, by the names of the server's `[verification]`; what is not named is as there.
    #[schema(value_type = Object, example = json!({"countries": ["DE", "FR"], "number_per_day": 5}))]
    verification: (),
    /// Limits the operator gave it in the place of its tier's.
    #[schema(value_type = Object, example = json!({"requests_per_s": 500}))]
    limits: (),
    /// What a part, or an MMS, by a carrier of its own costs, decimal, by the operator; null: the platform's fee.
    #[schema(example = "0.001")]
    own_carrier_fee: Option<String>,
    /// Of files that no carrier takes: `link` puts links into the text, `refuse` refuses the message.
    #[schema(example = "link")]
    mms_fallback: String,
    /// How far a person's STOP reaches: `account`, or `sender` (the number it was written to).
    #[schema(example = "account")]
    stop_scope: String,
    /// What promotional messages need: `opt_out` (that nobody refused), `opt_in` (a recorded consent) or `double_opt_in` (one confirmed from
    /// the number itself).
    #[schema(example = "opt_out")]
    promotional_consent: String,
    /// What confirms a STOP (no advertising: the law allows one confirmation), at most 320 characters.
    opt_out_text: Option<String>,
    /// What confirms a START.
    opt_in_text: Option<String>,
    /// What answers HELP.
    help_text: Option<String>,
    /// When promotional messages may go: `country` (as customary where the recipient is), `off`, or hours of yours in the recipient's time.
    #[schema(value_type = Object, example = json!({"own": {"from": "10:00", "to": "18:00", "days": ["mon", "tue", "wed", "thu", "fri"]}}))]
    quiet_hours: (),
    /// Whether a request may say `"quiet_hours": "ignore"`.
    quiet_hours_ignorable: bool,
    /// The domain that short links begin with; it leads to this server. null: the server's own.
    #[schema(example = "go.shop.example")]
    link_domain: Option<String>,
}

/// What to change; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    /// What people call it.
    name: Option<String>,
    /// How its messages are taken.
    settings: Option<SettingsChange>,
}

/// Settings to change; null takes an optional one away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "DE")]
    default_country: Option<Option<String>>,
    lenient: Option<bool>,
    otp_return_code: Option<bool>,
    #[schema(value_type = Option<String>, example = "carrier")]
    otp_success: Option<OtpSuccess>,
    transliterate: Option<bool>,
    parts_max: Option<u8>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    default_sender: Option<Option<String>>,
    validity_s: Option<u32>,
    /// As a whole: what is not named goes back to the server's rule.
    #[schema(value_type = Option<Object>, example = json!({"countries": ["DE", "FR"], "number_per_day": 5}))]
    verification: Option<OwnRules>,
    #[schema(value_type = Option<String>, example = "link")]
    mms_fallback: Option<MmsFallback>,
    #[schema(value_type = Option<String>, example = "account")]
    stop_scope: Option<StopScope>,
    #[schema(value_type = Option<String>, example = "opt_out")]
    promotional_consent: Option<Needed>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    opt_out_text: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    opt_in_text: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    help_text: Option<Option<String>>,
    /// `"country"`, `"off"` or `{"own": {"from", "to", "days"}}`.
    #[schema(value_type = Option<Object>, example = json!({"own": {"from": "10:00", "to": "18:00"}}))]
    quiet_hours: Option<QuietHours>,
    quiet_hours_ignorable: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "go.shop.example")]
    link_domain: Option<Option<String>>,
}

impl SettingsChange {
    /// The settings after the change, or every field that cannot be.
    pub fn apply(self, old: &Settings, platform: &Rules) -> Result<Settings, Problem> {
        let mut problem = Problem::from(Code::InvalidRequest);
        let mut refuse = |field: &str, why: &'static str| {
            problem = std::mem::replace(&mut problem, Code::InvalidRequest.into()).and(
                Code::InvalidValue,
                format!("#/settings/{field}"),
                why,
            );
        };
        if let Some(Some(country)) = &self.default_country
            && Country::parse(country).is_none()
        {
            refuse("default_country", "a two-letter country code with telephone numbers, such as DE");
        }
        if let Some(Some(sender)) = &self.default_sender
            && sender.parse::<Sender>().is_err()
        {
            refuse("default_sender", "a number with +, a short code, or 1 to 11 letters and digits");
        }
        if self.parts_max == Some(0) {
            refuse("parts_max", "1 to 255");
        }
        if self.validity_s.is_some_and(|s| !(60..=604_800).contains(&s)) {
            refuse("validity_s", "60 to 604800");
        }
        for (field, may) in self.verification.iter().flat_map(|own| platform.with(own).mistakes()) {
            refuse(&format!("verification/{field}"), may);
        }
        let texts =
            [("opt_out_text", &self.opt_out_text), ("opt_in_text", &self.opt_in_text), ("help_text", &self.help_text)];
        for (field, text) in texts {
            if text.as_ref().and_then(Option::as_ref).is_some_and(|t| !(1..=ANSWER_MAX).contains(&t.chars().count())) {
                refuse(field, "1 to 320 characters");
            }
        }
        if matches!(&self.quiet_hours, Some(QuietHours::Own(window)) if window.week().is_none()) {
            refuse("quiet_hours", "`from` comes before `to`, on one day at least");
        }
        if self.link_domain.iter().flatten().any(|domain| !is_domain(domain)) {
            refuse("link_domain", "a domain in small letters, such as go.shop.example, without https:// and path");
        }
        if !problem.errors.is_empty() {
            return Err(problem);
        }
        Ok(Settings {
            default_country: self.default_country.unwrap_or_else(|| old.default_country.clone()),
            lenient: self.lenient.unwrap_or(old.lenient),
            otp_return_code: self.otp_return_code.unwrap_or(old.otp_return_code),
            otp_success: self.otp_success.unwrap_or(old.otp_success),
            transliterate: self.transliterate.unwrap_or(old.transliterate),
            parts_max: self.parts_max.unwrap_or(old.parts_max),
            default_sender: self.default_sender.unwrap_or_else(|| old.default_sender.clone()),
            validity_s: self.validity_s.unwrap_or(old.validity_s),
            verification: self.verification.unwrap_or_else(|| old.verification.clone()),
            limits: old.limits,
            own_carrier_fee: old.own_carrier_fee,
            mms_fallback: self.mms_fallback.unwrap_or(old.mms_fallback),
            stop_scope: self.stop_scope.unwrap_or(old.stop_scope),
            promotional_consent: self.promotional_consent.unwrap_or(old.promotional_consent),
            opt_out_text: self.opt_out_text.unwrap_or_else(|| old.opt_out_text.clone()),
            opt_in_text: self.opt_in_text.unwrap_or_else(|| old.opt_in_text.clone()),
            help_text: self.help_text.unwrap_or_else(|| old.help_text.clone()),
            quiet_hours: self.quiet_hours.unwrap_or_else(|| old.quiet_hours.clone()),
            quiet_hours_ignorable: self.quiet_hours_ignorable.unwrap_or(old.quiet_hours_ignorable),
            link_domain: self.link_domain.unwrap_or_else(|| old.link_domain.clone()),
        })
    }
}

/// Whether a text is a domain name as it can stand in a link: labels of ASCII letters, digits and hyphens, at least two.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let sign = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(sign) && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 100 && text.contains('.') && text.split('.').all(label) && top.bytes().any(|b| b.is_ascii_lowercase())
}

/// Read the account.
#[utoipa::path(get, path = "/v1/account", tag = "Account", operation_id = "getAccount", responses((status = 200, body = AccountView)))]
pub async fn read(caller: Can<AccountRead>) -> Json<AccountView> {
    Json(AccountView::of(&caller.info))
}

/// Change the account's name or settings.
#[utoipa::path(patch, path = "/v1/account", tag = "Account", operation_id = "changeAccount", request_body = AccountChange,
    responses((status = 200, body = AccountView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<AccountWrite>,
    Json(body): Json<AccountChange>,
) -> Result<Json<AccountView>, Problem> {
    let name = body.name.map(|text| name(&text, "#/name")).transpose()?;
    // From the row, not from memory: another process may have changed other settings.
    let old = account::by_no(&app.db, caller.account).await?;
    let settings = body.settings.map(|s| s.apply(&old.settings, &app.config.verification)).transpose()?;
    let new = account::change(&app.db, caller.account, name.as_deref(), None, None, settings.as_ref()).await?;
    app.access.forget_account(caller.account);
    Ok(Json(AccountView::of(&new)))
}
