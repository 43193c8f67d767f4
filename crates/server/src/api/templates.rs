//! Texts that are kept to be sent again, and how they read.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::campaign::{Content, Words};
use carillon_domain::contact::line;
use carillon_domain::encoding::{self, Encoding};
use carillon_domain::id::{ContactId, TemplateId, TypeId};
use carillon_domain::phone::Parsed;
use carillon_domain::template::Template as Parts;
use carillon_store::contact;
use carillon_store::template::{self as store, Template};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query};
use super::ledger::ListQuery;
use super::messages::phone;
use super::page::{Paged, Window};
use crate::access::Caller;
use crate::app::App;
use crate::campaigns;
use crate::clock::rfc3339;
use crate::pipeline::prepare::{self, Own, Rules};

/// Length of a name and of a text, characters; templates of an account; people of a preview.
const NAME_MAX: usize = 200;
const TEXT_MAX: usize = 10_000;
const TEMPLATES_MAX: u32 = 1_000;
const PREVIEW_MAX: usize = 20;
/// Words of one sample, and their length.
const SAMPLE_MAX: usize = 50;

/// A template, or what is to be changed of one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateBody {
    /// One template's alone; at most 200 characters.
    #[schema(example = "Friday")]
    name: Option<String>,
    /// The text with its places.
    #[schema(example = "Hi {{name|default(\"friend\")}}, fish on Friday!")]
    text: Option<String>,
}

/// A template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateView {
    #[schema(value_type = String, example = "tpl_01h455vb4pex5vsknk084sn02q")]
    id: TemplateId,
    name: String,
    text: String,
    /// What it names.
    #[schema(example = json!(["name"]))]
    variables: Vec<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

fn view(t: Template) -> TemplateView {
    let parts = Parts::is_in(&t.text).then(|| Parts::parse(&t.text).ok()).flatten();
    let names = parts.iter().flat_map(Parts::names).map(str::to_owned).collect();
    TemplateView {
        id: t.id,
        name: t.name,
        text: t.text.to_string(),
        variables: names,
        created_at: rfc3339(t.created_at),
        changed_at: rfc3339(t.changed_at),
    }
}

/// All that is wrong with a template.
fn check(t: &Template) -> Result<(), Problem> {
    let mut problem = Problem::from(Code::InvalidRequest);
    if let Err(why) = line(&t.name, NAME_MAX) {
        problem = problem.and(super::contacts::code(why), "#/name", why.to_string());
    }
    problem.errors.extend(check_text(&t.text).err().into_iter().flat_map(|p| p.errors));
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

fn check_text(text: &str) -> Result<(), Problem> {
    match text {
        "" => Err(Code::TooShort.at("#/text", "the text is empty")),
        _ if text.chars().count() > TEXT_MAX => Err(Code::TooLong.at("#/text", "at most 10,000 characters")),
        _ if Parts::is_in(text) => match Parts::parse(text) {
            Ok(_) => Ok(()),
            Err(why) => Err(Code::InvalidTemplate.at("#/text", why.to_string())),
        },
        _ => Ok(()),
    }
}

/// Keep a text.
#[utoipa::path(post, path = "/v1/templates", tag = "Campaigns", operation_id = "createTemplate", request_body = TemplateBody,
    responses((status = 201, body = TemplateView), (status = 409, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Json(body): Json<TemplateBody>,
) -> Result<(StatusCode, Json<TemplateView>), Problem> {
    let name = body.name.ok_or_else(|| Code::MissingField.at("#/name", "give it a name"))?;
    let text = body.text.ok_or_else(|| Code::MissingField.at("#/text", "add the text"))?;
    let now = app.clock.now_ms();
    let id = TemplateId::new(now, app.ids.next(), caller.account);
    let template = Template { id, name, text: text.into(), created_at: now, changed_at: now };
    check(&template)?;
    store::create(&app.db, &template, TEMPLATES_MAX).await?;
    Ok((StatusCode::CREATED, Json(view(template))))
}

/// List templates, newest first.
#[utoipa::path(get, path = "/v1/templates", tag = "Campaigns", operation_id = "listTemplates", params(ListQuery),
    responses((status = 200, body = Paged<TemplateView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<TemplateView>>, Problem> {
    let window = Window::open(&app, caller.account, "templates", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(TemplateId::from_uuid);
    let rows = store::list(&app.db, caller.account, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |t| t.id.0, view)))
}

/// Read a template.
#[utoipa::path(get, path = "/v1/templates/{id}", tag = "Campaigns", operation_id = "getTemplate", params(("id" = String, Path)),
    responses((status = 200, body = TemplateView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<TemplateId>,
) -> Result<Json<TemplateView>, Problem> {
    Ok(Json(view(store::by_id(&app.db, caller.account, id).await?)))
}

/// Change a template.
///
/// Campaigns that were written with it keep the text it had.
#[utoipa::path(patch, path = "/v1/templates/{id}", tag = "Campaigns", operation_id = "changeTemplate", params(("id" = String, Path)),
    request_body = TemplateBody, responses((status = 200, body = TemplateView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<TemplateId>,
    Json(body): Json<TemplateBody>,
) -> Result<Json<TemplateView>, Problem> {
    let before = store::by_id(&app.db, caller.account, id).await?;
    let template = Template {
        name: body.name.unwrap_or(before.name),
        text: body.text.map_or(before.text, Into::into),
        changed_at: app.clock.now_ms(),
        ..before
    };
    check(&template)?;
    store::change(&app.db, &template).await?;
    Ok(Json(view(template)))
}

/// Delete a template.
#[utoipa::path(delete, path = "/v1/templates/{id}", tag = "Campaigns", operation_id = "deleteTemplate", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<TemplateId>,
) -> Result<StatusCode, Problem> {
    store::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A text, and for whom to show it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBody {
    #[schema(example = "Hi {{name|default(\"friend\")}}, fish on Friday!")]
    text: String,
    /// As of a message; decides the price.
    from: Option<String>,
    language: Option<String>,
    transliterate: Option<bool>,
    /// Ids of contacts, and beside them samples: 1 to 20 together. Reading contacts needs the scope `contacts:read`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    contacts: Vec<ContactId>,
    /// Words by name, of people there need not be.
    #[serde(default)]
    #[schema(example = json!([{"name": "Ada"}]))]
    samples: Vec<BTreeMap<String, String>>,
}

/// How a text reads.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preview {
    /// In the order they were asked for, contacts first.
    data: Vec<PreviewOf>,
    /// What the text names.
    variables: Vec<String>,
}

/// How it reads for one.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewOf {
    /// Of whom; null of a sample.
    #[schema(value_type = Option<String>)]
    contact: Option<ContactId>,
    /// What they read; null if words are missing.
    text: Option<String>,
    /// Words they lack, and for which the text has no fallback.
    missing: Vec<String>,
    /// `gsm7` or `ucs2`.
    encoding: Option<&'static str>,
    parts: Option<u8>,
    /// What it costs, decimal; null of samples, which are nowhere.
    #[schema(example = "0.05")]
    price: Option<String>,
    /// Why it could not be sent to them, if it could not: a code of `/docs/problems`.
    code: Option<&'static str>,
}

/// Preview a text for contacts and samples.
///
/// What each would read, its parts and its price, and what is missing. Nothing is stored or sent.
#[utoipa::path(post, path = "/v1/templates/preview", tag = "Campaigns", operation_id = "previewTemplate", request_body = PreviewBody,
    responses((status = 200, body = Preview)))]
pub async fn preview(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Json(body): Json<PreviewBody>,
) -> Result<Json<Preview>, Problem> {
    check_text(&body.text)?;
    if !(1..=PREVIEW_MAX).contains(&(body.contacts.len() + body.samples.len())) {
        return Err(Code::InvalidValue.at("#/contacts", "1 to 20 contacts and samples together"));
    }
    let large = |sample: &&BTreeMap<String, String>| {
        sample.len() > SAMPLE_MAX
            || sample.values().any(|word| word.chars().count() > super::campaign_audience::WORD_MAX)
    };
    if let Some(index) = body.samples.iter().position(|sample| large(&sample)) {
        return Err(Code::TooLong.at(format!("#/samples/{index}"), "at most 50 words of up to 1,000 characters"));
    }
    if !body.contacts.is_empty() {
        caller.allow(carillon_domain::permission::Scope::ContactsRead)?;
    }
    let mut people = Vec::new();
    for (index, id) in body.contacts.iter().enumerate() {
        let found = contact::by_id(&app.db, caller.account, *id).await;
        let gone = |e| match e {
            carillon_store::StoreError::NotFound => {
                Code::NotFound.at(format!("#/contacts/{index}"), "there is no such contact")
            }
            other => other.into(),
        };
        let c = found.map_err(gone)?;
        people.push((Some((c.id, phone(c.phone))), c.profile.words()));
    }
    people.extend(body.samples.into_iter().map(|words| (None, words)));
    let written = Content {
        text: Some(body.text),
        from: body.from,
        language: body.language,
        transliterate: body.transliterate,
        ..Content::default()
    };
    shown(&app, &caller, &written, people)
}

type Shown = (Option<(ContactId, carillon_domain::phone::Phone)>, Words);

fn shown(app: &App, caller: &Caller, written: &Content, people: Vec<Shown>) -> Result<Json<Preview>, Problem> {
    let terms = app.pipeline.terms();
    let rules = app.rules(caller, &terms, app.clock.now_ms());
    let content = campaigns::content(written, None, &rules)?;
    let names = content.template.iter().flat_map(Parts::names).map(str::to_owned).collect();
    let data = people.into_iter().map(|(who, words)| one(&content, &rules, who, &words)).collect();
    Ok(Json(Preview { data, variables: names }))
}

fn one(
    content: &prepare::Content,
    rules: &Rules<'_>,
    who: Option<(ContactId, carillon_domain::phone::Phone)>,
    words: &Words,
) -> PreviewOf {
    let value = |name: &str| words.get(name).map(String::as_str);
    let missing = content.template.iter().flat_map(|t| t.missing(value)).map(str::to_owned).collect();
    let text = match &content.template {
        Some(template) => template.fill(value).ok(),
        None => Some(content.body.to_string()),
    };
    let plan = text.as_deref().map(|text| encoding::plan(text, &content.options));
    let made = who.map(|(_, phone)| {
        let own = Own { value: &value, client_ref: None };
        content.message_of(rules, Parsed { phone, country: phone.country() }, 0, &own)
    });
    let code = match (&made, &plan) {
        (Some(Err(mistake)), _) => Some(mistake.code),
        (None, Some(Err(_))) => Some("too_long"),
        _ => None,
    };
    let plan = plan.and_then(Result::ok);
    PreviewOf {
        contact: who.map(|(id, _)| id),
        text,
        missing,
        encoding: plan.as_ref().map(|plan| Encoding::name(plan.encoding)),
        parts: plan.as_ref().map(|plan| plan.parts),
        price: made.and_then(Result::ok).map(|m| m.held().to_string()),
        code,
    }
}
