//! What the case tables of all providers share: a message, settings, and a request as text.

use carillon_domain::encoding::{Encoding, Shift};
use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::media::MessageFile;
use carillon_domain::message::Category;
use carillon_domain::phone::Phone;

use crate::{Callback, Content, Credentials, Outbound, Request, Response};

/// One short text of 2026-11-21 12:00:00 UTC.
pub(crate) fn message<'a>() -> Outbound<'a> {
    Outbound {
        id: "msg_01h455vb4pex5vsknk084sn02q",
        to: Phone::from_digits(15_558_675_310).unwrap(),
        from: Some("ACME"),
        content: Content::Text("Hi & ü"),
        encoding: Encoding::Gsm7(Shift::NONE),
        parts: 1,
        flash: false,
        validity_s: 3600,
        media: &[],
        category: Category::Transactional,
        callback_url: Some("https://sms.example.com/v1/callbacks/con_1/tok"),
        now_ms: 1_795_262_400_000,
    }
}

/// Files elsewhere.
pub(crate) fn files(urls: &[&str]) -> Vec<MessageFile> {
    urls.iter().map(|url| MessageFile::elsewhere(url)).collect()
}

pub(crate) fn settings(values: &[(&str, &str)]) -> Credentials {
    values.iter().copied().collect()
}

/// A request as it goes over the wire, without what HTTP itself adds.
pub(crate) fn wire(request: &Request) -> String {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body = String::from_utf8(request.body.clone()).unwrap();
    format!("{:?} {}\n{headers}\n{body}", request.method, request.url)
        .replacen("Post", "POST", 1)
        .replacen("Get", "GET", 1)
}

pub(crate) fn answer(status: u16, body: &str) -> Response<'_> {
    Response { status, body: body.as_bytes() }
}

pub(crate) fn callback<'a>(url: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Callback<'a> {
    Callback { url, headers, body: body.as_bytes() }
}

pub(crate) fn meant(error: &SendError) -> (SendErrorKind, ErrorCode) {
    (error.kind, error.code)
}
