-- Where recipients can be read from: an account's own database, or a program of its own that answers with JSON. No rows of theirs are kept.
-- Same number, same names as migrations/postgres/0018_source.sql.

CREATE TABLE source (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,             -- JSON: where it is, what is asked of it, which column is what
    secret     BLOB,                         -- sealed: the password, or the header that says who asks
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
