//! Settings: `config.default.toml` < a file < the environment < flags, every mistake named at once (DESIGN §8).
//!
//! The default file is compiled in and is the only place where defaults stand; what each setting means is written there.

mod connection;
mod sections;

use std::fmt;

use toml::{Table, Value};

pub use connection::{Alphabet, Bind, Concat, Connection, IdBase, Kind, UnknownPolicy};
pub use sections::{
    Accounts, Auth, Config, Data, Database, Email, Faces, Gateway, Imports, Limits, Log, LogFormat, MailTls, Media,
    MediaPlace, OpenMode, Otp, Pipeline, Prices, Sandbox, Server, SmppServer, Webhooks,
};

/// The file every setting's default and meaning stands in.
pub const DEFAULTS: &str = include_str!("../../../config.default.toml");

/// What the defaults are overridden with, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The name of a file and its text.
    pub file: Option<(String, String)>,
    /// The environment; what is not ours is passed over.
    pub environment: Vec<(String, String)>,
    /// Flags, as `section.key` and the text given.
    pub flags: Vec<(&'static str, String)>,
}

/// Everything that is wrong with the configuration, one line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration has {} mistake(s):", self.0.len())?;
        self.0.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Mistakes {}

/// Plain names people expect, and the setting each stands for.
const PLAIN_NAMES: &[(&str, &str)] = &[
    ("POSTGRES_URL", "database.url"),
    ("DATABASE_URL", "database.url"),
    ("PRICE_PER_PART_CENTS", "prices.per_part_cents"),
    ("EXPRESS_SURCHARGE_CENTS", "prices.express_surcharge_cents"),
];

/// Plain names that are accepted because setups of this kind carry them, and that nothing here needs yet.
const UNUSED_NAMES: &[&str] = &["REDIS_URL", "NATS_URL"];

/// The settings in force, and remarks for the log.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What was given and has no effect.
    pub remarks: Vec<String>,
}

/// Puts the sources together and checks them.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut layers = Layers::new();
    if let Some((name, text)) = &sources.file {
        layers.file(name, text);
    }
    let remarks = layers.environment(&sources.environment);
    for (path, text) in &sources.flags {
        layers.text(&format!("--{}", path.replace(['.', '_'], "-")), path, text);
    }
    let Layers { merged, mut mistakes, .. } = layers;
    match merged.try_into::<Config>() {
        Ok(config) => {
            mistakes.extend(sections::check(&config));
            if mistakes.is_empty() { Ok(Loaded { config, remarks }) } else { Err(Mistakes(mistakes)) }
        }
        Err(e) => {
            if mistakes.is_empty() {
                mistakes.push(e.message().to_owned());
            }
            Err(Mistakes(mistakes))
        }
    }
}

/// The defaults alone; for tests and for `carillon openapi`.
///
/// # Panics
/// Never in a program that passes its tests: the defaults are part of it.
pub fn defaults() -> Config {
    load(&Sources::default()).expect("the compiled-in defaults are valid").config
}

struct Layers {
    defaults: Table,
    merged: Table,
    mistakes: Vec<String>,
}

impl Layers {
    fn new() -> Layers {
        let defaults: Table = DEFAULTS.parse().expect("the compiled-in defaults are TOML");
        Layers { merged: defaults.clone(), defaults, mistakes: Vec::new() }
    }

    fn file(&mut self, name: &str, text: &str) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(e) => return self.mistakes.push(format!("{name}: {e}")),
        };
        for (section, value) in table {
            match (section.as_str(), value) {
                ("connection", Value::Array(entries)) => self.connections(name, entries),
                ("connection", _) => self.mistakes.push(format!("{name}: connections are written as [[connection]]")),
                (_, Value::Table(keys)) => {
                    for (key, value) in keys {
                        self.set(name, &section, &key, value);
                    }
                }
                _ => self.mistakes.push(format!("{name}: `{section}` is not a section")),
            }
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) -> Vec<String> {
        let find = |name: &str| {
            variables.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
        };
        for (name, path) in PLAIN_NAMES {
            if let Some(text) = find(name) {
                self.text(name, path, text);
            }
        }
        if let Some(port) = find("PORT") {
            let host = self.merged["server"]["listen"]
                .as_str()
                .and_then(|l| l.rsplit_once(':'))
                .map_or("127.0.0.1", |(host, _)| host);
            let listen = format!("{host}:{port}");
            self.text("PORT", "server.listen", &listen);
        }
        let mut ours: Vec<_> =
            variables.iter().filter_map(|(n, v)| Some((n, n.strip_prefix("CARILLON_")?, v))).collect();
        ours.sort();
        for (name, path, text) in ours {
            match path.to_lowercase().split("__").collect::<Vec<_>>()[..] {
                ["connection", which, key] => self.connection_text(name, which, key, text),
                [section, key] => self.text(name, &format!("{section}.{key}"), text),
                [_] => {} // CARILLON_CONFIG, CARILLON_API_KEY and the like: not settings of the server.
                _ => self.mistakes.push(format!("{name}: a setting is CARILLON_SECTION__KEY")),
            }
        }
        let unused = UNUSED_NAMES.iter().filter(|name| find(name).is_some());
        unused.map(|name| format!("{name} is set; this version needs no such server and does not use it")).collect()
    }

    /// A value that came as text is read as the type its default has.
    fn text(&mut self, origin: &str, path: &str, text: &str) {
        let (section, key) = path.split_once('.').unwrap_or((path, ""));
        let default = self.defaults.get(section).and_then(|s| s.get(key)).cloned();
        let value = match &default {
            Some(like) => typed(like, text),
            None => Value::String(text.to_owned()),
        };
        self.set(origin, section, key, value);
    }

    fn set(&mut self, origin: &str, section: &str, key: &str, value: Value) {
        let known = section != "connection" && self.defaults.get(section).is_some_and(|s| s.get(key).is_some());
        if !known {
            return self.mistakes.push(format!("{origin}: `{section}.{key}` is not a setting"));
        }
        let mut candidate = self.defaults.clone();
        candidate[section][key] = value.clone();
        match candidate.try_into::<Config>() {
            Ok(_) => self.merged[section][key] = value,
            Err(e) => self.mistakes.push(format!("{origin}: `{section}.{key}`: {}", e.message())),
        }
    }

    fn connections(&mut self, origin: &str, entries: Vec<Value>) {
        for (i, entry) in entries.iter().enumerate() {
            let Value::Table(keys) = entry else {
                self.mistakes.push(format!("{origin}: connection {} is not a table", i + 1));
                continue;
            };
            let name = keys.get("name").and_then(Value::as_str).map_or_else(|| (i + 1).to_string(), str::to_owned);
            for (key, value) in keys {
                let mut alone: Table = [("name", "x"), ("kind", "sandbox")]
                    .map(|(k, v)| (k.to_owned(), Value::from(v)))
                    .into_iter()
                    .collect();
                alone.insert(key.clone(), value.clone());
                if let Err(e) = alone.try_into::<Connection>() {
                    self.mistakes.push(format!("{origin}: connection `{name}`: `{key}`: {}", e.message()));
                }
            }
            for required in ["name", "kind"] {
                if !keys.contains_key(required) {
                    self.mistakes.push(format!("{origin}: connection `{name}` has no `{required}`"));
                }
            }
        }
        self.merged.insert("connection".into(), Value::Array(entries));
    }

    fn connection_text(&mut self, origin: &str, which: &str, key: &str, text: &str) {
        let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let entries = self.merged.get_mut("connection").and_then(Value::as_array_mut);
        let entry = entries.and_then(|all| {
            all.iter_mut().find(|c| c.get("name").and_then(Value::as_str).is_some_and(|n| plain(n) == which))
        });
        let Some(Value::Table(entry)) = entry else {
            return self.mistakes.push(format!("{origin}: there is no connection `{which}`"));
        };
        // Text first: a password of digits stays text.
        for value in [Value::from(text), typed(&Value::Integer(0), text), typed(&Value::Boolean(true), text)] {
            let mut candidate = entry.clone();
            candidate.insert(key.to_owned(), value);
            if candidate.clone().try_into::<Connection>().is_ok() {
                *entry = candidate;
                return;
            }
        }
        self.mistakes.push(format!("{origin}: `{key}` is not a setting of a connection, or cannot be `{text}`"));
    }
}

/// Reads a text as the type of `like`; what cannot be read stays text, and is refused by name afterwards.
fn typed(like: &Value, text: &str) -> Value {
    match like {
        Value::Integer(_) => text.parse().map_or_else(|_| Value::from(text), Value::Integer),
        Value::Boolean(_) => text.parse().map_or_else(|_| Value::from(text), Value::Boolean),
        Value::Array(_) => {
            Value::Array(text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Value::from).collect())
        }
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests;
