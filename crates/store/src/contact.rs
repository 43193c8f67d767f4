//! Contacts: made or changed by their number, found by what is known of them.

use std::collections::BTreeSet;

use carillon_domain::contact::{Changes, Profile, Refusal, Wrong};
use carillon_domain::id::{AccountNo, ContactId, GroupId};
use carillon_domain::segment;
use uuid::Uuid;

use crate::db::one;
use crate::hot::{open_phone, seal_phone};
use crate::{Db, StoreError};

/// A person who can be written to.
#[derive(Clone, PartialEq, Debug)]
pub struct Contact {
    /// Its id; also names the account.
    pub id: ContactId,
    /// E.164 digits without +.
    pub phone: u64,
    /// What is known beside the number.
    pub profile: Profile,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub changed_at: i64,
}

/// A number, and what is to be said of who has it.
#[derive(Clone, PartialEq, Debug)]
pub struct NewContact {
    /// Its id, if the number has no contact yet.
    pub id: ContactId,
    /// E.164 digits without +.
    pub phone: u64,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// What is said, checked by itself.
    pub changes: Changes,
}

/// What became of one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// A contact was made.
    Made(ContactId),
    /// There was one, and it was changed.
    Changed(ContactId),
    /// There was one, and it was left as it is.
    Kept(ContactId),
}

impl Put {
    /// The contact that has the number.
    pub fn id(self) -> ContactId {
        match self {
            Put::Made(id) | Put::Changed(id) | Put::Kept(id) => id,
        }
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    phone: Vec<u8>,
    name: String,
    external_id: Option<String>,
    status: String,
    attributes: String,
    /// One to a line.
    tags: Option<String>,
    created_at: i64,
    changed_at: i64,
}

pub(crate) const COLUMNS: &str = "id, phone, name, external_id, status, attributes, created_at, changed_at, (SELECT string_agg(t.tag, '\n') \
     FROM contact_tag t WHERE t.account_no = contact.account_no AND t.contact_id = contact.id) AS tags";

impl TryFrom<Row> for Contact {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Contact, StoreError> {
        let attributes = serde_json::from_str(&r.attributes)
            .map_err(|e| StoreError::Broken(format!("attributes of contact {}: {e}", r.id)))?;
        let tags: BTreeSet<String> = r.tags.iter().flat_map(|tags| tags.split('\n')).map(str::to_owned).collect();
        Ok(Contact {
            id: ContactId(r.id),
            phone: open_phone(&r.phone)?,
            profile: Profile { name: r.name, external_id: r.external_id, status: r.status, attributes, tags },
            created_at: r.created_at,
            changed_at: r.changed_at,
        })
    }
}

pub(crate) fn json(profile: &Profile) -> String {
    serde_json::to_string(&profile.attributes).expect("names and plain values")
}

pub(crate) fn taken() -> Wrong {
    Wrong { pointer: "/external_id".into(), why: Refusal::ExternalIdTaken }
}

/// Whether another contact has this profile's `external_id`.
macro_rules! external_taken {
    ($tx:ident, $account:expr, $id:expr, $profile:expr) => {{
        let held: Option<(Uuid,)> = match &$profile.external_id {
            None => None,
            Some(external) => {
                sqlx::query_as("SELECT id FROM contact WHERE account_no = $1 AND external_id = $2 AND id <> $3")
                    .bind($account.as_i64())
                    .bind(external)
                    .bind($id.0)
                    .fetch_optional(&mut *$tx)
                    .await?
            }
        };
        held.is_some()
    }};
}

/// Writes the tags of a contact that had others.
macro_rules! write_tags {
    ($tx:ident, $account:expr, $id:expr, $before:expr, $now:expr) => {
        for tag in $before.difference(&$now) {
            sqlx::query("DELETE FROM contact_tag WHERE account_no = $1 AND tag = $2 AND contact_id = $3")
                .bind($account.as_i64())
                .bind(tag)
                .bind($id.0)
                .execute(&mut *$tx)
                .await?;
        }
        for tag in $now.difference(&$before) {
            sqlx::query("INSERT INTO contact_tag (account_no, tag, contact_id) VALUES ($1, $2, $3)")
                .bind($account.as_i64())
                .bind(tag)
                .bind($id.0)
                .execute(&mut *$tx)
                .await?;
        }
    };
}

/// Writes a profile over that of a contact.
macro_rules! write_profile {
    ($tx:ident, $account:expr, $id:expr, $profile:expr, $now:expr) => {
        sqlx::query(
            "UPDATE contact SET name = $3, name_key = $4, external_id = $5, status = $6, attributes = $7, changed_at = $8 \
             WHERE account_no = $1 AND id = $2",
        )
        .bind($account.as_i64())
        .bind($id.0)
        .bind(&$profile.name)
        .bind($profile.name.to_lowercase())
        .bind($profile.external_id.as_deref())
        .bind(&$profile.status)
        .bind(json(&$profile))
        .bind($now)
        .execute(&mut *$tx)
        .await?
    };
}

/// Makes a contact of each number, or changes the one it has, unless `keep`: then that one stays as it is. All in one transaction; an item that
/// is refused changes nothing and hinders none.
pub async fn put(
    db: &Db,
    account: AccountNo,
    items: &[NewContact],
    keep: bool,
    now: i64,
) -> Result<Vec<Result<Put, Wrong>>, StoreError> {
    let mut done = Vec::with_capacity(items.len());
    let insert = "INSERT INTO contact (account_no, id, phone, phone_tag, name, name_key, external_id, status, attributes, \
         created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT (account_no, phone_tag) DO NOTHING";
    let lock = format!(
        "UPDATE contact SET changed_at = changed_at WHERE account_no = $1 AND phone_tag = $2 RETURNING {COLUMNS}"
    );
    write_db!(db, |tx| {
        for item in items {
            let made = item.changes.applied(Profile::default());
            if let Ok(profile) = &made {
                // Judged before it is written: on PostgreSQL a row that is refused by an index would end the transaction.
                let clash = external_taken!(tx, account, item.id, profile);
                if !clash {
                    let rows = sqlx::query(insert)
                        .bind(account.as_i64())
                        .bind(item.id.0)
                        .bind(seal_phone(item.phone).to_vec())
                        .bind(item.phone_tag)
                        .bind(&profile.name)
                        .bind(profile.name.to_lowercase())
                        .bind(profile.external_id.as_deref())
                        .bind(&profile.status)
                        .bind(json(profile))
                        .bind(now)
                        .execute(&mut *tx)
                        .await?
                        .rows_affected();
                    if rows == 1 {
                        write_tags!(tx, account, item.id, BTreeSet::<String>::new(), profile.tags);
                        done.push(Ok(Put::Made(item.id)));
                        continue;
                    }
                }
            }
            // It stands there already, and nobody changes it meanwhile.
            let row: Option<Row> = sqlx::query_as(crate::db::built(lock.clone()))
                .bind(account.as_i64())
                .bind(item.phone_tag)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else {
                done.push(Err(made.err().unwrap_or_else(taken)));
                continue;
            };
            let contact = Contact::try_from(row)?;
            if keep {
                done.push(Ok(Put::Kept(contact.id)));
                continue;
            }
            let before = contact.profile.tags.clone();
            match item.changes.applied(contact.profile) {
                Err(wrong) => done.push(Err(wrong)),
                Ok(profile) if external_taken!(tx, account, contact.id, profile) => done.push(Err(taken())),
                Ok(profile) => {
                    write_profile!(tx, account, contact.id, profile, now);
                    write_tags!(tx, account, contact.id, before, profile.tags);
                    done.push(Ok(Put::Changed(contact.id)));
                }
            }
        }
    });
    Ok(done)
}

/// Changes one contact; with a number (digits and keyed hash) it has that one from now on. `Taken("contact phone")` if another contact has it.
pub async fn change(
    db: &Db,
    account: AccountNo,
    id: ContactId,
    phone: Option<(u64, i64)>,
    changes: &Changes,
    now: i64,
) -> Result<Result<(), Wrong>, StoreError> {
    let lock =
        format!("UPDATE contact SET changed_at = changed_at WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}");
    write_db!(db, |tx| {
        let row: Row =
            sqlx::query_as(crate::db::built(lock)).bind(account.as_i64()).bind(id.0).fetch_one(&mut *tx).await?;
        let before = Contact::try_from(row)?.profile;
        let tags = before.tags.clone();
        let profile = match changes.applied(before) {
            Ok(profile) => profile,
            Err(wrong) => return Ok(Err(wrong)),
        };
        if external_taken!(tx, account, id, profile) {
            return Ok(Err(taken()));
        }
        write_profile!(tx, account, id, profile, now);
        write_tags!(tx, account, id, tags, profile.tags);
        if let Some((digits, tag)) = phone {
            let changed =
                sqlx::query("UPDATE contact SET phone = $3, phone_tag = $4 WHERE account_no = $1 AND id = $2")
                    .bind(account.as_i64())
                    .bind(id.0)
                    .bind(seal_phone(digits).to_vec())
                    .bind(tag)
                    .execute(&mut *tx)
                    .await;
            match changed {
                Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                    return Err(StoreError::Taken("contact phone"));
                }
                changed => changed?,
            };
        }
    });
    Ok(Ok(()))
}

/// Takes a contact away, out of its groups too.
pub async fn delete(db: &Db, account: AccountNo, id: ContactId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        for text in [
            "DELETE FROM contact_tag WHERE account_no = $1 AND contact_id = $2",
            "DELETE FROM contact_group_member WHERE account_no = $1 AND contact_id = $2",
            "DELETE FROM contact_activity WHERE account_no = $1 AND contact_id = $2",
        ] {
            sqlx::query(text).bind(account.as_i64()).bind(id.0).execute(&mut *tx).await?;
        }
        let gone = sqlx::query("DELETE FROM contact WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
    });
    Ok(())
}

/// One contact of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ContactId) -> Result<Contact, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM contact WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Which contacts; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// With this number (its keyed hash).
    pub phone_tag: Option<i64>,
    /// Whose name begins so; case does not matter.
    pub name: Option<&'a str>,
    /// With this label.
    pub tag: Option<&'a str>,
    /// In this group.
    pub group: Option<GroupId>,
    /// With this id of the account's own.
    pub external_id: Option<&'a str>,
    /// Of this status.
    pub status: Option<&'a str>,
    /// In this segment.
    pub segment: Option<&'a segment::Filter>,
}

/// Up to `limit` of an account's contacts before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: Filter<'_>,
    before: Option<ContactId>,
    limit: u32,
) -> Result<Vec<Contact>, StoreError> {
    let name = filter.name.map(str::to_lowercase);
    let name_end = name.as_ref().map(|name| format!("{name}{}", char::MAX));
    // A condition that is not asked for leaves its index alone.
    let when =
        |asked: bool, condition: &'static str, otherwise: &'static str| if asked { condition } else { otherwise };
    let conditions = [
        when(filter.phone_tag.is_some(), "phone_tag = $3", "$3 IS NULL"),
        when(name.is_some(), "name_key >= $4 AND name_key < $5", "$4 IS NULL AND $5 IS NULL"),
        when(
            filter.tag.is_some(),
            "id IN (SELECT contact_id FROM contact_tag WHERE account_no = $1 AND tag = $6)",
            "$6 IS NULL",
        ),
        when(
            filter.group.is_some(),
            "id IN (SELECT contact_id FROM contact_group_member WHERE account_no = $1 AND group_id = $7)",
            "$7 IS NULL",
        ),
        when(filter.external_id.is_some(), "external_id = $8", "$8 IS NULL"),
        when(filter.status.is_some(), "status = $9", "$9 IS NULL"),
    ]
    .join(" AND ");
    let (segment, values) = of_segment(db, filter.segment, 11);
    let text = format!(
        "SELECT {COLUMNS} FROM contact WHERE account_no = $1 AND id < $2 AND {conditions} AND {segment} ORDER BY id DESC LIMIT $10"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        let query = sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(filter.phone_tag)
            .bind(name)
            .bind(name_end)
            .bind(filter.tag)
            .bind(filter.group.map(|id| id.0))
            .bind(filter.external_id)
            .bind(filter.status)
            .bind(i64::from(limit));
        bind_all!(query, values).fetch_all(c).await
    })?;
    rows.into_iter().map(Contact::try_from).collect()
}

/// Contacts with these numbers (their keyed hashes; at most some 30,000), of them only those in a segment if there is one. In no order.
pub async fn by_tags(
    db: &Db,
    account: AccountNo,
    tags: &[i64],
    filter: Option<&segment::Filter>,
) -> Result<Vec<Contact>, StoreError> {
    if tags.is_empty() {
        return Ok(Vec::new());
    }
    let (condition, values) = of_segment(db, filter, 2 + tags.len());
    let text = format!(
        "SELECT {COLUMNS} FROM contact WHERE account_no = $1 AND phone_tag IN ({}) AND {condition}",
        crate::db::places(2, tags.len())
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        let mut query = sqlx::query_as(crate::db::built(text)).bind(account.as_i64());
        for tag in tags {
            query = query.bind(*tag);
        }
        bind_all!(query, values).fetch_all(c).await
    })?;
    rows.into_iter().map(Contact::try_from).collect()
}

/// The condition of a segment, if there is one, and its values.
fn of_segment(db: &Db, filter: Option<&segment::Filter>, first: usize) -> (String, Vec<crate::segment::Bound>) {
    match filter {
        Some(filter) => crate::segment::condition(filter, db.kind(), first),
        None => ("TRUE".to_owned(), Vec::new()),
    }
}

/// How many of an account's contacts a segment has.
pub async fn count(db: &Db, account: AccountNo, filter: &segment::Filter) -> Result<i64, StoreError> {
    let (condition, values) = of_segment(db, Some(filter), 2);
    let text = format!("SELECT COUNT(*) FROM contact WHERE account_no = $1 AND {condition}");
    let (count,): (i64,) = read_db!(db, |c| {
        let query = sqlx::query_as(crate::db::built(text)).bind(account.as_i64());
        bind_all!(query, values).fetch_one(c).await
    })?;
    Ok(count)
}
