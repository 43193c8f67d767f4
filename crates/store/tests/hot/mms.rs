//! Messages that may go as an MMS: what is held, read back and charged by the way they went.

use std::sync::Arc;

use carillon_domain::media::{MessageFile, Mms};
use carillon_domain::money::Money;
use carillon_store::hot::{Attempted, Claim, Extra, NewMessage, Outcome, PartResult, ReceiptKind, SettleItem, SpanKey};

use crate::settle::{CONNECTION, outcome, receipt};
use crate::world::{NOON, World, message, on_both};

fn with_file(parts: u8, mms_price: Option<i64>) -> NewMessage {
    let mms = Mms { files: vec![MessageFile::elsewhere("https://a.example/b.png")], links: mms_price.is_some() };
    let extra = Extra { mms: Some(Arc::new(mms)), mms_price: mms_price.map(Money), ..Extra::default() };
    NewMessage { extra: Some(Box::new(extra)), ..message(1, parts) }
}

fn as_mms(item: SettleItem, mms: bool) -> SettleItem {
    let SettleItem::Outcome(outcome) = item else { panic!("an outcome") };
    SettleItem::Outcome(Outcome { mms, ..outcome })
}

#[tokio::test]
async fn what_was_sent_is_what_is_charged() {
    on_both(async |w: &mut World| {
        let yes = || PartResult::Accepted { carrier_id: "a".into(), receipts: true };
        let silence = || PartResult::Unknown { submitted_at: NOON, decide_at: NOON + 1 };
        let retry = || PartResult::Retry { due_at: NOON + 5, error: 401, carrier_error: "busy".into() };
        // parts, price of an MMS, what came of each try and how it went -> money after acceptance, and after delivery
        let rows: Vec<(u8, Option<i64>, Vec<(PartResult, bool)>, &str, &str)> = vec![
            (1, Some(12), vec![(yes(), true)], "988/12/0", "988/0/12"),
            (1, Some(12), vec![(yes(), false)], "988/12/0", "995/0/5"),
            (1, Some(3), vec![(yes(), true)], "995/5/0", "997/0/3"),
            (1, Some(12), vec![(retry(), true), (yes(), false)], "988/12/0", "995/0/5"),
            (1, Some(12), vec![(silence(), true)], "988/12/0", "988/0/12"),
            (1, Some(12), vec![(silence(), true), (yes(), true)], "988/12/0", "988/0/12"),
            (1, None, vec![(yes(), true)], "995/5/0", "995/0/5"),
        ];
        for (i, (parts, mms_price, tries, held, charged)) in rows.into_iter().enumerate() {
            let a = w.account(1000).await;
            let id = w.take(a, with_file(parts, mms_price)).await;
            assert_eq!(w.money(a).await, held, "row {i}");
            let read = w.reader.span_messages(SpanKey { first: id }, 0, 1).await.unwrap().remove(0);
            assert_eq!(read.mms, with_file(parts, mms_price).extra.unwrap().mms, "row {i}");
            for (n, (result, mms)) in tries.into_iter().enumerate() {
                let item = outcome(id, 1, n as u8 + 1, 0, NOON, result);
                w.settle(&[as_mms(item, mms)]).await;
            }
            w.settle(&[SettleItem::Receipt(receipt("a".into(), Some(1), ReceiptKind::Delivered, NOON))]).await;
            assert_eq!(w.money(a).await, charged, "row {i}");
        }
    })
    .await;
}

#[tokio::test]
async fn parts_of_an_mms_share_its_price_and_text_of_several_is_charged_by_part() {
    on_both(async |w: &mut World| {
        for (mms, charged) in [(true, "987/0/13"), (false, "985/0/15")] {
            let a = w.account(1000).await;
            let id = w.take(a, with_file(3, Some(13))).await;
            assert_eq!(w.money(a).await, "985/15/0");
            let yes = |part: u8| PartResult::Accepted { carrier_id: format!("p{part}"), receipts: true };
            let all = (0..3).map(|part| as_mms(outcome(id, 1, 1, part, NOON, yes(part)), mms)).collect::<Vec<_>>();
            w.settle(&all).await;
            for part in 0..3 {
                let got = receipt(format!("p{part}"), Some(1), ReceiptKind::Delivered, NOON);
                w.settle(&[SettleItem::Receipt(got)]).await;
            }
            assert_eq!(w.money(a).await, charged, "as an MMS: {mms}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_claim_remembers_how_its_part_was_to_go() {
    on_both(async |w: &mut World| {
        let a = w.account(1000).await;
        let id = w.take(a, with_file(1, Some(12))).await;
        let attempt = Attempted { connection: CONNECTION, phone_tag: 1, id, part: 0, attempt: 1 };
        let claim = Claim { attempt, sender: None, mms: true, submitted_at: NOON, decide_at: NOON + 1 };
        w.settle(&[SettleItem::Claim(claim.clone())]).await;
        let found = w.reader.claims().await.unwrap();
        assert_eq!(found, [claim]);
        let unheard = found.into_iter().map(|claim| claim.unheard(NOON)).collect::<Vec<_>>();
        w.settle(&unheard).await;
        w.settle(&[SettleItem::Receipt(receipt("x".into(), Some(1), ReceiptKind::Delivered, NOON))]).await;
        assert_eq!(w.money(a).await, "988/0/12");
    })
    .await;
}
