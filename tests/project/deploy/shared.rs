//! The engine of the shared level in `deploy/shared`: its configuration and users, for compose and for
//! Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::kustomize::rendered;
use super::{deploy, list, string, text, yaml};
use crate::demo::{get, wait_for};
use crate::tools::{run, tool};

/// The documents of `engine.yaml`, by kind.
fn engine(kind: &str) -> Value {
    let file = text("shared/engine.yaml");
    let documents = file.split("\n---\n").map(|text| {
        let object: Value = serde_saphyr::from_str(text).expect("the manifest is YAML");
        object
    });
    let mut of_kind = documents.filter(|object| object["kind"] == kind);
    of_kind.next().unwrap_or_else(|| panic!("no {kind}"))
}

/// The value of a line of `valkey.conf`.
fn setting(name: &str) -> String {
    let file = text("shared/valkey.conf");
    let mut values = file
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values
        .next()
        .unwrap_or_else(|| panic!("no {name}"))
        .to_owned()
}

#[test]
fn replicas_and_engine_of_kubernetes_fit_together() {
    let Some(objects) = rendered(&deploy("shared")) else {
        return;
    };
    let of = |kind: &str, name: &str| {
        let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects
            .iter()
            .find(is)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let engine = of("StatefulSet", "stuut-cache-engine");
    let service = of("Service", "stuut-cache-engine");
    // Two would be two engines under one address.
    assert_eq!(engine["spec"]["replicas"], 1);
    let pod = &engine["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let engines = &engine["spec"]["selector"]["matchLabels"];
    assert_eq!(&service["spec"]["selector"], engines);
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);

    let replica = of("Deployment", "stuut-cache");
    let replicas = &replica["spec"]["selector"]["matchLabels"];
    let replica = &replica["spec"]["template"];
    let settings = list(&replica["spec"]["containers"][0]["env"]);
    let setting_of = |key: &str| {
        let name = format!("STUUT_CACHE__SHARED__{key}");
        let found = settings.iter().find(|setting| setting["name"] == *name);
        string(&found.unwrap_or_else(|| panic!("no {name}"))["value"]).to_owned()
    };
    let number = &service["spec"]["ports"][0]["port"];
    let url = format!("redis://{}:{number}", string(&service["metadata"]["name"]));
    assert_eq!(setting_of("URL"), url);
    let user = format!("\nuser {} on #", setting_of("USERNAME"));
    assert!(text("shared/users.acl").contains(&user));
    let secrets = [
        (replica, setting_of("PASSWORD_FILE")),
        (pod, setting("aclfile")),
    ];
    for (pod, file) in secrets {
        assert_mounts(&pod["spec"], &file);
    }

    let policy = of("NetworkPolicy", "stuut-cache");
    let allows = |rule: &Value| {
        rule["to"][0]["podSelector"]["matchLabels"] == *engines
            && rule["ports"][0]["port"] == *number
    };
    assert!(
        list(&policy["spec"]["egress"]).iter().any(allows),
        "{policy}"
    );
    let policy = of("NetworkPolicy", "stuut-cache-engine");
    let from = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(from, replicas);
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], engines);
}

/// A file of a secret that `docs/deployment.md` and `kustomization.yaml` create.
#[track_caller]
fn assert_mounts(pod: &Value, file: &str) {
    let (folder, name) = file.rsplit_once('/').expect("a path");
    let mounts = list(&pod["containers"][0]["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["mountPath"] == folder);
    let volume = &mount.unwrap_or_else(|| panic!("no {folder}"))["name"];
    let volumes = list(&pod["volumes"]);
    let volume = volumes.iter().find(|found| found["name"] == *volume);
    let secret = &volume.expect("the volume of the mount")["secret"];
    assert_eq!(secret["items"][0]["path"], name);
    let created = format!("--from-literal={name}=");
    let secret = format!("create secret generic {} ", string(&secret["secretName"]));
    for document in ["shared/kustomization.yaml", "../docs/deployment.md"] {
        let document = text(document);
        assert!(document.contains(&created), "no {created}");
        assert!(document.contains(&secret), "no {secret}");
    }
}

#[test]
fn the_compose_file_has_the_same_engine() {
    let compose = yaml("shared/compose.yaml");
    let folder = deploy("docker");
    let services = compose["services"].as_object().expect("services");
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let (from, _) = string(volume).split_once(':').expect("from:to");
            let is_volume = compose["volumes"].get(from).is_some();
            assert!(is_volume || folder.join(from).exists(), "{name}: {from}");
        }
    }
    let service = &compose["services"]["engine"];
    let container = engine("StatefulSet")["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(service["image"], container["image"]);
    assert_eq!(service["command"], container["command"]);
    for replica in ["stuut-cache", "stuut-cache-2"] {
        let settings = &compose["services"][replica]["environment"];
        assert_eq!(settings["STUUT_CACHE__SHARED__URL"], "redis://engine:6379");
    }
    let targets = yaml("shared/targets.yml");
    assert_eq!(targets[0]["targets"][0], "stuut-cache-2:9090");
    if let Some(mut check) = tool("check-jsonschema") {
        let file = deploy("shared/compose.yaml");
        run(check
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(file));
    }
}

#[test]
fn the_engine_evicts_entries_only_and_has_the_memory_for_it() {
    assert!(setting("maxmemory-policy").starts_with("volatile-"));
    let most: u64 = setting("maxmemory")
        .strip_suffix("mb")
        .and_then(|n| n.parse().ok())
        .expect("MB");
    let container = engine("StatefulSet")["spec"]["template"]["spec"]["containers"][0].clone();
    let limit = format!("{}Mi", most * 5 / 4);
    assert_eq!(container["resources"]["limits"]["memory"], *limit);
    let compose = yaml("shared/compose.yaml");
    assert_eq!(
        compose["services"]["engine"]["mem_limit"],
        *format!("{}m", most * 5 / 4)
    );
}

/// Commands in the sources of the client: `redis.call('GET'` in its scripts, `cmd("GET")` and
/// `command("GET"` outside.
fn used_commands() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cache/shared/redis");
    let mut used = BTreeSet::from(["eval".to_owned(), "evalsha".to_owned()]);
    let files = [folder.clone(), folder.join("scripts")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).expect("the sources of the client"));
    for file in files.map(|file| file.expect("a file").path()) {
        let source = fs::read_to_string(file).unwrap_or_default();
        for opening in ["redis.call('", "cmd(\"", "command(\""] {
            let called = source.split(opening).skip(1);
            let names = called.filter_map(|rest| rest.split(['\'', '"']).next());
            used.extend(names.map(str::to_lowercase));
        }
    }
    // Sent to Sentinels, which have users of their own; to clusters; and by `doctor`.
    for other in ["sentinel", "cluster", "scan", "type"] {
        used.remove(other);
    }
    used
}

#[test]
fn the_replicas_may_use_the_commands_that_they_use() {
    let acl = text("shared/users.acl");
    let user = acl.lines().last().expect("a user");
    let permitted: BTreeSet<_> = user
        .split(' ')
        .filter_map(|rule| rule.strip_prefix('+').map(str::to_owned))
        .collect();
    assert_eq!(permitted, used_commands());
    assert!(text("../docs/deployment.md").contains(&format!("\n{user}\n")));
    assert!(user.contains(" ~stuut1:* "));
}

/// A process, killed when dropped.
struct Killed(Child);

/// An engine with the files of `deploy/shared`.
struct Engine {
    _child: Killed,
    port: u16,
    folder: tempfile::TempDir,
}

impl Engine {
    fn start() -> Option<Self> {
        let mut server = tool("redis-server")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        run(Command::new("sh")
            .arg(deploy("shared/make-secrets.sh"))
            .arg(folder.path())
            .arg(deploy("shared/users.acl")));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let child = server
            .arg(deploy("shared/valkey.conf"))
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .arg("--aclfile")
            .arg(folder.path().join("users.acl"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        Some(Self {
            _child: Killed(child),
            port,
            folder,
        })
    }

    fn password(&self) -> String {
        fs::read_to_string(self.folder.path().join("password")).expect("it was made")
    }

    /// The reply to a command, or its error; waits until the engine listens.
    fn reply(&self, login: &[&str], command: &[&str]) -> String {
        loop {
            let mut client = tool("redis-cli").expect("it is installed with the server");
            client.args(["-p", &self.port.to_string(), "--no-auth-warning"]);
            let output = client.args(login).args(command).output().expect("it runs");
            let output = [output.stdout, output.stderr].concat();
            let output = String::from_utf8_lossy(&output).trim().to_owned();
            if !output.contains("Connection refused") {
                return output;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The settings of `deployment.yaml`, except for the addresses.
#[tokio::test]
async fn a_replica_with_these_settings_is_in_step_on_this_engine() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let secrets = engine.folder.path();
    let deployment = yaml("shared/deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let settings = list(&container["env"]).iter().map(|setting| {
        let (name, value) = (string(&setting["name"]), string(&setting["value"]));
        let value = match name {
            "STUUT_CACHE__SHARED__URL" => format!("redis://127.0.0.1:{}", engine.port),
            "STUUT_CACHE__SHARED__PASSWORD_FILE" => secrets.join("password").display().to_string(),
            _ => value.to_owned(),
        };
        (name.to_owned(), value)
    });
    let replica = Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--upstream", "http://127.0.0.1:9"])
        .envs(settings)
        .env("STUUT_CACHE__SCOPE__KEY_FILE", secrets.join("scope-key"))
        .stdout(Stdio::piped())
        .spawn();
    let mut replica = Killed(replica.expect("the program starts"));
    let log = replica.0.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let admin = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        let admin = line["admin_address"].as_str()?.to_owned();
        assert_eq!(line["engine"], format!("redis://127.0.0.1:{}", engine.port));
        Some(admin)
    });
    let url = format!("http://{}/status", admin.expect("the first line"));
    let in_step = async || {
        let status: Value = serde_json::from_str(&get(&url).await).ok()?;
        let shared = &status["shared"];
        (shared["state"] == "in_step").then(|| shared["engine"].clone())
    };
    let described = wait_for("the replica to be in step", in_step).await;
    assert_eq!(described["eviction_policy"], "volatile-lru", "{described}");
}

#[test]
fn the_engine_admits_the_replicas_to_their_keys_only() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let password = engine.password();
    let replica = ["--user", "stuut-cache", "--pass", &password];
    assert_eq!(engine.reply(&replica, &["SET", "stuut1:x", "1"]), "OK");
    for command in [
        &["GET", "other"][..],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "maxmemory"],
        &["EVAL", "return redis.call('GET', 'other')", "0"],
        &["EVAL", "return redis.call('KEYS', '*')", "0"],
    ] {
        let reply = engine.reply(&replica, command);
        assert!(
            reply.contains("permission") || reply.contains("can't"),
            "{command:?}: {reply}"
        );
    }
    for login in [&[][..], &["--user", "stuut-cache", "--pass", "other"]] {
        let reply = engine.reply(login, &["GET", "stuut1:x"]);
        assert!(reply.contains("NOAUTH"), "{reply}");
    }
    // A second start keeps what there is.
    let before = fs::read_to_string(engine.folder.path().join("scope-key")).expect("it was made");
    run(Command::new("sh")
        .arg(deploy("shared/make-secrets.sh"))
        .arg(engine.folder.path())
        .arg(deploy("shared/users.acl")));
    assert_eq!(engine.password(), password);
    let after = fs::read_to_string(engine.folder.path().join("scope-key"));
    assert_eq!(after.ok(), Some(before));
}
