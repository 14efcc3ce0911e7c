//! A network between two programs that fails as networks do: what is sent is lost, held back or late, or connections are broken.

use std::{net::SocketAddr, time::Duration};

use socket2::{SockFilter, SockRef, Socket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Flow {
    Passes,
    /// It is acknowledged and goes no further, as when a middlebox hangs.
    Held,
    /// No packet arrives, not even those that connect, as when a cable is cut: nothing is acknowledged.
    Lost,
    /// All connections are reset, and so are new ones.
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    flow: Flow,
    delay: Duration,
    /// A connection from before the last break does not outlive it.
    breaks: usize,
}

pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    /// Of the socket that listens.
    listener: Socket,
    state: watch::Sender<State>,
}

impl Link {
    /// A link to a server on this machine. What is sent passes at first.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = SockRef::from(&listener).try_clone().unwrap();
        let (state, current) = watch::channel(State { flow: Flow::Passes, delay: Duration::ZERO, breaks: 0 });
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(relay(client, port, current.clone()));
            }
        });
        Self { address, listener: socket, state }
    }

    /// From now on, this becomes of what is sent.
    pub(crate) fn becomes(&self, flow: Flow) {
        lose(&self.listener, flow == Flow::Lost);
        self.state.send_modify(|state| state.flow = flow);
    }

    /// What is sent passes, each way so late.
    pub(crate) fn delays(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Breaks the connections; new ones are not harmed.
    pub(crate) fn breaks(&self) {
        self.state.send_modify(|state| state.breaks += 1);
    }
}

/// Whether the kernel drops every packet that comes to a socket, before it is looked at or acknowledged.
fn lose(socket: &Socket, is_lost: bool) {
    if is_lost {
        const RETURN: u16 = 0x06;
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
    } else {
        // There may be none.
        let _ = socket.detach_filter();
    }
}

/// Passes on what both sides say, until one of them ends or the connection is broken.
async fn relay(mut client: TcpStream, port: u16, mut state: watch::Receiver<State>) {
    let breaks = state.borrow().breaks;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ends = [&client, &server].map(|end| {
        end.set_nodelay(true).unwrap();
        SockRef::from(end).try_clone().unwrap()
    });
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let (there, back) = (pass(from_client, to_server, state.clone()), pass(from_server, to_client, state.clone()));
    let broken = async {
        loop {
            let now = *state.borrow_and_update();
            if now.flow == Flow::Reset || now.breaks != breaks {
                return;
            }
            for end in &ends {
                lose(end, now.flow == Flow::Lost);
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => return,
        () = back => return,
        () = broken => {}
    }
    // They are reset when they are closed.
    for end in ends {
        end.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Passes on what one side says, in order, as late as the link is slow.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<State>) {
    let (on_its_way, mut arriving) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let _ = on_its_way.send((Instant::now(), buffer[..length].to_vec()));
        }
    };
    let write = async {
        while let Some((sent_at, bytes)) = arriving.recv().await {
            let Ok(delay) = state.wait_for(|state| state.flow == Flow::Passes).await.map(|state| state.delay) else {
                return;
            };
            sleep_until(sent_at + delay).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
