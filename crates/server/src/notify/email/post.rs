//! Hands one mail to the mail server, over a connection of its own, and says what the answer means.

use std::time::{Duration, SystemTime};

use carillon_domain::id::EmailId;
use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;

use super::compose::{Letter, one_line};
use crate::config::{Email, MailTls};

/// For each word of the exchange; and for all of it.
const WORD: Duration = Duration::from_secs(30);
const ALL: Duration = Duration::from_secs(120);
/// Answers of RFC 4954 §6 that are about our signing in, not about the mail: the operator can put them right.
const ABOUT_US: [u16; 4] = [530, 534, 535, 538];

/// Why mail cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The file of `email.ca_file`.
    #[error("email.ca_file: {0}")]
    Authority(String),
    /// The host, as a name that a certificate could have.
    #[error("email.smtp_host: {0}")]
    Host(String),
    /// The sender.
    #[error("email.from: {0}")]
    From(String),
}

/// Why a mail was not sent.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may be sent later.
    Later(String),
    /// It never will be.
    Never(String),
}

/// Sends.
#[derive(Debug)]
pub(super) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Post {
    pub(super) fn new(settings: &Email) -> Result<Post, EmailError> {
        let from: Mailbox =
            settings.from.parse().map_err(|e: lettre::address::AddressError| EmailError::From(e.to_string()))?;
        let host = settings.smtp_host.as_str();
        let tls = match settings.tls {
            MailTls::None => Tls::None,
            MailTls::Starttls => Tls::Required(parameters(settings)?),
            MailTls::Tls => Tls::Wrapper(parameters(settings)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(settings.smtp_port)
            .tls(tls)
            .timeout(Some(WORD))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !settings.user.is_empty() {
            let password = settings.password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(settings.user.clone(), password));
        }
        Ok(Post { transport: transport.build(), from })
    }

    /// The mail as it goes out. The id is its `Message-ID`, at each attempt the same: a mail that arrives twice can be known by it.
    fn message(&self, id: EmailId, to: &str, letter: Letter, at_ms: i64) -> Result<Message, String> {
        // Without a name: whatever it were, it cannot become a header.
        let to: Address = to.parse().map_err(|e: lettre::address::AddressError| format!("the address: {e}"))?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms.max(0) as u64);
        let message = Message::builder()
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .date(at)
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(&letter.subject))
            .multipart(content(letter)?);
        let mut message = message.map_err(|e| e.to_string())?;
        // RFC 3834: nobody's machine is to answer.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
        Ok(message)
    }

    pub(super) async fn send(&self, id: EmailId, to: &str, letter: Letter, at_ms: i64) -> Result<(), Refusal> {
        let message = self.message(id, to, letter, at_ms).map_err(Refusal::Never)?;
        match tokio::time::timeout(ALL, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let ours = error.status().is_some_and(|code| ABOUT_US.contains(&u16::from(code)));
                let never = error.is_permanent() && !ours;
                let text: String = one_line(&error.to_string()).chars().take(300).collect();
                Err(if never { Refusal::Never(text) } else { Refusal::Later(text) })
            }
            Err(_) => Err(Refusal::Later("the mail server took too long".to_owned())),
        }
    }
}

/// The text in both forms, and its file behind them.
fn content(letter: Letter) -> Result<MultiPart, String> {
    let text = MultiPart::alternative_plain_html(letter.text, letter.html);
    let Some((name, csv)) = letter.attachment else { return Ok(text) };
    let kind = ContentType::parse("text/csv; charset=utf-8").map_err(|e| e.to_string())?;
    Ok(MultiPart::mixed().multipart(text).singlepart(Attachment::new(one_line(&name)).body(csv, kind)))
}

fn parameters(settings: &Email) -> Result<TlsParameters, EmailError> {
    let mut builder = TlsParameters::builder(settings.smtp_host.clone());
    if !settings.ca_file.as_os_str().is_empty() {
        let pem = std::fs::read(&settings.ca_file)
            .map_err(|e| EmailError::Authority(format!("{}: {e}", settings.ca_file.display())))?;
        let authority = Certificate::from_pem(&pem).map_err(|e| EmailError::Authority(e.to_string()))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map_err(|e| EmailError::Host(e.to_string()))
}

#[cfg(test)]
mod tests {
    use carillon_domain::id::AccountNo;

    use super::*;

    /// Whatever words come in, the header has the lines that we wrote, and one recipient.
    #[test]
    fn nothing_becomes_a_header() {
        let settings = Email {
            smtp_host: "localhost".into(),
            tls: MailTls::None,
            from: "C <c@d.example>".into(),
            ..crate::config::defaults().email
        };
        let post = Post::new(&settings).unwrap();
        let id = EmailId::new(1, 2, AccountNo(0));
        let letter = |subject: &str| Letter {
            subject: subject.into(),
            text: "t\r\n.\r\nMAIL FROM:<x@y.z>".into(),
            html: "h".into(),
            attachment: None,
        };
        for subject in [
            "a\r\nBcc: x@y.z",
            "a\nBcc: x@y.z",
            "a\rBcc: x@y.z",
            "ä\r\n Bcc: x@y.z",
            "a\r\n\r\nBcc: x@y.z",
            &"long ".repeat(60),
        ] {
            let sent = post.message(id, "ada@example.com", letter(subject), 0).unwrap();
            let text = String::from_utf8(sent.formatted()).unwrap();
            let (header, _) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = header
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split(':').next().unwrap())
                .collect();
            let ours =
                ["Message-ID", "Date", "From", "To", "Subject", "MIME-Version", "Content-Type", "Auto-Submitted"];
            assert!(names.iter().all(|name| ours.contains(name)) && names.len() == ours.len(), "{subject:?}: {header}");
            assert_eq!(sent.envelope().to().len(), 1);
        }
        for to in
            ["a@b.c\r\nBcc: x@y.z", "a@b.c, x@y.z", "a@b.c>\r\nRCPT TO:<x@y.z", "<a@b.c>", "", "a@b.c\n", "a b@c.d"]
        {
            assert!(post.message(id, to, letter("s"), 0).is_err(), "{to:?}");
        }
    }
}
