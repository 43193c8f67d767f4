//! All contacts of an account as CSV.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use carillon_domain::contact::Declared;
use carillon_store::contact::{self, Contact, Filter};
use carillon_store::contact_group;

use super::csv_table::{plain, streamed};
use super::error::Problem;
use super::extract::{Can, ContactsRead};
use super::messages::phone;
use crate::app::App;
use crate::clock::rfc3339;

/// Rows read at a time.
const PAGE: u32 = 1_000;
/// Columns before those of attributes.
const COLUMNS: [&str; 7] = ["id", "phone", "name", "external_id", "status", "tags", "created_at"];

/// Export all contacts.
///
/// As CSV, newest first: a column for each declared attribute, tags with `;` between them. What a spreadsheet would take for a formula has `'` before it.
#[utoipa::path(get, path = "/v1/contacts/export", tag = "Contacts", operation_id = "exportContacts",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>, caller: Can<ContactsRead>) -> Result<Response, Problem> {
    let account = caller.account;
    let declared = contact_group::declared(&app.db, account).await?;
    let columns = COLUMNS.iter().map(|name| (*name).to_owned()).chain(declared.keys().cloned()).collect();
    let declared = Arc::new(declared);
    Ok(streamed("contacts", columns, move |before| {
        let (app, declared) = (app.clone(), declared.clone());
        async move {
            let page = contact::list(&app.db, account, Filter::default(), before, PAGE).await?;
            Ok((page.iter().map(|c| record(c, &declared)).collect(), page.last().map(|c| c.id)))
        }
    }))
}

fn record(c: &Contact, declared: &Declared) -> Vec<String> {
    let p = &c.profile;
    let tags = p.tags.iter().map(String::as_str).collect::<Vec<_>>().join(";");
    let external_id = p.external_id.as_deref().unwrap_or_default();
    let fixed = [
        c.id.to_string(),
        phone(c.phone).to_string(),
        plain(&p.name),
        plain(external_id),
        plain(&p.status),
        plain(&tags),
        rfc3339(c.created_at),
    ];
    let own = declared.keys().map(|name| match p.attributes.get(name) {
        Some(carillon_domain::contact::Value::Text(text)) => plain(text),
        Some(value) => value.shown(),
        None => String::new(),
    });
    fixed.into_iter().chain(own).collect()
}
