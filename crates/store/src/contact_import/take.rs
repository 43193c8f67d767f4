//! The next rows of an import, in one transaction: contacts made and changed, tags, groups, consent, mistakes, and how far it has come. So a
//! crash leaves all of them or none, and the import goes on where it stood.

use std::collections::{HashMap, HashSet};

use carillon_domain::contact::{Profile, Wrong};
use carillon_domain::contact_import::Policy;
use carillon_domain::id::{AccountNo, ContactId, ContactImportId, GroupId};
use uuid::Uuid;

use super::{BadCell, put_errors};
use crate::consent::{NewConsent, State, append_consents};
use crate::contact::{COLUMNS, Contact, NewContact, Row, json, taken};
use crate::hot::{seal_phone, seal_text};
use crate::{Db, StoreError};

/// Rows of one statement: below both databases' limits of bound values.
const ROWS: usize = 2_000;

/// A row that reads well.
#[derive(Clone, Debug)]
pub struct Item {
    /// Which row, from 1, without the heading.
    pub row: i64,
    /// Where it begins in the file, from 1.
    pub line: i64,
    /// Its number, which no other item of the import has, and what it says.
    pub contact: NewContact,
    /// Groups the contact comes into.
    pub groups: Vec<GroupId>,
    /// What it says of consent.
    pub consent: Option<NewConsent>,
}

/// The next rows of an import.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Rows that were read before these.
    pub from: i64,
    /// Rows that were read with these.
    pub to: i64,
    /// About how many octets that is.
    pub read_to: i64,
    /// Those that read well.
    pub items: &'a [Item],
    /// What is wrong with the others.
    pub errors: &'a [BadCell],
    /// How many of the others stand in a row before, and how many are wrong.
    pub others: (i64, i64),
    /// What becomes of contacts that are there.
    pub policy: Policy,
}

/// What became of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It was written; the states of consent that changed.
    Written(Vec<State>),
    /// The import has ended, or stands elsewhere: nothing was written.
    Stopped,
}

/// What is to be written of the items.
#[derive(Default)]
struct Work<'a> {
    made: Vec<(&'a Item, Profile)>,
    changed: Vec<(ContactId, Profile)>,
    tags: Vec<(ContactId, String)>,
    members: Vec<(GroupId, ContactId)>,
    consents: Vec<NewConsent>,
    kept: i64,
    refused: Vec<(&'a Item, Wrong)>,
}

/// Decides over each item, given the contacts there are, by `phone_tag`, and whose each `external_id` is.
fn decide<'a>(
    items: &'a [Item],
    policy: Policy,
    mut there: HashMap<i64, Contact>,
    mut owners: HashMap<String, Uuid>,
    groups: &HashSet<Uuid>,
) -> Work<'a> {
    let mut work = Work::default();
    for item in items {
        let old = there.remove(&item.contact.phone_tag);
        let id = old.as_ref().map_or(item.contact.id, |c| c.id);
        let changes = match (&old, policy) {
            (Some(_), Policy::Skip) => None,
            (Some(old), Policy::FillEmpty) => Some(item.contact.changes.clone().filling(&old.profile)),
            _ => Some(item.contact.changes.clone()),
        };
        let before = old.as_ref().map(|c| c.profile.clone()).unwrap_or_default();
        let after = match changes.map(|changes| changes.applied(before.clone())) {
            None => before.clone(),
            Some(Ok(after)) => after,
            Some(Err(wrong)) => {
                work.refused.push((item, wrong));
                continue;
            }
        };
        if let Some(external) = after.external_id.clone().filter(|_| after.external_id != before.external_id)
            && *owners.entry(external).or_insert(id.0) != id.0
        {
            work.refused.push((item, taken()));
            continue;
        }
        work.tags.extend(after.tags.difference(&before.tags).map(|tag| (id, tag.clone())));
        work.members.extend(item.groups.iter().filter(|g| groups.contains(&g.0)).map(|g| (*g, id)));
        work.consents.extend(item.consent.clone());
        match old {
            None => work.made.push((item, after)),
            Some(_) if after == before => work.kept += 1,
            Some(_) => work.changed.push((id, after)),
        }
    }
    work
}

/// The contacts that the items' numbers have, which nobody changes meanwhile, and whose each `external_id` is.
macro_rules! find_known {
    ($tx:ident, $account:expr, $items:expr) => {{
        let mut there = HashMap::new();
        let mut owners: HashMap<String, Uuid> = HashMap::new();
        for items in $items.chunks(ROWS) {
            let mut query = sqlx::QueryBuilder::new("UPDATE contact SET changed_at = changed_at WHERE account_no = ");
            query.push_bind($account.as_i64()).push(" AND phone_tag IN (");
            let mut tags = query.separated(", ");
            for item in items {
                tags.push_bind(item.contact.phone_tag);
            }
            query.push(format!(") RETURNING phone_tag, {COLUMNS}"));
            let rows: Vec<Tagged> = query.build_query_as().fetch_all(&mut *$tx).await?;
            for row in rows {
                there.insert(row.phone_tag, Contact::try_from(row.row)?);
            }
            let externals: Vec<&String> =
                items.iter().filter_map(|i| i.contact.changes.external_id.as_ref()?.as_ref()).collect();
            if externals.is_empty() {
                continue;
            }
            let mut query = sqlx::QueryBuilder::new("SELECT external_id, id FROM contact WHERE account_no = ");
            query.push_bind($account.as_i64()).push(" AND external_id IN (");
            let mut ids = query.separated(", ");
            for external in externals {
                ids.push_bind(external.clone());
            }
            query.push(")");
            let rows: Vec<(String, Uuid)> = query.build_query_as().fetch_all(&mut *$tx).await?;
            owners.extend(rows);
        }
        (there, owners)
    }};
}

/// The groups of the items that are there.
macro_rules! lock_groups {
    ($tx:ident, $account:expr, $items:expr) => {{
        let wanted: HashSet<Uuid> = $items.iter().flat_map(|item| item.groups.iter().map(|g| g.0)).collect();
        let mut groups = HashSet::new();
        for group in wanted {
            // Locks it, so that nobody takes it away meanwhile; one that is gone takes nobody in.
            let found = sqlx::query("UPDATE contact_group SET kind = kind WHERE account_no = $1 AND id = $2")
                .bind($account.as_i64())
                .bind(group)
                .execute(&mut *$tx)
                .await?;
            if found.rows_affected() == 1 {
                groups.insert(group);
            }
        }
        groups
    }};
}

/// Writes contacts that are new.
macro_rules! write_made {
    ($tx:ident, $account:expr, $work:expr, $now:expr) => {{
        for made in $work.made.chunks(ROWS) {
            let mut insert = sqlx::QueryBuilder::new(
                "INSERT INTO contact (account_no, id, phone, phone_tag, name, name_key, external_id, status, attributes, created_at, changed_at) ",
            );
            insert.push_values(made, |mut row, (item, profile)| {
                row.push_bind($account.as_i64())
                    .push_bind(item.contact.id.0)
                    .push_bind(seal_phone(item.contact.phone).to_vec())
                    .push_bind(item.contact.phone_tag)
                    .push_bind(profile.name.clone())
                    .push_bind(profile.name.to_lowercase())
                    .push_bind(profile.external_id.clone())
                    .push_bind(profile.status.clone())
                    .push_bind(json(profile))
                    .push_bind($now)
                    .push_bind($now);
            });
            insert.build().execute(&mut *$tx).await?;
        }
    }};
}

/// Writes profiles over those of contacts that are there.
macro_rules! write_changed {
    ($tx:ident, $account:expr, $work:expr, $now:expr) => {{
        for changed in $work.changed.chunks(ROWS) {
            let mut update =
                sqlx::QueryBuilder::new("WITH given (id, name, name_key, external_id, status, attributes) AS (");
            update.push_values(changed, |mut row, (id, profile)| {
                row.push_bind(id.0)
                    .push_bind(profile.name.clone())
                    .push_bind(profile.name.to_lowercase())
                    .push_bind(profile.external_id.clone())
                    .push_bind(profile.status.clone())
                    .push_bind(json(profile));
            });
            update.push(
                ") UPDATE contact SET name = given.name, name_key = given.name_key, external_id = given.external_id, \
                 status = given.status, attributes = given.attributes, changed_at = ",
            );
            update.push_bind($now).push(" FROM given WHERE contact.id = given.id AND contact.account_no = ");
            update.push_bind($account.as_i64());
            update.build().execute(&mut *$tx).await?;
        }
    }};
}

/// Writes tags and groups that are new to their contacts.
macro_rules! write_labels {
    ($tx:ident, $account:expr, $work:expr) => {{
        for tags in $work.tags.chunks(ROWS) {
            let mut insert = sqlx::QueryBuilder::new("INSERT INTO contact_tag (account_no, tag, contact_id) ");
            insert.push_values(tags, |mut row, (id, tag)| {
                row.push_bind($account.as_i64()).push_bind(tag.clone()).push_bind(id.0);
            });
            insert.push(" ON CONFLICT DO NOTHING").build().execute(&mut *$tx).await?;
        }
        for members in $work.members.chunks(ROWS) {
            let mut insert =
                sqlx::QueryBuilder::new("INSERT INTO contact_group_member (account_no, group_id, contact_id) ");
            insert.push_values(members, |mut row, (group, id)| {
                row.push_bind($account.as_i64()).push_bind(group.0).push_bind(id.0);
            });
            insert.push(" ON CONFLICT DO NOTHING").build().execute(&mut *$tx).await?;
        }
    }};
}

/// Writes the next rows of an import; `explain` says what is wrong with an item that another contact, or too much in one, hinders.
/// `Taken` (the error) if somebody made one of the contacts at this moment: try again.
pub async fn take(
    db: &Db,
    account: AccountNo,
    import: ContactImportId,
    chunk: &Chunk<'_>,
    explain: &(dyn Fn(&Item, &Wrong) -> BadCell + Sync),
    now: i64,
) -> Result<Taken, StoreError> {
    Ok(write_db!(db, |tx| {
        let stands = sqlx::query(
            "UPDATE contact_import SET read = $3 WHERE account_no = $1 AND id = $2 AND read = $4 AND status = 1",
        )
        .bind(account.as_i64())
        .bind(import.0)
        .bind(chunk.to)
        .bind(chunk.from)
        .execute(&mut *tx)
        .await?;
        if stands.rows_affected() == 0 {
            return Ok(Taken::Stopped);
        }
        let (there, owners) = find_known!(tx, account, chunk.items);
        let groups = lock_groups!(tx, account, chunk.items);
        let work = decide(chunk.items, chunk.policy, there, owners, &groups);
        write_made!(tx, account, work, now);
        write_changed!(tx, account, work, now);
        write_labels!(tx, account, work);
        let states =
            if work.consents.is_empty() { Vec::new() } else { append_consents!(tx, account, &work.consents, now) };
        let refused: Vec<BadCell> = work.refused.iter().map(|(item, wrong)| explain(item, wrong)).collect();
        put_errors!(tx, account, import, chunk.errors);
        put_errors!(tx, account, import, refused);
        sqlx::query(
            "UPDATE contact_import SET read_to = $3, created = created + $4, updated = updated + $5, kept = kept + $6, \
             repeated = repeated + $7, bad = bad + $8 WHERE account_no = $1 AND id = $2",
        )
        .bind(account.as_i64())
        .bind(import.0)
        .bind(chunk.read_to)
        .bind(work.made.len() as i64)
        .bind(work.changed.len() as i64)
        .bind(work.kept)
        .bind(chunk.others.0)
        .bind(chunk.others.1 + work.refused.len() as i64)
        .execute(&mut *tx)
        .await?;
        Taken::Written(states)
    }))
}

/// A contact and the hash it was looked for by.
#[derive(sqlx::FromRow)]
struct Tagged {
    phone_tag: i64,
    #[sqlx(flatten)]
    row: Row,
}
