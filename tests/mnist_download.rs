//! The download of the example `mnist`, against a server on this machine that misbehaves.
#![allow(clippy::unwrap_used)]

#[path = "../examples/mnist/download.rs"]
#[allow(dead_code)]
mod download;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread::{JoinHandle, spawn},
};

use flate2::{Compression, read::GzEncoder};
use sha2::{Digest, Sha256};

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut zipped = Vec::new();
    GzEncoder::new(content, Compression::fast()).read_to_end(&mut zipped).unwrap();
    zipped
}

fn checksum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Noise, so that it does not shrink.
fn content() -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..200_000).map(|_| next()).collect()
}

/// Answers one request per entry of `cuts`, each time closing the connection after so many bytes of the body. Returns the
/// `range` headers it got.
fn server(body: Vec<u8>, cuts: Vec<usize>, ranges: bool) -> (String, JoinHandle<Vec<Option<u64>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let answer = |cut: usize| {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
            let range = head.iter().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<u64>().ok()
            });
            let from = if ranges { range.unwrap_or(0) as usize } else { 0 };
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let rest = &body[from..];
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", rest.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&rest[..cut.min(rest.len())]).unwrap();
            range
        };
        cuts.into_iter().map(answer).collect()
    };
    (url, spawn(serve))
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let (folder, content) = (tempfile::tempdir().unwrap(), content());
    let (url, server) = server(gzipped(&content), vec![1_000, 50_000, usize::MAX], true);
    let obtain = || download::obtain(folder.path(), "file", &checksum(&content), &[&url]);
    for _ in 0..2 {
        let error = obtain().unwrap_err().to_string();
        assert!(error.contains("goes on where it was") && error.contains("--data DIR"), "{error}");
    }
    let path = obtain().unwrap();
    assert_eq!(fs::read(&path).unwrap(), gzipped(&content));
    assert_eq!(server.join().unwrap(), [None, Some(1_000), Some(51_000)]);
    assert_eq!(obtain().unwrap(), path, "what is there is not asked for again");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (folder, content) = (tempfile::tempdir().unwrap(), content());
    let (url, server) = server(gzipped(&content), vec![1_000, usize::MAX], false);
    let obtain = || download::obtain(folder.path(), "file", &checksum(&content), &[&url]);
    obtain().unwrap_err();
    assert_eq!(fs::read(obtain().unwrap()).unwrap(), gzipped(&content));
    server.join().unwrap();
}

#[test]
fn other_content_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    for body in [gzipped(b"something else"), b"<html>404</html>".to_vec()] {
        let (url, server) = server(body, vec![usize::MAX], true);
        let error = download::obtain(folder.path(), "file", &checksum(&content()), &[&url]).unwrap_err().to_string();
        assert!(error.contains("not the published file"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        server.join().unwrap();
    }
}

#[test]
fn offline_the_error_says_what_to_do_and_the_next_mirror_is_tried() {
    let (folder, content) = (tempfile::tempdir().unwrap(), content());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("http://{nobody}");
    let error = download::obtain(folder.path(), "file", "", &[&dead]).unwrap_err().to_string();
    assert!(error.contains(&dead) && error.contains("example `digits`"), "{error}");
    let (url, server) = server(gzipped(&content), vec![usize::MAX], true);
    download::obtain(folder.path(), "file", &checksum(&content), &[&dead, &url]).unwrap();
    server.join().unwrap();
}
