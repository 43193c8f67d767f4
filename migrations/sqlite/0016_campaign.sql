-- Campaigns: what is sent to whom and when, their runs and recipients; audiences that were uploaded; texts that are kept.
-- Same number, same names as migrations/postgres/0016_campaign.sql.

CREATE TABLE campaign (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    state      INTEGER NOT NULL,              -- domain::campaign::State
    reason     INTEGER,                       -- domain::campaign::Reason: why it is paused, or failed
    content    BLOB    NOT NULL,              -- sealed JSON: domain::campaign::Content
    audience   BLOB    NOT NULL,              -- sealed JSON: entries of domain::campaign::Entry
    schedule   TEXT,                          -- JSON: at (local), time_zone, repeat
    look_at    INTEGER,                       -- when the runner has something to do with it; of a scheduled one its next start
    pace       INTEGER,                       -- messages a second at most
    runs       INTEGER NOT NULL,              -- begun so far
    run_id     BLOB,                          -- the last one: id of its batch
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_look ON campaign (look_at) WHERE look_at IS NOT NULL;

-- A run: one launch. Its batch has the same id, and with it the totals of its messages.
CREATE TABLE campaign_run (
    account_no  INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    campaign_id BLOB    NOT NULL,
    number      INTEGER NOT NULL,             -- from 1
    place       TEXT,                         -- JSON: up to where the audience is written; NULL: all of it is
    cursor      INTEGER NOT NULL,             -- phone_tag of the last recipient that was handed in
    total       INTEGER NOT NULL,             -- recipients, those left out too
    duplicates  INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,             -- recipients left out
    deferred    INTEGER NOT NULL,             -- messages with a time of their own
    local_at    TEXT,                         -- local time at which each message goes where its recipient is
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,                      -- nothing more is handed in
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_run_campaign ON campaign_run (account_no, campaign_id, id);
CREATE INDEX campaign_run_ended ON campaign_run (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE campaign_recipient (
    account_no INTEGER NOT NULL,
    run_id     BLOB    NOT NULL,
    phone_tag  INTEGER NOT NULL,              -- of what is no number: a hash of what was written
    phone      BLOB,                          -- sealed; NULL: what was written is no number
    given      BLOB,                          -- sealed; what was written, if it is no number
    words      BLOB,                          -- sealed JSON: those the text names; NULL = none
    code       TEXT,                          -- why it was left out
    PRIMARY KEY (account_no, run_id, phone_tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_recipient_skipped ON campaign_recipient (account_no, run_id, phone_tag, code) WHERE code IS NOT NULL;

CREATE TABLE audience_file (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    ready      INTEGER NOT NULL,              -- 0: its rows are being written
    columns    TEXT    NOT NULL,              -- JSON array: names of its variables
    row_count  INTEGER NOT NULL,
    bad        INTEGER NOT NULL,              -- rows without a number that can be
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audience_file_created ON audience_file (created_at);

CREATE TABLE audience_row (
    account_no INTEGER NOT NULL,
    file_id    BLOB    NOT NULL,
    line       INTEGER NOT NULL,
    phone      BLOB,                          -- sealed; NULL: what was written is no number
    given      BLOB,                          -- sealed; what was written, if it is no number
    code       TEXT,                          -- why it is none
    words      BLOB,                          -- sealed JSON; NULL = none
    PRIMARY KEY (account_no, file_id, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE template (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    text       BLOB    NOT NULL,              -- sealed
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX template_name ON template (account_no, name);
