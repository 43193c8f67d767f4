//! Connections, routes and what belongs to them, read from the configuration file and the database and put together for the pipeline.

pub mod explain;
pub mod host;
pub mod rules;
pub mod settings;

use std::collections::HashMap;

use carillon_domain::id::{AccountId, AccountNo, ConnectionId, TypeId};
use carillon_domain::money::Money;
use carillon_domain::route::{Book, ConnectionNo, PrefixMap, Route};
use carillon_store::throughput::Throughput;
use carillon_store::{Db, StoreError, account, carrier_rate, connection, number_range, route, throughput};

use crate::access::vault::Vault;
use crate::config::{self, Config, Kind};

/// All of it, as it stood at one version.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `store::route::version` before anything was read: once the store's is another, read again.
    pub version: i64,
    /// What is to be run: enabled ones only, those of the configuration file first.
    pub connections: Vec<Configured>,
    /// The routes over them.
    pub book: Book,
    /// What a part costs on each.
    pub costs: HashMap<ConnectionNo, PrefixMap<Money>>,
    /// How fast accounts and their senders may go.
    pub throughput: Vec<Throughput>,
}

/// A connection to be run.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What messages carry.
    pub no: ConnectionNo,
    /// What the API shows.
    pub id: ConnectionId,
    /// Whose; the platform's are everybody's.
    pub account: AccountNo,
    /// How it is reached, secrets included.
    pub settings: config::Connection,
    /// Whether it may lead to hosts of the public internet only: an account's own, unless the operator trusts accounts further.
    pub public_only: bool,
}

/// Why a stored row cannot be used; it is left out and the others work.
#[derive(Debug, thiserror::Error)]
pub enum LeftOut {
    /// The vault's key is another, or the row was tampered with.
    #[error("its secrets cannot be opened: set them again")]
    Sealed,
    /// A newer version wrote it, or a foreign hand.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The configuration file names one alike.
    #[error("the configuration file has a connection of the same name, which counts")]
    Shadowed,
}

/// Reads everything.
pub async fn load(config: &Config, db: &Db, vault: &Vault) -> Result<Loaded, StoreError> {
    let mut connections = Vec::with_capacity(config.connections.len());
    for settings in &config.connections {
        let no = connection::number(db, &settings.name).await?;
        connections.push(Configured {
            no,
            id: connection::id_of_file(no),
            account: AccountNo::PLATFORM,
            settings: settings.clone(),
            public_only: false,
        });
    }
    let version = route::version(db).await?;
    let rows = connection::all(db).await?;
    let numbers: HashMap<ConnectionId, ConnectionNo> = rows.iter().map(|row| (row.id, row.no)).collect();
    for row in rows.iter().filter(|row| row.enabled && row.settings.is_some()) {
        match configured(config, vault, row) {
            Ok(settings) => {
                let public_only = row.account != AccountNo::PLATFORM && !config.accounts.private_carriers;
                connections.push(Configured { no: row.no, id: row.id, account: row.account, settings, public_only });
            }
            Err(why) => tracing::error!(connection = %row.name, "connection {} is left out: {why}", row.name),
        }
    }
    let connections = without_idle_sandboxes(connections);
    let routes = routes(db, &numbers).await?;
    let mut operators = PrefixMap::default();
    for (prefix, operator) in number_range::all(db).await? {
        operators.insert(&prefix, operator);
    }
    let mut costs: HashMap<ConnectionNo, PrefixMap<Money>> = HashMap::new();
    for (no, prefix, price) in carrier_rate::all(db).await? {
        costs.entry(no).or_default().insert(&prefix, price);
    }
    let usable: Vec<_> = connections.iter().map(|c| (c.account, c.no)).collect();
    let book = Book::new(routes, &usable, operators);
    let book = book.with_files(connections.iter().map(|c| (c.no, c.settings.carries())));
    Ok(Loaded { version, connections, book, costs, throughput: throughput::all(db).await? })
}

/// How long each connection's messages wait for a receipt after their validity, milliseconds; those switched off have messages out, too.
pub async fn receipt_waits(config: &Config, db: &Db, vault: &Vault) -> Result<HashMap<ConnectionNo, i64>, StoreError> {
    let wait = |settings: &config::Connection| i64::from(settings.receipt_wait_h) * 3_600_000;
    let mut waits = HashMap::new();
    for settings in &config.connections {
        waits.insert(connection::number(db, &settings.name).await?, wait(settings));
    }
    for row in connection::all(db).await?.iter().filter(|row| row.settings.is_some()) {
        if let Ok(settings) = configured(config, vault, row) {
            waits.insert(row.no, wait(&settings));
        }
    }
    Ok(waits)
}

fn configured(config: &Config, vault: &Vault, row: &connection::Connection) -> Result<config::Connection, LeftOut> {
    let of_the_file = |c: &config::Connection| row.account == AccountNo::PLATFORM && c.name == row.name;
    if config.connections.iter().any(of_the_file) {
        return Err(LeftOut::Shadowed);
    }
    settings::of_row(vault, row)
}

/// A sandbox beside a real carrier would claim deliveries that never were: it counts only where its owner has nothing else.
fn without_idle_sandboxes(connections: Vec<Configured>) -> Vec<Configured> {
    let real: Vec<_> = connections.iter().filter(|c| c.settings.kind != Kind::Sandbox).map(|c| c.account).collect();
    connections.into_iter().filter(|c| c.settings.kind != Kind::Sandbox || !real.contains(&c.account)).collect()
}

async fn routes(db: &Db, numbers: &HashMap<ConnectionId, ConnectionNo>) -> Result<Vec<Route>, StoreError> {
    let mut accounts: HashMap<AccountId, AccountNo> = HashMap::new();
    let mut routes = Vec::new();
    for row in route::enabled(db).await? {
        match rules::Shape::stored(&row) {
            Ok(shape) => {
                for id in &shape.conditions.accounts {
                    if !accounts.contains_key(id) {
                        accounts.insert(*id, account::by_id(db, *id).await?.no);
                    }
                }
                // What a route names and is no more gets a number nobody has; the book leaves it out.
                let connection =
                    |text: &str| Some(text.parse().ok().and_then(|id| numbers.get(&id)).copied().unwrap_or(-1));
                match shape.read(&accounts, connection) {
                    Ok((conditions, groups)) => routes.push(Route {
                        id: row.id,
                        account: row.account,
                        name: row.name,
                        rank: row.rank,
                        conditions,
                        groups,
                        reroute: row.reroute,
                    }),
                    Err(wrong) => tracing::error!(route = %row.id, "route {} is left out: {:?}", row.id, wrong),
                }
            }
            Err(why) => tracing::error!(route = %row.id, "route {} is left out: {why}", row.id),
        }
    }
    Ok(routes)
}

/// What a connection's secrets are sealed for.
pub fn seal_context(id: ConnectionId) -> Vec<u8> {
    [b"connection ", id.uuid().as_bytes().as_slice()].concat()
}
