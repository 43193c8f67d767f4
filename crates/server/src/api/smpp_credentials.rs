//! SMPP credentials of an account: what its programs bind with. The password is shown once, when it is made.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{SmppCredentialId, TypeId};
use carillon_domain::sender::Sender;
use carillon_domain::smpp::{AddressRange, CredentialSettings, DefaultAlphabet, InboundForm};
use carillon_store::smpp_credential::{self, Change, SmppCredential};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api_keys::ListQuery;
use super::auth::name;
use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Query, SmppManage};
use super::page::{Paged, Window};
use crate::access::key::random_base62;
use crate::app::App;
use crate::clock::rfc3339;

/// All that the protocol allows (SMPP 3.4 §5.2.2).
const PASSWORD_LEN: usize = 8;
/// Of 15 that the protocol allows.
const SYSTEM_ID_LEN: usize = 12;
const ADDRESSES_MAX: usize = 50;

/// Bounds and ways of a credential; what is left out keeps its value, or its default when the credential is made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialBody {
    /// What you call it. Needed to make one.
    #[schema(example = "billing system")]
    name: Option<String>,
    /// Whether it may bind; true if not given.
    enabled: Option<bool>,
    /// From where it may bind: addresses and blocks. From anywhere if empty, which is no good idea: the password is short.
    #[schema(example = json!(["192.0.2.0/24", "2001:db8::7"]))]
    allowed_addresses: Option<Vec<String>>,
    /// Sessions at once; 4 if not given.
    max_binds: Option<u16>,
    /// Requests unanswered at once in a session, each way; 100 if not given.
    window: Option<u16>,
    /// Parts a second over all sessions, and deliveries a second back; 0 is no limit, 100 if not given.
    rate: Option<u32>,
    /// Sender of messages whose source address is empty; "" for the account's.
    default_sender: Option<String>,
    /// Whether `priority_flag` 1 to 3 sends express, at its price; otherwise it is passed over.
    express: Option<bool>,
    /// What `data_coding` 0 means: `gsm7`, `latin1` or `ascii`.
    #[schema(example = "gsm7")]
    alphabet: Option<String>,
    /// Inbound messages: `udh` (long ones in parts), `payload` (whole, in message_payload) or `none`.
    #[schema(example = "udh")]
    inbound: Option<String>,
}

/// A credential without its password.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialView {
    #[schema(value_type = String, example = "smp_01h455vb4pex5vsknk084sn02q")]
    id: SmppCredentialId,
    name: String,
    /// What to bind as.
    #[schema(example = "k3fq9x0zt1vd")]
    system_id: String,
    enabled: bool,
    allowed_addresses: Vec<String>,
    max_binds: u16,
    window: u16,
    rate: u32,
    default_sender: Option<String>,
    express: bool,
    #[schema(value_type = String)]
    alphabet: DefaultAlphabet,
    #[schema(value_type = String)]
    inbound: InboundForm,
    /// Sessions bound now, on this server.
    bound: u16,
    /// RFC 3339.
    created_at: String,
    /// About when it was last bound (to the minute), RFC 3339.
    bound_at: Option<String>,
    /// What you should change.
    warnings: Vec<&'static str>,
}

/// A credential with its password.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedCredential {
    /// The password: shown now and never again.
    #[schema(example = "x7Kq2mB9")]
    password: String,
    #[serde(flatten)]
    credential: CredentialView,
}

fn view(app: &App, c: SmppCredential) -> CredentialView {
    let s = c.settings;
    let open = s.allowed_addresses.is_empty();
    let warning = "any address may try to bind, and SMPP passwords have eight characters: set `allowed_addresses`";
    CredentialView {
        id: c.id,
        name: c.name,
        system_id: c.system_id,
        enabled: c.enabled,
        allowed_addresses: s.allowed_addresses.iter().map(AddressRange::to_string).collect(),
        max_binds: s.max_binds,
        window: s.window,
        rate: s.rate,
        default_sender: s.default_sender,
        express: s.express,
        alphabet: s.alphabet,
        inbound: s.inbound,
        bound: app.smpp.bound(c.account, c.no),
        created_at: rfc3339(c.created_at),
        bound_at: c.bound_at.map(rfc3339),
        warnings: open.then_some(warning).into_iter().collect(),
    }
}

/// One of a list of words.
fn word<T>(field: &'static str, text: &str, words: &[(&str, T)]) -> Result<T, Problem>
where
    T: Copy,
{
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Code::InvalidValue.at(field, format!("one of {}", known.join(", ")))
    })
}

fn bounded(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), Problem> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Code::InvalidValue.at(field, format!("{least} to {most}")))
}

impl CredentialBody {
    /// The settings with what the body says of them.
    fn settings(&self, app: &App, mut s: CredentialSettings) -> Result<CredentialSettings, Problem> {
        let most = &app.config.smpp_server;
        if let Some(texts) = &self.allowed_addresses {
            if texts.len() > ADDRESSES_MAX {
                return Err(Code::TooLong.at("#/allowed_addresses", "at most 50; larger blocks need fewer"));
            }
            let ranges = texts.iter().enumerate().map(|(i, text)| {
                text.parse().map_err(|e: carillon_domain::smpp::AddressRangeError| {
                    Code::InvalidValue.at(format!("#/allowed_addresses/{i}"), e.to_string())
                })
            });
            s.allowed_addresses = ranges.collect::<Result<_, _>>()?;
        }
        if let Some(binds) = self.max_binds {
            bounded("#/max_binds", binds.into(), 1, most.binds_max.into())?;
            s.max_binds = binds;
        }
        if let Some(window) = self.window {
            bounded("#/window", window.into(), 1, most.window_max.into())?;
            s.window = window;
        }
        if let Some(rate) = self.rate {
            match most.rate_max {
                0 => {}
                max => bounded("#/rate", rate, 1, max)?,
            }
            s.rate = rate;
        }
        if let Some(text) = &self.default_sender {
            let sender = (!text.is_empty()).then(|| text.parse::<Sender>()).transpose();
            let sender = sender.map_err(|e| Code::InvalidValue.at("#/default_sender", e.to_string()))?;
            s.default_sender = sender.map(|sender| sender.as_str().to_owned());
        }
        if let Some(text) = &self.alphabet {
            use DefaultAlphabet::{Ascii, Gsm7, Latin1};
            s.alphabet = word("#/alphabet", text, &[("gsm7", Gsm7), ("latin1", Latin1), ("ascii", Ascii)])?;
        }
        if let Some(text) = &self.inbound {
            use InboundForm::{None, Payload, Udh};
            s.inbound = word("#/inbound", text, &[("udh", Udh), ("payload", Payload), ("none", None)])?;
        }
        s.express = self.express.unwrap_or(s.express);
        Ok(s)
    }
}

/// Make an SMPP credential.
///
/// The answer is the only place its password is ever shown. Set `allowed_addresses`: a password of eight characters is all the protocol has.
#[utoipa::path(post, path = "/v1/smpp-credentials", tag = "SMPP", operation_id = "createSmppCredential",
    request_body(content = CredentialBody, example = json!({"name": "billing system", "allowed_addresses": ["192.0.2.0/24"]})),
    responses((status = 201, body = CreatedCredential)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Json(body): Json<CredentialBody>,
) -> Result<(StatusCode, Json<CreatedCredential>), Problem> {
    let Some(text) = &body.name else { return Err(Code::MissingField.at("#/name", "say what you call it")) };
    let name = name(text, "#/name")?;
    let settings = body.settings(&app, CredentialSettings::default())?;
    let password = random_base62(PASSWORD_LEN);
    let now = app.clock.now_ms();
    let credential = SmppCredential {
        id: SmppCredentialId::new(now, app.ids.next(), caller.account),
        account: caller.account,
        no: 0,
        name,
        system_id: random_base62(SYSTEM_ID_LEN).to_lowercase(),
        password_hash: app.passwords.hash(password.clone()).await?,
        settings,
        enabled: body.enabled.unwrap_or(true),
        created_at: now,
        bound_at: None,
    };
    let credential = smpp_credential::create(&app.db, &credential).await?;
    Ok((StatusCode::CREATED, Json(CreatedCredential { password, credential: view(&app, credential) })))
}

/// List the SMPP credentials of the account.
///
/// Newest first.
#[utoipa::path(get, path = "/v1/smpp-credentials", tag = "SMPP", operation_id = "listSmppCredentials", params(ListQuery),
    responses((status = 200, body = Paged<CredentialView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<CredentialView>>, Problem> {
    let (limit, cursor) = query.page();
    let window = Window::open(&app, caller.account, "smpp-credentials", "", limit, cursor)?;
    let after = window.after.map(SmppCredentialId::from_uuid);
    let rows = smpp_credential::list(&app.db, caller.account, after, window.fetch()).await?;
    Ok(Json(window.page(rows, |c| c.id.0, |c| view(&app, c))))
}

/// Read one SMPP credential.
#[utoipa::path(get, path = "/v1/smpp-credentials/{id}", tag = "SMPP", operation_id = "getSmppCredential", params(("id" = String, Path)),
    responses((status = 200, body = CredentialView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Id(id): Id<SmppCredentialId>,
) -> Result<Json<CredentialView>, Problem> {
    let credential = smpp_credential::by_id(&app.db, caller.account, id).await?;
    Ok(Json(view(&app, credential)))
}

/// Change an SMPP credential.
///
/// Its sessions are unbound, and bind again under the new settings. What waits for it stays.
#[utoipa::path(patch, path = "/v1/smpp-credentials/{id}", tag = "SMPP", operation_id = "changeSmppCredential", params(("id" = String, Path)),
    request_body(content = CredentialBody, example = json!({"window": 50, "allowed_addresses": ["192.0.2.7"]})),
    responses((status = 200, body = CredentialView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Id(id): Id<SmppCredentialId>,
    Json(body): Json<CredentialBody>,
) -> Result<Json<CredentialView>, Problem> {
    let before = smpp_credential::by_id(&app.db, caller.account, id).await?;
    let name = body.name.as_deref().map(|text| name(text, "#/name")).transpose()?;
    let settings = Some(body.settings(&app, before.settings)?);
    let change = Change { name, settings, enabled: body.enabled, ..Change::default() };
    let credential = smpp_credential::change(&app.db, caller.account, id, &change).await?;
    app.smpp.disconnect(caller.account, credential.no);
    Ok(Json(view(&app, credential)))
}

/// Give an SMPP credential a new password.
///
/// The old one ends at once, and with it the sessions that are bound.
#[utoipa::path(post, path = "/v1/smpp-credentials/{id}/password", tag = "SMPP", operation_id = "renewSmppPassword", params(("id" = String, Path)),
    responses((status = 200, body = CreatedCredential)))]
pub async fn renew(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Id(id): Id<SmppCredentialId>,
) -> Result<Json<CreatedCredential>, Problem> {
    // Found first: a hash is not computed for nothing.
    smpp_credential::by_id(&app.db, caller.account, id).await?;
    let password = random_base62(PASSWORD_LEN);
    let change = Change { password_hash: Some(app.passwords.hash(password.clone()).await?), ..Change::default() };
    let credential = smpp_credential::change(&app.db, caller.account, id, &change).await?;
    app.smpp.disconnect(caller.account, credential.no);
    Ok(Json(CreatedCredential { password, credential: view(&app, credential) }))
}

/// End an SMPP credential.
///
/// Its sessions are unbound; receipts that waited for it are dropped (the messages keep their history).
#[utoipa::path(delete, path = "/v1/smpp-credentials/{id}", tag = "SMPP", operation_id = "deleteSmppCredential", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<SmppManage>,
    Id(id): Id<SmppCredentialId>,
) -> Result<StatusCode, Problem> {
    let credential = smpp_credential::by_id(&app.db, caller.account, id).await?;
    smpp_credential::delete(&app.db, caller.account, id, app.clock.now_ms()).await?;
    app.smpp.forget(caller.account, credential.no);
    Ok(StatusCode::NO_CONTENT)
}
