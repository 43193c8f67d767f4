//! A real PostgreSQL for tests: one private cluster for all of them, a fresh database for each that asks.
//! Only compiled with the feature `testing`, which nothing but dev-dependencies turns on.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::{Db, StoreError};

/// Names the cluster that `scripts/test` started for the whole run; without it each test process starts its own.
pub const CLUSTER_URL_VARIABLE: &str = "CARILLON_TEST_POSTGRES";

/// The script that starts a cluster and ends it once its stdin is closed.
const CLUSTER_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");

/// A PostgreSQL cluster that belongs to the tests of this process, or of the whole run.
#[derive(Debug)]
pub struct TestPostgres {
    /// Any database of the cluster; only used to create others.
    admin_url: String,
    /// Closed by the operating system when this process ends, however it ends; the script then stops the cluster.
    /// A destructor would not do: statics are never dropped.
    _lifeline: Option<ChildStdin>,
}

impl TestPostgres {
    /// The cluster of this process, started on first use (about a second) unless the run provides one.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: the message of the script says what to do.
    pub fn start() -> &'static TestPostgres {
        static CLUSTER: OnceLock<TestPostgres> = OnceLock::new();
        CLUSTER.get_or_init(|| match std::env::var(CLUSTER_URL_VARIABLE) {
            Ok(admin_url) => TestPostgres { admin_url, _lifeline: None },
            Err(_) => TestPostgres::private(),
        })
    }

    /// A cluster for this caller alone, which may crash it. It ends with its owner.
    ///
    /// # Panics
    /// As `start`.
    #[expect(clippy::zombie_processes, reason = "the script ends with this process, when its stdin closes")]
    pub fn private() -> TestPostgres {
        let mut script = Command::new(CLUSTER_SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {CLUSTER_SCRIPT}: {error}"));
        let mut url = String::new();
        BufReader::new(script.stdout.take().expect("stdout is piped above"))
            .read_line(&mut url)
            .expect("the script prints one line of UTF-8");
        assert!(!url.is_empty(), "no PostgreSQL for this test: see the message of scripts/postgres above");
        TestPostgres { admin_url: url.trim_end().to_owned(), _lifeline: script.stdin.take() }
    }

    /// Kills one of its processes: a crash of the whole server, which then recovers by itself.
    ///
    /// # Panics
    /// When the cluster does not answer.
    pub async fn crash(&self) {
        let mut connection = self.connect().await;
        let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
        let process: i32 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("every cluster has one");
        let sent = Command::new("kill").args(["-s", "KILL", &process.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the process is ours");
    }

    /// The URL of a new, empty database that no other test uses. It is gone with the cluster.
    ///
    /// # Panics
    /// When the cluster does not answer: `CARILLON_TEST_POSTGRES` names one that is no longer there.
    pub async fn fresh_database(&self) -> String {
        let (server, _) = self.admin_url.rsplit_once('/').expect("the URL of the cluster ends in /postgres");
        let name = format!("carillon_{}", uuid::Uuid::now_v7().simple());
        let mut connection = self.connect().await;
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .expect("the cluster has room for another database");
        connection.close().await.expect("the connection was just used");
        format!("{server}/{name}")
    }

    async fn connect(&self) -> sqlx::PgConnection {
        let options: sqlx::postgres::PgConnectOptions = self.admin_url.parse().expect("the script prints a valid URL");
        options.connect().await.unwrap_or_else(|error| {
            panic!("{} does not answer ({error}); unset {CLUSTER_URL_VARIABLE}?", self.admin_url)
        })
    }
}

/// From now on the embedded file takes no outcome of messages with that `client_ref`, as a defect of ours would have it.
pub async fn refuse_outcomes(db: &Db, client_ref: &str) -> Result<(), StoreError> {
    let Db::Sqlite(file) = db else { return Err(StoreError::Broken("only on the embedded file".into())) };
    let sql = format!(
        "CREATE TRIGGER poison BEFORE UPDATE ON message WHEN NEW.client_ref = '{client_ref}' BEGIN SELECT RAISE(ABORT, 'poison'); END"
    );
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.path().display())).await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(connection.close().await?)
}

/// A fresh database of each kind, migrated; the file's in a folder of the caller's.
///
/// # Panics
/// When one of them cannot be had.
pub async fn both(folder: &std::path::Path) -> [Db; 2] {
    let file = format!("sqlite:{}", folder.join("t.db").display());
    let mut both = Vec::new();
    for url in [file, TestPostgres::start().fresh_database().await] {
        let db = Db::open(&url).await.unwrap_or_else(|error| panic!("{url} does not open: {error}"));
        db.migrate().await.unwrap_or_else(|error| panic!("{url} is not migrated: {error}"));
        both.push(db);
    }
    both.try_into().expect("two were opened")
}

/// From now on (until `false`) the embedded file refuses messages of two parts, as a defect of ours would.
pub async fn refuse_two_parts(db: &Db, refuse: bool) -> Result<(), StoreError> {
    let Db::Sqlite(file) = db else { return Err(StoreError::Broken("only on the embedded file".into())) };
    let sql = match refuse {
        true => {
            "CREATE TRIGGER poison BEFORE INSERT ON message WHEN NEW.parts = 2 BEGIN SELECT RAISE(ABORT, 'poison'); END"
        }
        false => "DROP TRIGGER poison",
    };
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.path().display())).await?;
    connection.execute(sql).await?;
    Ok(connection.close().await?)
}
