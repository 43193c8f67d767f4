-- Who agreed to be written to and who refused: records that are only appended, and what they come to.
-- Same number, same names as migrations/postgres/0020_consent.sql.

CREATE TABLE consent (
    account_no  INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    phone       BLOB    NOT NULL,             -- sealed
    phone_tag   INTEGER NOT NULL,
    category    INTEGER NOT NULL,             -- domain::message::Category
    status      INTEGER NOT NULL,             -- domain::consent::Status
    source      INTEGER NOT NULL,             -- domain::consent::Source
    captured_at INTEGER NOT NULL,
    detail      BLOB    NOT NULL,             -- sealed; domain::consent::Detail as JSON
    origin      BLOB,                         -- the inbound message or the import it came with
    previous_id BLOB,                         -- the record before it, of the same number and category
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_phone ON consent (account_no, phone_tag, id);

CREATE TABLE consent_state (
    account_no  INTEGER NOT NULL,
    phone_tag   INTEGER NOT NULL,
    category    INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    source      INTEGER NOT NULL,             -- of the record that decided
    since       INTEGER NOT NULL,
    latest_id   BLOB,                         -- the newest record; NULL while a question is on its way
    asked_at    INTEGER,                      -- when they were last asked whether they agree
    asked_until INTEGER,                      -- an answer counts until then; NULL: none is waited for
    asked_count INTEGER NOT NULL,             -- how often they were asked
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (account_no, phone_tag, category)
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_state_changed ON consent_state (changed_at, account_no, phone_tag);
CREATE INDEX consent_state_asked ON consent_state (asked_until) WHERE asked_until IS NOT NULL;
