-- Customers who bind by SMPP: what they bind with, and what waits to be handed to them.

CREATE TABLE smpp_credential (
    account_no    INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    no            INTEGER NOT NULL,           -- 1 to 32767 within the account, never used again: it stands in the flags of its messages
    name          TEXT    NOT NULL,
    system_id     TEXT    NOT NULL UNIQUE,
    password_hash TEXT    NOT NULL,           -- Argon2id, PHC string
    settings      TEXT    NOT NULL,           -- JSON, domain::smpp::CredentialSettings
    enabled       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    bound_at      INTEGER,                    -- about when it was last bound
    deleted_at    INTEGER,
    PRIMARY KEY (account_no, id),
    UNIQUE (account_no, no)
) STRICT, WITHOUT ROWID;

-- Receipts and inbound messages until the customer's bind has taken them; neither number nor text is copied here.
CREATE TABLE smpp_delivery (
    account_no INTEGER NOT NULL,
    credential INTEGER NOT NULL,              -- its no
    seq        BLOB    NOT NULL,              -- UUIDv7: the order of delivery, and its age
    kind       INTEGER NOT NULL,              -- 0 receipt, 1 inbound message
    subject    BLOB    NOT NULL,              -- id of the message
    state      INTEGER NOT NULL,              -- domain::message::State
    PRIMARY KEY (account_no, credential, seq)
) STRICT, WITHOUT ROWID;
