//! Where the program listens, and what it says when it cannot.

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::{
    harness::{Database, soon},
    program::program,
};

/// A server, and the pages that it names.
async fn pages(mut server: Command) -> (Child, Vec<String>) {
    let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(output.next_line()).await.unwrap().unwrap();
    let pages = line.split(' ').filter(|word| word.starts_with("http://")).map(str::to_owned).collect();
    (child, pages)
}

/// What the program says of settings that it cannot use.
async fn refusal(mut server: Command) -> String {
    let output = soon(server.output()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_addresses_are_listened_on_and_each_is_answered() {
    let database = Database::new().await;
    let serve = ["serve", "--database", &database.url, "--listen"];
    for (listen, addresses) in [
        (vec!["127.0.0.1:0,127.0.0.2:0"], 2),
        (vec!["127.0.0.1:0", "--listen", "127.0.0.2:0", "--listen", "127.0.0.3:0"], 3),
    ] {
        let (mut child, pages) = pages(program(&[&serve[..], &listen].concat())).await;
        assert_eq!(pages.len(), addresses, "{pages:?}");
        for page in pages {
            let answer = soon(reqwest::get(format!("{page}health/ready"))).await.unwrap();
            assert_eq!(answer.status(), 200, "{page}");
        }
        // Two servers do not use one file.
        child.kill().await.unwrap();
    }
    // A name stands for all of its addresses that the machine has, with one port.
    let (_child, pages) = pages(program(&[&serve[..], &["localhost:0"]].concat())).await;
    let ports: Vec<_> = pages.iter().map(|page| page.rsplit(':').next().unwrap()).collect();
    assert!(pages[0].starts_with("http://127.0.0.1:") && ports.iter().all(|port| *port == ports[0]), "{pages:?}");
    assert_eq!(soon(reqwest::get(&pages[0])).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_is_explained_with_an_example_and_its_variable() {
    let by_flag = refusal(program(&["serve", "--listen", "localhost"])).await;
    assert!(by_flag.contains("such as 127.0.0.1:8000, [::1]:8000, localhost:8000"), "{by_flag}");
    assert!(!by_flag.contains("DUOLOGUE_LISTEN"), "{by_flag}");
    let unknown = refusal(program(&["serve", "--listen", "nohost.invalid:8000"])).await;
    assert!(unknown.contains("nohost.invalid is not found: ") && !unknown.contains("such as"), "{unknown}");
    let mut server = program(&["serve"]);
    server.env("DUOLOGUE_LISTEN", "127.0.0.1:8000,nonsense");
    let by_variable = refusal(server).await;
    assert!(by_variable.contains("such as 127.0.0.1:8000"), "{by_variable}");
    assert!(by_variable.contains("environment variable DUOLOGUE_LISTEN"), "{by_variable}");
    // So it is with all settings, also where the flag of another one is given.
    let mut server = program(&["serve", "--listen", "127.0.0.1:0"]);
    server.env("DUOLOGUE_AUTH", "maybe");
    let other = refusal(server).await;
    assert!(other.contains("environment variable DUOLOGUE_AUTH"), "{other}");
    // And with two that exclude each other.
    let mut server = program(&["serve", "--database", "sqlite:chat.db"]);
    server.env("DUOLOGUE_DATABASE_FILE", "/etc/duologue/database");
    let other = refusal(server).await;
    assert!(
        other.contains("the value of --database-file is that of the environment variable DUOLOGUE_DATABASE_FILE"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_in_use_is_named_with_another_one_that_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let said = refusal(program(&["serve", "--listen", &address.to_string()])).await;
    assert!(said.contains(&format!("cannot listen on {address}: another program does already")), "{said}");
    let (_, other) = said.trim().rsplit_once("such as ").unwrap();
    let other: SocketAddr = other.parse().unwrap();
    assert!(other.port() > address.port(), "{said}");
    TcpListener::bind(other).await.unwrap();
}
