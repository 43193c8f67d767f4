-- Short links in messages, one for each recipient and address, and what came of them.
CREATE TABLE short_link (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    code       INTEGER NOT NULL UNIQUE,       -- domain::short_link::Code; public
    message_id BLOB    NOT NULL,
    batch_id   BLOB,
    phone_tag  INTEGER NOT NULL,
    target     BLOB    NOT NULL,              -- sealed; where it leads
    expires_at INTEGER NOT NULL,
    humans     INTEGER NOT NULL,              -- clicks by kind
    bots       INTEGER NOT NULL,
    previews   INTEGER NOT NULL,
    first_at   INTEGER,                       -- the first of a human
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
-- A batch's clicks in sum.
CREATE INDEX short_link_batch ON short_link (account_no, batch_id, id) WHERE batch_id IS NOT NULL;

-- Who opened one: only those stand in it.
CREATE INDEX short_link_opened ON short_link (account_no, phone_tag, first_at) WHERE first_at IS NOT NULL;

CREATE TABLE short_link_click (
    account_no INTEGER NOT NULL,
    link_id    BLOB    NOT NULL,
    id         BLOB    NOT NULL,              -- UUIDv7
    visitor    INTEGER NOT NULL,              -- domain::short_link::Visitor
    device     INTEGER NOT NULL,              -- domain::short_link::Device
    PRIMARY KEY (account_no, link_id, id)
) STRICT, WITHOUT ROWID;
