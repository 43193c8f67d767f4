//! Receipts before the answer, twice, late, and in any order.

use std::time::Duration;

use carillon::simulator::Behaviour;

use super::world::{Setup, World, postgres, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_delivered_and_paid_once() {
    for database in [String::new(), postgres().await] {
        let behaviour = Behaviour {
            response_delay: Duration::from_millis(10),
            receipt_jitter: Duration::from_millis(200),
            early_percent: 40.0,
            duplicate_percent: 50.0,
            late_percent: 20.0,
            late_by: Duration::from_millis(800),
            out_of_order: true,
            ..quick()
        };
        let world = World::new(Setup { behaviour, database, ..Setup::default() }).await;
        world.api.batch(0, 300, "hello").await;
        for n in 300..340 {
            world.api.message(n, &format!("{n} {}", "long ".repeat(60))).await;
        }
        let messages = world.all_ended_as("delivered", 340).await;
        world.carrier_until("every receipt is acknowledged", |t| t.acknowledged == t.receipts && t.waiting == 0).await;
        assert_eq!(world.api.messages().await, messages, "receipts that come again change nothing");
        // 300 of one part and 40 of two.
        assert_eq!(world.api.available().await, "99981.00");
        assert_eq!(world.carrier.taken_again(), []);
    }
}
