//! What can be done when, who gets a step, and that nobody gets one twice, or after they left.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn steps(delays: &[u32]) -> Vec<Step> {
    let step = |(n, delay_s): (usize, &u32)| Step {
        delay_s: *delay_s,
        text: format!("text {n}"),
        from: None,
        condition: None,
    };
    delays.iter().enumerate().map(step).collect()
}

/// A row for each state; a column for each action, in the order of `Action::ALL`; `.` is refused, `=` stays.
#[test]
fn what_can_be_done_when() {
    let rows = [
        (State::Draft, "= active . . archived ="),
        (State::Active, ". . paused = archived ."),
        (State::Paused, "= active . = archived ."),
        (State::Archived, ". . . . . ="),
    ];
    for (state, expected) in rows {
        let found = Action::ALL.map(|action| match state.after(action) {
            None => ".",
            Some(after) if after == state => "=",
            Some(after) => after.as_str(),
        });
        assert_eq!(found.join(" "), expected, "{state:?}");
    }
}

#[test]
fn who_gets_a_step_who_does_not_and_why() {
    let two = steps(&[0, 60]);
    let facts = |text: &str| Facts {
        left: text.contains('l'),
        goal: text.contains('g'),
        gone: text.contains('c'),
        fits: text.contains('f'),
    };
    for (step, known, expected, code) in [
        (0, "f", Next::Send, None),
        (1, "f", Next::Send, None),
        (0, "", Next::Skip, Some("condition_not_met")),
        (2, "f", Next::Exit(ExitReason::Finished), Some("finished")),
        (2, "", Next::Exit(ExitReason::Finished), Some("finished")),
        (0, "gf", Next::Exit(ExitReason::Goal), Some("goal")),
        (2, "gf", Next::Exit(ExitReason::Goal), Some("goal")),
        (0, "cf", Next::Exit(ExitReason::ContactGone), Some("contact_gone")),
        (0, "lgcf", Next::Left, Some("left")),
    ] {
        let found = next(step, &two, facts(known));
        assert_eq!((found, found.code()), (expected, code), "{step} {known}");
    }
}

#[test]
fn where_a_wave_goes() {
    let two = steps(&[10, 60]);
    let people = [
        (1, None),
        (2, Some("condition_not_met")),
        (3, Some("goal")),
        (4, Some("insufficient_credit")),
        (5, Some("left")),
        (6, Some("suppressed")),
        (7, Some("missing_variable")),
        (8, Some("goal")),
    ];
    let moves = Moves::of(people, 0, &two, 1_000);
    assert_eq!(moves.on, Some(Position { step: 1, due_at: 61_000 }));
    assert_eq!(moves.exits, BTreeMap::from([(ExitReason::Goal, vec![3, 8]), (ExitReason::Suppressed, vec![6])]));
    assert_eq!(moves.again, [4]);
    let skipped = [("condition_not_met", 1), ("missing_variable", 1)].map(|(code, n)| (code.to_owned(), n));
    assert_eq!(moves.skipped, BTreeMap::from(skipped));
    assert_eq!(Moves::of(people, 1, &two, 1_000).on, None, "that was the last");
    assert_eq!(Position::before(0, &two, 5), Some(Position { step: 0, due_at: 10_005 }));
    assert_eq!(Position::before(0, &[], 5), None);
}

/// Somebody in a drip, as rows keep them.
#[derive(Clone, Debug)]
struct Person {
    at: Position,
    out: Option<ExitReason>,
}

/// What happens to a drip with some people in it.
#[derive(Clone, Debug)]
enum Happens {
    /// Time goes by, seconds, and what is due then is handed in: the money lasts for so many, and the condition finds whom the bits say.
    Due { after_s: u32, money: usize, fits: u8, goal: u8 },
    /// Somebody leaves.
    Leaves(usize),
    /// It gets so many steps.
    Edit(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0u32..200, 0usize..6, any::<u8>(), any::<u8>())
            .prop_map(|(after_s, money, fits, goal)| Happens::Due { after_s, money, fits: fits | 1, goal: goal & 0x11 }),
        1 => (0usize..5).prop_map(Happens::Leaves),
        1 => (1usize..5).prop_map(Happens::Edit),
    ]
}

proptest! {
    /// Whatever happens, nobody gets a step twice, an earlier one after a later one, one before its time, or one after they left.
    #[test]
    fn each_step_once_in_order_and_none_after_the_end(story in proptest::collection::vec(happens(), 0..60)) {
        let all = steps(&[0, 60, 0, 3_600, 10]);
        let (mut count, mut now) = (3, 0i64);
        let begin = Position::before(0, &all, now).expect("there are steps");
        let mut people = vec![Person { at: begin, out: None }; 5];
        let mut sent: Vec<Vec<(usize, i64)>> = vec![Vec::new(); 5];
        for event in story {
            match event {
                Happens::Leaves(n) => {
                    people[n].out.get_or_insert(ExitReason::Replied);
                }
                Happens::Edit(steps) => count = steps,
                Happens::Due { after_s, money, fits, goal } => {
                    now += i64::from(after_s) * 1_000;
                    let steps = &all[..count];
                    let due: BTreeSet<usize> = people.iter().filter(|p| p.at.due_at <= now).map(|p| p.at.step).collect();
                    for step in due {
                        let mut left = money;
                        let mut told = Vec::new();
                        for (n, p) in people.iter().enumerate().filter(|(_, p)| p.at.step == step && p.at.due_at <= now) {
                            let facts = Facts {
                                left: p.out.is_some(),
                                goal: goal >> n & 1 == 1,
                                gone: false,
                                fits: fits >> n & 1 == 1,
                            };
                            let mut code = next(step, steps, facts).code();
                            if code.is_none() && left == 0 {
                                code = Some(CREDIT);
                            }
                            if code.is_none() {
                                left -= 1;
                                prop_assert!(p.out.is_none() && p.at.due_at <= now);
                                prop_assert!(sent[n].last().is_none_or(|(last, _)| *last < step), "{:?} then {step}", sent[n]);
                                prop_assert!(step < count);
                                sent[n].push((step, now));
                            }
                            told.push((n as i64, code));
                        }
                        let moves = Moves::of(told.iter().copied(), step, steps, now);
                        for (n, _) in told {
                            let p = &mut people[n as usize];
                            let leaves = moves.exits.iter().find(|(_, tags)| tags.contains(&n)).map(|(reason, _)| *reason);
                            match (leaves, moves.on) {
                                _ if p.out.is_some() => {}
                                (Some(reason), _) => p.out = Some(reason),
                                _ if moves.again.contains(&n) => p.at.due_at = now + 60_000,
                                (None, Some(on)) => p.at = on,
                                (None, None) => p.out = Some(ExitReason::Finished),
                            }
                        }
                    }
                }
            }
        }
    }
}
