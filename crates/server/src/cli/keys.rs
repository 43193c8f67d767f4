//! `carillon key …`.

use carillon_domain::id::ApiKeyId;
use carillon_domain::permission::{Scope, Scopes};
use carillon_store::api_key;
use clap::Subcommand;

use super::{CliError, Office, say};
use crate::access::issue_key;
use crate::clock::rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an API key and print it, this once.
    Create {
        /// Whose: an account's id, UUID or number.
        account: String,
        /// What people call it.
        #[arg(long, default_value = "made at the command line")]
        name: String,
        /// What it may do, as "messages:send messages:read"; everything within the account if not given.
        #[arg(long)]
        scopes: Option<String>,
        /// Let it operate the platform too: every account, credit, prices.
        #[arg(long)]
        operator: bool,
    },
    /// List an account's keys.
    List {
        /// Whose.
        account: String,
    },
    /// End a key. A running server refuses it within `auth.cache_ms`.
    Revoke {
        /// The key's id: key_…
        id: ApiKeyId,
    },
}

impl KeyCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        let now = office.clock.now_ms();
        match self {
            KeyCommand::Create { account, name, scopes, operator } => {
                let account = office.account(&account).await?;
                let scopes = match scopes {
                    Some(text) => Scopes::parse(&text).map_err(|e| CliError::Refused(e.to_string()))?,
                    None => Scopes::account_all(),
                };
                let scopes = if operator { scopes.with(Scope::Operate) } else { scopes };
                let (key, _) = issue_key(&office.db, &office.ids, now, account.no, name, scopes, None).await?;
                say(key);
            }
            KeyCommand::List { account } => {
                let account = office.account(&account).await?;
                let mut before = None;
                loop {
                    let page = api_key::list(&office.db, account.no, before, 500).await?;
                    let Some(last) = page.last() else { break };
                    before = Some(last.id);
                    for k in &page {
                        let state = if k.revoked_at.is_some() { "revoked" } else { "live" };
                        let used = k.used_at.map_or_else(|| "never used".into(), rfc3339);
                        say(format_args!(
                            "{}  car_live_{}_…{}  {state:7}  {used}  {}  [{}]",
                            k.id,
                            k.key_id,
                            k.hint,
                            k.name,
                            k.scopes.to_text()
                        ));
                    }
                }
            }
            KeyCommand::Revoke { id } => {
                api_key::revoke(&office.db, id.account(), id, now).await?;
                say(format_args!("{id} is revoked"));
            }
        }
        Ok(())
    }
}
