//! Uploaded audiences: tables that are taken, and those that are refused whole.

use serde_json::json;

use crate::app::{Answer, TestApp};

async fn upload(t: &TestApp, key: &str, query: &str, body: &str) -> Answer {
    let request = t.request("POST", &format!("/v1/audience-files{query}")).bearer_auth(key);
    t.send(request.header("content-type", "text/csv").body(body.to_owned())).await
}

#[tokio::test]
async fn tables_that_are_taken_and_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let good = "+4915112345678";
    // query, table, rows, bad rows, variables
    for (query, table, rows, bad, variables) in [
        ("", format!("phone\n{good}\n"), 1, 0, json!([])),
        (
            "?name=Guests",
            format!("\u{feff}Phone,First Name,2nd\r\n{good},Ada,x\r\n"),
            1,
            0,
            json!(["first_name", "_2nd"]),
        ),
        ("?phone=Mobile", format!("name;mobile\n\"Ada;B\";{good}\n;nothing\n"), 2, 1, json!(["name"])),
        ("", format!("phone,name\n{good}\n+49151,x\n{good},y,z\n"), 3, 1, json!(["name"])),
    ] {
        let answer = upload(&t, &key, query, &table).await;
        assert_eq!(answer.status, 201, "{table}: {}", answer.text);
        let file = answer.json();
        assert_eq!(
            [&file["rows"], &file["bad"], &file["variables"]],
            [&json!(rows), &json!(bad), &variables],
            "{table}"
        );
    }
    let wide = (0..52).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    let long = format!("phone,name\n{good},{}\n", "x".repeat(1_001));
    for (query, table, status, code) in [
        ("", "", 400, "malformed_csv"),
        ("", "name\nAda\n", 400, "malformed_csv"),
        ("?phone=mobile", "phone\n+4915112345678\n", 400, "malformed_csv"),
        ("", "phone,name,Name\n+4915112345678,a,b\n", 400, "malformed_csv"),
        ("", "phone,\n+4915112345678,a\n", 400, "malformed_csv"),
        ("", "phone\nnobody\n", 400, "malformed_csv"),
        ("", "phone\n", 400, "malformed_csv"),
        ("", &wide, 400, "malformed_csv"),
        ("", &long, 400, "malformed_csv"),
        ("?name=", "phone\n+4915112345678\n", 400, "invalid_query"),
        ("?x=1", "phone\n+4915112345678\n", 400, "invalid_query"),
    ] {
        let answer = upload(&t, &key, query, table).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{query} {table}: {}", answer.text);
    }
    let request = t.request("POST", "/v1/audience-files").bearer_auth(&key).header("content-type", "application/json");
    assert_eq!(t.send(request.body("{}")).await.refusal(), (415, "unsupported_media_type".into()));
    assert_eq!(
        t.get("/v1/audience-files", &key).await.json()["data"].as_array().unwrap().len(),
        4,
        "none of the others"
    );
}

/// A page of rows is a thousand: of more none is lost.
#[tokio::test]
async fn a_table_of_many_pages() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let rows: String = (0..2_500).map(|i| format!("+49151{:08},n{i}\n", 10_000_000 + i % 2_400)).collect();
    let file = upload(&t, &key, "", &format!("phone,name\n{rows}")).await.json();
    assert_eq!(file["rows"], 2_500);
    let body = json!({"name": "a", "text": "Hi {{name}}", "audience": [{"file": file["id"]}]});
    let campaign = t.post("/v1/campaigns", &key, body).await.json();
    let path = format!("/v1/campaigns/{}/estimate", campaign["id"].as_str().unwrap());
    let estimate = t.call("POST", &path, &key, None).await.json();
    assert_eq!([&estimate["recipients"], &estimate["duplicates"]], [&json!(2_400), &json!(100)]);
}
