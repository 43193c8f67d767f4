//! What happened with contacts is counted once, whenever it becomes known and however often somebody looks.

use carillon_domain::contact::Changes;
use carillon_domain::id::{AccountNo, ContactId, MessageId};
use carillon_domain::segment::{DAY_MS, day_of, read};
use carillon_store::activity::{self, BEHIND_MS, Counts};
use carillon_store::contact::{self, NewContact};
use carillon_store::hot::Verdict;
use serde_json::json;

use crate::settle::{Do, item};
use crate::world::{NOON, World, message, on_both, one};

const HOUR: i64 = 3_600_000;
const DAY: i32 = (NOON / DAY_MS) as i32;

/// The contact with the n-th number.
async fn contact(w: &World, account: AccountNo, n: u64) -> ContactId {
    let id = ContactId::new(w.now, n, account);
    let new = NewContact { id, phone: n, phone_tag: n as i64, changes: Changes::default() };
    contact::put(&w.db, account, &[new], false, w.now).await.unwrap()[0].clone().unwrap();
    id
}

async fn follow(w: &World, account: AccountNo, now: i64) {
    while activity::follow(&w.db, account, now).await.unwrap() {}
}

/// `day+n: sent/delivered/failed/replied` of each day.
async fn shown(w: &World, account: AccountNo, id: ContactId) -> Vec<String> {
    let rows = activity::of_contact(&w.db, account, id).await.unwrap();
    let one = |(day, c): (i32, Counts)| format!("{}: {}/{}/{}/{}", day - DAY, c.sent, c.delivered, c.failed, c.replied);
    rows.into_iter().map(one).collect()
}

async fn happens(w: &mut World, what: Do, phone: i64, id: MessageId) {
    let now = w.now;
    w.settle(&[item(what, phone, id, now)]).await;
}

#[tokio::test]
async fn messages_count_once_they_are_known_of() {
    on_both(async |w: &mut World| {
        let a = w.account(1_000).await;
        assert_eq!(activity::account_from(&w.db, AccountNo::PLATFORM).await.unwrap(), None);
        follow(w, a, NOON).await;
        // Before it was a contact's number, it is nobody's.
        w.take(a, message(1, 1)).await;
        w.now = NOON + 10;
        let ada = contact(w, a, 1).await;
        assert_eq!(activity::account_from(&w.db, AccountNo::PLATFORM).await.unwrap(), Some(a));
        let mut ids = Vec::new();
        for phone in [1, 1, 1, 1, 2] {
            w.now += 1;
            ids.push(w.take(a, message(phone, 1)).await);
        }
        for (what, of) in [(Do::Yes(1, 0, "x"), 0), (Do::Got("x"), 0), (Do::No(1, 0), 1), (Do::Yes(1, 0, "y"), 2)] {
            happens(w, what, 1, ids[of]).await;
        }
        follow(w, a, w.now + BEHIND_MS / 2).await;
        assert_eq!(shown(w, a, ada).await, [""; 0], "a reader stays behind what may still be committed");
        for _ in 0..3 {
            follow(w, a, NOON + BEHIND_MS + HOUR).await;
            assert_eq!(shown(w, a, ada).await, ["0: 2/1/1/0"]);
        }
        // The third ends on the next day, the fourth is withdrawn; each is looked at again in time.
        w.now = NOON + DAY_MS;
        happens(w, Do::Lost("y"), 1, ids[2]).await;
        happens(w, Do::Cancel, 1, ids[3]).await;
        for _ in 0..3 {
            follow(w, a, NOON + DAY_MS + 2 * HOUR).await;
            assert_eq!(shown(w, a, ada).await, ["0: 2/1/1/0", "1: 0/0/1/0"]);
        }
        assert_eq!(w.count("activity_open").await, 0, "nothing is left to look at");

        let in_days = async |what: &str, days: i32, at_least: i32| {
            let filter = json!({"activity": what, "within_days": days, "at_least": at_least});
            let filter = read(&filter, &Default::default(), NOON + 10 * DAY_MS).unwrap();
            contact::count(&w.db, a, &filter).await.unwrap()
        };
        for (what, days, at_least, expected) in [
            ("sent", 10, 2, 1),
            ("sent", 10, 3, 0),
            ("sent", 9, 1, 0),
            ("failed", 9, 1, 1),
            ("failed", 10, 2, 1),
            ("delivered", 10, 1, 1),
            ("replied", 10, 1, 0),
        ] {
            assert_eq!(in_days(what, days, at_least).await, expected, "{what} {days} {at_least}");
        }
        contact::delete(&w.db, a, ada).await.unwrap();
        assert_eq!(w.count("contact_activity").await, 0);
    })
    .await;
}

/// More than a page, some still open, a contact that is deleted in between, and two readers at once.
#[tokio::test]
async fn many_messages_and_several_readers() {
    on_both(async |w: &mut World| {
        let a = w.account(100_000).await;
        let [ada, bob] = [contact(w, a, 1).await, contact(w, a, 2).await];
        w.now += 1;
        let requests: Vec<_> = (0..1_100).map(|n| one(a, message(1 + n % 2, 1))).collect();
        let verdicts = w.intake(&requests).await;
        let ids: Vec<_> = verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Accepted { first, .. } => *first,
                other => panic!("{other:?}"),
            })
            .collect();
        let fail = |first: usize, to: usize, now: i64| {
            let chosen = ids.iter().enumerate().filter(move |(n, _)| (first..to).contains(&(n % 10)));
            chosen.map(|(n, id)| item(Do::No(1, 0), 1 + n as i64 % 2, *id, now)).collect::<Vec<_>>()
        };
        w.settle(&fail(0, 6, w.now)).await;
        let at = w.now + BEHIND_MS + 1;
        let both = async |w: &World, at| tokio::join!(follow(w, a, at), follow(w, a, at));
        both(w, at).await;
        assert_eq!(shown(w, a, ada).await, ["0: 0/0/330/0"]);
        assert_eq!(w.count("activity_open").await, 440);
        contact::delete(&w.db, a, bob).await.unwrap();
        w.settle(&fail(6, 10, w.now)).await;
        both(w, at + HOUR).await;
        assert_eq!(shown(w, a, ada).await, ["0: 0/0/550/0"]);
        assert_eq!(shown(w, a, bob).await, [""; 0]);
        assert_eq!(day_of(w.now), DAY);
    })
    .await;
}
