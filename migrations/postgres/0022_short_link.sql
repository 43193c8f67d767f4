-- Short links in messages, one for each recipient and address, and what came of them.
CREATE TABLE short_link (
    account_no BIGINT   NOT NULL,
    id         UUID     NOT NULL,
    code       BIGINT   NOT NULL UNIQUE,      -- domain::short_link::Code; public
    message_id UUID     NOT NULL,
    batch_id   UUID,
    phone_tag  BIGINT   NOT NULL,
    target     BYTEA    NOT NULL,             -- sealed; where it leads
    expires_at BIGINT   NOT NULL,
    humans     BIGINT   NOT NULL,             -- clicks by kind
    bots       BIGINT   NOT NULL,
    previews   BIGINT   NOT NULL,
    first_at   BIGINT,                        -- the first of a human
    PRIMARY KEY (account_no, id)
);
-- A batch's clicks in sum.
CREATE INDEX short_link_batch ON short_link (account_no, batch_id, id) WHERE batch_id IS NOT NULL;

-- Who opened one: only those stand in it.
CREATE INDEX short_link_opened ON short_link (account_no, phone_tag, first_at) WHERE first_at IS NOT NULL;

CREATE TABLE short_link_click (
    account_no BIGINT   NOT NULL,
    link_id    UUID     NOT NULL,
    id         UUID     NOT NULL,             -- UUIDv7
    visitor    SMALLINT NOT NULL,             -- domain::short_link::Visitor
    device     SMALLINT NOT NULL,             -- domain::short_link::Device
    PRIMARY KEY (account_no, link_id, id)
);
