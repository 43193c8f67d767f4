//! Files that go with a message: as they are where its connection takes them, else as links in its text, which are part of what is planned and
//! priced.

use std::sync::Arc;

use carillon_domain::account::MmsFallback;
use carillon_domain::media::{MessageFile, Mms};

use super::{Draft, Mistake, Rules};

/// A file that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// Where it can be opened, and what it is.
    pub file: MessageFile,
    /// When it goes, Unix milliseconds; `None` for files elsewhere.
    pub expires_at: Option<i64>,
}

/// Whether the text ends with links to the files, for connections that take none: the account's choice.
pub(super) fn links(rules: &Rules<'_>) -> bool {
    rules.settings.mms_fallback == MmsFallback::Link
}

/// What is said: the text with a line for each file behind it, where the account wants links.
pub(super) fn text(text: Option<&str>, files: &[Attached], rules: &Rules<'_>) -> String {
    let text = text.unwrap_or_default();
    if links(rules) { Mms::with_links(text, files.iter().map(|f| &f.file.url)) } else { text.to_owned() }
}

/// The files as the message carries them.
pub(super) fn mms(draft: &Draft<'_>, rules: &Rules<'_>) -> Option<Arc<Mms>> {
    let files = draft.media?.iter().map(|f| f.file.clone()).collect();
    Some(Arc::new(Mms { files, links: links(rules) }))
}

/// No connection that the message can take takes its files as they are, and its account wants no links instead.
pub(super) fn unavailable() -> Mistake {
    let detail =
        "no carrier here takes these files, and the account's setting `mms_fallback` does not want links instead";
    Mistake::new("media", "mms_unavailable", detail)
}

/// Whether the files outlive the message.
pub(super) fn check(draft: &Draft<'_>, expires_at: Option<i64>) -> Result<(), Mistake> {
    let Some(files) = draft.media else { return Ok(()) };
    let short = |f: &Attached| f.expires_at.zip(expires_at).is_some_and(|(gone, needed)| gone < needed);
    match files.iter().position(short) {
        None => Ok(()),
        Some(index) => {
            let detail = "the file expires before the message does: upload it again, or shorten `validity_s`";
            Err(Mistake { index: Some(index), ..Mistake::new("media", "media_gone", detail) })
        }
    }
}
