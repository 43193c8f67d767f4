-- What people did with messages: each stands in it once for each, and is counted then.
-- Same number, same names as migrations/sqlite/0027_engagement.sql.
CREATE TABLE engagement (
    account_no BIGINT   NOT NULL,
    message_id UUID     NOT NULL,
    state      SMALLINT NOT NULL,             -- as in usage_day: -2 = a person opened a link, -3 = answered from the phone
    PRIMARY KEY (account_no, message_id, state)
);
