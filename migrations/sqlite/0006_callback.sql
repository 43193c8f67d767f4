-- Receipts of carriers that take the whole message: one receipt is of all its parts.
-- Same number, same names as migrations/postgres/0006_callback.sql.

ALTER TABLE parked_receipt ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
