//! The running server that a command asks.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::admin::Token;
use crate::health::probe::nobody;

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Names the file with the token where no argument does. An argument that is not given can stand beside `-c`.
const TOKEN_FILE_VARIABLE: &str = "MERIDIAN_TOKEN_FILE";
/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where its admin interface is, and what opens it.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The running server's admin interface
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8053")]
    admin: SocketAddr,

    /// The file with the admin interface's token, where it asks for one; without it the file that the environment's
    /// MERIDIAN_TOKEN_FILE names
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What the admin interface says of a mistake.
#[derive(Deserialize)]
struct Failure {
    error: String,
    hint: String,
}

impl Server {
    /// Asks for a page below `/api/v1/`, sends it this JSON, if any, and returns what it answers. `otherwise` is what else could be
    /// done where no server answers, after a comma.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        page: &str,
        query: &[(&str, &str)],
        json: Option<String>,
        otherwise: &str,
    ) -> Result<T, Error> {
        let token = self.token_file().as_deref().map(Token::read).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut url = Url::parse(&format!("http://{}/api/v1/{page}", self.admin))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(runtime.block_on(self.send(method, url, token.as_ref(), json, otherwise))?)
    }

    fn token_file(&self) -> Option<PathBuf> {
        let named = || env::var_os(TOKEN_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.token_file.clone().or_else(named)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        token: Option<&Token>,
        json: Option<String>,
        otherwise: &str,
    ) -> Result<T, String> {
        let admin = self.admin;
        let refused = |problem: reqwest::Error| {
            if problem.is_connect() {
                format!(
                    "no server answers at {admin}: start one with `meridian serve`, name its [admin] `listen` with \
                     --admin{otherwise}"
                )
            } else {
                format!("the server at {admin} gave no answer that can be read: {problem}")
            }
        };
        let client = Client::builder()
            .tls_backend_preconfigured(nobody())
            .no_proxy()
            .http1_only()
            .timeout(TIMEOUT)
            .build()
            .map_err(refused)?;
        let mut request = client.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token.as_str());
        }
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        let response = request.send().await.map_err(refused)?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(match response.json::<Failure>().await {
                Ok(_) if status == StatusCode::UNAUTHORIZED && token.is_some() => {
                    format!(
                        "the server at {admin} has another token than the one given: name the file that its token_file names"
                    )
                }
                Ok(_) if status == StatusCode::UNAUTHORIZED => format!(
                    "the server at {admin} asks for its token: name the file with it by `--token-file FILE`, or by \
                     `export {TOKEN_FILE_VARIABLE}=FILE` for all commands"
                ),
                Ok(Failure { error, hint }) => format!("the server at {admin} says: {error}; {hint}"),
                Err(_) => {
                    format!("what answers at {admin} is no Meridian: it says {status}; name its address with --admin")
                }
            });
        }
        response.json().await.map_err(refused)
    }
}
