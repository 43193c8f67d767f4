//! Placeholders of a template and how their values are escaped where they stand. One pass: what a value holds is never read again.

use carillon_domain::encoding::{Encoding, Shift};

use crate::field::Credentials;
use crate::wire::{basic, quoted};
use crate::{Content, Outbound};

/// Where a template stands.
#[derive(Clone, Copy)]
pub(super) enum Escape {
    /// In an address or a form: percent-encoding.
    Url,
    /// In a JSON string.
    Json,
    /// In XML, between tags or in an attribute.
    Xml,
    /// In a header: control characters are left out.
    Header,
}

/// All there are.
const NAMES: &[&str] = &[
    "to",
    "to_digits",
    "from",
    "text",
    "id",
    "parts",
    "encoding",
    "unicode",
    "flash",
    "validity_s",
    "category",
    "callback_url",
    "media",
    "media_list",
    "username",
    "password",
    "basic",
];

fn value(name: &str, message: &Outbound<'_>, credentials: &Credentials) -> Option<String> {
    let bit = |truth: bool| u8::from(truth).to_string();
    Some(match name {
        "to" => message.to.to_string(),
        "to_digits" => message.to.digits().to_string(),
        "from" => message.from.unwrap_or_default().to_owned(),
        "text" => match message.content {
            Content::Text(text) => text.to_owned(),
            Content::Binary(_) => String::new(),
        },
        "id" => message.id.to_owned(),
        "parts" => message.parts.to_string(),
        "encoding" => message.encoding.name().to_owned(),
        "unicode" => bit(message.encoding != Encoding::Gsm7(Shift::NONE)),
        "flash" => bit(message.flash),
        "validity_s" => message.validity_s.to_string(),
        "category" => message.category.as_str().to_owned(),
        "callback_url" => message.callback_url.unwrap_or_default().to_owned(),
        "media" => message.media.first().map_or_else(String::new, |file| file.url.clone()),
        "media_list" => message.media.iter().map(|file| file.url.as_str()).collect::<Vec<_>>().join(","),
        "username" | "password" => credentials.get(name).to_owned(),
        "basic" => basic(credentials.get("username"), credentials.get("password")),
        _ => return None,
    })
}

/// The pieces of a template: text, then the name of a placeholder if one follows. A brace that opens none is text.
fn pieces(template: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut left = Some(template);
    std::iter::from_fn(move || {
        let text = left.take()?;
        let opens = text.match_indices('{').find_map(|(at, _)| {
            let (name, rest) = text[at + 1..].split_once('}')?;
            is_name(name).then_some((&text[..at], name, rest))
        });
        match opens {
            Some((before, name, rest)) => {
                left = Some(rest);
                Some((before, Some(name)))
            }
            None => Some((text, None)),
        }
    })
}

/// What stands in braces and looks like a placeholder, known or not; JSON never does.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

pub(super) fn fill(template: &str, escape: Escape, message: &Outbound<'_>, credentials: &Credentials) -> String {
    let mut out = String::with_capacity(template.len() + 200);
    for (text, name) in pieces(template) {
        out.push_str(text);
        if let (Some("media_list"), Escape::Json) = (name, escape) {
            // The one value that is no text: an array.
            let urls: Vec<String> = message.media.iter().map(|file| quoted(&file.url)).collect();
            out.push_str(&format!("[{}]", urls.join(",")));
            continue;
        }
        let value = name.and_then(|name| value(name, message, credentials)).unwrap_or_default();
        out.push_str(&escaped(&value, escape));
    }
    out
}

fn escaped(value: &str, escape: Escape) -> String {
    match escape {
        Escape::Url => url(value),
        Escape::Json => {
            let quoted = quoted(value);
            quoted[1..quoted.len() - 1].to_owned()
        }
        Escape::Header => value.chars().filter(|c| !c.is_control()).collect(),
        Escape::Xml => value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
    }
}

/// Percent-encoding that is right in a path, a query and a form alike: all but RFC 3986's unreserved characters.
pub(super) fn url(value: &str) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

/// Whether all placeholders are known.
pub(super) fn check(template: &str) -> Result<(), String> {
    match pieces(template).filter_map(|(_, name)| name).find(|name| !NAMES.contains(name)) {
        None => Ok(()),
        Some(name) => Err(format!("{{{name}}} is no placeholder; there are {}", NAMES.join(", "))),
    }
}

/// How many files a template has places for.
pub(super) fn files(template: &str) -> u8 {
    let places = |name| match name {
        Some("media_list") => 10,
        Some("media") => 1,
        _ => 0,
    };
    pieces(template).map(|(_, name)| places(name)).max().unwrap_or(0)
}

/// The template with a digit for each placeholder: JSON stays JSON, in quotes or without.
pub(super) fn sample(template: &str) -> String {
    pieces(template).map(|(text, name)| format!("{text}{}", if name.is_some() { "1" } else { "" })).collect()
}
