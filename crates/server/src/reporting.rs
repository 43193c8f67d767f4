//! Runs reports: usage as a table of the measures and groups that were asked for. For the API, and for mail.

use std::collections::HashMap;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, BatchId};
use carillon_domain::message::State;
use carillon_domain::phone::Country;
use carillon_domain::report::{Definition, Dimension, Measure, Value, day_date};
use carillon_domain::usage::Totals;
use carillon_store::usage::{self, Filter, Key};
use carillon_store::{Db, StoreError};

/// What messages have that have no country, connection or error.
const NONE: &str = "none";
/// Conditions of one report.
pub const FILTERS_MAX: usize = 100;

/// Why a report was not run.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It has more rows than are answered.
    #[error("the report has more than {} rows: ask for fewer days or groups", usage::GROUPS_MAX)]
    TooLarge,
    /// A condition, by its place, and what is wrong with it.
    #[error("{1}")]
    Filter(usize, &'static str),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// First and last day, days since 1970.
    pub days: (i32, i32),
    /// Rows, in order.
    pub group_by: &'a [Dimension],
    /// Columns of numbers, in order.
    pub measures: &'a [Measure],
    /// Conditions: of one dimension any holds, of several all do.
    pub filters: &'a [(Dimension, String)],
}

impl<'a> Question<'a> {
    /// What a saved report asks at an instant (Unix milliseconds).
    pub fn of(definition: &'a Definition, now_ms: i64) -> Question<'a> {
        let Definition { measures, group_by, filters, .. } = definition;
        Question { days: definition.days(now_ms), group_by, measures, filters }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Table {
    /// Names of all columns: groups, then measures.
    pub columns: Vec<&'static str>,
    /// What the messages of each row have in common, and their measures.
    pub rows: Vec<(Vec<String>, Vec<Value>)>,
    /// Measures of all rows together.
    pub totals: Vec<Value>,
}

impl Table {
    /// As CSV (RFC 4180).
    pub fn csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut write = |record: Vec<String>| writer.write_record(record).expect("a vector takes all that is written");
        write(self.columns.iter().map(|name| (*name).to_owned()).collect());
        for (key, values) in &self.rows {
            write(key.iter().cloned().chain(values.iter().map(Value::to_string)).collect());
        }
        writer.into_inner().expect("a vector takes all that is written")
    }
}

/// Answers a question about one account.
pub async fn run(db: &Db, account: AccountNo, question: &Question<'_>) -> Result<Table, ReportError> {
    let Question { days, group_by, measures, filters } = question;
    let about_connections = filters.iter().map(|(dimension, _)| dimension).chain(*group_by);
    let names = match about_connections.into_iter().any(|d| *d == Dimension::Connection) {
        true => usage::connections(db).await?,
        false => HashMap::new(),
    };
    let filter = filter(filters, &names).map_err(|(place, why)| ReportError::Filter(place, why))?;
    let groups = usage::totals(db, account, *days, &filter, group_by).await?.ok_or(ReportError::TooLarge)?;
    let of_ends = filter.asks_for_ends() || group_by.iter().any(|d| d.is_of_ends());
    let values = |totals: &Totals| measures.iter().map(|m| m.of(totals, of_ends)).collect::<Vec<_>>();
    let mut all = Totals::default();
    let mut rows = Vec::with_capacity(groups.len());
    for group in &groups {
        all.add(&group.totals);
        let key = group_by.iter().map(|dimension| shown(*dimension, &group.key, &names)).collect();
        rows.push((key, values(&group.totals)));
    }
    let columns = group_by.iter().map(|d| d.as_str()).chain(measures.iter().map(|m| m.as_str())).collect();
    Ok(Table { columns, rows, totals: values(&all) })
}

/// What the messages of a group have in common, in one dimension.
fn shown(dimension: Dimension, key: &Key, names: &HashMap<i32, String>) -> String {
    let text = match dimension {
        Dimension::Day => key.day.map(|day| day_date(day).to_string()),
        Dimension::Country => key.country.and_then(Country::from_number).map(|country| country.to_string()),
        Dimension::Connection => key.connection.and_then(|no| names.get(&no).cloned()),
        Dimension::Status => key.state.and_then(State::from_number).map(|state| state.as_str().to_owned()),
        Dimension::Error => key.error.and_then(ErrorCode::from_number).map(|code| code.name().to_owned()),
        Dimension::Batch => key.batch.flatten().map(|batch| batch.to_string()),
    };
    text.unwrap_or_else(|| NONE.to_owned())
}

/// Ends that a message can come to.
const ENDS: [State; 7] = [
    State::Sent,
    State::Delivered,
    State::Undelivered,
    State::Failed,
    State::Expired,
    State::Canceled,
    State::Rejected,
];

/// Reads conditions, or says which is wrong and why.
fn filter(conditions: &[(Dimension, String)], names: &HashMap<i32, String>) -> Result<Filter, (usize, &'static str)> {
    let mut filter = Filter::default();
    for (place, (dimension, value)) in conditions.iter().enumerate() {
        let wrong = |why| (place, why);
        match dimension {
            Dimension::Day => return Err(wrong("days are chosen by `from` and `to`, or by `period`")),
            Dimension::Country if value == NONE => filter.countries.push(0),
            Dimension::Country => {
                let country = Country::parse(value).ok_or(wrong("two letters, such as DE, or `none`"))?;
                filter.countries.push(country.number());
            }
            Dimension::Connection if value == NONE => filter.connections.push(0),
            // One that is not there has no messages; whether another account has one of that name is not told.
            Dimension::Connection => {
                let known = names.iter().filter(|(_, name)| *name == value).map(|(no, _)| *no).collect::<Vec<_>>();
                filter.connections.extend(if known.is_empty() { vec![-1] } else { known });
            }
            Dimension::Status => {
                let state = State::from_name(value).filter(|state| ENDS.contains(state));
                let why = "sent, delivered, undelivered, failed, expired, canceled or rejected";
                filter.states.push(state.ok_or(wrong(why))?.number());
            }
            Dimension::Error if value == NONE => filter.errors.push(0),
            Dimension::Error => {
                let code: ErrorCode = value.parse().map_err(|_| wrong("a code of the error catalogue, or `none`"))?;
                filter.errors.push(code.number());
            }
            Dimension::Batch => {
                let batch: BatchId = value.parse().map_err(|_| wrong("the id of a batch"))?;
                filter.batches.push(batch);
            }
        }
    }
    Ok(filter)
}

/// Looks whether conditions can be read, without asking the database.
pub fn check(conditions: &[(Dimension, String)]) -> Result<(), (usize, &'static str)> {
    filter(conditions, &HashMap::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_what_they_find() {
        let names = HashMap::from([(4, "a".to_owned()), (5, "b".to_owned())]);
        let batch = BatchId::new(1, 2, AccountNo(3));
        let ok: &[(Dimension, String, Filter)] = &[
            (Dimension::Country, "de".into(), Filter { countries: vec![17477], ..Filter::default() }),
            (Dimension::Country, "none".into(), Filter { countries: vec![0], ..Filter::default() }),
            (Dimension::Connection, "b".into(), Filter { connections: vec![5], ..Filter::default() }),
            (Dimension::Connection, "c".into(), Filter { connections: vec![-1], ..Filter::default() }),
            (Dimension::Status, "canceled".into(), Filter { states: vec![7], ..Filter::default() }),
            (Dimension::Error, "no_route".into(), Filter { errors: vec![406], ..Filter::default() }),
            (Dimension::Batch, batch.to_string(), Filter { batches: vec![batch], ..Filter::default() }),
        ];
        for (dimension, value, expected) in ok {
            assert_eq!(filter(&[(*dimension, value.clone())], &names).as_ref(), Ok(expected), "{value}");
        }
        let refused = [
            (Dimension::Day, "2026-11-21"),
            (Dimension::Country, "Germany"),
            (Dimension::Status, "queued"),
            (Dimension::Status, "1 OR 1=1"),
            (Dimension::Error, "406"),
            (Dimension::Batch, "msg_01h455vb4pex5vsknk084sn02q"),
        ];
        for (dimension, value) in refused {
            let all = [(Dimension::Country, "DE".to_owned()), (dimension, value.to_owned())];
            assert_eq!(filter(&all, &names).unwrap_err().0, 1, "{value}");
        }
    }
}
