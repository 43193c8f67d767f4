-- Senders: what accounts may be from, what countries demand; and media: pictures and videos to be sent.
-- Same number, same names as the other database's 0007_sender.sql.

CREATE TABLE sender (
    account_no INTEGER NOT NULL,
    id         BLOB NOT NULL,
    sender     TEXT NOT NULL,
    countries  TEXT NOT NULL,           -- ISO 3166, space separated; '' = everywhere
    use_case   TEXT NOT NULL,
    status     INTEGER NOT NULL,             -- 0 pending, 1 approved, 2 rejected
    reason     TEXT,                    -- of a rejection
    is_default INTEGER NOT NULL,             -- 1: stands in, there, for messages that name none
    created_at INTEGER NOT NULL,
    decided_at INTEGER,
    PRIMARY KEY (account_no, id),
    UNIQUE (account_no, sender)
) STRICT, WITHOUT ROWID;
-- What operators look through.
CREATE INDEX sender_status ON sender (status, id);

-- What countries demand of senders; operators change it, the rows below are where it begins.
CREATE TABLE sender_rule (
    country     TEXT NOT NULL PRIMARY KEY,
    names       INTEGER NOT NULL,            -- of alphanumeric senders: 0 free, 1 registered, 2 refused
    numbers     INTEGER NOT NULL,            -- of short codes and phone numbers
    replacement TEXT,                   -- goes out instead; NULL = the message is refused
    note        TEXT NOT NULL           -- whence it is known
) STRICT, WITHOUT ROWID;
INSERT INTO sender_rule (country, names, numbers, replacement, note) VALUES
    ('US', 2, 1, NULL, 'CTIA Messaging Principles: no names; numbers registered (10DLC, toll-free) or leased (short codes)'),
    ('CA', 2, 0, NULL, 'No names: AWS End User Messaging guide, Sender IDs'),
    ('CN', 2, 0, NULL, 'No names: AWS End User Messaging guide, Sender IDs'),
    ('AR', 2, 0, NULL, 'Carriers replace names by a short code of theirs'),
    ('IN', 1, 1, NULL, 'TCCCPR 2018: headers and templates registered on DLT'),
    ('SG', 1, 0, NULL, 'SSIR of IMDA: names registered since 2023-01-31'),
    ('AU', 1, 0, NULL, 'ACMA SMS Sender ID Register'),
    ('IE', 1, 0, NULL, 'ComReg SMS Sender ID Registry'),
    ('EG', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('ID', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('JO', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('KE', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('KW', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('KZ', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('LK', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('PH', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('QA', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('RU', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('SA', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations'),
    ('TH', 1, 0, NULL, 'Names registered: AWS End User Messaging guide, Registrations');

-- Files that messages carry. The octets lie in the data folder, named by their digest; several rows may share them.
CREATE TABLE media (
    account_no   INTEGER NOT NULL,
    id           BLOB NOT NULL,
    token        TEXT NOT NULL UNIQUE,  -- of its public link
    content_type TEXT NOT NULL,
    size         INTEGER NOT NULL,           -- octets
    digest       BLOB NOT NULL,          -- SHA-256 of the octets
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    deleted_at   INTEGER,                    -- the octets are gone, the link answers so
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
-- What may share octets, and what has expired.
CREATE INDEX media_digest ON media (digest);
CREATE INDEX media_expiry ON media (expires_at) WHERE deleted_at IS NULL;
