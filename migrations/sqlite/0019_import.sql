-- Tables of contacts that were uploaded, how far each is taken in, and the rows of each that are wrong.
-- Same number, same names as migrations/postgres/0019_import.sql.

CREATE TABLE contact_import (
    account_no INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    status     INTEGER NOT NULL,              -- store::contact_import::Status
    octets     INTEGER NOT NULL,              -- of the file, as uploaded
    charset    INTEGER NOT NULL,              -- domain::charset::Charset
    delimiter  INTEGER NOT NULL,              -- an ASCII character
    plan       TEXT,                          -- domain::contact_import::Plan as JSON, once started
    read       INTEGER NOT NULL,              -- rows taken or refused: where to go on
    read_to    INTEGER NOT NULL,              -- about how many octets that is
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    kept       INTEGER NOT NULL,
    repeated   INTEGER NOT NULL,
    bad        INTEGER NOT NULL,
    failure    TEXT,                          -- why it could not be read to its end
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_import_running ON contact_import (started_at) WHERE status = 1;

CREATE TABLE contact_import_error (
    account_no INTEGER NOT NULL,
    import_id  BLOB    NOT NULL,
    row_no     INTEGER NOT NULL,              -- from 1, without the heading
    place      INTEGER NOT NULL,              -- of several mistakes in a row
    line       INTEGER NOT NULL,              -- of the file, from 1
    heading    TEXT    NOT NULL,
    value      BLOB    NOT NULL,              -- sealed; cut
    code       TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    suggestion BLOB,                          -- sealed
    PRIMARY KEY (account_no, import_id, row_no, place)
) STRICT, WITHOUT ROWID;
