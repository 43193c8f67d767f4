//! Crowds that nobody could take for one, and whether the filters that tell them apart have exactly them.

use super::*;
use crate::contact::Declared;
use crate::segment::{self, Activity, Condition, Filter};

fn figures(quiet: Option<u32>, delivered: u32, replied: u32, failed: u32) -> Figures {
    Figures { quiet_days: quiet, delivered, replied, failed }
}

/// Three crowds that nobody could take for one: in each, all differ a little.
fn crowds() -> Vec<Figures> {
    let regulars = (0..60).map(|i| figures(Some(i % 4), 18 + i % 5, 6 + i % 3, 0));
    let quiet = (0..40).map(|i| figures(Some(200 + i % 30), 0, 0, 0));
    let dead = (0..30).map(|i| figures(None, 0, 0, 8 + i % 4));
    regulars.chain(quiet).chain(dead).collect()
}

/// Whether a filter has a contact, by its figures.
fn has(filter: &Filter, f: &Figures, today: i32) -> bool {
    match filter {
        Filter::All(all) => all.iter().all(|one| has(one, f, today)),
        Filter::Any(any) => any.iter().any(|one| has(one, f, today)),
        Filter::Not(not) => !has(not, f, today),
        Filter::Is(Condition::Activity { what, since_day, at_least }) => {
            let days = u32::try_from(today - since_day).unwrap();
            match what {
                Activity::Delivered if days != WINDOW_DAYS => {
                    *at_least == 1 && f.quiet_days.is_some_and(|quiet| quiet <= days)
                }
                Activity::Delivered => f.delivered >= *at_least,
                Activity::Replied => f.replied >= *at_least,
                Activity::Failed => f.failed >= *at_least,
                Activity::Sent | Activity::Clicked => unreachable!("nothing asks for it"),
            }
        }
        Filter::Is(other) => unreachable!("{other:?}"),
    }
}

#[test]
fn crowds_are_told_apart_and_their_filters_have_them() {
    let all = crowds();
    let now = 1_795_262_400_000;
    for seed in [0, 1, 7, u64::MAX] {
        let found = suggest(&all, seed);
        assert_eq!(suggest(&all, seed), found, "the same again");
        let mut shown = Vec::new();
        for one in &found {
            let filter = segment::read(&one.filter, &Declared::new(), now).unwrap();
            let size = all.iter().filter(|f| has(&filter, f, segment::day_of(now))).count();
            shown.push((one.name, size));
        }
        shown.sort_unstable();
        assert_eq!(shown, [("Gone quiet", 40), ("Hard to reach", 30), ("They answer", 60)], "{seed}: {found:#?}");
    }
    let quiet = suggest(&all, 1).into_iter().find(|s| s.name == "Gone quiet").unwrap();
    assert!(quiet.description.starts_with("No message reached them for 200 days"), "{}", quiet.description);
}

#[test]
fn where_there_is_nothing_to_say_nothing_is_said() {
    assert_eq!(suggest(&[], 1), []);
    assert_eq!(suggest(&crowds()[..CONTACTS_MIN - 1], 1), []);
    assert_eq!(suggest(&[figures(Some(3), 2, 1, 0); 500], 1), [], "all alike");
}
