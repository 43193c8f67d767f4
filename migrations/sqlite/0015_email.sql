-- When a person's address was proved.
ALTER TABLE app_user ADD COLUMN verified_at INTEGER;

-- Mail that is to be sent, and mail that was given up. What was sent is gone.
CREATE TABLE email (
    account_no INTEGER NOT NULL,              -- whom it is about; 0: a person, of whatever account
    id         BLOB    NOT NULL,
    kind       INTEGER NOT NULL,              -- 0 verification, 1 welcome, 2 password reset, 3 webhook disabled
    recipient  TEXT    NOT NULL,
    data       BLOB,                          -- words for the template, JSON, sealed: links open accounts; NULL: given up
    attempts   INTEGER NOT NULL,
    due_at     INTEGER,                       -- NULL: given up
    expires_at INTEGER NOT NULL,              -- of no use to anybody afterwards
    error      TEXT,                          -- of the last attempt
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX email_due ON email (due_at) WHERE due_at IS NOT NULL;

-- What links in mails prove, good for one use.
CREATE TABLE email_token (
    hash       BLOB    NOT NULL PRIMARY KEY,  -- SHA-256
    user_id    BLOB    NOT NULL,
    purpose    INTEGER NOT NULL,              -- 0 verification, 1 password reset
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX email_token_user ON email_token (user_id, purpose);
CREATE INDEX email_token_expires ON email_token (expires_at);
