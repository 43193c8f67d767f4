//! Where a request comes from: the peer's address, or the one a trusted proxy names. Nobody else is believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use serde::{Deserialize, Deserializer};

/// A block of addresses, `192.0.2.0/24` or a single address (RFC 4632, RFC 4291).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is no block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an address such as 192.0.2.1, or a block such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError;

impl Network {
    /// Whether the address is in it. An IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u8| {
            let shift = u32::from(bits - self.prefix);
            ours.checked_shr(shift).unwrap_or(0) == theirs.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same(u32::from(ours).into(), u32::from(theirs).into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.into(), theirs.into(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().map_err(|_| NetworkError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |p| p.parse().map_err(|_| NetworkError))?;
        if prefix > bits { Err(NetworkError) } else { Ok(Network { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The header in which proxies name the client. One, by configuration: a client can send the other, and a proxy that does not know it
/// passes it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`: addresses, the last added by the proxy nearest to us.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the same as `for=` parameters.
    Forwarded,
}

/// Who is asking, as far as addresses tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The client's address; the unspecified one if the transport has none.
    pub address: IpAddr,
    /// Whether there was nobody between.
    pub direct: bool,
}

impl Client {
    /// Of a request. Among the addresses that proxies named, the last that is not itself a trusted proxy counts: what stands before it
    /// anybody may have written. What is no address ends the search there.
    pub fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[Network], by: ForwardedBy) -> Client {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let Some(peer) = peer else { return Client { address: IpAddr::from([0, 0, 0, 0]), direct: false } };
        let name = match by {
            ForwardedBy::XForwardedFor => "x-forwarded-for",
            ForwardedBy::Forwarded => "forwarded",
        };
        // Who sends either header is, or wants to be taken for, a proxy.
        let direct = !headers.contains_key("x-forwarded-for") && !headers.contains_key("forwarded");
        let believed = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if direct || !believed(peer) {
            return Client { address: peer, direct };
        }
        let mut address = peer;
        let values = headers.get_all(name).iter().rev();
        for element in values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.rsplit(',')) {
            let named = match by {
                ForwardedBy::XForwardedFor => read(element.trim()),
                ForwardedBy::Forwarded => for_parameter(element),
            };
            let Some(named) = named else { break };
            address = named;
            if !believed(named) {
                break;
            }
        }
        Client { address, direct: false }
    }
}

/// An address as proxies write it: bare, or with a port, then IPv6 in brackets.
fn read(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|s| s.ip()));
    let bracketed = || text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).and_then(|t| t.parse().ok());
    address.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// `for=192.0.2.1`, `for="[2001:db8::1]:4711"` (RFC 7239 §4, §6).
fn for_parameter(element: &str) -> Option<IpAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    read(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_addresses() {
        let rows = [
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ];
        for (network, address, expected) in rows {
            assert_eq!(
                network.parse::<Network>().unwrap().contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
        for text in ["", "here", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2/24"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    #[test]
    fn who_is_believed_about_an_address() {
        use ForwardedBy::*;
        type Headers = &'static [(&'static str, &'static str)];
        // The proxies 10/8 are trusted. Who connects, which header counts, what it says, and who it is then.
        let rows: &[(&str, ForwardedBy, Headers, &str)] = &[
            ("203.0.113.9", XForwardedFor, &[], "203.0.113.9"),
            ("203.0.113.9", XForwardedFor, &[("x-forwarded-for", "1.2.3.4")], "203.0.113.9"),
            ("203.0.113.9", Forwarded, &[("forwarded", "for=1.2.3.4")], "203.0.113.9"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "nonsense")], "10.0.0.1"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "6.6.6.6, nonsense, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "[2001:db8::1]:99")], "2001:db8::1"),
            ("10.0.0.1", XForwardedFor, &[("x-forwarded-for", "1.2.3.4:99")], "1.2.3.4"),
            ("10.0.0.1", XForwardedFor, &[("forwarded", "for=6.6.6.6")], "10.0.0.1"),
            ("10.0.0.1", Forwarded, &[("forwarded", "for=1.2.3.4;proto=https")], "1.2.3.4"),
            (
                "10.0.0.1",
                Forwarded,
                &[("forwarded", "for=6.6.6.6, proto=http;For=\"[2001:db8::1]:4711\"")],
                "2001:db8::1",
            ),
            ("10.0.0.1", Forwarded, &[("forwarded", "for=_hidden")], "10.0.0.1"),
            ("10.0.0.1", Forwarded, &[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=1.2.3.4")], "1.2.3.4"),
            ("::ffff:10.0.0.1", XForwardedFor, &[("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ];
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, by, headers, expected) in rows {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                map.append(*name, value.parse().unwrap());
            }
            let client = Client::of(&extensions, &map, &trusted, *by);
            assert_eq!(client.address, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
            assert_eq!(client.direct, headers.is_empty());
        }
    }
}
