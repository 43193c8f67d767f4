//! Clicks on short links: where a code leads, from memory where it can; and who clicked, written down together with all clicks of the moment.
//!
//! Whoever opens a link is sent on after the commit that counts it: what was answered is counted, `kill -9` or not. Only if the database does
//! not take it in time, or far too many wait, somebody is sent on uncounted.

use std::sync::Arc;
use std::time::Duration;

use carillon_domain::event::EventKind;
use carillon_domain::short_link::{Code, Visitor};
use carillon_store::StoreError;
use carillon_store::short_link::{self, Click, ShortLink};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::access::Cache;
use crate::app::App;

/// Clicks that may wait for a commit.
const WAITING_MAX: usize = 10_000;
/// Clicks of one commit: other writers wait that long.
const AT_ONCE: usize = 500;
/// Nobody is kept longer than this from where a link leads.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
pub struct Clicks {
    known: Cache<Code, Arc<ShortLink>>,
    waiting: Mutex<Vec<(Click, oneshot::Sender<()>)>>,
    bell: Notify,
}

impl std::fmt::Debug for Clicks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clicks(..)")
    }
}

impl Clicks {
    /// Nobody has clicked.
    #[allow(clippy::new_without_default, reason = "there is one, in `App`")]
    pub fn new() -> Clicks {
        // Where a code leads never changes.
        Clicks { known: Cache::new(u64::MAX), waiting: Mutex::default(), bell: Notify::new() }
    }
}

impl App {
    /// The link of a code, with counts that may be old.
    pub async fn short_link(&self, code: Code) -> Result<Arc<ShortLink>, StoreError> {
        let at = self.clock.monotonic();
        if let Some(link) = self.clicks.known.get(&code, at) {
            return Ok(link);
        }
        let ticket = self.clicks.known.ticket();
        let link = Arc::new(short_link::by_code(&self.db, code).await?);
        self.clicks.known.put(code, link.clone(), at, ticket);
        Ok(link)
    }

    /// Counts a click; returns once that is durable, or there is no time left to wait for it.
    pub async fn clicked(&self, click: Click) {
        let (done, durable) = oneshot::channel();
        {
            let mut waiting = self.clicks.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                metrics::counter!("carillon_clicks_lost_total").increment(1);
                return;
            }
            waiting.push((click, done));
        }
        self.clicks.bell.notify_one();
        // Without an answer it may be counted later all the same.
        let _ = tokio::time::timeout(PATIENCE, durable).await;
    }
}

/// Starts writing clicks down; it ends with the app's shutdown, after those that came before it.
pub fn start(app: &App) {
    let app = app.clone();
    tokio::spawn(async move {
        let shutdown = app.shutdown.clone();
        while shutdown.run_until_cancelled(app.clicks.bell.notified()).await.is_some() {
            while !write(&app).await {}
        }
        write(&app).await;
    });
}

/// Writes what waits, as far as it fits one commit. Whether nothing is left.
async fn write(app: &App) -> bool {
    let some: Vec<_> = {
        let mut waiting = app.clicks.waiting.lock();
        let count = waiting.len().min(AT_ONCE);
        waiting.drain(..count).collect()
    };
    if some.is_empty() {
        return true;
    }
    let clicks: Vec<Click> = some.iter().map(|(click, _)| *click).collect();
    let told = |click: &&Click| {
        click.visitor == Visitor::Human && app.notify.wants(click.link.account(), EventKind::LinkClicked)
    };
    let event = |click: &Click| app.event(click.link.account(), EventKind::LinkClicked, Some(click.link.0), None);
    let events: Vec<_> = clicks.iter().filter(told).map(event).collect();
    match short_link::record(&app.db, &clicks, &events).await {
        Ok(()) => {
            for (_, done) in some {
                // Who hung up has clicked all the same.
                let _ = done.send(());
            }
            if !events.is_empty() {
                app.notify.wake();
            }
        }
        Err(error) => {
            // Those who wait are sent on: a link that leads nowhere for want of a count would be worse.
            tracing::error!(%error, clicks = clicks.len(), "clicks could not be written down: {error}");
            metrics::counter!("carillon_clicks_lost_total").increment(clicks.len() as u64);
        }
    }
    app.clicks.waiting.lock().is_empty()
}
