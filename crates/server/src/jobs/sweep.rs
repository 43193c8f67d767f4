//! Sweeps away what nobody waits for any more: messages whose receipt will not come, receipts that belong to nobody, old keys.

use std::collections::HashMap;
use std::time::Duration;

use carillon_domain::id::AccountNo;
use carillon_domain::route::ConnectionNo;
use carillon_store::{
    Db, StoreError, consent, drip_enrollment, email, email_token, inbound, short_link, smpp_delivery, sweep,
    verification,
};

use crate::app::App;
use crate::campaigns;
use crate::imports;
use crate::media;
use crate::pipeline::Pipeline;
use crate::routing;

/// How long receipts of a connection that was deleted are waited for: the default of `receipt_wait_h`.
const GONE_WAITS_MS: i64 = 72 * 3_600_000;
const EVERY: Duration = Duration::from_secs(600);
/// Rows one transaction takes away: other writers wait that long.
const PAGE: u32 = 500;
/// A receipt that came before its answer finds it within minutes; a day is for carriers that are down.
const PARKED_MS: i64 = 86_400_000;
/// What phones wrote comes again from its carrier within a day, if at all.
const INBOUND_SEEN_MS: i64 = 2 * 86_400_000;
/// An attempt that was decided may still get its receipt for so long.
const DECIDED_MS: i64 = 10 * 86_400_000;
/// Mail that was given up can be looked into for so long.
const EMAIL_MS: i64 = 30 * 86_400_000;
/// A short link of a message that was scheduled a year ahead has expired by then.
const LINKS_MS: i64 = 560 * 86_400_000;
/// Who was in the run of a campaign, or left a drip, can be looked up for so long after it.
const RECIPIENTS_MS: i64 = 30 * 86_400_000;
/// Uploaded audiences are kept for so long.
const AUDIENCE_MS: i64 = 90 * 86_400_000;
/// A code that went on its way so long ago has been reported on, unless the program ended meanwhile.
const CODE_LEFT_MS: i64 = 600_000;

pub(super) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "a sweep failed and is tried again later: {error}");
        }
        if let Err(error) = media::sweep(&app).await {
            tracing::warn!(%error, "a sweep of media failed and is tried again later: {error}");
        }
        if let Err(error) = imports::sweep(&app).await {
            tracing::warn!(%error, "a sweep of imports failed and is tried again later: {error}");
        }
    }
}

/// One round: all that is old by the app's clock.
pub async fn once(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now_ms();
    let waits = routing::receipt_waits(&app.config, &app.db, &app.vault).await?;
    close_unreceipted(&app.db, &app.pipeline, &waits, now).await?;
    let first_day = (now / 86_400_000) as i32 + 1 - i32::from(app.config.pipeline.idempotency_days);
    while sweep::delete_keys(&app.db, first_day, PAGE).await? > 0 {}
    while sweep::delete_parked(&app.db, now - PARKED_MS, PAGE).await? > 0 {}
    let smpp_days = i64::from(app.config.smpp_server.keep_days);
    while smpp_delivery::delete_older(&app.db, now - smpp_days * 86_400_000, PAGE).await? > 0 {}
    while inbound::forget_seen(&app.db, now - INBOUND_SEEN_MS, PAGE).await? > 0 {}
    while sweep::delete_decided(&app.db, now - DECIDED_MS, PAGE).await? > 0 {}
    while verification::sweep::expire(&app.db, now, PAGE, &|a, v, s| app.ended(a, v, s)).await? > 0 {}
    app.notify.wake();
    while verification::sweep::erase_left(&app.db, now - CODE_LEFT_MS, PAGE).await? > 0 {}
    while verification::sweep::delete_caps(&app.db, now, PAGE).await? > 0 {}
    forget_verifications(&app.db, now - i64::from(app.config.retention.verification_days) * 86_400_000).await?;
    while consent::stop_waiting(&app.db, now, PAGE).await? > 0 {}
    while email_token::forget(&app.db, now, PAGE).await? > 0 {}
    forget_emails(&app.db, now - EMAIL_MS).await?;
    forget_links(&app.db, now - LINKS_MS).await?;
    while drip_enrollment::forget(&app.db, now - RECIPIENTS_MS, PAGE).await? > 0 {}
    campaigns::sweep(app, now - RECIPIENTS_MS, now - AUDIENCE_MS).await
}

/// Short links made before an instant are gone, with their clicks.
async fn forget_links(db: &Db, before: i64) -> Result<(), StoreError> {
    let mut from = AccountNo::PLATFORM;
    while let Some(account) = short_link::account_from(db, from).await? {
        while short_link::forget(db, account, before, PAGE).await? > 0 {}
        let Some(next) = account.0.checked_add(1) else { break };
        from = AccountNo(next);
    }
    Ok(())
}

/// Mail written before an instant and not sent is gone.
async fn forget_emails(db: &Db, before: i64) -> Result<(), StoreError> {
    let mut from = AccountNo::PLATFORM;
    while let Some(account) = email::account_from(db, from).await? {
        while email::forget(db, account, before, PAGE).await? > 0 {}
        let Some(next) = account.0.checked_add(1) else { break };
        from = AccountNo(next);
    }
    Ok(())
}

/// Verifications begun before an instant are gone, with the numbers and the hashes of codes in them.
async fn forget_verifications(db: &Db, before: i64) -> Result<(), StoreError> {
    let mut account = AccountNo::PLATFORM;
    while let Some(next) = verification::sweep::account_after(db, account).await? {
        account = next;
        while verification::sweep::forget(db, account, before, PAGE).await? > 0 {}
    }
    Ok(())
}

/// Messages that were sent and never heard of again count as sent, once their validity and the connection's patience are over.
/// `waits` is each connection's patience in milliseconds; one that is no more has `GONE_WAITS_MS`.
pub(crate) async fn close_unreceipted(
    db: &Db,
    pipeline: &Pipeline,
    waits: &HashMap<ConnectionNo, i64>,
    now: i64,
) -> Result<(), StoreError> {
    let shortest = waits.values().copied().min().unwrap_or(GONE_WAITS_MS).min(GONE_WAITS_MS);
    let mut after = None;
    loop {
        let refs = sweep::waiting_refs(db, after.as_ref(), now - shortest, PAGE).await?;
        let Some(last) = refs.last().cloned() else { return Ok(()) };
        let wait_of = |no| waits.get(&no).copied().unwrap_or(GONE_WAITS_MS);
        let (over, _): (Vec<_>, Vec<_>) = refs.into_iter().partition(|r| r.is_over(now, wait_of(r.connection)));
        pipeline.close(over.iter().filter(|r| r.expires_at.is_some()).map(|r| r.message).collect()).await;
        sweep::delete_refs(db, &over).await?;
        after = Some(last);
    }
}
