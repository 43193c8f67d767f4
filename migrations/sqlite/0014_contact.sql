-- People who can be written to, their groups, and the attributes an account has declared for them.
-- Same number, same names as migrations/postgres/0014_contact.sql.

CREATE TABLE contact (
    account_no  INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    phone       BLOB    NOT NULL,             -- sealed
    phone_tag   INTEGER NOT NULL,
    name        TEXT    NOT NULL,             -- '' = not known
    name_key    TEXT    NOT NULL,             -- the name in lower case: what a search for its beginning looks at
    external_id TEXT,                         -- the account's own
    status      TEXT    NOT NULL,
    attributes  TEXT    NOT NULL,             -- JSON object: declared name -> value
    created_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX contact_phone ON contact (account_no, phone_tag);
CREATE UNIQUE INDEX contact_external ON contact (account_no, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX contact_name ON contact (account_no, name_key);

CREATE TABLE contact_tag (
    account_no INTEGER NOT NULL,
    tag        TEXT    NOT NULL,
    contact_id BLOB    NOT NULL,
    PRIMARY KEY (account_no, tag, contact_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_tag_contact ON contact_tag (account_no, contact_id);

CREATE TABLE contact_group (
    account_no  INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    kind        INTEGER NOT NULL,             -- domain::contact::GroupKind
    name        TEXT    NOT NULL,
    external_id TEXT,                         -- the account's own
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX contact_group_external ON contact_group (account_no, kind, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE contact_group_member (
    account_no INTEGER NOT NULL,
    group_id   BLOB    NOT NULL,
    contact_id BLOB    NOT NULL,
    PRIMARY KEY (account_no, group_id, contact_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_group_member_contact ON contact_group_member (account_no, contact_id);

CREATE TABLE contact_attribute (
    account_no INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    kind       INTEGER NOT NULL,              -- domain::contact::AttributeKind
    PRIMARY KEY (account_no, name)
) STRICT, WITHOUT ROWID;
