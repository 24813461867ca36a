//! Headless Chromium, driven over its DevTools protocol.
//!
//! Knows how the browser is started and asked; must not know what a page shows.

use crate::corpus;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tungstenite::{Message, WebSocket, client};

/// A longer answer than this is none.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command line: no sandbox, since tests may run as root; one process; nothing that calls out.
const FLAGS: &[&str] = &[
    "--headless=shell",
    "--remote-debugging-port=0",
    "--no-sandbox",
    "--no-zygote",
    "--single-process",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1500,1000",
];

/// A browser with one page. It ends with this value.
pub struct Page {
    process: Child,
    _profile: tempfile::TempDir,
    socket: WebSocket<TcpStream>,
    /// What the browser said to its terminal.
    words: Arc<Mutex<String>>,
    session: Option<String>,
    calls: u64,
    /// Events so far: method and parameters.
    events: Vec<(String, Value)>,
}

impl Page {
    /// Starts the browser of the corpus with an empty page.
    pub fn start() -> Page {
        let home = corpus::made_by("browser.py", &["fetch.py"]);
        let profile = tempfile::tempdir().expect("a folder");
        // The package's own names folders of another machine; without any font the browser dies.
        let fonts = profile.path().join("fonts.conf");
        let folders =
            format!("<dir>{}</dir><cachedir>{}</cachedir>", home.join("fonts").display(), profile.path().display());
        let doctype = "<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">";
        std::fs::write(&fonts, format!("<?xml version=\"1.0\"?>{doctype}<fontconfig>{folders}</fontconfig>"))
            .expect("written");
        let mut process = Command::new(home.join("chromium"))
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("LD_LIBRARY_PATH", home.join("lib"))
            .env("FONTCONFIG_FILE", fonts)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut said = String::new();
        let address = lines.find_map(|line| {
            said += &format!("{line}\n");
            line.strip_prefix("DevTools listening on ").map(str::to_string)
        });
        let address = address.unwrap_or_else(|| panic!("the browser gives no address:\n{said}"));
        // Whatever else it says must be read, or it would stop.
        let words = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&words);
        std::thread::spawn(move || lines.for_each(|line| *said.lock().expect("one writer") += &format!("{line}\n")));
        let host = address.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(host).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (socket, _) = client(address.as_str(), stream).expect("a web socket");
        let mut page = Page { process, words, _profile: profile, socket, session: None, calls: 0, events: Vec::new() };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        page.session = page.call("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_string);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page
    }

    /// Calls a method of the protocol and gives its result.
    ///
    /// Panics with the browser's words when it fails.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).expect("the browser listens");
        loop {
            let answer = self.receive();
            if answer["id"].as_u64() == Some(self.calls) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        loop {
            let message = self.socket.read().unwrap_or_else(|e| {
                panic!("the browser is gone: {e}\n{}", self.words.lock().expect("whole"));
            });
            if let Message::Text(text) = message {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                if let Some(method) = value["method"].as_str() {
                    self.events.push((method.to_string(), value["params"].clone()));
                }
                return value;
            }
        }
    }

    /// Opens a file and waits until all of it is loaded.
    pub fn open(&mut self, file: &Path) {
        let from = self.events.len();
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        while !self.events[from..].iter().any(|(m, _)| m == "Page.loadEventFired") {
            self.receive();
        }
    }

    /// The value of a JavaScript expression; a promise is waited for.
    ///
    /// Panics when it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// A number.
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.value(expression);
        value.as_f64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// Waits until the next picture is painted.
    pub fn painted(&mut self) {
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))");
    }

    /// Moves the mouse over the middle of an element, shifted by so many pixels, and does something there.
    pub fn mouse(&mut self, kind: &str, selector: &str, shift: (f64, f64), more: Value) {
        let find = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let at = self.value(&find);
        let at = |i: usize, by: f64| at[i].as_f64().expect("a position") + by;
        let mut params = json!({ "type": kind, "x": at(0, shift.0), "y": at(1, shift.1) });
        if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
            params.extend(more);
        }
        self.call("Input.dispatchMouseEvent", params);
        self.painted();
    }

    /// Presses and releases the left button there.
    pub fn click(&mut self, selector: &str, shift: (f64, f64)) {
        for kind in ["mousePressed", "mouseReleased"] {
            self.mouse(kind, selector, shift, json!({ "button": "left", "clickCount": 1 }));
        }
    }

    /// What went wrong on the page: errors thrown and logged, and whatever it asked of anything but files.
    pub fn complaints(&self) -> Vec<String> {
        let of = |(method, params): &(String, Value)| {
            let url = params["request"]["url"].as_str().unwrap_or_default();
            let bad = match method.as_str() {
                "Runtime.exceptionThrown" => true,
                "Log.entryAdded" => params["entry"]["level"] == "error",
                "Network.requestWillBeSent" => !url.starts_with("file:") && !url.starts_with("about:"),
                _ => false,
            };
            bad.then(|| format!("{method}: {params}"))
        };
        self.events.iter().filter_map(of).collect()
    }

    /// A picture of what is in view, as PNG, in base 64.
    pub fn picture(&mut self) -> String {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        answer["data"].as_str().expect("a picture").to_string()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
