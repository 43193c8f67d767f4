//! What SQLite is told of its tables. Without numbers it takes an account for a handful of rows, and would rather look through all of them than use
//! an index that names what is looked for. ANALYZE would have to be run again and again, and on a young file tell the same; so each index gets
//! numbers of a large account, once, by its shape alone: the account says nothing, each further column something, all of a unique index one row.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use crate::StoreError;

/// Rows of `sqlite_stat1` by the shape of each index: rows in all, then rows that are alike in its first column, its first two, and so on
/// (<https://sqlite.org/fileformat2.html#stat1tab>). What a partial index holds is little. There may be many accounts all the same: none of them is
/// to be tried one by one.
const WANTED: &str = "
SELECT t.name AS tbl, CASE WHEN i.origin = 'pk' AND t.wr THEN t.name ELSE i.name END AS idx, (
  SELECT i.total || group_concat(CASE
    WHEN c.seqno = 0 AND c.name = 'account_no' THEN ' ' || i.total
    WHEN c.seqno = i.width - 1 THEN CASE WHEN i.one THEN ' 1' ELSE ' 10' END
    WHEN c.seqno = 0 THEN ' 100'
    ELSE ' ' || CAST(1000 / (c.seqno * c.seqno * c.seqno) AS INTEGER) END, '') || ' noskipscan'
  FROM (SELECT seqno, name FROM pragma_index_xinfo(i.name) WHERE key ORDER BY seqno) c) AS stat
FROM pragma_table_list t
JOIN (SELECT l.name AS tbl, x.name, x.origin, x.\"unique\" AS one, CASE WHEN x.partial THEN 10000 ELSE 1000000 END AS total,
        (SELECT COUNT(*) FROM pragma_index_xinfo(x.name) WHERE key) AS width
      FROM pragma_table_list l, pragma_index_list(l.name) x) i ON i.tbl = t.name
WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite%'";

/// Writes these numbers down, if others are there. After the migrations, and before anybody reads.
pub(crate) async fn assume_large(writer: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let tx: &mut SqliteConnection = &mut transaction;
    // Makes the tables of statistics where they are missing.
    sqlx::query("ANALYZE routing_version").execute(&mut *tx).await?;
    let others = format!(
        "SELECT EXISTS (SELECT * FROM ({WANTED}) EXCEPT SELECT tbl, idx, stat FROM sqlite_stat1) \
         OR (SELECT COUNT(*) FROM sqlite_stat1) <> (SELECT COUNT(*) FROM ({WANTED}))"
    );
    let (others,): (bool,) = sqlx::query_as(crate::db::built(others)).fetch_one(&mut *tx).await?;
    if others {
        sqlx::query("DELETE FROM sqlite_stat1").execute(&mut *tx).await?;
        sqlx::query("DELETE FROM sqlite_stat4").execute(&mut *tx).await?;
        let insert = format!("INSERT INTO sqlite_stat1 (tbl, idx, stat) {WANTED}");
        sqlx::query(crate::db::built(insert)).execute(&mut *tx).await?;
    }
    transaction.commit().await?;
    // This connection knew the tables before.
    sqlx::query("ANALYZE sqlite_schema").execute(writer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Db;

    /// Statements whose plans were wrong without numbers, and how they find what they look for.
    #[tokio::test]
    async fn an_account_is_never_looked_through_for_one_of_its_rows() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let rows = [
            (
                "UPDATE contact SET changed_at = 1 WHERE account_no = 1 AND phone_tag IN (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)",
                "INDEX contact_phone (account_no=? AND phone_tag=?)",
            ),
            (
                "SELECT * FROM contact WHERE account_no = 1 AND id > x'00' AND name_key >= 'a' AND name_key < 'b' ORDER BY id LIMIT 50",
                "INDEX contact_name (account_no=? AND name_key>? AND name_key<?)",
            ),
            (
                "SELECT id FROM message WHERE account_no = 1 AND phone_tag = 2 AND (flags & 8192) <> 0 AND id < x'ff' AND id > x'00' ORDER BY id DESC LIMIT 1",
                "INDEX message_of_conversation (account_no=? AND phone_tag=? AND id>? AND id<?)",
            ),
            (
                "UPDATE drip_enrollment SET next_at = 1 WHERE account_no = 1 AND wave = x'01' AND reason IS NULL",
                "INDEX drip_enrollment_wave (account_no=? AND wave=?)",
            ),
            ("SELECT account_no FROM membership WHERE user_id = x'01'", "INDEX membership_user (user_id=?)"),
            (
                "SELECT 1 FROM drip_enrollment WHERE account_no = 1 AND phone_tag = 2 AND reason IS NULL LIMIT 1",
                "INDEX drip_enrollment_in (account_no=? AND phone_tag=?)",
            ),
        ];
        for opened in ["new", "again"] {
            let db = Db::open(&url).await.expect("it opens");
            db.migrate().await.expect("it migrates");
            let Db::Sqlite(file) = &db else { panic!("a SQLite file was opened") };
            for pool in [&file.readers, &file.writer] {
                for (statement, expected) in rows {
                    let explain = format!("EXPLAIN QUERY PLAN {statement}");
                    let plan: Vec<(i64, i64, i64, String)> =
                        sqlx::query_as(crate::db::built(explain)).fetch_all(pool).await.expect("it is explained");
                    let plan = plan.into_iter().map(|(_, _, _, step)| step).collect::<Vec<_>>().join("; ");
                    assert!(plan.contains(expected), "{opened}: {plan}");
                }
            }
            db.close().await;
        }
    }
}
