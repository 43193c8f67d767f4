-- Outcomes that could not be written: each is a defect, kept here so that it can be looked into and put right by hand.
CREATE TABLE set_aside (
    no         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id UUID,
    item       TEXT   NOT NULL,
    error      TEXT   NOT NULL,
    at         BIGINT NOT NULL
);
