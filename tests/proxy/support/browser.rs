//! A real browser: headless Chromium, spoken to over the pipe of its `DevTools` protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an answer may take on a busy machine; nothing depends on its length.
const PATIENCE: Duration = Duration::from_mins(1);

/// A page in a browser of its own. Dropping it ends the browser.
pub struct Page {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    loaded: bool,
    requests: Vec<String>,
    console_errors: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// An empty page, or nothing where there is no Chromium: then the story is left out, and says
    /// so where the test run can be seen.
    pub fn open(story: &str) -> Option<Self> {
        let Some(program) = chromium() else {
            // Past the capture of the test run, which shows what is printed by failures only.
            let _ = writeln!(
                std::io::stderr(),
                "LEFT OUT {story}: there is no chromium here (Debian: apt-get install chromium)"
            );
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder");
        // The protocol is spoken on descriptors 3 and 4, which only a shell can make of pipes.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg("exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$@\"")
            .arg("sh")
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox"])
            .args([
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .args([
                "--disable-background-networking",
                "--disable-sync",
                "--no-first-run",
            ])
            .args(["--disable-component-update", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let (sender, messages) = channel();
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers
                .read_until(0, &mut message)
                .is_ok_and(|read| read > 1)
            {
                message.pop();
                let message: Value = serde_json::from_slice(&std::mem::take(&mut message))
                    .expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut page = Self {
            commands: child.stdin.take().expect("it is piped"),
            child,
            messages,
            last: 0,
            session: None,
            loaded: false,
            requests: Vec::new(),
            console_errors: Vec::new(),
            _profile: profile,
        };
        page.attach();
        Some(page)
    }

    fn attach(&mut self) {
        let target = self.send_command("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = self.send_command(
            "Target.attachToTarget",
            &json!({"targetId": target["targetId"], "flatten": true}),
        );
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.send_command(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// A window of this size, for a reader who prefers `scheme`: `light` or `dark`.
    pub fn set_window(&mut self, width: u32, height: u32, scheme: &str) {
        self.send_command(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.send_command(
            "Emulation.setEmulatedMedia",
            &json!({"features": [feature]}),
        );
    }

    pub fn navigate(&mut self, url: &str) {
        self.loaded = false;
        let navigated = self.send_command("Page.navigate", &json!({"url": url}));
        assert_eq!(navigated.get("errorText"), None, "{url}");
        while !self.loaded {
            let event = self.messages.recv_timeout(PATIENCE);
            self.record(&event.expect("the browser loads the page"));
        }
    }

    /// The value of an expression in the page; of a promise, what it becomes.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let response = self.send_command(
            "Runtime.evaluate",
            &json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        );
        assert_eq!(response.get("exceptionDetails"), None, "{expression}");
        response["result"]["value"].clone()
    }

    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({selector:?})?.innerText"));
        let found = found.as_str().map(str::to_owned);
        found.unwrap_or_else(|| panic!("there is no {selector} in the page"))
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_until(&mut self, expression: &str) {
        let waiting = format!(
            "new Promise(done => {{ const look = () => ({expression}) ? done(true) : \
             setTimeout(look, 20); look(); setTimeout(() => done(false), 30000); }})"
        );
        let came = self.evaluate(&waiting) == true;
        assert!(came, "it never came to {expression}: {}", self.text("body"));
    }

    /// Types into a field, as a person would.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).select()"));
        self.send_command("Input.insertText", &json!({"text": text}));
    }

    pub fn click(&mut self, selector: &str) {
        let found = format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             it.scrollIntoView({{block: 'center'}}); const at = it.getBoundingClientRect(); \
             return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
        );
        let at = self.evaluate(&found);
        for kind in ["mousePressed", "mouseReleased"] {
            self.send_command(
                "Input.dispatchMouseEvent",
                &json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// A picture of the whole page, as PNG, kept among the build's output under this name.
    pub fn screenshot(&mut self, name: &str) -> Vec<u8> {
        let taken = self.send_command(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true}),
        );
        let png = base64(taken["data"].as_str().expect("a picture is text in base64"));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(path, &png).expect("the build's output can be written to");
        png
    }

    /// The addresses of all that the page asked for.
    pub fn requests(&mut self) -> Vec<String> {
        self.evaluate("0"); // What was told before this answer has been read by now.
        self.requests.clone()
    }

    /// What stands in the console, and exceptions that nobody caught.
    pub fn console_errors(&mut self) -> Vec<String> {
        self.evaluate("0");
        self.console_errors.clone()
    }

    #[track_caller]
    fn send_command(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut text = command.to_string();
        text.push('\0');
        self.commands
            .write_all(text.as_bytes())
            .expect("the browser listens");
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|_| panic!("the browser is silent on {method}"));
            if message["id"] == self.last {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].clone();
            }
            self.record(&message);
        }
    }

    fn record(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            "Runtime.consoleAPICalled" => self.console_errors.push(parameters["args"].to_string()),
            "Runtime.exceptionThrown" => {
                self.console_errors
                    .push(parameters["exceptionDetails"].to_string());
            }
            "Page.loadEventFired" => self.loaded = true,
            "Log.entryAdded" => self.console_errors.push(parameters["entry"].to_string()),
            _ => {}
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit);
        let value = value.expect("digits of base64 only");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("a byte"));
        }
    }
    bytes
}
