//! A client that costs little: bytes that are ready, over connections that stay, on one thread. Servers and clients share
//! the cores of the machine, and what it uses is missing to them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep_until, timeout},
};

/// No answer takes this long, also under an emulator.
const PATIENCE: Duration = Duration::from_mins(1);

/// Requests that are made in turn, and what their answers are.
#[derive(Clone)]
pub(crate) struct Script {
    requests: Arc<[Vec<u8>]>,
    expected: Arc<Expected>,
}

/// What every answer of a script is.
pub(crate) enum Expected {
    /// These bytes.
    Exactly(Vec<u8>),
    /// Something between these two.
    Between(&'static str, &'static str),
}

impl Script {
    pub(crate) fn new(requests: impl IntoIterator<Item = Vec<u8>>, expected: Expected) -> Self {
        Self { requests: requests.into_iter().collect(), expected: expected.into() }
    }
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n").into_bytes()
}

pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// For how long a load goes on.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Passed(Duration),
    /// On each connection.
    Answered(usize),
}

/// What became of a load.
pub(crate) struct Outcome {
    pub(crate) answers: usize,
    pub(crate) seconds: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

/// When a request is made.
#[derive(Clone, Copy)]
enum Pace {
    /// On each connection the next when the last was answered.
    Full,
    /// On each connection one after so much time, whether the last took longer or not: then the next one is late, and its time is
    /// counted from when it was due.
    Every(Duration),
}

/// Makes requests over so many connections, on each the next when the last was answered.
pub(crate) fn load(address: SocketAddr, connections: usize, script: &Script, until: Until) -> Outcome {
    run(address, connections, script, Pace::Full, until)
}

/// Makes so many requests in a second, for so long.
pub(crate) fn paced(address: SocketAddr, per_second: u32, script: &Script, time: Duration) -> Outcome {
    const CONNECTIONS: u32 = 50;
    let interval = Duration::from_secs(1) * CONNECTIONS / per_second;
    run(address, CONNECTIONS as usize, script, Pace::Every(interval), Until::Passed(time))
}

fn run(address: SocketAddr, connections: usize, script: &Script, pace: Pace, until: Until) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = join_all((0..connections).map(|_| Connection::open(address))).await;
        let begun = Instant::now();
        let work = opened.into_iter().enumerate().map(|(number, connection)| {
            // Everyone begins at another place of the script.
            let first = number * script.requests.len() / connections;
            // And at another time.
            let begun = match pace {
                Pace::Full => begun,
                Pace::Every(interval) => begun + interval.mul_f64(number as f64 / connections as f64),
            };
            tokio::spawn(connection.work(script.clone(), first, (begun, pace), until))
        });
        let mut times = Vec::new();
        for worked in join_all(work).await {
            times.extend(worked.unwrap());
        }
        let seconds = begun.elapsed().as_secs_f64();
        times.sort_unstable();
        let answers = times.len();
        let at = |percent: usize| times[answers * percent / 100].as_secs_f64() * 1e3;
        Outcome { answers, seconds, p50: at(50), p99: at(99) }
    })
}

/// The body of the answer to one request.
pub(crate) fn body(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(address).await;
        let body = connection.ask(request).await;
        connection.read[body..].to_vec()
    })
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::with_capacity(64 << 10) }
    }

    async fn work(
        mut self,
        script: Script,
        first: usize,
        (begun, pace): (Instant, Pace),
        until: Until,
    ) -> Vec<Duration> {
        let mut times = Vec::new();
        for request in script.requests.iter().cycle().skip(first) {
            let asked = match pace {
                Pace::Full => Instant::now(),
                Pace::Every(interval) => {
                    let due = begun + interval * u32::try_from(times.len()).unwrap();
                    // Timers are up to a millisecond late, which is not the server's time.
                    sleep_until(due.into()).await;
                    if due.elapsed() < Duration::from_millis(2) { Instant::now() } else { due }
                }
            };
            let body = self.ask(request).await;
            times.push(asked.elapsed());
            let body = &self.read[body..];
            let right = match &*script.expected {
                Expected::Exactly(bytes) => body == bytes,
                Expected::Between(start, end) => body.starts_with(start.as_bytes()) && body.ends_with(end.as_bytes()),
            };
            assert!(right, "{}", String::from_utf8_lossy(body));
            let over = match until {
                Until::Passed(time) => begun.elapsed() >= time,
                Until::Answered(answers) => times.len() == answers,
            };
            if over {
                break;
            }
        }
        times
    }

    /// Makes a request and reads its answer; gives where in `read` the body begins.
    async fn ask(&mut self, request: &[u8]) -> usize {
        self.stream.write_all(request).await.unwrap();
        self.read.clear();
        timeout(PATIENCE, self.answer()).await.unwrap()
    }

    async fn answer(&mut self) -> usize {
        let head = loop {
            self.more().await;
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = str::from_utf8(&self.read[..head]).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        let length = text.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while self.read.len() < head + length {
            self.more().await;
        }
        head
    }

    async fn more(&mut self) {
        assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "the server hung up");
    }
}
