-- Merchants' phone numbers, and payments that were credited.
-- Same number, same names as migrations/postgres/0026_face.sql.

CREATE TABLE merchant (
    account_no INTEGER NOT NULL PRIMARY KEY,
    phone      BLOB NOT NULL                -- sealed
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
    account_no INTEGER NOT NULL,
    gateway    INTEGER NOT NULL,               -- config::Gateway
    payment_id TEXT NOT NULL,                 -- the gateway's
    entry_id   BLOB NOT NULL,               -- the ledger's
    PRIMARY KEY (account_no, gateway, payment_id)
) STRICT, WITHOUT ROWID;
-- No payment is two accounts'.
CREATE UNIQUE INDEX payment_of_gateway ON payment (gateway, payment_id);
