-- A/B tests of campaigns: each variant is a run of its own beside the one that the rest of the audience is in.
-- Same number, same names as migrations/postgres/0024_ab_test.sql.

ALTER TABLE campaign_run ADD COLUMN variant INTEGER;  -- from 0; NULL: the rest, or no test

CREATE TABLE ab_test (
    account_no INTEGER NOT NULL,
    run_id     BLOB    NOT NULL,              -- of the rest
    decide_at  INTEGER,                       -- set when the last message of the test is handed in
    winner     INTEGER,                       -- campaign_run.variant; written once
    chosen_by  INTEGER,                       -- domain::ab_test::Chooser
    decided_at INTEGER,
    found      TEXT,                          -- JSON: the numbers it was decided on, domain::ab_test::Counts of each variant
    PRIMARY KEY (account_no, run_id)
) STRICT, WITHOUT ROWID;
