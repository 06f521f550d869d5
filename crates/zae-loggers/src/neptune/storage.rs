//! [`Storage`]: where files go, beside the server itself.
//!
//! The server signs an address for each file, which is one of Google's, Amazon's or Azure's. Each has its own way to take what
//! is long in parts; so no part takes long, and none much memory.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use zae_core::error::Fallible;

use super::{database::Pending, session::Session};
use crate::http::{Client, Failure, Reply, Request};

/// Bytes of a part. Google wants a multiple of 256 KiB.
const PART: usize = 8 << 20;
/// Amazon's parts are as long as the server says; longer ones are left to `neptune sync`.
const LONGEST_PART: u64 = 128 << 20;
/// Google's status for a file of which it has a part.
const UNFINISHED: u16 = 308;
/// So often in a row a storage may take nothing of what it gets.
const MOST_IN_VAIN: u32 = 5;

#[derive(Deserialize)]
struct Signed {
    files: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    provider: String,
    url: String,
    multipart: Option<Multipart>,
}

#[derive(Deserialize)]
struct Multipart {
    upload_id: String,
    part_size: u64,
    part_urls: Vec<String>,
}

/// Puts files into the storage.
pub(super) struct Storage {
    client: Client,
}

/// A file and what there is to say of it.
struct Upload<'a> {
    client: &'a Client,
    file: File,
    size: u64,
    mime: &'a str,
    go_on: &'a dyn Fn() -> bool,
}

impl Storage {
    pub(super) fn new(timeout: Duration) -> Fallible<Self> {
        // An address is its own secret: messages have it without its query, where the signature is.
        Ok(Self { client: Client::without_redirects(timeout, Vec::new())? })
    }

    /// Uploads a file. When it returns the storage has all of it.
    pub(super) fn upload(
        &self,
        session: &mut Session,
        project: &str,
        pending: &Pending,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let gone = |error: io::Error| Failure::lasting(format!("`{}`: {error}", pending.source.display()));
        let file = File::open(&pending.source).map_err(gone)?;
        let size = file.metadata().map_err(gone)?.len();
        let file_to_sign = json!({
            "path": pending.destination, "project_identifier": project, "permission": "write", "size": size,
        });
        let reply = session.post_json("/api/storagebridge/v1/signedUrl", &json!({ "files": [file_to_sign] }))?;
        let signed: Option<Signed> = serde_json::from_slice(&reply).ok();
        let address = signed.and_then(|signed| signed.files.into_iter().next());
        let address = address.ok_or_else(|| Failure::passing("the server signs no address for a file"))?;
        let mut upload = Upload { client: &self.client, file, size, mime: &pending.mime, go_on };
        match (address.provider.as_str(), address.multipart) {
            ("gcp", _) => upload.google(&address.url),
            ("azure", _) => upload.azure(&address.url),
            ("aws", None) => {
                let all = upload.part(0, size)?;
                upload.put(&address.url, &[("Content-Type", upload.mime)], &all).map(drop)
            }
            ("aws", Some(multipart)) => {
                let parts = upload.amazon(&multipart)?;
                let done = json!({
                    "path": pending.destination, "project_identifier": project,
                    "upload_id": multipart.upload_id, "parts": parts,
                });
                session.post_json("/api/storagebridge/v1/s3/completeMultipartUpload", &done).map(drop)
            }
            (other, _) => Err(Failure::lasting(format!("the storage is one of `{other}`, which is not known"))),
        }
    }
}

impl Upload<'_> {
    /// So many bytes from there on, or those that are left.
    fn part(&mut self, begin: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let length = length.min(self.size.saturating_sub(begin));
        if length > LONGEST_PART {
            return Err(Failure::lasting(format!("the storage wants parts of {length} bytes")));
        }
        let mut part = vec![0; length as usize];
        let read = self.file.seek(SeekFrom::Start(begin)).and_then(|_| self.file.read_exact(&mut part));
        read.map_err(|error| Failure::lasting(format!("a file cannot be read: {error}")))?;
        Ok(part)
    }

    fn put(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Failure> {
        if !(self.go_on)() {
            return Err(Failure::passing("nobody waits any longer"));
        }
        let reply = self.client.ask(&Request { method: "PUT", url, headers, body })?;
        match reply.status {
            200..300 | UNFINISHED => Ok(reply),
            other => Err(Failure::passing(format!("the storage answers HTTP {other} to a file"))),
        }
    }

    fn google(&mut self, url: &str) -> Result<(), Failure> {
        let headers = [("X-goog-resumable", "start"), ("Content-Type", self.mime)];
        let begun = self.client.ask(&Request { method: "POST", url, headers: &headers, body: b"" })?;
        let place = begun.headers.get("Location").and_then(|place| place.to_str().ok());
        let place = place.ok_or_else(|| Failure::passing("the storage says no place for a file"))?;
        let (mut begin, mut in_vain) = (0, 0);
        loop {
            let part = self.part(begin, PART as u64)?;
            let range = match part.len() as u64 {
                0 => format!("bytes */{}", self.size),
                length => format!("bytes {begin}-{}/{}", begin + length - 1, self.size),
            };
            let reply = self.put(place, &[("Content-Range", &range)], &part)?;
            if reply.status != UNFINISHED {
                return Ok(());
            }
            // It may have taken less than it got.
            let taken = reply.headers.get("Range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=0-"));
            let taken = taken.and_then(|last| last.parse::<u64>().ok()).map_or(0, |last| last.saturating_add(1));
            in_vain = if taken > begin { 0 } else { in_vain + 1 };
            if in_vain == MOST_IN_VAIN || taken > self.size {
                return Err(Failure::passing("the storage takes nothing of a file"));
            }
            begin = taken;
        }
    }

    fn azure(&mut self, url: &str) -> Result<(), Failure> {
        if self.size <= PART as u64 {
            let all = self.part(0, self.size)?;
            let headers = [("x-ms-blob-type", "BlockBlob"), ("Content-Type", self.mime)];
            return self.put(url, &headers, &all).map(drop);
        }
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for index in 0..self.size.div_ceil(PART as u64) {
            let part = self.part(index * PART as u64, PART as u64)?;
            // In Base64 of nine bytes there is nothing that an address would need to have escaped.
            let id = STANDARD.encode(format!("{index:09}"));
            self.put(&format!("{url}&comp=block&blockid={id}"), &[], &part)?;
            list += &format!("<Latest>{id}</Latest>");
        }
        list += "</BlockList>";
        let headers = [("x-ms-blob-content-type", self.mime), ("Content-Type", "application/xml")];
        self.put(&format!("{url}&comp=blocklist"), &headers, list.as_bytes()).map(drop)
    }

    fn amazon(&mut self, multipart: &Multipart) -> Result<Vec<serde_json::Value>, Failure> {
        let mut parts = Vec::new();
        for (index, url) in multipart.part_urls.iter().enumerate() {
            let part = self.part((index as u64).saturating_mul(multipart.part_size), multipart.part_size)?;
            let reply = self.put(url, &[("Content-Type", self.mime)], &part)?;
            let tag = reply.headers.get("ETag").and_then(|tag| tag.to_str().ok()).map(|tag| tag.trim_matches('"'));
            let tag = tag.ok_or_else(|| Failure::passing("the storage gives no tag for a part"))?;
            parts.push(json!({ "part_number": index + 1, "etag": tag }));
        }
        Ok(parts)
    }
}
