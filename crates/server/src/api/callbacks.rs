//! `/v1/callbacks/{connection}/{token}`: what HTTP carriers tell us. Answered 2xx once it is durable; anything else makes them come again.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use carillon_domain::id::ConnectionId;
use carillon_providers::{Callback, CallbackError};

use super::error::{Code, Problem};
use crate::app::App;
use crate::pipeline::Inbound;

/// Takes receipts and inbound messages. An unknown connection is 404; a wrong secret, no signature or a wrong one 403.
pub(super) async fn take(
    State(app): State<App>,
    Path((connection, token)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<StatusCode, Problem> {
    let connection = connection.parse::<ConnectionId>().map_err(|_| Code::NotFound)?;
    let listening = app.links.listening(connection, &token).ok_or(Code::NotFound)?.map_err(refused)?;
    let body = body.map_err(|_| Code::PayloadTooLarge.with(format!("at most {} bytes", app.config.server.body_max)))?;
    let url = address(&app, &uri, query.as_deref(), &headers);
    let headers: Vec<_> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let heard = listening.heard(&Callback { url: &url, headers: &headers, body: &body }).map_err(refused)?;
    let no = listening.no();
    for message in heard.inbound {
        let part = message.part.map(|p| (p.reference, p.total, p.index));
        let text = with_media(message.text, &message.media);
        let id = Some(message.id).filter(|id| !id.is_empty());
        let inbound = Inbound::text(no, id, message.from, message.to, &text, app.pipeline.repeats_until(no));
        app.pipeline.take_inbound(Inbound { part, ..inbound }).await?;
    }
    metrics::counter!("carillon_callbacks_total", "result" => "taken").increment(1);
    if app.links.receipts(&listening, heard.receipts).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Code::NotReady.into())
    }
}

/// Pictures and videos lie with the carrier: their addresses follow the text.
fn with_media(text: String, media: &[(String, String)]) -> String {
    let addresses = media.iter().map(|(address, _)| address.as_str());
    std::iter::once(text.as_str()).filter(|t| !t.is_empty()).chain(addresses).collect::<Vec<_>>().join("\n")
}

/// The address as the carrier called it: what it signs.
fn address(app: &App, uri: &Uri, query: Option<&str>, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = match app.config.server.public_url.as_str() {
        "" => format!("http://{host}"),
        public => public.to_owned(),
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{origin}{}{query}", uri.path())
}

fn refused(error: CallbackError) -> Problem {
    let result = match error {
        CallbackError::Unsigned => "unsigned",
        CallbackError::Forged => "forged",
        CallbackError::Malformed(_) => "malformed",
    };
    metrics::counter!("carillon_callbacks_total", "result" => result).increment(1);
    match error {
        CallbackError::Unsigned | CallbackError::Forged => Code::Forbidden.with(error.to_string()),
        CallbackError::Malformed(_) => Code::InvalidRequest.with(error.to_string()),
    }
}
