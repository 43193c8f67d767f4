//! Groups of contacts and who is in them; and the attributes an account has declared for its contacts.

use carillon_domain::contact::{AttributeKind, Declared, GroupKind};
use carillon_domain::id::{AccountNo, ContactId, GroupId};
use uuid::Uuid;

use crate::db::one;
use crate::{Db, StoreError};

/// A named set of contacts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its id; also names the account.
    pub id: GroupId,
    /// What it is.
    pub kind: GroupKind,
    /// What it is called.
    pub name: String,
    /// The account's own id of it, one group's of its kind alone.
    pub external_id: Option<String>,
    /// Contacts in it.
    pub members: i64,
    /// Unix milliseconds.
    pub created_at: i64,
}

type Row = (Uuid, i16, String, Option<String>, i64, i64);
const COLUMNS: &str = "id, kind, name, external_id, created_at, (SELECT count(*) FROM contact_group_member m \
     WHERE m.account_no = contact_group.account_no AND m.group_id = contact_group.id)";

fn read((id, kind, name, external_id, created_at, members): Row) -> Group {
    // A kind that this version does not know is a set of contacts all the same.
    let kind = GroupKind::from_number(kind).unwrap_or(GroupKind::List);
    Group { id: GroupId(id), kind, name, external_id, members, created_at }
}

/// Makes a group, or gives it another name and id of the account's own; its kind and members stay. `Taken` if another of its kind has that id.
pub async fn put(db: &Db, account: AccountNo, g: &Group) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO contact_group (account_no, id, kind, name, external_id, created_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (account_no, id) DO UPDATE SET name = excluded.name, external_id = excluded.external_id",
        )
        .bind(account.as_i64())
        .bind(g.id.0)
        .bind(g.kind.number())
        .bind(&g.name)
        .bind(g.external_id.as_deref())
        .bind(g.created_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a group away; its contacts stay.
pub async fn delete(db: &Db, account: AccountNo, id: GroupId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("DELETE FROM contact_group_member WHERE account_no = $1 AND group_id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        let gone = sqlx::query("DELETE FROM contact_group WHERE account_no = $1 AND id = $2")
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

/// One group of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: GroupId) -> Result<Group, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM contact_group WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// Which groups; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Of this kind.
    pub kind: Option<GroupKind>,
    /// With this id of the account's own.
    pub external_id: Option<&'a str>,
    /// That this contact is in.
    pub contact: Option<ContactId>,
}

/// Up to `limit` of an account's groups before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: Filter<'_>,
    before: Option<GroupId>,
    limit: u32,
) -> Result<Vec<Group>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM contact_group WHERE account_no = $1 AND id < $2 AND ($3 IS NULL OR kind = $3) \
         AND ($4 IS NULL OR external_id = $4) AND ($5 IS NULL OR id IN (SELECT m.group_id FROM contact_group_member m \
         WHERE m.account_no = $1 AND m.contact_id = $5)) ORDER BY id DESC LIMIT $6"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(filter.kind.map(GroupKind::number))
            .bind(filter.external_id)
            .bind(filter.contact.map(|id| id.0))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(read).collect())
}

/// Puts contacts into a group and takes others out, in one transaction; who is in already, or out, stays so. `NotFound` if the group is not
/// there, or a contact to be put in is not.
pub async fn change_members(
    db: &Db,
    account: AccountNo,
    group: GroupId,
    add: &[ContactId],
    remove: &[ContactId],
) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        // Locks the group, so that nobody takes it away meanwhile.
        let found = sqlx::query("UPDATE contact_group SET kind = kind WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(group.0)
            .execute(&mut *tx)
            .await?;
        if found.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        for id in add {
            let found = sqlx::query("UPDATE contact SET changed_at = changed_at WHERE account_no = $1 AND id = $2")
                .bind(account.as_i64())
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
            if found.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(
                "INSERT INTO contact_group_member (account_no, group_id, contact_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(account.as_i64())
            .bind(group.0)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        }
        for id in remove {
            sqlx::query("DELETE FROM contact_group_member WHERE account_no = $1 AND group_id = $2 AND contact_id = $3")
                .bind(account.as_i64())
                .bind(group.0)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(())
}

/// The attributes an account has declared.
pub async fn declared(db: &Db, account: AccountNo) -> Result<Declared, StoreError> {
    let rows: Vec<(String, i16)> = read_db!(db, |c| {
        sqlx::query_as("SELECT name, kind FROM contact_attribute WHERE account_no = $1")
            .bind(account.as_i64())
            .fetch_all(c)
            .await
    })?;
    // A kind that this version does not know takes what any text is.
    Ok(rows
        .into_iter()
        .map(|(name, kind)| (name, AttributeKind::from_number(kind).unwrap_or(AttributeKind::Text)))
        .collect())
}

/// Declares an attribute; what kind it has from now on, which is the first that was declared.
pub async fn declare(
    db: &Db,
    account: AccountNo,
    name: &str,
    kind: AttributeKind,
) -> Result<AttributeKind, StoreError> {
    let (kind,): (i16,) = write_db!(db, |tx| {
        sqlx::query_as(
            "INSERT INTO contact_attribute (account_no, name, kind) VALUES ($1, $2, $3) \
             ON CONFLICT (account_no, name) DO UPDATE SET kind = contact_attribute.kind RETURNING kind",
        )
        .bind(account.as_i64())
        .bind(name)
        .bind(kind.number())
        .fetch_one(&mut *tx)
        .await?
    });
    Ok(AttributeKind::from_number(kind).unwrap_or(AttributeKind::Text))
}

/// Contacts one transaction of `undeclare` looks at: other writers wait that long.
const PAGE: i64 = 500;

/// Takes an attribute away, and then its values from every contact.
pub async fn undeclare(db: &Db, account: AccountNo, name: &str) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("DELETE FROM contact_attribute WHERE account_no = $1 AND name = $2")
            .bind(account.as_i64())
            .bind(name)
            .execute(&mut *tx)
            .await?;
    });
    let mut after = Uuid::nil();
    loop {
        let last: Option<Uuid> = write_db!(db, |tx| {
            let rows: Vec<(Uuid, String)> = sqlx::query_as(
                "SELECT id, attributes FROM contact WHERE account_no = $1 AND id > $2 ORDER BY id LIMIT $3",
            )
            .bind(account.as_i64())
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *tx)
            .await?;
            for (id, text) in &rows {
                let broken = |e: serde_json::Error| StoreError::Broken(format!("attributes of contact {id}: {e}"));
                let mut members: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(text).map_err(broken)?;
                if members.remove(name).is_none() {
                    continue;
                }
                // Only over what was read: a change of the moment has been checked without the attribute.
                sqlx::query("UPDATE contact SET attributes = $4 WHERE account_no = $1 AND id = $2 AND attributes = $3")
                    .bind(account.as_i64())
                    .bind(id)
                    .bind(text)
                    .bind(serde_json::Value::Object(members).to_string())
                    .execute(&mut *tx)
                    .await?;
            }
            rows.last().map(|(id, _)| *id)
        });
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}
