//! What a file looks like before it is taken in: its columns with what they probably hold, its first rows, and their numbers as they would be read.

use std::collections::BTreeSet;

use axum::extract::State;
use carillon_domain::contact::Declared;
use carillon_domain::contact_import::{Plan, SHOWN_MAX, Target};
use carillon_domain::id::ContactImportId;
use carillon_domain::phone::{Country, Phone};
use carillon_store::contact_group;
use carillon_store::contact_import::{self as store, Import};
use csv::StringRecord;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::plan::{country_of, plan_of};
use crate::api::error::{Code, Problem};
use crate::api::extract::{Can, ContactsRead, Id, Json, Query};
use crate::app::App;
use crate::imports::{ImportError, Rows};

/// Rows that are shown.
const SHOWN: usize = 20;
/// Examples of a column.
const EXAMPLES: usize = 3;

/// How the numbers are to be read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PreviewQuery {
    /// Two-letter country that completes national numbers; the account's if not given.
    default_country: Option<String>,
    /// The column of numbers, if the suggested one is not it.
    phone: Option<String>,
}

/// A file before it is taken in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImportPreview)]
pub struct PreviewView {
    /// In order.
    columns: Vec<ColumnView>,
    /// The suggestions as `start` takes them.
    #[schema(value_type = Object, example = json!({"Mobile": "phone", "Full name": "name"}))]
    mapping: serde_json::Map<String, serde_json::Value>,
    /// The first twenty.
    rows: Vec<RowView>,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImportColumn)]
pub struct ColumnView {
    /// Its heading; a second one of the same name has (2) after it.
    #[schema(example = "Mobile")]
    name: String,
    /// What it probably holds, as in `mapping`; null: nobody knows.
    #[schema(example = "phone")]
    suggested: Option<String>,
    /// What stands in it.
    #[schema(example = json!(["0151 12345678"]))]
    examples: Vec<String>,
}

/// A row.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactImportRow)]
pub struct RowView {
    /// Where it begins in the file, from 1.
    #[schema(example = 2)]
    line: u64,
    /// As they stand there, cut if they are long.
    cells: Vec<String>,
    /// The number as it would be written to.
    #[schema(value_type = Option<String>, example = "+4915112345678")]
    phone: Option<Phone>,
    /// Why there is none.
    problem: Option<String>,
    /// What was probably meant.
    suggestion: Option<String>,
}

/// Look at an import before it is started.
///
/// Its columns, the first rows, a mapping to begin with, and the numbers as they would be read.
#[utoipa::path(get, path = "/v1/contact-imports/{id}/preview", tag = "Contacts", operation_id = "previewContactImport",
    params(("id" = String, Path), PreviewQuery), responses((status = 200, body = PreviewView)))]
pub async fn preview(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<ContactImportId>,
    Query(query): Query<PreviewQuery>,
) -> Result<Json<PreviewView>, Problem> {
    let settings = &caller.info.settings;
    let country = country_of(query.default_country.as_deref(), settings)
        .map_err(|detail| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?default_country", detail))?;
    let import = store::by_id(&app.db, caller.account, id).await?;
    let declared = contact_group::declared(&app.db, caller.account).await?;
    let (path, lenient) = (app.imports.path(id), settings.lenient);
    let work = move || look(&path, &import, &declared, query.phone, country, lenient);
    Ok(Json(tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal)??))
}

fn look(
    path: &std::path::Path,
    import: &Import,
    declared: &Declared,
    phone: Option<String>,
    country: Option<Country>,
    lenient: bool,
) -> Result<PreviewView, Problem> {
    let mut rows = Rows::open(path, import.charset, import.delimiter).map_err(ImportError::from)?;
    let names = rows.columns().to_vec();
    let mut taken = BTreeSet::new();
    let mut suggest = |name: &String| match &phone {
        Some(chosen) if chosen == name => Some(Target::Phone),
        // Of two columns that could hold the same, the first does.
        _ => Target::suggested(name, declared)
            .filter(|target| phone.is_none() || *target != Target::Phone)
            .filter(|target| taken.insert(target.name().into_owned())),
    };
    let targets: Vec<Option<Target>> = names.iter().map(&mut suggest).collect();
    if phone.as_ref().is_some_and(|chosen| !names.contains(chosen)) {
        return Err(Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?phone", "no column has this name"));
    }
    let plan: Plan = plan_of(targets.clone(), country, lenient);
    let place = plan.column(&Target::Phone);
    let (mut shown, mut record) = (Vec::new(), StringRecord::new());
    while shown.len() < SHOWN && rows.next(&mut record).map_err(ImportError::from)? {
        let read = place.map(|place| plan.phone(record.get(place).unwrap_or("")));
        let wrong = read.as_ref().and_then(|read| read.as_ref().err());
        shown.push(RowView {
            line: rows.line(),
            cells: record.iter().map(|cell| cell.chars().take(SHOWN_MAX).collect()).collect(),
            problem: wrong.map(|e| e.reason.to_string()),
            suggestion: wrong.and_then(|e| e.suggestion.clone()),
            phone: read.and_then(Result::ok),
        });
    }
    let example = |place: usize| {
        let cells = shown.iter().filter_map(|row| row.cells.get(place)).filter(|cell| !cell.is_empty());
        cells.take(EXAMPLES).cloned().collect()
    };
    let columns = names.iter().zip(&targets).enumerate().map(|(place, (name, target))| ColumnView {
        name: name.clone(),
        suggested: target.as_ref().map(|t| t.name().into_owned()),
        examples: example(place),
    });
    let columns = columns.collect();
    let mapped =
        names.into_iter().zip(targets).filter_map(|(name, target)| Some((name, target?.name().into_owned().into())));
    Ok(PreviewView { columns, mapping: mapped.collect(), rows: shown })
}
