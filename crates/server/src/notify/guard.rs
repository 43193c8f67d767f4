//! Where requests may go that customers name the address of: webhooks, callbacks, carriers of their own. Everything else here could be asked
//! to knock on doors inside the operator's network (server-side request forgery).
//!
//! A URL is checked as it is written (`check`); what its host name leads to is checked when a connection is made, and the connection goes to
//! the very address that was checked, because `Outbound`'s client resolves names by the guard and by nothing else. Redirects and proxies are
//! not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, RequestBuilder, Url};

use crate::config::Webhooks;

/// The longest URL taken, bytes.
pub const URL_MAX: usize = 512;

/// Why a URL or what it leads to is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("not a URL: send one such as https://example.com/sms")]
    NotAUrl,
    /// It is longer than [`URL_MAX`].
    #[error("a URL of at most {URL_MAX} bytes")]
    TooLong,
    /// Its scheme is none that is allowed here.
    #[error("a URL that begins with https://")]
    Scheme,
    /// It carries a user name or password.
    #[error("no user name or password in the URL")]
    Credentials,
    /// Its port is one that HTTP servers do not use.
    #[error("port {0} is not allowed: use 443, or one from 1024 on")]
    Port(u16),
    /// There is no TLS on this machine; the log of the start says why.
    #[error("no requests can be made from here")]
    NoClient,
    /// Its host, or an address the host's name leads to, is not on the public internet.
    #[error("{0} is not on the public internet")]
    Private(String),
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    allow_http: bool,
    allow_private: bool,
}

impl Guard {
    /// The public internet and nothing else.
    pub const STRICT: Guard = Guard { allow_http: false, allow_private: false };

    /// By the settings.
    pub fn new(settings: &Webhooks) -> Guard {
        Guard { allow_http: settings.allow_http, allow_private: settings.allow_private }
    }

    /// Checks a URL as it is written. Its host's name is not looked up here.
    pub fn check(&self, text: &str) -> Result<Url, Refused> {
        if text.len() > URL_MAX {
            return Err(Refused::TooLong);
        }
        // The parser passes over them; what is stored and shown should not.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Refused::NotAUrl);
        }
        let url: Url = text.parse().map_err(|_| Refused::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(Refused::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NotAUrl)?;
        if self.allow_private {
            return Ok(url);
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if !matches!(port, 80 | 443 | 1024..) {
            return Err(Refused::Port(port));
        }
        // The parser has turned every way to write an IPv4 address (octal, hexadecimal, one number) into the usual one.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let public = match literal {
            Ok(address) => is_public(address),
            Err(_) => is_public_name(host),
        };
        if public { Ok(url) } else { Err(Refused::Private(host.to_owned())) }
    }

    /// The addresses of a host, if all of them may be gone to: a name that leads to both kinds is up to no good.
    pub async fn resolve(
        self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if !self.allow_private && found.iter().any(|address| !is_public(address.ip())) {
            return Err(Refused::Private(host.to_owned()).into());
        }
        Ok(found)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (*self, name.as_str().to_owned());
        Box::pin(async move {
            let addresses = guard.resolve(&host, 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Names that never lead to the public internet (RFC 6761, RFC 6762, and what clouds call their own).
fn is_public_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or("");
    host.contains('.')
        && !["localhost", "local", "internal", "intranet", "lan", "home", "corp", "test", "onion"].contains(&last)
        && !host.ends_with(".home.arpa")
}

/// Whether an address is one of the public internet's, where a stranger's server may be.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        // Behind NAT64 (RFC 6052) every IPv4 address is told as one of these: what counts is the one within.
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            _ => is_public_v6(v6),
        },
    }
}

/// IANA's special-purpose registry, and one address of a cloud's own services that looks public.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const NOT: &[(Ipv4Addr, u32)] = &[
        (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
        (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
        (Ipv4Addr::new(100, 64, 0, 0), 10),    // behind carriers' address translation; some clouds' metadata
        (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
        (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host
        (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; most clouds' metadata
        (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
        (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
        (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
        (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
        (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
        (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
        (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
        (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
        (Ipv4Addr::new(224, 0, 0, 0), 3),      // multicast, reserved, broadcast
    ];
    let bits = address.to_bits();
    !NOT.iter().any(|(net, len)| (bits ^ net.to_bits()) >> (32 - len) == 0)
}

/// Global unicast only, without what is carved out of it: addresses that hold an IPv4 address would be a way round.
fn is_public_v6(address: Ipv6Addr) -> bool {
    const NOT: &[(Ipv6Addr, u32)] = &[
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarks, ORCHID
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
    ];
    let bits = address.to_bits();
    let global = bits >> 125 == 0b001; // 2000::/3: not ::ffff:0:0/96, fc00::/7, fe80::/10, ff00::/8
    global && !NOT.iter().any(|(net, len)| (bits ^ net.to_bits()) >> (128 - len) == 0)
}

/// Makes requests that pass the guard, and no others.
#[derive(Clone, Debug)]
pub struct Outbound {
    guard: Guard,
    /// None where TLS cannot be had.
    client: Option<Client>,
}

impl Outbound {
    /// With a time limit of each request from beginning to end.
    pub fn new(guard: Guard, timeout: Duration, agent: &str) -> Outbound {
        // Only fails if it is installed already.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .dns_resolver(guard)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(16)
            .tcp_nodelay(true)
            .user_agent(agent)
            .build();
        if let Err(error) = &client {
            tracing::error!(%error, "no requests can be made to customers' servers: {error}");
        }
        Outbound { guard, client: client.ok() }
    }

    /// What is allowed.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// A GET of an address that a customer named.
    pub fn get(&self, url: &str) -> Result<RequestBuilder, Refused> {
        let url = self.guard.check(url)?;
        Ok(self.client.as_ref().ok_or(Refused::NoClient)?.get(url))
    }

    /// A POST to an address that a customer named.
    pub fn post(&self, url: &str) -> Result<RequestBuilder, Refused> {
        let url = self.guard.check(url)?;
        Ok(self.client.as_ref().ok_or(Refused::NoClient)?.post(url))
    }
}

/// Why a request failed, in a few words that may be shown to who named the address.
pub fn explain(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return format!("refused: {refused}");
        }
        last = inner.to_string();
        cause = inner.source();
    }
    match error {
        e if e.is_timeout() => "no answer in time".into(),
        e if e.is_connect() => format!("no connection: {last}"),
        _ => last,
    }
}

#[cfg(test)]
mod tests;
