-- Connections and routes behind the API: carriers with their settings, which messages take which, what they cost, how fast they may go.
-- Same number, same names as migrations/sqlite/0008_route.sql.

-- A connection keeps its number for ever: messages carry it. One of the configuration file has no settings here; its id is made of its
-- number (domain::id::compose of 0 ms, the number and account 0), so that every node shows the same.
ALTER TABLE connection
    ADD COLUMN id         UUID,
    ADD COLUMN account_no BIGINT  NOT NULL DEFAULT 0,     -- 0 = the platform's
    ADD COLUMN kind       TEXT    NOT NULL DEFAULT '',    -- '' where the configuration file says it
    ADD COLUMN settings   TEXT,                           -- JSON without secrets, what was given only; NULL = of the configuration file
    ADD COLUMN secrets    BYTEA,                          -- sealed JSON, name -> value; associated data: "connection " and the id
    ADD COLUMN enabled    BOOLEAN NOT NULL DEFAULT TRUE,
    ADD COLUMN created_at BIGINT  NOT NULL DEFAULT 0,
    ADD COLUMN updated_at BIGINT  NOT NULL DEFAULT 0,
    ADD COLUMN deleted_at BIGINT;
UPDATE connection SET id = ('0000000000007000' || to_hex(2147483648 + no) || '00000000')::uuid;
ALTER TABLE connection
    ALTER COLUMN id SET NOT NULL,
    ADD CONSTRAINT connection_id_key UNIQUE (id),
    DROP CONSTRAINT connection_name_key;
-- The configuration file may come to name a connection as the API did: its own counts then.
CREATE UNIQUE INDEX connection_name ON connection (account_no, name, (settings IS NULL)) WHERE deleted_at IS NULL;

CREATE TABLE route (
    id         UUID    NOT NULL PRIMARY KEY,
    account_no BIGINT NOT NULL,              -- 0 = everybody's
    name       TEXT    NOT NULL,
    rank       INTEGER NOT NULL,              -- the lowest that fits counts
    enabled    BOOLEAN NOT NULL,
    conditions TEXT    NOT NULL,              -- JSON, as the API shows it
    groups     TEXT    NOT NULL,              -- JSON, as the API shows it
    reroute    BOOLEAN NOT NULL,              -- a failed receipt sends the message to the next connection
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX route_account ON route (account_no);

-- What a part costs on a connection, by longest prefix; micro-units of the platform's currency.
CREATE TABLE carrier_rate (
    connection_no INTEGER NOT NULL,
    prefix        TEXT    NOT NULL,           -- digits, '' = everywhere
    price         BIGINT NOT NULL CHECK (price >= 0),
    PRIMARY KEY (connection_no, prefix)
);

-- Which operator has the numbers that begin so.
CREATE TABLE number_range (
    prefix  TEXT    NOT NULL PRIMARY KEY,
    mcc_mnc INTEGER NOT NULL                  -- its digits, such as 26201
);

-- How fast an account, or one of its senders, may go.
CREATE TABLE throughput (
    account_no       BIGINT NOT NULL,
    sender           TEXT    NOT NULL,        -- '' = the whole account
    parts_per_second BIGINT NOT NULL CHECK (parts_per_second > 0),
    PRIMARY KEY (account_no, sender)
);

-- Counts the changes of all these, so that other processes notice them for the price of one row.
CREATE TABLE routing_version (version BIGINT NOT NULL);
INSERT INTO routing_version (version) VALUES (0);
