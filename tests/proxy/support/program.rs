//! The real program, in a process of its own, and everything it writes.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::Method;

use super::{Clients, Origin, Request, until};

/// A running program. Dropping it ends it.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    written: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    clients: Clients,
}

impl Program {
    /// Started in front of an origin with these variables, e.g. `("LOG__FORMAT", "text")`.
    pub async fn start(origin: &Origin, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        command
            .env("STUUT_CACHE__SERVER__LISTEN", "127.0.0.1:0")
            .env("STUUT_CACHE__ADMIN__LISTEN", "127.0.0.1:0")
            .env(
                "STUUT_CACHE__UPSTREAM__URL",
                format!("http://{}", origin.address()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in variables {
            command.env(format!("STUUT_CACHE__{name}"), value);
        }
        let mut child = command.spawn().expect("the program starts");
        let written = Arc::default();
        let readers = vec![
            reader(child.stdout.take().expect("it is piped"), &written),
            reader(child.stderr.take().expect("it is piped"), &written),
        ];
        until("a line that says where it listens", async || {
            addresses(&written.lock().expect("no poison")).is_some()
        })
        .await;
        let found = addresses(&written.lock().expect("no poison"));
        let (address, admin) = found.expect("it has just been there");
        Self {
            address,
            admin,
            child,
            written,
            readers,
            clients: Clients::new(),
        }
    }

    pub fn get(&self, target: &str) -> Request {
        self.request(Method::GET, target)
    }

    pub fn request(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.address, method, target)
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.admin, method, target)
    }

    /// What it has written so far, to both of its outputs.
    pub fn written(&self) -> String {
        self.written.lock().expect("no poison").clone()
    }

    /// Ends it as an operator does, and answers everything it has written.
    pub fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("there is a kill").success());
        let ended = self.child.wait().expect("it ends");
        for reader in std::mem::take(&mut self.readers) {
            reader.join().expect("a reader does not panic");
        }
        let written = self.written();
        assert!(ended.success(), "{ended}: {written}");
        written
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(output: impl Read + Send + 'static, written: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let written = Arc::clone(written);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            written.lock().expect("no poison").push_str(&text);
            line.clear();
        }
    })
}

/// `… listens on 127.0.0.1:1, admin on 127.0.0.1:2, for …`
fn addresses(written: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = written.split_once("listens on ")?;
    let (address, rest) = rest.split_once(", admin on ")?;
    let (admin, _) = rest.split_once(',')?;
    Some((address.parse().ok()?, admin.parse().ok()?))
}
