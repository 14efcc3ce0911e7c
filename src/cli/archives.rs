//! Exports and imports: the lines of a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write, stdin, stdout},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use duologue::{
    app::App,
    config::Database,
    domain::{
        Viewer,
        exports::{self, ExportLine, Line},
        imports,
    },
};
use tempfile::{Builder, NamedTempFile};

use super::{print_done, progress::Progress, signals::StopSignals, user_named, with_app};

/// Writes an export, or nothing if it is interrupted.
pub(super) async fn export(file: &Path, user: Option<&str>, database: &Database) -> Result<()> {
    let mut signals = StopSignals::listen()?;
    tokio::select! {
        exported = write_export(file, user, database) => exported,
        () = signals.next() => bail!("the export was interrupted"),
    }
}

async fn write_export(file: &Path, user: Option<&str>, database: &Database) -> Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let part = if file == Path::new("-") { None } else { Some(NewFile::beside(file).with_context(cannot)?) };
    let output: Box<dyn Write + Send> = match &part {
        Some(part) => Box::new(part.part.reopen().with_context(cannot)?),
        None => Box::new(stdout()),
    };
    let export = async |app: &Arc<App>| {
        let operator = Viewer::operator(app);
        let user = match user {
            Some(user) => Some(user_named(app, &operator, user).await?),
            None => None,
        };
        let last_id = exports::last_id(app, &operator).await?;
        let mut progress = Progress::of(0, "{bar:30} {percent} %, {eta} left");
        let progress = move |line: &Line| {
            if let Line::Message(message) = line {
                progress.reach(message.id, last_id);
            }
        };
        let exported = exports::export(app, &operator, user, BufWriter::new(output), progress).await;
        exported.with_context(|| format!("cannot export to {}", file.display()))
    };
    let count = with_app(super::open_existing(database).await?, export).await?;
    if let Some(part) = part {
        part.persist(file).with_context(cannot)?;
        print_done(format_args!("Exported {count} to {}.", file.display()));
    }
    Ok(())
}

/// A file that has its name only once it is complete and on the disk. Until then it is removed when this is dropped. Only its owner can
/// read it.
struct NewFile {
    part: NamedTempFile,
    folder: PathBuf,
}

impl NewFile {
    fn beside(file: &Path) -> io::Result<Self> {
        if file.symlink_metadata().is_ok() {
            return Err(io::Error::other("it is there already: name another file"));
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = Builder::new().prefix(".duologue-export-").suffix(".part").tempfile_in(folder)?;
        Ok(Self { part, folder: folder.to_owned() })
    }

    fn persist(self, file: &Path) -> io::Result<()> {
        self.part.as_file().sync_all()?;
        self.part.persist_noclobber(file)?;
        File::open(self.folder)?.sync_all()
    }
}

/// Reads the lines of a file into the database.
pub(super) async fn import(file: &Path, renumber: bool, database: &Database) -> Result<()> {
    let open = || format!("cannot read {}", file.display());
    // The length of a pipe is not known.
    let (input, bytes): (Box<dyn Read + Send>, u64) = if file == Path::new("-") {
        (Box::new(stdin()), 0)
    } else {
        let input = File::open(file).with_context(open)?;
        let bytes = input.metadata().with_context(open)?.len();
        (Box::new(input), bytes)
    };
    let mut progress = Progress::of(bytes, "{bar:30} {bytes} of {total_bytes}, {eta} left");
    let lines = (1..).zip(BufReader::new(input).lines()).filter_map(move |(number, line)| {
        progress.advance(line.as_ref().map_or(0, |text| text.len() as u64 + 1));
        let line = match line {
            Ok(text) => {
                // Some programs begin a file with a byte order mark.
                let text = text.strip_prefix('\u{FEFF}').filter(|_| number == 1).unwrap_or(&text);
                if text.trim().is_empty() {
                    return None;
                }
                serde_json::from_str(text).map_err(|why| format!("This is no line of an import: {why}."))
            }
            Err(why) => Err(format!("This cannot be read: {why}.")),
        };
        if let Ok(Line::Export(ExportLine { user_id: Some(_), .. })) = &line {
            tracing::warn!("this is the export of one user: of others it has no more than what this user could see");
        }
        Some((number, line))
    });
    let import = async |app: &Arc<App>| {
        let operator = Viewer::operator(app);
        let imported = if renumber {
            imports::import_renumbered(app, &operator, lines).await
        } else {
            imports::import(app, &operator, lines).await
        };
        imported.with_context(|| file.display().to_string())
    };
    let count = with_app(super::open(database).await?, import).await?;
    print_done(format_args!("Imported {count}."));
    Ok(())
}
