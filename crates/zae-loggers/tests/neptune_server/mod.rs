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
/// Something in every token, to look for.
pub(crate) const SECRET: &str = "hunter2hunter2";

/// A value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Float(f64),
    Int(i64),
    Bool(bool),
    Text(String),
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
    /// The only access token that is taken.
    access: String,
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
        seen.runs.values().next().unwrap().clone()
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
                self.access =
                    format!("{}.{claims}.{}", part(r#"{"alg": "HS256", "typ": "JWT"}"#.into()), part("x".into()));
                let access = &self.access;
                Answer::Ok(format!(r#"{{"accessToken": "{access}", "refreshToken": "{access}", "username": "me"}}"#))
            }
            path => {
                if asked.header("authorization") != Some(&format!("Bearer {}", self.access)) {
                    self.unauthorised += 1;
                    return refusal(401);
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
                let [(1, Field::Fixed(bits))] = value[..] else { panic!("{value:?}") };
                let point = (step.unwrap(), bits);
                let series = run.series.entry(name.clone()).or_default();
                let last_time = run.last_time.entry(name.clone()).or_default();
                if refuses_nan && !f64::from_bits(bits).is_finite() {
                    code = (3, 32);
                } else if series.contains(&point) {
                    *duplicates += 1;
                    code = (6, 24);
                } else if series.last().is_some_and(|last| last.0 >= point.0) {
                    refused.push(format!("{name}: {point:?} after {:?}", series.last()));
                    code = (9, 25);
                } else if *last_time > time {
                    refused.push(format!("{name}: {time:?} after {last_time:?}"));
                    code = (9, 27);
                } else {
                    series.push(point);
                    *last_time = time;
                }
            }
            _ => continue,
        }
        *codes.entry(code).or_default() += 1;
    }
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
