//! [`Api`]: MLflow's REST interface, version 2.0.

use std::{fs::File, time::Duration};

use base64::Engine;
use serde_json::{Value, json};
use zae_core::error::Fallible;

use crate::http::{Client, Failure, Request, Secret, escaped};

/// Under it a server takes files.
const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts/";

/// A tracking server and who asks it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Without user and password.
    uri: String,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
    /// What may be in no message.
    secrets: Vec<Secret>,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token: Option<Secret>,
}

impl Server {
    /// Of an address such as `http://127.0.0.1:5000`, maybe with `user:password@`.
    ///
    /// # Errors
    /// When it is not the address of a server.
    pub(super) fn new(uri: &str, login: &Login) -> Fallible<Self> {
        let uri = uri.trim().trim_end_matches('/');
        let Some((scheme @ ("http" | "https"), rest)) = uri.split_once("://") else {
            return Err("the tracking URI (`.tracking_uri(..)` or MLFLOW_TRACKING_URI) has to be that of a server, `http://..` or \
                        `https://..`: for files or a database of your own start `mlflow server --backend-store-uri ..`, and \
                        name its address"
                .into());
        };
        let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let (own, host) = host.rsplit_once('@').map_or((None, host), |(own, host)| (Some(own), host));
        if host.is_empty() {
            return Err("the tracking URI names no host".into());
        }
        let own = own.map(|own| own.split_once(':').unwrap_or((own, "")));
        let user = login.user.as_deref().or(own.map(|own| own.0));
        let password = login.password.clone().or_else(|| own.and_then(|own| Secret::new(own.1)));
        let mut secrets: Vec<Secret> = password.iter().chain(&login.token).cloned().collect();
        let authorization = match (user, &password, &login.token) {
            (Some(user), Some(password), _) => {
                let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
                secrets.extend(Secret::new(&both));
                Secret::new(&format!("Basic {both}"))
            }
            (_, _, Some(token)) => Secret::new(&format!("Bearer {}", token.expose())),
            _ => None,
        };
        let path = path.map_or_else(String::new, |path| format!("/{path}"));
        Ok(Self { uri: format!("{scheme}://{host}{path}"), authorization, secrets })
    }

    /// The path below which it takes files for a run that has its artifacts there, if it takes them itself.
    fn artifacts_at<'a>(&self, uri: &'a str) -> Option<&'a str> {
        let path = match uri.strip_prefix("mlflow-artifacts:") {
            // With a host, which may be another than this one.
            Some(rest) => rest.strip_prefix("//").map_or(Some(rest), |rest| {
                let (host, path) = rest.split_once('/')?;
                let here = self.uri.split_once("://").is_some_and(|(_, own)| own.split('/').next() == Some(host));
                (host.is_empty() || here).then_some(path)
            })?,
            None => uri.strip_prefix(&self.uri)?.strip_prefix(ARTIFACTS)?,
        };
        Some(path.trim_matches('/')).filter(|path| !path.is_empty())
    }

    /// Its address, in which there is nothing to hide.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }
}

/// Makes requests of a server.
#[derive(Clone)]
pub(super) struct Api {
    server: Server,
    client: Client,
}

impl Api {
    pub(super) fn new(server: Server, timeout: Duration) -> Fallible<Self> {
        let client = Client::new(timeout, server.secrets.clone())?;
        Ok(Self { server, client })
    }

    pub(super) fn uri(&self) -> &str {
        &self.server.uri
    }

    fn authorization(&self) -> Option<(&str, &str)> {
        self.server.authorization.as_ref().map(|own| ("Authorization", own.expose()))
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Value, Failure> {
        let url = format!("{}/api/2.0/mlflow/{path}", self.server.uri);
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(self.authorization());
        let reply = self.client.ask(&Request { method, url: &url, headers: &headers, body }).map_err(explained)?;
        serde_json::from_slice(&reply.body).map_err(|e| {
            let url = &self.server.uri;
            Failure::passing(format!("{url}: the answer is not that of an MLflow server: {e}"))
        })
    }

    /// Puts a file among the artifacts of the server, at this path.
    pub(super) fn put(&self, path: &str, file: &File) -> Result<(), Failure> {
        let path = path.split('/').map(escaped).collect::<Vec<_>>().join("/");
        let url = format!("{}{ARTIFACTS}{path}", self.server.uri);
        let mut headers = vec![("Content-Type", "application/octet-stream")];
        headers.extend(self.authorization());
        self.client.send(&Request { method: "PUT", url: &url, headers: &headers, body: &[] }, file).map(drop)
    }

    /// Where the artifacts of a run are: the path that [`Api::put`] takes; or else the address of what the server itself does
    /// not take them for.
    pub(super) fn artifacts_of(&self, run: &str) -> Result<Result<String, String>, Failure> {
        let reply = self.ask("GET", &format!("runs/get?run_id={}", escaped(run)), &[])?;
        let uri = text_at(&reply, "/run/info/artifact_uri")?;
        Ok(self.server.artifacts_at(&uri).map(str::to_owned).ok_or(uri.clone()))
    }

    /// Makes a request with this body.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<Value, Failure> {
        self.ask("POST", path, body)
    }

    /// The experiment of this name, which is made if it is not there.
    pub(super) fn experiment(&self, name: &str) -> Result<String, Failure> {
        let find = || {
            let reply = self.ask("GET", &format!("experiments/get-by-name?experiment_name={}", escaped(name)), &[])?;
            text_at(&reply, "/experiment/experiment_id")
        };
        match find() {
            Err(failure) if is(&failure, "RESOURCE_DOES_NOT_EXIST") => {}
            other => return other,
        }
        match self.post("experiments/create", json!({"name": name}).to_string().as_bytes()) {
            // Another run was faster.
            Err(failure) if is(&failure, "RESOURCE_ALREADY_EXISTS") => find(),
            other => text_at(&other?, "/experiment_id"),
        }
    }

    /// The run with this tag.
    pub(super) fn find_run(&self, experiment: &str, tag: &str, value: &str) -> Result<Option<String>, Failure> {
        let filter = format!("tags.`{tag}` = '{value}'");
        let body = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let reply = self.post("runs/search", body.to_string().as_bytes())?;
        Ok(text_at(&reply, "/runs/0/info/run_id").ok())
    }
}

/// What is to be done about it, where that is known.
fn explained(failure: Failure) -> Failure {
    match failure.status() {
        Some(401 | 403) => failure.map(|text| {
            format!("{text}: look at MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN")
        }),
        _ => failure,
    }
}

/// Whether the server gave this reason.
fn is(failure: &Failure, code: &str) -> bool {
    failure.status().is_some() && failure.to_string().contains(code)
}

/// A text in a reply.
pub(super) fn text_at(reply: &Value, place: &str) -> Result<String, Failure> {
    let text = reply.pointer(place).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Failure::passing(format!("the server's answer has no `{place}`")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_used_and_nowhere_to_be_seen() {
        let server = Server::new("https://me:s3cret@host:1/base/", &Login::default()).unwrap();
        assert_eq!(server.uri(), "https://host:1/base");
        assert_eq!(server.authorization.as_ref().unwrap().expose(), "Basic bWU6czNjcmV0");
        let text = format!("{server:?}");
        assert!(!text.contains("s3cret") && !text.contains("bWU6"), "{text}");
        let login = Login { token: Secret::new("t0ken"), ..Login::default() };
        let server = Server::new("http://host", &login).unwrap();
        assert_eq!(server.authorization.as_ref().unwrap().expose(), "Bearer t0ken");
    }

    #[test]
    fn files_go_to_the_server_itself_and_nowhere_else() {
        let server = Server::new("http://host:1/base", &Login::default()).unwrap();
        for (uri, path) in [
            ("mlflow-artifacts:/7/abc/artifacts", Some("7/abc/artifacts")),
            ("mlflow-artifacts:///7/abc/artifacts", Some("7/abc/artifacts")),
            ("mlflow-artifacts://host:1/7/abc", Some("7/abc")),
            ("http://host:1/base/api/2.0/mlflow-artifacts/artifacts/7/abc", Some("7/abc")),
            ("mlflow-artifacts://another/7/abc", None),
            ("http://host:1/other/api/2.0/mlflow-artifacts/artifacts/7/abc", None),
            ("mlflow-artifacts:/", None),
            ("s3://bucket/7/abc", None),
            ("/srv/mlruns/7/abc", None),
            ("file:///srv/mlruns/7/abc", None),
        ] {
            assert_eq!(server.artifacts_at(uri), path, "{uri}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused_without_being_repeated() {
        for uri in ["sqlite:///mlflow.db", "databricks", "./mlruns", "http://", "http://me:s3cret@"] {
            let error = Server::new(uri, &Login::default()).unwrap_err().to_string();
            assert!(error.contains("the tracking URI") && !error.contains("s3cret"), "{error}");
        }
    }
}
