//! As much of a Neptune server as its own client needs, with its rules for series.

// Not every test uses everything.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

#[path = "../server/mod.rs"]
pub(crate) mod server;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use server::{Answer, Asked, Server};

/// Steps are in millionths.
pub(crate) const MICRO: u64 = 1_000_000;
/// Bytes of a part of a file, where the storage wants parts.
const PART: u64 = 5 << 20;
/// Something in every token, to look for.
pub(crate) const SECRET: &str = "hunter2hunter2";

/// A value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Float(f64),
    Int(i64),
    Bool(bool),
    Text(String),
    File(Shown),
}

/// A point of a series that has no number.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Shown {
    Text(String),
    /// The bits of edges, and what is in the bins.
    Histogram(Vec<u64>, Vec<u64>),
    File {
        mime: String,
        content: Vec<u8>,
    },
    /// One whose content has not arrived yet.
    Reference {
        path: String,
        bytes: u64,
        mime: String,
    },
}

/// What of a run has arrived.
#[derive(Clone, Default, Debug)]
pub(crate) struct Run {
    pub(crate) created: usize,
    pub(crate) experiment: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) tags: Vec<String>,
    /// Steps, and the bits of values.
    pub(crate) series: BTreeMap<String, Vec<(u64, u64)>>,
    /// Numbers of the machine, likewise.
    pub(crate) monitoring: BTreeMap<String, Vec<(u64, u64)>>,
    pub(crate) shown: BTreeMap<String, Vec<(u64, Shown)>>,
    last_time: BTreeMap<String, (u64, u64)>,
}

/// How many values have come to what: gRPC's code and Neptune's.
type Codes = BTreeMap<(u64, u64), u64>;

#[derive(Default)]
pub(crate) struct Seen {
    /// By project and id.
    pub(crate) runs: BTreeMap<(String, String), Run>,
    /// Points that had arrived before, the same ones: Neptune takes them for one.
    pub(crate) duplicates: usize,
    /// What Neptune would have refused.
    pub(crate) refused: Vec<String>,
    pub(crate) ingested: usize,
    pub(crate) longest_request: usize,
    /// Requests with a key that was taken from them.
    pub(crate) unauthorised: usize,
    pub(crate) keys: usize,
    /// The codes of each request, until somebody has asked twice.
    requests: BTreeMap<String, (u32, Codes)>,
    /// Answers instead of those that are right; `None` is the right one. If it is true, the request counts nevertheless.
    pub(crate) faults: VecDeque<Option<(Answer, bool)>>,
    /// It is an old one.
    pub(crate) refuses_nan: bool,
    /// The access tokens that are taken: Neptune's own client has one for each of its threads.
    access: Vec<String>,
    /// Of what kind the storage is: `gcp`, unless it is set; `aws-parts` takes long files in parts.
    pub(crate) provider: &'static str,
    /// Files by their paths: their types and contents; and such as are there in part.
    pub(crate) files: BTreeMap<String, (String, Vec<u8>)>,
    parts: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// A file with this in its path is refused.
    pub(crate) refuses_file: Option<&'static str>,
}

/// It lives on when the server dies.
#[derive(Clone, Default)]
pub(crate) struct Neptune(Arc<Mutex<Seen>>);

impl Neptune {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Option<(Answer, bool)>>) {
        self.seen().faults.extend(faults);
    }

    pub(crate) fn start(&self) -> Server {
        self.start_on("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_on(&self, address: SocketAddr) -> Server {
        let this = self.clone();
        Server::start_on(address, move |asked| {
            let fault = this.seen().faults.pop_front().flatten();
            match fault {
                None => this.seen().answer(asked),
                Some((answer, counts)) => {
                    if counts {
                        this.seen().answer(asked);
                    }
                    answer
                }
            }
        })
    }

    /// The only run.
    pub(crate) fn run(&self) -> Run {
        let seen = self.seen();
        assert_eq!(seen.refused, Vec::<String>::new());
        assert_eq!(seen.runs.len(), 1, "{:?}", seen.runs.keys());
        let mut run = seen.runs.values().next().unwrap().clone();
        let points = run.shown.values_mut().flatten().map(|(_, own)| own);
        let attributes =
            run.attributes.values_mut().filter_map(|own| if let Value::File(own) = own { Some(own) } else { None });
        points.chain(attributes).for_each(|own| seen.resolve(own));
        run
    }
}

/// Sends what a database holds, and leaves it there.
pub(crate) fn drain(database: &Path, to: &Neptune) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let query = |sql: &str| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let (version, project, run_id): (String, String, String) = query("SELECT version, project, run_id FROM metadata");
    assert_eq!(version, "v5");
    let mut rows = connection
        .prepare("SELECT operation_type, operation, operation_size_bytes, timestamp FROM run_operations ORDER BY sequence_id")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    for row in rows {
        let (kind, operation, bytes, millis): (i64, Vec<u8>, i64, i64) = row.unwrap();
        assert!(operation.len() as i64 == bytes && millis > 1_700_000_000_000);
        let mut body = Vec::new();
        put(&mut body, 1, project.as_bytes());
        put(&mut body, 2, run_id.as_bytes());
        if kind == 1 {
            put(&mut body, 6, &operation);
        } else {
            let mut batch = Vec::new();
            put(&mut batch, 1, &operation);
            put(&mut body, 8, &batch);
        }
        let _ = to.seen().ingest(&body);
    }
    let mut rows = connection
        .prepare("SELECT source_path, destination, mime_type, size_bytes, is_temporary FROM file_upload_requests")
        .unwrap();
    let rows = rows.query_map([], |row| {
        assert!(row.get::<_, bool>(4)?);
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    });
    for row in rows.unwrap() {
        let (source, destination, mime, bytes) = row.unwrap();
        assert!(Path::new(&source).is_absolute() && destination.chars().count() <= 800);
        let content = std::fs::read(source).unwrap();
        assert_eq!(content.len() as i64, bytes);
        to.seen().files.insert(destination, (mime, content));
    }
}

/// A key for the server at this address.
pub(crate) fn token(url: &str) -> String {
    STANDARD.encode(format!(r#"{{"api_address": "{url}", "api_url": "{url}", "api_key": "{SECRET}"}}"#))
}

fn refusal(status: u16) -> Answer {
    Answer::Status(status, Vec::new(), String::new())
}

impl Seen {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let host = format!("http://{}", asked.header("host").unwrap());
        match asked.path.split('?').next().unwrap() {
            "/api/backend/v1/clients/config" => Answer::Ok(format!(
                r#"{{"apiUrl": "{host}", "applicationUrl": "{host}", "pyLibVersions": {{}},
                    "security": {{"clientId": "cli", "openIdDiscovery": "{host}/discovery"}}}}"#
            )),
            "/discovery" => {
                Answer::Ok(format!(r#"{{"authorization_endpoint": "{host}/a", "token_endpoint": "{host}/t"}}"#))
            }
            "/api/backend/v1/authorization/oauth-token" => {
                if asked.header("x-neptune-api-token") != Some(token(&host).as_str()) {
                    return refusal(401);
                }
                self.keys += 1;
                let part = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
                let claims = part(format!(r#"{{"exp": 4102444800, "n": {}}}"#, self.keys));
                let access =
                    format!("{}.{claims}.{}", part(r#"{"alg": "HS256", "typ": "JWT"}"#.into()), part("x".into()));
                self.access.push(access.clone());
                Answer::Ok(format!(r#"{{"accessToken": "{access}", "refreshToken": "{access}", "username": "me"}}"#))
            }
            path if path.starts_with("/storage/") => {
                assert_eq!(asked.header("authorization"), None);
                self.store(asked, path)
            }
            path => {
                let access = asked.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
                if !access.is_some_and(|access| self.access.iter().any(|own| own == access)) {
                    self.unauthorised += 1;
                    return refusal(401);
                }
                match path {
                    "/api/storagebridge/v1/signedUrl" => return self.sign(&host, &asked.body),
                    "/api/storagebridge/v1/s3/completeMultipartUpload" => return self.complete(&asked.body),
                    _ => {}
                }
                assert_eq!(asked.header("content-type"), Some("application/x-protobuf"));
                match path {
                    "/api/client/v1/ingest" => self.ingest(&asked.body),
                    "/api/client/v1/ingest/check" => self.check(&asked.body),
                    _ => refusal(404),
                }
            }
        }
    }

    fn resolve(&self, shown: &mut Shown) {
        if let Shown::Reference { path, bytes, mime } = shown
            && let Some((own, content)) = self.files.get(path)
        {
            assert_eq!((content.len() as u64, own), (*bytes, &*mime), "{path}");
            *shown = Shown::File { mime: mime.clone(), content: content.clone() };
        }
    }

    fn sign(&mut self, host: &str, body: &[u8]) -> Answer {
        let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
        let sign = |file: &serde_json::Value| {
            let path = file["path"].as_str().unwrap();
            assert_eq!((&file["permission"], &file["project_identifier"]), (&"write".into(), &"team/digits".into()));
            let hex: String = path.bytes().map(|byte| format!("{byte:02x}")).collect();
            let kind = if self.provider.is_empty() { "gcp" } else { self.provider };
            let url = format!("{host}/storage/{kind}/{hex}?sig={SECRET}");
            let mut signed = serde_json::json!({
                "path": path, "project_identifier": "team/digits", "url": url,
                "provider": kind.split('-').next(),
            });
            let size = file["size"].as_u64().unwrap();
            if kind == "aws-parts" {
                let urls: Vec<_> =
                    (0..size.div_ceil(PART).max(1)).map(|i| format!("{url}&part={:05}", i + 1)).collect();
                signed["multipart"] = serde_json::json!({"upload_id": hex, "part_size": PART, "part_urls": urls});
            }
            signed
        };
        let files: Vec<_> = asked["files"].as_array().unwrap().iter().map(sign).collect();
        Answer::Ok(serde_json::json!({ "files": files }).to_string())
    }

    /// As the storages of Google, Amazon and Microsoft do.
    fn store(&mut self, asked: &Asked, path: &str) -> Answer {
        let status = |status, headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Answer::Status(status, headers, String::new())
        };
        let query = |name: &str| {
            let query = asked.path.split_once('?').unwrap().1.split('&').map(|item| item.split_once('=').unwrap());
            query.into_iter().find(|item| item.0 == name).map(|item| item.1.replace("%3D", "="))
        };
        let [_, _, kind, hex] = path.split('/').collect::<Vec<_>>()[..] else { return refusal(404) };
        let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        let file = String::from_utf8(bytes.collect()).unwrap();
        assert_eq!(query("sig").as_deref(), Some(SECRET));
        if self.refuses_file.is_some_and(|part| file.contains(part)) {
            return refusal(403);
        }
        let mime = asked.header("content-type").unwrap_or_default().to_owned();
        match (kind, asked.method.as_str()) {
            ("gcp", "POST") => {
                assert_eq!(asked.header("x-goog-resumable"), Some("start"));
                self.parts.insert(file.clone(), BTreeMap::from([(mime, Vec::new())]));
                let place = format!("http://{}{}", asked.header("host").unwrap(), asked.path);
                status(201, &[("Location", &place)])
            }
            ("gcp", _) => {
                let range = asked.header("content-range").unwrap().strip_prefix("bytes ").unwrap();
                let (range, size) = range.split_once('/').unwrap();
                let (mime, content) = self.parts.get_mut(&file).unwrap().iter_mut().next().unwrap();
                if range != "*" {
                    let (begin, end) = range.split_once('-').unwrap();
                    assert_eq!(begin.parse(), Ok(content.len()));
                    assert_eq!(end.parse::<usize>().unwrap() + 1 - content.len(), asked.body.len());
                    // It takes less than it gets, if that is much.
                    content.extend(&asked.body[..asked.body.len().min(3 << 20)]);
                }
                if content.len() < size.parse().unwrap() {
                    return status(308, &[("Range", &format!("bytes=0-{}", content.len() - 1))]);
                }
                self.files.insert(file, (mime.clone(), content.clone()));
                status(200, &[])
            }
            ("azure", _) => {
                match query("comp").as_deref() {
                    Some("block") => {
                        self.parts.entry(file).or_default().insert(query("blockid").unwrap(), asked.body.clone());
                    }
                    Some("blocklist") => {
                        let list = String::from_utf8(asked.body.clone()).unwrap();
                        let blocks = list.split("<Latest>").skip(1).map(|rest| rest.split('<').next().unwrap());
                        let content = blocks.flat_map(|id| self.parts[&file][id].clone()).collect();
                        let mime = asked.header("x-ms-blob-content-type").unwrap().to_owned();
                        self.files.insert(file, (mime, content));
                    }
                    _ => {
                        assert_eq!(asked.header("x-ms-blob-type"), Some("BlockBlob"));
                        let mime = asked.header("x-ms-blob-content-type").map_or(mime, str::to_owned);
                        self.files.insert(file, (mime, asked.body.clone()));
                    }
                }
                status(201, &[("ETag", "\"1\""), ("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")])
            }
            ("aws", _) => {
                self.files.insert(file, (mime, asked.body.clone()));
                status(200, &[("ETag", "\"1\"")])
            }
            ("aws-parts", _) => {
                let part = query("part").unwrap();
                let tag = format!("\"{mime} {part}\"");
                self.parts.entry(file).or_default().insert(tag.trim_matches('"').to_owned(), asked.body.clone());
                status(200, &[("ETag", &tag)])
            }
            _ => refusal(404),
        }
    }

    fn complete(&mut self, body: &[u8]) -> Answer {
        let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
        let file = asked["path"].as_str().unwrap();
        let parts = self.parts.remove(file).unwrap();
        let mut tags: Vec<_> = asked["parts"].as_array().unwrap().iter().collect();
        tags.sort_by_key(|part| part["part_number"].as_u64());
        let tags: Vec<&str> = tags.into_iter().map(|part| part["etag"].as_str().unwrap()).collect();
        let content = tags.iter().flat_map(|tag| parts[*tag].clone()).collect();
        self.files.insert(file.to_owned(), (tags[0].split(' ').next().unwrap().to_owned(), content));
        Answer::Status(204, Vec::new(), String::new())
    }

    fn ingest(&mut self, body: &[u8]) -> Answer {
        self.ingested += 1;
        self.longest_request = self.longest_request.max(body.len());
        assert!(body.len() <= 16 << 20, "{}", body.len());
        let fields = fields(body);
        let (project, id) = (text(&fields, 1), text(&fields, 2));
        let run = self.runs.entry((project, id.clone())).or_default();
        let mut codes = BTreeMap::new();
        for (number, field) in &fields {
            match number {
                6 => {
                    let create = self::fields(field.bytes());
                    assert_eq!(text(&create, 4), id);
                    run.created += 1;
                    run.experiment = text(&create, 5);
                    *codes.entry(if run.created > 1 { (6, 11) } else { (0, 0) }).or_default() += 1;
                }
                8 => {
                    for (_, snapshot) in self::fields(field.bytes()) {
                        let nan = self.refuses_nan;
                        update(run, snapshot.bytes(), nan, &mut codes, &mut self.duplicates, &mut self.refused);
                    }
                }
                _ => {}
            }
        }
        let request = format!("request-{}", self.ingested);
        let mut reply = Vec::new();
        put(&mut reply, 1, request.as_bytes());
        put(&mut reply, 2, request.as_bytes());
        self.requests.insert(request, (0, codes));
        Answer::Bytes(reply)
    }

    /// The first time it says that it is not done yet.
    fn check(&mut self, body: &[u8]) -> Answer {
        let mut reply = Vec::new();
        for (_, id) in fields(body) {
            let (asked, codes) = self.requests.get_mut(&text(&fields(id.bytes()), 1)).unwrap();
            *asked += 1;
            let busy = BTreeMap::from([((14, 0), 1)]);
            let mut status = Vec::new();
            for ((code, detail), count) in if *asked == 1 { &busy } else { &*codes } {
                let mut by_count = Vec::new();
                [(1, code), (2, count), (3, detail)].iter().for_each(|(field, number)| {
                    by_count.push(field << 3);
                    varint(&mut by_count, **number);
                });
                put(&mut status, 1, &by_count);
            }
            put(&mut reply, 1, &status);
        }
        Answer::Bytes(reply)
    }
}

fn update(
    run: &mut Run,
    snapshot: &[u8],
    refuses_nan: bool,
    codes: &mut Codes,
    duplicates: &mut usize,
    refused: &mut Vec<String>,
) {
    assert!(snapshot.len() <= 2 << 20, "{}", snapshot.len());
    let fields = fields(snapshot);
    let sub = |number| fields.iter().find(|(n, _)| *n == number).map(|(_, field)| self::fields(field.bytes()));
    let step = sub(1).map(|step| number(&step, 1) * MICRO + number(&step, 2));
    let time = sub(2).map(|time| (number(&time, 1), number(&time, 2))).unwrap();
    // Each is a map: of two items with the same name one would be lost.
    let mut names = std::collections::BTreeSet::new();
    for (map, field) in &fields {
        if [4, 5, 8].contains(map) {
            assert!(names.insert((map, text(&self::fields(field.bytes()), 1))));
        }
        let entry = self::fields(field.try_bytes().unwrap_or_default());
        let mut code = (0, 0);
        match map {
            4 => {
                let value = self::fields(entry[1].1.bytes());
                let value = match &value[0] {
                    (1, Field::Fixed(bits)) => Value::Float(f64::from_bits(*bits)),
                    (3, Field::Varint(number)) => Value::Int(*number as i64),
                    (5, Field::Varint(number)) => Value::Bool(*number == 1),
                    (6, field) => Value::Text(String::from_utf8(field.bytes().to_vec()).unwrap()),
                    (13, file) => Value::File(reference(file)),
                    other => panic!("{other:?}"),
                };
                let name = text(&entry, 1);
                assert!(name.len() <= 1024);
                run.attributes.insert(name, value);
            }
            5 => {
                assert_eq!(text(&entry, 1), "sys/tags");
                let strings = self::fields(self::fields(entry[1].1.bytes())[0].1.bytes());
                for (_, string) in strings {
                    let tag = self::fields(string.bytes());
                    assert_eq!(number(&tag, 2), 1);
                    run.tags.push(text(&tag, 1));
                }
            }
            8 => {
                let name = text(&entry, 1);
                assert!((1..=1024).contains(&name.len()));
                let value = self::fields(entry[1].1.bytes());
                let step = step.unwrap();
                let last_time = run.last_time.entry(name.clone()).or_default();
                let last;
                let is_there;
                match &value[..] {
                    [(1, Field::Fixed(bits))] => {
                        let all = if name.starts_with("runtime/") { &mut run.monitoring } else { &mut run.series };
                        let series = all.entry(name.clone()).or_default();
                        (last, is_there) = (series.last().map(|last| last.0), series.contains(&(step, *bits)));
                        if refuses_nan && !f64::from_bits(*bits).is_finite() {
                            code = (3, 32);
                        } else if !is_there && last < Some(step) && *last_time <= time {
                            series.push((step, *bits));
                        }
                    }
                    [(kind, field)] => {
                        let shown = match kind {
                            6 => Shown::Text(String::from_utf8(field.bytes().to_vec()).unwrap()),
                            13 => reference(field),
                            14 => histogram(field.bytes()),
                            other => panic!("{other}"),
                        };
                        let series = run.shown.entry(name.clone()).or_default();
                        let point = (step, shown);
                        (last, is_there) = (series.last().map(|last| last.0), series.contains(&point));
                        if !is_there && last < Some(step) && *last_time <= time {
                            series.push(point);
                        }
                    }
                    other => panic!("{other:?}"),
                }
                if code != (0, 0) {
                } else if is_there {
                    *duplicates += 1;
                    code = (6, 24);
                } else if last >= Some(step) {
                    refused.push(format!("{name}: {step} after {last:?}"));
                    code = (9, 25);
                } else if *last_time > time {
                    refused.push(format!("{name}: {time:?} after {last_time:?}"));
                    code = (9, 27);
                } else {
                    *last_time = time;
                }
            }
            _ => continue,
        }
        *codes.entry(code).or_default() += 1;
    }
}

fn reference(field: &Field) -> Shown {
    let file = fields(field.bytes());
    let (path, bytes, mime) = (text(&file, 1), number(&file, 2), text(&file, 3));
    assert!(!path.is_empty() && path.chars().count() <= 800 && mime.len() <= 128);
    Shown::Reference { path, bytes, mime }
}

fn histogram(bytes: &[u8]) -> Shown {
    let own = fields(bytes);
    let doubles =
        |list: &[u8]| list.chunks(8).map(|own| u64::from_le_bytes(own.try_into().unwrap())).collect::<Vec<_>>();
    let edges = doubles(own[0].1.bytes());
    assert!((2..=513).contains(&edges.len()) && own[0].0 == 1);
    let bins = fields(own[1].1.bytes());
    let bins = match own[1].0 {
        4 => varints(bins[0].1.bytes()),
        5 => doubles(bins[0].1.bytes()),
        other => panic!("{other}"),
    };
    assert_eq!(edges.len(), bins.len() + 1);
    Shown::Histogram(edges, bins)
}

// ---- protocol buffers, as plainly as can be ----

#[derive(Clone, Debug)]
enum Field {
    Varint(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn try_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
    fn bytes(&self) -> &[u8] {
        self.try_bytes().unwrap()
    }
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn take(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = take(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Varint(take(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Fixed(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let length = take(&mut bytes) as usize;
                let (own, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(own.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, field));
    }
    all
}

fn varints(bytes: &[u8]) -> Vec<u64> {
    bytes
        .split_inclusive(|byte| *byte < 0x80)
        .map(|own| own.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)))
        .collect()
}

fn text(fields: &[(u64, Field)], number: u64) -> String {
    let field = fields.iter().find(|(n, _)| *n == number);
    field.map_or_else(String::new, |(_, field)| String::from_utf8(field.bytes().to_vec()).unwrap())
}

fn number(fields: &[(u64, Field)], number: u64) -> u64 {
    fields.iter().find(|(n, _)| *n == number).map_or(0, |(_, field)| match field {
        Field::Varint(number) => *number,
        other => panic!("{other:?}"),
    })
}

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}
