//! The handle on either database, how it is opened and migrated, and the macros that run one SQL text on both.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::id::AccountNo;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Executor, FromRow};
use uuid::Uuid;

/// What can go wrong between us and the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing of that id belongs to that account.
    #[error("not found")]
    NotFound,
    /// A unique value is taken; the name is of the table or column.
    #[error("already taken: {0}")]
    Taken(&'static str),
    /// The database could not take the work now (locked, disk full, connection lost); nothing was changed.
    #[error("the database cannot take this now: {0}")]
    Unavailable(String),
    /// Its answer makes no sense to us; a defect or a foreign hand in the file.
    #[error("the database: {0}")]
    Broken(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> Self {
        match e {
            sqlx::Error::RowNotFound => StoreError::NotFound,
            sqlx::Error::Database(d) if d.is_unique_violation() => StoreError::Taken("a unique value"),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                StoreError::Broken(e.to_string())
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        match e.sqlite_error_code() {
            Some(
                C::DatabaseBusy | C::DatabaseLocked | C::DiskFull | C::CannotOpen | C::SystemIoFailure | C::ReadOnly,
            ) => StoreError::Unavailable(e.to_string()),
            _ => StoreError::Broken(e.to_string()),
        }
    }
}

/// Which of the two databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DbKind {
    /// Embedded.
    Sqlite,
    /// Scaled out.
    Postgres,
}

/// The SQLite file: readers of their own, one writer, and the gate every writer passes.
#[derive(Clone, Debug)]
pub struct Sqlite {
    pub(crate) readers: SqlitePool,
    pub(crate) writer: SqlitePool,
    /// Fair (first come, first served). Held by whoever has a write transaction open, the hot path's thread included.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
    pub(crate) path: PathBuf,
}

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// Embedded.
    Sqlite(Sqlite),
    /// Scaled out.
    Postgres(PgPool),
}

/// Runs a body that reads, once per database kind; `$c` is an executor. Boxed, as a query's future has some 4 kB: those who mostly find an answer in
/// memory, as every handler does for its caller, would carry and copy them each time.
macro_rules! read_db {
    ($db:expr, |$c:ident| $body:expr) => {
        match $db {
            $crate::Db::Sqlite(s) => {
                let $c = &s.readers;
                Box::pin(async { $body }).await
            }
            $crate::Db::Postgres(p) => {
                let $c = p;
                Box::pin(async { $body }).await
            }
        }
    };
}

/// Runs a body in one write transaction, once per database kind; `$tx` is a `&mut` connection (use `&mut *$tx`). A `?` inside rolls back.
macro_rules! write_db {
    ($db:expr, |$tx:ident| $body:block) => {
        match $db {
            $crate::Db::Sqlite(s) => {
                let _gate = s.gate.lock().await;
                let mut transaction = s.writer.begin_with("BEGIN IMMEDIATE").await?;
                let out = {
                    let $tx = &mut *transaction;
                    $body
                };
                transaction.commit().await?;
                out
            }
            $crate::Db::Postgres(p) => {
                let mut transaction = p.begin().await?;
                let out = {
                    let $tx = &mut *transaction;
                    $body
                };
                transaction.commit().await?;
                out
            }
        }
    };
}

/// Within `write_db!`, and first: counts a change of connections, routes and what belongs to them. On PostgreSQL the row's lock also makes
/// such changes wait for one another, so that numbers and limits are counted right.
macro_rules! routing_changed {
    ($tx:ident) => {
        sqlx::query("UPDATE routing_version SET version = version + 1").execute(&mut *$tx).await?
    };
}

/// A text put together from parts of ours alone (column lists); values are always bound.
pub(crate) fn built(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// `count` places of values, of which the first is number `first`.
pub(crate) fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    places.join(", ")
}

/// What a row of either database can be read as.
pub(crate) trait Stored: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<R> Stored for R where R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// The row of an account that has an id: `$1` and `$2` of the text.
pub(crate) async fn one<R: Stored>(db: &Db, text: String, account: AccountNo, id: Uuid) -> Result<R, StoreError> {
    Ok(read_db!(db, |c| sqlx::query_as(built(text)).bind(account.as_i64()).bind(id).fetch_one(c).await)?)
}

/// Up to `limit` (`$3`) rows of an account (`$1`) whose ids are before one (`$2`), or the newest.
pub(crate) async fn newest<R: Stored>(
    db: &Db,
    text: String,
    account: AccountNo,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<R>, StoreError> {
    Ok(read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(before.unwrap_or(Uuid::max()))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?)
}

/// Takes the row of an account (`$1`) that has an id (`$2`) away.
pub(crate) async fn delete_one(db: &Db, text: &'static str, account: AccountNo, id: Uuid) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query(text).bind(account.as_i64()).bind(id).execute(&mut *tx).await?.rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/postgres");

impl Db {
    /// Opens the database a URL names: `sqlite:PATH` (made if missing) or `postgres://…`.
    pub async fn open(url: &str) -> Result<Db, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Ok(Db::Sqlite(Sqlite::open(Path::new(path.trim_start_matches("//"))).await?))
        } else {
            // As long as a SQLite file is waited for: who waits for a lock without end would never hear that it is taken.
            let options =
                PgConnectOptions::from_str(url)?.options([("lock_timeout", "5s")]).disable_statement_logging();
            let pool = PgPoolOptions::new()
                .max_connections(16)
                .acquire_timeout(Duration::from_secs(10))
                .connect_with(options)
                .await?;
            Ok(Db::Postgres(pool))
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> DbKind {
        match self {
            Db::Sqlite(_) => DbKind::Sqlite,
            Db::Postgres(_) => DbKind::Postgres,
        }
    }

    /// Brings the schema up to this program's version.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let broken = |e: sqlx::migrate::MigrateError| StoreError::Broken(format!("migration: {e}"));
        match self {
            Db::Sqlite(s) => {
                let _gate = s.gate.lock().await;
                SQLITE_MIGRATIONS.run(&s.writer).await.map_err(broken)?;
                crate::statistics::assume_large(&s.writer).await
            }
            Db::Postgres(p) => POSTGRES_MIGRATIONS.run(p).await.map_err(broken),
        }
    }

    /// Answers when the database does; for `/ready`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        read_db!(self, |c| c.execute("SELECT 1").await.map(drop))?;
        Ok(())
    }

    /// Ends every connection once its work is done.
    pub async fn close(&self) {
        match self {
            Db::Sqlite(s) => {
                s.readers.close().await;
                s.writer.close().await;
            }
            Db::Postgres(p) => p.close().await,
        }
    }
}

impl Sqlite {
    async fn open(path: &Path) -> Result<Sqlite, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("wal_autocheckpoint", "0")
            .disable_statement_logging();
        // Imports and audiences of millions touch pages all over their indexes: 64 MB of them at hand.
        let writing = options.clone().pragma("cache_size", "-65536");
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(writing).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Sqlite { readers, writer, gate: Arc::new(tokio::sync::Mutex::new(())), path: path.to_owned() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
