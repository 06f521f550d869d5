//! [`Token`]: Neptune's key, which names the server.

use base64::{Engine, alphabet, engine::general_purpose::GeneralPurpose};
use serde::Deserialize;
use zae_core::error::Fallible;

use crate::http::Secret;

/// With and without padding, as it is pasted.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// Neptune's key. It is JSON in base64, and the address of the server is in it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    /// The key in it, by itself.
    pub(super) key: Option<Secret>,
    /// The server's address, without a slash at its end.
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    api_address: String,
    #[serde(default)]
    api_url: String,
    #[serde(default)]
    api_key: String,
}

impl Token {
    /// # Errors
    /// When it is not a token of Neptune's. The message has nothing of it.
    pub(super) fn parse(secret: &Secret) -> Fallible<Self> {
        let content: Option<Content> =
            BASE64.decode(secret.expose()).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let content = content.ok_or("the API token is not one of Neptune's: copy it anew, as a whole")?;
        let url = if content.api_url.is_empty() { content.api_address } else { content.api_url };
        let url = url.trim_end_matches('/').to_owned();
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("the API token of Neptune names no server".into());
        }
        Ok(Self { secret: secret.clone(), key: Secret::new(&content.api_key), url })
    }

    /// Whether the server is the service that has ended.
    pub(super) fn is_hosted(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or_default();
        let host = host.split(['/', ':', '?']).next().unwrap_or_default().to_ascii_lowercase();
        host == "neptune.ai" || host.ends_with(".neptune.ai")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn token(json: &str) -> Fallible<Token> {
        Token::parse(&Secret::new(&base64::engine::general_purpose::STANDARD.encode(json)).unwrap())
    }

    #[test]
    fn it_names_the_server() {
        let hosted = token(r#"{"api_address": "https://app.neptune.ai", "api_url": "https://app.neptune.ai", "x": 1}"#);
        assert!(hosted.unwrap().is_hosted());
        let own = token(r#"{"api_address": "https://neptune.example.org/"}"#).unwrap();
        assert_eq!((own.url.as_str(), own.is_hosted()), ("https://neptune.example.org", false));
        assert!(!token(r#"{"api_url": "https://notneptune.ai"}"#).unwrap().is_hosted());
    }

    #[test]
    fn what_is_none_is_told_without_it() {
        for wrong in [token("{}"), token("s3cret"), Token::parse(&Secret::new("s3cret!").unwrap())] {
            let text = wrong.unwrap_err().to_string();
            assert!(text.contains("API token") && !text.contains("s3cret"), "{text}");
        }
    }
}
