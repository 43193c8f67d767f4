//! `carillon account …`.

use carillon_domain::account::{Settings, Status, Tier};
use carillon_domain::id::{AccountId, AccountNo};
use carillon_store::account::{self, Account, NewAccount};
use carillon_store::ledger;
use clap::Subcommand;

use super::{CliError, Office, say};
use crate::api::account::SettingsChange;
use crate::clock::rfc3339;

/// An account is named by its id (acc_…), its bare UUID or its number.
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Open an account.
    Create {
        /// What people call it.
        name: String,
        /// Its id, as acc_… or a bare UUID; made if not given.
        #[arg(long)]
        id: Option<AccountId>,
    },
    /// List all accounts.
    List,
    /// Show an account, its balance and its settings.
    Show {
        /// Which.
        account: String,
    },
    /// Stop an account from sending; it can still read.
    Suspend {
        /// Which.
        account: String,
    },
    /// Let a suspended or closed account send again.
    Resume {
        /// Which.
        account: String,
    },
    /// End an account: its keys and sessions are refused.
    Close {
        /// Which.
        account: String,
    },
    /// Change its share of a busy connection.
    Tier {
        /// Which.
        account: String,
        /// regular, premium or vip.
        tier: String,
    },
    /// Change settings, given as JSON: '{"lenient": true, "default_country": "DE"}'.
    Settings {
        /// Which.
        account: String,
        /// The settings to change, as PATCH /v1/account takes them.
        change: String,
    },
}

impl AccountCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            AccountCommand::Create { name, id } => {
                let new = NewAccount {
                    id,
                    counter: office.ids.next(),
                    name: &name,
                    currency: &office.config.prices.currency,
                    settings: Settings::default(),
                    owner: None,
                    credit: None,
                    now: office.clock.now_ms(),
                };
                let account = account::create(&office.db, &new).await?;
                say(format_args!("{} (number {})", account.id, account.no.0));
            }
            AccountCommand::List => list(office).await?,
            AccountCommand::Show { account } => show(office, &office.account(&account).await?).await?,
            AccountCommand::Suspend { account } => {
                change(office, &account, Some(Status::Suspended), None, None).await?
            }
            AccountCommand::Resume { account } => change(office, &account, Some(Status::Active), None, None).await?,
            AccountCommand::Close { account } => change(office, &account, Some(Status::Closed), None, None).await?,
            AccountCommand::Tier { account, tier } => {
                let tier = serde_json::from_value(tier.clone().into())
                    .map_err(|_| CliError::Refused(format!("{tier}: a tier is regular, premium or vip")))?;
                change(office, &account, None, Some(tier), None).await?;
            }
            AccountCommand::Settings { account, change: text } => {
                let refused = |problem: crate::api::error::Problem| {
                    let fields: Vec<_> = problem.errors.iter().map(|e| format!("{} {}", e.pointer, e.detail)).collect();
                    CliError::Refused(format!("{}: {}", problem.code.title(), fields.join("; ")))
                };
                let asked: SettingsChange = crate::api::extract::parse_json(text.as_bytes()).map_err(refused)?;
                let old = office.account(&account).await?.settings;
                let settings = asked.apply(&old, &office.config.verification).map_err(refused)?;
                change(office, &account, None, None, Some(&settings)).await?;
            }
        }
        Ok(())
    }
}

async fn list(office: &Office) -> Result<(), CliError> {
    const PAGE: u32 = 500;
    let mut after = AccountNo::PLATFORM;
    loop {
        let page = account::list(&office.db, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.no;
        for a in &page {
            say(format_args!("{:>6}  {}  {:9} {:7}  {}", a.no.0, a.id, word(&a.status), word(&a.tier), a.name));
        }
    }
}

/// The name a closed list's value has in the API.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

async fn show(office: &Office, a: &Account) -> Result<(), CliError> {
    let b = ledger::balance(&office.db, a.no).await?;
    let settings = serde_json::to_string(&a.settings).expect("settings are plain data");
    say(format_args!(
        "account    {} ({})\nnumber     {}\nname       {}\nstatus     {}\ntier       {}\nopened     {}\navailable  {} {}\nheld       {}\nspent      {}\nsettings   {settings}",
        a.id,
        a.id.0,
        a.no.0,
        a.name,
        word(&a.status),
        word(&a.tier),
        rfc3339(a.created_at),
        b.available,
        a.currency,
        b.held,
        b.spent
    ));
    Ok(())
}

async fn change(
    office: &Office,
    text: &str,
    status: Option<Status>,
    tier: Option<Tier>,
    settings: Option<&Settings>,
) -> Result<(), CliError> {
    let no = office.account(text).await?.no;
    let changed = account::change(&office.db, no, None, status, tier, settings).await?;
    say(format_args!("{}  {}  {}  {}", changed.id, word(&changed.status), word(&changed.tier), changed.name));
    Ok(())
}
