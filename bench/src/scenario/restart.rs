//! How long a start takes while messages wait in the store: start, leave a backlog, `kill -9`, start again.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::preload;
use crate::report::{Report, milliseconds};
use crate::{BenchError, Target};

/// Fine enough against a goal of seconds.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// Messages to leave waiting; the server's carrier must not take them.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Longest wait for `/ready`, in seconds.
    #[arg(long, default_value_t = 60)]
    ready_seconds: u64,
    /// The server's program and its arguments, after `--`.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The server under test; killed when this goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do about it here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Restart {
    pub(crate) async fn run(&self, target: &Target) -> Result<(), BenchError> {
        let (server, empty) = self.start(target).await?;
        preload(target, self.backlog).await?;
        drop(server);
        let (_server, full) = self.start(target).await?;
        let mut report = Report::default();
        report.note(format!("start to ready, nothing new waiting: {} ms", milliseconds(empty)));
        report.note(format!("start to ready after kill -9, {} more waiting: {} ms", self.backlog, milliseconds(full)));
        Ok(report.print()?)
    }

    async fn start(&self, target: &Target) -> Result<(Server, Duration), BenchError> {
        let start = Instant::now();
        let (program, arguments) = self.command.split_first().expect("clap requires the command");
        let mut server = Server(Command::new(program).args(arguments).stdout(Stdio::null()).spawn()?);
        while start.elapsed() < Duration::from_secs(self.ready_seconds) {
            if let Some(status) = server.0.try_wait()? {
                return Err(BenchError::NotReady(format!("it ended with {status}")));
            }
            // Refused connections and 503 both mean: not yet.
            if target.get("/ready").await.is_ok_and(|(status, _)| status == 200) {
                return Ok((server, start.elapsed()));
            }
            sleep(POLL).await; // readiness over HTTP cannot be awaited
        }
        Err(BenchError::NotReady(format!("no 200 from /ready in {} s", self.ready_seconds)))
    }
}
