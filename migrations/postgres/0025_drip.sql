-- Drips: sequences of texts that each person gets step by step; who is in one, and what was handed in together.
-- Same number, same names as migrations/sqlite/0025_drip.sql.

CREATE TABLE drip (
    account_no BIGINT   NOT NULL,
    id         UUID     NOT NULL,
    name       TEXT     NOT NULL,
    state      SMALLINT NOT NULL,             -- domain::drip::State
    sequence   BYTEA    NOT NULL,             -- sealed JSON: domain::drip::Sequence
    entry      BYTEA,                         -- sealed JSON: domain::drip::Entry; NULL: by request alone
    on_reply   SMALLINT NOT NULL,             -- 1: who writes leaves it
    passing    SMALLINT NOT NULL,             -- 1: whom its entry finds next was there before it, and is passed over
    look_at    BIGINT,                        -- when its entry is looked at next; of an archived one: people are still in it
    held_up    SMALLINT,                      -- domain::drip::HeldUp
    created_at BIGINT   NOT NULL,
    changed_at BIGINT   NOT NULL,
    PRIMARY KEY (account_no, id)
);
CREATE INDEX drip_look ON drip (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX drip_active ON drip (account_no, id) WHERE state = 1;

CREATE TABLE drip_enrollment (
    account_no BIGINT   NOT NULL,
    drip_id    UUID     NOT NULL,
    phone_tag  BIGINT   NOT NULL,
    phone      BYTEA,                         -- sealed; NULL: out for so long that it is forgotten
    words      BYTEA,                         -- sealed JSON: words of their own; NULL = none
    by_contact SMALLINT NOT NULL,             -- 1: entered as a contact, and leaves with it
    step       INTEGER  NOT NULL,             -- the next one, from 0
    next_at    BIGINT   NOT NULL,             -- when that is due
    wave       UUID,                          -- the wave they are in
    reason     SMALLINT,                      -- domain::drip::ExitReason; NULL: still in
    entered_at BIGINT   NOT NULL,
    ended_at   BIGINT,
    PRIMARY KEY (account_no, drip_id, phone_tag)
);
CREATE INDEX drip_enrollment_due ON drip_enrollment (account_no, drip_id, next_at) WHERE reason IS NULL AND wave IS NULL;
CREATE INDEX drip_enrollment_in ON drip_enrollment (account_no, phone_tag) WHERE reason IS NULL;
CREATE INDEX drip_enrollment_wave ON drip_enrollment (account_no, wave) WHERE wave IS NOT NULL;
CREATE INDEX drip_enrollment_ended ON drip_enrollment (ended_at) WHERE ended_at IS NOT NULL AND phone IS NOT NULL;

-- People of one drip whose same step was due together. Their messages are the batch of that id.
CREATE TABLE drip_wave (
    account_no BIGINT   NOT NULL,
    drip_id    UUID     NOT NULL,
    id         UUID     NOT NULL,
    step       INTEGER  NOT NULL,
    look_at    BIGINT,                        -- when it is to be gone on with; NULL: it is over
    PRIMARY KEY (account_no, drip_id, id)
);
CREATE INDEX drip_wave_open ON drip_wave (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX drip_wave_open_of ON drip_wave (account_no, drip_id, look_at) WHERE look_at IS NOT NULL;

-- Who was passed over at a step, in numbers.
CREATE TABLE drip_skip (
    account_no BIGINT   NOT NULL,
    drip_id    UUID     NOT NULL,
    step       INTEGER  NOT NULL,
    code       TEXT     NOT NULL,
    count      BIGINT   NOT NULL,
    PRIMARY KEY (account_no, drip_id, step, code)
);
