//! The outbox and the mail server: patience with what can pass, none with what cannot, and nothing lost between.

use std::time::Duration;

use carillon::config::MailTls;
use carillon::jobs;
use carillon_store::testing::TestPostgres;

use super::sink::{Act, Guard, Sink};
use super::{register, to, unsent, until};
use crate::app::TestApp;

/// What a mail is like on the wire.
#[tokio::test]
async fn a_mail_on_the_wire() {
    let sink = Sink::start(Guard::Clear).await;
    let t = TestApp::with(to(&sink)).await;
    register(&t, "ada@example.com", "Ada <b>\"Lovelace\"</b>, Gräfin").await;
    let mail = sink.wait(1).await.remove(0);
    assert!(mail.from.starts_with("<no-reply@sms.example>"), "{}", mail.from);
    assert_eq!((mail.to, mail.auth.as_ref()), (vec!["<ada@example.com>".to_owned()], None));
    let field = |name| sink.mails()[0].field(name);
    assert_eq!(field("From"), "Carillon <no-reply@sms.example>");
    assert_eq!((field("To"), field("Subject")), ("ada@example.com".into(), "Confirm your email address".into()));
    assert_eq!(
        (field("Date"), field("Auto-Submitted")),
        ("Sat, 21 Nov 2026 12:00:00 +0000".into(), "auto-generated".into())
    );
    assert!(field("Message-ID").starts_with("<eml_") && field("Message-ID").ends_with("@sms.example>"));
    for part in [
        "Hello Ada <b>\"Lovelace\"</b>, Gräfin,",
        "Hello Ada &lt;b&gt;&quot;Lovelace&quot;&lt;/b&gt;, Gräfin,",
        "good until 22 November 2026, 12:00 UTC.",
        "\r\nhttps://sms.example/verify-email#token=",
        "<a href=\"https://sms.example/verify-email#token=",
    ] {
        assert!(mail.body.contains(part), "{part}: {}", mail.body);
    }
    until("nothing of it is left", async || unsent(&t).await.is_empty()).await;
}

/// 4xx, a line that breaks, and a refusal of our password can pass; the mail is the same at each attempt.
#[tokio::test]
async fn what_can_pass_is_tried_again() {
    let sink = Sink::start(Guard::Clear).await;
    let t = TestApp::with(to(&sink)).await;
    let acts = [
        Act::Recipient("450 mailbox busy"),
        Act::Body("451 try later"),
        Act::Cut,
        Act::Body("421 closing"),
        Act::Recipient("535 who are you?"),
    ];
    sink.next(acts);
    register(&t, "ada@example.com", "Ada").await;
    let mut waits = Vec::new();
    for attempts in 1..=acts.len() {
        until("it failed", async || unsent(&t).await.first().is_some_and(|m| usize::from(m.attempts) == attempts))
            .await;
        let waiting = unsent(&t).await.remove(0);
        let wait = waiting.due_at.unwrap() - t.app.clock.now_ms();
        assert!(waiting.has_data && waiting.error.is_some(), "{waiting:?}");
        assert!(sink.mails().is_empty(), "nothing comes before its time");
        waits.push(wait);
        t.app.clock.advance(Duration::from_millis(wait as u64));
    }
    sink.wait(1).await;
    until("it is done", async || unsent(&t).await.is_empty()).await;
    // Each wait up to a quarter less.
    for (wait, longest) in waits.iter().zip([30_000, 120_000, 480_000, 1_920_000, 7_680_000]) {
        assert!((longest * 3 / 4..=longest).contains(wait), "{waits:?}");
    }
}

/// 5xx is final, and so is an address that is none; what the mail said is erased, why it was not sent is kept for a while.
#[tokio::test]
async fn what_cannot_pass_is_given_up() {
    let sink = Sink::start(Guard::Clear).await;
    let t = TestApp::with(to(&sink)).await;
    sink.next([Act::Recipient("550 no such user"), Act::Body("554 not wanted")]);
    for email in ["ada@example.com", "bob@example.com", "a,b@example.com"] {
        register(&t, email, "Ada").await;
    }
    let over = async || unsent(&t).await.iter().filter(|m| m.due_at.is_none()).count();
    until("all are given up", async || over().await == 3).await;
    let mut given_up = unsent(&t).await;
    assert!(given_up.iter().all(|m| m.attempts == 1 && !m.has_data), "{given_up:?}");
    given_up.sort_by(|a, b| a.error.cmp(&b.error));
    let errors: Vec<&str> = given_up.iter().map(|m| m.error.as_deref().unwrap()).collect();
    assert!(errors[0].contains("550") && errors[1].contains("554") && errors[2].contains("address"), "{errors:?}");
    t.app.clock.advance(Duration::from_secs(29 * 86_400));
    jobs::sweep::once(&t.app).await.unwrap();
    assert_eq!(unsent(&t).await.len(), 3);
    t.app.clock.advance(Duration::from_secs(2 * 86_400));
    jobs::sweep::once(&t.app).await.unwrap();
    assert_eq!((unsent(&t).await, sink.mails().len()), (Vec::new(), 0));
}

/// A link that is dead by then is not sent.
#[tokio::test]
async fn what_is_of_no_use_any_more_is_given_up() {
    let sink = Sink::start(Guard::Clear).await;
    let t = TestApp::with(to(&sink)).await;
    sink.next([Act::Recipient("450 later")]);
    register(&t, "ada@example.com", "Ada").await;
    until("it failed", async || unsent(&t).await.first().is_some_and(|m| m.attempts == 1)).await;
    t.app.clock.advance(Duration::from_secs(24 * 3_600));
    until("it is given up", async || unsent(&t).await.first().is_some_and(|m| m.due_at.is_none())).await;
    assert!(sink.mails().is_empty());
}

/// Ended while the mail server had the mail and had not answered: the next start sends it, under the same id.
#[tokio::test]
async fn an_end_in_the_middle_loses_nothing() {
    let (sink, folder) = (Sink::start(Guard::Clear).await, tempfile::tempdir().unwrap());
    let again = || {
        let (settings, folder) = (to(&sink), folder.path().to_owned());
        TestApp::with(move |c| {
            settings(c);
            c.data.folder = folder;
        })
    };
    let first = again().await;
    sink.next([Act::Hang]);
    register(&first, "ada@example.com", "Ada").await;
    until("the mail server has it", async || sink.is_done()).await;
    let id = unsent(&first).await.remove(0).id;
    first.app.stop(Duration::from_secs(1)).await;
    drop(first);
    assert!(sink.mails().is_empty());
    let second = again().await;
    assert_eq!(sink.wait(1).await[0].field("Message-ID"), format!("<{id}@sms.example>"));
    until("it is done", async || unsent(&second).await.is_empty()).await;
}

/// Of two processes one sends, whichever was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_sends() {
    let (sink, url) = (Sink::start(Guard::Clear).await, TestPostgres::start().fresh_database().await);
    let process = || {
        let (settings, url) = (to(&sink), url.clone());
        TestApp::with(move |c| {
            settings(c);
            c.database.url = url.into();
            c.vault.master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
        })
    };
    let (one, two) = (process().await, process().await);
    until("one of them leads", async || one.app.notify.leads() || two.app.notify.leads()).await;
    let (leads, follows) = if one.app.notify.leads() { (one, two) } else { (two, one) };
    for n in 0..20 {
        register(if n % 2 == 0 { &leads } else { &follows }, &format!("p{n}@example.com"), "P").await;
    }
    // It looks for what others queued every five seconds of its clock.
    leads.app.clock.advance(Duration::from_secs(5));
    until("all are sent", async || unsent(&leads).await.is_empty()).await;
    let mut people: Vec<String> = sink.mails().into_iter().flat_map(|m| m.to).collect();
    people.sort();
    people.dedup();
    assert_eq!((people.len(), sink.mails().len()), (20, 20), "each once");

    leads.app.stop(Duration::from_secs(5)).await;
    until("the other takes over", async || follows.app.notify.leads()).await;
    register(&follows, "last@example.com", "P").await;
    assert_eq!(sink.wait(21).await.len(), 21);
}

/// With TLS, by either way, the server proves itself before a word of ours is said.
#[tokio::test]
async fn only_to_a_server_that_proves_itself() {
    let folder = tempfile::tempdir().unwrap();
    for (n, (guard, tls, trusted, arrives)) in [
        (Guard::Starttls, MailTls::Starttls, true, true),
        (Guard::Tls, MailTls::Tls, true, true),
        (Guard::Starttls, MailTls::Starttls, false, false),
        (Guard::Tls, MailTls::Tls, false, false),
        (Guard::Clear, MailTls::Starttls, true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let sink = Sink::start(guard).await;
        let file = folder.path().join(format!("{n}.pem"));
        std::fs::write(&file, &sink.authority).unwrap();
        let settings = to(&sink);
        let t = TestApp::with(|c| {
            settings(c);
            c.email.tls = tls;
            (c.email.user, c.email.password) = ("user".into(), "secret".into());
            if trusted {
                c.email.ca_file = file;
            }
        })
        .await;
        register(&t, "ada@example.com", "Ada").await;
        if arrives {
            // "\0user\0secret" in base64.
            assert_eq!(sink.wait(1).await[0].auth.as_deref(), Some("PLAIN AHVzZXIAc2VjcmV0"), "{guard:?}");
        } else {
            until("it failed", async || unsent(&t).await.first().is_some_and(|m| m.attempts == 1)).await;
            assert!(unsent(&t).await[0].due_at.is_some(), "the operator can put it right");
            let said = sink.heard();
            assert!(
                said.iter().all(|line| ["EHLO sms.example", "STARTTLS", "QUIT"].contains(&line.as_str())),
                "{said:?}"
            );
        }
    }
}
