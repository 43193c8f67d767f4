-- Messages that may go with their files as an MMS: the files, and the price of the whole if it does. Whether it did stands in its flags.
ALTER TABLE message ADD COLUMN media TEXT;        -- JSON, domain::media::Mms
ALTER TABLE message ADD COLUMN mms_price INTEGER;
-- How the part was about to be handed over.
ALTER TABLE claim ADD COLUMN mms INTEGER NOT NULL DEFAULT 0;
-- Accounts' fees for parts by carriers of their own stand in their settings; rates of lane 100 are prices of whole MMS.
