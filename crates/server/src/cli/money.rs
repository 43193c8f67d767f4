//! `carillon credit …`, `carillon price …`, `carillon ledger …`.

use carillon_domain::id::{AccountNo, EntryId};
use carillon_domain::message::Lane;
use carillon_domain::money::Money;
use carillon_domain::price::Priced;
use carillon_store::ledger::{self, Entry, EntryError, EntryKind};
use carillon_store::rate::{self, Rate};
use clap::{Subcommand, ValueEnum};

use super::{CliError, Office, say};
use crate::clock::rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum CreditCommand {
    /// Give credit, or take it with a negative adjustment.
    #[command(allow_negative_numbers = true)]
    Add {
        /// An account's id, UUID or number.
        account: String,
        /// A decimal with at most six places, such as 100 or -2.50.
        amount: String,
        /// Why; the account sees it.
        #[arg(long)]
        note: String,
        /// What kind of movement.
        #[arg(long, value_enum, default_value = "top-up")]
        kind: Kind,
    },
    /// List movements, newest first.
    List {
        /// An account's id, UUID or number.
        account: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    TopUp,
    Adjustment,
    Refund,
}

impl CreditCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            CreditCommand::Add { account, amount, note, kind } => {
                let account = office.account(&account).await?;
                let kind = match kind {
                    Kind::TopUp => EntryKind::TopUp,
                    Kind::Adjustment => EntryKind::Adjustment,
                    Kind::Refund => EntryKind::Refund,
                };
                let amount = crate::api::admin::amount(&amount, kind)
                    .map_err(|p| CliError::Refused(p.detail.as_deref().unwrap_or(p.code.title()).to_owned()))?;
                let now = office.clock.now_ms();
                let id = EntryId::new(now, office.ids.next(), account.no);
                let entry = Entry { id, kind, amount, note, actor: "command line".into(), created_at: now };
                let balance = ledger::add(&office.db, account.no, &entry).await.map_err(|e| match e {
                    EntryError::Store(e) => CliError::Store(e),
                    short => CliError::Refused(short.to_string()),
                })?;
                say(format_args!("{id}  available {} {}", balance.available, account.currency));
            }
            CreditCommand::List { account } => {
                let account = office.account(&account).await?;
                let mut before = None;
                loop {
                    let page = ledger::list(&office.db, account.no, before, 500).await?;
                    let Some(last) = page.last() else { break };
                    before = Some(last.id);
                    for e in &page {
                        say(format_args!(
                            "{}  {}  {:>14}  {:?}  {}  ({})",
                            e.id,
                            rfc3339(e.created_at),
                            e.amount,
                            e.kind,
                            e.note,
                            e.actor
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A price is for the longest matching prefix; an account's own list wins over everybody's.
#[derive(Debug, Subcommand)]
pub(super) enum PriceCommand {
    /// Set the price of a part, or of an MMS. A running server takes it up within ten seconds.
    Set {
        /// Digits after the plus, such as 49 or 4915; "all" for everywhere.
        prefix: String,
        /// A decimal in the currency, such as 0.075.
        price: String,
        /// otp, express, normal or bulk, or mms for the price of a whole MMS; parts in every lane if not given.
        #[arg(long)]
        lane: Option<String>,
        /// Only for this account: its id, UUID or number.
        #[arg(long)]
        account: Option<String>,
    },
    /// List all prices.
    List,
    /// Take a price off the list.
    Delete {
        /// As it was set.
        prefix: String,
        /// As it was set.
        #[arg(long)]
        lane: Option<String>,
        /// As it was set.
        #[arg(long)]
        account: Option<String>,
    },
}

/// What a price is of, as it is written: a lane's name, or `mms`; any lane's parts if nothing is.
fn lane_number(lane: Option<&str>) -> Result<i16, CliError> {
    let of = match lane {
        None => Some(Priced::Part),
        Some("mms") => Some(Priced::Mms),
        Some(text) => Lane::from_name(text).map(Priced::PartIn),
    };
    let refused = || CliError::Refused(format!("{}: a lane is otp, express, normal, bulk or mms", lane.unwrap_or("")));
    of.map(Priced::number).ok_or_else(refused)
}

fn digits(prefix: &str) -> Result<String, CliError> {
    let digits = if prefix == "all" { "" } else { prefix.trim_start_matches('+') };
    if digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(digits.to_owned())
    } else {
        Err(CliError::Refused(format!("{prefix}: a prefix is at most 15 digits, or `all`")))
    }
}

impl PriceCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            PriceCommand::Set { prefix, price, lane, account } => {
                let price = Money::parse(&price)
                    .filter(|p| *p >= Money::ZERO)
                    .ok_or_else(|| CliError::Refused(format!("{price}: a price is a decimal such as 0.075")))?;
                let account = list_of(office, account.as_deref()).await?;
                rate::set(
                    &office.db,
                    &Rate { account, prefix: digits(&prefix)?, lane: lane_number(lane.as_deref())?, price },
                )
                .await?;
            }
            PriceCommand::Delete { prefix, lane, account } => {
                let account = list_of(office, account.as_deref()).await?;
                rate::delete(&office.db, account, &digits(&prefix)?, lane_number(lane.as_deref())?).await?;
            }
            PriceCommand::List => {
                for r in rate::all(&office.db).await? {
                    let who = if r.account == AccountNo::PLATFORM {
                        "everybody".to_owned()
                    } else {
                        format!("account {}", r.account.0)
                    };
                    let lane = match Priced::from_number(r.lane) {
                        Some(Priced::Mms) => "an MMS",
                        Some(Priced::PartIn(lane)) => lane.as_str(),
                        Some(Priced::Part) | None => "every lane",
                    };
                    say(format_args!("{who:16} +{:15} {lane:10} {}", r.prefix, r.price));
                }
            }
        }
        Ok(())
    }
}

async fn list_of(office: &Office, account: Option<&str>) -> Result<AccountNo, CliError> {
    match account {
        Some(text) => Ok(office.account(text).await?.no),
        None => Ok(AccountNo::PLATFORM),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Prove that every balance is the sum of its entries and every hold the sum of its open messages; prints each difference.
    Verify,
}

impl LedgerCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        let LedgerCommand::Verify = self;
        let mut differences = 0u64;
        let checked = ledger::verify(&office.db, |d| {
            differences += 1;
            let batch = d.batch.map_or_else(String::new, |id| format!(", batch {}", carillon_domain::id::BatchId(id)));
            say(format_args!("account {}{batch}: {}: {} and {}", d.account.0, d.what, d.recorded, d.computed));
        })
        .await?;
        if differences > 0 {
            return Err(CliError::Refused(format!("{differences} difference(s) in {checked} account(s)")));
        }
        say(format_args!("the ledger adds up: {checked} account(s) checked"));
        Ok(())
    }
}
