//! The command lines and configuration files of the servers.
//!
//! nginx, Varnish and `HAProxy` are configured as their documentation recommends for this use: the
//! token in the cache key, keep-alive on both sides, nothing on disk, no access log, and a field
//! that shows hits.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::Result;
use crate::load::Wire;
use crate::setup::{Column, Setup, program_path};
use crate::tls;

/// The limit on open files of this process and its children.
pub(crate) fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok()).unwrap_or_default()
}

/// A command line, and environment variables.
pub(crate) type Command = (Vec<String>, Vec<(&'static str, String)>);

/// The command that starts a server on `address`; its files go into `folder`.
pub(crate) fn command(
    setup: &Setup,
    column: Column,
    address: SocketAddr,
    folder: &Path,
) -> Result<Command> {
    let (arguments, variables) = match column {
        Column::StuutCache | Column::PlainHit => stuut_cache(setup, address, folder)?,
        Column::Bare => {
            let mode = if setup.plain { "plain" } else { "lookup" };
            let program = std::env::current_exe()?.to_string_lossy().into_owned();
            let (address, origin) = (address.to_string(), setup.origin.to_string());
            let arguments = [program, "bare".into(), mode.into(), address, origin];
            (arguments.to_vec(), Vec::new())
        }
        Column::Nginx => (nginx(setup, address, folder)?, Vec::new()),
        Column::Varnish => (varnish(setup, address, folder)?, Vec::new()),
        Column::HaProxy => (haproxy(setup, address, folder)?, Vec::new()),
    };
    Ok(([setup.under.clone(), arguments].concat(), variables))
}

fn stuut_cache(setup: &Setup, address: SocketAddr, folder: &Path) -> Result<Command> {
    let upstream = format!("http://{}", setup.origin);
    let arguments = [
        env!("CARGO_BIN_EXE_stuut-cache"),
        "--listen",
        &address.to_string(),
        "--admin-listen",
        "127.0.0.1:0",
        "--upstream",
        &upstream,
    ];
    let mut variables = vec![
        // Its memory is read from /proc.
        ("STUUT_CACHE_DUMPABLE", "1".to_owned()),
        ("STUUT_CACHE__SERVER__WORKERS", setup.workers.to_string()),
        // Hits only, in a row of any length: the others do not revalidate for a token either.
        ("STUUT_CACHE__SCOPE__RECHECK", "off".to_owned()),
        (
            "STUUT_CACHE__CACHE__CAPACITY",
            format!("{}MiB", setup.capacity),
        ),
    ];
    if setup.wire == Wire::Tls {
        let file = tls::write(folder)?.display().to_string();
        variables.extend([
            ("STUUT_CACHE__SERVER__TLS__CERT", file.clone()),
            ("STUUT_CACHE__SERVER__TLS__KEY", file),
        ]);
    }
    if setup.gzip {
        // The bodies of this row have live parts, which would expire after a minute.
        let live = [
            "STUUT_CACHE__FRESHNESS__LIVE__APPROVER",
            "STUUT_CACHE__FRESHNESS__LIVE__CLASSIFICATIONS",
            "STUUT_CACHE__FRESHNESS__LIVE__INVOICES",
            "STUUT_CACHE__FRESHNESS__LIVE__PARTNER",
            "STUUT_CACHE__FRESHNESS__LIVE__WORKFLOW",
        ];
        variables.extend(live.map(|part| (part, "off".to_owned())));
    }
    Ok((arguments.map(str::to_owned).to_vec(), variables))
}

/// The cache files are on tmpfs; the key is the target and the token.
fn nginx(setup: &Setup, address: SocketAddr, folder: &Path) -> Result<Vec<String>> {
    let (wire, secure) = match setup.wire {
        Wire::H1 => ("", String::new()),
        Wire::H2 => (" http2", String::new()),
        Wire::Tls => (" ssl", nginx_tls(&tls::write(folder)?)),
    };
    let gzip = if setup.gzip { "on" } else { "off" };
    let (origin, capacity, workers) = (setup.origin, setup.capacity, setup.workers);
    let at = folder.display();
    // Saves hits an open(); not where files are evicted, because it would keep them open.
    let most = open_files() / 2;
    let open = if setup.keep_open {
        format!("open_file_cache max={most} inactive=1h; open_file_cache_valid 1h;")
    } else {
        String::new()
    };
    let text = format!(
        r#"
daemon off;
user root root;
worker_processes {workers};
pid {at}/pid;
error_log stderr error;
events {{ worker_connections 6000; }}
http {{
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_body_temp_path {at}/client;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  {open}
  proxy_cache_path {at}/store levels=1:2 keys_zone=calls:64m max_size={capacity}m inactive=1h use_temp_path=off;
  gzip {gzip};
  gzip_types application/json;
  gzip_proxied any;
  upstream origin {{
    server {origin};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} backlog=4096{wire};
    {secure}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache calls;
      proxy_cache_key $uri$is_args$args$http_authorization;
      proxy_cache_lock on;
      add_header Via "1.1 nginx";
      add_header X-Cache-Status $upstream_cache_status;
    }}
  }}
}}
"#
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    Ok(vec![
        program_path("nginx").display().to_string(),
        "-p".to_owned(),
        at.to_string(),
        "-e".to_owned(),
        "stderr".to_owned(),
        "-c".to_owned(),
        file.display().to_string(),
    ])
}

fn nginx_tls(certificate: &Path) -> String {
    let (file, cipher) = (certificate.display(), tls::CIPHER);
    format!(
        "ssl_certificate {file}; ssl_certificate_key {file}; ssl_protocols TLSv1.3; \
         ssl_conf_command Ciphersuites {cipher};"
    )
}

/// One thread pool; malloc storage. The built-in VCL passes requests with `Authorization`; here
/// they are looked up with the token in the key.
fn varnish(setup: &Setup, address: SocketAddr, folder: &Path) -> Result<Vec<String>> {
    let (host, port) = (setup.origin.ip(), setup.origin.port());
    let gzip = if setup.gzip {
        "set beresp.do_gzip = true;"
    } else {
        ""
    };
    let text = format!(
        r#"vcl 4.1;
backend origin {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_recv {{
  if (req.method == "GET") {{ return (hash); }}
}}
sub vcl_hash {{
  hash_data(req.url);
  hash_data(req.http.Authorization);
  return (lookup);
}}
sub vcl_backend_response {{ {gzip} }}
"#
    );
    let file = folder.join("calls.vcl");
    fs::write(&file, text)?;
    let mut words = vec![program_path("varnishd").display().to_string()];
    let fixed = ["-F", "-j", "none", "-T", "none", "-S", "none"];
    words.extend(fixed.map(str::to_owned));
    for (flag, value) in [
        ("-n", folder.join("work").display().to_string()),
        ("-a", address.to_string()),
        ("-f", file.display().to_string()),
        ("-s", format!("malloc,{}m", setup.capacity)),
        ("-p", "thread_pools=1".to_owned()),
        ("-p", "thread_pool_min=50".to_owned()),
        ("-p", "thread_pool_max=400".to_owned()),
        ("-p", "timeout_idle=75".to_owned()),
        ("-p", "listen_depth=4096".to_owned()),
    ] {
        words.extend([flag.to_owned(), value]);
    }
    if setup.wire == Wire::H2 {
        words.extend(["-p", "feature=+http2"].map(str::to_owned));
    }
    Ok(words)
}

/// Its cache does not serve requests with `Authorization` (`HAProxy` configuration
/// manual, "6.1. Limitation"), and its key is host and target; so the token is moved to `Host`
/// during the lookup, and moved back for the origin.
fn haproxy(setup: &Setup, address: SocketAddr, folder: &Path) -> Result<Vec<String>> {
    let (origin, capacity, workers) = (setup.origin, setup.capacity, setup.workers);
    let (compression, filters) = if setup.gzip {
        (
            "  compression algo gzip\n  compression type application/json\n",
            "  filter compression\n",
        )
    } else {
        ("", "")
    };
    let secure = if setup.wire == Wire::Tls {
        let (file, cipher) = (tls::write(folder)?, tls::CIPHER);
        let file = file.display();
        format!(" ssl crt {file} ssl-min-ver TLSv1.3 ciphersuites {cipher}")
    } else {
        String::new()
    };
    let text = format!(
        "global
  maxconn 6000
  nbthread {workers}
defaults
  mode http
  timeout connect 3s
  timeout client 75s
  timeout server 30s
  timeout http-keep-alive 75s
cache calls
  total-max-size {capacity}
  max-object-size 8000000
  max-age 3600
frontend services
  bind {address} backlog 4096{secure}
  http-request set-var(txn.token) req.hdr(authorization)
  http-request set-var(txn.host) req.hdr(host)
  http-request set-header host %[var(txn.token)]
  http-request del-header authorization
  http-request cache-use calls
  http-request set-header authorization %[var(txn.token)]
  http-request set-header host %[var(txn.host)]
  http-response cache-store calls
  http-response set-header via \"1.1 haproxy\"
  http-response set-header x-cache-status HIT if {{ res.cache_hit }}
{filters}{compression}  default_backend origin
backend origin
  http-reuse always
  server origin {origin}
"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    Ok(vec![
        program_path("haproxy").display().to_string(),
        "-db".to_owned(),
        "-f".to_owned(),
        file.display().to_string(),
    ])
}
