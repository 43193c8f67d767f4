//! Contacts, groups and attributes through the API: made, found, changed, refused.

use carillon_domain::permission::{Scope, Scopes};
use serde_json::{Value, json};

use crate::app::TestApp;

pub async fn made(t: &TestApp, key: &str, path: &str, body: Value) -> String {
    let answer = t.post(path, key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

pub async fn declare(t: &TestApp, key: &str, name: &str, kind: &str) {
    let path = format!("/v1/contact-attributes/{name}");
    assert_eq!(t.call("PUT", &path, key, Some(json!({ "type": kind }))).await.status, 200);
}

async fn names(t: &TestApp, key: &str, query: &str) -> Vec<String> {
    let list = t.get(&format!("/v1/contacts{query}"), key).await;
    assert_eq!(list.status, 200, "{query}: {}", list.text);
    list.json()["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_life_of_a_contact() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    declare(&t, &key, "city", "text").await;
    declare(&t, &key, "points", "number").await;
    let body = json!({"phone": "+49 151 12345678", "name": "Ada", "external_id": "c1", "tags": ["vip", "vip"],
        "attributes": {"city": "Bonn", "points": 5}});
    let id = made(&t, &key, "/v1/contacts", body).await;
    let more = json!({"phone": "+4915112345678", "status": "paid", "attributes": {"points": 7.5, "city": null}});
    let again = t.post("/v1/contacts", &key, more).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(id)), "{}", again.text);
    let shown = t.get(&format!("/v1/contacts/{id}"), &key).await.json();
    let expected = json!({"id": id, "phone": "+4915112345678", "name": "Ada", "external_id": "c1", "status": "paid",
        "attributes": {"points": 7.5}, "tags": ["vip"], "consent": {"promotional": "unknown", "transactional": "unknown"},
        "preferences_url": null, "created_at": "2026-11-21T12:00:00.000Z", "changed_at": "2026-11-21T12:00:00.000Z"});
    assert_eq!(shown, expected);

    let path = format!("/v1/contacts/{id}");
    let change = json!({"external_id": null, "tags": [], "phone": "+4915112345679", "name": "Ada L."});
    let changed = t.call("PATCH", &path, &key, Some(change)).await.json();
    assert_eq!(
        [&changed["external_id"], &changed["tags"], &changed["phone"], &changed["name"], &changed["status"]],
        [&json!(null), &json!([]), &json!("+4915112345679"), &json!("Ada L."), &json!("paid")]
    );
    let other = made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345678", "external_id": "c1"})).await;
    let path_of_other = format!("/v1/contacts/{other}");
    let clash = t.call("PATCH", &path_of_other, &key, Some(json!({"phone": "+4915112345679"}))).await;
    assert_eq!(clash.refusal(), (409, "contact_exists".into()));
    let clash = t.call("PATCH", &path, &key, Some(json!({"external_id": "c1"}))).await;
    assert_eq!(clash.refusal(), (409, "id_taken".into()));
    assert_eq!(clash.json()["errors"][0]["pointer"], "#/external_id");

    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(t.get(&path, &key).await.status, 404);
    assert_eq!(names(&t, &key, "").await, [""]);
}

#[tokio::test]
async fn groups_tags_and_search() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let mut ids = Vec::new();
    for (n, name, tag) in [(1, "Ada", "vip"), (2, "ada b", "vip"), (3, "Bob", "new")] {
        let body = json!({"phone": format!("+491511234567{n}"), "name": name, "tags": [tag]});
        ids.push(made(&t, &key, "/v1/contacts", body).await);
    }
    let group = made(&t, &key, "/v1/groups", json!({"name": "Rust", "kind": "course", "external_id": "r1"})).await;
    let members = format!("/v1/groups/{group}/members");
    let added = t.post(&members, &key, json!({"add": [ids[0], ids[2]]})).await.json();
    assert_eq!((&added["members"], &added["kind"]), (&json!(2), &json!("course")));
    let removed = t.post(&members, &key, json!({"add": [ids[1]], "remove": [ids[0]]})).await.json();
    assert_eq!(removed["members"], 2);
    let unknown = t.post(&members, &key, json!({"add": ["ctc_01h455vb4pex5vsknk084sn02q"]})).await;
    assert_eq!(unknown.refusal(), (404, "not_found".into()));
    for (query, expected) in [
        ("?name=ADA", vec!["ada b", "Ada"]),
        ("?name=a&tag=new", vec![]),
        ("?tag=vip", vec!["ada b", "Ada"]),
        ("?phone=%2B4915112345673", vec!["Bob"]),
        (&format!("?group={group}"), vec!["Bob", "ada b"]),
        (&format!("?group={group}&tag=new"), vec!["Bob"]),
        ("?status=new&limit=1", vec!["Bob"]),
    ] {
        assert_eq!(names(&t, &key, query).await, expected, "{query}");
    }
    let cursor = t.get("/v1/contacts?tag=vip&limit=1", &key).await.json()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(names(&t, &key, &format!("?tag=vip&limit=1&cursor={cursor}")).await, ["Ada"]);
    let misused = t.get(&format!("/v1/contacts?tag=new&cursor={cursor}"), &key).await;
    assert_eq!(misused.refusal(), (400, "invalid_cursor".into()));

    let of = t.get(&format!("/v1/groups?contact={}&kind=course", ids[1]), &key).await.json();
    assert_eq!(of["data"][0]["id"], json!(group));
    let taken = t.post("/v1/groups", &key, json!({"name": "x", "kind": "course", "external_id": "r1"})).await;
    assert_eq!(taken.refusal(), (409, "id_taken".into()));
    let path = format!("/v1/groups/{group}");
    let changed = t.call("PATCH", &path, &key, Some(json!({"name": "Rust 2", "external_id": null}))).await.json();
    assert_eq!(
        (&changed["name"], &changed["external_id"], &changed["members"]),
        (&json!("Rust 2"), &json!(null), &json!(2))
    );
    assert_eq!(t.call("DELETE", &path, &key, None).await.status, 204);
    assert_eq!(names(&t, &key, &format!("?group={group}")).await, [""; 0]);
    assert_eq!(names(&t, &key, "").await.len(), 3, "contacts stay");
}

#[tokio::test]
async fn attributes_have_a_type_for_good() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    declare(&t, &key, "born", "date").await;
    declare(&t, &key, "born", "date").await;
    let other = t.call("PUT", "/v1/contact-attributes/born", &key, Some(json!({"type": "text"}))).await;
    assert_eq!(other.refusal(), (409, "name_taken".into()));
    for (name, kind, status) in [("born2", "day", 400), ("name", "text", 400), ("B", "text", 400), ("1x", "text", 400)]
    {
        let answer =
            t.call("PUT", &format!("/v1/contact-attributes/{name}"), &key, Some(json!({ "type": kind }))).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
    }
    let id =
        made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345678", "attributes": {"born": "1815-12-10"}})).await;
    let list = t.get("/v1/contact-attributes", &key).await.json();
    assert_eq!(list["data"], json!([{"name": "born", "type": "date"}]));
    for _ in 0..2 {
        assert_eq!(t.call("DELETE", "/v1/contact-attributes/born", &key, None).await.status, 204);
    }
    assert_eq!(t.get(&format!("/v1/contacts/{id}"), &key).await.json()["attributes"], json!({}));
}

/// Path, body, pointer and code of the first refused field; nothing is made of any.
#[tokio::test]
async fn what_is_refused() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    declare(&t, &key, "age", "number").await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"phone": "+4915112345678"});
        body[member] = value;
        body
    };
    let crowd: Vec<_> = (0..51).map(|i| format!("t{i}")).collect();
    let rows = [
        ("/v1/contacts", json!({}), "#/phone", "missing_field"),
        ("/v1/contacts", json!({"phone": "12"}), "#/phone", "phone_short_code"),
        ("/v1/contacts", json!({"phone": 12}), "#/phone", "wrong_type"),
        ("/v1/contacts", with("name", json!("a\u{0}")), "#/name", "invalid_value"),
        ("/v1/contacts", with("name", json!("x".repeat(201))), "#/name", "too_long"),
        ("/v1/contacts", with("external_id", json!("")), "#/external_id", "too_short"),
        ("/v1/contacts", with("external_id", json!("x".repeat(65))), "#/external_id", "too_long"),
        ("/v1/contacts", with("status", json!("")), "#/status", "too_short"),
        ("/v1/contacts", with("tags", json!(["ok", "a\nb"])), "#/tags/1", "invalid_value"),
        ("/v1/contacts", with("tags", json!(crowd)), "#/tags", "too_long"),
        ("/v1/contacts", with("tags", json!("vip")), "#/tags", "wrong_type"),
        ("/v1/contacts", with("attributes", json!({"age": "x"})), "#/attributes/age", "wrong_type"),
        ("/v1/contacts", with("attributes", json!({"city": "x"})), "#/attributes/city", "unknown_field"),
        ("/v1/contacts", with("attributes", json!([])), "#/attributes", "wrong_type"),
        ("/v1/contacts", with("attributes", json!({"age": {}})), "#/attributes/age", "invalid_value"),
        ("/v1/contacts", with("consent", json!(true)), "#/consent", "unknown_field"),
        ("/v1/groups", json!({}), "#/name", "missing_field"),
        ("/v1/groups", json!({"name": " "}), "#/name", "too_short"),
        ("/v1/groups", json!({"name": "x".repeat(201)}), "#/name", "too_long"),
        ("/v1/groups", json!({"name": "x", "kind": "team"}), "#/kind", "invalid_value"),
        ("/v1/groups", json!({"name": "x", "external_id": "\u{7}"}), "#/external_id", "invalid_value"),
    ];
    for (path, body, pointer, code) in rows {
        let answer = t.post(path, &key, body.clone()).await;
        let first = &answer.json()["errors"][0];
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{body}: {}",
            answer.text
        );
    }
    for query in ["?phone=nobody", "?name=%00", "?tag=", "?group=x", "?limit=0", "?page=1"] {
        assert_eq!(
            t.get(&format!("/v1/contacts{query}"), &key).await.refusal(),
            (400, "invalid_query".into()),
            "{query}"
        );
    }
    for list in ["/v1/contacts", "/v1/groups"] {
        assert_eq!(t.get(list, &key).await.json()["data"], json!([]), "{list}");
    }
}

#[tokio::test]
async fn who_may_read_and_who_may_change() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    let reader = t.key(&account, Scopes::NONE.with(Scope::ContactsRead), None).await;
    let id = made(&t, &key, "/v1/contacts", json!({"phone": "+4915112345678"})).await;
    let path = format!("/v1/contacts/{id}");
    assert_eq!(t.get(&path, &reader).await.status, 200);
    for (method, path) in
        [("PATCH", path.as_str()), ("DELETE", &path), ("POST", "/v1/contacts"), ("POST", "/v1/groups")]
    {
        let answer = t.call(method, path, &reader, Some(json!({}))).await;
        assert_eq!(answer.refusal(), (403, "forbidden".into()), "{method} {path}");
    }
}

/// Contacts, groups and tags in `to`: each number once, with the contact's own words; another account's are not there.
#[tokio::test]
async fn batches_go_to_them() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, stranger) = t.account("b").await;
    declare(&t, &key, "points", "number").await;
    let mut ids = Vec::new();
    for (n, name, tags) in [(1, "Ada", json!(["vip"])), (2, "Bob", json!(["vip"])), (3, "", json!([]))] {
        let body =
            json!({"phone": format!("+491511234567{n}"), "name": name, "tags": tags, "attributes": {"points": n}});
        ids.push(made(&t, &key, "/v1/contacts", body).await);
    }
    let group = made(&t, &key, "/v1/groups", json!({"name": "g"})).await;
    t.post(&format!("/v1/groups/{group}/members"), &key, json!({"add": [ids[1], ids[2]]})).await;
    let text = "{{name|default(\"friend\")}}: {{points}}";
    let to = json!([{"contact": ids[0], "variables": {"points": "many"}}, {"group": group}, {"tag": "vip"}, "+4915112345671"]);
    let plain = json!({"to": to, "text": "hi"});
    let estimate = t.post("/v1/estimates", &key, plain.clone()).await.json();
    assert_eq!((&estimate["recipients"], &estimate["duplicates"]["count"]), (&json!(3), &json!(3)), "{estimate}");
    let sent = t.post("/v1/batches", &key, json!({"to": to.as_array().unwrap()[..3], "text": text})).await;
    assert_eq!((sent.status, &sent.json()["total"]), (202, &json!(3)), "{}", sent.text);
    assert_eq!(sent.json()["duplicates"], json!({"count": 2, "indices": [2, 2]}));
    let path = format!("/v1/batches/{}/messages", sent.json()["id"].as_str().unwrap());
    let messages = t.get(&path, &key).await.json();
    let shown: Vec<_> = messages["data"].as_array().unwrap().iter().map(|m| (&m["to"], &m["text"])).collect();
    let expected = [("+4915112345671", "Ada: many"), ("+4915112345673", "friend: 3"), ("+4915112345672", "Bob: 2")];
    let expected = expected.map(|(to, text)| (json!(to), json!(text)));
    assert_eq!(shown, expected.each_ref().map(|(to, text)| (to, text)));

    // Who lacks a word, or is not to be written to, is named; `partial` takes the others.
    let nameless = t.post("/v1/batches", &key, json!({"to": [{"group": group}], "text": "{{name}}"})).await;
    let first = nameless.json()["errors"][0].clone();
    assert_eq!((&first["pointer"], &first["code"]), (&json!("#/to/0/group"), &json!("missing_variable")));
    assert!(first["detail"].as_str().unwrap().starts_with(&ids[2]), "{first}");
    assert_eq!(t.post("/v1/suppressions", &key, json!({"phone": "+4915112345672"})).await.status, 201);
    let whole = t.post("/v1/batches", &key, json!({"to": [{"tag": "vip"}], "text": "hi"})).await;
    assert_eq!(whole.refusal(), (403, "suppressed".into()), "{}", whole.text);
    let part = t.post("/v1/batches", &key, json!({"to": [{"tag": "vip"}], "text": "hi", "partial": true})).await.json();
    assert_eq!((&part["total"], &part["refusals"]), (&json!(1), &json!([{"index": 0, "code": "suppressed"}])));

    for to in [json!([{"contact": ids[0]}]), json!([{"group": group}])] {
        let answer = t.post("/v1/batches", &stranger, json!({"to": to, "text": "hi"})).await;
        assert_eq!(answer.json()["errors"][0]["code"], "not_found", "{}", answer.text);
    }
    let none = t.post("/v1/batches", &stranger, json!({"to": [{"tag": "vip"}], "text": "hi", "partial": true})).await;
    assert_eq!(none.json()["errors"][0]["code"], "too_short", "{}", none.text);
}

#[tokio::test]
async fn all_of_them_as_csv() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, stranger) = t.account("b").await;
    declare(&t, &key, "city", "text").await;
    declare(&t, &key, "points", "number").await;
    let ada = json!({"phone": "+4915112345678", "name": "=Ada, \"L\"", "tags": ["vip", "new"], "attributes": {"city": "Bonn"}});
    let bob = json!({"phone": "+4915112345679", "external_id": "7", "attributes": {"points": -2}});
    let ids = [made(&t, &key, "/v1/contacts", ada).await, made(&t, &key, "/v1/contacts", bob).await];
    let export = t.get("/v1/contacts/export", &key).await;
    assert_eq!((export.status, export.headers["content-type"].as_str()), (200, "text/csv; charset=utf-8"));
    let expected = format!(
        "id,phone,name,external_id,status,tags,created_at,city,points\n\
         {},+4915112345679,,7,new,,2026-11-21T12:00:00.000Z,,-2\n\
         {},+4915112345678,\"'=Ada, \"\"L\"\"\",,new,new;vip,2026-11-21T12:00:00.000Z,Bonn,\n",
        ids[1], ids[0]
    );
    assert_eq!(export.text, expected);
    assert_eq!(t.get("/v1/contacts/export", &stranger).await.text.lines().count(), 1);
}
