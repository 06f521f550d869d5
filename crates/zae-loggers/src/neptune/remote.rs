//! [`Server`]: what the database holds, on its way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    database::{Batch, Database, Operation},
    ledger::Ledger,
    reply::{self, Code},
    session::Session,
    storage::Storage,
    store::Run,
};
use zae_core::error::Fallible;

use crate::{
    News,
    http::{Failure, escaped},
    protobuf::Message,
    upload::{Remote, Sent},
};

/// Bytes of operations in a request. Neptune takes four times as much; a request that fails is made again as a whole.
const MOST: usize = 4 << 20;
/// How soon, and how often at least, it is asked what became of a request.
const FIRST_CHECK: Duration = Duration::from_millis(50);
const LONGEST_CHECK: Duration = Duration::from_secs(1);
/// gRPC's code for what is not done yet.
const UNAVAILABLE: u64 = 14;

/// Neptune's numbers for why it has refused values.
const NAMES: [(u64, &str); 17] = [
    (8, "PROJECT_NOT_FOUND"),
    (9, "PROJECT_INVALID_NAME"),
    (10, "RUN_NOT_FOUND"),
    (12, "RUN_CONFLICTING"),
    (14, "RUN_INVALID_CREATION_PARAMETERS"),
    (16, "FIELD_PATH_EXCEEDS_SIZE_LIMIT"),
    (18, "FIELD_PATH_INVALID"),
    (19, "FIELD_PATH_NON_WRITABLE"),
    (20, "FIELD_TYPE_UNSUPPORTED"),
    (21, "FIELD_TYPE_CONFLICTING"),
    (25, "SERIES_STEP_NON_INCREASING"),
    (27, "SERIES_TIMESTAMP_DECREASING"),
    (32, "FLOAT_VALUE_NAN_INF_UNSUPPORTED"),
    (36, "STRING_VALUE_EXCEEDS_SIZE_LIMIT"),
    (37, "STRING_SET_EXCEEDS_SIZE_LIMIT"),
    (63, "INGEST_SUSPENDED"),
    (64, "INTERNAL"),
];

/// The server of a run. An operation leaves the database when the server has said what became of it, as with Neptune's own
/// client: so the database holds what the server has not got, and `neptune sync` can go on at any time. An operation that
/// comes twice counts once, for Neptune knows the points of a series by their steps.
pub(super) struct Server {
    session: Session,
    folder: PathBuf,
    run: Run,
    /// How long Neptune may take to work a request off.
    patience: Duration,
    news: News,
    /// Refusals that were told.
    told: BTreeSet<u64>,
    storage: Storage,
    /// Files that were not taken, by their destinations, and why.
    refused: BTreeMap<String, String>,
}

impl Server {
    pub(super) fn new(session: Session, folder: PathBuf, run: Run, patience: Duration, news: News) -> Fallible<Self> {
        let storage = Storage::new(patience)?;
        Ok(Self { session, folder, run, patience, news, told: BTreeSet::new(), storage, refused: BTreeMap::new() })
    }

    /// `RunOperation`.
    fn request(&self, batch: &Batch) -> Vec<u8> {
        let mut body = Vec::with_capacity(batch.bytes + 4096);
        let mut message = Message::new(&mut body);
        message.string(1, &self.run.project).string(2, &self.run.run_id);
        match (batch.kind, &batch.operations[..]) {
            (Operation::Create, [create, ..]) => message.bytes(6, create),
            (_, updates) => message.message(8, |snapshots| {
                for update in updates {
                    snapshots.bytes(1, update);
                }
            }),
        };
        body
    }

    /// Waits until the server says what became of a request.
    fn check(&mut self, request: &str, go_on: &dyn Fn() -> bool) -> Result<Vec<Code>, Failure> {
        let path = format!("/api/client/v1/ingest/check?projectIdentifier={}", escaped(&self.run.project));
        let mut body = Vec::new();
        Message::new(&mut body).message(1, |id| {
            id.string(1, request);
        });
        let until = Instant::now() + self.patience;
        let mut pause = FIRST_CHECK;
        loop {
            let reply = self.session.post(&path, &body)?;
            let codes = reply::status(&reply).ok_or_else(|| not_neptune("what became of a request"))?;
            if !codes.iter().any(|code| code.code == UNAVAILABLE) {
                return Ok(codes);
            }
            if Instant::now() + pause > until {
                return Err(Failure::passing("the server takes its time to work off what was sent"));
            }
            let next = Instant::now() + pause;
            while go_on() && Instant::now() < next {
                thread::sleep(FIRST_CHECK);
            }
            if !go_on() {
                return Err(Failure::passing("nobody waits any longer"));
            }
            pause = (pause * 2).min(LONGEST_CHECK);
        }
    }

    /// What the codes of a request mean for the run. If it is no error, the request is done.
    fn judge(&mut self, codes: &[Code]) -> Result<(), Failure> {
        let refused = codes.iter().filter(|code| code.code != 0);
        for &Code { code, count, detail } in refused {
            let name = NAMES.iter().find(|(number, _)| *number == detail).map_or("", |(_, name)| name);
            let text = format!("code {detail} {name}");
            match detail {
                // The project or the run.
                8 | 9 | 10 | 14 => {
                    return Err(Failure::lasting(format!("the server refuses `{}`: {text}", self.run.project)));
                }
                0 | 63 | 64 => return Err(Failure::passing(format!("the server is in trouble: gRPC {code}, {text}"))),
                // It has them already: they came twice.
                11 | 24 => {}
                _ if self.told.insert(detail) => {
                    self.news.warn(format!("neptune: the server has refused {count} values: {text}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Server {
    fn send_operations(&mut self, database: &Database, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        let (last, request) = match database.submission().map_err(local)? {
            Some(pending) => pending,
            None => {
                let ledger = Ledger::existing(&self.folder).map_err(local)?;
                let end = ledger.last().map_err(local)?.operation;
                let Some(batch) = database.batch(end, MOST).map_err(local)? else { return Ok(Sent::All) };
                ledger.set_sent(batch.last).map_err(local)?;
                let body = self.request(&batch);
                let reply = self.session.post("/api/client/v1/ingest", &body)?;
                let request = reply::request_id(&reply).ok_or_else(|| not_neptune("a request"))?;
                if !go_on() {
                    return Ok(Sent::More);
                }
                database.submit(batch.last, &request).map_err(local)?;
                (batch.last, request)
            }
        };
        let checked = self.check(&request, go_on);
        if !go_on() {
            return Ok(Sent::More);
        }
        let refused = match checked {
            Ok(codes) => self.judge(&codes).err(),
            Err(failure) if failure.is_final() => Some(failure),
            // The next time it is asked again.
            Err(failure) => return Err(failure),
        };
        match refused {
            None => database.forget(last).map(|()| Sent::More).map_err(local),
            // It is sent again, now or by another process.
            Some(failure) => database.withdraw().map_err(local).and(Err(failure)),
        }
    }

    /// Uploads one file. One that is refused stays in the database; all others are uploaded nevertheless.
    fn send_file(&mut self, database: &Database, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        let end = Ledger::existing(&self.folder).and_then(|ledger| ledger.last()).map_err(local)?.file;
        let all = database.pending(end, self.refused.len() + 1).map_err(local)?;
        let Some(pending) = all.iter().find(|pending| !self.refused.contains_key(&pending.destination)) else {
            // What is there still, in spite of other processes that upload.
            self.refused.retain(|destination, _| all.iter().any(|pending| pending.destination == *destination));
            return Ok(Sent::All);
        };
        match self.storage.upload(&mut self.session, &self.run.project, pending, go_on) {
            Ok(()) if go_on() => {
                // In this order: one that is killed in between leaves a file too much, and not one too few.
                database.uploaded(pending.id).map_err(local)?;
                if pending.is_temporary {
                    let _ = fs::remove_file(&pending.source);
                }
                Ok(Sent::More)
            }
            Ok(()) => Ok(Sent::More),
            Err(failure) if failure.is_final() => {
                if self.refused.is_empty() {
                    self.news.warn(format!("neptune: a file is not uploaded: {failure}"));
                }
                self.refused.insert(pending.destination.clone(), failure.to_string());
                Ok(Sent::More)
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Remote for Server {
    fn send(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        // Opened anew each time: it may be another one, if `neptune sync` has drained the one before.
        let Some(database) = Database::existing(&self.folder).map_err(local)? else { return Ok(Sent::All) };
        if self.send_operations(&database, go_on)? == Sent::More || self.send_file(&database, go_on)? == Sent::More {
            return Ok(Sent::More);
        }
        match self.refused.values().next() {
            Some(why) if ending => {
                Err(Failure::lasting(format!("{} files are not uploaded, such as one of {why}", self.refused.len())))
            }
            _ => Ok(Sent::All),
        }
    }
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::passing(format!("its own files cannot be used: {error}"))
}

fn not_neptune(asked: &str) -> Failure {
    Failure::passing(format!("the server's answer to {asked} is none of Neptune's"))
}
