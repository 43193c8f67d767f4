//! The face for course platforms: `POST /api/sms/send`, `GET /api/sms/history`, `POST /api/sms/delivery-webhook`. A message there is a batch
//! here.

mod history;
mod send;
mod webhook;

use axum::Router;
use axum::routing::{get, post};
use carillon_domain::money::Money;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::api::error::Problem;
use crate::app::App;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/api/sms/send", post(send::send))
        .route("/api/sms/history", get(history::list))
        .route("/api/sms/delivery-webhook", post(webhook::take))
}

/// Whether a route is of this face.
pub(super) fn has(route: &str) -> bool {
    route.starts_with("/api/sms/")
}

/// The body of a refusal.
pub(super) fn refusal(problem: &Problem, request_id: &str) -> Value {
    let mut body = super::plain(problem, request_id);
    body["success"] = false.into();
    body
}

/// Money as the document writes it: a JSON number.
struct Cost(Money);

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // The number nearest to the decimal is written as that decimal again, for amounts of up to fifteen digits.
        s.serialize_f64(self.0.to_string().parse().expect("an amount is a decimal number"))
    }
}
