//! A whole server in this process: a free port, a database of its own, and a clock the test may hold.

use std::collections::HashMap;

use carillon::access::issue_key;
use carillon::api;
use carillon::app::App;
use carillon::campaigns;
use carillon::clock::Clock;
use carillon::config::{self, Config};
use carillon::drips;
use carillon::notify;
use carillon_domain::account::Settings;
use carillon_domain::money::Money;
use carillon_domain::permission::{Scope, Scopes};
use carillon_store::account::{self, Account, NewAccount, StartingCredit};
use serde_json::Value;
use tokio::net::TcpListener;

/// 2026-11-21T12:00:00Z.
pub const NOON: i64 = 1_795_262_400_000;

/// A running server. It ends, and its files go, when this is dropped.
pub struct TestApp {
    /// Its insides, for what the API does not show.
    pub app: App,
    /// `http://127.0.0.1:…`.
    pub url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.app.shutdown.cancel();
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body's `code`, of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_owned()
    }

    /// Status and code: what most refusals are checked by.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

impl TestApp {
    /// With the defaults, and a clock that stands at noon.
    pub async fn start() -> TestApp {
        TestApp::with(|_| {}).await
    }

    /// With changed settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> TestApp {
        // Only fails if another test of this process has installed it.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config::defaults();
        config.data.folder = folder.path().to_owned();
        // The cheapest hash there is: these tests are not about Argon2.
        config.auth.argon2_memory_kib = 64;
        config.auth.argon2_passes = 1;
        // Receivers of tests are on this machine.
        config.webhooks.allow_http = true;
        config.webhooks.allow_private = true;
        change(&mut config);
        let app = App::open(config, Clock::manual(NOON)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        notify::start(&app);
        campaigns::start(&app);
        drips::start(&app);
        tokio::spawn(api::serve(app.clone(), listener));
        TestApp { app, url, client: reqwest::Client::new(), _folder: folder }
    }

    /// An account with credit and a key that may do everything within it.
    pub async fn account(&self, name: &str) -> (Account, String) {
        self.account_with(name, Scopes::account_all()).await
    }

    /// An account whose key also operates the platform.
    pub async fn operator(&self) -> (Account, String) {
        self.account_with("operator", Scopes::account_all().with(Scope::Operate)).await
    }

    /// An account with credit and a key of these scopes.
    pub async fn account_with(&self, name: &str, scopes: Scopes) -> (Account, String) {
        let app = &self.app;
        let credit =
            StartingCredit { amount: Money::from_cents(10_000), counter: app.ids.next(), note: "test", actor: "test" };
        let new = NewAccount {
            id: None,
            counter: app.ids.next(),
            name,
            currency: "USD",
            settings: Settings::default(),
            owner: None,
            credit: Some(credit),
            now: app.clock.now_ms(),
        };
        let account = account::create(&app.db, &new).await.unwrap();
        let key = self.key(&account, scopes, None).await;
        (account, key)
    }

    /// One more key of an account.
    pub async fn key(&self, account: &Account, scopes: Scopes, expires_at: Option<i64>) -> String {
        let app = &self.app;
        issue_key(&app.db, &app.ids, app.clock.now_ms(), account.no, "test".into(), scopes, expires_at).await.unwrap().0
    }

    /// A request to a path, to be finished by the test and given to `send`.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    /// Sends it and reads the whole answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let headers =
            response.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("").to_owned())).collect();
        Answer { status: response.status().as_u16(), headers, text: response.text().await.unwrap() }
    }

    /// GET with a key or token; none if empty.
    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, key, None).await
    }

    /// POST of a JSON body with a key or token; none if empty.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("POST", path, key, Some(body)).await
    }

    /// Any method, with a key or token (none if empty) and perhaps a JSON body.
    pub async fn call(&self, method: &str, path: &str, key: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path);
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }
}
