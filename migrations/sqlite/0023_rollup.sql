-- Usage by day and by hour, which what settles and what is accepted adds to, and the reports that accounts have saved.
-- Same number, same names as migrations/postgres/0023_rollup.sql.

-- Two letters of ISO 3166-1 as a number, first letter high; 0 = none, or accepted before there was this column.
ALTER TABLE message ADD COLUMN country INTEGER NOT NULL DEFAULT 0;

-- What commits of the hot path counted: one row a commit, in the same transaction. A job adds it up below and takes it away.
CREATE TABLE usage_log (
    seq    INTEGER NOT NULL PRIMARY KEY,
    counts BLOB    NOT NULL                   -- store::usage::Tally
) STRICT;

-- Messages by the day of their acceptance (UTC): once as accepted, once more as what they came to.
CREATE TABLE usage_day (
    account_no    INTEGER NOT NULL,
    day           INTEGER NOT NULL,           -- days since 1970
    batch_id      BLOB    NOT NULL,           -- all zero = none
    country       INTEGER NOT NULL,
    connection_no INTEGER NOT NULL,           -- 0 = none
    state         INTEGER NOT NULL,           -- -1 = accepted, else the final domain::message::State
    error_code    INTEGER NOT NULL,           -- 0 = none
    speed         INTEGER NOT NULL,           -- domain::usage::speed of what was delivered, else -1
    messages      INTEGER NOT NULL,
    parts         INTEGER NOT NULL,           -- of what has ended
    captured      INTEGER NOT NULL,
    PRIMARY KEY (account_no, day, batch_id, country, connection_no, state, error_code, speed)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_day_batch ON usage_day (account_no, batch_id);

-- The same by hour alone.
CREATE TABLE usage_hour (
    account_no INTEGER NOT NULL,
    hour       INTEGER NOT NULL,              -- hours since 1970, of the acceptance
    accepted   INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    delivered  INTEGER NOT NULL,
    PRIMARY KEY (account_no, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE report (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    definition TEXT    NOT NULL,              -- JSON, domain::report::Definition
    next_at    INTEGER,                       -- when it is mailed next, Unix milliseconds; NULL = never
    sent_at    INTEGER,                       -- when it was mailed last
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_due ON report (next_at) WHERE next_at IS NOT NULL;
