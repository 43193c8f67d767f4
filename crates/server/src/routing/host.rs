//! Where accounts' own connections may lead: hosts of the public internet. An account could otherwise knock on doors inside the operator's network.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The address of a host, if all that its name leads to are public: one that leads to both kinds is up to no good. Who connects takes this
/// very address; the name may lead elsewhere a moment later.
pub async fn public(host: &str, port: u16) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let refused = || io::Error::new(io::ErrorKind::PermissionDenied, format!("{host} is not on the public internet"));
    match found.first() {
        Some(first) if found.iter().all(|address| is_public(address.ip())) => Ok(*first),
        Some(_) => Err(refused()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} leads nowhere"))),
    }
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

/// Looks names up for HTTP clients, as `public` does.
#[derive(Clone, Copy, Debug)]
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let address = public(name.as_str(), 0).await?;
            Ok(Box::new(std::iter::once(address)) as Addrs)
        })
    }
}

/// Whether an address may be a stranger's: none that IANA has set aside.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let set_aside = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a, b, c) == (192, 0, 0)
                || (a, b, c) == (192, 88, 99)
                || v4.octets() == [168, 63, 129, 16];
            !set_aside
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped().or_else(|| translated(v6)) {
            Some(v4) => is_public(v4.into()),
            None => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0x0db8],
        },
    }
}

/// The IPv4 address within one of NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn translated(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let s = v6.segments();
    let of = |high: u16, low: u16| std::net::Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
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
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
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
