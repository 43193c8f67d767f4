//! Extractors: who asks and whether they may, bodies, queries and ids, each with refusals that name the field.
//!
//! A handler states its permission in its signature (`Can<MessagesSend>`), so none can forget it. In open mode `client_id` stands
//! in for a credential: in the query for every `Can`; in the body, or in the id asked for, for handlers that take an `Asker`.

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carillon_domain::id::{AccountId, AccountNo, TypeId};
use carillon_domain::permission::Scope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::error::{Code, Problem};
use crate::access::Caller;
use crate::app::App;

/// For members of changes: tells null, which takes a value away, from what is left out.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// A permission as a type.
pub trait Permission: Send + Sync + 'static {
    /// The scope it asks for.
    const SCOPE: Scope;
}

macro_rules! permissions {
    ($($name:ident)*) => {$(
        #[doc = concat!("Asks for `Scope::", stringify!($name), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Permission for $name { const SCOPE: Scope = Scope::$name; }
    )*};
}
permissions! {
    MessagesSend MessagesRead BillingRead KeysManage AccountRead AccountWrite VerificationsManage SendersManage SuppressionsManage
    WebhooksManage InboundRead ConnectionsManage MediaManage SmppManage ContactsRead ContactsManage CampaignsRead CampaignsManage
    ReportsManage Operate
}

/// A caller who may do `P`.
#[derive(Clone, Debug)]
pub struct Can<P>(pub Caller, PhantomData<P>);

impl<P> Deref for Can<P> {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<P: Permission> FromRequestParts<App> for Can<P> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = identify(parts, app).await?.ok_or(Code::Unauthenticated)?;
        caller.allow(P::SCOPE)?;
        Ok(Can(caller, PhantomData))
    }
}

/// Anybody with a valid credential, whatever its scopes.
impl FromRequestParts<App> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(identify(parts, app).await?.ok_or(Code::Unauthenticated)?)
    }
}

/// Also those without a credential.
impl OptionalFromRequestParts<App> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        identify(parts, app).await
    }
}

/// Somebody who may do `P`, or in open mode somebody not named yet: the body's `client_id` or the id asked for will name them.
#[derive(Clone, Debug)]
pub struct Asker<P>(Option<Caller>, PhantomData<P>);

impl<P: Permission> FromRequestParts<App> for Asker<P> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = identify(parts, app).await?;
        match &caller {
            Some(caller) => caller.allow(P::SCOPE)?,
            None if app.config.open_mode.enabled => {}
            None => return Err(Code::Unauthenticated.into()),
        }
        Ok(Asker(caller, PhantomData))
    }
}

impl<P: Permission> Asker<P> {
    /// The caller, given the body's `client_id`: it must name the credential's account, or in open mode opens the one it names.
    pub async fn named(self, app: &App, client_id: Option<&str>) -> Result<Caller, Problem> {
        let counted = self.0.is_some();
        let caller = reconcile(app, self.0, client_id)
            .await?
            .ok_or_else(|| Code::Unauthenticated.with("name the account with `client_id`"))?;
        if !counted {
            app.limits.by_caller(&caller, app.clock.monotonic())?;
        }
        caller.allow(P::SCOPE)?;
        Ok(caller)
    }

    /// The caller, given the account that an id in the path names; in open mode the id alone is enough (seed 1's
    /// `GET /v1/messages/{id}`). A credential's own account always wins: what is not its own will not be found.
    pub async fn owner(self, app: &App, account: AccountNo) -> Result<Caller, Problem> {
        match self.0 {
            Some(caller) => Ok(caller),
            None => {
                let caller = app.open_caller(account).await?;
                app.limits.by_caller(&caller, app.clock.monotonic())?;
                Ok(caller)
            }
        }
    }
}

/// The caller by header, or by the query's `client_id` in open mode; `None` without either. Counts against the caller's limits.
async fn identify(parts: &Parts, app: &App) -> Result<Option<Caller>, Problem> {
    let caller = match credential(&parts.headers)? {
        Some(credential) => Some(app.caller_of(credential).await?),
        None => None,
    };
    let caller = match parts.uri.query() {
        Some(query) => reconcile(app, caller, client_id_of(query)).await?,
        None => caller,
    };
    if let Some(caller) = &caller {
        app.limits.by_caller(caller, app.clock.monotonic())?;
    }
    Ok(caller)
}

async fn reconcile(app: &App, caller: Option<Caller>, client_id: Option<&str>) -> Result<Option<Caller>, Problem> {
    let Some(client_id) = client_id else { return Ok(caller) };
    let id: AccountId = client_id.parse().map_err(|_| Code::InvalidClientId)?;
    match caller {
        Some(caller) if caller.info.id == id => Ok(Some(caller)),
        Some(_) => Err(Code::ClientMismatch.into()),
        None if app.config.open_mode.enabled => {
            // It may write, which makes its future large; see the store's `read_db!`.
            let no = Box::pin(app.open_account(id)).await?;
            Ok(Some(app.open_caller(no).await?))
        }
        None => Err(Code::Unauthenticated.into()),
    }
}

fn client_id_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("client_id="))
}

/// The API key or token of a request. Two different headers would leave open which counts, so that is refused.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|v| v.to_str().map(str::trim).map_err(|_| Problem::from(Code::InvalidCredential)))
            .transpose()
    };
    let bearer = match text("authorization")? {
        Some(value) => match value.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") && !rest.trim().is_empty() => {
                Some(rest.trim())
            }
            _ => return Err(Code::InvalidCredential.with("the Authorization header is not `Bearer <key or token>`")),
        },
        None => None,
    };
    match (bearer, text("x-api-key")?) {
        (Some(a), Some(b)) if a != b => {
            Err(Code::InvalidCredential.with("`Authorization` and `X-Api-Key` differ; send one"))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// A JSON body, read strictly; and a JSON answer.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        parse_json(&body_of(request, app, app.config.server.body_max).await?).map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The media type a body is said to have, without its parameters; empty if it says none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    given.split(';').next().unwrap_or("").trim()
}

pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media = media_type(headers);
    let json = media.eq_ignore_ascii_case("application/json")
        || (media.starts_with("application/") && media.ends_with("+json"));
    if json { Ok(()) } else { Err(Code::UnsupportedMediaType.into()) }
}

/// The octets of a body, at most `max` of them and no slower than `server.body_timeout_s`.
pub(super) async fn body_of(request: Request, app: &App, max: usize) -> Result<Bytes, Problem> {
    let patience = Duration::from_secs(app.config.server.body_timeout_s.into());
    match tokio::time::timeout(patience, axum::body::to_bytes(request.into_body(), max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) if too_large(&e) => Err(Code::PayloadTooLarge.with(format!("at most {max} bytes"))),
        Ok(Err(_)) => Err(Code::MalformedJson.with("the body ended before it was complete")),
        Err(_) => Err(Code::RequestTimeout.into()),
    }
}

fn too_large(e: &axum::Error) -> bool {
    let source = std::error::Error::source(e);
    source.is_some_and(|s| s.is::<http_body_util::LengthLimitError>())
}

/// Reads JSON strictly; a refusal names the field by its pointer. Public for endpoints that need the bytes too (fingerprints).
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct.
    if !begins_object(bytes) {
        return Err(explain_json::<T>(bytes));
    }
    serde_json::from_slice(bytes).map_err(|_| explain_json::<T>(bytes))
}

pub(super) fn begins_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

/// Reads once more, keeping track of the path: the good case does not pay for it.
fn explain_json<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    if bytes.is_empty() {
        return Code::MalformedJson.with("the body is empty");
    }
    if let Err(e) = std::str::from_utf8(bytes) {
        return Code::MalformedJson.with(format!("the body is not UTF-8: byte {}", e.valid_up_to()));
    }
    if !begins_object(bytes) && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return Code::WrongType.at("#", "the body is a JSON object");
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => return Code::MalformedJson.with("there is something after the JSON value"),
        Err(error) => error,
    };
    if !error.inner().is_data() {
        return Code::MalformedJson.with(error.inner().to_string());
    }
    let message = error.inner().to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let (code, field) = classify(message);
    Problem::from(Code::InvalidRequest).and(code, pointer(error.path(), field), message.to_owned())
}

/// What kind of mistake serde's message speaks of, and the field it names if the path does not reach it.
pub(super) fn classify(message: &str) -> (Code, Option<&str>) {
    let field = message.split('`').nth(1);
    match message {
        m if m.starts_with("unknown field") => (Code::UnknownField, field),
        m if m.starts_with("duplicate field") => (Code::DuplicateField, field),
        m if m.starts_with("missing field") => (Code::MissingField, field),
        m if m.starts_with("invalid type") || m.starts_with("invalid length") => (Code::WrongType, None),
        _ => (Code::InvalidValue, None),
    }
}

pub(super) fn pointer(path: &serde_path_to_error::Path, field: Option<&str>) -> String {
    use serde_path_to_error::Segment;
    let mut segments: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } | Segment::Enum { variant: key } => Some(key.clone()),
            Segment::Unknown => None,
        })
        .collect();
    // For an unknown or repeated field the path may already end in it.
    if let Some(field) = field.filter(|field| segments.last().is_none_or(|last| last != field)) {
        segments.push(field.to_owned());
    }
    let escaped = segments.iter().map(|s| s.replace('~', "~0").replace('/', "~1"));
    escaped.fold("#".to_owned(), |pointer, segment| pointer + "/" + &segment)
}

/// Parameters of the query, read strictly. `client_id` is the authentication's and not seen here.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or("")).map(Query)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let ours: String = query.split('&').filter(|pair| !pair.starts_with("client_id=")).collect::<Vec<_>>().join("&");
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(ours.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let message = error.inner().to_string();
        let (code, field) = classify(&message);
        let name = field.map_or_else(|| error.path().to_string(), str::to_owned);
        Problem::from(Code::InvalidQuery).and(code, format!("?{name}"), message)
    })
}

/// The id in the path: the only parameter, or the last.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: TypeId + std::str::FromStr<Err = carillon_domain::id::IdError>> FromRequestParts<App> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| Code::InvalidId)?;
        let text = params.iter().last().map_or("", |(_, value)| value);
        text.parse().map(Id).map_err(|e: carillon_domain::id::IdError| Code::InvalidId.with(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "whether it can be read is what is tested")]
    struct Body {
        to: String,
        n: Option<u8>,
        #[serde(default)]
        list: Vec<Body>,
    }

    #[test]
    fn bodies_that_are_refused_and_why() {
        let rows: &[(&[u8], &str, &str, &str)] = &[
            (b"", "malformed_json", "", ""),
            (b"{", "malformed_json", "", ""),
            (b"{\"to\":\"a\"} x", "malformed_json", "", ""),
            (b"{\"to\":\"\xff\"}", "malformed_json", "", ""),
            (b"{\"to\":\"\\ud800\"}", "malformed_json", "", ""),
            (b"[]", "invalid_request", "#", "wrong_type"),
            (b"{}", "invalid_request", "#/to", "missing_field"),
            (b"{\"to\":1}", "invalid_request", "#/to", "wrong_type"),
            (b"{\"to\":\"a\",\"n\":256}", "invalid_request", "#/n", "invalid_value"),
            (b"{\"to\":\"a\",\"tx\":1}", "invalid_request", "#/tx", "unknown_field"),
            (b"{\"to\":\"a\",\"to\":\"b\"}", "invalid_request", "#/to", "duplicate_field"),
            (b"{\"to\":\"a\",\"list\":[{\"to\":\"b\"},{\"to\":null}]}", "invalid_request", "#/list/1/to", "wrong_type"),
            (b"{\"to\":\"a\",\"list\":[{\"a/b\":1}]}", "invalid_request", "#/list/0/a~1b", "unknown_field"),
        ];
        for (bytes, code, pointer, field_code) in rows {
            let problem = parse_json::<Body>(bytes).unwrap_err();
            let first = problem.errors.first();
            let got = (problem.code.as_str(), first.map_or("", |e| &*e.pointer), first.map_or("", |e| e.code));
            assert_eq!(got, (*code, *pointer, *field_code), "{}", String::from_utf8_lossy(bytes));
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().code, Code::MalformedJson);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Params {
        limit: Option<u32>,
    }

    #[test]
    fn queries_that_are_taken_and_refused() {
        for (query, expected) in [("", None), ("limit=5", Some(5)), ("client_id=x&limit=7", Some(7))] {
            assert_eq!(parse_query::<Params>(query).unwrap().limit, expected, "{query}");
        }
        for (query, pointer, code) in [
            ("limit=x", "?limit", "invalid_value"),
            ("limit=1&limit=2", "?limit", "duplicate_field"),
            ("lim=1", "?lim", "unknown_field"),
            ("limit=-1", "?limit", "invalid_value"),
        ] {
            let problem = parse_query::<Params>(query).unwrap_err();
            assert_eq!((&*problem.errors[0].pointer, problem.errors[0].code), (pointer, code), "{query}");
        }
    }

    #[test]
    fn where_a_credential_may_stand() {
        let rows: &[(&[(&str, &str)], Result<Option<&str>, ()>)] = &[
            (&[], Ok(None)),
            (&[("authorization", "Bearer k")], Ok(Some("k"))),
            (&[("authorization", "bearer  k ")], Ok(Some("k"))),
            (&[("x-api-key", "k")], Ok(Some("k"))),
            (&[("authorization", "Bearer k"), ("x-api-key", "k")], Ok(Some("k"))),
            (&[("authorization", "Bearer k"), ("x-api-key", "other")], Err(())),
            (&[("authorization", "Basic k")], Err(())),
            (&[("authorization", "Bearer")], Err(())),
        ];
        for (headers, expected) in rows {
            let map: HeaderMap = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
            let map = map.into_iter().fold(HeaderMap::new(), |mut m, (k, v)| {
                m.insert(k.unwrap(), v);
                m
            });
            assert_eq!(credential(&map).map_err(drop), *expected, "{headers:?}");
        }
    }
}
