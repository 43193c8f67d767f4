//! Where accounts' own connections may lead: hosts of the public internet. An account could otherwise knock on doors inside the operator's network.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::notify::guard::{Guard, Refused};

/// The address of a host, if all that its name leads to are public. Who connects takes this very address; the name may lead elsewhere a
/// moment later.
pub async fn public(host: &str, port: u16) -> io::Result<SocketAddr> {
    let found = Guard::STRICT.resolve(host, port).await.map_err(|e| match e.downcast::<Refused>() {
        Ok(refused) => io::Error::new(io::ErrorKind::PermissionDenied, refused),
        Err(other) => io::Error::other(other),
    })?;
    found.into_iter().next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host} leads nowhere")))
}

/// How long a name may take to be looked up when it is set.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(3);

/// Whether an account may name this address of its carrier, or why not. Placeholders may not say which host it is.
pub async fn may_be_named(url: &str) -> Result<(), String> {
    let whole = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = whole.split(['/', '?', '#', '\\']).next().unwrap_or("");
    if authority.contains(['{', '}', '@', '%']) || authority.is_empty() {
        return Err("an address whose host is written out, without user name or password".into());
    }
    let fixed = url.split_once("://").map_or(url, |(scheme, _)| scheme).to_owned() + "://" + authority;
    let parsed: reqwest::Url = fixed.parse().map_err(|_| "an address that can be read".to_owned())?;
    let host = parsed.host_str().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = parsed.port_or_known_default().unwrap_or(0);
    match tokio::time::timeout(LOOK_UP_PATIENCE, public(&host, port)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => Err(e.to_string()),
        _ => Err(format!("{host} leads nowhere")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_are_a_strangers_and_those_that_are_ours() {
        let rows = [
            ("8.8.8.8", true),
            ("100.63.0.1", true),
            ("2606:4700::1111", true),
            ("64:ff9b::808:808", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("168.63.129.16", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
            ("ff02::1", false),
        ];
        for (text, expected) in rows {
            assert_eq!(crate::notify::guard::is_public(text.parse().unwrap()), expected, "{text}");
            assert_eq!(public(text, 2775).await.is_ok(), expected, "{text}");
        }
        assert!(public("localhost", 2775).await.is_err());
        for (url, expected) in [
            ("https://8.8.8.8/send?to={to}", true),
            ("smpp://8.8.8.8:2775", true),
            ("https://{username}/send", false),
            ("https://127.0.0.1:8080/{to}", false),
            ("https://0x7f.1/", false),
            ("https://2130706433/", false),
            ("https://u:p@8.8.8.8/", false),
            ("https://8.8.8.8\\@127.0.0.1/", true),
            ("https://[::1]/", false),
            ("smpp://0x7f.1:2775", false),
            ("https://", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(may_be_named(url).await.is_ok(), expected, "{url}");
        }
    }
}
