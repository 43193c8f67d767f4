-- The numbers of an account: what it may send as is read with the account.
CREATE INDEX inbound_number_account ON inbound_number (account_no, number);
