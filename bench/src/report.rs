//! Results as rows of a Markdown table, in the columns of bench/RESULTS.md.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use crate::{BenchError, Tally, process::Process};

const HEAD: &str = "| scenario | messages | per second | p50 ms | p95 ms | p99 ms | max ms | failed | CPU s per million | peak MB |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n";

/// CPU time and memory of the server over a stretch of work; nothing when its process is not known.
#[derive(Debug)]
pub(crate) struct Meter {
    process: Option<(Process, Duration)>,
}

impl Meter {
    /// Starts to count.
    pub(crate) fn start(pid: Option<u32>) -> Result<Meter, BenchError> {
        let process =
            pid.map(Process::new).map(|process| Ok::<_, BenchError>((process, process.cpu()?))).transpose()?;
        Ok(Meter { process })
    }

    /// `CPU seconds per million messages | peak memory in MB`, as cells.
    fn cells(&self, messages: u64) -> Result<String, BenchError> {
        let Some((process, before)) = self.process else { return Ok("- | -".to_owned()) };
        let cpu_s = (process.cpu()? - before).as_secs_f64();
        let peak = megabytes(process.peak_memory()?);
        Ok(format!("{:.1} | {peak}", cpu_s * 1e6 / messages.max(1) as f64))
    }

    /// Memory held now, in MB.
    pub(crate) fn memory(&self) -> Result<Option<u64>, BenchError> {
        self.process.map(|(process, _)| process.memory().map(megabytes)).transpose()
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Lines to print at the end of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: String,
    notes: String,
}

impl Report {
    /// A row: `messages` at `per_second`, the latencies and failures of the load that made them.
    pub(crate) fn row(
        &mut self,
        name: &str,
        messages: u64,
        per_second: f64,
        load: &Tally,
        meter: &Meter,
    ) -> Result<(), BenchError> {
        let latency = load.latency();
        let [p50, p95, p99] = [500, 950, 990].map(|per_mille| milliseconds(latency.quantile(per_mille)));
        let (max, failed, used) = (milliseconds(latency.max()), load.failed(), meter.cells(messages)?);
        self.rows.push_str(&format!(
            "| {name} | {messages} | {per_second:.0} | {p50} | {p95} | {p99} | {max} | {failed} | {used} |\n"
        ));
        for (kind, answers) in &load.kinds {
            if answers.statuses.keys().any(|status| !kind.accepts(*status)) || answers.broken > 0 {
                self.note(format!("{kind:?}: answers by status {:?}, broken {}", answers.statuses, answers.broken));
            }
        }
        if let Some(failure) = &load.first_failure {
            self.note(format!("first failure: {failure}"));
        }
        Ok(())
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, note: impl std::fmt::Display) {
        let _ = writeln!(self.notes, "- {note}"); // a String takes whatever is written
    }

    /// Prints the table, then the notes.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.rows.is_empty() {
            write!(out, "{HEAD}{}", self.rows)?;
        }
        if !self.notes.is_empty() {
            write!(out, "\n{}", self.notes)?;
        }
        out.flush()
    }
}

/// With two decimals below ten, so that a fast answer does not read as zero.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}
