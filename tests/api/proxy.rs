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

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// A connection from before the last cut does not outlive it, however short that is.
    cuts: usize,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, _) = watch::channel(State { mode: Mode::Open(server), cuts: 0 });
        tokio::spawn(accept(listener, state.clone()));
        Self { address, state }
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        cut(&self.state);
    }

    /// Cuts all connections instead of passing on what has one of these words in it.
    pub(crate) fn cut_at(&self, server: SocketAddr, words: &'static [&'static str]) {
        self.state.send_modify(|state| state.mode = Mode::OpenUntil(server, words));
    }

    /// The connections were cut, and somebody has tried to come back.
    pub(crate) async fn refused(&self) {
        soon(self.state.subscribe().wait_for(|state| state.mode == Mode::Refused)).await.unwrap();
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.state.send_modify(|state| state.mode = Mode::Open(server));
    }
}

fn cut(state: &watch::Sender<State>) {
    state.send_modify(|state| *state = State { mode: Mode::Cut, cuts: state.cuts + 1 });
}

async fn accept(listener: TcpListener, state: watch::Sender<State>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let now = *state.borrow();
        match now.mode {
            Mode::Open(server) | Mode::OpenUntil(server, _) => {
                tokio::spawn(relay(client, server, now.cuts, state.clone()));
            }
            Mode::Cut | Mode::Refused => state.send_modify(|state| state.mode = Mode::Refused),
        }
    }
}

/// Passes on what both sides say, until one of them ends or there is another cut.
async fn relay(client: TcpStream, server: SocketAddr, cuts: usize, state: watch::Sender<State>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let said = String::from_utf8_lossy(&buffer[..length]);
            let mode = state.borrow().mode;
            if matches!(mode, Mode::OpenUntil(_, words) if words.iter().any(|word| said.contains(word))) {
                return cut(&state);
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let mut changes = state.subscribe();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
        _ = changes.wait_for(|state| state.cuts != cuts) => {}
    }
}
