//! What an account's contacts can have beside a name: attributes, each declared with the kind of its values.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use carillon_domain::contact::AttributeKind;
use carillon_store::contact_group;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::contacts::code;
use super::error::{Code, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Json};
use crate::app::App;

/// Attributes of one account.
pub(super) const DECLARED_MAX: usize = 200;

/// What values an attribute is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeBody {
    /// `text`, `number`, `boolean` or `date` (`YYYY-MM-DD`). It cannot be changed later.
    #[schema(example = "text")]
    r#type: String,
}

/// An attribute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactAttribute)]
pub struct AttributeView {
    #[schema(example = "city")]
    name: String,
    /// `text`, `number`, `boolean` or `date`.
    #[schema(example = "text")]
    r#type: &'static str,
}

/// All attributes of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attributes {
    /// By name.
    data: Vec<AttributeView>,
}

/// List the attributes contacts can have.
#[utoipa::path(get, path = "/v1/contact-attributes", tag = "Contacts", operation_id = "listContactAttributes",
    responses((status = 200, body = Attributes)))]
pub async fn list(State(app): State<App>, caller: Can<ContactsRead>) -> Result<Json<Attributes>, Problem> {
    let declared = contact_group::declared(&app.db, caller.account).await?;
    let data = declared.into_iter().map(|(name, kind)| AttributeView { name, r#type: kind.as_str() }).collect();
    Ok(Json(Attributes { data }))
}

/// Declare an attribute.
///
/// Its name is of small letters, digits and `_`, so that texts can name it: `{{city}}`. Doing it again changes nothing; another type is refused.
#[utoipa::path(put, path = "/v1/contact-attributes/{name}", tag = "Contacts", operation_id = "declareContactAttribute",
    params(("name" = String, Path)), request_body = AttributeBody,
    responses((status = 200, body = AttributeView), (status = 409, body = super::error::ProblemBody)))]
pub async fn declare(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    name: Result<Path<String>, PathRejection>,
    Json(body): Json<AttributeBody>,
) -> Result<Json<AttributeView>, Problem> {
    let Path(name) = name.map_err(|_| Code::NotFound)?;
    AttributeKind::check_name(&name).map_err(|why| code(why).at("#", why.to_string()))?;
    let kind = AttributeKind::from_name(&body.r#type);
    let kind = kind.ok_or_else(|| Code::InvalidValue.at("#/type", "text, number, boolean or date"))?;
    let declared = contact_group::declared(&app.db, caller.account).await?;
    if declared.len() >= DECLARED_MAX && !declared.contains_key(&name) {
        return Err(Code::LimitReached.with("an account has at most 200 attributes"));
    }
    let kept = contact_group::declare(&app.db, caller.account, &name, kind).await?;
    if kept != kind {
        return Err(Code::NameTaken.with(format!("`{name}` was declared as {}", kept.as_str())));
    }
    Ok(Json(AttributeView { name, r#type: kind.as_str() }))
}

/// Take an attribute away.
///
/// Its values go too, from every contact. Doing it again changes nothing.
#[utoipa::path(delete, path = "/v1/contact-attributes/{name}", tag = "Contacts", operation_id = "deleteContactAttribute",
    params(("name" = String, Path)), responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name.map_err(|_| Code::NotFound)?;
    AttributeKind::check_name(&name).map_err(|_| Code::NotFound)?;
    contact_group::undeclare(&app.db, caller.account, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
