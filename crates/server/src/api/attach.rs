//! Media that a message names: ids of uploaded files, or addresses elsewhere; each found and checked before anything is judged.

use carillon_domain::id::{MediaId, TypeId};
use carillon_domain::media::MessageFile;
use carillon_store::{StoreError, media as rows};

use super::error::Problem;
use super::media::link;
use super::sending::{Sending, Text};
use crate::access::Caller;
use crate::app::App;
use crate::pipeline::prepare::{Attached, Mistake};

/// Files of one message.
const MEDIA_MAX: usize = 10;
/// Of an address elsewhere, bytes.
const URL_MAX: usize = 512;

impl Sending<'_> {
    /// Finds what `media` names. To be called before the content is judged; costs nothing without media.
    pub(super) async fn attach(&mut self, app: &App, caller: &Caller) -> Result<(), Problem> {
        let Some(named) = &self.media else { return Ok(()) };
        let refuse = |code, detail: &'static str| Problem::from(vec![Mistake::new("media", code, detail)]);
        if named.is_empty() {
            return Err(refuse("too_short", "name at least one file, or leave `media` out"));
        }
        if named.len() > MEDIA_MAX {
            return Err(refuse("too_long", "at most 10 files"));
        }
        let (mut attached, mut mistakes) = (Vec::with_capacity(named.len()), Vec::new());
        for (index, text) in named.iter().map(Text::as_str).enumerate() {
            match one(app, caller, text).await? {
                Ok(found) => attached.push(found),
                Err((code, detail)) => {
                    mistakes.push(Mistake { index: Some(index), ..Mistake::new("media", code, detail) })
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes.into());
        }
        self.attached = attached;
        Ok(())
    }
}

async fn one(app: &App, caller: &Caller, text: &str) -> Result<Result<Attached, (&'static str, String)>, StoreError> {
    if let Some(rest) = text.strip_prefix("https://") {
        let uri: Result<axum::http::Uri, _> = text.parse();
        // What could be a place for variables is no address (RFC 3986).
        let fine = uri.is_ok_and(|u| u.host().is_some_and(|h| !h.is_empty())) && !rest.contains(['@', '{', '}']);
        return Ok(match fine && text.len() <= URL_MAX {
            true => Ok(Attached { file: MessageFile::elsewhere(text), expires_at: None }),
            false => Err(("invalid_value", "an address with https:// and a host, at most 512 bytes".into())),
        });
    }
    let Ok(id) = text.parse::<MediaId>() else {
        return Ok(Err(("invalid_value", "the id of an uploaded file, or an address with https://".into())));
    };
    let found = match rows::by_id(&app.db, caller.account, id).await {
        Err(StoreError::NotFound) => {
            return Ok(Err(("not_found", format!("there is no {}", MediaId::from_uuid(id.uuid())))));
        }
        found => found?,
    };
    if !found.lives(app.clock.now_ms()) {
        return Ok(Err(("media_gone", "it has expired or was deleted: upload it again".into())));
    }
    Ok(match link(&app.config, &found.token) {
        Some(url) => {
            let file = MessageFile { url, kind: Some(found.kind) };
            Ok(Attached { file, expires_at: Some(found.expires_at) })
        }
        None => {
            Err(("media_unavailable", "this server has no public address for its files (`server.public_url`)".into()))
        }
    })
}
