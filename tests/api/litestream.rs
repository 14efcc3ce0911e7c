//! Litestream beside a server on a SQLite file, set up and restored as docs/how-to/litestream.md says.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    net::SocketAddr,
    path::Path,
    process::Stdio,
};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    book::blocks,
    crashes::assert_sound,
    crowd::{Crowd, short_or_long},
    harness::{Database, Socket, signed_in, soon},
    program::serve,
};

const PAGE: &str = include_str!("../../docs/how-to/litestream.md");

/// The fenced blocks of a page in a language.
pub(crate) fn blocks_in<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    blocks(page).into_iter().filter(|(its, _)| *its == language).map(|(_, text)| text).collect()
}

/// `PATH` with the program, and what is in these folders.
pub(crate) fn path(folders: &[&Path]) -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_duologue")).parent().unwrap();
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().copied().chain([program]).map(Path::to_path_buf);
    std::env::join_paths(all.chain(std::env::split_paths(&usual))).unwrap()
}

/// Somebody comes back to a server with the cursor of usr_1, and is told to begin anew.
pub(crate) async fn hears_reset(address: SocketAddr, cursor: &Value) {
    let feed = "subscription ($after: String) { feed(userId: \"usr_1\", after: $after) { kind } }";
    let mut socket = Socket::open(address, "graphql-transport-ws").await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("1", feed, json!({ "after": cursor })).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "RESET");
}

/// A machine with a database, and a replica elsewhere.
struct Machine {
    database: Database,
    replica: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { database: Database::at("duologue.db"), replica: tempfile::tempdir().unwrap() };
        let config = machine.of_here(blocks_in(PAGE, "yaml")[0]);
        fs::write(machine.replica.path().join("litestream.yml"), config).unwrap();
        machine
    }

    /// With the paths of this machine.
    fn of_here(&self, text: &str) -> String {
        let (folder, other) = (self.database.folder().display(), self.replica.path().display());
        text.replace("/var/lib/duologue/", &format!("{folder}/"))
            .replace("/etc/litestream.yml", &format!("{other}/litestream.yml"))
            .replace("s3://bucket/", &format!("file://{other}/"))
    }

    /// What runs a block of the page in the folder of the database.
    fn shell(&self, block: &str) -> Command {
        let litestream = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/litestream/bin");
        assert!(litestream.exists(), "make litestream, or set DUOLOGUE_TEST_WITHOUT_LITESTREAM");
        let mut command = Command::new("sh");
        command.args(["-euc", &self.of_here(block)]).current_dir(self.database.folder());
        command.env_clear().env("PATH", path(&[&litestream])).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn runs(&self, block: &str) {
        assert!(soon(self.shell(block).status()).await.unwrap().success(), "{block}");
    }

    fn replicates(&self, block: &str) -> Child {
        // In place of the shell, so that it is Litestream that is killed.
        self.shell(&format!("exec {block}")).spawn().unwrap()
    }

    /// Waits until a count of messages in the replica, with this condition, is not 0; meanwhile users send.
    async fn has_replicated(&self, condition: &str, sends: impl AsyncFn()) {
        let copy = self.replica.path().join("copy.db");
        let restore = "litestream restore -config /etc/litestream.yml -force -o COPY /var/lib/duologue/duologue.db";
        let restore = restore.replace("COPY", copy.to_str().unwrap());
        let count = format!("SELECT count(*) FROM messages WHERE {condition}");
        soon(async {
            loop {
                sends().await;
                let restored = self.shell(&restore).stderr(Stdio::null()).status().await.unwrap().success();
                let counts = || Connection::open(&copy).unwrap().query_row(&count, [], |row| row.get::<_, i64>(0));
                // There may be no replica yet.
                if restored && counts().unwrap() > 0 {
                    return;
                }
            }
        })
        .await;
    }

    /// The numbers with which the current write-ahead log has begun: others once it was emptied or begun anew.
    fn log(&self) -> [u8; 8] {
        let mut head = [0; 24];
        let log = File::open(format!("{}-wal", self.database.path().display()));
        // Between two it may be empty.
        let _ = log.unwrap().read_exact(&mut head);
        head[16..].try_into().unwrap()
    }

    /// All of its files are gone.
    fn is_lost(&self) {
        for entry in fs::read_dir(self.database.folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_litestream_has_what_was_answered_and_can_be_restored() {
    let without = std::env::var_os("DUOLOGUE_TEST_WITHOUT_LITESTREAM").is_some();
    if signed_in() || without || !Database::new().await.is_sqlite() {
        return;
    }
    let machine = Machine::new();
    let [replicate, restore, restore_in_place] = blocks_in(PAGE, "sh")[..] else { panic!("other blocks") };
    let (mut server, address) = serve(&machine.database, &[]).await;
    let mut litestream = machine.replicates(replicate);
    let mut crowd = Crowd::gathers(&machine.database, address, 8, 24).await;

    // Until Litestream has let the log begin anew some times.
    for _ in 0..short_or_long(3, 20) {
        let log = machine.log();
        soon(async {
            while machine.log() == log {
                crowd.until_answered(20).await;
            }
        })
        .await;
    }
    let cursor = crowd.reads("{ feedCursor(userId: \"usr_1\") }").await["data"]["feedCursor"].take();
    let answered = crowd.tally(|tally| tally.answered.clone());
    let last = answered.values().map(|id| id.strip_prefix("msg_").unwrap().parse::<u64>().unwrap()).max().unwrap();
    machine.has_replicated(&format!("id = {last}"), async || crowd.until_answered(20).await).await;
    // Litestream did not stand in anybody's way.
    crowd.failed_only_with(&[]);
    server.kill().await.unwrap();
    litestream.kill().await.unwrap();
    crowd.rests().await;
    machine.is_lost();

    machine.runs(restore).await;
    assert_sound(&machine.database.path());
    let (mut server, address) = serve(&machine.database, &[]).await;
    crowd.turns_to(address);
    let found = crowd.found().await;
    for (name, id) in answered {
        let id = id.strip_prefix("msg_").unwrap().parse().unwrap();
        assert_eq!(found.get(&id), Some(&name));
    }
    hears_reset(address, &cursor).await;

    // It goes on with the same replica.
    let mut litestream = machine.replicates(replicate);
    machine.has_replicated("content = 'alone/0'", async || assert!(crowd.sends_one_more().await)).await;
    server.kill().await.unwrap();
    litestream.kill().await.unwrap();
    machine.is_lost();
    machine.runs(restore_in_place).await;
    assert_sound(&machine.database.path());
    let (mut server, address) = serve(&machine.database, &[]).await;
    crowd.turns_to(address);
    let again = crowd.found().await;
    assert!(found.iter().all(|(id, name)| again.get(id) == Some(name)));
    assert!(again.values().any(|name| name == "alone/0"));
    hears_reset(address, &cursor).await;
    server.kill().await.unwrap();
}
