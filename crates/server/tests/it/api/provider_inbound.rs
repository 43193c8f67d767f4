//! Messages from phones by each HTTP provider's callback, with the bodies and signatures that the providers document: only what is signed is
//! believed, each message is stored once, and what came to nobody's number is kept for the operator.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carillon::config::Connection;
use carillon_store::connection::{id_of_file, number};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::{Answer, TestApp};

const OWN: &str = "4915735983801";
const PEER: &str = "4915112345678";
const TOKEN: &str = "12345678901234567890123456789012";
const SECRET: &str = "signing-secret";

const CONNECTIONS: &str = r#"
[[connection]]
name = "twilio"
kind = "twilio"
provider = { account_sid = "AC00000000000000000000000000000000", auth_token = "12345678901234567890123456789012" }
[[connection]]
name = "vonage_sms"
kind = "vonage_sms"
provider = { api_key = "abcd1234", api_secret = "s3cret", signature_secret = "signing-secret", signature_method = "sha256" }
[[connection]]
name = "vonage_messages"
kind = "vonage_messages"
provider = { api_key = "abcd1234", api_secret = "s3cret", signature_secret = "signing-secret" }
[[connection]]
name = "msg91"
kind = "msg91"
provider = { authkey = "k", templates = "f1: Your code is ##code##" }
[[connection]]
name = "sns"
kind = "sns"
provider = { access_key_id = "k", secret_access_key = "s", region = "eu-central-1" }
[[connection]]
name = "http"
kind = "http"
[connection.provider]
url = "https://carrier.example/send"
inbound_from = "src"
inbound_to = "our"
inbound_text = "msg"
inbound_id = "mid"
"#;

/// A message as a provider is to tell it.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    id: &'a str,
    to: &'a str,
    text: &'a str,
}

/// How a callback is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signed {
    Well,
    /// By another secret.
    Badly,
    Not,
}

/// A server with every provider, an account and its number.
struct Stage {
    t: TestApp,
    key: String,
    operator: String,
}

fn mac<M: Mac + KeyInit>(secret: &str, text: &str) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl Stage {
    async fn new() -> Stage {
        #[derive(serde::Deserialize)]
        struct File {
            connection: Vec<Connection>,
        }
        let connections = toml::from_str::<File>(CONNECTIONS).unwrap().connection;
        assert!(connections.iter().all(|c| c.mistakes().is_empty()));
        let t = TestApp::with(|config| config.connections = connections).await;
        let (account, key) = t.account("Pizzeria").await;
        let (_, operator) = t.operator().await;
        let body = json!({"number": format!("+{OWN}"), "account": account.id});
        assert_eq!(t.post("/v1/admin/inbound-numbers", &operator, body).await.status, 201);
        Stage { t, key, operator }
    }

    async fn path(&self, provider: &str) -> String {
        self.t.app.links.callback_url(id_of_file(number(&self.t.app.db, provider).await.unwrap()))
    }

    /// The callback of a provider that tells of a message.
    async fn callback(&self, provider: &str, said: Said<'_>, signed: Signed) -> RequestBuilder {
        let path = self.path(provider).await;
        let post = self.t.request("POST", &path);
        match provider {
            "twilio" => twilio(post, &format!("{}{path}", self.t.url), said, signed),
            "vonage_sms" => vonage_sms(post, said, signed, &[]),
            "vonage_messages" => vonage_messages(post, said, signed),
            "msg91" => msg91(post, said),
            "http" => post.body(form(&[("src", PEER), ("our", said.to), ("msg", said.text), ("mid", said.id)])),
            other => panic!("no provider {other}"),
        }
    }

    async fn tell(&self, provider: &str, said: Said<'_>, signed: Signed) -> Answer {
        self.t.send(self.callback(provider, said, signed).await).await
    }

    /// What came to the account, newest first.
    async fn came(&self) -> Vec<Value> {
        self.t.get("/v1/inbound-messages?limit=200", &self.key).await.json()["data"].as_array().unwrap().clone()
    }

    async fn texts(&self) -> Vec<String> {
        self.came().await.iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// twilio.com/docs/messaging/guides/webhook-request, signed as twilio.com/docs/usage/security says.
fn twilio(post: RequestBuilder, url: &str, said: Said<'_>, signed: Signed) -> RequestBuilder {
    let (from, to) = (format!("+{PEER}"), format!("+{}", said.to));
    let mut pairs = [
        ("ToCountry", "DE"),
        ("MessageSid", said.id),
        ("SmsMessageSid", said.id),
        ("SmsSid", said.id),
        ("AccountSid", "AC00000000000000000000000000000000"),
        ("From", &from),
        ("FromCountry", "DE"),
        ("To", &to),
        ("Body", said.text),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("SmsStatus", "received"),
        ("ApiVersion", "2010-04-01"),
    ];
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(form(&pairs));
    pairs.sort_unstable();
    let text: String = std::iter::once(url).chain(pairs.iter().flat_map(|(name, value)| [*name, *value])).collect();
    let token = if signed == Signed::Well { TOKEN } else { "another" };
    let signature = STANDARD.encode(mac::<Hmac<sha1::Sha1>>(token, &text));
    if signed == Signed::Not { post } else { post.header("X-Twilio-Signature", signature) }
}

/// developer.vonage.com/messaging/sms/guides/inbound-sms, signed as …/concepts/signing-messages says.
fn vonage_sms(post: RequestBuilder, said: Said<'_>, signed: Signed, more: &[(&str, &str)]) -> RequestBuilder {
    let mut pairs = vec![
        ("msisdn", PEER),
        ("to", said.to),
        ("messageId", said.id),
        ("text", said.text),
        ("type", "text"),
        ("keyword", "HELLO"),
        ("api-key", "abcd1234"),
        ("message-timestamp", "2026-11-21 12:00:00"),
        ("timestamp", "1795262400"),
        ("nonce", "aaaa-bbbb"),
    ];
    pairs.extend_from_slice(more);
    pairs.sort_unstable();
    let text: String =
        pairs.iter().map(|(name, value)| format!("&{name}={}", value.replace(['&', '='], "_"))).collect();
    let sig = hex(&mac::<Hmac<Sha256>>(if signed == Signed::Well { SECRET } else { "another" }, &text));
    if signed != Signed::Not {
        pairs.push(("sig", &sig));
    }
    let object: serde_json::Map<_, _> = pairs.iter().map(|(n, v)| ((*n).to_owned(), Value::from(*v))).collect();
    post.json(&object)
}

/// developer.vonage.com/api/messages (inbound SMS), signed as …/concepts/webhooks says.
fn vonage_messages(post: RequestBuilder, said: Said<'_>, signed: Signed) -> RequestBuilder {
    let body = json!({
        "channel": "sms", "message_uuid": said.id, "to": said.to, "from": PEER, "timestamp": "2026-11-21T12:00:00Z",
        "text": said.text, "sms": {"num_messages": "1", "keyword": "HELLO"}, "usage": {"currency": "EUR", "price": "0.0333"},
        "origin": {"network_code": "26201"}, "message_type": "text", "context_status": "none",
    })
    .to_string();
    let claims = json!({
        "iat": 1_795_262_400, "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5", "iss": "Vonage", "application_id": "aaaaaaaa",
        "api_key": "abcd1234", "payload_hash": hex(&Sha256::digest(&body)),
    });
    let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let token = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = mac::<Hmac<Sha256>>(if signed == Signed::Well { SECRET } else { "another" }, &token);
    let post = post.header("content-type", "application/json").body(body);
    if signed == Signed::Not {
        return post;
    }
    post.bearer_auth(format!("{token}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// docs.msg91.com, inbound SMS. It signs nothing: the address holds the secret.
fn msg91(post: RequestBuilder, said: Said<'_>) -> RequestBuilder {
    post.json(&json!({"mobile": PEER, "receiver": said.to, "message": said.text, "UUID": said.id}))
}

const PROVIDERS: [(&str, bool); 5] =
    [("twilio", true), ("vonage_sms", true), ("vonage_messages", true), ("msg91", false), ("http", false)];

#[tokio::test]
async fn each_provider_tells_what_phones_write() {
    let s = Stage::new().await;
    let long = "Grüße & 100% = 🍕 \"ok\"\n".repeat(70);
    for (provider, signs) in PROVIDERS {
        let before = s.came().await.len();
        let hello = Said { id: "0A1B", to: OWN, text: "Is a table free? & = 🍕" };
        if signs {
            for signed in [Signed::Badly, Signed::Not] {
                assert_eq!(s.tell(provider, hello, signed).await.refusal(), (403, "forbidden".into()), "{provider}");
            }
        }
        let path = s.path(provider).await;
        let (rest, token) = path.rsplit_once('/').unwrap();
        let forged = format!("{rest}/{}", token.chars().rev().collect::<String>());
        assert_eq!(s.t.post(&forged, "", json!({"mobile": PEER})).await.status, 403, "{provider}: another address");
        for method in ["PUT", "PATCH", "DELETE"] {
            assert_eq!(s.t.call(method, &path, "", None).await.status, 405, "{provider} {method}");
        }
        let malformed = s.t.request("POST", &path).body("{\"x\":").header("content-type", "application/json");
        let status = s.t.send(malformed).await.status;
        assert_eq!(status, if signs { 403 } else { 400 }, "{provider}");
        assert_eq!(s.came().await.len(), before, "{provider}: nothing of it was believed");

        for _ in 0..3 {
            assert_eq!(s.tell(provider, hello, Signed::Well).await.status, 204, "{provider}");
        }
        let came = s.came().await;
        assert_eq!(came.len(), before + 1, "{provider}: told thrice, stored once");
        let (from, to) = (format!("+{PEER}"), format!("+{OWN}"));
        assert_eq!(
            [&came[0]["from"], &came[0]["to"], &came[0]["text"], &came[0]["connection"], &came[0]["parts"]],
            [&json!(from), &json!(to), &json!(hello.text), &json!(provider), &json!(1)]
        );
        s.tell(provider, Said { id: "0A1C", text: &long, ..hello }, Signed::Well).await;
        assert_eq!(s.texts().await[0], long, "{provider}: whole, however long");

        let stray = Said { id: "0A1D", to: "99999999999", text: provider };
        assert_eq!(s.tell(provider, stray, Signed::Well).await.status, 204, "{provider}");
        let unmatched = s.t.get("/v1/admin/inbound-messages", &s.operator).await.json()["data"][0].clone();
        assert_eq!((&unmatched["text"], &unmatched["conversation"]), (&json!(provider), &Value::Null));
        assert_eq!(s.came().await.len(), before + 2, "{provider}: nobody's number is not the account's");
    }
    let conversations = s.t.get("/v1/conversations", &s.key).await.json()["data"].clone();
    assert_eq!((conversations.as_array().unwrap().len(), &conversations[0]["received"]), (1, &json!(10)));
}

/// SNS calls nobody back for what phones write; what its forwarder is not to bring is refused.
#[tokio::test]
async fn sns_tells_of_no_messages() {
    let s = Stage::new().await;
    let path = s.path("sns").await;
    let two_way =
        json!({"originationNumber": format!("+{PEER}"), "destinationNumber": format!("+{OWN}"), "messageBody": "hi"});
    assert_eq!(s.t.post(&path, "", two_way).await.status, 400);
    assert_eq!(s.t.call("PUT", &path, "", None).await.status, 405);
    assert!(s.came().await.is_empty());
}

/// Vonage's SMS API hands over parts as they came.
#[tokio::test]
async fn parts_of_a_long_message_are_joined() {
    let s = Stage::new().await;
    let path = s.path("vonage_sms").await;
    let tell = async |id: &str, text: &str, total: &str, index: &str| {
        let said = Said { id, to: OWN, text };
        let place = [("concat", "true"), ("concat-ref", "199"), ("concat-total", total), ("concat-part", index)];
        let request = vonage_sms(s.t.request("POST", &path), said, Signed::Well, &place);
        assert_eq!(s.t.send(request).await.status, 204, "{id}");
    };
    for (id, text, index) in [("p3", "three", "3"), ("p1", "one ", "1"), ("p1", "one ", "1")] {
        tell(id, text, "3", index).await;
    }
    assert_eq!(s.came().await.len(), 0, "not before it is whole");
    tell("p2", "two ", "3", "2").await;
    let whole = s.came().await[0].clone();
    assert_eq!((&whole["text"], &whole["parts"]), (&json!("one two three"), &json!(3)));
    for (id, total, index) in [("q1", "2", "0"), ("q2", "2", "5"), ("q3", "0", "1"), ("q4", "999", "1")] {
        tell(id, id, total, index).await;
        assert_eq!(s.texts().await[0], id, "part {index} of {total}: shown as it came");
    }
}

/// Pictures lie with the carrier: their addresses follow the text.
#[tokio::test]
async fn media_follow_the_text() {
    let s = Stage::new().await;
    let path = s.path("twilio").await;
    let url = format!("{}{path}", s.t.url);
    let (from, to) = (format!("+{PEER}"), format!("+{OWN}"));
    let picture = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM1/Media/ME1";
    let mut pairs = [
        ("MessageSid", "MM1"),
        ("From", &from),
        ("To", &to),
        ("Body", "look"),
        ("NumMedia", "1"),
        ("MediaUrl0", picture),
        ("MediaContentType0", "image/png"),
        ("SmsStatus", "received"),
    ];
    pairs.sort_unstable();
    let text: String = std::iter::once(url.as_str()).chain(pairs.iter().flat_map(|(n, v)| [*n, *v])).collect();
    let signature = STANDARD.encode(mac::<Hmac<sha1::Sha1>>(TOKEN, &text));
    let request = s.t.request("POST", &path).header("X-Twilio-Signature", signature).body(form(&pairs));
    assert_eq!(s.t.send(request).await.status, 204);
    assert_eq!(s.texts().await, [format!("look\n{picture}")]);
}

/// A carrier that gives no ids: the same words written twice are two messages.
#[tokio::test]
async fn without_an_id_each_is_a_message() {
    let s = Stage::new().await;
    let path = s.path("http").await;
    for (text, count) in [("yes", 1), ("no", 2), ("yes", 3), ("yes", 4)] {
        s.t.app.clock.advance(std::time::Duration::from_secs(1));
        let body = form(&[("src", PEER), ("our", OWN), ("msg", text)]);
        assert_eq!(s.t.send(s.t.request("POST", &path).body(body)).await.status, 204);
        assert_eq!(s.came().await.len(), count, "{text}");
    }
    // As a GET, as many carriers call.
    let query = form(&[("src", PEER), ("our", OWN), ("msg", "by GET"), ("mid", "1")]);
    assert_eq!(s.t.get(&format!("{path}?{query}"), "").await.status, 204);
    assert_eq!(s.texts().await[0], "by GET");
}
