//! Databases of somebody else's, read by a saved query: what comes, and what is stopped. The queries here are a customer's, good and bad.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::time::Duration;

use carillon_domain::id::{AccountNo, SourceId};
use carillon_store::StoreError;
use carillon_store::source::{self, Question, Source, Tls, Unread, mysql, postgres};
use carillon_store::testing::{TestPostgres, both};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::net::TcpStream;

const A: AccountNo = AccountNo(1);
const B: AccountNo = AccountNo(2);
const NOW: i64 = 1_795_262_400_000;

/// A database with people, a function that writes, and its URL.
async fn theirs() -> String {
    let url = TestPostgres::start().fresh_database().await;
    let mut c = PgConnection::connect(&url).await.unwrap();
    c.execute(
        "CREATE TABLE lead (phone TEXT, name TEXT, age INTEGER, born DATE, course TEXT);
         INSERT INTO lead VALUES ('+4915112345671', 'Ada', 36, '1815-12-10', 'rust'), ('+4915112345672', NULL, 40, NULL, 'go');
         CREATE FUNCTION sneak() RETURNS INTEGER LANGUAGE SQL AS 'INSERT INTO lead VALUES (''x'') RETURNING 1';",
    )
    .await
    .unwrap();
    c.close().await.unwrap();
    url
}

struct Asking<'a> {
    query: &'a str,
    parameters: &'a [Option<String>],
    rows: usize,
    octets_max: usize,
    tls: Tls,
    time: Duration,
}

impl Asking<'_> {
    /// Of `…://user:password@address/database`; rows as JSON.
    async fn ask(&self, url: &str) -> Result<Vec<String>, Unread> {
        let (kind, rest) = url.split_once("://").unwrap();
        let (user, rest) = rest.rsplit_once('@').unwrap();
        let (user, password) = user.split_once(':').map_or((user, None), |(user, word)| (user, Some(word.as_bytes())));
        let (address, database) = rest.split_once('/').unwrap();
        let question = Question {
            host: "127.0.0.1",
            port: address.rsplit_once(':').unwrap().1.parse().unwrap(),
            database,
            user,
            password,
            tls: self.tls,
            authority: None,
            query: self.query,
            parameters: self.parameters,
            rows_max: 5,
            rows: self.rows,
            octets_max: self.octets_max,
            time: self.time,
        };
        let rows = match kind {
            "mysql" => mysql::rows(&["127.0.0.1".parse().unwrap()], &question).await?,
            _ => postgres::rows(TcpStream::connect(address).await.unwrap(), &question).await?,
        };
        Ok(rows.into_iter().map(|row| serde_json::Value::Object(row).to_string()).collect())
    }
}

fn asking(query: &str) -> Asking<'_> {
    Asking {
        query,
        parameters: &[],
        rows: usize::MAX,
        octets_max: 100_000,
        tls: Tls::Off,
        time: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn what_can_be_read() {
    let url = theirs().await;
    let whole = asking("SELECT * FROM lead ORDER BY age; ").ask(&url).await.unwrap();
    assert_eq!(
        whole,
        [
            r#"{"age":36,"born":"1815-12-10","course":"rust","name":"Ada","phone":"+4915112345671"}"#,
            r#"{"age":40,"born":null,"course":"go","name":null,"phone":"+4915112345672"}"#
        ]
    );
    // Parameters of any type are bound, whatever is written in them.
    for (query, parameters, expected) in [
        ("SELECT phone FROM lead WHERE age > $1 AND course = $2", vec![Some("39"), Some("go")], Ok(1)),
        ("SELECT phone FROM lead WHERE born < $1 -- ends with a remark", vec![Some("1900-01-01")], Ok(1)),
        ("SELECT phone FROM lead WHERE course = $1", vec![Some("' OR '1'='1")], Ok(0)),
        ("SELECT phone FROM lead WHERE course = $1", vec![None], Ok(0)),
        (
            "SELECT phone FROM lead WHERE age = $1",
            vec![Some("1 OR 1=1")],
            Err("the database says: invalid input syntax for type integer: \"1 OR 1=1\""),
        ),
        (
            "SELECT phone FROM lead WHERE age = $1",
            vec![],
            Err("the database says: the query has 1 parameters, and 0 are given"),
        ),
        ("WITH old AS (SELECT * FROM lead) SELECT phone FROM old", vec![], Ok(2)),
    ] {
        let parameters: Vec<_> = parameters.into_iter().map(|p| p.map(str::to_owned)).collect();
        let found = Asking { parameters: &parameters, ..asking(query) }.ask(&url).await;
        assert_eq!(found.map(|rows| rows.len()).map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{query}");
    }
    let few = Asking { rows: 1, ..asking("SELECT * FROM generate_series(1, 1000) n") }.ask(&url).await.unwrap();
    assert_eq!(few, [r#"{"n":1}"#], "a test looks at the first");
}

#[tokio::test]
async fn what_is_stopped() {
    let url = theirs().await;
    let read_only = "cannot execute INSERT in a read-only transaction";
    for (query, says) in [
        ("INSERT INTO lead VALUES ('x')", "syntax error"),
        ("DELETE FROM lead RETURNING phone", "syntax error"),
        ("WITH gone AS (DELETE FROM lead RETURNING phone) SELECT * FROM gone", "must be at the top level"),
        ("SELECT sneak()", read_only),
        ("SELECT set_config('transaction_read_only', 'off', true), sneak()", "must be set before any query"),
        ("SELECT set_config('default_transaction_read_only', 'off', false), sneak()", read_only),
        ("SELECT 1; DROP TABLE lead", "syntax error"),
        ("SELECT 1) source; DROP TABLE lead; SELECT (1", "cannot insert multiple commands"),
        ("SELECT nextval('missing')", "does not exist"),
        ("SELECT nobody FROM lead", "column \"nobody\" does not exist"),
        ("COMMIT", "syntax error"),
        ("", "syntax error"),
    ] {
        let refused = asking(query).ask(&url).await.unwrap_err();
        assert!(matches!(&refused, Unread::Refused(why) if why.contains(says)), "{query}: {refused}");
    }
    assert_eq!(asking("SELECT * FROM lead").ask(&url).await.unwrap().len(), 2, "and nothing was written");
    for (query, expected) in [
        ("SELECT * FROM generate_series(1, 5) n", Ok(5)),
        ("SELECT * FROM generate_series(1, 6) n", Err(Unread::Rows(5))),
        ("SELECT repeat('x', 1000000) AS wide", Err(Unread::Octets(100_000))),
    ] {
        assert_eq!(asking(query).ask(&url).await.map(|rows| rows.len()), expected, "{query}");
    }
    // What lifts the database's own limit is ended by ours.
    for query in ["SELECT pg_sleep(600)", "SELECT set_config('statement_timeout', '0', false), pg_sleep(600)"] {
        let endless = Asking { time: Duration::from_secs(1), ..asking(query) };
        assert_eq!(endless.ask(&url).await, Err(Unread::Time(1)), "{query}");
    }
    let refused = Asking { tls: Tls::Verify, ..asking("SELECT 1") }.ask(&url).await;
    assert!(matches!(refused, Err(Unread::Connection(_))), "a server without TLS: {refused:?}");
}

/// On a MySQL or MariaDB that has the same table and function as `theirs`: `mysql://user:password@127.0.0.1:port/database`.
#[tokio::test]
#[ignore = "needs a MySQL: name it in CARILLON_TEST_MYSQL, see docs/TESTING.md"]
async fn a_mysql_is_read_and_stopped_alike() {
    let url = std::env::var("CARILLON_TEST_MYSQL").unwrap();
    let whole = asking("SELECT * FROM lead WHERE age > 0 ORDER BY age; ").ask(&url).await.unwrap();
    assert!(
        whole.contains(
            &r#"{"age":36,"born":"1815-12-10","course":"rust","name":"Ada","phone":"+4915112345671"}"#.to_owned()
        ),
        "{whole:?}"
    );
    for (query, parameters, expected) in [
        ("SELECT phone FROM lead WHERE age > ? AND course = ?", vec![Some("39"), Some("go")], Ok(1)),
        ("SELECT phone FROM lead WHERE born < ? -- ends with a remark", vec![Some("1900-01-01")], Ok(1)),
        ("SELECT phone FROM lead WHERE course = ?", vec![Some("' OR '1'='1")], Ok(0)),
        ("SELECT phone FROM lead WHERE course = ?", vec![None], Ok(0)),
        (
            "SELECT phone FROM lead WHERE age = ?",
            vec![],
            Err("the database says: the query has 1 parameters, and 0 are given"),
        ),
    ] {
        let parameters: Vec<_> = parameters.into_iter().map(|p| p.map(str::to_owned)).collect();
        let found = Asking { parameters: &parameters, ..asking(query) }.ask(&url).await;
        assert_eq!(found.map(|rows| rows.len()).map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{query}");
    }
    for (query, says) in [
        ("INSERT INTO lead (phone) VALUES ('x')", "SQL syntax"),
        ("DELETE FROM lead", "SQL syntax"),
        ("SELECT sneak()", "READ ONLY transaction"),
        ("SELECT 1; DROP TABLE lead", "SQL syntax"),
        ("SELECT 1) source; DROP TABLE lead; SELECT (1", "SQL syntax"),
        ("SELECT * FROM lead INTO OUTFILE '/tmp/x'", "SQL syntax"),
        ("COMMIT", "SQL syntax"),
        ("SELECT nobody FROM lead", "Unknown column 'nobody'"),
    ] {
        let refused = asking(query).ask(&url).await.unwrap_err();
        assert!(matches!(&refused, Unread::Refused(why) if why.contains(says)), "{query}: {refused}");
    }
    let many = "SELECT a.n FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3) a, (SELECT 1 m UNION SELECT 2) b";
    assert_eq!(asking(many).ask(&url).await, Err(Unread::Rows(5)));
    assert_eq!(asking("SELECT REPEAT('x', 200000) w").ask(&url).await, Err(Unread::Octets(100_000)));
    let endless = Asking { time: Duration::from_secs(1), ..asking("SELECT SLEEP(600)") }.ask(&url).await;
    assert_eq!(endless, Err(Unread::Time(1)));
    let open = Asking { tls: Tls::Verify, ..asking("SELECT 1") }.ask(&url).await;
    assert!(matches!(open, Err(Unread::Connection(_))), "a server without a certificate of that name: {open:?}");
}

#[tokio::test]
async fn the_life_of_a_source() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let id = SourceId::new(NOW, 1, A);
        let kept = Source {
            id,
            name: "Leads".into(),
            settings: "{}".into(),
            secret: Some(vec![1, 2]),
            created_at: NOW,
            changed_at: NOW,
        };
        source::put(&db, A, &kept).await.unwrap();
        let changed = Source { secret: None, changed_at: NOW + 1, ..kept };
        source::put(&db, A, &changed).await.unwrap();
        assert!(source::by_id(&db, A, id).await.unwrap() == changed);
        assert_eq!(
            (source::list(&db, A, None, 9).await.unwrap().len(), source::list(&db, B, None, 9).await.unwrap().len()),
            (1, 0)
        );
        for _ in 0..2 {
            assert!(matches!(source::delete(&db, B, id).await, Err(StoreError::NotFound)));
        }
        source::delete(&db, A, id).await.unwrap();
        assert!(matches!(source::by_id(&db, A, id).await, Err(StoreError::NotFound)));
        db.close().await;
    }
}
