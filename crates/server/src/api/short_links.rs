//! Short links: what came of them, for their account; and where they lead, for whoever opens one.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use carillon_domain::account::Settings;
use carillon_domain::id::{BatchId, ClickId, MessageId, ShortLinkId, TypeId};
use carillon_domain::short_link::{Code as LinkCode, Device, Visitor};
use carillon_store::StoreError;
use carillon_store::short_link::{self, Click, ShortLink};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, MessagesRead, Query};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::prepare::shorten;

/// A short link.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShortLink)]
pub struct LinkView {
    #[schema(value_type = String, example = "lnk_01h455vb4pex5vsknk084sn02q")]
    id: ShortLinkId,
    /// As it stands in the message.
    #[schema(example = "https://go.shop.example/4fR9bX2Qz")]
    url: Option<String>,
    /// Where it leads.
    #[schema(example = "https://shop.example/sale?utm_source=sms")]
    target: String,
    /// The message it went with.
    #[schema(value_type = String)]
    message: MessageId,
    /// And that one's batch.
    #[schema(value_type = Option<String>)]
    batch: Option<BatchId>,
    clicks: ClicksView,
    /// When the first person opened it, RFC 3339.
    first_clicked_at: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// When it leads nowhere any more, RFC 3339.
    expires_at: String,
}

/// How often a link was opened, by whom.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClicksView {
    /// Probably people.
    #[schema(example = 1)]
    human: i64,
    /// Programs.
    #[schema(example = 0)]
    bot: i64,
    /// Apps and browsers that show what is behind a link before anybody taps.
    #[schema(example = 1)]
    preview: i64,
}

impl LinkView {
    /// As its account sees it.
    pub fn of(link: ShortLink, app: &App, settings: &Settings) -> LinkView {
        let base = shorten::base(&app.config.server.public_url, settings.link_domain.as_deref());
        LinkView {
            id: link.id,
            url: base.map(|base| format!("{base}{}", link.code)),
            target: link.target.to_string(),
            message: link.message,
            batch: link.batch,
            clicks: ClicksView { human: link.humans, bot: link.bots, preview: link.previews },
            first_clicked_at: link.first_at.map(rfc3339),
            created_at: rfc3339(link.id.millis()),
            expires_at: rfc3339(link.expires_at),
        }
    }
}

/// That somebody opened it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Click)]
pub struct ClickView {
    #[schema(value_type = String, example = "clk_01h455vb4pex5vsknk084sn02q")]
    id: ClickId,
    /// RFC 3339.
    at: String,
    /// `human`, `bot` or `preview`.
    #[schema(example = "human")]
    visitor: &'static str,
    /// `android`, `ios`, `desktop` or `other`.
    #[schema(example = "android")]
    device: &'static str,
}

/// Which links, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinksQuery {
    /// Of this batch.
    #[param(value_type = Option<String>)]
    batch: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List short links, newest first: one for each recipient and address.
#[utoipa::path(get, path = "/v1/links", tag = "Links", operation_id = "listLinks", params(LinksQuery),
    responses((status = 200, body = Paged<LinkView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<LinksQuery>,
) -> Result<Json<Paged<LinkView>>, Problem> {
    let batch = query.batch.as_deref().map(str::parse::<BatchId>).transpose();
    let batch =
        batch.map_err(|_| Problem::from(Code::InvalidQuery).and(Code::InvalidId, "?batch", "the id of a batch"))?;
    let filter = batch.map(|id| id.to_string()).unwrap_or_default();
    let window = Window::open(&app, caller.account, "links", &filter, query.limit, query.cursor.as_deref())?;
    let after = window.after.map(ShortLinkId::from_uuid);
    let rows = short_link::list(&app.db, caller.account, batch, after, window.fetch()).await?;
    Ok(Json(window.page(rows, |l| l.id.0, |l| LinkView::of(l, &app, &caller.info.settings))))
}

/// Read a short link.
#[utoipa::path(get, path = "/v1/links/{id}", tag = "Links", operation_id = "getLink", params(("id" = String, Path)),
    responses((status = 200, body = LinkView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Id(id): Id<ShortLinkId>,
) -> Result<Json<LinkView>, Problem> {
    let link = short_link::by_id(&app.db, caller.account, id).await?;
    Ok(Json(LinkView::of(link, &app, &caller.info.settings)))
}

/// List the clicks of a short link, newest first.
#[utoipa::path(get, path = "/v1/links/{id}/clicks", tag = "Links", operation_id = "listClicks",
    params(("id" = String, Path), ListQuery), responses((status = 200, body = Paged<ClickView>)))]
pub async fn clicks(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Id(id): Id<ShortLinkId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<ClickView>>, Problem> {
    short_link::by_id(&app.db, caller.account, id).await?;
    let filter = id.to_string();
    let window = Window::open(&app, caller.account, "clicks", &filter, query.limit, query.cursor.as_deref())?;
    let after = window.after.map(ClickId::from_uuid);
    let rows = short_link::clicks(&app.db, caller.account, id, after, window.fetch()).await?;
    let view = |c: Click| ClickView {
        id: c.id,
        at: rfc3339(c.id.millis()),
        visitor: c.visitor.as_str(),
        device: c.device.as_str(),
    };
    Ok(Json(window.page(rows, |c| c.id.0, view)))
}

/// Whoever opens a link under this server's address, or under its account's own domain, is sent on.
pub async fn open(
    State(app): State<App>,
    Path(code): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let own = |host: &str| {
        let public: Option<Uri> = app.config.server.public_url.parse().ok();
        public.as_ref().and_then(Uri::host).is_none_or(|known| known.eq_ignore_ascii_case(host))
    };
    lead_on(&app, &code, &method, &uri, &headers, own).await
}

/// The same under an account's own domain, where codes stand alone. Under this server's own address there is nothing of the kind.
pub async fn open_on_own_domain(
    State(app): State<App>,
    Path(code): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if code.parse::<LinkCode>().is_err() {
        return Problem::from(Code::NotFound).into_response();
    }
    lead_on(&app, &code, &method, &uri, &headers, |_| false).await
}

/// Nothing but the code says where it leads. A domain leads to links of its own account alone: else one could lend its name to another's.
async fn lead_on(
    app: &App,
    code: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    everybodys: impl Fn(&str) -> bool,
) -> Response {
    let Ok(code) = code.parse() else { return page(StatusCode::NOT_FOUND) };
    let link = match app.short_link(code).await {
        Ok(link) => link,
        Err(StoreError::NotFound) => return page(StatusCode::NOT_FOUND),
        Err(error) => return Problem::from(error).into_response(),
    };
    let account = match app.account(link.id.account()).await {
        Ok(account) => account,
        Err(error) => return Problem::from(error).into_response(),
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.authority().map(|a| a.as_str()));
    let host = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    let host = host.as_ref().map_or("", axum::http::uri::Authority::host);
    let own = account.settings.link_domain.as_deref().is_some_and(|domain| domain.eq_ignore_ascii_case(host));
    if !own && !everybodys(host) {
        return page(StatusCode::NOT_FOUND);
    }
    let now = app.clock.now_ms();
    if link.expires_at <= now {
        return page(StatusCode::GONE);
    }
    // Who asks only what would be answered has not opened it.
    if method != Method::HEAD {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let agent = text("user-agent");
        let purpose = ["sec-purpose", "purpose", "x-purpose", "x-moz"].map(text).join(" ");
        let id = ClickId::new(now, app.ids.next(), link.id.account());
        let (visitor, device) = (Visitor::of(agent, &purpose), Device::of(agent));
        app.clicked(Click { id, link: link.id, visitor, device }).await;
    }
    let target = HeaderValue::from_str(&link.target).expect("an address that was parsed and written again is ASCII");
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(header::LOCATION, target);
    quietly(response)
}

/// Nothing remembers the answer, and nobody is told where somebody came from.
fn quietly(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    response
}

/// What people see of a link that leads nowhere.
fn page(status: StatusCode) -> Response {
    let said = if status == StatusCode::GONE { "This link has expired." } else { "This link leads nowhere." };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{said}</title><body style=\"font: 1rem/1.5 system-ui, sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem\"><h1>{said}</h1>\
         <p>Check that all of it was copied, or ask whoever sent it to you.</p></body></html>"
    );
    let mut response = quietly((status, Html(html)).into_response());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
