-- Parts about to be handed over to connections that are to get nothing twice (`unknown = "give_up"`): written before the submit, deleted with
-- its outcome. What is found at start was perhaps handed over, and counts as of unknown outcome.
CREATE TABLE claim (
    connection_no INTEGER NOT NULL,
    message_id    BLOB    NOT NULL,
    part          INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    phone_tag     INTEGER NOT NULL,
    sender        TEXT,
    submitted_at  INTEGER NOT NULL,
    decide_at     INTEGER NOT NULL,
    PRIMARY KEY (connection_no, message_id, part, attempt)
) STRICT, WITHOUT ROWID;
