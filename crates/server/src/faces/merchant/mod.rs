//! The face for merchants who send campaigns: `/merchants/*`, `/campaigns*`, `/sms/*`, `/billing*`. A merchant is an account and the person
//! who owns it; ids are the bare UUIDs of ours, as the document has them.

mod billing;
mod campaigns;
mod merchants;
mod recipients;
mod sms;
mod status;
mod words;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::api::error::Problem;
use crate::app::App;
use crate::faces::renamed;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/merchants/register", post(merchants::register))
        .route("/merchants/login", post(merchants::login))
        .route("/merchants/profile", get(merchants::profile))
        .route("/campaigns", post(campaigns::create).get(campaigns::list))
        .route("/campaigns/{id}", get(campaigns::read).patch(campaigns::change).delete(campaigns::cancel))
        .route("/sms/send", post(sms::send))
        .route("/sms/schedule", post(sms::schedule))
        .route("/sms/status/{id}", get(status::read))
        .route("/billing", get(billing::read))
        .route("/billing/recharge", post(billing::recharge))
}

/// Whether a route is of this face.
pub(super) fn has(route: &str) -> bool {
    ["/merchants", "/campaigns", "/sms", "/billing"]
        .iter()
        .any(|first| route.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

fn in_our_words(problem: Problem) -> Problem {
    renamed(problem, &[("text", "message"), ("to", "recipients"), ("audience", "recipients"), ("at", "scheduled_at")])
}
