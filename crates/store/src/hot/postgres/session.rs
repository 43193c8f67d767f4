//! The writer's connection: `tokio-postgres`, because it sends statements one behind the other without waiting for their answers.
//! The rest of the program asks through `sqlx`, from whose options this connection is made.

use std::borrow::Cow;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rustc_hash::FxHashMap;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::sync::Arc;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, CopyInSink, Error, Row, Statement};

use super::tls::Tls;
use crate::StoreError;

/// A value that is bound.
pub(super) type Param<'p> = Box<dyn ToSql + Sync + Send + 'p>;

/// What the server will say to a statement that was sent.
pub(super) type Answer<'p, T = Vec<Row>> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'p>>;

/// Values to bind.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as $crate::hot::postgres::session::Param<'_>),*] };
}
pub(super) use params;

/// How the connection is made, again and again.
pub(super) struct Door {
    config: Config,
    tls: Tls,
}

/// A session's process on the server: its number, and when it began, as numbers are used again.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) number: i32,
    pub(super) began: String,
}

/// An open connection.
pub(super) struct Session {
    client: Arc<Client>,
    prepared: FxHashMap<String, Statement>,
    /// What could not be prepared, because something sent before it had failed: that is what there is to tell.
    unprepared: Option<String>,
    pub(super) backend: Backend,
}

impl Door {
    /// With the address, name and secrets that `options` hold.
    pub(super) fn new(options: &PgConnectOptions, patience: Duration) -> Result<Door, StoreError> {
        let mut config = Config::new();
        match options.get_socket() {
            Some(path) => config.host_path(path),
            None => config.host(options.get_host()),
        };
        config.port(options.get_port()).user(options.get_username()).connect_timeout(patience);
        config.dbname(options.get_database().unwrap_or(options.get_username()));
        if let Some(set) = options.get_options() {
            config.options(set);
        }
        if let Some(name) = options.get_application_name() {
            config.application_name(name);
        }
        // What has no getter stands in its URL.
        let url = options.to_url_lossy();
        if let Some(password) = url.password() {
            let pair = format!("={password}");
            let decoded = form_urlencoded::parse(pair.as_bytes()).next();
            config.password(decoded.map_or(Cow::Borrowed(password), |(_, p)| p).as_bytes());
        }
        config.ssl_mode(match options.get_ssl_mode() {
            _ if options.get_socket().is_some() => SslMode::Disable,
            PgSslMode::Disable | PgSslMode::Allow => SslMode::Disable,
            PgSslMode::Prefer => SslMode::Prefer,
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => SslMode::Require,
        });
        let file = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, file)| file.into_owned());
        let tls = Tls::new(options.get_ssl_mode(), file("sslrootcert"), file("sslcert").zip(file("sslkey")))?;
        Ok(Door { config, tls })
    }

    /// A new session, in the runtime of the caller. What `lost`, a session given up, may still hold is freed first.
    pub(super) async fn open(&self, lost: Option<&Backend>) -> Result<Session, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        // Ends with the client. What it has to say of its end, the client says as well.
        tokio::spawn(async move { drop(connection.await) });
        if let Some(lost) = lost {
            let sql =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";
            client.query(sql, &[&lost.number, &lost.began]).await?;
        }
        let sql = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let own = client.query_one(sql, &[]).await?;
        let backend = Backend { number: own.try_get(0)?, began: own.try_get(1)? };
        Ok(Session { client: Arc::new(client), prepared: FxHashMap::default(), unprepared: None, backend })
    }
}

impl Session {
    /// Sends a statement; what was sent before need not be answered yet. Its own answer is for later, and answers with rows are to be
    /// taken in the order they were asked for: what nobody takes holds up what comes behind it.
    pub(super) async fn ask<'p>(&mut self, sql: &str, params: Vec<Param<'p>>) -> Result<Answer<'p>, Error> {
        let statement = self.statement(sql).await?;
        let client = self.client.clone();
        Ok(sent(async move { client.query_raw(&statement, params).await?.try_collect().await }).await)
    }

    /// Sends a `COPY … FROM STDIN`. Until its data has ended nothing else is to be asked.
    pub(super) async fn copy(&mut self, sql: &'static str) -> Result<Answer<'static, CopyInSink<Bytes>>, Error> {
        let statement = self.statement(sql).await?;
        let client = self.client.clone();
        Ok(sent(async move { client.copy_in(&statement).await }).await)
    }

    /// Asks and waits.
    pub(super) async fn rows<'p>(&mut self, sql: &'static str, params: Vec<Param<'p>>) -> Result<Vec<Row>, Error> {
        self.ask(sql, params).await?.await
    }

    pub(super) async fn prepare(&mut self, texts: &[&str]) -> Result<(), Error> {
        for sql in texts {
            self.statement(sql).await?;
        }
        Ok(())
    }

    /// Ends a transaction that failed, and prepares what it kept from being prepared. Whether there was anything: then the same round, sent
    /// again, will tell why it fails.
    pub(super) async fn prepare_missing(&mut self) -> Result<bool, Error> {
        let Some(sql) = self.unprepared.take() else { return Ok(false) };
        self.rows("ROLLBACK", Vec::new()).await?;
        self.statement(&sql).await?;
        Ok(true)
    }

    /// Prepared by its first use.
    async fn statement(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        match self.client.prepare(sql).await {
            Ok(statement) => {
                self.prepared.insert(sql.to_owned(), statement.clone());
                Ok(statement)
            }
            Err(error) => {
                let late = error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
                self.unprepared = late.then(|| sql.to_owned());
                Err(error)
            }
        }
    }
}

/// A request leaves when it is first polled.
pub(super) async fn sent<'p, T: Send + 'p>(
    request: impl Future<Output = Result<T, Error>> + Send + 'p,
) -> Answer<'p, T> {
    let mut request: Answer<'p, T> = Box::pin(request);
    match poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await {
        Poll::Ready(done) => Box::pin(ready(done)),
        Poll::Pending => request,
    }
}

/// Statements that write, sent and to be answered.
pub(super) struct Writes<'s, 'p> {
    pub(super) session: &'s mut Session,
    pub(super) sent: Vec<Answer<'p>>,
    joined: Joined<'p>,
}

impl<'s, 'p> Writes<'s, 'p> {
    pub(super) fn new(session: &'s mut Session) -> Writes<'s, 'p> {
        Writes { session, sent: Vec::new(), joined: Joined::default() }
    }

    pub(super) async fn put(&mut self, sql: &str, params: Vec<Param<'p>>) -> Result<(), Error> {
        let answer = self.session.ask(sql, params).await?;
        self.sent.push(answer);
        Ok(())
    }

    /// Leaves a statement for `put_joined`: one that most commits have, on rows that no other of them writes or reads.
    pub(super) fn join(&mut self, sql: &str, params: Vec<Param<'p>>) {
        self.joined.add(sql, params);
    }

    /// Sends all that was joined as one statement: the server answers each by itself, which costs both sides more than a few rows do.
    /// Of its parts the first is carried out last (seen on PostgreSQL 15; only how long its locks are held depends on it).
    pub(super) async fn put_joined(&mut self) -> Result<(), Error> {
        if self.joined.params.is_empty() {
            return Ok(());
        }
        let (sql, params) = self.take_joined("SELECT WHERE FALSE", Vec::new());
        self.put(&sql, params).await
    }

    /// What was joined, as one statement that ends in `last`, which names the first part w0.
    pub(super) fn take_joined(&mut self, last: &str, params: Vec<Param<'p>>) -> (String, Vec<Param<'p>>) {
        let mut joined = std::mem::take(&mut self.joined);
        joined.sql += " ";
        joined.append(last, params);
        (joined.sql, joined.params)
    }
}

#[derive(Default)]
struct Joined<'p> {
    sql: String,
    params: Vec<Param<'p>>,
}

impl<'p> Joined<'p> {
    fn add(&mut self, sql: &str, params: Vec<Param<'p>>) {
        let before = self.params.len();
        self.sql += if before == 0 { "WITH " } else { ", " };
        self.sql += &format!("w{before} AS (");
        self.append(sql, params);
        self.sql += ")";
    }

    /// Its values are counted on from those there are.
    fn append(&mut self, sql: &str, params: Vec<Param<'p>>) {
        let before = self.params.len();
        let mut pieces = sql.split('$');
        self.sql += pieces.next().unwrap_or_default();
        for piece in pieces {
            let (number, rest) = piece.split_at(piece.bytes().take_while(u8::is_ascii_digit).count());
            let number: usize = number.parse().expect("a value's place is a number");
            self.sql += &format!("${}{rest}", before + number);
        }
        self.params.extend(params);
    }
}

/// Whether the server refused a statement, and its connection with it all that the transaction did. Otherwise nobody knows.
pub(super) fn refused(error: &Error) -> bool {
    error.as_db_error().is_some_and(|e| e.parsed_severity() == Some(Severity::Error))
}

/// Whether a plain round was refused because it does not fit, rather than for want of anything.
pub(super) fn did_not_fit(error: &Error) -> bool {
    refused(error) && matches!(error.code(), Some(&SqlState::DIVISION_BY_ZERO | &SqlState::UNIQUE_VIOLATION))
}

impl From<Error> for StoreError {
    fn from(e: Error) -> Self {
        let Some(db) = e.as_db_error() else { return StoreError::Unavailable(e.to_string()) };
        match &db.code().code()[..2] {
            _ if *db.code() == SqlState::UNIQUE_VIOLATION => StoreError::Taken("a unique value"),
            // Data the columns cannot hold, or must not: it will not be taken later either.
            "22" | "23" => StoreError::Broken(db.message().to_owned()),
            _ => StoreError::Unavailable(db.message().to_owned()),
        }
    }
}
