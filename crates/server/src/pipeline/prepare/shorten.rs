//! Web addresses in a text, replaced by short links, one for each recipient: what is planned and priced is the text with them.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, ShortLinkId};
use carillon_domain::short_link::{self, Code};
use carillon_store::hot::NewMessage;
use carillon_store::short_link::NewLink;
use reqwest::Url;

use super::{Draft, Mistake, Rules};
use crate::app::Ids;

/// Addresses of one text.
const LINKS_MAX: usize = 10;
/// The longest address that is shortened, bytes.
const TARGET_MAX: usize = 2_048;
/// How long a link leads somewhere from when its message is due, milliseconds: 180 days.
pub const LIVES_MS: i64 = 180 * 86_400_000;

/// What links are made with.
#[derive(Clone, Copy)]
pub struct Shortener<'a> {
    /// This server's own address, without a slash behind it; empty if it has none.
    pub public_url: &'a str,
    /// Makes ids.
    pub ids: &'a Ids,
    /// Any 64 random bits, which nobody can guess.
    pub random: fn() -> u64,
}

impl std::fmt::Debug for Shortener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shortener").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

/// What short links of an account begin with, if it can have any: `https://` and its own domain, or this server's address and `/l/`.
pub fn base(public_url: &str, link_domain: Option<&str>) -> Option<String> {
    match link_domain {
        Some(domain) => Some(format!("https://{domain}/")),
        None => (!public_url.is_empty()).then(|| format!("{}/l/", public_url.trim_end_matches('/'))),
    }
}

/// A text's addresses are to be shortened, to what begins like this.
#[derive(Clone, Debug)]
pub struct Short(Arc<str>);

/// Whether a draft wants it.
pub(super) fn of(draft: &Draft<'_>, rules: &Rules<'_>) -> Result<Option<Short>, Mistake> {
    if !draft.shorten_links {
        return Ok(None);
    }
    let others = [(draft.otp, "otp"), (draft.data.is_some(), "data"), (draft.media.is_some(), "media")];
    if let Some((_, other)) = others.into_iter().find(|(given, _)| *given) {
        let detail = format!("with `{other}` no links are shortened: leave one of them out");
        return Err(Mistake::new("shorten_links", "conflicting_fields", detail));
    }
    let base = base(rules.shortener.public_url, rules.settings.link_domain.as_deref()).ok_or_else(|| {
        let detail = "there is no address for short links: set the account's `link_domain`, or have the operator set `server.public_url`";
        Mistake::new("shorten_links", "links_unavailable", detail)
    })?;
    Ok(Some(Short(base.into())))
}

/// The address as a link leads there, if it may.
fn target(address: &str) -> Result<String, &'static str> {
    if address.len() > TARGET_MAX {
        return Err("an address in the text has more than 2048 bytes");
    }
    let url: Url = address.parse().map_err(|_| "an address in the text cannot be read, so it cannot be shortened")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("only addresses with http:// or https:// and a host can be shortened");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user name or password in it is not shortened");
    }
    Ok(url.into())
}

impl Short {
    /// The text as long as it will be, or what is wrong with its addresses.
    pub(super) fn sample(&self, text: &str) -> Result<String, Mistake> {
        let refuse = |detail| Mistake::new("text", "invalid_link", detail);
        let addresses = short_link::addresses(text);
        if addresses.len() > LINKS_MAX {
            return Err(refuse("at most 10 addresses in one text"));
        }
        addresses.into_iter().try_for_each(|at| target(&text[at]).map(drop)).map_err(refuse)?;
        Ok(short_link::replace(text, |_| format!("{}{}", self.0, Code::SAMPLE)))
    }

    /// Puts links of its own into a message whose text was looked at by `sample`.
    pub(super) fn put_into(&self, message: &mut NewMessage, rules: &Rules<'_>, account: AccountNo) {
        let mut links = Vec::new();
        let from = message.due_at.unwrap_or(rules.now);
        let text = short_link::replace(&message.body, |address| {
            let Ok(target) = target(address) else { return address.to_owned() };
            let code = Code::from_random((rules.shortener.random)());
            links.push(NewLink {
                id: ShortLinkId::new(rules.now, rules.shortener.ids.next(), account),
                code,
                target: target.into(),
                expires_at: from + LIVES_MS,
            });
            format!("{}{code}", self.0)
        });
        if !links.is_empty() {
            message.body = text.into();
            message.own_body = true;
            message.extra.get_or_insert_default().links = links;
        }
    }
}
