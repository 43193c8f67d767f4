//! The credentials in use: who is bound by each, its rate, and its mailbox. A line stays once its credential has been bound, so that what was
//! on its way when the last session ended is known to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use carillon_domain::id::{AccountNo, SmppCredentialId};
use carillon_domain::rate::Rate;
use carillon_domain::smpp::CredentialSettings;
use carillon_smpp::Session;
use carillon_store::smpp_credential::SmppCredential;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::courier;
use super::mailbox::Mailbox;
use crate::app::App;

/// What the sessions of one credential share.
pub(super) struct Line {
    pub(super) account: AccountNo,
    /// Its number within the account.
    pub(super) credential: u16,
    pub(super) id: SmppCredentialId,
    /// What it may submit, and what is handed to it: parts and deliveries a second.
    pub(super) taken: Mutex<Rate>,
    pub(super) given: Mutex<Rate>,
    pub(super) mailbox: Mailbox,
    /// Settings of the newest bind.
    settings: Mutex<Arc<CredentialSettings>>,
    bound: Mutex<Vec<Bound>>,
    next_bind: AtomicU64,
    /// Cancelled when the credential is deleted.
    pub(super) deleted: CancellationToken,
    /// When its use was last noted, Unix milliseconds.
    pub(super) touched: AtomicI64,
}

/// A session of a line.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) no: u64,
    pub(super) session: Session,
    /// Whether receipts and messages can be handed to it.
    pub(super) receives: bool,
    /// Whether it knows optional parameters: those of SMPP 3.3 do not (§3.4).
    pub(super) tlvs: bool,
}

impl Line {
    pub(super) fn settings(&self) -> Arc<CredentialSettings> {
        self.settings.lock().clone()
    }

    /// The sessions that receive.
    pub(super) fn receivers(&self) -> Vec<Bound> {
        self.bound.lock().iter().filter(|b| b.receives).cloned().collect()
    }

    fn renew(&self, settings: &Arc<CredentialSettings>) {
        let mut current = self.settings.lock();
        if current.rate != settings.rate {
            *self.taken.lock() = Rate::forgiving(settings.rate);
            *self.given.lock() = Rate::new(settings.rate);
        }
        *current = settings.clone();
    }
}

struct Entry {
    line: Arc<Line>,
    seats: u16,
    proven: Option<Proven>,
}

/// A password that was right, so that a customer who binds again and again costs one slow hash: believed while the stored hash is the same.
#[derive(Clone)]
pub(super) struct Proven {
    pub(super) stored: String,
    pub(super) digest: [u8; 32],
    /// Of the monotonic clock.
    pub(super) until: std::time::Duration,
}

/// Every credential in use, and those who guess.
#[derive(Default)]
pub struct Binds {
    lines: Mutex<FxHashMap<(AccountNo, u16), Entry>>,
    pub(super) attempts: Attempts,
}

impl std::fmt::Debug for Binds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binds").field("lines", &self.lines.lock().len()).finish_non_exhaustive()
    }
}

impl Binds {
    /// Something was written for a credential to be told.
    pub fn more(&self, account: AccountNo, credential: u16) {
        if let Some(entry) = self.lines.lock().get(&(account, credential)) {
            entry.line.mailbox.more();
        }
    }

    /// Sessions of a credential.
    pub fn bound(&self, account: AccountNo, credential: u16) -> u16 {
        self.lines.lock().get(&(account, credential)).map_or(0, |entry| entry.seats)
    }

    /// Unbinds the sessions of a credential: they bind again under its new settings, if they may.
    pub fn disconnect(&self, account: AccountNo, credential: u16) {
        let line = self.lines.lock().get(&(account, credential)).map(|entry| entry.line.clone());
        for bound in line.iter().flat_map(|line| line.bound.lock().clone()) {
            tokio::spawn(async move { bound.session.unbind().await });
        }
    }

    /// As `disconnect`, for good.
    pub fn forget(&self, account: AccountNo, credential: u16) {
        self.disconnect(account, credential);
        if let Some(entry) = self.lines.lock().remove(&(account, credential)) {
            entry.line.deleted.cancel();
        }
    }

    pub(super) fn proven(&self, credential: &SmppCredential) -> Option<Proven> {
        self.lines.lock().get(&(credential.account, credential.no)).and_then(|entry| entry.proven.clone())
    }

    pub(super) fn prove(&self, credential: &SmppCredential, proven: Proven) {
        if let Some(entry) = self.lines.lock().get_mut(&(credential.account, credential.no)) {
            entry.proven = Some(proven);
        }
    }
}

/// A session's place among those of its credential; gives it up when dropped.
pub(super) struct Seat {
    app: App,
    pub(super) line: Arc<Line>,
    no: u64,
}

impl Seat {
    /// A place for one more session, if the credential may have one.
    pub(super) fn take(app: &App, credential: &SmppCredential, settings: &Arc<CredentialSettings>) -> Option<Seat> {
        let mut lines = app.smpp.lines.lock();
        let entry = lines.entry((credential.account, credential.no)).or_insert_with(|| {
            let line = Arc::new(Line {
                account: credential.account,
                credential: credential.no,
                id: credential.id,
                taken: Mutex::new(Rate::forgiving(settings.rate)),
                given: Mutex::new(Rate::new(settings.rate)),
                mailbox: Mailbox::default(),
                settings: Mutex::new(settings.clone()),
                bound: Mutex::default(),
                next_bind: AtomicU64::new(0),
                deleted: CancellationToken::new(),
                touched: AtomicI64::new(0),
            });
            tokio::spawn(courier::run(app.clone(), line.clone()));
            Entry { line, seats: 0, proven: None }
        });
        if entry.seats >= settings.max_binds {
            return None;
        }
        entry.seats += 1;
        entry.line.renew(settings);
        let no = entry.line.next_bind.fetch_add(1, Ordering::Relaxed);
        Some(Seat { app: app.clone(), line: entry.line.clone(), no })
    }

    /// Its session has begun.
    pub(super) fn open(&self, session: Session, receives: bool, tlvs: bool) {
        metrics::gauge!("carillon_smpp_bound").increment(1.0);
        self.line.bound.lock().push(Bound { no: self.no, session, receives, tlvs });
        if receives {
            self.line.mailbox.more();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut bound = self.line.bound.lock();
        let before = bound.len();
        bound.retain(|b| b.no != self.no);
        if bound.len() < before {
            metrics::gauge!("carillon_smpp_bound").decrement(1.0);
        }
        drop(bound);
        if let Some(entry) = self.app.smpp.lines.lock().get_mut(&(self.line.account, self.line.credential)) {
            entry.seats = entry.seats.saturating_sub(1);
        }
    }
}
