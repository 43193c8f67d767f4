//! How many webhooks a second reach receivers: endpoints of a sink in this process, which counts and says yes. The server must allow
//! them (`webhooks.allow_http` and `allow_private`); the sink shares its cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::preload;
use crate::report::{Meter, Report};
use crate::{BenchError, Connection, Tally, Target};

/// What a message is told of: that it was sent, and that it arrived.
const EVENTS_OF_A_MESSAGE: u64 = 2;
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Webhooks {
    /// Endpoints, each of which gets every event; at most 100.
    #[arg(long, default_value_t = 1)]
    endpoints: u64,
    /// Messages; two events each.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// How long to wait for the last delivery, in seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

impl Webhooks {
    pub(crate) async fn run(&self, target: &Target, pid: Option<u32>) -> Result<(), BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let sink = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                // A connection that breaks is the server's to mend.
                tokio::spawn(async move { drop(take(stream, &count).await) });
            }
        });
        let mut connection = Connection::open(target).await?;
        let mut made = Vec::new();
        for n in 0..self.endpoints {
            let body = format!(r#"{{"url":"http://{address}/{n}","events":["message.sent","message.delivered"]}}"#);
            made.push(create(target, &mut connection, &body).await?);
        }
        let (meter, start) = (Meter::start(pid)?, Instant::now());
        preload(target, self.messages).await?;
        let expected = self.messages * EVENTS_OF_A_MESSAGE * self.endpoints;
        let limit = Duration::from_secs(self.seconds);
        while taken.load(Ordering::Relaxed) < expected && start.elapsed() < limit {
            sleep(POLL).await; // another process does the work
        }
        let (elapsed, taken) = (start.elapsed().as_secs_f64(), taken.load(Ordering::Relaxed));
        let mut report = Report::default();
        let name = format!("webhooks, {} endpoints, {} messages", self.endpoints, self.messages);
        report.row(&name, taken, taken as f64 / elapsed, &Tally::default(), &meter)?;
        report.note("counted are deliveries, from the request to the last of them; the messages are accepted, sent and receipted meanwhile");
        for id in made {
            connection.exchange(&target.render("DELETE", &format!("/v1/webhook-endpoints/{id}"), None)).await?;
        }
        sink.abort();
        report.print()?;
        if taken < expected {
            return Err(BenchError::Unfinished { finished: taken, accepted: expected, seconds: self.seconds });
        }
        Ok(())
    }
}

async fn create(target: &Target, connection: &mut Connection, body: &str) -> Result<String, BenchError> {
    let answer = connection.exchange(&target.render("POST", "/v1/webhook-endpoints", Some(body))).await?;
    let text = String::from_utf8_lossy(connection.body()).into_owned();
    let id = serde_json::from_str::<Value>(&text).ok().and_then(|made| Some(made["id"].as_str()?.to_owned()));
    match id {
        Some(id) if answer.status == 201 => Ok(id),
        _ => Err(BenchError::Refused { what: "a webhook endpoint", status: answer.status, body: text }),
    }
}

/// Reads requests and answers each, until the connection ends.
async fn take(mut stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    loop {
        while let Some(whole) = request_length(&buffer[..filled]).filter(|whole| *whole <= filled) {
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
            count.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        }
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            read => filled += read,
        }
    }
}

/// Bytes of the first request, its body included; `None` while its head has not ended.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let field = text.split("\r\n").filter_map(|field| field.split_once(':'));
    let length = field.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map(|(_, value)| value.trim().parse().unwrap_or(0)).sum();
    Some(head + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_their_head_says() {
        for (bytes, expected) in [
            ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", Some(40)),
            ("POST / HTTP/1.1\r\ncontent-length:2\r\n\r\n", Some(39)),
            ("GET / HTTP/1.1\r\n\r\n", Some(18)),
            ("POST / HTTP/1.1\r\n", None),
        ] {
            assert_eq!(request_length(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
