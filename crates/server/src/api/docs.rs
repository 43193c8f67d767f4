//! The documentation, from the program itself: the OpenAPI document, a page that renders it with forms to try, and the list of problems.

use std::sync::Arc;

use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::error::{Code, ProblemBody};

/// What the document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Carillon", description = "Send messages, read what became of them, and what they cost.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(ProblemBody)),
    modifiers(&Security),
    security(("bearer" = []), ("api_key" = [])),
    tags(
        (name = "Messages", description = "Send texts and read what became of them."),
        (name = "Links", description = "Short links in messages, and who opens them (docs/LINKS.md)."),
        (name = "Media", description = "Files that messages carry."),
        (name = "Senders", description = "What messages are from."),
        (name = "Verifications", description = "Verify that somebody holds a number."),
        (name = "Two-way", description = "What phones write, conversations, and what answers by itself."),
        (name = "Contacts", description = "People to write to: what is known of them, groups and tags."),
        (name = "Consent", description = "Who agreed to be written to, and what proves it (docs/CONSENT.md)."),
        (name = "Campaigns", description = "Planned sends to an audience: estimated, scheduled, launched, paused; audiences from files; texts that are kept."),
        (name = "Drips", description = "Sequences of texts that each person gets step by step, with delays and conditions, until they reply, stop or reach a goal."),
        (name = "Reports", description = "What became of messages: by day, country, connection, status, reason and batch; saved reports, mailed on a schedule."),
        (name = "Suppressions", description = "Numbers that must not be written to."),
        (name = "Account", description = "The account, its balance and its settings."),
        (name = "Access", description = "Signing in, sessions and API keys."),
        (name = "SMPP", description = "What your programs bind with by SMPP (docs/SMPP.md)."),
        (name = "Carriers", description = "Connections to carriers, routes over them, and what carriers charge: the platform's for operators, an account's own for accounts."),
        (name = "Webhooks", description = "Have events sent to your server as they happen."),
        (name = "Platform", description = "For operators: every account. Needs the scope `platform:operate`."),
        (name = "Operations", description = "For those who run it.")
    )
)]
pub(super) struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("An API key (`car_live_…`) or the access token of a sign-in.".into());
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components
            .add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))));
    }
}

/// Adds to every operation what is true of all: how it refuses. Handlers would have to repeat it.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let refusal = ResponseBuilder::new()
        .description("Refused; `code` says why")
        .content("application/problem+json", problem)
        .build();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".into(), RefOr::T(refusal.clone()));
        }
    }
}

pub(super) async fn document(document: Arc<str>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string())
}

/// Until there is a console, the documentation is what a visitor sees first.
pub(super) async fn start() -> Redirect {
    Redirect::temporary("/docs")
}

/// Nothing from another host, nothing inline but what is ours.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("docs.html")))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("docs.js"))
}

/// The registry of problems, as a page; `type` of every problem leads here.
pub(super) async fn problems() -> impl IntoResponse {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let rows: String = Code::ALL
        .iter()
        .map(|code| {
            let (id, status, again) = (code.as_str(), code.status().as_u16(), if code.retryable() { "yes" } else { "no" });
            format!("<tr id=\"{id}\"><td><code>{id}</code></td><td>{status}</td><td>{again}</td><td>{}</td><td>{}</td></tr>", escape(code.title()), escape(code.remedy()))
        })
        .collect();
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("problems.html").replace("<!-- rows -->", &rows)))
}
