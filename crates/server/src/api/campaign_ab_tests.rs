//! A/B tests of campaigns: as they are written, what their numbers say, and the choice of a winner by hand.

use axum::extract::State;
use carillon_domain::ab_test::{AbTest, Chooser, Counts, Metric, VARIANTS_MAX, VARIANTS_MIN, Variant, letter, wilson};
use carillon_domain::campaign::{Content, Reason, State as CampaignState};
use carillon_domain::id::{BatchId, CampaignId};
use carillon_store::campaign::{self as store, Campaign};
use carillon_store::{StoreError, ab_test, campaign_run};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::campaigns::{CampaignView, whole, wrong_state};
use super::error::{Code, Problem};
use super::extract::{CampaignsManage, Can, Id, Json};
use crate::app::App;
use crate::campaigns::ab_test::{NotDecided, counts, decide, finding};
use crate::clock::rfc3339;

/// Between the last message of a test and its decision, seconds.
const DECIDE_AFTER_S: std::ops::RangeInclusive<u32> = 60..=7 * 86_400;
/// What is usual.
const SHARE: u8 = 20;
const DECIDE_AFTER_USUAL_S: u32 = 4 * 3_600;

/// An A/B test: variants of the campaign are tried on a part of its audience, and the best one goes to the rest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbTestBody {
    /// 2 to 5 of them, called A to E.
    variants: Vec<VariantBody>,
    /// Percent of the audience that the test is made on, 1 to 99; 20 if not given. Each variant gets about as many.
    #[schema(minimum = 1, maximum = 99, example = 20)]
    share: Option<u8>,
    /// What makes a variant better: `delivered` (the default), `replied`, or `clicked`, which needs `shorten_links`.
    #[schema(example = "replied")]
    metric: Option<String>,
    /// From the last message of the test to the decision, seconds, 60 to 604800; 4 hours if not given.
    #[schema(minimum = 60, maximum = 604800, example = 14400)]
    decide_after_s: Option<u32>,
    /// Where the numbers show no clear winner: `leading` (the default) sends the variant with the highest rate, of equals the first; `ask` pauses the
    /// campaign with the reason `undecided` until somebody chooses.
    #[schema(example = "leading")]
    if_unclear: Option<String>,
}

/// One of the texts that are tried; what is left out is the campaign's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantBody {
    #[schema(example = "Hi {{name|default(\"friend\")}}, table for two on Friday?")]
    text: Option<String>,
    from: Option<String>,
}

impl AbTestBody {
    /// The test, and what is wrong with it; its texts are judged with those of the campaign.
    pub(super) fn judge(self, mut problem: Problem) -> (AbTest, Problem) {
        let mut wrong = |field: &str, detail: &'static str| {
            let pointer = format!("#/ab_test/{field}");
            problem.errors.extend(Code::InvalidValue.at(pointer, detail).errors);
        };
        if !(VARIANTS_MIN..=VARIANTS_MAX).contains(&self.variants.len()) {
            wrong("variants", "2 to 5 variants");
        }
        let variants: Vec<Variant> =
            self.variants.into_iter().map(|v| Variant { text: v.text, from: v.from }).collect();
        if (1..variants.len()).any(|i| variants[..i].contains(&variants[i])) {
            wrong("variants", "two of them are the same");
        }
        let share = self.share.unwrap_or(SHARE);
        if !(1..=99).contains(&share) {
            wrong("share", "1 to 99 percent");
        }
        let metric = self.metric.unwrap_or_else(|| Metric::Delivered.as_str().to_owned());
        if Metric::from_name(&metric).is_none() {
            wrong("metric", "delivered, replied or clicked");
        }
        let decide_after_s = self.decide_after_s.unwrap_or(DECIDE_AFTER_USUAL_S);
        if !DECIDE_AFTER_S.contains(&decide_after_s) {
            wrong("decide_after_s", "60 to 604800 seconds");
        }
        let ask = self.if_unclear.as_deref() == Some("ask");
        if !matches!(self.if_unclear.as_deref(), None | Some("leading" | "ask")) {
            wrong("if_unclear", "leading or ask");
        }
        (AbTest { variants, share, metric, decide_after_s, ask }, problem)
    }
}

/// What is wrong with a test beside its texts, in a campaign that is so.
pub(super) fn misplaced(content: &Content, repeats: bool) -> Option<Problem> {
    let test = content.ab_test.as_ref()?;
    if repeats {
        let detail = "a campaign that repeats, or goes by each recipient's clock, has no test: leave one of them out";
        return Some(Code::ConflictingFields.at("#/ab_test", detail));
    }
    if test.metric() == Metric::Clicked && !content.shorten_links {
        let detail = "clicks are counted on shortened links: set `shorten_links`";
        return Some(Code::ConflictingFields.at("#/ab_test/metric", detail));
    }
    None
}

/// Where a mistake in a variant's contents stands.
pub(super) fn pointer(variant: usize, field: &str) -> Option<String> {
    matches!(field, "#/text" | "#/from").then(|| format!("#/ab_test/variants/{variant}/{}", &field[2..]))
}

/// An A/B test.
#[derive(Debug, Serialize, ToSchema)]
pub struct AbTestView {
    /// Percent of the audience.
    #[schema(example = 20)]
    share: u8,
    /// `delivered`, `replied` or `clicked`.
    #[schema(example = "replied")]
    metric: String,
    #[schema(example = 14400)]
    decide_after_s: u32,
    /// `leading` or `ask`.
    #[schema(example = "leading")]
    if_unclear: &'static str,
    /// When it is or was due to be decided, RFC 3339; null while its messages are being handed in.
    decide_at: Option<String>,
    /// The variant with the highest rate, of equals the first; null before the launch, and in lists.
    #[schema(example = "B")]
    leading: Option<char>,
    /// How often chance alone would set the leading one so far apart from the closest other: two-proportion z-test, corrected for every pair
    /// compared (Bonferroni). Null where there are too few messages to say.
    #[schema(example = 0.012)]
    p_value: Option<f64>,
    /// Whether that is below 0.05.
    #[schema(example = true)]
    significant: Option<bool>,
    /// What the rest of the audience gets.
    #[schema(example = "B")]
    winner: Option<char>,
    /// `numbers` or `person`.
    #[schema(example = "numbers")]
    decided_by: Option<&'static str>,
    /// RFC 3339.
    decided_at: Option<String>,
    variants: Vec<VariantView>,
}

/// A variant.
#[derive(Debug, Serialize, ToSchema)]
pub struct VariantView {
    /// `A` to `E`.
    #[schema(example = "A")]
    name: char,
    text: Option<String>,
    from: Option<String>,
    /// What became of it; null before the launch, and in lists.
    result: Option<VariantResult>,
}

/// What became of a variant: so far, or once the test is decided, as it was then.
#[derive(Debug, Serialize, ToSchema)]
pub struct VariantResult {
    /// The batch its messages are in.
    #[schema(value_type = String, example = "bat_01h455vb4pex5vsknk084sn02q")]
    batch: BatchId,
    /// People it goes to.
    recipients: u32,
    /// Handed in.
    messages: u64,
    delivered: u64,
    /// People who answered, stops aside.
    replied: u64,
    /// People who opened a link.
    clicked: u64,
    /// Of `messages`, those that count by the metric.
    #[schema(example = 0.12)]
    rate: Option<f64>,
    /// The true rate lies from here
    #[schema(example = 0.09)]
    low: f64,
    /// to here, with 95 % confidence (Wilson).
    #[schema(example = 0.16)]
    high: f64,
}

impl AbTestView {
    /// As it was written.
    pub(super) fn of(test: AbTest) -> AbTestView {
        let view = |(place, v): (usize, Variant)| VariantView {
            name: letter(place),
            text: v.text,
            from: v.from,
            result: None,
        };
        AbTestView {
            share: test.share,
            metric: test.metric,
            decide_after_s: test.decide_after_s,
            if_unclear: if test.ask { "ask" } else { "leading" },
            decide_at: None,
            leading: None,
            p_value: None,
            significant: None,
            winner: None,
            decided_by: None,
            decided_at: None,
            variants: test.variants.into_iter().enumerate().map(view).collect(),
        }
    }
}

/// The test of a campaign with what its numbers say.
pub(super) async fn view(app: &App, c: &Campaign) -> Result<Option<AbTestView>, StoreError> {
    let Some(test) = &c.content.ab_test else { return Ok(None) };
    let mut view = AbTestView::of(test.clone());
    let runs = campaign_run::variants(&app.db, c.id, c.runs).await?;
    let (Some(run), false) = (c.run, runs.is_empty()) else { return Ok(Some(view)) };
    let standing = ab_test::standing(&app.db, c.id.account(), run).await?;
    let found: Vec<Counts> = match &standing.decided {
        Some(decided) => decided.found.clone(),
        None => counts(app, c).await?,
    };
    let says = finding(test, &found);
    for ((variant, run), counts) in view.variants.iter_mut().zip(runs).zip(found) {
        let (of_metric, all) = counts.of(test.metric());
        let (low, high) = wilson((of_metric, all));
        variant.result = Some(VariantResult {
            batch: run.id,
            recipients: run.total,
            messages: counts.messages,
            delivered: counts.delivered,
            replied: counts.replied,
            clicked: counts.clicked,
            rate: (all > 0).then(|| of_metric as f64 / all as f64),
            low,
            high,
        });
    }
    view.decide_at = standing.decide_at.map(rfc3339);
    view.leading = Some(letter(says.leading));
    view.p_value = says.p_value;
    view.significant = Some(says.significant());
    if let Some(decided) = standing.decided {
        view.winner = Some(letter(decided.winner));
        view.decided_by = Some(decided.by.as_str());
        view.decided_at = Some(rfc3339(decided.at));
    }
    Ok(Some(view))
}

/// Which variant goes to the rest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WinnerBody {
    /// `A` to `E`.
    #[schema(example = "B")]
    variant: String,
}

/// Choose the winner of a campaign's A/B test.
///
/// Before its time, or because its numbers did not decide; a campaign that is paused for this (`undecided`) goes on. It is chosen once: the same
/// choice again changes nothing, another is refused.
#[utoipa::path(post, path = "/v1/campaigns/{id}/winner", tag = "Campaigns", operation_id = "chooseCampaignWinner", params(("id" = String, Path)),
    request_body = WinnerBody, responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn choose(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    Json(body): Json<WinnerBody>,
) -> Result<Json<CampaignView>, Problem> {
    let c = store::by_id(&app.db, caller.account, id).await?;
    let Some(test) = &c.content.ab_test else {
        return Err(Code::CampaignState.with("the campaign has no A/B test").member("status", c.state.as_str()));
    };
    let chosen = (0..test.variants.len()).find(|place| body.variant == letter(*place).to_string());
    let chosen = chosen.ok_or_else(|| Code::InvalidValue.at("#/variant", "no variant of this campaign"))?;
    let (CampaignState::Running | CampaignState::Paused, Some(run)) = (c.state, c.run) else {
        return Err(wrong_state(c.state));
    };
    if c.reason == Some(Reason::Undecided) {
        caller.may_send()?;
    }
    let found = counts(&app, &c).await?;
    match decide(&app, &c, run, chosen, Chooser::Person, found).await {
        Ok(true) => {}
        Ok(false) => {
            let decided = ab_test::standing(&app.db, caller.account, run).await?.decided;
            if decided.is_some_and(|decided| decided.winner != chosen) {
                let detail = "another winner was chosen, and is being sent";
                return Err(Code::CampaignState.with(detail).member("status", c.state.as_str()));
            }
        }
        Err(NotDecided::Wrong(mistakes)) => return Err(mistakes.into()),
        Err(NotDecided::Store(error)) => return Err(error.into()),
    }
    Ok(Json(whole(&app, store::by_id(&app.db, caller.account, id).await?).await?))
}
