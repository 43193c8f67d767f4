//! HTTP/1.1 by hand: one request after another on a keep-alive connection, and of the answer only what is counted.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::BenchError;

/// The server under test and the credential it is asked with.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`, as connected to and as sent in `Host`.
    pub authority: String,
    /// API key; empty in open mode.
    pub key: String,
}

impl Target {
    /// Reads `http://host:port`; a path or TLS is not for a load generator.
    ///
    /// # Errors
    /// [`BenchError::Address`] when the URL is of another form.
    pub fn new(url: &str, key: &str) -> Result<Target, BenchError> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority.and_then(|authority| Some((authority, authority.rsplit_once(':')?.1))) {
            Some((authority, port)) if port.parse::<u16>().is_ok() && !authority.contains('/') => {
                Ok(Target { authority: authority.to_owned(), key: key.to_owned() })
            }
            _ => Err(BenchError::Address(url.to_owned())),
        }
    }

    /// The bytes of a whole request; `body` makes it a JSON one.
    pub fn render(&self, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        if !self.key.is_empty() {
            request.push_str(&format!("Authorization: Bearer {}\r\n", self.key));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        request.into_bytes()
    }

    /// One GET on a connection of its own: for what is asked once.
    ///
    /// # Errors
    /// Those of [`Connection::exchange`].
    pub async fn get(&self, path: &str) -> Result<(u16, String), BenchError> {
        let mut connection = Connection::open(self).await?;
        let answer = connection.exchange(&self.render("GET", path, None)).await?;
        Ok((answer.status, String::from_utf8_lossy(connection.body()).into_owned()))
    }
}

/// What of an answer is looked at while measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The server will close this connection.
    pub closing: bool,
}

/// Where an answer's parts lie in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    answer: Answer,
    /// Bytes before the body.
    length: usize,
    /// Bytes of the body.
    content_length: usize,
}

/// A keep-alive connection with one request in flight.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Larger than the usual answer: a read that does not fill it tells the runtime that the socket is empty, which
    /// saves the system call that would find out.
    buffer: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Connection {
    /// Connects, without Nagle's delay.
    ///
    /// # Errors
    /// When the server does not listen.
    pub async fn open(target: &Target) -> io::Result<Connection> {
        let stream = TcpStream::connect(&target.authority).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; 4096], body: 0..0 })
    }

    /// Sends one request and reads its answer to the end. After an error the connection is of no more use.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no HTTP/1.1 with a Content-Length.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, BenchError> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let mut head: Option<Head> = None;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(BenchError::Truncated),
                count => filled += count,
            }
            if head.is_none() {
                head = parse_head(&self.buffer[..filled])?;
            }
            if let Some(Head { answer, length, content_length }) = head
                && filled >= length + content_length
            {
                self.body = length..length + content_length;
                return Ok(answer);
            }
        }
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }
}

/// The head of an answer, or `None` while its end has not arrived.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, BenchError> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let not_http = || BenchError::NotHttp(String::from_utf8_lossy(&bytes[..end.min(200)]).into_owned());
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| not_http())?;
    let (status_line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
    let status: u16 = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(not_http)?;
    let (mut content_length, mut closing) = (None, false);
    for (name, value) in fields.split("\r\n").filter_map(|field| field.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            content_length = Some(value.trim().parse().map_err(|_| not_http())?);
        } else if name.eq_ignore_ascii_case("connection") {
            closing = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let bodiless = status == 204 || status == 304;
    let content_length = content_length.or(bodiless.then_some(0)).ok_or_else(not_http)?;
    Ok(Some(Head { answer: Answer { status, closing }, length: end + 4, content_length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = |status, closing, length, content_length| {
            Some(Some(Head { answer: Answer { status, closing }, length, content_length }))
        };
        for (bytes, expected) in [
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n", head(202, false, 45, 12)),
            ("HTTP/1.1 202 Accepted\r\ncontent-length:0\r\n\r\nHTTP", head(202, false, 43, 0)),
            ("HTTP/1.1 204 No Content\r\n\r\n", head(204, false, 27, 0)),
            ("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", head(503, true, 59, 2)),
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n", Some(None)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", None),
            ("220 smtp ready\r\n\r\n", None),
        ] {
            assert_eq!(parse_head(bytes.as_bytes()).ok(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn addresses_are_plain_http_with_a_port() {
        for (url, authority) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("http://localhost:80/", Some("localhost:80")),
            ("http://[::1]:8080", Some("[::1]:8080")),
            ("https://localhost:443", None),
            ("http://localhost", None),
            ("http://localhost:8080/v1", None),
            ("localhost:8080", None),
            ("", None),
        ] {
            assert_eq!(Target::new(url, "").ok().map(|target| target.authority).as_deref(), authority, "{url}");
        }
    }
}
