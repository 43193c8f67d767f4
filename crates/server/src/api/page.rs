//! Lists in pages: `{data, next_cursor, has_more}`, newest first. A cursor is the last id shown, signed together with the list and its
//! filters, so that one list's cursor is refused by another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_domain::id::AccountNo;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{Code, Problem};
use crate::app::App;

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
const SEAL_LEN: usize = 8;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    /// The rows.
    pub data: Vec<T>,
    /// For `cursor` of the next request; null at the end.
    pub next_cursor: Option<String>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Which page is asked for.
#[derive(Clone, Debug)]
pub struct Window {
    /// The id the page starts after; `None` at the beginning.
    pub after: Option<Uuid>,
    /// Rows of a page.
    pub limit: u32,
    mac: Hmac<Sha256>,
}

impl Window {
    /// Checks `limit` and `cursor` of a request for `list` with these `filters` (any text that tells them apart).
    pub fn open(
        app: &App,
        account: AccountNo,
        list: &str,
        filters: &str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Window, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?limit", "1 to 200"));
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&app.secrets.cursor_key).expect("HMAC takes keys of any length");
        mac.update(&account.0.to_be_bytes());
        mac.update(list.as_bytes());
        mac.update(b"\0");
        mac.update(filters.as_bytes());
        let mut window = Window { after: None, limit, mac };
        window.after = cursor.map(|text| window.read(text).ok_or(Code::InvalidCursor)).transpose()?;
        Ok(window)
    }

    /// How many rows to load: one more than shown tells whether there are more.
    pub fn fetch(&self) -> u32 {
        self.limit + 1
    }

    /// Cuts the loaded rows to the page; `id` is what they are sorted by.
    pub fn page<R, T>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> Uuid, show: impl FnMut(R) -> T) -> Paged<T> {
        let has_more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| self.write(id(last)));
        Paged { data: rows.into_iter().map(show).collect(), next_cursor, has_more }
    }

    /// A page that ends where the search did, `next`, whether or not it is full.
    pub fn page_to<T>(&self, data: Vec<T>, next: Option<Uuid>) -> Paged<T> {
        Paged { data, has_more: next.is_some(), next_cursor: next.map(|id| self.write(id)) }
    }

    fn seal(&self, id: Uuid) -> [u8; SEAL_LEN] {
        let whole = self.mac.clone().chain_update(id.as_bytes()).finalize().into_bytes();
        whole[..SEAL_LEN].try_into().expect("SHA-256 is longer than the seal")
    }

    fn write(&self, id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode([id.as_bytes().as_slice(), &self.seal(id)].concat())
    }

    fn read(&self, text: &str) -> Option<Uuid> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, seal) = bytes.split_at_checked(16)?;
        let id = Uuid::from_slice(id).ok()?;
        (self.seal(id) == seal).then_some(id)
    }
}
