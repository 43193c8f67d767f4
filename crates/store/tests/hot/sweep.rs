//! What jobs sweep up, and what they leave alone.

use carillon_store::checkpoint::Checkpointer;
use carillon_store::hot::{PartResult, ReceiptKind, SettleItem};
use carillon_store::{Db, sweep};

use crate::settle::{outcome, receipt};
use crate::world::{NOON, World, keyed, message, on_both, shared};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn references_without_a_receipt_are_closed_in_time() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let mut ids = Vec::new();
        // Each is valid for an hour; the third is accepted two hours after the first.
        for (phone, at) in [(1, NOON), (2, NOON + 1), (3, NOON + 2 * HOUR)] {
            w.now = at;
            let mut m = message(phone, 1);
            m.expires_at = at + HOUR;
            let id = w.take(a, m).await;
            let yes = PartResult::Accepted { carrier_id: format!("c{phone}"), receipts: true };
            w.settle(&[outcome(id, phone as i64, 1, 0, at, yes)]).await;
            ids.push(id);
        }
        let end = SettleItem::Close { id: ids[1] };
        w.settle(&[end]).await;
        let now = NOON + 3 * HOUR;
        let mut after = None;
        let mut over = Vec::new();
        while let Some(waiting) = sweep::waiting_refs(&w.db, after.as_ref(), NOON + HOUR, 1).await.unwrap().pop() {
            assert_eq!(waiting.is_over(now, 3 * HOUR), waiting.expires_at.is_none(), "{waiting:?}");
            if waiting.is_over(now, 2 * HOUR) {
                over.push(waiting.clone());
            }
            after = Some(waiting);
        }
        let found: Vec<_> = over.iter().map(|r| (r.message, r.expires_at.is_some())).collect();
        assert_eq!(found, [(ids[0], true), (ids[1], false)], "the third is too young to be looked at");
        w.settle(&[SettleItem::Close { id: ids[0] }]).await;
        assert_eq!(sweep::delete_refs(&w.db, &over).await.unwrap(), 2);
        assert_eq!(w.count("carrier_ref").await, 1);
        assert_eq!(w.show(ids[0]).await, "!sent, held 0, paid 5, code -");
        assert_eq!(w.show(ids[2]).await, "sent, held 5, paid 0, code -");
    })
    .await;
}

#[tokio::test]
async fn old_rows_go_in_bites() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        for (i, at) in [(1, NOON), (2, NOON), (3, NOON), (4, NOON + HOUR)] {
            let got = receipt(format!("c{i}"), None, ReceiptKind::Delivered, at);
            w.settle(&[SettleItem::Receipt(got)]).await;
        }
        let mut bites = Vec::new();
        for _ in 0..3 {
            bites.push(sweep::delete_parked(&w.db, NOON + 1, 2).await.unwrap());
        }
        assert_eq!((bites, w.count("parked_receipt").await), (vec![2, 1, 0], 1));

        let day = (NOON / (24 * HOUR)) as i32;
        for (key, days) in [(1, 0), (2, 0), (3, 1)] {
            w.now = NOON + days * 24 * HOUR;
            w.intake(&[keyed(a, message(1, 1), key, 1)]).await;
        }
        assert_eq!(sweep::delete_keys(&w.db, day, 10).await.unwrap(), 0);
        assert_eq!(sweep::delete_keys(&w.db, day + 1, 1).await.unwrap(), 1);
        assert_eq!(sweep::delete_keys(&w.db, day + 1, 10).await.unwrap(), 1);
        assert_eq!(w.count("idempotency").await, 1);

        for at in [NOON, NOON + HOUR] {
            let id = w.take(a, message(1, 1)).await;
            w.settle(&[outcome(id, 1, 1, 0, at, PartResult::Unknown { submitted_at: at, decide_at: at + 1 })]).await;
        }
        assert_eq!(sweep::delete_decided(&w.db, i64::MAX, 10).await.unwrap(), 0, "none is decided");
        for attempt in w.reader.undecided(i64::MAX, 10).await.unwrap() {
            w.settle(&[SettleItem::Decide { attempt, resend: false, error: 401 }]).await;
        }
        assert_eq!(sweep::delete_decided(&w.db, NOON + 1, 10).await.unwrap(), 1);
        assert_eq!(w.count("unknown_attempt").await, 1);
    })
    .await;
}

#[tokio::test]
async fn the_log_is_copied_and_begun_anew() {
    let mut w = World::open(None).await;
    let a = w.account(10_000).await;
    for m in shared(50) {
        w.take(a, carillon_store::hot::NewMessage { own_body: true, ..m }).await;
    }
    let Db::Sqlite(file) = &w.db else { panic!() };
    let mut checkpointer = Checkpointer::open(file).unwrap();
    let runs = tokio::task::spawn_blocking(move || (checkpointer.run(i64::MAX).unwrap(), checkpointer.run(0).unwrap()));
    let (passive, full) = runs.await.unwrap();
    assert!(passive.pages > 0 && passive.copied == passive.pages && !passive.restarted, "{passive:?}");
    assert!(full.restarted, "{full:?}");
    let wal = format!("{}-wal", file.path().display());
    let size = std::fs::metadata(&wal).unwrap().len();
    w.take(a, message(1, 1)).await;
    assert_eq!(std::fs::metadata(wal).unwrap().len(), size, "the log is written anew from its beginning");
    assert_eq!(w.count("message").await, 51);
}
