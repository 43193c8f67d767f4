-- On SQLite a commit is a call that returns; there is nothing to ask about afterwards.
SELECT 1;
