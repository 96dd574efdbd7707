//! A real browser: headless Chromium, controlled by its `DevTools` protocol over a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::installed;

/// The longest wait for a message, on a busy machine; it only turns a hang into a failure.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A page in a browser of its own, which is killed on drop.
pub struct Page {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    loaded: bool,
    requests: Vec<String>,
    console_errors: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// Opens an empty page. `None` without Chromium: the test is skipped, with a message on stderr.
    pub fn open(test: &str) -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let program = installed(&names, test)?.get_program().to_owned();
        let profile = tempfile::tempdir().expect("a temporary folder");
        // The protocol uses file descriptors 3 and 4; a shell connects them to our pipes.
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
            .expect("sh is installed");
        let (sender, messages) = channel();
        let mut responses = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while responses
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
            last_id: 0,
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

    /// Sets the window size and the preferred color scheme, `light` or `dark`.
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
            let event = self.messages.recv_timeout(TIMEOUT);
            self.record(&event.expect("the browser loads the page"));
        }
    }

    /// Evaluates an expression in the page; a promise is awaited.
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
        let text = self.evaluate(&format!("document.querySelector({selector:?})?.innerText"));
        let text = text.as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("no {selector} in the page"))
    }

    /// Waits until an expression is truthy.
    #[track_caller]
    pub fn wait_until(&mut self, expression: &str) {
        let waiting = format!(
            "new Promise(done => {{ const poll = () => ({expression}) ? done(true) : \
             setTimeout(poll, 20); poll(); setTimeout(() => done(false), 30000); }})"
        );
        let is_met = self.evaluate(&waiting) == true;
        assert!(
            is_met,
            "timed out waiting for {expression}: {}",
            self.text("body")
        );
    }

    /// Types into an input field, replacing its text.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).select()"));
        self.send_command("Input.insertText", &json!({"text": text}));
    }

    pub fn click(&mut self, selector: &str) {
        let center = format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             it.scrollIntoView({{block: 'center'}}); const at = it.getBoundingClientRect(); \
             return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
        );
        let at = self.evaluate(&center);
        for kind in ["mousePressed", "mouseReleased"] {
            self.send_command(
                "Input.dispatchMouseEvent",
                &json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// Moves the pointer to `[x, y]`.
    pub fn move_to(&mut self, at: &Value) {
        self.send_command(
            "Input.dispatchMouseEvent",
            &json!({"type": "mouseMoved", "x": at[0], "y": at[1]}),
        );
    }

    /// A screenshot of the whole page as PNG, also written to the target directory as `name`.
    pub fn screenshot(&mut self, name: &str) -> Vec<u8> {
        let captured = self.send_command(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true}),
        );
        let png = base64(captured["data"].as_str().expect("a screenshot is base64"));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(path, &png).expect("the target directory is writable");
        png
    }

    /// The URLs of all requests of the page.
    pub fn requests(&mut self) -> Vec<String> {
        self.evaluate("0"); // Events sent before this response have been recorded now.
        self.requests.clone()
    }

    /// The console's messages and uncaught exceptions.
    pub fn console_errors(&mut self) -> Vec<String> {
        self.evaluate("0");
        self.console_errors.clone()
    }

    #[track_caller]
    fn send_command(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut text = command.to_string();
        text.push('\0');
        self.commands
            .write_all(text.as_bytes())
            .expect("the browser reads its pipe");
        loop {
            let message = self.messages.recv_timeout(TIMEOUT);
            let message =
                message.unwrap_or_else(|_| panic!("no response of the browser to {method}"));
            if message["id"] == self.last_id {
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
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit);
        let value = value.expect("only base64 digits");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("a byte"));
        }
    }
    bytes
}
