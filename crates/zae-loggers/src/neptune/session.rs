//! [`Session`]: a server of Neptune's and what it wants to see of us.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use zae_core::error::Fallible;

use super::token::Token;
use crate::{
    clock::now,
    http::{Client, Failure, Request, Secret},
};

/// An access token is replaced so long before it ends.
const MARGIN: f64 = 30.0;

/// A server, and a token for access to it.
///
/// That is what the API token is exchanged for. It ends after minutes; then the API token is exchanged again. So the server
/// need not be asked where access tokens can be renewed, which Neptune's own client does, to fall back on this if that fails.
pub(super) struct Session {
    client: Client,
    token: Token,
    access: Option<Access>,
}

struct Access {
    header: Secret,
    /// When it ends, in seconds since 1970.
    expires: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exchanged {
    access_token: String,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

impl Session {
    pub(super) fn new(token: Token, timeout: Duration) -> Fallible<Self> {
        let secrets = [Some(token.secret.clone()), token.key.clone()];
        let client = Client::new(timeout, secrets.into_iter().flatten().collect())?;
        Ok(Self { client, token, access: None })
    }

    /// Sends a protocol buffer; returns another.
    pub(super) fn post(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.send(path, "application/x-protobuf", body)
    }

    /// Sends JSON; returns the reply.
    pub(super) fn post_json(&mut self, path: &str, body: &serde_json::Value) -> Result<Vec<u8>, Failure> {
        self.send(path, "application/json", body.to_string().as_bytes())
    }

    fn send(&mut self, path: &str, content_type: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{path}", self.token.url);
        loop {
            let (header, is_new) = self.access()?;
            let headers = [("Authorization", header.expose()), ("Content-Type", content_type)];
            match self.client.ask(&Request { method: "POST", url: &url, headers: &headers, body }) {
                Ok(reply) => return Ok(reply.body),
                // It was taken back before its time.
                Err(failure) if failure.status() == Some(401) && !is_new => self.access = None,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// A header that gives access, and whether it is new.
    fn access(&mut self) -> Result<(Secret, bool), Failure> {
        if let Some(access) = self.access.as_ref().filter(|access| access.expires - MARGIN > now()) {
            return Ok((access.header.clone(), false));
        }
        let url = format!("{}/api/backend/v1/authorization/oauth-token", self.token.url);
        let headers = [("X-Neptune-Api-Token", self.token.secret.expose())];
        let reply = self.client.ask(&Request { method: "GET", url: &url, headers: &headers, body: b"" })?;
        let exchanged: Option<Exchanged> = serde_json::from_slice(&reply.body).ok();
        let access = exchanged.and_then(|exchanged| Secret::new(&exchanged.access_token));
        let access = access.ok_or_else(|| Failure::passing(format!("{url}: the reply is none of Neptune's")))?;
        let header = Secret::new(&format!("Bearer {}", access.expose()));
        let header = header.ok_or_else(|| Failure::passing("an access token is empty"))?;
        let expires = expiry(access.expose()).unwrap_or(f64::INFINITY);
        self.client.hide(access);
        self.access = Some(Access { header: header.clone(), expires });
        Ok((header, true))
    }
}

/// When a token says that it ends. One that does not say so is used until the server refuses it.
fn expiry(access: &str) -> Option<f64> {
    let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok().map(|Claims { exp }| exp)
}
