-- Webhooks out: the outbox as its consumer reads it, endpoints, and what is to be delivered to them.
-- Same number, same names as migrations/postgres/0002_webhook.sql.

-- The outbox begins anew: nothing read it until now. A row is either the transitions of one settle commit and account that somebody wants
-- to be told of, or one event of another kind. Nothing here copies a phone number or a text.
DROP TABLE event;
CREATE TABLE event (
    account_no  INTEGER NOT NULL,
    id          BLOB    NOT NULL,             -- UUIDv7; the n-th transition has the n-th id after it
    kind        INTEGER NOT NULL,             -- domain::event::EventKind; 0 = transitions of messages
    transitions BLOB    NOT NULL,             -- 18 bytes each: message id, state, 1 if the message itself asks to tell
    taken       INTEGER NOT NULL,             -- how many of them are fanned out already
    subject     BLOB,                         -- id of what another kind is about
    detail      TEXT,                         -- JSON object: what is to be told of another kind
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;

-- Where events go. The row with id 0 holds the secret that signs the account's callbacks (a message's own callback_url).
CREATE TABLE webhook_endpoint (
    account_no      INTEGER NOT NULL,
    id              BLOB    NOT NULL,
    url             TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    kinds           TEXT    NOT NULL,         -- names with spaces between; '' = all
    status          INTEGER NOT NULL,         -- 0 enabled, 1 disabled by its owner, 2 disabled after failing, 3 disabled as gone (410)
    status_at       INTEGER NOT NULL,         -- since when
    secret          BLOB    NOT NULL,         -- sealed
    previous_secret BLOB,                     -- sealed; signs as well until previous_until
    previous_until  INTEGER,
    accepted_at     INTEGER,                  -- about when it last took an event
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;

-- One event for one endpoint (id 0: a callback), until it is delivered, and after that as the log that can be replayed.
CREATE TABLE webhook_delivery (
    account_no  INTEGER NOT NULL,
    endpoint_id BLOB    NOT NULL,
    id          BLOB    NOT NULL,             -- of the event, the same for all endpoints: webhook-id
    queue       BLOB    NOT NULL,             -- what waits together: the endpoint's id, or a hash of account and origin of a callback
    kind        INTEGER NOT NULL,             -- domain::event::EventKind
    subject     BLOB,
    detail      TEXT,
    event_at    INTEGER NOT NULL,
    state       INTEGER NOT NULL,             -- 0 pending, 1 delivered, 2 failed, 3 missed (its endpoint was disabled)
    attempts    INTEGER NOT NULL,             -- since it was last asked for
    due_at      INTEGER NOT NULL,
    log         BLOB,                         -- sealed JSON: the last attempts and what was answered
    PRIMARY KEY (account_no, endpoint_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_delivery_due ON webhook_delivery (queue, due_at, id) WHERE state = 0;
