-- Verifications of phone numbers, and what was sent lately against the caps on pumping.

CREATE TABLE verification (
    account_no    BIGINT  NOT NULL,
    id            UUID    NOT NULL,
    state         SMALLINT NOT NULL,           -- domain::verification::State
    phone         BYTEA   NOT NULL,           -- sealed
    phone_tag     BIGINT  NOT NULL,           -- keyed hash of the number
    prefix        BIGINT  NOT NULL,           -- the block of numbers: its first seven digits
    country       TEXT    NOT NULL,           -- two letters, '' = none
    sender        TEXT,
    template      BYTEA   NOT NULL,           -- sealed; the text, {code} in the code's place
    code_mac      BYTEA   NOT NULL,           -- keyed hash of this id and the code; the code is nowhere
    given         BOOLEAN NOT NULL,           -- true: the caller made the code, so it cannot be made again here
    generation    SMALLINT NOT NULL,           -- how many codes were made before this one
    length        SMALLINT NOT NULL,
    attempts      SMALLINT NOT NULL,
    attempts_max  SMALLINT NOT NULL,
    sends         SMALLINT NOT NULL,
    sends_max     SMALLINT NOT NULL,
    sent_at       BIGINT  NOT NULL,
    resend_after  BIGINT  NOT NULL,           -- milliseconds
    expires_at    BIGINT  NOT NULL,
    ended_at      BIGINT,
    sending_since BIGINT,                    -- a code is on its way: the message's body is still to be erased
    messages      BYTEA   NOT NULL,           -- 16 bytes each: ids of the messages that carried the code
    address_tag   BIGINT,                    -- keyed hash of the address of the person who asks
    client_ref    TEXT,
    metadata      TEXT,                       -- JSON object
    PRIMARY KEY (account_no, id)
);
-- Lists by number; and what came back of the last codes to a block and to a country.
CREATE INDEX verification_phone ON verification (account_no, phone_tag, id);
CREATE INDEX verification_prefix ON verification (account_no, prefix, id);
CREATE INDEX verification_country ON verification (account_no, country, id);
CREATE INDEX verification_open ON verification (expires_at) WHERE ended_at IS NULL;
CREATE INDEX verification_sending ON verification (sending_since) WHERE sending_since IS NOT NULL;

-- Codes sent against each cap: one number each, domain::limit.
CREATE TABLE verification_cap (
    account_no  BIGINT  NOT NULL,
    cap         SMALLINT NOT NULL,             -- domain::verification::Cap
    key         BIGINT  NOT NULL,             -- of a number, block or address
    spent_until BIGINT  NOT NULL,             -- Unix milliseconds; past: nothing is spent, and the row can go
    PRIMARY KEY (account_no, cap, key)
);
CREATE INDEX verification_cap_age ON verification_cap (spent_until);
