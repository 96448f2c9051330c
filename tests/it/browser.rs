//! A headless Chromium, driven through chromedriver's WebDriver interface over plain HTTP.
//!
//! Where there is none, a test says SKIPPED, which is counted; with `MEDHARNESS_REQUIRE_CHROMIUM`
//! set, as in CI, it fails.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// Switches that keep the browser quiet and off the network.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
];

/// One browser with one page; both end when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser; `None`, and said so, where there is none.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        let (Some(driver), Some(chromium)) =
            (on_path("chromedriver"), on_path("chromium").or_else(|| on_path("google-chrome")))
        else {
            let place = std::panic::Location::caller();
            assert!(
                std::env::var_os("MEDHARNESS_REQUIRE_CHROMIUM").is_none(),
                "MEDHARNESS_REQUIRE_CHROMIUM is set, and chromium or chromedriver is not there"
            );
            eprintln!("SKIPPED {place}: no chromium with chromedriver");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let output = BufReader::new(driver.stdout.take().expect("piped"));
        let port = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                line.strip_prefix("ChromeDriver was started successfully on port ")
                    .and_then(|port| port.trim_end_matches('.').parse().ok())
            })
            .expect("chromedriver names its port");
        let profile = tempfile::tempdir().expect("scratch folder");
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let options = json!({ "binary": chromium, "args": arguments });
        let started = browser.send(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } }),
        );
        browser.session = started["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Opens a file in a window of `width` x 900, with the reader's choice of colours.
    pub(crate) fn open(&self, page: &Path, width: u32, scheme: &str) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false }),
        );
        // Without motion, so that a click after a scroll hits what it aims at.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let page = fs::canonicalize(page).expect("the page exists");
        self.command("POST", "/url", &json!({ "url": format!("file://{}", page.display()) }));
    }

    /// Runs the body of a function in the page and returns what it returns.
    pub(crate) fn script(&self, body: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Clicks the first element that matches, as a person would: scrolled into view, uncovered.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.script(&format!(
            "document.querySelector('{selector}').scrollIntoView({{ block: 'center' }})"
        ));
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into the first element that matches.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Returns what the page has written to its console, errors of scripts included.
    pub(crate) fn console(&self) -> Value {
        self.command("POST", "/se/log", &json!({ "type": "browser" }))
    }

    fn element(&self, selector: &str) -> String {
        let found = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &found);
        let id = found.as_object().and_then(|object| object.values().next());
        id.and_then(Value::as_str).unwrap_or_else(|| panic!("no element {selector}")).to_owned()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Sends one request; WebDriver wraps every reply in `value`.
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout above 0");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("chromedriver reads");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line of the head");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut reply = vec![0; length];
        reader.read_exact(&mut reply).expect("the whole reply");
        let reply: Value = serde_json::from_slice(&reply).expect("JSON");
        let error = &reply["value"]["error"];
        assert!(error.is_null(), "{method} {path}: {error}: {}", reply["value"]["message"]);
        reply["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Panics in here would hide the test's own.
        let quit = std::panic::AssertUnwindSafe(|| self.command("DELETE", "", &json!({})));
        let _ = std::panic::catch_unwind(quit);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
