//! `carillon send`: one message through a running server, followed to its end.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::serve::FIRST_KEY_FILE;
use super::{CliError, say};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The number, with + and country code.
    to: String,
    /// The text.
    text: String,
    /// The sender; the account's default if not given.
    #[arg(long)]
    from: Option<String>,
    /// Ahead of the others, at a surcharge.
    #[arg(long)]
    express: bool,
    /// An API key; the one the server left in the data folder if not given.
    #[arg(long, env = "CARILLON_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The server; where this machine's listens if not given.
    #[arg(long, env = "CARILLON_URL")]
    url: Option<String>,
    /// How long to wait for the end of it, seconds.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

/// Between two looks at a message.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(config: &Config, args: SendArgs) -> Result<(), CliError> {
    let url = args.url.unwrap_or_else(|| format!("http://{}", config.server.listen));
    let key = match args.key {
        Some(key) => key,
        None => {
            let path = config.data.folder.join(FIRST_KEY_FILE);
            let missing = |e| CliError::Io(format!("no key: give --key or CARILLON_API_KEY ({})", path.display()), e);
            std::fs::read_to_string(&path).map_err(missing)?.trim().to_owned()
        }
    };
    // Only fails if one is installed already, which is as good.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let client =
        Client::builder().timeout(Duration::from_secs(30)).build().map_err(|e| CliError::Refused(e.to_string()))?;
    let mut body = json!({ "to": args.to, "text": args.text });
    if let Some(from) = args.from {
        body["from"] = from.into();
    }
    if args.express {
        body["express"] = true.into();
    }
    let mut message = ask(client.post(format!("{url}/v1/messages")).bearer_auth(&key).json(&body)).await?;
    let id = message["id"]
        .as_str()
        .ok_or_else(|| CliError::Refused(format!("the server answered without an id: {message}")))?
        .to_owned();
    let (started, mut seen) = (tokio::time::Instant::now(), String::new());
    loop {
        let status = message["status"].as_str().unwrap_or("unknown").to_owned();
        if status != seen {
            say(format_args!("{id}  {:>6} ms  {}", started.elapsed().as_millis(), describe(&message, &status)));
            seen = status;
        }
        match seen.as_str() {
            "delivered" => return Ok(()),
            "undelivered" | "failed" | "expired" | "canceled" | "rejected" => {
                return Err(CliError::Refused("the message was not delivered".into()));
            }
            _ if started.elapsed() >= Duration::from_secs(args.wait) => {
                return Err(CliError::Refused(format!(
                    "still {seen} after {} s; look again with GET /v1/messages/{id}",
                    args.wait
                )));
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
        message = ask(client.get(format!("{url}/v1/messages/{id}")).bearer_auth(&key)).await?;
    }
}

fn describe(message: &Value, status: &str) -> String {
    let error = &message["error"];
    match error["code"].as_str().or(error.as_str()) {
        Some(code) => format!("{status}: {code} {}", error["detail"].as_str().unwrap_or("")),
        None => status.to_owned(),
    }
}

async fn ask(request: RequestBuilder) -> Result<Value, CliError> {
    let unreachable = |e: reqwest::Error| CliError::Refused(format!("the server does not answer: {e}"));
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body: Value = response
        .json()
        .await
        .map_err(|e| CliError::Refused(format!("the server answered {status} with no JSON: {e}")))?;
    if status.is_success() {
        return Ok(body);
    }
    let text = |name: &str| body[name].as_str().unwrap_or("").to_owned();
    let fields: String = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| format!("\n  {}: {}", e["pointer"], e["detail"]))
        .collect();
    Err(CliError::Refused(format!("{} ({}): {}{fields}", text("title"), text("code"), text("detail"))))
}
