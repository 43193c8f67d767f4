//! Tables of contacts over the wire: uploaded in the encodings spreadsheets write, looked at, taken in, with every bad row told.

use carillon::imports;
use carillon_domain::permission::{Scope, Scopes};
use serde_json::{Value, json};

use super::contacts::made;
use crate::app::{Answer, TestApp};

async fn stage() -> (TestApp, String) {
    let t = TestApp::start().await;
    imports::start(&t.app);
    let (_, key) = t.account("a").await;
    (t, key)
}

async fn send(t: &TestApp, key: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = t.request("POST", "/v1/contact-imports").bearer_auth(key).header("content-type", "text/csv");
    t.send(request.body(body)).await
}

async fn uploaded(t: &TestApp, key: &str, body: impl Into<reqwest::Body>) -> String {
    let answer = send(t, key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    format!("/v1/contact-imports/{}", answer.json()["id"].as_str().unwrap())
}

/// Starts it and waits for its end.
async fn taken(t: &TestApp, key: &str, path: &str, body: Value) -> Value {
    let started = t.post(&format!("{path}/start"), key, body).await;
    assert_eq!(started.status, 202, "{}", started.text);
    for _ in 0..2_000 {
        let import = t.get(path, key).await.json();
        if import["status"] != "running" {
            return import;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the import did not end in ten seconds");
}

#[tokio::test]
async fn from_a_file_to_contacts() {
    let (t, key) = stage().await;
    let group = made(&t, &key, "/v1/groups", json!({"name": "Autumn", "external_id": "au"})).await;
    let known =
        made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345679", "name": "Bob", "tags": ["old"]})).await;
    made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345600", "external_id": "c9"})).await;
    let text = "Mobile;Full name;City;Kunde;Group;Note\n\
        0151 12345678;Ada;Köln;c1;au;\n\
        +4915112345679;;Bonn;;;\n\
        +49015112345670;Cid;;;;\n\
        nobody;Dan;;;;\n\
        0151/12345678;Ada again;;;;\n\
        015112345671;\"two\nlines\";;;;\n\
        015112345672;Eve;;c9;;\n\
        015112345673;Fay;;;nowhere;\n\
        015112345674\n";
    let path = uploaded(&t, &key, text).await;
    let import = t.get(&path, &key).await.json();
    let file = json!({"size": text.len(), "charset": "utf-8", "delimiter": ";"});
    assert_eq!((&import["status"], &import["file"], &import["percent"]), (&json!("uploaded"), &file, &json!(0)));

    let preview = t.get(&format!("{path}/preview?default_country=DE"), &key).await.json();
    assert_eq!(preview["mapping"], json!({"Mobile": "phone", "Full name": "name", "Group": "group"}));
    assert_eq!(preview["columns"][2], json!({"name": "City", "suggested": null, "examples": ["Köln", "Bonn"]}));
    assert_eq!((&preview["rows"][0]["phone"], &preview["rows"][0]["line"]), (&json!("+4915112345678"), &json!(2)));
    assert_eq!(preview["rows"][2]["suggestion"], "+4915112345670");

    let body = json!({
        "mapping": {"Mobile": "phone", "Full name": "name", "City": "attribute:city", "Kunde": "external_id", "Group": "group"},
        "default_country": "DE", "tags": ["autumn"], "create_attributes": {"city": "text"}
    });
    let import = taken(&t, &key, &path, body).await;
    let rows = json!({"read": 9, "created": 2, "updated": 1, "unchanged": 0, "duplicates": 1, "bad": 5});
    assert_eq!(
        (&import["status"], &import["rows"], &import["percent"]),
        (&json!("finished"), &rows, &json!(100)),
        "{import}"
    );
    let bob = t.get(&format!("/v1/contacts/{known}"), &key).await.json();
    assert_eq!(
        (&bob["name"], &bob["tags"], &bob["attributes"]),
        (&json!("Bob"), &json!(["autumn", "old"]), &json!({"city": "Bonn"}))
    );
    let ada = t.get(&format!("/v1/contacts?group={group}"), &key).await.json()["data"].clone();
    assert_eq!(
        (ada.as_array().unwrap().len(), &ada[0]["name"], &ada[0]["external_id"]),
        (1, &json!("Ada"), &json!("c1"))
    );

    let report = t.get(&format!("{path}/errors"), &key).await;
    assert_eq!(report.headers["content-type"], "text/csv; charset=utf-8");
    let found: Vec<(String, String, String, String)> = csv_of(&report.text)
        .into_iter()
        .skip(1)
        .map(|r| (r[0].clone(), r[1].clone(), r[3].clone(), r[5].clone()))
        .collect();
    let expected = [
        ("4", "Mobile", "phone_trunk_prefix", "+4915112345670"),
        ("5", "Mobile", "phone_not_a_number", ""),
        ("6", "Mobile", "duplicate_recipient", ""),
        ("7", "Full name", "invalid_value", ""),
        ("9", "Kunde", "id_taken", ""),
        ("10", "Group", "not_found", ""),
    ];
    assert_eq!(found, expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned())));
    let again = t.post(&format!("{path}/start"), &key, json!({"mapping": {"Mobile": "phone"}})).await;
    assert_eq!(again.refusal(), (409, "import_not_waiting".into()));
    let list = t.get("/v1/contact-imports", &key).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

/// Rows of simple CSV with quotes.
fn csv_of(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    for c in text.chars() {
        let row = rows.last_mut().unwrap();
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\n' if !quoted => rows.push(vec![String::new()]),
            c => row.last_mut().unwrap().push(c),
        }
    }
    rows.retain(|row| row.len() > 1);
    rows
}

#[tokio::test]
async fn in_the_encodings_of_spreadsheets() {
    let (t, key) = stage().await;
    let text = "phone\tname\n+491511234567#\tZoë €5\n";
    let units = |text: &str| format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let ansi: Vec<u8> = text.chars().map(|c| if c == '€' { 0x80 } else { c as u8 }).collect();
    let files = [
        ("utf-8", text.as_bytes().to_vec()),
        ("utf-8", format!("\u{feff}{text}").into_bytes()),
        ("utf-16le", units(text)),
        ("windows-1252", ansi),
    ];
    for (n, (charset, octets)) in files.into_iter().enumerate() {
        let digit = char::from(b'0' + n as u8);
        let octets: Vec<u8> = octets.into_iter().map(|o| if o == b'#' { digit as u8 } else { o }).collect();
        let path = uploaded(&t, &key, octets).await;
        let import = taken(&t, &key, &path, json!({"mapping": {"phone": "phone", "name": "name"}})).await;
        assert_eq!((&import["file"]["charset"], &import["rows"]["created"]), (&json!(charset), &json!(1)), "{import}");
        let found = t.get(&format!("/v1/contacts?phone=%2B491511234567{digit}"), &key).await.json();
        assert_eq!(found["data"][0]["name"], "Zoë €5");
    }
}

/// What is exported can be imported, as it was; and every chunk of a longer file is.
#[tokio::test]
async fn what_goes_out_goes_in() {
    let (t, key) = stage().await;
    for (n, name) in [(1, "=1+1"), (2, "a \"b\", c")] {
        made(&t, &key, "/v1/contacts", json!({"phone": format!("+491511234567{n}"), "name": name, "tags": ["x", "y"]}))
            .await;
    }
    let export = t.get("/v1/contacts/export", &key).await.text;
    let (_, other) = t.account("b").await;
    let path = uploaded(&t, &other, export.clone()).await;
    let mapping = t.get(&format!("{path}/preview"), &other).await.json()["mapping"].clone();
    let import = taken(&t, &other, &path, json!({ "mapping": mapping })).await;
    assert_eq!((&import["rows"]["created"], &import["rows"]["bad"]), (&json!(2), &json!(0)), "{import}");
    let again = t.get("/v1/contacts/export", &other).await.text;
    let without_id = |text: &str| csv_of(text).into_iter().map(|row| row[1..].to_vec()).collect::<Vec<_>>();
    let (mut before, mut after) = (without_id(&export), without_id(&again));
    before.sort();
    after.sort();
    assert_eq!(before, after);

    let long: String = (0..1_700).map(|n| format!("+49151{:08}\n", 10_000_000 + n)).collect();
    let path = uploaded(&t, &other, format!("Handy\n{long}")).await;
    let import = taken(&t, &other, &path, json!({"mapping": {"Handy": "phone"}, "policy": "skip"})).await;
    assert_eq!((&import["rows"]["read"], &import["rows"]["created"]), (&json!(1_700), &json!(1_700)), "{import}");
    let path = uploaded(&t, &other, format!("Handy\n{long}")).await;
    let import = taken(&t, &other, &path, json!({"mapping": {"Handy": "phone"}})).await;
    assert_eq!((&import["rows"]["unchanged"], &import["rows"]["updated"]), (&json!(1_700), &json!(0)), "{import}");
}

#[tokio::test]
async fn a_file_that_breaks_off() {
    let (t, key) = stage().await;
    let endless = format!("phone,name\n+4915112345678,Ada\n+4915112345679,\"{}", "x\n".repeat(1_500_000));
    let path = uploaded(&t, &key, endless).await;
    let import = taken(&t, &key, &path, json!({"mapping": {"phone": "phone"}})).await;
    assert_eq!(
        (&import["status"], &import["rows"]["created"]),
        (&json!("failed"), &json!(1)),
        "what came before is taken"
    );
    assert_eq!(import["failure"], "line 3: a row of more than a megabyte; is a quote never closed?");
    let path = uploaded(&t, &key, "phone\n1\n").await;
    let canceled = t.post(&format!("{path}/cancel"), &key, json!({})).await;
    assert_eq!((canceled.status, &canceled.json()["status"]), (200, &json!("canceled")));
    assert_eq!(t.post(&format!("{path}/cancel"), &key, json!({})).await.refusal(), (409, "import_not_waiting".into()));
}

#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::with(|config| config.imports.file_max = 20_000).await;
    let (_, key) = t.account("a").await;
    for (body, refusal) in [
        (String::new(), (400, "malformed_csv")),
        ("\n\n".into(), (400, "malformed_csv")),
        (",".repeat(200), (400, "malformed_csv")),
        ("x\n".repeat(10_001), (413, "payload_too_large")),
    ] {
        assert_eq!(send(&t, &key, body).await.refusal(), (refusal.0, refusal.1.to_owned()));
    }
    let json = t.post("/v1/contact-imports", &key, json!({})).await;
    assert_eq!(json.refusal(), (415, "unsupported_media_type".into()));
    assert_eq!(t.get("/v1/contact-imports", &key).await.json()["data"], json!([]), "nothing is kept");
    let left = std::fs::read_dir(t.app.config.data.folder.join("imports")).unwrap().count();
    assert_eq!(left, 0, "no file either");

    super::contacts::declare(&t, &key, "age", "number").await;
    let path = uploaded(&t, &key, "phone,name,a/b,when\n1,2,3,4\n").await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"mapping": {"phone": "phone"}});
        body[member] = value;
        body
    };
    let rows = [
        (json!({}), "#/mapping", "missing_field"),
        (with("mapping", json!({"name": "name"})), "#/mapping", "missing_field"),
        (with("mapping", json!({"tel": "phone"})), "#/mapping/tel", "unknown_field"),
        (with("mapping", json!({"phone": "phone", "a/b": "nick"})), "#/mapping/a~1b", "invalid_value"),
        (with("mapping", json!({"phone": "phone", "name": "phone"})), "#/mapping/phone", "conflicting_fields"),
        (with("mapping", json!({"phone": "phone", "name": "attribute:city"})), "#/mapping/name", "unknown_field"),
        (with("mapping", json!({"phone": "phone", "when": "consent_at"})), "#/mapping", "missing_field"),
        (with("default_country", json!("D")), "#/default_country", "invalid_value"),
        (with("policy", json!("replace")), "#/policy", "invalid_value"),
        (with("group", json!("vip")), "#/group", "invalid_id"),
        (with("group", json!("grp_01h455vb4pex5vsknk084sn02q")), "#/group", "not_found"),
        (with("tags", json!(["a\nb"])), "#/tags/0", "invalid_value"),
        (with("create_attributes", json!({"City": "text"})), "#/create_attributes/City", "invalid_value"),
        (with("create_attributes", json!({"city": "word"})), "#/create_attributes/city", "invalid_value"),
        (with("create_attributes", json!({"age": "text"})), "#/create_attributes/age", "name_taken"),
        (with("consent", json!({"category": "otp"})), "#/consent/category", "invalid_value"),
        (with("consent", json!({"proof": ""})), "#/consent/proof", "too_short"),
        (with("columns", json!([])), "#/columns", "unknown_field"),
    ];
    for (body, pointer, code) in rows {
        let answer = t.post(&format!("{path}/start"), &key, body.clone()).await;
        let first = &answer.json()["errors"][0];
        assert_eq!((answer.status, &first["pointer"], &first["code"]), (400, &json!(pointer), &json!(code)), "{body}");
    }
    for query in ["default_country=x", "phone=tel", "column=phone"] {
        let answer = t.get(&format!("{path}/preview?{query}"), &key).await;
        assert_eq!(answer.refusal(), (400, "invalid_query".into()), "{query}");
    }
    assert_eq!(t.get(&path, &key).await.json()["status"], "uploaded", "and nothing was begun");
    let attributes = t.get("/v1/contact-attributes", &key).await.json();
    assert_eq!(attributes["data"].as_array().unwrap().len(), 1, "or declared");
    let (_, reader) = t.account_with("b", Scopes::NONE.with(Scope::ContactsRead)).await;
    assert_eq!(send(&t, &reader, "phone\n1\n").await.refusal(), (403, "forbidden".into()));
    for _ in 1..20 {
        uploaded(&t, &key, "phone\n1\n").await;
    }
    assert_eq!(send(&t, &key, "phone\n1\n").await.refusal(), (409, "limit_reached".into()));
}

#[tokio::test]
async fn old_files_go() {
    let (t, key) = stage().await;
    let path = uploaded(&t, &key, "phone\nnobody\n").await;
    taken(&t, &key, &path, json!({"mapping": {"phone": "phone"}})).await;
    let folder = t.app.config.data.folder.join("imports");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    let day = std::time::Duration::from_secs(86_400);
    t.app.clock.advance(day * 7);
    imports::sweep(&t.app).await.unwrap();
    assert_eq!((files(), t.get(&path, &key).await.status), (1, 200));
    t.app.clock.advance(day);
    std::fs::write(folder.join("notes.txt"), "not ours").unwrap();
    imports::sweep(&t.app).await.unwrap();
    assert_eq!((files(), t.get(&path, &key).await.status), (1, 404), "the file, its row, and what was wrong with it");
}
