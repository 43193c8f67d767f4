-- Reports of campaigns by mail, some time after a run has ended.
-- Same number, same names as migrations/sqlite/0028_campaign_report.sql.

ALTER TABLE campaign_run ADD COLUMN report_at BIGINT;  -- when it is mailed, Unix milliseconds; NULL = never, or done
CREATE INDEX campaign_run_report ON campaign_run (report_at) WHERE report_at IS NOT NULL;
