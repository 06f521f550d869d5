//! A page in a real browser without a window, with the hands of a reader: mouse, keys, fingers. Spoken to in the DevTools protocol,
//! over the browser's file descriptors 3 and 4.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// No answer takes this long, however busy the machine is.
const LONG: Duration = Duration::from_secs(300);

/// How the page is looked at.
#[derive(Clone, Copy)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub phone: bool,
}

pub const DESKTOP: Screen = Screen { width: 1280, height: 1000, dark: false, phone: false };
pub const DARK: Screen = Screen { dark: true, ..DESKTOP };
pub const PHONE: Screen = Screen { width: 360, height: 800, dark: false, phone: true };

/// What scripts of tests have at hand.
const HANDS: &str = "
    window.all = (what, from = document) => [...from.querySelectorAll(what)];
    window.one = (what, from = document) => {
        const found = all(what, from);
        if (found.length !== 1) throw new Error(`${found.length} of ${what}`);
        return found[0];
    };
    window.frame = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
    window.chart = (title) => one(`figure[data-chart=\"${title}\"]`);
    window.labels = (title) => all('.plot text', chart(title)).map((text) => text.textContent);
    window.points = (title, kind) => all(`.plot path.${kind}`, chart(title)).map((path) => Number(path.dataset.points));
    // The numbers of a path's places.
    window.places = (path) => path.getAttribute('d').match(/-?[0-9.]+/g).map(Number);
";

/// The program, which is closed when this is dropped.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    sent: u64,
    /// What has gone wrong in the page, and what it has asked the network for.
    wrong: Vec<String>,
    requests: Vec<String>,
    session: Option<String>,
    _profile: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The shell moves the descriptors to where the browser looks for them.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null"])
            .arg(program())
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, messages) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let (wrong, requests) = (Vec::new(), Vec::new());
        Self { child, input, messages, sent: 0, wrong, requests, session: None, _profile: profile }
    }

    /// Opens a page in a new tab.
    pub fn open(&mut self, page: &Path, screen: Screen) {
        self.session = None;
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        let Screen { width, height, dark, phone } = screen;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call("Emulation.setTouchEmulationEnabled", json!({"enabled": phone}));
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.call("Emulation.setEmulatedMedia", json!({"features": [scheme]}));
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": HANDS}));
        let url = format!("file://{}", page.canonicalize().unwrap().display());
        self.call("Page.navigate", json!({"url": url}));
        let loaded = "new Promise((go) => document.readyState === 'complete' ? go() : addEventListener('load', go))";
        self.ask(&format!("{loaded}.then(frame).then(() => null)"));
        assert_eq!(self.ask("innerWidth"), width, "something is wider than the screen");
    }

    /// The value of an expression, a promise's once it is there.
    pub fn ask(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked);
        if let Some(thrown) = answer.get("exceptionDetails") {
            panic!("{expression}: {thrown}");
        }
        answer["result"]["value"].clone()
    }

    /// Where an element is, scrolled to if need be.
    fn find(&mut self, element: &str) -> [f64; 4] {
        let script = format!(
            "(() => {{ const it = one(`{element}`); it.scrollIntoView({{ block: 'center' }}); \
             const {{ x, y, width, height }} = it.getBoundingClientRect(); return [x, y, width, height]; }})()"
        );
        let found = self.ask(&script);
        [0, 1, 2, 3].map(|i| found[i].as_f64().unwrap())
    }

    fn mouse(&mut self, kind: &str, [x, y]: [f64; 2], clicks: u32) {
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": clicks});
        self.call("Input.dispatchMouseEvent", event);
    }

    pub fn click(&mut self, element: &str) {
        let [x, y, width, height] = self.find(element);
        let at = [x + width / 2.0, y + height / 2.0];
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 1);
        self.ask("frame().then(() => null)");
    }

    pub fn double_click(&mut self, element: &str) {
        let [x, y, width, height] = self.find(element);
        let at = [x + width / 2.0, y + height / 2.0];
        for clicks in [1, 2] {
            self.mouse("mousePressed", at, clicks);
            self.mouse("mouseReleased", at, clicks);
        }
        self.ask("frame().then(() => null)");
    }

    /// Moves the mouse to a part of an element's width.
    pub fn hover(&mut self, element: &str, part: f64) {
        let [x, y, width, height] = self.find(element);
        let at = json!({"type": "mouseMoved", "x": x + width * part, "y": y + height / 2.0, "button": "none"});
        self.call("Input.dispatchMouseEvent", at);
        self.ask("frame().then(() => null)");
    }

    /// Drags the mouse from one part of an element's width to another.
    pub fn drag(&mut self, element: &str, from: f64, to: f64) {
        let [x, y, width, height] = self.find(element);
        let at = |part: f64| [x + width * part, y + height / 2.0];
        self.mouse("mousePressed", at(from), 1);
        self.mouse("mouseMoved", at((from + to) / 2.0), 0);
        self.mouse("mouseMoved", at(to), 0);
        self.mouse("mouseReleased", at(to), 1);
        self.ask("frame().then(() => null)");
    }

    /// The same with a finger.
    pub fn swipe(&mut self, element: &str, from: f64, to: f64) {
        let [x, y, width, height] = self.find(element);
        let at = |part: f64| json!([{"x": x + width * part, "y": y + height / 2.0}]);
        let touch = |kind: &str, points: Value| json!({"type": kind, "touchPoints": points});
        self.call("Input.dispatchTouchEvent", touch("touchStart", at(from)));
        for i in 1..=5 {
            self.call("Input.dispatchTouchEvent", touch("touchMove", at(from + (to - from) * f64::from(i) / 5.0)));
        }
        self.call("Input.dispatchTouchEvent", touch("touchEnd", json!([])));
        self.ask("frame().then(() => null)");
    }

    /// Presses a key, with what it writes.
    pub fn key(&mut self, key: &str) {
        let code = match key {
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "Escape" => 27,
            "Tab" => 9,
            _ => 0,
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if code == 0 {
            event["text"] = json!(key);
        }
        self.call("Input.dispatchKeyEvent", event);
        self.call(
            "Input.dispatchKeyEvent",
            json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}),
        );
        self.ask("frame().then(() => null)");
    }

    /// Takes a picture of what is on the screen, or of the whole page.
    pub fn picture(&mut self, to: &Path, whole: bool) {
        let taken = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": whole, "format": "png"}));
        fs::write(to, BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Nothing went wrong in the page, and it has loaded nothing but itself.
    pub fn assert_well(&mut self) {
        // What the page has caused is told before the answer.
        self.ask("frame().then(() => null)");
        assert_eq!(self.wrong, Vec::<String>::new());
        let others: Vec<_> = self.requests.iter().filter(|url| !url.starts_with("file:") && *url != "data:,").collect();
        assert_eq!(others, Vec::<&String>::new());
        assert!(self.requests.iter().all(|url| url.ends_with(".html") || url == "data:,"), "{:?}", self.requests);
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(LONG).expect("the browser is gone or says nothing");
            if message["id"] == self.sent {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.wrong.push(params["exceptionDetails"].to_string()),
            "Log.entryAdded" => self.wrong.push(params["entry"].to_string()),
            "Runtime.consoleAPICalled" => self.wrong.push(params.to_string()),
            "Network.requestWillBeSent" => self.requests.push(params["request"]["url"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let known = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let program = std::env::var_os("ZAE_CHROMIUM").map(PathBuf::from);
    let program = program.or_else(|| known.iter().find(|name| in_path(name)).map(PathBuf::from));
    program.expect("there is no Chromium in PATH: install the package `chromium`, or say in ZAE_CHROMIUM where it is")
}
