//! Of several processes on one PostgreSQL, the one that does what only one is to do at a time. It holds an advisory lock on a connection of its
//! own: the lock goes with the connection, however the process ends, and the next one to ask has it. A SQLite file has one process anyway.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::{Db, StoreError};

/// The lock's name within the database.
const NAME: i64 = 0x6361_7269_6C6C_6F6E;
/// A database that does not answer within this is taken for lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held by the one process.
#[derive(Debug)]
pub enum Lead {
    /// There is no other: the database is a file.
    Alone,
    /// Among several.
    Locked(Box<PgConnection>),
}

impl Lead {
    /// Takes the lead, unless another process has it.
    pub async fn take(db: &Db) -> Result<Option<Lead>, StoreError> {
        let Db::Postgres(pool) = db else { return Ok(Some(Lead::Alone)) };
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        // A machine that vanishes without a word is noticed in seconds, not in hours.
        let vanished = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";
        connection.execute(vanished).await?;
        let (mine,): (bool,) =
            sqlx::query_as("SELECT pg_try_advisory_lock($1)").bind(NAME).fetch_one(&mut connection).await?;
        if mine {
            return Ok(Some(Lead::Locked(Box::new(connection))));
        }
        connection.close().await?;
        Ok(None)
    }

    /// Whether it still has it. Once it has not, it does not get it back: take it anew.
    pub async fn holds(&mut self) -> bool {
        match self {
            Lead::Alone => true,
            Lead::Locked(connection) => {
                tokio::time::timeout(PATIENCE, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
            }
        }
    }

    /// Leaves it to the others, at once.
    pub async fn leave(self) {
        if let Lead::Locked(connection) = self {
            // If it is broken, the lock is gone already.
            let _ = tokio::time::timeout(PATIENCE, connection.close()).await;
        }
    }
}
