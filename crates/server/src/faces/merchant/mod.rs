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
use carillon_domain::campaign::State as CampaignState;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::api::error::Problem;
use crate::app::App;
use crate::clock::rfc3339;
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

/// A time as an instant: one without an offset is UTC. What is no time is left as it is, for those who read it to refuse.
fn instant(written: String) -> String {
    let local = || written.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    match written.parse::<jiff::Timestamp>().ok().or_else(local) {
        Some(at) => rfc3339(at.as_millisecond()),
        None => written,
    }
}

/// A refusal by a function of `/v1`: its fields, and a campaign's state if it tells one, as they are called here.
fn in_our_words(mut problem: Problem) -> Problem {
    for (_, value) in problem.extra.iter_mut().filter(|(name, _)| *name == "status") {
        if let Some(state) = value.as_str().and_then(CampaignState::from_name) {
            *value = words::of_campaign(state).into();
        }
    }
    renamed(problem, &[("text", "message"), ("to", "recipients"), ("audience", "recipients"), ("at", "scheduled_at")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_if_they_do_not_say() {
        for (written, expected) in [
            ("2026-12-04T11:00:00Z", "2026-12-04T11:00:00.000Z"),
            ("2026-12-04T11:00:00+01:00", "2026-12-04T10:00:00.000Z"),
            ("2026-12-04 11:00:00", "2026-12-04T11:00:00.000Z"),
            ("Friday", "Friday"),
            ("", ""),
        ] {
            assert_eq!(instant(written.into()), expected);
        }
    }
}
