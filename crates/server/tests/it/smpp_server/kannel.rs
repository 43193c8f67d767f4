//! A foreign customer: Kannel binds to us, submits by its own HTTP interface, calls its delivery URL when our receipts come, and hands on what
//! phones write.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::{Credential, Smpp};

const OWN: &str = "4915735983801";
const PEER: &str = "+4915112345678";

/// A port that is free now; Kannel cannot pick one itself.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Its two programs and where they take requests; they end when this is dropped.
struct Kannel {
    bearerbox: Child,
    smsbox: Option<Child>,
    folder: tempfile::TempDir,
    sendsms: u16,
    /// Paths that were called back.
    calls: mpsc::Receiver<String>,
    callback: String,
    client: reqwest::Client,
}

fn spawn(program: &str, configuration: &Path) -> Child {
    // Daemons stand in /usr/sbin, which is not in everybody's path.
    let places = [program.to_owned(), format!("/usr/sbin/{program}")];
    let mut children = places.iter().filter_map(|place| {
        let mut command = Command::new(place);
        command.arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(true).spawn().ok()
    });
    children.next().unwrap_or_else(|| panic!("{program} is missing: run `scripts/setup test`"))
}

/// Answers every request and tells its path.
async fn callbacks(listener: TcpListener, paths: mpsc::Sender<String>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0
        {
        }
        let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        if paths.send(line.split(' ').nth(1).unwrap_or_default().to_owned()).await.is_err() {
            return;
        }
    }
}

impl Kannel {
    /// Starts it and waits until it is bound.
    async fn start(s: &Smpp, credential: &Credential) -> Kannel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback = format!("http://{}", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::channel(100);
        tokio::spawn(callbacks(listener, sender));
        let folder = tempfile::tempdir().unwrap();
        let sendsms = configure(s, credential, folder.path(), &callback);
        let bearerbox = spawn("bearerbox", &folder.path().join("kannel.conf"));
        let client = reqwest::Client::new();
        let mut kannel = Kannel { bearerbox, smsbox: None, folder, sendsms, calls, callback, client };
        s.until("Kannel is bound", async || {
            // It ends at once where somebody was quicker to take one of its ports.
            if kannel.bearerbox.try_wait().unwrap().is_some() {
                kannel.sendsms = configure(s, credential, kannel.folder.path(), &kannel.callback);
                kannel.bearerbox = spawn("bearerbox", &kannel.folder.path().join("kannel.conf"));
            }
            s.t.get(&format!("/v1/smpp-credentials/{}", credential.id), &s.key).await.json()["bound"] == 1
        })
        .await;
        kannel
    }

    /// Has it send a text.
    async fn send(&mut self, s: &Smpp, text: &str) {
        let delivery_url = format!("{}/dlr?type=%d&answer=%A", self.callback);
        let query = [
            ("username", "u"),
            ("password", "p"),
            ("from", "Shop"),
            ("to", "4915112345678"),
            ("text", text),
            ("dlr-mask", "31"),
            ("dlr-url", &delivery_url),
        ];
        let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let url = format!("http://127.0.0.1:{}/cgi-bin/sendsms?{query}", self.sendsms);
        s.until("smsbox takes messages", async || {
            // It ends at once where bearerbox does not listen yet.
            if self.smsbox.as_mut().is_none_or(|smsbox| smsbox.try_wait().unwrap().is_some()) {
                self.smsbox = Some(spawn("smsbox", &self.folder.path().join("kannel.conf")));
            }
            self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// The next path that it calls back.
    async fn call(&mut self) -> String {
        let call = tokio::time::timeout(Duration::from_secs(60), self.calls.recv()).await;
        call.expect("a call in time").expect("somebody listens")
    }
}

/// Writes its configuration, with ports that are free; where it takes messages to send.
fn configure(s: &Smpp, credential: &Credential, folder: &Path, callback: &str) -> u16 {
    let (port, admin, boxes, sendsms) = (s.running.address.unwrap().port(), free_port(), free_port(), free_port());
    let (directory, system_id, password) = (folder.display(), &credential.system_id, &credential.password);
    let text = format!(
        "group = core\nadmin-port = {admin}\nadmin-password = test\nsmsbox-port = {boxes}\nlog-file = \"{directory}/bearerbox.log\"\n\
         box-allow-ip = \"127.0.0.1\"\ndlr-storage = internal\n\n\
         group = smsc\nsmsc = smpp\nsmsc-id = carillon\nhost = 127.0.0.1\nport = {port}\ntransceiver-mode = true\ninterface-version = 34\n\
         smsc-username = {system_id}\nsmsc-password = {password}\nsystem-type = \"\"\nsource-addr-ton = 5\nsource-addr-npi = 0\n\
         dest-addr-ton = 1\ndest-addr-npi = 1\nmsg-id-type = 0x01\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\nlog-file = \"{directory}/smsbox.log\"\nmo-recode = true\n\n\
         group = sendsms-user\nusername = u\npassword = p\nmax-messages = 10\nconcatenation = true\n\n\
         group = sms-service\nkeyword = default\ncatch-all = true\nmax-messages = 0\nget-url = \"{callback}/mo?from=%p&to=%P&text=%a\"\n"
    );
    std::fs::write(folder.join("kannel.conf"), text).unwrap();
    sendsms
}

#[tokio::test]
async fn kannel_sends_and_hears_of_it() {
    let s = Smpp::start().await;
    s.own_number(OWN).await;
    let credential = s.credential(json!({"allowed_addresses": ["127.0.0.1"]})).await;
    // Written before it comes for the first time.
    s.write(PEER, OWN, "Is a table free?").await;
    let mut kannel = Kannel::start(&s, &credential).await;
    kannel.send(&s, "hello").await;
    let mut told = vec![kannel.call().await, kannel.call().await, kannel.call().await];
    told.sort();
    // 1: delivered; 8: taken by the message centre.
    assert!(told[0].starts_with("/dlr?type=1") && told[0].contains("DELIVRD"), "{told:?}");
    assert!(told[1].starts_with("/dlr?type=8"), "{told:?}");
    assert_eq!(told[2], "/mo?from=%2B4915112345678&to=%2B4915735983801&text=Is+a+table+free%3F");
    // Long ones it puts together from their parts.
    let persian = "سلام، میز برای ساعت هشت خالی است؟ ".repeat(4);
    for text in ["Größe, 5 €", &"long text ".repeat(30), &persian] {
        s.write(PEER, OWN, text).await;
        let call = kannel.call().await;
        let (path, query) = call.split_once('?').unwrap();
        let heard = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "text").unwrap().1;
        // Kannel takes blanks from the end.
        assert_eq!((path, heard.trim_end()), ("/mo", text.trim_end()));
    }
    // A long text comes in parts that Kannel cut, each a message with its own receipt.
    kannel.send(&s, &"long text ".repeat(30)).await;
    s.until("both parts are delivered", async || {
        let messages = s.t.get("/v1/messages?status=delivered", &s.key).await.json();
        messages["data"].as_array().unwrap().len() == 3
    })
    .await;
    let messages = s.t.get("/v1/messages", &s.key).await.json();
    let shapes: Vec<_> =
        messages["data"].as_array().unwrap().iter().map(|m| (&m["parts"], m["data"].is_string())).collect();
    assert_eq!(shapes, [(&json!(1), true), (&json!(1), true), (&json!(1), false)]);
}
