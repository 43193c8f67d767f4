//! Messages from phones: an account's, and for operators those to numbers that nobody owns.

use axum::extract::State;
use carillon_domain::id::{AccountNo, ConversationId, InboundId, KeywordRuleId, MessageId};
use carillon_store::inbound_message::{self, Filter, InboundMessage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use super::extract::{Can, Id, InboundRead, Json, Operate, Query};
use super::ledger;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::inbound::peer;

/// A message from a phone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundMessage)]
pub struct InboundView {
    #[schema(value_type = String, example = "inb_01h455vb4pex5vsknk084sn02q")]
    pub(super) id: InboundId,
    /// Always `received`.
    status: &'static str,
    /// Its conversation; null if nobody owns the number.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// Who wrote: a phone number, a short code, or a name.
    #[schema(example = "+4915112345678")]
    from: String,
    /// The own number that was written to.
    #[schema(example = "+4915735983801")]
    to: String,
    /// What it says, `[…]` where a part never came; null for octets.
    #[schema(example = "Yes, at eight please")]
    text: Option<String>,
    /// Octets as base64; null for text.
    data: Option<String>,
    parts: i32,
    /// The parts that never came, from 1.
    missing_parts: Vec<u8>,
    /// What it did by itself: `none`, `stop`, `start`, `help`, or `rule`.
    #[schema(example = "none")]
    action: &'static str,
    /// The keyword rule that answered.
    #[schema(value_type = Option<String>)]
    rule: Option<KeywordRuleId>,
    /// The message that answered by itself.
    #[schema(value_type = Option<String>)]
    answer: Option<MessageId>,
    /// The connection it came by.
    connection: Option<String>,
    /// When it was complete, RFC 3339.
    received_at: String,
    /// When the carrier had it, if it says so.
    carrier_at: Option<String>,
}

impl InboundView {
    pub(crate) fn of(m: InboundMessage) -> InboundView {
        let (text, data) = if m.is_binary { (None, Some(m.body)) } else { (Some(m.body), None) };
        InboundView {
            id: m.id,
            status: "received",
            conversation: m.conversation,
            from: m.peer,
            to: peer::as_sender(&m.number),
            text,
            data,
            parts: m.parts,
            missing_parts: m.missing,
            action: m.action.as_str(),
            rule: m.rule,
            answer: m.answer,
            connection: m.connection,
            received_at: rfc3339(m.id.millis()),
            carrier_at: m.carrier_at.map(rfc3339),
        }
    }
}

/// Which messages, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// From this number.
    from: Option<String>,
    /// To this own number.
    to: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List messages from phones, newest first.
#[utoipa::path(get, path = "/v1/inbound-messages", tag = "Two-way", operation_id = "listInboundMessages", params(ListQuery),
    responses((status = 200, body = Paged<InboundView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<InboundView>>, Problem> {
    let filters = format!("{:?}{:?}", query.from, query.to);
    let window = Window::open(&app, caller.account, "inbound", &filters, query.limit, query.cursor.as_deref())?;
    let number: Option<String> = query.to.map(|to| to.chars().filter(char::is_ascii_digit).collect());
    let peer_tag = query.from.map(|from| peer::tag(&peer::name(&from), &app.secrets.phone_key));
    let filter = Filter { conversation: None, number: number.as_deref(), peer_tag };
    let rows = inbound_message::list(&app.db, caller.account, filter, window.after, window.fetch()).await?;
    Ok(Json(window.page(rows, |m| m.id.0, InboundView::of)))
}

/// Read a message from a phone.
#[utoipa::path(get, path = "/v1/inbound-messages/{id}", tag = "Two-way", operation_id = "getInboundMessage", params(("id" = String, Path)),
    responses((status = 200, body = InboundView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Id(id): Id<InboundId>,
) -> Result<Json<InboundView>, Problem> {
    Ok(Json(InboundView::of(inbound_message::by_id(&app.db, caller.account, id).await?)))
}

/// List messages to numbers that nobody owns, newest first.
#[utoipa::path(get, path = "/v1/admin/inbound-messages", tag = "Platform", operation_id = "listUnmatchedInbound", params(ledger::ListQuery),
    responses((status = 200, body = Paged<InboundView>)))]
pub async fn unmatched(
    State(app): State<App>,
    _: Can<Operate>,
    Query(query): Query<ledger::ListQuery>,
) -> Result<Json<Paged<InboundView>>, Problem> {
    let account = AccountNo::PLATFORM;
    let window = Window::open(&app, account, "inbound", "", query.limit, query.cursor.as_deref())?;
    let rows = inbound_message::list(&app.db, account, Filter::default(), window.after, window.fetch()).await?;
    Ok(Json(window.page(rows, |m| m.id.0, InboundView::of)))
}
