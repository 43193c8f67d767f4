-- Core: accounts and access, messages and what is open about them, money.
-- Same number, same names as migrations/sqlite/0001_core.sql. Instants are BIGINT milliseconds UTC; money is BIGINT micro-units
-- of the account's currency; sealed columns begin with one byte that names their scheme (0 = plain).

-- What this installation is: secrets made once at first start (name -> value).
CREATE TABLE platform (
    name  TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE account (
    no         BIGINT NOT NULL PRIMARY KEY,  -- the last 32 bits of every id it owns
    id         UUID    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    status     SMALLINT NOT NULL,              -- 0 active, 1 suspended, 2 closed
    tier       SMALLINT NOT NULL,              -- 0 regular, 1 premium, 2 vip
    currency   TEXT    NOT NULL,
    settings   TEXT    NOT NULL,              -- JSON, domain::account::Settings
    created_at BIGINT NOT NULL
);

-- Apart from account, because the hot path rewrites it once per commit: the row stays small.
CREATE TABLE balance (
    account_no BIGINT NOT NULL PRIMARY KEY,
    available  BIGINT NOT NULL CHECK (available >= 0),
    held       BIGINT NOT NULL CHECK (held >= 0),
    spent      BIGINT NOT NULL
);

-- Money that came from outside or by hand. Holds, captures and releases are columns of the messages themselves.
CREATE TABLE ledger_entry (
    account_no BIGINT NOT NULL,
    id         UUID    NOT NULL,
    kind       SMALLINT NOT NULL,              -- 0 top_up, 1 adjustment, 2 refund
    amount     BIGINT NOT NULL,
    note       TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_no, id)
);

CREATE TABLE app_user (
    id            UUID    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE,    -- lower case
    name          TEXT    NOT NULL,
    phone         BYTEA,                       -- sealed
    password_hash TEXT    NOT NULL,           -- Argon2id, PHC string
    operator      BOOLEAN NOT NULL,           -- 1: the platform role
    failures      INTEGER NOT NULL,           -- wrong passwords in a row
    locked_until  BIGINT,
    created_at    BIGINT NOT NULL
);

CREATE TABLE membership (
    account_no BIGINT NOT NULL,
    user_id    UUID    NOT NULL,
    role       SMALLINT NOT NULL,              -- 0 viewer, 1 member, 2 admin, 3 owner
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_no, user_id)
);
CREATE INDEX membership_user ON membership (user_id);

CREATE TABLE session (
    id           UUID    NOT NULL PRIMARY KEY,
    user_id      UUID    NOT NULL,
    account_no   BIGINT NOT NULL,
    refresh_hash BYTEA    NOT NULL,            -- SHA-256 of the current refresh token
    address      TEXT    NOT NULL,
    agent        TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT
);
CREATE INDEX session_of_user ON session (user_id);

CREATE TABLE api_key (
    id          UUID    NOT NULL PRIMARY KEY,
    account_no  BIGINT NOT NULL,
    key_id      TEXT    NOT NULL UNIQUE,      -- the clear part of the key
    secret_hash BYTEA    NOT NULL,             -- SHA-256 of the whole key
    hint        TEXT    NOT NULL,             -- the last four characters
    name        TEXT    NOT NULL,
    scopes      TEXT    NOT NULL,             -- space separated
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    used_at     BIGINT
);
CREATE INDEX api_key_account ON api_key (account_no);

-- Price of a part by longest prefix; account 0 is everybody's list, an account's own rows win over it.
CREATE TABLE rate (
    account_no BIGINT NOT NULL,
    prefix     TEXT    NOT NULL,              -- digits, '' = everywhere
    lane       SMALLINT NOT NULL,              -- -1 any, else domain::message::Lane
    price      BIGINT NOT NULL CHECK (price >= 0),
    PRIMARY KEY (account_no, prefix, lane)
);

-- Configured connections get a number once, so that rows stay small and a renamed file keeps its history.
CREATE TABLE connection (
    no   BIGINT NOT NULL PRIMARY KEY,
    name TEXT    NOT NULL UNIQUE
);

CREATE TABLE batch (
    account_no BIGINT NOT NULL,
    id         UUID    NOT NULL,
    state      SMALLINT NOT NULL,              -- 0 loading, 1 accepted
    body       BYTEA,                          -- sealed; the text its messages share
    total      INTEGER NOT NULL,
    queued     INTEGER NOT NULL,
    sent       INTEGER NOT NULL,
    delivered  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    parts      INTEGER NOT NULL,
    held       BIGINT NOT NULL,
    captured   BIGINT NOT NULL,
    client_ref TEXT,
    tags       TEXT,                          -- JSON array
    refusals   TEXT,                          -- JSON, of a partial batch: [{index, code}]
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_no, id)
);

CREATE TABLE message (
    account_no    BIGINT NOT NULL,
    id            UUID    NOT NULL,
    batch_id      UUID,                       -- its body is the batch's when body is NULL
    state         SMALLINT NOT NULL,           -- domain::message::State
    lane          SMALLINT NOT NULL,
    category      SMALLINT NOT NULL,
    flags         INTEGER NOT NULL,           -- domain::message::Flags
    encoding      SMALLINT NOT NULL,
    parts         INTEGER NOT NULL,
    phone         BYTEA    NOT NULL,           -- sealed
    phone_tag     BIGINT NOT NULL,           -- keyed hash of the number, for look-ups
    sender        TEXT,
    body          BYTEA,                       -- sealed
    otp_code      BYTEA,                       -- sealed
    unit_price    BIGINT NOT NULL,
    held          BIGINT NOT NULL,
    captured      BIGINT NOT NULL,
    reference     INTEGER,                    -- of concatenation; multipart only
    part_states   BYTEA,                       -- one byte a part; multipart only
    attempts      SMALLINT NOT NULL,
    connection_no INTEGER,
    error_code    SMALLINT,
    carrier_error TEXT,
    due_at        BIGINT,                    -- scheduled or to be retried; NULL = at once
    expires_at    BIGINT NOT NULL,
    sent_at       BIGINT,
    final_at      BIGINT,
    client_ref    TEXT,
    tags          TEXT,
    callback_url  TEXT,
    PRIMARY KEY (account_no, id)
);

-- What is due: a span of consecutive message ids per (commit, account, lane). Deleted when all of it left `queued`.
CREATE TABLE due_span (
    account_no BIGINT NOT NULL,
    first_id   UUID    NOT NULL,
    lane       SMALLINT NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (account_no, first_id)
);

-- Messages with a time of their own: scheduled ones and retries.
CREATE TABLE due_at (
    due_at     BIGINT NOT NULL,
    account_no BIGINT NOT NULL,
    message_id UUID    NOT NULL,
    PRIMARY KEY (due_at, account_no, message_id)
);

-- A carrier's id for one part of one attempt, until its receipt. Carriers reuse ids: not unique.
CREATE TABLE carrier_ref (
    connection_no INTEGER NOT NULL,
    carrier_id    TEXT    NOT NULL,
    message_id    UUID    NOT NULL,
    part          SMALLINT NOT NULL,
    attempt       SMALLINT NOT NULL,
    phone_tag     BIGINT NOT NULL,
    PRIMARY KEY (connection_no, carrier_id, message_id, part)
);

-- Attempts whose answer never came, until a receipt or the policy's time decides.
CREATE TABLE unknown_attempt (
    connection_no INTEGER NOT NULL,
    phone_tag     BIGINT NOT NULL,
    message_id    UUID    NOT NULL,
    part          SMALLINT NOT NULL,
    attempt       SMALLINT NOT NULL,
    sender        TEXT,
    submitted_at  BIGINT NOT NULL,
    decide_at     BIGINT,                    -- NULL once decided
    PRIMARY KEY (connection_no, phone_tag, message_id, part, attempt)
);
CREATE INDEX unknown_attempt_decide ON unknown_attempt (decide_at) WHERE decide_at IS NOT NULL;

-- Receipts that came before the answer they belong to (or belong to nobody).
CREATE TABLE parked_receipt (
    connection_no INTEGER NOT NULL,
    carrier_id    TEXT    NOT NULL,
    seq           UUID    NOT NULL,           -- UUIDv7, order of arrival
    phone_tag     BIGINT NOT NULL,
    kind          SMALLINT NOT NULL,           -- 0 interim, 1 delivered, 2 failed
    error_code    SMALLINT,
    carrier_error TEXT,
    received_at   BIGINT NOT NULL,
    PRIMARY KEY (connection_no, carrier_id, seq)
);
CREATE INDEX parked_receipt_age ON parked_receipt (received_at);
-- A part that got no answer looks for a receipt that came all the same.
CREATE INDEX parked_receipt_phone ON parked_receipt (connection_no, phone_tag);

-- The unusual: retries, failovers, unknown outcomes. An ordinary message's history is its own columns.
CREATE TABLE attempt (
    account_no    BIGINT NOT NULL,
    message_id    UUID    NOT NULL,
    attempt       SMALLINT NOT NULL,
    part          SMALLINT NOT NULL,
    connection_no INTEGER NOT NULL,
    result        SMALLINT NOT NULL,           -- 0 retry, 1 failover, 2 unknown, 3 failed, 4 late
    error_code    SMALLINT,
    carrier_error TEXT,
    at            BIGINT NOT NULL,
    PRIMARY KEY (account_no, message_id, attempt, part, result)
);

-- One row per POST that carried an Idempotency-Key; the answer is rebuilt from the resource.
CREATE TABLE idempotency (
    day         INTEGER NOT NULL,             -- days since 1970; old days are dropped whole
    account_no  BIGINT NOT NULL,
    key_hash    BYTEA    NOT NULL,             -- of method, path and key
    fingerprint BYTEA    NOT NULL,             -- of the body
    resource    UUID    NOT NULL,             -- id of the message or batch
    kind        SMALLINT NOT NULL,             -- 0 message, 1 batch, 2 ledger entry
    PRIMARY KEY (day, account_no, key_hash)
);

-- Durable outbox: one row per (settle commit, account) that has a subscriber; rendered at delivery.
CREATE TABLE event (
    account_no  BIGINT NOT NULL,
    id          UUID    NOT NULL,             -- UUIDv7
    transitions BYTEA    NOT NULL,             -- 17 bytes each: message id, state
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (account_no, id)
);
