//! For those who run it: is it alive, is it ready, what has it measured.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, Problem, ProblemBody};
use super::extract::Json;
use crate::app::App;

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Of this program.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// The process answers.
#[utoipa::path(get, path = "/health", tag = "Operations", operation_id = "getHealth", security(()), responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(OK)
}

/// The process and its database can take work.
#[utoipa::path(get, path = "/ready", tag = "Operations", operation_id = "getReadiness", security(()),
    responses((status = 200, body = Health), (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, Problem> {
    if app.shutdown.is_cancelled() {
        return Err(Code::NotReady.with("the server is shutting down"));
    }
    let answered = tokio::time::timeout(std::time::Duration::from_secs(2), app.db.ping()).await;
    match answered {
        Ok(Ok(())) => Ok(Json(OK)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            Err(Code::NotReady.with("the database does not answer"))
        }
        Err(_) => Err(Code::NotReady.with("the database did not answer within two seconds")),
    }
}

/// Prometheus text.
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}
