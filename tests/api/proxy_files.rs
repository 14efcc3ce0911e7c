//! Reverse proxies as processes, with the files of the folder deploy or as others write them.

use std::{fs, path::Path};

use tokio::process::Command;

/// Adapts the file of a proxy to a folder, a port without TLS and the address of a server; gives the command that runs it.
pub(crate) type Adapted = fn(&Path, u16, &str) -> Command;

/// The text with something else for a part of it, which must be there.
pub(crate) fn with(text: &str, part: &str, other: &str) -> String {
    assert!(text.contains(part), "the file has no {part:?} any more");
    text.replace(part, other)
}

/// The text without the lines that begin like this.
fn without(text: &str, beginnings: &[&str]) -> String {
    let is_kept = |line: &&str| !beginnings.iter().any(|beginning| line.trim_start().starts_with(beginning));
    text.lines().filter(is_kept).collect::<Vec<_>>().join("\n") + "\n"
}

pub(crate) fn nginx(folder: &Path, port: u16, server: &str) -> Command {
    let site = without(include_str!("../../deploy/nginx-site.conf"), &["listen [::]", "ssl_"]);
    let site = with(&site, "listen 80;", &format!("listen unix:{}/redirect;", folder.display()));
    let site = with(&site, "listen 443 ssl http2;", &format!("listen 127.0.0.1:{port};"));
    nginx_with(folder, &with(&site, "127.0.0.1:8000", server))
}

/// Before two servers, of which the second is away.
pub(crate) fn nginx_before_two(folder: &Path, port: u16, server: &str) -> Command {
    let (_, http) = include_str!("../../deploy/nginx.conf").split_once("http {").unwrap();
    let (http, _) = http.rsplit_once('}').unwrap();
    let http = with(http, "listen 80;", &format!("listen 127.0.0.1:{port};"));
    nginx_with(folder, &with(&with(&http, "duologue-a:8000", server), "duologue-b:8000", "127.0.0.1:1"))
}

/// As many write it: HTTP/1.0 to the server, with the server's own address as `Host`, through buffers, and without upgrades.
pub(crate) fn bare_nginx(folder: &Path, port: u16, server: &str) -> Command {
    nginx_with(folder, &format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{server}; }} }}"))
}

/// The same with a name for the server, which nginx sends as `Host` then.
pub(crate) fn naming_nginx(folder: &Path, port: u16, server: &str) -> Command {
    let command = bare_nginx(folder, port, "duologue");
    let site = fs::read_to_string(folder.join("site.conf")).unwrap();
    fs::write(folder.join("site.conf"), format!("upstream duologue {{ server {server}; }}\n{site}")).unwrap();
    command
}

fn nginx_with(folder: &Path, site: &str) -> Command {
    fs::write(folder.join("site.conf"), site).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
    let whole = format!(
        "daemon off; master_process off; pid pid; events {{}} http {{ access_log off; {} include site.conf; }}",
        temporary.concat()
    );
    fs::write(folder.join("nginx.conf"), whole).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command
}

pub(crate) fn caddy(folder: &Path, port: u16, server: &str) -> Command {
    let own = format!("\nhttp://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n");
    let site = with(include_str!("../../deploy/Caddyfile"), "\nchat.example.com {\n", &own);
    caddy_with(folder, &with(&site, "127.0.0.1:8000", server))
}

/// As many write it: everything is compressed.
pub(crate) fn bare_caddy(folder: &Path, port: u16, server: &str) -> Command {
    let site = format!("bind 127.0.0.1\nencode zstd gzip\nreverse_proxy {server}");
    caddy_with(folder, &format!("http://127.0.0.1:{port} {{\n{site}\n}}"))
}

fn caddy_with(folder: &Path, site: &str) -> Command {
    let file = folder.join("Caddyfile");
    fs::write(&file, format!("{{\n\tadmin off\n}}\n{site}")).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    command
}

pub(crate) fn haproxy(folder: &Path, port: u16, server: &str) -> Command {
    let of_root = ["chroot ", "user ", "group ", "bind :::80 ", "http-request redirect scheme https "];
    let config = without(include_str!("../../deploy/haproxy.cfg"), &of_root);
    let tls = "bind :::443 v4v6 ssl crt /etc/haproxy/duologue.pem alpn h2,http/1.1";
    let config = with(&config, tls, &format!("bind 127.0.0.1:{port}"));
    let file = folder.join("haproxy.cfg");
    fs::write(&file, with(&config, "127.0.0.1:8000", server)).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(file);
    command
}
