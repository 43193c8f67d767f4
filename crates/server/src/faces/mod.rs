//! Other systems' endpoints, as their documents have them, over the same functions as `/v1`: for programs that speak them already. Each
//! face only translates, and has a switch in the configuration. They are not part of the OpenAPI document: docs/FACES.md describes them.

mod course_sms;
mod merchant;

use std::borrow::Cow;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::api::error::{FieldError, Problem};
use crate::app::App;
use crate::config;

/// The routes of the faces that are switched on.
pub fn router(faces: &config::Faces) -> Router<App> {
    let mut router = Router::new();
    if faces.course_sms {
        router = router.merge(course_sms::router());
    }
    if faces.merchant {
        router = router.merge(merchant::router());
    }
    router
}

/// A refusal as the document of this route has it; of all other routes a problem+json.
pub fn refusal(route: &str, problem: &Problem, request_id: &str) -> Response {
    let answer = problem.render(request_id);
    match route {
        route if course_sms::has(route) => with_body(answer, &course_sms::refusal(problem, request_id)),
        route if merchant::has(route) => with_body(answer, &plain(problem, request_id)),
        _ => answer,
    }
}

/// The same status and headers over another body.
fn with_body(mut answer: Response, body: &serde_json::Value) -> Response {
    *answer.body_mut() = Body::from(body.to_string());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A refusal where a document shows none: what is wrong in one sentence, and the codes of `/v1`.
fn plain(problem: &Problem, request_id: &str) -> serde_json::Value {
    let detail = problem.detail.as_deref().or_else(|| problem.errors.first().map(|e| &*e.detail));
    let mut body = serde_json::json!({
        "error": detail.unwrap_or(problem.code.title()),
        "code": problem.code.as_str(),
        "request_id": request_id,
    });
    let members = body.as_object_mut().expect("made as an object above");
    if !problem.errors.is_empty() {
        members.insert("errors".into(), serde_json::json!(problem.errors));
    }
    members.extend(problem.extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    body
}

/// A refusal by a function of `/v1`, its fields named as a face has them: each pair is a member there and here. What stands deeper than an
/// element of a list is the translation's own.
fn renamed(problem: Problem, names: &[(&str, &str)]) -> Problem {
    let rename = |pointer: &str| {
        let mut steps = pointer.strip_prefix("#/")?.split('/');
        let member = steps.next()?;
        let (_, ours) = names.iter().find(|(theirs, _)| *theirs == member)?;
        Some(steps.next().map_or_else(|| format!("#/{ours}"), |index| format!("#/{ours}/{index}")))
    };
    let errors = problem.errors.into_iter().map(|e| match rename(&e.pointer) {
        Some(pointer) => FieldError { pointer: Cow::Owned(pointer), ..e },
        None => e,
    });
    Problem { errors: errors.collect(), ..problem }
}
