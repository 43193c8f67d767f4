-- Tables of contacts that were uploaded, how far each is taken in, and the rows of each that are wrong.
-- Same number, same names as migrations/sqlite/0019_import.sql.

CREATE TABLE contact_import (
    account_no BIGINT NOT NULL,
    id         UUID    NOT NULL,
    status     SMALLINT NOT NULL,              -- store::contact_import::Status
    octets     BIGINT NOT NULL,              -- of the file, as uploaded
    charset    SMALLINT NOT NULL,              -- domain::charset::Charset
    delimiter  SMALLINT NOT NULL,              -- an ASCII character
    plan       TEXT,                          -- domain::contact_import::Plan as JSON, once started
    read       BIGINT NOT NULL,              -- rows taken or refused: where to go on
    read_to    BIGINT NOT NULL,              -- about how many octets that is
    created    BIGINT NOT NULL,
    updated    BIGINT NOT NULL,
    kept       BIGINT NOT NULL,
    repeated   BIGINT NOT NULL,
    bad        BIGINT NOT NULL,
    failure    TEXT,                          -- why it could not be read to its end
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at   BIGINT,
    PRIMARY KEY (account_no, id)
);
CREATE INDEX contact_import_running ON contact_import (started_at) WHERE status = 1;

CREATE TABLE contact_import_error (
    account_no BIGINT NOT NULL,
    import_id  UUID    NOT NULL,
    row_no     BIGINT NOT NULL,              -- from 1, without the heading
    place      SMALLINT NOT NULL,              -- of several mistakes in a row
    line       BIGINT NOT NULL,              -- of the file, from 1
    heading    TEXT    NOT NULL,
    value      BYTEA    NOT NULL,              -- sealed; cut
    code       TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    suggestion BYTEA,                          -- sealed
    PRIMARY KEY (account_no, import_id, row_no, place)
);
