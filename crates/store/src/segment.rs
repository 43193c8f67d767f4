//! Segments: saved, and made into the condition of a query. Values are bound, names of columns are ours: nothing a customer wrote stands in the text.

use carillon_domain::contact::AttributeKind;
use carillon_domain::id::{AccountNo, SegmentId};
use carillon_domain::segment::{self, Activity, Condition, DAY_MS, Filter, Order, Scalar, Subject, Test, Wrong};
use uuid::Uuid;

use crate::{Db, DbKind, StoreError, contact_group};

/// A saved filter over contacts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its id; also names the account.
    pub id: SegmentId,
    /// What it is called.
    pub name: String,
    /// JSON as the account wrote it.
    pub filter: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub changed_at: i64,
}

type Row = (Uuid, String, String, i64, i64);
const COLUMNS: &str = "id, name, filter, created_at, changed_at";

fn read((id, name, filter, created_at, changed_at): Row) -> Segment {
    Segment { id: SegmentId(id), name, filter, created_at, changed_at }
}

/// Saves a segment, over what it was.
pub async fn put(db: &Db, account: AccountNo, s: &Segment) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO segment (account_no, id, name, filter, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (account_no, id) DO UPDATE SET name = excluded.name, filter = excluded.filter, changed_at = excluded.changed_at",
        )
        .bind(account.as_i64())
        .bind(s.id.0)
        .bind(&s.name)
        .bind(&s.filter)
        .bind(s.created_at)
        .bind(s.changed_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a segment away; its contacts stay.
pub async fn delete(db: &Db, account: AccountNo, id: SegmentId) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query("DELETE FROM segment WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// One segment of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: SegmentId) -> Result<Segment, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM segment WHERE account_no = $1 AND id = $2");
    let row: Row =
        read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(id.0).fetch_one(c).await)?;
    Ok(read(row))
}

/// Up to `limit` of an account's segments before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<SegmentId>,
    limit: u32,
) -> Result<Vec<Segment>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM segment WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(read).collect())
}

/// The filter of a saved segment for the instant `now`, by the attributes declared now; or what is wrong with it by now: an attribute it names
/// was taken away.
pub async fn resolve(
    db: &Db,
    account: AccountNo,
    id: SegmentId,
    now: i64,
) -> Result<Result<Filter, Vec<Wrong>>, StoreError> {
    let saved = by_id(db, account, id).await?;
    let json = serde_json::from_str(&saved.filter)
        .map_err(|e| StoreError::Broken(format!("the filter of {}: {e}", saved.id)))?;
    let declared = contact_group::declared(db, account).await?;
    Ok(segment::read(&json, &declared, now))
}

/// A value of a query that is put together.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Bound {
    Whole(i64),
    Number(f64),
    Text(String),
    Id(Uuid),
}

/// Binds the values of a condition to a query, in order.
macro_rules! bind_all {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value {
                $crate::segment::Bound::Whole(n) => query.bind(n),
                $crate::segment::Bound::Number(n) => query.bind(n),
                $crate::segment::Bound::Text(text) => query.bind(text),
                $crate::segment::Bound::Id(id) => query.bind(id),
            };
        }
        query
    }};
}

/// A filter as the condition of a query over `contact`, and the values of its places, of which the first is number `first`.
pub(crate) fn condition(filter: &Filter, kind: DbKind, first: usize) -> (String, Vec<Bound>) {
    let mut writer = Writer { kind, first, values: Vec::new() };
    let text = writer.filter(filter);
    (text, writer.values)
}

struct Writer {
    kind: DbKind,
    first: usize,
    values: Vec<Bound>,
}

impl Writer {
    /// The place of one more value.
    fn bound(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("${}", self.first + self.values.len() - 1)
    }

    fn text(&mut self, text: &str) -> String {
        self.bound(Bound::Text(text.to_owned()))
    }

    fn filter(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::All(filters) => self.several(filters, " AND "),
            Filter::Any(filters) => self.several(filters, " OR "),
            Filter::Not(filter) => format!("NOT {}", self.filter(filter)),
            // Never unknown: what is not known fails, and its opposite passes.
            Filter::Is(condition) => format!("COALESCE({}, FALSE)", self.condition(condition)),
        }
    }

    fn several(&mut self, filters: &[Filter], between: &str) -> String {
        let each: Vec<_> = filters.iter().map(|f| self.filter(f)).collect();
        format!("({})", each.join(between))
    }

    /// Links know when each was opened first; nobody counts them by day.
    fn clicks(&mut self, since_day: i32, at_least: u32) -> String {
        let since = self.bound(Bound::Whole(i64::from(since_day) * DAY_MS));
        let least = self.bound(Bound::Whole(i64::from(at_least)));
        format!(
            "(SELECT COUNT(*) FROM short_link l WHERE l.account_no = contact.account_no \
             AND l.phone_tag = contact.phone_tag AND l.first_at >= {since}) >= {least}"
        )
    }

    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Value(subject, test) => self.value(subject, test),
            Condition::Tag(tag) => {
                let tag = self.text(tag);
                format!(
                    "EXISTS (SELECT 1 FROM contact_tag t WHERE t.account_no = contact.account_no AND t.tag = {tag} \
                     AND t.contact_id = contact.id)"
                )
            }
            Condition::Group(id) => {
                let id = self.bound(Bound::Id(id.0));
                format!(
                    "EXISTS (SELECT 1 FROM contact_group_member m WHERE m.account_no = contact.account_no \
                     AND m.group_id = {id} AND m.contact_id = contact.id)"
                )
            }
            Condition::GroupNamed { external_id, kind } => {
                let external_id = self.text(external_id);
                let kind = kind.map(|kind| self.bound(Bound::Whole(i64::from(kind.number()))));
                let kind = kind.map_or(String::new(), |place| format!(" AND g.kind = {place}"));
                format!(
                    "EXISTS (SELECT 1 FROM contact_group_member m JOIN contact_group g ON g.account_no = m.account_no \
                     AND g.id = m.group_id WHERE m.account_no = contact.account_no AND m.contact_id = contact.id \
                     AND g.external_id = {external_id}{kind})"
                )
            }
            Condition::Suppressed => {
                "EXISTS (SELECT 1 FROM suppression s WHERE s.account_no IN (0, contact.account_no) \
                 AND s.phone_tag = contact.phone_tag AND s.ended_at IS NULL)"
                    .to_owned()
            }
            Condition::Consent(category, status) => {
                let category = self.bound(Bound::Whole(i64::from(category.number())));
                let status = self.bound(Bound::Whole(i64::from(status.number())));
                format!(
                    "EXISTS (SELECT 1 FROM consent_state s WHERE s.account_no = contact.account_no \
                     AND s.phone_tag = contact.phone_tag AND s.category = {category} AND s.status = {status})"
                )
            }
            Condition::Activity { what, since_day, at_least } => {
                let column = match what {
                    Activity::Delivered => "delivered",
                    Activity::Failed => "failed",
                    Activity::Sent => "sent",
                    Activity::Replied => "replied",
                    Activity::Clicked => return self.clicks(*since_day, *at_least),
                };
                let since = self.bound(Bound::Whole(i64::from(*since_day)));
                let least = self.bound(Bound::Whole(i64::from(*at_least)));
                format!(
                    "(SELECT CAST(SUM(a.{column}) AS BIGINT) FROM contact_activity a WHERE a.account_no = contact.account_no \
                     AND a.contact_id = contact.id AND a.day >= {since}) >= {least}"
                )
            }
        }
    }

    fn value(&mut self, subject: &Subject, test: &Test) -> String {
        if (subject, test) == (&Subject::Name, &Test::Exists) {
            return "contact.name_key <> ''".to_owned();
        }
        let value = self.subject(subject);
        match test {
            Test::Exists => format!("{value} IS NOT NULL"),
            Test::In(list) => {
                let places: Vec<_> = list.iter().map(|one| self.scalar(one)).collect();
                format!("{value} IN ({})", places.join(", "))
            }
            Test::Contains(part) => {
                let part = self.text(part);
                format!("REPLACE({value}, {part}, '') <> {value}")
            }
            Test::StartsWith(start) => {
                let start = self.text(start);
                format!("SUBSTR({value}, 1, LENGTH({start})) = {start}")
            }
            Test::Compare(order, with) => {
                let sign = match order {
                    Order::Lt => "<",
                    Order::Lte => "<=",
                    Order::Gt => ">",
                    Order::Gte => ">=",
                };
                format!("{value} {sign} {}", self.scalar(with))
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar) -> String {
        self.bound(match scalar {
            Scalar::Text(text) => Bound::Text(text.clone()),
            Scalar::Number(n) => Bound::Number(*n),
            // As attributes of that kind are read below.
            Scalar::Boolean(b) => Bound::Text(b.to_string()),
            Scalar::Instant(ms) => Bound::Whole(*ms),
        })
    }

    /// What is looked at; null if it is not known, or is of another kind than its attribute was declared with.
    fn subject(&mut self, subject: &Subject) -> String {
        match subject {
            Subject::Name => "contact.name_key".to_owned(),
            Subject::Status => "contact.status".to_owned(),
            Subject::ExternalId => "contact.external_id".to_owned(),
            Subject::CreatedAt => "contact.created_at".to_owned(),
            Subject::ChangedAt => "contact.changed_at".to_owned(),
            Subject::Attribute(name, kind) => match self.kind {
                DbKind::Sqlite => self.attribute_sqlite(name, *kind),
                DbKind::Postgres => self.attribute_postgres(name, *kind),
            },
        }
    }

    fn attribute_sqlite(&mut self, name: &str, kind: AttributeKind) -> String {
        let path = self.text(&format!("$.\"{name}\""));
        let (types, value) = match kind {
            AttributeKind::Text | AttributeKind::Date => ("'text'", "json_extract"),
            AttributeKind::Number => ("'integer', 'real'", "json_extract"),
            AttributeKind::Boolean => ("'true', 'false'", "json_type"),
        };
        format!(
            "(CASE WHEN json_type(contact.attributes, {path}) IN ({types}) THEN {value}(contact.attributes, {path}) END)"
        )
    }

    fn attribute_postgres(&mut self, name: &str, kind: AttributeKind) -> String {
        let name = self.text(name);
        let whole = "CAST(contact.attributes AS JSONB)";
        let (of, value) = match kind {
            AttributeKind::Text | AttributeKind::Date => ("string", format!("{whole} ->> {name}")),
            AttributeKind::Number => ("number", format!("CAST({whole} ->> {name} AS DOUBLE PRECISION)")),
            AttributeKind::Boolean => ("boolean", format!("{whole} ->> {name}")),
        };
        format!("(CASE WHEN jsonb_typeof({whole} -> {name}) = '{of}' THEN {value} END)")
    }
}
