//! Conversations: what one own number and one who writes to it have said, and answering.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use carillon_domain::id::{ConversationId, MessageId, TypeId};
use carillon_store::hot::Verdict;
use carillon_store::inbound_message::{self, Filter};
use carillon_store::{conversation, message};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{Code, Problem};
use super::extract::{Can, Id, InboundRead, Json, MessagesSend, Query, parse_json};
use super::history::MessageView;
use super::idempotency;
use super::inbound_messages::InboundView;
use super::ledger;
use super::page::{Paged, Window};
use super::sending::{self, Raw};
use crate::app::App;
use crate::clock::rfc3339;
use crate::inbound::{self, Refused, peer};
use crate::pipeline::prepare::Draft;

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conversation)]
pub struct ConversationView {
    #[schema(value_type = String, example = "cnv_01h455vb4pex5vsknk084sn02q")]
    id: ConversationId,
    /// The own number.
    #[schema(example = "+4915735983801")]
    number: String,
    /// Who writes to it.
    #[schema(example = "+4915112345678")]
    peer: String,
    /// Messages that came.
    received: i32,
    /// Messages that went from that number to them.
    sent: i64,
    /// Those that came and are not marked read.
    unread: i32,
    /// The latest message.
    last_message: Option<Said>,
    /// When that was, RFC 3339.
    last_at: String,
}

/// One message of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "direction", rename_all = "snake_case")]
pub enum Said {
    /// It came from the phone.
    Inbound(Box<InboundView>),
    /// It went to the phone.
    Outbound(Box<MessageView>),
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only those with something unread.
    unread: Option<bool>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    #[schema(example = "See you at eight")]
    text: String,
    /// Your own name for it, at most 64 characters.
    client_ref: Option<String>,
}

/// An answer accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replied {
    /// For `GET /v1/messages/{id}`.
    #[schema(value_type = String, example = "msg_01h455vb4pex5vsknk084sn02q")]
    id: MessageId,
    status: &'static str,
}

/// List conversations, those with the latest message first.
#[utoipa::path(get, path = "/v1/conversations", tag = "Two-way", operation_id = "listConversations", params(ListQuery),
    responses((status = 200, body = Paged<ConversationView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<ConversationView>>, Problem> {
    let unread = query.unread == Some(true);
    let filters = if unread { "unread" } else { "" };
    let window = Window::open(&app, caller.account, "conversations", filters, query.limit, query.cursor.as_deref())?;
    let rows = conversation::list(&app.db, caller.account, unread, window.after, window.fetch()).await?;
    let mut shown = Vec::with_capacity(rows.len());
    for c in rows {
        let last = said(&app, &caller, &c, None, 1).await?.pop();
        shown.push((c, last));
    }
    Ok(Json(window.page(shown, |(c, _)| c.last, |(c, last)| view(c, last))))
}

fn view(c: conversation::Conversation, last: Option<(Uuid, Said)>) -> ConversationView {
    let last_id = last.as_ref().map_or(c.last, |(id, _)| *id);
    ConversationView {
        id: c.id,
        number: peer::as_sender(&c.number),
        peer: c.peer,
        received: c.received,
        sent: c.sent,
        unread: c.unread,
        last_message: last.map(|(_, said)| said),
        last_at: rfc3339(MessageId(last_id).millis()),
    }
}

/// What was said before an id, newest first.
async fn said(
    app: &App,
    caller: &crate::access::Caller,
    c: &conversation::Conversation,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<(Uuid, Said)>, Problem> {
    let filter = Filter { conversation: Some(c.id), ..Filter::default() };
    let came = inbound_message::list(&app.db, caller.account, filter, before, limit).await?;
    let went = conversation::sent(&app.db, caller.account, c, before, limit).await?;
    let came = came.into_iter().map(|m| (m.id.0, Said::Inbound(Box::new(InboundView::of(m)))));
    let went = went.into_iter().map(|m| (m.id.0, Said::Outbound(Box::new(MessageView::of(m, &caller.info)))));
    let mut all: Vec<_> = came.chain(went).collect();
    all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    all.truncate(limit as usize);
    Ok(all)
}

/// Read a conversation.
#[utoipa::path(get, path = "/v1/conversations/{id}", tag = "Two-way", operation_id = "getConversation", params(("id" = String, Path)),
    responses((status = 200, body = ConversationView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Id(id): Id<ConversationId>,
) -> Result<Json<ConversationView>, Problem> {
    let c = conversation::by_id(&app.db, caller.account, id).await?;
    let last = said(&app, &caller, &c, None, 1).await?.pop();
    Ok(Json(view(c, last)))
}

/// List what was said, newest first, both directions.
#[utoipa::path(get, path = "/v1/conversations/{id}/messages", tag = "Two-way", operation_id = "listConversationMessages",
    params(("id" = String, Path), ledger::ListQuery), responses((status = 200, body = Paged<Said>)))]
pub async fn messages(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Id(id): Id<ConversationId>,
    Query(query): Query<ledger::ListQuery>,
) -> Result<Json<Paged<Said>>, Problem> {
    let list = format!("said in {id}");
    let window = Window::open(&app, caller.account, &list, "", query.limit, query.cursor.as_deref())?;
    let c = conversation::by_id(&app.db, caller.account, id).await?;
    let all = said(&app, &caller, &c, window.after, window.fetch()).await?;
    Ok(Json(window.page(all, |(id, _)| *id, |(_, said)| said)))
}

/// Answer.
///
/// An ordinary message from the conversation's number to its peer: priced, held, and refused if the peer has opted out.
#[utoipa::path(post, path = "/v1/conversations/{id}/messages", tag = "Two-way", operation_id = "replyToConversation",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same request with the same key is done once.")),
    request_body = Reply, responses((status = 202, body = Replied)))]
pub async fn reply(
    State(app): State<App>,
    caller: Can<MessagesSend>,
    Id(id): Id<ConversationId>,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<(StatusCode, Json<Replied>), Problem> {
    let c = conversation::by_id(&app.db, caller.account, id).await?;
    let body: Reply = parse_json(&bytes)?;
    let key = idempotency::key(&headers, &format!("POST /v1/conversations/{id}/messages"), &bytes)?;
    if peer::phone(&c.peer).is_none() {
        return Err(Code::InvalidRequest.with("the peer has no phone number: it cannot be written to"));
    }
    let draft = Draft { text: Some(&body.text), client_ref: body.client_ref.as_deref(), ..Draft::default() };
    let verdict = inbound::reply(&app, &caller, &c.number, &c.peer, draft, key).await.map_err(|e| match e {
        Refused::Wrong(mistakes) => Problem::from(mistakes),
        Refused::Submit(e) => e.into(),
    })?;
    let message = match verdict {
        Verdict::Accepted { first, .. } => first,
        Verdict::Replayed { resource } => {
            message::by_id(&app.db, caller.account, MessageId::from_uuid(resource)).await?.id
        }
        verdict => return Err(sending::refusal(&verdict, &caller.info.currency)),
    };
    conversation::touch(&app.db, caller.account, id, message).await?;
    Ok((StatusCode::ACCEPTED, Json(Replied { id: message, status: "queued" })))
}

/// Mark a conversation read.
#[utoipa::path(post, path = "/v1/conversations/{id}/read", tag = "Two-way", operation_id = "markConversationRead", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn mark_read(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Id(id): Id<ConversationId>,
) -> Result<StatusCode, Problem> {
    conversation::mark_read(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
