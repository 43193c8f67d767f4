//! Media: pictures, videos and cards, uploaded for messages; and the public links that recipients open.

use axum::body::Body;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carillon_domain::id::{MediaId, TypeId};
use carillon_domain::media::MediaKind;
use carillon_store::media::{self as rows, Media};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{AccountRead, Can, Id, Json, MediaManage, Query, body_of, media_type};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::config::Config;
use crate::media::{self, MediaError};

/// A browser keeps what it fetched for so long, seconds.
const CACHE_S: i64 = 3_600;

/// A file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Media)]
pub struct MediaView {
    /// For `media` of a message.
    #[schema(value_type = String, example = "med_01h455vb4pex5vsknk084sn02q")]
    id: MediaId,
    /// What it is, by its content.
    #[schema(example = "image/jpeg")]
    content_type: &'static str,
    /// Octets.
    #[schema(example = 48213)]
    size: i64,
    /// Where whoever knows it can open it; null on a server without a public address.
    url: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// When it goes, RFC 3339.
    expires_at: String,
}

impl MediaView {
    fn of(m: Media, config: &Config) -> MediaView {
        MediaView {
            url: link(config, &m.token),
            id: m.id,
            content_type: m.kind.content_type(),
            size: m.size,
            created_at: rfc3339(m.created_at),
            expires_at: rfc3339(m.expires_at),
        }
    }
}

/// The public link of a token, if the server has a public address.
pub(super) fn link(config: &Config, token: &str) -> Option<String> {
    let base = config.server.public_url.trim_end_matches('/');
    (!base.is_empty()).then(|| format!("{base}/m/{token}"))
}

impl From<MediaError> for Problem {
    fn from(e: MediaError) -> Problem {
        match e {
            MediaError::Full => Code::MediaFull.into(),
            MediaError::Store(e) => e.into(),
            MediaError::Octets(error) => {
                tracing::error!(%error, "the store of media cannot be used: {error}");
                Code::StoreUnavailable.into()
            }
        }
    }
}

/// The octets of an upload, at most as many as the settings allow.
#[derive(Debug)]
pub struct Upload(Bytes);

impl FromRequest<App> for Upload {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let kind = media_type(request.headers());
        if kind.starts_with("multipart/") || kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Code::UnsupportedMediaType.with("send the octets of the file as the body, not a form"));
        }
        body_of(request, app, app.config.media.file_max).await.map(Upload)
    }
}

/// Upload a file for messages.
///
/// The body is the file itself: JPEG, PNG, GIF, WebP, MP4, 3GP, vCard or PDF. What it is, is told by its content.
#[utoipa::path(post, path = "/v1/media", tag = "Media", operation_id = "uploadMedia",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The octets of the file."),
    responses((status = 201, body = MediaView), (status = 413, body = super::error::ProblemBody), (status = 415, body = super::error::ProblemBody)))]
pub async fn upload(
    State(app): State<App>,
    caller: Can<MediaManage>,
    Upload(octets): Upload,
) -> Result<(StatusCode, Json<MediaView>), Problem> {
    let kind = MediaKind::of(&octets)
        .ok_or_else(|| Code::UnsupportedMediaType.with("a JPEG, PNG, GIF, WebP, MP4, 3GP, vCard or PDF file"))?;
    // Whoever hangs up must not leave a row without its file.
    let (work, account) = (app.clone(), caller.account);
    let kept = tokio::spawn(async move { media::keep(&work, account, kind, octets).await });
    let kept = kept.await.map_err(|_| Code::Internal)??;
    Ok((StatusCode::CREATED, Json(MediaView::of(kept, &app.config))))
}

/// List the account's files, newest first; those gone are left out.
#[utoipa::path(get, path = "/v1/media", tag = "Media", operation_id = "listMedia", params(ListQuery),
    responses((status = 200, body = Paged<MediaView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<AccountRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<MediaView>>, Problem> {
    let window = Window::open(&app, caller.account, "media", "", query.limit, query.cursor.as_deref())?;
    let (after, now) = (window.after.map(MediaId::from_uuid), app.clock.now_ms());
    let found = rows::list(&app.db, caller.account, after, now, window.fetch()).await?;
    Ok(Json(window.page(found, |m| m.id.0, |m| MediaView::of(m, &app.config))))
}

/// Read what a file is. 410 once it has expired or was deleted.
#[utoipa::path(get, path = "/v1/media/{id}", tag = "Media", operation_id = "getMedia", params(("id" = String, Path)),
    responses((status = 200, body = MediaView), (status = 410, body = super::error::ProblemBody)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<AccountRead>,
    Id(id): Id<MediaId>,
) -> Result<Json<MediaView>, Problem> {
    let found = rows::by_id(&app.db, caller.account, id).await?;
    if !found.lives(app.clock.now_ms()) {
        return Err(Code::MediaGone.into());
    }
    Ok(Json(MediaView::of(found, &app.config)))
}

/// Delete a file. Links to it say that it is gone.
#[utoipa::path(delete, path = "/v1/media/{id}", tag = "Media", operation_id = "deleteMedia", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<MediaManage>,
    Id(id): Id<MediaId>,
) -> Result<StatusCode, Problem> {
    media::remove(&app.db, &app.media, caller.account, id, app.clock.now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What of a file is asked for (RFC 9110 §14.1.2): its first and last octet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    All,
    Part(u64, u64),
    Nowhere,
}

impl Wanted {
    /// Of a `Range` header. Several ranges, and what is none, are answered with all; so is a range under a condition (`If-Range`), as nothing
    /// here is told by which it could hold.
    fn of(headers: &HeaderMap, size: u64) -> Wanted {
        let given = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
        let Some(range) = given.and_then(|v| v.to_str().ok()?.trim().strip_prefix("bytes=")) else {
            return Wanted::All;
        };
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|_| !text.trim().starts_with('+'));
        let Some((first, last)) = range.split_once('-') else { return Wanted::All };
        match (number(first), number(last)) {
            (None, Some(0)) if first.trim().is_empty() => Wanted::Nowhere,
            (None, Some(count)) if first.trim().is_empty() => Wanted::Part(size.saturating_sub(count), size - 1),
            (Some(first), Some(last)) if last < first => Wanted::All,
            (Some(first), _) if first >= size => Wanted::Nowhere,
            (Some(first), Some(last)) => Wanted::Part(first, last.min(size - 1)),
            (Some(first), None) if last.trim().is_empty() => Wanted::Part(first, size - 1),
            _ => Wanted::All,
        }
    }
}

/// What a recipient opens: the file, or a range of it, shown without anything in it being run.
pub async fn open(
    State(app): State<App>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = rows::by_token(&app.db, &token).await?;
    let now = app.clock.now_ms();
    if !found.lives(now) {
        return Err(Code::MediaGone.into());
    }
    // An upload without octets is refused: there is a last one.
    let size = found.size as u64;
    let wanted = Wanted::of(&headers, size);
    let (status, first, last) = match wanted {
        Wanted::All => (StatusCode::OK, 0, size - 1),
        Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last),
        Wanted::Nowhere => {
            let mut refused = Problem::from(Code::RangeNotSatisfiable).into_response();
            refused.headers_mut().insert(header::CONTENT_RANGE, ascii(format!("bytes */{size}")));
            return Ok(refused);
        }
    };
    // Who asks what it is need not wait for it.
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let octets = app.media.read(&found, first, last, now).await.map_err(MediaError::from)?;
        Body::from_stream(octets.ok_or(Code::MediaGone)?)
    };
    let shown = if found.kind.shown_inline() { "inline" } else { "attachment" };
    let cache = CACHE_S.min((found.expires_at - now) / 1_000);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, found.kind.content_type()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let made = [
        (header::CONTENT_DISPOSITION, format!("{shown}; filename=\"file.{}\"", found.kind.extension())),
        (header::CACHE_CONTROL, format!("private, max-age={cache}")),
        (header::CONTENT_LENGTH, (last + 1 - first).to_string()),
    ];
    for (name, value) in made {
        headers.insert(name, ascii(value));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, ascii(format!("bytes {first}-{last}/{size}")));
    }
    Ok(response)
}

fn ascii(value: String) -> HeaderValue {
    HeaderValue::from_str(&value).expect("made of ASCII")
}
