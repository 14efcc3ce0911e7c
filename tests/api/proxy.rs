//! A TCP proxy to lose connections with: it cuts them, and refuses new ones until it is told to let them through.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::harness::soon;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// To the server that is there.
    Open(SocketAddr),
    /// Until the server says one of these words: that is lost, and all connections with it.
    OpenUntil(SocketAddr, &'static [&'static str]),
    Cut,
    /// Cut, and somebody has tried to come back.
    Refused,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, _) = watch::channel(Mode::Open(server));
        tokio::spawn(accept(listener, mode.clone()));
        Self { address, mode }
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Cuts all connections instead of passing on what has one of these words in it.
    pub(crate) fn cut_at(&self, server: SocketAddr, words: &'static [&'static str]) {
        self.mode.send_replace(Mode::OpenUntil(server, words));
    }

    /// The connections were cut, and somebody has tried to come back.
    pub(crate) async fn refused(&self) {
        soon(self.mode.subscribe().wait_for(|mode| *mode == Mode::Refused)).await.unwrap();
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.mode.send_replace(Mode::Open(server));
    }
}

async fn accept(listener: TcpListener, mode: watch::Sender<Mode>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let now = *mode.borrow();
        match now {
            Mode::Open(server) | Mode::OpenUntil(server, _) => drop(tokio::spawn(relay(client, server, mode.clone()))),
            Mode::Cut | Mode::Refused => drop(mode.send_replace(Mode::Refused)),
        }
    }
}

/// Passes on what both sides say, until one of them ends or all is cut.
async fn relay(client: TcpStream, server: SocketAddr, mode: watch::Sender<Mode>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let said = String::from_utf8_lossy(&buffer[..length]);
            let now = *mode.borrow();
            let lost = matches!(now, Mode::OpenUntil(_, words) if words.iter().any(|word| said.contains(word)));
            if lost {
                mode.send_replace(Mode::Cut);
            }
            if lost || to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let mut changes = mode.subscribe();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
        _ = changes.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Refused)) => {}
    }
}
