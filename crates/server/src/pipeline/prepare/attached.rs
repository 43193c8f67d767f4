//! Files that go with a message: as links in its text, which are part of what is planned and priced.

use std::borrow::Cow;

use carillon_domain::account::MmsFallback;

use super::{Draft, Mistake, Rules};

/// A file that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// Where it can be opened.
    pub url: String,
    /// When it goes, Unix milliseconds; `None` for files elsewhere.
    pub expires_at: Option<i64>,
}

/// The text with a line for each file behind it.
pub(super) fn with_links<'a>(text: Option<&'a str>, files: &[Attached]) -> Cow<'a, str> {
    let lines: Vec<&str> = text.into_iter().chain(files.iter().map(|f| f.url.as_str())).collect();
    Cow::Owned(lines.join("\n"))
}

/// Whether the files can go with the message: no carrier here takes them as they are, so that the account's choice counts; and they must
/// outlive it.
pub(super) fn check(draft: &Draft<'_>, rules: &Rules<'_>, expires_at: Option<i64>) -> Result<(), Mistake> {
    let Some(files) = draft.media else { return Ok(()) };
    if rules.settings.mms_fallback == MmsFallback::Refuse {
        let detail =
            "no carrier here takes files, and the account's setting `mms_fallback` does not want links instead";
        return Err(Mistake::new("media", "mms_unavailable", detail));
    }
    let short = |f: &Attached| f.expires_at.zip(expires_at).is_some_and(|(gone, needed)| gone < needed);
    match files.iter().position(short) {
        None => Ok(()),
        Some(index) => {
            let detail = "the file expires before the message does: upload it again, or shorten `validity_s`";
            Err(Mistake { index: Some(index), ..Mistake::new("media", "media_gone", detail) })
        }
    }
}
