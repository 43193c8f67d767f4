//! How long a year of usage takes to read, on SQLite: a busy account's year is made, and three reports of it are timed.
//! `cargo run --release -p carillon-store --example usage_year [folder for the file]`

use std::path::Path;
use std::time::Instant;

use carillon_domain::id::AccountNo;
use carillon_domain::report::Dimension;
use carillon_store::Db;
use carillon_store::usage::{self, Filter};
use sqlx::Connection as _;

const DAYS: (i32, i32) = (20_000, 20_364);

/// Of each day, ten countries over three connections: accepted, eight classes of delivery time, and three reasons of failure. Two accounts, so
/// that there is something not to read.
const YEAR: &str = "
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 365 * 10 * 3 * 12 - 1)
    INSERT INTO usage_day (account_no, day, batch_id, country, connection_no, state, error_code, speed, messages, parts, captured)
    SELECT a.no, 20000 + i / 360, zeroblob(16), 17000 + i / 36 % 10,
           CASE WHEN i % 12 = 0 THEN 0 ELSE 1 + i / 12 % 3 END,
           CASE WHEN i % 12 = 0 THEN -1 WHEN i % 12 < 9 THEN 3 ELSE 5 END,
           CASE WHEN i % 12 < 9 THEN 0 ELSE 100 + i % 12 END,
           CASE WHEN i % 12 BETWEEN 1 AND 8 THEN 6 + i % 12 ELSE -1 END, 100, 120, 6000000
    FROM n CROSS JOIN (SELECT 1 AS no UNION SELECT 2) a WHERE TRUE ON CONFLICT DO NOTHING";

#[tokio::main(flavor = "current_thread")]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real time is what is measured, and the figures are for a terminal"
)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let file = Path::new(&folder).join("usage-year.db");
    let url = format!("sqlite:{}", file.display());
    let db = Db::open(&url).await?;
    db.migrate().await?;
    let mut connection = sqlx::SqliteConnection::connect(&url).await?;
    sqlx::query(YEAR).execute(&mut connection).await?;
    let (cells,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM usage_day WHERE account_no = 1").fetch_one(&mut connection).await?;
    println!("a year of {cells} cells");
    for by in [&[][..], &[Dimension::Day], &[Dimension::Country, Dimension::Status, Dimension::Error]] {
        let started = Instant::now();
        let groups = usage::totals(&db, AccountNo(1), DAYS, &Filter::default(), by).await?;
        let names: Vec<_> = by.iter().map(|dimension| dimension.as_str()).collect();
        let rows = groups.map_or(0, |groups| groups.len());
        println!("{:7.1} ms: {rows:4} rows by [{}]", started.elapsed().as_secs_f64() * 1e3, names.join(", "));
    }
    db.close().await;
    Ok(std::fs::remove_file(&file)?)
}
