-- Saved filters over contacts, and what happened between an account and its contacts, by day.
-- Same number, same names as migrations/sqlite/0017_segment.sql.

CREATE TABLE segment (
    account_no BIGINT NOT NULL,
    id         UUID   NOT NULL,
    name       TEXT   NOT NULL,
    filter     TEXT   NOT NULL,             -- JSON as the account wrote it, domain::segment
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_no, id)
);

-- Counted behind the messages by a job, of those that were accepted once the number was a contact's.
CREATE TABLE contact_activity (
    account_no BIGINT NOT NULL,
    contact_id UUID   NOT NULL,
    day        BIGINT NOT NULL,             -- days since 1970, UTC
    sent       BIGINT NOT NULL,
    delivered  BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    replied    BIGINT NOT NULL,
    PRIMARY KEY (account_no, contact_id, day)
);

-- How far the job has looked: the last message and the last inbound message.
CREATE TABLE activity_cursor (
    account_no BIGINT NOT NULL PRIMARY KEY,
    message_id UUID   NOT NULL,
    inbound_id UUID   NOT NULL
);

-- Messages that were still open when it came by, to be looked at again.
CREATE TABLE activity_open (
    account_no BIGINT NOT NULL,
    look_at    BIGINT NOT NULL,
    message_id UUID   NOT NULL,
    contact_id UUID   NOT NULL,
    sent       BIGINT NOT NULL,             -- 1: it has been counted as sent
    PRIMARY KEY (account_no, look_at, message_id)
);
