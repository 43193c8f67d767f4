//! One contract for SMPP credentials, what waits for them, and what replace_sm does, run on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, ConversationId, EntryId, InboundId, MessageId, SmppCredentialId, compose};
use carillon_domain::inbound::{Body, Piece, Writing};
use carillon_domain::keyword::Action;
use carillon_domain::message::{Category, Flags, Lane, State};
use carillon_domain::money::Money;
use carillon_domain::smpp::{CredentialSettings, InboundForm};
use carillon_store::account::{self, NewAccount};
use carillon_store::hot::{Hot, HotReader, IntakeRequest, NewMessage, SettleItem, Step, Verdict};
use carillon_store::inbound::{self, Arrival, Judged, Patience, Stored};
use carillon_store::ledger::{self, Entry, EntryKind};
use carillon_store::message;
use carillon_store::replacement::{self, ReplaceError};
use carillon_store::smpp_credential::{self, Change, SmppCredential};
use carillon_store::smpp_delivery::{self, Content};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, StoreError};
use uuid::Uuid;

/// Runs one test on a fresh database of each kind, with an account in it.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db, AccountNo) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Db::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.unwrap();
    let postgres = Db::open(&TestPostgres::start().fresh_database().await).await.unwrap();
    for db in [sqlite, postgres] {
        db.migrate().await.unwrap();
        let new = NewAccount {
            id: None,
            counter: 1,
            name: "A",
            currency: "USD",
            settings: Settings::default(),
            owner: None,
            credit: None,
            now: 1_000,
        };
        let account = account::create(&db, &new).await.unwrap().no;
        test(db.clone(), account).await;
        db.close().await;
    }
}

fn credential(account: AccountNo, n: u64) -> SmppCredential {
    SmppCredential {
        id: SmppCredentialId::new(1_000, n, account),
        account,
        no: 0,
        name: format!("credential {n}"),
        system_id: format!("system{n}"),
        password_hash: "hash".into(),
        settings: CredentialSettings::default(),
        enabled: true,
        created_at: 1_000,
        bound_at: None,
    }
}

#[tokio::test]
async fn credentials() {
    on_both(async |db, account| {
        let first = smpp_credential::create(&db, &credential(account, 1)).await.unwrap();
        let second = smpp_credential::create(&db, &credential(account, 2)).await.unwrap();
        assert_eq!((first.no, second.no), (1, 2));
        let twice = SmppCredential { id: SmppCredentialId::new(1_000, 9, account), ..credential(account, 1) };
        assert!(matches!(smpp_credential::create(&db, &twice).await, Err(StoreError::Taken(_))));

        let settings = CredentialSettings { window: 3, ..CredentialSettings::default() };
        let change = Change { settings: Some(settings.clone()), enabled: Some(false), ..Change::default() };
        let changed = smpp_credential::change(&db, account, first.id, &change).await.unwrap();
        assert_eq!((changed.settings, changed.enabled, &*changed.password_hash), (settings, false, "hash"));
        smpp_credential::touch(&db, account, first.id, 5_000).await.unwrap();
        let found = smpp_credential::by_system_id(&db, "system1").await.unwrap().unwrap();
        assert_eq!((found.id, found.bound_at, &*found.name), (first.id, Some(5_000), "credential 1"));

        let stranger = AccountNo(account.0 + 1);
        assert!(matches!(smpp_credential::by_id(&db, stranger, first.id).await, Err(StoreError::NotFound)));
        assert!(matches!(smpp_credential::change(&db, stranger, first.id, &change).await, Err(StoreError::NotFound)));
        assert!(matches!(smpp_credential::delete(&db, stranger, first.id, 9).await, Err(StoreError::NotFound)));

        smpp_credential::delete(&db, account, second.id, 9_000).await.unwrap();
        assert!(smpp_credential::by_system_id(&db, "system2").await.unwrap().is_none());
        assert!(matches!(smpp_credential::delete(&db, account, second.id, 9_000).await, Err(StoreError::NotFound)));
        // A number is in the flags of old messages: it is not given again.
        assert_eq!(smpp_credential::create(&db, &credential(account, 3)).await.unwrap().no, 3);
        let listed = smpp_credential::list(&db, account, None, 10).await.unwrap();
        assert_eq!(listed.iter().map(|c| c.no).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(smpp_credential::list(&db, account, Some(listed[0].id), 10).await.unwrap().len(), 1);
    })
    .await;
}

/// A phone writes, and its message gets an id of that time.
async fn hear(db: &Db, account: AccountNo, ms: i64) -> Stored {
    let text = format!("written at {ms}");
    let arrival = Arrival {
        connection: 0,
        account,
        number: "4915735983801".into(),
        peer: "+4915112345678".into(),
        peer_tag: 7,
        part: None,
        piece: Piece { index: 1, octets: text.into_bytes(), writing: Writing::Text },
        carrier_at: None,
        fingerprint: ms,
        repeats_until: i64::MAX,
        at: ms,
    };
    let judge = move |account, _: &str, _: &str, whole: carillon_domain::inbound::Whole| Judged {
        id: InboundId::new(ms, 1, account),
        conversation: ConversationId::new(ms, 1, account),
        body: if let Body::Text(text) = whole.body { text } else { String::new() },
        is_binary: false,
        action: Action::None,
        rule: None,
        event: None,
    };
    let patience = Patience { parts: 1_000, repeats: 1_000_000 };
    inbound::receive(db, &[arrival], patience, ms, &judge).await.unwrap()
}

#[tokio::test]
async fn who_is_handed_what_phones_write() {
    on_both(async |db, account| {
        let made = async |n, change: Change| {
            let made = smpp_credential::create(&db, &credential(account, n)).await.unwrap();
            smpp_credential::change(&db, account, made.id, &change).await.unwrap()
        };
        let none = CredentialSettings { inbound: InboundForm::None, ..CredentialSettings::default() };
        let wants = made(1, Change::default()).await;
        made(2, Change { settings: Some(none), ..Change::default() }).await;
        made(3, Change { enabled: Some(false), ..Change::default() }).await;
        let gone = made(4, Change::default()).await;
        smpp_credential::delete(&db, account, gone.id, 9_000).await.unwrap();
        let too = made(5, Change::default()).await;
        let stored = hear(&db, account, 1_000).await;
        assert_eq!(stored.messages, [InboundId::new(1_000, 1, account)]);
        assert_eq!(stored.owed, [(account, wants.no), (account, too.no)]);
        assert_eq!(hear(&db, account, 1_000).await, Stored::default(), "the same again is handed over once");
        for no in 1..=5 {
            let waiting = smpp_delivery::oldest(&db, account, no, 10).await.unwrap();
            assert_eq!(waiting.len(), usize::from([wants.no, too.no].contains(&no)), "{no}");
        }
        // To a number that is nobody's: there is nobody to hand it to.
        let nobodys = hear(&db, AccountNo::PLATFORM, 2_000).await;
        assert_eq!((nobodys.messages.len(), nobodys.owed.len()), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn what_waits() {
    on_both(async |db, account| {
        let no = smpp_credential::create(&db, &credential(account, 1)).await.unwrap().no;
        let seq = |ms| compose(ms, 1, account);
        for ms in [3_000, 1_000, 2_000] {
            hear(&db, account, ms).await;
        }
        let waiting = async || -> Vec<Uuid> {
            smpp_delivery::oldest(&db, account, no, 10).await.unwrap().into_iter().map(|d| d.seq).collect()
        };
        assert_eq!(waiting().await, [seq(1_000), seq(2_000), seq(3_000)]);
        let first = smpp_delivery::oldest(&db, account, no, 1).await.unwrap();
        let Content::Inbound(Some(inbound)) = &first[0].content else { panic!("{first:?}") };
        let told = [&*inbound.number, &inbound.peer, &inbound.body];
        assert_eq!(told, ["4915735983801", "+4915112345678", "written at 1000"]);
        assert_eq!((inbound.id, inbound.is_binary), (seq(1_000), false));
        assert!(smpp_delivery::oldest(&db, AccountNo(account.0 + 1), no, 10).await.unwrap().is_empty());
        assert!(smpp_delivery::oldest(&db, account, no + 1, 10).await.unwrap().is_empty());

        let many: Vec<Uuid> = (0..500).map(|n| seq(10_000 + n)).chain([seq(2_000)]).collect();
        smpp_delivery::delete(&db, account, no, &many).await.unwrap();
        assert_eq!(waiting().await, [seq(1_000), seq(3_000)]);
        assert_eq!(smpp_delivery::delete_older(&db, 1_500, 10).await.unwrap(), 1);
        assert_eq!(smpp_delivery::delete_older(&db, 1_500, 10).await.unwrap(), 0);
        assert_eq!(waiting().await, [seq(3_000)]);
        let id = smpp_credential::list(&db, account, None, 1).await.unwrap()[0].id;
        smpp_credential::delete(&db, account, id, 9_000).await.unwrap();
        assert!(waiting().await.is_empty());
    })
    .await;
}

fn message(text: &str, parts: u8, due_at: Option<i64>) -> NewMessage {
    NewMessage {
        index: 0,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: Flags::default(),
        encoding: 0,
        parts,
        phone: 4_915_112_345_678,
        phone_tag: 7,
        country: None,
        sender: Some("Shop".into()),
        body: text.into(),
        own_body: true,
        otp_code: None,
        unit_price: Money::from_cents(5),
        reference: (parts > 1).then_some(9),
        due_at,
        expires_at: 90_000,
        extra: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_text_with_its_hold_and_its_time_or_nothing() {
    on_both(async |db, account| {
        let entry = Entry {
            id: EntryId::new(1_000, 1, account),
            kind: EntryKind::TopUp,
            amount: Money::from_cents(20),
            note: String::new(),
            actor: String::new(),
            created_at: 1_000,
        };
        ledger::add(&db, account, &entry).await.unwrap();
        let mut hot = Hot::open(&db, 7).await.unwrap();
        let messages = vec![message("later", 1, Some(5_000))];
        let request = IntakeRequest { account, key: None, step: Step::Message, messages };
        let Verdict::Accepted { first: id, .. } = hot.commit_intake(&[request], 1_000).await.unwrap()[0] else {
            panic!("it is paid for")
        };
        let read = async || message::by_id(&db, account, id).await.unwrap();
        let money = async || {
            let balance = ledger::balance(&db, account).await.unwrap();
            (balance.available.0 / 10_000, balance.held.0 / 10_000)
        };
        let due = async || {
            let mut reader = HotReader::open(&db).await.unwrap();
            let all = reader.due_messages((0, AccountNo(0), MessageId(Uuid::nil())), i64::MAX, 10).await.unwrap();
            all.into_iter().map(|(at, m)| (at, m.body.to_string(), m.parts.as_slice().len())).collect::<Vec<_>>()
        };
        let before = read().await;
        assert_eq!(money().await, (15, 5));
        replacement::replace(&db, &before, &message("sooner and longer", 3, Some(4_000))).await.unwrap();
        let after = read().await;
        assert_eq!(
            (&*after.body, after.parts, after.held, after.due_at),
            ("sooner and longer", 3, Money::from_cents(15), Some(4_000))
        );
        assert_eq!((money().await, due().await), ((5, 15), vec![(4_000, "sooner and longer".into(), 3)]));

        let short = replacement::replace(&db, &after, &message("far too long", 5, Some(4_000))).await;
        assert!(matches!(short, Err(ReplaceError::Short)), "{short:?}");
        let stale = replacement::replace(&db, &before, &message("other", 1, Some(4_000))).await;
        assert!(matches!(stale, Err(ReplaceError::Changed { waits: true })), "{stale:?}");
        assert_eq!((&*read().await.body, money().await, due().await.len()), ("sooner and longer", (5, 15), 1));

        let error = carillon_domain::error_code::ErrorCode::Canceled.number();
        let end = SettleItem::End { id, state: State::Canceled, error, unknown_too: false };
        hot.commit_settle(&[end], &[], 2_000).await.unwrap();
        let ended = replacement::replace(&db, &read().await, &message("other", 1, None)).await;
        assert!(matches!(ended, Err(ReplaceError::Changed { waits: false })), "{ended:?}");
        assert_eq!((money().await, due().await.len()), ((20, 0), 0));
    })
    .await;
}
