//! What follows a commit, on the writer's thread: accepted messages enter memory, those who wait are answered, receipts are acknowledged.

use std::sync::atomic::Ordering;

use carillon_domain::error_code::ErrorCode;
use carillon_smpp::CommandStatus;
use carillon_store::hot::{ReceiptKind, SettleItem, Settled, Step, Verdict};

use super::Pipeline;
use super::memory::{Memory, OtpAnswer};
use super::writer::{self, IntakeEntry, Then};

impl Pipeline {
    pub(super) fn after_intake(&self, entries: Vec<IntakeEntry>, verdicts: Vec<Verdict>) {
        let mut memory = self.0.memory.lock();
        let (mut accepted, mut due) = (0u64, None::<i64>);
        let mut replies = Vec::with_capacity(entries.len());
        for (entry, verdict) in entries.into_iter().zip(verdicts) {
            if let Verdict::Accepted { first, count, span, .. } = &verdict
                && *count > 0
                && !entry.request.messages.is_empty()
            {
                let messages = &entry.request.messages;
                accepted += u64::from(*count);
                if let Some(waiter) = entry.otp {
                    memory.wait_for(*first, waiter);
                }
                match (span, &entry.request.step) {
                    // A chunk waits for its batch's seal; until then a crash erases it.
                    (Some(span), Step::Chunk(batch)) => memory.load(*batch, *span, messages[0].lane, *count),
                    (Some(span), _) => {
                        memory.accept(*span, messages[0].lane, *count, |i| {
                            self.job(messages[i as usize].queued(first.nth(i)), Some(*span))
                        });
                    }
                    (None, _) => due = messages.iter().filter_map(|m| m.due_at).chain(due).min(),
                }
            }
            if let Step::Seal(batch) = entry.request.step {
                memory.seal(batch);
                // Those of its messages that are due by themselves were passed over until now.
                due = Some(due.map_or(batch.millis(), |at| at.min(batch.millis())));
                self.0.hungry.notify_one();
            }
            if let Step::Discard(batch) = entry.request.step {
                memory.discard(batch);
            }
            replies.push((entry.reply, verdict));
        }
        drop(memory);
        if let Some(at) = due {
            self.0.due.lock().new_row(at);
        }
        self.wake_links();
        for (reply, verdict) in replies {
            // A client that hung up has its message all the same.
            let _ = reply.send(Ok(verdict));
        }
        metrics::counter!("carillon_messages_accepted_total").increment(accepted);
    }

    pub(super) fn after_settle(&self, items: &[SettleItem], thens: Vec<Then>, results: Vec<Settled>) {
        let mut memory = self.0.memory.lock();
        let mut counts = writer::Counts::default();
        let (mut hungry, mut told, mut due) = (false, false, None::<i64>);
        let (mut acknowledge, mut claimed) = (Vec::new(), Vec::new());
        let lines = self.0.lines.read().clone();
        let mut touched = vec![0i64; lines.len()];
        let mut owed = Vec::new();
        for ((item, then), result) in items.iter().zip(thens).zip(results) {
            counts.add(item, &result);
            told |= result.told;
            owed.extend(result.id.zip(result.smpp).map(|(id, credential)| (id.account(), credential)));
            due = writer::due_of(item, self.0.clock.now_ms()).into_iter().chain(due).min();
            if memory.has_waiters() {
                let last = matches!(item, SettleItem::End { unknown_too: true, .. });
                self.tell_waiter(&mut memory, &result, last);
            }
            if let SettleItem::Receipt(receipt) = item
                && result.changed
                && !matches!(receipt.kind, ReceiptKind::Interim | ReceiptKind::Unknown)
            {
                memory.routing.ended(receipt.connection, receipt.kind == ReceiptKind::Delivered);
            }
            match then {
                Then::Claimed { connection, job } => {
                    lines[connection].claimed.lock().push_back(job);
                    claimed.push(connection);
                }
                Then::Answered { connection, parts, job } => {
                    touched[connection] += parts;
                    if let Some(job) = job {
                        hungry |= memory.leave(&job);
                    }
                }
                Then::Ended { job, reply } => {
                    if let Some(id) = result.id.filter(|_| !result.closed) {
                        memory.still_open(id);
                    }
                    if let Some(job) = job {
                        hungry |= memory.leave(&job);
                    }
                    if let Some(reply) = reply {
                        let _ = reply.send(result);
                    }
                }
                Then::Acknowledge(ack) => acknowledge.extend(ack),
                // A carrier that hung up sends it again.
                Then::Tell(durable) => drop(durable.send(())),
                Then::Nothing => {}
            }
        }
        drop(memory);
        claimed.dedup();
        for connection in claimed {
            lines[connection].wake();
            // A link that went down meanwhile has given back what it had.
            if !lines[connection].is_up() {
                self.give_back(connection);
            }
        }
        for (line, parts) in lines.iter().zip(touched) {
            if parts > 0 {
                line.in_doubt.fetch_sub(parts, Ordering::Relaxed);
                line.wake();
            }
        }
        for (session, to) in acknowledge {
            session.respond_deliver(to, CommandStatus::ROK);
        }
        if !owed.is_empty() {
            self.0.owed.lock().extend(owed);
            self.0.owed_more.notify_one();
        }
        if let Some(at) = due {
            self.0.due.lock().new_row(at);
        }
        if hungry {
            self.0.hungry.notify_one();
        }
        if told {
            self.0.told.notify_one();
        }
        counts.publish();
    }

    /// `last`: its time is up, there is no waiting for more.
    fn tell_waiter(&self, memory: &mut Memory, result: &Settled, last: bool) {
        let Some(id) = result.id else { return };
        if result.succeeded {
            memory.answer(id, OtpAnswer::Sent);
        } else if result.closed || last {
            let error = result.error.and_then(ErrorCode::from_number).unwrap_or(ErrorCode::Internal);
            memory.answer(id, OtpAnswer::Failed(error));
        }
    }
}
