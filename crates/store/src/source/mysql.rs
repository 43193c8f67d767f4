//! An account's own MySQL or MariaDB, read once, as a PostgreSQL is: one query as a part of ours, in a read-only transaction, over a connection
//! to an address that was checked. Rows, octets and time are counted here.

use std::net::IpAddr;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Params, Row as Found, SslOpts, Value};
use serde_json::Value as Json;

use super::{Question, Row, Tls, Unread};

/// The longest packet, and so the longest row, octets.
const PACKET_MAX: usize = 1 << 20;
/// What the two say when their own time limit ends a query.
const TOO_SLOW: [u16; 2] = [3024, 1969];

impl From<Error> for Unread {
    fn from(error: Error) -> Unread {
        match error {
            Error::Server(said) => Unread::Refused(said.message),
            other => Unread::Connection(other.to_string()),
        }
    }
}

/// The rows that a MySQL at one of these addresses answers with.
pub async fn rows(addresses: &[IpAddr], q: &Question<'_>) -> Result<Vec<Row>, Unread> {
    match tokio::time::timeout(q.time, read(addresses, q)).await {
        Ok(done) => done,
        Err(_) => Err(Unread::Time(q.time.as_secs())),
    }
}

fn options(addresses: &[IpAddr], q: &Question<'_>) -> OptsBuilder {
    let tls = match q.tls {
        Tls::Off => None,
        Tls::Require => {
            Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
        }
        Tls::Verify => {
            // What is no PEM would be read as something else.
            let authority = q.authority.filter(|text| text.starts_with("-----BEGIN"));
            let believed = authority.map(|text| text.as_bytes().to_vec().into());
            Some(SslOpts::default().with_root_certs(believed.into_iter().collect()))
        }
    };
    OptsBuilder::default()
        .ip_or_hostname(q.host)
        .tcp_port(q.port)
        .resolved_ips(Some(addresses.to_vec()))
        // A server on the loopback could name a socket of this machine to go to instead.
        .prefer_socket(false)
        .user(Some(q.user))
        .pass(q.password.map(|password| String::from_utf8_lossy(password).into_owned()))
        .db_name(Some(q.database))
        .max_allowed_packet(Some(PACKET_MAX))
        .ssl_opts(tls)
}

async fn read(addresses: &[IpAddr], q: &Question<'_>) -> Result<Vec<Row>, Unread> {
    let explained = |error: Error| match &error {
        Error::Server(said) if TOO_SLOW.contains(&said.code) => Unread::Time(q.time.as_secs()),
        _ => error.into(),
    };
    let mut conn = Conn::new(options(addresses, q)).await.map_err(explained)?;
    // MySQL counts milliseconds, MariaDB seconds, each under a name of its own.
    let limit = format!("SET SESSION max_execution_time = {}", q.time.as_millis());
    if conn.query_drop(limit).await.is_err() {
        let limit = format!("SET SESSION max_statement_time = {}", q.time.as_secs());
        conn.query_drop(limit).await.map_err(explained)?;
    }
    conn.query_drop("START TRANSACTION READ ONLY").await.map_err(explained)?;
    let statement = conn.prep(q.whole("SELECT *")).await.map_err(explained)?;
    q.check_parameters(statement.num_params().into())?;
    let values = q.parameters.iter().map(|text| text.as_ref().map_or(Value::NULL, |text| text.as_str().into()));
    let values: Vec<Value> = values.collect();
    let values = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
    let mut answer = conn.exec_iter(statement, values).await.map_err(explained)?;
    let (mut rows, mut octets) = (Vec::new(), 0);
    while let Some(found) = answer.next().await.map_err(explained)? {
        octets += size(&found);
        q.check_size(rows.len(), octets)?;
        rows.push(row(found));
    }
    Ok(rows)
}

fn size(found: &Found) -> usize {
    let of = |i| match found.as_ref(i) {
        Some(Value::Bytes(octets)) => octets.len(),
        _ => 8,
    };
    (0..found.len()).map(of).sum()
}

fn row(found: Found) -> Row {
    let names: Vec<_> = found.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    names.into_iter().zip(found.unwrap().into_iter().map(json)).collect()
}

/// A value as JSON; dates as they are written.
fn json(value: Value) -> Json {
    match value {
        Value::NULL => Json::Null,
        Value::Bytes(octets) => String::from_utf8_lossy(&octets).into_owned().into(),
        Value::Int(n) => n.into(),
        Value::UInt(n) => n.into(),
        Value::Float(n) => n.into(),
        Value::Double(n) => n.into(),
        Value::Date(y, m, d, 0, 0, 0, 0) => format!("{y:04}-{m:02}-{d:02}").into(),
        Value::Date(y, m, d, h, min, s, _) => format!("{y:04}-{m:02}-{d:02} {h:02}:{min:02}:{s:02}").into(),
        Value::Time(negative, days, h, min, s, _) => {
            let sign = if negative { "-" } else { "" };
            format!("{sign}{:02}:{min:02}:{s:02}", days * 24 + u32::from(h)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_json() {
        let rows = [
            (Value::NULL, "null"),
            (Value::Bytes("+4915112345678".into()), "\"+4915112345678\""),
            (Value::Int(-5), "-5"),
            (Value::UInt(u64::MAX), "18446744073709551615"),
            (Value::Double(0.5), "0.5"),
            (Value::Date(1815, 12, 10, 0, 0, 0, 0), "\"1815-12-10\""),
            (Value::Date(2026, 1, 2, 3, 4, 5, 6), "\"2026-01-02 03:04:05\""),
            (Value::Time(true, 1, 2, 3, 4, 0), "\"-26:03:04\""),
        ];
        for (value, expected) in rows {
            assert_eq!(json(value.clone()).to_string(), expected, "{value:?}");
        }
    }
}
