//! Sources through the API: an account's own PostgreSQL and a program that answers with JSON, tried and sent to; what is refused, in words.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use carillon_store::testing::TestPostgres;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::contacts::made;
use crate::app::TestApp;

/// A customer's database: its URL cut into what a source names.
async fn theirs() -> Value {
    let url = TestPostgres::start().fresh_database().await;
    let mut c = PgConnection::connect(&url).await.unwrap();
    // In small letters: it is theirs.
    c.execute(
        "create table lead (mobile text, first text, town text, status text);
         insert into lead values ('+49 151 12345671', 'Ada', 'Bonn', 'new'), ('0151 12345672', 'Bob', null, 'new'),
         ('+4915112345671', 'Again', null, 'new'), ('+4915112345673', 'Cid', null, 'paid');
         create function sneak() returns text language sql as 'insert into lead values (''x'') returning mobile';",
    )
    .await
    .unwrap();
    c.close().await.unwrap();
    let (address, database) = url.rsplit_once('@').unwrap().1.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    json!({"host": host, "port": port.parse::<u16>().unwrap(), "database": database, "user": "carillon", "tls": "off",
        "query": "select * from lead where status = $1 order by first", "parameters": ["new"]})
}

fn columns() -> Value {
    json!({"phone": "mobile", "name": "first", "attributes": {"city": "town"}})
}

async fn tested(t: &TestApp, key: &str, id: &str) -> Value {
    let answer = t.post(&format!("/v1/sources/{id}/test"), key, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_database_of_their_own() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, stranger) = t.account("b").await;
    let body = json!({"name": "Leads", "postgres": theirs().await, "secret": "swordfish", "columns": columns()});
    let id = made(&t, &key, "/v1/sources", body.clone()).await;
    let path = format!("/v1/sources/{id}");
    let shown = t.get(&path, &key).await;
    assert!(!shown.text.contains("swordfish") && shown.json()["secret_set"] == true, "{}", shown.text);
    assert!(!t.get("/v1/sources", &key).await.text.contains("swordfish"));

    let found = tested(&t, &key, &id).await;
    assert_eq!((&found["ok"], &found["error"]), (&json!(true), &Value::Null), "{found}");
    let rows: Vec<_> = found["rows"].as_array().unwrap().iter().map(|r| (&r["phone"], &r["variables"])).collect();
    let ada = json!({"name": "Ada", "city": "Bonn"});
    assert_eq!(
        rows,
        [
            (&json!("+4915112345671"), &ada),
            (&json!("+4915112345671"), &json!({"name": "Again"})),
            (&json!("0151 12345672"), &json!({"name": "Bob"}))
        ]
    );
    assert!(found["rows"][2]["problem"].is_string(), "a number without its country: {found}");

    let text = "Hi {{name}} from {{city|default(\"somewhere\")}}";
    let batch = json!({"to": [{"source": id, "variables": {"name": "you"}}], "text": text, "partial": true});
    let sent = t.post("/v1/batches", &key, batch).await;
    assert_eq!((sent.status, &sent.json()["total"]), (202, &json!(1)), "{}", sent.text);
    assert_eq!(sent.json()["refusals"], json!([{"index": 0, "code": "phone_missing_country"}]));
    let messages = t.get(&format!("/v1/batches/{}/messages", sent.json()["id"].as_str().unwrap()), &key).await.json();
    assert_eq!(messages["data"][0]["text"], "Hi you from Bonn");
    let whole = t.post("/v1/batches", &key, json!({"to": [{"source": id}], "text": "hi"})).await.json();
    assert_eq!(whole["errors"][0]["pointer"], "#/to/0/source");
    assert!(whole["errors"][0]["detail"].as_str().unwrap().starts_with("row 3: "), "{whole}");
    assert_eq!(t.get("/v1/contacts", &key).await.json()["data"], json!([]), "no row of theirs was kept");
    let theirs = t.post("/v1/batches", &stranger, json!({"to": [{"source": id}], "text": "hi"})).await.json();
    assert_eq!(theirs["errors"][0]["code"], "not_found");

    // What goes wrong is said in words, where it is tried and where it is sent to.
    let query = |query: &str| {
        let mut of = body["postgres"].clone();
        of["query"] = json!(query);
        of["parameters"] = json!([]);
        json!({ "postgres": of })
    };
    for (change, says) in [
        (query("select sneak() as mobile, '' as first, '' as town"), "read-only transaction"),
        (query("insert into lead values ('x')"), "syntax error"),
        (query("select mobile, first from lead"), "there is no column `town`; there are: first, mobile"),
        (query("select * from nothing"), "relation \"nothing\" does not exist"),
        (query("select mobile, first, town, pg_sleep(60) from lead"), "no answer within 1 seconds"),
    ] {
        let mut change = change;
        change["timeout_s"] = json!(1);
        let changed = t.call("PATCH", &path, &key, Some(change.clone())).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let found = tested(&t, &key, &id).await;
        let error = found["error"].as_str().unwrap_or_default();
        assert!(found["ok"] == false && error.contains(says), "{change}: {found}");
        let sent = t.post("/v1/batches", &key, json!({"to": [{"source": id}], "text": "hi"})).await;
        assert_eq!(sent.refusal(), (502, "source_failed".into()), "{}", sent.text);
        assert!(sent.json()["errors"][0]["detail"].as_str().unwrap().contains(says));
    }
    let many = json!({"rows_max": 2, "timeout_s": 30, "postgres": body["postgres"]});
    assert_eq!(t.call("PATCH", &path, &key, Some(many)).await.status, 200);
    let sent = t.post("/v1/batches", &key, json!({"to": [{"source": id}], "text": "hi"})).await.json();
    assert!(sent["errors"][0]["detail"].as_str().unwrap().contains("more than 2 rows"), "{sent}");

    // The secret goes nowhere else.
    let mut elsewhere = body["postgres"].clone();
    elsewhere["host"] = json!("db.example.com");
    let moved = t.call("PATCH", &path, &key, Some(json!({ "postgres": elsewhere }))).await.json();
    assert_eq!(moved["errors"][0]["pointer"], "#/secret", "{moved}");
    let moved = t.call("PATCH", &path, &key, Some(json!({"postgres": elsewhere, "secret": null}))).await.json();
    assert_eq!((&moved["secret_set"], &moved["postgres"]["host"]), (&json!(false), &json!("db.example.com")));
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
}

#[tokio::test]
async fn a_program_that_answers_with_json() {
    async fn leads(headers: HeaderMap) -> (StatusCode, String) {
        match headers.get("authorization").and_then(|v| v.to_str().ok()) {
            Some("Bearer open") => (StatusCode::OK, r#"{"data": [{"tel": "+4915112345671", "n": 7}]}"#.into()),
            _ => (StatusCode::UNAUTHORIZED, "{}".into()),
        }
    }
    let router = Router::new()
        .route("/leads", get(leads))
        .route("/page", get(async || "<html>"))
        .route("/long", get(async || "[".to_owned() + &"{},".repeat(6_000_000) + "{}]"))
        .route("/away", get(async || axum::response::Redirect::to("/leads")))
        .route("/never", get(std::future::pending::<String>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let body = |path: &str, secret: &str, at: &str| {
        json!({"name": "CRM", "http": {"url": format!("{base}{path}"), "rows_at": at}, "secret": secret, "timeout_s": 1,
            "columns": {"phone": "tel", "attributes": {"points": "n"}}})
    };
    let mut good = body("/leads", "Bearer open", "/data");
    good["timeout_s"] = json!(30);
    let id = made(&t, &key, "/v1/sources", good).await;
    let found = tested(&t, &key, &id).await;
    assert_eq!(found["rows"], json!([{"phone": "+4915112345671", "problem": null, "variables": {"points": "7"}}]));
    let sent = t.post("/v1/batches", &key, json!({"to": [{"source": id}], "text": "You have {{points}}"})).await;
    assert_eq!((sent.status, &sent.json()["total"]), (202, &json!(1)), "{}", sent.text);
    for (path, secret, at, says) in [
        ("/leads", "Bearer shut", "/data", "the server answered 401"),
        ("/leads", "Bearer open", "", "the answer is not an array"),
        ("/page", "x", "", "the answer is not JSON"),
        ("/away", "x", "", "the server answered 303"),
        ("/never", "x", "", "no answer in time"),
        ("/nothing", "x", "", "the server answered 404"),
    ] {
        let id = made(&t, &key, "/v1/sources", body(path, secret, at)).await;
        let found = tested(&t, &key, &id).await;
        assert!(found["error"].as_str().unwrap_or_default().contains(says), "{path}: {found}");
    }
    let mut long = body("/long", "x", "");
    long["timeout_s"] = json!(60);
    let id = made(&t, &key, "/v1/sources", long).await;
    let found = tested(&t, &key, &id).await;
    assert_eq!(found["error"], "the answer is longer than 16777216 octets");
}

/// Without the operator's leave nothing inside the network is gone to, neither by its address nor by a name that leads there.
#[tokio::test]
async fn addresses_inside_the_network_are_refused() {
    let t = TestApp::with(|c| c.webhooks.allow_private = false).await;
    let (_, key) = t.account("a").await;
    let mut of = theirs().await;
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "::1", "169.254.169.254"] {
        of["host"] = json!(host);
        let id = made(&t, &key, "/v1/sources", json!({"name": "x", "postgres": of, "columns": columns()})).await;
        let found = tested(&t, &key, &id).await;
        let says = found["error"].as_str().unwrap_or_default();
        assert!(says.contains("not on the public internet"), "{host}: {found}");
    }
    let inside = json!({"name": "x", "http": {"url": "http://127.0.0.1/leads"}, "columns": columns()});
    let refused = t.post("/v1/sources", &key, inside).await.json();
    assert_eq!(refused["errors"][0]["pointer"], "#/http/url");
}

/// Members of a good source replaced, and where that is refused.
#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let good = json!({"name": "x", "columns": {"phone": "p"}, "postgres": {"host": "db.example.com", "database": "d", "user": "u",
        "query": "select 1"}});
    let in_postgres = |member: &str, value: Value| {
        let mut of = good["postgres"].clone();
        of[member] = value;
        json!({ "postgres": of })
    };
    let rows = [
        (json!({"name": ""}), "#/name", "too_short"),
        (json!({"postgres": null}), "#/postgres", "missing_field"),
        (json!({"http": {"url": "https://example.com"}}), "#", "conflicting_fields"),
        (json!({"columns": {}}), "#/columns/phone", "missing_field"),
        (json!({"columns": {"phone": " "}}), "#/columns/phone", "too_short"),
        (
            json!({"columns": {"phone": "p", "attributes": {"Shoe size": "s"}}}),
            "#/columns/attributes/Shoe size",
            "invalid_value",
        ),
        (
            json!({"columns": {"phone": "p", "attributes": {"phone": "s"}}}),
            "#/columns/attributes/phone",
            "invalid_value",
        ),
        (json!({"timeout_s": 0}), "#/timeout_s", "invalid_value"),
        (json!({"timeout_s": 61}), "#/timeout_s", "invalid_value"),
        (json!({"rows_max": 100_001}), "#/rows_max", "invalid_value"),
        (json!({"secret": ""}), "#/secret", "too_short"),
        (json!({"password": "x"}), "#/password", "unknown_field"),
        (json!({"mysql": good["postgres"]}), "#", "conflicting_fields"),
        (
            json!({"postgres": null, "mysql": {"host": "h", "database": "d", "user": "u", "query": ""}}),
            "#/mysql/query",
            "too_short",
        ),
        (in_postgres("host", json!("a\nb")), "#/postgres/host", "invalid_value"),
        (in_postgres("port", json!(0)), "#/postgres/port", "invalid_value"),
        (in_postgres("port", json!(65_536)), "#/postgres/port", "invalid_value"),
        (in_postgres("query", json!(" ")), "#/postgres/query", "too_short"),
        (in_postgres("query", json!("x".repeat(10_001))), "#/postgres/query", "too_long"),
        (in_postgres("tls", json!("maybe")), "#/postgres/tls", "invalid_value"),
        (in_postgres("ca", json!("/etc/passwd")), "#/postgres/ca", "invalid_value"),
        (in_postgres("parameters", json!(vec!["x"; 21])), "#/postgres/parameters", "too_long"),
        (in_postgres("parameters", json!(["a\u{0}"])), "#/postgres/parameters/0", "invalid_value"),
        (in_postgres("sslmode", json!("disable")), "#/postgres/sslmode", "unknown_field"),
        (json!({"postgres": null, "http": {"url": "ftp://example.com"}}), "#/http/url", "invalid_value"),
        (json!({"postgres": null, "http": {"url": "https://a:b@example.com"}}), "#/http/url", "invalid_value"),
        (
            json!({"postgres": null, "http": {"url": "https://example.com", "rows_at": "data"}}),
            "#/http/rows_at",
            "invalid_value",
        ),
        (
            json!({"postgres": null, "http": {"url": "https://example.com"}, "secret": "a\nb"}),
            "#/secret",
            "invalid_value",
        ),
    ];
    for (members, pointer, code) in rows {
        let mut body = good.clone();
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = t.post("/v1/sources", &key, body).await;
        let first = &answer.json()["errors"][0];
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{members}: {}",
            answer.text
        );
    }
    assert_eq!(t.get("/v1/sources", &key).await.json()["data"], json!([]));
}
