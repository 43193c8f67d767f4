//! Mail to people. What is to be sent is written to the outbox (`store::email`) by the transaction that gives the reason, with its words under
//! seal, because links open accounts; the one process that has the `lead` renders it (`compose`) and hands it to the mail server (`post`).
//! It stays in the outbox until that is committed: after a crash a mail may come twice, under the same `Message-ID`, and none is lost.

mod compose;
mod post;

use std::time::Duration;

use carillon_domain::id::{AccountNo, EmailId};
use carillon_domain::retry::RetryPolicy;
use carillon_store::StoreError;
use carillon_store::email::{self, Email, EmailKind, NewEmail};
use tokio::sync::Notify;

use crate::app::App;
use crate::config::Config;
use compose::Words;
pub use post::EmailError;
use post::{Post, Refusal};

/// How often the clock is looked at: retries are due by it, and tests move it by hand.
const TICK: Duration = Duration::from_millis(100);
/// What other processes queued is found this soon.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Mails on their way at once.
const AT_ONCE: u32 = 8;
/// What is of no use any more by its own date is given up before; this is for mail servers that are down for a night.
const RETRY: RetryPolicy = RetryPolicy { first_ms: 30_000, factor: 4, max_ms: 4 * 3_600_000, retries_max: 20 };
/// A mail without a date of its own is of no use after so long, milliseconds.
pub const USEFUL_MS: i64 = 3 * 86_400_000;

/// Where mail goes out; nowhere, if no mail server is configured.
#[derive(Debug)]
pub struct Postbox {
    post: Option<Post>,
    bell: Notify,
}

impl Postbox {
    /// Reads the settings; nothing is connected to.
    pub fn open(config: &Config) -> Result<Postbox, EmailError> {
        let post = config.email.is_on().then(|| Post::new(&config.email)).transpose()?;
        Ok(Postbox { post, bell: Notify::new() })
    }

    /// Has what was queued sent soon. Call it after the commit.
    pub fn wake(&self) {
        self.bell.notify_one();
    }
}

impl App {
    /// A mail for the outbox, of now; `None` if mail is off. `account` is whom it is about: the platform, where it is about a person.
    pub fn email_to(
        &self,
        account: AccountNo,
        kind: EmailKind,
        recipient: &str,
        words: &[(&str, &str)],
        expires_at: i64,
    ) -> Option<NewEmail> {
        self.email.post.as_ref()?;
        let id = EmailId::new(self.clock.now_ms(), self.ids.next(), account);
        let words: Words = words.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned())).collect();
        let words = serde_json::to_vec(&words).expect("words are plain data");
        let data = self.vault.seal(&words, &context(id));
        Some(NewEmail { id, kind, recipient: recipient.to_owned(), data, expires_at })
    }
}

/// A moment as a letter says it.
pub fn for_people(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%-d %B %Y, %H:%M UTC").to_string()
}

/// What the words of a mail are sealed for.
fn context(id: EmailId) -> Vec<u8> {
    format!("email {id} data").into_bytes()
}

pub(super) async fn run(app: App) {
    let Some(post) = &app.email.post else { return };
    let (mut looked, mut due_at) = (None, i64::MAX);
    loop {
        let at = app.clock.monotonic();
        let old = looked.is_none_or(|looked| at.saturating_sub(looked) >= LOOK_AGAIN);
        if !app.notify.leads() {
            looked = None;
        } else if old || due_at <= app.clock.now_ms() {
            looked = Some(at);
            due_at = i64::MAX;
            match round(&app, post).await {
                Ok(later) => due_at = later.unwrap_or(i64::MAX),
                Err(error) => tracing::warn!(%error, "mail waits for the database: {error}"),
            }
        }
        let next = async {
            tokio::select! {
                () = app.email.bell.notified() => true,
                () = tokio::time::sleep(TICK) => false,
            }
        };
        match app.shutdown.run_until_cancelled(next).await {
            Some(true) => looked = None,
            Some(false) => {}
            None => return,
        }
    }
}

/// Sends what is due, a few at once; when something is due next, Unix milliseconds.
async fn round(app: &App, post: &Post) -> Result<Option<i64>, StoreError> {
    let (due, later) = email::due(&app.db, app.clock.now_ms(), AT_ONCE).await?;
    // Each is written down by itself: a mail server that hangs on one does not keep the others from being done.
    futures_util::future::join_all(due.iter().map(|mail| send(app, post, mail))).await;
    Ok(later)
}

/// Sends one, and writes down what became of it.
async fn send(app: &App, post: &Post, mail: &Email) {
    let now = app.clock.now_ms();
    let kind = mail.kind.map_or("unknown", EmailKind::as_str);
    let outcome = attempt(app, post, mail, now).await;
    let (outcome, due_at, error) = match outcome {
        Ok(()) => ("sent", None, None),
        Err(Refusal::Never(error)) => ("given_up", None, Some(error)),
        Err(Refusal::Later(error)) => {
            let tried = mail.attempts.saturating_add(1);
            let again = now + RETRY.wait_ms(tried.into(), rand::random()) as i64;
            let given_up = tried > RETRY.retries_max || again >= mail.expires_at;
            (if given_up { "given_up" } else { "failed" }, (!given_up).then_some(again), Some(error))
        }
    };
    // Not the error: mail servers repeat addresses. It stands with the mail.
    if error.is_some() {
        tracing::warn!(mail = %mail.id, kind, outcome, attempts = mail.attempts + 1, "a mail was not sent: {outcome}");
    }
    metrics::counter!("carillon_emails_total", "kind" => kind, "outcome" => outcome).increment(1);
    loop {
        let written = match &error {
            None => email::sent(&app.db, mail.id).await,
            Some(error) => email::failed(&app.db, mail.id, due_at, error).await,
        };
        let Err(error) = written else { return };
        tracing::warn!(%error, "what became of a mail waits for the database: {error}");
        let pause = tokio::time::sleep(Duration::from_millis(200));
        if app.shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn attempt(app: &App, post: &Post, mail: &Email, now: i64) -> Result<(), Refusal> {
    let never = |why: &str| Refusal::Never(why.to_owned());
    if mail.expires_at <= now {
        return Err(never("it was of no use any more"));
    }
    let kind = mail.kind.ok_or_else(|| never("another version of this program queued it"))?;
    let words = app.vault.open(&mail.data, &context(mail.id)).map_err(|e| never(&e.to_string()))?;
    let words: Words = serde_json::from_slice(&words).map_err(|_| never("its words are no words"))?;
    let letter = compose::compose(kind, &words).ok_or_else(|| never("words are missing"))?;
    post.send(mail.id, &mail.recipient, letter, mail.id.millis()).await
}
