//! The OpenAPI document: what is checked in is what the code says, and every operation says enough.

use serde_json::Value;

const REMEDY: &str = "openapi.json is not what the code says: run `make openapi` and commit it with the change";

fn generated() -> Value {
    serde_json::to_value(carillon::api::openapi()).unwrap()
}

/// `openapi.json` at the root is what clients and SDKs are made from.
#[test]
fn the_document_checked_in_is_current() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json")).expect(REMEDY);
    let kept: Value = serde_json::from_str(&text).expect(REMEDY);
    assert!(kept == generated(), "{REMEDY}");
}

/// Each has a summary of one line, an id of its own, its success and its refusals; and whoever asks knows with what credential.
#[test]
fn every_operation_says_enough() {
    let document = generated();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{name}: begin the handler's comment with a line that says what it does");
            assert!(
                summary.len() <= 70,
                "{name}: end the first line of the handler's comment earlier, and leave a line empty: {summary}"
            );
            let id = operation["operationId"].as_str().unwrap_or_default();
            assert!(ids.insert(id.to_owned()), "{name}: operation_id `{id}` is another's");
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{name}: say what it answers when all is well"
            );
            let refusal = &responses["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(refusal, "#/components/schemas/Problem", "{name}: refusals");
        }
    }
    assert!(ids.len() > 20, "the document lists the routes");
}

/// Every `$ref` leads somewhere: a generator of clients stops at one that does not.
#[test]
fn every_reference_leads_somewhere() {
    fn walk(root: &Value, at: &Value) {
        match at {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    assert!(root.pointer(to.trim_start_matches('#')).is_some(), "{to} is not in the document");
                }
                members.values().for_each(|value| walk(root, value));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(root, value)),
            _ => {}
        }
    }
    let document = generated();
    walk(&document, &document);
}

/// An estimate takes what is sent: a message, or a batch.
#[test]
fn estimates_take_both_bodies() {
    let document = generated();
    let schema = &document["paths"]["/v1/estimates"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let body = document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    let either: Vec<_> = body["oneOf"].as_array().unwrap().iter().filter_map(|s| s["$ref"].as_str()).collect();
    assert_eq!(either, ["#/components/schemas/NewMessageBody", "#/components/schemas/NewBatchBody"]);
}
