//! An account's own PostgreSQL, read once: one query in a read-only transaction, over a connection that somebody else made to an address that was
//! checked. What is believed of the other side is nothing: octets, rows and time are counted here.
//!
//! The query is sent as a part of ours. So it is one statement (the extended protocol takes no second one), it reads (a statement that writes
//! cannot stand within another), and each row comes as JSON whatever its types are; a function it calls is stopped by the transaction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use futures_util::{StreamExt as _, pin_mut};
use sqlx::postgres::PgSslMode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config};

use super::{Question, Row, Tls, Unread};
use crate::hot::postgres::tls;

impl From<tokio_postgres::Error> for Unread {
    fn from(error: tokio_postgres::Error) -> Unread {
        if let Some(said) = error.as_db_error() {
            return Unread::Refused(said.message().to_owned());
        }
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Unread::Connection(cause.to_string())
    }
}

/// What the server says when its own time limit ends a query (SQLSTATE `query_canceled`).
const CANCELED: tokio_postgres::error::SqlState = tokio_postgres::error::SqlState::QUERY_CANCELED;

/// The rows that a PostgreSQL answers with over a connection.
pub async fn rows(stream: TcpStream, q: &Question<'_>) -> Result<Vec<Row>, Unread> {
    match tokio::time::timeout(q.time, connected(stream, q)).await {
        Ok(done) => done,
        Err(_) => Err(Unread::Time(q.time.as_secs())),
    }
}

async fn connected(stream: TcpStream, q: &Question<'_>) -> Result<Vec<Row>, Unread> {
    let mut config = Config::new();
    config.user(q.user).dbname(q.database).application_name("carillon");
    if let Some(password) = q.password {
        config.password(password);
    }
    let stream = Counted { inner: stream, left: q.octets_max };
    let mode = match q.tls {
        Tls::Off => {
            config.ssl_mode(SslMode::Disable);
            return asked(&config, stream, NoTls, q).await;
        }
        Tls::Require => PgSslMode::Require,
        Tls::Verify => PgSslMode::VerifyFull,
    };
    config.ssl_mode(SslMode::Require);
    // What is no PEM would be taken for the name of a file.
    let authority = q.authority.filter(|text| text.starts_with("-----BEGIN")).map(str::to_owned);
    let failed = |e: &dyn std::fmt::Display| Unread::Connection(e.to_string());
    let mut tls = tls::Tls::new(mode, authority, None).map_err(|e| failed(&e))?;
    let connect = MakeTlsConnect::<Counted>::make_tls_connect(&mut tls, q.host).map_err(|e| failed(&e))?;
    asked(&config, stream, connect, q).await
}

async fn asked<T>(config: &Config, stream: Counted, tls: T, q: &Question<'_>) -> Result<Vec<Row>, Unread>
where
    T: TlsConnect<Counted>,
{
    let explained = |error: tokio_postgres::Error| match error.code() == Some(&CANCELED) {
        true => Unread::Time(q.time.as_secs()),
        false => match Unread::from(error) {
            Unread::Connection(why) if why == TOO_LONG => Unread::Octets(q.octets_max),
            other => other,
        },
    };
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(&explained)?;
    let reading = read(&client, q);
    pin_mut!(reading, connection);
    // The connection says why it ended; the query only that it did.
    tokio::select! {
        biased;
        ended = &mut connection => match ended {
            Ok(()) => Err(Unread::Connection("the other side ended it".into())),
            Err(error) => Err(explained(error)),
        },
        done = &mut reading => done.unwrap_or_else(|error| Err(explained(error))),
    }
}

/// The two results tell what this end found wrong from what the other end said.
async fn read(client: &Client, q: &Question<'_>) -> Result<Result<Vec<Row>, Unread>, tokio_postgres::Error> {
    let patience = q.time.as_millis();
    let begin = format!(
        "START TRANSACTION READ ONLY; SET LOCAL statement_timeout = {patience}; SET LOCAL lock_timeout = {patience}"
    );
    client.batch_execute(&begin).await?;
    let statement = client.prepare(&q.whole("SELECT row_to_json(source)::text")).await?;
    if let Err(wrong) = q.check_parameters(statement.params().len()) {
        return Ok(Err(wrong));
    }
    let rows = client.query_raw(&statement, q.parameters.iter().map(AsText)).await?;
    pin_mut!(rows);
    let mut found = Vec::new();
    while let Some(row) = rows.next().await {
        let row: String = row?.try_get(0)?;
        // What comes in all is counted where it comes in.
        if let Err(too_many) = q.check_size(found.len(), 0) {
            return Ok(Err(too_many));
        }
        match serde_json::from_str(&row) {
            Ok(row) => found.push(row),
            Err(e) => return Ok(Err(Unread::Connection(format!("a row that is no JSON: {e}")))),
        }
    }
    Ok(Ok(found))
}

/// A parameter of any type, written as a text: the server reads it.
#[derive(Debug)]
struct AsText<'a>(&'a Option<String>);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.put_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A connection that ends once more has come than may.
struct Counted {
    inner: TcpStream,
    left: usize,
}

const TOO_LONG: &str = "more octets than may come";

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(cx, into);
        let came = into.filled().len() - before;
        match self.left.checked_sub(came) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other(TOO_LONG))),
        }
        done
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
