//! The harness itself: databases are real, empty, and apart from one another.

use carillon_store::testing::TestPostgres;
use sqlx::{Connection, Executor, PgConnection};

#[tokio::test]
async fn each_test_gets_a_database_of_its_own() {
    let (one, other) = (TestPostgres::start().fresh_database().await, TestPostgres::start().fresh_database().await);
    assert_ne!(one, other);
    let mut connection = PgConnection::connect(&one).await.unwrap();
    connection.execute("CREATE TABLE mine (id BIGINT)").await.unwrap();
    let mut connection = PgConnection::connect(&other).await.unwrap();
    let missing = connection.execute("SELECT id FROM mine").await.unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
}
