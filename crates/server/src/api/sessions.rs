//! The places a person is signed in.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{SessionId, UserId};
use carillon_store::session;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{Id, Json};
use crate::access::{Actor, Caller};
use crate::app::App;
use crate::clock::rfc3339;

/// One sign-in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// For `DELETE /v1/sessions/{id}`.
    #[schema(value_type = String)]
    id: SessionId,
    /// Whether it is the one asking.
    current: bool,
    /// Where from.
    address: String,
    /// With what.
    agent: String,
    /// RFC 3339.
    created_at: String,
    /// Last refresh, RFC 3339.
    used_at: String,
    /// Ends then unless refreshed, RFC 3339.
    expires_at: String,
}

/// A person's live sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    data: Vec<SessionView>,
}

fn person(caller: &Caller) -> Result<(UserId, SessionId), Problem> {
    match caller.actor {
        Actor::User(user, session) => Ok((user, session)),
        _ => Err(Code::Forbidden.with("only a signed-in person has sessions")),
    }
}

/// List where you are signed in.
#[utoipa::path(get, path = "/v1/sessions", tag = "Access", operation_id = "listSessions", responses((status = 200, body = SessionList)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let (user, current) = person(&caller)?;
    let sessions = session::list(&app.db, caller.account, user, app.clock.now_ms()).await?;
    let show = |s: session::Session| SessionView {
        id: s.id,
        current: s.id == current,
        address: s.address,
        agent: s.agent,
        created_at: rfc3339(s.created_at),
        used_at: rfc3339(s.used_at),
        expires_at: rfc3339(s.expires_at),
    };
    Ok(Json(SessionList { data: sessions.into_iter().map(show).collect() }))
}

/// End one of your sessions; its tokens are refused at once.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "Access", operation_id = "endSession", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn end(State(app): State<App>, caller: Caller, Id(id): Id<SessionId>) -> Result<StatusCode, Problem> {
    let (user, _) = person(&caller)?;
    session::revoke(&app.db, caller.account, user, id, app.clock.now_ms()).await?;
    app.access.forget_session(id);
    Ok(StatusCode::NO_CONTENT)
}
