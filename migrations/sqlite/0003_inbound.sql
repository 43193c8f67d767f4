-- What comes back: numbers that must not be written to, messages from phones, the numbers they come to, what answers by itself.
-- Same number, same names as migrations/postgres/0003_inbound.sql.

-- A number that must not be written to. Never overwritten: it is ended, and the next one is a row of its own.
CREATE TABLE suppression (
    account_no INTEGER NOT NULL,              -- 0: the platform's, for every account
    id         BLOB    NOT NULL,
    phone      BLOB,                          -- sealed; NULL once erased: the tag keeps the stop
    phone_tag  INTEGER NOT NULL,
    reason     INTEGER NOT NULL,              -- domain::suppression::Reason
    sender     TEXT    NOT NULL,              -- '' = every sender of the account
    category   INTEGER NOT NULL,              -- -1 = those the reason binds
    source     INTEGER NOT NULL,              -- domain::suppression::Source
    text       BLOB,                          -- sealed: what was written, or a note
    origin     BLOB,                          -- the inbound message that asked for it
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    ended_by   INTEGER,                       -- domain::suppression::Source
    ended_text BLOB,                          -- sealed
    changed_at INTEGER NOT NULL,              -- other processes look for what is newer than they know
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
-- One open row of each kind; the history of a number beside it.
CREATE UNIQUE INDEX suppression_open ON suppression (account_no, phone_tag, reason, sender, category) WHERE ended_at IS NULL;
CREATE INDEX suppression_phone ON suppression (account_no, phone_tag);
CREATE INDEX suppression_changed ON suppression (changed_at);

-- Numbers that phones can write to, and whose they are. A short code can be another account's on another connection.
CREATE TABLE inbound_number (
    id            BLOB    NOT NULL PRIMARY KEY,
    number        TEXT    NOT NULL,           -- digits, no +
    connection_no INTEGER NOT NULL,           -- 0 = whichever it comes by
    account_no    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    UNIQUE (number, connection_no)
) STRICT, WITHOUT ROWID;

-- A message from a phone. Account 0: it came to a number that nobody owns.
CREATE TABLE inbound_message (
    account_no      INTEGER NOT NULL,
    id              BLOB    NOT NULL,         -- its time is when it was complete
    conversation_id BLOB,
    connection_no   INTEGER NOT NULL,
    number          TEXT    NOT NULL,         -- what it came to: digits
    peer            BLOB    NOT NULL,         -- sealed: who wrote, a number with + or a name
    peer_tag        INTEGER NOT NULL,
    body            BLOB    NOT NULL,         -- sealed: text, or octets as base64
    is_binary       INTEGER NOT NULL,
    parts           INTEGER NOT NULL,
    missing         TEXT,                     -- JSON array of the parts that never came
    carrier_at      INTEGER,                  -- when the carrier had it, if it says so
    action          INTEGER NOT NULL,         -- domain::keyword::Action
    rule_id         BLOB,
    answer          INTEGER NOT NULL,         -- 0 none, 1 due, 2 done
    answer_id       BLOB,                     -- the message that answered
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbound_of_conversation ON inbound_message (account_no, conversation_id, id);
CREATE INDEX inbound_answer_due ON inbound_message (account_no, id) WHERE answer = 1;

-- Parts of long messages, until they are complete or waited for long enough.
CREATE TABLE inbound_part (
    connection_no INTEGER NOT NULL,
    number        TEXT    NOT NULL,
    peer_tag      INTEGER NOT NULL,
    reference     INTEGER NOT NULL,
    total         INTEGER NOT NULL,
    part          INTEGER NOT NULL,           -- from 1
    peer          BLOB    NOT NULL,           -- sealed
    body          BLOB    NOT NULL,           -- sealed: octets as they came
    alphabet      INTEGER NOT NULL,           -- domain::inbound::Piece
    carrier_at    INTEGER,
    received_at   INTEGER NOT NULL,
    PRIMARY KEY (connection_no, number, peer_tag, reference, total, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbound_part_age ON inbound_part (received_at);

-- What carriers gave us lately: carriers repeat what was not acknowledged in time.
CREATE TABLE inbound_seen (
    connection_no INTEGER NOT NULL,
    fingerprint   INTEGER NOT NULL,           -- of the carrier's id and the part, or of all it holds
    seen_at       INTEGER NOT NULL,           -- when it was durable
    PRIMARY KEY (connection_no, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbound_seen_age ON inbound_seen (seen_at);

-- One own number and one who writes to it. Begun by either.
CREATE TABLE conversation (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    number     TEXT    NOT NULL,              -- digits of the own number
    peer       BLOB    NOT NULL,              -- sealed
    peer_tag   INTEGER NOT NULL,
    received   INTEGER NOT NULL,
    unread     INTEGER NOT NULL,
    last_id    BLOB    NOT NULL,              -- of the last message in or answered: what lists are ordered by
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id),
    UNIQUE (account_no, number, peer_tag)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX conversation_last ON conversation (account_no, last_id);
-- Only messages from numbers that can be answered stand in it (Flags::TWO_WAY): others do not pay for it.
CREATE INDEX message_of_conversation ON message (account_no, phone_tag, id) WHERE (flags & 8192) <> 0;

-- What answers by itself.
CREATE TABLE keyword_rule (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    keyword    TEXT    NOT NULL,              -- as the account wrote it
    mode       INTEGER NOT NULL,              -- domain::keyword::Match
    number     TEXT    NOT NULL,              -- '' = every own number
    reply      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
