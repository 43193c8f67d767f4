//! A database with its writer and reader, and short ways to say what happens to it and what it holds.

use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::{Category, Flags, Lane, State};
use carillon_domain::money::Money;
use carillon_domain::phone::Phone;
use carillon_store::account::{self, NewAccount, StartingCredit};
use carillon_store::hot::{
    Hot, HotReader, IdempotencyKey, IntakeRequest, NewBatch, NewMessage, SettleItem, Settled, SpanKey, Step, Verdict,
};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, ledger, usage};

/// When tests begin: noon of a day, Unix milliseconds.
pub(crate) const NOON: i64 = 1_700_000_000_000 / 86_400_000 * 86_400_000 + 43_200_000;

/// From 1970 on.
pub(crate) const ALL_DAYS: (i32, i32) = (0, 100_000);

/// Price of a part in all tests.
pub(crate) const PRICE: i64 = 5;

pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) hot: Hot,
    pub(crate) reader: HotReader,
    pub(crate) now: i64,
    batches: u64,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn open(url: Option<String>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let url = url.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("t.db").display()));
        let db = Db::open(&url).await.unwrap();
        db.migrate().await.unwrap();
        let hot = Hot::open(&db, 7).await.unwrap();
        let reader = HotReader::open(&db).await.unwrap();
        World { db, hot, reader, now: NOON, batches: 0, _folder: folder }
    }

    pub(crate) async fn both() -> [World; 2] {
        [World::open(None).await, World::open(Some(TestPostgres::start().fresh_database().await)).await]
    }

    /// As after a restart.
    pub(crate) async fn reopen(&mut self) {
        self.hot = Hot::open(&self.db, 1_000_000).await.unwrap();
        self.reader = HotReader::open(&self.db).await.unwrap();
    }

    /// A new account with that much money, in micro-units.
    pub(crate) async fn account(&mut self, credit: i64) -> AccountNo {
        let given = StartingCredit { amount: Money(credit), counter: 2, note: "start", actor: "test" };
        let new = NewAccount {
            id: None,
            counter: 1,
            name: "A",
            currency: "USD",
            settings: Default::default(),
            owner: None,
            credit: (credit > 0).then_some(given),
            now: self.now,
        };
        account::create(&self.db, &new).await.unwrap().no
    }

    pub(crate) async fn intake(&mut self, requests: &[IntakeRequest]) -> Vec<Verdict> {
        self.hot.commit_intake(requests, self.now).await.unwrap()
    }

    /// One message, which must be taken.
    pub(crate) async fn take(&mut self, account: AccountNo, message: NewMessage) -> MessageId {
        match &self.intake(&[one(account, message)]).await[0] {
            Verdict::Accepted { first, .. } => *first,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn settle(&mut self, items: &[SettleItem]) -> Vec<Settled> {
        self.hot.commit_settle(items, &[], self.now).await.unwrap()
    }

    pub(crate) async fn spans_done(&mut self, spans: &[SpanKey]) {
        self.hot.commit_settle(&[], spans, self.now).await.unwrap();
    }

    pub(crate) fn batch(&mut self, account: AccountNo, partial: bool) -> NewBatch {
        self.batches += 1;
        NewBatch {
            id: BatchId::new(self.now, self.batches, account),
            body: Some("Shared".into()),
            client_ref: None,
            tags: None,
            partial,
            refusals: Vec::new(),
        }
    }

    /// `available/held/spent`.
    pub(crate) async fn money(&self, account: AccountNo) -> String {
        let b = ledger::balance(&self.db, account).await.unwrap();
        format!("{}/{}/{}", b.available.0, b.held.0, b.spent.0)
    }

    /// Rows of a query of whole numbers.
    pub(crate) async fn numbers(&self, sql: &str) -> Vec<Vec<Option<i64>>> {
        use sqlx::{AssertSqlSafe, Column as _, Connection as _, Row as _};
        let query = AssertSqlSafe(sql.to_owned());
        match &self.db {
            Db::Sqlite(s) => {
                let url = format!("sqlite:{}", s.path().display());
                let mut c = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let rows = sqlx::query(query).fetch_all(&mut c).await.unwrap();
                rows.iter().map(|r| r.columns().iter().map(|c| r.get(c.ordinal())).collect()).collect()
            }
            Db::Postgres(p) => {
                let rows = sqlx::query(query).fetch_all(p).await.unwrap();
                rows.iter().map(|r| r.columns().iter().map(|c| r.get(c.ordinal())).collect()).collect()
            }
        }
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.numbers(&format!("SELECT COUNT(*) FROM {from}")).await[0][0].unwrap()
    }

    /// An id as SQL text of this database.
    pub(crate) fn literal(&self, id: uuid::Uuid) -> String {
        match &self.db {
            Db::Sqlite(_) => format!("X'{}'", id.simple()),
            Db::Postgres(_) => format!("'{id}'"),
        }
    }

    /// A message for the eye: `sent, held 5, paid 0, code -`, and `!` in front once it is closed.
    pub(crate) async fn show(&self, id: MessageId) -> String {
        let sql = format!(
            "SELECT CAST(state AS BIGINT), held, captured, CAST(error_code AS BIGINT), final_at FROM message WHERE account_no = {} AND id = {}",
            id.account().0,
            self.literal(id.0)
        );
        let Some(row) = self.numbers(&sql).await.into_iter().next() else { return "gone".into() };
        let state = State::from_number(row[0].unwrap() as i16).unwrap().as_str();
        let code = row[3].map_or("-".to_owned(), |n| n.to_string());
        let closed = if row[4].is_some() { "!" } else { "" };
        format!("{closed}{state}, held {}, paid {}, code {code}", row[1].unwrap(), row[2].unwrap())
    }

    pub(crate) async fn verify(&self, what: &str) {
        let mut differences = Vec::new();
        ledger::verify(&self.db, |d| differences.push(d)).await.unwrap();
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        self.verify_usage(what).await;
        while usage::fold(&self.db).await.unwrap() > 0 {}
        self.verify_usage(what).await;
    }

    async fn verify_usage(&self, what: &str) {
        let mut differences = Vec::new();
        usage::verify(&self.db, ALL_DAYS, |d| differences.push(d)).await.unwrap();
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
}

/// Runs one test on a fresh database of each kind, and verifies ledger and usage after it.
pub(crate) async fn on_both(test: impl AsyncFn(&mut World)) {
    for mut world in World::both().await {
        test(&mut world).await;
        world.verify("after the test").await;
    }
}

pub(crate) fn message(phone: u64, parts: u8) -> NewMessage {
    NewMessage {
        index: 0,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: Flags::default(),
        encoding: 0,
        parts,
        phone,
        phone_tag: phone as i64,
        country: Phone::from_digits(phone).and_then(Phone::country),
        sender: Some("Shop".into()),
        body: "Hello".into(),
        own_body: true,
        otp_code: None,
        unit_price: Money(PRICE),
        reference: (parts > 1).then_some(9),
        due_at: None,
        expires_at: NOON + 3_600_000,
        extra: None,
    }
}

/// Messages of a batch, one part each, whose body is the batch's.
pub(crate) fn shared(count: u32) -> Vec<NewMessage> {
    let nth = |i| NewMessage {
        index: i,
        lane: Lane::Bulk,
        body: "Shared".into(),
        own_body: false,
        ..message(4_915_100_000_000 + u64::from(i), 1)
    };
    (0..count).map(nth).collect()
}

pub(crate) fn one(account: AccountNo, message: NewMessage) -> IntakeRequest {
    IntakeRequest { account, key: None, step: Step::Message, messages: vec![message] }
}

pub(crate) fn keyed(account: AccountNo, message: NewMessage, key: u8, body: u8) -> IntakeRequest {
    let key = Some(IdempotencyKey { key: [key; 16], fingerprint: [body; 16] });
    IntakeRequest { key, ..one(account, message) }
}

/// A verdict for the eye.
pub(crate) fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted { count, refusals, .. } if refusals.is_empty() => format!("accepted {count}"),
        Verdict::Accepted { count, refusals, .. } => {
            let codes: Vec<String> = refusals.iter().map(|(i, code)| format!("{i} {code}")).collect();
            format!("accepted {count}, not {}", codes.join(", "))
        }
        Verdict::Replayed { .. } => "replayed".into(),
        Verdict::KeyReused => "key reused".into(),
        Verdict::Short { needed, available } => format!("short: {} of {}", available.0, needed.0),
        Verdict::NoAccount => "no account".into(),
        Verdict::Stale => "stale".into(),
    }
}
