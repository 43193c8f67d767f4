//! When a message is to go. What all recipients share is read once; what hangs on where each of them is (its local time, quiet hours, a window
//! of hours) is placed for each.

use carillon_domain::message::{Category, Flags};
use carillon_domain::phone::Parsed;
use carillon_domain::quiet::{self, QuietHours, Week};
use jiff::civil::DateTime;

use super::{Draft, Judge, Mistake, Rules, SCHEDULE_AHEAD_MS, SCHEDULE_BACK_MS, VALIDITY_S};

/// What moves a message by where its recipient is. Most messages have none of it.
#[derive(Clone, Debug)]
struct Timing {
    /// The local time it is asked for, if it is asked for by local time.
    local: Option<DateTime>,
    /// Hours it is asked for.
    window: Week,
    quiet: Quiet,
    /// How long it is tried, milliseconds.
    validity_ms: i64,
}

#[derive(Clone, Copy, Debug)]
enum Quiet {
    None,
    Country,
    Own(Week),
}

/// When a draft is to go, as far as all recipients share it.
#[derive(Clone, Debug)]
pub struct When {
    /// Unix milliseconds; `None` is at once.
    pub due_at: Option<i64>,
    /// When it is no longer worth sending, Unix milliseconds; of local times the latest there can be.
    pub expires_at: i64,
    timing: Option<Box<Timing>>,
}

/// Where a message stands in time.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Unix milliseconds; `None` is at once.
    pub due_at: Option<i64>,
    /// When it is no longer worth sending, Unix milliseconds.
    pub expires_at: i64,
    /// `Flags::QUIET` or nothing.
    pub flags: Flags,
    /// Whether it was to go sooner, and hours hold it back.
    pub delayed: bool,
}

/// The furthest a local time can lag behind the same time in UTC, milliseconds.
const WEST_MS: i64 = 12 * 3_600_000;
/// The furthest it can be ahead.
const EAST_MS: i64 = 14 * 3_600_000;

impl When {
    /// What a draft of a category says of its time, or all that is wrong with it.
    pub fn of(draft: &Draft<'_>, rules: &Rules<'_>, category: Category) -> Result<When, Vec<Mistake>> {
        let mut judge = Judge(Vec::new());
        let asked = judge.take(asked(draft, rules.now));
        let validity_ms = judge.take(validity(draft, rules));
        let window = judge.take(window(draft));
        let quiet = judge.take(quiet(draft, rules, category));
        let (Some(asked), Some(validity_ms), Some(window), Some(quiet)) = (asked, validity_ms, window, quiet) else {
            return Err(judge.0);
        };
        let (due_at, local) = match asked {
            Asked::At(at) => ((at > rules.now).then_some(at), None),
            Asked::Local(local) => (None, Some(local)),
        };
        let from = match local {
            Some(local) => utc(local) + WEST_MS,
            None => due_at.unwrap_or(rules.now),
        };
        let plain = local.is_none() && window == Week::ALWAYS && matches!(quiet, Quiet::None);
        let timing = (!plain).then(|| Box::new(Timing { local, window, quiet, validity_ms }));
        Ok(When { due_at, expires_at: from.saturating_add(validity_ms), timing })
    }

    /// When it goes to a number.
    pub fn placed(&self, rules: &Rules<'_>, to: &Parsed) -> Result<Placed, Mistake> {
        let Some(timing) = self.timing.as_deref() else {
            return Ok(Placed {
                due_at: self.due_at,
                expires_at: self.expires_at,
                flags: Flags::default(),
                delayed: false,
            });
        };
        let zones = quiet::zones(to.phone, to.country);
        let wanted = match timing.local {
            None => self.due_at.unwrap_or(rules.now),
            Some(local) => quiet::at_local(local, zones).ok_or_else(far)?,
        };
        if wanted < rules.now - SCHEDULE_BACK_MS {
            let detail = "it is later than that already where this number is";
            return Err(Mistake::new("scheduled_at", "local_time_past", detail));
        }
        let wanted = wanted.max(rules.now);
        let week = match timing.quiet {
            Quiet::None => Week::ALWAYS,
            Quiet::Country => quiet::customary(to.phone, to.country),
            Quiet::Own(week) => week,
        };
        let never = || {
            let detail = "the hours asked for and those of the recipient's time zones have no moment in common";
            Mistake::new("scheduled_at", "quiet_hours", detail)
        };
        let at = quiet::next(wanted, zones, week.and(timing.window)).ok_or_else(never)?;
        let expires_at = wanted.saturating_add(timing.validity_ms);
        if at >= expires_at {
            let detail = format!(
                "it may go there from {} only, when its validity is over: send it then, or raise `validity_s`",
                crate::clock::rfc3339(at)
            );
            return Err(Mistake::new("scheduled_at", "quiet_hours", detail));
        }
        let flags = Flags::default().with(Flags::QUIET, matches!(timing.quiet, Quiet::Country));
        Ok(Placed { due_at: (at > rules.now).then_some(at), expires_at, flags, delayed: at > wanted })
    }
}

fn window(draft: &Draft<'_>) -> Result<Week, Mistake> {
    let Some(window) = draft.send_window else { return Ok(Week::ALWAYS) };
    window
        .week()
        .ok_or_else(|| Mistake::new("send_window", "invalid_value", "`from` comes before `to`, on one day at least"))
}

fn quiet(draft: &Draft<'_>, rules: &Rules<'_>, category: Category) -> Result<Quiet, Mistake> {
    match draft.quiet_hours {
        None | Some("keep") => {}
        Some("ignore") if rules.settings.quiet_hours_ignorable => return Ok(Quiet::None),
        Some("ignore") => {
            let detail = "the account's setting `quiet_hours_ignorable` does not allow this";
            return Err(Mistake::new("quiet_hours", "invalid_value", detail));
        }
        Some(_) => return Err(Mistake::new("quiet_hours", "invalid_value", "`keep` or `ignore`")),
    }
    Ok(match &rules.settings.quiet_hours {
        _ if category != Category::Promotional => Quiet::None,
        QuietHours::Off => Quiet::None,
        QuietHours::Country => Quiet::Country,
        // Checked when it was set.
        QuietHours::Own(window) => window.week().map_or(Quiet::Country, Quiet::Own),
    })
}

/// What a draft says of its time.
enum Asked {
    /// Unix milliseconds; at once, if that is past.
    At(i64),
    /// Of the recipient.
    Local(DateTime),
}

fn asked(draft: &Draft<'_>, now: i64) -> Result<Asked, Mistake> {
    let Some(text) = draft.scheduled_at else {
        let alone = [(draft.time_zone.is_some(), "time_zone"), (draft.local_time, "local_time")];
        return match alone.into_iter().find(|(given, _)| *given) {
            Some((_, field)) => {
                Err(Mistake::new(field, "conflicting_fields", "it says how `scheduled_at` is read: add that"))
            }
            None => Ok(Asked::At(now)),
        };
    };
    if draft.local_time && draft.time_zone.is_some() {
        let detail = "with `local_time` each recipient's own time zone counts: leave one of them out";
        return Err(Mistake::new("time_zone", "conflicting_fields", detail));
    }
    if draft.local_time {
        let local = local(text)?;
        in_time(utc(local) + WEST_MS, utc(local) - EAST_MS, now)?;
        return Ok(Asked::Local(local));
    }
    let at = match draft.time_zone {
        None => instant("scheduled_at", text)?,
        Some(name) => {
            let zone = quiet::zone(name).ok_or_else(|| {
                Mistake::new("time_zone", "invalid_value", "a name of the tz database, such as Europe/Berlin")
            })?;
            quiet::at_local(local(text)?, &[zone]).ok_or_else(far)?
        }
    };
    in_time(at, at, now)?;
    Ok(Asked::At(at))
}

/// Neither past nor too far ahead: the last and the first instant that are meant.
fn in_time(last: i64, first: i64, now: i64) -> Result<(), Mistake> {
    if last < now - SCHEDULE_BACK_MS {
        return Err(Mistake::new("scheduled_at", "invalid_value", "this instant is past: check its offset from UTC"));
    }
    if first > now + SCHEDULE_AHEAD_MS { Err(far()) } else { Ok(()) }
}

fn far() -> Mistake {
    Mistake::new("scheduled_at", "invalid_value", "at most one year ahead")
}

fn instant(field: &'static str, text: &str) -> Result<i64, Mistake> {
    let at: Result<jiff::Timestamp, _> = text.parse();
    at.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        let detail =
            "an RFC 3339 instant with its offset, such as 2027-01-31T08:00:00+01:00; or without one, and `time_zone`";
        Mistake::new(field, "invalid_value", detail)
    })
}

/// A time without its offset.
fn local(text: &str) -> Result<DateTime, Mistake> {
    let refuse =
        || Mistake::new("scheduled_at", "invalid_value", "a local time without offset, such as 2027-01-31T08:00:00");
    // The parser would pass an offset over.
    if !text.contains('T') || text.parse::<jiff::Timestamp>().is_ok() {
        return Err(refuse());
    }
    text.parse().map_err(|_| refuse())
}

fn utc(local: DateTime) -> i64 {
    quiet::at_local(local, &[jiff::tz::TimeZone::UTC]).unwrap_or(i64::MAX / 2)
}

fn validity(draft: &Draft<'_>, rules: &Rules<'_>) -> Result<i64, Mistake> {
    if draft.otp {
        return Ok(i64::try_from(rules.otp.deadline_ms).expect("at most a minute: checked at start"));
    }
    match draft.validity_s {
        None => Ok(i64::from(rules.settings.validity_s) * 1_000),
        Some(seconds) if VALIDITY_S.contains(&seconds) => Ok(seconds * 1_000),
        Some(_) => Err(Mistake::new("validity_s", "invalid_value", "60 to 604800 seconds (a week)")),
    }
}
