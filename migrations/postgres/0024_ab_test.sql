-- A/B tests of campaigns: each variant is a run of its own beside the one that the rest of the audience is in.
-- Same number, same names as migrations/sqlite/0024_ab_test.sql.

ALTER TABLE campaign_run ADD COLUMN variant INTEGER;  -- from 0; NULL: the rest, or no test

CREATE TABLE ab_test (
    account_no BIGINT  NOT NULL,
    run_id     UUID    NOT NULL,              -- of the rest
    decide_at  BIGINT,                        -- set when the last message of the test is handed in
    winner     INTEGER,                       -- campaign_run.variant; written once
    chosen_by  SMALLINT,                      -- domain::ab_test::Chooser
    decided_at BIGINT,
    found      TEXT,                          -- JSON: the numbers it was decided on, domain::ab_test::Counts of each variant
    PRIMARY KEY (account_no, run_id)
);
