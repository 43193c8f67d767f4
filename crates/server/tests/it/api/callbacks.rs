//! Callbacks of a provider that signs: only what is signed is believed. (What follows from one stands in `faults/http.rs`.)

use carillon::config::Connection;
use carillon_store::connection::{id_of_file, number};
use serde_json::{Value, json};

use crate::app::TestApp;

const SETTINGS: &str = r#"
name = "vonage"
kind = "vonage_sms"
provider = { api_key = "abcd1234", api_secret = "s3cret", signature_secret = "signing-secret", signature_method = "sha256" }
"#;
/// Of Vonage's own library (crates/providers/src/vonage_sms/tests.rs).
const SIGNATURE: &str = "f3a9424069e724b2801d6b3a9786c6fb02954debaf3839299272a7b25d89abb5";

fn receipt() -> Value {
    json!({
        "msisdn": "15558675310", "to": "ACME", "network-code": "310090", "messageId": "0C000000217B7F02", "price": "0.03330000",
        "status": "delivered", "scts": "2611211200", "err-code": "0", "api-key": "abcd1234",
        "message-timestamp": "2026-11-21 12:00:00", "timestamp": "1795262400", "nonce": "aaaa-bbbb",
    })
}

#[tokio::test]
async fn only_what_is_signed_is_believed() {
    let connection: Connection = toml::from_str(SETTINGS).unwrap();
    assert_eq!(connection.mistakes(), []);
    let t = TestApp::with(|config| config.connections = vec![connection]).await;
    let no = number(&t.app.db, "vonage").await.unwrap();
    let path = t.app.links.callback_url(id_of_file(no));
    let signed = |sig: &str| {
        let mut body = receipt();
        body["sig"] = sig.into();
        body
    };
    let mut other = signed(SIGNATURE);
    other["status"] = "failed".into();
    let table = [
        (receipt(), 403, "forbidden"),
        (signed(""), 403, "forbidden"),
        (signed(&SIGNATURE.replace('f', "e")), 403, "forbidden"),
        (other, 403, "forbidden"),
        (signed(SIGNATURE), 204, ""),
        (signed(SIGNATURE), 204, ""),
    ];
    for (body, status, code) in table {
        let answer = t.post(&path, "", body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{body}");
    }
    // As a GET, as the account may be set; and one that says nothing.
    let mut query: Vec<_> = receipt().as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    query.push(("sig".into(), SIGNATURE.into()));
    let pairs = query.iter().map(|(name, value)| (name, value.as_str().unwrap()));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let got = t.get(&format!("{path}?{query}"), "").await;
    assert_eq!(got.status, 204, "{}", got.text);
    assert_eq!(t.get(&path, "").await.status, 403);
}

#[test]
fn settings_of_a_provider_are_checked_like_others() {
    let table = [
        (SETTINGS.to_owned(), ""),
        (SETTINGS.replace("sha256", "sha3"), "`provider.signature_method`: one of md5hash, md5, sha1, sha256, sha512"),
        (SETTINGS.replace("api_secret", "colour"), "`provider.colour`: this provider has no such setting"),
        (SETTINGS.replace("vonage_sms", "sandbox"), "`provider` is for HTTP providers"),
    ];
    for (settings, mistake) in table {
        let connection: Connection = toml::from_str(&settings).unwrap();
        let mistakes: Vec<_> = connection.mistakes().into_iter().map(|(_, rule)| rule).collect();
        assert_eq!(mistakes.first().map_or("", String::as_str), mistake);
        assert!(!format!("{connection:?}").contains("signing-secret"), "secrets do not print");
    }
    let unknown = toml::from_str::<Connection>("name = \"a\"\nkind = \"pigeon\"").unwrap_err().to_string();
    assert!(
        unknown.contains("one of smpp, sandbox, twilio, vonage_sms, vonage_messages, msg91, sns, http"),
        "{unknown}"
    );
}
