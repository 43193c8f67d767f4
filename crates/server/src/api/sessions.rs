//! The places a person is signed in.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use carillon_domain::id::{AccountNo, SessionId, UserId};
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

/// A caller who is a person: programs have no sessions.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The account signed in to.
    pub account: AccountNo,
    /// Who.
    pub user: UserId,
    /// The session asking.
    pub session: SessionId,
}

impl FromRequestParts<App> for Person {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        match caller.actor {
            Actor::User(user, session) => Ok(Person { account: caller.account, user, session }),
            _ => {
                Err(Code::Forbidden
                    .with("only a signed-in person has sessions; end a key with DELETE /v1/api-keys/{id}"))
            }
        }
    }
}

/// List where you are signed in.
#[utoipa::path(get, path = "/v1/sessions", tag = "Access", operation_id = "listSessions", responses((status = 200, body = SessionList)))]
pub async fn list(State(app): State<App>, person: Person) -> Result<Json<SessionList>, Problem> {
    let sessions = session::list(&app.db, person.account, person.user, app.clock.now_ms()).await?;
    let show = |s: session::Session| SessionView {
        id: s.id,
        current: s.id == person.session,
        address: s.address,
        agent: s.agent,
        created_at: rfc3339(s.created_at),
        used_at: rfc3339(s.used_at),
        expires_at: rfc3339(s.expires_at),
    };
    Ok(Json(SessionList { data: sessions.into_iter().map(show).collect() }))
}

/// End one of your sessions.
///
/// Its tokens are refused at once.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "Access", operation_id = "endSession", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn end(State(app): State<App>, person: Person, Id(id): Id<SessionId>) -> Result<StatusCode, Problem> {
    session::revoke(&app.db, person.account, person.user, id, app.clock.now_ms()).await?;
    app.access.forget_session(id);
    Ok(StatusCode::NO_CONTENT)
}
