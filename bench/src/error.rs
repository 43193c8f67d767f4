//! What can stop a scenario. Refusals by the server are results, not errors: they are counted.

/// Why a scenario could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// `--url` is not `http://host:port`.
    #[error("'{0}' is not an address of the form http://host:port")]
    Address(String),
    /// The socket, or a file under /proc.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The peer closed the connection inside an answer.
    #[error("the server closed the connection inside an answer")]
    Truncated,
    /// The peer does not answer in the HTTP/1.1 this client reads: a status line and a Content-Length.
    #[error("the server's answer is not HTTP/1.1 with a Content-Length: {0}")]
    NotHttp(String),
    /// A preparing request was refused; measuring on would mean nothing.
    #[error("{what} was answered {status}: {body}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's explanation.
        body: String,
    },
    /// `/metrics` has no sample of that name.
    #[error("/metrics has no metric '{0}'; name the right one with --final-metric")]
    NoSuchMetric(String),
    /// Not all messages reached a final state in the time given.
    #[error("only {finished} of {accepted} messages were final after {seconds} s of waiting")]
    Unfinished {
        /// Messages that reached a final state.
        finished: u64,
        /// Messages accepted.
        accepted: u64,
        /// Seconds waited after the load ended.
        seconds: u64,
    },
    /// The server under test did not become ready, or ended.
    #[error("the server did not become ready: {0}")]
    NotReady(String),
    /// A preset's threshold was missed.
    #[error("{0} missed its thresholds")]
    Threshold(&'static str),
}
