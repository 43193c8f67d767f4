//! Settings of a connection as the API takes them: those of the configuration file, with the secret ones split off to be sealed.

use std::collections::BTreeMap;

use carillon_providers::Provider;
use carillon_store::connection;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::rules::Wrong;
use super::{LeftOut, seal_context};
use crate::access::vault::Vault;
use crate::config;

/// Settings by name; of the secret ones the values are texts.
pub type Given = Map<String, Value>;
/// Secret settings by name.
pub type Secrets = BTreeMap<String, String>;

/// Where an HTTP provider's own settings stand; one of them is named `provider.name`.
const PROVIDER: &str = "provider";

/// Which settings of a kind are never shown.
fn secret_names(kind: &str) -> Vec<String> {
    let fields = Provider::from_name(kind).map_or(&[][..], Provider::fields);
    let of_provider = fields.iter().filter(|field| field.secret()).map(|field| format!("{PROVIDER}.{}", field.name));
    std::iter::once("password".to_owned()).chain(of_provider).collect()
}

/// The object a setting stands in, and its name there.
fn place<'a>(settings: &'a mut Given, setting: &'a str) -> Option<(&'a mut Given, &'a str)> {
    match setting.split_once('.') {
        None => Some((settings, setting)),
        Some((outer, inner)) => Some((settings.get_mut(outer)?.as_object_mut()?, inner)),
    }
}

/// Sets one setting by its name.
pub fn set(settings: &mut Given, setting: &str, value: Value) {
    if let Some((outer, _)) = setting.split_once('.') {
        settings.entry(outer).or_insert_with(|| Given::new().into());
    }
    if let Some((object, inner)) = place(settings, setting) {
        object.insert(inner.to_owned(), value);
    }
}

/// Takes the secret settings out: a text sets one, null forgets it (`None`). Anything else is refused without repeating it.
pub fn split(kind: &str, settings: &mut Given) -> Result<BTreeMap<String, Option<String>>, Wrong> {
    let mut secrets = BTreeMap::new();
    for name in secret_names(kind) {
        let Some((object, inner)) = place(settings, &name) else { continue };
        let given = match object.remove(inner) {
            None => continue,
            Some(Value::String(text)) => Some(text),
            Some(Value::Null) => None,
            Some(_) => {
                let pointer = format!("#/settings/{}", name.replace('.', "/"));
                return Err(Wrong { pointer, why: "a text".into() });
            }
        };
        secrets.insert(name, given);
    }
    Ok(secrets)
}

/// Whether a setting of a kind is never shown.
pub fn is_secret(kind: &str, setting: &str) -> bool {
    secret_names(kind).iter().any(|name| name == setting)
}

/// Whether a setting exists and may be of this type; the rules are not asked.
pub fn fits(setting: &str, value: &Value) -> bool {
    let mut alone =
        Given::from_iter([("name", "x".into()), ("kind", "sandbox".into())].map(|(n, v)| (n.to_owned(), v)));
    set(&mut alone, setting, value.clone());
    serde_json::from_value::<config::Connection>(Value::Object(alone)).is_ok()
}

/// Changes settings: null takes one away, objects are merged, anything else is put in the place of the old.
pub fn merge(settings: &mut Given, changes: Given) {
    for (name, value) in changes {
        match (settings.get_mut(&name), value) {
            (_, Value::Null) => drop(settings.remove(&name)),
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => drop(settings.insert(name, value)),
        }
    }
}

/// Which secret settings of a connection are set.
pub fn secrets_set(connection: &config::Connection) -> Vec<String> {
    let set = |name: &String| match name.split_once('.') {
        Some((_, field)) => connection.provider.given(field).is_some(),
        None => !connection.password.expose_secret().is_empty(),
    };
    secret_names(connection.kind.name()).into_iter().filter(set).collect()
}

/// All settings of a connection but the secret ones.
pub fn shown(connection: &config::Connection) -> Value {
    let mut settings = serde_json::to_value(connection).expect("settings are plain data");
    if let (config::Kind::Http(provider), Some(object)) = (connection.kind, settings.as_object_mut()) {
        let open = provider.fields().iter().filter(|field| !field.secret());
        let given =
            open.filter_map(|field| Some((field.name.to_owned(), connection.provider.given(field.name)?.into())));
        object.insert(PROVIDER.into(), Value::Object(given.collect()));
    }
    settings
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
        secrets.iter().for_each(|(name, text)| set(&mut whole, name, Value::from(text.as_str())));
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
