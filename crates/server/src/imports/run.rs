//! What reads files and takes their rows in: off the threads that answer, a few imports at once, each chunk a short transaction.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::consent::{Detail, Source};
use carillon_domain::contact::{Declared, Wrong};
use carillon_domain::contact_import::{Agreement, Bad, Plan, Policy, Row, SHOWN_MAX, Target, Why};
use carillon_domain::id::{ConsentId, ContactId, ContactImportId, GroupId};
use carillon_domain::message::Category;
use carillon_store::contact::NewContact;
use carillon_store::contact_group::{self, Filter};
use carillon_store::contact_import::{self as store, BadCell, Chunk, Import, Item, Taken};
use carillon_store::{StoreError, consent};
use csv::StringRecord;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tokio::runtime::Handle;

use super::{ImportError, Rows, Unreadable};
use crate::app::App;
use crate::consents;

/// Rows of one transaction: all other writers wait so long, about ten milliseconds.
const CHUNK: usize = 500;
/// Imports that are read at once: one that is large must not keep a small one waiting.
const AT_ONCE: usize = 4;
/// How often it is looked for imports that another process, or a start before this one, left running.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What could not be written is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often a chunk that clashed with another writer is tried again at once.
const CLASHES_MAX: u32 = 10;
/// Groups read at a time.
const PAGE: u32 = 1_000;

/// Starts it; it ends with the app's shutdown, and each import at the end of its chunk.
pub fn start(app: &App) {
    tokio::spawn(run(app.clone()));
}

async fn run(app: App) {
    let going: Arc<Mutex<HashSet<ContactImportId>>> = Arc::default();
    while !app.shutdown.is_cancelled() {
        match store::running(&app.db, 100).await {
            Ok(due) => {
                for id in due {
                    // Another server may have the file.
                    if going.lock().len() < AT_ONCE && app.imports.path(id).exists() && going.lock().insert(id) {
                        begin(&app, id, going.clone());
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "imports could not be looked for: {error}"),
        }
        let due = async {
            // Timed out or not, there may be something.
            let _ = tokio::time::timeout(LOOK_EVERY, app.imports.due.notified()).await;
        };
        app.shutdown.run_until_cancelled(due).await;
    }
}

fn begin(app: &App, id: ContactImportId, going: Arc<Mutex<HashSet<ContactImportId>>>) {
    let (app, handle) = (app.clone(), Handle::current());
    tokio::task::spawn_blocking(move || {
        match read(&app, &handle, id) {
            Ok(()) => {}
            // It goes on later, where it stands.
            Err(ImportError::Store(error)) => tracing::warn!(import = %id, %error, "an import waits: {error}"),
            Err(error) => {
                tracing::warn!(import = %id, %error, "an import failed: {error}");
                let why = error.to_string();
                let ended = store::finish(&app.db, id.account(), id, Some(&why), app.clock.now_ms());
                if let Err(error) = handle.block_on(ended) {
                    tracing::warn!(import = %id, %error, "and could not be ended: {error}");
                }
            }
        }
        going.lock().remove(&id);
        app.imports.wake();
    });
}

/// What is the same for all rows of an import.
struct Reading {
    import: Import,
    plan: Plan,
    policy: Policy,
    declared: Declared,
    /// Groups by their ids and by the account's own.
    groups: HashMap<String, GroupId>,
    headings: Vec<String>,
    phone_column: usize,
}

/// Reads an import from where it stands to its end, until it is canceled, or until the server stops.
fn read(app: &App, handle: &Handle, id: ContactImportId) -> Result<(), ImportError> {
    let account = id.account();
    let import = handle.block_on(store::by_id(&app.db, account, id))?;
    let plan: Plan = serde_json::from_str(import.plan.as_deref().unwrap_or_default())
        .map_err(|e| ImportError::Disk(io::Error::other(format!("its plan: {e}"))))?;
    let mut rows = Rows::open(&app.imports.path(id), import.charset, import.delimiter)?;
    let reading = Reading {
        policy: Policy::from_name(&plan.policy).unwrap_or(Policy::Update),
        declared: handle.block_on(contact_group::declared(&app.db, account))?,
        groups: handle.block_on(groups(app, &plan, id))?,
        headings: rows.columns().to_vec(),
        phone_column: plan.column(&Target::Phone).unwrap_or_default(),
        import,
        plan,
    };
    let mut seen = pass_over(&mut rows, &reading, app)?;
    let mut read = reading.import.counts.read;
    let mut record = StringRecord::new();
    loop {
        if app.shutdown.is_cancelled() {
            return Ok(());
        }
        let mut batch = Batch::default();
        let from = read;
        // What came before a row that cannot be read is taken all the same.
        let mut more = Ok(true);
        while read - from < CHUNK as i64 && matches!(more, Ok(true)) {
            more = rows.next(&mut record);
            if matches!(more, Ok(true)) {
                read += 1;
                batch.add(app, &reading, &mut seen, (read, rows.line() as i64), &record);
            }
        }
        if read == from {
            more?;
            handle.block_on(store::finish(&app.db, account, id, None, app.clock.now_ms()))?;
            return Ok(());
        }
        let chunk = Chunk {
            from,
            to: read,
            read_to: rows.read_to() as i64,
            items: &batch.items,
            errors: &batch.errors,
            others: (batch.repeated, batch.bad),
            policy: reading.policy,
        };
        if !handle.block_on(write(app, &reading, &chunk))? {
            return Ok(());
        }
        more?;
    }
}

/// Passes over the rows that were read; the numbers of those that read well.
fn pass_over(rows: &mut Rows, reading: &Reading, app: &App) -> Result<FxHashSet<i64>, Unreadable> {
    let (mut seen, mut record) = (FxHashSet::default(), StringRecord::new());
    for _ in 0..reading.import.counts.read {
        if !rows.next(&mut record)? {
            break;
        }
        if let Ok((row, _)) = reading.read(&record) {
            seen.insert(row.phone.tag(&app.secrets.phone_key));
        }
    }
    Ok(seen)
}

/// Groups that a column may name; none are read where no column does.
async fn groups(app: &App, plan: &Plan, id: ContactImportId) -> Result<HashMap<String, GroupId>, StoreError> {
    let (mut all, mut before) = (HashMap::new(), None);
    if plan.column(&Target::Group).is_none() {
        return Ok(all);
    }
    loop {
        let page = contact_group::list(&app.db, id.account(), Filter::default(), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        before = Some(last.id);
        for group in page {
            all.insert(group.id.to_string(), group.id);
            all.extend(group.external_id.map(|external| (external, group.id)));
        }
    }
}

/// Rows on their way to the store.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    errors: Vec<BadCell>,
    repeated: i64,
    bad: i64,
}

impl Batch {
    fn add(&mut self, app: &App, reading: &Reading, seen: &mut FxHashSet<i64>, at: (i64, i64), record: &StringRecord) {
        let (row, line) = at;
        let mut refuse = |bad: Vec<Bad>| {
            for (place, bad) in (0..).zip(bad) {
                self.errors.push(reading.explained(row, place, line, &bad, record.get(bad.column).unwrap_or("")));
            }
        };
        match reading.read(record) {
            Err(bad) => {
                refuse(bad);
                self.bad += 1;
            }
            Ok((read, groups)) => {
                let phone_tag = read.phone.tag(&app.secrets.phone_key);
                if !seen.insert(phone_tag) {
                    refuse(vec![Bad { column: reading.phone_column, why: Why::Duplicate }]);
                    self.repeated += 1;
                    return;
                }
                self.items.push(reading.item(app, row, line, phone_tag, read, groups));
            }
        }
    }
}

impl Reading {
    /// What a row says, and the groups its contact comes into.
    fn read(&self, record: &StringRecord) -> Result<(Row, Vec<GroupId>), Vec<Bad>> {
        let row = self.plan.read(&self.declared, |column| record.get(column).unwrap_or(""))?;
        let named = row.group.as_ref().map(|name| self.groups.get(name).copied());
        match [self.plan.group.map(Some), named].into_iter().flatten().collect() {
            Some(groups) => Ok((row, groups)),
            None => {
                let column = self.plan.column(&Target::Group).unwrap_or_default();
                Err(vec![Bad { column, why: Why::Group }])
            }
        }
    }

    fn item(&self, app: &App, row: i64, line: i64, phone_tag: i64, read: Row, groups: Vec<GroupId>) -> Item {
        let now = app.clock.now_ms();
        let (id, account) = (self.import.id, self.import.id.account());
        let phone = read.phone.digits();
        let agreement = self.plan.consent.as_ref();
        let consent = read.consent.map(|(status, at)| consent::NewConsent {
            id: ConsentId::new(now, app.ids.next(), account),
            phone,
            phone_tag,
            category: agreement.map_or(Category::Promotional, Agreement::category),
            status,
            source: Source::Import,
            captured_at: at.unwrap_or(now),
            detail: agreement.map_or_else(Detail::default, |a| a.detail.clone()),
            origin: Some(id.0),
        });
        let contact =
            NewContact { id: ContactId::new(now, app.ids.next(), account), phone, phone_tag, changes: read.changes };
        Item { row, line, contact, groups, consent }
    }

    fn explained(&self, row: i64, place: i16, line: i64, bad: &Bad, cell: &str) -> BadCell {
        BadCell {
            row,
            place,
            line,
            heading: self.headings.get(bad.column).cloned().unwrap_or_default(),
            value: cell.chars().take(SHOWN_MAX).collect(),
            code: bad.why.code().to_owned(),
            detail: bad.why.to_string(),
            suggestion: bad.why.suggestion().map(str::to_owned),
        }
    }

    /// What only the store could see: the row was in order by itself.
    fn hindered(&self, item: &Item, wrong: &Wrong) -> BadCell {
        let target = match wrong.pointer.split('/').nth(1) {
            Some("external_id") => Some(Target::ExternalId),
            Some("tags") => Some(Target::Tags),
            _ => None,
        };
        let column = target.and_then(|target| self.plan.column(&target)).unwrap_or(self.phone_column);
        let external = item.contact.changes.external_id.clone().flatten().filter(|_| wrong.pointer == "/external_id");
        let bad = Bad { column, why: Why::Contact(wrong.why) };
        self.explained(item.row, 0, item.line, &bad, &external.unwrap_or_default())
    }
}

/// Writes a chunk, however often it takes; false if the import has ended meanwhile.
async fn write(app: &App, reading: &Reading, chunk: &Chunk<'_>) -> Result<bool, StoreError> {
    let (account, id) = (reading.import.id.account(), reading.import.id);
    let explain = |item: &Item, wrong: &Wrong| reading.hindered(item, wrong);
    let mut clashes = 0;
    // Before the rows: done twice it changes nothing, and a crash in between forgets no refusal.
    consents::hold_back(app, account, chunk.items.iter().filter_map(|item| item.consent.as_ref())).await?;
    loop {
        match store::take(&app.db, account, id, chunk, &explain, app.clock.now_ms()).await {
            Ok(Taken::Stopped) => return Ok(false),
            Ok(Taken::Written(states)) => {
                app.pipeline.suppressed().consents().set(&states);
                return Ok(true);
            }
            Err(StoreError::Taken(_)) if clashes < CLASHES_MAX => clashes += 1,
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(import = %id, "an import waits for the database: {why}");
                if app.shutdown.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
                    return Ok(false);
                }
            }
            Err(other) => return Err(other),
        }
    }
}
