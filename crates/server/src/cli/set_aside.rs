//! `carillon set-aside`.

use carillon_store::set_aside;

use super::{CliError, Office, say};
use crate::clock::rfc3339;

/// Rows read at a time.
const PAGE: u32 = 500;

/// Prints all of them.
pub(super) async fn run(office: &Office) -> Result<(), CliError> {
    let mut last = 0;
    loop {
        let page = set_aside::list(&office.db, last, PAGE).await?;
        for row in &page {
            let message = row.message.map_or_else(|| "-".to_owned(), |id| id.to_string());
            say(format_args!("{}  {}  {message}  {}  {}", row.no, rfc3339(row.at), row.error, row.item));
            last = row.no;
        }
        if page.len() < PAGE as usize {
            return Ok(());
        }
    }
}
