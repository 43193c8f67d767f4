//! How an uploaded table is meant: what each column holds, and what becomes of contacts that are there. Checked whole before anything begins.

use std::collections::BTreeMap;

use axum::extract::State;
use carillon_domain::account::Settings;
use carillon_domain::consent::Detail;
use carillon_domain::contact::{self, AttributeKind, Declared, TAG_MAX, TAGS_MAX};
use carillon_domain::contact_import::{Agreement, Plan, Policy, Target};
use carillon_domain::id::{ContactImportId, GroupId};
use carillon_domain::phone::Country;
use carillon_store::StoreError;
use carillon_store::contact_group;
use carillon_store::contact_import::{self as store, Import};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{ImportView, view};
use crate::api::contact_attributes::DECLARED_MAX;
use crate::api::contacts::code;
use crate::api::error::{Code, Problem};
use crate::api::extract::{Can, ContactsManage, Id, Json};
use crate::app::App;
use crate::imports::{ImportError, Rows};

/// How a table is taken in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// What columns hold, by their headings: `phone`, `name`, `external_id`, `status`, `tags` (with `;` between them), `group` (an id, or an
    /// `external_id`), `consent` (yes or no), `consent_at`, or `attribute:` and a name. Others are passed over.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"Mobile": "phone", "Full name": "name", "City": "attribute:city"}))]
    mapping: BTreeMap<String, String>,
    /// Two-letter country that completes national numbers; the account's if not given.
    #[schema(example = "DE")]
    default_country: Option<String>,
    /// Of contacts that are there: `update` (if not given; an empty cell changes nothing), `fill_empty` or `skip`.
    #[schema(example = "update")]
    policy: Option<String>,
    /// Everybody comes into this group.
    #[schema(value_type = Option<String>, example = "grp_01h455vb4pex5vsknk084sn02q")]
    group: Option<String>,
    /// Everybody gets these tags.
    #[serde(default)]
    #[schema(example = json!(["autumn-2026"]))]
    tags: Vec<String>,
    /// Attributes to be declared first, each with its type.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"city": "text"}))]
    create_attributes: BTreeMap<String, String>,
    /// What is recorded of consent: of rows whose `consent` cell says yes or no; without such a column, that everybody in the file agreed.
    consent: Option<ConsentBody>,
}

/// What is recorded of consent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentBody {
    /// `promotional` (if not given) or `transactional`.
    #[schema(example = "promotional")]
    category: Option<String>,
    /// Your name for the wording.
    #[schema(example = "form-2026-03")]
    text_version: Option<String>,
    /// The wording that people read.
    #[schema(example = "Yes, send me offers by SMS.")]
    text: Option<String>,
    /// Its language.
    #[schema(example = "en")]
    language: Option<String>,
    /// Where it stood.
    #[schema(example = "https://shop.example/newsletter")]
    source_url: Option<String>,
    /// Where the proof lies.
    #[schema(example = "CRM export of 2026-11-20")]
    proof: Option<String>,
}

/// The country of a request, else the account's; or why it is none.
pub(super) fn country_of(text: Option<&str>, settings: &Settings) -> Result<Option<Country>, &'static str> {
    match text {
        Some(text) => Country::parse(text).map(Some).ok_or("a two-letter country code, such as DE"),
        None => Ok(settings.default_country.as_deref().and_then(Country::parse)),
    }
}

/// A plan with nothing but columns.
pub(super) fn plan_of(columns: Vec<Option<Target>>, country: Option<Country>, lenient: bool) -> Plan {
    let policy = Policy::Update.as_str().to_owned();
    Plan { columns, country, lenient, policy, group: None, tags: Vec::new(), consent: None }
}

/// A plan as it is shown: columns by their places.
pub(super) fn shown(plan: &Plan) -> serde_json::Value {
    json!({
        "columns": plan.columns,
        "default_country": plan.country,
        "policy": plan.policy,
        "group": plan.group,
        "tags": plan.tags,
        "consent": plan.consent.as_ref().map(|c| json!({
            "category": c.category().as_str(), "text_version": c.detail.text_version, "text": c.detail.text,
            "language": c.detail.language, "source_url": c.detail.source_url, "proof": c.detail.proof,
        })),
    })
}

/// Collects refusals while the good fields go on.
struct Judge(Problem);

impl Judge {
    fn refuse(&mut self, code: Code, pointer: impl Into<String>, detail: impl Into<String>) {
        let problem = std::mem::replace(&mut self.0, Code::InvalidRequest.into());
        self.0 = problem.and(code, pointer.into(), detail.into());
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl StartBody {
    /// The plan, and the attributes to be declared; or all that is wrong.
    fn plan(
        self,
        columns: &[String],
        settings: &Settings,
        declared: &Declared,
    ) -> Result<(Plan, Vec<(String, AttributeKind)>), Problem> {
        let mut judge = Judge(Code::InvalidRequest.into());
        let country = country_of(self.default_country.as_deref(), settings);
        let country = country.map_err(|why| judge.refuse(Code::InvalidValue, "#/default_country", why)).ok().flatten();
        let new = attributes(&self.create_attributes, declared, &mut judge);
        let known = |name: &str| declared.contains_key(name) || new.iter().any(|(own, _)| own == name);
        let targets = mapping(&self.mapping, columns, &known, &mut judge);
        let mut plan = plan_of(targets, country, settings.lenient);
        match Policy::from_name(self.policy.as_deref().unwrap_or("update")) {
            Some(policy) => plan.policy = policy.as_str().to_owned(),
            None => judge.refuse(Code::InvalidValue, "#/policy", "update, fill_empty or skip"),
        }
        if let Some(group) = &self.group {
            match group.parse::<GroupId>() {
                Ok(id) => plan.group = Some(id),
                Err(e) => judge.refuse(Code::InvalidId, "#/group", e.to_string()),
            }
        }
        if self.tags.len() > TAGS_MAX {
            judge.refuse(Code::TooLong, "#/tags", "at most 50 tags");
        }
        for (place, tag) in self.tags.iter().enumerate() {
            if let Err(why) = contact::line(tag, TAG_MAX) {
                judge.refuse(code(why), format!("#/tags/{place}"), why.to_string());
            }
        }
        plan.tags = self.tags;
        plan.consent = self.consent.and_then(|consent| consent.agreement(&mut judge));
        if judge.0.errors.is_empty() { Ok((plan, new)) } else { Err(judge.0) }
    }
}

fn attributes(
    asked: &BTreeMap<String, String>,
    declared: &Declared,
    judge: &mut Judge,
) -> Vec<(String, AttributeKind)> {
    let mut new = Vec::new();
    for (name, kind) in asked {
        let pointer = format!("#/create_attributes/{}", escaped(name));
        match (AttributeKind::check_name(name), AttributeKind::from_name(kind)) {
            (Err(why), _) => judge.refuse(code(why), pointer, why.to_string()),
            (_, None) => judge.refuse(Code::InvalidValue, pointer, "text, number, boolean or date"),
            (Ok(()), Some(kind)) => match declared.get(name) {
                Some(old) if *old != kind => {
                    judge.refuse(Code::NameTaken, pointer, format!("`{name}` was declared as {}", old.as_str()));
                }
                Some(_) => {}
                None => new.push((name.clone(), kind)),
            },
        }
    }
    if declared.len() + new.len() > DECLARED_MAX {
        judge.refuse(Code::TooLong, "#/create_attributes", "an account has at most 200 attributes");
    }
    new
}

fn mapping(
    asked: &BTreeMap<String, String>,
    columns: &[String],
    known: &dyn Fn(&str) -> bool,
    judge: &mut Judge,
) -> Vec<Option<Target>> {
    let mut targets = vec![None; columns.len()];
    for (name, text) in asked {
        let pointer = format!("#/mapping/{}", escaped(name));
        let Some(place) = columns.iter().position(|column| column == name) else {
            judge.refuse(Code::UnknownField, pointer, "the file has no column of this name");
            continue;
        };
        match Target::try_from(text.clone()) {
            Err(what) => judge.refuse(Code::InvalidValue, pointer, what),
            Ok(Target::Attribute(name)) if !known(&name) => {
                let what = "the account has no such attribute; name it in `create_attributes` with its type";
                judge.refuse(Code::UnknownField, pointer, what);
            }
            Ok(target) if targets.contains(&Some(target.clone())) => {
                judge.refuse(Code::ConflictingFields, pointer, format!("two columns hold `{}`", target.name()));
            }
            Ok(target) => targets[place] = Some(target),
        }
    }
    if !targets.contains(&Some(Target::Phone)) && judge.0.errors.is_empty() {
        judge.refuse(Code::MissingField, "#/mapping", "one column must be `phone`");
    }
    if targets.contains(&Some(Target::ConsentAt)) && !targets.contains(&Some(Target::Consent)) {
        judge.refuse(Code::MissingField, "#/mapping", "`consent_at` needs a column that is `consent`");
    }
    targets
}

impl ConsentBody {
    fn agreement(self, judge: &mut Judge) -> Option<Agreement> {
        let promotional = match self.category.as_deref() {
            None | Some("promotional") => true,
            Some("transactional") => false,
            Some(_) => {
                judge.refuse(Code::InvalidValue, "#/consent/category", "promotional or transactional");
                return None;
            }
        };
        let detail = Detail {
            text_version: self.text_version,
            text: self.text,
            language: self.language,
            source_url: self.source_url,
            proof: self.proof,
            ..Detail::default()
        };
        match detail.check() {
            Ok(()) => Some(Agreement { promotional, detail }),
            Err((field, why)) => {
                judge.refuse(code(why), format!("#/consent/{field}"), why.to_string());
                None
            }
        }
    }
}

/// Take an uploaded table in.
///
/// It goes on by itself, also after a restart; `GET /v1/contact-imports/{id}` tells how far it has come.
#[utoipa::path(post, path = "/v1/contact-imports/{id}/start", tag = "Contacts", operation_id = "startContactImport",
    params(("id" = String, Path)), request_body = StartBody,
    responses((status = 202, body = ImportView), (status = 409, body = crate::api::error::ProblemBody)))]
pub async fn start(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<ContactImportId>,
    Json(body): Json<StartBody>,
) -> Result<(axum::http::StatusCode, Json<ImportView>), Problem> {
    let account = caller.account;
    let import = store::by_id(&app.db, account, id).await?;
    if import.status != store::Status::Uploaded {
        return Err(Code::ImportNotWaiting.into());
    }
    let columns = columns(&app, &import).await?;
    let declared = contact_group::declared(&app.db, account).await?;
    let (plan, new) = body.plan(&columns, &caller.info.settings, &declared)?;
    if let Some(group) = plan.group {
        match contact_group::by_id(&app.db, account, group).await {
            Err(StoreError::NotFound) => return Err(Code::NotFound.at("#/group", "there is no such group")),
            found => found.map(drop)?,
        }
    }
    for (name, kind) in new {
        contact_group::declare(&app.db, account, &name, kind).await?;
    }
    let text = serde_json::to_string(&plan).map_err(|_| Code::Internal)?;
    if !store::start(&app.db, account, id, &text, app.clock.now_ms()).await? {
        return Err(Code::ImportNotWaiting.into());
    }
    app.imports.wake();
    Ok((axum::http::StatusCode::ACCEPTED, Json(view(store::by_id(&app.db, account, id).await?))))
}

async fn columns(app: &App, import: &Import) -> Result<Vec<String>, Problem> {
    let (path, charset, delimiter) = (app.imports.path(import.id), import.charset, import.delimiter);
    let open = move || Rows::open(&path, charset, delimiter).map(|rows| rows.columns().to_vec());
    let opened = tokio::task::spawn_blocking(open).await.map_err(|_| Code::Internal)?;
    Ok(opened.map_err(ImportError::from)?)
}
