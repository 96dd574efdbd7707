//! The process: socket activation, service manager notifications, signals, and restarts under load.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use rustix::process::{Resource, getrlimit};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Origin, Program, RawConnection, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stuut-cache");

/// The program with this listener as an inherited socket of this name (systemd socket activation).
fn activated(listener: &TcpListener, name: &str) -> Command {
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec {PROGRAM}"
    );
    let mut command = Command::new("sh");
    let socket = OwnedFd::from(listener.try_clone().expect("a second handle"));
    command.args(["-c", &script]).stdin(Stdio::from(socket));
    command
}

/// Clients that send one request after the other on keep-alive connections.
struct Load {
    clients: JoinSet<()>,
    answered: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            answered: Arc::default(),
            lost: Arc::default(),
            stop: Arc::default(),
        };
        for number in 0..8 {
            let (answered, lost) = (Arc::clone(&load.answered), Arc::clone(&load.lost));
            let stop = Arc::clone(&load.stop);
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // A refused connection loses no request.
                    let Ok(socket) = TcpStream::connect(address).await else {
                        return;
                    };
                    let mut connection = RawConnection::new(socket);
                    while !stop.load(Ordering::Relaxed) {
                        let Some(closes) = send_request(&mut connection, number).await else {
                            lost.fetch_add(1, Ordering::Relaxed);
                            break;
                        };
                        answered.fetch_add(1, Ordering::Relaxed);
                        if closes {
                            break;
                        }
                    }
                }
            });
        }
        load
    }

    /// Waits for `more` responses.
    async fn wait_for(&self, more: u32) {
        let total = self.answered.load(Ordering::Relaxed) + more;
        wait_until("more responses", async || {
            self.answered.load(Ordering::Relaxed) >= total
        })
        .await;
    }

    /// Stops the clients; returns how many requests got no complete response.
    async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        self.lost.load(Ordering::Relaxed)
    }
}

/// Sends a request. Returns whether its response has `connection: close`; `None` without one.
async fn send_request(connection: &mut RawConnection, number: usize) -> Option<bool> {
    let request =
        format!("GET /v1/calls/c{number} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n");
    connection.try_send(request).await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.extend(connection.read_some().await?);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer
        .starts_with("HTTP/1.1 200")
        .then(|| answer.contains("connection: close"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_request() {
    let origin = Origin::start().await;
    let mut program = Program::start(&origin, &[]).await;
    let load = Load::on(program.address);
    load.wait_for(500).await;
    program.terminate();
    assert!(program.wait().success());
    assert_eq!(load.stop().await, 0, "requests without a response");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_on_the_same_socket_under_load_loses_no_request() {
    let origin = Origin::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let mut old = Program::with_command(activated(&listener, "proxy"), &origin).await;
    assert_eq!(Ok(old.address), listener.local_addr().map_err(|_| ()));
    let load = Load::on(old.address);
    for _ in 0..3 {
        load.wait_for(300).await;
        let new = Program::with_command(activated(&listener, "proxy"), &origin).await;
        old.terminate();
        assert!(old.wait().success());
        old = new;
    }
    load.wait_for(300).await;
    assert_eq!(load.stop().await, 0, "requests without a response");
}

#[tokio::test]
async fn a_request_in_the_backlog_before_the_start_is_answered() {
    let origin = Origin::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let mut early = RawConnection::new(TcpStream::connect(address).await.expect("a backlog"));
    early
        .send("GET /v1/early HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let program = Program::with_command(activated(&listener, "stuut-cache.socket"), &origin).await;
    assert!(early.read_to_end().await.starts_with("HTTP/1.1 200"));
    program.stop();
}

#[tokio::test]
async fn a_socket_named_admin_becomes_the_admin_listener() {
    let origin = Origin::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let program = Program::with_command(activated(&listener, "admin"), &origin).await;
    assert_eq!(Ok(program.admin), listener.local_addr().map_err(|_| ()));
    assert_ne!(program.address, program.admin);
    program.stop();
}

/// The address of the socket decides, not `admin.listen`, which is loopback.
#[tokio::test]
async fn purging_by_an_admin_socket_on_all_addresses_needs_a_token() {
    let origin = Origin::start().await;
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let program = Program::with_command(activated(&listener, "admin"), &origin).await;
    let purge = program.admin(Method::POST, "/purge?all").await;
    purge.assert_status(401);
    program.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sd_notify_reports_ready_watchdog_reloading_and_stopping() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let timeout = Some(Duration::from_secs(30));
    manager.set_read_timeout(timeout).expect("a timeout");
    let notification = |wanted: &str| {
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message).expect("a notification");
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text.into_owned();
            }
        }
    };
    let mut command = Command::new(PROGRAM);
    command
        .stdin(Stdio::null())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000");
    let mut program = Program::with_command(command, &origin).await;
    assert!(notification("READY=1").contains("STATUS=stuut-cache listens on"));
    notification("WATCHDOG=1");
    program.signal("HUP");
    assert!(notification("RELOADING=1").contains("MONOTONIC_USEC="));
    notification("READY=1");
    program.terminate();
    notification("STOPPING=1");
    assert!(program.wait().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_exits_at_once() {
    let origin = Origin::start().await;
    let _gate = origin.hold("/v1/calls/c1");
    let mut program = Program::start(&origin, &[]).await;
    let mut client = program.raw_connection().await;
    client
        .send("GET /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
        .await;
    origin.wait_for_requests(1).await;
    program.terminate();
    wait_until("a drain", async || program.output().contains("draining")).await;
    program.signal("INT");
    assert_eq!(
        program.wait().code(),
        Some(130),
        "128 + SIGINT, as in a shell"
    );
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn after_sigkill_the_address_can_be_bound_at_once() {
    let origin = Origin::start().await;
    let mut killed = Program::start(&origin, &[]).await;
    let address = killed.address.to_string();
    let mut client = killed.raw_connection().await;
    assert_eq!(send_request(&mut client, 1).await, Some(false));
    killed.signal("KILL");
    assert!(!killed.wait().success());
    assert_eq!(client.read_to_end().await, "");
    let again = Program::start(&origin, &[("SERVER__LISTEN", &address)]).await;
    again.get("/v1/calls/c1").bearer("a").await.assert_miss();
    again.stop();
}

/// A dump would contain tokens and stored responses.
#[tokio::test]
async fn core_dumps_are_off_unless_a_variable_allows_them() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    assert_eq!(program.core_dump_limit(), "0");
    let mut command = Command::new(PROGRAM);
    command.env("STUUT_CACHE_DUMPABLE", "1");
    let limit = getrlimit(Resource::Core).maximum;
    let program = Program::with_command(command, &origin).await;
    let limit = limit.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    assert_eq!(program.core_dump_limit(), limit);
}

#[tokio::test]
async fn an_admin_listener_that_others_can_reach_without_a_token_is_a_warning() {
    const WARNING: &str = "the admin listener is not on loopback";
    let origin = Origin::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "a-secret-token-of-operators\n").expect("it is written");
    let token_file = file.path().to_string_lossy();
    let open = ("ADMIN__LISTEN", "0.0.0.0:0");
    let rows: [(&[(&str, &str)], bool); 3] = [
        (&[open], true),
        (&[open, ("ADMIN__TOKEN_FILE", &token_file)], false),
        (&[], false),
    ];
    for (variables, warns) in rows {
        let program = Program::start(&origin, variables).await;
        // It is logged before the program stops.
        let output = program.stop();
        assert_eq!(output.contains(WARNING), warns, "{variables:?}: {output}");
    }
}
