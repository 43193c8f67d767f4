-- Saved filters over contacts, and what happened between an account and its contacts, by day.
-- Same number, same names as migrations/postgres/0017_segment.sql.

CREATE TABLE segment (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    filter     TEXT    NOT NULL,             -- JSON as the account wrote it, domain::segment
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;

-- Counted behind the messages by a job, of those that were accepted once the number was a contact's.
CREATE TABLE contact_activity (
    account_no INTEGER NOT NULL,
    contact_id BLOB    NOT NULL,
    day        INTEGER NOT NULL,             -- days since 1970, UTC
    sent       INTEGER NOT NULL,
    delivered  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    replied    INTEGER NOT NULL,
    PRIMARY KEY (account_no, contact_id, day)
) STRICT, WITHOUT ROWID;

-- How far the job has looked: the last message and the last inbound message.
CREATE TABLE activity_cursor (
    account_no INTEGER NOT NULL PRIMARY KEY,
    message_id BLOB    NOT NULL,
    inbound_id BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages that were still open when it came by, to be looked at again.
CREATE TABLE activity_open (
    account_no INTEGER NOT NULL,
    look_at    INTEGER NOT NULL,
    message_id BLOB    NOT NULL,
    contact_id BLOB    NOT NULL,
    sent       INTEGER NOT NULL,             -- 1: it has been counted as sent
    PRIMARY KEY (account_no, look_at, message_id)
) STRICT, WITHOUT ROWID;
