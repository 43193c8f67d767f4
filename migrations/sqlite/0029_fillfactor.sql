-- PostgreSQL keeps room on the pages of messages; SQLite changes rows where they are.
SELECT 1;
