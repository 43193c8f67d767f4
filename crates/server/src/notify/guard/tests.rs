//! A hundred hostile URLs, and harmless ones that look alike.

use super::*;

const STRICT: Guard = Guard::STRICT;
const HTTP_TOO: Guard = Guard { allow_http: true, allow_private: false };
const TRUSTED: Guard = Guard { allow_http: true, allow_private: true };

/// Each leads, or could lead, inside; or is not what it seems.
const HOSTILE: &[&str] = &[
    // Loopback in every spelling.
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://%31%32%37.0.0.1/",
    "https://１２７.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://app.localhost/",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::1]:8443/",
    // This host and nothing.
    "https://0.0.0.0/",
    "https://0/",
    "https://0.1.2.3/",
    "https://[::]/",
    // Private networks.
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://167772161/",
    "https://0xa000001/",
    "https://012.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://192.168.255.255/",
    "https://3232235521/",
    "https://[fc00::1]/",
    "https://[fd00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fec0::1]/",
    // Link-local, clouds' metadata.
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/",
    "https://169.254.0.1/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xA9.0xFE.0xA9.0xFE/",
    "https://0251.0376.0251.0376/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "https://168.63.129.16/",
    "https://metadata.google.internal/",
    "https://metadata/",
    "https://[fe80::1]/",
    "https://[fe80::a9fe:a9fe]/",
    // Shared, reserved, documentation, benchmarks, multicast, broadcast.
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://224.0.0.1/",
    "https://239.255.255.255/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[100::1]/",
    // IPv4 inside IPv6.
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001::1]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:2::1]/",
    // Names that are nobody's on the internet.
    "https://intranet/",
    "https://db/",
    "https://printer.local/",
    "https://router.lan/",
    "https://vault.corp/",
    "https://nas.home/",
    "https://nas.home.arpa/",
    "https://x.internal./",
    "https://x.test/",
    "https://x.onion/",
    // Ports of other protocols.
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:0/",
    "https://example.com:587/",
    // Credentials, and hosts hidden behind them.
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com%40127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://127.0.0.1?@example.com/",
    // Other schemes, no scheme, no host.
    "http://example.com/",
    "HTTP://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "dict://example.com:11211/",
    "ws://example.com/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "example.com",
    "//example.com/",
    "/hook",
    "https://",
    "https:///",
    "https:",
    "",
    // Characters that some parsers pass over.
    "https://example.com\\@127.0.0.1/",
    "https:\\\\127.0.0.1\\",
    "https://exa\tmple.com/",
    "https://example.com/\r\nX-Evil: 1",
    " https://example.com/",
    "https://example.com/a b",
    "https://exam\u{0}ple.com/",
    "https://[::1",
    "https://[fe80::1%25eth0]/",
    "https://example.com:99999/",
    "https://256.1.1.1/",
];

const HARMLESS: &[&str] = &[
    "https://example.com/",
    "https://example.com",
    "https://EXAMPLE.com/hook?x=1",
    "https://example.com:443/",
    "https://example.com:8443/a/b",
    "https://xn--bcher-kva.example/",
    "https://bücher.example/",
    "https://8.8.8.8/",
    "https://9.255.255.255/",
    "https://11.0.0.0/",
    "https://100.63.255.255/",
    "https://100.128.0.0/",
    "https://126.255.255.255/",
    "https://128.0.0.1/",
    "https://169.253.255.255/",
    "https://172.15.255.255/",
    "https://172.32.0.0/",
    "https://192.167.255.255/",
    "https://192.169.0.0/",
    "https://198.17.255.255/",
    "https://198.20.0.0/",
    "https://223.255.255.255/",
    "https://[2606:4700::1111]/",
    "https://[2001:200::1]/",
    "https://[2a00::1]/",
    "https://localhost.example.com/",
    "https://127.0.0.1.example.com/",
];

#[test]
fn hostile_urls_are_refused() {
    assert!(HOSTILE.len() >= 100);
    for url in HOSTILE {
        assert!(STRICT.check(url).is_err(), "{url:?} led to {:?}", STRICT.check(url));
    }
    let long = format!("https://example.com/{}", "a".repeat(URL_MAX));
    assert_eq!(STRICT.check(&long), Err(Refused::TooLong));
}

#[test]
fn harmless_ones_are_not() {
    for url in HARMLESS {
        assert!(STRICT.check(url).is_ok(), "{url}: {:?}", STRICT.check(url));
    }
}

#[test]
fn what_settings_allow() {
    let rows = [
        ("http://example.com/", false, true, true),
        ("http://example.com:25/", false, false, true),
        ("http://127.0.0.1:9/", false, false, true),
        ("https://10.0.0.1/", false, false, true),
        ("ftp://10.0.0.1/", false, false, false),
        ("http://u:p@10.0.0.1/", false, false, false),
    ];
    for (url, strict, http_too, trusted) in rows {
        let got = [STRICT, HTTP_TOO, TRUSTED].map(|guard| guard.check(url).is_ok());
        assert_eq!(got, [strict, http_too, trusted], "{url}");
    }
}

/// A name passes as it is written, and what it leads to is refused when it is looked up.
#[tokio::test]
async fn names_are_checked_where_they_lead() {
    let refused = STRICT.resolve("localhost", 0).await.unwrap_err();
    assert_eq!(refused.downcast_ref::<Refused>(), Some(&Refused::Private("localhost".into())));
    assert!(!TRUSTED.resolve("localhost", 0).await.unwrap().is_empty());
}

/// The same within a client: no connection is made, and the reason can be told.
#[tokio::test]
async fn a_client_does_not_connect_to_what_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let outbound = Outbound::new(HTTP_TOO, Duration::from_secs(5), "test");
    assert!(outbound.post(&format!("http://127.0.0.1:{port}/")).is_err());
    // A name that the check of the text would refuse as well: past it, as a name in public DNS would be.
    let error = outbound.client.unwrap().post(format!("http://localhost:{port}/")).send().await.unwrap_err();
    assert_eq!(explain(&error), "refused: localhost is not on the public internet");
    let connected = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(connected.is_err(), "nobody knocked");
}
