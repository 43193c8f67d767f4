//! What providers are given to keep: whichever provider it is, its secrets lie under seal and are never shown; and accounts' own carriers are
//! no way into the operator's network.

use carillon_providers::Provider;
use serde_json::{Map, Value, json};

use crate::app::TestApp;

/// A secret that is found wherever it stands.
fn secret(provider: Provider, field: &str) -> String {
    format!("hush-{}-{field}", provider.name())
}

/// Settings with every field that must be given, and every secret one.
fn settings(provider: Provider) -> Value {
    let value = |name: &str| match name {
        "region" => "eu-central-1".to_owned(),
        "url" => "https://carrier.example/send".to_owned(),
        "signature_method" => "sha256".to_owned(),
        "templates" => "f1: Your code is ##code##".to_owned(),
        other => format!("some-{other}"),
    };
    let fields = provider.fields().iter().filter(|f| f.required || f.secret());
    let given = fields.map(|f| (f.name.to_owned(), if f.secret() { secret(provider, f.name) } else { value(f.name) }));
    let given: Map<_, _> = given.map(|(name, value)| (name, value.into())).collect();
    json!({ "provider": given })
}

#[tokio::test]
async fn secrets_of_every_provider_lie_under_seal() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let mut answers = Vec::new();
    let mut all = Vec::new();
    for provider in Provider::ALL.iter().copied() {
        let secrets: Vec<_> = provider.fields().iter().filter(|f| f.secret()).map(|f| f.name).collect();
        assert!(!secrets.is_empty(), "{provider:?} has something to keep");
        all.extend(secrets.iter().map(|name| secret(provider, name)));
        let body = json!({"name": provider.name(), "kind": provider.name(), "settings": settings(provider)});
        let made = t.post("/v1/connections", &operator, body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let path = format!("/v1/connections/{}", made.json()["id"].as_str().unwrap());
        let set: Vec<String> = secrets.iter().map(|name| format!("provider.{name}")).collect();
        assert_eq!(made.json()["secrets_set"], json!(set), "which are set may be known");
        answers.push(made);
        answers.push(t.post("/v1/connections", &operator, body).await);
        answers.push(t.get(&path, &operator).await);
        answers.push(t.call("PATCH", &path, &operator, Some(json!({"settings": {"rate": 5}}))).await);
        answers.push(t.call("PATCH", &path, &operator, Some(json!({"settings": settings(provider)}))).await);
        let unknown = json!({"settings": {"provider": {"colour": "red"}}});
        answers.push(t.call("PATCH", &path, &operator, Some(unknown)).await);
    }
    for path in ["/v1/connections", "/v1/carriers", "/metrics"] {
        answers.push(t.get(path, &operator).await);
    }
    answers.push(t.post("/v1/routes/explain", &operator, json!({"to": "+4915112345678"})).await);
    let carillon_store::Db::Sqlite(file) = &t.app.db else { panic!("these tests run on SQLite") };
    let files = [file.path().to_owned(), file.path().with_extension("db-wal")];
    let stored: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let stands = |octets: &[u8], secret: &str| octets.windows(secret.len()).any(|w| w == secret.as_bytes());
    assert!(stored.iter().any(|octets| stands(octets, "carrier.example")), "what is no secret is found");
    for secret in &all {
        assert!(answers.iter().all(|answer| !answer.text.contains(secret.as_str())), "{secret} was shown");
        assert!(stored.iter().all(|octets| !stands(octets, secret)), "{secret} lies open");
    }
}

/// Each address that an account names for its carrier is looked at; operators may allow what is private.
#[tokio::test]
async fn accounts_carriers_are_on_the_public_internet() {
    let private = [
        "http://127.0.0.1/send",
        "https://10.0.0.1/send",
        "https://[::1]:8080/send",
        "https://localhost/send",
        "https://0x7f000001/send",
        "https://169.254.169.254/latest/meta-data",
        "https://me@10.0.0.1/send",
    ];
    let with_url = |provider: Provider, url: &str| {
        let mut settings = settings(provider);
        let name = if provider == Provider::Http { "url" } else { "base_url" };
        settings["provider"][name] = url.into();
        json!({"name": "mine", "kind": provider.name(), "settings": settings})
    };
    let t = TestApp::start().await;
    let (_, shop) = t.account("shop").await;
    for provider in Provider::ALL.iter().copied() {
        let name = if provider == Provider::Http { "url" } else { "base_url" };
        for url in private {
            let refused = t.post("/v1/connections", &shop, with_url(provider, url)).await;
            let pointer = format!("#/settings/provider/{name}");
            assert_eq!(
                (refused.status, &refused.json()["errors"][0]["pointer"]),
                (400, &json!(pointer)),
                "{provider:?} {url}: {}",
                refused.text
            );
        }
    }
    assert_eq!(t.get("/v1/connections", &shop).await.json()["data"], json!([]), "nothing was stored");
    let open = TestApp::with(|config| config.accounts.private_carriers = true).await;
    let (_, shop) = open.account("shop").await;
    let made = open.post("/v1/connections", &shop, with_url(Provider::Http, private[0])).await;
    assert_eq!(made.status, 201, "{}", made.text);
}
