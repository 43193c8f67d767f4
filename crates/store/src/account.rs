//! Accounts, and the balance row each is born with.

use carillon_domain::account::{Settings, Status, Tier};
use carillon_domain::id::{AccountId, AccountNo, EntryId, TypeId, UserId};
use carillon_domain::money::Money;
use carillon_domain::permission::Role;
use uuid::Uuid;

use crate::email::{NewEmail, put_email};
use crate::email_token::{NewToken, put_token};
use crate::ledger::{Entry, EntryKind, put_entry};
use crate::{Db, StoreError};

/// One tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its number, in every key.
    pub no: AccountNo,
    /// Its id, in the API; seed 1's `client_id`.
    pub id: AccountId,
    /// What people call it.
    pub name: String,
    /// Whether it may send.
    pub status: Status,
    /// Its share of a busy connection.
    pub tier: Tier,
    /// ISO 4217.
    pub currency: String,
    /// How its messages are taken.
    pub settings: Settings,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// What an account begins with; everything in one transaction.
#[derive(Clone, Debug)]
pub struct NewAccount<'a> {
    /// Its id, or `None` for one made of the moment, `counter` and its number.
    pub id: Option<AccountId>,
    /// Makes a generated id unique within its millisecond.
    pub counter: u64,
    /// What people call it.
    pub name: &'a str,
    /// ISO 4217.
    pub currency: &'a str,
    /// How its messages are taken.
    pub settings: Settings,
    /// A new user who owns it.
    pub owner: Option<NewOwner<'a>>,
    /// Money it starts with, and the id and note of the entry that says so.
    pub credit: Option<StartingCredit<'a>>,
    /// Unix milliseconds.
    pub now: i64,
}

/// The person who registers.
#[derive(Clone, Debug)]
pub struct NewOwner<'a> {
    /// Their id.
    pub id: UserId,
    /// Lower case.
    pub email: &'a str,
    /// What they are called.
    pub name: &'a str,
    /// PHC string.
    pub password_hash: &'a str,
    /// Whether they operate the platform.
    pub operator: bool,
    /// What asks them whether the address is theirs: the token, and the mail that holds it.
    pub verification: Option<(NewToken, NewEmail)>,
}

/// Money given with the account.
#[derive(Clone, Copy, Debug)]
pub struct StartingCredit<'a> {
    /// More than nothing.
    pub amount: Money,
    /// Makes the entry's id unique within its millisecond.
    pub counter: u64,
    /// Why.
    pub note: &'a str,
    /// Who gave it.
    pub actor: &'a str,
}

type Row = (i64, Uuid, String, i16, i16, String, String, i64);
const COLUMNS: &str = "no, id, name, status, tier, currency, settings, created_at";

fn read((no, id, name, status, tier, currency, settings, created_at): Row) -> Result<Account, StoreError> {
    let settings =
        serde_json::from_str(&settings).map_err(|e| StoreError::Broken(format!("settings of account {no}: {e}")))?;
    Ok(Account {
        no: AccountNo::from_i64(no),
        id: AccountId(id),
        name,
        status: Status::from_i16(status),
        tier: Tier::from_i16(tier),
        currency,
        settings,
        created_at,
    })
}

fn settings_text(settings: &Settings) -> String {
    serde_json::to_string(settings).expect("settings are plain data")
}

/// Two creators may choose the same next number; the loser tries again this often.
const ATTEMPTS_MAX: u32 = 8;

/// Makes an account with its balance and, if given, its owner and starting credit. `Taken` names what is in use: the id or the email.
pub async fn create(db: &Db, new: &NewAccount<'_>) -> Result<Account, StoreError> {
    let mut attempt = 1;
    loop {
        match create_once(db, new).await {
            Err(StoreError::Taken("a unique value")) if attempt < ATTEMPTS_MAX => attempt += 1,
            other => return other,
        }
    }
}

async fn create_once(db: &Db, new: &NewAccount<'_>) -> Result<Account, StoreError> {
    write_db!(db, |tx| {
        if let Some(id) = new.id {
            let found = sqlx::query_as::<_, (i64,)>("SELECT no FROM account WHERE id = $1").bind(id.uuid());
            if found.fetch_optional(&mut *tx).await?.is_some() {
                return Err(StoreError::Taken("account id"));
            }
        }
        if let Some(owner) = &new.owner {
            let found = sqlx::query_as::<_, (Uuid,)>("SELECT id FROM app_user WHERE email = $1").bind(owner.email);
            if found.fetch_optional(&mut *tx).await?.is_some() {
                return Err(StoreError::Taken("email"));
            }
        }
        let next = sqlx::query_as::<_, (i64,)>("SELECT CAST(COALESCE(MAX(no), 0) + 1 AS BIGINT) FROM account");
        let no = AccountNo::from_i64(next.fetch_one(&mut *tx).await?.0);
        let account = Account {
            no,
            id: new.id.unwrap_or_else(|| AccountId::new(new.now, new.counter, no)),
            name: new.name.to_owned(),
            status: Status::Active,
            tier: Tier::Regular,
            currency: new.currency.to_owned(),
            settings: new.settings.clone(),
            created_at: new.now,
        };
        sqlx::query(
            "INSERT INTO account (no, id, name, status, tier, currency, settings, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(no.as_i64())
        .bind(account.id.uuid())
        .bind(new.name)
        .bind(account.status as i16)
        .bind(account.tier as i16)
        .bind(new.currency)
        .bind(settings_text(&new.settings))
        .bind(new.now)
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO balance (account_no, available, held, spent) VALUES ($1, 0, 0, 0)")
            .bind(no.as_i64())
            .execute(&mut *tx)
            .await?;
        if let Some(credit) = new.credit {
            let entry = Entry {
                id: EntryId::new(new.now, credit.counter, no),
                kind: EntryKind::TopUp,
                amount: credit.amount,
                note: credit.note.to_owned(),
                actor: credit.actor.to_owned(),
                created_at: new.now,
            };
            put_entry!(tx, no, &entry);
        }
        if let Some(owner) = &new.owner {
            sqlx::query(
                "INSERT INTO app_user (id, email, name, password_hash, operator, failures, created_at) VALUES ($1, $2, $3, $4, $5, 0, $6)",
            )
            .bind(owner.id.uuid())
            .bind(owner.email)
            .bind(owner.name)
            .bind(owner.password_hash)
            .bind(owner.operator)
            .bind(new.now)
            .execute(&mut *tx)
            .await?;
            sqlx::query("INSERT INTO membership (account_no, user_id, role, created_at) VALUES ($1, $2, $3, $4)")
                .bind(no.as_i64())
                .bind(owner.id.uuid())
                .bind(Role::Owner as i16)
                .bind(new.now)
                .execute(&mut *tx)
                .await?;
            if let Some((token, email)) = &owner.verification {
                put_token!(tx, token);
                put_email!(tx, email);
            }
        }
        Ok(account)
    })
}

/// The account of that number.
pub async fn by_no(db: &Db, no: AccountNo) -> Result<Account, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM account WHERE no = $1");
    read(read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(no.as_i64()).fetch_one(c).await)?)
}

/// The account of that id.
pub async fn by_id(db: &Db, id: AccountId) -> Result<Account, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM account WHERE id = $1");
    read(read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(id.uuid()).fetch_one(c).await)?)
}

/// Up to `limit` accounts after a number, in order of number.
pub async fn list(db: &Db, after: AccountNo, limit: u32) -> Result<Vec<Account>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM account WHERE no > $1 ORDER BY no LIMIT $2");
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text))
        .bind(after.as_i64())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
    rows.into_iter().map(read).collect()
}

/// Changes what is given of an account and returns it as it then is.
pub async fn change(
    db: &Db,
    no: AccountNo,
    name: Option<&str>,
    status: Option<Status>,
    tier: Option<Tier>,
    settings: Option<&Settings>,
) -> Result<Account, StoreError> {
    let text = format!(
        "UPDATE account SET name = COALESCE($2, name), status = COALESCE($3, status), tier = COALESCE($4, tier), \
         settings = COALESCE($5, settings) WHERE no = $1 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        sqlx::query_as(crate::db::built(text))
            .bind(no.as_i64())
            .bind(name)
            .bind(status.map(|s| s as i16))
            .bind(tier.map(|t| t as i16))
            .bind(settings.map(settings_text))
            .fetch_one(&mut *tx)
            .await?
    });
    read(row)
}
