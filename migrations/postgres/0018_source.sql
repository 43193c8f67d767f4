-- Where recipients can be read from: an account's own database, or a program of its own that answers with JSON. No rows of theirs are kept.
-- Same number, same names as migrations/sqlite/0018_source.sql.

CREATE TABLE source (
    account_no BIGINT NOT NULL,
    id         UUID   NOT NULL,
    name       TEXT   NOT NULL,
    settings   TEXT   NOT NULL,              -- JSON: where it is, what is asked of it, which column is what
    secret     BYTEA,                        -- sealed: the password, or the header that says who asks
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_no, id)
);
