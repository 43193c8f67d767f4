//! Limits of requests: each driven over, with the exact count that passes; who is believed about an address; clients that are slow on purpose.

use std::time::Duration;

use carillon::config::Config;
use carillon_domain::permission::Scopes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{Answer, TestApp};

/// A server that limits clients on this machine too, but by what a test sets alone.
async fn limited(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::with(|config| {
        let l = &mut config.limits;
        l.exempt = Vec::new();
        l.burst_s = 2;
        for limit in [
            &mut l.address,
            &mut l.sign_in_per_min,
            &mut l.account_regular,
            &mut l.account_premium,
            &mut l.account_vip,
            &mut l.key_regular,
            &mut l.key_premium,
            &mut l.key_vip,
            &mut l.verification_regular,
            &mut l.verification_premium,
            &mut l.verification_vip,
        ] {
            *limit = 0;
        }
        change(config);
    })
    .await
}

const LIMITED: (u16, &str) = (429, "rate_limited");

fn refusal(answer: &Answer) -> (u16, &'static str) {
    match (answer.status, answer.code().as_str()) {
        (429, "rate_limited") => LIMITED,
        (status, _) => (status, ""),
    }
}

/// How many of so many pass at this instant.
async fn passing(asks: usize, ask: impl AsyncFn() -> Answer) -> usize {
    let mut passed = 0;
    for _ in 0..asks {
        passed += usize::from(refusal(&ask().await) != LIMITED);
    }
    passed
}

#[tokio::test]
async fn each_limit_lets_its_count_pass() {
    type Set = fn(&mut Config);
    type Ask = fn(&TestApp, &str) -> reqwest::RequestBuilder;
    let me: Ask = |t, key| t.request("GET", "/v1/me").bearer_auth(key);
    let login: Ask =
        |t, _| t.request("POST", "/v1/auth/login").json(&json!({"email": "a@b.cd", "password": "wrong password"}));
    let refresh: Ask = |t, _| t.request("POST", "/v1/auth/refresh").json(&json!({"refresh_token": "x"}));
    let register: Ask =
        |t, _| t.request("POST", "/v1/auth/register").json(&json!({"email": "nobody", "password": "x"}));
    let verify: Ask = |t, key| t.request("POST", "/v1/verifications").bearer_auth(key).json(&json!({}));
    let check: Ask = |t, key| {
        t.request("POST", "/v1/verifications/vrf_01h455vb4pex5vsknk084sn02q/check")
            .bearer_auth(key)
            .json(&json!({"code": "1"}))
    };
    let resend: Ask =
        |t, key| t.request("POST", "/v1/verifications/vrf_01h455vb4pex5vsknk084sn02q/resend").bearer_auth(key);
    // The limit, its name, how many pass, of how many seconds, and what is asked.
    let rows: [(Set, &str, u64, u64, Ask); 9] = [
        (|c| c.limits.address = 4, "address", 8, 2, |t, _| t.request("GET", "/nothing")),
        (|c| c.limits.key_regular = 3, "key", 6, 2, me),
        (|c| c.limits.account_regular = 2, "account", 4, 2, me),
        (|c| c.limits.sign_in_per_min = 3, "sign-in", 3, 60, login),
        (|c| c.limits.sign_in_per_min = 3, "sign-in", 3, 60, refresh),
        (|c| c.limits.sign_in_per_min = 3, "sign-in", 3, 60, register),
        (|c| c.limits.verification_regular = 2, "verification", 4, 2, verify),
        (|c| c.limits.verification_regular = 2, "verification", 4, 2, check),
        (|c| c.limits.verification_regular = 2, "verification", 4, 2, resend),
    ];
    for (set, name, count, window, ask) in rows {
        let t = limited(set).await;
        let (_, key) = t.account("a").await;
        let ask = async || t.send(ask(&t, &key)).await;
        for left in (0..count).rev() {
            let answer = ask().await;
            assert_ne!(refusal(&answer), LIMITED, "{name}: {left} left");
            assert_eq!(answer.headers["ratelimit-policy"], format!("\"{name}\";q={count};w={window}"));
            let reset = ((count - left) * window).div_ceil(count);
            assert_eq!(answer.headers["ratelimit"], format!("\"{name}\";r={left};t={reset}"));
        }
        let over = ask().await;
        assert_eq!(refusal(&over), LIMITED, "{name}");
        let wait = window.div_ceil(count);
        assert_eq!(
            (&*over.headers["retry-after"], &*over.headers["ratelimit"]),
            (&*wait.to_string(), &*format!("\"{name}\";r=0;t={wait}"))
        );
        assert_eq!(over.json()["violated-policies"], json!([name]));
        assert_eq!(passing(3, &ask).await, 0, "what is refused costs nothing and gains nothing");
        t.app.clock.advance(Duration::from_millis((window * 1_000).div_ceil(count)));
        assert_eq!(passing(3, &ask).await, 1, "{name}: one more each interval");
        t.app.clock.advance(Duration::from_secs(window));
        assert_eq!(passing(count as usize + 3, &ask).await, count as usize, "{name}: all again");
    }
}

#[tokio::test]
async fn tiers_and_the_operators_word() {
    let t = limited(|c| {
        let l = &mut c.limits;
        (l.account_regular, l.account_premium, l.account_vip, l.verification_regular) = (1, 2, 4, 1);
    })
    .await;
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let me = async || t.get("/v1/me", &key).await;
    let set = async |change: Value| {
        let answer = t.call("PATCH", &format!("/v1/admin/accounts/{}", account.id), &operator, Some(change)).await;
        t.app.clock.advance(Duration::from_secs(60));
        answer
    };
    // What the operator says, how many then pass at once, and how many verifications.
    let rows = [
        (json!({"tier": "regular"}), 2, 2),
        (json!({"tier": "premium"}), 4, 4),
        (json!({"tier": "vip"}), 8, 8),
        (json!({"limits": {"requests_per_s": 3}}), 6, 6),
        (json!({"limits": {"requests_per_s": 0}}), 12, 12),
        (json!({"limits": {"requests_per_s": 0, "verifications_per_s": 2}}), 12, 4),
        (json!({"tier": "regular", "limits": {"verifications_per_s": 0}}), 2, 2),
    ];
    for (change, requests, verifications) in rows {
        assert_eq!(set(change.clone()).await.status, 200, "{change}");
        assert_eq!(passing(12, me).await, requests, "{change}");
        t.app.clock.advance(Duration::from_secs(60));
        let verify = async || t.post("/v1/verifications", &key, json!({})).await;
        let expected =
            if change["tier"] == "premium" || change["tier"] == "vip" { 12.min(requests) } else { verifications };
        assert_eq!(passing(12, verify).await, expected, "{change}");
    }
    let refused = set(json!({"limits": {"requests_per_s": -1}})).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "#/limits/requests_per_s");
    let mine = t.call("PATCH", "/v1/account", &key, Some(json!({"settings": {"limits": {"requests_per_s": 0}}}))).await;
    assert_eq!(mine.json()["errors"][0]["code"], "unknown_field", "not for the account to say: {}", mine.text);
}

/// Keys of one account share its limit, and each has its own.
#[tokio::test]
async fn keys_share_their_account() {
    let t = limited(|c| (c.limits.key_regular, c.limits.account_regular) = (2, 3)).await;
    let (account, first) = t.account("a").await;
    let second = t.key(&account, Scopes::account_all(), None).await;
    let (_, other) = t.account("b").await;
    for (key, expected) in [(&first, 4), (&second, 2), (&other, 4)] {
        assert_eq!(passing(6, async || t.get("/v1/me", key).await).await, expected);
    }
}

#[tokio::test]
async fn open_mode_is_limited_by_account_too() {
    let t = limited(|c| (c.open_mode.enabled, c.limits.account_regular) = (true, 2)).await;
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let by_query = async || t.get(&format!("/v1/me?client_id={id}"), "").await;
    let by_body = async || t.post("/v1/messages", "", json!({"client_id": id})).await;
    assert_eq!(passing(3, by_query).await, 3);
    assert_eq!(passing(3, by_body).await, 1);
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_says_who_asks() {
    let ask = async |t: &TestApp, header: &str, value: String| {
        t.send(t.request("GET", "/nothing").header(header, value)).await
    };
    let t = limited(|c| c.limits.address = 2).await;
    let mut n = 0;
    let mut spoofed = 0;
    for _ in 0..8 {
        n += 1;
        spoofed += usize::from(refusal(&ask(&t, "x-forwarded-for", format!("203.0.113.{n}")).await) != LIMITED);
    }
    assert_eq!(spoofed, 4, "other addresses in a header do not help");

    let behind = |header: &'static str| {
        limited(move |c| {
            c.limits.address = 2;
            c.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            c.server.client_address_header = serde_json::from_value(json!(header)).unwrap();
        })
    };
    for (counts, other, write) in [("x-forwarded-for", "forwarded", ""), ("forwarded", "x-forwarded-for", "for=")] {
        let t = behind(counts).await;
        let by = |value: String| ask(&t, counts, format!("{write}{value}"));
        for client in 1..4 {
            let mut passed = 0;
            for i in 0..6 {
                // What the client itself had written stands before what the proxy added.
                let value = format!("198.51.100.{i}, {write}203.0.113.{client}");
                passed += usize::from(refusal(&by(value).await) != LIMITED);
            }
            assert_eq!(passed, 4, "{counts}: client {client}");
        }
        let mut passed = 0;
        for i in 0..6 {
            passed += usize::from(refusal(&ask(&t, other, format!("{write}203.0.113.{i}")).await) != LIMITED);
        }
        assert_eq!(passed, 4, "{counts}: the other header is not looked at");
    }
}

/// Programs on this machine are not limited, but what comes through a proxy on it is; and what watches the server never is.
#[tokio::test]
async fn who_is_exempt() {
    let t = TestApp::with(|c| (c.limits.address, c.limits.burst_s) = (1, 2)).await;
    let direct = async || t.get("/nothing", "").await;
    let proxied = async || t.send(t.request("GET", "/nothing").header("x-forwarded-for", "127.0.0.1")).await;
    assert_eq!((passing(9, direct).await, passing(9, proxied).await), (9, 2));
    assert!(!direct().await.headers.contains_key("ratelimit"));
    let t = limited(|c| c.limits.address = 1).await;
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(passing(9, async || t.get(path, "").await).await, 9, "{path}");
    }
}

fn address(t: &TestApp) -> &str {
    t.url.strip_prefix("http://").unwrap()
}

/// What the server still says on a connection until it ends it.
async fn rest(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut octets)).await;
    read.expect("the server ends it in time").unwrap_or_default();
    String::from_utf8_lossy(&octets).into_owned()
}

#[tokio::test]
async fn clients_that_drop_their_requests_by_the_octet_are_cut_off() {
    let t = TestApp::with(|c| (c.server.header_timeout_s, c.server.body_timeout_s) = (1, 1)).await;
    let (_, key) = t.account("a").await;
    let mut connections = Vec::new();
    for words in ["", "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(address(&t)).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        connections.push((stream, words.ends_with("\r\n\r\n")));
    }
    for (mut stream, whole) in connections {
        let said = rest(&mut stream).await;
        assert_eq!(said.starts_with("HTTP/1.1 200"), whole, "a whole request is answered before: {said}");
    }
    for path in ["/v1/messages", "/v1/api-keys", "/v1/verifications"] {
        let mut stream = TcpStream::connect(address(&t)).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("\"request_timeout\""), "{path}: {said}");
    }
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let t = TestApp::with(|c| c.server.connections_max = 2).await;
    let ask = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address(&t)).await.unwrap();
        stream.write_all(ask).await.unwrap();
        open.push(stream);
    }
    let mut third = open.pop().unwrap();
    let mut first = [0u8; 1];
    for stream in &mut open {
        stream.read_exact(&mut first).await.unwrap();
    }
    let waits = tokio::time::timeout(Duration::from_millis(200), third.read_exact(&mut first)).await;
    assert!(waits.is_err(), "the third waits for a place");
    open.pop();
    third.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"H");
}
