//! Media in a bucket of S3 or what is like it (MinIO, Ceph, R2): an object for each file, asked for by path (`endpoint/bucket/prefix/id`), signed
//! with Signature Version 4. Uploads stand in memory, up to `media.file_max`, because what a file is, is told by all of it; downloads stream.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use carillon_domain::id::MediaId;
use carillon_providers::sigv4::{self, Keys};
use carillon_store::media::Digest;
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use super::Octets;
use crate::config::Media as Settings;

/// Without a connection by then nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A bucket that is silent for so long while it answers is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// SHA-256 of nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A bucket.
#[derive(Debug)]
pub struct Bucket {
    client: Client,
    /// What all objects' addresses begin with.
    base: String,
    region: String,
    access_key_id: String,
    secret_access_key: SecretString,
}

impl Bucket {
    /// As the settings say; nothing is asked yet.
    pub(super) fn new(settings: &Settings) -> io::Result<Bucket> {
        // Only fails if one is installed already, which is as good.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(io::Error::other)?;
        let endpoint = settings.s3_endpoint.trim_end_matches('/');
        Ok(Bucket {
            client,
            base: format!("{endpoint}/{}/{}", settings.s3_bucket, settings.s3_prefix),
            region: settings.s3_region.clone(),
            access_key_id: settings.s3_access_key_id.clone(),
            secret_access_key: settings.s3_secret_access_key.clone(),
        })
    }

    /// `extra` are further headers, in lower case.
    async fn ask(
        &self,
        method: Method,
        id: MediaId,
        payload: &str,
        body: Bytes,
        extra: &[(&str, String)],
        now_ms: i64,
    ) -> io::Result<Response> {
        let url = format!("{}{id}", self.base);
        let mut headers: Vec<(String, String)> =
            extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        headers.push(("x-amz-content-sha256".to_owned(), payload.to_owned()));
        let keys = Keys {
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose_secret(),
            region: &self.region,
            service: "s3",
        };
        sigv4::sign(method.as_str(), &url, &mut headers, payload, &keys, now_ms);
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(|e| io::Error::other(e.without_url()))
    }

    pub(super) async fn write(&self, id: MediaId, digest: &Digest, octets: Bytes, now_ms: i64) -> io::Result<()> {
        let payload: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        let answer = self.ask(Method::PUT, id, &payload, octets, &[], now_ms).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer).await) }
    }

    pub(super) async fn erase(&self, id: MediaId, now_ms: i64) -> io::Result<()> {
        let answer = self.ask(Method::DELETE, id, NOTHING, Bytes::new(), &[], now_ms).await?;
        let gone = answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND;
        if gone { Ok(()) } else { Err(refused(answer).await) }
    }

    pub(super) async fn read(&self, id: MediaId, first: u64, last: u64, now_ms: i64) -> io::Result<Option<Octets>> {
        let range = [("range", format!("bytes={first}-{last}"))];
        let answer = self.ask(Method::GET, id, NOTHING, Bytes::new(), &range, now_ms).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // One that does not know ranges, and sends all: right only if all is wanted.
            StatusCode::OK if first == 0 && answer.content_length() == Some(last + 1) => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refused(answer).await),
        }
        Ok(Some(Box::pin(futures_util::stream::try_unfold(answer, async |mut answer| {
            let piece = answer.chunk().await.map_err(|e| io::Error::other(e.without_url()))?;
            Ok(piece.map(|piece| (piece, answer)))
        }))))
    }
}

/// Why a bucket does not do it: its status, and the code its answer begins with.
async fn refused(mut answer: Response) -> io::Error {
    let status = answer.status().as_u16();
    let first = answer.chunk().await.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&first);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    io::Error::other(format!("the bucket answered {status} {code}"))
}
