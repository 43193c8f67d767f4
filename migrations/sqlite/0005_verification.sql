-- Verifications of phone numbers, and what was sent lately against the caps on pumping.

CREATE TABLE verification (
    account_no    INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    state         INTEGER NOT NULL,           -- domain::verification::State
    phone         BLOB    NOT NULL,           -- sealed
    phone_tag     INTEGER NOT NULL,           -- keyed hash of the number
    prefix        INTEGER NOT NULL,           -- the block of numbers: its first seven digits
    country       TEXT    NOT NULL,           -- two letters, '' = none
    sender        TEXT,
    template      BLOB    NOT NULL,           -- sealed; the text, {code} in the code's place
    code_mac      BLOB    NOT NULL,           -- keyed hash of this id and the code; the code is nowhere
    given         INTEGER NOT NULL,           -- 1: the caller made the code, so it cannot be made again here
    generation    INTEGER NOT NULL,           -- how many codes were made before this one
    length        INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    attempts_max  INTEGER NOT NULL,
    sends         INTEGER NOT NULL,
    sends_max     INTEGER NOT NULL,
    sent_at       INTEGER NOT NULL,
    resend_after  INTEGER NOT NULL,           -- milliseconds
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    sending_since INTEGER,                    -- a code is on its way: the message's body is still to be erased
    messages      BLOB    NOT NULL,           -- 16 bytes each: ids of the messages that carried the code
    address_tag   INTEGER,                    -- keyed hash of the address of the person who asks
    client_ref    TEXT,
    metadata      TEXT,                       -- JSON object
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
-- Lists by number; and what came back of the last codes to a block and to a country.
CREATE INDEX verification_phone ON verification (account_no, phone_tag, id);
CREATE INDEX verification_prefix ON verification (account_no, prefix, id);
CREATE INDEX verification_country ON verification (account_no, country, id);
CREATE INDEX verification_open ON verification (expires_at) WHERE ended_at IS NULL;
CREATE INDEX verification_sending ON verification (sending_since) WHERE sending_since IS NOT NULL;

-- Codes sent against each cap: one number each, domain::limit.
CREATE TABLE verification_cap (
    account_no  INTEGER NOT NULL,
    cap         INTEGER NOT NULL,             -- domain::verification::Cap
    key         INTEGER NOT NULL,             -- of a number, block or address
    spent_until INTEGER NOT NULL,             -- Unix milliseconds; past: nothing is spent, and the row can go
    PRIMARY KEY (account_no, cap, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX verification_cap_age ON verification_cap (spent_until);
