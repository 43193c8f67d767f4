-- Drips: sequences of texts that each person gets step by step; who is in one, and what was handed in together.
-- Same number, same names as migrations/postgres/0025_drip.sql.

CREATE TABLE drip (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    state      INTEGER NOT NULL,              -- domain::drip::State
    sequence   BLOB    NOT NULL,              -- sealed JSON: domain::drip::Sequence
    entry      BLOB,                          -- sealed JSON: domain::drip::Entry; NULL: by request alone
    on_reply   INTEGER NOT NULL,              -- 1: who writes leaves it
    passing    INTEGER NOT NULL,              -- 1: whom its entry finds next was there before it, and is passed over
    look_at    INTEGER,                       -- when its entry is looked at next; of an archived one: people are still in it
    held_up    INTEGER,                       -- domain::drip::HeldUp
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX drip_look ON drip (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX drip_active ON drip (account_no, id) WHERE state = 1;

CREATE TABLE drip_enrollment (
    account_no INTEGER NOT NULL,
    drip_id    BLOB    NOT NULL,
    phone_tag  INTEGER NOT NULL,
    phone      BLOB,                          -- sealed; NULL: out for so long that it is forgotten
    words      BLOB,                          -- sealed JSON: words of their own; NULL = none
    by_contact INTEGER NOT NULL,              -- 1: entered as a contact, and leaves with it
    step       INTEGER NOT NULL,              -- the next one, from 0
    next_at    INTEGER NOT NULL,              -- when that is due
    wave       BLOB,                          -- the wave they are in
    reason     INTEGER,                       -- domain::drip::ExitReason; NULL: still in
    entered_at INTEGER NOT NULL,
    ended_at   INTEGER,
    PRIMARY KEY (account_no, drip_id, phone_tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX drip_enrollment_due ON drip_enrollment (account_no, drip_id, next_at) WHERE reason IS NULL AND wave IS NULL;
CREATE INDEX drip_enrollment_in ON drip_enrollment (account_no, phone_tag) WHERE reason IS NULL;
CREATE INDEX drip_enrollment_wave ON drip_enrollment (account_no, wave) WHERE wave IS NOT NULL;
CREATE INDEX drip_enrollment_ended ON drip_enrollment (ended_at) WHERE ended_at IS NOT NULL AND phone IS NOT NULL;

-- People of one drip whose same step was due together. Their messages are the batch of that id.
CREATE TABLE drip_wave (
    account_no INTEGER NOT NULL,
    drip_id    BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    step       INTEGER NOT NULL,
    look_at    INTEGER,                       -- when it is to be gone on with; NULL: it is over
    PRIMARY KEY (account_no, drip_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX drip_wave_open ON drip_wave (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX drip_wave_open_of ON drip_wave (account_no, drip_id, look_at) WHERE look_at IS NOT NULL;

-- Who was passed over at a step, in numbers.
CREATE TABLE drip_skip (
    account_no INTEGER NOT NULL,
    drip_id    BLOB    NOT NULL,
    step       INTEGER NOT NULL,
    code       TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (account_no, drip_id, step, code)
) STRICT, WITHOUT ROWID;
