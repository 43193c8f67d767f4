//! A server process with its data and its carrier.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use carillon::simulator::{self, Behaviour, Simulator, SimulatorConfig};
use carillon_store::Db;
use carillon_store::testing::TestPostgres;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::Answer;

/// Nothing takes this long unless it is lost.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a world is made with.
#[derive(Default)]
pub struct Setup {
    /// How the carrier behaves at first.
    pub behaviour: Behaviour,
    /// Further lines of its `[[connection]]`.
    pub connection: &'static str,
    /// Further sections of the settings.
    pub settings: &'static str,
    /// The database; SQLite in the data folder if empty.
    pub database: String,
}

/// A carrier that answers and delivers quickly.
pub fn quick() -> Behaviour {
    Behaviour { receipt_delay: Duration::from_millis(20), ..Behaviour::default() }
}

/// A PostgreSQL database of its own.
pub async fn postgres() -> String {
    TestPostgres::start().fresh_database().await
}

/// See the module.
pub struct World {
    pub carrier: Simulator,
    pub api: Api,
    pub folder: tempfile::TempDir,
    database: String,
    server: Option<Child>,
    address: watch::Sender<String>,
}

/// Asks the server, wherever it listens since its last start.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    address: watch::Receiver<String>,
    key: Arc<str>,
}

impl World {
    /// A carrier, and a server bound to it.
    pub async fn new(setup: Setup) -> World {
        // Only fails if another test of this process has installed it.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let config = SimulatorConfig { behaviour: setup.behaviour, record: true, ..SimulatorConfig::default() };
        let carrier = simulator::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nshutdown_s = 5\npublic_url = \"https://carillon.test\"\n[accounts]\nfirst_balance_cents = 10_000_000\n[log]\nlevel = \"info\"\n{}\n\
             [[connection]]\nname = \"carrier\"\nkind = \"smpp\"\nhost = \"127.0.0.1\"\nport = {}\nsystem_id = \"test\"\npassword = \"test\"\n{}\n",
            setup.settings,
            carrier.addr().port(),
            setup.connection
        );
        std::fs::write(folder.path().join("carillon.toml"), settings).unwrap();
        let (address, seen) = watch::channel(String::new());
        let api = Api { client: reqwest::Client::new(), address: seen, key: "".into() };
        let mut world = World { carrier, api, folder, database: setup.database, server: None, address };
        world.start().await;
        let key = std::fs::read_to_string(world.folder.path().join("data/first.key")).unwrap();
        world.api.key = key.trim().into();
        world
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Through a shell that ignores SIGXFSZ, which outlives `exec`: a file that may not grow is then an error, as on a full disk.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_carillon")]).args(arguments);
        let file = |name: &str| self.folder.path().join(name);
        command.arg("--config").arg(file("carillon.toml")).arg("--data-folder").arg(file("data"));
        if !self.database.is_empty() {
            command.args(["--database-url", &self.database]);
        }
        command.env_remove(carillon_store::testing::CLUSTER_URL_VARIABLE).kill_on_drop(true);
        command
    }

    /// The server's database, opened beside it.
    pub async fn database(&self) -> Db {
        let file = self.folder.path().join("data/carillon.db");
        let url = if self.database.is_empty() { format!("sqlite:{}", file.display()) } else { self.database.clone() };
        Db::open(&url).await.unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// How many lines of the server's log say so.
    pub fn logged(&self, text: &str) -> usize {
        std::fs::read_to_string(self.log()).unwrap_or_default().lines().filter(|line| line.contains(text)).count()
    }

    /// Starts the server on the data there is and waits until it serves.
    pub async fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it starts in time").unwrap();
        let first = first.expect("it says where it listens");
        let (_, rest) = first.split_once("http://").expect("an address");
        self.address.send_replace(format!("http://{}", rest.split(' ').next().unwrap()));
        // The rest of what it says is read, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.server = Some(child);
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.start_kill().unwrap();
        server.wait().await.unwrap();
    }

    /// SIGTERM, and the wait for an orderly end.
    pub async fn terminate(&mut self) {
        let mut server = self.server.take().unwrap();
        let pid = server.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, server.wait()).await.expect("it ends in time").unwrap();
        assert!(status.success(), "{status}");
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !so().await {
            assert!(
                began.elapsed() < PATIENCE,
                "not in {} s: {what}; carrier: {:?}",
                PATIENCE.as_secs(),
                self.carrier.totals()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the carrier's totals are as wished.
    pub async fn carrier_until(&self, what: &str, so: impl Fn(simulator::Totals) -> bool) {
        self.until(what, async || so(self.carrier.totals())).await;
    }

    /// Waits until no message is on its way; all messages.
    pub async fn ended(&self) -> Vec<Value> {
        // All that may still be sent has money held, which one statement tells; codes are paid before their receipt.
        self.until("nothing is held", async || self.api.held().await == "0.00").await;
        self.until("none is sent", async || !self.api.any("sent").await).await;
        self.api.messages().await
    }

    /// `carillon ledger verify`, and what each message says of its own money.
    pub async fn check_money(&self, messages: &[Value]) {
        for m in messages {
            let success = matches!(m["status"].as_str(), Some("delivered" | "sent"));
            let captured = match m["error"]["code"].as_str() {
                _ if success => m["price"]["amount"].as_str().unwrap(),
                // Of two parts, one.
                Some("partially_delivered") => m["price"]["per_part"].as_str().unwrap(),
                _ => "0.00",
            };
            assert_eq!((&m["price"]["captured"], &m["price"]["held"]), (&captured.into(), &"0.00".into()), "{m}");
        }
        let output = self.command(&["ledger", "verify"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }

    /// All of them ended as `status`, and their money adds up.
    pub async fn all_ended_as(&self, status: &str, count: usize) -> Vec<Value> {
        let messages = self.ended().await;
        assert_eq!(messages.len(), count);
        for m in &messages {
            assert_eq!(m["status"], status, "{}", self.api.history(m["id"].as_str().unwrap()).await);
        }
        self.check_money(&messages).await;
        messages
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the server's last words:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

impl Api {
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.bearer_auth(&*self.key).timeout(PATIENCE).send().await?;
        let headers: HashMap<_, _> =
            response.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("").to_owned())).collect();
        Ok(Answer { status: response.status().as_u16(), headers, text: response.text().await? })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", *self.address.borrow())
    }

    /// POST, with an idempotency key unless it is empty. An error is a server that has gone.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.post(self.url(path)).json(body);
        if !key.is_empty() {
            request = request.header("Idempotency-Key", key);
        }
        self.send(request).await
    }

    /// Sends a message that must be accepted; its id.
    pub async fn message(&self, to: usize, text: &str) -> String {
        let body = serde_json::json!({"to": number(to), "text": text});
        let answer = self.post("/v1/messages", "", &body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Sends a text to so many numbers from the first on, as a batch that must be accepted.
    pub async fn batch(&self, first: usize, count: usize, text: &str) {
        let to: Vec<String> = (first..first + count).map(number).collect();
        let answer = self.post("/v1/batches", "", &serde_json::json!({"to": to, "text": text})).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
    }

    /// POST of a file.
    pub async fn upload(&self, path: &str, content_type: &str, body: String) -> Answer {
        let request = self.client.post(self.url(path)).header("content-type", content_type).body(body);
        self.send(request).await.unwrap()
    }

    /// A carrier calls back.
    pub async fn call_back(&self, path: &str, body: Value) -> Answer {
        let request = self.client.post(self.url(path)).json(&body);
        self.send(request).await.unwrap()
    }

    /// The same, of a server that may be down. The status, if it answered.
    pub async fn try_call_back(&self, path: &str, body: &Value) -> Option<u16> {
        let answer = self.send(self.client.post(self.url(path)).json(body)).await;
        answer.ok().map(|answer| answer.status)
    }

    /// PATCH that must be taken.
    pub async fn patch(&self, path: &str, body: &Value) -> Value {
        let answer = self.send(self.client.patch(self.url(path)).json(body)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// Opens a short link as a phone does. The status, if the server answered.
    pub async fn open(&self, path: &str) -> Option<u16> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let phone = client.get(self.url(path)).header("host", "carillon.test").header("user-agent", "(iPhone)");
        phone.send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// GET of a path that must be there.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send(self.client.get(self.url(path))).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// A message with everything that happened to it.
    pub async fn history(&self, id: &str) -> Value {
        self.get(&format!("/v1/messages/{id}")).await
    }

    /// What is free to spend.
    pub async fn available(&self) -> String {
        self.get("/v1/me").await["balance"]["available"].as_str().unwrap().to_owned()
    }

    /// What open messages hold.
    pub async fn held(&self) -> String {
        self.get("/v1/me").await["balance"]["held"].as_str().unwrap().to_owned()
    }

    async fn page(&self, query: &str) -> (Vec<Value>, Option<String>) {
        let mut page = self.get(&format!("/v1/messages?{query}")).await;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        (page["data"].as_array_mut().map(std::mem::take).unwrap(), next)
    }

    /// Whether any message has this status.
    pub async fn any(&self, status: &str) -> bool {
        let mut query = format!("status={status}&limit=1");
        loop {
            // A page looks at so many messages only, and may be empty although there are more.
            match self.page(&query).await {
                (rows, Some(next)) if rows.is_empty() => query = format!("status={status}&limit=1&cursor={next}"),
                (rows, _) => return !rows.is_empty(),
            }
        }
    }

    /// All messages there are.
    pub async fn messages(&self) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let (rows, next) = self.page(&format!("limit=200{cursor}")).await;
            all.extend(rows);
            let Some(next) = next else { return all };
            cursor = format!("&cursor={next}");
        }
    }
}

/// The n-th of many mobile numbers, none of them one of the sandbox.
pub fn number(n: usize) -> String {
    format!("+49151{:08}", 10_000_000 + n)
}
