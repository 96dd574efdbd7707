//! Several replicas: behind the balancers of `deploy/`, and with one key for their digests.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::Method;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::{Clients, Origin, Program, Reply, installed, run, wait_until};

const CALL: &str = "/v1/calls/c1";

/// Writes a new key, as `stuut-cache key` prints it.
async fn write_key(file: &Path) {
    let key = run(&["key"]).await.assert_code(0).stdout;
    std::fs::write(file, key).expect("the file is writable");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(file, private).expect("the file is ours");
}

/// The scope of a request in the access log.
fn scope(log: &str, target: &str) -> String {
    let path = format!("\"path\":\"{target}\"");
    let line = log.lines().find(|line| line.contains(&path));
    let (_, rest) = line
        .and_then(|line| line.split_once("\"scope\":\""))
        .unwrap_or_else(|| panic!("no scope of {target}: {log}"));
    rest[..8].to_owned()
}

#[tokio::test]
async fn replicas_with_one_key_file_have_the_same_digests() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let (file, key) = (dir.path().join("proxy.toml"), dir.path().join("key"));
    write_key(&key).await;
    let text = format!("[scope]\nkey_file = {key:?}\n");
    std::fs::write(&file, text).expect("the file is writable");
    let replica = || Program::with_config_file(&origin, &file);
    let (one, two) = (replica().await, replica().await);
    let other = Program::start(&origin, &[]).await;
    for program in [&one, &two, &other] {
        program.get(CALL).bearer("a").await.assert_miss();
    }
    let log = one.stop();
    let digest = scope(&log, CALL);
    assert_ne!(digest, scope(&other.stop(), CALL), "a key of its own");
    let key_text = std::fs::read_to_string(&key).expect("the file is readable");
    assert!(!log.contains(key_text.trim()), "{log}");

    // A digest from one replica's log selects what another has stored, also after a restart.
    let restarted = replica().await;
    restarted.get(CALL).bearer("a").await.assert_miss();
    for program in [&two, &restarted] {
        let purge = program.admin(Method::POST, &format!("/purge?scope={digest}"));
        assert_eq!(purge.await.json()["stored"], 1);
    }

    // Another key would hide from a purge what is stored: it waits for a restart.
    write_key(&key).await;
    two.signal("HUP");
    let reloads = "stuut_cache_config_reloads_total{result=\"applied\"}";
    two.wait_for_metric(reloads, 1).await;
    two.get("/v1/calls/c2").bearer("a").await.assert_miss();
    let log = two.stop();
    assert_eq!(scope(&log, "/v1/calls/c2"), digest);
    assert!(
        log.contains("these keys need a restart: scope.key_file"),
        "{log}"
    );
}

/// A running balancer, killed on drop.
struct Balancer {
    address: SocketAddr,
    child: Child,
    _reserved: Socket,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Balancer {
    /// Starts a program with a file of `deploy/balancers`, in front of these replicas; `wrapped` makes
    /// it a whole configuration.
    async fn start(
        mut command: Command,
        file: &str,
        replicas: &[Program],
        wrapped: impl Fn(String, &Path) -> String,
        dir: &Path,
    ) -> Self {
        // Bound here without listening, so that no other test gets the port meanwhile.
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a new socket");
        reserved.set_reuse_address(true).expect("a socket option");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        reserved.bind(&any_port.into()).expect("a loopback port");
        let address = reserved.local_addr().expect("an address").as_socket();
        let address = address.expect("an IPv4 address");

        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/balancers");
        let mut text = std::fs::read_to_string(shipped.join(file)).expect("a shipped file");
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "{from:?}: {text}");
            text = text.replacen(from, to, 1);
        };
        let port = address.port();
        match file {
            "nginx.conf" => replace("listen 80;", &format!("listen {address};")),
            "haproxy.cfg" => {
                replace("bind :80\n", &format!("bind {address}\n"));
                replace(" check port 9090", " check");
            }
            _ => replace(
                "address: 0.0.0.0, port_value: 80 ",
                &format!("address: 127.0.0.1, port_value: {port} "),
            ),
        }
        for (replica, program) in (1..).zip(replicas) {
            let (port, admin) = (program.address.port(), program.admin.port());
            match file {
                "nginx.conf" => replace(
                    &format!("server 10.0.0.{replica}:8080"),
                    &format!("server 127.0.0.1:{port}"),
                ),
                "haproxy.cfg" => replace(
                    &format!("10.0.0.{replica}:8080"),
                    &format!("127.0.0.1:{port} port {admin}"),
                ),
                _ => {
                    replace(
                        &format!("address: 10.0.0.{replica}, port_value: 8080"),
                        &format!("address: 127.0.0.1, port_value: {port}"),
                    );
                    replace("port_value: 9090", &format!("port_value: {admin}"));
                }
            }
        }
        let path = dir.join(file);
        std::fs::write(&path, wrapped(text, dir)).expect("a temporary file");
        command.arg(&path).stdin(Stdio::null());
        let log = std::fs::File::create(dir.join("log")).expect("a temporary file");
        let log = || Stdio::from(log.try_clone().expect("a descriptor"));
        let child = command.stdout(log()).stderr(log()).spawn();
        let child = child.expect("the program starts");
        let balancer = Self {
            address,
            child,
            _reserved: reserved,
        };
        wait_until("the balancer to accept connections", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        if file == "haproxy.cfg" {
            // It uses replicas before their first health check; Envoy does not, nginx has none.
            wait_until("three successful health checks", async || {
                let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
                log.matches(" succeeded, reason: Layer7 check passed")
                    .count()
                    == replicas.len()
            })
            .await;
        }
        balancer
    }
}

/// Starts three replicas behind a balancer: each token meets one of them.
async fn assert_tokens_meet_one_replica(
    command: Command,
    file: &str,
    wrapped: impl Fn(String, &Path) -> String,
) {
    let origin = Origin::start().await;
    origin.default_reply(Reply::echo().header("cache-control", "max-age=600"));
    let dir = TempDir::new().expect("a directory");
    let key = dir.path().join("key");
    write_key(&key).await;
    let variables = [("SCOPE__KEY_FILE", key.to_str().expect("a path of text"))];
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Program::start(&origin, &variables).await);
    }
    let balancer = Balancer::start(command, file, &replicas, wrapped, dir.path()).await;
    let clients = Clients::new();
    let send = |method: Method, call: &str, token: &str| {
        let request = clients.request(balancer.address, method, call);
        request.bearer(token)
    };

    // As with one process: a miss and then hits, and one request at the origin per token and call.
    let tokens: Vec<_> = (0..40).map(|number| format!("token-{number}")).collect();
    let calls = [CALL, "/v1/calls/c2"];
    for (token, call) in tokens.iter().flat_map(|t| calls.map(|call| (t, call))) {
        send(Method::GET, call, token).await.assert_miss();
        send(Method::GET, call, token).await.assert_hit();
        send(Method::GET, call, token).await.assert_hit();
    }
    origin.assert_requests(tokens.len() * calls.len());

    // Its own write is read back.
    for token in &tokens {
        let written = send(Method::PATCH, CALL, token).body("{}").await;
        let written = written.assert_status(200).json()["number"].as_u64();
        let read = send(Method::GET, CALL, token).await.json()["number"].as_u64();
        assert!(read > written, "{token}: {read:?} after {written:?}");
    }
    origin.assert_requests(tokens.len() * calls.len() + 2 * tokens.len());
    let hosts = origin.requests();
    let host = hosts.iter().map(|request| request.header("host"));
    let expected = origin.address().to_string();
    assert!(host.flatten().all(|host| host == expected));

    // The digest of a token is the same wherever it goes.
    let target = "/v1/calls/digest";
    for replica in &replicas {
        let read = replica.get(target).bearer("token-0").await;
        read.assert_status(200);
    }
    // The tokens of a replica that has stopped are served by the others.
    let mut replicas = replicas.into_iter();
    let mut logs: Vec<_> = replicas.next().map(Program::stop).into_iter().collect();
    for token in &tokens {
        send(Method::GET, CALL, token).await.assert_status(200);
    }
    logs.extend(replicas.map(Program::stop));
    // They were spread.
    let path = format!("\"path\":\"{CALL}\"");
    let used = logs.iter().filter(|log| log.contains(&path)).count();
    assert!(used > 1, "{logs:#?}");
    let digests: Vec<_> = logs.iter().map(|log| scope(log, target)).collect();
    assert_eq!(digests, [&*digests[0]; 3]);
}

#[tokio::test]
async fn nginx_sends_each_token_to_one_replica() {
    let Some(mut nginx) = installed(&["nginx"], "nginx_sends_each_token_to_one_replica") else {
        return;
    };
    // The shipped file is for the http block of an installed nginx.
    let wrapped = |text: String, dir: &Path| {
        let dir = dir.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir}/{name};"));
        format!(
            "daemon off; master_process off; pid {dir}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {}\n{text}}}",
            temporary.concat()
        )
    };
    nginx.args(["-e", "stderr", "-c"]);
    assert_tokens_meet_one_replica(nginx, "nginx.conf", wrapped).await;
}

#[tokio::test]
async fn haproxy_sends_each_token_to_one_replica() {
    let name = "haproxy_sends_each_token_to_one_replica";
    let Some(mut haproxy) = installed(&["haproxy"], name) else {
        return;
    };
    haproxy.args(["-db", "-f"]);
    let logs = "defaults\n    option log-health-checks\n";
    let wrapped = |text: String, _: &Path| text.replacen("defaults\n", logs, 1);
    assert_tokens_meet_one_replica(haproxy, "haproxy.cfg", wrapped).await;
}

#[tokio::test]
async fn envoy_sends_each_token_to_one_replica() {
    let Some(mut envoy) = installed(&["envoy"], "envoy_sends_each_token_to_one_replica") else {
        return;
    };
    // Several run on one machine, without the shared memory of hot restarts.
    envoy.args(["--disable-hot-restart", "-c"]);
    assert_tokens_meet_one_replica(envoy, "envoy.yaml", |text, _| text).await;
}
