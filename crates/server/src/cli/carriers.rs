//! `carillon connection …` and `carillon route …`: the platform's. A running server notices within ten seconds.

use std::collections::HashMap;
use std::io::BufRead;

use carillon_domain::id::{AccountNo, ConnectionId};
use carillon_domain::message::Lane;
use carillon_domain::money::Money;
use carillon_domain::phone::{Phone, Strictness};
use carillon_domain::route::{ConnectionNo, Facts, Measured, PrefixMap};
use carillon_store::connection::{self, Change, Connection, NewConnection};
use carillon_store::{StoreError, route};
use clap::Subcommand;
use serde_json::Value;

use super::{CliError, Office, say};
use crate::access::vault::Vault;
use crate::routing::rules::{Shape, Wrong};
use crate::routing::settings::{self, Given, Secrets};
use crate::routing::{self, explain::explain};

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List the platform's connections, those of the configuration file too.
    List,
    /// Connect a carrier.
    Add {
        /// Shown with messages: 1 to 40 of a-z, 0-9, - _ .
        name: String,
        /// What it speaks: smpp or sandbox.
        #[arg(long, default_value = "smpp")]
        kind: String,
        /// A setting as in the configuration file, such as host=smpp.example.com or rate=50; again for each.
        #[arg(long, value_name = "SETTING=VALUE")]
        set: Vec<String>,
        /// A secret setting, such as password: its value is read from a line of the standard input, not from the command line, which others
        /// can see. Again for each, a line each.
        #[arg(long, value_name = "SETTING")]
        secret: Vec<String>,
    },
    /// Use a connection again.
    Enable {
        /// Its name or id.
        connection: String,
    },
    /// Stop using a connection; what waits for it goes to the next.
    Disable {
        /// Its name or id.
        connection: String,
    },
    /// Delete a connection with its secrets and rates.
    Remove {
        /// Its name or id.
        connection: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// List the platform's routes in the order they are asked.
    List,
    /// Say which connections a message would take, by the database: a running server also knows which are up (POST /v1/routes/explain).
    Explain {
        /// The number written to, with + and country code.
        to: String,
        /// What it is from.
        #[arg(long)]
        from: Option<String>,
        /// otp, express, normal or bulk.
        #[arg(long, default_value = "normal")]
        lane: String,
        /// A tag of it; again for each.
        #[arg(long)]
        tag: Vec<String>,
        /// Whose it would be: an account's id, UUID or number.
        #[arg(long)]
        account: Option<String>,
    },
}

impl ConnectionCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            ConnectionCommand::List => list(office).await,
            ConnectionCommand::Add { name, kind, set, secret } => {
                let secrets = secrets(&secret)?;
                add(office, &name, &kind, &set, &secrets).await
            }
            ConnectionCommand::Enable { connection } => switch(office, &connection, true).await,
            ConnectionCommand::Disable { connection } => switch(office, &connection, false).await,
            ConnectionCommand::Remove { connection } => {
                let row = found(office, &connection).await?;
                connection::delete(&office.db, AccountNo::PLATFORM, row.id, office.clock.now_ms()).await?;
                say(format_args!("{} is removed", row.name));
                Ok(())
            }
        }
    }
}

async fn rows(office: &Office) -> Result<Vec<Connection>, StoreError> {
    connection::list(&office.db, AccountNo::PLATFORM, None, 10_000).await
}

async fn list(office: &Office) -> Result<(), CliError> {
    for c in &office.config.connections {
        say(format_args!("{:30}  {:8}  configuration file  {}", "-", c.kind.name(), c.name));
    }
    for row in rows(office).await?.iter().filter(|row| row.settings.is_some()) {
        let state = if row.enabled { "enabled" } else { "disabled" };
        say(format_args!("{}  {:8}  {state:18}  {}", row.id, row.kind, row.name));
    }
    Ok(())
}

/// The connection of that name or id, of those that are not the configuration file's.
async fn found(office: &Office, text: &str) -> Result<Connection, CliError> {
    let id: Option<ConnectionId> = text.parse().ok();
    let rows = rows(office).await?;
    let meant = |row: &Connection| row.settings.is_some() && (Some(row.id) == id || row.name == text);
    rows.into_iter().find(meant).ok_or_else(|| {
        CliError::Refused(format!(
            "there is no connection {text} in the database (those of the configuration file are changed there)"
        ))
    })
}

async fn switch(office: &Office, text: &str, enabled: bool) -> Result<(), CliError> {
    let row = found(office, text).await?;
    let change = Change { enabled: Some(enabled), ..Change::default() };
    connection::change(&office.db, AccountNo::PLATFORM, row.id, &change, office.clock.now_ms()).await?;
    say(format_args!("{} is {}", row.name, if enabled { "enabled" } else { "disabled" }));
    Ok(())
}

fn secrets(names: &[String]) -> Result<Secrets, CliError> {
    let mut lines = std::io::stdin().lock().lines();
    let mut read = |name: &String| match lines.next() {
        Some(Ok(line)) => Ok((name.clone(), line)),
        _ => Err(CliError::Refused(format!("the value of `{name}` is a line of the standard input"))),
    };
    names.iter().map(&mut read).collect()
}

async fn add(office: &Office, name: &str, kind: &str, set: &[String], secrets: &Secrets) -> Result<(), CliError> {
    if office.config.connections.iter().any(|c| c.name == name) {
        return Err(CliError::Refused(format!("the configuration file has a connection {name}")));
    }
    let settings = given(name, kind, set, secrets)?;
    let vault = Vault::open_or_make(&office.db, &office.config.data.folder, &office.config.vault.master_key).await?;
    let now = office.clock.now_ms();
    let id = ConnectionId::new(now, office.ids.next(), AccountNo::PLATFORM);
    let (text, sealed) = (Value::Object(settings).to_string(), settings::seal(&vault, id, secrets));
    let new = NewConnection {
        id,
        account: AccountNo::PLATFORM,
        name,
        kind,
        settings: &text,
        secrets: sealed.as_deref(),
        enabled: true,
        now,
        most: crate::api::connections::PLATFORM_MAX,
    };
    connection::create(&office.db, &new).await.map_err(|e| match e {
        StoreError::Taken("connection name") => CliError::Refused(format!("there is a connection {name}")),
        other => other.into(),
    })?;
    say(format_args!("{id}  {name}"));
    Ok(())
}

/// Settings from texts: each is read as a text, or else as the number or truth value it is.
fn given(name: &str, kind: &str, set: &[String], secrets: &Secrets) -> Result<Given, CliError> {
    let refused = |wrong: Vec<Wrong>| {
        let lines: Vec<_> =
            wrong.into_iter().map(|w| format!("{}: {}", w.pointer.trim_start_matches("#/settings/"), w.why)).collect();
        CliError::Refused(lines.join("\n"))
    };
    let mut settings = Given::new();
    for pair in set {
        let (setting, text) =
            pair.split_once('=').ok_or_else(|| CliError::Refused(format!("{pair}: write setting=value")))?;
        if settings::is_secret(kind, setting) {
            return Err(CliError::Refused(format!(
                "{setting} is secret: use --secret {setting} and give it on the standard input"
            )));
        }
        let readings = [Some(Value::from(text)), serde_json::from_str(text).ok()];
        // The rules between settings are asked at the end; here only whether the type fits.
        let typed = |value: &Value| settings::fits(setting, value);
        let value = readings.iter().flatten().find(|v| typed(v)).cloned().unwrap_or_else(|| Value::from(text));
        settings::set(&mut settings, setting, value);
    }
    settings::join(name, kind, &settings, secrets).map_err(refused)?;
    Ok(settings)
}

/// What is known without a running server.
struct Costs(HashMap<ConnectionNo, PrefixMap<Money>>);

impl Measured for Costs {
    fn cost(&self, connection: ConnectionNo, digits: u64) -> Option<Money> {
        self.0.get(&connection)?.longest(digits).copied()
    }
    fn delivery(&self, _: ConnectionNo) -> Option<u16> {
        None
    }
}

impl RouteCommand {
    pub(super) async fn run(self, office: &Office) -> Result<(), CliError> {
        match self {
            RouteCommand::List => routes(office).await,
            RouteCommand::Explain { to, from, lane, tag, account } => {
                let account = match account {
                    Some(text) => office.account(&text).await?.no,
                    None => AccountNo::PLATFORM,
                };
                let phone = Phone::parse(&to, None, Strictness::Lenient)
                    .map_err(|e| CliError::Refused(format!("{to}: {}", e.reason)))?
                    .phone;
                let lane = Lane::from_name(&lane)
                    .ok_or_else(|| CliError::Refused(format!("{lane}: a lane is otp, express, normal or bulk")))?;
                let facts = Facts {
                    account,
                    digits: phone.digits(),
                    country: phone.country(),
                    sender: from.as_deref(),
                    lane,
                    own: false,
                    tags: &tag,
                    now_ms: office.clock.now_ms(),
                    random: rand::random(),
                };
                explained(office, &facts).await
            }
        }
    }
}

async fn routes(office: &Office) -> Result<(), CliError> {
    let mut rows = route::list(&office.db, AccountNo::PLATFORM, None, 10_000).await?;
    rows.sort_by_key(|r| (r.rank, r.id));
    for row in rows {
        let shape = Shape::stored(&row).map_err(|e| StoreError::Broken(format!("route {}: {e}", row.id)))?;
        let state = if row.enabled { "" } else { "  (disabled)" };
        say(format_args!("{:>8}  {}  {}{state}", row.rank, row.id, row.name));
        let conditions = serde_json::to_string(&shape.conditions).expect("rules are plain data");
        let groups = serde_json::to_string(&shape.groups).expect("rules are plain data");
        say(format_args!("          {conditions} -> {groups}"));
    }
    Ok(())
}

async fn explained(office: &Office, facts: &Facts<'_>) -> Result<(), CliError> {
    let vault = Vault::open_or_make(&office.db, &office.config.data.folder, &office.config.vault.master_key).await?;
    let loaded = routing::load(&office.config, &office.db, &vault).await?;
    let names: HashMap<ConnectionNo, &str> =
        loaded.connections.iter().map(|c| (c.no, c.settings.name.as_str())).collect();
    let answer = explain(&loaded.book, &Costs(loaded.costs), facts);
    for (route, why) in answer.passed_over {
        say(format_args!("passed over  {} (rank {}): {}", route.name, route.rank, why.as_str()));
    }
    match answer.route {
        Some(route) => say(format_args!("decides      {} (rank {})", route.name, route.rank)),
        None => say("decides      no route: connections in the order they were made"),
    }
    for (i, c) in answer.candidates.iter().enumerate() {
        let cost = c.cost.map_or_else(|| "no rate".to_owned(), |cost| cost.to_string());
        say(format_args!("{:>2}.          {}  {cost}", i + 1, names.get(&c.no).copied().unwrap_or("?")));
    }
    Ok(())
}
