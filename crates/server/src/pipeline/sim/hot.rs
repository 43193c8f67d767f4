//! The store's hot path with a switch for trouble: what tests run the writer on.

use carillon_store::event::Watched;
use carillon_store::hot::{self, IntakeRequest, SettleItem, Settled, SpanKey, Verdict};
use carillon_store::{Db, StoreError};

/// What happens to the next commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pipeline) enum Trouble {
    /// The database does not take it now.
    Refuse,
    /// Something in it breaks it; so does it so many more commits of several items.
    Break(u32),
    /// The process dies before it.
    DieBefore,
    /// The process dies between it and what follows it.
    DieAfter,
}

/// What a dying process unwinds with.
pub(super) struct Died;

/// As the store's, until there is trouble.
pub(in crate::pipeline) struct Hot {
    hot: hot::Hot,
    pub(super) trouble: Option<Trouble>,
    /// Whether what is settled is told, for the reader of a failure.
    pub(super) aloud: bool,
}

fn die() -> ! {
    // Not a panic: nobody is told, and nothing is printed.
    std::panic::resume_unwind(Box::new(Died))
}

impl Hot {
    pub(in crate::pipeline) async fn open(db: &Db, random_start: u64) -> Result<Hot, StoreError> {
        Ok(Hot { hot: hot::Hot::open(db, random_start).await?, trouble: None, aloud: false })
    }

    pub(in crate::pipeline) fn watched(&self) -> Watched {
        self.hot.watched()
    }

    fn before(&mut self, several: bool) -> Result<(), StoreError> {
        match self.trouble {
            Some(Trouble::Refuse) => {
                self.trouble = None;
                Err(StoreError::Unavailable("a simulated lock".into()))
            }
            Some(Trouble::Break(more)) if several => {
                self.trouble = more.checked_sub(1).map(Trouble::Break);
                Err(StoreError::Broken("a simulated defect".into()))
            }
            Some(Trouble::DieBefore) => die(),
            _ => Ok(()),
        }
    }

    fn tell(&self, items: &[SettleItem], now: i64) {
        if self.aloud {
            items.iter().for_each(|item| eprintln!("    {now} {item:?}"));
        }
    }

    fn after(&mut self) {
        if self.trouble == Some(Trouble::DieAfter) {
            die();
        }
    }

    pub(in crate::pipeline) async fn commit_intake(
        &mut self,
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<Vec<Verdict>, StoreError> {
        self.before(true)?;
        let done = self.hot.commit_intake(requests, now).await?;
        self.after();
        Ok(done)
    }

    pub(in crate::pipeline) async fn commit_settle(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        now: i64,
    ) -> Result<Vec<Settled>, StoreError> {
        // One outcome alone is never broken here: it would be set aside, which is an operator's affair.
        self.before(items.len() > 1)?;
        self.tell(items, now);
        let done = self.hot.commit_settle(items, spans_done, now).await?;
        self.after();
        Ok(done)
    }

    pub(in crate::pipeline) async fn set_aside(
        &mut self,
        item: &SettleItem,
        error: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        self.hot.set_aside(item, error, now).await
    }

    pub(in crate::pipeline) async fn commit(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<(Vec<Settled>, Vec<Verdict>), StoreError> {
        self.before(true)?;
        self.tell(items, now);
        let done = self.hot.commit(items, spans_done, requests, now).await?;
        self.after();
        Ok(done)
    }

    pub(in crate::pipeline) async fn discard_loading(&mut self) -> Result<u64, StoreError> {
        self.hot.discard_loading().await
    }
}
