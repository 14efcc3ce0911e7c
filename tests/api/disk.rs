//! A disk that fails on purpose, laid under the program: `tests/faults/disk.c`. Only on Linux.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::OnceLock,
};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::Database;

/// Parts of this size reach a disk whole or not at all.
const SECTOR: usize = 512;

/// What is under the folder of a database.
pub(crate) struct Disk {
    folder: PathBuf,
    own: TempDir,
}

impl Disk {
    pub(crate) fn under(database: &Database) -> Self {
        let disk = Self { folder: database.folder().canonicalize().unwrap(), own: tempfile::tempdir().unwrap() };
        fs::create_dir(disk.synced()).unwrap();
        disk
    }

    /// The program will use it. What is in the folder now is safe.
    pub(crate) fn carries(&self, program: &mut Command) {
        for file in files(&self.synced()) {
            fs::remove_file(file).unwrap();
        }
        for file in files(&self.folder) {
            fs::copy(&file, self.synced().join(file.file_name().unwrap())).unwrap();
        }
        program
            .env("LD_PRELOAD", library())
            .env("DISK_FOLDER", &self.folder)
            .env("DISK_SYNCED", self.synced())
            .env("DISK_FAULT", self.fault())
            // It has a lot to complain about.
            .stderr(Stdio::null());
    }

    /// From now on calls of a kind end with an error: `write 28`.
    pub(crate) fn fails(&self, how: &str) {
        let draft = self.own.path().join("draft");
        fs::write(&draft, how).unwrap();
        fs::rename(draft, self.fault()).unwrap();
    }

    pub(crate) fn works_again(&self) {
        fs::remove_file(self.fault()).unwrap();
    }

    /// What was not synced is gone; with dice, some parts of it are. The program must be dead already.
    pub(crate) fn loses_power(&self, mut dice: Option<ChaCha8Rng>) {
        for file in files(&self.folder) {
            let image = self.synced().join(file.file_name().unwrap());
            let safe = fs::read(&image).ok();
            let written = fs::read(&file).unwrap();
            let left = match (safe, &mut dice) {
                (safe, None) => safe,
                (safe, Some(dice)) => Some(torn(&safe.unwrap_or_default(), &written, dice)),
            };
            match left {
                Some(bytes) if !file.to_string_lossy().ends_with("-shm") => fs::write(&file, bytes).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
        }
    }

    fn synced(&self) -> PathBuf {
        self.own.path().join("synced")
    }

    fn fault(&self) -> PathBuf {
        self.own.path().join("fault")
    }
}

/// Of each sector, and of the length, what was safe or what was written since.
fn torn(safe: &[u8], written: &[u8], dice: &mut ChaCha8Rng) -> Vec<u8> {
    let length = if dice.random() { safe.len() } else { written.len() };
    let mut bytes = safe.to_vec();
    bytes.resize(length, 0);
    for (old, new) in bytes.chunks_mut(SECTOR).zip(written.chunks(SECTOR)) {
        if dice.random() {
            let both = old.len().min(new.len());
            old[..both].copy_from_slice(&new[..both]);
        }
    }
    bytes
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

/// Compiled when it is first needed.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("disk.so");
        let draft = library.with_extension(process::id().to_string());
        let compiler = env::var("CC").unwrap_or("cc".into());
        let mut compile = process::Command::new(compiler);
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&draft).arg(source).arg("-ldl");
        assert!(compile.status().unwrap().success());
        fs::rename(draft, &library).unwrap();
        library
    })
}
