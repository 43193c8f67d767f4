//! What a message costs in the two functions of the hot path, on SQLite: CPU and wall time per message as a table.
//! `cargo run --release -p carillon-store --example hot_cost [folder for the file]`

use std::path::Path;
use std::time::{Duration, Instant};

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Category, Flags, Lane};
use carillon_domain::money::Money;
use carillon_store::Db;
use carillon_store::account::{self, NewAccount, StartingCredit};
use carillon_store::checkpoint::Checkpointer;
use carillon_store::hot::{
    Hot, IntakeRequest, NewMessage, Outcome, PartResult, Receipt, ReceiptKind, SettleItem, Step, Verdict,
};

const NOW: i64 = 1_700_000_000_000;

type Failure = Box<dyn std::error::Error>;

fn message(phone: u64) -> NewMessage {
    NewMessage {
        index: 0,
        lane: Lane::Normal,
        category: Category::Transactional,
        flags: Flags::default(),
        encoding: 0,
        parts: 1,
        phone,
        phone_tag: phone.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64,
        country: None,
        sender: Some("Carillon".into()),
        body: "Your parcel arrives today between 10 and 12. Track it at example.com/t/83YF".into(),
        own_body: true,
        otp_code: None,
        unit_price: Money(50_000),
        reference: None,
        due_at: None,
        expires_at: NOW + 86_400_000,
        extra: None,
    }
}

fn accepted(id: MessageId, n: usize) -> SettleItem {
    let result = PartResult::Accepted { carrier_id: format!("{:08x}", n.wrapping_mul(0x9e37_79b9)), receipts: true };
    let phone_tag = n as i64;
    let (sender, claimed) = (None, false);
    SettleItem::Outcome(Outcome {
        id,
        part: 0,
        attempt: 1,
        connection: 1,
        phone_tag,
        sender,
        at: NOW,
        result,
        claimed,
        mms: false,
    })
}

fn delivered(n: usize) -> SettleItem {
    SettleItem::Receipt(Receipt {
        connection: 1,
        carrier_id: format!("{:08x}", n.wrapping_mul(0x9e37_79b9)),
        phone_tag: Some(n as i64),
        sender: None,
        kind: ReceiptKind::Delivered,
        scope: Default::default(),
        reroute: false,
        carrier_error: None,
        at: NOW,
    })
}

/// CPU time of this process so far, both in user and in kernel mode (Linux).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

struct Meter {
    wall: Duration,
    cpu: Duration,
}

impl Meter {
    #[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
    async fn of<T>(&mut self, work: impl Future<Output = T>) -> T {
        let (cpu_before, wall_before) = (cpu(), Instant::now());
        let out = work.await;
        self.wall += wall_before.elapsed();
        self.cpu += cpu() - cpu_before;
        out
    }

    fn show(&self, messages: usize) -> String {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / messages as f64;
        format!("{:6.1} ({:5.1})", each(self.wall), each(self.cpu))
    }
}

async fn settle(hot: &mut Hot, items: Vec<SettleItem>, batch: usize) -> Result<Meter, Failure> {
    let mut meter = Meter { wall: Duration::ZERO, cpu: Duration::ZERO };
    for commit in items.chunks(batch) {
        let settled = meter.of(hot.commit_settle(commit, &[], NOW)).await?;
        assert!(settled.iter().all(|s| s.changed), "everything settles");
    }
    Ok(meter)
}

/// One row of the table: a fresh file, one size of batch, and that many accounts.
async fn row(folder: &Path, batch: usize, accounts: u32) -> Result<(), Failure> {
    // A commit waits for the disk: with one message each, few will do.
    let messages = if batch == 1 { 3_000 } else { 60_000 };
    let file = folder.join(format!("cost-{batch}-{accounts}.db"));
    let db = Db::open(&format!("sqlite:{}", file.display())).await?;
    db.migrate().await?;
    let credit = StartingCredit { amount: Money(i64::MAX / 4), counter: 1, note: "", actor: "bench" };
    let mut numbers: Vec<AccountNo> = Vec::new();
    for _ in 0..accounts {
        let settings = Default::default();
        let new = NewAccount {
            id: None,
            counter: u64::from(accounts),
            name: "A",
            currency: "USD",
            settings,
            owner: None,
            credit: Some(credit),
            now: NOW,
        };
        numbers.push(account::create(&db, &new).await?.no);
    }
    let Db::Sqlite(sqlite) = &db else { return Err("SQLite was asked for".into()) };
    let mut checkpointer = Checkpointer::open(sqlite)?;
    let mut hot = Hot::open(&db, 1).await?;
    // Scattered, but each as often as any other.
    let of = |n: usize| numbers[n.wrapping_mul(7919) % numbers.len()];
    let requests: Vec<IntakeRequest> = (0..messages)
        .map(|n| IntakeRequest { account: of(n), key: None, step: Step::Message, messages: vec![message(n as u64)] })
        .collect();
    let mut intake = Meter { wall: Duration::ZERO, cpu: Duration::ZERO };
    let mut ids = Vec::with_capacity(messages);
    for (i, commit) in requests.chunks(batch).enumerate() {
        for verdict in intake.of(hot.commit_intake(commit, NOW + i as i64)).await? {
            match verdict {
                Verdict::Accepted { first, .. } => ids.push(first),
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    let outcomes: Vec<_> = ids.iter().enumerate().map(|(n, id)| accepted(*id, n)).collect();
    let receipts: Vec<_> = (0..messages).map(delivered).collect();
    #[allow(clippy::disallowed_methods, reason = "nothing else runs here")]
    tokio::task::block_in_place(|| checkpointer.run(0))?;
    let outcome = settle(&mut hot, outcomes, batch).await?;
    let receipt = settle(&mut hot, receipts, batch).await?;
    let again: Vec<_> = requests.iter().map(|r| IntakeRequest { messages: r.messages.clone(), ..r.clone() }).collect();
    let mut together = Vec::with_capacity(2 * messages);
    let mut n = messages;
    for commit in again.chunks(1000) {
        for verdict in hot.commit_intake(commit, NOW + 1_000_000).await? {
            if let Verdict::Accepted { first, .. } = verdict {
                together.extend([accepted(first, n), delivered(n)]);
                n += 1;
            }
        }
    }
    #[allow(clippy::disallowed_methods, reason = "nothing else runs here")]
    tokio::task::block_in_place(|| checkpointer.run(0))?;
    let both = settle(&mut hot, together, 2 * batch).await?;
    #[allow(clippy::print_stdout, reason = "the table is what this is for")]
    {
        println!(
            "| {batch:5} | {accounts:8} | {} | {} | {} | {} |",
            intake.show(messages),
            outcome.show(messages),
            receipt.show(messages),
            both.show(messages)
        );
    }
    drop(hot);
    db.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.join(format!("hot-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    #[allow(clippy::print_stdout, reason = "the table is what this is for")]
    {
        println!("µs of wall time per message (of CPU time)");
        println!("| batch | accounts |      intake     |     outcome     |     receipt     | outcome+receipt |");
        println!("|-------|----------|-----------------|-----------------|-----------------|-----------------|");
    }
    for (batch, accounts) in [(1, 1), (64, 1), (1000, 1), (64, 10_000), (1000, 10_000)] {
        row(&folder, batch, accounts).await?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
