//! PostgreSQL over TLS, as the URL wants it, and a server that answers in another language.

use std::{fs, path::Path, process::Stdio};

use duologue::{app::App, store::Error};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

use crate::{
    harness::{Database, signed_in, soon},
    outages::Cluster,
    ports::own_port,
    program::program,
};

/// What `duologue migrate` says of a database: whether it is content, and the last line.
async fn migrated(arguments: &[&str]) -> (bool, String) {
    let output = soon(program(&[&["migrate"], arguments].concat()).output()).await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains("secret-word"), "{said}");
    (output.status.success(), said.trim_end().lines().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_the_certificate_is_verified_as_the_url_wants() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let port = own_port();
    let cluster = Cluster::with(&[("DUOLOGUE_TEST_TLS_PORT", &port.to_string())]).await;
    drop(Database::on(&cluster.url).run("ALTER USER postgres PASSWORD 'secret-word'").await);
    let root = cluster.folder().join("root.pem");
    let (localhost, address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    let trusted = format!("&sslrootcert={}", root.display());
    let url = |host: &str, parameters: &str| format!("postgres://postgres:secret-word@{host}/postgres?{parameters}");
    for (host, parameters, expected) in [
        (&localhost, "sslmode=require".to_owned(), None),
        (&address, format!("sslmode=verify-ca{trusted}"), None),
        (&localhost, format!("sslmode=verify-full{trusted}"), None),
        (&localhost, format!("sslmode=verify-full{trusted}&channel_binding=require"), None),
        (&address, format!("sslmode=verify-full{trusted}"), Some("not valid for name")),
        (&localhost, "sslmode=verify-full".to_owned(), Some("UnknownIssuer")),
        (&localhost, "sslmode=verify-ca".to_owned(), Some("UnknownIssuer")),
        (&localhost, String::new(), Some("no encryption")),
        (&localhost, "sslmode=verify-full&sslrootcert=/nowhere.pem".to_owned(), Some("/nowhere.pem")),
        (&localhost, "sslmode=prefer".to_owned(), Some("verify-full")),
    ] {
        let (done, said) = migrated(&["--database", &url(host, &parameters)]).await;
        assert_eq!(done, expected.is_none(), "{parameters}: {said}");
        assert!(said.contains(expected.unwrap_or("up to date")), "{parameters}: {said}");
    }
    let file = cluster.folder().join("url");
    fs::write(&file, url(&localhost, "sslmode=require") + "\n").unwrap();
    let file = file.to_str().unwrap();
    assert!(migrated(&["--database-file", file]).await.0);
    let (done, said) = migrated(&["--database-file", file, "--database", "sqlite:chat.db"]).await;
    assert!(!done, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_no_password() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada:secret-word@{}/chat?sslmode=require", listener.local_addr().unwrap());
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.unwrap();
        socket.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        rest
    };
    let arguments = ["--database", url.as_str()];
    let ((done, said), rest) = tokio::join!(migrated(&arguments), soon(server));
    assert!(!done && said.contains("does not support TLS"), "{said}");
    assert_eq!(rest, b"");
}

/// Makes the locale that PostgreSQL needs for messages in German, without installing it.
async fn german(folder: &Path) {
    let locale = folder.join("de_DE.UTF-8");
    let mut localedef = Command::new("localedef");
    localedef.args(["--no-archive", "-i", "de_DE", "-f", "UTF-8"]).arg(&locale).stderr(Stdio::null());
    soon(localedef.status()).await.expect("localedef is part of Debian's libc-bin");
    assert!(locale.join("LC_MESSAGES").exists(), "the package locales has what it reads");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_german_is_understood() {
    use std::os::unix::fs::PermissionsExt;

    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    german(folder.path()).await;
    let variables =
        [("LOCPATH", folder.path().to_str().unwrap()), ("DUOLOGUE_TEST_PG_OPTIONS", "-c lc_messages=de_DE.UTF-8")];
    let cluster = Cluster::with(&variables).await;
    let database = Database::on(&cluster.url);
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let _lock = database.locked().await;
    let write = |conn: &mut duologue::store::Conn<'_>| {
        duologue::store::users::lock(conn, &[duologue::model::ids::UserId::new(1).unwrap()]).map(|_| ())
    };
    let refused = app.store.write::<_, Error>(write).await;
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
}
