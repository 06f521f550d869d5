//! [`Client`]: what is asked of a server.

use std::{
    fs::{self, File},
    io::Read,
    sync::Arc,
    time::Duration,
};

use ureq::{
    Agent, AsSendBody, Body, SendBody,
    http::{Response, header::RETRY_AFTER},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};
use zae_core::error::Fallible;

use super::{Failure, Secret};

/// No reply is longer, or it is not from the server that is meant.
const MOST_BYTES: u64 = 16 << 20;
/// Files of certificates that others honour, and so do we.
const CA_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// No request takes longer, and no server is obeyed that wants to be left alone for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Makes requests, through the proxies that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), and
/// trusts the certificates of `SSL_CERT_FILE` instead of Mozilla's, if that is set.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    timeout: Duration,
    /// Taken out of all messages.
    secrets: Vec<Secret>,
}

/// A request with a body, or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// What a server has answered, with a status below 400.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    #[allow(dead_code, reason = "not each tracker needs it")]
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Of the headers, those asked for by name.
    #[allow(dead_code, reason = "not each tracker needs it")]
    pub(crate) headers: ureq::http::HeaderMap,
}

impl Client {
    /// A request takes no longer than `timeout`, whatever the server does.
    ///
    /// # Errors
    /// When the file of certificates that the environment names cannot be used.
    pub(crate) fn new(timeout: Duration, secrets: Vec<Secret>) -> Fallible<Self> {
        Self::with_redirects(timeout, secrets, 10)
    }

    /// The same, but that a redirection is a reply.
    ///
    /// # Errors
    /// See [`Client::new`].
    #[cfg_attr(not(feature = "neptune"), allow(dead_code, reason = "no other storage answers so"))]
    pub(crate) fn without_redirects(timeout: Duration, secrets: Vec<Secret>) -> Fallible<Self> {
        Self::with_redirects(timeout, secrets, 0)
    }

    fn with_redirects(timeout: Duration, secrets: Vec<Secret>, most: u32) -> Fallible<Self> {
        let tls = TlsConfig::builder().root_certs(roots()?).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(most)
            .max_redirects_will_error(most > 0)
            .tls_config(tls)
            .user_agent(concat!("zae-engine/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), timeout, secrets })
    }

    /// Also what is learned later, such as a token that a server gives.
    #[allow(dead_code, reason = "not each tracker needs it")]
    pub(crate) fn hide(&mut self, secret: Secret) {
        self.secrets.push(secret);
    }

    /// Asks once.
    ///
    /// # Errors
    /// When there is no reply, or one whose status says that it was in vain. Which of these are final is W&B's own rule:
    /// 400, 401, 403, 404, 409, 410, 413, 422 and 501.
    pub(crate) fn ask(&self, request: &Request<'_>) -> Result<Reply, Failure> {
        self.run(request, request.body, self.timeout)
    }

    /// Asks once, with what a file holds for a body. A second more is given for each mebibyte of it.
    ///
    /// # Errors
    /// As for [`Client::ask`].
    #[cfg_attr(
        not(any(feature = "mlflow", feature = "wandb")),
        allow(dead_code, reason = "not each tracker sends files")
    )]
    pub(crate) fn send(&self, request: &Request<'_>, file: &File) -> Result<Reply, Failure> {
        let size = file.metadata().map_err(|e| self.passing(request, &e.to_string()))?.len();
        let length = size.to_string();
        let headers = [request.headers, &[("Content-Length", &*length)]].concat();
        // Of a file that grows meanwhile, what was there.
        let mut body = file.take(size);
        let timeout = self.timeout.saturating_add(Duration::from_secs(size >> 20));
        self.run(&Request { headers: &headers, ..*request }, SendBody::from_reader(&mut body), timeout)
    }

    fn run(&self, request: &Request<'_>, body: impl AsSendBody, timeout: Duration) -> Result<Reply, Failure> {
        let mut built = ureq::http::Request::builder().method(request.method).uri(request.url);
        for &(name, value) in request.headers {
            built = built.header(name, value);
        }
        let built = built.body(body).map_err(|e| self.lasting(request, &e.to_string()))?;
        let built = self.agent.configure_request(built).timeout_global(Some(timeout.min(LONGEST_WAIT))).build();
        let response = self.agent.run(built).map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => self.lasting(request, &e.to_string()),
            _ => self.passing(request, &e.to_string()),
        })?;
        self.read(request, response)
    }

    fn read(&self, request: &Request<'_>, response: Response<Body>) -> Result<Reply, Failure> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let body = body.into_with_config().limit(MOST_BYTES).read_to_vec();
        if status < 400 {
            let body = body.map_err(|e| self.passing(request, &e.to_string()))?;
            return Ok(Reply { status, body, headers: head.headers });
        }
        let text = body.ok().map(|body| summary(&body)).filter(|text| !text.is_empty());
        let text = format!("HTTP {}{}", head.status, text.map_or_else(String::new, |text| format!(": {text}")));
        let failure = match status {
            400 | 401 | 403 | 404 | 409 | 410 | 413 | 422 | 501 => self.lasting(request, &text),
            _ => self.passing(request, &text),
        };
        let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Err(failure.with_status(status).after(after.map(Duration::from_secs).map(|time| time.min(LONGEST_WAIT))))
    }

    fn passing(&self, request: &Request<'_>, what: &str) -> Failure {
        Failure::passing(self.told(request, what))
    }

    fn lasting(&self, request: &Request<'_>, what: &str) -> Failure {
        Failure::lasting(self.told(request, what))
    }

    /// Without what a query may carry, and without any secret, wherever it came from.
    fn told(&self, request: &Request<'_>, what: &str) -> String {
        let url = request.url.split('?').next().unwrap_or_default();
        self.redacted(&format!("{url}: {what}"))
    }

    /// Without any secret.
    fn redacted(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "[redacted]"))
    }

    /// What a server says went wrong, in a reply that claims to be one: on one line, not too long, and without any secret.
    #[cfg_attr(not(feature = "wandb"), allow(dead_code, reason = "no other server refuses with a status of 200"))]
    pub(crate) fn said(&self, failure: Failure) -> Failure {
        failure.map(|text| self.redacted(&summary(text.as_bytes())))
    }
}

/// The beginning of what a server has to say, on one line.
fn summary(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(300) {
        words.truncate(end);
        words.push_str("...");
    }
    words
}

fn roots() -> Fallible<RootCerts> {
    let named = CA_VARIABLES.into_iter().find_map(|name| std::env::var_os(name).map(|path| (name, path)));
    let Some((name, path)) = named.filter(|(_, path)| !path.is_empty()) else { return Ok(RootCerts::WebPki) };
    let at =
        |e: &dyn std::fmt::Display| format!("the certificates of {name}, `{}`, cannot be used: {e}", path.display());
    let pem = fs::read(&path).map_err(|e| at(&e))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| at(&e))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(at(&"there is none in it").into());
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{io::Write, net::TcpListener, time::Instant};

    use super::*;

    /// Answers one request with these bytes.
    fn server(reply: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x?token=abc", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
        });
        url
    }

    fn ask(url: &str, timeout: Duration) -> Result<Reply, Failure> {
        let client = Client::new(timeout, vec![Secret::new("s3cret").unwrap()]).unwrap();
        client.ask(&Request { method: "POST", url, headers: &[("Authorization", "Basic s3cret")], body: b"{}" })
    }

    #[test]
    fn a_reply_is_read_and_an_error_is_told_without_secrets() {
        let url = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(ask(&url, Duration::from_secs(20)).unwrap().body, b"ok");
        let url = server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\nno key\n s3cret!");
        let failure = ask(&url, Duration::from_secs(20)).unwrap_err();
        assert!(failure.is_final());
        let text = failure.to_string();
        assert!(text.ends_with("/x: HTTP 401 Unauthorized: no key [redacted]!"), "{text}");
    }

    #[test]
    fn a_file_is_sent_as_long_as_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![b'a'; 3 << 20]).unwrap();
        let (file, mut more) = (File::open(&path).unwrap(), File::options().append(true).open(&path).unwrap());
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut all = vec![0; 1 << 16];
            // Some of it is there, and the rest is not yet.
            let read = stream.read(&mut all).unwrap();
            more.write_all(b"more").unwrap();
            all.truncate(read);
            let head = |all: &[u8]| all.windows(4).position(|own| own == b"\r\n\r\n").map(|at| at + 4);
            while head(&all).is_none_or(|head| all.len() < head + (3 << 20)) {
                let mut part = vec![0; 1 << 16];
                let read = stream.read(&mut part).unwrap();
                assert!(read > 0);
                all.extend_from_slice(&part[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            let head = head(&all).unwrap();
            (String::from_utf8_lossy(&all[..head]).to_ascii_lowercase(), all.len() - head)
        });
        let client = Client::new(Duration::from_secs(20), Vec::new()).unwrap();
        client.send(&Request { method: "PUT", url: &url, headers: &[], body: &[] }, &file).unwrap();
        let (head, length) = server.join().unwrap();
        assert!(head.contains("content-length: 3145728\r\n") && !head.contains("chunked"), "{head}");
        assert_eq!(length, 3 << 20);
    }

    #[test]
    fn a_server_that_is_busy_says_for_how_long() {
        let url = server("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
        let failure = ask(&url, Duration::from_secs(20)).unwrap_err();
        assert_eq!((failure.is_final(), failure.retry_after()), (false, Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_server_that_never_answers_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let since = Instant::now();
        let failure = ask(&url, Duration::from_millis(200)).unwrap_err();
        assert!(!failure.is_final() && since.elapsed() < Duration::from_secs(20), "{failure}");
    }
}
