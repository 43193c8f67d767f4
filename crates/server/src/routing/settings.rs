//! Settings of a connection as the API takes them: those of the configuration file, with the secret ones split off to be sealed.

use std::collections::BTreeMap;

use carillon_providers::Provider;
use carillon_store::connection;
use serde_json::{Map, Value};

use super::rules::Wrong;
use super::{LeftOut, seal_context};
use crate::access::vault::Vault;
use crate::config;

/// Settings by name; of the secret ones the values are texts.
pub type Given = Map<String, Value>;
/// Secret settings by name.
pub type Secrets = BTreeMap<String, String>;

/// Which settings are never shown.
const SECRET: &[&str] = &["password"];
/// Where an HTTP provider's own settings stand; its secret ones are kept as `provider.name`.
const PROVIDER: &str = "provider";

/// Takes the secret settings out: a text sets one, null forgets it (`None`). What is not a text stays, to be refused with the others.
pub fn split(settings: &mut Given) -> BTreeMap<String, Option<String>> {
    let mut secrets = BTreeMap::new();
    for name in SECRET {
        match settings.get(*name) {
            Some(Value::String(text)) => secrets.insert((*name).to_owned(), Some(text.clone())),
            Some(Value::Null) => secrets.insert((*name).to_owned(), None),
            _ => continue,
        };
        settings.remove(*name);
    }
    if let Some(Value::Object(provider)) = settings.get_mut(PROVIDER) {
        for field in Provider::ALL.iter().flat_map(|provider| provider.fields()).filter(|field| field.secret()) {
            let secret = match provider.get(field.name) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Null) => None,
                _ => continue,
            };
            provider.remove(field.name);
            secrets.insert(format!("{PROVIDER}.{}", field.name), secret);
        }
    }
    secrets
}

/// The connection of these settings, or every mistake in them, with pointers into `#/settings`.
pub fn join(name: &str, kind: &str, settings: &Given, secrets: &Secrets) -> Result<config::Connection, Vec<Wrong>> {
    let wrong = |setting: &str, why: String| {
        let pointer =
            if ["name", "kind"].contains(&setting) { format!("#/{setting}") } else { format!("#/settings/{setting}") };
        Wrong { pointer, why }
    };
    if let Some(setting) = ["name", "kind"].into_iter().find(|s| settings.contains_key(*s)) {
        return Err(vec![Wrong {
            pointer: format!("#/settings/{setting}"),
            why: format!("`{setting}` stands beside `settings`"),
        }]);
    }
    let whole = |settings: &Given| {
        let mut whole = settings.clone();
        for (name, text) in secrets {
            let text = Value::from(text.as_str());
            match name.strip_prefix("provider.") {
                None => drop(whole.insert(name.clone(), text)),
                Some(name) => {
                    if let Some(provider) = whole.entry(PROVIDER).or_insert_with(|| Given::new().into()).as_object_mut()
                    {
                        provider.insert(name.to_owned(), text);
                    }
                }
            }
        }
        whole.insert("name".into(), name.into());
        whole.insert("kind".into(), kind.into());
        serde_json::from_value::<config::Connection>(Value::Object(whole))
    };
    let connection = match whole(settings) {
        Ok(connection) => connection,
        Err(_) => {
            // Each alone, so that every mistake is named.
            if let Err(e) = whole(&Given::new()) {
                return Err(vec![wrong("kind", e.to_string())]);
            }
            let alone = settings.iter().filter_map(|(name, value)| {
                let alone = Given::from_iter([(name.clone(), value.clone())]);
                whole(&alone).err().map(|e| wrong(&name.replace('~', "~0").replace('/', "~1"), e.to_string()))
            });
            return Err(alone.collect());
        }
    };
    let mistakes = connection.mistakes();
    if mistakes.is_empty() {
        return Ok(connection);
    }
    Err(mistakes.into_iter().map(|(setting, rule)| wrong(&setting, rule)).collect())
}

/// The connection a stored row means.
pub fn of_row(vault: &Vault, row: &connection::Connection) -> Result<config::Connection, LeftOut> {
    let unreadable = |e: &dyn std::fmt::Display| LeftOut::Unreadable(e.to_string());
    let settings: Given = serde_json::from_str(row.settings.as_deref().unwrap_or("{}")).map_err(|e| unreadable(&e))?;
    let secrets = secrets_of_row(vault, row)?;
    join(&row.name, &row.kind, &settings, &secrets).map_err(|wrong| {
        let lines: Vec<_> = wrong.into_iter().map(|w| format!("{}: {}", w.pointer, w.why)).collect();
        LeftOut::Unreadable(lines.join("; "))
    })
}

/// The secrets of a stored row.
pub fn secrets_of_row(vault: &Vault, row: &connection::Connection) -> Result<Secrets, LeftOut> {
    let Some(sealed) = &row.secrets else { return Ok(Secrets::new()) };
    let opened = vault.open(sealed, &seal_context(row.id)).map_err(|_| LeftOut::Sealed)?;
    // Not the parser's message: it may quote what it read.
    serde_json::from_slice(&opened).map_err(|_| LeftOut::Unreadable("its secrets are no JSON".into()))
}

/// Seals secrets for a row; nothing if there are none.
pub fn seal(vault: &Vault, id: carillon_domain::id::ConnectionId, secrets: &Secrets) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(secrets).expect("texts by name are JSON");
    (!secrets.is_empty()).then(|| vault.seal(&text, &seal_context(id)))
}
