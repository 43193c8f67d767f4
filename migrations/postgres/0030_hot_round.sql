-- The last round of each session of the hot path: if the answer to a COMMIT is lost, it says whether that happened. The number of a transaction
-- does not: after a crash it may be given to another.
CREATE TABLE hot_round (
    writer BIGINT PRIMARY KEY,
    round  BIGINT NOT NULL
);
