-- Connections and routes behind the API: carriers with their settings, which messages take which, what they cost, how fast they may go.
-- Same number, same names as migrations/postgres/0008_route.sql.

-- A connection keeps its number for ever: messages carry it. One of the configuration file has no settings here; its id is made of its
-- number (domain::id::compose of 0 ms, the number and account 0), so that every node shows the same.
CREATE TABLE connection_new (
    no         INTEGER NOT NULL PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    account_no INTEGER NOT NULL,              -- 0 = the platform's
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,              -- '' where the configuration file says it
    settings   TEXT,                          -- JSON without secrets, what was given only; NULL = of the configuration file
    secrets    BLOB,                          -- sealed JSON, name -> value; associated data: "connection " and the id
    enabled    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
INSERT INTO connection_new (no, id, account_no, name, kind, enabled, created_at, updated_at)
SELECT no, unhex('0000000000007000' || printf('%08x', 2147483648 + no) || '00000000'), 0, name, '', 1, 0, 0 FROM connection;
DROP TABLE connection;
ALTER TABLE connection_new RENAME TO connection;
-- The configuration file may come to name a connection as the API did: its own counts then.
CREATE UNIQUE INDEX connection_name ON connection (account_no, name, (settings IS NULL)) WHERE deleted_at IS NULL;

CREATE TABLE route (
    id         BLOB    NOT NULL PRIMARY KEY,
    account_no INTEGER NOT NULL,              -- 0 = everybody's
    name       TEXT    NOT NULL,
    rank       INTEGER NOT NULL,              -- the lowest that fits counts
    enabled    INTEGER NOT NULL,
    conditions TEXT    NOT NULL,              -- JSON, as the API shows it
    groups     TEXT    NOT NULL,              -- JSON, as the API shows it
    reroute    INTEGER NOT NULL,              -- 1: a failed receipt sends the message to the next connection
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX route_account ON route (account_no);

-- What a part costs on a connection, by longest prefix; micro-units of the platform's currency.
CREATE TABLE carrier_rate (
    connection_no INTEGER NOT NULL,
    prefix        TEXT    NOT NULL,           -- digits, '' = everywhere
    price         INTEGER NOT NULL CHECK (price >= 0),
    PRIMARY KEY (connection_no, prefix)
) STRICT, WITHOUT ROWID;

-- Which operator has the numbers that begin so.
CREATE TABLE number_range (
    prefix  TEXT    NOT NULL PRIMARY KEY,
    mcc_mnc INTEGER NOT NULL                  -- its digits, such as 26201
) STRICT, WITHOUT ROWID;

-- How fast an account, or one of its senders, may go.
CREATE TABLE throughput (
    account_no       INTEGER NOT NULL,
    sender           TEXT    NOT NULL,        -- '' = the whole account
    parts_per_second INTEGER NOT NULL CHECK (parts_per_second > 0),
    PRIMARY KEY (account_no, sender)
) STRICT, WITHOUT ROWID;

-- Counts the changes of all these, so that other processes notice them for the price of one row.
CREATE TABLE routing_version (version INTEGER NOT NULL) STRICT;
INSERT INTO routing_version (version) VALUES (0);
