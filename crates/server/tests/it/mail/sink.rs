//! A mail server of our own, as RFC 5321 has it: takes mail over a socket, answers as it is told, and remembers what it took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// What becomes of the next mail.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The recipient is answered so.
    Recipient(&'static str),
    /// The whole mail, once it was taken in, is answered so.
    Body(&'static str),
    /// The connection ends before the answer to the mail.
    Cut,
    /// The answer to the mail never comes.
    Hang,
}

/// How it guards its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    Clear,
    Starttls,
    Tls,
}

/// A mail it has.
#[derive(Clone, Debug)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub header: String,
    pub body: String,
    /// What came after `AUTH`.
    pub auth: Option<String>,
}

impl Mail {
    /// The value of a line of the header, unfolded.
    pub fn field(&self, name: &str) -> String {
        let unfolded = self.header.replace("\r\n ", " ");
        let line = unfolded.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.header)).to_owned()
    }

    /// The token of its link.
    pub fn token(&self) -> String {
        let (_, rest) = self.body.split_once("#token=").unwrap_or_else(|| panic!("no link in {}", self.body));
        rest.chars().take_while(char::is_ascii_alphanumeric).collect()
    }
}

#[derive(Default)]
struct Inner {
    acts: Mutex<VecDeque<Act>>,
    mails: Mutex<Vec<Mail>>,
    /// Every command that came, in clear or not.
    heard: Mutex<Vec<String>>,
}

/// See the module.
#[derive(Clone)]
pub struct Sink {
    pub port: u16,
    /// Of whoever signed its certificate.
    pub authority: String,
    inner: Arc<Inner>,
}

impl Sink {
    pub async fn start(guard: Guard) -> Sink {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Sink { port, authority: cert.pem(), inner: Arc::default() };
        let accepting = sink.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (sink, acceptor) = (accepting.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if guard == Guard::Tls {
                        let Ok(socket) = acceptor.accept(socket).await else { return };
                        return drop(sink.converse(socket, false, true).await);
                    }
                    // After STARTTLS the conversation begins anew.
                    if let Some(socket) = sink.converse(socket, guard == Guard::Starttls, true).await
                        && let Ok(socket) = acceptor.accept(socket).await
                    {
                        sink.converse(socket, false, false).await;
                    }
                });
            }
        });
        sink
    }

    /// What becomes of the next mails, one after another; the others are taken.
    pub fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.inner.acts.lock().extend(acts);
    }

    /// Whether all of it has been done.
    pub fn is_done(&self) -> bool {
        self.inner.acts.lock().is_empty()
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.inner.mails.lock().clone()
    }

    /// Every command that came.
    pub fn heard(&self) -> Vec<String> {
        self.inner.heard.lock().clone()
    }

    /// Waits for so many mails.
    pub async fn wait(&self, count: usize) -> Vec<Mail> {
        super::until(&format!("{count} mails"), async || self.mails().len() >= count).await;
        self.mails()
    }

    fn act(&self, is: impl Fn(&Act) -> bool) -> Option<Act> {
        let mut acts = self.inner.acts.lock();
        if acts.front().is_some_and(is) { acts.pop_front() } else { None }
    }

    /// Speaks to a client until it goes; gives the socket back if TLS is to begin on it.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S, starttls: bool, greets: bool) -> Option<S> {
        let mut socket = BufReader::new(socket);
        if greets {
            say(&mut socket, "220 sink.example ESMTP").await?;
        }
        let (mut from, mut to, mut auth) = (String::new(), Vec::new(), None);
        loop {
            let line = hear(&mut socket).await?;
            self.inner.heard.lock().push(line.clone());
            let word = line.split([' ', ':']).next().unwrap_or("").to_uppercase();
            match word.as_str() {
                "EHLO" if starttls => say(&mut socket, "250-sink.example\r\n250 STARTTLS").await?,
                "EHLO" => say(&mut socket, "250-sink.example\r\n250-8BITMIME\r\n250 AUTH PLAIN").await?,
                "STARTTLS" if starttls => {
                    say(&mut socket, "220 go ahead").await?;
                    return Some(socket.into_inner());
                }
                "AUTH" => {
                    auth = Some(line["AUTH ".len()..].to_owned());
                    say(&mut socket, "235 welcome").await?;
                }
                "MAIL" => {
                    from = line["MAIL FROM:".len()..].to_owned();
                    say(&mut socket, "250 ok").await?;
                }
                "RCPT" => {
                    to.push(line["RCPT TO:".len()..].to_owned());
                    let reply = match self.act(|act| matches!(act, Act::Recipient(_))) {
                        Some(Act::Recipient(reply)) => reply,
                        _ => "250 ok",
                    };
                    say(&mut socket, reply).await?;
                }
                "DATA" => {
                    say(&mut socket, "354 go ahead").await?;
                    let (header, body) = content(&mut socket).await?;
                    let mail = Mail {
                        from: std::mem::take(&mut from),
                        to: std::mem::take(&mut to),
                        header,
                        body,
                        auth: auth.clone(),
                    };
                    match self.act(|act| matches!(act, Act::Body(_) | Act::Cut | Act::Hang)) {
                        Some(Act::Body(reply)) => say(&mut socket, reply).await?,
                        Some(Act::Hang) => std::future::pending().await,
                        Some(_) => return None,
                        None => {
                            self.inner.mails.lock().push(mail);
                            say(&mut socket, "250 taken").await?;
                        }
                    }
                }
                "QUIT" => {
                    say(&mut socket, "221 bye").await?;
                    return None;
                }
                _ => say(&mut socket, "500 what?").await?,
            }
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(socket: &mut S, line: &str) -> Option<()> {
    socket.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    socket.flush().await.ok()
}

async fn hear<S: AsyncRead + Unpin>(socket: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(60), socket.read_line(&mut line)).await;
    if read.ok()?.ok()? == 0 { None } else { Some(line.trim_end_matches(['\r', '\n']).to_owned()) }
}

/// Header and body up to the lonely dot, the body as people read it.
async fn content<S: AsyncRead + Unpin>(socket: &mut BufReader<S>) -> Option<(String, String)> {
    let mut text = String::new();
    loop {
        let line = hear(socket).await?;
        if line == "." {
            break;
        }
        text += line.strip_prefix('.').unwrap_or(&line);
        text += "\r\n";
    }
    let (header, body) = text.split_once("\r\n\r\n")?;
    Some((header.to_owned(), decoded(body)))
}

/// Quoted-printable (RFC 2045 §6.7).
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let joined = text.replace("=\r\n", "");
    let mut rest = joined.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'=', Some(octet)) => {
                out.push(octet);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
