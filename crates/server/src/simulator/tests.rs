//! The simulator as a client meets it.

use super::*;
use carillon_smpp::message_id::{IdRule, convert};
use carillon_smpp::pdu::{CancelSm, QuerySm};
use carillon_smpp::receipt::State;
use carillon_smpp::{Address, BindKind, ClientConfig, Events, Pdu, Receipt, Session, SubmitSm, connect};
use std::collections::VecDeque;

struct Client {
    session: Session,
    events: Events,
    waiting: VecDeque<Event>,
}

impl Client {
    async fn bound(simulator: &Simulator, bind: BindKind) -> Self {
        let limits = Limits { window: 5000, ..Limits::default() };
        let system_id = "user".to_owned();
        let config = ClientConfig { port: simulator.addr().port(), system_id, bind, limits, ..ClientConfig::default() };
        let (session, events) = connect(&config).await.unwrap();
        Self { session, events, waiting: VecDeque::new() }
    }

    async fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            let mut batch = Vec::new();
            assert!(self.events.recv_many(&mut batch).await, "the session is over");
            self.waiting.extend(batch);
        }
        self.waiting.pop_front().unwrap()
    }

    fn submit(&self, destination: &str, text: &str, token: u64) {
        let sm = SubmitSm {
            source: Address { ton: 5, npi: 0, addr: &b"Carillon"[..] },
            destination: Address { ton: 1, npi: 1, addr: destination.as_bytes() },
            registered_delivery: 1,
            short_message: text.as_bytes(),
            ..SubmitSm::default()
        };
        self.session.submit(&sm, token).unwrap();
    }

    /// The next event in a few words; receipts are acknowledged.
    async fn told(&mut self) -> String {
        match self.next().await {
            Event::SubmitResp { token, result: Ok(id), .. } => format!("{token} ok {}", String::from_utf8_lossy(&id)),
            Event::SubmitResp { token, result: Err(status), .. } => format!("{token} {}", status.name().unwrap_or("?")),
            Event::Deliver { to, sm } => {
                self.session.respond_deliver(to, CommandStatus::ROK);
                let receipt = Receipt::of(&sm).unwrap();
                format!("{} {} for {}", receipt.id, receipt.stat, sm.source.text())
            }
            Event::Closed { unanswered, .. } => format!("closed {unanswered:?}"),
            other => panic!("{other:?}"),
        }
    }
}

fn quick() -> Behaviour {
    Behaviour { receipt_delay: Duration::ZERO, ..Behaviour::default() }
}

async fn simulator(behaviour: Behaviour) -> Simulator {
    start(SimulatorConfig { behaviour, record: true, ..SimulatorConfig::default() }).await.unwrap()
}

const NUMBER: &str = "4915112345678";

#[tokio::test]
async fn each_number_is_answered_and_reported_as_documented() {
    let table: [(&str, &[&str]); 8] = [
        (NUMBER, &["7 ok #", "# DELIVRD for 4915112345678"]),
        ("15005550101", &["7 RINVDSTADR"]),
        ("15005550102", &["7 ok #", "# UNDELIV for 15005550102"]),
        ("15005550002", &["7 ok #"]),
        (
            "15005550005",
            &["7 ok #", "# DELIVRD for 15005550005", "# DELIVRD for 15005550005", "# DELIVRD for 15005550005"],
        ),
        ("15005550006", &["# DELIVRD for 15005550006", "7 ok #"]),
        (
            "15005550007",
            &["7 ok #", "# ENROUTE for 15005550007", "# ACCEPTD for 15005550007", "# DELIVRD for 15005550007"],
        ),
        ("15005550009", &["7 ok #", "# DELIVRD for 15005550009", "# UNDELIV for 15005550009"]),
    ];
    for (number, wanted) in table {
        let simulator = simulator(quick()).await;
        let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
        client.submit(number, "hello", 7);
        for wanted in wanted {
            assert_eq!(client.told().await.replace("0000000001", "#"), *wanted, "{number}");
        }
        simulator.shutdown().await;
        assert!(client.told().await.starts_with("closed"), "{number}: nothing else came");
    }
}

#[tokio::test]
async fn some_numbers_refuse_twice_and_then_deliver() {
    let simulator = simulator(quick()).await;
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    for wanted in ["7 RTHROTTLED", "7 RTHROTTLED", "7 ok 0000000001"] {
        client.submit("15005550004", "hello", 7);
        assert_eq!(client.told().await, wanted);
    }
}

#[tokio::test]
async fn a_lost_link_loses_answers_and_not_receipts_and_duplicates_are_seen() {
    let simulator = simulator(quick()).await;
    let mut client = Client::bound(&simulator, BindKind::Transmitter).await;
    simulator.pause_answers(true);
    client.submit(NUMBER, "hello", 7);
    client.submit("15005550002", "once", 8);
    // The query is behind the submits, so that its answer says that they are taken.
    client.session.request(&Pdu::QuerySm(QuerySm { message_id: &b"1"[..], ..QuerySm::default() }), 9).unwrap();
    let Event::Response { token: 9, status: CommandStatus::ROK, .. } = client.next().await else { panic!() };
    simulator.drop_links();
    assert_eq!(client.told().await, "closed [7, 8]");
    simulator.pause_answers(false);
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    assert_eq!(client.told().await, "0000000001 DELIVRD for 4915112345678");
    client.submit(NUMBER, "hello", 7);
    assert_eq!(client.told().await, "7 ok 0000000003");
    assert_eq!((simulator.times_taken(NUMBER, b"hello"), simulator.times_taken("15005550002", b"once")), (2, 1));
    assert_eq!(simulator.taken_again(), [(NUMBER.to_owned(), 2)]);
    let totals = simulator.totals();
    assert_eq!((totals.submits, totals.accepted, totals.distinct, totals.binds), (3, 3, 2, 2));
}

#[tokio::test]
async fn a_receipt_not_acknowledged_is_sent_again_over_the_next_bind() {
    let simulator = simulator(quick()).await;
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    client.submit(NUMBER, "hello", 7);
    assert_eq!(client.told().await, "7 ok 0000000001");
    let Event::Deliver { .. } = client.next().await else { panic!() };
    client.session.close();
    client.session.closed().await;
    let mut client = Client::bound(&simulator, BindKind::Receiver).await;
    assert_eq!(client.told().await, "0000000001 DELIVRD for 4915112345678");
}

#[tokio::test]
async fn binds_queries_and_cancels_are_judged() {
    let config = SimulatorConfig { credentials: Some(("user".into(), "secret".into())), ..SimulatorConfig::default() };
    let simulator = start(config).await.unwrap();
    let table = [
        ("user", "secret", None, None),
        ("user", "wrong", None, Some(CommandStatus::RINVPASWD)),
        ("other", "secret", None, Some(CommandStatus::RINVSYSID)),
        ("user", "secret", Some(CommandStatus::RSYSERR), Some(CommandStatus::RSYSERR)),
    ];
    for (system_id, password, refuse, wanted) in table {
        simulator.refuse_binds(refuse);
        let config = ClientConfig {
            port: simulator.addr().port(),
            system_id: system_id.to_owned(),
            password: password.to_owned(),
            ..ClientConfig::default()
        };
        let refused = match connect(&config).await {
            Err(carillon_smpp::ConnectError::Refused(status)) => Some(status),
            other => other.map(|_| None).unwrap(),
        };
        assert_eq!(refused, wanted, "{system_id} {password}");
    }
    drop(simulator);
    let simulator = start(SimulatorConfig::default()).await.unwrap();
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    client.submit(NUMBER, "hello", 7);
    assert_eq!(client.told().await, "7 ok 0000000001");
    let cancel = |id: &'static str| Pdu::CancelSm(CancelSm { message_id: id.as_bytes(), ..CancelSm::default() });
    for (id, wanted) in
        [("0000000001", CommandStatus::ROK), ("1", CommandStatus::RCANCELFAIL), ("x", CommandStatus::RCANCELFAIL)]
    {
        client.session.request(&cancel(id), 8).unwrap();
        let Event::Response { token: 8, status, .. } = client.next().await else { panic!() };
        assert_eq!(status, wanted, "{id}");
    }
    assert_eq!(client.told().await, "0000000001 DELETED for 4915112345678");
}

#[tokio::test]
async fn faults_at_random_lose_nothing_that_should_come() {
    const COUNT: u64 = 2_000;
    let behaviour = Behaviour {
        receipt_jitter: Duration::from_millis(30),
        failure_percent: 20.0,
        throttle_percent: 10.0,
        duplicate_percent: 10.0,
        early_percent: 10.0,
        late_percent: 10.0,
        late_by: Duration::from_millis(20),
        out_of_order: true,
        dialect: Dialect::HexIds,
        ..quick()
    };
    let simulator = simulator(behaviour).await;
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    for token in 0..COUNT {
        client.submit(NUMBER, &token.to_string(), token);
    }
    let (mut accepted, mut refused, mut states) =
        (std::collections::HashSet::new(), 0, std::collections::HashMap::new());
    while accepted.len() + refused < COUNT as usize || states.len() < accepted.len() {
        match client.next().await {
            Event::SubmitResp { result: Ok(id), .. } => {
                let id = convert(IdRule::HexToDec, std::str::from_utf8(&id).unwrap()).parse::<u64>().unwrap();
                assert!(accepted.insert(id));
            }
            Event::SubmitResp { result: Err(_), .. } => refused += 1,
            Event::Deliver { to, sm } => {
                client.session.respond_deliver(to, CommandStatus::ROK);
                let receipt = Receipt::of(&sm).unwrap();
                *states.entry(receipt.id.parse::<u64>().unwrap()).or_insert(receipt.state.unwrap()) =
                    receipt.state.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    let failed = states.values().filter(|state| **state == State::Undeliverable).count();
    assert!(accepted.iter().all(|id| states.contains_key(id)));
    assert!(refused > 100 && refused < 300 && failed > 200 && failed < 600, "{refused} {failed}");
    let totals = simulator.totals();
    assert_eq!((totals.submits, totals.throttled), (COUNT, refused as u64));
    assert!((1..=COUNT).contains(&totals.busiest), "{totals:?}");
    assert_eq!((totals.accepted, totals.distinct), (accepted.len() as u64, accepted.len() as u64));
}

#[tokio::test]
async fn a_rate_is_kept_to_and_no_window_is_overrun() {
    let behaviour = Behaviour { submit_rate: 50, ..quick() };
    let simulator = start(SimulatorConfig { behaviour, window: 2, ..SimulatorConfig::default() }).await.unwrap();
    let mut client = Client::bound(&simulator, BindKind::Transceiver).await;
    for token in 0..20 {
        client.submit(NUMBER, "x", token);
    }
    let mut receipts = 0;
    let mut answers = Vec::new();
    while answers.len() < 20 || receipts < answers.iter().filter(|accepted| **accepted).count() {
        match client.next().await {
            Event::SubmitResp { result, .. } => answers.push(result.is_ok()),
            Event::Deliver { to, .. } => {
                receipts += 1;
                client.session.respond_deliver(to, CommandStatus::ROK);
            }
            other => panic!("{other:?}"),
        }
    }
    let accepted = answers.iter().filter(|accepted| **accepted).count();
    assert!((5..20).contains(&accepted), "{accepted}: a tenth of a second's worth at once, and what a slow test adds");
}
