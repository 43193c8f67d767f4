//! Sources: an account's own database, or a program of its own, that recipients are read from when they are written to.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use carillon_domain::contact::{self, AttributeKind, NAME_MAX};
use carillon_domain::id::SourceId;
use carillon_store::source::{self as store, Source};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::contacts::code as code_of;
use super::error::{Code, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query, given};
use super::page::{Paged, Window};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::prepare::{self, Mistake};
use crate::sources::{self, Columns, Database, Http, Person, ROWS_MAX, Settings, TIMEOUT_MAX};

/// Characters of a query.
const QUERY_MAX: usize = 10_000;
/// Parameters of a query.
const PARAMETERS_MAX: usize = 20;
/// Words that a source gives beside the name.
const WORDS_MAX: usize = 50;
/// Characters of names: of a host, a database, a role, a column.
const LABEL_MAX: usize = 253;
/// Characters of a secret, of a certificate and of a JSON pointer.
const SECRET_MAX: usize = 4_096;
/// Characters of a certificate.
const CA_MAX: usize = 16_384;
/// Rows that a test shows.
const SHOWN: usize = 10;

/// A source to be made: `postgres`, `mysql` or `http`, one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// At most 200 characters.
    #[schema(example = "Participants")]
    name: String,
    postgres: Option<Database>,
    mysql: Option<Database>,
    http: Option<Http>,
    /// The role's password; or the value of the header `Authorization`, such as `Bearer …`. It is sealed and never shown.
    #[schema(example = "the role's password")]
    secret: Option<String>,
    columns: Columns,
    /// How long it is waited for, 1 to 60 seconds; 30 if not given.
    #[schema(example = 30)]
    timeout_s: Option<u32>,
    /// More rows are refused; 1 to 100,000, which it is if not given.
    #[schema(example = 100_000)]
    rows_max: Option<usize>,
}

/// What is to be changed; what is left out stays. With another address the secret is to be given again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    #[schema(example = "Participants")]
    name: Option<String>,
    postgres: Option<Database>,
    mysql: Option<Database>,
    http: Option<Http>,
    /// Another secret, or null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    secret: Option<Option<String>>,
    columns: Option<Columns>,
    timeout_s: Option<u32>,
    rows_max: Option<usize>,
}

/// A source.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
pub struct SourceView {
    #[schema(value_type = String, example = "src_01h455vb4pex5vsknk084sn02q")]
    id: SourceId,
    name: String,
    postgres: Option<Database>,
    mysql: Option<Database>,
    http: Option<Http>,
    /// Whether a secret is kept.
    secret_set: bool,
    columns: Columns,
    timeout_s: u32,
    rows_max: usize,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

/// What a test found.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceTest {
    /// Whether it could be read.
    ok: bool,
    /// Why not, in words.
    error: Option<String>,
    /// The first ten rows.
    rows: Vec<TestedRow>,
}

/// A row of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestedRow {
    /// The number as it would be written to; as it stands there if it is none.
    #[schema(example = "+4915112345678")]
    phone: String,
    /// Why this is no number.
    problem: Option<Cow<'static, str>>,
    /// Words for the places of a text.
    #[schema(value_type = Object, example = json!({"name": "Ada"}))]
    variables: std::collections::BTreeMap<String, String>,
}

fn settings_of(source: &Source) -> Result<Settings, Problem> {
    serde_json::from_str(&source.settings).map_err(|error| {
        tracing::error!(%error, source = %source.id, "the settings of {} cannot be read", source.id);
        Code::Internal.into()
    })
}

fn view(source: Source) -> Result<SourceView, Problem> {
    let settings = settings_of(&source)?;
    Ok(SourceView {
        id: source.id,
        name: source.name,
        postgres: settings.postgres,
        mysql: settings.mysql,
        http: settings.http,
        secret_set: source.secret.is_some(),
        columns: settings.columns,
        timeout_s: settings.timeout_s,
        rows_max: settings.rows_max,
        created_at: rfc3339(source.created_at),
        changed_at: rfc3339(source.changed_at),
    })
}

/// Gathers what is wrong.
struct Judge(Problem);

impl Judge {
    fn refuse(&mut self, code: Code, at: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) {
        self.0.errors.push(super::error::FieldError {
            pointer: at.into(),
            code: code.as_str(),
            detail: why.into(),
            suggestion: None,
        });
    }

    fn line(&mut self, text: &str, at: impl Into<Cow<'static, str>>, max: usize) {
        if let Err(why) = contact::line(text, max) {
            self.refuse(code_of(why), at, why.to_string());
        }
    }

    /// A text that may be long and of several lines.
    fn text(&mut self, text: &str, at: impl Into<Cow<'static, str>>, max: usize) {
        if text.trim().is_empty() {
            self.refuse(Code::TooShort, at, "it is empty");
        } else if text.chars().count() > max {
            self.refuse(Code::TooLong, at, format!("at most {max} characters"));
        } else if text.contains('\0') {
            self.refuse(Code::InvalidValue, at, "a control character stands in it");
        }
    }

    fn settings(&mut self, app: &App, settings: &Settings) {
        let given = [settings.postgres.is_some(), settings.mysql.is_some(), settings.http.is_some()];
        match given.iter().filter(|one| **one).count() {
            0 => self.refuse(Code::MissingField, "#/postgres", "say where it is: `postgres`, `mysql` or `http`"),
            1 => {}
            _ => self.refuse(Code::ConflictingFields, "#", "`postgres`, `mysql` or `http`, one of them"),
        }
        for (at, of) in [("postgres", &settings.postgres), ("mysql", &settings.mysql)] {
            of.iter().for_each(|of| self.database(at, of));
        }
        if let Some(of) = &settings.http {
            if let Err(why) = app.notify.outbound.guard().check(&of.url) {
                self.refuse(Code::InvalidValue, "#/http/url", why.to_string());
            }
            if !(of.rows_at.is_empty() || of.rows_at.starts_with('/')) || of.rows_at.len() > SECRET_MAX {
                self.refuse(Code::InvalidValue, "#/http/rows_at", "a JSON pointer, such as /data");
            }
        }
        self.columns(&settings.columns);
        if !(1..=TIMEOUT_MAX).contains(&settings.timeout_s) {
            self.refuse(Code::InvalidValue, "#/timeout_s", "1 to 60");
        }
        if !(1..=ROWS_MAX).contains(&settings.rows_max) {
            self.refuse(Code::InvalidValue, "#/rows_max", "1 to 100,000");
        }
    }

    fn database(&mut self, kind: &'static str, of: &Database) {
        let at = |member: &str| format!("#/{kind}/{member}");
        for (text, member) in [(&of.host, "host"), (&of.database, "database"), (&of.user, "user")] {
            self.line(text, at(member), LABEL_MAX);
        }
        if of.port == Some(0) {
            self.refuse(Code::InvalidValue, at("port"), "1 to 65535");
        }
        self.text(&of.query, at("query"), QUERY_MAX);
        if let Some(ca) = &of.ca {
            self.text(ca, at("ca"), CA_MAX);
            if !ca.starts_with("-----BEGIN") {
                self.refuse(Code::InvalidValue, at("ca"), "a certificate as PEM: -----BEGIN CERTIFICATE-----");
            }
        }
        if of.parameters.len() > PARAMETERS_MAX {
            self.refuse(Code::TooLong, at("parameters"), "at most 20");
        }
        for (i, text) in of.parameters.iter().enumerate() {
            if text.as_ref().is_some_and(|text| text.len() > SECRET_MAX || text.contains('\0')) {
                let why = "at most 4096 octets, none of them NUL";
                self.refuse(Code::InvalidValue, at(&format!("parameters/{i}")), why);
            }
        }
    }

    fn columns(&mut self, columns: &Columns) {
        self.line(&columns.phone, "#/columns/phone", LABEL_MAX);
        if let Some(name) = &columns.name {
            self.line(name, "#/columns/name", LABEL_MAX);
        }
        if columns.attributes.len() > WORDS_MAX {
            self.refuse(Code::TooLong, "#/columns/attributes", "at most 50");
        }
        for (word, column) in &columns.attributes {
            let at = format!("#/columns/attributes/{}", word.replace('~', "~0").replace('/', "~1"));
            // Those a contact has anyway may be given here too.
            if !["external_id", "status"].contains(&word.as_str())
                && let Err(why) = AttributeKind::check_name(word)
            {
                self.refuse(code_of(why), at.clone(), why.to_string());
            }
            self.line(column, at, LABEL_MAX);
        }
    }

    fn secret(&mut self, secret: Option<&str>, settings: &Settings) {
        let Some(secret) = secret else { return };
        self.text(secret, "#/secret", SECRET_MAX);
        if settings.http.is_some() && HeaderValue::from_str(secret).is_err() {
            self.refuse(Code::InvalidValue, "#/secret", "the value of a header: one line of visible ASCII");
        }
    }

    fn done(self) -> Result<(), Problem> {
        if self.0.errors.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

async fn save(app: &App, caller: &Caller, source: Source, settings: &Settings) -> Result<SourceView, Problem> {
    let settings = serde_json::to_string(settings).map_err(|_| Code::Internal)?;
    let source = Source { settings, ..source };
    store::put(&app.db, caller.account, &source).await?;
    view(source)
}

fn seal(app: &App, id: SourceId, secret: &str) -> Vec<u8> {
    app.vault.seal(secret.as_bytes(), &sources::context(id))
}

/// Save where recipients can be read from.
///
/// A database of your own by one SELECT, or a program that answers with JSON. Nothing is read now: `POST /v1/sources/{id}/test` does.
#[utoipa::path(post, path = "/v1/sources", tag = "Contacts", operation_id = "createSource", request_body = NewSource,
    responses((status = 201, body = SourceView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Json(body): Json<NewSource>,
) -> Result<(StatusCode, Json<SourceView>), Problem> {
    let settings = Settings {
        postgres: body.postgres,
        mysql: body.mysql,
        http: body.http,
        columns: body.columns,
        timeout_s: body.timeout_s.unwrap_or(30),
        rows_max: body.rows_max.unwrap_or(ROWS_MAX),
    };
    let mut judge = Judge(Code::InvalidRequest.into());
    judge.line(&body.name, "#/name", NAME_MAX);
    judge.settings(&app, &settings);
    judge.secret(body.secret.as_deref(), &settings);
    judge.done()?;
    let now = app.clock.now_ms();
    let id = SourceId::new(now, app.ids.next(), caller.account);
    let secret = body.secret.map(|secret| seal(&app, id, &secret));
    let source = Source { id, name: body.name, settings: String::new(), secret, created_at: now, changed_at: now };
    Ok((StatusCode::CREATED, Json(save(&app, &caller, source, &settings).await?)))
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sources, newest first.
#[utoipa::path(get, path = "/v1/sources", tag = "Contacts", operation_id = "listSources", params(ListQuery),
    responses((status = 200, body = Paged<SourceView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<SourceView>>, Problem> {
    let window = Window::open(&app, caller.account, "sources", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(SourceId);
    let rows = store::list(&app.db, caller.account, before, window.fetch()).await?;
    let views = rows.into_iter().map(view).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(window.page(views, |s| s.id.0, |s| s)))
}

/// Read a source.
#[utoipa::path(get, path = "/v1/sources/{id}", tag = "Contacts", operation_id = "getSource", params(("id" = String, Path)),
    responses((status = 200, body = SourceView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<SourceId>,
) -> Result<Json<SourceView>, Problem> {
    view(store::by_id(&app.db, caller.account, id).await?).map(Json)
}

/// Change a source.
///
/// Where it goes to another address, the secret is to be given again: it is handed to whoever answers there.
#[utoipa::path(patch, path = "/v1/sources/{id}", tag = "Contacts", operation_id = "changeSource", params(("id" = String, Path)),
    request_body = SourceChange, responses((status = 200, body = SourceView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<SourceId>,
    Json(body): Json<SourceChange>,
) -> Result<Json<SourceView>, Problem> {
    let source = store::by_id(&app.db, caller.account, id).await?;
    let before = settings_of(&source)?;
    let (postgres, mysql, http) = match (body.postgres, body.mysql, body.http) {
        (None, None, None) => (before.postgres.clone(), before.mysql.clone(), before.http.clone()),
        given => given,
    };
    let settings = Settings {
        postgres,
        mysql,
        http,
        columns: body.columns.unwrap_or_else(|| before.columns.clone()),
        timeout_s: body.timeout_s.unwrap_or(before.timeout_s),
        rows_max: body.rows_max.unwrap_or(before.rows_max),
    };
    let name = body.name.unwrap_or(source.name);
    let mut judge = Judge(Code::InvalidRequest.into());
    judge.line(&name, "#/name", NAME_MAX);
    judge.settings(&app, &settings);
    judge.secret(body.secret.as_ref().and_then(Option::as_deref), &settings);
    if body.secret.is_none() && source.secret.is_some() && goes_elsewhere(&before, &settings) {
        judge.refuse(Code::MissingField, "#/secret", "give the secret again, or null: it goes to another address now");
    }
    judge.done()?;
    let secret = match body.secret {
        None => source.secret,
        Some(secret) => secret.map(|secret| seal(&app, id, &secret)),
    };
    let changed = Source { name, secret, changed_at: app.clock.now_ms(), ..source };
    Ok(Json(save(&app, &caller, changed, &settings).await?))
}

/// Whether somebody else might get the secret now, or get it where others can read it.
fn goes_elsewhere(before: &Settings, now: &Settings) -> bool {
    let address = |of: &Option<Database>| of.as_ref().map(|of| (of.host.clone(), of.port, of.tls, of.ca.clone()));
    let program = |of: &Option<Http>| of.as_ref().map(|of| of.url.clone());
    address(&before.postgres) != address(&now.postgres)
        || address(&before.mysql) != address(&now.mysql)
        || program(&before.http) != program(&now.http)
}

/// Delete a source.
///
/// The secret goes with it.
#[utoipa::path(delete, path = "/v1/sources/{id}", tag = "Contacts", operation_id = "deleteSource", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<SourceId>,
) -> Result<StatusCode, Problem> {
    store::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a source.
///
/// Reads it now and shows the first ten rows as recipients, or says in words why it cannot be read.
#[utoipa::path(post, path = "/v1/sources/{id}/test", tag = "Contacts", operation_id = "testSource", params(("id" = String, Path)),
    responses((status = 200, body = SourceTest)))]
pub async fn test(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<SourceId>,
) -> Result<Json<SourceTest>, Problem> {
    let source = store::by_id(&app.db, caller.account, id).await?;
    let row = |person: Person| match prepare::recipient(&person.phone, &caller.info.settings) {
        Ok(parsed) => TestedRow { phone: parsed.phone.to_string(), problem: None, variables: person.words },
        Err(e) => {
            TestedRow { phone: person.phone, problem: Some(Mistake::phone(e, None).detail), variables: person.words }
        }
    };
    Ok(Json(match sources::read(&app, &source, Some(SHOWN)).await {
        Ok(people) => SourceTest { ok: true, error: None, rows: people.into_iter().map(row).collect() },
        Err(failure) => SourceTest { ok: false, error: Some(failure.to_string()), rows: Vec::new() },
    }))
}
