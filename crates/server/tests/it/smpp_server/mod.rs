//! Customers bind by SMPP, over real sockets, with our own client and with octets of our own.

mod binds;
mod credentials;
mod deliveries;
mod hostile;
mod inbound;
mod kannel;
mod replace;
mod submits;

use std::collections::VecDeque;
use std::time::Duration;

use carillon::config::Config;
use carillon::pipeline::Inbound;
use carillon::smpp_server::{self, Running};
use carillon_smpp::{
    BindKind, ClientConfig, CommandStatus, ConnectError, DeliverSm, Event, Events, Limits, Listener, Pdu, ReplyTo,
    ServerConfig, Session, SubmitSm, connect,
};
use carillon_store::account::Account;
use serde_json::{Value, json};

use crate::app::TestApp;

/// Nothing takes this long unless it is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that customers can bind to, and an account with a key.
pub struct Smpp {
    pub t: TestApp,
    pub running: Running,
    pub account: Account,
    pub key: String,
}

/// What was made by `POST /v1/smpp-credentials`.
#[derive(Clone, Debug)]
pub struct Credential {
    pub id: String,
    pub system_id: String,
    pub password: String,
}

impl Smpp {
    pub async fn start() -> Smpp {
        Smpp::with(|_| {}).await
    }

    /// With one connection, to the carrier that listens there and has taken no bind yet.
    pub async fn with_carrier() -> (Smpp, Listener) {
        let carrier = Listener::bind(([127, 0, 0, 1], 0).into(), ServerConfig::default()).await.unwrap();
        let port = carrier.local_addr().unwrap().port();
        let s = Smpp::with(|c| {
            let text = format!("[[connection]]\nname = \"c\"\nkind = \"smpp\"\nhost = \"127.0.0.1\"\nport = {port}\nsystem_id = \"a\"\npassword = \"b\"\n");
            let sources = carillon::config::Sources { file: Some(("test".into(), text)), ..Default::default() };
            c.connections = carillon::config::load(&sources).unwrap().config.connections;
        })
        .await;
        (s, carrier)
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Smpp {
        let t = TestApp::with(|config| {
            config.smpp_server.listen = "127.0.0.1:0".into();
            config.sandbox.receipt_delay_ms = 5;
            change(config);
        })
        .await;
        let running = smpp_server::start(&t.app).await.unwrap();
        let (account, key) = t.account("customer").await;
        Smpp { t, running, account, key }
    }

    /// A credential without a rate (the clock of these tests stands still), and what the body says.
    pub async fn credential(&self, body: Value) -> Credential {
        let mut whole = json!({"name": "test", "rate": 0});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let made = self.t.post("/v1/smpp-credentials", &self.key, whole).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
        Credential { id: text("id"), system_id: text("system_id"), password: text("password") }
    }

    pub fn config(&self, credential: &Credential, bind: BindKind) -> ClientConfig {
        ClientConfig {
            port: self.running.address.unwrap().port(),
            system_id: credential.system_id.clone(),
            password: credential.password.clone(),
            bind,
            limits: Limits { window: 1_000, ..Limits::default() },
            ..ClientConfig::default()
        }
    }

    pub async fn bind(&self, credential: &Credential, kind: BindKind) -> Client {
        Client::new(connect(&self.config(credential, kind)).await.unwrap())
    }

    /// The status a bind is refused with; ROK if it is not.
    pub async fn refusal(&self, credential: &Credential) -> CommandStatus {
        match connect(&self.config(credential, BindKind::Transceiver)).await {
            Ok(_) => CommandStatus::ROK,
            Err(ConnectError::Refused(status)) => status,
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives the account a number that phones can write to.
    pub async fn own_number(&self, number: &str) {
        let (_, operator) = self.t.operator().await;
        let body = json!({"number": format!("+{number}"), "account": self.account.id});
        let made = self.t.post("/v1/admin/inbound-numbers", &operator, body).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }

    /// A phone writes to that number; it is stored when this returns.
    pub async fn write(&self, from: &str, to: &str, text: &str) {
        let id = Some(format!("{from} {text}"));
        let inbound = Inbound::text(0, id, from.into(), to.into(), text, 0);
        self.t.app.pipeline.take_inbound(inbound).await.unwrap();
    }

    pub async fn message(&self, id: &str) -> Value {
        let answer = self.t.get(&format!("/v1/messages/{id}"), &self.key).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let began = tokio::time::Instant::now();
        while !so().await {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A customer's session.
pub struct Client {
    pub session: Session,
    events: Events,
    waiting: VecDeque<Event>,
}

impl Client {
    pub fn new((session, events): (Session, Events)) -> Client {
        Client { session, events, waiting: VecDeque::new() }
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            let mut batch = Vec::new();
            let more = tokio::time::timeout(PATIENCE, self.events.recv_many(&mut batch)).await;
            assert!(more.expect("an event in time"), "the session is over");
            self.waiting.extend(batch);
        }
        self.waiting.pop_front().unwrap()
    }

    /// Submits and waits for its answer: the id, or the status that refuses it.
    pub async fn submit<B: AsRef<[u8]>>(&mut self, sm: &SubmitSm<B>) -> Result<String, CommandStatus> {
        self.session.submit(sm, 0).unwrap();
        loop {
            if let Event::SubmitResp { result, .. } = self.next().await {
                return result.map(|id| String::from_utf8(id.to_vec()).unwrap());
            }
        }
    }

    /// Asks anything else and waits for its answer.
    pub async fn ask<B: AsRef<[u8]>>(&mut self, pdu: &Pdu<B>) -> (CommandStatus, Pdu) {
        self.session.request(pdu, 0).unwrap();
        loop {
            if let Event::Response { status, pdu, .. } = self.next().await {
                return (status, pdu);
            }
        }
    }

    /// The next deliver_sm, not yet acknowledged.
    pub async fn delivery(&mut self) -> (ReplyTo, DeliverSm) {
        loop {
            if let Event::Deliver { to, sm } = self.next().await {
                return (to, sm);
            }
        }
    }

    /// The next receipt, acknowledged: the id it names and its state.
    pub async fn receipt(&mut self) -> (String, String) {
        let (to, sm) = self.delivery().await;
        self.session.respond_deliver(to, CommandStatus::ROK);
        let receipt = carillon_smpp::Receipt::of(&sm).expect("a receipt");
        (receipt.id.into_owned(), receipt.stat.into_owned())
    }

    /// Whether nothing is delivered while a question is asked and answered.
    pub async fn is_quiet(&mut self) -> bool {
        let query = carillon_smpp::pdu::QuerySm::<&[u8]> { message_id: b"none", ..Default::default() };
        self.session.request(&Pdu::QuerySm(query), 99).unwrap();
        loop {
            match self.next().await {
                Event::Response { token: 99, .. } => return true,
                Event::Deliver { .. } => return false,
                _ => {}
            }
        }
    }
}

/// The n-th of many mobile numbers, none of them one of the sandbox; without +.
pub fn number(n: usize) -> String {
    format!("49151{:08}", 10_000_000 + n)
}

/// A text to a number, with the default coding and a receipt wanted.
pub fn sm<'a>(to: &'a str, text: &'a [u8]) -> SubmitSm<&'a [u8]> {
    SubmitSm {
        source: carillon_smpp::Address { ton: 5, npi: 0, addr: b"Shop" },
        destination: carillon_smpp::Address { ton: 1, npi: 1, addr: to.as_bytes() },
        registered_delivery: 1,
        short_message: text,
        ..SubmitSm::default()
    }
}
