-- Who agreed to be written to and who refused: records that are only appended, and what they come to.
-- Same number, same names as migrations/sqlite/0020_consent.sql.

CREATE TABLE consent (
    account_no  BIGINT NOT NULL,
    id          UUID    NOT NULL,
    phone       BYTEA    NOT NULL,             -- sealed
    phone_tag   BIGINT NOT NULL,
    category    SMALLINT NOT NULL,             -- domain::message::Category
    status      SMALLINT NOT NULL,             -- domain::consent::Status
    source      SMALLINT NOT NULL,             -- domain::consent::Source
    captured_at BIGINT NOT NULL,
    detail      BYTEA    NOT NULL,             -- sealed; domain::consent::Detail as JSON
    origin      UUID,                         -- the inbound message or the import it came with
    previous_id UUID,                         -- the record before it, of the same number and category
    PRIMARY KEY (account_no, id)
);
CREATE INDEX consent_phone ON consent (account_no, phone_tag, id);

CREATE TABLE consent_state (
    account_no  BIGINT NOT NULL,
    phone_tag   BIGINT NOT NULL,
    category    SMALLINT NOT NULL,
    status      SMALLINT NOT NULL,
    source      SMALLINT NOT NULL,             -- of the record that decided
    since       BIGINT NOT NULL,
    latest_id   UUID,                         -- the newest record; NULL while a question is on its way
    asked_at    BIGINT,                      -- when they were last asked whether they agree
    asked_until BIGINT,                      -- an answer counts until then; NULL: none is waited for
    asked_count INTEGER NOT NULL,             -- how often they were asked
    changed_at  BIGINT NOT NULL,
    PRIMARY KEY (account_no, phone_tag, category)
);
CREATE INDEX consent_state_changed ON consent_state (changed_at, account_no, phone_tag);
CREATE INDEX consent_state_asked ON consent_state (asked_until) WHERE asked_until IS NOT NULL;
