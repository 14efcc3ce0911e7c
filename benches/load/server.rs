//! The servers, each a process of its own, and what Linux says that they use.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_duologue");
/// The argument with which this executable is the baseline instead.
pub(crate) const BASELINE: &str = "baseline";
/// For a baseline that indexes the words of messages.
pub(crate) const INDEXES: &str = "indexes";

/// A SQLite file. It is gone with this.
pub(crate) struct Database {
    folder: TempDir,
}

impl Database {
    /// None yet. It will be on the disk of the project: the folder for temporary files may be in memory, and a commit costs
    /// nothing there.
    pub(crate) fn absent() -> Self {
        Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    /// With demo data, and indexed: a server would do that beside what is measured.
    pub(crate) fn demo(users: u64, messages: u64) -> Self {
        let made = Self::absent();
        let (users, messages, url) = (users.to_string(), messages.to_string(), made.url());
        let demo = ["demo", "--users", &users, "--messages", &messages];
        for command in [&demo[..], &["reindex", "--words"]] {
            let output = Command::new(PROGRAM).args(command).args(["--database", &url]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        made
    }

    /// Another one with the same data, while nobody has this one open.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::absent();
        fs::copy(self.file(), copy.file()).unwrap();
        copy
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("chat.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    /// A place beside the data.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// How Duologue is started on a database.
pub(crate) fn duologue(database: &Database) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--no-embeddings", "--listen", "127.0.0.1:0", "--database", &database.url()]);
    command
}

/// How the baseline is.
pub(crate) fn baseline(database: &Database) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([BASELINE, &database.url()]);
    command
}

/// The same, which indexes the words of messages.
pub(crate) fn indexing_baseline(database: &Database) -> Command {
    let mut command = baseline(database);
    command.arg(INDEXES);
    command
}

/// The same, as a program that another one runs.
pub(crate) fn under(mut other: Command, command: &Command) -> Command {
    other.arg(command.get_program()).args(command.get_args());
    other
}

/// A server that is ready. It ends with this.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Waits for the line with the address.
    pub(crate) fn start(mut command: Command) -> Self {
        // It logs each request, which costs as much where nobody reads it.
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let page = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
        let address = page.trim_end_matches('/').parse().unwrap();
        Self { child, address }
    }

    /// Seconds of CPU that the server has used.
    pub(crate) fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// KiB of memory that the server has.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        let told = Command::new("sh").args(["-c", "kill -TERM $0", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap();
    }
}

/// Seconds of CPU that a process has used. Linux counts them in hundredths.
pub(crate) fn cpu_of(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
