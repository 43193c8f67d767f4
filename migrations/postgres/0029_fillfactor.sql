-- A message is written once and changed about twice, soon after. With room on its page the change stays there and its indexes are left alone
-- (bench/RESULTS.md); full pages needed an index entry for three changes of four.
ALTER TABLE message SET (fillfactor = 45);
