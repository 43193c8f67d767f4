//! What a webhook says, put together at the moment it is sent: a message is shown as `GET /v1/messages/{id}` shows it then. Nothing of it is
//! stored with the delivery.

use std::collections::HashMap;

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, MessageId, TypeId};
use carillon_store::delivery::Delivery;
use carillon_store::{StoreError, account, message};
use serde::Serialize;
use serde_json::Value;

use crate::api::history::MessageView;
use crate::app::App;
use crate::clock::rfc3339;

/// What is sent.
#[derive(Debug)]
pub(super) struct Payload {
    /// JSON: `{type, timestamp, data}`.
    pub(super) body: String,
    /// Where the message itself wants its events.
    pub(super) callback_url: Option<String>,
}

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    /// When it happened, not when it is sent.
    timestamp: String,
    data: T,
}

/// The payload of each, in order. All belong to one account.
pub(super) async fn payloads(
    app: &App,
    account: AccountNo,
    deliveries: &[Delivery],
) -> Result<Vec<Payload>, StoreError> {
    let of_message = |d: &&Delivery| d.kind.is_some_and(EventKind::is_transition);
    let ids: Vec<MessageId> = deliveries.iter().filter(of_message).filter_map(|d| d.subject.map(MessageId)).collect();
    let mut views = HashMap::new();
    if !ids.is_empty() {
        let owner = account::by_no(&app.db, account).await?;
        for m in message::by_ids(&app.db, account, &ids).await? {
            let callback_url = m.callback_url.clone();
            let view = serde_json::to_value(MessageView::of(m.clone(), &owner)).expect("a view is plain data");
            views.insert(m.id, (view, callback_url));
        }
    }
    let one = |d: &Delivery| {
        let message = d.subject.map(MessageId).and_then(|id| views.get(&id));
        let data = match (message, &d.detail) {
            (Some((view, _)), _) => view.clone(),
            (None, Some(detail)) => serde_json::from_str(detail).unwrap_or(Value::Null),
            // It was erased meanwhile: its id is all there is left to tell.
            (None, None) => match (d.kind, d.subject) {
                (Some(kind), Some(id)) if kind.is_transition() => serde_json::json!({ "id": MessageId::from_uuid(id) }),
                _ => serde_json::json!({}),
            },
        };
        let kind = d.kind.map_or("unknown", EventKind::as_str);
        let body = Body { r#type: kind, timestamp: rfc3339(d.event_at), data };
        let body = serde_json::to_string(&body).expect("a payload is plain data");
        Payload { body, callback_url: message.and_then(|(_, url)| url.clone()) }
    };
    Ok(deliveries.iter().map(one).collect())
}
