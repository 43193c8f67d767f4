//! An HTTP carrier in the test: it takes messages as the generic provider sends them, misbehaves as told, and calls back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::world::Api;
use crate::app::Answer;

/// What it does with a message.
#[derive(Clone, Debug)]
pub enum Does {
    /// Takes it and gives it an id.
    Take,
    /// Answers with this status, and `Retry-After` if that is not 0.
    Status(u16, u32),
    /// Takes it and answers something that is no JSON.
    Garble,
    /// Sends the asker elsewhere.
    Redirect(String),
    /// Takes it and never says so.
    Hang,
}

#[derive(Default)]
struct Inner {
    does: Option<Does>,
    /// What it does before that, one for each request.
    first: Vec<Does>,
    taken: Vec<Value>,
    asked: usize,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Web(Arc<Mutex<Inner>>);

impl Web {
    /// Starts it. With it its address.
    pub async fn start(does: Does) -> (Web, String) {
        let web = Web::default();
        web.does(does);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/send", post(send)).with_state(web.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (web, address)
    }

    /// From here on.
    pub fn does(&self, does: Does) {
        self.0.lock().does = Some(does);
    }

    /// With the next requests.
    pub fn first(&self, first: impl IntoIterator<Item = Does>) {
        self.0.lock().first = first.into_iter().collect();
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.0.lock().asked
    }

    /// The messages it took, each as often as it came; their ids are `c0`, `c1`, ...
    pub fn taken(&self) -> Vec<Value> {
        self.0.lock().taken.clone()
    }

    /// How often it took a message more than once.
    pub fn taken_again(&self) -> usize {
        let mut times: HashMap<String, usize> = HashMap::new();
        for message in self.taken() {
            *times.entry(message["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        times.values().map(|times| times - 1).sum()
    }

    /// Where it was told to call back with what it has first taken, without the host.
    pub fn callback_path(&self) -> String {
        let url = self.taken()[0]["callback"].as_str().unwrap().to_owned();
        url.strip_prefix("https://carillon.test").unwrap().to_owned()
    }

    /// Tells that a message, the n-th it took, reached its handset or did not.
    pub async fn report(&self, api: &Api, n: usize, status: &str) -> Answer {
        let path = self.callback_path();
        let to = self.taken()[n]["to"].clone();
        api.call_back(&path, json!({ "mid": format!("c{n}"), "dst": to, "st": status })).await
    }

    /// Reports of all that it takes from the `from`-th on that they are delivered, until each is acknowledged; for ever.
    pub fn deliver_all(&self, api: &Api) -> tokio::task::AbortHandle {
        let (web, api) = (self.clone(), api.clone());
        let task = tokio::spawn(async move {
            let mut done = 0;
            loop {
                while done < web.taken().len() {
                    let (path, to) = (web.callback_path(), web.taken()[done]["to"].clone());
                    let body = json!({ "mid": format!("c{done}"), "dst": to, "st": "DELIVRD" });
                    match api.try_call_back(&path, &body).await {
                        Some(204) => done += 1,
                        // The server is down, or was while it took it.
                        _ => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        task.abort_handle()
    }
}

async fn send(State(web): State<Web>, Json(message): Json<Value>) -> Response {
    let (does, id) = {
        let mut inner = web.0.lock();
        inner.asked += 1;
        let does = if inner.first.is_empty() { inner.does.clone().unwrap() } else { inner.first.remove(0) };
        let id = format!("c{}", inner.taken.len());
        if matches!(does, Does::Take | Does::Garble | Does::Hang) {
            inner.taken.push(message);
        }
        (does, id)
    };
    match does {
        Does::Take => axum::Json(json!({ "id": id })).into_response(),
        Does::Status(status, 0) => StatusCode::from_u16(status).unwrap().into_response(),
        Does::Status(status, after) => {
            (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, after)]).into_response()
        }
        Does::Garble => "<html>thank you</html>".into_response(),
        Does::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response(),
        Does::Hang => std::future::pending().await,
    }
}

/// The lines of `carillon.toml` for a connection to it, before all others.
pub fn connection(address: &str, more: &str) -> &'static str {
    let text = format!(
        r#"
[[connection]]
name = "web"
kind = "http"
{more}
[connection.provider]
url = "{address}/send"
headers = "Authorization: {{basic}}"
username = "me"
password = "s3cret"
json = '{{"id":"{{id}}","to":"{{to_digits}}","text":"{{text}}","parts":{{parts}},"callback":"{{callback_url}}"}}'
id_pointer = "/id"
receipt_id = "mid"
receipt_to = "dst"
receipt_status = "st"
receipt_error = "err"
"#
    );
    text.leak()
}
