//! Runs of campaigns: an audience has each number once, and is handed in once, whatever comes between.

use carillon_domain::ab_test::{Chooser, Counts};
use carillon_domain::campaign::{Content, Reason, State, Words};
use carillon_domain::id::{AccountNo, AudienceFileId, BatchId, CampaignId, TemplateId};
use carillon_store::ab_test::{self, Decided, Decision};
use carillon_store::audience_file::{self, AudienceFile, FileRow};
use carillon_store::campaign::{self, Campaign, Shift};
use carillon_store::campaign_run::{self, BEGIN, Launched, NewRecipient, NewRun};
use carillon_store::hot::{IdempotencyKey, IntakeRequest, NewMessage, RunStep, Step};
use carillon_store::template::{self, Template};
use carillon_store::{StoreError, batch};

use crate::world::{World, on_both, said, shared};

fn draft(w: &World, account: AccountNo) -> Campaign {
    Campaign {
        id: CampaignId::new(w.now, 1, account),
        name: "Menu".into(),
        state: State::Draft,
        reason: None,
        content: Content { text: Some("Shared".into()), ..Content::default() },
        audience: Vec::new(),
        plan: None,
        look_at: None,
        pace: None,
        runs: 0,
        run: None,
        created_at: w.now,
        changed_at: w.now,
    }
}

fn shift(from: State, to: State, now: i64) -> Shift<'static> {
    Shift { from, to, reason: None, look_at: Some(now), event: None, mails: &[], now }
}

fn run(campaign: CampaignId, n: u64, now: i64) -> NewRun {
    let id = BatchId::new(now, n, campaign.account());
    NewRun {
        id,
        campaign,
        number: n as u32,
        place: "here".into(),
        body: "Shared".into(),
        tags: None,
        variants: Vec::new(),
        local_at: None,
    }
}

/// The n-th of some numbers; tags are in the order of the numbers, from -2 on.
fn person(n: i64) -> NewRecipient {
    NewRecipient { phone_tag: n - 2, to: Ok(4_915_100_000_000 + n as u64), words: Words::new() }
}

/// A campaign that runs, with so many recipients.
async fn running(w: &World, account: AccountNo, people: i64) -> (CampaignId, BatchId) {
    let c = draft(w, account);
    campaign::create(&w.db, &c).await.unwrap();
    let run = run(c.id, 1, w.now);
    let begun = shift(State::Draft, State::Running, w.now);
    assert_eq!(campaign_run::launch(&w.db, account, &run, &begun, None).await.unwrap(), Launched::Launched);
    let people: Vec<_> = (0..people).map(person).collect();
    assert!(campaign_run::write_audience(&w.db, account, run.id, &[(run.id, people)], "here", None).await.unwrap());
    (c.id, run.id)
}

/// Messages to the next recipients, whose tags are those of `person`.
fn step(run: BatchId, from: i64, count: u32) -> IntakeRequest {
    let messages: Vec<NewMessage> = shared(count);
    let to = if from == BEGIN { -3 + i64::from(count) } else { from + i64::from(count) };
    let step = RunStep { run, from, to, skipped: Vec::new() };
    IntakeRequest { account: run.account(), key: None, step: Step::Run(step), messages }
}

async fn says(w: &mut World, requests: &[IntakeRequest]) -> Vec<String> {
    w.intake(requests).await.iter().map(said).collect()
}

#[tokio::test]
async fn each_number_is_in_it_once() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let c = draft(w, a);
        campaign::create(&w.db, &c).await.unwrap();
        let new = run(c.id, 1, w.now);
        campaign_run::launch(&w.db, a, &new, &shift(State::Draft, State::Running, w.now), None).await.unwrap();
        let wrong =
            |tag| NewRecipient { phone_tag: tag, to: Err(("12".into(), "phone_too_short")), words: Words::new() };
        let first: Vec<_> = (0..1_500).map(person).chain([person(0), wrong(9_000)]).collect();
        let write = async |people: &[NewRecipient], place, next| {
            campaign_run::write_audience(&w.db, a, new.id, &[(new.id, people.to_vec())], place, next).await.unwrap()
        };
        assert!(write(&first, "here", Some("there")).await);
        assert!(!write(&first, "here", Some("there")).await, "it does not stand there any more");
        let named = Words::from([("name".to_owned(), "Ada".to_owned())]);
        let more = [person(3), NewRecipient { words: named.clone(), ..person(2_000) }, wrong(9_000), wrong(9_001)];
        assert!(write(&more, "there", None).await);
        let read = campaign_run::by_id(&w.db, a, new.id).await.unwrap();
        assert_eq!((read.total, read.duplicates, read.skipped, read.place), (1_503, 3, 2, None));
        assert_eq!(campaign_run::skipped(&w.db, a, new.id).await.unwrap(), [("phone_too_short".into(), 2)]);
        let waiting = campaign_run::waiting(&w.db, a, new.id, 1_400, 200).await.unwrap();
        assert_eq!((waiting.len(), &waiting.last().unwrap().words), (98, &named));
        let skipped = campaign_run::recipients(&w.db, a, new.id, Some(true), BEGIN, 10).await.unwrap();
        assert_eq!(skipped.iter().map(|r| r.to.clone().unwrap_err().to_string()).collect::<Vec<_>>(), ["12", "12"]);
        let other = w.account(0).await;
        assert!(campaign_run::waiting(&w.db, other, new.id, BEGIN, 10).await.unwrap().is_empty());
        assert!(matches!(campaign_run::by_id(&w.db, other, new.id).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn a_step_is_taken_where_the_run_stands_and_once() {
    on_both(async |w: &mut World| {
        let a = w.account(1_000).await;
        let (id, run) = running(w, a, 100).await;
        let first = step(run, BEGIN, 10);
        assert_eq!(says(w, std::slice::from_ref(&first)).await, ["accepted 10"]);
        assert_eq!(says(w, std::slice::from_ref(&first)).await, ["stale"], "it was stored before");
        assert_eq!(says(w, &[step(run, 0, 10)]).await, ["stale"], "the run is not there");
        assert_eq!(w.money(a).await, "950/50/0");
        let next = step(run, 7, 5);
        assert_eq!(says(w, &[next.clone(), next]).await, ["accepted 5", "stale"], "twice in one commit");
        w.reopen().await;
        assert_eq!(w.hot.discard_loading().await.unwrap(), 0, "no start takes it for half a batch");
        // Nobody left to write to in this step: only where it stands changes, and who was left out.
        let gone = RunStep { run, from: 12, to: 14, skipped: vec![(13, "suppressed"), (14, "too_long")] };
        let gone = IntakeRequest { account: a, key: None, step: Step::Run(gone), messages: Vec::new() };
        assert_eq!(says(w, &[gone]).await, ["accepted 0"]);
        let read = campaign_run::by_id(&w.db, a, run).await.unwrap();
        assert_eq!((read.cursor, read.skipped), (14, 2));
        let totals = batch::by_id(&w.db, a, run).await.unwrap();
        assert_eq!((totals.accepted, totals.total, totals.queued, totals.parts, totals.held.0), (true, 15, 15, 15, 75));
        assert_eq!(w.count("message").await, 15);
        let sums = campaign_run::totals(&w.db, a, id).await.unwrap();
        assert_eq!((sums.recipients, sums.skipped, sums.messages, sums.queued, sums.held.0), (100, 2, 15, 15, 75));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_taken_without_money_or_of_one_that_does_not_run() {
    on_both(async |w: &mut World| {
        let a = w.account(40).await;
        let (id, run) = running(w, a, 100).await;
        assert_eq!(says(w, &[step(run, BEGIN, 10)]).await, ["short: 40 of 50"], "all of a step or none");
        assert_eq!(says(w, &[step(run, BEGIN, 4)]).await, ["accepted 4"]);
        let paused = Shift {
            reason: Some(Reason::InsufficientCredit),
            look_at: None,
            ..shift(State::Running, State::Paused, w.now)
        };
        assert!(campaign::shift(&w.db, a, id, &paused).await.unwrap());
        assert!(!campaign::shift(&w.db, a, id, &paused).await.unwrap(), "it runs no more");
        assert_eq!(says(w, &[step(run, 1, 2)]).await, ["stale"]);
        assert!(campaign::shift(&w.db, a, id, &shift(State::Paused, State::Running, w.now)).await.unwrap());
        assert_eq!(says(w, &[step(run, 1, 2)]).await, ["accepted 2"]);
        assert!(campaign_run::end(&w.db, a, id, None, w.now).await.unwrap());
        assert_eq!(says(w, &[step(run, 3, 1)]).await, ["stale"], "after its end");
        assert_eq!(w.money(a).await, "10/30/0");
        let b = w.account(40).await;
        let foreign = IntakeRequest { account: b, ..step(run, 3, 1) };
        assert_eq!(says(w, &[foreign]).await, ["stale"], "another account's run");
    })
    .await;
}

#[tokio::test]
async fn an_ab_test_is_decided_once_and_known_after_a_restart() {
    on_both(async |w: &mut World| {
        let a = w.account(1_000).await;
        let c = draft(w, a);
        campaign::create(&w.db, &c).await.unwrap();
        let [va, vb] = [11, 12].map(|n| BatchId::new(w.now, n, a));
        let new = NewRun { variants: vec![(va, "A".into()), (vb, "B".into())], ..run(c.id, 1, w.now) };
        campaign_run::launch(&w.db, a, &new, &shift(State::Draft, State::Running, w.now), None).await.unwrap();
        let parts = [(va, vec![person(0), person(1)]), (vb, vec![person(2)]), (new.id, vec![person(3), person(1)])];
        assert!(campaign_run::write_audience(&w.db, a, new.id, &parts, "here", None).await.unwrap());
        let runs = campaign_run::variants(&w.db, c.id, 1).await.unwrap();
        let told: Vec<_> = runs.iter().map(|r| (r.id, r.variant, r.total, r.place.clone())).collect();
        assert_eq!(told, [(va, Some(0), 2, None), (vb, Some(1), 1, None)]);
        assert_eq!(campaign_run::by_id(&w.db, a, new.id).await.unwrap().variant, None);
        assert_eq!(campaign_run::variants(&w.db, c.id, 2).await.unwrap(), []);
        assert_eq!(says(w, &[step(va, BEGIN, 2), step(vb, BEGIN, 1)]).await, ["accepted 2", "accepted 1"]);
        campaign_run::end_variant(&w.db, a, va, w.now).await.unwrap();
        let runs = campaign_run::variants(&w.db, c.id, 1).await.unwrap();
        assert_eq!((runs[0].ended_at, runs[1].ended_at), (Some(w.now), None));
        let counts = ab_test::counts(&w.db, &runs[0]).await.unwrap();
        assert_eq!(counts, Counts { messages: 2, ..Counts::default() });

        // It waits from the first time that was said, and is decided once.
        for at in [50, 90] {
            assert!(ab_test::wait(&w.db, c.id, new.id, w.now + at).await.unwrap());
            assert_eq!(campaign::by_id(&w.db, a, c.id).await.unwrap().look_at, Some(w.now + 50));
        }
        let decide = async |db: &carillon_store::Db, winner| {
            let decided = Decided { winner, by: Chooser::Numbers, at: w.now + 60, found: vec![counts; 2] };
            let decision = Decision { campaign: c.id, run: new.id, decided: &decided, body: "B", shift: None };
            ab_test::decide(db, &decision).await.unwrap()
        };
        assert!(decide(&w.db, 1).await);
        assert!(!decide(&w.db, 0).await, "it is decided");
        assert!(!ab_test::wait(&w.db, c.id, new.id, w.now + 99).await.unwrap(), "nothing is waited for");
        w.reopen().await;
        let decided = ab_test::standing(&w.db, a, new.id).await.unwrap().decided.unwrap();
        assert_eq!((decided.winner, decided.by, decided.found), (1, Chooser::Numbers, vec![counts; 2]));
        assert_eq!(campaign::by_id(&w.db, a, c.id).await.unwrap().look_at, Some(w.now + 60), "it goes on now");
        assert_eq!(batch::by_id(&w.db, a, new.id).await.unwrap().body.as_deref(), Some("B"));
        let other = w.account(0).await;
        assert!(matches!(ab_test::standing(&w.db, other, new.id).await, Err(StoreError::NotFound)));
        assert!(campaign_run::end(&w.db, a, c.id, None, w.now).await.unwrap());
        let runs = campaign_run::variants(&w.db, c.id, 1).await.unwrap();
        assert!(runs.iter().all(|r| r.ended_at.is_some()), "an end is one of all its runs");
    })
    .await;
}

#[tokio::test]
async fn a_launch_happens_once() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let c = draft(w, a);
        campaign::create(&w.db, &c).await.unwrap();
        let key = |body| Some(IdempotencyKey { key: [1; 16], fingerprint: [body; 16] });
        let begun = shift(State::Draft, State::Running, w.now);
        let launch = async |n, key| campaign_run::launch(&w.db, a, &run(c.id, n, w.now), &begun, key).await.unwrap();
        assert_eq!(launch(1, key(1)).await, Launched::Launched);
        assert_eq!(launch(2, key(1)).await, Launched::Replayed(run(c.id, 1, w.now).id));
        assert_eq!(launch(3, key(2)).await, Launched::KeyReused);
        assert_eq!(launch(4, None).await, Launched::Lost, "it is no draft any more");
        assert_eq!((w.count("campaign_run").await, w.count("batch").await, w.count("idempotency").await), (1, 1, 1));
        let read = campaign::by_id(&w.db, a, c.id).await.unwrap();
        assert_eq!(
            (read.state, read.runs, read.run, read.look_at),
            (State::Running, 1, Some(run(c.id, 1, w.now).id), Some(w.now))
        );
        assert_eq!(campaign::due(&w.db, w.now, 10).await.unwrap(), [c.id]);
        assert_eq!(campaign::due(&w.db, w.now - 1, 10).await.unwrap(), []);
        assert!(campaign::delete(&w.db, a, c.id, State::Running).await.unwrap());
        assert!(matches!(campaign::by_id(&w.db, a, c.id).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn recipients_are_forgotten_after_their_run() {
    on_both(async |w: &mut World| {
        let a = w.account(0).await;
        let (id, run) = running(w, a, 30).await;
        assert_eq!(campaign_run::ended_before(&w.db, i64::MAX).await.unwrap(), None, "it goes on");
        campaign_run::end(&w.db, a, id, None, w.now).await.unwrap();
        assert_eq!(campaign_run::ended_before(&w.db, w.now).await.unwrap(), None, "not yet");
        assert_eq!(campaign_run::ended_before(&w.db, w.now + 1).await.unwrap(), Some((a, run)));
        let gone = [
            campaign_run::forget(&w.db, a, run, 20).await.unwrap(),
            campaign_run::forget(&w.db, a, run, 20).await.unwrap(),
        ];
        assert_eq!(gone, [20, 10]);
        assert_eq!(campaign_run::ended_before(&w.db, w.now + 1).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn files_are_nobodys_until_they_are_complete() {
    on_both(async |w: &mut World| {
        let (a, other) = (w.account(0).await, w.account(0).await);
        let id = AudienceFileId::new(w.now, 1, a);
        let columns = vec!["name".to_owned()];
        let file = AudienceFile { id, name: "guests".into(), columns, rows: 0, bad: 0, created_at: w.now };
        audience_file::begin(&w.db, &file).await.unwrap();
        let words = Words::from([("name".to_owned(), "Ada".to_owned())]);
        let row = |line, to| FileRow { line, to, words: words.clone() };
        let rows = [row(2, Ok(4_915_100_000_001)), row(3, Err(("12".into(), "phone_too_short".into())))];
        audience_file::write(&w.db, a, id, &rows).await.unwrap();
        assert!(matches!(audience_file::by_id(&w.db, a, id).await, Err(StoreError::NotFound)));
        assert_eq!(audience_file::begun_before(&w.db, w.now + 1, true).await.unwrap(), Some((a, id)));
        audience_file::complete(&w.db, a, id, 2, 1).await.unwrap();
        assert_eq!(audience_file::begun_before(&w.db, w.now + 1, true).await.unwrap(), None);
        assert_eq!(audience_file::begun_before(&w.db, w.now, false).await.unwrap(), None);
        let whole = AudienceFile { rows: 2, bad: 1, ..file };
        assert_eq!(audience_file::by_id(&w.db, a, id).await.unwrap(), whole);
        assert_eq!(audience_file::list(&w.db, a, None, 10).await.unwrap(), [whole]);
        assert_eq!(audience_file::rows(&w.db, a, id, false, 0, 10).await.unwrap(), rows);
        assert_eq!(audience_file::rows(&w.db, a, id, true, 0, 10).await.unwrap(), rows[1..]);
        assert_eq!(audience_file::rows(&w.db, a, id, false, 2, 10).await.unwrap(), rows[1..]);
        assert_eq!(audience_file::rows(&w.db, other, id, false, 0, 10).await.unwrap(), []);
        assert!(matches!(audience_file::delete(&w.db, other, id).await, Err(StoreError::NotFound)));
        assert_eq!(audience_file::forget(&w.db, a, id, 10).await.unwrap(), 2);
        audience_file::delete(&w.db, a, id).await.unwrap();
        assert!(matches!(audience_file::by_id(&w.db, a, id).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn templates_have_names_of_their_own() {
    on_both(async |w: &mut World| {
        let (a, other) = (w.account(0).await, w.account(0).await);
        let text = |account, n, name: &str| Template {
            id: TemplateId::new(w.now, n, account),
            name: name.into(),
            text: "Hi {{name}}".into(),
            created_at: w.now,
            changed_at: w.now,
        };
        let (one, two, foreign) = (text(a, 1, "one"), text(a, 2, "two"), text(other, 3, "one"));
        for t in [&one, &two, &foreign] {
            template::create(&w.db, t, 2).await.unwrap();
        }
        let taken = template::create(&w.db, &text(a, 4, "three"), 2).await;
        assert!(matches!(taken, Err(StoreError::Taken("templates"))), "two are the most");
        let named = template::create(&w.db, &text(a, 4, "one"), 9).await;
        assert!(matches!(named, Err(StoreError::Taken("template name"))));
        let renamed = template::change(&w.db, &Template { name: "one".into(), ..two.clone() }).await;
        assert!(matches!(renamed, Err(StoreError::Taken("template name"))));
        let changed = Template { text: "Bye".into(), ..two.clone() };
        template::change(&w.db, &changed).await.unwrap();
        assert_eq!(template::list(&w.db, a, None, 10).await.unwrap(), [changed, one.clone()]);
        assert!(matches!(template::by_id(&w.db, other, one.id).await, Err(StoreError::NotFound)));
        assert!(matches!(template::delete(&w.db, other, one.id).await, Err(StoreError::NotFound)));
        template::delete(&w.db, a, one.id).await.unwrap();
        assert!(matches!(template::by_id(&w.db, a, one.id).await, Err(StoreError::NotFound)));
    })
    .await;
}
