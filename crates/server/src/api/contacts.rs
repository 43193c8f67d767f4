//! Contacts: people to write to, one for each number.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::account::Settings;
use carillon_domain::contact::{self, Changes, EXTERNAL_ID_MAX, NAME_MAX, Refusal, TAG_MAX, Value, Wrong};
use carillon_domain::id::{AccountNo, ContactId, GroupId, SegmentId, TypeId};
use carillon_domain::phone::Phone;
use carillon_store::StoreError;
use carillon_store::contact::{self as store, Contact, Filter, NewContact, Put};
use carillon_store::contact_group;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::consents::stands;
use super::error::{Code, FieldError, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query, given};
use super::messages::phone;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::consents;
use crate::pipeline::prepare::{self, Mistake};

/// What is said of a contact. What is left out stays as it is, or is empty of a new one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactBody {
    /// The number: + and country code; or national, with the account's `default_country`. One contact's alone.
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// At most 200 characters.
    #[schema(example = "Ada Lovelace")]
    name: Option<String>,
    /// Your own id of this contact, one contact's alone; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "customer-42")]
    external_id: Option<Option<String>>,
    /// Where they stand, in your words; `new` if never said.
    #[schema(example = "new")]
    status: Option<String>,
    /// Values of attributes that the account has declared; null takes one away. At most 50 of one contact, and 4096 octets.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({}))]
    attributes: BTreeMap<String, Option<Value>>,
    /// All tags they have from now on, at most 50.
    #[schema(example = json!(["regular"]))]
    tags: Option<Vec<String>>,
}

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contact)]
pub struct ContactView {
    #[schema(value_type = String, example = "ctc_01h455vb4pex5vsknk084sn02q")]
    id: ContactId,
    #[schema(value_type = String, example = "+4915112345678")]
    phone: Phone,
    #[schema(example = "Ada Lovelace")]
    name: String,
    external_id: Option<String>,
    #[schema(example = "new")]
    status: String,
    #[schema(value_type = Object)]
    attributes: BTreeMap<String, Value>,
    tags: Vec<String>,
    /// Where they stand by category of messages: `opted_in`, `confirmed`, `pending`, `opted_out`, or `unknown` without a record.
    #[schema(value_type = Object, example = json!({"promotional": "opted_in", "transactional": "unknown"}))]
    consent: BTreeMap<&'static str, &'static str>,
    /// The page where they choose for themselves, for a message to this number alone; null on a server without a public address.
    #[schema(example = "https://sms.example.com/p/dNbXz0Q1mV4rJ8sKpL2wTgYhUcEaIoF6")]
    preferences_url: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

/// Contacts of one account as they are shown, with where they stand.
async fn views(app: &App, all: Vec<Contact>) -> Result<Vec<ContactView>, StoreError> {
    let Some(account) = all.first().map(|c| c.id.account()) else { return Ok(Vec::new()) };
    let tags: Vec<i64> = all.iter().map(|c| phone(c.phone).tag(&app.secrets.phone_key)).collect();
    let states = carillon_store::consent::states(&app.db, account, &tags).await?;
    Ok(all.into_iter().zip(tags).map(|(c, tag)| view(app, c, stands(&states, tag))).collect())
}

async fn shown(app: &App, account: AccountNo, id: ContactId) -> Result<Json<ContactView>, Problem> {
    let found = store::by_id(&app.db, account, id).await?;
    Ok(Json(views(app, vec![found]).await?.pop().ok_or(Code::Internal)?))
}

fn view(app: &App, c: Contact, consent: BTreeMap<&'static str, &'static str>) -> ContactView {
    ContactView {
        consent,
        preferences_url: consents::page_url(app, c.id.account(), phone(c.phone)),
        id: c.id,
        phone: phone(c.phone),
        name: c.profile.name,
        external_id: c.profile.external_id,
        status: c.profile.status,
        attributes: c.profile.attributes,
        tags: c.profile.tags.into_iter().collect(),
        created_at: rfc3339(c.created_at),
        changed_at: rfc3339(c.changed_at),
    }
}

/// The code of the API for a refusal.
pub(super) fn code(why: Refusal) -> Code {
    match why {
        Refusal::Long(_) | Refusal::Attributes | Refusal::AttributesLong | Refusal::Tags => Code::TooLong,
        Refusal::Empty => Code::TooShort,
        Refusal::Control | Refusal::AttributeName => Code::InvalidValue,
        Refusal::Undeclared => Code::UnknownField,
        Refusal::Kind(_) => Code::WrongType,
        Refusal::ExternalIdTaken => Code::IdTaken,
    }
}

impl From<Vec<Wrong>> for Problem {
    fn from(all: Vec<Wrong>) -> Problem {
        let taken = all.iter().any(|w| w.why == Refusal::ExternalIdTaken);
        let errors = all.into_iter().map(|w| FieldError {
            pointer: format!("#{}", w.pointer).into(),
            code: code(w.why).as_str(),
            detail: w.why.to_string().into(),
            suggestion: None,
        });
        let code = if taken { Code::IdTaken } else { Code::InvalidRequest };
        Problem { errors: errors.collect(), ..code.into() }
    }
}

/// What a body says, checked; all that is wrong with it at once.
async fn judge(
    app: &App,
    caller: &crate::access::Caller,
    body: ContactBody,
) -> Result<(Option<Phone>, Changes), Problem> {
    let number = body.phone.as_deref().map(|text| prepare::recipient(text, &caller.info.settings));
    let changes = Changes {
        name: body.name,
        external_id: body.external_id,
        status: body.status,
        attributes: body.attributes,
        tags: body.tags,
        more_tags: Vec::new(),
    };
    let declared = match changes.attributes.is_empty() {
        true => BTreeMap::new(),
        false => contact_group::declared(&app.db, caller.account).await?,
    };
    let mut problem = Problem::from(changes.check(&declared));
    let number = match number {
        Some(Err(e)) => {
            let Mistake { code, detail, suggestion, .. } = Mistake::phone(e, None);
            problem.errors.insert(0, FieldError { pointer: "#/phone".into(), code, detail, suggestion });
            None
        }
        Some(Ok(parsed)) => Some(parsed.phone),
        None => None,
    };
    if problem.errors.is_empty() { Ok((number, changes)) } else { Err(problem) }
}

/// Make a contact, or change the one with this number.
///
/// 201; or 200 where the number had a contact, which now says what the body says and keeps what it does not.
#[utoipa::path(post, path = "/v1/contacts", tag = "Contacts", operation_id = "createContact", request_body = ContactBody,
    responses((status = 201, body = ContactView), (status = 200, body = ContactView, description = "The number had a contact"),
        (status = 409, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Json(body): Json<ContactBody>,
) -> Result<(StatusCode, Json<ContactView>), Problem> {
    let (number, changes) = judge(&app, &caller, body).await?;
    let number = number.ok_or_else(|| Code::MissingField.at("#/phone", "add the number"))?;
    let now = app.clock.now_ms();
    let new = NewContact {
        id: ContactId::new(now, app.ids.next(), caller.account),
        phone: number.digits(),
        phone_tag: number.tag(&app.secrets.phone_key),
        changes,
    };
    let done = store::put(&app.db, caller.account, &[new], false, now).await?;
    let put = done.into_iter().next().ok_or(Code::Internal)?.map_err(|wrong| Problem::from(vec![wrong]))?;
    let status = if matches!(put, Put::Made(_)) { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, shown(&app, caller.account, put.id()).await?))
}

/// Which contacts, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// With this number, its + written as %2B.
    phone: Option<String>,
    /// Whose name begins so; case does not matter.
    name: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// In this group.
    group: Option<String>,
    /// With this id of your own.
    external_id: Option<String>,
    /// Of this status.
    status: Option<String>,
    /// In this segment.
    segment: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Search contacts, newest first.
///
/// All parameters hold together.
#[utoipa::path(get, path = "/v1/contacts", tag = "Contacts", operation_id = "listContacts", params(ListQuery),
    responses((status = 200, body = Paged<ContactView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<ContactView>>, Problem> {
    let refuse =
        |name: &'static str, detail: String| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, name, detail);
    let lenient = Settings { lenient: true, ..caller.info.settings.clone() };
    let tag = |text: &String| {
        let parsed = prepare::recipient(text, &lenient);
        parsed
            .map(|p| p.phone.tag(&app.secrets.phone_key))
            .map_err(|_| refuse("?phone", "a phone number, its + written as %2B".into()))
    };
    for (name, text, max) in [
        ("?name", &query.name, NAME_MAX),
        ("?tag", &query.tag, TAG_MAX),
        ("?external_id", &query.external_id, EXTERNAL_ID_MAX),
        ("?status", &query.status, TAG_MAX),
    ] {
        if let Some(text) = text {
            contact::line(text, max).map_err(|why| refuse(name, why.to_string()))?;
        }
    }
    let group: Option<GroupId> =
        query.group.as_deref().map(str::parse).transpose().map_err(|_| refuse("?group", "the id of a group".into()))?;
    let segment: Option<SegmentId> = query
        .segment
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| refuse("?segment", "the id of a segment".into()))?;
    let mut filter = Filter {
        phone_tag: query.phone.as_ref().map(tag).transpose()?,
        name: query.name.as_deref(),
        tag: query.tag.as_deref(),
        group,
        external_id: query.external_id.as_deref(),
        status: query.status.as_deref(),
        segment: None,
    };
    let filters = format!("{filter:?}{segment:?}");
    let window = Window::open(&app, caller.account, "contacts", &filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(ContactId::from_uuid);
    let resolved = match segment {
        Some(id) => Some(super::segments::resolve(&app, &caller, id).await?),
        None => None,
    };
    filter.segment = resolved.as_ref();
    let rows = store::list(&app.db, caller.account, filter, before, window.fetch()).await?;
    let page = window.page(rows, |c| c.id.0, |c| c);
    let data = views(&app, page.data).await?;
    Ok(Json(Paged { data, next_cursor: page.next_cursor, has_more: page.has_more }))
}

/// Read a contact.
#[utoipa::path(get, path = "/v1/contacts/{id}", tag = "Contacts", operation_id = "getContact", params(("id" = String, Path)),
    responses((status = 200, body = ContactView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<ContactId>,
) -> Result<Json<ContactView>, Problem> {
    shown(&app, caller.account, id).await
}

/// Change a contact.
#[utoipa::path(patch, path = "/v1/contacts/{id}", tag = "Contacts", operation_id = "changeContact", params(("id" = String, Path)),
    request_body = ContactBody,
    responses((status = 200, body = ContactView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<ContactId>,
    Json(body): Json<ContactBody>,
) -> Result<Json<ContactView>, Problem> {
    let (number, changes) = judge(&app, &caller, body).await?;
    let number = number.map(|phone| (phone.digits(), phone.tag(&app.secrets.phone_key)));
    let done = store::change(&app.db, caller.account, id, number, &changes, app.clock.now_ms()).await?;
    done.map_err(|wrong| Problem::from(vec![wrong]))?;
    shown(&app, caller.account, id).await
}

/// Delete a contact.
///
/// It leaves its groups too. Messages it got and the suppression list stay as they are.
#[utoipa::path(delete, path = "/v1/contacts/{id}", tag = "Contacts", operation_id = "deleteContact", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<ContactId>,
) -> Result<StatusCode, Problem> {
    store::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
