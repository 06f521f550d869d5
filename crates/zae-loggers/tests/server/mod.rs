//! A small HTTP server that behaves as badly as it is told to.

// Not every test uses everything.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A whole reply of JSON.
    Ok(String),
    /// A status with headers and a body.
    Status(u16, Vec<(String, String)>, String),
    /// Nothing, for as long as the server is there.
    Nothing,
    /// The beginning of a reply, and then the connection is closed.
    Truncated,
    /// A reply that comes byte by byte, and never ends.
    Drip,
}

/// Listens on a port of loopback until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    pub(crate) requests: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers with `answer`, on a port of the system's choice.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same on a given address: a server that is back.
    pub(crate) fn start_on(address: SocketAddr, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (stopped, connections) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<TcpStream>>>::default());
        let requests = Arc::new(AtomicU64::new(0));
        let (is_stopped, all, answer, count) =
            (stopped.clone(), connections.clone(), Arc::new(answer), requests.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                all.lock().unwrap().push(stream.try_clone().unwrap());
                let (answer, count, is_stopped) = (answer.clone(), count.clone(), is_stopped.clone());
                thread::spawn(move || serve(&stream, &*answer, &count, &is_stopped));
            }
        });
        Self { address, stopped, connections, requests, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// It dies: connections break, and nobody listens any more.
impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
        self.connections.lock().unwrap().iter().for_each(|stream| {
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Asked) -> Answer, count: &AtomicU64, stopped: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let mut to = stream;
        let sent = match answer(&asked) {
            Answer::Ok(body) => reply(to, 200, &[], &body),
            Answer::Status(status, headers, body) => reply(to, status, &headers, &body),
            Answer::Nothing => {
                // Until the other side gives up, or the server dies.
                let _ = reader.read(&mut [0; 1]);
                return;
            }
            Answer::Truncated => {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"data\":");
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Answer::Drip => {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                while to.write_all(b" ").is_ok() {
                    thread::sleep(std::time::Duration::from_millis(20));
                }
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn reply(mut to: &TcpStream, status: u16, headers: &[(String, String)], body: &str) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    to.write_all(format!("{head}\r\n{body}").as_bytes())
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut asked = Asked { method, path, headers, body: Vec::new() };
    if asked.header("expect").is_some() {
        let mut to = *reader.get_ref();
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    if asked.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            asked.body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = asked.header("content-length") {
        asked.body.resize(length.parse().ok()?, 0);
        reader.read_exact(&mut asked.body).ok()?;
    }
    Some(asked)
}
