-- Merchants' phone numbers, and payments that were credited.

CREATE TABLE merchant (
    account_no BIGINT NOT NULL PRIMARY KEY,
    phone      BYTEA NOT NULL                -- sealed
);

CREATE TABLE payment (
    account_no BIGINT NOT NULL,
    gateway    SMALLINT NOT NULL,               -- config::Gateway
    payment_id TEXT NOT NULL,                 -- the gateway's
    entry_id   UUID NOT NULL,               -- the ledger's
    PRIMARY KEY (account_no, gateway, payment_id)
);
-- No payment is two accounts'.
CREATE UNIQUE INDEX payment_of_gateway ON payment (gateway, payment_id);
