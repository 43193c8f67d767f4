//! What a webhook says, put together at the moment it is sent: what it is about is shown as the API's GET shows it then. Nothing of it is
//! stored with the delivery.

use std::collections::HashMap;

use carillon_domain::event::EventKind;
use carillon_domain::id::{
    AccountNo, CampaignId, EndpointId, InboundId, MessageId, SenderId, ShortLinkId, SuppressionId, TypeId,
    VerificationId,
};
use carillon_store::delivery::Delivery;
use carillon_store::{
    StoreError, account, campaign, inbound_message, message, sender, short_link, suppression, verification, webhook,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::campaigns;
use crate::api::history::MessageView;
use crate::api::inbound_messages::InboundView;
use crate::api::senders::SenderView;
use crate::api::short_links::LinkView;
use crate::api::suppressions::EntryView;
use crate::api::verifications::VerificationView;
use crate::api::webhook_endpoints;
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
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Value,
}

/// The text of a payload; `at` is when it happened (Unix milliseconds), not when it is sent.
pub(super) fn body(kind: Option<EventKind>, at: i64, data: Value) -> String {
    let kind = kind.map_or("unknown", EventKind::as_str);
    serde_json::to_string(&Body { r#type: kind, timestamp: rfc3339(at), data }).expect("a payload is plain data")
}

/// The payload of each, in order. All belong to one account.
pub(super) async fn payloads(
    app: &App,
    account: AccountNo,
    deliveries: &[Delivery],
) -> Result<Vec<Payload>, StoreError> {
    let messages = messages(app, account, deliveries).await?;
    let mut payloads = Vec::with_capacity(deliveries.len());
    for d in deliveries {
        let message = d.subject.map(MessageId).and_then(|id| messages.get(&id));
        let data = match (message, d.kind.zip(d.subject)) {
            (Some((view, _)), _) => view.clone(),
            (None, Some((kind, subject))) => resource(app, account, kind, subject).await?,
            (None, None) => d.detail.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(json!({})),
        };
        let callback_url = message.and_then(|(_, url)| url.clone());
        payloads.push(Payload { body: body(d.kind, d.event_at, data), callback_url });
    }
    Ok(payloads)
}

/// The messages that were sent and that deliveries tell of, and where each wants its events: most deliveries are of these, so they are read
/// together.
async fn messages(
    app: &App,
    account: AccountNo,
    deliveries: &[Delivery],
) -> Result<HashMap<MessageId, (Value, Option<String>)>, StoreError> {
    let of_message = |d: &&Delivery| d.kind.is_some_and(EventKind::is_transition);
    let ids: Vec<MessageId> = deliveries.iter().filter(of_message).filter_map(|d| d.subject.map(MessageId)).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let owner = account::by_no(&app.db, account).await?;
    let read = message::by_ids(&app.db, account, &ids).await?;
    Ok(read
        .into_iter()
        .map(|m| {
            let (id, callback_url) = (m.id, m.callback_url.clone());
            (id, (shown(&MessageView::of(m, &owner)), callback_url))
        })
        .collect())
}

/// What an event is about; its id alone if it is no more.
pub(super) async fn resource(
    app: &App,
    account: AccountNo,
    kind: EventKind,
    subject: Uuid,
) -> Result<Value, StoreError> {
    use EventKind as E;
    let (db, now) = (&app.db, app.clock.now_ms());
    match kind {
        E::MessageReceived => {
            let id = InboundId(subject);
            told(id, inbound_message::by_id(db, account, id).await, InboundView::of)
        }
        E::VerificationApproved | E::VerificationFailed => {
            let id = VerificationId(subject);
            told(id, verification::by_id(db, account, id).await, |v| VerificationView::of(v, now))
        }
        E::SenderApproved | E::SenderRejected => {
            let id = SenderId(subject);
            told(id, sender::by_id(db, account, id).await, SenderView::of)
        }
        E::OptOutCreated | E::OptOutRemoved => {
            let id = SuppressionId(subject);
            told(id, suppression::by_id(db, account, id).await, EntryView::of)
        }
        E::LinkClicked => {
            let id = ShortLinkId(subject);
            let settings = account::by_no(db, account).await?.settings;
            told(id, short_link::by_id(db, account, id).await, |link| LinkView::of(link, app, &settings))
        }
        E::WebhookDisabled | E::WebhookTest => {
            let id = EndpointId(subject);
            told(id, webhook::by_id(db, account, id).await, |e| webhook_endpoints::view(&e, now))
        }
        E::CampaignStarted | E::CampaignPaused | E::CampaignFinished | E::CampaignFailed => {
            let id = CampaignId(subject);
            match campaign::by_id(db, account, id).await {
                Ok(c) => Ok(shown(&campaigns::told(app, c).await?)),
                Err(StoreError::NotFound) => Ok(json!({ "id": id })),
                Err(error) => Err(error),
            }
        }
        // Messages that are there were read before.
        E::MessageSent
        | E::MessageDelivered
        | E::MessageUndelivered
        | E::MessageFailed
        | E::MessageExpired
        | E::MessageCanceled
        | E::MessageRejected => Ok(json!({ "id": MessageId(subject) })),
    }
}

fn told<T, V: Serialize>(
    id: impl TypeId + Serialize,
    read: Result<T, StoreError>,
    view: impl FnOnce(T) -> V,
) -> Result<Value, StoreError> {
    match read {
        Ok(row) => Ok(shown(&view(row))),
        Err(StoreError::NotFound) => Ok(json!({ "id": id })),
        Err(error) => Err(error),
    }
}

fn shown(view: &impl Serialize) -> Value {
    serde_json::to_value(view).expect("a view is plain data")
}
